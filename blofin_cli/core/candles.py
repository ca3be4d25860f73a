"""Candles as columns, and the one way to make higher timeframes out of lower ones."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError

Prices = NDArray[np.float64]
Times = NDArray[np.int64]
Flags = NDArray[np.bool_]

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, eq=False)
class Candles:
    """Closed candles of one symbol and timeframe, ascending and unique in time.

    Shapes: every column (n,); `ts` int64 bar open times in UTC ms, the rest float64.
    Units: prices in quote currency, volume in base units.
    Invariants: `ts` ascends strictly on the timeframe's grid. Missing bars are allowed and never
    invented; a bar with non-finite or impossible prices is not `valid` and is skipped by all.
    """

    symbol: str
    timeframe: Timeframe
    ts: Times
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    partial: Flags | None = None

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, rows: slice) -> "Candles":
        partial = None if self.partial is None else self.partial[rows]
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Candles(self.symbol, self.timeframe, self.ts[rows], **columns, partial=partial)

    @cached_property
    def close_ts(self) -> Times:
        """Close time of each bar, the moment it becomes known, in UTC ms."""
        return self.ts + self.timeframe.ms

    @cached_property
    def valid(self) -> Flags:
        """Which bars hold finite, positive, consistent prices and a volume of zero or more."""
        with np.errstate(invalid="ignore"):
            ordered = (self.high >= np.maximum(self.open, self.close)) & (
                self.low <= np.minimum(self.open, self.close)
            )
            finite = np.isfinite(self.open + self.high + self.low + self.close + self.volume)
            return finite & ordered & (self.low > 0) & (self.volume >= 0)

    @cached_property
    def segment_starts(self) -> Flags:
        """Which bars follow a gap in time (the first bar does not)."""
        starts = np.zeros(len(self), dtype=np.bool_)
        starts[1:] = np.diff(self.ts) != self.timeframe.ms
        return starts

    @property
    def missing_bars(self) -> int:
        """Bars absent between the first and the last one."""
        if len(self) < 2:
            return 0
        return int((self.ts[-1] - self.ts[0]) // self.timeframe.ms) + 1 - len(self)

    @property
    def gaps(self) -> int:
        """Holes in time, each of one or more missing bars."""
        return int(self.segment_starts.sum())

    def until(self, ts_ms: int) -> "Candles":
        """The candles already closed at `ts_ms`."""
        return self[: int(np.searchsorted(self.close_ts, ts_ms, side="right"))]

    def between(self, since_ms: int | None, until_ms: int | None) -> "Candles":
        """The candles whose open time is in [since, until)."""
        first = 0 if since_ms is None else int(np.searchsorted(self.ts, since_ms))
        last = len(self) if until_ms is None else int(np.searchsorted(self.ts, until_ms))
        return self[first:last]


def resample(candles: Candles, timeframe: Timeframe) -> Candles:
    """Fold closed candles into a higher timeframe on the UTC grid.

    Invariants: causal; conserves volume and extremes; a trailing bar that has not closed is
    dropped; a bar with missing children is built from what exists and flagged `partial`. Invalid
    children are left out.
    Errors: DataError when the timeframe is not a multiple of the candles' own.
    """
    if timeframe == candles.timeframe:
        return candles
    if timeframe.ms % candles.timeframe.ms:
        raise DataError(f"cannot build {timeframe} bars from {candles.timeframe} bars")
    if not candles.valid.all():
        keep = candles.valid
        columns = {name: getattr(candles, name)[keep] for name in COLUMNS}
        candles = Candles(candles.symbol, candles.timeframe, candles.ts[keep], **columns)
    if len(candles) == 0:
        return _no_candles(candles.symbol, timeframe)

    starts = _first_children(candles, timeframe)
    closed_until = candles.ts[-1] + candles.timeframe.ms
    if (candles.ts[starts[-1]] // timeframe.ms + 1) * timeframe.ms > closed_until:
        ends = starts[-1]
        starts = starts[:-1]
    else:
        ends = len(candles)
    rows = slice(0, int(ends))
    if len(starts) == 0:
        return _no_candles(candles.symbol, timeframe)
    last = np.r_[starts[1:], ends] - 1
    children = timeframe.ms // candles.timeframe.ms
    return Candles(
        candles.symbol,
        timeframe,
        candles.ts[starts] // timeframe.ms * timeframe.ms,
        candles.open[starts],
        _extreme(np.maximum, candles.high[rows], starts, children),
        _extreme(np.minimum, candles.low[rows], starts, children),
        candles.close[last],
        np.add.reduceat(candles.volume[rows], starts),
        partial=(np.diff(np.r_[starts, ends]) != children) | _any_partial(candles, starts, rows),
    )


def _first_children(candles: Candles, timeframe: Timeframe) -> NDArray[np.intp]:
    """Rows at which a bar of the higher timeframe begins."""
    if candles.missing_bars:
        bucket = candles.ts // timeframe.ms
        return np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
    children = timeframe.ms // candles.timeframe.ms
    lead = int(-candles.ts[0] // candles.timeframe.ms % children)
    starts = np.arange(lead, len(candles), children)
    return np.r_[0, starts] if lead else starts


def _extreme(function: np.ufunc, values: Prices, starts: NDArray[np.intp], children: int) -> Prices:
    # Without gaps every bar has all its children; strides are then ten times faster.
    if len(values) != len(starts) * children:
        return np.asarray(function.reduceat(values, starts))
    result = values[::children].copy()
    for child in range(1, children):
        function(result, values[child::children], out=result)
    return result


def _any_partial(candles: Candles, starts: NDArray[np.intp], rows: slice) -> Flags:
    if candles.partial is None:
        return np.zeros(len(starts), dtype=np.bool_)
    return np.logical_or.reduceat(candles.partial[rows], starts)


def _no_candles(symbol: str, timeframe: Timeframe) -> Candles:
    none = np.empty(0)
    return Candles(symbol, timeframe, np.empty(0, np.int64), none, none, none, none, none)
