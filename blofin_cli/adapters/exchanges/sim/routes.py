"""Every REST path the box answers, and what each asks of its caller."""

from collections.abc import Callable
from typing import Any, NamedTuple

from blofin_cli.adapters.exchanges.sim import account_api, assets_api, public_api, trade_api

PREFIX = "/api/v1/"

Handler = Callable[[Any, Any], Any]


class Route(NamedTuple):
    """One endpoint. `body` is none, object or array; `is_trading` counts against that limit."""

    handler: Handler
    is_private: bool = True
    is_trading: bool = False
    body: str = "none"


def _public(handler: Handler) -> Route:
    return Route(handler, is_private=False)


def _trade(handler: Handler, body: str = "none") -> Route:
    return Route(handler, is_trading=True, body=body)


_GET = {
    "public/time": _public(public_api.server_time),
    "market/instruments": _public(public_api.instruments),
    "market/tickers": _public(public_api.tickers),
    "market/books": _public(public_api.books),
    "market/trades": _public(public_api.trades),
    "market/mark-price": _public(public_api.mark_price),
    "market/funding-rate": _public(public_api.funding_rate),
    "market/funding-rate-history": _public(public_api.funding_rate_history),
    "market/candles": _public(public_api.candles),
    "market/index-candles": _public(public_api.plain_candles),
    "market/mark-price-candles": _public(public_api.plain_candles),
    "market/position-tiers": _public(public_api.position_tiers),
    "asset/currencies": Route(assets_api.currencies),
    "asset/balances": Route(assets_api.balances),
    "asset/bills": Route(assets_api.bills),
    "asset/deposit-history": Route(assets_api.no_movements),
    "asset/withdrawal-history": Route(assets_api.no_movements),
    "account/balance": Route(account_api.balance),
    "account/positions": Route(account_api.positions),
    "account/positions-history": Route(account_api.positions_history),
    "account/funding-fees": Route(account_api.funding_fees),
    "account/margin-mode": Route(account_api.margin_mode),
    "account/position-mode": Route(account_api.position_mode),
    "account/leverage-info": Route(account_api.leverage_info),
    "account/batch-leverage-info": Route(account_api.batch_leverage_info),
    "account/config": Route(account_api.account_config),
    "user/query-apikey": Route(account_api.query_apikey),
    "trade/orders-pending": _trade(trade_api.orders_pending),
    "trade/order-detail": _trade(trade_api.order_detail),
    "trade/orders-history": _trade(trade_api.orders_history),
    "trade/orders-tpsl-pending": _trade(trade_api.tpsl_pending),
    "trade/orders-tpsl-history": _trade(trade_api.tpsl_history),
    "trade/order-tpsl-detail": _trade(trade_api.tpsl_detail),
    "trade/orders-tpsl-detail": _trade(trade_api.tpsl_detail),
    "trade/orders-algo-pending": _trade(trade_api.algo_pending),
    "trade/orders-algo-history": _trade(trade_api.algo_history),
    "trade/fills-history": _trade(trade_api.fills_history),
    "trade/order/price-range": _trade(trade_api.price_range),
}

_POST = {
    "asset/transfer": Route(assets_api.transfer, body="object"),
    "asset/demo-apply-money": Route(assets_api.demo_money, body="object"),
    "account/set-margin-mode": _trade(account_api.set_margin_mode, "object"),
    "account/set-position-mode": _trade(account_api.set_position_mode, "object"),
    "account/set-leverage": _trade(account_api.set_leverage, "object"),
    "trade/order": _trade(trade_api.place_order, "object"),
    "trade/batch-orders": _trade(trade_api.batch_orders, "array"),
    "trade/cancel-order": _trade(trade_api.cancel_order, "object"),
    "trade/cancel-batch-orders": _trade(trade_api.cancel_batch_orders, "array"),
    "trade/order-tpsl": _trade(trade_api.order_tpsl, "object"),
    "trade/order-algo": _trade(trade_api.order_algo, "object"),
    "trade/cancel-tpsl": _trade(trade_api.cancel_tpsl, "array"),
    "trade/cancel-algo": _trade(trade_api.cancel_algo, "object"),
    "trade/close-position": _trade(trade_api.close_position, "object"),
    "trade/amend-order": _trade(trade_api.amend_order, "object"),
    "trade/amend-tpsl": _trade(trade_api.amend_tpsl, "object"),
    "trade/amend-algo": _trade(trade_api.amend_algo, "object"),
}

ROUTES = {
    **{("GET", PREFIX + path): route for path, route in _GET.items()},
    **{("POST", PREFIX + path): route for path, route in _POST.items()},
}
"""(method, path) -> route."""
