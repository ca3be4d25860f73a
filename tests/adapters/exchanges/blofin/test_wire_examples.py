"""Every published payload, as it is and damaged in every field."""

import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from blofin_cli.adapters.exchanges.blofin.wire import account, answers, frames, market
from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, rows_of
from blofin_cli.core.feed import CandleEvent, Channel, OrderEvent, PositionsEvent, Topic
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import OrderCategory, OrderState, OrderType, Outcome
from blofin_cli.errors import BadAnswerError, BlofinError
from tests.adapters.exchanges.blofin import examples

pytestmark = pytest.mark.skipif(not examples.NAMES, reason=examples.REASON)
VALUES = examples.CONTRACT_VALUES
NOW_MS = 1788599376000


def each(read: Callable[..., Any]) -> Callable[[answers.Answer], Any]:
    """A reader of lists whose rows need contract values."""
    return lambda answer: account.records(
        rows_of(answers.data_of(answer), "rows"), lambda row: read(row, VALUES)
    )


def one(read: Callable[..., Any], *arguments: Any) -> Callable[[answers.Answer], Any]:
    """A reader of a single object."""
    return lambda answer: read(answers.object_of(answer, "row"), *arguments)


def data(read: Callable[..., Any], *arguments: Any) -> Callable[[answers.Answer], Any]:
    """A reader of the whole data."""
    return lambda answer: read(answers.data_of(answer), *arguments)


def ack(shape: answers.Shape, id_name: str) -> Callable[[answers.Answer], Any]:
    """A reader of acknowledgements, one for each row."""

    def read(answer: answers.Answer) -> Any:
        count = len(answer.data) if isinstance(answer.data, list) else 1
        return answers.acks(answer, [None] * count, shape=shape, id_name=id_name)

    return read


def plain_book(answer: answers.Answer) -> Any:
    rows = answers.data_of(answer)
    if not isinstance(rows, list) or not rows:
        raise BadAnswerError("a book is due")
    return market.book("ETH-USDT", rows[0], VALUES["ETH-USDT"])


READERS: dict[str, Callable[[answers.Answer], Any]] = {
    "ccxt.account.balance": one(account.account),
    "ccxt.trade.fills-history": each(account.fill),
    "ccxt.trade.order-algo": ack("object", "algoId"),
    "ccxt.trade.order": ack("array", "orderId"),
    "ccxt.trade.orders-history": each(account.order),
    "ccxt.trade.orders-pending": each(account.order),
    "rest.account.balance": one(account.account),
    "rest.account.batch-leverage-info": data(
        lambda rows: [account.leverage_setting(row) for row in rows_of(rows, "leverage")]
    ),
    "rest.account.margin-mode": one(account.margin_mode),
    "rest.account.position-mode": one(account.position_mode),
    "rest.account.set-margin-mode": one(account.margin_mode),
    "rest.account.set-position-mode": one(account.position_mode),
    "rest.account.set-leverage": one(account.leverage_setting),
    "rest.account.positions": each(account.position),
    "rest.market.books": plain_book,
    "rest.market.books.observed": plain_book,
    "rest.market.candles": data(market.bars),
    "rest.market.index-candles": data(market.mark_bars),
    "rest.market.mark-price-candles": data(market.mark_bars),
    "rest.market.funding-rate": data(market.funding_rates),
    "rest.market.funding-rate.observed": data(market.funding_rates),
    "rest.market.funding-rate-history": data(market.funding_rates),
    "rest.market.instruments": data(market.listings),
    "rest.market.instruments.observed": data(market.listings),
    "rest.market.mark-price": data(
        lambda rows: [market.mark_price(row) for row in rows_of(rows, "mark")]
    ),
    "rest.market.position-tiers": data(market.tiers, VALUES["BTC-USDT"]),
    "rest.market.tickers": data(market.tickers, VALUES, NOW_MS),
    "rest.market.tickers.observed": data(market.tickers, VALUES, NOW_MS),
    "rest.market.trades": data(market.prints, VALUES),
    "rest.trade.batch-orders": ack("array", "orderId"),
    "rest.trade.cancel-algo": ack("object", "algoId"),
    "rest.trade.cancel-batch-orders": ack("array", "orderId"),
    "rest.trade.cancel-order": ack("either", "orderId"),
    "rest.trade.cancel-order.observed": ack("either", "orderId"),
    "rest.trade.cancel-tpsl": ack("array", "tpslId"),
    "rest.trade.cancel-tpsl.observed": ack("array", "tpslId"),
    "rest.trade.close-position": ack("object", "instId"),
    "rest.trade.fills-history": each(account.fill),
    "rest.trade.order-algo": ack("object", "algoId"),
    "rest.trade.order-detail": one(account.order, VALUES),
    "rest.trade.order-price-range": one(market.price_range),
    "rest.trade.order-tpsl-detail": one(account.protection, VALUES),
    "rest.trade.order-tpsl": ack("object", "tpslId"),
    "rest.trade.order-tpsl.observed": ack("object", "tpslId"),
    "rest.trade.order": ack("array", "orderId"),
    "rest.trade.order.observed": ack("array", "orderId"),
    "rest.trade.orders-algo-history": each(account.trigger_order),
    "rest.trade.orders-algo-pending": each(account.trigger_order),
    "rest.trade.orders-history": each(account.order),
    "rest.trade.orders-pending": each(account.order),
    "rest.trade.orders-tpsl-history": each(account.protection),
    "rest.trade.orders-tpsl-pending": each(account.protection),
    "rest.trade.orders-tpsl-pending.observed": each(account.protection),
    "rest.user.query-apikey": one(account.key_info),
}
# Products this client does not trade, and requests: their envelope or their keys are checked.
UNREAD = {
    "rest.account.config", "rest.account.leverage-info", "rest.account.positions-history",
    "rest.account.positions-history.observed", "rest.asset.balances", "rest.asset.bills",
    "rest.asset.currencies", "rest.asset.deposit-history", "rest.asset.transfer",
    "rest.asset.withdrawal-history",
}  # fmt: skip
ERRORS = {"rest.error.parameter", "rest.error.rate-limit", "rest.error.unknown-route"}


def stem(name: str) -> str:
    return name.removesuffix(".json")


def is_request(name: str) -> bool:
    return stem(name).endswith((".request", "requests"))


RESPONSES = [stem(name) for name in examples.NAMES if stem(name) in READERS]
PUSHES = [stem(name) for name in examples.NAMES if name.startswith("ws.") and not is_request(name)]


def read_response(name: str, body: bytes) -> Any:
    return READERS[name](answers.decode(body))


def read_frame(_: str, body: bytes) -> Any:
    return frames.parse(body.decode(), VALUES, NOW_MS)


def reader_of(name: str) -> Callable[[str, bytes], Any]:
    return read_frame if name.startswith("ws.") else read_response


def test_every_example_is_read_or_named():
    """A new example in the folder is not overlooked."""
    known = {*READERS, *UNREAD, *ERRORS}
    left = {
        stem(name) for name in examples.NAMES if not is_request(name) and name[:3] != "ws."
    } - known
    assert not left


@pytest.mark.parametrize("name", RESPONSES)
def test_response_is_read(name):
    """The documentation's own example is understood."""
    assert read_response(name, examples.raw(name + ".json"))


@pytest.mark.parametrize("name", sorted(UNREAD))
def test_envelope_of_unused_endpoint_is_read(name):
    """What the product does not use still arrives in the ordinary envelope."""
    assert answers.decode(examples.raw(name + ".json")).is_success


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_is_an_error(name):
    """A refusal inside HTTP 200 is a refusal."""
    answer = answers.decode(examples.raw(name + ".json"))
    with pytest.raises(BlofinError):
        answers.data_of(answer)


@pytest.mark.parametrize("name", PUSHES)
def test_frame_is_read(name):
    """Pushes become events, notices become notices; channels we do not use stay unknown."""
    told = read_frame(name, examples.raw(name + ".json"))
    unused = name in {"ws.books.snapshot", "ws.books.update", "ws.index-candle.push"}
    if isinstance(told, frames.Push):
        assert told.events
        assert not [event for event in told.events if type(event).__name__ == "Oddity"]
    else:
        assert (told.kind == "unknown") == unused


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside an example, containers included."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in inside:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from leaves(child, (*path, key))


WRONG: list[Any] = [
    None, "", [], {}, [[]], 7, -1, 1.5, True, "x", "-5", "0", "NaN", "Infinity", "1e400",
    "9" * 60, "1" * 13, "1700000000", "1700000000000000", "²", "\u202e\x00", [[[[]]]], "A" * 5000,
]  # fmt: skip


def damaged(example: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    """The example with one place dropped or replaced, in every way."""
    for wrong in [*WRONG, KeyError]:
        variant = copy.deepcopy(example)
        holder = variant
        for key in path[:-1]:
            holder = holder[key]
        if wrong is KeyError:
            del holder[path[-1]]
        else:
            holder[path[-1]] = wrong
        yield variant


@pytest.mark.parametrize("name", [*RESPONSES, *PUSHES])
def test_damaged_field_is_refused_or_absent_never_a_crash(name):
    """Each field nulled, emptied, dropped and retyped: a typed refusal or a record, no crash."""
    example = examples.load(name + ".json")
    read, refusals = reader_of(name), set()
    for path in leaves(example):
        for variant in damaged(example, path):
            try:
                read(name, json.dumps(variant).encode())
            except BlofinError as refusal:
                refusals.add(refusal.message)
    assert all(len(message) < 600 and message.isprintable() for message in refusals)


@pytest.mark.parametrize("name", [*RESPONSES, *PUSHES])
def test_null_empty_and_absent_mean_the_same(name):
    """BloFin writes absence in three ways."""
    example = examples.load(name + ".json")
    for path in leaves(example):
        if path[-1] in {"code", "event", "arg"} or isinstance(path[-1], int):
            continue
        told = [outcome(name, variant) for variant in absences(example, path)]
        assert told[0] == told[1] == told[2], path


def absences(example: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    for way in ("null", "empty", "absent"):
        variant = copy.deepcopy(example)
        holder = variant
        for key in path[:-1]:
            holder = holder[key]
        if way == "absent":
            del holder[path[-1]]
        else:
            holder[path[-1]] = None if way == "null" else ""
        yield variant


def outcome(name: str, variant: Any) -> str:
    try:
        return repr(reader_of(name)(name, json.dumps(variant).encode()))
    except BlofinError as refusal:
        return type(refusal).__name__


@pytest.mark.parametrize("name", [*RESPONSES, *PUSHES])
def test_added_fields_pass(name):
    """A field BloFin adds tomorrow changes nothing today."""
    example = examples.load(name + ".json")

    def enriched(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: enriched(child) for key, child in value.items()} | {"brandNew": {"a": [1]}}
        return [enriched(child) for child in value] if isinstance(value, list) else value

    assert outcome(name, enriched(example)) == outcome(name, example)


# What the examples say, spelled out.


def read(name: str) -> Any:
    return read_response(name, examples.raw(name + ".json"))


def test_instrument_terms():
    """Contract value, lot, tick and limits come as they are; the maintenance rate is cautious."""
    listing = read("rest.market.instruments")[0]
    assert listing.is_live
    assert listing.instrument.contract_value == Decimal("0.001")
    assert listing.instrument.leverage_max == 125
    assert listing.instrument.maintenance_margin == Decimal("0.02")


def test_position_sizes_are_base_units():
    """One contract of ETH is 0.1 ETH here."""
    position = read("rest.account.positions")[0]
    assert position.size == Decimal("0.1")
    assert position.liquidation_price == Decimal("1066.104078762306610407")
    assert position.margin_usdt == Decimal("53.06")


def test_short_position_is_negative():
    """The sign is the direction."""
    push = read_frame("", examples.raw("ws.positions.push.json"))
    assert isinstance(push.events[0], PositionsEvent)
    assert push.events[0].positions[0].size == Decimal("-1.00")


def test_order_of_history():
    """A filled market order has no price of its own, a fee that is positive and a time."""
    order = read("ccxt.trade.orders-history")[0]
    assert (order.type, order.state) == (OrderType.MARKET, OrderState.FILLED)
    assert order.price is None
    assert order.average_price == Decimal("68.11")
    assert order.fee_usdt == Decimal("0.040866")
    assert order.reduce_only


def test_fill_fee_is_the_documented_formula():
    """Price x contracts x contract value x 0.06 %, to every digit."""
    fill = read("rest.trade.fills-history")[0]
    assert fill.price * fill.size * Decimal("0.0006") == fill.fee_usdt


def test_protection_at_market():
    """-1, null and absent order prices mean market."""
    observed = read("rest.trade.orders-tpsl-pending.observed")[0]
    assert observed.stop == Decimal(40000)
    assert observed.stop_limit is None
    assert observed.size == Decimal("0.0001")


def test_partial_batch_failure_is_told_part_by_part():
    """Outer success, two canceled, one gone."""
    told = [ack.outcome for ack in read("rest.trade.cancel-batch-orders")]
    assert told == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.REFUSED]


def test_cancel_of_a_gone_order_is_refused_under_outer_success():
    """The inner code counts."""
    assert read("rest.trade.cancel-algo")[0].outcome is Outcome.REFUSED
    assert read("rest.trade.cancel-algo")[0].code == "500"


def test_candle_push():
    """Element 6 is base volume; confirm 0 is still open."""
    push = read_frame("", examples.raw("ws.candle.push.json"))
    event = push.events[0]
    assert isinstance(event, CandleEvent)
    assert event.timeframe is Timeframe.D1
    assert (event.bar.volume, event.bar.is_closed) == (95.359, False)


def test_algo_push_holds_protections_and_stop_entries():
    """`conditional` is a stop or target, `trigger` opens."""
    push = read_frame("", examples.raw("ws.orders-algo.push.json"))
    entry = push.events[1]
    assert push.topic == Topic(Channel.PROTECTIONS)
    assert isinstance(entry, OrderEvent)
    assert entry.order.type is OrderType.TRIGGER
    assert entry.order.target == Decimal(75000)


def test_order_push_category():
    """A category only the WebSocket example shows is still an ordinary order."""
    push = read_frame("", examples.raw("ws.orders.push.json"))
    assert push.events[0].order.category is OrderCategory.NORMAL


def test_unknown_words_stay_unknown():
    """A new state is not mapped to an old one, and it is told."""
    row = examples.load("rest.trade.order-detail.json")["data"]
    row |= {"state": "sleeping", "orderType": "iceberg", "orderCategory": "gift"}
    order = account.order(Row(row, "row"), VALUES)
    assert order.state is OrderState.UNKNOWN
    assert order.state.is_open
    assert order.type is OrderType.UNKNOWN
    assert order.category is OrderCategory.UNKNOWN
    assert set(order.oddities) == {"state=sleeping", "orderType=iceberg", "orderCategory=gift"}
