"""A person's yes to a proposed entry: good once, and given back when nothing came of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.app import catalog, orders
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.app.venues import AccountRequest
from blofin_cli.core.journal import (
    Errand,
    ErrandState,
    Intent,
    IntentState,
    ProposalState,
    Room,
    Session,
    client_id_of,
)
from blofin_cli.core.quotes import Mode
from blofin_cli.core.tickets import Plan
from blofin_cli.errors import BlofinError, RefusedError, UnknownOutcomeError
from tests.dealing import D, drawn, quote, situation

ACCOUNT, SESSION = "sim-demo", "run1"
DEMO = AccountRequest(exchange="sim", mode=Mode.DEMO)
BUDGET = RefusedError("4 of mcp an hour would exceed 3", details={"gate": "face_entries_hour"})
BLOCKED = RefusedError("no entries now", details={"gate": "blocked"})
WIDE = Room(risk_usdt=D(10_000), notional_usdt=D(100_000), count=9)


@dataclass
class Desk:
    """A state in which a session holds the account and answers each errand by the script: an error
    is its answer, a plan is placed, and with both the plan's intent is void."""

    state: str
    script: list[tuple[Plan | None, BlofinError | None]] = field(default_factory=list)
    seen: list[Errand] = field(default_factory=list)

    def context(self, face: str = "cli", **changes: Any) -> Context:
        return Context(face=face, state_override=self.state, consent=True, **changes)

    def person(self, typed: list[str] | None = None) -> Context:
        heard = [] if typed is None else typed

        def answer(question: str) -> str:
            heard.append(question)
            return "approve"

        return self.context(demand=answer)

    def proposed(self, plan: Plan) -> str:
        """The plan as an agent left it: refused by the session for its budget, and proposed."""
        agent = self.context("mcp", client="probe")
        self.script.insert(0, (None, BUDGET))
        orders.keep_plan(agent, ACCOUNT, plan, 0)
        with pytest.raises(RefusedError, match="an hour"):
            self.run(lambda: orders.place_plan(DEMO, plan, orders.plan_key(plan), agent))
        placed = orders.propose(agent, ACCOUNT, plan, BUDGET.message)
        assert placed.proposal is not None
        return placed.proposal.id

    def approve(self, proposal_id: str, context: Context | None = None) -> Any:
        arguments = {"id": proposal_id}
        by = context or self.person()
        return self.run(lambda: invoke(catalog.load("approve"), arguments, by))

    def run(self, work: Callable[[], Any]) -> Any:
        """Do something while the session answers."""
        return asyncio.run(self._around(work))

    async def _around(self, work: Callable[[], Any]) -> Any:
        journal = self.context().journal
        with journal.lock(f"account-{ACCOUNT}"):
            journal.open_session(session())
            task = asyncio.ensure_future(work())
            while not task.done():
                for errand in journal.take_errands(ACCOUNT, SystemClock().now_ms()):
                    self._answer(journal, errand)
                await asyncio.sleep(0.02)
            return task.result()

    def _answer(self, journal: Any, errand: Errand) -> None:
        """Refuse, or write the intent down under the session's name as the gate does."""
        self.seen.append(errand)
        (plan, error), key = self.script.pop(0), errand.arguments["key"]
        now_ms, state = SystemClock().now_ms(), ErrandState.DONE
        answer = {"intent": {"client_id": client_id_of(SESSION, key)}, "resolved": False}
        if plan is not None:
            entry = entry_of(plan, SESSION, errand.face)
            journal.reserve(entry, WIDE)
        if error is not None:
            state, answer = ErrandState.FAILED, error.envelope()
        if plan is not None and error is not None:
            journal.settle_intent(replace(entry, state=IntentState.VOID))
        journal.answer_errand(errand.id, state, answer, now_ms)

    def proposal(self, proposal_id: str) -> Any:
        known = self.context().journal.proposals(open_only=False)
        return next(each for each in known if each.id == proposal_id)


def entry_of(plan: Plan, session_id: str, face: str) -> Intent:
    """The intent a plan comes to under a session's name."""
    key, now_ms = orders.plan_key(plan), SystemClock().now_ms()
    return plan.intent(account=ACCOUNT, session_id=session_id, key=key, face=face, now_ms=now_ms)


def session() -> Session:
    return Session(
        session_id=SESSION, account=ACCOUNT, exchange="sim", mode=Mode.DEMO, simulated=True,
        symbols=("BTC-USDT",), timeframe="15m", config={}, digests={}, version="0", pid=1, host="h",
        started_ms=1, history_start_ms={}, equity_start_usdt=D(1),
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(str(tmp_path / "state.db"))


@pytest.fixture
def plan() -> Plan:
    """A plan of now that every gate lets pass."""
    now_ms = SystemClock().now_ms()
    now = situation(exchange="sim", mode=Mode.DEMO, now_ms=now_ms, quote=quote(ts_ms=now_ms))
    made = drawn(now=now)
    assert made.allowed, made.gates
    return made


def test_approval_is_asked_of_the_session_though_it_refused_the_agent(desk, plan):
    """The agent's no was about its budget; the person's yes is an errand of its own, once."""
    proposal_id = desk.proposed(plan)
    desk.script.append((plan, None))
    told = desk.approve(proposal_id)
    assert (told.status, told.intent.plan_hash) == ("placed", plan.hash)
    assert [errand.face for errand in desk.seen] == ["mcp", "cli"]
    assert len({errand.arguments["key"] for errand in desk.seen}) == 1
    assert desk.proposal(proposal_id).state is ProposalState.PLACED
    with pytest.raises(RefusedError, match="is placed by cli"):
        desk.approve(proposal_id)
    assert len(desk.seen) == 2


def test_plan_is_shown_before_the_one_question(desk, plan):
    """Who types the word has read what it is for; no second question, no `--yes`."""
    proposal_id, story = desk.proposed(plan), []
    desk.script.append((plan, None))
    person = replace(desk.person(story), consent=False, say=story.append)
    assert desk.approve(proposal_id, person).status == "placed"
    assert story.pop() == "type approve to go on"
    assert any(line.startswith("worst case") for line in story)
    assert any(line.startswith("why asked") for line in story)


def test_plan_is_not_shown_to_who_cannot_approve(desk, plan):
    """An agent is refused as before, whatever it passes."""
    proposal_id, heard = desk.proposed(plan), []
    with pytest.raises(RefusedError, match="for a person"):
        desk.approve(proposal_id, replace(desk.context(), say=heard.append))
    assert heard == []


def test_refused_approval_can_be_given_again(desk, plan):
    """Nothing was sent, so the proposal is open as before, until it expires."""
    proposal_id = desk.proposed(plan)
    desk.script += [(None, BLOCKED), (plan, None)]
    with pytest.raises(RefusedError, match="no entries now") as caught:
        desk.approve(proposal_id)
    assert "approved again" in caught.value.hint
    assert desk.proposal(proposal_id).state is ProposalState.OPEN
    assert desk.approve(proposal_id).status == "placed"
    assert len(desk.context().journal.intents(ACCOUNT)) == 1


def test_approval_nobody_knows_about_stays_used(desk, plan):
    """What may have been sent is not sent again."""
    proposal_id = desk.proposed(plan)
    desk.script.append((None, UnknownOutcomeError("the answer was lost")))
    with pytest.raises(UnknownOutcomeError):
        desk.approve(proposal_id)
    assert desk.proposal(proposal_id).state is ProposalState.APPROVED
    with pytest.raises(RefusedError, match="is approved by cli"):
        desk.approve(proposal_id)
    assert len(desk.seen) == 2


def test_plan_the_agent_placed_meanwhile_is_not_placed_again(desk, plan):
    """Its budget was refilled, and another session runs now: the plan has come to its order."""
    proposal_id = desk.proposed(plan)
    entry = entry_of(plan, "another", "mcp")
    desk.context().journal.reserve(entry, WIDE)
    with pytest.raises(RefusedError, match="came to an order before"):
        desk.approve(proposal_id)
    key = orders.plan_key(plan)
    told = desk.run(lambda: orders.place_plan(DEMO, plan, key, desk.context()))
    assert told.intent.client_id == entry.client_id
    assert len(desk.seen) == 1


def test_entry_that_was_never_sent_ends_its_plan(desk, plan):
    """An intent keeps its name for ever: the proposal ends, and says so when asked again."""
    proposal_id = desk.proposed(plan)
    desk.script.append((plan, BLOCKED))
    with pytest.raises(RefusedError):
        desk.approve(proposal_id)
    assert desk.proposal(proposal_id).state is ProposalState.EXPIRED


def test_expired_proposal_is_refused_before_a_word_is_asked(desk, plan):
    """No passphrase, no plan on the screen: there is nothing left to agree to."""
    proposal_id, asked, heard = desk.proposed(plan), [], []
    late = SystemClock().now_ms() + 3_600_000

    @dataclass
    class Late:
        def now_ms(self) -> int:
            return late

    context = replace(desk.person(asked), clock=Late(), say=heard.append)
    with pytest.raises(RefusedError, match="has expired"):
        asyncio.run(invoke(catalog.load("approve"), {"id": proposal_id}, context))
    assert (asked, heard) == ([], [])
