"""What a run of trades and an equity curve amount to: metrics, their intervals, and tables.

Every figure is net of all costs. A figure that is not defined is None, never NaN or infinity: no
losing trade means no profit factor, and a table must say so. Trades arrive in order of exit; the
losing streak and the drawdown in R depend on it. Whether the figures prove anything is asked in
`validation` and answered in `verdict`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Times = NDArray[np.int64]
Integers = NDArray[np.int64]

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
DAYS_PER_YEAR = 365  # the market never closes
BOOTSTRAP_DRAWS = 2000
CONFIDENCE_LEVEL = 0.95
OBSERVATIONS_MIN = 2  # one observation has no spread
TWO_SIDED_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE_LEVEL / 2)

# The epoch was a Thursday; the first Monday came four days later.
_FIRST_MONDAY_MS = 4 * DAY_MS
# Spread below this share of the values is rounding, not risk: 0.1 added up three times over.
_ROUNDING = 1e-12
_CHUNK_CELLS = 1_000_000
_WORD_BITS = np.uint64(32)


@dataclass(frozen=True, slots=True)
class TradeMetrics:
    """What a list of trades came to, in R unless a suffix says otherwise.

    `reward_risk` is the realised payoff, average win over average loss; `average_loss_r` and
    `drawdown_r` are positive numbers. A trade with net R = 0 counts as a loss.
    """

    trades: int
    win_rate: float | None
    average_win_r: float | None
    average_loss_r: float | None
    reward_risk: float | None
    expectancy_r: float | None
    breakeven_win_rate: float | None
    profit_factor: float | None
    sd_r: float | None
    sqn: float | None
    losing_streak: int
    drawdown_r: float
    sum_r: float
    pnl_usdt: float | None


@dataclass(frozen=True, slots=True)
class EquityMetrics:
    """What an equity curve came to; fractions, not percent.

    `is_ruined` says that equity reached zero or less: there is no Sharpe ratio of that.
    """

    total_return: float
    cagr: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    calmar: float | None
    days: int
    is_ruined: bool


@dataclass(frozen=True, slots=True)
class CostMetrics:
    """What trading cost: totals in USDT, means per trade in R, and the share of gross profit.

    Fees and slippage are positive when paid, funding is positive when received. `share_of_gross`
    is None when there was no profit before costs for them to be a share of.
    """

    fees_usdt: float
    funding_usdt: float
    slippage_usdt: float
    fees_r: float | None
    funding_r: float | None
    slippage_r: float | None
    gross_usdt: float
    share_of_gross: float | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """One row of a table of trades by symbol, side, month, regime and so on."""

    label: str
    trades: int
    win_rate: float
    win_rate_interval: Interval
    expectancy_r: float
    expectancy_r_interval: Interval | None
    reward_risk: float | None


def trade_metrics(net_r: Values, pnl_usdt: Values | None = None) -> TradeMetrics:
    """Summarise trades by their net R.

    Shapes: net_r, pnl_usdt (n,) float64 in order of exit.
    Errors: ValueError when a value is not finite.
    Invariants: expectancy_r = win_rate * average_win_r - (1 - win_rate) * average_loss_r.
    Source: specification, section 10. SQN is the mean over the standard deviation (ddof 1) times
    the root of n, without the customary cap at 100 trades.
    """
    n = len(net_r)
    pnl = None if pnl_usdt is None else _finite_sum(pnl_usdt)
    if n == 0:
        return TradeMetrics(
            0, *(None,) * 9, losing_streak=0, drawdown_r=0.0, sum_r=0.0, pnl_usdt=pnl
        )
    total = _finite_sum(net_r)
    mean = total / n
    won = net_r > 0
    winners = won.nonzero()[0]
    wins = len(winners)
    gained = float(net_r[winners].sum())
    lost = -float(net_r[~won].sum())
    average_win = gained / wins if wins else None
    average_loss = lost / (n - wins) if wins < n else None
    payoff = average_win / average_loss if average_win is not None and average_loss else None
    sd = _deviation(net_r, mean)
    return TradeMetrics(
        trades=n,
        win_rate=wins / n,
        average_win_r=average_win,
        average_loss_r=average_loss,
        reward_risk=payoff,
        expectancy_r=mean,
        breakeven_win_rate=None if payoff is None else 1 / (1 + payoff),
        profit_factor=gained / lost if lost > 0 else None,
        sd_r=sd,
        sqn=mean / sd * math.sqrt(n) if sd else None,
        losing_streak=_longest_gap(winners, n),
        drawdown_r=_deepest_fall(net_r),
        sum_r=total,
        pnl_usdt=pnl,
    )


def daily_closes(open_ms: Times, equity: Values) -> Values:
    """Last equity of every UTC day, days without a bar included.

    Shapes: open_ms (n,) int64 bar open times, ascending; equity (n,) float64 at each bar's close
    -> (days,) float64 from the first bar's day to the last one's.
    Invariants: a bar belongs to the day it opens in, so the close at midnight ends the old day; a
    day without a bar repeats the day before.
    Errors: ValueError when lengths differ.
    """
    if len(open_ms) != len(equity):
        raise ValueError(f"{len(open_ms)} times for {len(equity)} equity values")
    if len(open_ms) == 0:
        return np.empty(0)
    first, last = int(open_ms[0]) // DAY_MS, int(open_ms[-1]) // DAY_MS
    midnights = np.arange(first + 1, last + 2, dtype=np.int64) * DAY_MS
    closes: Values = equity[open_ms.searchsorted(midnights) - 1]
    return closes


def max_drawdown(curve: Values) -> float:
    """Deepest fall from a running peak, as a fraction of that peak.

    Shapes: curve (n,) float64 equity, starting with the capital before the first bar.
    Invariants: within [0, 1]; 1 once equity has reached zero, however deep the debt.
    Errors: ValueError when a value is not finite.
    """
    if len(curve) == 0:
        return 0.0
    _finite_sum(curve)
    if float(curve.min()) <= 0:
        return 1.0
    return max(0.0, 1.0 - float((curve / np.maximum.accumulate(curve)).min()))


def equity_metrics(daily: Values, drawdown: float, years: float) -> EquityMetrics:
    """Summarise an equity curve by its daily closes.

    Shapes: daily (days + 1,) float64, the starting capital first, then `daily_closes`.
    Units: `drawdown` is the fraction `max_drawdown` found on the full mark-to-market curve; daily
    closes would hide what happened within a day.
    Errors: ValueError when a value is not finite or there is no starting capital above zero.
    Invariants: once equity is zero or less, ratios of log returns do not exist and are None, and
    the annual growth of an account that ended there is -1.
    Source: specification, section 10: daily log returns, ddof 1, root of 365; Sortino divides by
    the root mean square of negative returns over all days, also those without loss.
    """
    if len(daily) == 0 or not daily[0] > 0:
        raise ValueError("an equity curve starts with a capital above zero")
    _finite_sum(daily)
    days = len(daily) - 1
    growth = float(daily[-1]) / float(daily[0])
    is_ruined = bool(daily.min() <= 0)
    sharpe, sortino = (
        (None, None) if is_ruined or days < OBSERVATIONS_MIN else _return_ratios(daily)
    )
    cagr = _annual_growth(growth, years)
    return EquityMetrics(
        total_return=growth - 1,
        cagr=cagr,
        sharpe=sharpe,
        sortino=sortino,
        max_drawdown=drawdown,
        calmar=cagr / drawdown if cagr is not None and drawdown > 0 else None,
        days=days,
        is_ruined=is_ruined,
    )


def cost_metrics(
    pnl_usdt: Values,
    risk_usdt: Values,
    *,
    fees_usdt: Values,
    funding_usdt: Values,
    slippage_usdt: Values,
) -> CostMetrics:
    """Total what trades cost and compare it with what they made before costs.

    Shapes: all (n,) float64; `risk_usdt` is each trade's planned loss, above zero.
    """
    n = len(pnl_usdt)
    fees, funding, slippage = map(_finite_sum, (fees_usdt, funding_usdt, slippage_usdt))
    gross = _finite_sum(pnl_usdt) + fees + slippage - funding

    def mean_r(paid: Values) -> float | None:
        return _finite_sum(paid / risk_usdt) / n if n else None

    return CostMetrics(
        fees_usdt=fees,
        funding_usdt=funding,
        slippage_usdt=slippage,
        fees_r=mean_r(fees_usdt),
        funding_r=mean_r(funding_usdt),
        slippage_r=mean_r(slippage_usdt),
        gross_usdt=gross,
        share_of_gross=(fees + slippage - funding) / gross if gross > 0 else None,
    )


def exposure(entry_ms: Times, exit_ms: Times, first_ms: int, last_ms: int) -> float | None:
    """Share of the time from first_ms to last_ms with at least one position open.

    Invariants: within [0, 1]; overlapping positions count once.
    """
    if last_ms <= first_ms:
        return None
    order = np.argsort(entry_ms, kind="stable")
    starts = entry_ms[order].clip(first_ms, last_ms)
    ends = exit_ms[order].clip(first_ms, last_ms)
    covered_until = np.maximum.accumulate(np.r_[np.int64(first_ms), ends])
    fresh = covered_until[1:] - np.maximum(starts, covered_until[:-1])
    return float(fresh.clip(0).sum()) / (last_ms - first_ms)


def week_index(ts_ms: Times) -> Integers:
    """Number of the calendar week, Monday 00:00 UTC to Monday, since January 1970."""
    return (ts_ms - _FIRST_MONDAY_MS) // WEEK_MS


def week_bootstrap(
    net_r: Values, entry_ms: Times, *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> Interval | None:
    """95 % percentile interval of the mean net R, resampling whole calendar weeks.

    Symbols move together, so trades of one week are one observation: all symbols of a week are
    drawn together, and a draw's mean is the sum of its weeks' R over the sum of their trades.
    Weeks without trades are not drawn.

    Shapes: net_r (n,) float64, entry_ms (n,) int64.
    Invariants: the same seed gives the same interval whatever the version of numpy; None when the
    trades fall into fewer than two weeks.
    Source: specification, section 10.
    """
    _finite_sum(net_r)
    sums, counts = _weekly_totals(net_r, entry_ms)
    weeks = len(sums)
    if weeks < OBSERVATIONS_MIN:
        return None
    bits = np.random.PCG64(seed)
    chunk = max(1, _CHUNK_CELLS // weeks)
    means = np.empty(draws)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        chosen = random_below(bits, rows * weeks, weeks).reshape(rows, weeks)
        means[start : start + rows] = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail), method="linear")
    return Interval(float(low), float(high))


def random_below(bits: np.random.PCG64, size: int, below: int) -> Integers:
    """Random integers in [0, below), one raw word each.

    numpy may change how a Generator turns words into integers; raw words are fixed by the
    algorithm. The upper half of a word times `below`, shifted back, is uniform to `below` in 2^32.
    """
    words = bits.random_raw(size) >> _WORD_BITS
    return ((words * np.uint64(below)) >> _WORD_BITS).astype(np.int64)


def wilson_interval(wins: int, trades: int) -> Interval:
    """95 % interval of a win rate; it stays within [0, 1] for any number of trades above zero.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    rate, z2 = wins / trades, TWO_SIDED_Z**2
    middle = (rate + z2 / (2 * trades)) / (1 + z2 / trades)
    half = TWO_SIDED_Z * math.sqrt(rate * (1 - rate) / trades + z2 / (4 * trades**2))
    half /= 1 + z2 / trades
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def by_bucket(labels: Sequence[str], net_r: Values, entry_ms: Times | None = None) -> list[Bucket]:
    """Group trades by label and summarise each group, in the order of the labels' names.

    The interval of the mean is normal. With `entry_ms` its standard error sees each calendar week
    as one observation, else each trade; the former is honest where symbols move together. It is
    None with fewer than two observations.

    Shapes: labels n words, net_r (n,) float64, entry_ms (n,) int64.
    Errors: ValueError when lengths differ or a value is not finite.
    """
    if len(labels) != len(net_r):
        raise ValueError(f"{len(labels)} labels for {len(net_r)} trades")
    rows_of: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    buckets: list[Bucket] = []
    for label, rows in sorted(rows_of.items()):
        chosen = net_r[rows]
        metrics = trade_metrics(chosen)
        n, mean = len(rows), float(metrics.expectancy_r or 0.0)
        wins = int(np.count_nonzero(chosen > 0))
        error = _mean_error(chosen, mean, None if entry_ms is None else entry_ms[rows])
        half = None if error is None else TWO_SIDED_Z * error
        buckets.append(
            Bucket(
                label=label,
                trades=n,
                win_rate=wins / n,
                win_rate_interval=wilson_interval(wins, n),
                expectancy_r=mean,
                expectancy_r_interval=None if half is None else Interval(mean - half, mean + half),
                reward_risk=metrics.reward_risk,
            )
        )
    return buckets


def _finite_sum(values: Values) -> float:
    total = float(values.sum())
    if not math.isfinite(total):
        raise ValueError("a value is not a finite number; unknown is not zero")
    return total


def _deviation(values: Values, mean: float) -> float | None:
    """Standard deviation with ddof 1; None for fewer than two values, 0 for equal ones."""
    n = len(values)
    if n < OBSERVATIONS_MIN:
        return None
    away = values - mean
    squares = float((away * away).sum())
    if squares <= n * (_ROUNDING * mean) ** 2:
        return 0.0
    return math.sqrt(squares / (n - 1))


def _longest_gap(winners: NDArray[np.intp], n: int) -> int:
    if len(winners) == 0:
        return n
    inner = int((winners[1:] - winners[:-1]).max()) - 1 if len(winners) > 1 else 0
    return max(inner, int(winners[0]), n - 1 - int(winners[-1]))


def _deepest_fall(net_r: Values) -> float:
    total = net_r.cumsum()
    peak = np.maximum.accumulate(total)
    np.maximum(peak, 0.0, out=peak)
    return float((peak - total).max())


def _return_ratios(daily: Values) -> tuple[float | None, float | None]:
    logs = np.log(daily)
    returns = logs[1:] - logs[:-1]
    n = len(returns)
    mean = float(returns.sum()) / n
    away = returns - mean
    sd = math.sqrt(float((away * away).sum()) / (n - 1))
    losses = np.minimum(returns, 0.0)
    downside = math.sqrt(float((losses * losses).sum()) / n)
    annual = math.sqrt(DAYS_PER_YEAR)
    # Logarithms near 10 carry errors near 1e-15: a steady curve has that spread and no more.
    return (
        mean / sd * annual if sd > _ROUNDING else None,
        mean / downside * annual if downside > _ROUNDING else None,
    )


def _annual_growth(growth: float, years: float) -> float | None:
    if years <= 0:
        return None
    if growth <= 0:
        return -1.0
    try:
        return math.expm1(math.log(growth) / years)
    except OverflowError:  # a good hour, compounded for a year
        return None


def _weekly_totals(net_r: Values, entry_ms: Times) -> tuple[Values, Values]:
    """Sum of R and number of trades of each week that has trades, in order of time."""
    if len(net_r) != len(entry_ms):
        raise ValueError(f"{len(entry_ms)} times for {len(net_r)} trades")
    _, member = np.unique(week_index(entry_ms), return_inverse=True)
    sums = np.bincount(member, weights=net_r).astype(np.float64, copy=False)
    return sums, np.bincount(member).astype(np.float64)


def _mean_error(net_r: Values, mean: float, entry_ms: Times | None) -> float | None:
    """Standard error of the mean, by week when times are given.

    Source: linearised variance of a ratio of sums over clusters with its factor W / (W - 1).
    """
    if entry_ms is None:
        sums, counts = net_r, np.ones(len(net_r))
    else:
        sums, counts = _weekly_totals(net_r, entry_ms)
    clusters = len(sums)
    if clusters < OBSERVATIONS_MIN:
        return None
    away = sums - mean * counts
    return math.sqrt(clusters / (clusters - 1) * float((away * away).sum())) / len(net_r)
