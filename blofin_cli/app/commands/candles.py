"""Candles, the order book and settled funding of one instrument."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.history import LiveRequest, fill_store, live_span, open_store
from blofin_cli.app.selection import (
    SourceRequest,
    entry_candles,
    source_of,
    span_of,
    tell,
)
from blofin_cli.app.spec import Effect, Result, Symbol, Time, command, to_record
from blofin_cli.app.timespec import day_of, minute_of
from blofin_cli.app.venues import exchange_of, open_market
from blofin_cli.core.market import Timeframe
from blofin_cli.core.quotes import Book, FundingRate
from blofin_cli.errors import UsageError

if TYPE_CHECKING:
    from blofin_cli.core.candles import Candles
    from blofin_cli.ports import MarketData

BARS_USUAL = 500
RATES_A_PAGE = 100
PAGES_MAX = 200


class CandlesRequest(LiveRequest):
    """Which candles, and where they come from."""

    symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]
    timeframe: Annotated[Timeframe, Field(description="Bar size")] = Timeframe.M15
    since: Annotated[
        Time | None,
        Field(description="First time, e.g. 2022-01-01 or 3y; at an exchange default 500 bars"),
    ] = None
    until: Annotated[Time | None, Field(description="Time before which to stop")] = None
    limit: Annotated[int | None, Field(description="Newest rows only", ge=1, le=10_000_000)] = None
    data: Annotated[str | None, Field(description="Parquet or CSV file, or a folder of them")] = (
        None
    )
    synthetic: Annotated[
        int | None,
        Field(description="Seed of a synthetic market instead of real data", ge=0, le=2**32),
    ] = None
    repair: Annotated[
        bool, Field(description="Mend defects of the files where that is safe, and say which")
    ] = False
    keep: Annotated[bool, Field(description="Merge candles of files into the candle store too")] = (
        False
    )
    refetch: Annotated[
        bool, Field(description="Ask again for bars the exchange once did not have")
    ] = False
    book: Annotated[bool, Field(description="Show the order book instead")] = False
    funding: Annotated[bool, Field(description="Show settled funding rates instead")] = False


class CandlesResult(Result):
    """Closed candles in columns, and the holes in them; or the book, or settled funding.

    `fetched` bars came from the exchange just now; `begins_ms` is where its history begins, when
    that is later than what was asked for. Sizes of the book are base units.
    """

    symbol: str
    timeframe: Timeframe
    source: str
    simulated: bool
    bars: int = 0
    gaps: int = 0
    missing_bars: int = 0
    fetched: int = 0
    begins_ms: int | None = None
    candles: dict[str, list[float | int]] = Field(default_factory=dict)
    book: Book | None = None
    funding: list[FundingRate] | None = None

    def table(self) -> list[dict[str, Any]]:
        """One line a candle, level or settlement, with its time in words."""
        if self.book is not None:
            return self.rows()
        if self.funding is not None:
            return [
                {"settled": minute_of(rate.ts_ms), "rate": f"{rate.rate:.4%}"}
                for rate in self.funding
            ]
        return [{"open time": minute_of(row.pop("ts"))} | row for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        """One record a candle, level or settlement."""
        if self.book is not None:
            sides = (("ask", reversed(self.book.asks)), ("bid", self.book.bids))
            return [{"side": side} | to_record(level) for side, levels in sides for level in levels]
        if self.funding is not None:
            return [{"ts": rate.ts_ms, "rate": rate.rate} for rate in self.funding]
        names = list(self.candles)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*self.candles.values(), strict=True)
        ]

    def summary(self) -> list[tuple[str, object]]:
        """What is shown, and how whole it is."""
        head: list[tuple[str, object]] = [("symbol", self.symbol), ("source", self.source)]
        if self.simulated:
            head.append(("simulated", True))
        if self.book is not None or self.funding is not None:
            return head
        head.append(("timeframe", self.timeframe))
        head += [("bars", self.bars), ("gaps", self.gaps), ("missing bars", self.missing_bars)]
        if self.begins_ms is not None:
            head.append(("history begins", minute_of(self.begins_ms)))
        return head


@command(effect=Effect.READ, positional=("symbol",), tool="get_ohlcv")
async def candles(request: CandlesRequest, context: Context) -> CandlesResult:
    """Show closed candles, from the store and completed from the exchange, with gaps counted.

    What is missing is fetched a page at a time within the rate limit and kept, so an interrupted
    download goes on where it stopped. `--book` shows the order book, `--funding` settled rates.

    Example: blofin candles BTC-USDT --synthetic 7 --timeframe 1h --since 3d
    """
    is_elsewhere = request.data is not None or request.synthetic is not None
    if request.book or request.funding:
        if is_elsewhere or request.offline or (request.book and request.funding):
            raise UsageError("--book and --funding each ask the exchange, and stand alone")
        return await _asked(request, context)
    if is_elsewhere or request.offline:
        return _from_source(request, context, is_elsewhere=is_elsewhere)
    return await _completed(request, context)


def _from_source(request: CandlesRequest, context: Context, *, is_elsewhere: bool) -> CandlesResult:
    """Candles of files, an invented market or the store as it is."""
    exchange = exchange_of(request, context)
    asked = SourceRequest(
        data=request.data,
        synthetic=request.synthetic,
        since=request.since,
        until=request.until,
        repair=request.repair,
    )
    source = source_of(asked, [request.symbol], context, exchange=exchange)
    found, _ = entry_candles(source, request.symbol, request.timeframe)
    found = found.between(*span_of(asked, found))
    if request.keep and is_elsewhere:
        merged = open_store(context).merge(found)
        context.say(f"store: {merged.added} candles added, {merged.replaced} replaced")
    tell(context, source.notes())
    is_invented = request.synthetic is not None
    return _result(
        request,
        found,
        source=source.name,
        simulated=is_invented or (exchange == "sim" and not is_elsewhere),
    )


async def _completed(request: CandlesRequest, context: Context) -> CandlesResult:
    """Candles of the store once what is missing has come from the exchange."""
    if request.repair or request.keep:
        raise UsageError("--repair and --keep belong to --data; what is fetched is kept anyway")
    exchange, step_ms = exchange_of(request, context), request.timeframe.ms
    store = open_store(context, exchange)
    async with open_market(request, context) as data:
        span = SourceRequest(since=request.since, until=request.until)
        since_ms, until_ms = live_span(span, await data.server_time_ms())
        if since_ms is None:
            closed_ms = until_ms // step_ms * step_ms
            since_ms = closed_ms - (request.limit or BARS_USUAL) * step_ms
        listed_ms = (await data.instrument(request.symbol)).listed_ms or 0
        done = await fill_store(
            data,
            store,
            request.symbol,
            request.timeframe,
            since_ms=max(since_ms, listed_ms),
            until_ms=until_ms,
            progress=context.progress,
            retry_absent=request.refetch,
        )
        is_simulated = data.venue.is_simulated
    held = store.held(request.symbol, request.timeframe)
    found = held.between(since_ms, until_ms)
    is_later = len(found) > 0 and held.ts[0] >= since_ms + step_ms
    begins_ms = int(held.ts[0]) if is_later else None
    _narrate(request, found, done.wanted, begins_ms, context)
    return _result(
        request,
        found,
        source=exchange,
        simulated=is_simulated,
        fetched=done.added + done.replaced,
        begins_ms=begins_ms,
    )


def _narrate(
    request: CandlesRequest,
    found: "Candles",
    wanted: int,
    begins_ms: int | None,
    context: Context,
) -> None:
    label = f"{request.symbol} {request.timeframe}"
    if wanted == 0:
        context.say(f"{label}: already up to date")
    if len(found) == 0:
        context.say(f"{label}: the exchange has no closed candles between the times asked for")
    elif begins_ms is not None:
        context.say(f"{label}: history begins {minute_of(begins_ms)} UTC")
    if found.gaps:
        context.say(f"{label}: {found.gaps} gaps, {found.missing_bars} bars missing; not filled")


def _result(request: CandlesRequest, found: "Candles", **words: Any) -> CandlesResult:
    if request.limit is not None:
        found = found[max(0, len(found) - request.limit) :]
    return CandlesResult(
        symbol=request.symbol,
        timeframe=request.timeframe,
        bars=len(found),
        gaps=found.gaps,
        missing_bars=found.missing_bars,
        candles={
            name: getattr(found, name).tolist()
            for name in ("ts", "open", "high", "low", "close", "volume")
        },
        **words,
    )


async def _asked(request: CandlesRequest, context: Context) -> CandlesResult:
    """The book or settled funding, which are not kept."""
    async with open_market(request, context) as data:
        book = funding = None
        if request.book:
            book = await data.book(request.symbol, min(request.limit or 20, 100))
        else:
            funding = await _settled(request, data, context)
        return CandlesResult(
            symbol=request.symbol,
            timeframe=request.timeframe,
            source=exchange_of(request, context),
            simulated=data.venue.is_simulated,
            book=book,
            funding=funding,
        )


async def _settled(
    request: CandlesRequest, data: "MarketData", context: Context
) -> list[FundingRate]:
    """Settled rates, page by page from the newest to the first one asked for."""
    await data.instrument(request.symbol)  # an unknown one is refused by name
    span = SourceRequest(since=request.since, until=request.until)
    since_ms, until_ms = live_span(span, await data.server_time_ms())
    found: dict[int, FundingRate] = {}
    end_ms = until_ms + 1
    for _ in range(PAGES_MAX):
        page = await data.funding_history(
            request.symbol, since_ms=since_ms, until_ms=end_ms, limit=RATES_A_PAGE
        )
        found |= {rate.ts_ms: rate for rate in page}
        is_enough = request.limit is not None and len(found) >= request.limit
        if not page or since_ms is None or is_enough or page[0].ts_ms >= end_ms:
            break
        end_ms = page[0].ts_ms
        context.progress(until_ms - end_ms, until_ms - since_ms, f"{request.symbol} funding")
    rates = [found[ts_ms] for ts_ms in sorted(found)]
    if rates and since_ms is not None and rates[0].ts_ms > since_ms + 9 * 3_600_000:
        context.say(f"{request.symbol}: settled funding begins {day_of(rates[0].ts_ms)}")
    return rates[-request.limit :] if request.limit is not None else rates
