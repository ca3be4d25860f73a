"""Requests as they come: JSON, query strings and their fields, read strictly.

null, "" and absence are the same. Numbers are plain decimals, as text or as JSON numbers, without
exponent; unknown keys are ignored.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from blofin_cli.adapters.exchanges.sim.checks import parameter
from blofin_cli.adapters.exchanges.sim.records import (
    AlgoRequest,
    OrderRequest,
    Protection,
    TpslRequest,
    VenueError,
)

BODY_BYTES_MAX = 1 << 20
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?")
_MARKET = Decimal(-1)


class Fields:
    """The named values of a query or a JSON object."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """A word, or the default where there is none.

        Errors: VenueError 152002 for anything that is neither text nor a number.
        """
        value = self._values.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, Decimal)):
            return str(value)
        raise parameter(name)

    def need(self, name: str) -> str:
        """A word that must be there.

        Errors: VenueError 152001.
        """
        value = self.text(name)
        if not value:
            raise VenueError("152001", f"Parameter {name} cannot be empty.")
        return value

    def number(self, name: str) -> Decimal | None:
        """A plain decimal.

        Errors: VenueError 152002.
        """
        text = self.text(name)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise parameter(name)
        return Decimal(text)

    def need_number(self, name: str) -> Decimal:
        """A plain decimal that must be there."""
        self.need(name)
        value = self.number(name)
        assert value is not None
        return value

    def integer(self, name: str) -> int | None:
        """A whole number."""
        value = self.number(name)
        if value is not None and value % 1:
            raise parameter(name)
        return None if value is None else int(value)

    def flag(self, name: str) -> bool:
        """true or false, as text or as JSON."""
        word = self.text(name, "false")
        if word not in {"true", "false"}:
            raise parameter(name)
        return word == "true"

    def order_price(self, name: str) -> Decimal | None:
        """A price, or None for -1, which is market."""
        value = self.number(name)
        return None if value == _MARKET else value

    def protection(self, prefix: str = "") -> Protection:
        """Attached triggers; each needs its order price, and the reverse.

        Errors: VenueError.
        """
        names = [
            _prefixed(prefix, name)
            for name in ("tpTriggerPrice", "tpOrderPrice", "slTriggerPrice", "slOrderPrice")
        ]
        tp, tp_price, sl, sl_price = names
        for trigger, price in ((tp, tp_price), (sl, sl_price)):
            if self.text(price) and not self.text(trigger):
                raise VenueError("152001", f"Parameter {trigger} cannot be empty.")
            if self.text(trigger) and not self.text(price):
                raise VenueError("152001", f"Parameter {price} cannot be empty.")
        for name in (
            _prefixed(prefix, "tpTriggerPriceType"),
            _prefixed(prefix, "slTriggerPriceType"),
        ):
            if self.text(name, "last") != "last":
                raise VenueError("152428", "Invalid trigger price type.")
        return Protection(
            self.number(tp), self.order_price(tp_price), self.number(sl), self.order_price(sl_price)
        )

    def child(self, name: str) -> "Fields | None":
        """The only object of an array field.

        Errors: VenueError 152004 for another shape.
        """
        value = self._values.get(name)
        if value in (None, "", []):
            return None
        if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
            raise VenueError("152004", "JSON syntax error")
        return Fields(value[0])


def _prefixed(prefix: str, name: str) -> str:
    return prefix + name[0].upper() + name[1:] if prefix else name


def read_query(target: str) -> Fields:
    """The parameters of a request target."""
    query = target.partition("?")[2]
    return Fields(dict(parse_qsl(query, keep_blank_values=True)) if query else {})


def read_json(body: bytes | str) -> Any:
    """A JSON document, without NaN or Infinity.

    Errors: VenueError 152004.
    """
    if len(body) > BODY_BYTES_MAX:
        raise VenueError("152004", "JSON syntax error")
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, ArithmeticError):
        raise VenueError("152004", "JSON syntax error") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def read_object(body: bytes) -> Fields:
    """A JSON object.

    Errors: VenueError 400 without a body, 152004 for another shape.
    """
    if not body:
        raise VenueError("400", "Body can not be empty")
    value = read_json(body)
    if not isinstance(value, dict):
        raise VenueError("152004", "JSON syntax error")
    return Fields(value)


def read_objects(body: bytes) -> list[Fields]:
    """A JSON array of 1 to 20 objects.

    Errors: VenueError.
    """
    if not body:
        raise VenueError("400", "Body can not be empty")
    values = read_json(body)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise VenueError("152004", "JSON syntax error")
    if not values:
        raise VenueError("400", "Body can not be empty")
    if len(values) > 20:
        raise VenueError("152006", "The number of orders exceeds the maximum limit of 20.")
    return [Fields(value) for value in values]


def read_order(fields: Fields) -> OrderRequest:
    """The body of `trade/order`.

    Errors: VenueError.
    """
    order_type = fields.need("orderType")
    return OrderRequest(
        inst_id=fields.need("instId"),
        margin_mode=fields.need("marginMode"),
        side=fields.need("side"),
        order_type=order_type,
        size=fields.need_number("size"),
        price=None if order_type == "market" else fields.need_number("price"),
        position_side=fields.text("positionSide", "net"),
        reduce_only=fields.flag("reduceOnly"),
        client_order_id=fields.text("clientOrderId"),
        broker_id=fields.text("brokerId"),
        protection=fields.protection(),
    )


def read_tpsl(fields: Fields) -> TpslRequest:
    """The body of `trade/order-tpsl`.

    Errors: VenueError.
    """
    return TpslRequest(
        inst_id=fields.need("instId"),
        margin_mode=fields.need("marginMode"),
        side=fields.need("side"),
        size=fields.need_number("size"),
        position_side=fields.text("positionSide", "net"),
        reduce_only=fields.flag("reduceOnly"),
        client_order_id=fields.text("clientOrderId"),
        broker_id=fields.text("brokerId"),
        protection=fields.protection(),
    )


def read_algo(fields: Fields) -> AlgoRequest:
    """The body of `trade/order-algo`.

    Errors: VenueError.
    """
    if fields.need("orderType") != "trigger":
        raise parameter("orderType")
    if fields.text("triggerPriceType", "last") != "last":
        raise VenueError("152428", "Invalid trigger price type.")
    attached = fields.child("attachAlgoOrders")
    return AlgoRequest(
        inst_id=fields.need("instId"),
        margin_mode=fields.need("marginMode"),
        side=fields.need("side"),
        size=fields.need_number("size"),
        trigger_price=fields.need_number("triggerPrice"),
        order_price=fields.order_price("orderPrice"),
        position_side=fields.text("positionSide", "net"),
        reduce_only=fields.flag("reduceOnly"),
        client_order_id=fields.text("clientOrderId"),
        broker_id=fields.text("brokerId"),
        protection=Protection() if attached is None else attached.protection(),
    )
