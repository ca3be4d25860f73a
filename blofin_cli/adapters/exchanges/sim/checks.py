"""What BloFin refuses before an order exists: grid, limits, ids, triggers on the wrong side.

Source: BloFin's API documentation, error codes; the help centre, Price Limit Rules.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.adapters.exchanges.sim.records import (
    HEDGE_MODE,
    WHOLE,
    Protection,
    Terms,
    VenueError,
    VenueRules,
)

_CLIENT_ID = re.compile(r"[A-Za-z0-9_]{1,32}")
ORDER_TYPES = frozenset({"market", "limit", "post_only", "fok", "ioc"})


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices an order is judged against."""

    last: Decimal
    index: Decimal
    bid: Decimal
    ask: Decimal


def parameter(name: str) -> VenueError:
    """The refusal of one parameter."""
    return VenueError("152002", f"Parameter {name} error.")


def check_client_id(client_order_id: str) -> None:
    """Letters, digits and underscores, at most 32; none at all is allowed."""
    if client_order_id and not _CLIENT_ID.fullmatch(client_order_id):
        raise VenueError(
            "152009", "clientOrderId must be letters, digits or underscore, at most 32 characters."
        )


def check_words(margin_mode: str, side: str) -> None:
    """Only the words the exchange knows."""
    if margin_mode not in {"cross", "isolated"}:
        raise parameter("marginMode")
    if side not in {"buy", "sell"}:
        raise parameter("side")


def check_position_side(position_side: str, mode: str) -> None:
    """`net` in one-way mode, `long` or `short` in hedge mode."""
    if position_side not in {"net", "long", "short"}:
        raise parameter("positionSide")
    if (position_side == "net") == (mode == HEDGE_MODE):
        raise VenueError("102089", "Position mode mismatch.")


def check_size(size: Decimal, terms: Terms, *, may_be_whole: bool = False) -> None:
    """Positive, on the lot grid, not below the minimum."""
    if may_be_whole and size == WHOLE:
        return
    if size < terms.min_size or size % terms.lot_size:
        raise parameter("size")


def check_size_max(size: Decimal, terms: Terms, order_type: str) -> None:
    """One order's upper limit, which is lower for market orders."""
    if order_type == "market" and size > terms.market_size_max:
        raise VenueError("102015", "Order size exceeds the maximum size of market orders.")
    if order_type != "market" and size > terms.limit_size_max:
        raise VenueError("102014", "Order size exceeds the maximum size of limit orders.")


def check_price(name: str, price: Decimal | None, terms: Terms) -> None:
    """Positive and on the tick grid."""
    if price is not None and (price <= 0 or price % terms.tick_size):
        raise parameter(name)


def check_protection_grid(protection: Protection, terms: Terms) -> None:
    """Triggers and order prices on the tick grid."""
    check_price("tpTriggerPrice", protection.tp_trigger, terms)
    check_price("tpOrderPrice", protection.tp_price, terms)
    check_price("slTriggerPrice", protection.sl_trigger, terms)
    check_price("slOrderPrice", protection.sl_price, terms)


def price_band(quote: Quote, rules: VenueRules) -> tuple[Decimal, Decimal]:
    """Lowest sell and highest buy price, in that order."""
    index, premium = quote.index, quote.last - quote.index
    high = min(max(index, index * (1 + rules.band_y) + premium), index * (1 + rules.band_z))
    low = max(min(index, index * (1 - rules.band_y) + premium), index * (1 - rules.band_z))
    return low, high


def check_band(side: str, price: Decimal, quote: Quote, rules: VenueRules) -> None:
    """A limit price through the band is refused; nothing bounds the cautious side."""
    low, high = price_band(quote, rules)
    if side == "buy" and price > high:
        raise VenueError("102064", f"Buy price is not within the price limit (Maximum: {high:f})")
    if side == "sell" and price < low:
        raise VenueError("102065", f"Sell price is not within the price limit (Minimum: {low:f})")


def check_triggers(direction: int, protection: Protection, last: Decimal) -> None:
    """A trigger the last price has already passed is refused; `direction` is the position's."""
    tp, sl = protection.tp_trigger, protection.sl_trigger
    if direction > 0:
        if tp is not None and tp <= last:
            raise VenueError("102037", "TP trigger price should be higher than the last price.")
        if sl is not None and sl >= last:
            raise VenueError("102038", "SL trigger price should be lower than the last price.")
        return
    if tp is not None and tp >= last:
        raise VenueError("102039", "TP trigger price should be lower than the last price.")
    if sl is not None and sl <= last:
        raise VenueError("102040", "SL trigger price should be higher than the last price.")


def check_limit_triggers(
    direction: int, protection: Protection, price: Decimal, quote: Quote
) -> None:
    """Triggers of a limit entry against its price, and against the book if it executes at once."""
    tp, sl = protection.tp_trigger, protection.sl_trigger
    if direction > 0:
        if tp is not None and tp <= price:
            raise VenueError("102052", "TP trigger price should be higher than the order price.")
        if sl is not None and sl >= price:
            raise VenueError("102051", "SL trigger price should be lower than the order price.")
        if price >= quote.ask and sl is not None and sl >= quote.ask:
            raise VenueError("102055", "SL trigger price should be lower than the best ask price.")
        return
    if tp is not None and tp >= price:
        raise VenueError("102049", "TP trigger price should be lower than the order price.")
    if sl is not None and sl <= price:
        raise VenueError("102047", "SL trigger price should be higher than the order price.")
    if price <= quote.bid and sl is not None and sl <= quote.bid:
        raise VenueError("102048", "SL trigger price should be higher than the best bid price.")
