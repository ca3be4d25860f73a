"""Indicators against the specification's sheets (13.1) and TA-Lib."""

import numpy as np
from hypothesis import given, settings

from blofin_cli.core import indicators
from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.market import Timeframe
from tests.fakes import BTC, START_MS, candles_of, needs_data, real_market
from tests.strategies import walks

CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826,
    45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439,
    46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672,
    43.4205, 42.6628, 43.1314,
]  # fmt: skip
RSI14 = [
    70.5328, 66.3186, 66.5498, 69.4063, 66.3552, 57.9749, 62.9296, 63.2571, 56.0593, 62.3771,
    54.7076, 50.4228, 39.9898, 41.4605, 41.8689, 45.4632, 37.3040, 33.0795, 37.7730,
]  # fmt: skip
HIGHS = [
    48.70, 48.72, 48.90, 48.87, 48.82, 49.05, 49.20, 49.35, 49.92, 50.19, 50.12, 49.66, 49.88,
    50.19, 50.36, 50.57, 50.65, 50.43,
]  # fmt: skip
LOWS = [
    47.79, 48.14, 48.39, 48.37, 48.24, 48.64, 48.94, 48.86, 49.50, 49.87, 49.20, 48.90, 49.43,
    49.73, 49.26, 50.09, 50.30, 49.21,
]  # fmt: skip
ATR_CLOSES = [
    48.16, 48.61, 48.75, 48.63, 48.74, 49.03, 49.07, 49.32, 49.91, 50.13, 49.53, 49.50, 49.75,
    50.03, 50.31, 50.52, 50.41, 49.34,
]  # fmt: skip


def closing_at(closes: list[float]) -> Candles:
    return candles_of([(close, close, close, close) for close in closes])


def sheet() -> Candles:
    rows = zip(ATR_CLOSES, HIGHS, LOWS, ATR_CLOSES, strict=True)
    return candles_of([(close, high, low, close) for _, high, low, close in rows])


def test_rsi_equals_the_sheet() -> None:
    """RSI14 of the well-known sheet, from index 14 on."""
    values = indicators.rsi(closing_at(CLOSES))
    assert np.isnan(values[:14]).all()
    np.testing.assert_allclose(values[14:], RSI14, atol=1e-4)


def test_rsi_of_a_rise_is_100_and_of_a_fall_0() -> None:
    """Nothing but gains is 100, nothing but losses 0."""
    assert indicators.rsi(closing_at([*range(10, 30)]))[-1] == 100.0
    assert indicators.rsi(closing_at([*range(30, 10, -1)]))[-1] == 0.0


def test_rsi_is_50_where_nothing_moves() -> None:
    """Without any movement RSI is 50, not TA-Lib's 0, and follows TA-Lib once price moves."""
    values = indicators.rsi(closing_at([10.0] * 20 + [11.0]))
    assert list(values[14:]) == [50.0] * 6 + [100.0]


def test_atr_equals_the_sheet() -> None:
    """ATR14 of the sheet: seeded at index 14 with TR_1..TR_14, TR_0 unused."""
    values = indicators.atr(sheet())
    assert np.isnan(values[:14]).all()
    np.testing.assert_allclose(values[14:], [0.5679, 0.5616, 0.5465, 0.5946], atol=5e-5)


def test_yardstick_is_the_atr_one_candle_before() -> None:
    """The yardstick of a candle is the ATR as it stood before it."""
    atr, before = indicators.atr(sheet()), indicators.yardstick(sheet())
    assert np.isnan(before[:15]).all()
    np.testing.assert_array_equal(before[15:], atr[14:-1])


def test_ema_is_seeded_with_a_simple_mean() -> None:
    """EMA starts at the mean of the first n values and then decays by 2 / (n + 1)."""
    values = indicators.ema(closing_at([float(n) for n in range(1, 8)]), 5)
    np.testing.assert_allclose(values[4:], [3.0, 4.0, 5.0])
    assert np.isnan(values[:4]).all()


def test_volume_mean_leaves_its_own_candle_out() -> None:
    """The mean volume before a candle is that of the 20 before it."""
    rows = [(1, 1, 1, 1, volume) for volume in range(1, 31)]
    values = indicators.volume_mean_before(candles_of(rows))
    assert np.isnan(values[:20]).all()
    assert values[20] == np.mean(range(1, 21))


def test_invalid_candles_leave_no_trace_in_the_others() -> None:
    """A candle that is none reads NaN, and the others read as if it had never been."""
    rows = [(10 + n % 7, 12 + n % 7, 9 + n % 7, 10 + (n * 3) % 7, 5) for n in range(80)]
    rows = [(o, max(o, c) + 1, min(o, c) - 1, c, v) for o, _, _, c, v in rows]
    clean, spoilt = candles_of(rows), list(rows)
    spoilt.insert(40, (np.nan, np.nan, np.nan, np.nan, 5))
    for function in (indicators.atr, indicators.ema, indicators.rsi, indicators.adx):
        values = function(candles_of(spoilt))
        assert np.isnan(values[40])
        np.testing.assert_array_equal(np.delete(values, 40), function(clean))


@given(candles=walks(min_bars=60, max_bars=200))
@settings(max_examples=25)
def test_indicators_equal_talib(candles: Candles) -> None:
    """ATR, RSI, EMA and ADX are TA-Lib's, value for value."""
    talib = indicators._talib()
    high, low, close = candles.high, candles.low, candles.close
    pairs = (
        (indicators.atr(candles), talib.ATR(high, low, close, timeperiod=14)),
        (indicators.adx(candles), talib.ADX(high, low, close, timeperiod=14)),
        (indicators.ema(candles), talib.EMA(close, timeperiod=50)),
        (indicators.rsi(candles), talib.RSI(close, timeperiod=14)),
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


@given(candles=walks(min_bars=20, max_bars=200))
@settings(max_examples=25)
def test_atr_follows_wilders_recursion(candles: Candles) -> None:
    """ATR = (previous * 13 + TR) / 14, written out plainly."""
    gaps = (
        np.abs(candles.high[1:] - candles.close[:-1]),
        np.abs(candles.low[1:] - candles.close[:-1]),
    )
    ranges = np.maximum(candles.high[1:] - candles.low[1:], np.maximum(*gaps))
    expected = [float(np.mean(ranges[:14]))]
    for value in ranges[14:]:
        expected.append((expected[-1] * 13 + value) / 14)
    np.testing.assert_allclose(indicators.atr(candles)[14:], expected[: len(candles) - 14])


@needs_data
def test_daily_ema_is_warm_after_fourteen_times_its_length() -> None:
    """EMA50 from 741 days on agrees to 1e-12 whatever it was started from."""
    days = real_market("BTC").frame(Timeframe.D1)
    whole, late = indicators.ema(days), indicators.ema(days[200:])
    np.testing.assert_allclose(late[741:], whole[941:], rtol=1e-12)


def test_no_candles_give_no_values() -> None:
    """Empty in, empty out."""
    none = np.empty(0)
    columns = dict.fromkeys(COLUMNS, none)
    empty = Candles(BTC, Timeframe.M15, none.astype(np.int64), **columns)
    assert START_MS > 0
    for function in (indicators.atr, indicators.rsi, indicators.yardstick):
        assert len(function(empty)) == 0
