"""Keeps what is held protected: looks, places, moves, closes and tidies, one symbol at a time.

Each symbol has a task of its own, so trouble with one never delays another. What is to be done is
decided by `repair.need`; here it is done, once, with an intent written before each request.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from blofin_cli.core.journal import Intent, IntentState, Level, Purpose, client_id_of
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Position,
    Protection,
    ProtectionRequest,
    Side,
)
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.repair import (
    AWAITED_MS,
    LOOKS_MAX,
    UNSEEN_MAX,
    Act,
    Need,
    View,
    need,
)
from blofin_cli.engine.live.state import Bareness, LiveState, plain
from blofin_cli.engine.points import point
from blofin_cli.errors import BlofinError, UsageError

STEPS_MAX = 12
NEVER_MS = 24 * 3_600_000
PAST_TRIGGER = frozenset({"102037", "102038", "102039", "102040"})
ZERO = Decimal(0)
_MEANINGS = {"halt": "halt", "stop": "stop", "target": "target", "naked": "naked"}

PROTECTING = frozenset({Act.LOOK, Act.STOP, Act.CLOSE, Act.CANCEL_ENTRY})

Pause = Callable[[float], Awaitable[None]]


def _is_explained(view: View, entries: tuple[Intent, ...]) -> bool:
    """Whether the exchange holds what the booked fills say, and at most what entries add to it."""
    position, holding = view.position, view.holding
    if position is None or holding is None:
        return False
    entering = sum((entry.size for entry in entries if entry.side is holding.side), ZERO)
    more = holding.side.sign * position.size - holding.quantity
    return ZERO <= more <= entering


def _is_blind(bare: Bareness) -> bool:
    """Whether stops cannot be read and one should be placed all the same."""
    return bare.looks_failed >= LOOKS_MAX and bare.placed_unseen < UNSEEN_MAX


class Keeper:
    """The protector of one account.

    `pause(seconds)` waits; `is_ready()` says whether the books agree with the exchange. Before
    they do, a position that the book and a working entry explain is protected or closed all the
    same, nothing is tidied.
    """

    def __init__(
        self,
        state: LiveState,
        *,
        pause: Pause,
        is_ready: Callable[[], bool],
        entries_unwanted: Callable[[str], bool],
        flatten: Callable[[], bool],
        protects_external: bool = False,
    ) -> None:
        self._state, self._pause, self._is_ready = state, pause, is_ready
        self._entries_unwanted, self._flatten = entries_unwanted, flatten
        self._protects_external = protects_external
        self._close_tries: dict[str, int] = {}

    def view(self, symbol: str) -> View:
        """The symbol as the decision sees it."""
        state, now = self._state, self._state.mono_ms()
        mirror, bare = state.mirror, state.bare.get(symbol)
        flat = state.flat_since_ms.get(symbol)
        moved = state.moved_ms.get(symbol)
        quiet_ms = NEVER_MS if moved is None else now - moved
        if quiet_ms < AWAITED_MS and (symbol in state.holdings or state.open_entries(symbol)):
            flat = None
        protections = tuple(row for row in mirror.protections.values() if row.symbol == symbol)
        return View(
            position=mirror.position(symbol),
            holding=state.holdings.get(symbol),
            protections=protections,
            entries=mirror.entries(symbol),
            last=state.last(symbol),
            quiet_ms=quiet_ms,
            flat_ms=None if flat is None else now - flat,
            bare_ms=None if bare is None else bare.wanted_ms,
            looked=bare is not None and bare.looked,
            is_blind=bare is not None and _is_blind(bare),
            refused=0 if bare is None else bare.refused,
            protects_external=self._protects_external,
            entries_unwanted=self._entries_unwanted(symbol),
            flatten=self._flatten(),
        )

    def watch(self, symbol: str, elapsed_ms: int) -> None:
        """Count bare and flat time of a symbol; called at every tick and after every change."""
        state = self._state
        held = state.mirror.position(symbol)
        if held is None:
            state.flat_since_ms.setdefault(symbol, state.mono_ms())
        else:
            state.flat_since_ms.pop(symbol, None)
        is_bare = held is not None and state.mirror.covered(symbol) < abs(held.size)
        bare = state.bare.get(symbol)
        if not is_bare:
            if bare is not None:
                del state.bare[symbol]
                self._close_tries.pop(symbol, None)
                self._remember_naked(symbol, bare)
            return
        holding = state.holdings.get(symbol)
        if bare is None:
            bare = state.bare[symbol] = Bareness(state.mono_ms())
        elif state.is_reachable:
            bare.ms += elapsed_ms
            if holding is None or holding.stop is not None:
                bare.wanted_ms += elapsed_ms
        if holding is not None:
            bare.is_ours = self.keeps(holding)
        self._tell_naked(symbol, bare)

    def keeps(self, holding: Holding) -> bool:
        """Whether its stop is looked after: what was opened elsewhere is left to its owner."""
        return holding.origin != "external" or self._protects_external

    def needs_work(self, symbol: str) -> bool:
        """Whether there is anything to do."""
        return self._need(symbol) is not None

    def _need(self, symbol: str) -> Need | None:
        """What a symbol needs, as far as it can be judged now."""
        view = self.view(symbol)
        wanted = need(view)
        if wanted is None or self._is_ready():
            return wanted
        state = self._state
        is_known = symbol not in state.mirror.stale
        is_known &= _is_explained(view, state.open_entries(symbol))
        return wanted if is_known and wanted.act in PROTECTING else None

    async def tend(self, symbol: str) -> None:
        """Do what a symbol needs until it needs nothing, in a bounded number of steps."""
        for _ in range(STEPS_MAX):
            wanted = self._need(symbol)
            if wanted is None:
                return
            try:
                await self._do(symbol, wanted)
            except UsageError:
                raise
            except BlofinError as problem:
                self._state.failed()
                if wanted.act is Act.LOOK and symbol in self._state.bare:
                    self._state.bare[symbol].looks_failed += 1
                self._state.tell_once(
                    Level.WARNING, "repair",
                    f"{symbol}: {wanted.act} did not get through: {problem.message}", symbol=symbol,
                )  # fmt: skip
                await self._pause(0.5)
                return
            self.watch(symbol, 0)

    async def _do(self, symbol: str, wanted: Need) -> None:
        match wanted.act:
            case Act.LOOK:
                await self.look(symbol)
            case Act.CLOSE:
                await self._close(symbol, wanted.why)
            case Act.STOP:
                await self._protect(symbol, wanted, is_stop=True)
            case Act.TARGET:
                await self._protect(symbol, wanted, is_stop=False)
            case Act.DROP:
                await self._drop(symbol, wanted.ref)
            case Act.CANCEL_ENTRY:
                await self._cancel(wanted.ref)

    async def look(self, symbol: str) -> None:
        """Ask the exchange itself before believing that a stop is missing.

        What it says of stops counts even when it says nothing of the position.
        """
        point("stop-check")
        state = self._state
        protections = await state.exchange.protections(symbol)
        state.answered()
        now = state.mono_ms()
        for row in protections:
            state.mirror.hear_protection(row, now)
        bare = state.bare.get(symbol)
        if bare is not None:
            bare.looked = True
        positions = await state.exchange.positions(symbol)
        state.answered()
        now = state.mono_ms()
        held = next((row for row in positions if row.size), None)
        if held is None:
            state.mirror.positions.pop(symbol, None)
        else:
            state.mirror.hear_position(held, now)

    async def _protect(self, symbol: str, wanted: Need, *, is_stop: bool) -> None:
        """Place a stop or a target for what is held."""
        state = self._state
        held, holding = state.mirror.position(symbol), state.holdings.get(symbol)
        if held is None or holding is None or wanted.price is None:
            return
        point("stop-place")
        if (bare := state.bare.get(symbol)) is not None and not bare.looked:
            bare.placed_unseen += 1
        kind = "stop" if is_stop else "target"
        key = f"{kind}:{holding.trade_id}:{wanted.price}:{state.now_ms()}"
        request = ProtectionRequest(
            symbol=symbol,
            side=held.closing_side,
            client_id=client_id_of(state.session.session_id, key),
            stop=wanted.price if is_stop else None,
            target=None if is_stop else wanted.price,
            target_limit=None if is_stop else holding.target_limit,
            size=wanted.size,
        )
        intent = self._duty(
            Purpose.PROTECT, symbol, held.closing_side, key, wanted.size or abs(held.size)
        )
        intent = replace(intent, stop=request.stop, target=request.target, note=wanted.why)
        state.reserve_duty(intent)
        ack = await self._sent(intent, state.exchange.protect(request))
        if ack.outcome is Outcome.ACCEPTED:
            state.tell(
                Level.WARNING if is_stop and wanted.why.endswith("missing") else Level.INFO,
                "repair",
                f"{symbol}: {kind} at {plain(wanted.price)} placed, because {wanted.why}",
                symbol=symbol,
            )  # fmt: skip
            try:
                await self.look(symbol)
            except BlofinError:
                self._believe(request, ack)
                raise
            return
        bare = state.bare.get(symbol)
        if bare is not None and ack.outcome is Outcome.REFUSED:
            bare.refused += 3 if ack.code in PAST_TRIGGER else 1
        if bare is None and ack.outcome is Outcome.REFUSED:
            state.touch(symbol)
        if ack.outcome is Outcome.UNKNOWN:
            await self.look(symbol)
        state.tell_once(
            Level.WARNING, "repair",
            f"{symbol}: {kind} at {plain(wanted.price)} {ack.outcome}: {ack.code} {ack.message}",
            symbol=symbol,
        )  # fmt: skip
        await self._pause(0.3)

    def _believe(self, request: ProtectionRequest, ack: Ack) -> None:
        """Nobody can look: the answer must do, until a list of stops can be read again."""
        state = self._state
        if ack.order_id is not None:
            row = Protection(
                symbol=request.symbol,
                protection_id=ack.order_id,
                client_id=request.client_id,
                side=request.side,
                state=OrderState.LIVE,
                size=request.size,
                stop=request.stop,
                target=request.target,
                target_limit=request.target_limit,
            )
            state.mirror.hear_protection(row, state.mono_ms())

    async def place_protection(self, symbol: str, price: Decimal, *, is_stop: bool = True) -> None:
        """Place a stop or target of the whole position, whatever there is. Errors: as the port."""
        held = self._state.mirror.position(symbol)
        if held is not None:
            act = Act.STOP if is_stop else Act.TARGET
            wanted = Need(act=act, why="a person moved it", price=price, size=abs(held.size))
            await self._protect(symbol, wanted, is_stop=is_stop)
            self.watch(symbol, 0)

    async def _close(self, symbol: str, why: str) -> None:
        """Close what is held at market, by whatever way the exchange takes; stops go last."""
        state = self._state
        held = state.mirror.position(symbol)
        if held is None:
            return
        point("close")
        state.leave(symbol, _MEANINGS.get(why, why))
        tries = self._close_tries.get(symbol, 0)
        self._close_tries[symbol] = tries + 1
        key = f"close:{symbol}:{why}:{state.now_ms()}"
        intent = self._duty(Purpose.CLOSE, symbol, held.closing_side, key, abs(held.size))
        intent = replace(intent, note=why)
        state.reserve_duty(intent)
        if tries == 0:
            self._announce_close(symbol, held, why)
        for order in state.mirror.entries(symbol):
            with suppress(BlofinError):  # what still opens must not fill behind the close
                await self._cancel(order.order_id)
        if tries % 3 == 2:
            await self._drop_targets(symbol, held)
        if tries % 2 == 0:
            sending = state.exchange.close_position(
                CloseRequest(symbol=symbol, client_id=intent.client_id)
            )
        else:
            sending = state.exchange.reduce(
                OrderRequest(
                    symbol=symbol,
                    side=held.closing_side,
                    type=OrderType.MARKET,
                    size=abs(held.size),
                    client_id=intent.client_id,
                    reduce_only=True,
                )
            )
        ack = await self._sent(intent, sending)
        await self.look(symbol)
        if state.mirror.position(symbol) is None:  # a refusal then says that somebody was quicker
            self._close_tries.pop(symbol, None)
        elif ack.outcome is not Outcome.ACCEPTED:
            state.tell_once(
                Level.ALERT, "repair",
                f"{symbol}: closing {ack.outcome}: {ack.code} {ack.message}", symbol=symbol,
                next_step=f"blofin close {symbol}",
            )  # fmt: skip
            await self._pause(min(5.0, 0.5 * (tries + 1)))

    async def reduce(self, symbol: str, size: Decimal, key: str) -> Ack:
        """Close a part of a position at market, reduce-only. Errors: as the port."""
        state = self._state
        held = state.mirror.position(symbol)
        assert held is not None
        intent = self._duty(Purpose.CLOSE, symbol, held.closing_side, key, size)
        state.reserve_duty(intent)
        request = OrderRequest(
            symbol=symbol,
            side=held.closing_side,
            type=OrderType.MARKET,
            size=size,
            client_id=intent.client_id,
            reduce_only=True,
        )
        return await self._sent(intent, state.exchange.reduce(request))

    def _announce_close(self, symbol: str, held: Position, why: str) -> None:
        level = Level.EMERGENCY if why == "naked" else Level.ALERT
        stops = self._state.mirror.stops(symbol, held.closing_side)
        self._state.tell(
            level, "halt" if why == "halt" else "repair",
            f"{symbol}: closing {plain(held.size)} at market ({why})", symbol=symbol,
            protects="the stop at the exchange until it is closed" if stops else "nothing",
            next_step="blofin positions",
        )  # fmt: skip

    async def _drop_targets(self, symbol: str, held: Position) -> None:
        """A target may reserve the size that the close needs."""
        for row in self._state.mirror.targets(symbol, held.closing_side):
            if row.stop is None:
                await self._drop(symbol, row.protection_id)

    async def _drop(self, symbol: str, protection_id: str) -> None:
        state = self._state
        row = state.mirror.protections.get(protection_id)
        if row is None:
            return
        point("stop-replace")
        ack = await state.exchange.cancel_protection(row.ref)
        state.answered()
        if ack.outcome is Outcome.ACCEPTED:
            state.mirror.forget_protection(protection_id, state.mono_ms())
            return
        still = await state.exchange.protections(symbol)
        if all(item.protection_id != protection_id for item in still):
            state.mirror.forget_protection(protection_id, state.mono_ms())
        else:
            await self._pause(0.5)

    async def _cancel(self, order_id: str) -> None:
        """Cancel a working entry; when it is gone already its final state is asked."""
        state = self._state
        order = state.mirror.orders.get(order_id)
        if order is None:
            return
        point("cancel")
        ack = await state.exchange.cancel(order.ref)
        state.answered()
        found = await state.exchange.order(order.ref)
        if found is not None:
            state.mirror.hear_order(found, state.mono_ms())
        elif ack.outcome is Outcome.ACCEPTED:
            state.mirror.orders.pop(order_id, None)
            state.spent |= {order.client_id} - {""}
        else:
            await self._pause(2.0)

    async def _sent(self, intent: Intent, sending: Awaitable[Ack]) -> Ack:
        """Send a protecting write and enter its answer."""
        state = self._state
        try:
            ack = await sending
        except BlofinError as problem:  # nothing was sent
            self._settle(intent, IntentState.VOID, f"not sent: {problem.message}")
            raise
        state.answered()
        ended = {
            Outcome.ACCEPTED: IntentState.DONE,
            Outcome.REFUSED: IntentState.REFUSED,
            Outcome.UNKNOWN: IntentState.DONE,
        }[ack.outcome]
        self._settle(replace(intent, order_id=ack.order_id), ended, f"{ack.code} {ack.message}")
        return ack

    def _settle(self, intent: Intent, ended: IntentState, note: str) -> None:
        note = f"{intent.note}; {note}".strip("; ")[:200]
        now = self._state.now_ms()
        self._state.keep_intent(replace(intent, state=ended, updated_ms=now, note=note))

    def _duty(self, purpose: Purpose, symbol: str, side: Side, key: str, size: Decimal) -> Intent:
        state, now = self._state, self._state.now_ms()
        return Intent(
            client_id=client_id_of(state.session.session_id, key),
            session_id=state.session.session_id,
            key=key,
            account=state.account,
            symbol=symbol,
            purpose=purpose,
            side=side,
            type=OrderType.MARKET,
            size=size,
            risk_usdt=ZERO,
            notional_usdt=ZERO,
            state=IntentState.RESERVED,
            face="session",
            data_ms=now,
            created_ms=now,
            updated_ms=now,
        )

    def _remember_naked(self, symbol: str, bare: Bareness) -> None:
        if bare.is_ours:
            self._state.naked_s.append(bare.ms / 1000)
            self._tell_naked(symbol, bare)

    def _tell_naked(self, symbol: str, bare: Bareness) -> None:
        """Let the breaker know while it lasts: entries elsewhere wait too."""
        state = self._state
        if bare.is_ours:
            for happening in state.breakers.was_naked(bare.ms / 1000, state.now_ms()):
                state.happened(replace(happening, symbol=symbol))
