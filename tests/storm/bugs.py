"""Bugs on purpose: each is a mistake that real bots made, planted by exchanging one part.

A storm that does not find one of these would not find its like either. `planted(name)` puts one in
for as long as the block runs; a part that is no longer there is an error, not a bug that passes.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from blofin_cli.core import journal as journal_records
from blofin_cli.core.feed import CandleEvent, ReconcileNeeded
from blofin_cli.core.journal import IntentState, Purpose, Room
from blofin_cli.core.orders import OrderRequest, OrderType, Outcome, Side
from blofin_cli.engine import gate as gate_module
from blofin_cli.engine.gate import Gate
from blofin_cli.engine.live import clerk as clerk_module
from blofin_cli.engine.live import feeder as feeder_module
from blofin_cli.engine.live import keeper as keeper_module
from blofin_cli.engine.live import repair as repair_module
from blofin_cli.engine.live import session as session_module
from blofin_cli.engine.live.clerk import Clerk
from blofin_cli.engine.live.keeper import Keeper
from blofin_cli.engine.live.scribe import Scribe
from blofin_cli.engine.live.session import LiveSession
from blofin_cli.engine.live.trader import Trader
from blofin_cli.errors import BlofinError, DataError
from tests.storm.bot import Scripted
from tests.storm.exchange import StormExchange
from tests.storm.feed import StormStream
from tests.storm.storage import StormJournal

Bug = Callable[[ExitStack], None]
BUGS: dict[str, Bug] = {}
HUGE = Decimal(10) ** 12


def bug(plant: Bug) -> Bug:
    """Enter a bug under its name."""
    BUGS[plant.__name__] = plant
    return plant


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Let one bug be there; none when the name is empty."""
    with ExitStack() as stack:
        if name:
            BUGS[name](stack)
        yield


def _put(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    stack.enter_context(patch.object(owner, name, value))


# Submitting.


@bug
def new_id_on_retry(stack: ExitStack) -> None:
    """An order whose answer was lost is sent again under another id."""
    place = Gate.place

    async def twice(self: Gate, plan: Any, standing: Any, *, key: str, **given: Any) -> Any:
        placed = await place(self, plan, standing, key=key, **given)
        if placed.ack is not None and placed.ack.outcome is Outcome.UNKNOWN:
            self._journal.settle_intent(replace(placed.intent, state=IntentState.VOID))
            await asyncio.sleep(0.5)
            return await place(self, plan, standing, key=f"{key}:again", **given)
        return placed

    _put(stack, Gate, "place", twice)


@bug
def row_after_send(stack: ExitStack) -> None:
    """The intent becomes durable after the request has left."""
    waiting: dict[str, Any] = {}

    def reserve(self: StormJournal, intent: Any, room: Any = None) -> Any:
        if intent.purpose is not Purpose.ENTRY:
            return self.inner.reserve(intent, room)
        waiting[intent.client_id] = (intent, room)
        return intent

    def settle_intent(self: StormJournal, intent: Any) -> None:
        late = waiting.pop(intent.client_id, None)
        if late is not None:
            self.inner.reserve(*late)
        self.inner.settle_intent(intent)

    stack.enter_context(patch.object(StormJournal, "reserve", reserve, create=True))
    stack.enter_context(patch.object(StormJournal, "settle_intent", settle_intent, create=True))


@bug
def sent_though_unwritten(stack: ExitStack) -> None:
    """A journal that refuses the intent does not keep it from being sent."""

    def reserve(self: StormJournal, intent: Any, room: Any = None) -> Any:
        try:
            return self.inner.reserve(intent, room)
        except DataError:
            return intent

    stack.enter_context(patch.object(StormJournal, "reserve", reserve, create=True))


@bug
def halt_at_loop_top(stack: ExitStack) -> None:
    """The flag is looked at when a bar comes, not when the order leaves."""
    place = StormExchange.place

    async def unfenced(self: StormExchange, request: Any, *, fence: Any = None) -> Any:
        return await place(self, request)

    _put(stack, StormExchange, "place", unfenced)


@bug
def halt_cached(stack: ExitStack) -> None:
    """The halt flag is read anew every 20 seconds."""
    halted = StormJournal.halted
    known: dict[int, tuple[float, Any]] = {}

    def cached(self: StormJournal) -> Any:
        now = self.world.loop.now_s
        at, value = known.get(id(self), (-1e9, None))
        if now - at < 20.0:
            return value
        known[id(self)] = (now, halted(self))
        return known[id(self)][1]

    _put(stack, StormJournal, "halted", cached)


@bug
def halt_fails_open(stack: ExitStack) -> None:
    """A flag that cannot be read counts as not raised."""
    halted = StormJournal.halted

    def hopeful(self: StormJournal) -> Any:
        try:
            return halted(self)
        except DataError:
            return None

    _put(stack, StormJournal, "halted", hopeful)


@bug
def timeout_is_rejected(stack: ExitStack) -> None:
    """An order whose answer was lost is booked as refused."""
    place = StormExchange.place

    async def sure(self: StormExchange, request: Any, *, fence: Any = None) -> Any:
        ack = await place(self, request, fence=fence)
        if ack.outcome is Outcome.UNKNOWN:
            return replace(ack, outcome=Outcome.REFUSED, code="timeout")
        return ack

    _put(stack, StormExchange, "place", sure)


@bug
def unknown_is_void(stack: ExitStack) -> None:
    """One look-up that finds nothing ends an intent."""
    _put(stack, clerk_module, "LOST_LOOKS", 1)
    _put(stack, clerk_module, "LOST_AFTER_MS", 0)


@bug
def failure_counts_as_miss(stack: ExitStack) -> None:
    """A look-up that failed counts as 'not found'."""
    order = StormExchange.order
    _put(stack, clerk_module, "LOST_AFTER_MS", 15_000)

    async def absent(self: StormExchange, ref: Any) -> Any:
        try:
            return await order(self, ref)
        except BlofinError:
            return None

    _put(stack, StormExchange, "order", absent)


@bug
def limit_checked_then_awaited(stack: ExitStack) -> None:
    """Room is asked for before a wait, and not again with the reservation."""
    place = Gate.place

    async def slow(self: Gate, plan: Any, standing: Any, **given: Any) -> Any:
        asked = standing()
        wide = replace(
            asked.room, risk_usdt=HUGE, notional_usdt=HUGE, count=99, allows_same_symbol=True
        )
        await asyncio.sleep(1.0)
        return await place(self, plan, lambda: replace(standing(), room=wide), **given)

    _put(stack, Gate, "place", slow)


@bug
def no_room(stack: ExitStack) -> None:
    """Reserved entries do not count against the limits."""
    wide = Room(risk_usdt=HUGE, notional_usdt=HUGE, count=99, allows_same_symbol=True)

    def reserve(self: StormJournal, intent: Any, room: Any = None) -> Any:
        return self.inner.reserve(intent, wide if room is not None else None)

    stack.enter_context(patch.object(StormJournal, "reserve", reserve, create=True))
    _put(stack, Trader, "_refused", lambda self, symbol: "")
    _put(stack, Trader, "_held", lambda self, symbol: "")


@bug
def stale_quotes(stack: ExitStack) -> None:
    """Nobody looks at the age of the market data."""
    _put(stack, gate_module, "QUOTE_AGE_MS_MAX", 10**12)
    _put(stack, feeder_module, "FRESH_MS", 10**12)
    from blofin_cli.engine import judging

    _put(stack, judging, "QUOTE_AGE_MS_MAX", 10**12)


@bug
def not_checked_after_wait(stack: ExitStack) -> None:
    """What was decided before a long wait is sent after it."""
    if hasattr(Gate, "_fence"):
        _put(
            stack,
            Gate,
            "_fence",
            lambda self, plan, now, data_ms: gate_module.refuse_halted(self._journal),
        )


@bug
def price_off_the_grid(stack: ExitStack) -> None:
    """Half a tick is added to a stop on its way out."""
    place = StormExchange.place

    async def shifted(self: StormExchange, request: Any, *, fence: Any = None) -> Any:
        if request.stop is not None:
            tick = self.world.terms(request.symbol).tick_size
            request = replace(request, stop=request.stop - tick / 2)
        return await place(self, request, fence=fence)

    _put(stack, StormExchange, "place", shifted)


@bug
def client_id_of_the_clock(stack: ExitStack) -> None:
    """The id of an intent is not the one that was written down."""
    place = StormExchange.place

    async def renamed(self: StormExchange, request: Any, *, fence: Any = None) -> Any:
        other = f"t{self.world.bot_ms}"
        return await place(self, replace(request, client_id=other), fence=fence)

    _put(stack, StormExchange, "place", renamed)


@bug
def opens_before_reconciliation(stack: ExitStack) -> None:
    """Trading begins with the first quote, protection when the books agree."""
    _put(stack, LiveSession, "blocked", lambda self: "")
    _put(stack, keeper_module, "_is_explained", lambda view, entries: False)


@bug
def leverage_remembered(stack: ExitStack) -> None:
    """Leverage is set once and believed for ever."""

    async def believed(self: Trader, symbol: str, leverage: int) -> None:
        self._terms[symbol] = replace(self._terms[symbol], leverage=leverage)

    _put(stack, Trader, "_set_leverage", believed)


@bug
def no_stop_sent(stack: ExitStack) -> None:
    """The stop is left for later."""
    place = StormExchange.place

    async def bare(self: StormExchange, request: Any, *, fence: Any = None) -> Any:
        return await place(self, replace(request, stop=None), fence=fence)

    _put(stack, StormExchange, "place", bare)


# Protecting.


@bug
def stop_not_checked(stack: ExitStack) -> None:
    """That an order carried a stop is taken for its being there."""
    _put(stack, repair_module, "_bare", lambda view, position: None)
    _put(stack, repair_module, "_tidy", lambda view: None)


@bug
def stop_retried_without_deadline(stack: ExitStack) -> None:
    """A stop that does not get through is tried again, for ever; nothing closes."""
    _put(stack, repair_module, "CLOSE_AFTER_MS", 10**12)
    _put(stack, repair_module, "ATTEMPTS_MAX", 10**9)
    protect = Keeper._protect

    async def slow(self: Keeper, *given: Any, **more: Any) -> None:
        await protect(self, *given, **more)
        await asyncio.sleep(30.0)

    _put(stack, Keeper, "_protect", slow)


@bug
def stop_checked_each_minute(stack: ExitStack) -> None:
    """Protection is looked after in the slow cycle."""
    needs = Keeper.needs_work

    def slowly(self: Keeper, symbol: str) -> bool:
        now = self._state.clock.now_ms()
        last = self.__dict__.setdefault("last_looked", {})
        if now - last.get(symbol, 0) < 60_000:
            return False
        last[symbol] = now
        return needs(self, symbol)

    _put(stack, Keeper, "needs_work", slowly)


@bug
def orphans_left(stack: ExitStack) -> None:
    """What protected a position stays when it is gone."""
    _put(stack, repair_module, "_flat", repair_module._unwanted)


@bug
def stop_dropped_first(stack: ExitStack) -> None:
    """A stop that must change is cancelled before the new one is placed."""
    protect = Keeper._protect

    async def cancel_first(self: Keeper, symbol: str, wanted: Any, *, is_stop: bool) -> None:
        held = self._state.mirror.position(symbol)
        if is_stop and held is not None:
            for row in self._state.mirror.stops(symbol, held.closing_side):
                await self._drop(symbol, row.protection_id)
            await asyncio.sleep(20.0)
        await protect(self, symbol, wanted, is_stop=is_stop)

    _put(stack, Keeper, "_protect", cancel_first)


@bug
def close_not_followed(stack: ExitStack) -> None:
    """A close is sent once and believed."""

    close = Keeper._close

    async def once(self: Keeper, symbol: str, why: str) -> None:
        sent = self.__dict__.setdefault("sent_once", {})
        if sent.get(symbol) == why:
            await asyncio.sleep(1.0)
            return
        sent[symbol] = why
        await close(self, symbol, why)

    _put(stack, Keeper, "_close", once)


@bug
def closes_by_opening(stack: ExitStack) -> None:
    """A close is an ordinary order of the other side, and sent twice when it was not confirmed."""

    async def close(self: StormExchange, request: Any) -> Any:
        held = self.world.position(request.symbol)
        size = Decimal(1) if held is None else held.contracts
        order = OrderRequest(
            symbol=request.symbol,
            side=Side.SELL if held is None or held.direction > 0 else Side.BUY,
            type=OrderType.MARKET,
            size=size * self.world.terms(request.symbol).contract_value * 2,
            client_id=request.client_id,
        )
        return await self.place(order)

    _put(stack, StormExchange, "close_position", close)


@bug
def halt_leaves_entries(stack: ExitStack) -> None:
    """Halting stops new orders and forgets those that rest."""
    _put(stack, LiveSession, "_entries_unwanted", lambda self, symbol: False)


@bug
def one_symbol_blocks_all(stack: ExitStack) -> None:
    """All symbols are looked after in one task, one after the other, however long one takes."""
    lock: dict[int, asyncio.Lock] = {}
    tend = Keeper.tend

    async def queued(self: Keeper, symbol: str) -> None:
        async with lock.setdefault(id(self), asyncio.Lock()):
            await tend(self, symbol)
            await asyncio.sleep(25.0)

    _put(stack, Keeper, "tend", queued)


# Reading the exchange.


def _empty_on_failure(stack: ExitStack, name: str) -> None:
    query = getattr(StormExchange, name)

    async def hopeful(self: StormExchange, symbol: str | None = None) -> Any:
        try:
            return await query(self, symbol)
        except BlofinError:
            return ()

    _put(stack, StormExchange, name, hopeful)


@bug
def failed_positions_are_flat(stack: ExitStack) -> None:
    """A query of positions that fails reads as none."""
    _empty_on_failure(stack, "positions")


@bug
def failed_stops_are_none(stack: ExitStack) -> None:
    """A query of stops that fails reads as none."""
    _empty_on_failure(stack, "protections")


@bug
def fills_counted_by_message(stack: ExitStack) -> None:
    """A fill's name is not the exchange's, so the same one is booked again."""
    fills = StormExchange.fills

    async def renamed(self: StormExchange, *given: Any, **more: Any) -> Any:
        rows = await fills(self, *given, **more)
        if self.nemesis.chances.of("bug").random() < 0.05:
            return tuple(replace(row, trade_id=f"{row.trade_id}b") for row in rows)
        return rows

    _put(stack, StormExchange, "fills", renamed)


@bug
def fills_only_from_stream(stack: ExitStack) -> None:
    """Executions are read when the stream speaks, and never else."""

    async def nothing() -> None:
        pass

    reconcile = Clerk.reconcile

    async def blind(self: Clerk) -> None:
        with patch.object(self, "collect_fills", nothing):  # a kill may leave it so: this one alone
            await reconcile(self)

    _put(stack, Clerk, "reconcile", blind)


@bug
def no_reconciliation(stack: ExitStack) -> None:
    """After the start the stream is believed: nothing is compared again."""
    send = LiveSession._send_reconciler

    def only_first(self: LiveSession) -> None:
        if not self._is_ready:
            send(self)

    _put(stack, LiveSession, "_send_reconciler", only_first)
    put = StormStream._put

    def without(self: StormStream, event: Any) -> None:
        if not isinstance(event, ReconcileNeeded):
            put(self, event)

    _put(stack, StormStream, "_put", without)


@bug
def fills_after_cancel_ignored(stack: ExitStack) -> None:
    """An order that was cancelled cannot fill any more."""
    book = Clerk._book

    def closed(self: Clerk, fill: Any, order: Any) -> None:
        if order is not None and order.state.value in ("canceled", "partially_canceled"):
            return
        book(self, fill, order)

    _put(stack, Clerk, "_book", closed)


@bug
def restart_forgets_intents(stack: ExitStack) -> None:
    """A start ends every open intent, whatever became of it."""
    recall = Clerk.recall

    def fresh(self: Clerk) -> None:
        for intent in self._state.journal.open_intents(self._state.account):
            if intent.purpose is Purpose.ENTRY:
                done = replace(intent, state=IntentState.VOID, updated_ms=self._state.now_ms())
                self._state.journal.settle_intent(done)
        recall(self)

    _put(stack, Clerk, "recall", fresh)


@bug
def restart_clears_stops(stack: ExitStack) -> None:
    """A start takes away whatever waits at the exchange, to begin clean."""
    reconcile = Clerk.reconcile

    async def clean(self: Clerk) -> None:
        if not self.__dict__.get("is_clean"):
            for row in await self._state.exchange.protections():
                await self._state.exchange.cancel_protection(row.ref)
            await asyncio.sleep(20.0)
            self.__dict__["is_clean"] = True
        await reconcile(self)

    _put(stack, Clerk, "reconcile", clean)


@bug
def deadlocked_books(stack: ExitStack) -> None:
    """A task that waits for an answer that never comes, and nobody notices."""
    collect = Clerk.collect_fills

    async def hangs(self: Clerk) -> None:
        if self._state.exchange.nemesis.chances.of("bug").random() < 0.02:  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        await collect(self)

    _put(stack, Clerk, "collect_fills", hangs)


# Market data.


@bug
def unfinished_candles(stack: ExitStack) -> None:
    """A candle that moves is taken for one that has closed."""
    put = StormStream._put

    def early(self: StormStream, event: Any) -> None:
        if isinstance(event, CandleEvent) and not event.bar.is_closed:
            event = replace(event, bar=replace(event.bar, is_closed=True))
        put(self, event)

    _put(stack, StormStream, "_put", early)


@bug
def holes_passed_over(stack: ExitStack) -> None:
    """A candle that is missing is left out."""

    async def skip(self: feeder_module.Feeder, symbol: str) -> bool:
        waiting = self._waiting[symbol]
        if waiting:
            await self._hand_over(symbol, waiting.pop(min(waiting)))
            return True
        return False

    _put(stack, feeder_module.Feeder, "_fill", skip)


@bug
def candles_twice(stack: ExitStack) -> None:
    """Each candle message is a step of the strategy."""
    judge = Scripted.judge

    def again(self: Scripted, symbol: str, now_ms: int) -> Any:
        judged = judge(self, symbol, now_ms)
        if self._parts.world.nemesis.chances.of("bug").random() < 0.05:
            judge(self, symbol, now_ms)
        return judged

    _put(stack, Scripted, "judge", again)


# The process.


@bug
def storage_failure_is_fatal(stack: ExitStack) -> None:
    """A full disk ends the loop."""

    def strict(self: Scribe, entry: Any) -> bool:
        entry()
        return True

    _put(stack, Scribe, "write", strict)


@bug
def late_writes_dropped(stack: ExitStack) -> None:
    """What could not be written is forgotten."""

    def careless(self: Scribe, entry: Any) -> bool:
        try:
            entry()
        except DataError as problem:
            self.problem = problem.message
        return True

    _put(stack, Scribe, "write", careless)


@bug
def halt_not_acknowledged(stack: ExitStack) -> None:
    """The daemon obeys without a word."""
    _put(stack, LiveSession, "halt_seen_ms", property(lambda self: None))


@bug
def retry_storm(stack: ExitStack) -> None:
    """What failed is asked again at once."""
    _put(stack, session_module, "RECONCILE_MS", 100)
    _put(stack, session_module, "RECONCILE_BLIND_MS", 100)


@bug
def id_shared_by_lives(stack: ExitStack) -> None:
    """Ids are counted from one at each start, so a new order wears an old one's name."""
    counts: dict[str, int] = {}

    def counted(session_id: str, key: str) -> str:
        del key
        counts[session_id] = counts.get(session_id, 0) + 1
        return f"storm{counts[session_id]}"

    users = [m for n, m in sys.modules.items() if n.startswith("blofin_cli.engine")]
    for place in (journal_records, *users):
        if hasattr(place, "client_id_of"):
            _put(stack, place, "client_id_of", counted)
