"""ccxt's unified structures of a market as our records: contracts become base units.

What a structure leaves out stays None, and a missing price or size is BadAnswerError: a hole is
never read as zero. Prices and sizes come as texts, so no digit is lost.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.orders import Side
from blofin_cli.core.quotes import Bar, Book, BookLevel, FundingRate, Listing, Print, Quote
from blofin_cli.errors import BadAnswerError

LEVERAGE_UNKNOWN_TIER = 10
MAINTENANCE_UNKNOWN_TIER = Decimal("0.02")
LOTS_A_MARKET_ORDER = 1_000_000

Row = Mapping[str, Any]


def number(value: object) -> Decimal | None:
    """A Decimal of what ccxt hands out; None stays None.

    Errors: BadAnswerError for anything that is no finite number.
    """
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise BadAnswerError(f"{str(value)[:40]!a} is not a number") from None
    if not found.is_finite():
        raise BadAnswerError(f"{found} is not a number")
    return found


def needed(row: Row, name: str) -> Decimal:
    """A number that must be there. Errors: BadAnswerError when it is not."""
    found = number(row.get(name))
    if found is None:
        raise BadAnswerError(f"an answer without {name}")
    return found


def positive(row: Row, name: str) -> Decimal:
    """A number above zero that must be there. Errors: BadAnswerError when it is not."""
    found = needed(row, name)
    if found <= 0:
        raise BadAnswerError(f"{name} is {found}")
    return found


def time_ms(value: object) -> int:
    """A time in milliseconds; 0 when it is not told."""
    found = number(value)
    return int(found) if found is not None else 0


def side(row: Row) -> Side:
    """Buy or sell. Errors: BadAnswerError for anything else."""
    try:
        return Side(str(row.get("side")))
    except ValueError:
        raise BadAnswerError(f"an answer with the side {row.get('side')!a}") from None


def is_ours(market: Row) -> bool:
    """A USDT-margined linear perpetual."""
    is_swap = bool(market.get("swap") and market.get("linear"))
    return is_swap and market.get("quote") == "USDT" and market.get("settle") == "USDT"


def listing(market: Row, symbol: str, source: str) -> Listing | None:
    """An instrument; None when its steps are not told, since nothing can be rounded then.

    Leverage and maintenance are cautious: ccxt tells tiers by value, and often not without a key.
    """
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    amounts, leverages = limits.get("amount") or {}, limits.get("leverage") or {}
    lot, tick = number(precision.get("amount")), number(precision.get("price"))
    value = number(market.get("contractSize"))
    if not lot or not tick or not value:
        return None
    size_max = number(amounts.get("max")) or lot * LOTS_A_MARKET_ORDER
    market_max = number((limits.get("market") or {}).get("max")) or size_max
    leverage = int(number(leverages.get("max")) or LEVERAGE_UNKNOWN_TIER)
    instrument = Instrument(
        symbol=symbol,
        contract_value=value,
        lot_size=lot,
        min_size=number(amounts.get("min")) or lot,
        tick_size=tick,
        leverage_max=min(leverage, LEVERAGE_UNKNOWN_TIER),
        maintenance_margin=MAINTENANCE_UNKNOWN_TIER,
        market_size_max=min(market_max, size_max),
        limit_size_max=size_max,
        source=source,
    )
    is_live = market.get("active") is not False
    listed = number(market.get("created"))
    return Listing(
        instrument=instrument, is_live=is_live, listed_ms=int(listed) if listed else None
    )


def quote(row: Row, terms: Instrument, received_ms: int) -> Quote:
    """Last and best prices.

    The day's volume is told only where a contract is one base unit: clients differ in its unit.
    """
    value = terms.contract_value
    bid_size, ask_size = number(row.get("bidVolume")), number(row.get("askVolume"))
    return Quote(
        symbol=terms.symbol,
        last=positive(row, "last"),
        bid=number(row.get("bid")),
        ask=number(row.get("ask")),
        ts_ms=time_ms(row.get("timestamp")) or received_ms,
        received_ms=received_ms,
        bid_size=None if bid_size is None else bid_size * value,
        ask_size=None if ask_size is None else ask_size * value,
        open_24h=number(row.get("open")),
        high_24h=number(row.get("high")),
        low_24h=number(row.get("low")),
        volume_24h=number(row.get("baseVolume")) if value == 1 else None,
    )


def bars(rows: object, timeframe: Timeframe, now_ms: int) -> tuple[Bar, ...]:
    """Candles, ascending and each once.

    Errors: BadAnswerError for a row off the grid or with impossible numbers.
    """
    if not isinstance(rows, list):
        raise BadAnswerError("candles that are no list")
    found = {bar.ts_ms: bar for bar in (_bar(row, timeframe, now_ms) for row in rows)}
    return tuple(found[ts_ms] for ts_ms in sorted(found))


def _bar(row: Any, timeframe: Timeframe, now_ms: int) -> Bar:
    try:
        ts_ms = int(row[0])
        opened, high, low, close, volume = (float(value) for value in row[1:6])
    except (TypeError, ValueError, IndexError):
        raise BadAnswerError(f"{str(row)[:80]!a} is no candle") from None
    is_whole = all(isfinite(value) for value in (opened, high, low, close, volume))
    is_ordered = 0 < low <= min(opened, close) and high >= max(opened, close) and volume >= 0
    if not is_whole or not is_ordered or ts_ms % timeframe.ms:
        raise BadAnswerError(f"{str(row)[:80]!a} is no {timeframe} candle")
    return Bar(ts_ms, opened, high, low, close, volume, is_closed=ts_ms + timeframe.ms <= now_ms)


def book(row: Row, terms: Instrument, depth: int, now_ms: int) -> Book:
    """The order book, sorted here: texts and floats sort differently."""
    bids, asks = (_levels(row.get(name), terms.contract_value) for name in ("bids", "asks"))
    bids.sort(key=lambda level: -level.price)
    asks.sort(key=lambda level: level.price)
    if bids and asks and bids[0].price >= asks[0].price:
        raise BadAnswerError(f"{terms.symbol}: a book whose bid {bids[0].price} meets its ask")
    return Book(
        symbol=terms.symbol,
        bids=tuple(bids[:depth]),
        asks=tuple(asks[:depth]),
        ts_ms=time_ms(row.get("timestamp")) or now_ms,
    )


def _levels(rows: object, value: Decimal) -> list[BookLevel]:
    if not isinstance(rows, list):
        raise BadAnswerError("a book without one of its sides")
    pairs = ((number(row[0]), number(row[1])) for row in rows)
    return [BookLevel(price, size * value) for price, size in pairs if price and size]


def prints(rows: object, terms: Instrument) -> tuple[Print, ...]:
    """The market's last trades, ascending."""
    if not isinstance(rows, list):
        raise BadAnswerError("trades that are no list")
    found = [
        Print(
            symbol=terms.symbol,
            trade_id=str(row.get("id") or ""),
            side=side(row),
            price=positive(row, "price"),
            size=needed(row, "amount") * terms.contract_value,
            ts_ms=time_ms(row.get("timestamp")),
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda trade: trade.ts_ms))


def funding_rates(rows: object, symbol: str) -> tuple[FundingRate, ...]:
    """Settled rates, ascending and each once."""
    if not isinstance(rows, list):
        raise BadAnswerError("funding rates that are no list")
    found = {
        time_ms(row.get("timestamp")): FundingRate(
            symbol=symbol, rate=needed(row, "fundingRate"), ts_ms=time_ms(row.get("timestamp"))
        )
        for row in rows
    }
    return tuple(found[ts_ms] for ts_ms in sorted(found))
