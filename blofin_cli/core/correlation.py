"""Correlation of hourly returns between symbols, exponentially weighted.

Source: the specification, section 9.4.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Prices, Times
from blofin_cli.core.compiled import call, kernel
from blofin_cli.core.context import Market
from blofin_cli.core.market import Timeframe

HALF_LIFE_BARS = 14 * 24
DECAY = 0.5 ** (1.0 / HALF_LIFE_BARS)
FLOOR = 0.3


def correlations(
    markets: Sequence[Market], tick_ts: Times, step_ms: int
) -> tuple[Prices, NDArray[np.int64]]:
    """Pairwise correlation after each hour, and which row of it is known at each tick's close.

    Shapes: (hours * pairs,), pairs in order (0,1) (0,2) … (1,2) …; (ticks,), -1 until one
    half-life has been seen.
    Invariants: causal; floored at 0.3.
    """
    nowhere = np.full(len(tick_ts), -1, dtype=np.int64)
    if len(markets) < 2 or len(tick_ts) == 0:
        return np.zeros(1), nowhere
    hour = Timeframe.H1.ms
    begin = min(int(market.entry.ts[0]) for market in markets)
    hours = np.arange(begin // hour, tick_ts[-1] // hour + 1) * hour
    returns = np.zeros((len(markets), len(hours)))
    for row, market in enumerate(markets):
        frame = market.frame(Timeframe.H1)
        if len(frame) < 2:
            continue
        change = np.diff(frame.close) / frame.close[:-1]
        at = (frame.ts[1:] - hours[0]) // hour
        inside = (at >= 0) & (at < len(hours))
        returns[row, at[inside]] = change[inside]
    pairs = len(markets) * (len(markets) - 1) // 2
    table = np.empty(len(hours) * pairs)
    sums = np.zeros(len(markets) * len(markets))
    call(
        weigh,
        returns.ravel(),
        len(markets),
        len(hours),
        sums,
        table,
        work_bars=len(hours) * pairs * 4,
    )
    known = (tick_ts + step_ms - hours[0]) // hour - 1
    return table, np.where(known >= HALF_LIFE_BARS, known, nowhere)


@kernel
def weigh(returns: Any, symbols: int, hours: int, sums: Any, table: Any) -> None:
    """Decay sums of products of returns, hour by hour, and write every pair's correlation."""
    keep = DECAY
    out = 0
    for hour in range(hours):
        for one in range(symbols):
            for other in range(one, symbols):
                cell = one * symbols + other
                product = returns[one * hours + hour] * returns[other * hours + hour]
                sums[cell] = keep * sums[cell] + product
        for one in range(symbols):
            for other in range(one + 1, symbols):
                scale = sums[one * symbols + one] * sums[other * symbols + other]
                rho = 1.0
                if scale > 0.0:
                    rho = sums[one * symbols + other] / math.sqrt(scale)
                table[out] = max(FLOOR, rho)
                out += 1
