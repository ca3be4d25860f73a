"""What must hold for every market and every setting: the books balance and budgets are kept."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_cli.core.candles import Candles
from blofin_cli.core.context import Market
from blofin_cli.core.ledger import HALT, LIQUIDATION, SIGNAL, STOP, TARGET, Verdict
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.engine.backtest import Course, Outcome, lay_course, trade_signals
from tests.fakes import M15_MS, contract, signal_rows
from tests.strategies import walks

START = 10_000.0
MIN_EACH = {"risk.entries_per_day": 1000, "risk.cooldown_h": 0}
FIXED = {"costs.slippage": "fixed"}
UNCAPPED = FIXED | {"costs.market_share": 1, "costs.limit_share": 1}
MOOD = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

exits = st.fixed_dictionaries(
    {
        "target.order": st.sampled_from(["limit", "trigger_market"]),
        "target.rr": st.sampled_from([1, 2, 4]),
        "target.parts": st.sampled_from(["", "1:50%,2:50%", "0.5:25%,1:25%,3:50%"]),
        "manage.trail": st.sampled_from([0, 1, 2]),
        "manage.be_at": st.sampled_from([0, 1]),
        "manage.exit_on_opposite": st.booleans(),
        "risk.limits": st.booleans(),
        "risk.drawdown_pct": st.sampled_from([0.5, 2, 15]),
        "risk.day_loss_pct": st.sampled_from([0.3, 3]),
        "costs.funding_8h": st.sampled_from([0, 0.001]),
        "costs.scale": st.sampled_from([0, 1, 3]),
    }
)


@st.composite
def runs(draw: st.DrawFn, base: dict[str, Any]) -> tuple[Course, Strategy, Outcome]:
    """A run over a random walk with random signals and random exits, over `base` settings."""
    candles = draw(walks(30, 250, holes=True, wild=0.03))
    words = MIN_EACH | base | draw(exits)
    strategy = build_strategy({name: value for name, value in words.items() if value != ""})
    signals = signal_rows(draw(signal_lists(candles)))
    course = lay_course([Market(candles, contract())], strategy.costs)
    return course, strategy, trade_signals(course, signals, strategy, START)


@st.composite
def signal_lists(draw: st.DrawFn, candles: Candles) -> list[dict[str, Any]]:
    """Up to twenty signals in time order, market and limit, long and short."""
    ticks = st.integers(0, len(candles) - 2)
    found = []
    for tick in sorted(draw(st.lists(ticks, max_size=20))):
        side, close = draw(st.sampled_from([1, -1])), float(candles.close[tick])
        entry = close * (1 - side * draw(st.sampled_from([0.0, 0.0, 0.004])))
        distance = draw(st.floats(0.003, 0.05)) * entry
        found.append(
            {
                "tick": tick,
                "side": side,
                "until": tick + draw(st.integers(1, 40)),
                "hold_ms": draw(st.integers(1, 100)) * M15_MS,
                "zone_ms": 3_600_000,
                "entry": entry,
                "limit": entry if entry != close else 0.0,
                "stop": round(entry - side * distance, 1),
                "risk_fraction": draw(st.sampled_from([0.002, 0.005, 0.02])),
                "notional_scale": 1.0,
                "verdict": int(Verdict.UNSEEN),
            }
        )
    return [one for one in found if one["side"] * (one["entry"] - one["stop"]) > 0.2]


def equity_by_hand(course: Course, strategy: Strategy, outcome: Outcome) -> np.ndarray:
    """Equity at every close from trades and exits alone: start, realised, costs, open profit.

    For runs whose orders fill whole, so that a trade has one entry fill.
    """
    bars, costs = course.bars, strategy.costs
    taker, maker = costs.taker * costs.scale, costs.maker * max(1.0, costs.scale)
    equity = np.full(len(bars.ts), START)
    for row in outcome.trades:
        side, entered = int(row["side"]), int(row["entry_ms"])
        is_limit = rested(course, outcome.signals[row["signal"]], row)
        fills = outcome.exits[outcome.exits["number"] == row["number"]]
        held = np.where(bars.ts >= entered, row["quantity"], 0.0)
        equity -= np.where(
            bars.ts >= entered, row["entry"] * row["quantity"] * (maker if is_limit else taker), 0.0
        )
        paid = np.zeros(len(bars.ts))
        for fill in fills:
            done = bars.ts >= fill["ms"]
            as_maker = fill["reason"] == TARGET and strategy.target.order == "limit"
            rate = 0.0 if fill["reason"] == LIQUIDATION else maker if as_maker else taker
            profit = side * (fill["price"] - row["entry"]) - fill["price"] * rate
            equity += np.where(done, profit * fill["quantity"], 0.0)
            held = np.where(done, held - fill["quantity"], held)
            paid += done * fill["quantity"]
        equity += side * (bars.close - row["entry"]) * held
        equity += funding_by_hand(course, row, fills)
    return equity


def rested(course: Course, decision: Any, row: Any) -> bool:
    """Whether a trade's limit entry waited in the book; one marketable on arrival took instead."""
    if decision["limit"] <= 0:
        return False
    first = int(decision["tick"]) + 1
    is_first = row["entry_ms"] == course.bars.ts[first]
    beyond = row["side"] * (decision["limit"] - course.bars.open[first]) > 0
    return not (is_first and beyond)


def funding_by_hand(course: Course, row: Any, fills: np.ndarray) -> np.ndarray:
    """Cumulative funding of one trade, bar by bar, on what was held as each bar began."""
    bars = course.bars
    rate = bars.funding_long if row["side"] > 0 else bars.funding_short
    inside = (bars.ts >= row["entry_ms"]) & (bars.ts <= row["exit_ms"])
    begun = np.where(inside, row["quantity"], 0.0)
    for fill in fills:
        begun -= np.where(inside & (bars.ts > fill["ms"]), fill["quantity"], 0.0)
        if fill["reason"] in (SIGNAL, HALT):  # left at the bar's open, before funding was due
            begun -= np.where(bars.ts == fill["ms"], fill["quantity"], 0.0)
    return np.asarray(np.cumsum(-rate * row["entry"] * begun))


@given(runs(UNCAPPED))
@MOOD
def test_equity_is_start_plus_trades_plus_open_profit_at_every_bar(run: Any) -> None:
    """Equity recomputed from trades, exits and closes alone equals the curve at every bar."""
    course, strategy, outcome = run
    by_hand = equity_by_hand(course, strategy, outcome)
    np.testing.assert_allclose(outcome.curve, by_hand, rtol=1e-9)


@given(runs(FIXED))
@MOOD
def test_ledger_conserves_cash(run: Any) -> None:
    """In the end cash is start plus the profit of all trades, capped fills and all."""
    _, _, outcome = run
    trades, account = outcome.trades, outcome.account
    assert account["cash"] == account["equity"] == outcome.curve[-1]
    assert abs(account["cash"] - START - trades["pnl"].sum()) <= 1e-9 * START
    assert account["active"] == 0


@given(runs(FIXED))
@MOOD
def test_trade_adds_up(run: Any) -> None:
    """Exits sum to the quantity, their mean is the exit, and R is profit over planned risk."""
    _, _, outcome = run
    for row in outcome.trades:
        fills = outcome.exits[outcome.exits["number"] == row["number"]]
        assert (fills["quantity"] > 0).all()
        np.testing.assert_allclose(fills["quantity"].sum(), row["quantity"], rtol=1e-9)
        mean = (fills["price"] * fills["quantity"]).sum() / row["quantity"]
        np.testing.assert_allclose(mean, row["exit"], rtol=1e-9)
        gross = row["side"] * (row["exit"] - row["entry"]) * row["quantity"]
        costs = row["funding"] - row["fees"]
        np.testing.assert_allclose(row["pnl"], gross + costs, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(row["risk_price"], abs(row["entry"] - row["stop"]), rtol=1e-9)
        risked = row["risk_price"] * row["quantity"]
        np.testing.assert_allclose(row["net_r"], row["pnl"] / risked, rtol=1e-9)
        assert row["entry_ms"] <= row["exit_ms"]


@given(runs(FIXED | {"risk.limits": "true"}))
@MOOD
def test_loss_at_the_stop_never_exceeds_the_budget(run: Any) -> None:
    """A stop hit without a gap loses no more than the risk the trade was given, costs included.

    But for one: a limit order is sized with the maker's fee, and one that is marketable when it
    arrives pays the taker's.
    """
    course, strategy, outcome = run
    if not strategy.risk.limits:
        return
    for row in outcome.trades[outcome.trades["reason"] == STOP]:
        fills = outcome.exits[outcome.exits["number"] == row["number"]]
        bar = int(np.searchsorted(course.bars.ts, fills["ms"][-1]))
        if row["side"] * (course.bars.open[bar] - row["stop"]) <= 0:
            continue  # the open jumped over the stop
        decision = outcome.signals[row["signal"]]
        budget = decision["risk_fraction"] * outcome.curve[decision["tick"]]
        costs = strategy.costs
        taker, maker = costs.taker * costs.scale, costs.maker * max(1.0, costs.scale)
        if decision["limit"] > 0:
            budget += max(0.0, taker - maker) * row["entry"] * row["quantity"]
        assert row["pnl"] - row["funding"] >= -budget * (1 + 1e-9)


@given(runs(FIXED))
@MOOD
def test_halted_means_no_entry_for_ever(run: Any) -> None:
    """Once the drawdown breaker has tripped, nothing is opened, and what was open soon closes."""
    course, strategy, outcome = run
    if not strategy.risk.limits:
        return
    peak = np.maximum.accumulate(np.r_[START, outcome.curve])[1:]
    tripped = np.flatnonzero(outcome.curve <= peak * (1 - strategy.risk.drawdown_pct / 100))
    if not len(tripped):
        return
    halted_ms = course.tick_ts[tripped[0]] + course.step_ms
    assert (outcome.trades["entry_ms"] < halted_ms).all()
    later = outcome.signals["tick"] > tripped[0]
    allowed = {int(Verdict.HALTED), int(Verdict.UNSEEN)}
    assert set(outcome.signals["verdict"][later]) <= allowed


@given(runs(FIXED))
@MOOD
def test_one_symbol_holds_one_position_at_a_time(run: Any) -> None:
    """With account limits trades of a symbol never overlap."""
    _, strategy, outcome = run
    if not strategy.risk.limits:
        return
    trades = np.sort(outcome.trades, order="entry_ms")
    assert (trades["entry_ms"][1:] >= trades["exit_ms"][:-1]).all()


@given(runs(FIXED))
@MOOD
def test_size_is_whole_lots_within_every_cap(run: Any) -> None:
    """With account limits quantities are whole lots and notional stays within the leverage."""
    _, strategy, outcome = run
    if not strategy.risk.limits:
        return
    lots = outcome.trades["quantity"] / 0.1
    np.testing.assert_allclose(lots, np.round(lots), atol=1e-6)
    notional = outcome.trades["quantity"] * outcome.trades["entry"]
    assert (notional <= outcome.curve.max() * strategy.risk.max_leverage * 1.1).all()


@given(runs(FIXED))
@MOOD
def test_same_run_twice_is_the_same_to_the_last_bit(run: Any) -> None:
    """A course and its signals give the same bytes each time they are run."""
    course, strategy, outcome = run
    again = outcome.signals.copy()
    if strategy.risk.limits:
        return  # the account writes what exposure left of a signal's risk into it
    once_more = trade_signals(course, again, strategy, START)
    assert once_more.trades.tobytes() == outcome.trades.tobytes()
    assert once_more.curve.tobytes() == outcome.curve.tobytes()
