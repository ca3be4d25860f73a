"""Confirmation filters: each a function from decisions to one column of a gate.

A filter acts on the plane of signals, before the step, so it has no compiled twin. A newcomer is
a dataclass among `strategy.Filters` and a function of the same name here.

Source: the specification, section 6.5; none is significant in both of its periods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core import indicators
from blofin_cli.core.candles import Flags, Prices, Times
from blofin_cli.core.context import Market
from blofin_cli.core.market import Timeframe

PROFILE_DAYS = 7
DAY_MS = 86_400_000
FRACTAL_BARS = 2


@dataclass(frozen=True, eq=False)
class Decisions:
    """Moments at which a trade is considered, one row each.

    Shapes: all (m,). `bar` is the entry candle whose close is the moment, `now_ms` that close;
    `side` +1 or -1; `inside_same` and `inside_opposing` say whether price lies in a live zone of a
    higher timeframe.
    """

    market: Market
    bar: NDArray[np.int64]
    now_ms: Times
    side: NDArray[np.int64]
    proximal: Prices
    distal: Prices
    inside_same: Flags
    inside_opposing: Flags

    def on_entry(self, series: Prices) -> Prices:
        """An entry-timeframe series at each decision."""
        return series[self.bar]


@dataclass(frozen=True, eq=False)
class GateColumn:
    """One gate over all decisions: what was measured, against what, and who passed.

    `setting` is the parameter that moves the threshold, with `{value}` where the measured value
    would go; empty when no parameter can help.
    """

    name: str
    passed: Flags
    value: Prices
    threshold: Prices
    note: str = ""
    setting: str = ""


def rsi_extreme(at: Decisions, parameters: Any) -> GateColumn:
    """RSI of the entry timeframe at or beyond its extreme, mirrored for shorts."""
    values = at.on_entry(at.market.rsi(at.market.entry.timeframe))
    mirrored = np.where(at.side > 0, values, 100.0 - values)
    limit = np.where(at.side > 0, parameters.low, 100.0 - parameters.low)
    return GateColumn(
        "rsi_extreme",
        _known(mirrored) & (mirrored <= parameters.low),
        values,
        limit,
        "RSI14 at or below for a long, at or above for a short",
        "filters.rsi_extreme.low={mirrored}",
    )


def rsi_divergence(at: Decisions, parameters: Any) -> GateColumn:
    """Price beyond the last confirmed fractal of the side while RSI is not."""
    candles = at.market.entry
    rsi = at.market.rsi(candles.timeframe)
    differences = np.full(len(at.bar), np.nan)
    for i, (bar, side) in enumerate(zip(at.bar, at.side, strict=True)):
        extremes = candles.low if side > 0 else -candles.high
        pivot = last_fractal(extremes, int(bar), parameters.lookback_bars)
        if pivot >= 0 and extremes[bar] < extremes[pivot]:
            differences[i] = side * (rsi[bar] - rsi[pivot])
    return GateColumn(
        "rsi_divergence",
        _known(differences) & (differences > 0),
        differences,
        np.zeros(len(at.bar)),
        "RSI gained since the last confirmed fractal that price went beyond",
    )


def last_fractal(extremes: Prices, bar: int, lookback_bars: int) -> int:
    """Newest bar whose low is below the two on each side, known by `bar`; -1 for none.

    Invariants: causal: a pivot at j is known only once bar j + 2 has closed.
    """
    oldest = max(FRACTAL_BARS, bar - lookback_bars)
    for pivot in range(bar - FRACTAL_BARS, oldest - 1, -1):
        window = extremes[pivot - FRACTAL_BARS : pivot + FRACTAL_BARS + 1]
        if (
            np.argmin(window) == FRACTAL_BARS
            and np.count_nonzero(window == window[FRACTAL_BARS]) == 1
        ):
            return pivot
    return -1


def volume_spike(at: Decisions, parameters: Any) -> GateColumn:
    """Volume of the signal candle over the mean of the 20 before it."""
    market = at.market
    means = market.keep("volume_mean", lambda: indicators.volume_mean_before(market.entry))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = at.on_entry(market.entry.volume) / at.on_entry(means)
    return _at_least("volume_spike", values, parameters.ratio, "filters.volume_spike.ratio")


def momentum_shift(at: Decisions, parameters: Any) -> GateColumn:
    """Sum of the last two bodies in the trade's direction, in ATR of the entry timeframe."""
    candles = at.market.entry
    bodies = candles.close - candles.open
    two = bodies[at.bar] + np.where(at.bar > 0, bodies[at.bar - 1], 0.0)
    values = at.side * two / at.on_entry(at.market.atr(candles.timeframe))
    return _at_least(
        "momentum_shift", values, parameters.move_atr, "filters.momentum_shift.move_atr"
    )


def volume_profile(at: Decisions, parameters: Any) -> GateColumn:
    """Seven days' volume inside the zone against the zone's share of their range."""
    candles = at.market.entry
    bars = PROFILE_DAYS * DAY_MS // candles.timeframe.ms
    low = np.minimum(at.proximal, at.distal)
    high = np.maximum(at.proximal, at.distal)
    values = np.full(len(at.bar), np.nan)
    for i, bar in enumerate(at.bar):
        past = slice(max(0, int(bar) + 1 - bars), int(bar) + 1)
        values[i] = volume_share(candles, past, float(low[i]), float(high[i]))
    return GateColumn(
        "volume_profile",
        _known(values) & (values < parameters.ratio),
        values,
        np.full(len(at.bar), parameters.ratio),
        "volume inside the zone over its share of the 7-day range: a low-volume node",
        "filters.volume_profile.ratio={above}",
    )


def volume_share(candles: Any, past: slice, low: float, high: float) -> float:
    """Volume traded between two prices, each bar's spread evenly, over their share of the range."""
    top, bottom = candles.high[past], candles.low[past]
    size = top - bottom
    inside = np.clip(np.minimum(top, high) - np.maximum(bottom, low), 0.0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(size > 0, inside / size, ((bottom >= low) & (top <= high)).astype(float))
    volume = candles.volume[past]
    full = float(top.max() - bottom.min())
    if full <= 0 or volume.sum() <= 0 or high <= low:
        return float("nan")
    return float((share * volume).sum() / volume.sum() / ((high - low) / full))


def htf_zone(at: Decisions, parameters: Any) -> GateColumn:
    """Price inside a live same-side zone of a higher timeframe."""
    del parameters
    values = at.inside_same.astype(float)
    return GateColumn(
        "htf_zone", at.inside_same, values, np.ones(len(values)), "1 inside a live same-side zone"
    )


def trend_4h(at: Decisions, parameters: Any) -> GateColumn:
    """Close on the trade's side of the 4h EMA50, in percent of it."""
    del parameters
    market = at.market
    closes = market.at(market.frame(Timeframe.H4).close, Timeframe.H4, at.now_ms)
    average = market.at(market.ema(Timeframe.H4), Timeframe.H4, at.now_ms)
    values = at.side * (closes / average - 1.0) * 100.0
    return GateColumn(
        "trend_4h",
        _known(values) & (values > 0),
        values,
        np.zeros(len(values)),
        "4h close beyond its EMA50 in the trade's direction, percent",
    )


def range_only(at: Decisions, parameters: Any) -> GateColumn:
    """4h ADX14 below its limit."""
    values = at.market.at(at.market.adx(Timeframe.H4), Timeframe.H4, at.now_ms)
    return GateColumn(
        "range_only",
        _known(values) & (values < parameters.adx_max),
        values,
        np.full(len(values), parameters.adx_max),
        "4h ADX14 below the limit",
        "filters.range_only.adx_max={above}",
    )


def session(at: Decisions, parameters: Any) -> GateColumn:
    """Hour of the decision inside an allowed range, UTC."""
    hours = (at.now_ms % DAY_MS) / 3_600_000
    passed = np.zeros(len(hours), dtype=np.bool_)
    for start, stop in parameters.hours:
        passed |= (hours >= start) & (hours < stop)
    first = float(parameters.hours[0][0]) if parameters.hours else np.nan
    return GateColumn("session", passed, hours, np.full(len(hours), first), "hour of day, UTC")


def candle_pattern(at: Decisions, parameters: Any) -> GateColumn:
    """An engulfing or pin-bar candle closed in the trade's direction."""
    del parameters
    market = at.market
    votes = market.keep("candle_pattern", lambda: indicators.reversal_candle(market.entry))
    values = at.side * at.on_entry(votes)
    return GateColumn(
        "candle_pattern", values > 0, values, np.ones(len(values)), "TA-Lib engulfing or pin bar"
    )


def book_imbalance(at: Decisions, parameters: Any) -> GateColumn:
    """Bid against ask quantity near mid. Candles hold no book, so history cannot pass it."""
    unknown = np.full(len(at.bar), np.nan)
    return GateColumn(
        "book_imbalance",
        np.zeros(len(at.bar), dtype=np.bool_),
        unknown,
        np.full(len(at.bar), parameters.imbalance),
        "needs a live or recorded order book",
    )


FILTERS: dict[str, Callable[[Decisions, Any], GateColumn]] = {
    function.__name__: function
    for function in (
        rsi_extreme,
        rsi_divergence,
        volume_spike,
        momentum_shift,
        volume_profile,
        htf_zone,
        trend_4h,
        range_only,
        session,
        candle_pattern,
        book_imbalance,
    )
}


def _known(values: Prices) -> Flags:
    return np.isfinite(values)


def _at_least(name: str, values: Prices, threshold: float, setting: str) -> GateColumn:
    return GateColumn(
        name,
        _known(values) & (values >= threshold),
        values,
        np.full(len(values), threshold),
        "at least the threshold",
        setting + "={value}",
    )
