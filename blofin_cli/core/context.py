"""What one symbol's candles say, computed once and kept: frames, indicators, paths, ranks.

A backtest, a signal and a thousand settings of a sweep read the same `Market`. Everything in it
is causal; `frame_row` is the one place where a time becomes "the last closed bar by then".
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core import indicators
from blofin_cli.core.candles import Candles, Prices, Times, resample
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.zones import Columns, Path, path_of

T = TypeVar("T")

# Windows of the two volatility ranks: 90 days of 4h bars and of 1h bars.
RANK_BARS = {Timeframe.H4: 540, Timeframe.H1: 2160}
RANK_BARS_MIN = 100


@dataclass(frozen=True, eq=False)
class Market:
    """One symbol: its entry candles, what finer and mark candles there are, its contract terms.

    `frames` holds native higher timeframes; any other is resampled from the entry candles.
    """

    entry: Candles
    instrument: Instrument
    frames: dict[Timeframe, Candles] = field(default_factory=dict)
    fine: Candles | None = None
    mark: Candles | None = None
    funding: FundingHistory | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def keep(self, name: Any, make: Callable[[], T]) -> T:
        """The value of that name, made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[no-any-return]

    def until(self, now_ms: int) -> "Market":
        """The market as it was known at a time; funding and marks keep their own times."""
        return Market(
            self.entry.until(now_ms),
            self.instrument,
            fine=None if self.fine is None else self.fine.until(now_ms),
            mark=self.mark,
            funding=self.funding,
        )

    def frame(self, timeframe: Timeframe) -> Candles:
        """Closed candles of a timeframe."""
        if timeframe == self.entry.timeframe:
            return self.entry
        if timeframe in self.frames:
            return self.frames[timeframe]
        return self.keep(("frame", timeframe), lambda: resample(self._below(timeframe), timeframe))

    def _below(self, timeframe: Timeframe) -> Candles:
        """What a timeframe is folded from: the highest rung below it, so each bar folds once."""
        rungs = [
            rung
            for rung in (Timeframe.H1, Timeframe.H4)
            if self.entry.timeframe.ms < rung.ms < timeframe.ms
            and rung.ms % self.entry.timeframe.ms == 0
            and timeframe.ms % rung.ms == 0
        ]
        return self.frame(rungs[-1]) if rungs else self.entry

    def finer(self, timeframe: Timeframe) -> Candles | None:
        """Candles of a timeframe below the entry's, where finer ones are known; else None."""
        fine = self.fine
        if fine is None or len(fine) == 0 or timeframe.ms >= self.entry.timeframe.ms:
            return None
        if timeframe.ms % fine.timeframe.ms:
            return None
        return self.keep(("finer", timeframe), lambda: resample(fine, timeframe))

    def columns(self, timeframe: Timeframe) -> Columns:
        """A timeframe as the zone detector reads it."""
        return self.keep(
            ("columns", timeframe),
            lambda: _columns(self.frame(timeframe), self.yardstick(timeframe)),
        )

    def yardstick(self, timeframe: Timeframe) -> Prices:
        """ATR14 as it stood before each bar of a timeframe."""
        return self.keep(
            ("yardstick", timeframe), lambda: indicators.yardstick(self.frame(timeframe))
        )

    def path(self, side: int) -> Path:
        """The entry candles as zones of a side see them."""
        return self.keep(("path", side), lambda: path_of(self.entry, side))

    def ema(self, timeframe: Timeframe) -> Prices:
        """EMA50 of a timeframe."""
        return self.keep(("ema", timeframe), lambda: indicators.ema(self.frame(timeframe)))

    def adx(self, timeframe: Timeframe) -> Prices:
        """ADX14 of a timeframe."""
        return self.keep(("adx", timeframe), lambda: indicators.adx(self.frame(timeframe)))

    def rsi(self, timeframe: Timeframe) -> Prices:
        """RSI14 of a timeframe."""
        return self.keep(("rsi", timeframe), lambda: indicators.rsi(self.frame(timeframe)))

    def atr(self, timeframe: Timeframe) -> Prices:
        """ATR14 of a timeframe, the bar itself included."""
        return self.keep(("atr", timeframe), lambda: indicators.atr(self.frame(timeframe)))

    def volatility(self, timeframe: Timeframe) -> Prices:
        """ATR14 over close of a timeframe, a fraction."""
        return self.keep(
            ("volatility", timeframe), lambda: self.atr(timeframe) / self.frame(timeframe).close
        )

    def frame_row(self, timeframe: Timeframe, now_ms: Times) -> NDArray[np.int64]:
        """Row of the last bar of a timeframe closed at each time; -1 where none had."""
        return np.searchsorted(self.frame(timeframe).close_ts, now_ms, side="right") - 1

    def at(self, series: Prices, timeframe: Timeframe, now_ms: Times) -> Prices:
        """A timeframe's series as known at each time; NaN before its first close."""
        if len(series) == 0:
            return np.full(len(now_ms), np.nan)
        row = self.frame_row(timeframe, now_ms)
        return np.where(row >= 0, series[row], np.nan)

    def volatility_rank(self, timeframe: Timeframe, now_ms: Times) -> Prices:
        """Share of the previous 90 days' ATR/close below the present one; NaN until known.

        Source: the specification, section 5.
        """
        return self._remembered("rank", _rank, timeframe, now_ms)

    def volatility_ratio(self, timeframe: Timeframe, now_ms: Times) -> Prices:
        """90-day median of ATR/close over the present value; NaN until known."""
        return self._remembered("ratio", _median_ratio, timeframe, now_ms)

    def _remembered(
        self,
        name: str,
        measure: Callable[[Prices, float], float],
        timeframe: Timeframe,
        now_ms: Times,
    ) -> Prices:
        # A window of 2,160 bars is dear to walk for every bar and cheap for the few asked about.
        series = self.volatility(timeframe)
        memo = self.keep((name, timeframe), lambda: np.full(len(series) + 1, UNASKED))
        first = self.keep(
            ("known", timeframe), lambda: int(np.isfinite(series).argmax() if len(series) else 0)
        )
        rows = self.frame_row(timeframe, now_ms)
        for row in np.unique(rows[memo[rows] == UNASKED]).tolist():
            past = series[max(first, row - RANK_BARS[timeframe]) : max(0, row)]
            is_known = row >= 0 and len(past) >= RANK_BARS_MIN and series[row] > 0
            memo[row] = measure(past, series[row]) if is_known else np.nan
        return memo[rows]


UNASKED = -1.0


def _rank(past: Prices, now: float) -> float:
    # An invalid bar inside the window is NaN, below nothing, and counts as a bar seen.
    return np.count_nonzero(past < now) / len(past)


def _median_ratio(past: Prices, now: float) -> float:
    middle = len(past) // 2
    return float(np.partition(past, middle)[middle]) / now


def _columns(candles: Candles, yardstick: Prices) -> Columns:
    return Columns(
        candles.open,
        candles.high,
        candles.low,
        candles.close,
        candles.volume,
        indicators.volume_mean_before(candles),
        yardstick,
        candles.valid,
        candles.segment_starts,
    )
