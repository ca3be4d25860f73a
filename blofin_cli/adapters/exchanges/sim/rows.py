"""The venue's records as BloFin's JSON rows: every number and flag a string.

Source: BloFin's API documentation and recorded answers; private decimals carry 18 places there.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim.account import Account
from blofin_cli.adapters.exchanges.sim.bars import Bar, bar_end
from blofin_cli.adapters.exchanges.sim.books import Book, MarketState
from blofin_cli.adapters.exchanges.sim.margin import cut_to_places
from blofin_cli.adapters.exchanges.sim.records import (
    ISOLATED,
    ZERO,
    Algo,
    ClosedPosition,
    Fill,
    FundingBill,
    Order,
    Position,
    Protection,
    Terms,
    Tick,
    Tpsl,
)

Row = dict[str, Any]
EXPIRE_MS = "4918462709025"


def plain(value: Decimal) -> str:
    """Without exponent or trailing zeros."""
    text = f"{value or ZERO:f}"  # no negative zero
    return text.rstrip("0").rstrip(".") if "." in text else text


def long(value: Decimal) -> str:
    """With BloFin's 18 places, which it cuts and does not round."""
    return f"{cut_to_places(value):f}"


def cut(value: Decimal) -> str:
    """At most 18 places."""
    return plain(cut_to_places(value))


def number(value: float) -> str:
    """A float of market data as plain text."""
    text = f"{value:.8f}"
    return text.rstrip("0").rstrip(".")


def _long_or_none(value: Decimal | None) -> str | None:
    return None if value is None else long(value)


def flag(value: bool) -> str:
    """BloFin's words for a flag."""
    return "true" if value else "false"


def instrument_row(terms: Terms) -> Row:
    """A row of `market/instruments`."""
    return {
        "instId": terms.inst_id,
        "baseCurrency": terms.base,
        "quoteCurrency": "USDT",
        "contractValue": plain(terms.contract_value),
        "listTime": str(terms.list_ms),
        "expireTime": EXPIRE_MS,
        "maxLeverage": str(terms.leverage_max),
        "minSize": plain(terms.min_size),
        "lotSize": plain(terms.lot_size),
        "tickSize": plain(terms.tick_size),
        "instType": "SWAP",
        "contractType": "linear",
        "maxLimitSize": plain(terms.limit_size_max),
        "maxMarketSize": plain(terms.market_size_max),
        "state": terms.state,
        "settleCurrency": "USDT",
        "thresholdX": "0.02",
        "thresholdY": "0.01",
        "thresholdZ": "0.02",
        "assetClass": "Crypto",
        "offTime": "",
    }


def tier_rows(terms: Terms, margin_mode: str) -> list[Row]:
    """Rows of `market/position-tiers`."""
    return [
        {
            "symbol": terms.inst_id,
            "marginMode": margin_mode,
            "minSize": plain(tier.size_min),
            "maxSize": plain(tier.size_max),
            "maintenanceMarginRate": plain(tier.maintenance),
            "maxLeverage": str(tier.leverage_max),
        }
        for tier in terms.tiers
    ]


def ticker_row(state: MarketState, day: Sequence[Bar], ts_ms: int) -> Row:
    """A row of `market/tickers`; `day` is the last 24 hours."""
    tick = state.tick
    assert tick is not None
    last = plain(tick.price)
    base = sum(bar.volume for bar in day)
    bid, ask = state.book.levels("bids", 1), state.book.levels("asks", 1)
    return {
        "instId": tick.inst_id,
        "last": last,
        "lastSize": plain(tick.size or ZERO),
        "askPrice": plain(ask[0][0]) if ask else "",
        "askSize": plain(ask[0][1]) if ask else "",
        "bidPrice": plain(bid[0][0]) if bid else "",
        "bidSize": plain(bid[0][1]) if bid else "",
        "high24h": number(max((bar.high for bar in day), default=float(tick.price))),
        "open24h": number(day[0].open) if day else last,
        "low24h": number(min((bar.low for bar in day), default=float(tick.price))),
        "volCurrency24h": number(base),
        "vol24h": number(base / float(state.terms.contract_value)),
        "ts": str(ts_ms),
    }


def level_rows(book: Book, side: str, count: int) -> list[list[str]]:
    """Levels of one side, best first."""
    return [[plain(price), plain(size)] for price, size in book.levels(side, count)]


def trade_row(tick: Tick, trade_id: int) -> Row:
    """A row of `market/trades`."""
    return {
        "instId": tick.inst_id,
        "tradeId": str(trade_id),
        "price": plain(tick.price),
        "size": plain(tick.size or ZERO),
        "side": tick.side,
        "ts": str(tick.ts_ms),
    }


def candle_row(bar: Bar, contract_value: float, *, closed: bool) -> list[str]:
    """Nine strings of `market/candles`."""
    return [
        str(bar.ts),
        number(bar.open),
        number(bar.high),
        number(bar.low),
        number(bar.close),
        number(bar.volume / contract_value),
        number(bar.volume),
        number(bar.quote),
        "1" if closed else "0",
    ]


def is_closed(bar_name: str, bar: Bar, now_ms: int) -> bool:
    """Whether a bar's time is over."""
    return bar_end(bar_name, bar.ts) <= now_ms


def order_row(order: Order, contract_value: Decimal) -> Row:
    """What `orders-pending`, `order-detail` and the history have in common."""
    request = order.request
    return {
        "orderId": order.order_id,
        "clientOrderId": request.client_order_id,
        "instId": request.inst_id,
        "marginMode": request.margin_mode,
        "positionSide": request.position_side,
        "side": request.side,
        "orderType": request.order_type,
        "price": long(order.price or ZERO),
        "size": long(order.size),
        "reduceOnly": flag(request.reduce_only),
        "leverage": str(order.leverage),
        "state": order.state,
        "filledSize": long(order.filled),
        "filled_amount": long(order.filled * contract_value),
        "averagePrice": long(order.average),
        "fee": long(order.fee),
        "pnl": long(order.pnl),
        "createTime": str(order.create_ms),
        "updateTime": str(order.update_ms),
        "orderCategory": order.category,
        **protection_row(order.protection),
        "algoClientOrderId": order.algo_client_id,
        "algoId": order.algo_id,
        "brokerId": request.broker_id,
    }


def protection_row(protection: Protection) -> Row:
    """Four fields; an order price of market reads null, as BloFin's lists show it."""
    return {
        "tpTriggerPrice": _long_or_none(protection.tp_trigger),
        "tpOrderPrice": _long_or_none(protection.tp_price),
        "slTriggerPrice": _long_or_none(protection.sl_trigger),
        "slOrderPrice": _long_or_none(protection.sl_price),
    }


def finished_order_row(order: Order, contract_value: Decimal) -> Row:
    """A row of `orders-history`."""
    row = order_row(order, contract_value)
    del row["filled_amount"]
    row["cancelSource"] = order.cancel_source
    row["cancelSourceReason"] = order.cancel_reason
    return row


def order_push(order: Order, contract_value: Decimal) -> Row:
    """A row of the `orders` channel."""
    row = order_row(order, contract_value)
    row["filledAmount"] = row.pop("filled_amount")
    protection = order.protection
    row |= _market_words(protection)
    row |= {
        "instType": "SWAP",
        "cancelSource": "" if order.cancel_source == "not_canceled" else order.cancel_source,
        "tpTriggerPriceType": "last" if protection.tp_trigger is not None else None,
        "slTriggerPriceType": "last" if protection.sl_trigger is not None else None,
    }
    return row


def _market_words(protection: Protection) -> Row:
    """Pushes say -1 where lists say null."""
    words: Row = {}
    if protection.tp_trigger is not None and protection.tp_price is None:
        words["tpOrderPrice"] = "-1"
    if protection.sl_trigger is not None and protection.sl_price is None:
        words["slOrderPrice"] = "-1"
    return words


def tpsl_row(tpsl: Tpsl, *, finished: bool = False) -> Row:
    """A row of the TP/SL lists."""
    request = tpsl.request
    row: Row = {
        "tpslId": tpsl.tpsl_id,
        "clientOrderId": request.client_order_id,
        "instId": request.inst_id,
        "marginMode": request.margin_mode,
        "positionSide": request.position_side,
        "side": request.side,
        **protection_row(tpsl.protection),
        "size": plain(tpsl.size),
        "state": tpsl.state,
        "leverage": str(tpsl.leverage),
        "reduceOnly": flag(request.reduce_only),
        "actualSize": None if tpsl.actual_size is None else plain(tpsl.actual_size),
        "createTime": str(tpsl.create_ms),
        "brokerId": request.broker_id,
    }
    row |= _market_words(tpsl.protection)
    if finished:
        row |= {"orderType": None, "orderCategory": "normal", "triggerType": None}
    return row


def algo_row(algo: Algo, *, finished: bool = False) -> Row:
    """A row of the trigger order lists."""
    request = algo.request
    attached = {
        **protection_row(request.protection),
        **_market_words(request.protection),
        "tpTriggerPriceType": "last",
        "slTriggerPriceType": "last",
    }
    row: Row = {
        "algoId": algo.algo_id,
        "clientOrderId": request.client_order_id,
        "instId": request.inst_id,
        "marginMode": request.margin_mode,
        "positionSide": request.position_side,
        "side": request.side,
        "orderType": "trigger",
        "size": plain(algo.size),
        "leverage": str(algo.leverage),
        "reduceOnly": flag(request.reduce_only),
        "state": algo.state,
        "createTime": str(algo.create_ms),
        "triggerPrice": long(algo.trigger_price),
        "triggerPriceType": "last",
        "orderPrice": "-1" if request.order_price is None else long(request.order_price),
        "brokerId": request.broker_id,
        "attachAlgoOrders": [attached] if request.protection else [],
    }
    if finished:
        row["actualSize"] = None if algo.actual_size is None else plain(algo.actual_size)
    return row


def trigger_push(trigger: Tpsl | Algo) -> Row:
    """A row of the `orders-algo` channel: both ids carry the same value."""
    if isinstance(trigger, Tpsl):
        row = tpsl_row(trigger)
        row |= {
            "algoId": trigger.tpsl_id,
            "orderType": "conditional",
            "triggerPrice": None,
            "orderPrice": None,
        }
    else:
        row = algo_row(trigger)
        row.update({"tpslId": trigger.algo_id, **protection_row(trigger.request.protection)})
    row |= {
        "instType": "SWAP",
        "triggerPriceType": "last",
        "actualSize": "" if trigger.actual_size is None else plain(trigger.actual_size),
        "actualSide": trigger.actual_side if isinstance(trigger, Tpsl) else "",
        "cancelType": trigger.cancel_type,
        "updateTime": str(trigger.update_ms),
    }
    return row


def position_row(position: Position, account: Account) -> Row:
    """A row of `account/positions`."""
    health = account.health(position)
    is_isolated = position.margin_mode == ISOLATED
    sign = position.direction if position.position_side == "net" else 1
    row: Row = {
        "positionId": position.position_id,
        "instId": position.inst_id,
        "instType": "SWAP",
        "marginMode": position.margin_mode,
        "positionSide": position.position_side,
        "adl": "1",
        "positions": plain(sign * position.contracts),
        "availablePositions": plain(sign * position.contracts),
        "averagePrice": long(position.entry),
        "markPrice": plain(health.mark),
        "marginRatio": long(health.ratio),
        "liquidationPrice": "" if health.liquidation is None else long(health.liquidation),
        "unrealizedPnl": cut(health.profit),
        "unrealizedPnlRatio": long(health.profit_ratio),
        "maintenanceMargin": cut(health.maintenance),
        "createTime": str(position.create_ms),
        "updateTime": str(position.update_ms),
        "leverage": str(position.leverage),
    }
    if is_isolated:
        row["margin"] = long(position.margin)
    else:
        row["initialMargin"] = long(health.initial)
    return row


def position_push(position: Position, account: Account) -> Row:
    """A row of the `positions` channel: the margin that does not apply is empty."""
    return {"margin": "", "initialMargin": "", **position_row(position, account)}


def closed_position_row(closed: ClosedPosition, contract_value: Decimal) -> Row:
    """A row of `positions-history`: quantities in base units, the fee negative, net result."""
    position = closed.position
    net = position.pnl - position.fee
    staked = position.entry * position.closed * contract_value / position.leverage
    average = position.closed_value / position.closed if position.closed else ZERO
    return {
        "historyId": closed.history_id,
        "positionId": position.position_id,
        "instId": position.inst_id,
        "instType": "SWAP",
        "side": "buy" if position.direction > 0 else "sell",
        "state": closed.state,
        "marginMode": position.margin_mode,
        "positionSide": position.position_side,
        "closePositions": plain(position.closed * contract_value),
        "maxPositions": plain(position.contracts_max * contract_value),
        "liquidationPositions": plain(position.liquidated * contract_value),
        "openAveragePrice": cut(position.entry),
        "closeAveragePrice": cut(average),
        "createTime": str(position.create_ms),
        "updateTime": str(position.update_ms),
        "leverage": str(position.leverage),
        "realizedPnl": cut(net),
        "realizedPnlRatio": cut(net / staked) if staked else "0",
        "fee": cut(-position.fee),
    }


def fill_row(fill: Fill) -> Row:
    """A row of `fills-history`."""
    return {
        "instId": fill.inst_id,
        "tradeId": fill.trade_id,
        "orderId": fill.order_id,
        "fillPrice": long(fill.price),
        "fillSize": long(fill.size),
        "fillPnl": long(fill.pnl),
        "positionSide": fill.position_side,
        "side": fill.side,
        "fee": long(fill.fee),
        "ts": str(fill.ts_ms),
        "brokerId": fill.broker_id,
    }


def funding_bill_row(bill: FundingBill) -> Row:
    """A row of `account/funding-fees`, an endpoint known from other clients only."""
    return {
        "billId": bill.bill_id,
        "instId": bill.inst_id,
        "positionSide": bill.position_side,
        "fundingRate": plain(bill.rate),
        "fundingFee": cut(bill.amount),
        "currency": "USDT",
        "ts": str(bill.ts_ms),
    }


def balance_data(account: Account, frozen: Decimal, ts_ms: int, *, push: bool = False) -> Row:
    """The `data` of `account/balance` and of the `account` channel."""
    held = account.positions.values()
    isolated_profit = sum((account.profit(p) for p in held if p.margin_mode == ISOLATED), ZERO)
    profit = sum((account.profit(p) for p in held), ZERO)
    isolated = account.isolated_margin()
    equity = account.balance + profit
    available = max(ZERO, account.available(frozen))
    details = {
        "currency": "USDT",
        "equity": cut(equity),
        "balance": cut(account.balance),
        "ts": str(ts_ms),
        "isolatedEquity": cut(isolated + isolated_profit),
        "available": cut(available),
        "availableEquity": cut(available),
        "frozen": cut(isolated + frozen),
        "orderFrozen": cut(frozen),
        "equityUsd": cut(equity),
        "isolatedUnrealizedPnl": cut(isolated_profit),
        "bonus": "0",
    }
    if push:
        details["unrealizedPnl"] = cut(profit)
    return {
        "ts": str(ts_ms),
        "totalEquity": cut(equity),
        "isolatedEquity": cut(isolated + isolated_profit),
        "details": [details],
    }
