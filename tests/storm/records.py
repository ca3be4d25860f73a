"""The venue's records as the bot's: contracts become base units, BloFin's words the trade's."""

from decimal import Decimal

from blofin_cli.adapters.exchanges.sim import records as venue
from blofin_cli.adapters.exchanges.sim.venue import Venue
from blofin_cli.core.market import Instrument
from blofin_cli.core.orders import (
    AccountInfo,
    Balance,
    Fill,
    MarginMode,
    Order,
    OrderCategory,
    OrderRequest,
    OrderState,
    OrderType,
    Position,
    PositionMode,
    PositionSide,
    Protection,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Listing

_STATES = {
    "live": OrderState.LIVE,
    "partially_filled": OrderState.PARTIALLY_FILLED,
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "partially_canceled": OrderState.PARTIALLY_CANCELED,
    "effective": OrderState.TRIGGERED,
    "order_failed": OrderState.FAILED,
}
_CATEGORIES = {
    "normal": OrderCategory.NORMAL,
    "full_liquidation": OrderCategory.LIQUIDATION,
    "tp": OrderCategory.TARGET,
    "sl": OrderCategory.STOP,
}
_MODES = {"isolated": MarginMode.ISOLATED, "cross": MarginMode.CROSS}
MODE_WORDS = {PositionMode.ONE_WAY: "net_mode", PositionMode.HEDGE: "long_short_mode"}


def listing(terms: venue.Terms) -> Listing:
    """An instrument as listed now."""
    instrument = Instrument(
        symbol=terms.inst_id,
        contract_value=terms.contract_value,
        lot_size=terms.lot_size,
        min_size=terms.min_size,
        tick_size=terms.tick_size,
        leverage_max=terms.leverage_max,
        maintenance_margin=terms.tiers[0].maintenance,
        market_size_max=terms.market_size_max,
        limit_size_max=terms.limit_size_max,
        source="exchange",
    )
    return Listing(instrument=instrument, is_live=terms.state == "live")


def order(row: venue.Order, terms: venue.Terms) -> Order:
    """An order; its attached stop is still in it."""
    asked, value = row.request, terms.contract_value
    return Order(
        symbol=asked.inst_id,
        order_id=row.order_id,
        client_id=asked.client_order_id,
        side=Side(asked.side),
        type=OrderType(asked.order_type),
        state=_STATES[row.state],
        size=row.size * value,
        filled=row.filled * value,
        price=row.price,
        average_price=row.average or None,
        reduce_only=asked.reduce_only,
        position_side=PositionSide(asked.position_side),
        margin_mode=_MODES[asked.margin_mode],
        leverage=row.leverage,
        category=_CATEGORIES[row.category],
        stop=row.protection.sl_trigger,
        target=row.protection.tp_trigger,
        fee_usdt=row.fee,
        pnl_usdt=row.pnl,
        algo_id=row.algo_id,
        algo_client_id=row.algo_client_id,
        cancel_reason=row.cancel_reason or "",
        created_ms=row.create_ms,
        updated_ms=row.update_ms,
    )


def trigger_order(row: venue.Algo, terms: venue.Terms) -> Order:
    """A stop entry."""
    asked, value = row.request, terms.contract_value
    return Order(
        symbol=asked.inst_id,
        order_id=row.algo_id,
        client_id=asked.client_order_id,
        side=Side(asked.side),
        type=OrderType.TRIGGER,
        state=_STATES[row.state],
        size=row.size * value,
        filled=(row.actual_size or Decimal(0)) * value,
        price=asked.order_price,
        trigger=row.trigger_price,
        reduce_only=asked.reduce_only,
        margin_mode=_MODES[asked.margin_mode],
        leverage=row.leverage,
        stop=asked.protection.sl_trigger,
        target=asked.protection.tp_trigger,
        algo_id=row.algo_id,
        created_ms=row.create_ms,
        updated_ms=row.update_ms,
    )


def protection(row: venue.Tpsl, terms: venue.Terms) -> Protection:
    """A stop, a target or both."""
    asked, kept = row.request, row.protection
    word = {"sl": OrderCategory.STOP, "tp": OrderCategory.TARGET}.get(row.actual_side)
    return Protection(
        symbol=asked.inst_id,
        protection_id=row.tpsl_id,
        client_id=asked.client_order_id,
        side=Side(asked.side),
        state=_STATES[row.state],
        size=None if row.size == venue.WHOLE else row.size * terms.contract_value,
        stop=kept.sl_trigger,
        stop_limit=kept.sl_price,
        target=kept.tp_trigger,
        target_limit=kept.tp_price,
        triggered_side=word,
        reduce_only=True,
        margin_mode=_MODES[asked.margin_mode],
        created_ms=row.create_ms,
        updated_ms=row.update_ms,
    )


def position(row: venue.Position, place: Venue) -> Position:
    """An open position; one of size 0 has been closed."""
    terms = place.terms[row.inst_id]
    size = row.contracts * row.direction * terms.contract_value
    health = place.account.health(row) if row.contracts else None
    return Position(
        symbol=row.inst_id,
        position_id=row.position_id,
        size=size,
        available=size,
        entry_price=row.entry,
        mark_price=place.account.marks.get(row.inst_id, row.entry),
        leverage=row.leverage,
        margin_mode=_MODES[row.margin_mode],
        position_side=PositionSide(row.position_side),
        margin_usdt=row.margin or None,
        liquidation_price=health.liquidation if health else None,
        margin_ratio=health.ratio if health else None,
        unrealized_pnl_usdt=health.profit if health else Decimal(0),
        created_ms=row.create_ms,
        updated_ms=row.update_ms,
    )


def fill(row: venue.Fill, terms: venue.Terms) -> Fill:
    """One execution."""
    return Fill(
        symbol=row.inst_id,
        trade_id=row.trade_id,
        order_id=row.order_id,
        side=Side(row.side),
        price=row.price,
        size=row.size * terms.contract_value,
        fee_usdt=row.fee,
        pnl_usdt=row.pnl,
        ts_ms=row.ts_ms,
        position_side=PositionSide(row.position_side),
    )


def account(place: Venue, now_ms: int) -> AccountInfo:
    """The futures wallet."""
    kept = place.account
    profit = sum((kept.profit(row) for row in kept.positions.values()), Decimal(0))
    frozen = place.orders.frozen()
    balance = Balance(
        currency="USDT",
        equity=kept.balance + profit,
        balance=kept.balance,
        available=kept.available(frozen),
        order_frozen=frozen,
        unrealized_pnl=profit,
        ts_ms=now_ms,
    )
    return AccountInfo(total_equity_usd=balance.equity, balances=(balance,), ts_ms=now_ms)


def asked_order(request: OrderRequest, terms: venue.Terms) -> venue.OrderRequest:
    """An order in the venue's words."""
    return venue.OrderRequest(
        inst_id=request.symbol,
        margin_mode="isolated",
        side=request.side.value,
        order_type=request.type.value,
        size=request.size / terms.contract_value,
        price=request.price,
        position_side=request.position_side.value,
        reduce_only=request.reduce_only,
        client_order_id=request.client_id,
        protection=_attached(request),
    )


def asked_trigger(request: OrderRequest, terms: venue.Terms) -> venue.AlgoRequest:
    """A stop entry in the venue's words."""
    assert request.trigger is not None
    return venue.AlgoRequest(
        inst_id=request.symbol,
        margin_mode="isolated",
        side=request.side.value,
        size=request.size / terms.contract_value,
        trigger_price=request.trigger,
        order_price=request.price,
        reduce_only=request.reduce_only,
        client_order_id=request.client_id,
        protection=_attached(request),
    )


def asked_protection(request: ProtectionRequest, terms: venue.Terms) -> venue.TpslRequest:
    """A stop or target in the venue's words."""
    return venue.TpslRequest(
        inst_id=request.symbol,
        margin_mode="isolated",
        side=request.side.value,
        size=venue.WHOLE if request.size is None else request.size / terms.contract_value,
        protection=venue.Protection(
            tp_trigger=request.target,
            tp_price=request.target_limit,
            sl_trigger=request.stop,
        ),
        position_side=request.position_side.value,
        reduce_only=True,
        client_order_id=request.client_id,
    )


def _attached(request: OrderRequest) -> venue.Protection:
    return venue.Protection(
        tp_trigger=request.target, tp_price=request.target_limit, sl_trigger=request.stop
    )
