"""Requests: exact bytes, grids, base units to contracts, and answers to writes."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.adapters.exchanges.blofin.wire import answers, calls, fields
from blofin_cli.adapters.exchanges.blofin.wire.calls import Purpose
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    CloseRequest,
    OrderRef,
    OrderRequest,
    OrderType,
    Outcome,
    PositionMode,
    ProtectionRef,
    ProtectionRequest,
    Side,
)
from blofin_cli.errors import AuthError, BadAnswerError, NetworkError, UsageError, VenueError
from tests.adapters.exchanges.blofin import examples

BTC = examples.instrument()


def request(**changes) -> OrderRequest:
    values = {
        "symbol": "BTC-USDT", "side": Side.BUY, "type": OrderType.LIMIT, "size": Decimal("0.0001"),
        "price": Decimal(95000), "client_id": "vec0001",
    } | changes  # fmt: skip
    return OrderRequest(**values)


def body_of(call: calls.Call) -> object:
    return json.loads(call.body)


def test_limit_order_is_the_published_body():
    """The body of vector 4, byte for byte."""
    assert calls.order(request(), BTC).body == (
        '{"instId":"BTC-USDT","marginMode":"isolated","positionSide":"net","side":"buy",'
        '"orderType":"limit","price":"95000","size":"0.1","clientOrderId":"vec0001"}'
    )


def test_opening_order_carries_its_stop_at_market():
    """Trigger prices with -1 for market."""
    body = body_of(calls.order(request(stop=Decimal(94000), target=Decimal(97000)), BTC))
    assert (body["slTriggerPrice"], body["slOrderPrice"]) == ("94000", "-1")
    assert (body["tpTriggerPrice"], body["tpOrderPrice"]) == ("97000", "-1")
    assert "brokerId" not in body


def test_target_may_be_a_limit_order():
    """`target.order = limit`."""
    limited = request(target=Decimal(97000), target_limit=Decimal("97000.5"))
    assert body_of(calls.order(limited, BTC))["tpOrderPrice"] == "97000.5"


def test_every_order_names_isolated_margin():
    """Never left to the account's default."""
    trigger = request(type=OrderType.TRIGGER, trigger=Decimal(96000), price=None)
    protect = ProtectionRequest(
        symbol="BTC-USDT", side=Side.SELL, client_id="p1", stop=Decimal(90000)
    )
    made = [
        calls.order(request(), BTC), calls.order(trigger, BTC), calls.protection(protect, BTC),
        calls.close(CloseRequest(symbol="BTC-USDT", client_id="c1")),
        calls.set_leverage("BTC-USDT", 3),
    ]  # fmt: skip
    assert {body_of(call)["marginMode"] for call in made} == {"isolated"}


def test_stop_entry_attaches_its_bracket_in_a_list():
    """order-algo has another place for stop and target than trade/order."""
    trigger = request(
        type=OrderType.TRIGGER, trigger=Decimal(96000), price=None, stop=Decimal(95000)
    )
    call = calls.order(trigger, BTC)
    body = body_of(call)
    assert call.path == "/api/v1/trade/order-algo"
    assert (body["triggerPrice"], body["orderPrice"]) == ("96000", "-1")
    assert body["attachAlgoOrders"] == [
        {"slTriggerPrice": "95000", "slOrderPrice": "-1", "slTriggerPriceType": "last"}
    ]


def test_protection_of_the_whole_position_has_size_minus_one():
    """It follows the position."""
    whole = ProtectionRequest(
        symbol="BTC-USDT", side=Side.SELL, client_id="p1", stop=Decimal(90000)
    )
    body = body_of(calls.protection(whole, BTC))
    assert (body["size"], body["reduceOnly"]) == ("-1", "true")


def test_protective_calls_have_the_reserve():
    """Cancels, closes, reductions and stops never wait behind openings."""
    reduce = request(type=OrderType.MARKET, price=None, reduce_only=True)
    made = [
        calls.order(reduce, BTC), calls.cancel(OrderRef(symbol="BTC-USDT", order_id="1")),
        calls.cancel_protection(ProtectionRef(symbol="BTC-USDT", protection_id="1")),
        calls.close(CloseRequest(symbol="BTC-USDT", client_id="c1")),
    ]  # fmt: skip
    assert {call.purpose for call in made} == {Purpose.PROTECT}
    assert calls.order(request(), BTC).purpose is Purpose.OPEN


def test_query_is_encoded_as_it_is_signed():
    """A comma is %2C, as in vector 3."""
    call = calls.private(
        "account/batch-leverage-info", instId="BTC-USDT,ETH-USDT", marginMode="isolated"
    )
    assert call.target == (
        "/api/v1/account/batch-leverage-info?instId=BTC-USDT%2CETH-USDT&marginMode=isolated"
    )


def test_candle_page_names_both_bounds():
    """`before` alone would mean the newest candles; both bounds are exclusive."""
    call = calls.candles("BTC-USDT", Timeframe.H4, since_ms=14_400_000, until_ms=None, limit=2)
    assert call.target.endswith("bar=4H&before=14399999&after=43200000&limit=2")


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_bar_words(timeframe):
    """Minutes lower case, hours and days upper case."""
    word = calls.bar_of(timeframe)
    assert word == (timeframe.value if timeframe.value.endswith("m") else timeframe.value.upper())


@pytest.mark.parametrize(
    ("size", "terms", "contracts"),
    [
        ("0.0001", {}, "0.1"), ("1", {}, "1000"), ("12", {"contract_value": "10"}, "1.2"),
        ("1000", {"contract_value": "1000", "lot_size": "1", "min_size": "1"}, "1"),
        ("0.00000001", {"contract_value": "0.0000001"}, "0.1"),
    ],
)  # fmt: skip
def test_base_units_become_contracts(size, terms, contracts):
    """One conversion, plain notation."""
    assert calls.contracts_of(Decimal(size), examples.instrument(**terms)) == contracts


@pytest.mark.parametrize("size", ["0.00015", "0.00005", "0.000123"])
def test_size_off_the_lot_grid_is_refused(size):
    """Rounding is somebody else's decision."""
    with pytest.raises(UsageError):
        calls.contracts_of(Decimal(size), BTC)


def test_size_below_minimum_and_above_maximum_is_refused():
    """The rule is named."""
    small = examples.instrument(min_size="1")
    with pytest.raises(UsageError, match="minimum"):
        calls.contracts_of(Decimal("0.0005"), small)
    with pytest.raises(UsageError, match="maximum"):
        calls.order(request(size=Decimal(2000)), BTC)


def test_price_between_ticks_is_refused():
    """BloFin would answer 152002."""
    with pytest.raises(UsageError, match="tick"):
        calls.order(request(price=Decimal("95000.05")), BTC)


@given(
    st.integers(1, 10**9), st.sampled_from(["0.001", "0.01", "1", "10", "1000"]),
    st.sampled_from(["0.01", "0.1", "1"]),
)  # fmt: skip
def test_contracts_and_base_units_are_inverse(lots, value, lot):
    """parse(build(x)) = x, whatever the contract is worth; no exponent ever."""
    terms = examples.instrument(contract_value=value, lot_size=lot, min_size=lot)
    base = lots * Decimal(lot) * Decimal(value)
    text = calls.contracts_of(base, terms)
    assert "E" not in text
    assert "e" not in text
    assert fields.decimal_of(text, "size") * terms.contract_value == base


@pytest.mark.parametrize("ids", [("a", "a"), tuple(str(n) for n in range(21)), ()])
def test_batch_limits(ids):
    """At most 20, each id once."""
    with pytest.raises(UsageError):
        calls.orders([request(client_id=client_id) for client_id in ids], BTC)


def test_batch_of_stop_entries_is_refused():
    """BloFin has none."""
    trigger = request(type=OrderType.TRIGGER, trigger=Decimal(96000), price=None)
    with pytest.raises(UsageError):
        calls.orders([trigger], BTC)
    with pytest.raises(UsageError):
        calls.cancels([OrderRef(symbol="BTC-USDT", order_id="1", is_trigger=True)])


def test_terms_of_another_symbol_are_refused():
    """The wrong contract value is a factor of ten to a thousand."""
    with pytest.raises(UsageError):
        calls.order(request(symbol="ETH-USDT"), BTC)


def test_position_mode_words():
    """One-way is BloFin's net mode."""
    assert calls.set_position_mode(PositionMode.ONE_WAY).body == '{"positionMode":"net_mode"}'


@pytest.mark.parametrize(
    "changes",
    [
        {"size": Decimal("NaN")}, {"size": Decimal("Infinity")}, {"size": Decimal(0)},
        {"size": Decimal(-1)}, {"price": Decimal("NaN")}, {"price": None}, {"client_id": "a-b"},
        {"client_id": ""}, {"client_id": "x" * 33}, {"client_id": "\u0430bc"},
        {"stop": Decimal(96000)}, {"target": Decimal(94000)}, {"trigger": Decimal(1)},
        {"type": OrderType.MARKET}, {"type": OrderType.UNKNOWN}, {"target_limit": Decimal(1)},
        {"reduce_only": True, "stop": Decimal(94000)}, {"size": Decimal("1E30")},
        {"price": Decimal("1E-30")}, {"size": 0.1}, {"price": 95000.0},
        {"side": Side.SELL, "stop": Decimal(94000)},
        {"type": OrderType.MARKET, "price": None, "stop": Decimal(9), "target": Decimal(8)},
    ],
)  # fmt: skip
def test_request_that_makes_no_sense_does_not_exist(changes):
    """NaN, zero, floats, swapped stops and foreign ids stop before anything is built."""
    with pytest.raises(UsageError):
        request(**changes)


# Answers to writes.


def answer(code: str, data: object, message: str = "") -> answers.Answer:
    return answers.decode(json.dumps({"code": code, "msg": message, "data": data}).encode())


def outcomes(told: answers.Answer, *client_ids: str | None) -> list[Outcome]:
    found = answers.acks(told, client_ids or ["a"], shape="array", id_name="orderId")
    return [ack.outcome for ack in found]


ROW = {"orderId": "1", "clientOrderId": "a", "code": "0", "msg": ""}
NO_MARGIN = {"orderId": None, "clientOrderId": "", "code": "103003", "msg": "Order failed."}


@pytest.mark.parametrize(
    ("code", "rows", "ids", "expected"),
    [
        ("0", [ROW], ["a"], ["accepted"]),
        ("0", [NO_MARGIN], ["a"], ["refused"]),
        ("1", [NO_MARGIN], ["a"], ["refused"]),
        ("1", None, ["a"], ["refused"]),
        ("1", [{"orderId": None}], ["a"], ["refused"]),
        ("102002", None, ["a"], ["refused"]),
        ("103013", None, ["a"], ["unknown"]),
        ("500", None, ["a"], ["unknown"]),
        ("0", [ROW | {"code": "103013", "orderId": None}], ["a"], ["unknown"]),
        ("0", [ROW | {"orderId": None}], ["a"], ["unknown"]),
        ("0", [ROW | {"clientOrderId": "other"}], ["a"], ["unknown"]),
        ("0", [], ["a"], ["unknown"]),
        ("2", [ROW, NO_MARGIN], ["a", "b"], ["accepted", "refused"]),
        ("2", [NO_MARGIN, ROW], ["b", "a"], ["refused", "accepted"]),
        ("0", [ROW | {"clientOrderId": "b"}, ROW], ["a", "b"], ["accepted", "accepted"]),
        ("0", [ROW], ["a", "b"], ["accepted", "unknown"]),
    ],
)  # fmt: skip
def test_both_levels_of_an_answer_are_judged(code, rows, ids, expected):
    """Envelope and row: the worse one counts, ids decide, and what is unclear is unknown."""
    assert outcomes(answer(code, rows), *ids) == expected


def test_answer_of_another_shape_is_refused():
    """An object where the array is documented: nobody knows what it means."""
    with pytest.raises(BadAnswerError):
        outcomes(answer("0", ROW))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("152401", AuthError), ("152402", AuthError), ("152406", AuthError), ("152409", AuthError),
        ("152405", AuthError), ("401", AuthError), ("103013", NetworkError), ("500", NetworkError),
        ("103003", VenueError), ("152002", VenueError), ("999999", VenueError),
    ],
)  # fmt: skip
def test_codes_become_errors(code, kind):
    """Each with its exit status; an unknown code is a refusal."""
    error = answers.error_of(code, "why")
    assert type(error) is kind
    assert error.details["venue_code"] == code


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"ok"', b"<html></html>", b'{"code":"0"', b"{}", b'{"code":null}',
        b'{"code":NaN}', b'{"code":"0","data":Infinity}', b"\xff\xfe", b"[" * 100_000,
        b'{"code":true}', b"9" * 5000, b'{"code":"0","data":-Infinity}',
    ],
)  # fmt: skip
def test_body_that_is_no_envelope_is_refused(body):
    """Not JSON, HTML, truncated, NaN, nested without end: one typed refusal."""
    with pytest.raises(BadAnswerError):
        answers.decode(body)


def test_numeric_code_is_text():
    """Maintenance answers with a number."""
    assert answers.decode(b'{"code":500,"msg":"x","path":"/"}').code == "500"


@pytest.mark.parametrize("depth", [10, 100, 400, 800, 900, 950, 990])
@pytest.mark.parametrize("name", ["code", "msg", "data"])
def test_depth_is_no_way_to_crash(depth, name):
    """B46: what is nested too deep to be shown is named by its type."""
    body = {"code": '"0"', "msg": '""', "data": '"x"'} | {name: "[" * depth + "]" * depth}
    text = "{" + ",".join(f'"{key}":{value}' for key, value in body.items()) + "}"
    try:
        told = answers.decode(text.encode())
        fields.Row({"a": told.data}, "row").decimal("a")
    except BadAnswerError as refusal:
        problem = refusal.message
    else:
        problem = ""
    assert problem


def test_foreign_text_is_shown_literally_and_short():
    """Escapes, right-to-left marks and length."""
    shown = fields.clean("\x1b[31mred\u202e\n" + "x" * 500)
    assert shown.startswith("\\x1b[31mred\\u202e\\n")
    assert shown.isprintable()
    assert len(shown) == 200
