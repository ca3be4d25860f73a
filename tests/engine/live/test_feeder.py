"""Closed candles: each once, in order, without holes; late ones teach but do not trade."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from blofin_cli.core.feed import CandleEvent
from blofin_cli.core.market import Timeframe
from blofin_cli.core.quotes import Bar
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.feeder import Feeder
from blofin_cli.engine.live.state import LiveState
from blofin_cli.errors import NetworkError
from tests.adapters.store.samples import session
from tests.dealing import BTC, ETH

STEP_MS = Timeframe.M1.ms
START_MS = 1_767_225_600_000


def bar(number: int, *, is_closed: bool = True, close: float = 100.0) -> Bar:
    """The candle that opens so many minutes after the start."""
    return Bar(START_MS + number * STEP_MS, 100.0, 101.0, 99.0, close, 5.0, is_closed)


@dataclass
class Learner:
    """A strategist that only remembers what it was taught; bar -1 is what it begins with."""

    timeframe: Timeframe = Timeframe.M1
    taken: dict[str, list[int]] = field(default_factory=lambda: {BTC: [-1], ETH: [-1]})

    def next_open_ms(self, symbol: str) -> int:
        return START_MS + (self.taken[symbol][-1] + 1) * STEP_MS

    def take(self, symbol: str, bars: Sequence[Bar]) -> None:
        for each in bars:
            number = (each.ts_ms - START_MS) // STEP_MS
            assert each.is_closed
            assert number > self.taken[symbol][-1]
            self.taken[symbol].append(number)


@dataclass
class Archive:
    """The exchange's candles over REST."""

    bars: list[Bar] = field(default_factory=list)
    page_max: int = 500
    fails: int = 0
    asked: list[int] = field(default_factory=list)

    async def candles(
        self, symbol: str, timeframe: Timeframe, *, since_ms: int, limit: int
    ) -> tuple[Bar, ...]:
        if symbol == BTC:
            self.asked.append((since_ms - START_MS) // STEP_MS)
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise NetworkError("no answer")
        found = [row for row in self.bars if row.ts_ms >= since_ms]
        return tuple(found[: min(limit, self.page_max)])


@dataclass
class Feed:
    """A feeder with everything around it; `minute` is what the clock says."""

    archive: Archive = field(default_factory=Archive)
    learner: Learner = field(default_factory=Learner)
    minute: float = 0.0
    traded: list[tuple[int, bool]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    wait: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        quiet: Any = self
        exchange: Any = self.archive
        self.state = LiveState(
            exchange=exchange, journal=quiet, clock=quiet, wall=quiet,
            session=session(symbols=(BTC, ETH), timeframe="1m"), breakers=quiet,
            notify=lambda _: None,
        )  # fmt: skip
        self.crew = Crew(lambda name, problem: self.failures.append(f"{name}: {problem!r}"))
        strategist: Any = self.learner
        self.feeder = Feeder(self.state, strategist, self._on_bar, self._on_bars)

    def now_ms(self) -> int:
        return START_MS + int(self.minute * STEP_MS)

    def tell(self, *_: Any) -> None:
        """What is told of is kept elsewhere."""

    async def _on_bar(self, symbol: str, bar: Bar, *, is_fresh: bool) -> None:
        if self.wait is not None:
            await self.wait()
        if symbol == BTC:
            self.traded.append(((bar.ts_ms - START_MS) // STEP_MS, is_fresh))

    def _on_bars(self, symbol: str, bars: tuple[Bar, ...]) -> None:
        self.kept += [(each.ts_ms - START_MS) // STEP_MS for each in bars]

    async def hear(self, *bars: Bar, symbol: str = BTC) -> None:
        """The stream brings these, one after the other."""
        for each in bars:
            self.feeder.take(CandleEvent(symbol, Timeframe.M1, each), self.crew)
        await self.settled()

    async def tick(self) -> None:
        self.feeder.tick(self.crew)
        await self.settled()

    async def settled(self) -> None:
        assert await self.crew.settled(2.0)
        assert self.failures == []

    @property
    def seen(self) -> list[int]:
        """Bars of BTC the strategist was taught, without the one it began with."""
        return self.learner.taken[BTC][1:]


def at(minute: float, *, archive: Archive | None = None) -> Feed:
    """A feed at a moment; bar n closes at minute n + 1."""
    return Feed(archive=archive or Archive(), minute=minute)


async def test_closed_bar_in_time_teaches_and_trades():
    """The step is called once, at once, and the bar is kept for parity."""
    feed = at(1.01)
    await feed.hear(bar(0))
    assert feed.traded == [(0, True)]
    assert (feed.kept, feed.feeder.taken, feed.feeder.last_bar_ms) == ([0], 1, START_MS)
    assert feed.archive.asked == []


async def test_forming_bar_is_no_bar():
    """F37: sixty updates without an end feed nothing; the closed one feeds once."""
    feed = at(1.01)
    await feed.hear(*[bar(0, is_closed=False, close=100 + n / 100) for n in range(60)])
    assert feed.seen == []
    await feed.hear(bar(0))
    assert feed.seen == [0]


async def test_end_that_never_comes_is_read_from_the_exchange():
    """F37: the final update is lost; five seconds later the bar is asked for."""
    feed = at(1.01, archive=Archive([bar(0), bar(1, is_closed=False)]))
    await feed.tick()
    assert feed.archive.asked == []
    feed.minute = 1.09
    await feed.tick()
    assert feed.traded == [(0, True)]


async def test_doubles_and_old_bars_are_counted_and_ignored():
    """F38: at most one step for a bar, never back in time."""
    feed = at(2.01)
    await feed.hear(bar(0), bar(1), bar(1), bar(0), bar(1, close=55.0))
    assert feed.seen == [0, 1]
    assert feed.feeder.counts["late"] + feed.feeder.counts["double"] == 3


async def test_swapped_bars_are_put_in_order():
    """F38: the later one waits for the earlier one, which is on its way."""
    feed = at(2.01)
    await feed.hear(bar(1))
    assert feed.seen == []
    assert feed.archive.asked == [0]
    await feed.hear(bar(0))
    assert feed.seen == [0, 1]
    assert feed.traded[-1] == (1, True)


@pytest.mark.parametrize("missing", [1, 3, 300])
async def test_gap_is_filled_before_the_next_step(missing):
    """F39: bars the stream skipped are read first; only the newest is fresh enough to trade."""
    feed = at(missing + 1.01, archive=Archive([bar(n) for n in range(missing + 1)]))
    await feed.hear(bar(missing))
    assert feed.seen == list(range(missing + 1))
    assert [number for number, is_fresh in feed.traded if is_fresh] == [missing]


async def test_short_pages_are_read_one_after_another():
    """F39: a page that brings little is no end."""
    archive = Archive([bar(n) for n in range(8)], page_max=3)
    feed = at(8.01, archive=archive)
    await feed.hear(bar(7))
    assert feed.seen == list(range(8))
    assert archive.asked == [0, 3, 6]


async def test_gap_that_cannot_be_read_waits():
    """F39: without an answer the symbol waits; it is asked again, not at once but soon."""
    archive = Archive([bar(0), bar(1)], fails=1)
    feed = at(2.2, archive=archive)
    await feed.hear(bar(1))
    assert feed.seen == []
    await feed.tick()
    assert len(archive.asked) == 1  # five seconds have not passed
    feed.feeder.suspect()
    await feed.tick()
    assert feed.seen == [0, 1]
    assert feed.traded == [(0, False), (1, False)]  # by now both are too old to trade on


async def test_unfinished_bar_of_a_page_is_not_used():
    """F39: REST answers with a forming candle, or one that claims to be closed too early."""
    early = bar(3)
    feed = at(3.2, archive=Archive([bar(0), bar(1), bar(2, is_closed=False), early]))
    await feed.hear(bar(1))
    assert feed.seen == [0, 1]


async def test_hole_at_the_exchange_is_left_behind_after_ten_bars():
    """F39: bars that do not exist anywhere are not invented; after ten bars it goes on."""
    archive = Archive([bar(n) for n in range(5, 8)])
    feed = at(8.2, archive=archive)
    await feed.hear(bar(7))
    assert feed.seen == []  # perhaps they are only late
    archive.bars = [bar(n) for n in range(5, 16)]
    feed.minute = 16.01
    await feed.hear(bar(15))
    assert feed.seen == list(range(5, 16))
    assert feed.traded[-1] == (15, True)


async def test_bars_of_a_sleep_teach_and_do_not_trade():
    """F58: an hour was slept through: every bar is taken, none but the newest may be traded."""
    feed = at(61.05, archive=Archive([bar(n) for n in range(61)]))
    feed.feeder.suspect()
    await feed.tick()
    assert feed.seen == list(range(61))
    assert [number for number, is_fresh in feed.traded if is_fresh] == [60]


async def test_late_bar_teaches_only():
    """A bar that comes eleven seconds after its end opens nothing."""
    feed = at(1 + 11 / 60)
    await feed.hear(bar(0))
    assert feed.traded == [(0, False)]


async def test_bars_wait_while_one_is_being_judged():
    """One bar at a time for a symbol: what comes meanwhile follows in order."""
    feed = at(3.05)
    go = asyncio.Event()
    feed.wait = go.wait
    for number in range(3):
        feed.feeder.take(CandleEvent(BTC, Timeframe.M1, bar(number)), feed.crew)
    await asyncio.sleep(0.01)
    assert feed.seen == [0]
    go.set()
    await feed.settled()
    assert [number for number, _ in feed.traded] == [0, 1, 2]


async def test_trouble_with_one_symbol_leaves_the_other_alone():
    """I24: ETH is fed while a gap of BTC cannot be read."""
    feed = at(2.01, archive=Archive(fails=99))
    await feed.hear(bar(1))
    await feed.hear(bar(0), bar(1), symbol=ETH)
    assert feed.seen == []
    assert feed.learner.taken[ETH] == [-1, 0, 1]


async def test_foreign_candles_are_passed_over():
    """Another timeframe or a symbol nobody asked for teaches nothing."""
    feed = at(1.01)
    feed.feeder.take(CandleEvent(BTC, Timeframe.M15, bar(0)), feed.crew)
    feed.feeder.take(CandleEvent("SOL-USDT", Timeframe.M1, bar(0)), feed.crew)
    await feed.settled()
    assert feed.seen == []


async def test_bars_far_ahead_are_bounded():
    """I28: while a gap cannot be read, no more than 500 bars wait."""
    feed = at(900.0, archive=Archive(fails=10_000))
    await feed.hear(*[bar(number) for number in range(1, 900)])
    assert len(feed.feeder._waiting[BTC]) == 500
