"""Which published example answers which request, by the name of its cassette."""

_HISTORY = "trade/orders-history"

ANSWERS: dict[str, list[tuple[str, str, str]]] = {
    "instruments": [("GET", "market/instruments", "rest.market.instruments")],
    "instruments_observed": [("GET", "market/instruments", "rest.market.instruments.observed")],
    "position_tiers": [("GET", "market/position-tiers", "rest.market.position-tiers")],
    "quotes": [("GET", "market/tickers", "rest.market.tickers")],
    "quotes_observed": [("GET", "market/tickers", "rest.market.tickers.observed")],
    "mark_price": [("GET", "market/mark-price", "rest.market.mark-price")],
    "funding_rate": [("GET", "market/funding-rate", "rest.market.funding-rate")],
    "funding_rate_observed": [("GET", "market/funding-rate", "rest.market.funding-rate.observed")],
    "funding_history": [("GET", "market/funding-rate-history", "rest.market.funding-rate-history")],
    "book": [("GET", "market/books", "rest.market.books")],
    "book_observed": [("GET", "market/books", "rest.market.books.observed")],
    "prints": [("GET", "market/trades", "rest.market.trades")],
    "candles": [("GET", "market/candles", "rest.market.candles")],
    "account": [("GET", "account/balance", "rest.account.balance")],
    "positions": [("GET", "account/positions", "rest.account.positions")],
    "leverage": [("GET", "account/batch-leverage-info", "rest.account.batch-leverage-info")],
    "margin_mode": [("GET", "account/margin-mode", "rest.account.margin-mode")],
    "position_mode": [("GET", "account/position-mode", "rest.account.position-mode")],
    "key_info": [("GET", "user/query-apikey", "rest.user.query-apikey")],
    "price_range": [("GET", "trade/order/price-range", "rest.trade.order-price-range")],
    "open_orders": [
        ("GET", "trade/orders-pending", "rest.trade.orders-pending"),
        ("GET", "trade/orders-algo-pending", "rest.trade.orders-algo-pending"),
    ],
    "protections": [("GET", "trade/orders-tpsl-pending", "rest.trade.orders-tpsl-pending")],
    "protections_observed": [
        ("GET", "trade/orders-tpsl-pending", "rest.trade.orders-tpsl-pending.observed")
    ],
    "order": [("GET", "trade/order-detail", "rest.trade.order-detail")],
    "protection": [("GET", "trade/order-tpsl-detail", "rest.trade.order-tpsl-detail")],
    "order_history": [("GET", _HISTORY, "rest.trade.orders-history")],
    "order_history_recorded": [("GET", _HISTORY, "ccxt.trade.orders-history")],
    "trigger_history": [
        ("GET", "trade/orders-algo-pending", "rest.trade.orders-algo-pending"),
        ("GET", "trade/orders-algo-history", "rest.trade.orders-algo-history"),
    ],
    "protection_history": [
        ("GET", "trade/order-tpsl-detail", "rest.error.parameter"),
        ("GET", "trade/orders-tpsl-pending", "rest.trade.orders-tpsl-pending"),
        ("GET", "trade/orders-tpsl-history", "rest.trade.orders-tpsl-history"),
    ],
    "fills": [("GET", "trade/fills-history", "rest.trade.fills-history")],
    "place": [("POST", "trade/order", "rest.trade.order")],
    "place_observed": [("POST", "trade/order", "rest.trade.order.observed")],
    "place_trigger": [("POST", "trade/order-algo", "rest.trade.order-algo")],
    "protect": [("POST", "trade/order-tpsl", "rest.trade.order-tpsl")],
    "protect_observed": [("POST", "trade/order-tpsl", "rest.trade.order-tpsl.observed")],
    "place_many": [("POST", "trade/batch-orders", "rest.trade.batch-orders")],
    "cancel": [("POST", "trade/cancel-order", "rest.trade.cancel-order")],
    "cancel_observed": [("POST", "trade/cancel-order", "rest.trade.cancel-order.observed")],
    "cancel_trigger": [("POST", "trade/cancel-algo", "rest.trade.cancel-algo")],
    "cancel_protections": [("POST", "trade/cancel-tpsl", "rest.trade.cancel-tpsl")],
    "cancel_protection_observed": [
        ("POST", "trade/cancel-tpsl", "rest.trade.cancel-tpsl.observed")
    ],
    "cancel_many": [("POST", "trade/cancel-batch-orders", "rest.trade.cancel-batch-orders")],
    "close_position": [("POST", "trade/close-position", "rest.trade.close-position")],
    "set_leverage": [("POST", "account/set-leverage", "rest.account.set-leverage")],
    "set_margin_mode": [
        ("POST", "account/set-margin-mode", "rest.account.set-margin-mode"),
        ("GET", "account/margin-mode", "rest.account.margin-mode"),
    ],
    "set_position_mode": [
        ("POST", "account/set-position-mode", "rest.account.set-position-mode"),
        ("GET", "account/position-mode", "rest.account.position-mode"),
    ],
    "parameter_refused": [("GET", "market/tickers", "rest.error.parameter")],
    "rate_limit_inside_success": [("GET", "market/tickers", "rest.error.rate-limit")],
    "unknown_route": [("GET", "market/tickers", "rest.error.unknown-route")],
}
