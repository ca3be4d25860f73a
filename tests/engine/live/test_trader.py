"""What becomes of a bar's wishes, and that the journal tells of it once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import IntentState, Room
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.market import Timeframe, Zone
from blofin_cli.core.orders import Fill, Side
from blofin_cli.core.strategy import build_strategy
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.engine.live.breakers import Breakers, Memory
from blofin_cli.engine.live.clerk import Clerk
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.live.trader import Trader
from blofin_cli.engine.strategist import Judgement, Wish
from blofin_cli.errors import BlofinError, NetworkError, RefusedError, UsageError
from tests.adapters.store.samples import ACCOUNT, decision, fill, halt, intent, session, zone
from tests.dealing import BTC, NOW_MS, D, drawn, ticket

HOUR_MS = 3_600_000
BAR_MS = NOW_MS - Timeframe.M15.ms


@dataclass
class Zoned:
    """A strategist that knows some zones."""

    timeframe: Timeframe = Timeframe.M15
    known: tuple[Zone, ...] = (zone(symbol=BTC),)

    def zones(self, symbol: str) -> tuple[Zone, ...]:
        return self.known


@dataclass
class Desk:
    """A trader without an exchange: its plans are ready made, its entries wait for a person."""

    journal: Any
    plans: list[Plan | BlofinError] = field(default_factory=lambda: [drawn()])
    blocked: Callable[[], str] = lambda: ""
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        strategy = build_strategy({})
        exchange: Any = None
        strategist: Any = Zoned()
        clock: Any = self
        self.strategist = strategist
        self.state = LiveState(
            exchange=exchange, journal=self.journal, clock=clock, wall=clock,
            session=session("s1", symbols=(BTC,)),
            breakers=Breakers(strategy.risk, Memory.fresh(10_000.0, NOW_MS)),
            notify=lambda happening: self.told.append(happening.text),
        )  # fmt: skip
        self.trader = self.hired()

    def hired(self, *, approval_always: bool = False) -> Trader:
        """A trader of this desk."""
        desk = self

        class Planned(Trader):
            async def plan(self, ticket: Ticket) -> Plan:
                plan = desk.plans.pop(0)
                if isinstance(plan, BlofinError):
                    raise plan
                return plan

        return Planned(
            self.state, Clerk(self.state, "15m"), self.strategist, build_strategy({}),
            mandate=lambda: BUILT_IN, blocked=self.why,
            approval_only=True, approval_always=approval_always,
        )  # fmt: skip

    def now_ms(self) -> int:
        return NOW_MS

    def why(self) -> str:
        return self.blocked()

    async def act(self, *wishes: Wish, bar_ms: int = BAR_MS, is_fresh: bool = True) -> None:
        """Hand a judgement over."""
        words = {"side": "buy", "action": "buy", "entry": 1.0, "stop": 0.5} if wishes else {}
        said = decision(bar_ms, symbol=BTC, **words)
        await self.trader.act(Judgement(decision=said, wishes=wishes), is_fresh=is_fresh)

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(row.outcome, row.note) for row in self.journal.decisions("s1")]


@pytest.fixture
def desk(tmp_path) -> Desk:
    journal = open_journal(str(tmp_path / "state.db"))
    journal.open_session(session("s1"))
    return Desk(journal)


WISH = Wish(ticket=ticket(), hold_ms=HOUR_MS)


@pytest.mark.parametrize("is_booked", [False, True])
async def test_entry_by_hand_of_before_the_session_is_found_in_the_fills(desk, is_booked):
    """Nothing was ever booked: fills are read from the oldest entry on, not from the start on."""
    wide = Room(risk_usdt=D(1_000), notional_usdt=D(100_000), count=9)
    made = intent(account=ACCOUNT, created_ms=NOW_MS - HOUR_MS, state=IntentState.DONE)
    desk.journal.reserve(made, wide)
    if is_booked:
        booked = fill("f1", ts_ms=NOW_MS - 60_000)
        desk.journal.book_fills(ACCOUNT, "s1", [booked])
    asked = []

    class Fills:
        async def fills(self, *, since_ms: int) -> tuple[Fill, ...]:
            asked.append(NOW_MS - since_ms)
            return ()

    desk.state.exchange = cast(Any, Fills())
    desk.state.session = session("s1", started_ms=NOW_MS)
    clerk = Clerk(desk.state, "15m")
    clerk.recall()
    await clerk.collect_fills()
    overlap_ms = 120_000
    assert asked == [60_000 + overlap_ms if is_booked else HOUR_MS + overlap_ms]


@pytest.mark.parametrize(
    ("words", "ago_ms", "reason"),
    [
        ({"flatten": True}, 60_000, "halt"),
        ({"flatten": False}, 60_000, "manual"),
        ({"flatten": True}, -60_000, "manual"),
        (None, 0, "manual"),
    ],
)
async def test_what_a_flattening_halt_closed_says_so(desk, words, ago_ms, reason):
    """`halt --flatten` closes by itself: the session sees the fill of an order it never sent."""
    if words is not None:
        desk.journal.set_halt(halt(ts_ms=NOW_MS - ago_ms, **words))
    opened = fill("f1", ts_ms=NOW_MS - HOUR_MS)
    closed = fill("f2", ts_ms=NOW_MS, side=Side.SELL, order_id="o2")

    class Fills:
        async def fills(self, *, since_ms: int) -> tuple[Fill, ...]:
            return opened, closed

        async def order(self, ref: Any) -> None:
            return None

    desk.state.exchange = cast(Any, Fills())
    clerk = Clerk(desk.state, "15m")
    clerk.recall()
    await clerk.collect_fills()
    (trade,) = desk.journal.trades(account=ACCOUNT)
    assert trade.exit_reason == reason


async def test_bar_without_a_wish_is_a_decision_too(desk):
    """Every bar leaves its gates behind; nobody is woken for it."""
    await desk.act()
    assert desk.outcomes == [("hold", "")]
    assert desk.told == []


async def test_wish_on_an_old_bar_is_stale(desk):
    """F12: what is decided on a bar that came late is written down and not traded."""
    await desk.act(WISH, is_fresh=False)
    assert desk.outcomes == [("stale", "the bar was too old to trade on")]
    assert len(desk.plans) == 1


async def test_wish_becomes_a_proposal_where_a_person_must_agree(desk):
    """Approval only: the plan waits under its hash, and the decision names it."""
    plan = desk.plans[0]
    await desk.act(WISH)
    assert desk.outcomes == [("proposed", plan.hash)]
    waiting = desk.journal.proposals(ACCOUNT)
    assert [item.plan_hash for item in waiting] == [plan.hash]
    assert len(desk.told) == 2  # the proposal, and the signal


async def test_proposal_waits_by_the_clock_of_the_person(desk):
    """In a box with a time of its own a proposal expires by the wall, as `approve` reads it."""

    class Later:
        def now_ms(self) -> int:
            return NOW_MS + 9 * HOUR_MS

    desk.state.wall = Later()
    left_ms = desk.plans[0].expires_ms - NOW_MS
    await desk.act(WISH)
    (waiting,) = desk.journal.proposals(ACCOUNT)
    assert waiting.expires_ms == NOW_MS + 9 * HOUR_MS + left_ms


async def test_of_several_wishes_the_met_one_is_the_bars_decision(desk):
    """What a later wish was refused for does not hide what was done."""
    answers = iter(["", "no more now"])
    desk.blocked = lambda: next(answers)
    await desk.act(WISH, WISH)
    assert [outcome for outcome, _ in desk.outcomes] == ["proposed"]


async def test_refusals_name_their_reason(desk):
    """Blocked, a failed gate, an exchange that does not answer: each in its own words."""
    desk.blocked = lambda: "the private stream is down"
    await desk.act(WISH)
    desk.blocked = lambda: ""
    desk.plans = [drawn(risk_fraction_max=desk.plans[0].risk_fraction / 2), NetworkError("gone")]
    await desk.act(WISH, bar_ms=BAR_MS + 1)
    await desk.act(WISH, bar_ms=BAR_MS + 2)
    assert [outcome for outcome, _ in desk.outcomes] == ["refused", "refused", "network"]
    assert desk.outcomes[0][1] == "the private stream is down"
    assert not desk.state.is_reachable


async def test_zones_are_kept_on_the_hour_and_with_every_wish(desk):
    """Those that an entry was judged by are there; bars between leave them as they were."""
    step_ms, at_first = Timeframe.M15.ms, desk.strategist.known
    on_the_hour = BAR_MS - BAR_MS % HOUR_MS + HOUR_MS - step_ms
    await desk.act(bar_ms=on_the_hour)
    desk.strategist.known = (*at_first, zone(id="a newer one", symbol=BTC))
    await desk.act(bar_ms=on_the_hour + step_ms)
    assert desk.journal.zones_at("s1", BTC, on_the_hour + HOUR_MS) == at_first
    await desk.act(WISH, bar_ms=on_the_hour + 2 * step_ms)
    assert desk.journal.zones_at("s1", BTC, on_the_hour + HOUR_MS) == desk.strategist.known


def test_a_parameter_out_of_range_changes_nothing(desk):
    """Nor does it stay behind to spoil the next change."""
    with pytest.raises(UsageError):
        desk.trader.change("risk.per_trade_pct", "70")
    desk.trader.change("strategy.risk.per_trade_pct", "0.25")
    assert desk.trader.changed == {"risk.per_trade_pct": "0.25"}
    assert desk.state.breakers.risk.per_trade_pct == 0.25


def test_what_a_session_began_with_for_good_is_not_lifted(desk):
    """`--approval-only` outlives the setting of the same name; the setting alone comes and goes."""
    desk.trader.change("session.approval_only", "false")
    assert not desk.trader.approval_only
    held = desk.hired(approval_always=True)
    with pytest.raises(RefusedError, match="--approval-only"):
        held.change("session.approval_only", "false")
    assert held.approval_only
