"""BloFin's trading endpoints: the double envelope of every write, and the lists.

A refusal that concerns the request's form (152xxx) stands outside. What the matching engine
refuses stands inside `data`, under an outer code of 1, or 2 when a batch partly succeeds.

Source: BloFin's API documentation, Trading; recorded answers of cancels and failures.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from blofin_cli.adapters.exchanges.sim import checks, rows
from blofin_cli.adapters.exchanges.sim.account_api import within
from blofin_cli.adapters.exchanges.sim.desk import CANCEL_GONE
from blofin_cli.adapters.exchanges.sim.public_api import page
from blofin_cli.adapters.exchanges.sim.reading import (
    Fields,
    read_algo,
    read_order,
    read_tpsl,
)
from blofin_cli.adapters.exchanges.sim.records import (
    Algo,
    Order,
    OrderRequest,
    Protection,
    Tpsl,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box, Call

Data = dict[str, Any]


class Envelope(NamedTuple):
    """An answer whose outer code is not the usual one."""

    code: str
    msg: str
    data: Any


def place_order(box: "Box", call: "Call") -> Envelope:
    """`trade/order`: an array of one."""
    row = _place(box, read_order(call.body))
    if row["code"] != "0":
        return Envelope("1", "All operations failed", [row])
    return Envelope("0", "", [row])


def batch_orders(box: "Box", call: "Call") -> Envelope:
    """`trade/batch-orders`: up to 20 of one instrument and margin mode."""
    requests = [read_order(item) for item in call.items]
    if len({(request.inst_id, request.margin_mode) for request in requests}) > 1:
        raise VenueError("152007", "instId and marginMode must be the same in a batch.")
    names = [request.client_order_id for request in requests if request.client_order_id]
    if len(names) != len(set(names)):
        raise VenueError("152420", "Duplicate order in the batch.")
    return _batch([_place(box, request, in_batch=True) for request in requests])


def cancel_order(box: "Box", call: "Call") -> Envelope:
    """`trade/cancel-order`: an array of one, as observed; what is gone is refused outside."""
    order = _order(box, call.body)
    if order is None:
        raise VenueError("102068", CANCEL_GONE)
    box.venue.orders.cancel(order)
    row = {"orderId": order.order_id, "clientOrderId": order.request.client_order_id or None}
    return Envelope("0", "", [row | {"code": "0", "msg": "Order canceled"}])


def cancel_batch_orders(box: "Box", call: "Call") -> list[Data]:
    """`trade/cancel-batch-orders`: failed rows carry 1000 under an outer 0."""
    if len({bool(item.text("orderId")) for item in call.items}) > 1:
        raise VenueError("152008", "Only one kind of id is allowed in bulk cancelation.")
    done = []
    for item in call.items:
        order = _order(box, item)
        row: Data = {"orderId": item.text("orderId"), "clientOrderId": None}
        if order is not None:
            row = {"orderId": order.order_id, "clientOrderId": order.request.client_order_id}
        if order is None or not order.is_open:
            done.append(row | {"msg": CANCEL_GONE, "code": "1000"})
            continue
        box.venue.orders.cancel(order)
        done.append(row)
    return done


def order_tpsl(box: "Box", call: "Call") -> Envelope:
    """`trade/order-tpsl`: an object."""
    request = read_tpsl(call.body)
    return _one(
        "tpslId", request.client_order_id, lambda: box.venue.triggers.place_tpsl(request).tpsl_id
    )


def order_algo(box: "Box", call: "Call") -> Envelope:
    """`trade/order-algo`: an object."""
    request = read_algo(call.body)
    return _one(
        "algoId", request.client_order_id, lambda: box.venue.triggers.place_algo(request).algo_id
    )


def cancel_tpsl(box: "Box", call: "Call") -> Envelope:
    """`trade/cancel-tpsl`: an array; failed rows carry 500 under an outer 0."""
    triggers = box.venue.triggers
    found = []
    for item in call.items:
        tpsl = _pick(item, "tpslId", triggers.tpsl, triggers.tpsl_by_client)
        found.append(_cancel_trigger(box, tpsl, {"tpslId": item.text("tpslId")}))
    return Envelope("0", "Batch orders canceled", found)


def cancel_algo(box: "Box", call: "Call") -> Data:
    """`trade/cancel-algo`: an object; a failure shows inside only."""
    triggers = box.venue.triggers
    algo = _pick(call.body, "algoId", triggers.algo, triggers.algo_by_client)
    return _cancel_trigger(box, algo, {"algoId": call.body.text("algoId")})


def close_position(box: "Box", call: "Call") -> Data:
    """`trade/close-position`: the answer names no order."""
    body = call.body
    client_order_id = body.text("clientOrderId")
    checks.check_client_id(client_order_id)
    inst_id, side = body.need("instId"), body.text("positionSide", "net")
    box.venue.close_position(
        inst_id, body.need("marginMode"), side, client_order_id, body.text("brokerId")
    )
    return {"instId": inst_id, "positionSide": side, "clientOrderId": client_order_id}


def amend_order(box: "Box", call: "Call") -> list[Data]:
    """`trade/amend-order`, known from other clients only."""
    order = _order(box, call.body)
    if order is None:
        raise VenueError("102067", "Modification failed as the order does not exist.")
    box.venue.orders.amend(
        order,
        call.body.number("newPrice"),
        call.body.number("newSize"),
        _moved(call.body, order.protection),
    )
    row = {"orderId": order.order_id, "clientOrderId": order.request.client_order_id}
    return [row | {"code": "0", "msg": "Order modified"}]


def amend_tpsl(box: "Box", call: "Call") -> Data:
    """`trade/amend-tpsl`, known from other clients only."""
    triggers = box.venue.triggers
    tpsl = _pick(call.body, "tpslId", triggers.tpsl, triggers.tpsl_by_client)
    if tpsl is None:
        raise VenueError("102067", "Modification failed as the order does not exist.")
    moved = _moved(call.body, tpsl.protection) or tpsl.protection
    triggers.amend_tpsl(tpsl, moved, call.body.number("newSize"))
    client = tpsl.request.client_order_id or None
    return {"tpslId": tpsl.tpsl_id, "clientOrderId": client, "code": "0", "msg": None}


def amend_algo(box: "Box", call: "Call") -> Data:
    """`trade/amend-algo`, known from other clients only."""
    triggers = box.venue.triggers
    algo = _pick(call.body, "algoId", triggers.algo, triggers.algo_by_client)
    if algo is None:
        raise VenueError("102067", "Modification failed as the order does not exist.")
    triggers.amend_algo(algo, call.body.number("newTriggerPrice"), call.body.number("newSize"))
    client = algo.request.client_order_id or None
    return {"algoId": algo.algo_id, "clientOrderId": client, "code": "0", "msg": None}


def orders_pending(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-pending`."""
    query = call.query
    found = [
        order
        for order in box.venue.orders.open.values()
        if _fits(query, order) and box.is_visible(order.order_id)
    ]
    found.sort(key=lambda order: int(order.order_id))
    return [_order_row(box, order) for order in page(found, "order_id", query)]


def order_detail(box: "Box", call: "Call") -> Data:
    """`trade/order-detail`: open or finished, by either id or the trigger's client id."""
    query = call.query
    query.need("instId")
    order = _order(box, query)
    if order is None and (name := query.text("algoClientOrderId")):
        known = box.venue.orders.known.values()
        order = next((each for each in known if each.algo_client_id == name), None)
    if (
        order is None
        or order.request.inst_id != query.text("instId")
        or not box.is_visible(order.order_id)
    ):
        raise VenueError("152002", "Order does not exist.")
    return _order_row(box, order)


def orders_history(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-history`: finished ones; ids do not filter here, as observed."""
    query = call.query
    found = [
        order
        for order in box.venue.orders.known.values()
        if not order.is_open and _fits(query, order) and within(query, order.create_ms)
    ]
    value = box.venue.terms
    return [
        rows.finished_order_row(order, value[order.request.inst_id].contract_value)
        for order in page(found, "order_id", query)
    ]


def tpsl_pending(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-tpsl-pending`."""
    found = _triggers(call.query, "tpslId", box.venue.triggers.tpsl_live.values())
    return [rows.tpsl_row(tpsl) for tpsl in page(found, "tpsl_id", call.query)]


def tpsl_history(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-tpsl-history`."""
    done = (tpsl for tpsl in box.venue.triggers.tpsl.values() if tpsl.state != "live")
    found = _triggers(call.query, "tpslId", done)
    return [rows.tpsl_row(tpsl, finished=True) for tpsl in page(found, "tpsl_id", call.query)]


def tpsl_detail(box: "Box", call: "Call") -> Data:
    """`trade/order-tpsl-detail`."""
    call.query.need("instId")
    triggers = box.venue.triggers
    tpsl = _pick(call.query, "tpslId", triggers.tpsl, triggers.tpsl_by_client)
    if tpsl is None:
        raise VenueError("152002", "Order does not exist.")
    return rows.tpsl_row(tpsl)


def algo_pending(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-algo-pending`."""
    _need_trigger(call.query)
    found = _triggers(call.query, "algoId", box.venue.triggers.algo_live.values())
    return [rows.algo_row(algo) for algo in page(found, "algo_id", call.query)]


def algo_history(box: "Box", call: "Call") -> list[Data]:
    """`trade/orders-algo-history`."""
    _need_trigger(call.query)
    done = (algo for algo in box.venue.triggers.algo.values() if algo.state != "live")
    found = _triggers(call.query, "algoId", done)
    return [rows.algo_row(algo, finished=True) for algo in page(found, "algo_id", call.query)]


def fills_history(box: "Box", call: "Call") -> list[Data]:
    """`trade/fills-history`."""
    query = call.query
    inst_id, order_id = query.text("instId"), query.text("orderId")
    found = [
        fill
        for fill in box.venue.account.fills
        if (not inst_id or fill.inst_id == inst_id)
        and (not order_id or fill.order_id == order_id)
        and within(query, fill.ts_ms)
    ]
    return [rows.fill_row(fill) for fill in page(found, "trade_id", query)]


def price_range(box: "Box", call: "Call") -> Data:
    """`trade/order/price-range`."""
    inst_id, side = call.query.need("instId"), call.query.need("side")
    if side not in {"buy", "sell"}:
        raise checks.parameter("side")
    terms = box.venue.orders.terms(inst_id)
    low, high = checks.price_band(box.venue.markets[inst_id].quote(), box.venue.rules)
    grid = terms.tick_size
    return {
        "maxPrice": rows.long(high // grid * grid),
        "minPrice": rows.long(-(-low // grid) * grid),
    }


def _place(box: "Box", request: OrderRequest, *, in_batch: bool = False) -> Data:
    """The inner row of one order; in a batch every refusal is one, as others may stand already."""
    row: Data = {"orderId": None, "clientOrderId": request.client_order_id}
    if box.faults.strikes("partial_fill"):
        box.venue.orders.take_share = Decimal(30 + box.faults.draw("share", 51)) / 100
    try:
        order = box.venue.orders.place(_without_dropped(box, request))
    except VenueError as refusal:
        box.venue.orders.take_share = None
        if refusal.code.startswith("152") and not in_batch:
            raise
        return row | {"msg": refusal.message, "code": refusal.code}
    if fault := box.faults.strikes("invisible"):
        box.hide(order.order_id, fault.ms)
    return row | {"orderId": order.order_id, "code": "0", "msg": "Order placed"}


def _without_dropped(box: "Box", request: OrderRequest) -> OrderRequest:
    """The order without what a fault leaves out of it."""
    kept = request.protection
    if kept.sl_trigger is not None and box.faults.strikes("dropped_stop"):
        kept = replace(kept, sl_trigger=None, sl_price=None)
    if kept.tp_trigger is not None and box.faults.strikes("dropped_target"):
        kept = replace(kept, tp_trigger=None, tp_price=None)
    return request if kept is request.protection else replace(request, protection=kept)


def _batch(done: list[Data]) -> Envelope:
    failed = sum(row["code"] != "0" for row in done)
    if not failed:
        return Envelope("0", "success", done)
    if failed == len(done):
        return Envelope("1", "All operations failed", done)
    return Envelope("2", "Bulk operation partially successful", done)


def _one(name: str, client_order_id: str, place: Callable[[], str]) -> Envelope:
    row: Data = {"clientOrderId": client_order_id or None}
    try:
        return Envelope("0", "Order placed", row | {name: place(), "code": "0", "msg": None})
    except VenueError as refusal:
        if refusal.code.startswith("152"):
            raise
        inner = row | {name: None, "code": refusal.code, "msg": refusal.message}
        return Envelope("1", "All operations failed", inner)


def _cancel_trigger(box: "Box", trigger: Tpsl | Algo | None, asked: Data) -> Data:
    if trigger is None or trigger.state != "live":
        return asked | {"clientOrderId": None, "code": "500", "msg": CANCEL_GONE}
    box.venue.triggers.cancel(trigger)
    name = "tpslId" if isinstance(trigger, Tpsl) else "algoId"
    own = trigger.tpsl_id if isinstance(trigger, Tpsl) else trigger.algo_id
    client = trigger.request.client_order_id or None
    return {name: own, "clientOrderId": client, "code": "0", "msg": None}


def _order(box: "Box", fields: Fields) -> Order | None:
    orders = box.venue.orders
    order_id, client_id = fields.text("orderId"), fields.text("clientOrderId")
    if not order_id and not client_id and not fields.text("algoClientOrderId"):
        raise VenueError("152003", "Either parameter orderId or clientOrderId is required.")
    return orders.known.get(order_id) if order_id else orders.by_client.get(client_id)


Record = TypeVar("Record", Tpsl, Algo)


def _pick(
    fields: Fields, name: str, known: dict[str, Record], by_client: dict[str, Record]
) -> Record | None:
    own, client_id = fields.text(name), fields.text("clientOrderId")
    if not own and not client_id:
        raise VenueError("152003", f"Either parameter {name} or clientOrderId is required.")
    return known.get(own) if own else by_client.get(client_id)


def _fits(query: Fields, order: Order) -> bool:
    request = order.request
    return (
        query.text("instId", request.inst_id) == request.inst_id
        and query.text("orderType", request.order_type) == request.order_type
        and query.text("state", order.state) == order.state
    )


def _triggers(query: Fields, name: str, found: Iterable[Record]) -> list[Record]:
    own, client = query.text(name), query.text("clientOrderId")
    attribute = name.replace("Id", "_id")
    return [
        item
        for item in found
        if query.text("instId", item.request.inst_id) == item.request.inst_id
        and (not client or item.request.client_order_id == client)
        and (not own or own == getattr(item, attribute))
        and query.text("state", item.state) == item.state
    ]


def _moved(fields: Fields, before: Protection) -> Protection | None:
    """Triggers after an amendment; None when it names none."""
    new = {
        "tp_trigger": fields.number("newTpTriggerPrice"),
        "sl_trigger": fields.number("newSlTriggerPrice"),
    }
    changes: dict[str, Decimal | None] = {k: v for k, v in new.items() if v is not None}
    for name, key in (("tp_price", "newTpOrderPrice"), ("sl_price", "newSlOrderPrice")):
        if fields.text(key):
            changes[name] = fields.order_price(key)
    return replace(before, **changes) if changes else None


def _need_trigger(query: Fields) -> None:
    if query.need("orderType") != "trigger":
        raise checks.parameter("orderType")


def _order_row(box: "Box", order: Order) -> Data:
    return rows.order_row(order, box.venue.terms[order.request.inst_id].contract_value)
