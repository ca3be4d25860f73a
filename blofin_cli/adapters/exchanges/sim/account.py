"""The wallet and the positions of one account: fills, funding and liquidation in exact decimals.

Fees are charged to the wallet. Funding of an isolated position changes its margin and so the
wallet; a liquidated isolated position loses the whole of its margin.
"""

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.adapters.exchanges.sim import margin
from blofin_cli.adapters.exchanges.sim.records import (
    HEDGE_MODE,
    ISOLATED,
    ZERO,
    ClosedPosition,
    Event,
    Fill,
    FundingBill,
    Order,
    Position,
    Terms,
    VenueRules,
)


@dataclass(frozen=True, slots=True)
class Health:
    """What a position's risk is at the mark. `liquidation` is None where there is none."""

    mark: Decimal
    profit: Decimal
    profit_ratio: Decimal
    initial: Decimal
    maintenance: Decimal
    ratio: Decimal
    liquidation: Decimal | None


class Account:
    """One account at the venue. The venue sets `marks`; nothing here knows orders that rest."""

    def __init__(self, terms: Mapping[str, Terms], rules: VenueRules) -> None:
        self.terms = terms
        self.rules = rules
        self.balance = rules.balance
        self.margin_mode = rules.margin_mode
        self.position_mode = rules.position_mode
        self.marks: dict[str, Decimal] = {}
        self.positions: dict[tuple[str, str], Position] = {}
        self.fills: deque[Fill] = deque(maxlen=rules.history_max)
        self.closed: deque[ClosedPosition] = deque(maxlen=rules.history_max)
        self.bills: deque[FundingBill] = deque(maxlen=rules.history_max)
        self.events: list[Event] = []
        self._leverage: dict[tuple[str, str, str], int] = {}
        self._last_id = rules.first_id - 1

    def new_id(self) -> str:
        """The next id of whatever is numbered."""
        self._last_id += 1
        return str(self._last_id)

    def leverage(self, inst_id: str, margin_mode: str, position_side: str) -> int:
        """Leverage in force; kept by side only for isolated positions in hedge mode."""
        key = self._leverage_key(inst_id, margin_mode, position_side)
        default = min(self.rules.leverage, self.terms[inst_id].leverage_max)
        return self._leverage.get(key, default)

    def set_leverage(self, inst_id: str, margin_mode: str, position_side: str, value: int) -> None:
        """Remember leverage; both sides when none is named."""
        sides = [position_side]
        if self.position_mode == HEDGE_MODE and margin_mode == ISOLATED and position_side == "net":
            sides = ["long", "short"]
        for side in sides:
            self._leverage[self._leverage_key(inst_id, margin_mode, side)] = value

    def _leverage_key(self, inst_id: str, margin_mode: str, side: str) -> tuple[str, str, str]:
        by_side = self.position_mode == HEDGE_MODE and margin_mode == ISOLATED
        return inst_id, margin_mode, side if by_side else "net"

    def of_instrument(self, inst_id: str) -> Iterator[Position]:
        """Open positions of one instrument."""
        for side in ("net", "long", "short"):
            position = self.positions.get((inst_id, side))
            if position is not None:
                yield position

    def closable(self, inst_id: str, position_side: str, sign: int) -> Decimal:
        """Contracts that an order of this sign could close."""
        position = self.positions.get((inst_id, position_side))
        if position is None or position.direction == sign:
            return ZERO
        return position.contracts

    def base_units(self, position: Position) -> Decimal:
        """Size in base units."""
        return position.contracts * self.terms[position.inst_id].contract_value

    def profit(self, position: Position) -> Decimal:
        """Unrealized result at the mark."""
        mark = self.marks.get(position.inst_id, position.entry)
        return margin.unrealized(
            position.direction, self.base_units(position), position.entry, mark
        )

    def isolated_margin(self) -> Decimal:
        """Sum of the margins of isolated positions."""
        held = (p.margin for p in self.positions.values() if p.margin_mode == ISOLATED)
        return sum(held, ZERO)

    def available(self, frozen: Decimal) -> Decimal:
        """What may still be risked; `frozen` is what resting orders hold."""
        free = self.balance - self.isolated_margin() - frozen
        for position in self.positions.values():
            if position.margin_mode != ISOLATED:
                health = self.health(position)
                free += health.profit - health.initial
        return free

    def health(self, position: Position) -> Health:
        """Risk figures of a position at the mark."""
        terms = self.terms[position.inst_id]
        mark = self.marks.get(position.inst_id, position.entry)
        units = self.base_units(position)
        profit = self.profit(position)
        rate = margin.tier_of(terms.tiers, position.contracts).maintenance
        loaded = rate + self.rules.taker
        is_isolated = position.margin_mode == ISOLATED
        collateral = position.margin if is_isolated else self._wallet_for(position)
        initial = margin.initial_margin(units, mark, position.leverage)
        staked = (
            position.margin
            if is_isolated
            else margin.initial_margin(units, position.entry, position.leverage)
        )
        price = margin.liquidation_price(
            position.direction, position.entry, collateral / units, loaded
        )
        return Health(
            mark=mark,
            profit=profit,
            profit_ratio=profit / staked if staked else ZERO,
            initial=initial,
            maintenance=margin.maintenance_margin(units, mark, rate),
            ratio=margin.margin_ratio(collateral, profit, units * mark, loaded),
            liquidation=price if price > 0 else None,
        )

    def _wallet_for(self, position: Position) -> Decimal:
        wallet = self.balance - self.isolated_margin()
        for other in self.positions.values():
            if other is not position and other.margin_mode != ISOLATED:
                wallet += self.profit(other)
        return wallet

    def apply_fill(
        self, order: Order, price: Decimal, size: Decimal, *, is_maker: bool, now_ms: int
    ) -> Fill:
        """Book one execution: fee, closing part, opening part, and the order's own sums."""
        request = order.request
        rate = self.rules.maker if is_maker else self.rules.taker
        value = self.terms[request.inst_id].contract_value
        fee = price * size * value * rate
        side = request.position_side
        closing = min(size, self.closable(request.inst_id, side, order.sign))
        pnl = ZERO
        if closing:
            position = self.positions[request.inst_id, side]
            pnl = self._reduce(position, price, closing, now_ms)
            position.fee += fee * closing / size
        opening = size - closing
        if opening:
            self._grow(order, price, opening, now_ms).fee += fee * opening / size
        self.balance -= fee
        order.filled += size
        order.value += price * size
        order.fee += fee
        order.pnl += pnl
        order.update_ms = now_ms
        fill = Fill(
            trade_id=self.new_id(),
            order_id=order.order_id,
            inst_id=request.inst_id,
            price=price,
            size=size,
            side=request.side,
            position_side=side,
            pnl=pnl,
            fee=fee,
            ts_ms=now_ms,
            is_maker=is_maker,
            broker_id=request.broker_id,
        )
        self.fills.append(fill)
        self._settle(request.inst_id, side, now_ms)
        return fill

    def _reduce(self, position: Position, price: Decimal, size: Decimal, now_ms: int) -> Decimal:
        value = self.terms[position.inst_id].contract_value
        pnl = margin.unrealized(position.direction, size * value, position.entry, price)
        released = position.margin * size / position.contracts
        position.margin = margin.to_places(position.margin - released)
        position.contracts -= size
        position.closed += size
        position.closed_value += price * size
        position.pnl += pnl
        position.update_ms = now_ms
        self.balance += pnl
        if not position.contracts:
            self._finish(position, "closed", now_ms)
        return pnl

    def _grow(self, order: Order, price: Decimal, size: Decimal, now_ms: int) -> Position:
        request = order.request
        key = request.inst_id, request.position_side
        position = self.positions.get(key)
        if position is None:
            position = Position(
                position_id=self.new_id(),
                inst_id=request.inst_id,
                margin_mode=request.margin_mode,
                position_side=request.position_side,
                direction=order.sign,
                leverage=order.leverage,
                create_ms=now_ms,
                update_ms=now_ms,
            )
            self.positions[key] = position
        total = position.contracts + size
        cost = position.entry * position.contracts + price * size
        position.entry = margin.to_places(cost / total)
        position.contracts = total
        position.contracts_max = max(position.contracts_max, total)
        position.update_ms = now_ms
        if position.margin_mode == ISOLATED:
            units = size * self.terms[position.inst_id].contract_value
            position.margin += margin.initial_margin(units, price, position.leverage)
        return position

    def _finish(self, position: Position, state: str, now_ms: int) -> None:
        del self.positions[position.inst_id, position.position_side]
        position.margin = ZERO
        position.update_ms = now_ms
        row = ClosedPosition(history_id=self.new_id(), state=state, position=position)
        self.closed.append(row)

    def _settle(self, inst_id: str, side: str, now_ms: int) -> None:
        """Tell the channels what became of a position: a closed one is not told at all."""
        position = self.positions.get((inst_id, side))
        if position is not None:
            self.events.append(Event("positions", copy.copy(position), now_ms))
        self.events.append(Event("account", None, now_ms))

    def pay_funding(self, inst_id: str, rate: Decimal, now_ms: int) -> None:
        """Longs pay a positive rate on the value at the mark; shorts receive it."""
        for position in self.of_instrument(inst_id):
            mark = self.marks.get(inst_id, position.entry)
            amount = -position.direction * rate * self.base_units(position) * mark
            self.balance += amount
            position.funding += amount
            if position.margin_mode == ISOLATED:
                position.margin += amount
            bill = FundingBill(
                bill_id=self.new_id(),
                inst_id=inst_id,
                position_side=position.position_side,
                rate=rate,
                amount=amount,
                ts_ms=now_ms,
            )
            self.bills.append(bill)
            self._settle(inst_id, position.position_side, now_ms)

    def is_liquidated(self, position: Position) -> bool:
        """The margin ratio has come down to 1 at the mark."""
        return self.health(position).ratio <= 1

    def liquidate(self, position: Position, order: Order, now_ms: int) -> None:
        """Close a position at the price where its collateral is gone; no fee on top of all of it.

        A cross position is closed at the mark.
        """
        units = self.base_units(position)
        price = self.marks[position.inst_id]
        if position.margin_mode == ISOLATED:
            lost = position.direction * position.margin / units
            price = margin.to_places(position.entry - lost)
        size = position.contracts
        pnl = margin.unrealized(position.direction, units, position.entry, price)
        if position.margin_mode == ISOLATED:
            pnl = -position.margin
        self.balance += pnl
        position.contracts = ZERO
        position.closed += size
        position.liquidated += size
        position.closed_value += price * size
        position.pnl += pnl
        self._finish(position, "liquidated", now_ms)
        order.filled, order.value, order.pnl = size, price * size, pnl
        order.state, order.update_ms = "filled", now_ms
        self.fills.append(
            Fill(
                trade_id=self.new_id(),
                order_id=order.order_id,
                inst_id=position.inst_id,
                price=price,
                size=size,
                side=order.request.side,
                position_side=position.position_side,
                pnl=pnl,
                fee=ZERO,
                ts_ms=now_ms,
                is_maker=False,
                broker_id="",
            )
        )
        self._settle(position.inst_id, position.position_side, now_ms)
