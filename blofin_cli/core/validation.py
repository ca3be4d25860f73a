"""Is it skill or search? Sharpe statistics, overfitting, data snooping, purging, permutation.

Own implementations after the cited papers; tests hold them against the papers' own numbers and
against the package `arch`. A Sharpe ratio here is per observation (never annual) with ddof 1;
skewness and kurtosis are biased moments and a normal has kurtosis 3, not 0. Public code mixes
these up. The usual series is `weekly_net_r`: the net R of all trades of a week, empty weeks too.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.stats import (
    BOOTSTRAP_DRAWS,
    OBSERVATIONS_MIN,
    Integers,
    Times,
    Values,
    random_below,
    week_index,
)

Flags = NDArray[np.bool_]

EULER_GAMMA = 0.5772156649015329
CSCV_BLOCKS = 16
CSCV_BLOCKS_MAX = 16  # 12,870 ways to choose half of them; 20 blocks would be 184,756
SPA_BLOCK_WEEKS = 4
TRIALS_MIN = 2  # to choose is to leave another
WEEKS_MIN = 3  # the threshold of the consistent p-value holds log(log(weeks))

_NORMAL = NormalDist()
# A variance below this share of the mean square is rounding: the series does not move.
_ROUNDING = 1e-12
_LOW_WORD = np.uint64(0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class SharpeSample:
    """A Sharpe ratio per observation and the shape of the sample it came from.

    `kurtosis` is 3 for a normal.
    """

    sharpe: float
    observations: int
    skewness: float = 0.0
    kurtosis: float = 3.0


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What happened out of sample to the configuration that looked best in sample.

    `pbo` is the share of splits where it fell to the lower half; `loss_probability` the share
    where it lost money there. A low `pbo` does not mean profit.
    """

    pbo: float
    loss_probability: float
    logits: Values


@dataclass(frozen=True, slots=True)
class Snooping:
    """p-values of "no configuration beats zero"; `consistent` is the one to quote."""

    lower: float
    consistent: float
    upper: float


@dataclass(frozen=True, slots=True)
class Purge:
    """Training events that a test window forbids, each for its reason; `kept` are the rest."""

    purged: Flags
    embargoed: Flags

    @property
    def kept(self) -> Flags:
        return ~(self.purged | self.embargoed)


def weekly_net_r(net_r: Values, decision_ms: Times, first_ms: int, last_ms: int) -> Values:
    """Net R of each calendar week from first_ms to last_ms, weeks without trades as 0.

    Shapes: net_r (n,) float64, decision_ms (n,) int64 -> (weeks,) float64.
    Units: `last_ms` belongs to the period (the open of its last bar).
    Errors: ValueError when a decision lies outside or lengths differ.
    """
    if len(net_r) != len(decision_ms):
        raise ValueError(f"{len(decision_ms)} times for {len(net_r)} trades")
    first, last = (int(week) for week in week_index(np.array([first_ms, last_ms], np.int64)))
    rows = week_index(decision_ms) - first
    if len(rows) and (rows.min() < 0 or rows.max() > last - first):
        raise ValueError("a trade was decided outside the period")
    weekly = np.bincount(rows, weights=net_r, minlength=last - first + 1)
    return weekly.astype(np.float64, copy=False)


def weekly_t_value(weekly: Values) -> float | None:
    """Mean over its standard error: what walk-forward chooses by. None when nothing varies."""
    sample = sharpe_sample(weekly)
    return None if sample is None else sample.sharpe * math.sqrt(sample.observations)


def sharpe_sample(returns: Values) -> SharpeSample | None:
    """Sharpe ratio (ddof 1), skewness and kurtosis (biased, normal = 3) of returns.

    Invariants: None for fewer than two values or values that do not vary.
    """
    n = len(returns)
    if n < OBSERVATIONS_MIN:
        return None
    mean = float(returns.mean())
    away = returns - mean
    variance = float((away * away).sum()) / n
    if not variance > _ROUNDING * float((returns * returns).mean()):
        return None
    return SharpeSample(
        sharpe=mean / math.sqrt(variance * n / (n - 1)),
        observations=n,
        skewness=float((away**3).mean()) / variance**1.5,
        kurtosis=float((away**4).mean()) / variance**2,
    )


def psr(sample: SharpeSample, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio exceeds the benchmark, both per observation.

    Invariants: None when the sample's moments leave the ratio without a variance.
    Source: Bailey, Lopez de Prado, The Sharpe ratio efficient frontier, J. Risk 15(2), 2012.
    """
    spread = _sharpe_spread(sample)
    if spread is None or sample.observations < OBSERVATIONS_MIN:
        return None
    excess = sample.sharpe - benchmark
    return _NORMAL.cdf(excess * math.sqrt((sample.observations - 1) / spread))


def min_trl(sample: SharpeSample, benchmark: float = 0.0, alpha: float = 0.05) -> float | None:
    """Observations after which `psr` would reach 1 - alpha; the sample's own number is not used.

    Invariants: None when the ratio does not exceed the benchmark: no record is long enough.
    Source: Bailey, Lopez de Prado, The Sharpe ratio efficient frontier, J. Risk 15(2), 2012.
    """
    spread = _sharpe_spread(sample)
    if spread is None or sample.sharpe <= benchmark:
        return None
    return 1 + spread * (_NORMAL.inv_cdf(1 - alpha) / (sample.sharpe - benchmark)) ** 2


def expected_max_sharpe(trials: float, variance: float) -> float:
    """Sharpe ratio that the best of so many worthless trials is expected to show (SR0).

    Units: `variance` that of the trials' Sharpe ratios, per observation.
    Invariants: never negative; 0 for one trial; grows with trials and variance.
    Source: Bailey, Lopez de Prado, The deflated Sharpe ratio, J. Portfolio Management 40(5), 2014.
    """
    if trials <= 1:
        return 0.0
    highest = (1 - EULER_GAMMA) * _NORMAL.inv_cdf(1 - 1 / trials)
    highest += EULER_GAMMA * _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * max(0.0, highest)


def deflated_sharpe(sample: SharpeSample, trials: float, variance: float) -> float | None:
    """Probability that the ratio is real after so many trials were looked at.

    Source: Bailey, Lopez de Prado, The deflated Sharpe ratio, J. Portfolio Management 40(5), 2014.
    """
    return psr(sample, expected_max_sharpe(trials, variance))


def effective_trials(trials: int, correlation: float) -> float:
    """Independent trials that so many correlated ones (by mean correlation) are worth.

    Source: Bailey, Lopez de Prado, The deflated Sharpe ratio, appendix 3, 2014.
    """
    return correlation + (1 - correlation) * trials


def min_btl(trials: float, target_annual_sharpe: float) -> float:
    """Years of data below which the best of worthless trials reaches the target by luck.

    Source: Bailey, Borwein, Lopez de Prado, Zhu, Pseudo-mathematics and financial charlatanism,
    Notices of the AMS 61(5), 2014.
    """
    return (expected_max_sharpe(trials, 1.0) / target_annual_sharpe) ** 2


def overfitting(
    returns: Values, blocks: int = CSCV_BLOCKS, statistic: Literal["sharpe", "mean"] = "sharpe"
) -> Overfitting:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation.

    Shapes: returns (T, M) float64, one column a configuration; `logits` has one value for each
    choice of half the blocks, in lexicographic order.
    Units: `blocks` even; the oldest T modulo blocks rows are left out so that blocks are equal.
    Invariants: the first of equal configurations is chosen; equal ranks are averaged; a column
    that does not move within a half has a Sharpe ratio of 0 there.
    Errors: ValueError for fewer than two columns, fewer rows than blocks, or unfit blocks.
    Source: Bailey, Borwein, Lopez de Prado, Zhu, The probability of backtest overfitting, J.
    Computational Finance 20(4), 2017.
    """
    rows, trials = _shape(returns)
    if trials < TRIALS_MIN:
        raise ValueError("overfitting needs at least two configurations to choose from")
    if blocks % 2 or not 0 < blocks <= min(rows, CSCV_BLOCKS_MAX):
        raise ValueError(f"{blocks} blocks do not fit {rows} rows; use an even number, at most 16")
    length = rows // blocks
    by_block = returns[rows - length * blocks :].reshape(blocks, length, trials)
    choices = list(combinations(range(blocks), blocks // 2))
    chosen = np.zeros((len(choices), blocks))
    np.put_along_axis(chosen, np.array(choices), 1.0, axis=1)

    sums, squares = by_block.sum(axis=1), (by_block * by_block).sum(axis=1)
    count = length * blocks // 2
    inside = _half_statistic(chosen, sums, squares, count, statistic)
    outside = _half_statistic(1.0 - chosen, sums, squares, count, statistic)
    best = inside.argmax(axis=1)
    theirs = np.take_along_axis(outside, best[:, None], axis=1)
    below, equal = (outside < theirs).sum(axis=1), (outside == theirs).sum(axis=1)
    share = (below + (equal + 1) / 2) / (trials + 1)
    logits = np.log(share / (1 - share))
    # Half of the ranks is exact in floating point, its logarithm is not.
    return Overfitting(
        pbo=float((2 * share <= 1).mean()),
        loss_probability=float((theirs < 0).mean()),
        logits=logits,
    )


def snooping(
    returns: Values,
    *,
    draws: int = BOOTSTRAP_DRAWS,
    block_weeks: float = SPA_BLOCK_WEEKS,
    seed: int = 0,
    is_studentized: bool = True,
) -> Snooping | None:
    """Test whether the best configuration beats zero by more than the search explains.

    Shapes: returns (T, M) or (T,) float64, gains positive.
    Units: `block_weeks` the mean block of the stationary bootstrap.
    Invariants: the same seed gives the same p-values; columns that never move are left out; None
    when none moves or there are fewer than three rows. Lower <= consistent <= upper.
    Source: Hansen, A test for superior predictive ability, JBES 23, 2005; not studentized it is
    the reality check of White, Econometrica 68, 2000, and equals `arch` 8, which computes the
    variances but compares plain means. Bootstrap of Politis, Romano, JASA 89, 1994. As in
    `arch`, statistics below zero are kept: cut off at zero, a rule that loses every week would be
    compared with zeros only and a strict comparison would give it the p-value 0.
    """
    gains = returns[:, None] if returns.ndim == 1 else returns
    weeks, _ = _shape(gains)
    gains = gains[:, np.ptp(gains, axis=0) > 0] if weeks else gains
    if weeks < WEEKS_MIN or gains.shape[1] == 0:
        return None
    rows = stationary_rows(weeks, draws=draws, block=block_weeks, seed=seed)
    return _snooping_p(gains, rows, block_weeks, is_studentized)


def stationary_rows(n: int, *, draws: int, block: float, seed: int) -> Integers:
    """Row numbers of stationary bootstrap samples: runs of geometric length, wrapping round.

    Shapes: -> (draws, n) int64.
    Source: Politis, Romano, The stationary bootstrap, JASA 89, 1994.
    """
    bits = np.random.PCG64(seed)
    fresh = random_below(bits, n * draws, n).reshape(n, draws)
    coin = (bits.random_raw(n * draws) & _LOW_WORD).reshape(n, draws)
    restart = coin < np.uint64(2**32 / block)
    rows = np.empty((n, draws), np.int64)
    rows[0] = fresh[0]
    for k in range(1, n):
        follow = rows[k - 1] + 1
        follow[follow == n] = 0
        rows[k] = np.where(restart[k], fresh[k], follow)
    return rows.T


def purge(
    start_ms: Times, end_ms: Times, *, test_start_ms: int, test_end_ms: int, embargo_ms: int
) -> Purge:
    """Find the training events that know something about a test window, by time.

    Shapes: start_ms, end_ms (n,) int64, from the decision to the exit of each event.
    Invariants: every interval is closed, so an event that ends as the test starts is purged.
    Source: Lopez de Prado, Advances in Financial Machine Learning, chapter 7, 2018; by time and
    not by row count, since events are not evenly spaced.
    """
    purged = (start_ms <= test_end_ms) & (end_ms >= test_start_ms)
    embargoed = (start_ms > test_end_ms) & (start_ms <= test_end_ms + embargo_ms)
    return Purge(purged, embargoed)


def permutation_p(actual: float, draws: Values) -> float:
    """p-value of the actual figure among those of permuted worlds; never 0.

    Source: Phipson, Smyth, Permutation p-values should never be zero, 2010.
    """
    return (1 + int(np.count_nonzero(draws >= actual))) / (1 + len(draws))


def _sharpe_spread(sample: SharpeSample) -> float | None:
    """Variance of the estimated Sharpe ratio, times observations; None unless positive."""
    sharpe = sample.sharpe
    spread = 1 - sample.skewness * sharpe + (sample.kurtosis - 1) / 4 * sharpe**2
    return spread if spread > 0 else None


def _shape(returns: Values) -> tuple[int, int]:
    if not np.isfinite(returns).all():
        raise ValueError("a return is not a finite number; unknown is not zero")
    rows, columns = returns.shape
    return rows, columns


def _half_statistic(
    chosen: Values, sums: Values, squares: Values, count: int, statistic: str
) -> Values:
    """Statistic of every configuration on every half.

    Blocks are added one by one: a matrix product may round equal columns differently and so
    break a tie. Here the variance divides by n: only ranks and signs are read, and the factor to
    n - 1 is the same for every column.
    """
    total = _add_blocks(chosen, sums)
    mean: Values = total / count
    if statistic == "mean":
        return mean
    square = _add_blocks(chosen, squares) / count
    variance = square - mean * mean
    moves = variance > _ROUNDING * square
    sharpe: Values = np.zeros_like(mean)
    np.divide(mean, np.sqrt(variance, where=moves, out=np.ones_like(mean)), out=sharpe, where=moves)
    return sharpe


def _add_blocks(chosen: Values, blocks: Values) -> Values:
    total = np.zeros((len(chosen), blocks.shape[1]))
    for column, block in zip(chosen.T, blocks, strict=True):
        total += column[:, None] * block
    return total


def _snooping_p(
    gains: Values, rows: Integers, block: float, is_studentized: bool
) -> Snooping | None:
    weeks = len(gains)
    mean = gains.mean(axis=0)
    variance = _long_run_variance(gains - mean, block)
    moves = variance > 0
    if not moves.any():
        return None
    gains, mean, variance = gains[:, moves], mean[moves], variance[moves]
    threshold = -np.sqrt(variance / weeks * 2 * math.log(math.log(weeks)))
    scale = np.sqrt(variance) if is_studentized else np.ones_like(mean)
    flat = (rows + weeks * np.arange(len(rows))[:, None]).ravel()
    times_drawn = np.bincount(flat, minlength=weeks * len(rows)).reshape(len(rows), weeks)
    resampled = times_drawn.astype(np.float64) @ gains / weeks
    observed = (mean / scale).max()

    def p_value(centre: Values) -> float:
        return float((((resampled - centre) / scale).max(axis=1) > observed).mean())

    return Snooping(
        lower=p_value(np.maximum(mean, 0.0)),
        consistent=p_value(np.where(mean >= threshold, mean, 0.0)),
        upper=p_value(mean),
    )


def _long_run_variance(away: Values, block: float) -> Values:
    """Variance of the root of n times the mean under the stationary bootstrap's own kernel."""
    n = len(away)
    keep = 1 - 1 / block
    total = (away * away).sum(axis=0) / n
    for lag in range(1, n):
        weight = (n - lag) / n * keep**lag + lag / n * keep ** (n - lag)
        total += 2 * weight * (away[: n - lag] * away[lag:]).sum(axis=0) / n
    return np.asarray(total, np.float64)
