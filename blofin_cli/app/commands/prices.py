"""What an exchange says now: prices with their age, and contract terms."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Result, Symbol, command
from blofin_cli.app.venues import VenueRequest, VenueResult, exchange_of, open_market
from blofin_cli.core.market import Instrument
from blofin_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.quotes import Listing, Quote
    from blofin_cli.ports import MarketData

CACHE_AGE_MAX_MS = 3_600_000
SNAPSHOT = "snapshot"


class PriceRequest(VenueRequest):
    """Of which instruments."""

    symbol: Annotated[
        tuple[Symbol, ...], Field(description="Instruments", min_length=1, max_length=50)
    ]


class Price(Result):
    """Prices of one instrument; `age_ms` is how old the exchange's quote was when it was read.

    `spread_bps` is ask less bid over their middle. `funding_rate` is what longs pay shorts at
    `next_funding_ms`. Volume is in base units.
    """

    symbol: str
    last: float
    bid: float | None
    ask: float | None
    spread: float | None
    spread_bps: float | None
    mark: float | None
    index: float | None
    funding_rate: float | None
    next_funding_ms: int | None
    volume_24h: float | None
    change_24h: float | None
    ts_ms: int
    age_ms: int


class PriceResult(VenueResult):
    """Prices now."""

    prices: list[Price]

    def table(self) -> list[dict[str, Any]]:
        """One line an instrument, as people read it."""
        from blofin_cli.app.timespec import minute_of

        return [
            {
                "symbol": price.symbol,
                "last": price.last,
                "bid": price.bid,
                "ask": price.ask,
                "mark": price.mark,
                "funding": "-" if price.funding_rate is None else f"{price.funding_rate:.4%}",
                "age": f"{price.age_ms / 1000:.1f} s",
                "spread bps": price.spread_bps,
                "next funding": "-"
                if price.next_funding_ms is None
                else minute_of(price.next_funding_ms),
            }
            for price in self.prices
        ]


@command(effect=Effect.READ, positional=("symbol",), tool="get_latest_price")
async def price(request: PriceRequest, context: Context) -> PriceResult:
    """Show last, bid, ask, mark and funding of instruments, and the age of the quote.

    Example: blofin price BTC-USDT --exchange sim
    """
    import asyncio

    async with open_market(request, context) as data:
        symbols = tuple(dict.fromkeys(request.symbol))
        await _must_list(data, symbols, exchange_of(request, context))
        quotes = await asyncio.gather(*(data.quote(symbol) for symbol in symbols))
        now_ms = await data.server_time_ms()
        return PriceResult(
            exchange=exchange_of(request, context),
            simulated=data.venue.is_simulated,
            prices=[_price(quote, now_ms) for quote in quotes],
        )


async def _must_list(data: "MarketData", symbols: Sequence[str], exchange: str) -> None:
    """Errors: UsageError naming the exchange asked and the first symbol it does not list."""
    listed = {listing.instrument.symbol for listing in await data.instruments()}
    for symbol in symbols:
        if symbol not in listed:
            raise UsageError(
                f"{exchange} lists no USDT-M perpetual {symbol}",
                hint=f"see: blofin instruments --exchange {exchange}",
            )


def _price(quote: "Quote", now_ms: int) -> Price:
    bid, ask = _float(quote.bid), _float(quote.ask)
    spread = ask - bid if bid is not None and ask is not None else None
    opened = _float(quote.open_24h)
    last = float(quote.last)
    return Price(
        symbol=quote.symbol,
        last=last,
        bid=bid,
        ask=ask,
        spread=None if spread is None else float(f"{spread:.9g}"),
        spread_bps=None
        if spread is None or bid is None or ask is None
        else round(spread / (bid + ask) * 20_000, 4),
        mark=_float(quote.mark),
        index=_float(quote.index),
        funding_rate=_float(quote.funding_rate),
        next_funding_ms=quote.funding_ms,
        volume_24h=_float(quote.volume_24h),
        change_24h=None if not opened else last / opened - 1,
        ts_ms=quote.ts_ms,
        age_ms=max(0, now_ms - quote.ts_ms),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


class InstrumentsRequest(VenueRequest):
    """Which instruments, and from where."""

    symbol: Annotated[Symbol | None, Field(description="Instrument; without it, all")] = None
    offline: Annotated[
        bool, Field(description="The dated snapshot inside the package; asks no exchange")
    ] = False


class InstrumentRow(Result):
    """Contract terms of one instrument, sizes in contracts.

    `maintenance_margin` is that of the first tier, and null in a list from an exchange, which does
    not tell it there. `is_live` null: the snapshot does not know.
    """

    symbol: str
    contract_value: float
    tick_size: float
    lot_size: float
    min_size: float
    market_size_max: float
    leverage_max: int
    maintenance_margin: float | None
    is_live: bool | None
    source: str


class InstrumentsResult(Result):
    """Contract terms, where they came from and how old they are."""

    exchange: str
    simulated: bool
    as_of_ms: int
    age_s: int | None
    instruments: list[InstrumentRow]

    columns: ClassVar[tuple[str, ...]] = (
        "symbol", "contract_value", "tick_size", "lot_size", "min_size", "leverage_max",
        "maintenance_margin", "source",
    )  # fmt: skip


@command(effect=Effect.READ, positional=("symbol",), tool="get_instruments")
async def instruments(request: InstrumentsRequest, context: Context) -> InstrumentsResult:
    """Show contract value, tick, lot, minimum and leverage limits of the exchange's instruments.

    The list is kept for an hour. `--offline` shows the dated snapshot that a backtest uses.

    Example: blofin instruments BTC-USDT --offline
    """
    if request.offline:
        return _snapshot(request.symbol)
    exchange = exchange_of(request, context)
    now_ms = context.clock.now_ms()
    cached = None if request.symbol or exchange == "sim" else _cached(exchange, now_ms, context)
    if cached is not None:
        read_ms, rows = cached
        return _live_result(exchange, rows, read_ms, now_ms, simulated=False)
    async with open_market(request, context) as data:
        listings: Sequence[Listing]
        if request.symbol is not None:
            await _must_list(data, (request.symbol,), exchange)
            listings = [await data.instrument(request.symbol)]
        else:
            listings = await data.instruments()
        is_simulated = data.venue.is_simulated
    rows = [_row(listing, has_tiers=request.symbol is not None) for listing in listings]
    if request.symbol is None and not is_simulated:
        _cache(exchange, now_ms, rows, context)
    return _live_result(exchange, rows, now_ms, now_ms, simulated=is_simulated)


def _live_result(
    exchange: str, rows: list[InstrumentRow], read_ms: int, now_ms: int, *, simulated: bool
) -> InstrumentsResult:
    return InstrumentsResult(
        exchange=exchange,
        simulated=simulated,
        as_of_ms=read_ms,
        age_s=(now_ms - read_ms) // 1000,
        instruments=rows,
    )


def _snapshot(symbol: str | None) -> InstrumentsResult:
    from blofin_cli.app.timespec import parse_time
    from blofin_cli.core.instruments import INSTRUMENTS_AS_OF, instrument, snapshot

    if symbol is None:
        chosen = list(snapshot().values())
    else:
        found = instrument(symbol)
        if found is None:
            raise DataError(
                f"{symbol} is not in the snapshot of {INSTRUMENTS_AS_OF}",
                hint="a backtest infers its terms from the candles and says so",
            )
        chosen = [found]
    return InstrumentsResult(
        exchange=SNAPSHOT,
        simulated=False,
        as_of_ms=parse_time(INSTRUMENTS_AS_OF).resolve(0),
        age_s=None,
        instruments=[_terms(item, item.maintenance_margin, is_live=None) for item in chosen],
    )


def _row(listing: "Listing", *, has_tiers: bool) -> InstrumentRow:
    terms = listing.instrument
    margin = terms.maintenance_margin if has_tiers else None
    return _terms(terms, margin, is_live=listing.is_live)


def _terms(item: Instrument, margin: Any, *, is_live: bool | None) -> InstrumentRow:
    return InstrumentRow(
        symbol=item.symbol,
        contract_value=float(item.contract_value),
        tick_size=float(item.tick_size),
        lot_size=float(item.lot_size),
        min_size=float(item.min_size),
        market_size_max=float(item.market_size_max),
        leverage_max=item.leverage_max,
        maintenance_margin=_float(margin),
        is_live=is_live,
        source=item.source,
    )


def _cached(exchange: str, now_ms: int, context: Context) -> tuple[int, list[InstrumentRow]] | None:
    """When the list was read and its rows; None when it is older than an hour or no list."""
    try:
        text = _cache_path(exchange, context).read_text(encoding="utf-8")
        kept = json.loads(text)
        read_ms = int(kept["read_ms"])
        if not 0 <= now_ms - read_ms < CACHE_AGE_MAX_MS:
            return None
        return read_ms, [InstrumentRow.model_validate(row) for row in kept["instruments"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache that cannot be read is no cache; the exchange is asked


def _cache(exchange: str, read_ms: int, rows: list[InstrumentRow], context: Context) -> None:
    from blofin_cli.app.settings import replace_file
    from blofin_cli.errors import ConfigError

    kept = {"read_ms": read_ms, "instruments": [row.model_dump() for row in rows]}
    try:
        replace_file(_cache_path(exchange, context), json.dumps(kept))
    except ConfigError as problem:
        context.say(f"the list could not be kept: {problem.message}")


def _cache_path(exchange: str, context: Context) -> Any:
    return context.cache_folder / f"instruments-{exchange.replace(':', '-')}.json"
