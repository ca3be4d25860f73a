"""Indicators, all computed by TA-Lib over one recorded start.

TA-Lib mishandles a NaN inside its input, each function in its own way, so valid bars are
compressed, computed and scattered back; an invalid bar reads NaN and leaves no trace in others.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles, Flags, Prices

ATR_BARS = 14
RSI_BARS = 14
ADX_BARS = 14
EMA_BARS = 50
VOLUME_BARS = 20


def atr(candles: Candles, length_bars: int = ATR_BARS) -> Prices:
    """Average true range with Wilder's smoothing.

    Shapes: (n,) float64. Units: price. Warm-up: the first length_bars values are NaN.
    Invariants: causal; never negative.
    Source: Wilder, New Concepts in Technical Trading Systems, 1978; equals TA-Lib ATR.
    """
    columns = (candles.high, candles.low, candles.close)
    return _over_valid(_talib().ATR, candles.valid, columns, timeperiod=length_bars)


def yardstick(candles: Candles) -> Prices:
    """ATR(14) as it stood before each candle, so that no candle inflates its own measure.

    Shapes: (n,) float64. Units: price. Warm-up: the first 15 values are NaN.
    Source: the specification, section 2.2, over TA-Lib ATR.
    """
    return _known_before(atr(candles), candles.valid)


def _known_before(values: Prices, valid: Flags) -> Prices:
    """Each bar's value of the last valid bar before it."""
    before = np.full(len(values), np.nan)
    if valid.all():
        before[1:] = values[:-1]
        return before
    rank: NDArray[np.int64] = np.cumsum(valid) - valid
    known = rank > 0
    before[known] = values[valid][rank[known] - 1]
    return before


def ema(candles: Candles, length_bars: int = EMA_BARS) -> Prices:
    """Exponential moving average of the close, seeded with a simple one.

    Shapes: (n,) float64. Units: price. Warm-up: the first length_bars - 1 values are NaN.
    Invariants: causal; memory fades below 1e-12 after 14 times its length.
    Source: TA-Lib EMA.
    """
    return _over_valid(_talib().EMA, candles.valid, (candles.close,), timeperiod=length_bars)


def rsi(candles: Candles, length_bars: int = RSI_BARS) -> Prices:
    """Relative strength index with Wilder's smoothing; 50 where nothing ever moved.

    Shapes: (n,) float64, 0-100. Warm-up: the first length_bars values are NaN.
    Invariants: causal.
    Source: Wilder 1978; equals TA-Lib RSI except that no movement reads 50, not 0.
    """
    values = _over_valid(_talib().RSI, candles.valid, (candles.close,), timeperiod=length_bars)
    moved = np.zeros(len(candles), dtype=np.bool_)
    closes = candles.close[candles.valid]
    if len(closes):
        moved[candles.valid] = np.cumsum(np.r_[False, closes[1:] != closes[:-1]]) > 0
    return np.where(np.isfinite(values) & ~moved, 50.0, values)


def adx(candles: Candles, length_bars: int = ADX_BARS) -> Prices:
    """Average directional index: strength of a trend whatever its direction.

    Shapes: (n,) float64, 0-100. Warm-up: the first 2 * length_bars - 1 values are NaN.
    Invariants: causal.
    Source: Wilder 1978; equals TA-Lib ADX.
    """
    columns = (candles.high, candles.low, candles.close)
    return _over_valid(_talib().ADX, candles.valid, columns, timeperiod=length_bars)


def volume_mean_before(candles: Candles, length_bars: int = VOLUME_BARS) -> Prices:
    """Mean volume of the candles before each one, that candle left out.

    Shapes: (n,) float64. Units: base. Warm-up: the first length_bars values are NaN.
    Invariants: causal.
    Source: TA-Lib SMA, shifted by one valid bar.
    """
    means = _over_valid(_talib().SMA, candles.valid, (candles.volume,), timeperiod=length_bars)
    return _known_before(means, candles.valid)


def reversal_candle(candles: Candles) -> Prices:
    """+1 where a bullish engulfing or hammer closed, -1 for their bearish twins, else 0.

    Shapes: (n,) float64. Invariants: causal.
    Source: TA-Lib CDLENGULFING, CDLHAMMER, CDLSHOOTINGSTAR.
    """
    library = _talib()
    columns = (candles.open, candles.high, candles.low, candles.close)
    votes = np.zeros(len(candles))
    for function in (library.CDLENGULFING, library.CDLHAMMER, library.CDLSHOOTINGSTAR):
        found = _over_valid(_as_float(function), candles.valid, columns)
        votes += np.nan_to_num(found)
    return np.sign(votes)


def _as_float(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *columns: function(*columns).astype(np.float64)


def _over_valid(
    function: Callable[..., Any], valid: Flags, columns: tuple[Prices, ...], **options: int
) -> Prices:
    if not valid.any():
        return np.full(len(valid), np.nan)
    if valid.all():
        return np.asarray(function(*(np.ascontiguousarray(c) for c in columns), **options))
    result = np.full(len(valid), np.nan)
    result[valid] = function(*(column[valid] for column in columns), **options)
    return result


@cache
def _talib() -> Any:
    # talib imports pandas and polars when it finds them: 790 ms instead of 123.
    held = {name: sys.modules.get(name) for name in ("pandas", "polars")}
    blocked = {name: None for name, module in held.items() if module is None}
    sys.modules.update(blocked)  # type: ignore[arg-type]
    try:
        import talib
    finally:
        for name in blocked:
            del sys.modules[name]
    return talib
