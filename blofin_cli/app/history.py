"""Candles from the store, completed from an exchange: a page at a time, and only what is missing.

What the box serves is kept apart from BloFin's candles, and dropped when another box serves others:
a replay is moved in time, so the same minute has another price in the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.selection import SourceRequest, source_of, store_folder
from blofin_cli.app.venues import VenueRequest, exchange_of, open_market
from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.errors import RateLimitError, UsageError

if TYPE_CHECKING:  # arrays
    from blofin_cli.adapters.candles.store import CandleStore, Completion
    from blofin_cli.core.candles import Candles
    from blofin_cli.core.quotes import Bar
    from blofin_cli.ports import CandleSource, MarketData

Progress = Callable[[int, int, str], None]

PROBE_BARS = 10
HISTORY_DAYS = 750
"""So far back a reading of the present looks: EMA50 of 1d is warm after 741 days."""
HISTORY_BARS_MAX = 100_000
DAY_MS = 86_400_000
FREE_PAGES, PAGE_PAUSE_S = 40, 0.2
"""Pages at full speed, and the pause after each further one: a long download leaves room in the
shared budget of 340 requests a minute for a session that runs beside it."""
TURNS_MAX, TURN_PAUSE_S = 24, 5.0


class LiveRequest(VenueRequest):
    """At which exchange, or without one."""

    offline: Annotated[
        bool, Field(description="Ask no exchange: use what the store already holds")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A source that holds what was asked for, and what else the exchange said.

    `terms` is empty and `start_ms` None where no exchange was asked.
    """

    source: "CandleSource"
    symbols: tuple[str, ...]
    name: str
    simulated: bool
    terms: dict[str, Instrument]
    start_ms: int | None = None


def open_store(context: Context, exchange: str = "blofin") -> "CandleStore":
    """The candle store of an exchange."""
    from blofin_cli.adapters.candles.store import CandleStore

    return CandleStore(store_folder(context, exchange), exchange=exchange)


async def prepare(
    sources: SourceRequest,
    place: LiveRequest,
    symbols: Sequence[str],
    timeframe: Timeframe,
    context: Context,
) -> Prepared:
    """The source of a reading of the present: files, an invented market, or the store, completed.

    Errors: as `fill_store`; UsageError for selectors that contradict each other or a symbol the
    exchange does not list.
    """
    exchange = exchange_of(place, context)
    symbols = tuple(dict.fromkeys(symbols))
    source = source_of(sources, symbols, context, exchange=exchange)
    is_elsewhere = sources.data is not None or sources.synthetic is not None
    if is_elsewhere or place.offline:
        is_invented = sources.synthetic is not None
        is_simulated = is_invented or (exchange == "sim" and not is_elsewhere)
        return Prepared(
            source=source, symbols=symbols, name=source.name, simulated=is_simulated, terms={}
        )
    store, terms = open_store(context, exchange), {}
    async with open_market(place, context) as data:
        now_ms = await data.server_time_ms()
        since_ms, until_ms = live_span(sources, now_ms)
        start_ms = history_start_ms(timeframe, until_ms, since_ms)
        for symbol in symbols:
            listing = await data.instrument(symbol)
            terms[symbol] = listing.instrument
            await fill_store(
                data,
                store,
                symbol,
                timeframe,
                since_ms=max(start_ms, listing.listed_ms or 0),
                until_ms=until_ms,
                progress=context.progress,
            )
        is_simulated = data.venue.is_simulated
    return Prepared(
        source=store,
        symbols=symbols,
        name=exchange,
        simulated=is_simulated,
        terms=terms,
        start_ms=start_ms,
    )


def live_span(request: SourceRequest, now_ms: int) -> tuple[int | None, int]:
    """First and end time of a request at an exchange: a span such as 90d counts back from now.

    Errors: UsageError when they are the wrong way round.
    """
    until_ms = now_ms if request.until is None else min(now_ms, request.until.resolve(now_ms))
    since_ms = None if request.since is None else request.since.resolve(until_ms)
    if since_ms is not None and since_ms >= until_ms:
        raise UsageError("--since is not before --until")
    return since_ms, until_ms


async def complete_history(
    data: "MarketData",
    store: "CandleStore",
    symbol: str,
    timeframe: Timeframe,
    *,
    since_ms: int,
    until_ms: int,
    progress: Progress | None = None,
) -> "Candles":
    """Closed candles that open in [since, until), what was missing fetched and kept; gaps stay.

    What came before a failure is kept, so the next call goes on from there.
    Errors: UsageError when the exchange has no such timeframe; NetworkError, RateLimitError,
    VenueError and BadAnswerError of the exchange; DataError when the store is broken.
    """
    await fill_store(
        data, store, symbol, timeframe, since_ms=since_ms, until_ms=until_ms, progress=progress
    )
    held = await asyncio.to_thread(store.held, symbol, timeframe)
    return held.between(since_ms, until_ms)


async def fill_store(
    data: "MarketData",
    store: "CandleStore",
    symbol: str,
    timeframe: Timeframe,
    *,
    since_ms: int,
    until_ms: int,
    progress: Progress | None = None,
    retry_absent: bool = False,
) -> "Completion":
    """Fetch what the store lacks of [since, until); `complete_history` without reading it back.

    A bar counts as closed when the exchange's clock says so, whatever `until_ms` is.
    """
    if timeframe not in data.venue.timeframes:
        served = ", ".join(data.venue.timeframes)
        raise UsageError(f"{data.venue.name} has no {timeframe} candles", hint=f"it has {served}")
    if data.venue.is_simulated:
        await _drop_other_market(data, store, symbol, timeframe)

    pages = 0

    async def fetch(first_ms: int | None, end_ms: int) -> "Candles":
        nonlocal pages
        pages += 1
        if pages > FREE_PAGES:
            await asyncio.sleep(PAGE_PAUSE_S)
        limit = PROBE_BARS if first_ms is None else max(1, (end_ms - first_ms) // timeframe.ms)
        ask = partial(
            data.candles, symbol, timeframe, since_ms=first_ms, until_ms=end_ms, limit=limit
        )
        return to_candles(symbol, timeframe, await _in_turn(ask))

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, f"{symbol} {timeframe} candles")

    return await store.complete(
        symbol,
        timeframe,
        since_ms,
        min(until_ms, await data.server_time_ms()),
        fetch,
        progress=told,
        retry_absent=retry_absent,
    )


async def _in_turn(ask: "Callable[[], Awaitable[tuple[Bar, ...]]]") -> "tuple[Bar, ...]":
    """Ask, and while our own rate budget has no room, wait for it: a download can take its time.

    Errors: RateLimitError when the exchange itself suspends us, or after two minutes.
    """
    for _ in range(TURNS_MAX):
        try:
            return await ask()
        except RateLimitError as problem:
            if problem.venue_code:
                raise
            await asyncio.sleep(TURN_PAUSE_S)
    return await ask()


def to_candles(symbol: str, timeframe: Timeframe, bars: "tuple[Bar, ...]") -> "Candles":
    """Bars of an exchange as columns; the one that is still forming is left out."""
    import numpy as np

    from blofin_cli.core.candles import COLUMNS, Candles

    closed = [bar for bar in bars if bar.is_closed]
    ts = np.array([bar.ts_ms for bar in closed], dtype=np.int64)
    columns = {
        name: np.array([getattr(bar, name) for bar in closed], dtype=np.float64) for name in COLUMNS
    }
    return Candles(symbol, timeframe, ts, **columns, partial=None)


def history_start_ms(timeframe: Timeframe, now_ms: int, since_ms: int | None = None) -> int:
    """Where a reading of the present begins: far enough back to be warm, or where it is told."""
    days_back_ms = min(HISTORY_DAYS * DAY_MS, HISTORY_BARS_MAX * timeframe.ms)
    usual_ms = (now_ms - days_back_ms) // DAY_MS * DAY_MS
    return usual_ms if since_ms is None else min(usual_ms, since_ms)


async def _drop_other_market(
    data: "MarketData", store: "CandleStore", symbol: str, timeframe: Timeframe
) -> None:
    """Forget what is held when the box does not serve its newest bar."""
    held = await asyncio.to_thread(store.held, symbol, timeframe)
    if len(held) == 0:
        return
    newest = held[-1:]
    first_ms = int(newest.ts[0])
    bars = await data.candles(
        symbol, timeframe, since_ms=first_ms, until_ms=first_ms + timeframe.ms, limit=1
    )
    now = to_candles(symbol, timeframe, bars)
    if len(now) == 0 or now.close[0] != newest.close[0] or now.open[0] != newest.open[0]:
        store.forget(symbol, timeframe)
