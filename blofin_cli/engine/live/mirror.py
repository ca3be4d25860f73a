"""What the exchange last said it holds for us: positions, orders, stops and money.

The stream changes single rows, a snapshot replaces them all. A row the stream touched while a
snapshot was being read stays as the stream told it, since it is the younger; a failed query changes
nothing, so absence is only ever concluded from a complete answer.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from blofin_cli.core.orders import (
    AccountInfo,
    Order,
    OrderState,
    Position,
    Protection,
    Side,
)
from blofin_cli.ports import AccountReader

Row = TypeVar("Row")

ZERO = Decimal(0)
_ENDED_KEPT_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One complete look at an account; `asked_ms` is monotonic time before the first question."""

    asked_ms: int
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]
    protections: tuple[Protection, ...]
    account: AccountInfo


async def take_snapshot(reader: AccountReader, now_ms: int) -> Snapshot:
    """Read everything, stops before positions: a stop seen is older than the position it covers.

    Errors: as the port; then nothing may be concluded.
    """
    orders = await reader.open_orders()
    protections = await reader.protections()
    positions = await reader.positions()
    account = await reader.account()
    return Snapshot(
        asked_ms=now_ms,
        positions=positions,
        orders=orders,
        protections=protections,
        account=account,
    )


class Mirror:
    """The exchange's word, row by row, with the monotonic time of hearing it.

    `stale` names symbols whose position was told before a sleep, and not again since.
    """

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.orders: dict[str, Order] = {}
        self.protections: dict[str, Protection] = {}
        self.account: AccountInfo | None = None
        self.stale: set[str] = set()
        self._heard_ms: dict[tuple[str, str], int] = {}
        self._ended: dict[str, None] = {}

    def position(self, symbol: str) -> Position | None:
        """The open position of a symbol, if any."""
        return self.positions.get(symbol)

    def size(self, symbol: str) -> Decimal:
        """Signed size held."""
        held = self.positions.get(symbol)
        return ZERO if held is None else held.size

    def stops(self, symbol: str, side: Side) -> tuple[Protection, ...]:
        """Live stops of a symbol on the closing side."""
        return tuple(
            row
            for row in self.protections.values()
            if row.symbol == symbol and row.side is side and row.stop is not None
        )

    def targets(self, symbol: str, side: Side) -> tuple[Protection, ...]:
        """Live targets of a symbol on the closing side."""
        return tuple(
            row
            for row in self.protections.values()
            if row.symbol == symbol and row.side is side and row.target is not None
        )

    def covered(self, symbol: str) -> Decimal:
        """How much of the position live stops cover, at most all of it."""
        held = self.positions.get(symbol)
        if held is None:
            return ZERO
        total, whole = ZERO, abs(held.size)
        for stop in self.stops(symbol, held.closing_side):
            total += whole if stop.size is None else stop.size
        return min(total, whole)

    def entries(self, symbol: str | None = None) -> tuple[Order, ...]:
        """Working orders that could open or enlarge something."""
        return tuple(
            order
            for order in self.orders.values()
            if not order.reduce_only and symbol in (None, order.symbol)
        )

    def hear_position(self, position: Position, now_ms: int) -> None:
        """Take a position from the stream."""
        self._heard_ms["position", position.symbol] = now_ms
        known = self.positions.get(position.symbol)
        if known is not None and position.updated_ms < known.updated_ms:
            return
        self.stale.discard(position.symbol)
        if position.size == 0:
            self.positions.pop(position.symbol, None)
        else:
            self.positions[position.symbol] = position

    def hear_order(self, order: Order, now_ms: int) -> bool:
        """Take an order from the stream; whether it tells of more filled than was known."""
        known = self.orders.get(order.order_id)
        if known is not None and _is_older(order, known):
            return False
        if order.order_id in self._ended:
            return False
        self._heard_ms["order", order.order_id] = now_ms
        if order.state.is_open:
            self.orders[order.order_id] = order
        else:
            self.orders.pop(order.order_id, None)
            self._remember_end(order.order_id)
        return order.filled > (ZERO if known is None else known.filled)

    def hear_protection(self, protection: Protection, now_ms: int) -> None:
        """Take a stop or target from the stream."""
        if protection.protection_id in self._ended:
            return
        self._heard_ms["protection", protection.protection_id] = now_ms
        if protection.state.is_open:
            self.protections[protection.protection_id] = protection
        else:
            self.protections.pop(protection.protection_id, None)
            self._remember_end(protection.protection_id)

    def hear_account(self, account: AccountInfo) -> None:
        """Take balances; an older message changes nothing."""
        if self.account is None or account.ts_ms >= self.account.ts_ms:
            self.account = account

    def replace_protections(self, told: tuple[Protection, ...], asked_ms: int) -> None:
        """Take a complete list of stops and targets, but for what the stream has told since."""
        rows = {row.protection_id: row for row in told}
        self.protections = self._merged("protection", self.protections, rows, asked_ms)

    def replace_positions(self, told: tuple[Position, ...], asked_ms: int) -> None:
        """Take a complete list of positions, but for what the stream has told since."""
        rows = {row.symbol: row for row in told if row.size}
        self.positions = self._merged("position", self.positions, rows, asked_ms)
        self.stale.clear()

    def replace(self, told: Snapshot) -> None:
        """Take a complete look, but for what the stream has told since it was asked for."""
        since = told.asked_ms
        self.replace_positions(told.positions, since)
        self.orders = self._merged(
            "order", self.orders, {row.order_id: row for row in told.orders}, since
        )
        self.replace_protections(told.protections, since)
        self.hear_account(told.account)
        self._heard_ms = {key: at for key, at in self._heard_ms.items() if at >= since}

    def doubt_positions(self) -> None:
        """A sleep: what is held may be another by now."""
        self.stale.update(self.positions)

    def forget_protection(self, protection_id: str, now_ms: int) -> None:
        """A cancel of ours was confirmed."""
        self.protections.pop(protection_id, None)
        self._heard_ms["protection", protection_id] = now_ms
        self._remember_end(protection_id)

    def _merged(
        self, kind: str, known: dict[str, Row], told: dict[str, Row], since_ms: int
    ) -> dict[str, Row]:
        merged = {
            key: row
            for key, row in told.items()
            if key not in self._ended and self._heard_ms.get((kind, key), -1) < since_ms
        }
        younger = {
            key: row
            for key, row in known.items()
            if self._heard_ms.get((kind, key), -1) >= since_ms
        }
        return merged | younger

    def _remember_end(self, key: str) -> None:
        self._ended[key] = None
        while len(self._ended) > _ENDED_KEPT_MAX:
            del self._ended[next(iter(self._ended))]


def _is_older(order: Order, known: Order) -> bool:
    if order.updated_ms != known.updated_ms:
        return order.updated_ms < known.updated_ms
    return order.filled < known.filled or (
        known.state is OrderState.PARTIALLY_FILLED and order.state is OrderState.LIVE
    )
