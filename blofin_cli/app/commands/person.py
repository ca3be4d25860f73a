"""What a person alone may do: sign a mandate, approve what waits for approval."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from blofin_cli.app import mandate as mandates
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.core.journal import Intent, Proposal, ProposalState
from blofin_cli.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.mandate import Mandate


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
        return _told("show", "built-in", signed.mandate, None, "blofin mandate init for your own")
    is_over = signed.mandate.is_expired(context.clock.now_ms())
    state, step = ("expired", "sign a new one") if is_over else ("in force", "none")
    return _told("show", state, signed.mandate, signed.signed_ms, step)


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
    """The open proposal of this id; wrong ids are counted like wrong passphrases.

    Errors: RefusedError after five within a minute; UsageError when there is none.
    """
    mandates.refuse_guessing(context)
    for proposal in context.journal.proposals(open_only=False):
        if proposal.id == proposal_id:
            return proposal
    mandates.note_wrong_guess(context)
    raise UsageError(f"no proposal has the id {proposal_id}", hint="blofin status lists them")


class ApproveResult(Result):
    """The entry a person agreed to, and what became of it."""

    id: str
    status: str
    symbol: str
    message: str
    intent: Intent | None


@command(effect=Effect.PERSON, positional=("id",))
async def approve(request: ProposalRequest, context: Context) -> ApproveResult:
    """Agree to a proposed entry and have it placed: exactly that one, once.

    Example: blofin approve 3f2a91
    """
    from blofin_cli.app import orders
    from blofin_cli.app.commands.order import plan_lines
    from blofin_cli.app.spec import require_consent
    from blofin_cli.app.venues import AccountRequest
    from blofin_cli.core.tickets import plan_of

    proposal = find_proposal(context, request.id)
    plan = plan_of(proposal.plan)
    if plan.hash != proposal.plan_hash:
        raise RefusedError("the proposal was altered", hint="nothing was sent")
    for label, value in plan_lines(plan):
        context.say(f"{label:<14} {value}")
    require_consent(f"proposed because {proposal.reason}. Place it?", context)
    journal, who = context.journal, context.face
    journal.decide_proposal(proposal.id, ProposalState.APPROVED, who, context.clock.now_ms())
    orders.refuse_closed_gates(plan)
    place = AccountRequest(exchange=plan.exchange, mode=plan.mode)
    placed = await orders.place_plan(place, plan, orders.plan_key(plan), context)
    journal.decide_proposal(proposal.id, ProposalState.PLACED, who, context.clock.now_ms())
    return ApproveResult(
        id=proposal.id,
        status=placed.status,
        symbol=plan.symbol,
        message=placed.message,
        intent=placed.intent,
    )
