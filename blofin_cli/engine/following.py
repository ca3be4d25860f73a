"""After an order was sent without a session: look until its stop is seen, or see to it.

The exchange holds the stop from the first fill on; that it does is read back and never assumed. A
position that stays bare is given its stop anew, and closed when it does not take one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from blofin_cli.core.journal import Intent, IntentState, Purpose
from blofin_cli.core.orders import Order, OrderRef, OrderType, Position
from blofin_cli.core.tickets import Plan
from blofin_cli.engine.points import point
from blofin_cli.engine.reducing import Reducer, stop_in_force
from blofin_cli.errors import BlofinError, UnknownOutcomeError
from blofin_cli.ports import Journal, ReduceOnly

LOOK_S = 0.2
CONFIRM_MS = 700
"""An attached stop may take so long to show."""
CLOSE_AFTER_MS = 9_000
FOLLOW_MS = 15_000
MENDS_MAX = 3
LOST_LOOKS = 3
LOST_AFTER_MS = 125_000
ZERO = Decimal(0)

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What is known of an order when it is left to the exchange."""

    intent: Intent
    message: str


async def follow(
    exchange: ReduceOnly,
    reducer: Reducer,
    plan: Plan,
    intent: Intent,
    *,
    keep: Callable[[Intent], None],
    pause: Pause = asyncio.sleep,
) -> End:
    """Follow one entry to where it needs nobody: resting with its stop, held with it, or gone.

    Errors: UnknownOutcomeError when the time is up and its stop was not seen.
    """
    clock = reducer.clock
    started_ms = clock.now_ms()
    bare_ms: int | None = None
    mends = 0
    known = intent
    while clock.now_ms() - started_ms < FOLLOW_MS:
        try:
            order = await _order(exchange, plan, known)
            known = _told(known, order, clock.now_ms(), keep)
            held = await _position(exchange, plan)
            if held is not None:
                if plan.stop is None:
                    return End(intent=known, message="it is held without a stop, as allowed")
                point("stop-check")
                if await _is_covered(exchange, held, plan.stop):
                    return End(intent=known, message=f"its stop at {plan.stop:f} is live")
                bare_ms = clock.now_ms() if bare_ms is None else bare_ms
                bare_for_ms = clock.now_ms() - bare_ms
                if bare_for_ms >= CLOSE_AFTER_MS or mends >= MENDS_MAX:
                    return await _closed(reducer, plan, known)
                if bare_for_ms >= CONFIRM_MS:
                    mends += MENDS_MAX if await _is_hopeless(reducer, plan) else 1
            elif order is not None and known.filled == 0:
                if not order.state.is_open:
                    return End(intent=known, message=_why_gone(order))
                return await _rests(exchange, plan, known, order, keep)
        except BlofinError:
            pass  # a failed question is no answer
        await pause(LOOK_S)
    if plan.stop is None or known.state is IntentState.UNKNOWN:
        return End(intent=known, message="it was taken; what it did is not seen yet")
    filled = f"{known.filled:f} of it was filled" if known.filled else "it was taken"
    raise UnknownOutcomeError(
        f"{plan.symbol}: {filled}, and its stop at {plan.stop:f} was not seen: it may be bare",
        hint=f"blofin positions tells; blofin protect {plan.symbol} --stop {plan.stop:f}",
        details={"client_id": known.client_id, "filled": str(known.filled)},
    )


async def resolve(exchange: ReduceOnly, journal: Journal, account: str, now_ms: int) -> None:
    """Find out what became of entries that nobody followed to their end, before another is sent.

    One that the exchange does not know is given up after three looks over two minutes, never
    sooner: an order may stay invisible for so long.
    Errors: those of the port and the journal; then nothing was concluded.
    """
    for intent in journal.open_intents(account):
        if intent.purpose is not Purpose.ENTRY:
            continue
        ref = OrderRef(
            symbol=intent.symbol,
            client_id=intent.client_id,
            is_trigger=intent.type is OrderType.TRIGGER,
        )
        found = await exchange.order(ref)
        if found is not None:
            _told(intent, found, now_ms, journal.settle_intent)
            continue
        first = now_ms if intent.first_miss_ms is None else intent.first_miss_ms
        missed = replace(intent, misses=intent.misses + 1, first_miss_ms=first, updated_ms=now_ms)
        if missed.misses >= LOST_LOOKS and now_ms - intent.created_ms >= LOST_AFTER_MS:
            note = f"not found {missed.misses} times"
            missed = replace(missed, state=IntentState.VOID, note=note)
        journal.settle_intent(missed)


async def _order(exchange: ReduceOnly, plan: Plan, intent: Intent) -> Order | None:
    return await exchange.order(
        OrderRef(
            symbol=plan.symbol,
            client_id=intent.client_id,
            is_trigger=plan.type is OrderType.TRIGGER,
        )
    )


def _told(
    intent: Intent, order: Order | None, now_ms: int, keep: Callable[[Intent], None]
) -> Intent:
    """The intent as its order tells it; an order that is not found changes nothing."""
    if order is None:
        return intent
    state = IntentState.ACCEPTED if order.state.is_open else IntentState.DONE
    told = replace(
        intent, state=state, order_id=order.order_id, filled=max(intent.filled, order.filled)
    )
    if told != intent:
        told = replace(told, updated_ms=now_ms)
        keep(told)
    return told


async def _position(exchange: ReduceOnly, plan: Plan) -> Position | None:
    rows = await exchange.positions(plan.symbol)
    return next((row for row in rows if row.symbol == plan.symbol and row.size), None)


async def _is_covered(exchange: ReduceOnly, held: Position, stop: Decimal) -> bool:
    """A live stop for all of it, at least as near as planned."""
    rows = await exchange.protections(held.symbol)
    guards = [row for row in rows if row.side is held.closing_side and row.state.is_open]
    live = stop_in_force(held, guards)
    sign = 1 if held.size > 0 else -1
    return live is not None and (live - stop) * sign >= 0


async def _is_hopeless(reducer: Reducer, plan: Plan) -> bool:
    """Place the missing stop; True when the exchange refuses it or closing was the only way."""
    point("stop-place")
    try:
        done = await reducer.protect(plan.symbol, plan.stop, plan.target, wider=True)
    except BlofinError:
        return False
    return done.stop is None and any(deed.outcome == "refused" for deed in done.deeds)


async def _closed(reducer: Reducer, plan: Plan, intent: Intent) -> End:
    """A position that takes no stop is closed: small certain loss instead of an open one."""
    done = await reducer.close(plan.symbol)
    words = "the exchange did not keep its stop, so the position was closed"
    if done.status == "open":
        words = "IT HAS NO STOP AND COULD NOT BE CLOSED: close it at the exchange now"
    return End(intent=intent, message=words)


async def _rests(
    exchange: ReduceOnly, plan: Plan, intent: Intent, order: Order, keep: Callable[[Intent], None]
) -> End:
    """A resting entry carries its stop, or is taken back."""
    if plan.stop is None or order.stop == plan.stop:
        return End(intent=intent, message="it rests, and carries its stop")
    ack = await exchange.cancel(order.ref)
    ended = replace(intent, state=IntentState.DONE, note="its stop was left out")
    keep(ended)
    return End(
        intent=ended,
        message=f"the exchange left out its stop, so the order was canceled ({ack.outcome})",
    )


def _why_gone(order: Order) -> str:
    why = f": {order.cancel_reason}" if order.cancel_reason else ""
    return f"it ended {order.state} and nothing was filled{why}"
