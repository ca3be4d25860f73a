"""Candles of every bar size BloFin serves, from history and from the prints since.

Minutes are gathered from prints; larger bars fold closed minutes as they are asked for. A span
without prints has no bar: none is invented.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from typing import NamedTuple

from blofin_cli.adapters.exchanges.sim.records import Tick
from blofin_cli.core.candles import Candles, resample
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_WEEK_OFFSET_MS = 4 * DAY_MS  # the epoch was a Thursday; weeks begin on Monday

BARS = {
    "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS, "1H": 60 * MINUTE_MS, "2H": 120 * MINUTE_MS, "4H": 240 * MINUTE_MS,
    "6H": 360 * MINUTE_MS, "8H": 480 * MINUTE_MS, "12H": 720 * MINUTE_MS, "1D": DAY_MS,
    "3D": 3 * DAY_MS, "1W": 7 * DAY_MS, "1M": 31 * DAY_MS,
}  # fmt: skip


class Bar(NamedTuple):
    """One candle. Units: `volume` base units, `quote` quote currency."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote: float


def bar_start(bar: str, ts_ms: int) -> int:
    """Open time of the bar that holds a moment, on BloFin's UTC grid."""
    step = BARS[bar]
    if bar == "1M":
        day = datetime.fromtimestamp(ts_ms / 1000, tz=UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp() * 1000)
    if bar == "1W":
        return (ts_ms - _WEEK_OFFSET_MS) // step * step + _WEEK_OFFSET_MS
    return ts_ms // step * step


def bar_end(bar: str, start_ms: int) -> int:
    """Close time of a bar that opens at `start_ms`."""
    if bar == "1M":
        return bar_start("1M", start_ms + BARS["1M"])
    return start_ms + BARS[bar]


class Series:
    """Bars of one size: closed ones, and the one still forming."""

    def __init__(self, bar: str, closed: list[Bar], forming: Bar | None) -> None:
        self.bar = bar
        self.closed = closed
        self.forming = forming
        self._times = [row.ts for row in closed]
        self.minutes_seen = 0

    def fold(self, minute: Bar) -> None:
        """Take one more closed minute."""
        self.forming = self._joined(minute)

    def close_until(self, now_ms: int) -> None:
        """Close the forming bar when its time is over."""
        if self.forming is not None and bar_end(self.bar, self.forming.ts) <= now_ms:
            self._close()

    def with_minute(self, minute: Bar | None) -> Bar | None:
        """The forming bar as it looks with the unfinished minute."""
        if minute is None:
            return self.forming
        start = bar_start(self.bar, minute.ts)
        if self.forming is None or self.forming.ts != start:
            return minute._replace(ts=start)
        return _merge(self.forming, minute)

    def window(self, after: int | None, before: int | None, limit: int) -> list[Bar]:
        """The newest closed bars between two exclusive bounds, ascending."""
        first = 0 if before is None else bisect_right(self._times, before)
        last = len(self.closed) if after is None else bisect_left(self._times, after)
        return self.closed[max(first, last - limit) : last]

    def _joined(self, minute: Bar) -> Bar:
        start = bar_start(self.bar, minute.ts)
        if self.forming is None:
            return minute._replace(ts=start)
        if self.forming.ts == start:
            return _merge(self.forming, minute)
        self._close()
        return minute._replace(ts=start)

    def _close(self) -> None:
        assert self.forming is not None
        self.closed.append(self.forming)
        self._times.append(self.forming.ts)
        self.forming = None


def _merge(one: Bar, two: Bar) -> Bar:
    return Bar(
        one.ts,
        one.open,
        max(one.high, two.high),
        min(one.low, two.low),
        two.close,
        one.volume + two.volume,
        one.quote + two.quote,
    )


class BarBook:
    """Every bar size of one instrument."""

    def __init__(self, contract_value: float, history: Candles | None = None) -> None:
        self._value = contract_value
        self._history = history
        self._minutes: list[Bar] = []
        self._minute: Bar | None = None
        self._series: dict[str, Series] = {}

    @property
    def last_close(self) -> float | None:
        """The last known price."""
        if self._minute is not None:
            return self._minute.close
        if self._minutes:
            return self._minutes[-1].close
        return float(self._history.close[-1]) if self._history else None

    def on_tick(self, tick: Tick) -> None:
        """Take one print."""
        start = tick.ts_ms // MINUTE_MS * MINUTE_MS
        price = float(tick.price)
        size = 0.0 if tick.size is None else float(tick.size) * self._value
        now = Bar(start, price, price, price, price, size, size * price)
        if self._minute is not None and self._minute.ts == start:
            self._minute = _merge(self._minute, now)
            return
        self._close_minute()
        self._minute = now

    def advance(self, now_ms: int) -> None:
        """Close the minute whose time is over."""
        if self._minute is not None and self._minute.ts + MINUTE_MS <= now_ms:
            self._close_minute()

    def series(self, bar: str, now_ms: int) -> tuple[Series, Bar | None]:
        """Bars of one size up to now, and the forming one.

        Errors: KeyError for a size BloFin does not know.
        """
        self.advance(now_ms)
        series = self._series.get(bar)
        if series is None:
            series = self._series[bar] = self._from_history(bar)
        for minute in self._minutes[series.minutes_seen :]:
            series.fold(minute)
        series.minutes_seen = len(self._minutes)
        series.close_until(now_ms)
        return series, series.with_minute(self._minute)

    def day(self, now_ms: int) -> list[Bar]:
        """The last 24 hours in quarters of an hour, ascending."""
        series, forming = self.series("15m", now_ms)
        rows = series.window(None, now_ms - DAY_MS - 1, 96)
        return rows if forming is None else [*rows, forming]

    def _close_minute(self) -> None:
        if self._minute is not None:
            self._minutes.append(self._minute)
            self._minute = None

    def _from_history(self, bar: str) -> Series:
        """Bars folded from the candles before the first print; coarser candles give no finer."""
        history = self._history
        step = BARS[bar]
        if history is None or len(history) == 0 or step < history.timeframe.ms:
            return Series(bar, [], None)
        if step <= DAY_MS:
            return self._fixed(bar, history)
        try:
            days = resample(history, Timeframe.D1)
        except DataError:
            return Series(bar, [], None)
        today = int(days.close_ts[-1]) if len(days) else None
        return _folded(bar, _rows(days) + _rows(history.between(today, None)))

    def _fixed(self, bar: str, history: Candles) -> Series:
        try:
            closed = _rows(resample(history, Timeframe(bar.lower())))
        except DataError:
            return Series(bar, [], None)
        # What is left over at the end began a bar that is still open.
        open_from = bar_start(bar, int(history.close_ts[-1]))
        tail = _rows(history.between(open_from, None))
        forming: Bar | None = None
        for row in tail:
            forming = row._replace(ts=open_from) if forming is None else _merge(forming, row)
        return Series(bar, [row for row in closed if row.ts < open_from], forming)


def _folded(bar: str, parts: list[Bar]) -> Series:
    series = Series(bar, [], None)
    for part in parts:
        series.fold(part)
    return series


def _rows(candles: Candles) -> list[Bar]:
    """Candles as bars; an invalid one is left out."""
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    lists = [column[candles.valid].tolist() for column in columns]
    times = candles.ts[candles.valid].tolist()
    return [
        Bar(ts, open_, high, low, close, volume, volume * (high + low + close) / 3)
        for ts, open_, high, low, close, volume in zip(times, *lists, strict=True)
    ]
