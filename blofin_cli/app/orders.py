"""Plans, from the wish to the exchange: looked at, drawn, kept, placed once, and their stop seen.

Where a session holds the account, it places and closes: an errand asks it to. Where none does, the
same engine functions run here, under the account's lock when something may open.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blofin_cli.app import mandate as mandates
from blofin_cli.app.attempts import errand_id, led_to
from blofin_cli.app.context import Context
from blofin_cli.app.errands import LOOK_S, WAIT_S, is_answering, living_session, run_errand
from blofin_cli.app.venues import (
    AccountRequest,
    account_name,
    exchange_of,
    mode_of,
    open_account,
    open_market,
    open_trading,
)
from blofin_cli.core.journal import (
    ErrandState,
    Intent,
    IntentState,
    Proposal,
    Purpose,
    client_id_of,
)
from blofin_cli.core.market import Gate, price_text
from blofin_cli.core.orders import Ack, MarginMode, Outcome, PositionMode
from blofin_cli.core.quotes import Mode
from blofin_cli.core.tickets import Plan, Ticket, plan_of
from blofin_cli.errors import (
    BlofinError,
    DataError,
    HaltedError,
    NetworkError,
    RateLimitError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.core.journal import Session
    from blofin_cli.core.mandate import Mandate
    from blofin_cli.core.strategy import Strategy
    from blofin_cli.engine.gate import Standing
    from blofin_cli.engine.reducing import Reducer
    from blofin_cli.engine.situation import Situation
    from blofin_cli.ports import Exchange, ReduceOnly

REPEAT_MS = 60_000
PROPOSAL_LIFE_MS = 600_000
DRY_EQUITY = Decimal(10_000)
AT_SESSION = "at the session"
_NEVER_THERE = frozenset({IntentState.REFUSED, IntentState.VOID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of a plan: `placed`, or `proposed` to a person. `ack` None: nothing was sent."""

    status: str
    intent: Intent | None = None
    ack: Ack | None = None
    proposal: Proposal | None = None
    message: str = ""


def account_of(request: AccountRequest, context: Context) -> str:
    """What the journal calls the account a request names."""
    return account_name(exchange_of(request, context), mode_of(request, context))


def manual_session(account: str) -> str:
    """Under what session commands write intents; fixed, so that the same key is the same order."""
    return f"manual-{account}"


def is_agent(context: Context) -> bool:
    """Whether no person sits at this face."""
    return context.face.startswith("mcp")


def limits_of(context: Context, session: "Session | None" = None) -> "tuple[Strategy, Mandate]":
    """The strategy of the settings, or of the session that will place, and the mandate in force.
    An order takes neither from its own arguments: whoever places it cannot loosen them.

    Errors: ConfigError, UsageError.
    """
    from blofin_cli.core.strategy import build_strategy

    settings = context.strategy_settings if session is None else session.config
    return build_strategy(settings), mandates.load(context).mandate


async def plan_order(request: AccountRequest, ticket: Ticket, context: Context) -> Plan:
    """Look at the exchange and the journal, draw the plan, and keep it under its hash.

    Errors: as the ports; RefusedError for gates that only a live plan meets.
    """
    from blofin_cli.engine import planning

    session = living_session(context, account_of(request, context))
    strategy, mandate = limits_of(context, session)
    now = await _look(request, ticket, context, strategy)
    if session is None and now.is_empty:  # it sets the modes when it starts, and never again
        now = replace(now, modes_follow=_differs(now))
    plan = planning.draw(ticket, now, strategy, mandate)
    if plan.mode is Mode.LIVE:
        plan = _with_promotion(plan, context, mandate)
    keep_plan(context, account_of(request, context), plan, now.clock_offset_ms)
    return plan


def _differs(now: "Situation") -> bool:
    wanted = (MarginMode.ISOLATED, PositionMode.ONE_WAY)
    return (now.margin_mode, now.position_mode) != wanted


async def _look(
    request: AccountRequest, ticket: Ticket, context: Context, strategy: "Strategy"
) -> "Situation":
    from blofin_cli.engine.situation import look, look_dry

    name, mode = exchange_of(request, context), mode_of(request, context)
    account = account_name(name, mode)
    if mode is Mode.DRY_RUN:
        async with open_market(request, context) as data:
            return await look_dry(
                data,
                context.journal,
                ticket.symbol,
                account=account,
                name=name,
                equity_usdt=_dry_equity(context, account),
                timeframe=strategy.timeframe,
            )
    async with open_account(request, context) as exchange:
        return await look(
            exchange,
            context.journal,
            ticket.symbol,
            ticket.side,
            account=account,
            name=name,
            mode=mode,
            timeframe=strategy.timeframe,
        )


def _dry_equity(context: Context, account: str) -> Decimal:
    """Equity of the dry run's last session, else a round sum."""
    for session in context.journal.sessions(account, limit=1):
        status = context.journal.status(session.session_id)
        if status is not None and status.equity_usdt:
            return Decimal(repr(status.equity_usdt))
    return DRY_EQUITY


def _with_promotion(plan: Plan, context: Context, mandate: "Mandate") -> Plan:
    """A plan with real money also shows what promotion asks for."""
    from blofin_cli.engine.promotion import promotion

    gates = promotion(context.journal, context.store, mandate, context.clock.now_ms())
    return replace(plan, gates=(*plan.gates, gates[-1]))


# Plans that wait to be placed.


def keep_plan(context: Context, account: str, plan: Plan, offset_ms: int) -> None:
    """Remember a plan under its hash; old ones make room, since there are only so many places."""
    document = {"plan": plan.record(), "offset_ms": offset_ms, "used": ""}
    context.journal.remember(account, _slot(plan.hash), document)


def plan_key(plan: Plan) -> str:
    """The intent key of a plan: however it comes to be placed, it is the same order."""
    return f"plan:{plan.hash}"


def _slot(plan_hash: str) -> str:
    return f"plan-{plan_hash[:3]}"


def kept_plan(context: Context, account: str, plan_hash: str) -> tuple[Plan, dict[str, Any]]:
    """The plan of this hash and the document it lies in.

    Errors: UsageError when there is none; RefusedError when it is not what its hash names.
    """
    document = context.journal.recall(account, _slot(plan_hash))
    if document is None or document["plan"] is None:
        raise _unknown_plan(account)
    try:
        plan = plan_of(document["plan"])
    except (KeyError, TypeError, ValueError) as defect:
        raise RefusedError(f"the plan was altered: {defect}", hint="plan it anew") from None
    if plan.hash != plan_hash:
        raise _unknown_plan(account)
    return plan, document


def _unknown_plan(account: str) -> UsageError:
    return UsageError(f"no plan on {account} has this hash", hint="plan it anew, without --apply")


async def apply_plan(
    request: AccountRequest, symbol: str, plan_hash: str, context: Context
) -> tuple[Plan, Placed]:
    """Place exactly the plan of a hash, once; a second time tells what became of it.

    Errors: UsageError, RefusedError, HaltedError, VenueError, NetworkError, UnknownOutcomeError.
    """
    account = account_of(request, context)
    plan, document = kept_plan(context, account, plan_hash)
    if plan.symbol != symbol:
        raise UsageError(f"this plan is for {plan.symbol}, not {symbol}")
    if document["used"]:
        return plan, _placed_before(context, plan, document["used"])
    if context.clock.now_ms() + document["offset_ms"] > plan.expires_ms:
        raise RefusedError("the plan has expired", hint="plan it anew", details={"gate": "expiry"})
    refuse_closed_gates(plan)
    _refuse_repeat(plan, account, context)
    if is_agent(context) and _needs_person(context):
        why = "an agent proposes; a person approves"
        return plan, propose(context, account, plan, why)
    try:
        placed = await place_plan(request, plan, plan_key(plan), context)
    except RefusedError as refusal:
        if not (is_agent(context) and str(refusal.details.get("gate", "")).startswith("face_")):
            raise
        return plan, propose(context, account, plan, refusal.message)
    return plan, placed


def refuse_closed_gates(plan: Plan) -> None:
    """Errors: HaltedError or RefusedError with the first gate that says no."""
    for gate in plan.gates:
        if not gate.passed:
            kind = HaltedError if gate.name == "halt" else RefusedError
            raise kind(refusal_words(gate), details=gate_details(gate))


def gate_details(gate: Gate) -> dict[str, Any]:
    """A gate's no for a machine."""
    return {"gate": gate.name, "value": gate.value, "limit": gate.threshold}


def refusal_words(gate: Gate) -> str:
    """A gate's no in one sentence: what it found, what it allows, what it is about."""
    value = "" if gate.value is None else f": {_short(gate.value)}"
    if isinstance(gate.value, (int, float)):
        value += f", limit {_short(gate.threshold)}"
    return f"refused by {gate.name}{value} ({gate.note})"


def _short(value: float | str | None) -> str:
    if isinstance(value, float):
        return price_text(float(f"{value:.6g}"))
    text = str(value)
    return text.replace("_", " ") if text.isidentifier() else text  # a word, but no path or cause


def _needs_person(context: Context) -> bool:
    return mandates.load(context).mandate.agent is None


def _refuse_repeat(plan: Plan, account: str, context: Context) -> None:
    """An identical entry within a minute is asked about again, or refused where nobody answers."""
    now_ms = context.clock.now_ms()
    for intent in context.journal.intents(account, since_ms=now_ms - REPEAT_MS):
        is_same = (
            intent.purpose is Purpose.ENTRY
            and intent.state not in _NEVER_THERE
            and (intent.symbol, intent.side, intent.type) == (plan.symbol, plan.side, plan.type)
            and intent.size == plan.size
        )
        if is_same and intent.plan_hash != plan.hash:
            words = f"the same order was placed {(now_ms - intent.created_ms) // 1000} s ago"
            if context.ask is not None and context.ask(f"{words}. Place another?"):
                return
            raise RefusedError(words, hint="wait a minute", details={"gate": "repeat"})


def propose(context: Context, account: str, plan: Plan, reason: str) -> Placed:
    """Let a plan wait for a person."""
    now_ms = context.clock.now_ms()
    kept = context.journal.propose(
        Proposal(
            id=plan.hash[:6],
            account=account,
            plan_hash=plan.hash,
            plan=plan.record(),
            reason=reason[:200],
            face=context.face,
            created_ms=now_ms,
            expires_ms=min(now_ms + PROPOSAL_LIFE_MS, plan.expires_ms),
        )
    )
    words = f"waits for a person: blofin approve {kept.id}"
    return Placed(status="proposed", proposal=kept, message=words)


# Placing.


async def place_plan(request: AccountRequest, plan: Plan, key: str, context: Context) -> Placed:
    """Have the session place a plan, or place it here when no session holds the account.

    Errors: as `apply_plan`.
    """
    account = account_of(request, context)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_S
    while True:
        if loop.time() >= deadline:
            raise RefusedError(
                f"another command holds {account}",
                hint="try again in a moment",
                is_retryable=True,
            )
        if living_session(context, account) is not None:
            return await _place_by_session(plan, key, account, context)
        # A lock without a session is another command, which will be gone in a moment. Looking
        # first costs nothing; asking for a lock that is held would stop this loop for a while.
        if not context.journal.is_locked(f"account-{account}"):
            async with AsyncExitStack() as stack:
                exchange = await _entered(stack, request, context, account)
                if exchange is not None:
                    return await _Placing(request, plan, key, context, exchange).run()
        await asyncio.sleep(LOOK_S)


async def _entered(
    stack: AsyncExitStack, request: AccountRequest, context: Context, account: str
) -> "Exchange | None":
    """The account with the right to open; None when another command was faster."""
    try:
        return await stack.enter_async_context(open_trading(request, context))
    except RefusedError:
        if not context.journal.is_locked(f"account-{account}"):
            raise
        return None


async def _place_by_session(plan: Plan, key: str, account: str, context: Context) -> Placed:
    if (before := led_to(plan, account, context)) is not None:
        _note_used(context, account, plan, before.client_id)
        return _known_before(before)
    _note_used(context, account, plan, AT_SESSION)
    try:
        wish = {"plan": plan.record(), "key": key}
        name = _errand_id(plan, context)
        answer = await run_errand(context, account, "place", wish, name=name)
    except UnknownOutcomeError:
        raise
    except BlofinError:  # a definite no: the plan was not used
        _note_used(context, account, plan, "")
        raise
    intent = context.journal.intent(str(answer["intent"]["client_id"]))
    if intent is not None:
        _note_used(context, account, plan, intent.client_id)
    if intent is not None and intent.state is IntentState.UNKNOWN:
        raise unknown_outcome(intent)
    if answer.get("resolved"):  # an earlier errand led to the same intent
        return _known_before(intent)
    return Placed(status="placed", intent=intent, message="placed by the session, which guards it")


def _errand_id(plan: Plan, context: Context) -> str:
    return errand_id(plan, context, is_agent=is_agent(context))


def _placed_before(context: Context, plan: Plan, used: str) -> Placed:
    """What became of a plan that was applied before; nothing is sent.

    Errors: UnknownOutcomeError when the session that was asked has not told.
    """
    if used == AT_SESSION:
        errand = context.journal.errand(_errand_id(plan, context))
        if errand is not None and errand.state is ErrandState.DONE and errand.answer is not None:
            used = str(errand.answer["intent"]["client_id"])
    if used != AT_SESSION:
        return _known_before(context.journal.intent(used))
    raise UnknownOutcomeError(
        "this plan was handed to the session, which has not answered",
        hint="blofin orders and blofin positions tell whether it was placed",
    )


def _known_before(intent: Intent | None) -> Placed:
    """What is known of a plan that was used before. Errors: RefusedError when it came to nothing.

    Its intent keeps its name for ever, so what was not sent then is not sent under it now.
    """
    if intent is not None and intent.state in _NEVER_THERE:
        raise RefusedError(
            f"this plan was tried before and nothing was placed: {intent.note}",
            hint="plan it anew, without --apply",
            details={"client_id": intent.client_id, "state": intent.state.value},
        )
    words = "this plan was placed before; nothing was sent"
    return Placed(status="placed", intent=intent, message=words)


def _note_used(context: Context, account: str, plan: Plan, client_id: str) -> None:
    """A plan is placed once: from now on its hash only tells what became of it."""
    document = context.journal.recall(account, _slot(plan.hash)) or {}
    kept = document.get("plan")
    if kept is not None and plan_of(kept).hash == plan.hash:  # another may have taken its place
        context.journal.remember(account, _slot(plan.hash), document | {"used": client_id})


def unknown_outcome(intent: Intent) -> UnknownOutcomeError:
    """The error of an order nobody knows about."""
    return UnknownOutcomeError(
        f"nobody knows whether {intent.side} {intent.size:f} {intent.symbol} was taken: it was "
        "looked up by its id and not found yet; its risk stays reserved and its stop travels "
        "with it",
        hint="do not repeat it; blofin orders and blofin positions tell when it is known",
        details={"client_id": intent.client_id, "state": intent.state.value},
    )


class _Placing:
    """One plan, placed here: the account's lock is held, and no session runs."""

    def __init__(
        self,
        request: AccountRequest,
        plan: Plan,
        key: str,
        context: Context,
        exchange: "Exchange",
    ) -> None:
        self._request, self._plan, self._key = request, plan, key
        self._context, self._exchange = context, exchange
        self._account = account_of(request, context)
        self._session = manual_session(self._account)
        self._unwritten: list[str] = []

    async def run(self) -> Placed:
        """Through the gate, then until the stop is seen at the exchange."""
        from blofin_cli.engine.gate import Gate

        plan, context = self._plan, self._context
        before = context.journal.intent(client_id_of(self._session, self._key))
        if before is not None:
            _note_used(context, self._account, plan, before.client_id)
            return _known_before(before)
        standing = await self._standing()
        gate = Gate(
            self._exchange,
            context.journal,
            account=self._account,
            session_id=self._session,
            keep=self._keep,
        )
        try:
            placed = await gate.place(plan, standing, face=context.face, key=self._key)
        except RateLimitError as problem:
            problem.hint = problem.hint or "nothing was sent; plan it anew after that"
            raise
        intent = placed.intent
        _note_used(context, self._account, plan, intent.client_id)
        if placed.ack is None:
            return _known_before(intent)
        if placed.ack.outcome is Outcome.REFUSED:
            raise VenueError(
                f"the exchange refused: {placed.ack.code} {placed.ack.message}",
                hint="nothing was opened",
                venue_code=placed.ack.code,
            )
        intent, words = await self._settled(intent)
        if self._unwritten:
            words += f"; not written down: {self._unwritten[0]}"
        return Placed(status="placed", intent=intent, ack=placed.ack, message=words)

    async def _standing(self) -> "Callable[[], Standing]":
        """Everything the gate asks, read just now; the quote last, as it ages."""
        from blofin_cli.engine import planning
        from blofin_cli.engine.following import resolve
        from blofin_cli.engine.gate import Standing
        from blofin_cli.engine.situation import look

        plan, context, exchange = self._plan, self._context, self._exchange
        strategy, mandate = limits_of(context)
        await resolve(exchange, context.journal, self._account, context.clock.now_ms())
        await self._set_up()
        now = await look(
            exchange,
            context.journal,
            plan.symbol,
            plan.side,
            account=self._account,
            name=plan.exchange,
            mode=plan.mode,
            timeframe=strategy.timeframe,
        )
        blocked = _blocked(now, plan, context, self._account, strategy)
        room = planning.room(now, strategy, mandate, is_agent=is_agent(context))

        def standing() -> Standing:
            return Standing(
                now_ms=context.clock.now_ms() + now.clock_offset_ms,
                quote=now.quote,
                room=room,
                mandate=mandate,
                clock_offset_ms=now.clock_offset_ms,
                blocked=blocked,
            )

        return standing

    async def _set_up(self) -> None:
        """Modes and leverage as the plan has them; whatever is set is read back.

        Errors: VenueError when the exchange keeps another.
        """
        plan, say, exchange = self._plan, self._context.say, self._exchange
        if await exchange.position_mode() is not PositionMode.ONE_WAY:
            await exchange.set_position_mode(PositionMode.ONE_WAY)
            say("the account was set to one-way positions")
        if await exchange.margin_mode() is not MarginMode.ISOLATED:
            await exchange.set_margin_mode(MarginMode.ISOLATED)
            say("the account was set to isolated margin")
        told = await exchange.leverage(plan.symbol)
        if any(row.leverage != plan.leverage for row in told):
            await exchange.set_leverage(plan.symbol, plan.leverage)

    def _keep(self, intent: Intent) -> None:
        try:
            self._context.journal.settle_intent(intent)
        except DataError as problem:
            self._unwritten.append(problem.message)

    async def _settled(self, intent: Intent) -> tuple[Intent, str]:
        """Follow an order until its stop is seen, or until it is known that none is needed.

        Errors: UnknownOutcomeError.
        """
        from blofin_cli.engine.following import follow

        end = await follow(self._exchange, self.reducer(), self._plan, intent, keep=self._keep)
        if end.intent.state is IntentState.UNKNOWN:
            raise unknown_outcome(end.intent)
        return end.intent, end.message

    def reducer(self) -> "Reducer":
        """The hands that protect or close what this order opens."""
        return reducer_of(self._request, self._context, self._exchange)


def _blocked(
    now: "Situation", plan: Plan, context: Context, account: str, strategy: "Strategy"
) -> str:
    """Why nothing may be opened now: a position, or a breaker of the last session."""
    from blofin_cli.engine.live.breakers import Breakers, Memory

    if any(position.symbol == plan.symbol and position.size for position in now.positions):
        return "a position is open"
    memory = context.journal.recall(account, "breakers")
    if memory is None:
        return ""
    breakers = Breakers(strategy.risk, Memory.of_record(memory))
    breakers.mark(now.equity_usdt, now.now_ms)
    return breakers.blocked(plan.symbol, now.now_ms)


def reducer_of(request: AccountRequest, context: Context, exchange: "ReduceOnly") -> "Reducer":
    """Hands that can only let go, under the manual session's name."""
    from blofin_cli.engine.reducing import Reducer

    account = account_of(request, context)
    return Reducer(
        exchange=exchange,
        journal=context.journal,
        clock=context.clock,
        account=account,
        session_id=manual_session(account),
        face=context.face,
    )


# By the session, when there is one.


def _is_a_share(errand: tuple[str, dict[str, Any]]) -> bool:
    """Whether doing it twice does more than doing it once."""
    kind, words = errand
    return kind == "close" and Decimal(str(words.get("fraction") or 1)) < 1


async def by_session_or_here(
    request: AccountRequest,
    context: Context,
    errand: tuple[str, dict[str, Any]],
    here: "Callable[[Reducer], Awaitable[dict[str, Any]]]",
) -> dict[str, Any]:
    """Something that lowers risk: by the session that answers, else from here, lock or no lock.

    Errors: as the session's, or the port's; UnknownOutcomeError when the session may have closed
    a share, which is not closed a second time.
    """
    account = account_of(request, context)
    session = living_session(context, account)
    if session is not None and is_answering(context, session):
        kind, arguments = errand
        try:
            return await run_errand(context, account, kind, arguments) | {"by": "session"}
        except (NetworkError, UnknownOutcomeError) as problem:
            is_taken = problem.details.get("state") == ErrandState.TAKEN
            if mode_of(request, context) is Mode.DRY_RUN or (is_taken and _is_a_share(errand)):
                raise
            context.say(f"{problem.message}; going on without it")
    elif session is not None:
        context.say("the session does not answer; going on without it")
    async with open_account(request, context) as exchange:
        reducer = reducer_of(request, context, exchange)
        done = await here(reducer)
        for note in reducer.notes:
            context.say(f"not written down: {note}")
        return done | {"by": "here"}
