"""Orders from acceptance to their end: judged, matched against the book, filled by prints.

An order executes in the call that brings it: market, ioc and fok against the book, a limit order
that crosses too, before its rest waits. A resting order fills when a print goes through its price,
never on a touch, and gets no more than the venue's share of that print.
"""

import copy
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal

from blofin_cli.adapters.exchanges.sim import checks, margin
from blofin_cli.adapters.exchanges.sim.account import Account
from blofin_cli.adapters.exchanges.sim.books import MarketState
from blofin_cli.adapters.exchanges.sim.checks import Quote
from blofin_cli.adapters.exchanges.sim.records import (
    ZERO,
    Event,
    Order,
    OrderRequest,
    Position,
    Protection,
    Terms,
    Tick,
    VenueError,
)

CANCEL_GONE = "Cancel failed as the order has been filled, triggered, canceled or does not exist."
AMEND_GONE = (
    "Modification failed as the order has been filled, triggered, canceled or does not exist."
)
_TAKERS = frozenset({"market", "ioc", "fok"})


def _nobody(order: Order) -> None:
    """No stop follows."""


class OrderDesk:
    """Every order of the account. `on_fill` is told after each fill and at the end of an order.

    `take_share` is a fault's: the share of its size that the next order takes from the book.
    """

    def __init__(self, account: Account, markets: dict[str, MarketState]) -> None:
        self.account = account
        self.rules = account.rules
        self.markets = markets
        self.now_ms = 0
        self.known: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.by_client: dict[str, Order] = {}
        self.events: list[Event] = account.events
        self.on_fill: Callable[[Order], None] = _nobody
        self.take_share: Decimal | None = None

    def terms(self, inst_id: str) -> Terms:
        """Terms of a listed instrument.

        Errors: VenueError when there is none.
        """
        state = self.markets.get(inst_id)
        if state is None:
            raise VenueError("152014", "Instrument ID does not exist.")
        return state.terms

    def frozen(self) -> Decimal:
        """What resting orders hold."""
        return sum((order.frozen for order in self.open.values()), ZERO)

    def place(self, request: OrderRequest) -> Order:
        """Judge an order, accept it, and execute what can be executed now.

        Errors: VenueError with BloFin's code; then nothing has changed.
        """
        checks.check_client_id(request.client_order_id)
        if request.client_order_id in self.by_client:
            raise VenueError("102002", "Duplicate customized order ID.")
        self._judge(request)
        return self._start(self._register(request, "normal"))

    def submit(
        self, request: OrderRequest, category: str, *, algo_id: str = "", algo_client_id: str = ""
    ) -> Order:
        """An order born from a trigger or a close: its client id is not judged again."""
        self._judge(request, is_born_here=True)
        order = self._register(request, category)
        order.algo_id, order.algo_client_id = algo_id, algo_client_id
        return self._start(order)

    def cancel(self, order: Order, source: str = "user_canceled", reason: str = "") -> None:
        """End an open order.

        Errors: VenueError when it is not open.
        """
        if not order.is_open:
            raise VenueError("102068", CANCEL_GONE)
        order.state = "partially_canceled" if order.filled else "canceled"
        order.cancel_source = source
        order.cancel_reason = reason or None
        order.update_ms = self.now_ms
        self._end(order)

    def amend(
        self,
        order: Order,
        price: Decimal | None,
        size: Decimal | None,
        protection: Protection | None,
    ) -> None:
        """Change price, size or attached triggers of an open order.

        Errors: VenueError; then nothing has changed.
        """
        if not order.is_open:
            raise VenueError("102067", AMEND_GONE)
        terms = self.terms(order.request.inst_id)
        if size is not None:
            checks.check_size(size, terms)
            if size < order.filled:
                raise VenueError("152423", "The new size is smaller than the filled size.")
        checks.check_price("newPrice", price, terms)
        if protection is not None:
            checks.check_protection_grid(protection, terms)
            order.protection = protection
        order.size = order.size if size is None else size
        order.price = order.price if price is None else price
        order.update_ms = self.now_ms
        if not order.remaining:
            order.state = "filled"
            self._end(order)
            return
        self._tell(order)
        if price is not None:
            self._cross(order)
            self._freeze(order)

    def on_print(self, tick: Tick) -> None:
        """Fill resting orders that this print went through, best price first."""
        touched = [order for order in self.open.values() if _is_through(order, tick)]
        if not touched:
            return
        share = None if tick.size is None else tick.size * self.rules.participation
        touched.sort(key=lambda order: (-order.sign * (order.price or ZERO), int(order.order_id)))
        for order in touched:
            lot = self.terms(tick.inst_id).lot_size
            part = order.remaining
            if share is not None:
                allowed = (share / lot).to_integral_value(ROUND_FLOOR) * lot
                part = min(part, max(allowed, lot if share > 0 else ZERO))
            if part > 0 and order.is_open:
                assert order.price is not None
                done = self._fill(order, order.price, part, is_maker=True)
                share = None if share is None else share - done

    def liquidate(self, position: Position) -> None:
        """Close a position whose margin is used up."""
        request = OrderRequest(
            inst_id=position.inst_id,
            margin_mode=position.margin_mode,
            side="sell" if position.direction > 0 else "buy",
            order_type="market",
            size=position.contracts,
            position_side=position.position_side,
            reduce_only=True,
        )
        order = self._register(request, "full_liquidation")
        self.account.liquidate(position, order, self.now_ms)
        self._end(order)

    def close(self, position: Position, client_order_id: str, broker_id: str) -> Order:
        """Close a whole position at market."""
        request = OrderRequest(
            inst_id=position.inst_id,
            margin_mode=position.margin_mode,
            side="sell" if position.direction > 0 else "buy",
            order_type="market",
            size=position.contracts,
            position_side=position.position_side,
            reduce_only=True,
            client_order_id=client_order_id,
            broker_id=broker_id,
        )
        return self.submit(request, "normal")

    def _judge(self, request: OrderRequest, *, is_born_here: bool = False) -> None:
        terms = self.terms(request.inst_id)
        checks.check_words(request.margin_mode, request.side)
        if request.order_type not in checks.ORDER_TYPES:
            raise checks.parameter("orderType")
        checks.check_position_side(request.position_side, self.account.position_mode)
        if terms.state != "live":
            raise VenueError("152404", "This operation is not supported")
        checks.check_size(request.size, terms)
        checks.check_size_max(request.size, terms, request.order_type)
        quote = self.markets[request.inst_id].quote()
        if request.order_type != "market":
            if request.price is None:
                raise VenueError("152001", "Parameter price cannot be empty.")
            checks.check_price("price", request.price, terms)
            checks.check_band(request.side, request.price, quote, self.rules)
        if not is_born_here:
            self._judge_protection(request, terms, quote)
        self._judge_position(request)
        self._judge_margin(request, terms, quote)

    def _judge_protection(self, request: OrderRequest, terms: Terms, quote: Quote) -> None:
        if not request.protection:
            return
        direction = 1 if request.side == "buy" else -1
        checks.check_protection_grid(request.protection, terms)
        if request.order_type == "market" or request.price is None:
            checks.check_triggers(direction, request.protection, quote.last)
        else:
            checks.check_limit_triggers(direction, request.protection, request.price, quote)

    def _judge_position(self, request: OrderRequest) -> None:
        held = self.account.positions.get((request.inst_id, request.position_side))
        if held is not None and held.margin_mode != request.margin_mode:
            raise VenueError("110019", "Margin mode does not match the open position.")
        if self._must_reduce(request) and not self._closable(request):
            raise VenueError("102022", "No positions on this contract.")

    def _must_reduce(self, request: OrderRequest) -> bool:
        """Reduce-only by its flag, or because in hedge mode it trades against its own side."""
        if request.position_side == "net":
            return request.reduce_only
        opens = (request.side == "buy") == (request.position_side == "long")
        return not opens

    def _closable(self, request: OrderRequest) -> Decimal:
        sign = 1 if request.side == "buy" else -1
        return self.account.closable(request.inst_id, request.position_side, sign)

    def _opening(self, request: OrderRequest, size: Decimal) -> Decimal:
        """Contracts of an order that would open something."""
        if self._must_reduce(request):
            return ZERO
        return max(ZERO, size - self._closable(request))

    def _judge_margin(self, request: OrderRequest, terms: Terms, quote: Quote) -> None:
        opening = self._opening(request, request.size)
        if not opening:
            return
        leverage = self._leverage(request)
        held = self.account.positions.get((request.inst_id, request.position_side))
        sign = 1 if request.side == "buy" else -1
        total = opening
        if held is not None and held.direction == sign:
            total += held.contracts
            leverage = held.leverage
        if leverage > margin.tier_of(terms.tiers, total).leverage_max:
            raise VenueError("542", "Exceeded the maximum position size at this leverage.")
        price = request.price or (quote.ask if sign > 0 else quote.bid)
        needed = margin.initial_margin(opening * terms.contract_value, price, leverage)
        fee = opening * terms.contract_value * price * self.rules.taker
        if needed + fee > self.account.available(self.frozen()):
            raise VenueError("103003", "Order failed. Insufficient USDT margin in account")

    def _leverage(self, request: OrderRequest) -> int:
        return self.account.leverage(request.inst_id, request.margin_mode, request.position_side)

    def _register(self, request: OrderRequest, category: str) -> Order:
        order = Order(
            order_id=self.account.new_id(),
            request=request,
            leverage=self._leverage(request),
            create_ms=self.now_ms,
            update_ms=self.now_ms,
            price=None if request.order_type == "market" else request.price,
            size=request.size,
            protection=request.protection,
            category=category,
        )
        self.known[order.order_id] = order
        self.open[order.order_id] = order
        if request.client_order_id:
            self.by_client[request.client_order_id] = order
        if len(self.known) > self.rules.history_max:
            self._forget()
        return order

    def _forget(self) -> None:
        """Drop the oldest finished order; its client id stays taken."""
        oldest = next(iter(self.known.values()))
        if not oldest.is_open:
            del self.known[oldest.order_id]

    def _start(self, order: Order) -> Order:
        request = order.request
        self._tell(order)
        if request.order_type == "post_only" and self._would_take(order):
            self.cancel(order, "system_canceled", "post only order would take liquidity")
            return order
        self._cross(order)
        if order.is_open and request.order_type in _TAKERS:
            self.cancel(order, "system_canceled", "no liquidity within the limit")
        self._freeze(order)
        return order

    def _would_take(self, order: Order) -> bool:
        quote = self.markets[order.request.inst_id].quote()
        assert order.price is not None
        return order.price >= quote.ask if order.sign > 0 else order.price <= quote.bid

    def _cross(self, order: Order) -> None:
        """Take from the book what the order's limit, or the price band, allows."""
        request = order.request
        state = self.markets[request.inst_id]
        limit = order.price
        if limit is None:
            low, high = checks.price_band(state.quote(), self.rules)
            limit = high if order.sign > 0 else low
        wanted = order.remaining
        if self._must_reduce(request):
            wanted = min(wanted, self._closable(request))
        if self.take_share is not None:
            lot = state.terms.lot_size
            wanted = max(lot, (wanted * self.take_share / lot).to_integral_value(ROUND_FLOOR) * lot)
            self.take_share = None
        taken = state.book.take(request.side, wanted, limit)
        got = sum((size for _, size in taken), ZERO)
        if request.order_type == "fok" and got < order.remaining:
            return
        state.book.remember(taken)
        for price, size in taken:
            if order.is_open:
                self._fill(order, price, size, is_maker=False)
        if order.is_open and self._must_reduce(request) and not self._closable(request):
            # A reduce-only order larger than the position has done all it may.
            self.cancel(order, "system_canceled", "position closed")

    def _fill(self, order: Order, price: Decimal, size: Decimal, *, is_maker: bool) -> Decimal:
        request = order.request
        if self._must_reduce(request):
            size = min(size, self._closable(request))
            if not size:
                self.cancel(order, "system_canceled", "position closed")
                return ZERO
        self.account.apply_fill(order, price, size, is_maker=is_maker, now_ms=self.now_ms)
        order.state = "partially_filled" if order.remaining else "filled"
        if order.state == "filled":
            self._end(order)
        else:
            self._freeze(order)
            self._tell(order)
            self.on_fill(order)
        return size

    def _freeze(self, order: Order) -> None:
        if not order.is_open or order.price is None:
            order.frozen = ZERO
            return
        opening = self._opening(order.request, order.remaining)
        units = opening * self.terms(order.request.inst_id).contract_value
        order.frozen = margin.initial_margin(units, order.price, order.leverage)

    def _end(self, order: Order) -> None:
        order.frozen = ZERO
        self.open.pop(order.order_id, None)
        self._tell(order)
        self.on_fill(order)

    def _tell(self, order: Order) -> None:
        self.events.append(Event("orders", copy.copy(order), self.now_ms))


def _is_through(order: Order, tick: Tick) -> bool:
    """Whether a print went beyond the order's limit."""
    if order.request.inst_id != tick.inst_id or order.price is None:
        return False
    return tick.price < order.price if order.sign > 0 else tick.price > order.price
