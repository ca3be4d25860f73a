"""Requests: path, query and body exactly as they are signed and sent.

Sizes come in base units and leave in contracts; a size or price off the instrument's grid is
refused here, since BloFin would refuse it later or, worse, round it. No request names a broker:
a key of one's own must not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.orders import (
    CloseRequest,
    MarginMode,
    OrderRef,
    OrderRequest,
    OrderType,
    PositionMode,
    ProtectionRef,
    ProtectionRequest,
    Side,
)
from blofin_cli.errors import UsageError

BATCH_MAX = 20
CANDLES_MAX = 1440
PAGE_MAX = 100
MARKET_PRICE = "-1"
POSITION_MODES = {PositionMode.ONE_WAY: "net_mode", PositionMode.HEDGE: "long_short_mode"}


class Purpose(StrEnum):
    """What a request is for, which decides its share of the rate budget.

    READ counts against the address only; the others against the user's trading calls too. PROTECT
    (stops, cancels, closes and looking up a lost answer) may use the whole of it.
    """

    READ = "read"
    INQUIRE = "inquire"
    OPEN = "open"
    PROTECT = "protect"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `target` is path and query as they go on the wire; `body` the exact text."""

    method: str
    target: str
    body: str
    purpose: Purpose
    is_private: bool

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def is_write(self) -> bool:
        """It may change something, so it is never sent twice."""
        return self.method == "POST"

    def for_protection(self) -> "Call":
        """The same request out of the protective reserve."""
        return replace(self, purpose=Purpose.PROTECT)


def public(path: str, **query: object) -> Call:
    """A read that needs no key."""
    return Call("GET", _target(path, query), "", Purpose.READ, is_private=False)


def private(path: str, **query: object) -> Call:
    """A read of the account; those under trade/ count as trading calls."""
    purpose = Purpose.INQUIRE if path.startswith("trade/") else Purpose.READ
    return Call("GET", _target(path, query), "", purpose, is_private=True)


def write(path: str, body: object, purpose: Purpose) -> Call:
    """A signed POST; the body is compact JSON, built once."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    return Call("POST", f"/api/v1/{path}", text, purpose, is_private=True)


def _target(path: str, query: Mapping[str, object]) -> str:
    given = [
        f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value is not None
    ]
    return f"/api/v1/{path}" + ("?" + "&".join(given) if given else "")


def candles(
    symbol: str,
    timeframe: Timeframe,
    *,
    since_ms: int | None,
    until_ms: int | None,
    limit: int,
) -> Call:
    """A page of candles. Both bounds of BloFin are exclusive, and `before` alone means newest."""
    if not 1 <= limit <= CANDLES_MAX:
        raise UsageError(f"a page holds 1 to {CANDLES_MAX} candles, not {limit}")
    before = after = None
    if since_ms is not None:
        before = since_ms - 1
        end_ms = since_ms + limit * timeframe.ms
        after = end_ms if until_ms is None else min(end_ms, until_ms)
    elif until_ms is not None:
        after = until_ms
    return public(
        "market/candles", instId=symbol, bar=bar_of(timeframe), before=before, after=after,
        limit=limit,
    )  # fmt: skip


def bar_of(timeframe: Timeframe) -> str:
    """BloFin's word for a bar size: minutes lower case, hours and days upper case."""
    value = timeframe.value
    return value if value.endswith("m") else value.upper()


def order(request: OrderRequest, instrument: Instrument) -> Call:
    """Place one order or stop entry."""
    purpose = Purpose.PROTECT if request.reduce_only else Purpose.OPEN
    if request.type is OrderType.TRIGGER:
        return write("trade/order-algo", _trigger_body(request, instrument), purpose)
    return write("trade/order", _order_body(request, instrument), purpose)


def orders(requests: Sequence[OrderRequest], instrument: Instrument) -> Call:
    """Place up to 20 orders of one symbol.

    Errors: UsageError when there are none or too many, of two symbols, with one id twice, or with
    a stop entry among them.
    """
    if not 1 <= len(requests) <= BATCH_MAX:
        raise UsageError(f"a batch holds 1 to {BATCH_MAX} orders, not {len(requests)}")
    if len({request.client_id for request in requests}) < len(requests):
        raise UsageError("a batch names a client order id twice")
    if any(request.type is OrderType.TRIGGER for request in requests):
        raise UsageError("stop entries cannot be placed in a batch")
    protects = all(request.reduce_only for request in requests)
    bodies = [_order_body(request, instrument) for request in requests]
    return write("trade/batch-orders", bodies, Purpose.PROTECT if protects else Purpose.OPEN)


def protection(request: ProtectionRequest, instrument: Instrument) -> Call:
    """Place a stop, a target or both as an order of its own, reduce-only."""
    _check_symbol(request.symbol, instrument)
    body: dict[str, Any] = {
        "instId": request.symbol,
        "marginMode": MarginMode.ISOLATED.value,
        "positionSide": request.position_side.value,
        "side": request.side.value,
        "size": MARKET_PRICE if request.size is None else contracts_of(request.size, instrument),
        "reduceOnly": "true",
        "clientOrderId": request.client_id,
    }
    body |= _bracket(request, instrument)
    return write("trade/order-tpsl", body, Purpose.PROTECT)


def close(request: CloseRequest) -> Call:
    """Close a whole position at market."""
    body = {
        "instId": request.symbol,
        "marginMode": MarginMode.ISOLATED.value,
        "positionSide": request.position_side.value,
        "clientOrderId": request.client_id,
    }
    return write("trade/close-position", body, Purpose.PROTECT)


def cancel(ref: OrderRef) -> Call:
    """Cancel one order or stop entry."""
    if ref.is_trigger:
        return write("trade/cancel-algo", _named(ref, "algoId"), Purpose.PROTECT)
    return write("trade/cancel-order", _named(ref, "orderId"), Purpose.PROTECT)


def cancels(refs: Sequence[OrderRef]) -> Call:
    """Cancel up to 20 orders at once, all of them named by the same kind of id.

    Errors: UsageError otherwise, and for stop entries, which have no batch.
    """
    if not 1 <= len(refs) <= BATCH_MAX or any(ref.is_trigger for ref in refs):
        raise UsageError(f"a batch cancels 1 to {BATCH_MAX} orders and no stop entries")
    if len({ref.order_id is None for ref in refs}) > 1:
        raise UsageError("a batch names its orders by one kind of id")
    bodies = [_named(ref, "orderId") for ref in refs]
    return write("trade/cancel-batch-orders", bodies, Purpose.PROTECT)


def cancel_protection(ref: ProtectionRef) -> Call:
    """Cancel one stop or target order; the body is an array."""
    body: dict[str, str] = {"instId": ref.symbol}
    if ref.protection_id:
        body["tpslId"] = ref.protection_id
    elif ref.client_id:
        body["clientOrderId"] = ref.client_id
    return write("trade/cancel-tpsl", [body], Purpose.PROTECT)


def order_detail(ref: OrderRef) -> Call:
    """Ask one order, open or finished."""
    by_client = None if ref.order_id else ref.client_id
    return private(
        "trade/order-detail", instId=ref.symbol, orderId=ref.order_id, clientOrderId=by_client
    )


def protection_detail(ref: ProtectionRef) -> Call:
    """Ask one stop or target order."""
    by_client = None if ref.protection_id else ref.client_id
    return private(
        "trade/order-tpsl-detail",
        instId=ref.symbol, tpslId=ref.protection_id, clientOrderId=by_client,
    )  # fmt: skip


def set_leverage(symbol: str, leverage: int) -> Call:
    """Set isolated leverage."""
    body = {"instId": symbol, "leverage": str(leverage), "marginMode": MarginMode.ISOLATED.value}
    return write("account/set-leverage", body, Purpose.OPEN)


def set_margin_mode(mode: MarginMode) -> Call:
    """Set the account's default margin mode."""
    return write("account/set-margin-mode", {"marginMode": mode.value}, Purpose.OPEN)


def set_position_mode(mode: PositionMode) -> Call:
    """Set one-way or hedge mode."""
    body = {"positionMode": POSITION_MODES[mode]}
    return write("account/set-position-mode", body, Purpose.OPEN)


def price_range(symbol: str, side: Side) -> Call:
    """Ask the band of prices an order of this side may have."""
    return private("trade/order/price-range", instId=symbol, side=side.value)


def contracts_of(base_units: Decimal, instrument: Instrument) -> str:
    """Base units as contracts in plain notation.

    Errors: UsageError when the size is no whole number of lots or below the minimum: rounding is
    the caller's decision, made once.
    """
    contracts = base_units / instrument.contract_value
    if contracts % instrument.lot_size != 0:
        lot = instrument.lot_size * instrument.contract_value
        raise UsageError(f"{instrument.symbol}: size {base_units} is no multiple of {lot:f}")
    if contracts < instrument.min_size:
        least = instrument.min_size * instrument.contract_value
        raise UsageError(f"{instrument.symbol}: size {base_units} is below the minimum {least:f}")
    return plain(contracts)


def price_text(price: Decimal, instrument: Instrument) -> str:
    """A price in plain notation.

    Errors: UsageError when it lies between ticks.
    """
    if price % instrument.tick_size != 0:
        raise UsageError(
            f"{instrument.symbol}: price {price:f} is no multiple of the tick "
            f"{instrument.tick_size:f}"
        )
    return plain(price)


def plain(value: Decimal) -> str:
    """Decimal text without exponent or trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _order_body(request: OrderRequest, instrument: Instrument) -> dict[str, Any]:
    _check_symbol(request.symbol, instrument)
    body: dict[str, Any] = {
        "instId": request.symbol,
        "marginMode": MarginMode.ISOLATED.value,
        "positionSide": request.position_side.value,
        "side": request.side.value,
        "orderType": request.type.value,
    }
    if request.price is not None:
        body["price"] = price_text(request.price, instrument)
    size = contracts_of(request.size, instrument)
    _check_largest(request, size, instrument)
    body["size"] = size
    if request.reduce_only:
        body["reduceOnly"] = "true"
    body["clientOrderId"] = request.client_id
    return body | _bracket(request, instrument)


def _trigger_body(request: OrderRequest, instrument: Instrument) -> dict[str, Any]:
    _check_symbol(request.symbol, instrument)
    if request.trigger is None:
        raise UsageError("a stop entry needs its trigger price")
    size = contracts_of(request.size, instrument)
    _check_largest(request, size, instrument)
    body: dict[str, Any] = {
        "instId": request.symbol,
        "marginMode": MarginMode.ISOLATED.value,
        "positionSide": request.position_side.value,
        "side": request.side.value,
        "orderType": OrderType.TRIGGER.value,
        "size": size,
        "triggerPrice": price_text(request.trigger, instrument),
        "triggerPriceType": "last",
        "orderPrice": MARKET_PRICE
        if request.price is None
        else price_text(request.price, instrument),
        "clientOrderId": request.client_id,
    }
    if request.reduce_only:
        body["reduceOnly"] = "true"
    attached = _bracket(request, instrument)
    if attached:
        kinds = {"tp": "tpTriggerPriceType", "sl": "slTriggerPriceType"}
        attached |= {kinds[name[:2]]: "last" for name in tuple(attached)}
        body["attachAlgoOrders"] = [attached]
    return body


def _bracket(request: OrderRequest | ProtectionRequest, instrument: Instrument) -> dict[str, Any]:
    """Fields of stop and target: a stop is always a market order once triggered."""
    fields: dict[str, Any] = {}
    if request.target is not None:
        limit = request.target_limit
        fields["tpTriggerPrice"] = price_text(request.target, instrument)
        fields["tpOrderPrice"] = MARKET_PRICE if limit is None else price_text(limit, instrument)
    if request.stop is not None:
        fields["slTriggerPrice"] = price_text(request.stop, instrument)
        fields["slOrderPrice"] = MARKET_PRICE
    return fields


def _check_symbol(symbol: str, instrument: Instrument) -> None:
    if symbol != instrument.symbol:
        raise UsageError(f"an order of {symbol} was given the terms of {instrument.symbol}")


def _check_largest(request: OrderRequest, contracts: str, instrument: Instrument) -> None:
    is_market = request.price is None
    largest = instrument.market_size_max if is_market else instrument.limit_size_max
    if Decimal(contracts) > largest:
        most = largest * instrument.contract_value
        raise UsageError(f"{request.symbol}: size {request.size:f} is above the maximum {most:f}")


def _named(ref: OrderRef, id_name: str) -> dict[str, str]:
    body = {"instId": ref.symbol}
    if ref.order_id:
        body[id_name] = ref.order_id
    elif ref.client_id:
        body["clientOrderId"] = ref.client_id
    return body
