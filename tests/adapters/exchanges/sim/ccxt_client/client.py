"""ccxt's own BloFin clients at work against the box; runs in a virtual environment of its own.

Called as `client.py KIND PORT`, KIND being sync, async or pro. Prints one JSON object: the name of
each step and "ok", or what went wrong. Nothing here imports the package under test.
"""

import asyncio
import inspect
import json
import sys
import traceback
import urllib.request

SYMBOL, ID = "BTC/USDT:USDT", "BTC-USDT"
ISOLATED = {"marginMode": "isolated"}


def settings(port: int) -> dict:
    """Credentials and addresses of the box, given as any user would."""
    return {
        "apiKey": "demo-key-0001",
        "secret": "demo-secret-0001",
        "password": "demo-pass-0001",
        "timeout": 10_000,
        "urls": {
            "api": {
                "rest": f"http://127.0.0.1:{port}",
                "ws": {
                    "swap": {
                        "public": f"ws://127.0.0.1:{port}/ws/public",
                        "private": f"ws://127.0.0.1:{port}/ws/private",
                    }
                },
            }
        },
    }


def control(port: int, action: str, **fields: object) -> dict:
    """One action at the control endpoint."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/control/{action}",
        data=json.dumps(fields).encode(),
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Steps:
    """Runs every step, keeps what it found."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.found: dict[str, str] = {}

    async def run(self, exchange: object) -> None:
        """Every step of this class in the order of its text."""
        for name, step in type(self).__dict__.items():
            if name.startswith("step_"):
                try:
                    await asyncio.wait_for(step(self, exchange), 60)
                    self.found[name[5:]] = "ok"
                except Exception:  # noqa: BLE001 - one step must not hide the others
                    self.found[name[5:]] = traceback.format_exc(limit=-2)


async def call(result: object) -> object:
    """The result of a call of either client."""
    return await result if inspect.isawaitable(result) else result


class RestSteps(Steps):
    """What a bot does over REST."""

    async def step_load_markets(self, exchange):
        markets = await call(exchange.load_markets())
        market = markets[SYMBOL]
        assert market["active"]
        assert market["linear"]
        assert market["contractSize"] == 0.001
        assert (
            market["precision"] == {"amount": 0.1, "price": 0.1}
            or market["precision"]["price"] == 0.1
        )

    async def step_ticker(self, exchange):
        ticker = await call(exchange.fetch_ticker(SYMBOL))
        self.last = ticker["last"]
        assert ticker["bid"] <= ticker["last"] <= ticker["ask"]
        assert ticker["baseVolume"] > 0
        tickers = await call(exchange.fetch_tickers())
        assert SYMBOL in tickers

    async def step_ohlcv(self, exchange):
        rows = await call(exchange.fetch_ohlcv(SYMBOL, "15m", limit=50))
        assert len(rows) == 50
        assert rows[1][0] - rows[0][0] == 900_000
        since = rows[10][0]
        part = await call(exchange.fetch_ohlcv(SYMBOL, "15m", since=since, limit=5))
        assert [row[0] for row in part] == [since + 900_000 * i for i in range(5)]
        for timeframe in ("1m", "1h", "4h", "1d", "1w", "1M"):
            assert await call(exchange.fetch_ohlcv(SYMBOL, timeframe, limit=3)), timeframe

    async def step_book(self, exchange):
        book = await call(exchange.fetch_order_book(SYMBOL))
        assert len(book["bids"]) == len(book["asks"]) == 50
        assert book["bids"][0][0] < book["asks"][0][0]

    async def step_trades(self, exchange):
        assert await call(exchange.fetch_trades(SYMBOL, limit=5))

    async def step_balance(self, exchange):
        balance = await call(exchange.fetch_balance())
        assert balance["USDT"]["total"] == 10_000
        assert balance["USDT"]["used"] == 0
        funding = await call(exchange.fetch_balance({"accountType": "futures"}))
        assert funding["USDT"]["total"] == 10_000

    async def step_margin_mode(self, exchange):
        await call(exchange.set_margin_mode("isolated"))
        assert (await call(exchange.fetch_margin_mode(SYMBOL)))["marginMode"] == "isolated"
        assert (await call(exchange.fetch_position_mode()))["hedged"] is False

    async def step_leverage(self, exchange):
        await call(exchange.set_leverage(5, SYMBOL, ISOLATED))
        leverage = await call(exchange.fetch_leverage(SYMBOL, ISOLATED))
        assert leverage["longLeverage"] == leverage["shortLeverage"] == 5, leverage
        leverages = await call(exchange.fetch_leverages([SYMBOL], ISOLATED))
        assert leverages[SYMBOL]["longLeverage"] == 5

    async def step_limit_order(self, exchange):
        price = float(exchange.price_to_precision(SYMBOL, self.last * 0.9))
        params = {**ISOLATED, "clientOrderId": "ccxtlimit1"}
        order = await call(exchange.create_order(SYMBOL, "limit", "buy", 2, price, params))
        self.limit = order["id"]
        assert order["clientOrderId"] == "ccxtlimit1"
        found = await call(exchange.fetch_open_orders(SYMBOL))
        assert [(o["id"], o["status"], o["price"], o["amount"]) for o in found] == [
            (self.limit, "open", price, 2)
        ]
        assert (await call(exchange.fetch_balance()))["USDT"]["used"] > 0

    async def step_order_by_id(self, exchange):
        for query in ({"orderId": self.limit}, {"clientOrderId": "ccxtlimit1"}):
            row = await call(exchange.privateGetTradeOrderDetail({"instId": ID, **query}))
            assert row["data"]["orderId"] == self.limit
            assert row["data"]["state"] == "live"

    async def step_duplicate_client_id_is_refused(self, exchange):
        params = {**ISOLATED, "clientOrderId": "ccxtlimit1"}
        price = float(exchange.price_to_precision(SYMBOL, self.last * 0.9))
        await refused(
            exchange.create_order, SYMBOL, "limit", "buy", 2, price, params, code="102002"
        )

    async def step_edit_order(self, exchange):
        price = exchange.price_to_precision(SYMBOL, self.last * 0.91)
        request = {"instId": ID, "orderId": self.limit, "newPrice": price}
        await call(exchange.privatePostTradeAmendOrder(request))
        found = await call(exchange.fetch_open_orders(SYMBOL))
        assert found[0]["price"] == float(price)

    async def step_cancel_order(self, exchange):
        order = await call(exchange.cancel_order(self.limit, SYMBOL))
        assert order["id"] == self.limit
        assert await call(exchange.fetch_open_orders(SYMBOL)) == []
        await refused(exchange.cancel_order, self.limit, SYMBOL, code="102068")

    async def step_cancel_by_client_id_and_in_batch(self, exchange):
        price = float(exchange.price_to_precision(SYMBOL, self.last * 0.9))
        params = {**ISOLATED, "clientOrderId": "ccxtlimit2"}
        await call(exchange.create_order(SYMBOL, "limit", "buy", 1, price, params))
        await call(exchange.cancel_order(None, SYMBOL, {"clientOrderId": "ccxtlimit2"}))
        orders = [
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 1, "price": price,
             "params": ISOLATED}
            for _ in range(2)
        ]  # fmt: skip
        placed = await call(exchange.create_orders(orders))
        assert len(placed) == 2
        done = await call(exchange.cancel_orders([order["id"] for order in placed], SYMBOL))
        assert len(done) == 2
        assert await call(exchange.fetch_open_orders(SYMBOL)) == []

    async def step_market_order_with_stop_and_target(self, exchange):
        stop = float(exchange.price_to_precision(SYMBOL, self.last * 0.95))
        target = float(exchange.price_to_precision(SYMBOL, self.last * 1.1))
        params = {
            **ISOLATED,
            "stopLoss": {"triggerPrice": stop},
            "takeProfit": {"triggerPrice": target},
            "clientOrderId": "ccxtmarket1",
        }
        order = await call(exchange.create_order(SYMBOL, "market", "buy", 10, None, params))
        self.market = order["id"]
        rows = await call(exchange.fetch_open_orders(SYMBOL, params={"tpsl": True}))
        assert len(rows) == 1, rows
        assert (rows[0]["stopLossPrice"], rows[0]["takeProfitPrice"]) == (stop, target)
        self.tpsl = rows[0]["id"]

    async def step_positions(self, exchange):
        (position,) = await call(exchange.fetch_positions([SYMBOL]))
        assert position["contracts"] == 10
        assert position["side"] == "long"
        assert position["marginMode"] == "isolated"
        assert position["leverage"] == 5
        assert 0 < position["liquidationPrice"] < position["entryPrice"]
        assert (await call(exchange.fetch_position(SYMBOL)))["contracts"] == 10

    async def step_my_trades(self, exchange):
        trades = await call(exchange.fetch_my_trades(SYMBOL))
        mine = [trade for trade in trades if trade["order"] == self.market]
        assert sum(trade["amount"] for trade in mine) == 10
        fee = sum(trade["fee"]["cost"] for trade in mine)
        value = sum(trade["amount"] * trade["price"] * 0.001 for trade in mine)
        assert abs(fee - value * 0.0006) < 1e-9, (fee, value)

    async def step_closed_orders(self, exchange):
        orders = await call(exchange.fetch_closed_orders(SYMBOL))
        (order,) = [each for each in orders if each["id"] == self.market]
        assert order["status"] == "closed"
        assert order["filled"] == 10
        assert order["average"] > 0

    async def step_cancel_tpsl(self, exchange):
        await call(exchange.cancel_order(self.tpsl, SYMBOL, {"tpsl": True}))
        assert await call(exchange.fetch_open_orders(SYMBOL, params={"tpsl": True})) == []

    async def step_combined_stop_and_target(self, exchange):
        stop = float(exchange.price_to_precision(SYMBOL, self.last * 0.96))
        target = float(exchange.price_to_precision(SYMBOL, self.last * 1.12))
        params = {**ISOLATED, "stopLossPrice": stop, "takeProfitPrice": target}
        order = await call(exchange.create_order(SYMBOL, "market", "sell", 10, None, params))
        assert order["id"]
        await call(exchange.cancel_order(order["id"], SYMBOL, {"tpsl": True}))

    async def step_trigger_order(self, exchange):
        trigger = float(exchange.price_to_precision(SYMBOL, self.last * 1.05))
        params = {**ISOLATED, "triggerPrice": trigger}
        order = await call(exchange.create_order(SYMBOL, "market", "buy", 1, None, params))
        rows = await call(exchange.fetch_open_orders(SYMBOL, params={"trigger": True}))
        # ccxt does not carry the trigger price over, so it is read from the raw row.
        found = [(row["id"], float(row["info"]["triggerPrice"])) for row in rows]
        assert found == [(order["id"], trigger)], found
        await call(exchange.cancel_order(order["id"], SYMBOL, {"trigger": True}))
        assert await call(exchange.fetch_open_orders(SYMBOL, params={"trigger": True})) == []

    async def step_stop_loss_as_trigger(self, exchange):
        stop = float(exchange.price_to_precision(SYMBOL, self.last * 0.94))
        params = {**ISOLATED, "stopLossPrice": stop}
        order = await call(exchange.create_order(SYMBOL, "market", "sell", 10, None, params))
        await call(exchange.cancel_order(order["id"], SYMBOL, {"trigger": True}))

    async def step_reduce(self, exchange):
        params = {**ISOLATED, "reduceOnly": True}
        await call(exchange.create_order(SYMBOL, "market", "sell", 4, None, params))
        assert (await call(exchange.fetch_position(SYMBOL)))["contracts"] == 6

    async def step_close_position(self, exchange):
        await call(
            exchange.close_position(SYMBOL, None, {**ISOLATED, "clientOrderId": "ccxtclose"})
        )
        assert await call(exchange.fetch_positions([SYMBOL])) == []
        await refused(exchange.close_position, SYMBOL, None, ISOLATED, code="102005")

    async def step_position_history(self, exchange):
        rows = await call(exchange.fetch_positions_history([SYMBOL]))
        assert rows
        assert rows[0]["info"]["state"] == "closed"

    async def step_funding(self, exchange):
        rate = await call(exchange.fetch_funding_rate(SYMBOL))
        assert rate["fundingRate"] is not None
        assert rate["fundingTimestamp"] > 0
        assert await call(exchange.fetch_funding_rate_history(SYMBOL, limit=3))

    async def step_insufficient_margin(self, exchange):
        await refused(
            exchange.create_order, SYMBOL, "market", "buy", 90_000, None, ISOLATED, code="103003"
        )

    async def step_order_types(self, exchange):
        low = float(exchange.price_to_precision(SYMBOL, self.last * 0.9))
        order = await call(exchange.create_order(SYMBOL, "post_only", "buy", 1, low, ISOLATED))
        await call(exchange.cancel_order(order["id"], SYMBOL))
        for kind in ("ioc", "fok"):
            order = await call(exchange.create_order(SYMBOL, kind, "buy", 1, low, ISOLATED))
            row = await call(
                exchange.privateGetTradeOrderDetail({"instId": ID, "orderId": order["id"]})
            )
            assert row["data"]["state"] == "canceled", (kind, row)

    async def step_hedge_mode(self, exchange):
        await call(exchange.set_position_mode(True))
        params = {**ISOLATED, "hedged": True}
        await call(exchange.create_order(SYMBOL, "market", "buy", 1, None, params))
        await call(exchange.create_order(SYMBOL, "market", "sell", 1, None, params))
        sides = {p["side"] for p in await call(exchange.fetch_positions([SYMBOL]))}
        assert sides == {"long", "short"}
        for side in sides:
            await call(exchange.close_position(SYMBOL, None, {**ISOLATED, "positionSide": side}))
        await call(exchange.set_position_mode(False))

    async def step_wrong_secret_is_refused(self, exchange):
        import ccxt

        stranger = ccxt.blofin({**settings(self.port), "secret": "wrong"})
        await refused(stranger.fetch_balance, code="152409")


async def refused(function, *arguments, code: str) -> None:
    """Expects the refusal with this code in its text."""
    text = "nothing was refused"
    try:
        await call(function(*arguments))
    except Exception as error:  # noqa: BLE001 - ccxt raises many kinds
        text = str(error)
    assert code in text, text


class ProSteps(Steps):
    """What a bot watches."""

    async def step_load_markets(self, exchange):
        await exchange.load_markets()
        await exchange.set_margin_mode("isolated")
        await exchange.set_leverage(5, SYMBOL, ISOLATED)

    async def step_watch_ticker(self, exchange):
        first = await exchange.watch_ticker(SYMBOL)
        assert first["last"] > 0
        assert (await exchange.watch_ticker(SYMBOL))["timestamp"] >= first["timestamp"]

    async def step_watch_ohlcv(self, exchange):
        rows = await exchange.watch_ohlcv(SYMBOL, "1m")
        assert len(rows[-1]) == 6
        assert await exchange.watch_ohlcv(SYMBOL, "15m")

    async def step_watch_trades(self, exchange):
        assert await exchange.watch_trades(SYMBOL)

    async def step_watch_order_book(self, exchange):
        for _ in range(3):
            book = await exchange.watch_order_book(SYMBOL)
            assert book["bids"][0][0] < book["asks"][0][0]

    async def step_watch_bids_asks(self, exchange):
        assert await exchange.watch_bids_asks([SYMBOL])

    async def step_watch_funding_rate(self, exchange):
        assert (await exchange.watch_funding_rate(SYMBOL))["fundingRate"] is not None

    async def step_watch_orders(self, exchange):
        watching = asyncio.ensure_future(exchange.watch_orders(SYMBOL))
        await asyncio.sleep(1)
        order = await exchange.create_order(SYMBOL, "market", "buy", 5, None, ISOLATED)
        states = set()
        for _ in range(5):
            rows = await asyncio.wait_for(watching, 20)
            states |= {row["status"] for row in rows if row["id"] == order["id"]}
            if "closed" in states:
                break
            watching = asyncio.ensure_future(exchange.watch_orders(SYMBOL))
        assert "closed" in states, states

    async def step_watch_positions(self, exchange):
        watching = asyncio.ensure_future(exchange.watch_positions([SYMBOL]))
        await asyncio.sleep(0.5)
        position = await asyncio.wait_for(watching, 30)
        position = position[0] if isinstance(position, list) else position
        assert position["contracts"] == 5

    async def step_watch_balance(self, exchange):
        watching = asyncio.ensure_future(exchange.watch_balance())
        await asyncio.sleep(1)
        await exchange.close_position(SYMBOL, None, ISOLATED)
        balance = await asyncio.wait_for(watching, 30)
        assert 9_000 < balance["USDT"]["total"] < 10_000.1

    async def step_watch_trigger_orders(self, exchange):
        watching = asyncio.ensure_future(exchange.watch_orders(SYMBOL, params={"trigger": True}))
        await asyncio.sleep(1)
        ticker = await exchange.fetch_ticker(SYMBOL)
        trigger = float(exchange.price_to_precision(SYMBOL, ticker["last"] * 1.05))
        params = {**ISOLATED, "triggerPrice": trigger}
        order = await exchange.create_order(SYMBOL, "market", "buy", 1, None, params)
        rows = await asyncio.wait_for(watching, 30)
        assert rows[-1]["info"]["algoId"] == order["id"]


async def main(kind: str, port: int) -> dict[str, str]:
    """Every step of one client."""
    if kind == "sync":
        import ccxt

        steps = RestSteps(port)
        await steps.run(ccxt.blofin(settings(port)))
        return steps.found
    if kind == "async":
        import ccxt.async_support

        # The sync client runs under BloFin's limits; this one shows that haste works without.
        control(port, "limits", enabled=False)
        hasty = {**settings(port), "rateLimit": 20}
        steps, exchange = RestSteps(port), ccxt.async_support.blofin(hasty)
    else:
        import ccxt.pro

        steps, exchange = ProSteps(port), ccxt.pro.blofin(settings(port))
    try:
        await steps.run(exchange)
    finally:
        await exchange.close()
    return steps.found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))
