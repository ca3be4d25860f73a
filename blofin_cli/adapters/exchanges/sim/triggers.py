"""Stops, targets and trigger orders: what waits for the last price and then becomes an order.

An attached stop becomes a TP/SL order of its own when its entry fills, for the filled size, and
grows with it. TP/SL orders only ever reduce: without a position they fail.
"""

import copy
from decimal import Decimal
from itertools import islice

from blofin_cli.adapters.exchanges.sim import checks
from blofin_cli.adapters.exchanges.sim.desk import AMEND_GONE, CANCEL_GONE, OrderDesk
from blofin_cli.adapters.exchanges.sim.records import (
    WHOLE,
    ZERO,
    Algo,
    AlgoRequest,
    Event,
    Order,
    OrderRequest,
    Protection,
    Tpsl,
    TpslRequest,
    VenueError,
)


class TriggerDesk:
    """Every TP/SL and trigger order of the account."""

    def __init__(self, desk: OrderDesk) -> None:
        self.desk = desk
        self.tpsl: dict[str, Tpsl] = {}
        self.algo: dict[str, Algo] = {}
        self.tpsl_live: dict[str, Tpsl] = {}
        self.algo_live: dict[str, Algo] = {}
        self.tpsl_by_client: dict[str, Tpsl] = {}
        self.algo_by_client: dict[str, Algo] = {}

    def place_tpsl(self, request: TpslRequest) -> Tpsl:
        """Protect a position with a stop, a target or both.

        Errors: VenueError with BloFin's code.
        """
        terms = self.desk.terms(request.inst_id)
        checks.check_words(request.margin_mode, request.side)
        checks.check_position_side(request.position_side, self.desk.account.position_mode)
        checks.check_client_id(request.client_order_id)
        if request.client_order_id in self.tpsl_by_client:
            raise VenueError("102002", "Duplicate customized order ID.")
        if not request.protection:
            raise VenueError(
                "152003", "Either parameter tpTriggerPrice or slTriggerPrice is required."
            )
        checks.check_size(request.size, terms, may_be_whole=True)
        checks.check_protection_grid(request.protection, terms)
        if request.size == WHOLE and self._has_whole(request):
            raise VenueError("102114", "A TP/SL order for the entire position already exists.")
        if request.reduce_only and not self._closable(request):
            raise VenueError("102022", "No positions on this contract.")
        direction = 1 if request.side == "sell" else -1
        last = self.desk.markets[request.inst_id].quote().last
        checks.check_triggers(direction, request.protection, last)
        return self._keep_tpsl(request, request.size, "")

    def place_algo(self, request: AlgoRequest) -> Algo:
        """Let an order wait for a price. It fires from the side it is approached from now.

        Errors: VenueError with BloFin's code.
        """
        desk = self.desk
        terms = desk.terms(request.inst_id)
        checks.check_words(request.margin_mode, request.side)
        checks.check_position_side(request.position_side, desk.account.position_mode)
        checks.check_client_id(request.client_order_id)
        if request.client_order_id in self.algo_by_client:
            raise VenueError("102002", "Duplicate customized order ID.")
        checks.check_size(request.size, terms, may_be_whole=True)
        checks.check_price("triggerPrice", request.trigger_price, terms)
        checks.check_price("orderPrice", request.order_price, terms)
        checks.check_protection_grid(request.protection, terms)
        direction = 1 if request.side == "buy" else -1
        checks.check_triggers(direction, request.protection, request.trigger_price)
        if request.reduce_only and not self._closable(request):
            raise VenueError("102022", "No positions on this contract.")
        last = desk.markets[request.inst_id].quote().last
        account = desk.account
        algo = Algo(
            algo_id=account.new_id(),
            request=request,
            leverage=account.leverage(request.inst_id, request.margin_mode, request.position_side),
            rises=request.trigger_price > last,
            create_ms=desk.now_ms,
            update_ms=desk.now_ms,
            trigger_price=request.trigger_price,
            size=request.size,
        )
        self.algo[algo.algo_id] = self.algo_live[algo.algo_id] = algo
        if request.client_order_id:
            self.algo_by_client[request.client_order_id] = algo
        self._bound()
        self._tell(algo)
        return algo

    def cancel(self, trigger: Tpsl | Algo, cancel_type: str = "user_canceled") -> None:
        """End what still waits.

        Errors: VenueError when it does not.
        """
        if trigger.state != "live":
            raise VenueError("102068", CANCEL_GONE)
        trigger.cancel_type = cancel_type
        self._end(trigger, "canceled")

    def amend_tpsl(self, tpsl: Tpsl, protection: Protection, size: Decimal | None) -> None:
        """Move the triggers or change the size of a waiting TP/SL order.

        Errors: VenueError; then nothing has changed.
        """
        if tpsl.state != "live":
            raise VenueError("102067", AMEND_GONE)
        terms = self.desk.terms(tpsl.request.inst_id)
        if size is not None:
            checks.check_size(size, terms, may_be_whole=True)
        checks.check_protection_grid(protection, terms)
        direction = 1 if tpsl.request.side == "sell" else -1
        last = self.desk.markets[tpsl.request.inst_id].quote().last
        checks.check_triggers(direction, protection, last)
        tpsl.protection = protection
        tpsl.size = tpsl.size if size is None else size
        tpsl.update_ms = self.desk.now_ms
        self._tell(tpsl)

    def amend_algo(self, algo: Algo, trigger_price: Decimal | None, size: Decimal | None) -> None:
        """Move the trigger or change the size of a waiting trigger order.

        Errors: VenueError; then nothing has changed.
        """
        if algo.state != "live":
            raise VenueError("102067", AMEND_GONE)
        terms = self.desk.terms(algo.request.inst_id)
        if size is not None:
            checks.check_size(size, terms, may_be_whole=True)
        checks.check_price("newTriggerPrice", trigger_price, terms)
        if trigger_price is not None:
            last = self.desk.markets[algo.request.inst_id].quote().last
            algo.trigger_price, algo.rises = trigger_price, trigger_price > last
        algo.size = algo.size if size is None else size
        algo.update_ms = self.desk.now_ms
        self._tell(algo)

    def on_fill(self, order: Order) -> None:
        """Turn what was attached to an entry into a TP/SL order of the size filled so far."""
        if not order.protection or not order.filled or order.request.reduce_only:
            return
        if order.is_open and not self.desk.rules.attach_at_first_fill:
            return
        request = order.request
        held = self.tpsl.get(order.tpsl_id)
        if held is not None:
            if held.state == "live" and held.size != order.filled:
                held.size = order.filled
                held.update_ms = self.desk.now_ms
                self._tell(held)
            return
        closing = TpslRequest(
            inst_id=request.inst_id,
            margin_mode=request.margin_mode,
            side="sell" if request.side == "buy" else "buy",
            size=order.filled,
            protection=order.protection,
            position_side=request.position_side,
            broker_id=request.broker_id,
        )
        tpsl = self._keep_tpsl(closing, order.filled, order.order_id)
        order.tpsl_id = tpsl.tpsl_id

    def fire(self, inst_id: str, last: Decimal) -> None:
        """Trigger whatever waits for this price, in the order it was placed."""
        for tpsl in list(self.tpsl_live.values()):
            if tpsl.request.inst_id == inst_id and tpsl.state == "live":
                which = _reached(tpsl, last)
                if which:
                    self._fire_tpsl(tpsl, which)
        for algo in list(self.algo_live.values()):
            if algo.request.inst_id == inst_id and algo.state == "live":
                trigger = algo.trigger_price
                if last >= trigger if algo.rises else last <= trigger:
                    self._fire_algo(algo)

    def drop_orphans(self, inst_id: str) -> None:
        """Cancel TP/SL orders whose position is gone."""
        for tpsl in list(self.tpsl_live.values()):
            if tpsl.request.inst_id == inst_id and not self._closable(tpsl.request):
                self.cancel(tpsl, "system_canceled")

    def _fire_tpsl(self, tpsl: Tpsl, which: str) -> None:
        request = tpsl.request
        closable = self._closable(request)
        size = closable if tpsl.size == WHOLE else min(tpsl.size, closable)
        held = self.desk.account.positions.get((request.inst_id, request.position_side))
        tpsl.actual_side = which
        if not size or held is None:
            self._end(tpsl, "order_failed")
            return
        tpsl.actual_size = size
        self._end(tpsl, "effective")
        price = tpsl.protection.tp_price if which == "tp" else tpsl.protection.sl_price
        order = OrderRequest(
            inst_id=request.inst_id,
            margin_mode=held.margin_mode,
            side=request.side,
            order_type="market" if price is None else "limit",
            size=size,
            price=price,
            position_side=request.position_side,
            reduce_only=True,
            broker_id=request.broker_id,
        )
        try:
            self.desk.submit(
                order, which, algo_id=tpsl.tpsl_id, algo_client_id=request.client_order_id
            )
        except VenueError:
            tpsl.state = "order_failed"
            self._tell(tpsl)

    def _fire_algo(self, algo: Algo) -> None:
        request = algo.request
        size = self._closable(request) if algo.size == WHOLE else algo.size
        algo.actual_size = size
        self._end(algo, "effective")
        order = OrderRequest(
            inst_id=request.inst_id,
            margin_mode=request.margin_mode,
            side=request.side,
            order_type="market" if request.order_price is None else "limit",
            size=size,
            price=request.order_price,
            position_side=request.position_side,
            reduce_only=request.reduce_only,
            broker_id=request.broker_id,
            protection=request.protection,
        )
        try:
            self.desk.submit(
                order, "normal", algo_id=algo.algo_id, algo_client_id=request.client_order_id
            )
        except VenueError:
            algo.state = "order_failed"
            self._tell(algo)

    def _keep_tpsl(self, request: TpslRequest, size: Decimal, entry_order_id: str) -> Tpsl:
        account = self.desk.account
        tpsl = Tpsl(
            tpsl_id=account.new_id(),
            request=request,
            leverage=account.leverage(request.inst_id, request.margin_mode, request.position_side),
            size=size,
            protection=request.protection,
            create_ms=self.desk.now_ms,
            update_ms=self.desk.now_ms,
            entry_order_id=entry_order_id,
        )
        self.tpsl[tpsl.tpsl_id] = self.tpsl_live[tpsl.tpsl_id] = tpsl
        if request.client_order_id:
            self.tpsl_by_client[request.client_order_id] = tpsl
        self._bound()
        self._tell(tpsl)
        return tpsl

    def _end(self, trigger: Tpsl | Algo, state: str) -> None:
        trigger.state = state
        trigger.update_ms = self.desk.now_ms
        if isinstance(trigger, Tpsl):
            self.tpsl_live.pop(trigger.tpsl_id, None)
        else:
            self.algo_live.pop(trigger.algo_id, None)
        self._tell(trigger)

    def _tell(self, trigger: Tpsl | Algo) -> None:
        self.desk.events.append(Event("orders-algo", copy.copy(trigger), self.desk.now_ms))

    def _has_whole(self, request: TpslRequest) -> bool:
        place = request.inst_id, request.position_side
        return any(
            tpsl.size == WHOLE and (tpsl.request.inst_id, tpsl.request.position_side) == place
            for tpsl in self.tpsl_live.values()
        )

    def _closable(self, request: TpslRequest | AlgoRequest) -> Decimal:
        sign = 1 if request.side == "buy" else -1
        return self.desk.account.closable(request.inst_id, request.position_side, sign)

    def _bound(self) -> None:
        """Forget the oldest finished ones beyond the limit."""
        limit = self.desk.rules.history_max
        for known, live in ((self.tpsl, self.tpsl_live), (self.algo, self.algo_live)):
            for key in list(islice(known, max(0, len(known) - limit))):
                if key not in live:
                    del known[key]


def _reached(tpsl: Tpsl, last: Decimal) -> str:
    """`sl` or `tp` when the last price is there, the stop first; empty when neither."""
    direction = 1 if tpsl.request.side == "sell" else -1
    stop, target = tpsl.protection.sl_trigger, tpsl.protection.tp_trigger
    if stop is not None and direction * (last - stop) <= ZERO:
        return "sl"
    if target is not None and direction * (last - target) >= ZERO:
        return "tp"
    return ""
