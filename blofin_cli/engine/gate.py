"""The one door through which anything that opens a position leaves.

Strategy, command line, dashboards and agents all end here. What is asked is asked twice: once
before the intent is written, and once more, without waiting for anything, right before the first
byte leaves. Between the two an intent is durable, so a crash anywhere leaves a trace to follow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from blofin_cli.core.journal import ALL_SYMBOLS, Intent, IntentState, Room
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.orders import Ack, OrderType
from blofin_cli.core.quotes import Quote
from blofin_cli.core.tickets import Plan
from blofin_cli.engine.points import point
from blofin_cli.errors import BlofinError, DataError, HaltedError, RefusedError
from blofin_cli.ports import Exchange, Journal

QUOTE_AGE_MS_MAX = 10_000
CLOCK_OFFSET_MS_MAX = 30_000
ADVANCE_MS_MAX = 5_000  # a quote from further ahead than this is no quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds at this instant. Units: `now_ms` exchange time.

    `blocked` says why no entry may pass at all (breaker, reconciliation, storage); empty when
    nothing does.
    """

    now_ms: int
    quote: Quote
    room: Room
    mandate: Mandate
    clock_offset_ms: int = 0
    blocked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What became of a plan. `ack` is None when the same intent had been placed before."""

    intent: Intent
    ack: Ack | None


class Gate:
    """Places plans for one account, under one session's name.

    `keep(intent)` is told of the intent before the send, since its fill may be heard before the
    answer, and of what is known after it. It must not raise then: the order is out, and a full disk
    cannot take it back.
    """

    def __init__(
        self,
        exchange: Exchange,
        journal: Journal,
        *,
        account: str,
        session_id: str,
        keep: Callable[[Intent], None],
    ) -> None:
        self._exchange, self._journal = exchange, journal
        self._account, self._session_id, self._keep = account, session_id, keep

    async def place(
        self,
        plan: Plan,
        standing: Callable[[], Standing],
        *,
        face: str,
        key: str,
        hold_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Placement:
        """Place exactly this plan, once: the same key leads to the same intent.

        Errors: HaltedError, RefusedError with the gate that refused, DataError when the journal
        does not take the intent; those of the exchange when nothing was sent. An answer that was
        lost is a Placement whose intent is UNKNOWN.
        """
        now = standing()
        self._judge(plan, now)
        intent = replace(
            self._intent(plan, now, face=face, key=key), hold_ms=hold_ms, until_ms=until_ms
        )
        point("intent")
        kept = self._journal.reserve(intent, now.room)
        if kept is not intent:
            return Placement(intent=kept, ack=None)
        self._keep(kept)
        looked = now  # once the order may be out nothing is asked any more that could fail

        def fence() -> None:
            nonlocal looked
            looked = standing()
            self._fence(plan, looked, kept.data_ms)

        try:
            point("send")
            ack = await self._exchange.place(kept.order(), fence=fence)
        except BlofinError as problem:  # by the port's word nothing was sent
            self._keep(
                replace(
                    kept,
                    state=IntentState.VOID,
                    updated_ms=looked.now_ms,
                    note=f"not sent: {problem.message}"[:200],
                )
            )
            raise
        point("ack")
        settled = replace(
            kept,
            state=IntentState.of(ack.outcome),
            order_id=ack.order_id,
            sent_ms=looked.now_ms,
            updated_ms=looked.now_ms,
            note=f"{ack.code} {ack.message}".strip()[:200],
        )
        self._keep(settled)
        return Placement(intent=settled, ack=ack)

    def _fence(self, plan: Plan, now: Standing, data_ms: int) -> None:
        """Judge once more right before the first byte; what was decided on must be fresh still."""
        self._judge(plan, now)
        if now.now_ms - data_ms > QUOTE_AGE_MS_MAX:
            raise refusal(
                "data_age_ms", now.now_ms - data_ms, QUOTE_AGE_MS_MAX, "it waited too long"
            )

    def _judge(self, plan: Plan, now: Standing) -> None:
        """Let a plan pass at this instant. Errors: HaltedError, RefusedError."""
        point("halt-check")
        refuse_halted(self._journal)
        if not plan.allowed:
            gate = next(gate for gate in plan.gates if not gate.passed)
            raise refusal(gate.name, gate.value, gate.threshold, gate.note)
        if now.blocked:
            raise RefusedError(f"no entries now: {now.blocked}", details={"gate": "blocked"})
        refuse_paused(self._journal, plan.symbol, now.now_ms)
        self._judge_mandate(plan, now)
        if now.now_ms > plan.expires_ms:
            raise refusal("plan_age_ms", now.now_ms - plan.created_ms, None, "the plan has expired")
        if abs(now.clock_offset_ms) > CLOCK_OFFSET_MS_MAX:
            raise refusal(
                "clock_offset_ms", now.clock_offset_ms, CLOCK_OFFSET_MS_MAX, "set this clock"
            )
        age_ms = now.now_ms - now.quote.ts_ms
        if not -ADVANCE_MS_MAX <= age_ms <= QUOTE_AGE_MS_MAX:
            raise refusal("quote_age_ms", age_ms, QUOTE_AGE_MS_MAX, "market data is too old")
        self._judge_price(plan, now.quote)

    def _judge_mandate(self, plan: Plan, now: Standing) -> None:
        mandate = now.mandate
        if mandate.is_expired(now.now_ms):
            raise refusal("mandate", mandate.name, None, "it has expired")
        if not mandate.allows_symbol(plan.symbol):
            raise refusal("symbol", plan.symbol, None, f"mandate {mandate.name}")
        if plan.leverage > mandate.leverage_max:
            raise refusal(
                "leverage", plan.leverage, mandate.leverage_max, f"mandate {mandate.name}"
            )
        if plan.mode not in mandate.modes:
            raise refusal(
                "mode", plan.mode, ", ".join(sorted(mandate.modes)), f"mandate {mandate.name}"
            )
        if plan.risk_fraction > mandate.risk_fraction_max:
            raise refusal(
                "risk", plan.risk_fraction, mandate.risk_fraction_max, f"mandate {mandate.name}"
            )
        most = mandate.notional_usdt_max
        if most is not None and plan.notional_usdt > most:
            raise refusal("notional", plan.notional_usdt, most, f"mandate {mandate.name}")
        if plan.stop is None and not mandate.allows_no_stop:
            raise refusal("stop", None, None, "every position has a stop")

    def _judge_price(self, plan: Plan, quote: Quote) -> None:
        """The price has not moved so far that the plan's risk is another one."""
        if plan.type is not OrderType.MARKET:
            return
        price = (quote.ask if plan.side.sign > 0 else quote.bid) or quote.last
        if not plan.price_min <= price <= plan.price_max:
            raise refusal(
                "price_moved", price, f"{plan.price_min} to {plan.price_max}", "plan it anew"
            )

    def _intent(self, plan: Plan, now: Standing, *, face: str, key: str) -> Intent:
        """What is written down before the send; its data is as old as the quote judged just now."""
        intent = plan.intent(
            account=self._account,
            session_id=self._session_id,
            key=key,
            face=face,
            now_ms=now.now_ms,
        )
        return replace(intent, data_ms=now.quote.ts_ms)


def refuse_halted(journal: Journal) -> None:
    """Pass when trading is not halted, and somebody could tell.

    Errors: HaltedError, also when the flag cannot be read.
    """
    try:
        halt = journal.halted()
    except DataError as problem:
        raise HaltedError(
            f"nobody can tell whether trading is halted: {problem.message}",
            hint="mend the state file; until then nothing opens",
        ) from problem
    if halt is not None:
        raise HaltedError(
            f"trading is halted by {halt.face}: {halt.cause}", hint="blofin resume clears it"
        )


def refuse_paused(journal: Journal, symbol: str, now_ms: int) -> None:
    """Pass when neither the symbol nor everything is paused. Errors: RefusedError."""
    for pause in journal.pauses():
        is_over = pause.until_ms is not None and pause.until_ms <= now_ms
        if pause.symbol in (symbol, ALL_SYMBOLS) and not is_over:
            is_all = pause.symbol == ALL_SYMBOLS
            raise RefusedError(
                f"{'everything' if is_all else symbol} is paused by {pause.face}: {pause.cause}",
                hint="blofin unpause" if is_all else f"blofin unpause {symbol}",
                details={"gate": "pause"},
            )


def refusal(name: str, value: object, limit: object, note: str) -> RefusedError:
    """A gate's no, with its value and its limit."""
    shown = "" if limit is None else f", limit {_plain(limit)}"
    return RefusedError(
        f"refused by {name}: {_plain(value)}{shown} ({note})",
        details={"gate": name, "value": _plain(value), "limit": _plain(limit)},
    )


def _plain(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
