"""BloFin's private REST endpoints for account and user.

Source: BloFin's API documentation, Account, User.
"""

from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.checks import parameter
from blofin_cli.adapters.exchanges.sim.public_api import page
from blofin_cli.adapters.exchanges.sim.reading import Fields
from blofin_cli.adapters.exchanges.sim.records import (
    CROSS,
    HEDGE_MODE,
    ISOLATED,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box, Call

Data = dict[str, Any]


def balance(box: "Box", call: "Call") -> Data:
    """`account/balance`."""
    return box.balance()


def positions(box: "Box", call: "Call") -> list[Data]:
    """`account/positions`: open ones only."""
    wanted = call.query.text("instId")
    account = box.venue.account
    return [
        rows.position_row(position, account)
        for position in account.positions.values()
        if not wanted or position.inst_id == wanted
    ]


def positions_history(box: "Box", call: "Call") -> list[Data]:
    """`account/positions-history`."""
    query = call.query
    inst_id, position_id, state = (query.text(n) for n in ("instId", "positionId", "state"))
    found = [
        row
        for row in box.venue.account.closed
        if (not inst_id or row.position.inst_id == inst_id)
        and (not position_id or row.position.position_id == position_id)
        and (not state or row.state == state)
        and within(query, row.position.update_ms)
    ]
    terms = box.venue.terms
    return [
        rows.closed_position_row(row, terms[row.position.inst_id].contract_value)
        for row in page(found, "history_id", query)
    ]


def funding_fees(box: "Box", call: "Call") -> list[Data]:
    """`account/funding-fees`, known from other clients only."""
    query = call.query
    wanted = query.text("instId")
    found = [
        bill
        for bill in box.venue.account.bills
        if (not wanted or bill.inst_id == wanted) and within(query, bill.ts_ms)
    ]
    return [rows.funding_bill_row(bill) for bill in page(found, "bill_id", query, 100)]


def margin_mode(box: "Box", call: "Call") -> Data:
    """`account/margin-mode`."""
    return {"marginMode": box.venue.account.margin_mode}


def set_margin_mode(box: "Box", call: "Call") -> Data:
    """`account/set-margin-mode`."""
    box.venue.set_margin_mode(call.body.need("marginMode"))
    return margin_mode(box, call)


def position_mode(box: "Box", call: "Call") -> Data:
    """`account/position-mode`."""
    return {"positionMode": box.venue.account.position_mode}


def set_position_mode(box: "Box", call: "Call") -> Data:
    """`account/set-position-mode`."""
    box.venue.set_position_mode(call.body.need("positionMode"))
    return position_mode(box, call)


def leverage_info(box: "Box", call: "Call") -> Data:
    """`account/leverage-info`, deprecated: no side."""
    mode = _margin_mode(call.query)
    inst_id = _listed(box, call.query.need("instId"))
    value = box.venue.account.leverage(inst_id, mode, "net")
    return {"leverage": str(value), "marginMode": mode, "instId": inst_id}


def batch_leverage_info(box: "Box", call: "Call") -> list[Data]:
    """`account/batch-leverage-info` of up to 20 instruments."""
    mode = _margin_mode(call.query)
    names = call.query.need("instId").split(",")
    if len(names) > 20:
        raise VenueError("152015", "Number of instId values exceeds the maximum limit of 20")
    return [row for name in names for row in _leverage_rows(box, _listed(box, name), mode)]


def set_leverage(box: "Box", call: "Call") -> Data:
    """`account/set-leverage`."""
    body = call.body
    inst_id, mode = _listed(box, body.need("instId")), _margin_mode(body)
    side = body.text("positionSide", "net")
    if side not in {"net", "long", "short"}:
        raise parameter("positionSide")
    body.need("leverage")
    value = body.integer("leverage")
    assert value is not None
    if not box.faults.strikes("ignored_leverage"):
        box.venue.set_leverage(inst_id, mode, side, value)
    return {"leverage": str(value), "marginMode": mode, "instId": inst_id, "positionSide": side}


def account_config(box: "Box", call: "Call") -> Data:
    """`account/config`: an account that is not unified."""
    return {"accountLevel": "0"}


def query_apikey(box: "Box", call: "Call") -> Data:
    """`user/query-apikey`: about the key that asks."""
    assert call.key is not None
    return {
        "uid": "1000001",
        "apiName": "simulated",
        "apiKey": call.key.key,
        "readOnly": 0 if "TRADE" in call.key.permissions else 1,
        "ips": [],
        "type": 1,
        "expireTime": str(box.key_created_ms + 90 * 86_400_000),
        "createTime": str(box.key_created_ms),
        "referralCode": "",
        "parentUid": "0",
    }


def within(query: Fields, ts_ms: int) -> bool:
    """Whether a moment lies in `begin` to `end`."""
    begin, end = query.integer("begin"), query.integer("end")
    return (begin is None or ts_ms >= begin) and (end is None or ts_ms <= end)


def _margin_mode(fields: Fields) -> str:
    mode = fields.need("marginMode")
    if mode not in {CROSS, ISOLATED}:
        raise parameter("marginMode")
    return mode


def _listed(box: "Box", inst_id: str) -> str:
    box.venue.orders.terms(inst_id)
    return inst_id


def _leverage_rows(box: "Box", inst_id: str, mode: str) -> list[Data]:
    account = box.venue.account
    by_side = account.position_mode == HEDGE_MODE and mode == ISOLATED
    return [
        {
            "leverage": str(account.leverage(inst_id, mode, side)),
            "marginMode": mode,
            "instId": inst_id,
            "positionSide": side,
        }
        for side in (("long", "short") if by_side else ("net",))
    ]
