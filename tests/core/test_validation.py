"""Overfitting statistics against the papers' numbers, plain loops, and other implementations."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core import validation
from blofin_cli.core.stats import WEEK_MS, Integers, Values
from blofin_cli.core.validation import SharpeSample

TWELVE = np.array(
    [0.02, -0.01, 0.015, 0.003, -0.02, 0.01, 0.008, -0.004, 0.012, -0.006, 0.018, 0.001]
)
FOUR_TRIALS = np.array([(8, 7, 6, 7), (-8, 6, 8, -5), (-6, -8, 6, 8), (2, 2, 5, -9)], np.float64)
MONDAY_MS = 4 * 86_400_000


def worthless(weeks: int, trials: int, seed: int = 0) -> Values:
    return np.random.default_rng(seed).normal(0, 1, (weeks, trials))


@pytest.mark.parametrize(
    ("trials", "expected"), [(1, 0.0), (10, 1.574598), (100, 2.530603), (1000, 3.255122)]
)
def test_expected_max_sharpe_known_answers(trials: int, expected: float) -> None:
    """The best of N worthless trials shows what the specification says; one trial shows 0."""
    assert validation.expected_max_sharpe(trials, 1.0) == pytest.approx(expected, abs=5e-7)


@given(st.floats(1, 1e6), st.floats(1, 2), st.floats(0, 4))
def test_expected_max_sharpe_grows_with_trials(n: float, factor: float, variance: float) -> None:
    """More trials raise the bar, and it is never below 0."""
    fewer = validation.expected_max_sharpe(n, variance)
    assert 0 <= fewer <= validation.expected_max_sharpe(n * factor, variance) + 1e-9


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.900397), (46, -3.0, 10.0, 0.950502), (88, 0.0, 3.0, 0.950491)],
)
def test_deflated_sharpe_of_the_paper(
    trials: int, skewness: float, kurtosis: float, expected: float
) -> None:
    """An annual Sharpe ratio of 2.5 over five years survives 46 trials and not 100."""
    sample = SharpeSample(2.5 / math.sqrt(250), 1250, skewness, kurtosis)
    found = validation.deflated_sharpe(sample, trials, 0.5 / 250)
    assert found == pytest.approx(expected, abs=5e-7)
    assert validation.expected_max_sharpe(100, 0.5 / 250) == pytest.approx(0.113172, abs=5e-7)


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "expected"), [(0.0, 3.0, 0.98167), (-2.448, 10.164, 0.91336)]
)
def test_psr_of_the_efficient_frontier_paper(
    skewness: float, kurtosis: float, expected: float
) -> None:
    """Fat tails to the left lower the probability that 24 good months were skill."""
    # The paper goes on with its rounded ratio, 0.458; 0.036 / 0.079 is 0.4557.
    sample = SharpeSample(0.458, 24, skewness, kurtosis)
    assert validation.psr(sample) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("a_year", "skewness", "kurtosis", "years"),
    [
        (252, 0.0, 3.0, 2.73),
        (52, 0.0, 3.0, 2.83),
        (12, 0.0, 3.0, 3.24),
        (12, -0.72, 5.78, 4.99),
    ],
)
def test_min_trl_of_the_paper(a_year: int, skewness: float, kurtosis: float, years: float) -> None:
    """The record must be this long for an annual 2 to be more than 1 at 95 %."""
    sample = SharpeSample(2 / math.sqrt(a_year), 1, skewness, kurtosis)
    found = validation.min_trl(sample, 1 / math.sqrt(a_year))
    assert found is not None
    assert found / a_year == pytest.approx(years, abs=0.005)


def test_min_trl_is_where_psr_reaches_its_level() -> None:
    """With that many observations the probability is 1 - alpha."""
    found = validation.min_trl(SharpeSample(0.2, 1, -0.5, 5.0), 0.05, alpha=0.1)
    assert found is not None
    sample = SharpeSample(0.2, found, -0.5, 5.0)  # type: ignore[arg-type]
    assert validation.psr(sample, 0.05) == pytest.approx(0.9)


def test_min_trl_does_not_exist_below_the_benchmark() -> None:
    """No record is long enough to prove what is not so."""
    assert validation.min_trl(SharpeSample(0.1, 50), 0.1) is None


def test_min_btl_and_effective_trials_known_answers() -> None:
    """No more than 45 trials on five years; 100 half-correlated trials are worth 50.5."""
    assert validation.min_btl(45, 1.0) == pytest.approx(4.998, abs=5e-4)
    assert validation.min_btl(45, 2.0) == pytest.approx(4.998 / 4, abs=5e-4)
    assert validation.effective_trials(100, 0.5) == 50.5


def test_statistics_of_twelve_returns_match_the_specification() -> None:
    """One short series fixes ddof, bias and kurtosis all at once."""
    sample = validation.sharpe_sample(TWELVE)
    assert sample is not None
    assert sample.observations == 12
    assert sample.sharpe == pytest.approx(0.321266, abs=5e-7)
    assert sample.skewness == pytest.approx(-0.457797, abs=5e-7)
    assert sample.kurtosis == pytest.approx(2.269988, abs=5e-7)
    assert validation.psr(sample) == pytest.approx(0.836693, abs=5e-7)
    assert validation.expected_max_sharpe(20, 0.04) == pytest.approx(0.380142, abs=5e-7)
    assert validation.deflated_sharpe(sample, 20, 0.04) == pytest.approx(0.428667, abs=5e-7)
    assert validation.min_trl(sample) == pytest.approx(31.92779, abs=5e-6)


def test_sharpe_sample_avoids_the_traps_of_public_packages() -> None:
    """ddof 1 for the ratio, biased moments, and a kurtosis that is not excess."""
    scipy_stats = pytest.importorskip("scipy.stats")
    sample = validation.sharpe_sample(TWELVE)
    assert sample is not None
    assert sample.sharpe == pytest.approx(TWELVE.mean() / TWELVE.std(ddof=1))
    assert sample.sharpe != pytest.approx(TWELVE.mean() / TWELVE.std(ddof=0), abs=1e-3)
    assert sample.skewness == pytest.approx(scipy_stats.skew(TWELVE, bias=True))
    assert sample.skewness != pytest.approx(scipy_stats.skew(TWELVE, bias=False), abs=1e-3)
    assert sample.kurtosis == pytest.approx(scipy_stats.kurtosis(TWELVE, fisher=False))
    assert sample.kurtosis != pytest.approx(scipy_stats.kurtosis(TWELVE), abs=1)


def test_excess_kurtosis_would_overstate_the_evidence() -> None:
    """Kurtosis 0 in place of 3 shrinks the error of a high ratio; the default is a normal's."""
    right, wrong = SharpeSample(0.5, 30), SharpeSample(0.5, 30, 0.0, 0.0)
    proper, inflated = validation.psr(right, 0.3), validation.psr(wrong, 0.3)
    assert proper is not None
    assert inflated is not None
    assert proper < inflated


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_a_series_that_does_not_move_has_no_sharpe_ratio(returns: list[float]) -> None:
    """Rounding is not risk: three equal returns have no ratio and no t-value."""
    assert validation.sharpe_sample(np.array(returns)) is None
    assert validation.weekly_t_value(np.array(returns)) is None


def test_psr_without_a_variance_is_none() -> None:
    """Impossible moments and single observations give no probability."""
    assert validation.psr(SharpeSample(2.0, 50, 3.0, 3.0)) is None
    assert validation.min_trl(SharpeSample(2.0, 50, 3.0, 3.0)) is None
    assert validation.psr(SharpeSample(2.0, 1)) is None


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(2, 5000), st.floats(1, 20))
def test_psr_is_a_probability_that_falls_as_the_bar_rises(
    sharpe: float, benchmark: float, observations: int, kurtosis: float
) -> None:
    """PSR lies in [0, 1], is a half at the benchmark and never grows with it."""
    sample = SharpeSample(sharpe, observations, 0.0, kurtosis)
    found, higher = validation.psr(sample, benchmark), validation.psr(sample, benchmark + 0.1)
    assert found is not None
    assert higher is not None
    assert 0 <= higher <= found <= 1
    assert validation.psr(sample, sharpe) == pytest.approx(0.5)


def test_weekly_net_r_keeps_empty_weeks() -> None:
    """A week without trades is a week with a result of 0."""
    decided = MONDAY_MS + np.array([0, WEEK_MS - 1, 3 * WEEK_MS], np.int64)
    weekly = validation.weekly_net_r(
        np.array([1.0, 2.0, -1.0]), decided, MONDAY_MS - 1, MONDAY_MS + 4 * WEEK_MS
    )
    assert weekly.tolist() == [0.0, 3.0, 0.0, 0.0, -1.0, 0.0]


def test_weekly_net_r_without_trades_is_all_zero() -> None:
    """No trades still make a series, one that proves nothing."""
    none = validation.weekly_net_r(np.empty(0), np.empty(0, np.int64), 0, 3 * WEEK_MS)
    assert none.tolist() == [0.0] * 4
    assert none.dtype == np.float64


def test_weekly_net_r_refuses_trades_outside_the_period() -> None:
    """A trade that would fall off the end is an error, not a silent loss."""
    for moment in (MONDAY_MS - 1, MONDAY_MS + 2 * WEEK_MS):
        with pytest.raises(ValueError, match="outside the period"):
            validation.weekly_net_r(
                np.array([1.0]), np.array([moment]), MONDAY_MS, MONDAY_MS + WEEK_MS
            )
    with pytest.raises(ValueError, match="2 times for 1 trades"):
        validation.weekly_net_r(np.array([1.0]), np.array([1, 2]), 0, WEEK_MS)


def test_weekly_t_value_is_the_textbook_one() -> None:
    """Mean over standard error with ddof 1."""
    scipy_stats = pytest.importorskip("scipy.stats")
    expected = scipy_stats.ttest_1samp(TWELVE, 0.0).statistic
    assert validation.weekly_t_value(TWELVE) == pytest.approx(expected)


def test_overfitting_of_four_trials_matches_the_specification() -> None:
    """Six splits of four one-row blocks, the mean as metric: one of six overfits."""
    found = validation.overfitting(FOUR_TRIALS, blocks=4, statistic="mean")
    assert found.logits == pytest.approx(
        [1.386294, -1.386294, 1.386294, 1.386294, 0.405465, 1.386294], abs=5e-7
    )
    assert found.pbo == pytest.approx(1 / 6)


def plain_overfitting(returns: Values, blocks: int) -> tuple[list[float], float]:
    length = len(returns) // blocks
    parts = np.split(returns[len(returns) - length * blocks :], blocks)
    logits, losses = [], 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[k] for k in chosen])
        outside = np.concatenate([parts[k] for k in range(blocks) if k not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        theirs = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        rank = 1 + int((theirs < theirs[best]).sum())
        share = rank / (returns.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
        losses += theirs[best] < 0
    return logits, losses / len(logits)


@pytest.mark.parametrize(("weeks", "trials", "blocks"), [(40, 5, 4), (61, 12, 6), (100, 3, 8)])
def test_overfitting_equals_a_plain_loop(weeks: int, trials: int, blocks: int) -> None:
    """Block sums give what cutting and joining the series gives; the oldest rest is left out."""
    returns = worthless(weeks, trials, seed=weeks)
    logits, losses = plain_overfitting(returns, blocks)
    found = validation.overfitting(returns, blocks)
    assert found.logits == pytest.approx(logits)
    assert found.loss_probability == pytest.approx(losses)
    assert found.pbo == pytest.approx(sum(value <= 1e-12 for value in logits) / len(logits))


def test_overfitting_of_one_good_trial_among_noise_is_low() -> None:
    """A configuration with an edge stays on top; without one the winner is a coin toss."""
    noise = worthless(192, 20, seed=2)
    assert validation.overfitting(noise).pbo > 0.25
    noise[:, 7] += 0.7
    found = validation.overfitting(noise)
    assert found.pbo < 0.01
    assert found.loss_probability < 0.01


def test_a_low_pbo_does_not_mean_profit() -> None:
    """The least bad of bad configurations keeps its rank and still loses."""
    losers = worthless(192, 10, seed=4) * 0.5 - 1.0
    losers[:, 3] += 0.5
    found = validation.overfitting(losers)
    assert found.pbo < 0.05
    assert found.loss_probability > 0.95


def test_equal_trials_share_the_middle_rank() -> None:
    """Twins tie at every split: the first is chosen and the rank is averaged to a half."""
    twins = np.repeat(worthless(48, 1, seed=6), 5, axis=1)
    found = validation.overfitting(twins, blocks=12)
    assert found.logits == pytest.approx(0.0)
    assert found.pbo == 1.0


def test_trials_that_never_trade_have_a_ratio_of_zero() -> None:
    """An idle column is neither chosen over a winner nor a division by zero."""
    returns = np.zeros((32, 3))
    returns[:, 1] = 0.5 + worthless(32, 1, seed=8)[:, 0] * 0.1
    found = validation.overfitting(returns, blocks=4)
    assert found.logits == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [
        ((32, 1), 4, "two configurations"),
        ((32, 3), 5, "even number"),
        ((32, 3), 0, "even number"),
        ((100, 3), 18, "at most 16"),
        ((8, 3), 16, "do not fit 8 rows"),
    ],
)
def test_overfitting_refuses_what_it_cannot_split(
    shape: tuple[int, int], blocks: int, message: str
) -> None:
    """A single configuration, odd blocks and too few rows are errors with a reason."""
    with pytest.raises(ValueError, match=message):
        validation.overfitting(worthless(*shape), blocks)


def test_matrices_with_holes_are_refused() -> None:
    """A NaN among returns is unknown, not zero."""
    broken = worthless(32, 3)
    broken[4, 1] = math.nan
    with pytest.raises(ValueError, match="not a finite number"):
        validation.overfitting(broken, 4)
    with pytest.raises(ValueError, match="not a finite number"):
        validation.snooping(broken)


class GivenRows:
    """Stands in for arch's bootstrap and draws the rows it was given."""

    def __init__(self, losses: Values, rows: Integers):
        self.losses, self.rows = losses, rows

    def bootstrap(self, reps: int) -> Iterator[tuple[tuple[Values], dict[str, Any]]]:
        for sample in self.rows[:reps]:
            yield (self.losses[sample],), {}


def arch_p_values(gains: Values, seed: int) -> tuple[list[float], Values]:
    bootstrap = pytest.importorskip("arch.bootstrap")
    weeks = len(gains)
    test = bootstrap.SPA(np.zeros(weeks), -gains, block_size=4, reps=500, seed=1)
    rows = validation.stationary_rows(weeks, draws=500, block=4, seed=seed)
    test.bootstrap = GivenRows(gains, rows)
    test.compute()
    return list(test.pvalues), test._loss_diff_var


@pytest.mark.timeout(60)  # arch loads pandas and statsmodels, four seconds
@pytest.mark.parametrize(
    ("weeks", "trials", "edge"), [(150, 1, 0.1), (60, 8, 0.2), (104, 30, -0.3)]
)
def test_snooping_equals_arch_on_the_same_draws(weeks: int, trials: int, edge: float) -> None:
    """The reality check equals arch's p-values; studentized, those of scaled columns."""
    gains = worthless(weeks, trials, seed=trials) * np.linspace(0.5, 3, trials) + edge
    plain = validation.snooping(gains, draws=500, seed=9, is_studentized=False)
    expected, variance = arch_p_values(gains, seed=9)
    assert plain is not None
    assert [plain.lower, plain.consistent, plain.upper] == pytest.approx(expected)

    studentized = validation.snooping(gains, draws=500, seed=9)
    expected, _ = arch_p_values(gains / np.sqrt(variance), seed=9)
    assert studentized is not None
    assert [studentized.lower, studentized.consistent, studentized.upper] == pytest.approx(expected)


@pytest.mark.timeout(60)
def test_snooping_agrees_with_arch_on_its_own_draws() -> None:
    """With independent random numbers the p-values agree within their sampling error."""
    bootstrap = pytest.importorskip("arch.bootstrap")
    gains = worthless(120, 4, seed=12) + 0.1
    test = bootstrap.SPA(np.zeros(120), -gains, block_size=4, reps=2000, seed=3)
    test.compute()
    found = validation.snooping(gains, is_studentized=False)
    assert found is not None
    assert found.consistent == pytest.approx(test.pvalues["consistent"], abs=0.05)


def test_stationary_rows_have_geometric_blocks() -> None:
    """Runs are four weeks long on average, wrap round, and every week is drawn alike."""
    rows = validation.stationary_rows(50, draws=4000, block=4.0, seed=2)
    assert rows.shape == (4000, 50)
    assert set(np.unique(rows)) == set(range(50))
    follows = rows[:, 1:] == (rows[:, :-1] + 1) % 50
    assert follows.mean() == pytest.approx(0.75 + 0.25 / 50, abs=0.005)
    assert np.bincount(rows.ravel()) / 4000 == pytest.approx(np.ones(50), abs=0.15)


def test_blocks_of_one_week_are_plain_draws() -> None:
    """With a mean block of one every row starts anew."""
    rows = validation.stationary_rows(50, draws=1000, block=1.0, seed=2)
    assert (rows[:, 1:] == (rows[:, :-1] + 1) % 50).mean() == pytest.approx(1 / 50, abs=0.005)


def test_snooping_sees_an_edge_and_no_more() -> None:
    """An edge among many passes; the best of many without one does not; nor does a loser."""
    noise = worthless(156, 40, seed=21)
    without = validation.snooping(noise)
    losing = validation.snooping(noise[:, :1] - 1.0)
    noise[:, 5] += 0.6
    strong = validation.snooping(noise)
    assert without is not None
    assert losing is not None
    assert strong is not None
    assert without.consistent > 0.05
    assert strong.consistent < 0.01
    assert losing.consistent > 0.3


@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.1, 100))
def test_snooping_is_ordered_repeatable_and_knows_no_scale(
    seed: int, trials: int, scale: float
) -> None:
    """Lower <= consistent <= upper, the same seed repeats, and units of R do not matter."""
    gains = worthless(40, trials, seed)
    found, again, scaled = (
        validation.snooping(returns, draws=100, seed=seed)
        for returns in (gains, gains, gains * scale)
    )
    assert found is not None
    assert scaled is not None
    assert found == again
    assert 0 <= found.lower <= found.consistent <= found.upper <= 1
    assert scaled.consistent == pytest.approx(found.consistent, abs=0.011)


def test_snooping_of_one_series_takes_a_vector() -> None:
    """A plain backtest has one column, with or without its second dimension."""
    gains = worthless(80, 1, seed=3)
    assert validation.snooping(gains[:, 0]) == validation.snooping(gains)


def test_snooping_leaves_out_what_never_moves() -> None:
    """Idle configurations neither help nor hurt; nothing but idle ones gives no p-value."""
    gains = worthless(80, 2, seed=5)
    idle = np.column_stack([np.zeros(80), gains])
    assert validation.snooping(idle) == validation.snooping(gains)
    assert validation.snooping(np.zeros((80, 3))) is None
    assert validation.snooping(gains[:2]) is None
    assert validation.snooping(np.empty((0, 2))) is None


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (8, 9, "kept"),
        (8, 10, "purged"),
        (12, 13, "purged"),
        (5, 40, "purged"),
        (20, 25, "purged"),
        (21, 30, "embargoed"),
        (22, 23, "embargoed"),
        (23, 24, "kept"),
    ],
)
def test_purge_of_a_window_with_embargo(start: int, end: int, expected: str) -> None:
    """Test window 10 to 20, embargo 2: overlap is purged, a close start is embargoed."""
    found = validation.purge(
        np.array([start]), np.array([end]), test_start_ms=10, test_end_ms=20, embargo_ms=2
    )
    flags = {"purged": found.purged, "embargoed": found.embargoed, "kept": found.kept}
    assert [name for name, flag in flags.items() if flag[0]] == [expected]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=30),
    st.integers(0, 100),
    st.integers(0, 40),
    st.integers(0, 10),
)
def test_kept_events_never_touch_the_test_window(
    events: list[tuple[int, int]], first: int, length: int, embargo: int
) -> None:
    """Each event has one fate, and a kept one ended before or began after the embargo."""
    start = np.array([begin for begin, _ in events], np.int64)
    end = start + np.array([life for _, life in events], np.int64)
    last = first + length
    found = validation.purge(start, end, test_start_ms=first, test_end_ms=last, embargo_ms=embargo)
    fates = found.purged.astype(int) + found.embargoed + found.kept
    assert (fates == 1).all()
    assert ((end < first) | (start > last + embargo))[found.kept].all()


def test_permutation_p_counts_ties_and_is_never_zero() -> None:
    """(1 + number of draws as good) / (1 + draws)."""
    draws = np.array([0.1, 0.2, 0.3])
    assert validation.permutation_p(0.2, draws) == 0.75
    assert validation.permutation_p(9.0, draws) == 0.25
    assert validation.permutation_p(0.0, draws) == 1.0
