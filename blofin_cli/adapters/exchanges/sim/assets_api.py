"""BloFin's private REST endpoints for assets: wallets beside futures, transfers, demo money.

Source: BloFin's API documentation, Funding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.checks import parameter
from blofin_cli.adapters.exchanges.sim.public_api import page
from blofin_cli.adapters.exchanges.sim.records import ZERO, VenueError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box, Call

Data = dict[str, Any]

ACCOUNT_TYPES = frozenset(
    {"funding", "futures", "copy_trading", "earn", "spot", "inverse_contract", "usdc_contract"}
)
FUTURES, USDT = "futures", "USDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One movement between wallets."""

    transfer_id: str
    from_account: str
    to_account: str
    amount: Decimal
    ts_ms: int
    client_id: str


def currencies(box: "Box", call: "Call") -> list[Data]:
    """`asset/currencies`: none can be deposited or withdrawn here."""
    return []


def no_movements(box: "Box", call: "Call") -> list[Data]:
    """Deposits and withdrawals: there are none."""
    return []


def balances(box: "Box", call: "Call") -> list[Data]:
    """`asset/balances` of one account type."""
    kind = _account_type(call.query.need("accountType"), "accountType")
    if call.query.text("currency", USDT) != USDT:
        return []
    if kind == FUTURES:
        details = box.balance()["details"][0]
        kept = ("currency", "balance", "available", "frozen", "bonus")
        return [{name: details[name] for name in kept}]
    held = box.wallets.get(kind, ZERO)
    if not held:
        return []
    text = rows.plain(held)
    return [
        {"currency": USDT, "balance": text, "available": text, "frozen": "0", "bonus": "0"},
    ]


def transfer(box: "Box", call: "Call") -> Data:
    """`asset/transfer` between the wallets of one account."""
    body = call.body
    amount = body.need_number("amount")
    source = _account_type(body.need("fromAccount"), "fromAccount")
    target = _account_type(body.need("toAccount"), "toAccount")
    client_id = body.text("clientId")
    if body.need("currency") != USDT or amount <= 0 or source == target:
        raise parameter("currency" if body.text("currency") != USDT else "amount")
    if client_id and any(each.client_id == client_id for each in box.transfers):
        raise VenueError("150003", "clientId already exist")
    if amount > _free(box, source):
        raise VenueError("150004", "Insufficient balance")
    _move(box, source, -amount)
    _move(box, target, amount)
    done = Transfer(
        transfer_id=box.venue.account.new_id(),
        from_account=source,
        to_account=target,
        amount=amount,
        ts_ms=box.now_ms,
        client_id=client_id,
    )
    box.transfers.append(done)
    return {"transferId": done.transfer_id, "clientTransferId": client_id}


def bills(box: "Box", call: "Call") -> list[Data]:
    """`asset/bills`: transfers, newest first, paged by time."""
    query = call.query
    wanted: Mapping[str, str] = {
        "from_account": query.text("fromAccount"),
        "to_account": query.text("toAccount"),
    }
    found = [
        each
        for each in box.transfers
        if all(not value or getattr(each, name) == value for name, value in wanted.items())
    ]
    return [
        {
            "transferId": each.transfer_id,
            "currency": USDT,
            "fromAccount": each.from_account,
            "toAccount": each.to_account,
            "amount": rows.long(each.amount),
            "ts": str(each.ts_ms),
            "clientId": each.client_id,
        }
        for each in page(found, "ts_ms", query, 100)
    ]


def demo_money(box: "Box", call: "Call") -> Data:
    """`asset/demo-apply-money`: add to the futures wallet, or take away."""
    kind = call.body.integer("adjustType") or 0
    child = call.body.child("demoApplyMoney")
    if kind not in {0, 1} or child is None:
        raise parameter("adjustType" if child else "demoApplyMoney")
    amount = child.need_number("amountStr")
    if child.need("currency") != USDT or not 0 < amount <= 5_000_000:
        raise parameter("amountStr")
    _move(box, FUTURES, amount if kind == 0 else -amount)
    return {}


def _account_type(word: str, name: str) -> str:
    if word not in ACCOUNT_TYPES:
        raise parameter(name)
    return word


def _free(box: "Box", kind: str) -> Decimal:
    if kind == FUTURES:
        return box.venue.account.available(box.venue.orders.frozen())
    return box.wallets.get(kind, ZERO)


def _move(box: "Box", kind: str, amount: Decimal) -> None:
    if kind == FUTURES:
        box.venue.account.balance += amount
    else:
        box.wallets[kind] = box.wallets.get(kind, ZERO) + amount
