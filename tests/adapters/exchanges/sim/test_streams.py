"""Both WebSockets without a socket: what is asked, acknowledged and pushed."""

import json

import pytest

from blofin_cli.adapters.exchanges.sim.records import VenueRules
from tests.adapters.exchanges.sim.driver import (
    COIN,
    START_MS,
    Caller,
    frames,
    subscribe,
    tick,
)

BRACKET = {"slTriggerPrice": "900", "slOrderPrice": "-1"}


def public(caller, *channels):
    """A public session subscribed to channels, its acknowledgements taken away."""
    session = caller.box.publisher.connect("public", START_MS)
    session.receive(subscribe(*channels), START_MS)
    found = frames(session)
    assert [f["arg"]["channel"] for f in found if f.get("event") == "subscribe"] == [*channels]
    return session, [f for f in found if "data" in f]


def private(caller, *channels, inst_id=None):
    """A private session, logged in."""
    session = caller.box.publisher.connect("private", START_MS)
    session.receive(caller.login_frame(), START_MS)
    assert frames(session) == [{"event": "login", "code": "0", "msg": ""}]
    session.receive(subscribe(*channels, inst_id=inst_id), START_MS)
    return session, [f for f in frames(session) if "data" in f]


def test_ping_is_text():
    """Not JSON, not a control frame."""
    session = Caller().box.publisher.connect("public", START_MS)
    session.receive("ping", START_MS)
    assert frames(session) == ["pong"]


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", "[]", '{"op":"dance","args":[{}]}', '{"op":"subscribe"}',
             '{"op":"subscribe","args":["trades"]}', '{"op":"login","args":[{}]}',
             '{"op":["x"],"args":[]}'],
)  # fmt: skip
def test_nonsense_is_refused_with_its_text(text):
    """60012 echoes the request."""
    session = Caller().box.publisher.connect("public", START_MS)
    session.receive(text, START_MS)
    (frame,) = frames(session)
    assert (frame["event"], frame["code"]) == ("error", "60012")
    assert text in frame["msg"]


@pytest.mark.parametrize("bad", ["candle7m", "orders", "nothing"])
def test_one_bad_channel_and_nothing_is_subscribed(bad):
    """A subscription is all or nothing."""
    caller = Caller()
    session = caller.box.publisher.connect("public", START_MS)
    session.receive(subscribe("trades", bad), START_MS)
    (frame,) = frames(session)
    assert frame["code"] == "60018"
    caller.box.print(tick(1001))
    assert frames(session) == []


def test_login_is_judged_like_a_request():
    """A wrong signature, an old timestamp and a reused nonce fail; private channels want it."""
    caller = Caller()
    session = caller.box.publisher.connect("private", START_MS)
    session.receive(subscribe("orders", inst_id=None), START_MS)
    assert frames(session)[0]["event"] == "error"
    good = caller.login_frame()
    for name, value in (("sign", "x"), ("timestamp", str(START_MS - 70_000)), ("apiKey", "y")):
        bad = json.loads(good)
        bad["args"][0][name] = value
        session.receive(json.dumps(bad), START_MS)
        assert frames(session) == [{"event": "error", "code": "60009", "msg": "Login failed."}]
    session.receive(good, START_MS)
    assert frames(session)[0]["event"] == "login"
    session.receive(good, START_MS)
    assert frames(session)[0]["code"] == "60009"


def test_market_channels_push_what_a_print_changes():
    """Trades, tickers, a candle, the short book; shapes as documented."""
    caller = Caller()
    session, first = public(caller, "trades", "tickers", "candle1m", "books5", "index-candle1m")
    assert [(f["arg"]["channel"], f["action"]) for f in first] == [("books5", "snapshot")]
    caller.box.print(tick(1002, START_MS + 500))
    found = {f["arg"]["channel"]: f for f in frames(session)}
    assert found["trades"]["data"][0]["price"] == "1002"
    assert found["tickers"]["data"][0]["last"] == "1002"
    assert [len(row) for row in found["candle1m"]["data"]] == [9]
    assert [len(row) for row in found["index-candle1m"]["data"]] == [6]
    assert found["books5"]["data"]["bids"][0][0] == "1001"
    assert all(f["arg"]["instId"] == COIN for f in found.values())


def test_candle_is_told_open_and_then_closed_once():
    """confirm 0 again and again, then 1; the next minute begins afresh."""
    caller = Caller()
    session, _ = public(caller, "candle1m")
    caller.box.print(tick(1010, START_MS + 10_000))
    caller.box.print(tick(990, START_MS + 20_000))
    caller.box.advance(START_MS + 60_000)
    caller.box.advance(START_MS + 61_000)
    caller.box.print(tick(995, START_MS + 62_000))
    rows = [f["data"][0] for f in frames(session)]
    told = [(int(row[0]) - START_MS, row[2], row[3], row[8]) for row in rows]
    assert told == [
        (0, "1010", "1000", "0"),
        (0, "1010", "990", "0"),
        (0, "1010", "990", "1"),
        (60_000, "995", "995", "0"),
    ]


def test_books_can_be_rebuilt_from_snapshot_and_updates():
    """Sequence ids chain; size 0 removes a level; the result equals the book."""
    caller = Caller()
    session, (first,) = public(caller, "books")
    assert first["data"]["prevSeqId"] == "0"
    held = {side: dict(map(tuple, first["data"][side])) for side in ("asks", "bids")}
    sequence = first["data"]["seqId"]
    for step, price in enumerate((1003, 1001, 999, 1000)):
        caller.box.print(tick(price, START_MS + step))
    for frame in frames(session):
        assert frame["action"] == "update"
        assert frame["data"]["prevSeqId"] == sequence
        sequence = frame["data"]["seqId"]
        for side, levels in held.items():
            levels.update(map(tuple, frame["data"][side]))
            held[side] = {price: size for price, size in levels.items() if size}
    session.receive(subscribe("books"), START_MS)
    fresh = next(f for f in frames(session) if f.get("action") == "snapshot")
    for side, levels in held.items():
        assert levels == dict(map(tuple, fresh["data"][side]))


def test_order_is_told_at_every_change():
    """Accepted, then filled; its stop on orders-algo; the position; the account."""
    caller = Caller()
    session, first = private(caller, "orders", "orders-algo", "positions", "account")
    assert [(f["arg"], f["data"]) for f in first] == [({"channel": "positions"}, [])]
    caller.order(clientOrderId="told", **BRACKET)
    by_channel = {}
    for frame in frames(session):
        assert list(frame["arg"]) == ["channel"]
        data = frame["data"]
        by_channel.setdefault(frame["arg"]["channel"], []).append(data)
    orders = [data[0] for data in by_channel["orders"]]
    assert [(row["state"], row["filledSize"][0]) for row in orders] == [
        ("live", "0"),
        ("filled", "1"),
    ]
    assert orders[0]["slOrderPrice"] == "-1"
    assert {row["clientOrderId"] for row in orders} == {"told"}
    (stop,) = by_channel["orders-algo"]
    assert (stop[0]["orderType"], stop[0]["state"]) == ("conditional", "live")
    assert stop[0]["tpslId"] == stop[0]["algoId"]
    assert by_channel["positions"][-1][0]["positions"] == "1"
    assert by_channel["account"][-1]["details"][0]["currency"] == "USDT"


def test_closed_position_is_simply_not_told():
    """No row of size zero, as was observed."""
    caller = Caller()
    session, _ = private(caller, "positions")
    caller.order()
    frames(session)
    caller.post("trade/close-position", {"instId": COIN, "marginMode": "isolated"})
    assert frames(session) == []


def test_positions_and_account_come_at_intervals_too():
    """Every five seconds of the market."""
    caller = Caller()
    caller.order()
    session, (first,) = private(caller, "positions", "account")
    assert len(first["data"]) == 1
    for second in range(1, 12):
        caller.box.advance(START_MS + second * 1_000)
    told = [f["arg"]["channel"] for f in frames(session)]
    assert told == ["positions", "account"] * 2


def test_subscription_may_be_repeated_and_ended():
    """Acknowledged each time, pushed once; afterwards silent."""
    caller = Caller()
    session, _ = public(caller, "trades")
    session.receive(subscribe("trades"), START_MS)
    assert frames(session)[0]["event"] == "subscribe"
    caller.box.print(tick(1001))
    assert len(frames(session)) == 1
    session.receive(subscribe("trades").replace("subscribe", "unsubscribe"), START_MS)
    assert frames(session)[0]["event"] == "unsubscribe"
    caller.box.print(tick(1002))
    assert frames(session) == []


def test_channel_narrowed_to_an_instrument_carries_it():
    """`instId` is optional on private channels and repeated in the pushes."""
    caller = Caller()
    session, _ = private(caller, "orders", inst_id=COIN)
    caller.order()
    assert {tuple(f["arg"].items()) for f in frames(session)} == {
        (("channel", "orders"), ("instId", COIN))
    }


def test_idle_connection_is_cut_after_half_a_minute():
    """A push or a message of the client keeps it."""
    caller = Caller()
    session = caller.box.publisher.connect("public", START_MS)
    assert not session.is_idle(START_MS + 30_000)
    assert session.is_idle(START_MS + 30_001)
    session.receive("ping", START_MS + 30_000)
    assert not session.is_idle(START_MS + 60_000)


def test_too_long_a_subscription_is_refused():
    """4096 bytes of arguments."""
    session = Caller().box.publisher.connect("public", START_MS)
    session.receive(subscribe(*["trades"] * 200), START_MS)
    assert frames(session)[0]["code"] == "60012"


def test_slow_reader_is_hung_up_on():
    """The outbox has a limit; memory does not grow for ever."""
    caller = Caller()
    session, _ = public(caller, "trades")
    for step in range(10_001):
        caller.box.print(tick(1000, START_MS + step))
    assert session.is_closed
    assert len(session.outbox) == 10_000


def test_partial_fills_are_told_one_by_one():
    """Cumulative sizes, as BloFin pushes them."""
    caller = Caller()
    caller.box.venue.orders.rules = VenueRules()
    session, _ = private(caller, "orders")
    caller.order(orderType="limit", price="990", size="5")
    for step in range(3):
        caller.box.print(tick(989, START_MS + step, size=10))
    told = [f["data"][0] for f in frames(session)]
    assert [(row["state"], float(row["filledSize"])) for row in told] == [
        ("live", 0), ("partially_filled", 2), ("partially_filled", 4), ("filled", 5),
    ]  # fmt: skip
