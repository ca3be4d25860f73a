"""ccxt's unified structures of an account as our records: orders, positions, fills, balances.

A word this build does not know becomes UNKNOWN and an oddity. Sizes are base units; ccxt's are
contracts.
"""

from decimal import Decimal

from blofin_cli.adapters.exchanges.ccxt.reading import (
    Row,
    needed,
    number,
    positive,
    side,
    time_ms,
)
from blofin_cli.core.market import Instrument
from blofin_cli.core.orders import (
    ZERO,
    AccountInfo,
    Balance,
    Fill,
    LeverageSetting,
    MarginMode,
    Order,
    OrderState,
    OrderType,
    Position,
    PositionSide,
    Protection,
)
from blofin_cli.errors import BadAnswerError

_TIMES_IN_FORCE = {"PO": OrderType.POST_ONLY, "IOC": OrderType.IOC, "FOK": OrderType.FOK}
_ENDED = {
    "canceled": OrderState.CANCELED,
    "cancelled": OrderState.CANCELED,
    "partially_canceled": OrderState.PARTIALLY_CANCELED,
    "expired": OrderState.CANCELED,
    "rejected": OrderState.FAILED,
}


def order(row: Row, terms: Instrument, *, is_trigger: bool = False) -> Order:
    """An order, or a stop entry when it comes from a list of those."""
    value = terms.contract_value
    size, filled = needed(row, "amount") * value, (number(row.get("filled")) or ZERO) * value
    kind, kind_oddity = _kind(row, is_trigger=is_trigger)
    state, state_oddity = _state(row, filled, is_trigger=is_trigger)
    fee = row.get("fee") or {}
    has_price = kind not in {OrderType.MARKET, OrderType.UNKNOWN}
    return Order(
        symbol=terms.symbol,
        order_id=_id(row),
        client_id=str(row.get("clientOrderId") or ""),
        side=side(row),
        type=kind,
        state=state,
        size=size,
        filled=filled,
        price=_above_zero(row.get("price")) if has_price else None,
        trigger=_trigger(row) if is_trigger else None,
        average_price=_above_zero(row.get("average")),
        reduce_only=bool(row.get("reduceOnly")),
        position_side=_position_side(row),
        stop=_above_zero(row.get("stopLossPrice")),
        target=_above_zero(row.get("takeProfitPrice")),
        fee_usdt=abs(number(fee.get("cost")) or ZERO) if _is_usdt(fee) else ZERO,
        created_ms=time_ms(row.get("timestamp")),
        updated_ms=time_ms(row.get("lastUpdateTimestamp") or row.get("timestamp")),
        oddities=tuple(word for word in (kind_oddity, state_oddity) if word),
    )


def is_protection(row: Row) -> bool:
    """A waiting order that can only close: reduce-only, or of the whole position."""
    return bool(row.get("reduceOnly")) or _is_whole(row)


def protection(row: Row, terms: Instrument) -> Protection:
    """A stop, a target or both that wait at the exchange.

    Errors: BadAnswerError when it names no price to wait for.
    """
    stop, target = _above_zero(row.get("stopLossPrice")), _above_zero(row.get("takeProfitPrice"))
    if stop is None and target is None:
        stop = _trigger(row)
    if stop is None and target is None:
        raise BadAnswerError(f"{terms.symbol}: a protection without a price")
    info = row.get("info") or {}
    is_market = "market" in str(row.get("type") or info.get("orderType") or "market")
    limit = None if is_market else _above_zero(row.get("price"))
    state, oddity = _state(row, ZERO, is_trigger=True)
    return Protection(
        symbol=terms.symbol,
        protection_id=_id(row),
        client_id=str(row.get("clientOrderId") or ""),
        side=side(row),
        state=state,
        size=None if _is_whole(row) else positive(row, "amount") * terms.contract_value,
        stop=stop,
        stop_limit=_above_zero(info.get("slOrderPrice")) or (limit if stop else None),
        target=target,
        target_limit=_above_zero(info.get("tpOrderPrice")) or (limit if target else None),
        reduce_only=bool(row.get("reduceOnly")) or _is_whole(row) or None,
        position_side=_position_side(row),
        created_ms=time_ms(row.get("timestamp")),
        updated_ms=time_ms(row.get("lastUpdateTimestamp") or row.get("timestamp")),
        oddities=(oddity,) if oddity else (),
    )


def position(row: Row, terms: Instrument) -> Position | None:
    """An open position; None for a row of none.

    Leverage comes from the margin where the exchange tells none. Errors: BadAnswerError when a
    position has no side.
    """
    size = needed(row, "contracts") * terms.contract_value
    if size == 0:
        return None
    word = row.get("side")
    if word not in {"long", "short"}:
        raise BadAnswerError(f"{terms.symbol}: a position with the side {word!a}")
    size = abs(size) if word == "long" else -abs(size)
    leverage, share = number(row.get("leverage")), number(row.get("initialMarginPercentage"))
    if leverage is None and share:
        leverage = (1 / share).to_integral_value()
    ratio = number(row.get("marginRatio"))
    maintenance = number(row.get("maintenanceMargin"))
    return Position(
        symbol=terms.symbol,
        position_id=str(row.get("id") or ""),
        size=size,
        available=size,
        entry_price=positive(row, "entryPrice"),
        mark_price=number(row.get("markPrice")) or ZERO,
        leverage=int(leverage) if leverage else 0,
        margin_mode=margin_mode(row),
        position_side=PositionSide(word) if row.get("hedged") else PositionSide.NET,
        margin_usdt=number(row.get("collateral")),
        maintenance_margin_usdt=maintenance,
        margin_ratio=1 / ratio if ratio else None,
        liquidation_price=_above_zero(row.get("liquidationPrice")),
        unrealized_pnl_usdt=number(row.get("unrealizedPnl")) or ZERO,
        created_ms=time_ms(row.get("timestamp")),
        updated_ms=time_ms(row.get("lastUpdateTimestamp") or row.get("timestamp")),
        oddities=() if leverage else ("leverage is not told",),
    )


def fill(row: Row, terms: Instrument) -> Fill:
    """One execution. Its fee is 0 where it was paid in another currency than USDT."""
    fee, info = row.get("fee") or {}, row.get("info") or {}
    gain = number(info.get("realizedPnl")) or number(info.get("fillPnl")) or ZERO
    return Fill(
        symbol=terms.symbol,
        trade_id=_id(row),
        order_id=str(row.get("order") or ""),
        side=side(row),
        price=positive(row, "price"),
        size=positive(row, "amount") * terms.contract_value,
        fee_usdt=(number(fee.get("cost")) or ZERO) if _is_usdt(fee) else ZERO,
        pnl_usdt=gain,
        ts_ms=time_ms(row.get("timestamp")),
    )


def account(row: Row, now_ms: int) -> AccountInfo:
    """The balances of the account, of which only currencies held are told."""
    totals = row.get("total") or {}
    balances = tuple(
        Balance(
            currency=str(name),
            equity=number(total) or ZERO,
            balance=number(total) or ZERO,
            available=number((row.get("free") or {}).get(name)) or ZERO,
            frozen=number((row.get("used") or {}).get(name)),
        )
        for name, total in totals.items()
        if number(total) or name == "USDT"
    )
    told_ms = time_ms(row.get("timestamp")) or now_ms
    return AccountInfo(total_equity_usd=None, balances=balances, ts_ms=told_ms)


def leverage(row: Row, symbol: str) -> tuple[LeverageSetting, ...]:
    """One row, or one a side where they differ."""
    mode = margin_mode(row)
    values = {
        PositionSide.LONG: number(row.get("longLeverage")),
        PositionSide.SHORT: number(row.get("shortLeverage")),
    }
    told = {which: int(value) for which, value in values.items() if value}
    if not told:
        raise BadAnswerError(f"{symbol}: no leverage is told")
    if len(set(told.values())) == 1:
        told = {PositionSide.NET: next(iter(told.values()))}
    return tuple(
        LeverageSetting(symbol=symbol, leverage=value, margin_mode=mode, position_side=which)
        for which, value in told.items()
    )


def margin_mode(row: Row) -> MarginMode:
    """Isolated, cross, or a word this build does not know."""
    try:
        return MarginMode(str(row.get("marginMode")))
    except ValueError:
        return MarginMode.UNKNOWN


def _kind(row: Row, *, is_trigger: bool) -> tuple[OrderType, str]:
    if is_trigger:
        return OrderType.TRIGGER, ""
    word = str(row.get("type") or "")
    if row.get("postOnly"):
        return OrderType.POST_ONLY, ""
    if word == "limit":
        return _TIMES_IN_FORCE.get(str(row.get("timeInForce")), OrderType.LIMIT), ""
    if word == "market":
        return OrderType.MARKET, ""
    return OrderType.UNKNOWN, f"type {word[:20]!a}"


def _state(row: Row, filled: Decimal, *, is_trigger: bool) -> tuple[OrderState, str]:
    word = str(row.get("status") or "")
    if word == "open":
        return (OrderState.PARTIALLY_FILLED if filled else OrderState.LIVE), ""
    if word == "closed":
        return (OrderState.TRIGGERED if is_trigger else OrderState.FILLED), ""
    state = _ENDED.get(word)
    if state is None:
        return OrderState.UNKNOWN, f"status {word[:20]!a}"
    if state is OrderState.CANCELED and filled:
        state = OrderState.PARTIALLY_CANCELED
    return state, ""


def _is_whole(row: Row) -> bool:
    info = row.get("info") or {}
    return str(info.get("closePosition")).lower() == "true" or info.get("size") == "-1"


def _trigger(row: Row) -> Decimal | None:
    """The price it waits for; some clients leave it in the raw row."""
    info = row.get("info") or {}
    return _above_zero(row.get("triggerPrice")) or _above_zero(info.get("triggerPrice"))


def _position_side(row: Row) -> PositionSide:
    word = str((row.get("info") or {}).get("positionSide") or "").lower()
    return PositionSide(word) if word in {"long", "short"} else PositionSide.NET


def _above_zero(value: object) -> Decimal | None:
    """A price; 0 and -1 are how exchanges say that there is none."""
    found = number(value)
    return found if found is not None and found > 0 else None


def _is_usdt(fee: Row) -> bool:
    return fee.get("currency") in {None, "USDT"}


def _id(row: Row) -> str:
    found = row.get("id")
    if not found:
        raise BadAnswerError("a row without an id")
    return str(found)
