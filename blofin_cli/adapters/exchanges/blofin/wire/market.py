"""Public answers as records: instruments, tiers, prices, books, candles, funding."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

from blofin_cli.adapters.exchanges.blofin.wire.fields import (
    Row,
    clean,
    columns_of,
    decimal_of,
    level_of,
    rows_of,
    shown,
    time_of,
)
from blofin_cli.core.market import Instrument
from blofin_cli.core.orders import Side
from blofin_cli.core.quotes import (
    Bar,
    Book,
    BookLevel,
    FundingRate,
    Listing,
    PositionTier,
    PriceRange,
    Print,
    Quote,
)
from blofin_cli.errors import BadAnswerError

SIDES = {side.value: side for side in Side}
MAINTENANCE_UNREAD = Decimal("0.02")
"""Cautious rate for an instrument whose tiers were not read."""

_HOUR_MS = 3_600_000
_FAR_FUTURE_MS = 4_102_444_800_000


class UnknownTermsError(BadAnswerError):
    """A row names an instrument that was not in the list when it was last read."""


def listings(data: object) -> tuple[Listing, ...]:
    """USDT-M linear perpetuals, sorted; rows of other products and broken ones are left out.

    One broken row must not hide the others: its symbol is then unknown, and every use of it fails.
    Errors: BadAnswerError when no row at all can be read.
    """
    found: dict[str, Listing] = {}
    problem: BadAnswerError | None = None
    for row in rows_of(data, "instruments"):
        try:
            if _is_ours(row):
                listing = _listing(row)
                found[listing.instrument.symbol] = listing
        except BadAnswerError as broken:
            problem = broken
    if problem is not None and not found:
        raise problem
    return tuple(found[symbol] for symbol in sorted(found))


def _is_ours(row: Row) -> bool:
    return (
        row.raw("quoteCurrency") == "USDT"
        and row.raw("settleCurrency") in (None, "USDT")
        and row.raw("contractType") == "linear"
        and row.raw("instType") in (None, "SWAP")
    )


def _listing(row: Row) -> Listing:
    instrument = Instrument(
        symbol=row.symbol(),
        contract_value=row.positive("contractValue"),
        lot_size=row.positive("lotSize"),
        min_size=row.positive("minSize"),
        tick_size=row.positive("tickSize"),
        leverage_max=row.whole("maxLeverage"),
        maintenance_margin=MAINTENANCE_UNREAD,
        market_size_max=row.positive("maxMarketSize"),
        limit_size_max=row.positive("maxLimitSize"),
        source="exchange; tiers not read",
    )
    expires = row.raw("expireTime")
    is_date = isinstance(expires, str) and expires.isascii() and expires.isdigit()
    expires_ms = int(expires) if is_date and len(expires) <= 16 else None
    return Listing(
        instrument=instrument,
        is_live=row.text("state") == "live",
        listed_ms=row.maybe_time_ms("listTime"),
        expires_ms=expires_ms if expires_ms and expires_ms < _FAR_FUTURE_MS else None,
        kind=row.maybe_text("assetClass"),
    )


def tiers(data: object, contract_value: Decimal) -> tuple[PositionTier, ...]:
    """Position tiers, smallest first."""
    found = [
        PositionTier(
            symbol=row.symbol("symbol"),
            size_min=row.not_negative("minSize") * contract_value,
            size_max=row.positive("maxSize") * contract_value,
            maintenance_margin=row.positive("maintenanceMarginRate"),
            leverage_max=row.whole("maxLeverage"),
        )
        for row in rows_of(data, "tiers")
    ]
    return tuple(sorted(found, key=lambda tier: tier.size_max))


def tickers(
    data: object, contract_values: dict[str, Decimal], received_ms: int
) -> tuple[Quote, ...]:
    """Quotes of the symbols that have terms; a row without a last price has no quote.

    Errors: BadAnswerError when a single row was asked for and makes no sense, or none does.
    """
    quotes: list[Quote] = []
    problem: BadAnswerError | None = None
    for row in rows_of(data, "tickers"):
        value = contract_values.get(str(row.raw("instId")))
        if value is None:
            continue
        try:
            quotes.append(ticker(row, value, received_ms))
        except BadAnswerError as broken:
            problem = broken
    if problem is not None and not quotes:
        raise problem
    return tuple(sorted(quotes, key=lambda quote: quote.symbol))


def ticker(row: Row, contract_value: Decimal, received_ms: int) -> Quote:
    """One quote; an empty side of the book is None, a crossed book is refused."""
    bid, ask = row.maybe_positive("bidPrice"), row.maybe_positive("askPrice")
    if bid is not None and ask is not None and bid > ask:
        raise BadAnswerError(f"{row.place}: bid {bid} is above ask {ask}")
    return Quote(
        symbol=row.symbol(),
        last=row.positive("last"),
        bid=bid,
        ask=ask,
        ts_ms=row.time_ms("ts"),
        received_ms=received_ms,
        bid_size=_base(row, "bidSize", contract_value),
        ask_size=_base(row, "askSize", contract_value),
        open_24h=row.maybe_positive("open24h"),
        high_24h=row.maybe_positive("high24h"),
        low_24h=row.maybe_positive("low24h"),
        volume_24h=row.maybe_decimal("volCurrency24h"),
    )


def _base(row: Row, name: str, contract_value: Decimal) -> Decimal | None:
    contracts = row.maybe_positive(name)
    return None if contracts is None else contracts * contract_value


def mark_price(row: Row) -> tuple[Decimal, Decimal | None, int]:
    """Mark price, index price and time."""
    return row.positive("markPrice"), row.maybe_positive("indexPrice"), row.time_ms("ts")


def funding_rates(data: object) -> tuple[FundingRate, ...]:
    """Funding rows, ascending and unique in time."""
    found = {row.ts_ms: row for row in map(funding_rate, rows_of(data, "funding"))}
    return tuple(found[ts_ms] for ts_ms in sorted(found))


def funding_rate(row: Row) -> FundingRate:
    """One rate and its settlement; newer rows tell the interval."""
    unit = row.maybe_text("fundingIntervalUnit")
    hours = row.maybe_positive("fundingInterval") if unit in ("", "hour") else None
    rate = row.decimal("fundingRate")
    if abs(rate) >= 1:
        raise BadAnswerError(f"{row.place}.fundingRate: {rate} is no rate")
    return FundingRate(
        symbol=row.symbol(),
        rate=rate,
        ts_ms=row.time_ms("fundingTime"),
        interval_ms=None if hours is None else int(hours * _HOUR_MS),
    )


def book(symbol: str, values: object, contract_value: Decimal) -> Book:
    """Order book of one answer or push; levels are text or numbers, zero sizes are left out.

    Errors: BadAnswerError when a side is out of order or the sides cross.
    """
    row = Row(values, "book")
    bids = _levels(row, "bids", contract_value)
    asks = _levels(row, "asks", contract_value)
    descends = all(a.price > b.price for a, b in pairwise(bids))
    ascends = all(a.price < b.price for a, b in pairwise(asks))
    if not (descends and ascends) or (bids and asks and bids[0].price >= asks[0].price):
        raise BadAnswerError("book: the levels are out of order or cross")
    return Book(symbol=symbol, bids=bids, asks=asks, ts_ms=row.time_ms("ts"))


def _levels(row: Row, name: str, contract_value: Decimal) -> tuple[BookLevel, ...]:
    levels = []
    for pair in columns_of(row.raw(name), f"book.{name}", 2):
        price, contracts = level_of(pair[0], name), level_of(pair[1], name)
        if price <= 0 or contracts < 0:
            raise BadAnswerError(f"book.{name}: no price or a negative size")
        if contracts:
            levels.append(BookLevel(price, contracts * contract_value))
    return tuple(levels)


def prints(data: object, contract_values: dict[str, Decimal]) -> tuple[Print, ...]:
    """Trades of the market, ascending."""
    found = [
        Print(
            symbol=(symbol := row.symbol()),
            trade_id=row.text("tradeId"),
            side=row.due_word("side", SIDES),
            price=row.positive("price"),
            size=row.positive("size") * terms(symbol, contract_values),
            ts_ms=row.time_ms("ts"),
        )
        for row in rows_of(data, "trades")
    ]
    return tuple(
        sorted(found, key=lambda trade: (trade.ts_ms, len(trade.trade_id), trade.trade_id))
    )


def terms(symbol: str, contract_values: dict[str, Decimal]) -> Decimal:
    """The contract value of a symbol.

    Errors: UnknownTermsError when there are none: a size without them means nothing.
    """
    value = contract_values.get(symbol)
    if value is None:
        raise UnknownTermsError(
            f"{clean(symbol)} has no contract terms", hint="read the instruments again"
        )
    return value


def bars(data: object) -> tuple[Bar, ...]:
    """Candles, ascending and unique by open time; of two with one time the closed one stays.

    Errors: BadAnswerError when a row has impossible prices: a hole is better than a wrong bar,
    and the caller decides about the hole.
    """
    found: dict[int, Bar] = {}
    for bar in _bars(data, width=9, volume_column=6):
        known = found.get(bar.ts_ms)
        if known is None or bar.is_closed or not known.is_closed:
            found[bar.ts_ms] = bar
    return tuple(found[ts_ms] for ts_ms in sorted(found))


def mark_bars(data: object) -> tuple[Bar, ...]:
    """Mark or index price candles, ascending; their volume is 0."""
    found = {bar.ts_ms: bar for bar in _bars(data, width=6, volume_column=None)}
    return tuple(found[ts_ms] for ts_ms in sorted(found))


def _bars(data: object, *, width: int, volume_column: int | None) -> Iterator[Bar]:
    for columns in columns_of(data, "candles", width):
        ts_ms = time_of(columns[0], "candles.ts")
        opening, high, low, close = (_price(value) for value in columns[1:5])
        volume = 0.0
        if volume_column is not None:
            volume = float(decimal_of(columns[volume_column], "candles.volume"))
        if not (low <= min(opening, close) and high >= max(opening, close)) or volume < 0:
            raise BadAnswerError(f"candle {ts_ms}: prices or volume are impossible")
        yield Bar(ts_ms, opening, high, low, close, volume, _is_closed(columns[width - 1]))


def _price(value: Any) -> float:
    price = float(decimal_of(value, "candles.price"))
    if price <= 0:
        raise BadAnswerError("candles.price: not above zero")
    return price


def _is_closed(value: object) -> bool:
    if value in ("0", "1"):
        return value == "1"
    raise BadAnswerError(f"candles.confirm: {shown(value)} is neither 0 nor 1")


def price_range(row: Row) -> PriceRange:
    """The band an order's price may lie in."""
    low, high = row.not_negative("minPrice"), row.positive("maxPrice")
    if low > high:
        raise BadAnswerError(f"{row.place}: the band {low} to {high} is empty")
    return PriceRange(price_min=low, price_max=high)
