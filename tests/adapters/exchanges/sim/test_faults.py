"""Every fault by name: it happens, it is counted, and what it leaves is what it says."""

import json
from pathlib import Path

import pytest

from blofin_cli.adapters.exchanges.sim.faults import FAULTS, Fault, FaultPlan, chaos
from tests.adapters.exchanges.sim.driver import (
    COIN,
    START_MS,
    Caller,
    faulty,
    frames,
    subscribe,
    tick,
)

STOP = {"slTriggerPrice": "900", "slOrderPrice": "-1"}
TARGET = {"tpTriggerPrice": "1100", "tpOrderPrice": "-1"}


def listening(caller, channel="trades"):
    """A public session that has subscribed."""
    session = caller.box.publisher.connect("public", START_MS)
    session.receive(subscribe(channel), START_MS)
    return session


def prices(session):
    """Prices of the trades pushed."""
    return [f["data"][0]["price"] for f in frames(session) if "data" in f]


def placed(caller):
    """Orders the venue really has."""
    return len(caller.box.venue.orders.known)


def raw_order(caller):
    """The answer to an order, as bytes."""
    body = {
        "instId": COIN, "marginMode": "isolated", "side": "buy", "orderType": "market", "size": "1",
    }  # fmt: skip
    return caller.send("POST", "trade/order", body=json.dumps(body).encode())


@pytest.mark.parametrize(("name", "carried_out"), [("lost_request", 0), ("lost_answer", 1)])
def test_lost_message_is_cut_before_or_after_the_deed(name, carried_out):
    """To the caller both look alike; in the venue they differ."""
    caller = faulty(Fault(name, path="trade/order", ms=70))
    answer = raw_order(caller)
    assert (answer.is_cut, answer.delay_ms, answer.body) == (True, 70, b"")
    assert placed(caller) == carried_out
    assert caller.box.faults.fired[name] == 1
    assert caller.get("account/balance")["code"] == "0"


@pytest.mark.parametrize(
    ("name", "statuses", "carried_out"),
    [
        ("server_error", {500, 502}, 1), ("internal_error", {200}, 1), ("html", {200, 502, 503}, 1),
        ("unavailable", {503}, 0), ("rate_limit", {429}, 0),
    ],
)  # fmt: skip
def test_bad_answer_says_nothing_about_the_deed(name, statuses, carried_out):
    """5xx, 103013, HTML or 429 instead of the acknowledgement."""
    caller = faulty(Fault(name, path="trade/order"))
    answer = raw_order(caller)
    assert answer.status in statuses
    assert placed(caller) == carried_out
    assert b'"code":"0"' not in answer.body


def test_answer_comes_late():
    """The deed is done at once, the answer waits."""
    caller = faulty(Fault("delay", ms=250))
    answer = raw_order(caller)
    assert (answer.delay_ms, placed(caller)) == (250, 1)


def test_suspension_lasts_as_long_as_it_says():
    """Everything is refused until it ends, also without further faults."""
    caller = faulty(Fault("suspended", count=1, ms=5_000))
    caller.box.limits.enabled = True
    assert caller.send("GET", "account/balance").status == 429
    caller.wall_ms += 4_999
    assert caller.send("GET", "account/balance").status == 429
    caller.wall_ms += 1
    assert caller.send("GET", "account/balance").status == 200


def test_fields_go_null():
    """One field of each row."""
    caller = faulty(Fault("null_fields", path="account/positions"))
    caller.order()
    (row,) = caller.get("account/positions")["data"]
    assert list(row.values()).count(None) == 1


def test_accepted_order_is_invisible_for_a_while():
    """It exists, trades, and no query finds it yet."""
    caller = faulty(Fault("invisible", ms=3_000))
    caller.order(orderType="limit", price="900", clientOrderId="unseen")
    query = {"instId": COIN, "clientOrderId": "unseen"}
    assert caller.get("trade/order-detail", **query)["code"] != "0"
    assert caller.get("trade/orders-pending")["data"] == []
    caller.box.advance(START_MS + 3_000)
    assert caller.get("trade/order-detail", **query)["code"] == "0"
    assert len(caller.get("trade/orders-pending")["data"]) == 1


@pytest.mark.parametrize(("name", "left"), [("dropped_stop", "tp"), ("dropped_target", "sl")])
def test_part_of_a_bracket_is_left_out_without_a_word(name, left):
    """The answer is a success; only the exchange's own list tells."""
    caller = faulty(Fault(name))
    assert caller.order(**STOP, **TARGET)["code"] == "0"
    (row,) = caller.get("trade/orders-tpsl-pending")["data"]
    kept = {name for name in ("sl", "tp") if row[f"{name}TriggerPrice"]}
    assert kept == {left}
    caller.order(**(STOP if name == "dropped_stop" else TARGET))
    assert len(caller.get("trade/orders-tpsl-pending")["data"]) == 1


@pytest.mark.parametrize(("skew_ms", "code"), [(59_000, "0"), (-59_000, "0"), (61_000, "152405")])
def test_clock_runs_apart(skew_ms, code):
    """Beyond a minute nobody's signature is good."""
    caller = faulty(Fault("clock_skew", ms=skew_ms))
    assert caller.get("account/balance")["code"] == code
    ts = caller.get("public/time")["data"]["ts"]
    assert int(ts) == START_MS + skew_ms


def test_pushes_double_swap_and_wait():
    """duplicate, reorder, push_delay."""
    twice = faulty(Fault("duplicate"))
    session = listening(twice)
    twice.box.print(tick(1001))
    assert prices(session) == ["1001", "1001"]

    swapped = faulty(Fault("reorder"))
    session = listening(swapped)
    for price in (1001, 1002, 1003, 1004):
        swapped.box.print(tick(price))
    assert prices(session) == ["1002", "1001", "1004", "1003"]

    late = faulty(Fault("push_delay", ms=40))
    session = listening(late)
    session.outbox.clear()
    late.box.print(tick(1001))
    assert [delay for _, delay in session.outbox] == [40]


def test_stream_goes_silent_while_the_connection_lives():
    """stall: pings are still answered."""
    caller = faulty(Fault("stall", count=1, ms=5_000))
    session = listening(caller)
    caller.box.print(tick(1001, START_MS))
    caller.box.print(tick(1002, START_MS + 4_999))
    assert prices(session) == []
    session.receive("ping", START_MS)
    assert frames(session) == ["pong"]
    caller.box.print(tick(1003, START_MS + 5_000))
    assert prices(session) == ["1003"]


def test_connection_is_dropped_without_a_word():
    """disconnect, on one channel only."""
    caller = faulty(Fault("disconnect", path="tickers"))
    safe, doomed = listening(caller), listening(caller, "tickers")
    caller.box.print(tick(1001))
    assert (safe.is_closed, doomed.is_closed) == (False, True)


def test_small_words_go_missing():
    """lost_ack, lost_pong, login_refused."""
    caller = faulty(Fault("lost_ack"), Fault("lost_pong"), Fault("login_refused", count=1))
    session = listening(caller)
    session.receive("ping", START_MS)
    assert frames(session) == []
    caller.box.print(tick(1001))
    assert prices(session) == ["1001"]
    hidden = caller.box.publisher.connect("private", START_MS)
    for wanted in ("error", "login"):
        hidden.receive(caller.login_frame(), START_MS)
        assert frames(hidden)[0]["event"] == wanted


def test_times_stand_still():
    """frozen_time: messages flow, their timestamps do not."""
    caller = faulty(Fault("frozen_time"))
    session = listening(caller, "tickers")
    for step in range(3):
        caller.box.print(tick(1001 + step, START_MS + step * 1_000))
    stamps = {f["data"][0]["ts"] for f in frames(session) if "data" in f}
    assert len(stamps) == 1


def test_every_fault_is_shown_here():
    """A name without a test tests nothing."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in FAULTS)


def test_order_fills_in_part_and_the_rest_is_canceled():
    """partial_fill: 30 to 80 % of a market order; the stop covers just that."""
    caller = faulty(Fault("partial_fill", count=1))
    caller.order(size="20", **STOP)
    (row,) = caller.get("trade/orders-history")["data"]
    assert row["state"] == "partially_canceled"
    filled = float(row["filledSize"])
    assert 6 <= filled <= 16
    (stop,) = caller.get("trade/orders-tpsl-pending")["data"]
    assert float(stop["size"]) == filled
    caller.order(size="10")
    assert caller.get("trade/orders-history")["data"][0]["state"] == "filled"


def test_leverage_is_acknowledged_and_not_set():
    """ignored_leverage: only reading it back tells."""
    caller = faulty(Fault("ignored_leverage"))
    body = {"instId": COIN, "marginMode": "isolated"}
    assert caller.post("account/set-leverage", body | {"leverage": "9"})["data"]["leverage"] == "9"
    assert caller.get("account/leverage-info", **body)["data"]["leverage"] == "3"


def test_count_ends_a_fault_and_path_narrows_it():
    """Twice, on one path; others are untouched."""
    caller = faulty(Fault("rate_limit", path="positions", count=2))
    statuses = [caller.send("GET", "account/positions").status for _ in range(4)]
    assert statuses == [429, 429, 200, 200]
    assert caller.box.faults.fired["rate_limit"] == 2


def test_chances_are_the_seeds_and_independent():
    """The same seed, the same strikes; another fault beside it moves none of them."""

    def strikes(*faults):
        plan = FaultPlan(5, faults)
        found = []
        for _ in range(200):
            plan.strikes("html", "x")
            found.append(plan.strikes("delay", "x") is not None)
        return found

    alone = strikes(Fault("delay", 0.3))
    assert alone == strikes(Fault("html", 0.5), Fault("delay", 0.3))
    assert 30 < sum(alone) < 90
    assert alone != [FaultPlan(6, [Fault("delay", 0.3)]).strikes("delay") is not None] * 200


def test_storm_is_drawn_from_its_seed():
    """Each seed its own set; over many seeds every fault occurs."""
    assert chaos(3).active == chaos(3).active
    seen = {fault.name for seed in range(40) for fault in chaos(seed).active}
    assert seen == FAULTS.keys() - {"frozen_time"}
    assert all(len(chaos(seed).active) < len(FAULTS) for seed in range(40))


def test_unknown_fault_is_refused():
    """A misspelt fault would test nothing."""
    with pytest.raises(ValueError, match="no fault"):
        Fault("lost_anser")
    with pytest.raises(ValueError, match="between 0 and 1"):
        Fault("delay", 1.5)


def test_box_without_faults_answers_plainly():
    """Nothing fires by itself."""
    caller = Caller()
    caller.order()
    assert not caller.box.faults.fired
