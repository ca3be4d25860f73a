"""Candles walked as prints, bars folded back from them, and the clock between."""

import itertools
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.adapters.exchanges.sim.bars import BARS, BarBook, bar_end, bar_start
from blofin_cli.adapters.exchanges.sim.books import book_of
from blofin_cli.adapters.exchanges.sim.box import box_of_feeds
from blofin_cli.adapters.exchanges.sim.market import (
    WEEK_MS,
    CandleFeed,
    MarketClock,
    PrintStream,
    Span,
    span_from,
    span_now,
)
from blofin_cli.core.candles import Candles, resample
from blofin_cli.core.market import Timeframe
from tests.adapters.exchanges.sim.driver import START_MS, D, terms, tick

BTC = "BTC-USDT"


def candles(rows, timeframe=Timeframe.M1, start_ms=START_MS):
    """Candles out of (open, high, low, close, volume)."""
    columns = np.array(rows, dtype=float).T
    ts = start_ms + np.arange(len(rows), dtype=np.int64) * timeframe.ms
    return Candles("COIN-USDT", timeframe, ts, *columns)


def synthetic(bars=96 * 3):
    """A few days of the invented market in minutes."""
    return SyntheticMarket(7, [BTC], bars=bars).candles(BTC, Timeframe.M1)


PRICES = st.integers(900, 1100)
ROWS = st.lists(
    st.tuples(PRICES, PRICES, PRICES, PRICES, st.integers(0, 500)), min_size=1, max_size=5
).map(lambda rows: [(a, max(a, b, c, d), min(a, b, c, d), d, v) for a, b, c, d, v in rows])


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_prints_of_a_candle_fold_back_into_it(rows):
    """Open, both extremes, close; all of the volume, whole lots, in the order of time."""
    given_candles = candles(rows)
    book = BarBook(1.0)
    prints = list(CandleFeed(terms(), given_candles, Span(START_MS)))
    for item in prints:
        book.on_tick(item)
    series, forming = book.series("1m", START_MS + len(rows) * 60_000)
    assert forming is None
    assert [(b.open, b.high, b.low, b.close) for b in series.closed] == [row[:4] for row in rows]
    for bar, row in zip(series.closed, rows, strict=True):
        # A corner prints at least one lot, also in a candle without volume.
        assert row[4] <= bar.volume <= max(row[4] + 4, 4)
    assert [p.ts_ms for p in prints] == sorted(p.ts_ms for p in prints)


def test_nearer_extreme_comes_first():
    """Open 100, low 99, high 110: down, up, then the close."""
    prints = list(CandleFeed(terms(), candles([(100, 110, 99, 105, 600)]), Span(START_MS)))
    order = [int(item.price) for item in prints]
    assert order.index(99) < order.index(110)
    assert (order[0], order[-1]) == (100, 105)


def test_a_book_changes_while_the_price_stands_still():
    """A minute at one price: who watches the book is told at each print, as at the exchange."""
    flat = candles([(100, 100, 100, 100, 6_000)])
    prints = list(CandleFeed(terms(), flat, Span(START_MS)))
    books = [book_of(terms(), item, D("0.0001")).levels("bids", 5) for item in prints]
    assert len(prints) == 60
    assert all(one != two for one, two in itertools.pairwise(books))
    assert {levels[0][0] for levels in books} == {D(99)}


@pytest.mark.parametrize("bar", ["5m", "15m", "1H", "4H", "1D"])
def test_bars_of_prints_equal_bars_of_candles(bar):
    """History and live prints give one seamless series, the same as folding the candles."""
    minutes = synthetic()
    start = int(minutes.ts[2_000]) + 17 * 60_000
    feed = CandleFeed(
        terms(inst_id=BTC, contract_value=D("0.001"), tick_size=D("0.1")), minutes, Span(start)
    )
    box = box_of_feeds([feed])
    now_ms = int(minutes.close_ts[4_000])
    box.advance(now_ms)
    series, _ = box.bars[BTC].series(bar, now_ms)
    wanted = resample(minutes.until(now_ms), Timeframe(bar.lower()))
    assert [row.ts for row in series.closed] == wanted.ts.tolist()
    for name in ("open", "high", "low", "close"):
        found = [getattr(row, name) for row in series.closed]
        assert found == pytest.approx(getattr(wanted, name).tolist())


def test_candles_of_prints_do_not_depend_on_when_they_are_asked():
    """A series first asked for late equals one asked for all along."""
    minutes = synthetic()
    one, two = (
        box_of_feeds(
            [
                CandleFeed(
                    terms(inst_id=BTC, tick_size=D("0.1")), minutes, Span(int(minutes.ts[1_000]))
                )
            ]
        )
        for _ in range(2)
    )
    for now_ms in range(int(minutes.ts[1_000]), int(minutes.ts[1_300]), 97_000):
        one.advance(now_ms)
        one.bars[BTC].series("15m", now_ms)
        two.advance(now_ms)
    assert one.bars[BTC].series("15m", now_ms)[0].closed == (
        two.bars[BTC].series("15m", now_ms)[0].closed
    )


@pytest.mark.parametrize("bar", BARS)
def test_bar_grid_is_utc(bar):
    """Every bar begins where the one before ends; weeks on Monday, months on the first."""
    start = bar_start(bar, START_MS)
    for _ in range(20):
        end = bar_end(bar, start)
        assert bar_start(bar, end) == end
        assert bar_start(bar, end - 1) == start
        start = end
    day = np.datetime64(start, "ms").astype("datetime64[D]").astype(int)
    assert bar != "1W" or (day + 3) % 7 == 0


def test_span_keeps_weekday_and_time_of_day():
    """The replay happens now, moved by whole weeks, with history before it."""
    minutes = synthetic(96 * 60)
    wall_ms = 1_900_000_123_456
    span = span_now([minutes], wall_ms)
    assert span.start_ms + span.shift_ms == wall_ms
    assert span.shift_ms % WEEK_MS == 0
    assert minutes.ts[0] < span.start_ms < minutes.close_ts[-1]
    exact = span_from(int(minutes.ts[500]), wall_ms)
    assert exact.start_ms == minutes.ts[500]
    assert 0 <= wall_ms - exact.start_ms - exact.shift_ms < WEEK_MS


@pytest.mark.parametrize("bars", [4, 96, 300])
def test_span_of_a_short_market_still_begins_inside(bars):
    """Days or minutes where weeks do not fit."""
    minutes = synthetic(bars)
    span = span_now([minutes], 1_900_000_123_456)
    assert minutes.ts[0] < span.start_ms < minutes.close_ts[-1]
    assert span.start_ms + span.shift_ms == 1_900_000_123_456


def test_streams_are_merged_in_the_order_of_time():
    """Several instruments, one clock."""
    one = [tick(1, 1), tick(2, 5)]
    two = [tick(3, 2), tick(4, 4)]
    stream = PrintStream([one, two])
    assert [int(item.price) for item in stream.until(4)] == [1, 3, 4]
    assert (stream.next_ms, stream.is_over) == (5, False)
    assert [int(item.price) for item in stream.until(9)] == [2]
    assert stream.is_over


def test_clock_runs_at_its_speed():
    """1x, 100x, still, and moved by hand."""
    wall = itertools.count(0, 10)
    now = [0]
    clock = MarketClock(1_000, 100, lambda: now[0])
    now[0] = next(wall) + 10
    assert clock.now_ms() == 2_000
    clock.set_speed(0)
    now[0] += 1_000
    assert clock.now_ms() == 2_000
    clock.move(5_000)
    clock.set_speed(1)
    now[0] += 3
    assert clock.now_ms() == 7_003


def test_market_without_candles_is_refused():
    """Nothing to replay."""
    with pytest.raises(ValueError, match="needs candles"):
        span_now([candles([(1, 1, 1, 1, 1)])[:0]], START_MS)


def test_coarse_candles_serve_their_own_size_and_larger():
    """Finer bars exist only from the first print on."""
    rows = [(1000 + i, 1010 + i, 990 + i, 1005 + i, 900) for i in range(200)]
    coarse = candles(rows, Timeframe.M15)
    start = int(coarse.ts[150])
    box = box_of_feeds([CandleFeed(terms(), coarse, Span(start))])
    box.advance(start + 3_600_000)
    fine, _ = box.bars["COIN-USDT"].series("1m", box.now_ms)
    assert fine.closed[0].ts >= start
    own, _ = box.bars["COIN-USDT"].series("15m", box.now_ms)
    assert [row.open for row in own.closed] == [row[0] for row in rows[: len(own.closed)]]
    assert box.ticker("COIN-USDT")["open24h"] == "1058"


def test_prints_lie_on_the_tick_grid():
    """Whatever the candle's floats say."""
    feed = CandleFeed(
        terms(tick_size=Decimal("0.5")), candles([(100.3, 101.2, 99.1, 100.9, 50)]), Span(START_MS)
    )
    assert all(item.price % Decimal("0.5") == 0 for item in feed)
