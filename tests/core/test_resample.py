from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core.candles import COLUMNS, Candles, resample
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError

DATA = Path(__file__).resolve().parents[2] / "../shared/data/candles/binance_perp"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")

STEP = Timeframe.M15.ms

# Days on which Binance restated bars, or its timeframes differ among themselves. The data's own
# list names them, but for 2022-07-16: there the volume of one 4h bar is 0.05 % above that of its
# 1h and 15m bars, which agree.
KNOWN_DAYS = {"2022-07-16"} | {
    "2023-11-10",
    "2023-11-14",
    "2024-03-27",
    "2024-03-28",
    "2024-10-28",
    "2025-01-14",
}


@st.composite
def candle_series(draw: st.DrawFn) -> Candles:
    """15m candles with gaps: positions on the grid, cents as prices."""
    places = draw(st.lists(st.integers(0, 120), min_size=1, max_size=80, unique=True).map(sorted))
    cents = st.lists(st.integers(100, 10_000), min_size=4, max_size=4).map(sorted)
    rows = [draw(cents) for _ in places]
    volume = [draw(st.integers(0, 1_000)) for _ in places]
    low, one, other, high = (np.array(column) / 100 for column in zip(*rows, strict=True))
    ts = np.array(places, dtype=np.int64) * STEP
    return Candles(
        "BTC-USDT", Timeframe.M15, ts, one, high, low, other, np.array(volume, dtype=float)
    )


@given(candle_series(), st.sampled_from([Timeframe.M30, Timeframe.H1, Timeframe.H4]))
def test_resample_conserves_volume_and_extremes(candles: Candles, timeframe: Timeframe) -> None:
    """Over the closed bars, volume adds up and no high or low is lost or invented."""
    folded = resample(candles, timeframe)
    if len(folded) == 0:
        return
    inside = candles.ts < folded.ts[-1] + timeframe.ms

    assert folded.volume.sum() == candles.volume[inside].sum()
    assert folded.high.max() == candles.high[inside].max()
    assert folded.low.min() == candles.low[inside].min()
    assert folded.open[0] == candles.open[0]
    assert folded.close[-1] == candles.close[inside][-1]
    assert folded.valid.all()


@given(candle_series(), st.data())
def test_resample_of_a_prefix_is_a_prefix(candles: Candles, data: st.DataObject) -> None:
    """What is known early never changes later: a prefix folds to a prefix."""
    count = data.draw(st.integers(1, len(candles)))
    whole = resample(candles, Timeframe.H1)
    early = resample(candles[:count], Timeframe.H1)

    for name in ("ts", *COLUMNS, "partial"):
        one, other = getattr(early, name), getattr(whole, name)
        if one is not None and other is not None:
            assert np.array_equal(one, other[: len(early)])


@given(candle_series())
def test_resample_never_shows_an_open_bar(candles: Candles) -> None:
    """The last bar has closed by the time the last child has."""
    folded = resample(candles, Timeframe.H4)
    assert len(folded) == 0 or folded.close_ts[-1] <= candles.close_ts[-1]


@given(candle_series())
def test_resample_flags_bars_with_missing_children(candles: Candles) -> None:
    """A bar is partial exactly when fewer than four of its quarters exist."""
    folded = resample(candles, Timeframe.H1)
    counts = [
        int(((candles.ts >= ts) & (candles.ts < ts + Timeframe.H1.ms)).sum()) for ts in folded.ts
    ]
    assert folded.partial is None or folded.partial.tolist() == [count < 4 for count in counts]


def test_resample_to_a_finer_timeframe_is_refused() -> None:
    """Bars cannot be split."""
    one = np.ones(1)
    hour = Candles("BTC-USDT", Timeframe.H1, np.zeros(1, np.int64), one, one, one, one, one)
    with pytest.raises(DataError):
        resample(hour, Timeframe.M15)


def loaded(symbol: str, timeframe: Timeframe) -> Candles:
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / f"{symbol}_{timeframe}.parquet")
    columns = [table.column(name).to_numpy() for name in ("ts", *COLUMNS)]
    return Candles(symbol, timeframe, *columns)


@needs_data
@pytest.mark.parametrize("lower", [Timeframe.M5, Timeframe.M15])
@pytest.mark.parametrize(
    ("symbol", "timeframe"),
    [
        *[("BTCUSDT", timeframe) for timeframe in (Timeframe.M30, Timeframe.H1, Timeframe.H4)],
        *[("ETHUSDT", timeframe) for timeframe in (Timeframe.H1, Timeframe.H4)],
        ("SOLUSDT", Timeframe.H1),
    ],
)
def test_resample_agrees_with_the_native_file(
    symbol: str, lower: Timeframe, timeframe: Timeframe
) -> None:
    """Folded 5m and 15m bars equal the exchange's own, except on the days known to differ."""
    native, folded = loaded(symbol, timeframe), resample(loaded(symbol, lower), timeframe)
    common, at, by = np.intersect1d(native.ts, folded.ts, return_indices=True)
    whole = ~folded.partial[by] if folded.partial is not None else np.ones(len(by), dtype=bool)
    differs = np.zeros(len(common), dtype=bool)
    for name in COLUMNS[:4]:
        differs |= getattr(native, name)[at] != getattr(folded, name)[by]
    differs |= ~np.isclose(native.volume[at], folded.volume[by], rtol=1e-9, atol=1e-6)
    days = {str(np.datetime64(int(ts), "ms"))[:10] for ts in common[differs & whole]}

    assert len(common) > 2_900
    assert days <= KNOWN_DAYS
    assert int(differs.sum()) <= 7
