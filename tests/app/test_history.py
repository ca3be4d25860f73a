"""Completing the candle store from an exchange."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from blofin_cli.adapters.candles.store import CandleStore
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.app import history
from blofin_cli.app.context import Context
from blofin_cli.app.history import complete_history, history_start_ms, open_store
from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from blofin_cli.core.quotes import Bar, Environment, Venue
from blofin_cli.errors import NetworkError, RateLimitError, UsageError

BTC = "BTC-USDT"
STEP = Timeframe.M15.ms


class Exchange:
    """Serves candles up to a time, the last one still forming, at most `page` of them at once."""

    def __init__(self, candles: Candles, *, page: int = 1_000, simulated: bool = False):
        self.candles_served, self.page = candles, page
        self.now_ms = int(candles.ts[-1]) + STEP // 2
        self.venue = Venue(
            name="made",
            environment=Environment.SIMULATED if simulated else Environment.LIVE,
            capabilities=frozenset(),
            timeframes=(Timeframe.M15,),
        )
        self.requests = 0
        self.breaks_at: int | None = None
        self.full_at: set[int] = set()
        self.venue_code = ""

    async def server_time_ms(self) -> int:
        return self.now_ms

    async def candles(self, symbol, timeframe, *, since_ms=None, until_ms=None, limit=500):
        self.requests += 1
        if self.requests == self.breaks_at:
            raise NetworkError("gone")
        if self.requests in self.full_at:
            raise RateLimitError("no room", until_ms=0, venue_code=self.venue_code)
        found = self.candles_served.between(since_ms, until_ms)[-min(limit, self.page) :]
        columns = (found.ts, found.open, found.high, found.low, found.close, found.volume)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return tuple(Bar(*row, is_closed=row[0] + timeframe.ms <= self.now_ms) for row in rows)


@pytest.fixture(scope="module")
def market() -> Candles:
    return SyntheticMarket(5, bars=3_000).candles(BTC, Timeframe.M15)


async def filled(exchange: Exchange, store: CandleStore, bars: int, **words) -> Candles:
    end = exchange.now_ms
    return await complete_history(
        exchange, store, BTC, Timeframe.M15, since_ms=end - bars * STEP, until_ms=end, **words
    )  # fmt: skip


async def test_history_is_closed_candles_and_fetched_once(tmp_path: Path, market: Candles):
    """What is returned is what the exchange had closed; the second call asks for nothing."""
    exchange, store = Exchange(market, page=300), CandleStore(tmp_path)
    found = await filled(exchange, store, 2_000)
    asked = exchange.requests
    again = await filled(exchange, store, 2_000)

    assert np.array_equal(found.ts, market.ts[-2_000:-1])
    assert np.array_equal(found.close, market.close[-2_000:-1])
    assert exchange.requests == asked
    assert np.array_equal(again.ts, found.ts)


async def test_history_goes_on_after_a_failure(tmp_path: Path, market: Candles):
    """Pages that had come are kept, and what is asked for next is only the rest."""
    exchange, store = Exchange(market), CandleStore(tmp_path)
    exchange.breaks_at = 2
    with pytest.raises(NetworkError):
        await filled(exchange, store, 2_900)
    assert len(store.held(BTC, Timeframe.M15)) == 1_000
    told: list[tuple[int, int, str]] = []
    await filled(exchange, store, 2_900, progress=lambda *line: told.append(line))
    assert told[-1] == (1_899, 1_899, "BTC-USDT 15m candles")


async def test_download_waits_for_room_in_our_own_budget(tmp_path, market, monkeypatch):
    """Our own limit only delays a page; a suspension by the exchange ends the download."""
    monkeypatch.setattr(history, "TURN_PAUSE_S", 0.001)
    exchange, store = Exchange(market), CandleStore(tmp_path)
    exchange.full_at = {1, 2, 4}
    assert len(await filled(exchange, store, 2_900)) == 2_899
    exchange.full_at, exchange.venue_code, exchange.requests = {1}, "429", 0
    with pytest.raises(RateLimitError):
        await filled(exchange, CandleStore(tmp_path / "other"), 2_900)
    assert exchange.requests == 1


async def test_long_download_leaves_room_for_others(tmp_path, market, monkeypatch):
    """After the first pages there is a pause before each: the budget is shared."""
    monkeypatch.setattr(history, "FREE_PAGES", 1)
    monkeypatch.setattr(history, "PAGE_PAUSE_S", 0.05)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await filled(Exchange(market), CandleStore(tmp_path), 2_900)
    assert loop.time() - begun >= 0.1


async def test_gaps_of_the_exchange_stay_gaps(tmp_path: Path, market: Candles):
    """A bar the exchange does not have is not invented."""
    kept = np.r_[0:2_500, 2_510:3_000]
    columns = [getattr(market, name)[kept] for name in ("open", "high", "low", "close", "volume")]
    holed = Candles(BTC, Timeframe.M15, market.ts[kept], *columns)
    found = await filled(Exchange(holed), CandleStore(tmp_path), 2_000)
    assert (found.gaps, found.missing_bars) == (1, 10)


async def test_timeframe_the_exchange_lacks_is_refused(tmp_path: Path, market: Candles):
    """The answer names those there are."""
    with pytest.raises(UsageError) as caught:
        await complete_history(
            Exchange(market), CandleStore(tmp_path), BTC, Timeframe.M5, since_ms=0, until_ms=1
        )
    assert "15m" in caught.value.hint


async def test_another_box_replaces_the_candles_of_the_last(tmp_path: Path, market: Candles):
    """A replay is moved in time: two boxes' candles must not stand side by side."""
    store = CandleStore(tmp_path)
    await filled(Exchange(market[:2_000], simulated=True), store, 500)
    other = SyntheticMarket(6, bars=3_000).candles(BTC, Timeframe.M15)
    found = await filled(Exchange(other, simulated=True), store, 2_900)
    assert np.array_equal(found.close, other.close[-2_900:-1])


def test_each_exchange_has_a_folder_of_its_own(empty_folder):
    """The box never writes into BloFin's candles."""
    context = Context(face="test")
    names = {open_store(context, name)._folder.name for name in ("blofin", "sim", "ccxt:okx")}
    assert names == {"candles", "candles-sim", "candles-ccxt-okx"}


@pytest.mark.parametrize(
    ("timeframe", "since_days", "days"),
    [(Timeframe.M15, None, 750), (Timeframe.M15, 1000, 1000), (Timeframe.M15, 90, 750),
     (Timeframe.M1, None, 70), (Timeframe.M1, 100, 100)],
)  # fmt: skip
def test_a_reading_of_the_present_begins_far_enough_back(timeframe, since_days, days):
    """750 days, or 100,000 bars where that is less, or as far as was asked for."""
    now_ms = 1_704_067_200_000
    since_ms = None if since_days is None else now_ms - since_days * 86_400_000
    assert history_start_ms(timeframe, now_ms, since_ms) == now_ms - days * 86_400_000
