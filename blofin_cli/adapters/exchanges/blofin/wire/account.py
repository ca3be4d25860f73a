"""Private answers and pushes as records: balances, positions, orders, protections, fills."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, clean, rows_of
from blofin_cli.adapters.exchanges.blofin.wire.market import SIDES, terms
from blofin_cli.core.orders import (
    ZERO,
    AccountInfo,
    Balance,
    Fill,
    KeyInfo,
    KeyKind,
    LeverageSetting,
    MarginMode,
    Order,
    OrderCategory,
    OrderState,
    OrderType,
    Position,
    PositionMode,
    PositionSide,
    Protection,
)
from blofin_cli.errors import BadAnswerError

ContractValues = dict[str, Decimal]
Record = TypeVar("Record")

WHOLE_POSITION = Decimal(-1)
_POSITION_SIDES = {side.value: side for side in PositionSide}
_MARGIN_MODES = {"isolated": MarginMode.ISOLATED, "cross": MarginMode.CROSS}
_POSITION_MODES = {"net_mode": PositionMode.ONE_WAY, "long_short_mode": PositionMode.HEDGE}
_ORDER_TYPES = {kind.value: kind for kind in OrderType if kind is not OrderType.UNKNOWN}
_ORDER_STATES = {
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
    "pre_tp_sl": OrderCategory.NORMAL,
    "full_liquidation": OrderCategory.LIQUIDATION,
    "partial_liquidation": OrderCategory.LIQUIDATION,
    "adl": OrderCategory.ADL,
    "tp": OrderCategory.TARGET,
    "sl": OrderCategory.STOP,
}
_TRIGGERED_SIDES = {"tp": OrderCategory.TARGET, "sl": OrderCategory.STOP}
_KEY_KINDS = {"1": KeyKind.OWN, "2": KeyKind.THIRD_PARTY}


def records(rows: Iterable[Row], read: Callable[[Row], Record]) -> tuple[Record, ...]:
    """Rows of USDT-M perpetuals as records; rows of other products are not ours.

    Errors: BadAnswerError when one of ours makes no sense: a list with a hole would read as
    absence.
    """
    return tuple(read(row) for row in rows if not is_foreign(row))


def is_foreign(row: Row) -> bool:
    """The row is of a USDC- or coin-margined product."""
    name = row.raw("instId")
    return isinstance(name, str) and name.endswith(("-USDC", "-USD"))


def account(row: Row) -> AccountInfo:
    """The futures account."""
    balances = tuple(_balance(detail) for detail in rows_of(row.raw("details"), "account.details"))
    return AccountInfo(
        total_equity_usd=row.maybe_decimal("totalEquity"),
        balances=balances,
        ts_ms=row.time_ms("ts"),
    )


def _balance(row: Row) -> Balance:
    free = "available" if row.raw("available") is not None else "availableEquity"
    return Balance(
        currency=row.text("currency"),
        equity=row.decimal("equity"),
        balance=row.decimal("balance"),
        available=row.decimal(free),
        frozen=row.maybe_decimal("frozen"),
        order_frozen=row.maybe_decimal("orderFrozen"),
        isolated_equity=row.maybe_decimal("isolatedEquity"),
        isolated_unrealized_pnl=row.maybe_decimal("isolatedUnrealizedPnl"),
        unrealized_pnl=row.maybe_decimal("unrealizedPnl"),
        ts_ms=row.maybe_time_ms("ts") or 0,
    )


def position(row: Row, contract_values: ContractValues) -> Position:
    """One position; its size is signed in both modes."""
    symbol = row.symbol()
    value = terms(symbol, contract_values)
    side = row.due_word("positionSide", _POSITION_SIDES)
    size = row.decimal("positions") * value
    available = (row.maybe_decimal("availablePositions") or ZERO) * value
    if side is not PositionSide.NET:
        sign = -1 if side is PositionSide.SHORT else 1
        size, available = abs(size) * sign, abs(available) * sign
    if abs(available) > abs(size):
        raise BadAnswerError(f"{row.place}: more is available than there is")
    margin_mode = row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN)
    return Position(
        symbol=symbol,
        position_id=row.text("positionId"),
        size=size,
        available=available,
        entry_price=row.positive("averagePrice"),
        mark_price=row.positive("markPrice"),
        leverage=row.whole("leverage"),
        margin_mode=margin_mode,
        position_side=side,
        margin_usdt=row.maybe_positive("margin"),
        maintenance_margin_usdt=row.maybe_positive("maintenanceMargin"),
        margin_ratio=row.maybe_decimal("marginRatio"),
        liquidation_price=row.maybe_positive("liquidationPrice"),
        unrealized_pnl_usdt=row.decimal("unrealizedPnl"),
        adl=row.whole("adl") if row.raw("adl") is not None else None,
        created_ms=row.maybe_time_ms("createTime") or 0,
        updated_ms=row.maybe_time_ms("updateTime") or 0,
        oddities=tuple(row.oddities),
    )


def order(row: Row, contract_values: ContractValues) -> Order:
    """One order of the order list, its history, its detail or a push."""
    symbol = row.symbol()
    value = terms(symbol, contract_values)
    size, filled = row.positive("size"), row.not_negative("filledSize")
    if filled > size:
        raise BadAnswerError(f"{row.place}: filled {filled} of {size} contracts")
    kind = row.word("orderType", _ORDER_TYPES, OrderType.UNKNOWN)
    state = row.word("state", _ORDER_STATES, OrderState.UNKNOWN)
    margin_mode = row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN)
    category = row.word("orderCategory", _CATEGORIES, OrderCategory.UNKNOWN)
    if not row.maybe_text("orderCategory"):
        category = OrderCategory.NORMAL
    return Order(
        symbol=symbol,
        order_id=row.text("orderId"),
        client_id=row.maybe_text("clientOrderId"),
        side=row.due_word("side", SIDES),
        type=kind,
        state=state,
        size=size * value,
        filled=filled * value,
        price=None if kind is OrderType.MARKET else row.maybe_positive("price"),
        average_price=row.maybe_positive("averagePrice"),
        reduce_only=row.maybe_flag("reduceOnly") or False,
        position_side=_position_side(row),
        margin_mode=margin_mode,
        leverage=row.whole("leverage") if row.raw("leverage") is not None else None,
        category=category,
        stop=row.maybe_positive("slTriggerPrice"),
        target=row.maybe_positive("tpTriggerPrice"),
        fee_usdt=row.maybe_decimal("fee") or ZERO,
        pnl_usdt=row.maybe_decimal("pnl") or ZERO,
        algo_id=row.maybe_text("algoId"),
        algo_client_id=row.maybe_text("algoClientOrderId"),
        cancel_reason=row.maybe_text("cancelSourceReason"),
        created_ms=row.time_ms("createTime"),
        updated_ms=row.time_ms("updateTime"),
        oddities=tuple(row.oddities),
    )


def trigger_order(row: Row, contract_values: ContractValues) -> Order:
    """One stop entry; its attached stop and target are in a list of at most one."""
    symbol = row.symbol()
    contracts = row.decimal("size")
    if contracts == WHOLE_POSITION:
        row.oddities.append("size=whole position")
    elif contracts <= 0:
        raise BadAnswerError(f"{row.place}.size: {contracts} is not above zero")
    attached = _attached(row)
    done = row.maybe_positive("actualSize") or ZERO
    margin_mode = row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN)
    state = row.word("state", _ORDER_STATES, OrderState.UNKNOWN)
    value = terms(symbol, contract_values)
    return Order(
        symbol=symbol,
        order_id=row.text("algoId"),
        client_id=row.maybe_text("clientOrderId"),
        side=row.due_word("side", SIDES),
        type=OrderType.TRIGGER,
        state=state,
        size=max(contracts, ZERO) * value,
        filled=done * value,
        price=row.maybe_trigger_limit("orderPrice"),
        trigger=row.positive("triggerPrice"),
        reduce_only=row.maybe_flag("reduceOnly") or False,
        position_side=_position_side(row),
        margin_mode=margin_mode,
        leverage=row.whole("leverage") if row.raw("leverage") is not None else None,
        stop=attached.maybe_positive("slTriggerPrice") if attached else None,
        target=attached.maybe_positive("tpTriggerPrice") if attached else None,
        algo_id=row.text("algoId"),
        created_ms=row.maybe_time_ms("createTime") or 0,
        updated_ms=row.maybe_time_ms("updateTime") or 0,
        oddities=tuple(row.oddities),
    )


def _attached(row: Row) -> Row | None:
    values = row.raw("attachAlgoOrders")
    if values is None:
        return None
    return next(rows_of(values, f"{row.place}.attachAlgoOrders"), None)


def protection(row: Row, contract_values: ContractValues) -> Protection:
    """One stop or target order."""
    symbol = row.symbol()
    contracts = row.decimal("size")
    is_whole = contracts == WHOLE_POSITION
    if not is_whole and contracts <= 0:
        raise BadAnswerError(f"{row.place}.size: {contracts} is not above zero")
    stop, target = row.maybe_positive("slTriggerPrice"), row.maybe_positive("tpTriggerPrice")
    if stop is None and target is None:
        raise BadAnswerError(f"{row.place}: neither stop nor target")
    margin_mode = row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN)
    state = row.word("state", _ORDER_STATES, OrderState.UNKNOWN)
    return Protection(
        symbol=symbol,
        protection_id=row.text("tpslId"),
        client_id=row.maybe_text("clientOrderId"),
        side=row.due_word("side", SIDES),
        state=state,
        size=None if is_whole else contracts * terms(symbol, contract_values),
        stop=stop,
        stop_limit=row.maybe_trigger_limit("slOrderPrice"),
        target=target,
        target_limit=row.maybe_trigger_limit("tpOrderPrice"),
        triggered_side=_TRIGGERED_SIDES.get(row.maybe_text("actualSide")),
        reduce_only=row.maybe_flag("reduceOnly"),
        position_side=_position_side(row),
        margin_mode=margin_mode,
        created_ms=row.maybe_time_ms("createTime") or 0,
        updated_ms=row.maybe_time_ms("updateTime") or 0,
        oddities=tuple(row.oddities),
    )


def _position_side(row: Row) -> PositionSide:
    """`net` when absent, as BloFin defaults in one-way mode."""
    if row.raw("positionSide") is None:
        return PositionSide.NET
    return row.due_word("positionSide", _POSITION_SIDES)


def fill(row: Row, contract_values: ContractValues) -> Fill:
    """One execution."""
    symbol = row.symbol()
    return Fill(
        symbol=symbol,
        trade_id=row.text("tradeId"),
        order_id=row.text("orderId"),
        side=row.due_word("side", SIDES),
        price=row.positive("fillPrice"),
        size=row.positive("fillSize") * terms(symbol, contract_values),
        fee_usdt=row.decimal("fee"),
        pnl_usdt=row.maybe_decimal("fillPnl") or ZERO,
        ts_ms=row.time_ms("ts"),
        position_side=_position_side(row),
    )


def leverage_setting(row: Row) -> LeverageSetting:
    """Leverage of one symbol and margin mode."""
    return LeverageSetting(
        symbol=row.symbol(),
        leverage=row.whole("leverage"),
        margin_mode=row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN),
        position_side=_position_side(row),
    )


def margin_mode(row: Row) -> MarginMode:
    """The account's default margin mode; UNKNOWN for a word nobody knows."""
    row.text("marginMode")
    return row.word("marginMode", _MARGIN_MODES, MarginMode.UNKNOWN)


def position_mode(row: Row) -> PositionMode:
    """One-way or hedge; UNKNOWN for a word nobody knows."""
    row.text("positionMode")
    return row.word("positionMode", _POSITION_MODES, PositionMode.UNKNOWN)


def key_info(row: Row) -> KeyInfo:
    """What the exchange says about the key; trading only if it says that it is not read-only."""
    read_only, kind, ips = row.raw("readOnly"), row.raw("type"), row.raw("ips")
    if not isinstance(read_only, int | str) or str(read_only) not in ("0", "1"):
        raise BadAnswerError(f"{row.place}.readOnly is neither 0 nor 1")
    if ips is not None and not isinstance(ips, list | str):
        raise BadAnswerError(f"{row.place}.ips is no list")
    listed = ips if isinstance(ips, list) else (ips or "").split(",")
    parent = row.maybe_text("parentUid")
    return KeyInfo(
        name=row.maybe_text("apiName"),
        kind=_KEY_KINDS.get(str(kind), KeyKind.UNKNOWN),
        can_trade=str(read_only) == "0",
        ips=tuple(clean(ip) for ip in listed if ip),
        created_ms=row.maybe_time_ms("createTime"),
        expires_ms=row.maybe_time_ms("expireTime"),
        is_sub_account=None if not parent else parent != "0",
    )
