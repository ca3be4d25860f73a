"""BloFin's endpoints over the box: shapes, envelopes, codes, paging."""

import json

import pytest

from blofin_cli.adapters.exchanges.sim.box import BoxRequest
from blofin_cli.adapters.exchanges.sim.routes import ROUTES
from tests.adapters.exchanges.sim.driver import COIN, START_MS, Caller, tick

# Keys of each row as documented (or observed where practice differs).
KEYS = {
    "market/instruments": (
        "instId baseCurrency quoteCurrency contractValue listTime expireTime maxLeverage minSize "
        "lotSize tickSize instType contractType maxLimitSize maxMarketSize state settleCurrency"
    ),
    "market/tickers": (
        "instId last lastSize askPrice askSize bidPrice bidSize high24h open24h low24h "
        "volCurrency24h vol24h ts"
    ),
    "market/trades": "tradeId instId price size side ts",
    "market/mark-price": "instId indexPrice markPrice ts",
    "market/funding-rate": "instId fundingRate fundingTime",
    "market/position-tiers": (
        "symbol marginMode minSize maxSize maintenanceMarginRate maxLeverage"
    ),
    "account/positions": (
        "positionId instId instType marginMode positionSide adl positions availablePositions "
        "averagePrice margin markPrice marginRatio liquidationPrice unrealizedPnl "
        "unrealizedPnlRatio maintenanceMargin createTime updateTime leverage"
    ),
    "account/positions-history": (
        "historyId positionId instId instType side marginMode positionSide closePositions "
        "maxPositions liquidationPositions openAveragePrice closeAveragePrice createTime "
        "updateTime leverage realizedPnl realizedPnlRatio fee"
    ),
    "account/batch-leverage-info": "leverage marginMode instId positionSide",
    "trade/orders-pending": (
        "orderId clientOrderId instId marginMode positionSide side orderType price size reduceOnly "
        "leverage state filledSize filled_amount averagePrice fee pnl createTime updateTime "
        "orderCategory tpTriggerPrice tpOrderPrice slTriggerPrice slOrderPrice algoClientOrderId "
        "algoId brokerId"
    ),
    "trade/orders-history": (
        "orderId clientOrderId instId marginMode positionSide side orderType price size reduceOnly "
        "leverage state filledSize averagePrice fee pnl createTime updateTime orderCategory "
        "cancelSource cancelSourceReason brokerId"
    ),
    "trade/orders-tpsl-pending": (
        "tpslId clientOrderId instId marginMode positionSide side tpTriggerPrice tpOrderPrice "
        "slTriggerPrice slOrderPrice size state leverage reduceOnly actualSize createTime brokerId"
    ),
    "trade/orders-algo-pending": (
        "algoId clientOrderId instId marginMode positionSide side orderType size leverage "
        "reduceOnly state createTime triggerPrice triggerPriceType brokerId attachAlgoOrders"
    ),
    "trade/fills-history": (
        "instId tradeId orderId fillPrice fillSize fillPnl positionSide side fee ts brokerId"
    ),
}
QUERY = {"instId": COIN, "marginMode": "isolated", "orderType": "trigger"}
TRIGGER = {
    "instId": COIN, "marginMode": "isolated", "side": "buy", "orderType": "trigger", "size": "1",
    "triggerPrice": "1100", "orderPrice": "-1",
}  # fmt: skip


@pytest.fixture
def caller() -> Caller:
    """A client with a finished position, an open one with its stop, and two waiting orders."""
    caller = Caller()
    caller.order()
    caller.post("trade/close-position", {"instId": COIN, "marginMode": "isolated"})
    caller.order(slTriggerPrice="900", slOrderPrice="-1")
    caller.order(orderType="limit", price="950", clientOrderId="resting")
    caller.post("trade/order-algo", TRIGGER)
    return caller


@pytest.mark.parametrize("path", KEYS)
def test_rows_carry_the_documented_keys(caller, path):
    """Every documented key, every value text (or null, or a list of its own)."""
    wanted = {
        k: v for k, v in QUERY.items() if not (path == "trade/orders-pending" and k == "orderType")
    }
    wanted = wanted if path != "trade/orders-history" else {"instId": COIN}
    answer = caller.get(path, **wanted)
    assert (answer["code"], answer["msg"]) == ("0", "success")
    assert answer["data"]
    for row in answer["data"]:
        assert set(KEYS[path].split()) <= set(row)
        assert all(value is None or isinstance(value, (str, list)) for value in row.values())


def test_balance_keeps_its_identities(caller):
    """frozen - orderFrozen = isolatedEquity - isolatedUnrealizedPnl; equity = balance + profit."""
    caller.box.print(tick(1010))
    details = caller.get("account/balance")["data"]["details"][0]
    of = {key: float(value) for key, value in details.items() if key != "currency"}
    assert of["orderFrozen"] > 0
    assert of["frozen"] - of["orderFrozen"] == pytest.approx(
        of["isolatedEquity"] - of["isolatedUnrealizedPnl"]
    )
    assert of["equity"] == pytest.approx(of["balance"] + of["isolatedUnrealizedPnl"])
    assert of["available"] == pytest.approx(of["balance"] - of["frozen"])


def test_order_is_acknowledged_in_an_array_with_both_levels():
    """The shape that was observed."""
    row = Caller().order(clientOrderId="sig0001")
    assert (row["code"], row["msg"]) == ("0", "")
    (inner,) = row["data"]
    assert inner.pop("orderId").isdigit()
    assert inner == {"clientOrderId": "sig0001", "code": "0", "msg": "Order placed"}


@pytest.mark.parametrize(
    ("fields", "outer", "inner"),
    [
        ({"size": "5000"}, "1", "103003"),
        ({"reduceOnly": "true"}, "1", "102022"),
        ({"slTriggerPrice": "1000", "slOrderPrice": "-1"}, "1", "102038"),
        ({"size": ""}, "152001", None),
        ({"size": "1e2"}, "152002", None),
        ({"size": "NaN"}, "152002", None),
        ({"size": 1e400}, "152004", None),
        ({"size": [1]}, "152002", None),
        ({"size": "9" * 40}, "152002", None),
        ({"price": "x", "orderType": "limit"}, "152002", None),
        ({"orderType": "limit"}, "152001", None),
        ({"instId": "NONE-USDT"}, "152014", None),
        ({"clientOrderId": "a-b"}, "152009", None),
        ({"slTriggerPrice": "900"}, "152001", None),
        ({"slTriggerPrice": "900", "slOrderPrice": "-1", "slTriggerPriceType": "mark"},
         "152428", None),
    ],
)  # fmt: skip
def test_refused_order_shows_where_blofin_shows_it(fields, outer, inner):
    """The form outside; the engine's refusal inside, under code 1."""
    answer = Caller().order(**fields)
    assert answer["code"] == outer
    if inner is not None:
        assert [(row["orderId"], row["code"]) for row in answer["data"]] == [(None, inner)]


def test_unknown_keys_and_loose_types_are_accepted():
    """What ccxt sends: a null broker, a stray type, JSON booleans and numbers."""
    answer = Caller().order(brokerId=None, type="post_only", reduceOnly=False, size=2)
    assert answer["code"] == "0"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "400"), (b"not json", "152004"), (b"[]", "152004"), (b'{"size":NaN}', "152004"),
        (b"[" * 100_000, "152004"), (b'"ok"', "152004"), (b"{}", "152001"),
    ],
)  # fmt: skip
def test_broken_body_is_refused(body, code):
    """Never a crash."""
    answer = json.loads(Caller().send("POST", "trade/order", body=body).body)
    assert answer["code"] == code


def test_batch_answers_item_by_item():
    """All, some, none: codes 0, 2 and 1."""
    good = {
        "instId": COIN, "marginMode": "isolated", "side": "buy", "orderType": "limit",
        "price": "950", "size": "1",
    }  # fmt: skip
    bad = good | {"size": "50000"}
    caller = Caller()
    for items, outer in (([good, good], "0"), ([good, bad], "2"), ([bad, bad], "1")):
        answer = caller.post("trade/batch-orders", items)
        assert answer["code"] == outer
        assert [row["code"] == "0" for row in answer["data"]] == [i is good for i in items]
    assert caller.post("trade/batch-orders", [good] * 21)["code"] == "152006"
    assert caller.post("trade/batch-orders", [good, good | {"marginMode": "cross"}])["code"] == (
        "152007"
    )


def test_cancels_answer_as_observed(caller):
    """An array; gone is refused outside, in a batch by row code 1000, for triggers by 500."""
    (order,) = caller.get("trade/orders-pending", instId=COIN)["data"]
    answer = caller.post("trade/cancel-order", {"instId": COIN, "clientOrderId": "resting"})
    assert [row["orderId"] for row in answer["data"]] == [order["orderId"]]
    again = caller.post("trade/cancel-order", {"instId": COIN, "orderId": order["orderId"]})
    assert again["code"] == "102068"
    batch = caller.post("trade/cancel-batch-orders", [{"orderId": order["orderId"]}])
    assert (batch["code"], batch["data"][0]["code"]) == ("0", "1000")
    (stop,) = caller.get("trade/orders-tpsl-pending")["data"]
    ids = [{"instId": COIN, "tpslId": stop["tpslId"]}]
    assert caller.post("trade/cancel-tpsl", ids)["data"][0]["code"] == "0"
    failed = caller.post("trade/cancel-tpsl", ids)
    assert (failed["code"], failed["data"][0]["code"]) == ("0", "500")
    assert caller.post("trade/cancel-tpsl", ids[0])["code"] == "152004"
    (algo,) = caller.get("trade/orders-algo-pending", orderType="trigger")["data"]
    one = {"instId": COIN, "algoId": algo["algoId"]}
    assert caller.post("trade/cancel-algo", one)["data"]["code"] == "0"
    assert caller.post("trade/cancel-algo", one)["data"]["code"] == "500"


def test_lost_answer_can_be_reconciled_by_client_id(caller):
    """order-detail finds open and finished orders by client id; a resend proves the first."""
    caller.order(clientOrderId="filled1")
    for name, state in (("resting", "live"), ("filled1", "filled")):
        row = caller.get("trade/order-detail", instId=COIN, clientOrderId=name)["data"]
        assert (row["clientOrderId"], row["state"]) == (name, state)
    again = caller.order(clientOrderId="filled1")
    assert again["data"][0]["code"] == "102002"
    missing = caller.get("trade/order-detail", instId=COIN, clientOrderId="never")
    assert missing["code"] != "0"


def test_lists_page_from_newest_to_oldest():
    """`before` is newer, `after` older, both exclusive."""
    caller = Caller()
    for _ in range(30):
        caller.order(orderType="ioc", price="990")
    ids = [row["orderId"] for row in caller.get("trade/orders-history", limit=100)["data"]]
    assert ids == sorted(ids, key=int, reverse=True)
    assert len(ids) == 30
    assert [r["orderId"] for r in caller.get("trade/orders-history")["data"]] == ids[:20]
    older = caller.get("trade/orders-history", after=ids[19])["data"]
    assert [row["orderId"] for row in older] == ids[20:]
    newer = caller.get("trade/orders-history", before=ids[3])["data"]
    assert [row["orderId"] for row in newer] == ids[:3]


def test_settings_answer_what_they_set():
    """Leverage as number or text; the modes; what is out of range."""
    caller = Caller()
    body = {"instId": COIN, "marginMode": "isolated"}
    for given in (7, "7"):
        answer = caller.post("account/set-leverage", body | {"leverage": given})
        assert answer["data"] == body | {"leverage": "7", "positionSide": "net"}
    info = caller.get("account/leverage-info", **body)["data"]
    assert info == body | {"leverage": "7"}
    for given in ("0", "101", "1.5", "-3"):
        assert caller.post("account/set-leverage", body | {"leverage": given})["code"] == "152002"
    assert caller.post("account/set-margin-mode", {"marginMode": "isolated"})["data"] == {
        "marginMode": "isolated"
    }
    many = ",".join([COIN] * 21)
    query = {"instId": many, "marginMode": "cross"}
    assert caller.get("account/batch-leverage-info", **query)["code"] == "152015"


def test_routes_nobody_knows_are_refused():
    """152404 with HTTP 200; the wrong method is named."""
    caller = Caller()
    assert caller.get("copytrading/account/balance")["code"] == "152404"
    assert caller.get("trade/order")["code"] == "405"


@pytest.mark.parametrize("place", [key for key in ROUTES if not ROUTES[key].is_private], ids=str)
def test_public_endpoint_needs_no_key(place):
    """Market data for everybody."""
    method, path = place
    caller = Caller()
    target = f"{path}?instId={COIN}&marginMode=isolated"
    answer = caller.box.request(BoxRequest(method=method, target=target), START_MS)
    assert json.loads(answer.body)["code"] == "0"


@pytest.mark.parametrize("place", [key for key in ROUTES if ROUTES[key].is_private], ids=str)
def test_private_endpoint_wants_a_key(place):
    """Without headers: a missing parameter."""
    method, path = place
    answer = Caller().box.request(BoxRequest(method=method, target=path), START_MS)
    assert json.loads(answer.body)["code"] == "152001"


def test_market_parameters_are_checked():
    """Missing, unknown, out of range."""
    caller = Caller()
    for path, query, code in (
        ("market/books", {}, "152001"),
        ("market/books", {"instId": "NONE-USDT"}, "152002"),
        ("market/candles", {"instId": COIN, "bar": "7m"}, "152002"),
        ("market/trades", {"instId": COIN, "limit": "0"}, "152002"),
        ("market/position-tiers", {"instId": COIN, "marginMode": "x"}, "152002"),
        ("trade/orders-algo-pending", {}, "152001"),
        ("trade/order/price-range", {"instId": COIN, "side": "up"}, "152002"),
    ):
        assert caller.get(path, **query)["code"] == code, path


def test_books_default_to_one_level():
    """As documented; asks ascend, bids descend."""
    caller = Caller()
    (one,) = caller.get("market/books", instId=COIN)["data"]
    assert (len(one["asks"]), len(one["bids"])) == (1, 1)
    (book,) = caller.get("market/books", instId=COIN, size=20)["data"]
    asks = [float(price) for price, _ in book["asks"]]
    bids = [float(price) for price, _ in book["bids"]]
    assert asks == sorted(asks)
    assert bids == sorted(bids, reverse=True)
    assert bids[0] < asks[0]


def test_price_range_is_the_band_orders_meet():
    """The highest buy passes, a tick more does not."""
    caller = Caller()
    data = caller.get("trade/order/price-range", instId=COIN, side="buy")["data"]
    top = int(float(data["maxPrice"]))
    assert caller.order(orderType="limit", price=str(top))["code"] == "0"
    assert caller.order(orderType="limit", price=str(top + 1))["data"][0]["code"] == "102064"


def test_money_moves_between_wallets_and_is_not_made():
    """Transfers, their history, their refusals; demo money alone adds."""
    caller = Caller()
    move = {
        "currency": "USDT", "amount": "400", "fromAccount": "futures", "toAccount": "funding",
        "clientId": "move1",
    }  # fmt: skip
    done = caller.post("asset/transfer", move)["data"]
    assert done["clientTransferId"] == "move1"
    assert caller.post("asset/transfer", move)["code"] == "150003"
    rest = move | {"clientId": "", "amount": "9601"}
    assert caller.post("asset/transfer", rest)["code"] == "150004"
    (bill,) = caller.get("asset/bills")["data"]
    assert (bill["transferId"], float(bill["amount"])) == (done["transferId"], 400)
    wallets = [
        caller.get("asset/balances", accountType=kind)["data"][0]["balance"]
        for kind in ("futures", "funding")
    ]
    assert wallets == ["9600", "400"]
    given = {"adjustType": 0, "demoApplyMoney": [{"currency": "USDT", "amountStr": "109"}]}
    assert caller.post("asset/demo-apply-money", given)["code"] == "0"
    balance = caller.get("account/balance")["data"]["details"][0]["balance"]
    assert balance == "9709"
