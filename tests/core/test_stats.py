"""Metrics against the specification's numbers, hand arithmetic, and properties that must hold."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core import stats

FIVE = np.array([2.0, -1.0, -1.0, 3.0, -1.0])
NONE = np.empty(0)
NO_TIMES = np.empty(0, np.int64)

moves = st.floats(-20, 20).map(lambda value: round(value, 4))
trade_lists = st.lists(moves, min_size=1, max_size=60)
curves = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def at(*moments: int) -> stats.Times:
    return np.array(moments, np.int64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trades", 5),
        ("win_rate", 0.4),
        ("average_win_r", 2.5),
        ("average_loss_r", 1.0),
        ("reward_risk", 2.5),
        ("expectancy_r", 0.4),
        ("profit_factor", 1.666667),
        ("sd_r", 1.949359),
        ("sqn", 0.458831),
        ("breakeven_win_rate", 0.285714),
        ("drawdown_r", 2.0),
        ("losing_streak", 2),
        ("sum_r", 2.0),
        ("pnl_usdt", 20.0),
    ],
)
def test_trade_metrics_of_five_trades_match_the_specification(name: str, expected: float) -> None:
    """Every figure of the specification's five trades is met."""
    assert getattr(stats.trade_metrics(FIVE, FIVE * 10), name) == pytest.approx(expected, abs=5e-7)


def test_sd_uses_the_sample_and_not_the_population() -> None:
    """Standard deviations divide by n - 1; numpy's default would understate them."""
    sd = stats.trade_metrics(FIVE).sd_r
    assert sd == pytest.approx(FIVE.std(ddof=1))
    assert sd != pytest.approx(FIVE.std(), rel=0.05)


def test_a_trade_that_comes_out_even_is_a_loss() -> None:
    """A trade with net R = 0 counts as a loss: rate, average and streak all see it."""
    metrics = stats.trade_metrics(np.array([2.0, 0.0, -1.0]))
    assert metrics.win_rate == pytest.approx(1 / 3)
    assert metrics.average_loss_r == 0.5
    assert metrics.reward_risk == 4.0
    assert metrics.losing_streak == 2


@pytest.mark.parametrize(
    ("net_r", "undefined"),
    [
        ([], "win_rate average_win_r average_loss_r reward_risk expectancy_r breakeven_win_rate "
             "profit_factor sd_r sqn pnl_usdt"),
        ([1.0, 2.0], "average_loss_r reward_risk breakeven_win_rate profit_factor pnl_usdt"),
        ([-1.0, -2.0], "average_win_r reward_risk breakeven_win_rate pnl_usdt"),
        ([1.0, 0.0], "reward_risk breakeven_win_rate profit_factor pnl_usdt"),
        ([-1.0], "average_win_r reward_risk breakeven_win_rate sd_r sqn pnl_usdt"),
        ([-0.1, -0.1, -0.1], "average_win_r reward_risk breakeven_win_rate sqn pnl_usdt"),
    ],
)  # fmt: skip
def test_figures_without_a_meaning_are_none(net_r: list[float], undefined: str) -> None:
    """What cannot be divided is None, never NaN, infinity or a huge number made of rounding."""
    metrics = stats.trade_metrics(np.array(net_r))
    found = {name for name in metrics.__slots__ if getattr(metrics, name) is None}
    assert found == set(undefined.split())


def test_no_trades_have_no_drawdown_and_no_streak() -> None:
    """An empty list of trades is an answer, not an error."""
    metrics = stats.trade_metrics(NONE, NONE)
    assert (metrics.trades, metrics.losing_streak, metrics.drawdown_r) == (0, 0, 0.0)
    assert metrics.pnl_usdt == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused(bad: float) -> None:
    """Unknown is not zero: nothing is computed from a NaN."""
    broken = np.array([1.0, bad])
    for refuse in (
        lambda: stats.trade_metrics(broken),
        lambda: stats.max_drawdown(broken),
        lambda: stats.equity_metrics(broken, 0.1, 1.0),
        lambda: stats.week_bootstrap(broken, at(0, 1)),
        lambda: stats.by_bucket(["a", "a"], broken),
    ):
        with pytest.raises(ValueError, match="not a finite number"):
            refuse()


@given(trade_lists)
def test_expectancy_equals_rates_times_averages(net_r: list[float]) -> None:
    """E = p * W - (1 - p) * L for any list of trades."""
    metrics = stats.trade_metrics(np.array(net_r))
    win_rate = metrics.win_rate or 0.0
    folded = win_rate * (metrics.average_win_r or 0.0)
    folded -= (1 - win_rate) * (metrics.average_loss_r or 0.0)
    assert metrics.expectancy_r == pytest.approx(folded, abs=1e-9)


@given(trade_lists)
def test_winning_more_often_than_breakeven_means_profit(net_r: list[float]) -> None:
    """The sign of the mean, of profit factor - 1 and of win rate - break-even agree."""
    metrics = stats.trade_metrics(np.array(net_r))
    if metrics.breakeven_win_rate is None or metrics.profit_factor is None:
        return
    assert metrics.expectancy_r is not None
    assert metrics.win_rate is not None
    if metrics.expectancy_r > 1e-9:
        assert metrics.win_rate > metrics.breakeven_win_rate
        assert metrics.profit_factor > 1
    if metrics.expectancy_r < -1e-9:
        assert metrics.win_rate < metrics.breakeven_win_rate
        assert metrics.profit_factor < 1


@given(trade_lists, st.randoms(use_true_random=False))
def test_the_order_of_trades_moves_streak_and_drawdown_only(net_r: list[float], random) -> None:  # type: ignore[no-untyped-def]
    """Sums and averages do not depend on the order of trades."""
    shuffled = random.sample(net_r, len(net_r))
    first, second = (stats.trade_metrics(np.array(values)) for values in (net_r, shuffled))
    for name in ("win_rate", "reward_risk", "expectancy_r", "profit_factor", "sd_r"):
        left, right = getattr(first, name), getattr(second, name)
        assert (left is None) == (right is None)
        assert left is None or left == pytest.approx(right, abs=1e-9)


@given(trade_lists)
def test_streak_and_drawdown_match_a_plain_loop(net_r: list[float]) -> None:
    """The vectorised streak and drawdown equal those of one walk over the trades."""
    streak = longest = 0
    total = peak = fall = 0.0
    for value in net_r:
        streak = 0 if value > 0 else streak + 1
        longest = max(longest, streak)
        total += value
        peak = max(peak, total)
        fall = max(fall, peak - total)
    metrics = stats.trade_metrics(np.array(net_r))
    assert metrics.losing_streak == longest
    assert metrics.drawdown_r == pytest.approx(fall, abs=1e-9)


def test_daily_closes_take_the_last_bar_of_each_utc_day() -> None:
    """A bar belongs to the day it opens in; a day without bars repeats the day before."""
    opens = at(ms(2024, 1, 1, 12), ms(2024, 1, 1, 23, 45), ms(2024, 1, 2), ms(2024, 1, 5, 0, 15))
    closes = stats.daily_closes(opens, np.array([1.0, 2.0, 3.0, 4.0]))
    assert closes.tolist() == [2.0, 3.0, 3.0, 3.0, 4.0]


def test_daily_closes_of_nothing_are_nothing() -> None:
    """No bars, no days; unequal columns are refused."""
    assert len(stats.daily_closes(NO_TIMES, NONE)) == 0
    with pytest.raises(ValueError, match="1 times for 0"):
        stats.daily_closes(at(0), NONE)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([], 0.0),
        ([100.0], 0.0),
        ([100.0, 110.0, 120.0], 0.0),
        ([100.0, 120.0, 90.0, 130.0, 117.0], 0.25),
        ([100.0, 0.0, 50.0], 1.0),
        ([100.0, -40.0], 1.0),
    ],
)
def test_max_drawdown_known_answers(curve: list[float], expected: float) -> None:
    """The deepest fall from a running peak, and 1 once the account is gone."""
    assert stats.max_drawdown(np.array(curve)) == pytest.approx(expected)


@given(curves, st.floats(0.01, 100))
def test_max_drawdown_is_a_fraction_and_knows_no_currency(curve: list[float], scale: float) -> None:
    """Drawdown stays within [0, 1] and does not change with the unit of money."""
    drawdown = stats.max_drawdown(np.array(curve))
    assert 0 <= drawdown <= 1
    assert stats.max_drawdown(np.array(curve) * scale) == pytest.approx(drawdown, abs=1e-12)


@given(curves, st.floats(0.01, 1e6))
def test_max_drawdown_never_shrinks_as_time_goes_on(curve: list[float], more: float) -> None:
    """A longer curve has fallen at least as deep."""
    assert stats.max_drawdown(np.array([*curve, more])) >= stats.max_drawdown(np.array(curve))


def test_equity_metrics_match_hand_arithmetic() -> None:
    """Daily log returns, ddof 1, root of 365; downside over all days; growth over years."""
    daily = np.array([100.0, 102.0, 101.0, 104.0, 103.0])
    returns = [math.log(1.02), math.log(101 / 102), math.log(104 / 101), math.log(103 / 104)]
    mean = sum(returns) / 4
    sd = math.sqrt(sum((value - mean) ** 2 for value in returns) / 3)
    downside = math.sqrt((returns[1] ** 2 + returns[3] ** 2) / 4)
    metrics = stats.equity_metrics(daily, drawdown=0.02, years=0.5)
    assert metrics.sharpe == pytest.approx(mean / sd * math.sqrt(365))
    assert metrics.sortino == pytest.approx(mean / downside * math.sqrt(365))
    assert metrics.total_return == pytest.approx(0.03)
    assert metrics.cagr == pytest.approx(1.03**2 - 1)
    assert metrics.calmar == pytest.approx((1.03**2 - 1) / 0.02)
    assert (metrics.days, metrics.max_drawdown, metrics.is_ruined) == (4, 0.02, False)


def test_sharpe_counts_days_without_trades() -> None:
    """Flat days belong to the record: leaving them out would flatter the ratio."""
    busy = np.array([100.0, 102.0, 101.0, 104.0])
    idle = np.array([100.0, 102.0, 102.0, 102.0, 101.0, 101.0, 104.0])
    full, patchy = (stats.equity_metrics(daily, 0.01, 1.0).sharpe for daily in (busy, idle))
    assert full is not None
    assert patchy is not None
    assert patchy < full


def test_a_curve_without_variation_has_no_ratios() -> None:
    """Steady growth has rounding for a spread; its Sharpe ratio is undefined, not 1e13."""
    for daily in (np.full(50, 100.0), 100 * 1.001 ** np.arange(50.0)):
        metrics = stats.equity_metrics(daily, 0.0, 1.0)
        assert (metrics.sharpe, metrics.sortino, metrics.calmar) == (None, None, None)


def test_a_ruined_account_has_no_ratios_and_lost_everything() -> None:
    """There is no logarithm of zero: ratios are None and growth is -1 a year."""
    metrics = stats.equity_metrics(np.array([100.0, 50.0, -5.0]), drawdown=1.0, years=0.1)
    assert metrics.is_ruined
    assert (metrics.sharpe, metrics.sortino) == (None, None)
    assert (metrics.cagr, metrics.calmar) == (-1.0, -1.0)
    assert metrics.total_return == pytest.approx(-1.05)


def test_an_account_that_touched_zero_is_ruined_even_if_it_rose_again() -> None:
    """Money paid in after ruin does not bring the ratios back."""
    metrics = stats.equity_metrics(np.array([100.0, 0.0, 120.0]), drawdown=1.0, years=1.0)
    assert metrics.is_ruined
    assert (metrics.sharpe, metrics.sortino) == (None, None)


@pytest.mark.parametrize("years", [0.0, -1.0, 1e-6])
def test_growth_over_no_time_is_undefined(years: float) -> None:
    """Compounding a moment to a year overflows; the answer is None."""
    assert stats.equity_metrics(np.array([1.0, 2.0]), 0.1, years).cagr is None


def test_an_equity_curve_must_start_with_capital() -> None:
    """Nothing can be measured against a start of zero."""
    for daily in (NONE, np.array([0.0, 1.0])):
        with pytest.raises(ValueError, match="capital above zero"):
            stats.equity_metrics(daily, 0.0, 1.0)


@given(st.lists(st.floats(0.5, 2), min_size=3, max_size=40), st.floats(0.01, 1e6))
def test_equity_ratios_know_no_currency(growth: list[float], scale: float) -> None:
    """Returns and ratios are the same in any unit of money."""
    daily = 100 * np.cumprod(np.array(growth))
    plain, scaled = (stats.equity_metrics(curve, 0.1, 1.0) for curve in (daily, daily * scale))
    for name in ("total_return", "cagr", "sharpe", "sortino"):
        left, right = getattr(plain, name), getattr(scaled, name)
        if left is not None and right is not None:
            assert left == pytest.approx(right, rel=1e-5, abs=1e-6)


def test_costs_are_totals_means_in_r_and_a_share_of_gross() -> None:
    """Gross is what the trades made before fees, slippage and funding."""
    costs = stats.cost_metrics(
        np.array([80.0, -60.0]),
        np.array([50.0, 50.0]),
        fees_usdt=np.array([6.0, 6.0]),
        funding_usdt=np.array([1.0, -3.0]),
        slippage_usdt=np.array([2.0, 4.0]),
    )
    assert (costs.fees_usdt, costs.funding_usdt, costs.slippage_usdt) == (12.0, -2.0, 6.0)
    assert (costs.fees_r, costs.funding_r, costs.slippage_r) == pytest.approx((0.12, -0.02, 0.06))
    assert costs.gross_usdt == 40.0
    assert costs.share_of_gross == 0.5


def test_costs_have_no_share_of_a_gross_loss() -> None:
    """A share of a loss would be a negative percentage that reads like income."""
    ten = np.array([10.0])
    costs = stats.cost_metrics(
        -5 * ten, ten, fees_usdt=ten, funding_usdt=0 * ten, slippage_usdt=ten
    )
    assert costs.share_of_gross is None


@pytest.mark.parametrize(
    ("entries", "exits", "expected"),
    [
        ([], [], 0.0),
        ([10], [30], 0.2),
        ([10, 20], [30, 40], 0.3),
        ([20, 10], [25, 60], 0.5),
        ([-50, 90], [10, 190], 0.2),
    ],
)
def test_exposure_counts_overlapping_positions_once(
    entries: list[int], exits: list[int], expected: float
) -> None:
    """Exposure is the share of time with any position open, inside the period."""
    found = stats.exposure(at(*entries), at(*exits), 0, 100)
    assert found == pytest.approx(expected)


def test_exposure_of_no_time_is_undefined() -> None:
    """A period without length has no share of time."""
    assert stats.exposure(NO_TIMES, NO_TIMES, 5, 5) is None


@pytest.mark.parametrize("day", range(1, 15))
def test_weeks_run_from_monday_midnight(day: int) -> None:
    """Weeks agree with the ISO calendar, to the millisecond around midnight."""
    midnight = ms(2024, 1, day)
    before, after = stats.week_index(at(midnight - 1, midnight))
    assert (before != after) == (datetime(2024, 1, day, tzinfo=UTC).isoweekday() == 1)


def test_random_words_are_those_of_the_algorithm() -> None:
    """Draws come from raw PCG64 words, so no version of numpy can change them."""
    words = np.random.PCG64(7).random_raw(5)
    expected = [(int(word) >> 32) * 13 >> 32 for word in words]
    assert stats.random_below(np.random.PCG64(7), 5, 13).tolist() == expected


def test_week_bootstrap_equals_a_plain_loop() -> None:
    """A draw's mean is the sum of its weeks' R over the sum of their trades."""
    entries = at(*(ms(2024, 1, day) for day in (1, 2, 9, 15, 16, 17)))
    net_r = [1.0, -1.0, 3.0, -1.0, -1.0, 2.0]
    weeks = [[1.0, -1.0], [3.0], [-1.0, -1.0, 2.0]]
    words = iter(np.random.PCG64(5).random_raw(3 * 400).tolist())
    means = []
    for _ in range(400):
        drawn = [weeks[(next(words) >> 32) * 3 >> 32] for _ in range(3)]
        flat = [value for week in drawn for value in week]
        means.append(sum(flat) / len(flat))
    expected = np.percentile(means, [2.5, 97.5])
    found = stats.week_bootstrap(np.array(net_r), entries, draws=400, seed=5)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_week_bootstrap_is_the_same_in_pieces() -> None:
    """Drawing in chunks to bound memory does not change the result."""
    rng = np.random.default_rng(3)
    net_r = rng.normal(size=2400)
    entries = np.arange(2400) * stats.WEEK_MS
    found = stats.week_bootstrap(net_r, entries, draws=1000, seed=1)
    rows = stats.random_below(np.random.PCG64(1), 2400 * 1000, 2400).reshape(1000, 2400)
    low, high = np.quantile(net_r[rows].mean(axis=1), [0.025, 0.975])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


def test_week_bootstrap_is_not_fooled_by_symbols_that_move_together() -> None:
    """Seven symbols with the same trades are one observation: the interval stays as wide."""
    net_r = np.random.default_rng(1).normal(0.1, 1.5, 80)
    entries = np.arange(80) * stats.WEEK_MS
    one = stats.week_bootstrap(net_r, entries)
    seven = stats.week_bootstrap(np.repeat(net_r, 7), np.repeat(entries, 7))
    assert one is not None
    assert seven is not None
    assert (one.low, one.high) == pytest.approx((seven.low, seven.high))


def test_week_bootstrap_needs_two_weeks() -> None:
    """One week resampled is the same week: its interval of no width would be a lie."""
    assert stats.week_bootstrap(FIVE, at(*([ms(2024, 1, 3)] * 5))) is None
    assert stats.week_bootstrap(NONE, NO_TIMES) is None


def test_week_bootstrap_covers_the_true_mean() -> None:
    """Over many worlds the 95 % interval holds the true mean about as often as it says."""
    rng = np.random.default_rng(11)
    entries = np.repeat(np.arange(60), 5) * stats.WEEK_MS
    hits = 0
    for seed in range(200):
        shared = np.repeat(rng.normal(0, 1, 60), 5)
        interval = stats.week_bootstrap(
            0.3 + shared + rng.normal(0, 1, 300), entries, draws=500, seed=seed
        )
        hits += interval is not None and interval.low <= 0.3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


@given(st.integers(0, 2**32), st.integers(50, 200))
def test_week_bootstrap_interval_holds_the_sample_mean(seed: int, n: int) -> None:
    """The mean lies inside its interval, and the same seed gives the same interval."""
    net_r = np.random.default_rng(seed).normal(0, 2, n)
    entries = np.arange(n, dtype=np.int64) * stats.WEEK_MS // 2
    first, again = (stats.week_bootstrap(net_r, entries, draws=300, seed=seed) for _ in range(2))
    assert first == again
    assert first is not None
    assert first.low <= net_r.mean() <= first.high


@pytest.mark.parametrize(
    ("wins", "trades", "low", "high"),
    [(0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (32, 100, 0.236691, 0.416626)],
)
def test_wilson_interval_known_answers(wins: int, trades: int, low: float, high: float) -> None:
    """The interval of a win rate has width even when all trades won or lost."""
    found = stats.wilson_interval(wins, trades)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate(pair: tuple[int, int]) -> None:
    """The rate lies inside its interval, and the interval inside [0, 1]."""
    found = stats.wilson_interval(*pair)
    assert 0 <= found.low <= pair[0] / pair[1] + 1e-12
    assert pair[0] / pair[1] - 1e-12 <= found.high <= 1


def test_by_bucket_summarises_each_label_in_order() -> None:
    """Each label has its own row with size, rate, mean and payoff."""
    rows = stats.by_bucket(["short", "long", "long", "short", "short"], FIVE)
    assert [(row.label, row.trades, row.win_rate) for row in rows] == [
        ("long", 2, 0.0),
        ("short", 3, pytest.approx(2 / 3)),
    ]
    assert [row.expectancy_r for row in rows] == pytest.approx([-1.0, 4 / 3])
    assert [row.reward_risk for row in rows] == [None, 2.5]
    assert rows[0].expectancy_r_interval == stats.Interval(-1.0, -1.0)


def test_by_bucket_mean_interval_is_the_textbook_one() -> None:
    """Without times the interval is the mean with 1.96 standard errors (ddof 1)."""
    row = stats.by_bucket(["all"] * 5, FIVE)[0]
    half = 1.959964 * 1.949359 / math.sqrt(5)
    assert row.expectancy_r_interval is not None
    assert row.expectancy_r_interval.low == pytest.approx(0.4 - half, abs=1e-6)
    assert row.expectancy_r_interval.high == pytest.approx(0.4 + half, abs=1e-6)


def test_by_bucket_with_times_sees_a_week_as_one_observation() -> None:
    """Repeating every trade in its week leaves the interval as wide as it was."""
    weeks = np.arange(5) * stats.WEEK_MS
    one = stats.by_bucket(["all"] * 5, FIVE, weeks)[0].expectancy_r_interval
    many = stats.by_bucket(["all"] * 20, np.repeat(FIVE, 4), np.repeat(weeks, 4))[0]
    assert one is not None
    assert many.expectancy_r_interval is not None
    assert many.expectancy_r_interval.low == pytest.approx(one.low)
    assert many.expectancy_r_interval.high == pytest.approx(one.high)


def test_by_bucket_of_one_trade_has_no_interval_of_the_mean() -> None:
    """One trade, or one week of trades, says nothing about its own spread."""
    assert stats.by_bucket(["a"], np.array([1.0]))[0].expectancy_r_interval is None
    assert stats.by_bucket(["a"] * 5, FIVE, at(*range(5)))[0].expectancy_r_interval is None


def test_by_bucket_refuses_labels_that_do_not_match() -> None:
    """Every trade has one label."""
    with pytest.raises(ValueError, match="1 labels for 5 trades"):
        stats.by_bucket(["a"], FIVE)
    with pytest.raises(ValueError, match="3 times for 5 trades"):
        stats.week_bootstrap(FIVE, at(1, 2, 3))


@given(st.lists(st.tuples(st.sampled_from("abc"), moves), min_size=1, max_size=50))
def test_buckets_add_up_to_the_whole(pairs: list[tuple[str, float]]) -> None:
    """Trades and R of all rows add up to those of all trades."""
    rows = stats.by_bucket([label for label, _ in pairs], np.array([r for _, r in pairs]))
    assert sum(row.trades for row in rows) == len(pairs)
    total = sum(row.trades * row.expectancy_r for row in rows)
    assert total == pytest.approx(sum(r for _, r in pairs), abs=1e-9)
