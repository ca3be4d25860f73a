"""Where prices come from: candles walked as prints, and the clock that says how far.

Each candle is walked open, nearer extreme, farther extreme, close, one print a second by default;
the prints' sizes add up to its volume. Candles of the past may be moved in time by whole weeks, so
that a replay happens now and every bar, settlement and weekday stays where it was.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.adapters.exchanges.sim.records import Terms, Tick
from blofin_cli.core.candles import Candles

WEEK_MS = 7 * 86_400_000
DAY_MS = 86_400_000
TICK_MS = 1_000
WARM_UP = 0.8
"""Share of the candles that is history when nobody says where to begin."""

_DEPTH_SHARE = Decimal("0.1")  # of a minute's median volume, on one level of the book


@dataclass(frozen=True, slots=True)
class Span:
    """A market's candles, where the replay begins, and by how much all of it is moved in time."""

    start_ms: int
    shift_ms: int = 0


def span_now(candles: Sequence[Candles], wall_ms: int) -> Span:
    """Begin where the time of day and the weekday are today's, with most candles as history.

    Errors: ValueError when there are no candles.
    """
    if not candles or any(len(each) == 0 for each in candles):
        raise ValueError("a market needs candles")
    first = max(int(each.ts[0]) for each in candles)
    last = min(int(each.close_ts[-1]) for each in candles)
    earliest = first + int((last - first) * WARM_UP)
    shift = (wall_ms - earliest) // WEEK_MS * WEEK_MS
    start = wall_ms - shift
    if start >= last:  # shorter than a week: keep the time of day instead
        shift = (wall_ms - earliest) // DAY_MS * DAY_MS
        start = wall_ms - shift
    if start >= last:
        shift = (wall_ms - earliest) // 60_000 * 60_000
        start = wall_ms - shift
    return Span(start_ms=start, shift_ms=shift)


def span_from(start_ms: int, wall_ms: int) -> Span:
    """Begin at a moment of the candles, moved by whole weeks to the last seven days."""
    return Span(start_ms=start_ms, shift_ms=(wall_ms - start_ms) // WEEK_MS * WEEK_MS)


class CandleFeed:
    """Prints of one instrument out of its candles.

    Units: candle volume in base units; prints in contracts. Times are moved ones.
    """

    def __init__(self, terms: Terms, candles: Candles, span: Span, tick_ms: int = TICK_MS) -> None:
        self.terms = terms
        self.span = span
        self._tick_ms = tick_ms
        self._candles = candles
        self._step_ms = candles.timeframe.ms
        ends = candles.close_ts
        self._first = int(ends.searchsorted(span.start_ms, side="right"))
        self._depth = self._typical_depth()

    @property
    def timeframe_ms(self) -> int:
        """Length of the candles walked."""
        return self._step_ms

    def history(self) -> Candles:
        """The candles that were closed when the replay began, at their moved times."""
        past = self._candles[: self._first]
        columns = {name: getattr(past, name) for name in ("open", "high", "low", "close", "volume")}
        return Candles(past.symbol, past.timeframe, past.ts + self.span.shift_ms, **columns)

    def __iter__(self) -> Iterator[Tick]:
        """Every print, the begun candle's from its open on."""
        valid = self._candles.valid
        for row in range(self._first, len(self._candles)):
            if valid[row]:
                yield from self._walk(row)

    def _walk(self, row: int) -> Iterator[Tick]:
        candles, terms = self._candles, self.terms
        count = max(4, self._step_ms // self._tick_ms)
        base_ms = int(candles.ts[row]) + self.span.shift_ms
        low, high = float(candles.low[row]), float(candles.high[row])
        turns = _turns(float(candles.open[row]), high, low, float(candles.close[row]))
        lot = float(terms.lot_size * terms.contract_value)
        lots = int(float(candles.volume[row]) / lot + 0.5)
        grid = float(terms.tick_size)
        before = None
        for k in range(count):
            at, is_turn = _on_path(turns, k, count)
            size = lots * (k + 1) // count - lots * k // count
            if not size and not is_turn:
                continue
            price = terms.tick_size * max(1, round(at / grid))
            side = "buy" if before is None or price >= before else "sell"
            before = price
            ts_ms = base_ms + k * self._step_ms // count
            yield Tick(
                inst_id=terms.inst_id,
                ts_ms=ts_ms,
                price=price,
                size=terms.lot_size * max(1, size),
                side=side,
                depth=self._depth * _breath(ts_ms),
            )

    def _typical_depth(self) -> Decimal:
        """Contracts on a level of the book, from the median of the last day's volumes."""
        recent = sorted(
            float(v) for v in self._candles.volume[max(0, self._first - 1_440) :][:1_440]
        )
        median = recent[len(recent) // 2] if recent else 0.0
        a_minute = Decimal(round(median * 60_000 / self._step_ms, 8)) / self.terms.contract_value
        return max(self.terms.lot_size, a_minute * _DEPTH_SHARE)


def _breath(ts_ms: int) -> Decimal:
    """Three to five quarters of the depth: sizes in a book change while the price stands still."""
    noise = (ts_ms * 2_654_435_761 >> 7) & 0x3F
    return Decimal(96 + noise) / 128


def _turns(open_: float, high: float, low: float, close: float) -> tuple[float, ...]:
    """Open, the extreme nearer to it, the other one, close."""
    nearer_high = high - open_ < open_ - low
    return (open_, high, low, close) if nearer_high else (open_, low, high, close)


def _on_path(turns: tuple[float, ...], k: int, count: int) -> tuple[float, bool]:
    """Price at step k of a polyline with three equal legs, and whether it is a corner."""
    corners = (0, (count - 1) // 3, 2 * (count - 1) // 3, count - 1)
    for leg in range(3):
        left, right = corners[leg], corners[leg + 1]
        if k <= right:
            share = (k - left) / (right - left) if right > left else 1.0
            return turns[leg] + (turns[leg + 1] - turns[leg]) * share, k in corners
    return turns[3], True


class PrintStream:
    """Prints of several instruments in the order of time, taken up to a moment."""

    def __init__(self, feeds: Iterable[Iterable[Tick]] = ()) -> None:
        ordered = heapq.merge(*feeds, key=lambda tick: (tick.ts_ms, tick.inst_id))
        self._ticks = iter(ordered)
        self._next = next(self._ticks, None)

    @property
    def is_over(self) -> bool:
        """No print is left."""
        return self._next is None

    @property
    def next_ms(self) -> int | None:
        """When the next print happens."""
        return None if self._next is None else self._next.ts_ms

    def until(self, now_ms: int) -> Iterator[Tick]:
        """The prints up to a moment, each once."""
        while self._next is not None and self._next.ts_ms <= now_ms:
            tick = self._next
            self._next = next(self._ticks, None)
            yield tick


class MarketClock:
    """Market time out of wall time: `speed` times as fast; 0 stands still until it is moved.

    `wall_ms` is the only source of time; tests pass their own.
    """

    def __init__(self, start_ms: int, speed: float, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._speed = speed
        self._market_ms = start_ms
        self._wall_from = wall_ms()

    @property
    def speed(self) -> float:
        """Market seconds a second."""
        return self._speed

    def now_ms(self) -> int:
        """Market time."""
        passed = self._wall_ms() - self._wall_from
        return self._market_ms + int(passed * self._speed)

    def set_speed(self, speed: float) -> None:
        """Go on at another speed from here."""
        self._market_ms = self.now_ms()
        self._wall_from = self._wall_ms()
        self._speed = speed

    def move(self, by_ms: int) -> None:
        """Jump ahead."""
        self._market_ms += by_ms
