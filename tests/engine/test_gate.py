"""The gate: what it refuses, twice; what it writes down; and that nothing leaves otherwise."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import ALL_SYMBOLS, Halt, IntentState, Pause, Room
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.market import Gate as Verdict
from blofin_cli.core.orders import Ack, OrderRequest, OrderType, Outcome
from blofin_cli.core.quotes import Mode
from blofin_cli.core.tickets import Plan
from blofin_cli.engine.gate import Gate, Placement, Standing
from blofin_cli.errors import BlofinError, DataError, HaltedError, NetworkError, RefusedError
from tests.dealing import BTC, NOW_MS, D, drawn, quote, ticket

ACCOUNT = "blofin-demo"
PLAN = drawn()
SHORT = drawn(ticket("sell"))
LIMIT = drawn(ticket(type=OrderType.LIMIT, price=D(59_900), stop=D(59_300)))
ROOM = Room(risk_usdt=D(10_000), notional_usdt=D(10**9), count=10)
ACCEPTED = Ack(outcome=Outcome.ACCEPTED, order_id="o1")
NOW = Standing(now_ms=NOW_MS, quote=quote(), room=ROOM, mandate=BUILT_IN)


@dataclass
class Line:
    """The way to the exchange: what waits, fails, is refused or lost on it."""

    ack: Ack = ACCEPTED
    problem: BlofinError | None = None
    meanwhile: Callable[[], None] | None = None
    sent: list[OrderRequest] = field(default_factory=list)

    async def place(self, request: OrderRequest, *, fence: Callable[[], None]) -> Ack:
        await asyncio.sleep(0)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.problem is not None:
            raise self.problem
        fence()
        self.sent.append(request)
        return self.ack


@dataclass
class Door:
    """A gate of its own, with its journal, its line and the state of things."""

    folder: Path
    line: Line = field(default_factory=Line)
    now: Standing = NOW

    def __post_init__(self) -> None:
        self.journal: Any = open_journal(str(self.folder / "state.db"))

    def standing(self) -> Standing:
        return self.now

    async def place(self, plan: Plan = PLAN, key: str = "k", **words: Any) -> Placement:
        line: Any = self.line
        gate = Gate(
            line, self.journal, account=ACCOUNT, session_id="s", keep=self.journal.settle_intent
        )
        return await gate.place(plan, self.standing, face="cli", key=key, **words)

    @property
    def states(self) -> list[IntentState]:
        return [intent.state for intent in self.journal.intents(ACCOUNT)]


@pytest.fixture
def door(tmp_path) -> Door:
    return Door(tmp_path)


def mandate(**changes: Any) -> Standing:
    """The state of things under another mandate."""
    return replace(NOW, mandate=replace(BUILT_IN, **changes))


REFUSALS: dict[str, tuple[Plan, Standing, str]] = {
    "a gate of the plan said no": (
        replace(PLAN, gates=(*PLAN.gates, Verdict("spread", False, 1, 0))), NOW, "spread",
    ),
    "blocked": (PLAN, replace(NOW, blocked="the private stream is down"), "blocked"),
    "the mandate has expired": (PLAN, mandate(expires_ms=NOW_MS), "mandate"),
    "another symbol": (PLAN, mandate(symbols=frozenset({"ETH-USDT"})), "symbol"),
    "too much leverage": (PLAN, mandate(leverage_max=1), "leverage"),
    "live without leave": (replace(PLAN, mode=Mode.LIVE), NOW, "mode"),
    "too much risk": (PLAN, mandate(risk_fraction_max=D("0.001")), "risk"),
    "too much value": (PLAN, mandate(notional_usdt_max=D(1)), "notional"),
    "no stop": (replace(PLAN, stop=None), NOW, "stop"),
    "the plan is old": (replace(PLAN, expires_ms=NOW_MS - 1), NOW, "plan_age_ms"),
    "the quote is old": (
        PLAN, replace(NOW, quote=quote(ts_ms=NOW_MS - 10_001)), "quote_age_ms",
    ),
    "the quote is from the future": (
        PLAN, replace(NOW, quote=quote(ts_ms=NOW_MS + 5_001)), "quote_age_ms",
    ),
    "the clock is off": (PLAN, replace(NOW, clock_offset_ms=-30_001), "clock_offset_ms"),
    "the ask has run away": (
        PLAN, replace(NOW, quote=quote(PLAN.price_max + 1)), "price_moved",
    ),
    "the ask has fallen away": (
        PLAN, replace(NOW, quote=quote(PLAN.price_min - 1)), "price_moved",
    ),
    "the bid of a sale has fallen away": (
        SHORT, replace(NOW, quote=quote(SHORT.price_min)), "price_moved",
    ),
    "no ask: the last price decides": (
        PLAN, replace(NOW, quote=quote(PLAN.price_max + 1, ask=None)), "price_moved",
    ),
}  # fmt: skip


def test_plans_of_these_tests_are_allowed():
    """The refusals below are the gate's own."""
    assert PLAN.allowed
    assert SHORT.allowed
    assert LIMIT.allowed


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusal_leaves_no_trace_and_sends_nothing(door, case):
    """Each gate says its name, and neither journal nor exchange hears of the plan."""
    plan, door.now, name = REFUSALS[case]
    with pytest.raises(RefusedError) as refused:
        await door.place(plan)
    assert refused.value.details["gate"] == name
    assert (door.states, door.line.sent) == ([], [])


@pytest.mark.parametrize("case", [name for name, (_, now, _) in REFUSALS.items() if now is not NOW])
async def test_what_changes_while_the_order_waits_is_judged_again(door, case):
    """F12: the fence sees the same gates right before the first byte; the intent ends as void."""
    plan, now, name = REFUSALS[case]
    door.line.meanwhile = lambda: setattr(door, "now", now)
    with pytest.raises(RefusedError) as refused:
        await door.place(plan)
    assert refused.value.details["gate"] == name
    assert (door.states, door.line.sent) == ([IntentState.VOID], [])


async def test_halt_refuses_and_says_who(door):
    """A raised flag is told with its cause."""
    door.journal.set_halt(Halt(ts_ms=NOW_MS, face="web", cause="enough"))
    with pytest.raises(HaltedError, match="halted by web: enough"):
        await door.place()
    assert (door.states, door.line.sent) == ([], [])


async def test_halt_raised_while_the_order_waits_stops_it(door):
    """F59: no opening order leaves once the flag is up, however long it has waited."""
    halt = Halt(ts_ms=NOW_MS, face="cli", cause="enough")
    door.line.meanwhile = lambda: door.journal.set_halt(halt)
    with pytest.raises(HaltedError):
        await door.place()
    assert (door.states, door.line.sent) == ([IntentState.VOID], [])
    assert "not sent: trading is halted" in door.journal.intents(ACCOUNT)[0].note


class Unreadable:
    """A journal of which one question fails from some moment on."""

    def __init__(self, journal: Any, name: str, after: int = 0) -> None:
        self._journal, self._name, self._after = journal, name, after

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._after -= 1
            if self._after < 0:
                raise DataError("the state file is damaged")
        return getattr(self._journal, name)


@pytest.mark.parametrize(("after", "states"), [(0, []), (1, [IntentState.VOID])])
async def test_unreadable_flag_counts_as_halted(door, after, states):
    """F60: whoever cannot tell whether trading is halted sends nothing, at either look."""
    door.journal = Unreadable(door.journal, "halted", after)
    with pytest.raises(HaltedError, match="nobody can tell"):
        await door.place()
    assert (door.states, door.line.sent) == (states, [])


@pytest.mark.parametrize("symbol", [BTC, ALL_SYMBOLS])
async def test_pause_refuses_until_it_is_over(door, symbol):
    """A pause of the symbol or of everything; one whose time is over holds nobody."""
    pause = Pause(symbol=symbol, ts_ms=0, face="tui", cause="news", until_ms=NOW_MS + 1)
    door.journal.set_pause(pause)
    with pytest.raises(RefusedError, match="paused by tui: news"):
        await door.place()
    assert door.line.sent == []
    door.journal.set_pause(replace(pause, until_ms=NOW_MS))
    assert (await door.place()).ack is not None


async def test_pause_of_another_symbol_holds_nobody_here(door):
    """Each symbol pauses by itself."""
    door.journal.set_pause(Pause(symbol="ETH-USDT", ts_ms=0, face="cli", cause="news"))
    assert (await door.place()).ack is not None


async def test_data_that_grew_old_while_waiting_is_not_traded_on(door):
    """I13: the quote is fresh again, but what was decided on is 10 s old."""
    later = replace(NOW, now_ms=NOW_MS + 10_001, quote=quote(ts_ms=NOW_MS + 10_000))
    door.line.meanwhile = lambda: setattr(door, "now", later)
    with pytest.raises(RefusedError) as refused:
        await door.place()
    assert refused.value.details["gate"] == "data_age_ms"
    assert (door.states, door.line.sent) == ([IntentState.VOID], [])


async def test_limit_order_is_not_judged_by_the_touch(door):
    """Its price is its own."""
    door.now = replace(NOW, quote=quote(LIMIT.price_max + 10))
    assert (await door.place(LIMIT)).ack is not None


async def test_what_leaves_was_written_down_first(door):
    """I03: the intent is durable, with exactly what is sent, before the request goes."""
    seen: list[IntentState] = []
    door.line.meanwhile = lambda: seen.extend(door.states)
    placed = await door.place(hold_ms=60_000, until_ms=NOW_MS + 5)
    assert seen == [IntentState.RESERVED]
    assert door.line.sent == [placed.intent.order()]
    kept = door.journal.intent(placed.intent.client_id)
    assert kept == placed.intent
    assert (kept.state, kept.order_id, kept.hold_ms, kept.until_ms) == (
        IntentState.ACCEPTED, "o1", 60_000, NOW_MS + 5,
    )  # fmt: skip
    assert (kept.stop, kept.risk_usdt, kept.data_ms) == (
        PLAN.stop, PLAN.risk_usdt, NOW.quote.ts_ms,
    )  # fmt: skip


async def test_same_key_is_the_same_intent(door):
    """I02: repeated in sequence and in parallel, one order leaves."""
    first, *others = await asyncio.gather(*(door.place() for _ in range(5)))
    others.append(await door.place())
    assert len(door.line.sent) == 1
    assert first.ack is not None
    assert {(other.intent.client_id, other.ack) for other in others} == {
        (first.intent.client_id, None)
    }


async def test_other_key_is_another_intent(door):
    """The key is what makes a repetition."""
    for key in ("a", "b"):
        await door.place(key=key, plan=replace(PLAN, symbol="ETH-USDT" if key == "a" else BTC))
    assert len({request.client_id for request in door.line.sent}) == 2


async def test_journal_that_does_not_take_the_intent_stops_it(door):
    """F53: what cannot be written down is not sent."""
    door.journal = Unreadable(door.journal, "reserve")
    with pytest.raises(DataError):
        await door.place()
    assert (door.states, door.line.sent) == ([], [])


@pytest.mark.parametrize(
    "room",
    [
        replace(ROOM, risk_usdt=PLAN.risk_usdt - 1),
        replace(ROOM, notional_usdt=PLAN.notional_usdt - 1),
        replace(ROOM, count=0),
        replace(ROOM, face_entries_hour=0),
    ],
)
async def test_room_is_asked_in_the_same_breath(door, room):
    """I04: what does not fit into the limits is refused by the reservation itself."""
    door.now = replace(NOW, room=room)
    with pytest.raises(RefusedError):
        await door.place()
    assert (door.states, door.line.sent) == ([], [])


async def test_not_sent_is_void(door):
    """By the port's word nothing left: the intent ends, its risk is free again."""
    door.line.problem = NetworkError("the exchange was not reached")
    with pytest.raises(NetworkError):
        await door.place()
    assert door.states == [IntentState.VOID]
    assert door.journal.open_intents(ACCOUNT) == ()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.UNKNOWN, IntentState.UNKNOWN), (Outcome.REFUSED, IntentState.REFUSED)],
)
async def test_answer_decides_what_is_known(door, outcome, state):
    """F01: a lost answer is a placement that stays open; a refusal is an end."""
    door.line.ack = Ack(outcome=outcome, code="152", message="busy")
    placed = await door.place()
    assert (placed.intent.state, placed.intent.note) == (state, "152 busy")
    assert bool(door.journal.open_intents(ACCOUNT)) is (outcome is Outcome.UNKNOWN)


async def test_answer_is_kept_though_nothing_else_can_be_read_any_more(door):
    """F53: once the order is out, no failing look at the state of things may lose its answer."""
    looks = iter([NOW, NOW])

    def standing() -> Standing:
        for look in looks:
            return look
        raise DataError("the disk is gone")

    door.standing = standing
    placed = await door.place()
    assert placed.intent.state is IntentState.ACCEPTED
    assert (door.states, len(door.line.sent)) == ([IntentState.ACCEPTED], 1)


async def test_time_of_sending_is_when_it_left(door):
    """How long an order may be looked for counts from the send, not from the wish."""
    late = replace(NOW, now_ms=NOW_MS + 4_000, quote=quote(ts_ms=NOW_MS + 4_000))
    door.line.meanwhile = lambda: setattr(door, "now", late)
    placed = await door.place()
    assert (placed.intent.created_ms, placed.intent.sent_ms) == (NOW_MS, NOW_MS + 4_000)
