"""Breakers: what trips them, what does not, and that they remember; by the kernels of the step."""

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.core.ledger import REASONS
from blofin_cli.core.market import ExitReason
from blofin_cli.core.risk import DAY_MS, remember_exit, roll_calendar, trip_breakers
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.live.breakers import Breakers, ExecutionRules, Memory, SymbolMemory
from tests.dealing import BTC, ETH, D

MONDAY_MS = 1_704_067_200_000
HOUR_MS = 3_600_000
NAMES = ("day_loss", "week_loss", "drawdown")


def breakers(equity: float = 10_000.0, now_ms: int = MONDAY_MS, **risk: Any) -> Breakers:
    """An account that begins on a Monday; keywords change the risk rules."""
    strategy = build_strategy({f"risk.{name}": value for name, value in risk.items()})
    return Breakers(strategy.risk, Memory.fresh(equity, now_ms))


def told(happenings: list[Any]) -> list[str]:
    """Names of what tripped."""
    return [item.details["breaker"] for item in happenings]


def views(breaker: Breakers, now_ms: int = MONDAY_MS) -> dict[str, Any]:
    return {view.name: view for view in breaker.views(now_ms)}


def test_loss_of_the_day_blocks_until_midnight():
    """3 % below the day's start: no entries until 00:00 UTC, then all is well again."""
    breaker = breakers()
    assert breaker.mark(D("9700.01"), MONDAY_MS) == []
    assert breaker.blocked(BTC, MONDAY_MS) == ""
    assert told(breaker.mark(D(9_700), MONDAY_MS)) == ["day_loss"]
    assert "daily loss" in breaker.blocked(BTC, MONDAY_MS)
    assert breaker.mark(D(9_900), MONDAY_MS + DAY_MS - 1) == []  # a recovery does not clear it
    assert "daily loss" in breaker.blocked(BTC, MONDAY_MS)
    breaker.mark(D(9_900), MONDAY_MS + DAY_MS)
    assert breaker.blocked(BTC, MONDAY_MS + DAY_MS) == ""


def test_open_profit_counts_as_closed_does():
    """Equity is what is judged: a loss that is only open trips as well."""
    breaker = breakers()
    breaker.mark(D(10_500), MONDAY_MS)  # open profit raises the peak ...
    assert breaker.memory.peak == 10_500
    assert told(breaker.mark(D(9_600), MONDAY_MS)) == ["day_loss"]  # ... the day keeps its start


def test_losses_of_a_week_add_up():
    """6 % below the week's start blocks until Monday, whatever each day lost."""
    breaker = breakers()
    tripped: list[str] = []
    for day, equity in enumerate(("9750", "9500", "9390")):
        tripped += told(breaker.mark(D(equity), MONDAY_MS + day * DAY_MS))
    assert tripped == ["week_loss"]
    sunday = MONDAY_MS + 6 * DAY_MS
    breaker.mark(D(9_390), sunday)
    assert "weekly loss" in breaker.blocked(BTC, sunday)
    breaker.mark(D(9_390), sunday + DAY_MS)
    assert breaker.blocked(BTC, sunday + DAY_MS) == ""


def test_drawdown_halts_until_a_person_resumes():
    """15 % below the peak; no day clears it, a person does, and it is measured from there."""
    breaker = breakers(day_loss_pct=100, week_loss_pct=100)
    breaker.mark(D(12_000), MONDAY_MS)
    assert told(breaker.mark(D(10_200), MONDAY_MS + 60 * DAY_MS)) == ["drawdown"]
    later = MONDAY_MS + 90 * DAY_MS
    breaker.mark(D(11_000), later)
    assert "drawdown" in breaker.blocked(BTC, later)
    breaker.rearm(later)
    assert breaker.blocked(BTC, later) == ""
    assert breaker.mark(D(10_500), later) == []
    assert breaker.memory.peak == 11_000


def test_trip_is_told_once():
    """A breaker speaks when it trips, not at every mark."""
    breaker = breakers()
    breaker.mark(D(9_000), MONDAY_MS)
    assert breaker.mark(D(8_900), MONDAY_MS) == []


@pytest.mark.parametrize("moved", [D(-2_000), D(5_000)])
def test_moved_money_is_no_profit_and_no_loss(moved):
    """A transfer moves equity and every floor together: nothing trips, nothing is hidden."""
    breaker = breakers()
    breaker.transferred(moved)
    assert breaker.mark(10_000 + moved, MONDAY_MS) == []
    assert [views(breaker)[name].value for name in NAMES] == [0, 0, 0]
    loss = (10_000 + moved) * D("0.03")
    assert told(breaker.mark(10_000 + moved - loss, MONDAY_MS)) == ["day_loss"]


def test_stops_in_a_row_pause_a_symbol_then_the_account():
    """Each stop cools its symbol for 4 h, the third pauses it for a day, the fifth the account."""
    breaker = breakers()
    for _ in range(2):
        assert breaker.exited(ETH, ExitReason.STOP, D(-50), MONDAY_MS) == []
    assert "cools down" in breaker.blocked(ETH, MONDAY_MS + 4 * HOUR_MS - 1)
    assert breaker.blocked(ETH, MONDAY_MS + 4 * HOUR_MS) == ""
    breaker.exited(ETH, ExitReason.STOP, D(-50), MONDAY_MS)
    assert "cools down" in breaker.blocked(ETH, MONDAY_MS + 24 * HOUR_MS - 1)
    assert breaker.blocked(BTC, MONDAY_MS) == ""
    breaker.exited(BTC, ExitReason.LIQUIDATION, D(-50), MONDAY_MS)
    fifth = breaker.exited(BTC, ExitReason.STOP, D(-50), MONDAY_MS)
    assert told(fifth) == ["stops_account"]
    assert "stops in a row" in breaker.blocked("SOL-USDT", MONDAY_MS + 24 * HOUR_MS - 1)
    assert breaker.blocked("SOL-USDT", MONDAY_MS + 24 * HOUR_MS) == ""


@pytest.mark.parametrize(
    ("reason", "realised", "row"),
    [
        (ExitReason.STOP, -50, 1),
        (ExitReason.LIQUIDATION, -50, 1),
        (ExitReason.TRAILING, -1, 1),
        (ExitReason.TRAILING, 80, 0),
        (ExitReason.TARGET, 100, 0),
        (ExitReason.MANUAL, -80, 0),
        (ExitReason.TIME, -5, 0),
    ],
)
def test_what_counts_as_a_stop(reason, realised, row):
    """A stop, a liquidation, and a trailing stop at a loss; anything else ends the row."""
    breaker = breakers()
    breaker.exited(ETH, reason, D(realised), MONDAY_MS)
    assert breaker.memory.stops_in_row == row


def test_entries_of_a_day_are_counted():
    """The eighth entry is the last until midnight."""
    breaker = breakers()
    for _ in range(8):
        assert breaker.blocked(BTC, MONDAY_MS) == ""
        breaker.placed()
    assert "entries a day" in breaker.blocked(BTC, MONDAY_MS)
    breaker.mark(D(10_000), MONDAY_MS + DAY_MS)
    assert breaker.blocked(BTC, MONDAY_MS + DAY_MS) == ""


def test_refusals_in_ten_minutes_pause_entries_for_an_hour():
    """Five refused entries within the window; a person's resume ends the pause."""
    breaker = breakers()
    for minute in (0, 3, 6, 9):
        assert breaker.rejected(MONDAY_MS + minute * 60_000) == []
    late = breaker.rejected(MONDAY_MS + 11 * 60_000)  # the first has left the window
    assert late == []
    assert told(breaker.rejected(MONDAY_MS + 12 * 60_000)) == ["rejects"]
    now = MONDAY_MS + 12 * 60_000
    assert "repeated refusals" in breaker.blocked(BTC, now + HOUR_MS - 1)
    assert breaker.blocked(BTC, now + HOUR_MS) == ""
    breaker.rearm(now)
    assert breaker.blocked(BTC, now) == ""


def test_long_naked_position_pauses_entries_once():
    """More than 15 s without a stop; another within the pause is not told again."""
    breaker = breakers()
    assert breaker.was_naked(15.0, MONDAY_MS) == []
    assert told(breaker.was_naked(15.1, MONDAY_MS)) == ["naked"]
    assert breaker.was_naked(40.0, MONDAY_MS) == []
    assert "a bare position" in breaker.blocked(BTC, MONDAY_MS + HOUR_MS - 1)
    shown = views(breaker)
    assert (shown["naked"].tripped, shown["naked"].value) == (True, 40.0)
    assert not shown["rejects"].tripped
    breaker.rearm(MONDAY_MS)
    assert breaker.blocked(BTC, MONDAY_MS) == ""


def test_bad_slippage_asks_for_approval_until_it_is_better():
    """The mean of the last ten entries beyond 25 bps; nine entries prove nothing."""
    breaker = breakers()
    for _ in range(9):
        breaker.entered(40.0)
    breaker.entered(None)  # an entry without a plan says nothing
    assert not breaker.approval_only
    breaker.entered(40.0)
    assert breaker.approval_only
    assert views(breaker)["execution"].tripped
    for _ in range(5):
        breaker.entered(-10.0)
    assert not breaker.approval_only


def test_execution_rules_are_the_callers():
    """Limits of execution come from the rules given."""
    strict = ExecutionRules(rejects_max=1, naked_s_max=1, slippage_entries=2, slippage_bps_max=5)
    breaker = Breakers(build_strategy({}).risk, Memory.fresh(1.0, MONDAY_MS), strict)
    assert told(breaker.rejected(MONDAY_MS)) == ["rejects"]
    breaker.entered(6.0)
    breaker.entered(6.0)
    assert breaker.approval_only


def test_limits_switched_off_trip_nothing():
    """`risk.limits` off: the study's account has no breakers."""
    breaker = breakers(limits=False)
    assert breaker.mark(D(1), MONDAY_MS) == []


def test_views_tell_how_far_each_breaker_is():
    """Half of the limit used is half the distance; what tripped has none left."""
    breaker = breakers()
    breaker.mark(D(9_850), MONDAY_MS)
    day = views(breaker)["day_loss"]
    assert (day.value, day.limit, day.tripped) == (1.5, 3.0, False)
    assert day.distance == pytest.approx(0.5)
    breaker.mark(D(9_000), MONDAY_MS)
    assert (views(breaker)["day_loss"].distance, views(breaker)["day_loss"].tripped) == (0.0, True)


def test_memory_survives_the_journal():
    """A restart neither forgets a trip nor gives back a pause."""
    breaker = breakers()
    breaker.mark(D(9_700), MONDAY_MS)
    breaker.exited(ETH, ExitReason.STOP, D(-50), MONDAY_MS)
    breaker.placed()
    breaker.was_naked(60, MONDAY_MS)
    breaker.transferred(D(100))
    record = json.loads(json.dumps(breaker.memory.record()))
    again = Breakers(build_strategy({}).risk, Memory.of_record(record))
    assert again.memory == breaker.memory
    for symbol in (BTC, ETH):
        assert again.blocked(symbol, MONDAY_MS) == breaker.blocked(symbol, MONDAY_MS) != ""


EQUITIES = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY_MS), st.decimals(D(5_000), D(15_000), places=2),
        st.sampled_from([None, *ExitReason]),
    ),
    max_size=20,
)  # fmt: skip


@given(EQUITIES)
@settings(max_examples=60, deadline=None)
def test_losses_and_pauses_are_those_of_the_step(path):
    """Fed the same equities and exits, the kernels of the backtest hold the same account."""
    breaker = breakers()
    risk = build_strategy({}).risk
    row: Any = SimpleNamespace(**Memory.fresh(10_000.0, MONDAY_MS).record())
    symbol = SymbolMemory()
    desk: Any = SimpleNamespace(account=[row], symbols=[symbol])
    now = MONDAY_MS
    for later, equity, reason in path:
        now += later
        breaker.mark(equity, now)
        row.equity = float(equity)
        roll_calendar(row, now)
        row.peak = max(row.peak, row.equity)
        row.drawdown_max = max(row.drawdown_max, 1 - row.equity / row.peak)
        trip_breakers(row, risk)
        if reason is not None:
            realised = Decimal(equity) - 10_000
            breaker.exited(ETH, reason, realised, now)
            left: Any = SimpleNamespace(
                symbol=0, reason=REASONS.index(reason), realised=float(realised)
            )
            remember_exit(desk, left, now, risk)
    held = breaker.memory.record()
    assert held | {"symbols": {}} == vars(row) | {"symbols": {}}
    assert breaker.memory.symbols.get(ETH, SymbolMemory()) == symbol
