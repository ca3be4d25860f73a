"""The `Exchange` port straight over the venue, with a network between that does what it likes.

A request leaves in the program's own step, arrives and is carried out in the world's, and its
answer comes back if the program still lives. The order of failures is the port's: what raises was
not sent; what was sent leads to an Ack.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim import checks
from blofin_cli.adapters.exchanges.sim import records as sim
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    Fill,
    KeyInfo,
    KeyKind,
    LeverageSetting,
    MarginMode,
    Order,
    OrderRef,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Position,
    PositionMode,
    Protection,
    ProtectionRef,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import (
    Bar,
    Book,
    BookLevel,
    Capability,
    ClockOffset,
    Environment,
    FundingRate,
    Listing,
    PositionTier,
    PriceRange,
    Print,
    Quote,
    Venue,
)
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    NetworkError,
    RateLimitError,
    UsageError,
    VenueError,
)
from tests.storm import records
from tests.storm.loop import current
from tests.storm.world import OUTSIDE, Sent, World

TIMEOUT_S = 5.0
PROTECT_TIMEOUT_S = 3.0
PAGE_MAX = 100
LATE_S_MAX = 8.0
VENUE = Venue(
    name="sim",
    environment=Environment.SIMULATED,
    capabilities=frozenset(Capability),
    timeframes=tuple(Timeframe),
)
Fence = Callable[[], None]


@dataclass(frozen=True)
class _Fate:
    """What the network does to one request."""

    wait_s: float = 0.0
    up_s: float = 0.03
    down_s: float = 0.03
    loses: str = ""
    problem: BlofinError | None = None
    acts: bool = True
    refuses: str = ""


class _LostError(Exception):
    """No usable answer came."""


class StormExchange:
    """The port as one incarnation of the program sees it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nemesis = world.nemesis
        self.loop = world.loop
        self._offset_ms = 0

    @property
    def venue(self) -> Venue:
        """Which exchange this is."""
        return VENUE

    # Public data.

    async def clock_offset(self) -> ClockOffset:
        """Exchange time against ours."""
        before = self.world.bot_ms
        told = await self._read("clock", "", lambda: self.world.now_ms)
        after = self.world.bot_ms
        self._offset_ms = told - (before + after) // 2
        return ClockOffset(
            offset_ms=self._offset_ms, uncertainty_ms=(after - before + 1) // 2, measured_ms=after
        )

    async def server_time_ms(self) -> int:
        """Our clock plus the last measured offset."""
        self._check()
        return self.world.bot_ms + self._offset_ms

    async def instruments(self) -> tuple[Listing, ...]:
        """Everything listed."""
        return await self._read(
            "instruments",
            "",
            lambda: tuple(records.listing(each) for each in self.world.venue.terms.values()),
        )

    async def instrument(self, symbol: str) -> Listing:
        """One instrument."""
        if symbol not in self.world.symbols:
            raise UsageError(f"no such perpetual: {symbol}")
        return await self._read(
            "instrument", symbol, lambda: records.listing(self.world.terms(symbol))
        )

    async def position_tiers(self, symbol: str) -> tuple[PositionTier, ...]:
        """Tiers, smallest first, in base units."""
        terms = self.world.terms(symbol)
        value = terms.contract_value
        rows = tuple(
            PositionTier(
                symbol=symbol,
                size_min=tier.size_min * value,
                size_max=tier.size_max * value,
                maintenance_margin=tier.maintenance,
                leverage_max=tier.leverage_max,
            )
            for tier in terms.tiers
        )
        return await self._read("tiers", symbol, lambda: rows)

    async def quotes(self, symbols: Sequence[str] = ()) -> tuple[Quote, ...]:
        """Last and best prices."""
        wanted = tuple(symbols) or self.world.symbols
        return await self._read("quotes", "", lambda: tuple(self.quote_now(s) for s in wanted))

    async def quote(self, symbol: str) -> Quote:
        """Prices with mark and funding."""
        return await self._read("quote", symbol, lambda: self._full_quote(symbol))

    def quote_now(self, symbol: str) -> Quote:
        """The quote of this moment, as the stream pushes it."""
        state = self.world.venue.markets[symbol]
        told = state.quote()
        assert state.tick is not None
        return Quote(
            symbol=symbol,
            last=told.last,
            bid=told.bid,
            ask=told.ask,
            ts_ms=state.tick.ts_ms,
            received_ms=self.world.bot_ms,
        )

    def _full_quote(self, symbol: str) -> Quote:
        state = self.world.venue.markets[symbol]
        due = self.world.venue.next_funding_ms(symbol)
        return replace(
            self.quote_now(symbol),
            mark=state.mark,
            index=state.mark,
            funding_rate=self.world.venue.funding_rate(symbol, due),
            funding_ms=due,
        )

    async def candles(
        self,
        symbol: str,
        timeframe: Timeframe,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> tuple[Bar, ...]:
        """A page of candles; sometimes a short one."""

        def ask() -> tuple[Bar, ...]:
            rows = self.world.walks[symbol].bars(timeframe, self.world.now_ms)
            rows = [
                row
                for row in rows
                if (since_ms is None or row.ts_ms >= since_ms)
                and (until_ms is None or row.ts_ms < until_ms)
            ]
            most = min(limit, 1440)
            if self.nemesis.strikes("lost_candle") and len(rows) > 2:
                most = min(most, max(1, len(rows) // 2))
                self.nemesis.fired["short_page"] += 1
            return tuple(rows[:most] if since_ms is not None else rows[-most:])

        return await self._read("candles", symbol, ask)

    async def funding_history(
        self,
        symbol: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 100,
    ) -> tuple[FundingRate, ...]:
        """Settled rates."""

        def ask() -> tuple[FundingRate, ...]:
            rows = [
                FundingRate(symbol=symbol, rate=rate, ts_ms=at, interval_ms=8 * 3_600_000)
                for at, rate in self.world.venue.funding_paid[symbol]
                if (since_ms is None or at >= since_ms) and (until_ms is None or at < until_ms)
            ]
            return tuple(rows[-limit:])

        return await self._read("funding", symbol, ask)

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """The order book."""

        def ask() -> Book:
            state = self.world.venue.markets[symbol]
            value = state.terms.contract_value
            sides = {
                side: tuple(BookLevel(p, s * value) for p, s in state.book.levels(side, depth))
                for side in ("bids", "asks")
            }
            return Book(symbol=symbol, ts_ms=state.book.ts_ms, **sides)

        return await self._read("book", symbol, ask)

    async def prints(self, symbol: str, limit: int = 100) -> tuple[Print, ...]:
        """The last trade."""

        def ask() -> tuple[Print, ...]:
            tick = self.world.venue.markets[symbol].tick
            assert tick is not None
            assert tick.size is not None
            size = tick.size * self.world.terms(symbol).contract_value
            side = Side(tick.side)
            at = tick.ts_ms
            return (
                Print(
                    symbol=symbol,
                    trade_id=str(at),
                    side=side,
                    price=tick.price,
                    size=size,
                    ts_ms=at,
                ),
            )

        return await self._read("prints", symbol, ask)

    # The account.

    async def account(self) -> Any:
        """Balances."""
        return await self._read(
            "account",
            "",
            lambda: records.account(self.world.venue, self.world.now_ms),
            private=True,
        )

    async def positions(self, symbol: str | None = None) -> tuple[Position, ...]:
        """Open positions, all of them."""

        def ask() -> tuple[Position, ...]:
            held = self.world.venue.account.positions.values()
            return tuple(
                records.position(row, self.world.venue)
                for row in held
                if symbol in (None, row.inst_id)
            )

        return await self._read("positions", symbol or "", ask, private=True)

    async def open_orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """Working orders and stop entries that queries find yet."""

        def ask() -> tuple[Order, ...]:
            desk, triggers = self.world.venue.orders, self.world.venue.triggers
            rows = [
                records.order(row, self.world.terms(row.request.inst_id))
                for row in desk.open.values()
                if self.world.is_visible(row.order_id)
            ] + [
                records.trigger_order(row, self.world.terms(row.request.inst_id))
                for row in triggers.algo_live.values()
                if self.world.is_visible(row.algo_id)
            ]
            return tuple(row for row in rows if symbol in (None, row.symbol))

        return await self._read("open_orders", symbol or "", ask, private=True)

    async def protections(self, symbol: str | None = None) -> tuple[Protection, ...]:
        """Waiting stops and targets."""

        def ask() -> tuple[Protection, ...]:
            live = self.world.venue.triggers.tpsl_live.values()
            return tuple(
                records.protection(row, self.world.terms(row.request.inst_id))
                for row in live
                if symbol in (None, row.request.inst_id)
            )

        return await self._read("protections", symbol or "", ask, private=True)

    async def order(self, ref: OrderRef) -> Order | None:
        """One order; None when queries do not find it."""
        return await self._read(
            "order", ref.symbol, lambda: self._find(ref), private=True, is_look_up=True
        )

    async def order_history(
        self, symbol: str | None = None, *, since_ms: int | None = None, limit: int = 100
    ) -> tuple[Order, ...]:
        """Finished orders, ascending by update."""

        def ask() -> tuple[Order, ...]:
            rows = [
                records.order(row, self.world.terms(row.request.inst_id))
                for row in self.world.venue.orders.known.values()
                if not row.is_open and self.world.is_visible(row.order_id)
            ]
            rows = [
                row
                for row in rows
                if symbol in (None, row.symbol) and (since_ms is None or row.updated_ms >= since_ms)
            ]
            rows.sort(key=lambda row: row.updated_ms)
            return tuple(rows[-min(limit, PAGE_MAX) :])

        return await self._read("order_history", symbol or "", ask, private=True)

    async def fills(
        self, symbol: str | None = None, *, since_ms: int | None = None, order_id: str | None = None
    ) -> tuple[Fill, ...]:
        """Executions, ascending; everything since a time, else the newest page."""

        def ask() -> tuple[Fill, ...]:
            rows = [
                records.fill(row, self.world.terms(row.inst_id))
                for row in self.world.venue.account.fills
                if symbol in (None, row.inst_id)
                and (since_ms is None or row.ts_ms >= since_ms)
                and order_id in (None, row.order_id)
            ]
            return tuple(rows if since_ms is not None or order_id else rows[-PAGE_MAX:])

        return await self._read("fills", symbol or "", ask, private=True)

    async def leverage(self, symbol: str) -> tuple[LeverageSetting, ...]:
        """Isolated leverage in force."""

        def ask() -> tuple[LeverageSetting, ...]:
            value = self.world.venue.account.leverage(symbol, "isolated", "net")
            return (
                LeverageSetting(symbol=symbol, leverage=value, margin_mode=MarginMode.ISOLATED),
            )

        return await self._read("leverage", symbol, ask, private=True)

    async def margin_mode(self) -> MarginMode:
        """The account's default margin mode."""
        account = self.world.venue.account
        return await self._read(
            "margin_mode", "", lambda: MarginMode(account.margin_mode), private=True
        )

    async def position_mode(self) -> PositionMode:
        """One-way or hedge."""

        def ask() -> PositionMode:
            word = self.world.venue.account.position_mode
            return next(mode for mode, name in records.MODE_WORDS.items() if name == word)

        return await self._read("position_mode", "", ask, private=True)

    async def key_info(self) -> KeyInfo:
        """A young key that may trade."""
        key = KeyInfo(name="storm", kind=KeyKind.OWN, can_trade=True, ips=())
        return await self._read("key_info", "", lambda: key, private=True)

    async def price_range(self, symbol: str, side: Side) -> PriceRange:
        """Prices an order may have now."""

        def ask() -> PriceRange:
            quote = self.world.venue.markets[symbol].quote()
            low, high = checks.price_band(quote, self.world.venue.rules)
            grid = self.world.terms(symbol).tick_size
            return PriceRange(price_min=-(-low // grid) * grid, price_max=high // grid * grid)

        return await self._read("price_range", symbol, ask, private=True)

    # What lowers exposure.

    async def cancel(self, ref: OrderRef) -> Ack:
        """Cancel an order or stop entry."""

        def act(sent: Sent) -> Ack:
            venue = self.world.venue
            if self.nemesis.strikes("cancel_race"):
                self._race(ref)
            if ref.is_trigger:
                algo = venue.triggers.algo.get(ref.order_id or "")
                algo = algo or venue.triggers.algo_by_client.get(ref.client_id or "")
                if algo is None:
                    raise sim.VenueError("102068", "gone")
                venue.triggers.cancel(algo)
                return _accepted(algo.algo_id, ref.client_id)
            order = self._known(ref)
            if order is None:
                raise sim.VenueError("102068", "gone")
            venue.orders.cancel(order)
            return _accepted(order.order_id, ref.client_id)

        return await self._write("cancel", ref.symbol, act, request=ref, client_id=ref.client_id)

    async def cancel_many(self, refs: Sequence[OrderRef]) -> tuple[Ack, ...]:
        """One after the other."""
        return tuple([await self.cancel(ref) for ref in refs])

    async def reduce(self, request: OrderRequest) -> Ack:
        """Place a reduce-only order."""
        if not request.reduce_only:
            raise UsageError("only reduce-only orders may pass here")
        return await self._write(
            "reduce",
            request.symbol,
            lambda sent: self._placed(request, sent),
            request=request,
            client_id=request.client_id,
            find=lambda: self._find(_ref(request)),
        )

    async def close_position(self, request: CloseRequest) -> Ack:
        """Close a whole position at market."""

        def act(sent: Sent) -> Ack:
            venue = self.world.venue
            if self.nemesis.strikes("close_refused"):
                raise sim.VenueError("102022", "The position is reserved by TP/SL orders.")
            if self.nemesis.strikes("no_liquidity"):
                venue.orders.take_share = Decimal("0.5")
            order = venue.close_position(
                request.symbol,
                "isolated",
                request.position_side.value,
                request.client_id,
                "",
            )
            sent.order_id = order.order_id
            return _accepted(None, request.client_id)

        ref = OrderRef(symbol=request.symbol, client_id=request.client_id)
        return await self._write(
            "close",
            request.symbol,
            act,
            request=request,
            client_id=request.client_id,
            find=lambda: self._find(ref),
        )

    async def protect(self, request: ProtectionRequest) -> Ack:
        """Place a stop, a target or both."""

        def act(sent: Sent) -> Ack:
            if self.nemesis.strikes("stop_refused"):
                raise sim.VenueError("102038", "SL trigger price passed.")
            asked = records.asked_protection(request, self.world.terms(request.symbol))
            tpsl = self.world.venue.triggers.place_tpsl(asked)
            sent.order_id = tpsl.tpsl_id
            return _accepted(tpsl.tpsl_id, request.client_id)

        def find() -> Protection | None:
            tpsl = self.world.venue.triggers.tpsl_by_client.get(request.client_id)
            if tpsl is None:
                return None
            return records.protection(tpsl, self.world.terms(request.symbol))

        return await self._write(
            "protect",
            request.symbol,
            act,
            request=request,
            client_id=request.client_id,
            find=find,
        )

    async def cancel_protection(self, ref: ProtectionRef) -> Ack:
        """Remove a stop or target."""

        def act(sent: Sent) -> Ack:
            triggers = self.world.venue.triggers
            tpsl = triggers.tpsl.get(ref.protection_id or "")
            tpsl = tpsl or triggers.tpsl_by_client.get(ref.client_id or "")
            if tpsl is None:
                raise sim.VenueError("102068", "gone")
            sent.order_id = tpsl.tpsl_id
            triggers.cancel(tpsl)
            return _accepted(tpsl.tpsl_id, ref.client_id)

        return await self._write(
            "cancel_protection", ref.symbol, act, request=ref, client_id=ref.client_id
        )

    # What may raise it.

    async def place(self, request: OrderRequest, *, fence: Fence | None = None) -> Ack:
        """Place one order with its attached stop and target."""
        return await self._write(
            "place",
            request.symbol,
            lambda sent: self._placed(request, sent),
            request=request,
            client_id=request.client_id,
            opens=not request.reduce_only,
            fence=fence,
            find=lambda: self._find(_ref(request)),
        )

    async def place_many(
        self, requests: Sequence[OrderRequest], *, fence: Fence | None = None
    ) -> tuple[Ack, ...]:
        """One after the other."""
        return tuple([await self.place(request, fence=fence) for request in requests])

    async def set_leverage(self, symbol: str, leverage: int) -> tuple[LeverageSetting, ...]:
        """Set isolated leverage and read it back."""

        def act(sent: Sent) -> Ack:
            if not self.nemesis.strikes("ignored_leverage"):
                self.world.venue.set_leverage(symbol, "isolated", "net", leverage)
            return _accepted(None, None)

        ack = await self._write("set_leverage", symbol, act, request=(symbol, leverage))
        if ack.outcome is Outcome.REFUSED:
            raise VenueError(ack.message, venue_code=ack.code)
        told = await self.leverage(symbol)
        if told[0].leverage != leverage:
            raise VenueError(f"{symbol}: leverage is {told[0].leverage} after setting {leverage}")
        return told

    async def set_margin_mode(self, mode: MarginMode) -> MarginMode:
        """Set the default margin mode and read it back."""

        def act(sent: Sent) -> Ack:
            self.world.venue.set_margin_mode(mode.value)
            return _accepted(None, None)

        if await self.margin_mode() is not mode:
            ack = await self._write("set_margin_mode", "", act, request=mode)
            if ack.outcome is Outcome.REFUSED:
                raise VenueError(ack.message, venue_code=ack.code)
            if await self.margin_mode() is not mode:
                raise VenueError("the margin mode did not change")
        return mode

    async def set_position_mode(self, mode: PositionMode) -> PositionMode:
        """Set the position mode and read it back."""

        def act(sent: Sent) -> Ack:
            self.world.venue.set_position_mode(records.MODE_WORDS[mode])
            return _accepted(None, None)

        if await self.position_mode() is not mode:
            ack = await self._write("set_position_mode", "", act, request=mode)
            if ack.outcome is Outcome.REFUSED:
                raise VenueError(ack.message, venue_code=ack.code)
            if await self.position_mode() is not mode:
                raise VenueError("the position mode did not change")
        return mode

    async def aclose(self) -> None:
        """Nothing is held."""

    # One request.

    async def _read(
        self,
        name: str,
        symbol: str,
        ask: Callable[[], Any],
        *,
        private: bool = False,
        is_look_up: bool = False,
    ) -> Any:
        self._check()
        fate = self._fate(name, private=private, is_write=False, is_look_up=is_look_up)
        if fate.problem is not None and not fate.acts:
            await asyncio.sleep(TIMEOUT_S if fate.loses else fate.up_s)
            self._tell(None, good=isinstance(fate.problem, RateLimitError))
            raise fate.problem
        sent = self._sent(name, symbol, opens=False, is_write=False)
        try:
            value = await self._carried(sent, lambda _: ask(), fate)
        except _LostError:
            self._tell(sent, good=False)
            raise (fate.problem or NetworkError(f"{name}: no answer")) from None
        except sim.VenueError as refusal:
            raise VenueError(refusal.message, venue_code=refusal.code) from None
        self._tell(sent, good=True)
        return value

    async def _write(
        self,
        name: str,
        symbol: str,
        act: Callable[[Sent], Ack],
        *,
        request: Any,
        client_id: str | None = None,
        opens: bool = False,
        fence: Fence | None = None,
        find: Callable[[], Any] | None = None,
    ) -> Ack:
        self._check()
        fate = self._fate(name, private=True, is_write=True)
        if fate.wait_s:
            await asyncio.sleep(fate.wait_s)
            self._check()
        if fate.problem is not None and not fate.acts and not fate.loses:
            await asyncio.sleep(fate.up_s)
            self._tell(None, good=isinstance(fate.problem, RateLimitError))
            raise fate.problem
        if fence is not None:
            fence()
            self._check()
        sent = self._sent(
            name, symbol, opens=opens, is_write=True, request=request, client_id=client_id or ""
        )
        try:
            ack: Ack = await self._carried(sent, act, fate)
        except _LostError:
            self._tell(sent, good=False)
            return await self._looked_up(client_id, find)
        except sim.VenueError as refusal:
            self._tell(sent, good=True)
            if refusal.code == "102002":
                return await self._looked_up(client_id, find)
            return Ack(
                outcome=Outcome.REFUSED,
                client_id=client_id,
                code=refusal.code,
                message=refusal.message,
            )
        self._tell(sent, good=True)
        return ack

    async def _looked_up(self, client_id: str | None, find: Callable[[], Any] | None) -> Ack:
        """What the adapter's own look-up finds; a second question may be lost too."""
        unknown = Ack(outcome=Outcome.UNKNOWN, client_id=client_id, message="no answer")
        if find is None or self.nemesis.strikes("look_up_in_vain"):
            return unknown
        await asyncio.sleep(0.65)
        try:
            found = await self._read("look_up", "", find, private=True, is_look_up=True)
        except BlofinError:
            return unknown
        if found is None:
            return unknown
        own = found.order_id if isinstance(found, Order) else found.protection_id
        is_failed = found.state is OrderState.FAILED
        outcome = Outcome.REFUSED if is_failed else Outcome.ACCEPTED
        return replace(unknown, outcome=outcome, order_id=own, message="", resolved=True)

    async def _carried(self, sent: Sent, act: Callable[[Sent], Any], fate: _Fate) -> Any:
        """Through the network and back. Errors: _LostError; the venue's refusal."""
        answer = self.loop.create_future()

        def arrive() -> None:
            if fate.acts:
                self._arrive(sent, act, answer, fate)
            elif not answer.done():
                self.loop.call_later(
                    _patience_s(sent), _fail, answer, _LostError(), context=OUTSIDE
                )

        late = self.nemesis.uniform("late", 0.0, LATE_S_MAX) if fate.loses == "late" else 0.0
        self.loop.call_later(fate.up_s + late, arrive, context=OUTSIDE)
        if fate.loses == "late":
            self.loop.call_later(_patience_s(sent), _fail, answer, _LostError(), context=OUTSIDE)
        return await answer

    def _arrive(
        self, sent: Sent, act: Callable[[Sent], Any], answer: "asyncio.Future[Any]", fate: _Fate
    ) -> None:
        world = self.world
        sent.arrived_ms = world.now_ms
        value: Any = None
        refusal: sim.VenueError | None = None
        try:
            if sent.is_write:
                world.venue.advance(world.now_ms)
            if fate.refuses:
                raise sim.VenueError(fate.refuses, "forced")
            value = act(sent)
            sent.outcome = "accepted"
        except sim.VenueError as said:
            refusal = said
            sent.outcome, sent.code = "refused", said.code
        if sent.is_write:
            self._count_rare(sent, fate)
            world.note(
                f"arrived {sent.name} {sent.symbol} {sent.client_id} {sent.outcome}{sent.code}"
            )
            world.settle()
            for hear in world.told.arrived:
                hear(sent)
        if fate.loses:
            if fate.loses != "late":
                after = 0.2 if fate.loses == "answer now" else _patience_s(sent)
                self.loop.call_later(after, _fail, answer, _LostError(), context=OUTSIDE)
        elif refusal is not None:
            self.loop.call_later(fate.down_s, _fail, answer, refusal, context=OUTSIDE)
        else:
            self.loop.call_later(fate.down_s, _give, answer, value, context=OUTSIDE)

    def _count_rare(self, sent: Sent, fate: _Fate) -> None:
        """States that a campaign must have reached."""
        world, now = self.world, self.loop.now_s
        if fate.loses == "late":
            world.counts["late answers"] += 1
        if world.life is None or world.life.is_dead or world.life.number != sent.life:
            world.counts["arrived after a kill"] += 1
        names = ("storage_locked", "storage_full")
        if sent.name == "protect" and any(self.nemesis.window(name, now) for name in names):
            world.counts["stop placed in storage trouble"] += 1

    def _fate(self, name: str, *, private: bool, is_write: bool, is_look_up: bool = False) -> _Fate:
        nemesis = self.nemesis
        up = nemesis.uniform("up", 0.005, 0.06)
        down = nemesis.uniform("down", 0.005, 0.06)
        if forced := nemesis.forced_fate(name):
            return _forced(name, forced, up, self.world.bot_ms)
        early = self._window_fate(name, up, private=private, is_write=is_write, look=is_look_up)
        if early is not None:
            return early
        if nemesis.strikes("not_sent"):
            return _Fate(up_s=up, problem=NetworkError(f"{name}: not reached"), acts=False)
        if nemesis.strikes("rate_limit"):
            until = self.world.bot_ms + round(nemesis.uniform("rate_limit", 1, 10) * 1000)
            return _Fate(problem=RateLimitError("429", until_ms=until), acts=False)
        if nemesis.strikes("lost_request"):
            problem = NetworkError(f"{name}: timed out")
            return _Fate(up_s=up, loses="request", acts=False, problem=problem)
        if nemesis.strikes("lost_answer") or (name == "place" and nemesis.strikes("lost_place")):
            return _Fate(up_s=up, loses="answer")
        if nemesis.strikes("server_error"):
            return _Fate(up_s=up, loses="answer now", problem=NetworkError(f"{name}: 502"))
        if nemesis.strikes("html"):
            return _Fate(up_s=up, loses="answer now", problem=BadAnswerError(f"{name}: HTML"))
        if is_write and nemesis.strikes("late_request"):
            return _Fate(up_s=up, loses="late")
        wait = 0.0
        if name == "place" and nemesis.strikes("long_place_wait"):
            wait = nemesis.uniform("long_wait", 0.5, 25.0)
        elif is_write and nemesis.strikes("long_wait"):
            # what protects has a reserve of its own: one window of the trading limit at most
            wait = nemesis.uniform("long_wait", 0.5, 10.0)
        if nemesis.strikes("delay"):
            share = nemesis.uniform("delay", 0.0, 3.0)
            up, down = up + share, down + nemesis.uniform("delay back", 0.0, 1.5)
        return _Fate(wait_s=wait, up_s=up, down_s=down)

    def _window_fate(
        self, name: str, up: float, *, private: bool, is_write: bool, look: bool
    ) -> _Fate | None:
        nemesis, now = self.nemesis, self.loop.now_s
        if nemesis.is_on("outage", now):
            problem: BlofinError = NetworkError(f"{name}: 503")
            if nemesis.chances.of("outage").random() < 0.5:
                problem = BadAnswerError(f"{name}: HTML")
            if is_write and isinstance(problem, BadAnswerError):
                return _Fate(up_s=up, loses="request", acts=False)
            if is_write:
                problem = NetworkError(f"{name}: not reached")
            return _Fate(up_s=up, problem=problem, acts=False)
        window = nemesis.window("suspension", now)
        if window is not None:
            until = self.world.bot_ms + round((window.end_s - now) * 1000)
            return _Fate(problem=RateLimitError("suspended", until_ms=until), acts=False)
        if private and nemesis.is_on("key_expired", now):
            problem = AuthError("BloFin refused (152402)", details={"venue_code": "152402"})
            return _Fate(up_s=up, problem=problem, acts=False)
        failing = {
            "positions": "positions_fail",
            "open_orders": "orders_fail",
            "order_history": "orders_fail",
            "protections": "protections_fail",
        }.get(name)
        failing = failing or ("lookups_fail" if look else None)
        if failing is not None and nemesis.is_on(failing, now):
            return _Fate(up_s=up, problem=NetworkError(f"{name}: 500"), acts=False)
        if name == "protect" and nemesis.is_on("stops_fail", now):
            return _Fate(up_s=up, loses="request", acts=False)
        return None

    def _placed(self, request: OrderRequest, sent: Sent) -> Ack:
        venue, nemesis = self.world.venue, self.nemesis
        terms = self.world.terms(request.symbol)
        if sent.opens and nemesis.strikes("refused"):
            raise sim.VenueError("103003", "Order failed. Insufficient USDT margin in account")
        if request.type is OrderType.TRIGGER:
            algo = venue.triggers.place_algo(records.asked_trigger(request, terms))
            sent.order_id = algo.algo_id
            self._hide(algo.algo_id)
            return _accepted(algo.algo_id, request.client_id)
        asked = records.asked_order(request, terms)
        kept = asked.protection
        if kept.sl_trigger is not None and nemesis.strikes("dropped_stop"):
            kept = replace(kept, sl_trigger=None, sl_price=None)
        if kept.tp_trigger is not None and nemesis.strikes("dropped_target"):
            kept = replace(kept, tp_trigger=None, tp_price=None)
        if nemesis.strikes("partial_fill"):
            share = round(nemesis.uniform("partial_fill", 30, 80))
            venue.orders.take_share = Decimal(share) / 100
        try:
            order = venue.orders.place(replace(asked, protection=kept))
        finally:
            venue.orders.take_share = None
        sent.order_id = order.order_id
        self._hide(order.order_id)
        return _accepted(order.order_id, request.client_id)

    def _hide(self, order_id: str) -> None:
        """Keep it out of queries for a while, at most two minutes."""
        if self.nemesis.strikes("invisible"):
            seconds = 119.0 * self.nemesis.chances.of("invisible").random() ** 3
            self.world.hidden[order_id] = self.loop.now_s + seconds

    def _race(self, ref: OrderRef) -> None:
        """The order fills while its cancel is on the way."""
        order = self._known(ref)
        if order is None or not order.is_open or order.price is None:
            return
        share = self.nemesis.uniform("cancel_race", 0.2, 1.4)
        lot = self.world.terms(ref.symbol).lot_size
        wanted = (
            order.remaining * Decimal(str(round(min(share, 1.0), 3))) / lot
        ).to_integral_value(ROUND_FLOOR) * lot
        if wanted > 0:
            desk = self.world.venue.orders
            desk._fill(order, order.price, wanted, is_maker=True)

    def _known(self, ref: OrderRef) -> sim.Order | None:
        desk = self.world.venue.orders
        if ref.order_id:
            return desk.known.get(ref.order_id)
        return desk.by_client.get(ref.client_id or "")

    def _find(self, ref: OrderRef) -> Order | None:
        terms = self.world.terms(ref.symbol)
        if ref.is_trigger:
            triggers = self.world.venue.triggers
            algo = triggers.algo.get(ref.order_id or "")
            algo = algo or triggers.algo_by_client.get(ref.client_id or "")
            if algo is None or not self.world.is_visible(algo.algo_id):
                return None
            return records.trigger_order(algo, terms)
        order = self._known(ref)
        if order is None or not self.world.is_visible(order.order_id):
            return None
        return records.order(order, terms)

    def _sent(self, name: str, symbol: str, **given: Any) -> Sent:
        world = self.world
        life = current()
        sent = Sent(
            at_ms=world.now_ms,
            step=self.loop.steps,
            life=life.number if life else 0,
            name=name,
            symbol=symbol,
            **given,
        )
        world.log.append(sent)
        world.note(f"sent {name} {symbol} {sent.client_id}")
        for hear in world.told.sent:
            hear(sent)
        return sent

    def _tell(self, sent: Sent | None, *, good: bool) -> None:
        for hear in self.world.told.answered:
            hear(sent, good)

    @staticmethod
    def _check() -> None:
        life = current()
        if life is not None:
            life.check()


def _patience_s(sent: Sent) -> float:
    """How long the client waits for an answer: not as long where a position may be bare."""
    return PROTECT_TIMEOUT_S if sent.is_write and not sent.opens else TIMEOUT_S


def _forced(name: str, word: str, up_s: float, now_ms: int) -> _Fate:
    """A fate by its word: `request answer 5xx html late not_sent rate wait:S refused:CODE ok`."""
    kind, _, value = word.partition(":")
    match kind:
        case "request":
            problem = NetworkError(f"{name}: timed out")
            return _Fate(up_s=up_s, loses="request", acts=False, problem=problem)
        case "answer" | "late":
            return _Fate(up_s=up_s, loses=kind)
        case "5xx":
            return _Fate(up_s=up_s, loses="answer now", problem=NetworkError(f"{name}: 502"))
        case "html":
            return _Fate(up_s=up_s, loses="answer now", problem=BadAnswerError(f"{name}: HTML"))
        case "not_sent":
            return _Fate(up_s=up_s, problem=NetworkError(f"{name}: not reached"), acts=False)
        case "rate":
            until = now_ms + round(float(value or 1) * 1000)
            return _Fate(problem=RateLimitError("429", until_ms=until), acts=False)
        case "auth":
            problem = AuthError(f"BloFin refused ({value})", details={"venue_code": value})
            return _Fate(up_s=up_s, problem=problem, acts=False)
        case "wait":
            return _Fate(up_s=up_s, wait_s=float(value))
        case "refused":
            return _Fate(up_s=up_s, refuses=value)
    assert kind == "ok", word
    return _Fate(up_s=up_s)


def _accepted(order_id: str | None, client_id: str | None) -> Ack:
    return Ack(outcome=Outcome.ACCEPTED, order_id=order_id, client_id=client_id)


def _ref(request: OrderRequest) -> OrderRef:
    return OrderRef(
        symbol=request.symbol,
        client_id=request.client_id,
        is_trigger=request.type is OrderType.TRIGGER,
    )


def _fail(answer: "asyncio.Future[Any]", problem: Exception) -> None:
    if not answer.done():
        answer.set_exception(problem)


def _give(answer: "asyncio.Future[Any]", value: Any) -> None:
    if not answer.done():
        answer.set_result(value)
