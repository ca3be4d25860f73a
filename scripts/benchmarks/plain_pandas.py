"""Zone detection as one writes it with pandas: whole columns, no loop over bars.

The same rules as `core.zones.detect` and, on candles without gaps, the same zones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers import frame
from blofin_cli.core.strategy import Zones

ATR_BARS = 14


def pandas_zones(folder: Path) -> Callable[[], dict[str, Any]]:
    """Zones of four years on three timeframes."""
    frames = [frame(folder, f"zones_{name}") for name in ("15m", "1h", "4h")]
    rules = Zones()

    def run() -> dict[str, Any]:
        return {"zones": [len(detect(one, rules)) for one in frames]}

    return run


def detect(candles: pd.DataFrame, rules: Zones) -> pd.DataFrame:
    """One row a zone: side, pattern, proximal, distal, birth."""
    own = candles.copy()
    own["atr"] = yardstick(own)
    own["size"] = own["high"] - own["low"]
    own["body"] = (own["close"] - own["open"]).abs()
    own["top"] = np.maximum(own["open"], own["close"])
    own["bottom"] = np.minimum(own["open"], own["close"])
    quiet = own["size"] <= rules.base_small_atr * own["atr"]
    quiet |= (own["body"] <= rules.base_body_max * own["size"]) & (
        own["size"] <= rules.base_range_atr * own["atr"]
    )
    count = quiet.cumsum()
    run = count - count.where(~quiet).ffill().fillna(0)
    own["run"] = run.shift(1, fill_value=0).astype(int)
    leaves = (own["body"] > 0) & (own["size"] >= rules.out_bar_atr * own["atr"])
    leaves &= own["body"] >= rules.out_body_min * own["size"]
    found = []
    sides = own[["high", "low", "top", "bottom"]]
    edges = sides.shift(1)
    for length in range(1, rules.base_max + 1):
        if length > 1:
            edges = wider(edges, sides.shift(length))
        if length >= rules.base_min:
            found.append(candidates(own, leaves, edges, rules, length))
    return confirmed(own, pd.concat(found).sort_index(), rules)


def wider(edges: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Extremes of a base that began a candle earlier."""
    highest = {name: np.maximum(edges[name], earlier[name]) for name in ("high", "top")}
    lowest = {name: np.minimum(edges[name], earlier[name]) for name in ("low", "bottom")}
    return pd.DataFrame(highest | lowest)


def yardstick(own: pd.DataFrame) -> pd.Series:
    """Wilder's ATR as it stood before each candle."""
    before = own["close"].shift(1)
    span = np.maximum(own["high"], before) - np.minimum(own["low"], before)
    span.iloc[ATR_BARS] = span.iloc[1 : ATR_BARS + 1].mean()
    span.iloc[:ATR_BARS] = np.nan
    return span.ewm(alpha=1 / ATR_BARS, adjust=False).mean().shift(1)


def candidates(
    own: pd.DataFrame, leaves: pd.Series, edges: pd.DataFrame, rules: Zones, length: int
) -> pd.DataFrame:
    """Leg-outs from a base of this many candles."""
    bar = pd.Series(np.arange(len(own)), own.index)
    chosen = leaves & (own["run"] == length) & (bar > length)
    rows = own.loc[chosen, ["atr", "open", "high", "low", "close"]].assign(bar=bar[chosen])
    base = edges[chosen].rename(columns={"high": "highest", "low": "lowest"})
    leg_in = own[["high", "low"]].shift(length + 1)[chosen].add_prefix("in_")
    rows = rows.join([base, leg_in]).assign(net=net_move(own, length, rules)[chosen])
    rows = rows[rows["net"].abs() >= rules.in_move_atr * rows["atr"]]
    rows = rows[rows["highest"] - rows["lowest"] <= rules.base_height_atr * rows["atr"]]
    return with_lines(rows, rules)


def net_move(own: pd.DataFrame, length: int, rules: Zones) -> pd.Series:
    """The largest net move of the one to three candles before the base."""
    close = own["close"].shift(length + 1)
    net = close - own["open"].shift(length + 1)
    for more in range(2, rules.in_max_bars + 1):
        move = close - own["open"].shift(length + more)
        net = net.where(~(move.abs() > net.abs()), move)
    return net


def with_lines(rows: pd.DataFrame, rules: Zones) -> pd.DataFrame:
    """Proximal and distal of each candidate; too high ones left out, too thin ones widened."""
    rows = rows.copy()
    rows["side"] = np.where(rows["close"] > rows["open"], 1, -1)
    rows["reversal"] = (rows["net"] < 0) == (rows["side"] > 0)
    rows["proximal"] = np.where(rows["side"] > 0, rows["top"], rows["bottom"])
    low = np.minimum(rows["lowest"], rows["low"])
    low = low.where(~rows["reversal"], np.minimum(low, rows["in_low"]))
    high = np.maximum(rows["highest"], rows["high"])
    high = high.where(~rows["reversal"], np.maximum(high, rows["in_high"]))
    rows["distal"] = np.where(rows["side"] > 0, low, high)
    height = rows["side"] * (rows["proximal"] - rows["distal"])
    thin = rows["proximal"] - rows["side"] * rules.zone_min_atr * rows["atr"]
    rows["distal"] = rows["distal"].where(height >= rules.zone_min_atr * rows["atr"], thin)
    return rows[height <= rules.zone_max_atr * rows["atr"]]


def confirmed(own: pd.DataFrame, rows: pd.DataFrame, rules: Zones) -> pd.DataFrame:
    """Candidates that price left far enough in time, with the bar that proved it."""
    rows = rows.copy()
    rows["born"] = -1
    waiting = pd.Series(data=True, index=rows.index)
    for later in range(rules.out_max_bars):
        ahead = own[["high", "low", "close"]].shift(-later).loc[rows.index]
        if later:
            adverse = ahead["low"].where(rows["side"] > 0, ahead["high"])
            waiting &= rows["side"] * (adverse - rows["proximal"]) > 0
        reach = rows["side"] * (ahead["close"] - rows["proximal"])
        arrived = waiting & (reach >= rules.out_move_atr * rows["atr"])
        rows.loc[arrived, "born"] = rows["bar"] + later
        waiting &= ~arrived
    return rows[rows["born"] >= 0].sort_values("born")
