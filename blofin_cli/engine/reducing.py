"""Less exposure, more protection: close, cancel, protect and flatten, over a port that cannot open.

Works without a lock, beside a session or instead of one. Every write has an intent first where the
journal works; when it does not, protection and closing go on all the same. Whatever was there to
protect a position stays until what replaces it is live, and the stop goes last of all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from blofin_cli.core.journal import Intent, IntentState, Purpose, client_id_of
from blofin_cli.core.market import Instrument
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    Order,
    OrderRef,
    OrderRequest,
    OrderType,
    Outcome,
    Position,
    Protection,
    ProtectionRequest,
)
from blofin_cli.engine.points import point
from blofin_cli.errors import BlofinError, DataError, RefusedError
from blofin_cli.ports import Clock, Journal, ReduceOnly

ATTEMPTS_MAX = 3
LOOKS_S = (0.1, 0.2, 0.4, 0.8, 1.5)
WHOLE_TAKEN = "102114"
PAST_TRIGGER = frozenset({"102037", "102038", "102039", "102040"})
ZERO = Decimal(0)
ONE = Decimal(1)

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that was done, or tried. `outcome` is `accepted refused unknown gone failed`."""

    symbol: str
    action: str
    outcome: str
    ref: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What became of a position. Units: signed base units.

    `status` is `flat` (there was none), `closed`, `reduced`, or `open` when it is still there;
    `after` None: nobody could tell.
    """

    symbol: str
    status: str
    before: Decimal
    after: Decimal | None
    deeds: tuple[Deed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What protects a position now, and what was done for it."""

    symbol: str
    stop: Decimal | None
    target: Decimal | None
    deeds: tuple[Deed, ...] = ()


@dataclass(kw_only=True, eq=False)
class Reducer:
    """The hands of one account that can only let go.

    `notes` collects what the journal did not take; `pause(seconds)` waits.
    """

    exchange: ReduceOnly
    journal: Journal
    clock: Clock
    account: str
    session_id: str
    face: str
    pause: Pause = asyncio.sleep
    notes: list[str] = field(default_factory=list)
    _count: int = 0

    # Closing.

    async def close(self, symbol: str, fraction: Decimal = ONE) -> Reduced:
        """Close a position or a part of it at market, reduce-only; harmless when repeated.

        Errors: those of the port when the position could not even be read; RefusedError when a
        part is smaller than the smallest order.
        """
        point("close")
        held = await self._position(symbol)
        if held is None:
            return Reduced(
                symbol=symbol, status="flat", before=ZERO, after=ZERO,
                deeds=await self._drop_orphans(symbol),
            )  # fmt: skip
        if fraction < ONE:
            return await self._close_part(held, fraction)
        return await self._close_whole(held)

    async def flatten(self, done: list[Reduced | Deed] | None = None) -> list[Reduced | Deed]:
        """Cancel every opening order and close every position; trouble with one stops no other.

        `done` grows with what is done, for who may not wait to the end.
        """
        done = [] if done is None else done
        done += await self.cancel_entries()
        positions = await self.exchange.positions()
        symbols = sorted({position.symbol for position in positions if position.size})
        await asyncio.gather(*(self._close_or_tell(symbol, done) for symbol in symbols))
        return done

    async def _close_or_tell(self, symbol: str, done: list[Reduced | Deed]) -> None:
        try:
            done.append(await self.close(symbol))
        except BlofinError as problem:
            done.append(
                Deed(symbol=symbol, action="close", outcome="failed", message=problem.message)
            )

    async def _close_whole(self, held: Position) -> Reduced:
        """By the close call, else by a reduce-only order once no target reserves the size."""
        deeds: list[Deed] = []
        left: Position | None = held
        for attempt in range(ATTEMPTS_MAX):
            assert left is not None
            if attempt % 2 == 0:
                ack = await self._send_close(left)
            else:
                deeds += await self._free_size(left)
                ack = await self._send_reduction(left, abs(left.size))
            deeds.append(_deed(held.symbol, "close", ack))
            left = await self._position_after(left, ack)
            if left is None:
                deeds += await self._drop_orphans(held.symbol)
                return Reduced(
                    symbol=held.symbol, status="closed", before=held.size, after=ZERO,
                    deeds=tuple(deeds),
                )  # fmt: skip
        assert left is not None
        return Reduced(
            symbol=held.symbol, status="open", before=held.size, after=left.size, deeds=tuple(deeds)
        )

    async def _close_part(self, held: Position, fraction: Decimal) -> Reduced:
        """A reduce-only order for a part; the stop then follows the rest."""
        terms = (await self.exchange.instrument(held.symbol)).instrument
        size = terms.quantise_size(abs(held.size) * fraction)
        if size <= 0:
            raise RefusedError(
                f"{_text(fraction * 100)}% of {_text(abs(held.size))} {held.symbol} is less than "
                f"the smallest order, {_text(terms.min_size * terms.contract_value)}",
                hint="close a larger part, or all of it",
            )
        deeds: list[Deed] = []
        ack = await self._send_reduction(held, size)
        deeds.append(_deed(held.symbol, "reduce", ack))
        if ack.outcome is Outcome.REFUSED:
            deeds += await self._free_size(held)
            ack = await self._send_reduction(held, size)
            deeds.append(_deed(held.symbol, "reduce", ack))
        left = await self._position_after(held, ack)
        if left is None:
            deeds += await self._drop_orphans(held.symbol)
        elif left.size != held.size:
            deeds += await self._fit_stops(left)
        after = ZERO if left is None else left.size
        status = "closed" if after == 0 else "open" if after == held.size else "reduced"
        return Reduced(
            symbol=held.symbol, status=status, before=held.size, after=after, deeds=tuple(deeds)
        )

    async def _send_close(self, held: Position) -> Ack:
        key = self._key("close", held.symbol)
        request = CloseRequest(symbol=held.symbol, client_id=self._client_id(key))
        intent = self._intent(Purpose.CLOSE, held, abs(held.size), key)
        return await self._sent(intent, self.exchange.close_position(request))

    async def _send_reduction(self, held: Position, size: Decimal) -> Ack:
        """One reduce-only market order, no larger than one order may be."""
        terms = (await self.exchange.instrument(held.symbol)).instrument
        size = min(size, terms.market_size_max * terms.contract_value)
        key = self._key("reduce", held.symbol)
        request = OrderRequest(
            symbol=held.symbol,
            side=held.closing_side,
            type=OrderType.MARKET,
            size=size,
            client_id=self._client_id(key),
            reduce_only=True,
        )
        intent = self._intent(Purpose.CLOSE, held, size, key)
        return await self._sent(intent, self.exchange.reduce(request))

    async def _position_after(self, before: Position, ack: Ack) -> Position | None:
        """What is left after a close was answered: looked at until it changes or time is up."""
        left: Position | None = before
        looks = LOOKS_S[:1] if ack.outcome is Outcome.REFUSED else LOOKS_S
        for wait_s in looks:
            try:
                left = await self._position(before.symbol)
            except BlofinError:
                await self.pause(wait_s)  # unknown is not flat
                continue
            if left is None or left.size != before.size:
                return left
            await self.pause(wait_s)
        return left

    async def _free_size(self, held: Position) -> list[Deed]:
        """Take away targets, which reserve the size; a stop in the same order is placed anew, and
        where it cannot be, the order stays."""
        deeds = []
        for row in await self._guards(held):
            if row.target is None:
                continue
            if row.stop is not None:
                ack = await self._place_guard(held, row.stop, None, abs(held.size))
                deeds.append(_deed(held.symbol, "stop", ack))
                if ack.outcome is not Outcome.ACCEPTED:
                    continue
            deeds.append(await self._drop(row, "target"))
        return deeds

    async def _fit_stops(self, held: Position) -> list[Deed]:
        """Stops of a fixed size that is now too large are replaced by some that fit."""
        deeds: list[Deed] = []
        for row in await self._guards(held):
            if row.size is None or row.size <= abs(held.size):
                continue
            ack = await self._place_guard(held, row.stop, row.target, abs(held.size))
            deeds.append(_deed(held.symbol, "stop" if row.stop is not None else "target", ack))
            if ack.outcome is Outcome.ACCEPTED:
                deeds.append(await self._drop(row, "stop"))
        return deeds

    async def _drop_orphans(self, symbol: str) -> tuple[Deed, ...]:
        """Stops, targets and reduce-only orders of a symbol that holds nothing; entries keep theirs
        attached and are not touched."""
        deeds: list[Deed] = []
        try:
            orphans = [row for row in await self.exchange.protections(symbol) if row.state.is_open]
            deeds += [await self._drop(row, "orphan") for row in orphans]
            for order in await self.exchange.open_orders(symbol):
                if order.reduce_only:
                    ack = await self.exchange.cancel(order.ref)
                    deeds.append(_deed(symbol, "cancel orphan", ack, order.order_id))
        except BlofinError as problem:
            deeds.append(
                Deed(
                    symbol=symbol, action="cancel orphan", outcome="failed",
                    message=problem.message,
                )
            )  # fmt: skip
        return tuple(deeds)

    # Cancelling.

    async def cancel_entries(self, symbol: str | None = None) -> tuple[Deed, ...]:
        """Cancel every order that could open something, and look whether they are gone.

        Errors: those of the port when not even the orders could be read.
        """
        point("cancel")
        orders = [each for each in await self.exchange.open_orders(symbol) if not each.reduce_only]
        return await self._cancel_orders(orders)

    async def cancel(self, ids: Sequence[str], *, protection_too: bool = False) -> tuple[Deed, ...]:
        """Cancel orders by order id or client id.

        A stop, a target or a reduce-only order only goes with `protection_too`: without them a
        position may lose without end. An id that nothing open carries is `gone`.
        Errors: RefusedError, before anything is sent.
        """
        point("cancel")
        orders = await self.exchange.open_orders()
        guards = await self.exchange.protections()
        if not protection_too:
            refuse_protection(orders, guards, ids)
        wanted = [order for order in orders if _is_named(order.order_id, order.client_id, ids)]
        shields = [row for row in guards if _is_named(row.protection_id, row.client_id, ids)]
        known = {name for order in wanted for name in (order.order_id, order.client_id)}
        known |= {name for row in shields for name in (row.protection_id, row.client_id)}
        gone = [
            Deed(
                symbol="", action="cancel", outcome="gone", ref=name,
                message="no open order has this id",
            )
            for name in ids
            if name not in known
        ]  # fmt: skip
        removed = [await self._drop(row, "protection") for row in shields]
        return (*await self._cancel_orders(wanted), *removed, *gone)

    async def _cancel_orders(self, orders: Sequence[Order]) -> tuple[Deed, ...]:
        if not orders:
            return ()
        acks = await self.exchange.cancel_many([order.ref for order in orders])
        return tuple(
            [await self._canceled(order, ack) for order, ack in zip(orders, acks, strict=True)]
        )

    async def _canceled(self, order: Order, ack: Ack) -> Deed:
        """The deed of one cancel; when it was refused, the order's own state decides."""
        deed = _deed(order.symbol, "cancel", ack, order.order_id)
        if ack.outcome is Outcome.ACCEPTED:
            return deed
        ref = OrderRef(
            symbol=order.symbol, order_id=order.order_id, is_trigger=order.ref.is_trigger
        )
        try:
            found = await self.exchange.order(ref)
        except BlofinError:
            return replace(deed, outcome="unknown")
        if found is None or found.state.is_open:
            return replace(deed, outcome="unknown", message=ack.message or "it may still be open")
        return replace(deed, outcome="gone", message=f"{found.state}, {_text(found.filled)} filled")

    # Protecting.

    async def protect(
        self, symbol: str, stop: Decimal | None, target: Decimal | None, *, wider: bool = False
    ) -> Protected:
        """Set stop, target or both of an open position: the new one first, then the old one goes.

        A stop that is further away than the one in force needs `wider`. When the exchange says
        that the price is past the stop and nothing else protects, the position is closed.
        Errors: RefusedError when there is no position or the prices are on the wrong side;
        those of the port when nothing was sent.
        """
        held = await self._position(symbol)
        if held is None:
            raise RefusedError(f"there is no position in {symbol} to protect")
        terms = (await self.exchange.instrument(symbol)).instrument
        last = (await self.exchange.quotes([symbol]))[0].last
        guards = await self._guards(held)
        old_stop, old_target = stop_in_force(held, guards), target_in_force(held, guards)
        stop, target = on_grid(held, terms, stop, target)
        check_sides(held, last, stop, target)
        if stop is not None and old_stop and is_wider(held, stop, old_stop) and not wider:
            raise RefusedError(
                f"{stop:f} is further away than the stop in force, {_text(old_stop)}",
                hint="pass --wider to risk more",
                details={"stop": _text(old_stop)},
            )
        point("stop-replace")
        wanted = (stop or old_stop, target or old_target)
        ack = await self._replace_guard(held, wanted, guards)
        deeds = [_deed(symbol, "protect", ack)]
        if ack.outcome is Outcome.ACCEPTED and await self._is_live(symbol, ack):
            deeds += [await self._drop(row, "replaced") for row in guards]
            self._keep_wish(symbol, *wanted)
            return Protected(symbol=symbol, stop=wanted[0], target=wanted[1], deeds=tuple(deeds))
        if ack.code in PAST_TRIGGER and old_stop is None and stop is not None:
            closed = await self.close(symbol)
            return Protected(symbol=symbol, stop=None, target=None, deeds=(*deeds, *closed.deeds))
        return Protected(symbol=symbol, stop=old_stop, target=old_target, deeds=tuple(deeds))

    def _keep_wish(self, symbol: str, stop: Decimal | None, target: Decimal | None) -> None:
        """Let the book say the same where no session keeps it: the next one goes by it."""
        wish = {
            name: str(price)
            for name, price in (("stop", stop), ("target", target))
            if price is not None
        }
        try:
            known = dict(self.journal.recall(self.account, "book") or {})
            is_kept = self.journal.is_locked(f"account-{self.account}")
            if symbol in known and not is_kept:
                entry = {**known[symbol], **wish}
                self.journal.remember(self.account, "book", {**known, symbol: entry})
        except DataError as problem:
            self.notes.append(problem.message)

    async def _replace_guard(
        self,
        held: Position,
        wanted: tuple[Decimal | None, Decimal | None],
        guards: list[Protection],
    ) -> Ack:
        """The new stop and target: for the whole position, or of its size where that is taken."""
        stop, target = wanted
        size = abs(held.size) if any(row.size is None for row in guards) else None
        ack = await self._place_guard(held, stop, target, size)
        if size is None and ack.code == WHOLE_TAKEN:
            ack = await self._place_guard(held, stop, target, abs(held.size))
        return ack

    async def _place_guard(
        self, held: Position, stop: Decimal | None, target: Decimal | None, size: Decimal | None
    ) -> Ack:
        key = self._key("protect", held.symbol)
        request = ProtectionRequest(
            symbol=held.symbol,
            side=held.closing_side,
            client_id=self._client_id(key),
            stop=stop,
            target=target,
            size=size,
        )
        intent = self._intent(Purpose.PROTECT, held, size or abs(held.size), key)
        intent = replace(intent, stop=stop, target=target)
        return await self._sent(intent, self.exchange.protect(request))

    async def _is_live(self, symbol: str, ack: Ack) -> bool:
        """The exchange lists it: an acknowledgement alone has been wrong before."""
        for wait_s in LOOKS_S:
            try:
                for row in await self.exchange.protections(symbol):
                    names = (row.protection_id, row.client_id)
                    if (ack.order_id in names or ack.client_id in names) and row.state.is_open:
                        return True
            except BlofinError:
                pass  # not seen is not there
            await self.pause(wait_s)
        return False

    async def _drop(self, row: Protection, why: str) -> Deed:
        action = f"cancel {why}"
        try:
            ack = await self.exchange.cancel_protection(row.ref)
        except BlofinError as problem:
            return Deed(
                symbol=row.symbol, action=action, outcome="failed", ref=row.protection_id,
                message=problem.message,
            )  # fmt: skip
        return _deed(row.symbol, action, ack, row.protection_id)

    async def _guards(self, held: Position) -> list[Protection]:
        """Stops and targets of a position."""
        rows = await self.exchange.protections(held.symbol)
        return [row for row in rows if row.side is held.closing_side and row.state.is_open]

    async def _position(self, symbol: str) -> Position | None:
        rows = await self.exchange.positions(symbol)
        return next((row for row in rows if row.symbol == symbol and row.size), None)

    # Writing down.

    def _key(self, what: str, symbol: str) -> str:
        self._count += 1
        return f"{what}:{symbol}:{self.clock.now_ms()}:{self._count}"

    def _client_id(self, key: str) -> str:
        return client_id_of(self.session_id, key)

    def _intent(self, purpose: Purpose, held: Position, size: Decimal, key: str) -> Intent:
        now_ms = self.clock.now_ms()
        return Intent(
            client_id=self._client_id(key),
            session_id=self.session_id,
            key=key,
            account=self.account,
            symbol=held.symbol,
            purpose=purpose,
            side=held.closing_side,
            type=OrderType.MARKET,
            size=size,
            risk_usdt=ZERO,
            notional_usdt=size * held.mark_price,
            state=IntentState.RESERVED,
            face=self.face,
            data_ms=now_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
        )

    async def _sent(self, intent: Intent, sending: Coroutine[Any, Any, Ack]) -> Ack:
        """Write down, send, write down. Errors of the port are those of a request not sent."""
        self._keep(lambda: self.journal.reserve(intent))
        try:
            ack = await sending
        except BlofinError as problem:
            self._settle(intent, IntentState.VOID, None, problem.message)
            raise
        # A close or a stop holds no risk: once it is answered, the position itself is the evidence.
        state = IntentState.of(ack.outcome)
        ended = IntentState.DONE if state is IntentState.ACCEPTED else state
        self._settle(intent, ended, ack.order_id, f"{ack.code} {ack.message}".strip())
        return ack

    def _settle(self, intent: Intent, state: IntentState, order_id: str | None, note: str) -> None:
        now_ms = self.clock.now_ms()
        settled = replace(
            intent, state=state, order_id=order_id, updated_ms=now_ms, sent_ms=now_ms,
            note=note[:200],
        )  # fmt: skip
        self._keep(lambda: self.journal.settle_intent(settled))

    def _keep(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BlofinError as problem:
            if problem.message not in self.notes:
                self.notes.append(problem.message)


def refuse_protection(
    orders: Sequence[Order], guards: Sequence[Protection], ids: Sequence[str]
) -> None:
    """Keep stops, targets and reduce-only orders from being cancelled by their ids.

    Errors: RefusedError naming them.
    """
    closing = [
        order.order_id
        for order in orders
        if order.reduce_only and _is_named(order.order_id, order.client_id, ids)
    ]
    closing += [
        row.protection_id for row in guards if _is_named(row.protection_id, row.client_id, ids)
    ]
    if closing:
        raise RefusedError(
            f"{', '.join(closing)} protects a position",
            hint="move it with blofin protect, or pass --protection to remove it",
            details={"protections": closing},
        )


def stop_in_force(held: Position, guards: Sequence[Protection]) -> Decimal | None:
    """The nearest stop that covers all of a position; None when none does."""
    stops = [
        row.stop
        for row in guards
        if row.stop is not None and (row.size is None or row.size >= abs(held.size))
    ]
    if not stops:
        return None
    return max(stops) if held.size > 0 else min(stops)


def target_in_force(held: Position, guards: Sequence[Protection]) -> Decimal | None:
    """The nearest target of a position."""
    targets = [row.target for row in guards if row.target is not None]
    if not targets:
        return None
    return min(targets) if held.size > 0 else max(targets)


def is_wider(held: Position, stop: Decimal, in_force: Decimal | None) -> bool:
    """Whether a stop lets a position lose more than the one in force."""
    sign = 1 if held.size > 0 else -1
    return in_force is not None and (stop - in_force) * sign < 0


def check_sides(
    held: Position, last: Decimal, stop: Decimal | None, target: Decimal | None
) -> None:
    """Stop and target lie on either side of the price. Errors: RefusedError."""
    sign, word = (1, "long") if held.size > 0 else (-1, "short")
    if stop is None and target is None:
        raise RefusedError("there is nothing to set", hint="give --stop, --target or both")
    if stop is not None and (last - stop) * sign <= 0:
        where = "below" if sign > 0 else "above"
        raise RefusedError(
            f"the stop of a {word} must be {where} the last price {_text(last)}; got {stop:f}",
            hint=f"to leave now: blofin close {held.symbol}",
        )
    if target is not None and (target - last) * sign <= 0:
        where = "above" if sign > 0 else "below"
        raise RefusedError(
            f"the target of a {word} must be {where} the last price {_text(last)}; got {target:f}",
            hint=f"to leave now: blofin close {held.symbol}",
        )


def on_grid(
    held: Position, terms: Instrument, stop: Decimal | None, target: Decimal | None
) -> tuple[Decimal | None, Decimal | None]:
    """Stop and target on the tick grid, both away from the price."""
    is_long = held.size > 0
    return (
        None if stop is None else terms.quantise_price(stop, up=not is_long),
        None if target is None else terms.quantise_price(target, up=is_long),
    )


def _is_named(order_id: str, client_id: str, ids: Sequence[str]) -> bool:
    return order_id in ids or (bool(client_id) and client_id in ids)


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _deed(symbol: str, action: str, ack: Ack, ref: str = "") -> Deed:
    return Deed(
        symbol=symbol,
        action=action,
        outcome=ack.outcome.value,
        ref=ref or ack.order_id or ack.client_id or "",
        message=f"{ack.code} {ack.message}".strip(),
    )
