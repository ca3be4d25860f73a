"""Books what the exchange says: fills, positions, orders and money, each once and by evidence.

A failed query changes nothing here. What is absent from one complete answer is asked for by its id
before anything is concluded, and an order is only called lost after it could not be found for long.
"""

from dataclasses import replace
from decimal import Decimal

from blofin_cli.core.journal import (
    Intent,
    IntentState,
    Level,
    Purpose,
)
from blofin_cli.core.market import ExitReason
from blofin_cli.core.orders import (
    Fill,
    Order,
    OrderCategory,
    OrderRef,
    OrderType,
    Position,
    Protection,
)
from blofin_cli.engine.live import book
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.mirror import take_snapshot
from blofin_cli.engine.live.purse import Purse
from blofin_cli.engine.live.repair import CONFIRM_MS
from blofin_cli.engine.live.state import LiveState, plain
from blofin_cli.engine.points import point
from blofin_cli.errors import BlofinError, DataError

FILLS_OVERLAP_MS = 120_000
FILLS_KEPT = 20_000
LOST_LOOKS = 3
LOST_AFTER_MS = 125_000
"""An order may be invisible for two minutes after it was taken; its risk stays reserved so long."""
LEFT_OVER_MS = 60_000
ADOPT_MS = 4_000
SKEW_MS = 5_000
HOUR_MS = 3_600_000
ZERO = Decimal(0)
_REASONS = {
    OrderCategory.STOP: ExitReason.STOP,
    OrderCategory.TARGET: ExitReason.TARGET,
    OrderCategory.LIQUIDATION: ExitReason.LIQUIDATION,
    OrderCategory.ADL: ExitReason.LIQUIDATION,
}
_LEAVING = {
    "time": ExitReason.TIME,
    "signal": ExitReason.SIGNAL,
    "halt": ExitReason.HALT,
    "naked": ExitReason.HALT,
    "stop": ExitReason.STOP,
    "target": ExitReason.TARGET,
}


class Clerk:
    """The books of one account. Its coroutines run one at a time: the session sees to that."""

    def __init__(self, state: LiveState, timeframe: str) -> None:
        self._state, self._timeframe = state, timeframe
        self.purse = Purse(state)
        self._orders: dict[str, Order] = {}
        self._ended: dict[str, Intent] = {}
        self._since_ms: int | None = None
        self._missing_ms: dict[str, int] = {}
        self._opened_by: dict[str, set[str]] = {}
        self._filled_ms: dict[str, int] = {}

    def recall(self) -> None:
        """Take over what the journal remembers. Errors: DataError."""
        state = self._state
        remembered = state.journal.recall(state.account, "book")
        if remembered is not None:
            state.holdings = book.of_record(remembered)
        since_ms = state.now_ms() - 7 * 24 * HOUR_MS
        for fill in state.journal.fills(state.account, since_ms=since_ms):
            state.known_fills[fill.trade_id] = None
            self._since_ms = fill.ts_ms
        self.purse.recall(since_ms)
        for intent in state.journal.intents(state.account, since_ms=since_ms):
            if intent.state.is_open:
                state.intents[intent.client_id] = intent
            elif intent.purpose is not Purpose.PROTECT:
                self._ended[intent.client_id] = intent
        for intent in state.journal.open_intents(state.account):
            state.intents[intent.client_id] = intent
        entries = list(state.intents.values())
        if self._since_ms is None:  # nothing was ever booked, also of what was opened by hand
            entries += [
                intent
                for intent in self._ended.values()
                if intent.purpose is Purpose.ENTRY and intent.state is IntentState.DONE
            ]
        if entries:  # they may have filled before anything of theirs was booked
            oldest_ms = min(intent.created_ms for intent in entries)
            known_ms = state.session.started_ms if self._since_ms is None else self._since_ms
            self._since_ms = min(known_ms, oldest_ms)

    async def reconcile(self) -> None:
        """Read everything and make the books agree with it.

        Invariants: a second run right after the first writes nothing.
        Errors: those of the exchange; then nothing was concluded.
        """
        point("reconcile")
        state = self._state
        told = await take_snapshot(state.exchange, state.mono_ms())
        state.mirror.replace(told)
        self._stops_were_told(told.asked_ms)
        state.answered()
        await self.collect_fills()
        for order in told.orders:
            self.hear_order(order)
        for position in state.mirror.positions.values():
            await self._adopt(position)
        for symbol in list(state.holdings):
            self._compare(symbol)
        known = state.mirror.positions.keys() | state.holdings.keys()
        self._missing_ms = {s: at for s, at in self._missing_ms.items() if s in known}
        for intent in list(state.intents.values()):
            await self._resolve(intent)
        await self.purse.book_funding()
        self.purse.mark(is_quiet=True)
        state.reconciled_ms = state.now_ms()

    @property
    def has_doubts(self) -> bool:
        """Whether exchange and book disagree about something that is still being watched."""
        return bool(self._missing_ms)

    async def look(self) -> None:
        """Read what is held and what protects it: a stop somebody removed is told of by no fill,
        and a stream may be silent while it is up.

        Errors: those of the exchange.
        """
        state = self._state
        asked_ms = state.mono_ms()
        protections = await state.exchange.protections()
        state.answered()
        try:
            positions = await state.exchange.positions()
        except BlofinError:
            self._hear_stops(protections, asked_ms)
            raise
        self._hear_stops(protections, asked_ms)
        state.mirror.replace_positions(positions, asked_ms)
        state.answered()
        for position in positions:
            self.expect(position)

    def _hear_stops(self, protections: tuple[Protection, ...], asked_ms: int) -> None:
        self._state.mirror.replace_protections(protections, asked_ms)
        self._stops_were_told(asked_ms)

    def _stops_were_told(self, asked_ms: int) -> None:
        """Who was bare long enough when all stops were asked for has been looked at."""
        for bare in self._state.bare.values():
            bare.looked |= asked_ms - bare.since_ms >= CONFIRM_MS

    # Orders and intents.

    def hear_order(self, order: Order) -> None:
        """Take what an order of ours says about its intent."""
        state = self._state
        self._remember(order)
        intent = state.intents.get(order.client_id) or state.intents.get(order.algo_client_id)
        if intent is None or intent.purpose is not Purpose.ENTRY:
            return
        if intent.type is OrderType.TRIGGER and order.type is OrderType.TRIGGER:
            ended = not order.state.is_open and order.state.value != "triggered"
        else:
            ended = not order.state.is_open
        known = replace(
            intent,
            state=IntentState.DONE if ended else IntentState.ACCEPTED,
            order_id=order.order_id or intent.order_id,
            filled=max(intent.filled, order.filled),
            misses=0,
            first_miss_ms=None,
        )
        if known != intent:
            self.keep_intent(replace(known, updated_ms=state.now_ms()))
            is_booked = known.order_id in self._opened_by.get(known.symbol, ())
            if ended and known.filled and not is_booked:
                self._filled_ms[known.symbol] = state.mono_ms()
        self._claim(known)

    def _claim(self, intent: Intent) -> None:
        """A holding that was taken for somebody else's is ours once its order turns out to be."""
        state = self._state
        holding = state.holdings.get(intent.symbol)
        if holding is None or holding.origin != "external" or holding.side is not intent.side:
            return
        if intent.order_id not in self._opened_by.get(intent.symbol, ()):
            return
        state.set_holding(book.claimed(holding, intent, state.session.session_id))

    def keep_intent(self, intent: Intent) -> None:
        """Enter an intent and remember it by its ids when it has ended."""
        if not intent.state.is_open:
            self._ended[intent.client_id] = intent
            while len(self._ended) > FILLS_KEPT:
                del self._ended[next(iter(self._ended))]
        self._state.keep_intent(intent)

    def unseen(self) -> str | None:
        """A symbol of which an entry has filled and no position is seen yet, None without one.

        Until it is seen neither the open entries nor the positions count it.
        """
        state, now = self._state, self._state.mono_ms()
        for symbol, filled_ms in self._filled_ms.items():
            if state.mirror.position(symbol) is None and now - filled_ms < LEFT_OVER_MS:
                return symbol
        return None

    def has_ended(self, client_id: str) -> bool:
        """Whether an intent's end is known already."""
        return client_id in self._ended

    async def _resolve(self, intent: Intent) -> None:
        """Find out what became of an intent whose order is not in sight."""
        state, now = self._state, self._state.now_ms()
        if intent.purpose is not Purpose.ENTRY:
            if now - intent.created_ms > LEFT_OVER_MS:  # left over from a crash
                self.keep_intent(
                    replace(intent, state=IntentState.DONE, updated_ms=now, note="not followed")
                )
            return
        if intent.order_id in state.mirror.orders:
            return
        if intent.state is IntentState.RESERVED and state.intents.get(intent.client_id) != intent:
            return
        ref = OrderRef(
            symbol=intent.symbol,
            client_id=intent.client_id,
            is_trigger=intent.type is OrderType.TRIGGER,
        )
        found = await state.exchange.order(ref)  # a failure is raised and counts as nothing
        state.answered()
        if found is not None:
            state.mirror.hear_order(found, state.mono_ms())
            self.hear_order(found)
            return
        first = intent.first_miss_ms if intent.first_miss_ms is not None else now
        missed = replace(intent, misses=intent.misses + 1, first_miss_ms=first)
        begun = max(intent.sent_ms or 0, intent.created_ms)
        if missed.misses >= LOST_LOOKS and now - begun >= LOST_AFTER_MS:
            note = f"not found {missed.misses} times in {(now - begun) // 1000} s"
            self.keep_intent(replace(missed, state=IntentState.VOID, updated_ms=now, note=note))
            state.tell(
                Level.WARNING, "order_unknown",
                f"{intent.symbol}: an order never reached the exchange ({note})",
                symbol=intent.symbol, next_step="nothing: its risk is free again",
            )  # fmt: skip
        else:
            state.intents[intent.client_id] = missed
            known = self._orders.get(intent.order_id or "")
            if known is not None and known.state.is_open and intent.client_id not in state.spent:
                state.mirror.hear_order(
                    known, state.mono_ms()
                )  # hidden: it may have to be canceled

    # Fills.

    async def collect_fills(self) -> None:
        """Read executions since the last known one and book the new ones, oldest first.

        Errors: those of the exchange, with nothing booked beyond what was read.
        """
        state = self._state
        since = self._since_ms
        since_ms = (
            state.session.started_ms - FILLS_OVERLAP_MS
            if since is None
            else since - FILLS_OVERLAP_MS
        )
        found = await state.exchange.fills(since_ms=since_ms)
        state.answered()
        new = [fill for fill in found if fill.trade_id not in state.known_fills]
        new.sort(key=lambda fill: (fill.ts_ms, fill.trade_id))
        for fill in new:
            order = await self._order_of(fill)
            if fill.trade_id in state.known_fills:
                continue
            point("fill")
            self._book(fill, order)

    async def _order_of(self, fill: Fill) -> Order | None:
        known = self._orders.get(fill.order_id)
        if known is not None:
            return known
        ref = OrderRef(symbol=fill.symbol, order_id=fill.order_id)
        try:
            found = await self._state.exchange.order(ref)
        except BlofinError:
            return None  # the fill is certain whatever its order was
        if found is not None:
            self.hear_order(found)
        return found

    def _book(self, fill: Fill, order: Order | None) -> None:
        """Enter one execution, in memory and in the journal."""
        state = self._state
        session_id = state.session.session_id
        state.known_fills[fill.trade_id] = None
        while len(state.known_fills) > FILLS_KEPT:
            del state.known_fills[next(iter(state.known_fills))]
        self._since_ms = max(self._since_ms or 0, fill.ts_ms)
        state.scribe.write(lambda: state.journal.book_fills(state.account, session_id, [fill]))
        state.touch(fill.symbol)
        self.purse.spend(fill.pnl_usdt - fill.fee_usdt)
        intent = self._intent_of(fill, order)
        holding = state.holdings.get(fill.symbol)
        if holding is not None and not holding.opened and holding.side is not fill.side:
            holding = None  # what was expected to open was overtaken by something else
        is_new = holding is None
        if holding is None:
            if order is not None and (order.reduce_only or order.category in _REASONS):
                return
            holding = book.opened_by(fill, intent, session_id)
            self._opened_by[fill.symbol] = set()
        elif holding.origin == "external" and intent is not None and intent.side is holding.side:
            holding = book.claimed(holding, intent, session_id)
        reason = self._reason(holding, order, fill)
        grown = fill.side is holding.side
        if grown:
            self._opened_by.setdefault(fill.symbol, set()).add(fill.order_id)
            self._filled_ms[fill.symbol] = state.mono_ms()
        else:
            state.spent |= {each.client_id for each in state.open_entries(fill.symbol)}
        after, left = book.booked(holding, fill, reason)
        self._tell_fill(replace(fill, size=fill.size - left), after, reason, grown=grown)
        if grown and is_new:
            self._tell_external(after)
        if grown and intent is not None and holding.planned_entry:
            drift = (fill.price - holding.planned_entry) * holding.side.sign
            state.breakers.entered(float(drift / holding.planned_entry) * 1e4)
        if after.opened and after.quantity <= 0:
            self._finish(after)
        else:
            state.set_holding(after)
        if left > 0:  # it flipped: an entry of ours met what somebody else had opened, or they did
            rest = replace(fill, size=left, fee_usdt=fill.fee_usdt * left / fill.size)
            turned = book.booked(book.opened_by(rest, intent, session_id), rest, reason)[0]
            state.set_holding(turned)
            self._tell_external(turned)

    def _intent_of(self, fill: Fill, order: Order | None) -> Intent | None:
        """The entry of ours that a fill belongs to."""
        state = self._state
        for known in (*state.intents.values(), *self._ended.values()):
            if known.order_id == fill.order_id and known.purpose is Purpose.ENTRY:
                return known
        if order is None:
            return self._likely(fill)
        for client_id in (order.client_id, order.algo_client_id):
            found = state.intents.get(client_id) or self._ended.get(client_id)
            if client_id and found is not None and found.purpose is Purpose.ENTRY:
                return found
        return None

    def _likely(self, fill: Fill) -> Intent | None:
        """The entry of ours that a fill of an order nobody can find most likely belongs to.

        Wrongly taken for ours it gets a stop; wrongly taken for another's it would have none.
        """
        state, now = self._state, self._state.now_ms()
        candidates = [
            intent
            for intent in (*state.intents.values(), *self._ended.values())
            if intent.purpose is Purpose.ENTRY
            and (intent.symbol, intent.side) == (fill.symbol, fill.side)
            and intent.order_id in (None, "", fill.order_id)
            and intent.state is not IntentState.REFUSED
            and (intent.state.is_open or now - intent.updated_ms < LEFT_OVER_MS)
        ]
        return max(candidates, key=lambda intent: intent.created_ms, default=None)

    def _reason(self, holding: Holding, order: Order | None, fill: Fill) -> ExitReason:
        if order is not None and order.category in _REASONS:
            reason = _REASONS[order.category]
            is_trail = reason is ExitReason.STOP and holding.is_moved
            return ExitReason.TRAILING if is_trail else reason
        if holding.leaving in _LEAVING:
            return _LEAVING[holding.leaving]
        is_closing = not holding.leaving and fill.side is not holding.side
        return ExitReason.HALT if is_closing and self._is_flattened(fill) else ExitReason.MANUAL

    def _is_flattened(self, fill: Fill) -> bool:
        """Whether a halt that closes everything was in force: it closes without the session too."""
        state = self._state
        try:
            halt = state.journal.halted()
        except DataError:
            return False
        if halt is None or not halt.flatten:
            return False
        ago_ms = state.wall.now_ms() - halt.ts_ms  # the market may have a time of its own
        return fill.ts_ms >= state.now_ms() - ago_ms - SKEW_MS

    def _finish(self, holding: Holding) -> None:
        """A position has ended: write the trade and let the breakers know."""
        state = self._state
        trade = book.trade_of(
            holding, state.session.session_id, state.session.mode.value, self._timeframe
        )
        state.holdings.pop(holding.symbol, None)
        self._filled_ms.pop(holding.symbol, None)
        state.scribe.write(lambda: state.journal.save_trade(state.account, trade))
        self.purse.note_end(holding)
        state.keep_book()
        for happening in state.breakers.exited(
            holding.symbol, trade.exit_reason, holding.gross_usdt, state.now_ms()
        ):
            state.happened(happening)
        state.keep_memory()
        kind = {"stop": "stop", "trailing": "stop", "target": "target"}.get(
            trade.exit_reason.value, "fill"
        )
        state.tell(
            Level.ALERT, kind,
            f"{holding.symbol}: closed by {trade.exit_reason.value}, {trade.pnl_usdt:+.2f} USDT, "
            f"{trade.r_multiple:+.2f} R",
            symbol=holding.symbol, protects="nothing is held", next_step="blofin trades",
            details={"trade_id": trade.id},
        )  # fmt: skip

    def _tell_fill(self, fill: Fill, holding: Holding, reason: ExitReason, *, grown: bool) -> None:
        word = "opened" if grown else f"closed ({reason.value})"
        self._state.tell(
            Level.ALERT if grown else Level.INFO, "fill",
            f"{fill.symbol}: {word} {plain(fill.size)} at {plain(fill.price)}, "
            f"{plain(holding.quantity)} held",
            symbol=fill.symbol,
            protects=f"stop {plain(holding.stop)}" if holding.stop else "no stop is known",
            next_step=f"blofin positions {fill.symbol}",
            details={"trade_id": fill.trade_id, "origin": holding.origin},
        )  # fmt: skip

    def _tell_external(self, holding: Holding) -> None:
        """Say that somebody else opened a position; nothing is told of ours."""
        if holding.origin != "external":
            return
        size = holding.quantity * holding.side.sign
        self._state.tell(
            Level.ALERT, "external",
            f"{holding.symbol}: found a position of {plain(size)} opened elsewhere",
            symbol=holding.symbol, protects="whatever its owner has placed",
            next_step=f"blofin protect {holding.symbol} --stop PRICE",
        )  # fmt: skip

    # Positions.

    def expect(self, position: Position) -> None:
        """Give a position its holding before its fills are read: its stop must be known now."""
        state = self._state
        if position.symbol in state.holdings:
            return
        candidates = [
            intent
            for intent in (*state.intents.values(), *self._ended.values())
            if intent.symbol == position.symbol
            and intent.purpose is Purpose.ENTRY
            and intent.side is not position.closing_side
            and intent.state in (IntentState.RESERVED, IntentState.UNKNOWN, IntentState.ACCEPTED,
                                 IntentState.DONE)
        ]  # fmt: skip
        recent = max(candidates, key=lambda intent: intent.created_ms, default=None)
        if recent is None or state.now_ms() - recent.created_ms > 24 * HOUR_MS:
            return
        if not recent.state.is_open and recent.updated_ms < state.now_ms() - LEFT_OVER_MS:
            return
        made = Fill(
            symbol=position.symbol, trade_id="", order_id="", side=recent.side,
            price=position.entry_price, size=ZERO, fee_usdt=ZERO, pnl_usdt=ZERO,
            ts_ms=state.now_ms(),
        )  # fmt: skip
        state.set_holding(book.opened_by(made, recent, state.session.session_id))

    async def _adopt(self, position: Position) -> None:
        """A position nobody here opened: shown, counted, left to its owner."""
        state = self._state
        self.expect(position)
        holding = state.holdings.get(position.symbol)
        held = abs(position.size)
        if holding is not None and holding.side is position.closing_side:
            self._forget(holding, "the exchange holds the other side")
            holding = None
        if holding is None:
            if not self._lasted(position.symbol, ADOPT_MS):
                return  # perhaps its last fill has just been booked, and the list is older
            self._missing_ms.pop(position.symbol, None)
            side = position.closing_side.opposite
            found = Holding(
                trade_id=f"x{position.position_id or position.symbol}"[:32],
                symbol=position.symbol,
                side=side,
                origin="external",
                opened_ms=position.created_ms or state.now_ms(),
                opened=held,
                opened_value=held * position.entry_price,
            )
            state.set_holding(found)
            self._tell_external(found)
            return
        if holding.quantity == held:
            self._missing_ms.pop(position.symbol, None)
            return
        if self._lasted(position.symbol):
            grown = holding.closed + held
            price = holding.entry_price or position.entry_price
            state.set_holding(
                replace(
                    holding,
                    opened=grown,
                    opened_value=price * holding.opened
                    + (grown - holding.opened) * position.entry_price,
                )
            )
            state.tell(
                Level.WARNING, "external",
                f"{position.symbol}: {plain(held)} are held where the fills say "
                f"{plain(holding.quantity)}",
                symbol=position.symbol,
            )  # fmt: skip

    def _compare(self, symbol: str) -> None:
        """A holding whose position is gone ends when its fills say so, or after a while without."""
        state = self._state
        holding = state.holdings.get(symbol)
        if holding is None or state.mirror.position(symbol) is not None:
            return
        if state.open_entries(symbol) and not holding.opened:
            return
        if self._lasted(symbol):
            self._forget(holding, "the position is gone and no fill tells how")

    def _lasted(self, symbol: str, least_ms: int = LEFT_OVER_MS) -> bool:
        """Whether a disagreement about a symbol has lasted for long enough to act on it."""
        now = self._state.mono_ms()
        return now - self._missing_ms.setdefault(symbol, now) >= least_ms

    def _forget(self, holding: Holding, why: str) -> None:
        state = self._state
        self._missing_ms.pop(holding.symbol, None)
        if holding.opened and holding.quantity > 0:
            price = state.last(holding.symbol) or holding.entry_price or ZERO
            made = Fill(
                symbol=holding.symbol, trade_id="", order_id="", side=holding.side.opposite,
                price=price, size=holding.quantity, fee_usdt=ZERO, pnl_usdt=ZERO,
                ts_ms=state.now_ms(),
            )  # fmt: skip
            state.tell(
                Level.ALERT, "external", f"{holding.symbol}: {why}; its result is estimated",
                symbol=holding.symbol, next_step="blofin trades",
            )  # fmt: skip
            self._finish(book.booked(holding, made, ExitReason.MANUAL)[0])
            return
        state.holdings.pop(holding.symbol, None)
        state.keep_book()

    def _remember(self, order: Order) -> None:
        self._orders[order.order_id] = order
        while len(self._orders) > FILLS_KEPT:
            del self._orders[next(iter(self._orders))]
