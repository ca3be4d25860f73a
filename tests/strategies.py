"""Hypothesis strategies shared by tests."""

import numpy as np
from hypothesis import strategies as st

from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from tests.fakes import BTC, START_MS


@st.composite
def walks(
    draw: st.DrawFn,
    min_bars: int = 20,
    max_bars: int = 300,
    *,
    holes: bool = False,
    wild: float = 0.02,
) -> Candles:
    """A seeded random walk of 15m candles around 100, of any mood; with `holes`, gaps in time.

    The numbers come from one drawn seed, so that a failing example shrinks to few bars quickly.
    """
    bars = draw(st.integers(min_bars, max_bars))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.floats(0.0005, wild))
    moves = noise.normal(0.0, size, bars) * noise.choice([0.2, 1.0, 2.5], bars)
    close = np.round(100.0 * np.exp(np.cumsum(moves)), 2)
    gaps = np.exp(noise.normal(0.0, size / 4, bars))
    opened = np.round(np.r_[100.0, close[:-1]] * gaps, 2)
    spread = np.abs(noise.normal(0.0, size / 2, (2, bars))) * close
    high = np.round(np.maximum(opened, close) + spread[0], 2)
    low = np.round(np.maximum(np.minimum(opened, close) - spread[1], 0.01), 2)
    volume = np.round(np.exp(noise.normal(8.0, 1.0, bars)), 1)
    places = np.arange(bars, dtype=np.int64)
    if holes:
        places += np.cumsum(noise.random(bars) < 0.01) * noise.integers(1, 30)
    ts = START_MS + places * Timeframe.M15.ms
    return Candles(BTC, Timeframe.M15, ts, opened, high, low, close, volume)
