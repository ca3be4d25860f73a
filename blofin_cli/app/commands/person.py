"""What a person alone may do: sign a mandate, approve what waits for approval."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from blofin_cli.app import mandate as mandates
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.core.journal import Intent, IntentState, Proposal, ProposalState
from blofin_cli.errors import (
    BlofinError,
    ConfigError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
)

if TYPE_CHECKING:
    from blofin_cli.app.orders import Placed
    from blofin_cli.core.mandate import Mandate
    from blofin_cli.core.tickets import Plan


class MandateRequest(Request):
    """What to do with it."""

    action: Annotated[
        Literal["init", "sign", "show"],
        Field(description="init: make your key · sign: put the draft into force · show"),
    ] = "show"

    def effect(self, declared: Effect) -> Effect:
        """Looking is free. The others ask for the passphrase themselves, since they work with it;
        no consent given beforehand passes for it."""
        del declared
        return Effect.READ if self.action == "show" else Effect.WRITE


class MandateResult(Result):
    """The mandate in force, or the draft that waits for a signature."""

    action: str
    state: str
    mandate: dict[str, Any]
    signed_ms: int | None
    folder: str
    next_step: str

    columns: ClassVar[tuple[str, ...]] = ("limit", "value")

    def rows(self) -> list[dict[str, Any]]:
        """One line a limit."""
        return [{"limit": name, "value": _shown(value)} for name, value in self.mandate.items()]

    def summary(self) -> list[tuple[str, object]]:
        """What it is and what to do next."""
        return [("mandate", self.state), ("next", self.next_step)]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "-" if value in (None, "") else str(value)


@command(effect=Effect.PERSON, positional=("action",))
async def mandate(request: MandateRequest, context: Context) -> MandateResult:
    """Show, prepare or sign what your account may do at most.

    `init` makes a key that only your passphrase opens, and a draft to edit. `sign` puts the draft
    into force. Nothing else in the program can raise a limit in it.

    Example: blofin mandate show
    """
    if request.action == "init":
        first = mandates.ask_passphrase(context, "a new passphrase for your mandate")
        if mandates.ask_passphrase(context, "the same passphrase again") != first:
            raise RefusedError("the two passphrases differ", hint="nothing was changed")
        mandates.create(context, first)
        waiting = mandates.draft(context)
        return _told("init", "draft, not signed", waiting, None, "edit mandate.toml, then sign it")
    if request.action == "sign":
        waiting = mandates.draft(context)
        for name, value in waiting.record().items():
            context.say(f"{name:<18} {_shown(value)}")
        question = "passphrase of the mandate, to sign these limits"
        mandates.sign(context, waiting, mandates.ask_passphrase(context, question))
        now_ms = context.clock.now_ms()
        return _told("sign", "in force", waiting, now_ms, "a running session reads it anew")
    signed = mandates.load(context)
    if signed.signed_ms is None:
        return _told("show", "built-in", signed.mandate, None, _first_step(context))
    is_over = signed.mandate.is_expired(context.clock.now_ms())
    state, step = ("expired", "sign a new one") if is_over else ("in force", "none")
    return _told("show", state, signed.mandate, signed.signed_ms, step)


def _first_step(context: Context) -> str:
    """What a person does next while the built-in mandate holds."""
    if not mandates.exists(context):
        return "blofin mandate init for your own"
    try:
        mandates.draft(context)
    except ConfigError as problem:
        return f"mend the draft mandate.toml: {problem.message}"
    return "edit mandate.toml, then blofin mandate sign"


def _told(
    action: str, state: str, limits: "Mandate", signed_ms: int | None, next_step: str
) -> MandateResult:
    return MandateResult(
        action=action,
        state=state,
        mandate=limits.record(),
        signed_ms=signed_ms,
        folder=str(mandates.folder()),
        next_step=next_step,
    )


class ProposalRequest(Request):
    """Which proposal."""

    id: Annotated[
        str, Field(description="Id of the proposal, as status shows it", pattern=r"^[0-9a-f]{4,8}$")
    ]


class RejectResult(Result):
    """The proposal that will not be placed."""

    id: str
    symbol: str
    state: str


@command(effect=Effect.SAFE, positional=("id",))
async def reject(request: ProposalRequest, context: Context) -> RejectResult:
    """Say no to a proposed entry; it can never be placed then.

    Example: blofin reject 3f2a
    """
    proposal = find_proposal(context, request.id)
    done = context.journal.decide_proposal(
        proposal.id, ProposalState.REJECTED, context.face, context.clock.now_ms()
    )
    return RejectResult(id=done.id, symbol=done.plan["symbol"], state=done.state)


def find_proposal(context: Context, proposal_id: str) -> Proposal:
    """The proposal of this id; wrong ids are counted like wrong passphrases.

    Errors: RefusedError after five within a minute; UsageError when there is none.
    """
    mandates.refuse_guessing(context)
    found = _proposal(context, proposal_id)
    if found is not None:
        return found
    mandates.note_wrong_guess(context)
    raise UsageError(f"no proposal has the id {proposal_id}", hint="blofin status lists them")


def _proposal(context: Context, proposal_id: str) -> Proposal | None:
    known = context.journal.proposals(open_only=False)
    return next((proposal for proposal in known if proposal.id == proposal_id), None)


class ApproveRequest(ProposalRequest):
    """Which proposal."""

    def effect_in(self, declared: Effect, context: Context) -> Effect:
        """A person's. Before the word is asked, a proposal that has ended is refused, and whoever
        can type it reads what it is for.
        """
        proposal = _proposal(context, self.id)
        if proposal is not None:
            _refuse_ended(proposal, context.clock.now_ms())
            if context.demand is not None:
                _show(proposal, context)
        return declared


def _show(proposal: Proposal, context: Context) -> None:
    from blofin_cli.app.commands.order import plan_lines
    from blofin_cli.core.tickets import plan_of

    why = ("why asked", f"{proposal.reason}, by {proposal.face}")
    for label, value in (*plan_lines(plan_of(proposal.plan)), why):
        context.say(f"{label:<14} {value}")


def _refuse_ended(proposal: Proposal, now_ms: int) -> None:
    """Errors: RefusedError saying how it ended."""
    if proposal.state is not ProposalState.OPEN:
        by = f" by {proposal.decided_by}" if proposal.decided_by else ""
        raise RefusedError(
            f"proposal {proposal.id} is {proposal.state}{by}", hint="a proposal is decided once"
        )
    if proposal.expires_ms <= now_ms:
        raise RefusedError(
            f"proposal {proposal.id} has expired", hint="plan it anew: prices have moved on"
        )


class ApproveResult(Result):
    """The entry a person agreed to, and what became of it."""

    id: str
    status: str
    symbol: str
    message: str
    intent: Intent | None


@command(effect=Effect.PERSON, positional=("id",))
async def approve(request: ApproveRequest, context: Context) -> ApproveResult:
    """Agree to a proposed entry and have it placed: exactly that one, once.

    The plan is shown, then the word or the passphrase is asked for; that is the only question.
    When it is refused and nothing was sent, the same proposal can be approved again until it
    expires.

    Example: blofin approve 3f2a91
    """
    from blofin_cli.app import orders
    from blofin_cli.app.attempts import led_to
    from blofin_cli.core.tickets import plan_of

    proposal = find_proposal(context, request.id)
    plan = plan_of(proposal.plan)
    if plan.hash != proposal.plan_hash:
        raise RefusedError("the proposal was altered", hint="nothing was sent")
    orders.refuse_closed_gates(plan)
    if led_to(plan, proposal.account, context) is not None:
        raise RefusedError(
            "this plan came to an order before; nothing was sent",
            hint="blofin orders and blofin positions show it",
        )
    journal, who = context.journal, context.face
    journal.decide_proposal(proposal.id, ProposalState.APPROVED, who, context.clock.now_ms())
    placed = await _place_approved(proposal, plan, context)
    journal.decide_proposal(proposal.id, ProposalState.PLACED, who, context.clock.now_ms())
    return ApproveResult(
        id=proposal.id,
        status=placed.status,
        symbol=plan.symbol,
        message=placed.message,
        intent=placed.intent,
    )


async def _place_approved(proposal: Proposal, plan: "Plan", context: Context) -> "Placed":
    """Place what a person agreed to. What nobody knows about keeps the approval used up.

    Errors: as `orders.place_plan`.
    """
    from blofin_cli.app import orders
    from blofin_cli.app.venues import AccountRequest

    place = AccountRequest(exchange=plan.exchange, mode=plan.mode)
    try:
        return await orders.place_plan(place, plan, orders.plan_key(plan), context)
    except UnknownOutcomeError:
        raise
    except BlofinError as problem:
        state = _after_refusal(proposal, plan, context)
        context.journal.decide_proposal(proposal.id, state, context.face, context.clock.now_ms())
        if state is ProposalState.OPEN and proposal.expires_ms > context.clock.now_ms():
            problem.hint = problem.hint or "nothing was sent; it can be approved again in its time"
        raise


def _after_refusal(proposal: Proposal, plan: "Plan", context: Context) -> ProposalState:
    """What a refusal makes of an approval: open again, unless its plan has come to something.

    An intent keeps its name for ever, so one that was refused or never sent ends the plan, too.
    """
    from blofin_cli.app.attempts import led_to

    intent = led_to(plan, proposal.account, context)
    if intent is None:
        return ProposalState.OPEN
    never_there = intent.state in {IntentState.REFUSED, IntentState.VOID}
    return ProposalState.EXPIRED if never_there else ProposalState.PLACED
