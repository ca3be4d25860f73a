"""REST under faults: reads come back, writes go out once, what became of them is not guessed."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin import transport
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    CloseRequest,
    MarginMode,
    OrderRef,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    PositionMode,
    ProtectionRef,
    ProtectionRequest,
    Side,
)
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    NetworkError,
    RateLimitError,
    UsageError,
    VenueError,
)
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.fake_venue import CLOSE, HTML, STALL, Reply, error, ok

ENTRY = OrderRequest(
    symbol="BTC-USDT", side=Side.BUY, type=OrderType.LIMIT, size=Decimal("0.0001"),
    price=Decimal(95000), client_id="intent1", stop=Decimal(94000),
)  # fmt: skip
ROW = {
    "orderId": "77", "clientOrderId": "intent1", "instId": "BTC-USDT", "marginMode": "isolated",
    "positionSide": "net", "side": "buy", "orderType": "limit", "price": "95000", "size": "0.1",
    "reduceOnly": "false", "leverage": "3", "state": "live", "filledSize": "0",
    "averagePrice": "0", "fee": "0", "pnl": "0", "createTime": "1767225600000",
    "updateTime": "1767225600000", "orderCategory": "normal",
}  # fmt: skip
TPSL = {
    "tpslId": "9", "clientOrderId": "stop1", "instId": "BTC-USDT", "marginMode": "isolated",
    "positionSide": "net", "side": "sell", "slTriggerPrice": "94000", "slOrderPrice": "-1",
    "size": "-1", "state": "live", "reduceOnly": "true",
}  # fmt: skip
STOP = ProtectionRequest(symbol="BTC-USDT", side=Side.SELL, client_id="stop1", stop=Decimal(94000))
PLACED = ok([{"orderId": "77", "clientOrderId": "intent1", "code": "0", "msg": "Order placed"}])
POSITION = {
    "positionId": "1", "instId": "BTC-USDT", "marginMode": "isolated", "positionSide": "net",
    "positions": "1", "availablePositions": "1", "averagePrice": "95000", "markPrice": "95000",
    "unrealizedPnl": "0", "leverage": "3",
}  # fmt: skip
LOST = [
    CLOSE, HTML, Reply("<html>ok</html>"), Reply('{"code":"0","data":[{"ord', 200),
    replace(PLACED, fault="truncate"), Reply(""), Reply("null"), error("103013"), error("500"),
    Reply('{"code":"0","data":NaN}'), Reply(PLACED.body, 503), ok({"orderId": "77"}), ok([]),
    ok([{"orderId": None, "clientOrderId": None, "code": "0"}]),
]  # fmt: skip
LOST_NAMES = [f"{n}-{reply.fault or reply.body[:24]}" for n, reply in enumerate(LOST)]


# Writes.


async def test_accepted_order_is_one_signed_request(venue, account):
    """The signature covers the bytes that arrived, and the size is in contracts."""
    venue.routes["trade/order"] = PLACED
    ack = await account.place(ENTRY)
    (sent,) = venue.to("trade/order")
    text = (
        f"/api/v1/trade/orderPOST{sent.headers['access-timestamp']}"
        f"{sent.headers['access-nonce']}{sent.body}"
    )
    digest = hmac.new(b"s-canary-2", text.encode(), hashlib.sha256).hexdigest()
    assert sent.headers["access-sign"] == base64.b64encode(digest.encode()).decode()
    assert json.loads(sent.body)["size"] == "0.1"
    assert (ack.outcome, ack.order_id, ack.resolved) == (Outcome.ACCEPTED, "77", False)


@pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
async def test_lost_answer_is_looked_up_and_found(venue, account, lost):
    """F01, F03: taken, but the answer never came; the order is found and never sent again."""
    venue.routes |= {"trade/order": lost, "trade/order-detail": ok(ROW)}
    ack = await account.place(ENTRY)
    assert (ack.outcome, ack.order_id, ack.resolved) == (Outcome.ACCEPTED, "77", True)
    assert len(venue.to("trade/order")) == 1


@pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
async def test_lost_answer_without_trace_stays_unknown(venue, account, lost):
    """F02, F06: not found is no proof; nothing is sent again."""
    venue.routes |= {
        "trade/order": lost, "trade/order-detail": ok(None), "trade/orders-pending": ok([]),
        "trade/orders-history": ok([]),
    }  # fmt: skip
    ack = await account.place(ENTRY)
    assert ack.outcome is Outcome.UNKNOWN
    assert len(venue.to("trade/order")) == 1
    assert len(venue.to("trade/order-detail")) == 3


async def test_lost_answer_with_failing_look_up_stays_unknown(venue, account):
    """F51: a failed question is not a no."""
    venue.routes |= {"trade/order": CLOSE, "trade/order-detail": CLOSE}
    assert (await account.place(ENTRY)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("reply", [error("152406"), error("429")])
async def test_look_up_that_is_refused_leaves_the_write_unknown(venue, account, reply):
    """Once sent, a write never ends in an error that sounds as if nothing had happened."""
    venue.routes |= {"trade/order": CLOSE, "trade/order-detail": reply}
    assert (await account.place(ENTRY)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("reply", [error("152406"), error("429"), CLOSE, HTML])
async def test_cancel_lost_and_unresolved_is_unknown(venue, account, reply):
    """The same for a cancel."""
    venue.routes |= {"trade/cancel-order": [CLOSE, reply], "trade/order-detail": reply}
    ack = await account.cancel(OrderRef(symbol="BTC-USDT", order_id="77"))
    assert ack.outcome is Outcome.UNKNOWN


async def test_silent_exchange_leaves_the_write_unknown(venue, account, monkeypatch):
    """A time-out after the bytes left."""
    account._sender._timeouts = transport.Timeouts(write_s=0.2, total_s=0.3)
    venue.routes |= {"trade/order": STALL, "trade/order-detail": ok(ROW)}
    ack = await account.place(ENTRY)
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True)


async def test_duplicate_client_id_is_our_own_order(venue, account):
    """F05: 102002 means that it is there already."""
    refused = error("1", "All operations failed", [{"code": "102002", "msg": "Duplicate"}])
    venue.routes |= {"trade/order": refused, "trade/order-detail": ok(ROW)}
    ack = await account.place(ENTRY)
    assert (ack.outcome, ack.order_id) == (Outcome.ACCEPTED, "77")


async def test_duplicate_client_id_of_another_order_is_refused(venue, account):
    """The same id on an order of another size is not this intent."""
    venue.routes |= {"trade/order": error("102002"), "trade/order-detail": ok(ROW | {"size": "5"})}
    assert (await account.place(ENTRY)).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    "reply",
    [
        ok([{"orderId": None, "clientOrderId": "", "code": "103003", "msg": "Insufficient"}]),
        error("1", "failed", [{"orderId": None, "code": "103003", "msg": "Insufficient"}]),
        error("152002", "Parameter price error."),
    ],
)
async def test_refusal_is_a_refusal(venue, account, reply):
    """F04: on both levels, without a look-up."""
    venue.routes["trade/order"] = reply
    ack = await account.place(ENTRY)
    assert ack.outcome is Outcome.REFUSED
    assert ack.code in {"103003", "152002"}
    assert not venue.to("trade/order-detail")


async def test_batch_is_judged_part_by_part(venue, account):
    """F04: one good, one refused, one missing, which is looked up."""
    second, third = replace(ENTRY, client_id="intent2"), replace(ENTRY, client_id="intent3")
    rows = [
        {"orderId": "77", "clientOrderId": "intent1", "code": "0"},
        {"orderId": None, "clientOrderId": "intent2", "code": "103003"},
    ]
    venue.routes |= {
        "trade/batch-orders": error("2", "some", rows),
        "trade/order-detail": ok(ROW | {"clientOrderId": "intent3", "orderId": "79"}),
    }
    acks = await account.place_many([ENTRY, second, third])
    assert [ack.outcome.value for ack in acks] == ["accepted", "refused", "accepted"]
    assert acks[2].order_id == "79"


class HaltedError(BlofinError):
    """What a fence raises."""


async def test_fence_stops_the_order_before_its_first_byte(venue, account):
    """A halt between decision and send: nothing arrives."""
    await account.instruments()

    def fence() -> None:
        raise HaltedError("halted")

    with pytest.raises(HaltedError):
        await account.place(ENTRY, fence=fence)
    assert not venue.to("trade/order")


async def test_fence_is_read_again_with_the_connection_in_hand(venue, account):
    """The halt that comes while a connection is being made still stops the order."""
    await account.instruments()
    readings = []

    def fence() -> None:
        readings.append(len(venue.seen))
        if len(readings) == 2:
            raise HaltedError("halted while connecting")

    with pytest.raises(HaltedError):
        await account.place(ENTRY, fence=fence)
    assert len(readings) == 2
    assert not venue.to("trade/order")


async def test_unreachable_exchange_is_no_unknown(venue, settings):
    """Nothing was sent, so nothing is unknown."""
    account = blofin.connect(settings, SystemClock(), CREDENTIALS)
    await account.instruments()
    await venue.__aexit__()
    with pytest.raises(NetworkError):
        await account.place(ENTRY)
    await account.aclose()


async def test_cancel_is_sent_again_when_its_answer_is_lost(venue, account):
    """A second cancel does no harm."""
    ref = OrderRef(symbol="BTC-USDT", order_id="77")
    done = ok([{"orderId": "77", "code": "0", "msg": "Order canceled"}])
    venue.routes |= {"trade/cancel-order": [CLOSE, done], "trade/order-detail": ok(ROW)}
    ack = await account.cancel(ref)
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True)
    assert len(venue.to("trade/cancel-order")) == 2


async def test_cancel_that_worked_unheard_is_found_done(venue, account):
    """The answer was lost and the order is canceled: that is the answer."""
    gone = ok(ROW | {"state": "canceled"})
    venue.routes |= {"trade/cancel-order": CLOSE, "trade/order-detail": gone}
    ack = await account.cancel(OrderRef(symbol="BTC-USDT", order_id="77"))
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True)
    assert len(venue.to("trade/cancel-order")) == 1


@pytest.mark.parametrize("shape", ["array", "object"])
async def test_cancel_of_a_gone_order_is_refused(venue, account, shape):
    """F08: then its final state is asked; both documented shapes are read."""
    row = {"orderId": "77", "code": "1000", "msg": "Cancel failed as the order has been filled"}
    venue.routes["trade/cancel-order"] = ok([row] if shape == "array" else row)
    ack = await account.cancel(OrderRef(symbol="BTC-USDT", order_id="77"))
    assert ack.outcome is Outcome.REFUSED


async def test_many_cancels_take_few_requests(venue, account):
    """25 orders are two requests; stop entries have no batch."""

    def cancel(seen):
        return ok([{"orderId": row["orderId"], "code": "0"} for row in json.loads(seen.body)])

    venue.routes |= {
        "trade/cancel-batch-orders": cancel,
        "trade/cancel-algo": ok({"algoId": "5", "code": "0"}),
    }
    refs = [OrderRef(symbol="BTC-USDT", order_id=str(n)) for n in range(25)]
    refs.insert(3, OrderRef(symbol="BTC-USDT", order_id="5", is_trigger=True))
    acks = await account.cancel_many(refs)
    assert {ack.outcome for ack in acks} == {Outcome.ACCEPTED}
    assert [ack.order_id for ack in acks] == [ref.order_id for ref in refs]
    assert len(venue.to("trade/cancel-batch-orders")) == 2


async def test_protection_is_confirmed_by_its_id(venue, account):
    """A lost answer of a stop is looked up among the stops."""
    venue.routes |= {
        "trade/order-tpsl": CLOSE, "trade/order-tpsl-detail": error("152404"),
        "trade/orders-tpsl-pending": ok([TPSL]),
    }  # fmt: skip
    ack = await account.protect(STOP)
    assert (ack.outcome, ack.order_id, ack.resolved) == (Outcome.ACCEPTED, "9", True)


async def test_protection_refused_because_the_price_is_past_it(venue, account):
    """F20: 102038 in either level."""
    venue.routes["trade/order-tpsl"] = ok({"tpslId": None, "code": "102038", "msg": "below"})
    ack = await account.protect(STOP)
    assert (ack.outcome, ack.code) == (Outcome.REFUSED, "102038")


async def test_protection_is_canceled_by_an_array(venue, account):
    """cancel-tpsl differs from cancel-algo."""
    venue.routes["trade/cancel-tpsl"] = ok([{"tpslId": "9", "code": "0", "msg": None}])
    ack = await account.cancel_protection(ProtectionRef(symbol="BTC-USDT", protection_id="9"))
    assert ack.outcome is Outcome.ACCEPTED
    assert json.loads(venue.to("trade/cancel-tpsl")[0].body) == [
        {"instId": "BTC-USDT", "tpslId": "9"}
    ]


async def test_close_names_no_order(venue, account):
    """Its answer has no id; with nothing to close it is refused."""
    done = ok({"instId": "BTC-USDT", "positionSide": "net", "clientOrderId": "c1"})
    venue.routes["trade/close-position"] = [done, error("102005", "Position had been closed")]
    request = CloseRequest(symbol="BTC-USDT", client_id="c1")
    first, second = await account.close_position(request), await account.close_position(request)
    assert (first.outcome, first.order_id) == (Outcome.ACCEPTED, None)
    assert (second.outcome, second.code) == (Outcome.REFUSED, "102005")


@pytest.mark.parametrize(("left", "outcome"), [([], "accepted"), ([POSITION], "refused")])
async def test_close_with_a_known_id_counts_only_when_flat(venue, account, left, outcome):
    """A second sending of one close is fine; a reused id must not pass for a close."""
    venue.routes |= {
        "trade/close-position": error("102002"), "account/positions": ok(left),
        "trade/order-detail": ok(ROW | {"clientOrderId": "c1", "state": "filled"}),
    }  # fmt: skip
    ack = await account.close_position(CloseRequest(symbol="BTC-USDT", client_id="c1"))
    assert ack.outcome == outcome


async def test_reducing_account_cannot_open(venue, settings):
    """The port without a lock has no way to open."""
    account = blofin.connect_reducing(settings, SystemClock(), CREDENTIALS)
    assert not hasattr(account, "place")
    assert not hasattr(account, "set_leverage")
    with pytest.raises(UsageError):
        await account.reduce(ENTRY)
    await account.aclose()


async def test_leverage_is_read_back(venue, account):
    """F14: set-leverage says yes and keeps the old value."""
    row = {"leverage": "20", "marginMode": "isolated", "instId": "BTC-USDT", "positionSide": "net"}
    venue.routes |= {
        "account/set-leverage": ok(row | {"leverage": "3"}),
        "account/batch-leverage-info": ok([row]),
    }
    with pytest.raises(VenueError, match="20"):
        await account.set_leverage("BTC-USDT", 3)


async def test_modes_in_force_are_not_sent_again(venue, account):
    """Setting the mode that is set may be an error at BloFin."""
    venue.routes |= {
        "account/margin-mode": ok({"marginMode": "isolated"}),
        "account/position-mode": [
            ok({"positionMode": "long_short_mode"}), ok({"positionMode": "net_mode"}),
        ],
        "account/set-position-mode": ok({"positionMode": "net_mode"}),
    }  # fmt: skip
    assert await account.set_margin_mode(MarginMode.ISOLATED) is MarginMode.ISOLATED
    assert await account.set_position_mode(PositionMode.ONE_WAY) is PositionMode.ONE_WAY
    assert not venue.to("account/set-margin-mode")
    assert len(venue.to("account/set-position-mode")) == 1


# Reads.


@pytest.mark.parametrize(
    "fault", [CLOSE, HTML, Reply("{"), Reply("", 500), error("103013"), Reply("<html>", 200)]
)
async def test_read_comes_back_after_a_fault(venue, account, fault):
    """Twice broken, then answered."""
    venue.routes["account/positions"] = [fault, fault, ok([POSITION])]
    (position,) = await account.positions()
    assert position.size == Decimal("0.001")
    assert len(venue.to("account/positions")) == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(CLOSE, NetworkError), (HTML, NetworkError), (Reply("{"), BadAnswerError)],
)
async def test_read_that_stays_broken_is_never_empty(venue, account, fault, kind):
    """F46: a failed query is not flat."""
    venue.routes["account/positions"] = fault
    with pytest.raises(kind):
        await account.positions()


@pytest.mark.parametrize("broken", [{"positions": None}, {"averagePrice": "NaN"}, {"instId": 7}])
async def test_list_with_a_broken_row_is_refused_whole(venue, account, broken):
    """F15 of the lists: half a list would read as absence."""
    venue.routes["account/positions"] = ok([POSITION, POSITION | broken])
    with pytest.raises(BadAnswerError):
        await account.positions()


async def test_rows_of_other_products_are_not_ours(venue, account):
    """A USDC position does not hide ours."""
    venue.routes["account/positions"] = ok([POSITION | {"instId": "BTC-USDC"}, POSITION])
    assert len(await account.positions()) == 1


async def test_new_instrument_has_the_terms_read_again(venue, account):
    """A row of a symbol listed a minute ago is no reason to be blind."""
    await account.instruments()
    rows = json.loads(venue.routes["market/instruments"].body)["data"]
    venue.routes["market/instruments"] = ok([*rows, rows[0] | {"instId": "NEW-USDT"}])
    venue.routes["account/positions"] = ok([POSITION | {"instId": "NEW-USDT"}])
    (position,) = await account.positions()
    assert position.symbol == "NEW-USDT"


async def test_lists_are_read_to_their_last_page(venue, account):
    """120 orders are two pages; an order of another product does not end the reading."""
    rows = [ROW | {"orderId": str(1000 - n), "clientOrderId": f"c{n}"} for n in range(120)]
    rows[50] |= {"instId": "BTC-USDC"}

    def page(seen):
        after = seen.target.partition("after=")[2].partition("&")[0]
        start = next((n + 1 for n, row in enumerate(rows) if row["orderId"] == after), 0)
        return ok(rows[start : start + 100])

    venue.routes |= {"trade/orders-pending": page, "trade/orders-algo-pending": ok([])}
    assert len(await account.open_orders()) == 119


async def test_pages_that_do_not_move_are_refused(venue, account):
    """A server that ignores `after` must not hold us for ever."""
    rows = [ROW | {"orderId": str(n)} for n in range(100)]
    venue.routes |= {"trade/orders-pending": ok(rows), "trade/orders-algo-pending": ok([])}
    with pytest.raises(BadAnswerError, match="same page"):
        await account.open_orders()


async def test_order_of_another_id_is_not_the_one_asked(venue, account):
    """B48: answers are matched by id."""
    venue.routes |= {
        "trade/order-detail": ok(ROW | {"clientOrderId": "other"}),
        "trade/orders-pending": ok([]), "trade/orders-history": ok([ROW | {"state": "canceled"}]),
    }  # fmt: skip
    order = await account.order(OrderRef(symbol="BTC-USDT", client_id="intent1"))
    assert order is not None
    assert order.state is OrderState.CANCELED


async def test_candles_outside_the_bounds_are_refused(venue, account):
    """An answer to another question is no data."""
    row = ["1767225600000", "1", "2", "0.5", "1.5", "10", "1", "1", "1"]
    venue.routes["market/candles"] = ok([row])
    (bar,) = await account.candles("BTC-USDT", Timeframe.H1, since_ms=1767225600000)
    assert (bar.volume, bar.is_closed) == (1.0, True)
    with pytest.raises(BadAnswerError):
        await account.candles("BTC-USDT", Timeframe.H1, until_ms=1767225600000)


async def test_symbol_that_is_not_listed_is_a_usage_error(venue, account):
    """One clear message, no order."""
    with pytest.raises(UsageError):
        await account.place(replace(ENTRY, symbol="XYZ-USDT"))


# Keys, clocks and limits.


async def test_read_without_a_key_says_so(venue, settings):
    """Public data need none; the account does."""
    data = blofin.connect_public(settings, SystemClock())
    assert await data.instruments()
    with pytest.raises(AuthError):
        await data._sender.read(transport.calls.private("account/balance"))
    await data.aclose()


@pytest.mark.parametrize("code", ["152401", "152402", "152406", "152408", "152409"])
async def test_refused_key_is_an_auth_error_at_once(venue, account, code):
    """F67: no hammering, for reads and writes."""
    venue.routes |= {"account/balance": error(code), "trade/order": error(code)}
    with pytest.raises(AuthError) as refusal:
        await account.account()
    with pytest.raises(AuthError):
        await account.place(ENTRY)
    assert refusal.value.hint
    assert len(venue.to("account/balance")) == 1
    assert len(venue.to("trade/order")) == 1


async def test_clock_is_set_by_the_exchange(venue, account):
    """F62: the offset is measured, and signatures carry exchange time."""
    ahead_ms = 45_000
    venue.routes |= {
        "public/time": lambda _: ok({"ts": str(int(time.time() * 1000) + ahead_ms)}),
        "account/balance": [
            error("152405"), ok({"ts": "1767225600000", "details": [], "totalEquity": "0"}),
        ],
    }  # fmt: skip
    await account.account()
    stamps = [int(seen.headers["access-timestamp"]) for seen in venue.to("account/balance")]
    assert 44_000 < stamps[1] - stamps[0] < 47_000
    assert abs(account._sender.offset.offset_ms - ahead_ms) < 500


async def test_clock_is_set_by_the_date_header_where_there_is_no_time(venue, account):
    """The time route is not documented; every answer has a date."""
    date = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    venue.routes["market/mark-price"] = replace(ok([]), headers=date)
    offset = await account.clock_offset()
    assert abs(time.time() * 1000 + offset.offset_ms - 1767225600000) < 2000
    assert 400 <= offset.uncertainty_ms < 1500


async def test_order_refused_for_the_clock_goes_out_once_more(venue, account):
    """A refused signature was not acted on; the nonce is new, the id the same."""
    venue.routes |= {
        "public/time": lambda _: ok({"timestamp": int(time.time() * 1000)}),
        "trade/order": [error("152405"), PLACED],
    }
    assert (await account.place(ENTRY)).outcome is Outcome.ACCEPTED
    first, second = venue.to("trade/order")
    assert first.body == second.body
    assert first.headers["access-nonce"] != second.headers["access-nonce"]


@pytest.mark.parametrize("reply", [error("429"), Reply("slow down", 429), Reply("<html>", 403)])
async def test_rate_limit_stops_every_process(venue, account, settings, reply):
    """F63: the end is told, nothing is sent meanwhile, by anyone."""
    venue.routes["account/positions"] = reply
    before_ms = time.time() * 1000
    with pytest.raises(RateLimitError) as refusal:
        await account.positions()
    assert refusal.value.until_ms > before_ms + 9_000
    other = blofin.connect(settings, SystemClock(), CREDENTIALS)
    count = len(venue.seen)
    with pytest.raises(RateLimitError):
        await other.positions()
    assert len(venue.seen) == count
    await other.aclose()


async def test_retry_after_sets_the_end(venue, account):
    """The exchange's own word."""
    venue.routes["account/positions"] = Reply("", 429, {"Retry-After": "300"})
    with pytest.raises(RateLimitError) as refusal:
        await account.positions()
    assert 295_000 < refusal.value.until_ms - time.time() * 1000 < 305_000


async def test_own_limit_refuses_openings_and_lets_protection_through(venue, account):
    """F63: the fifteenth order in ten seconds is refused here; stops still go."""
    await account.instruments()
    account._sender._timeouts = transport.Timeouts(open_budget_s=0.1)
    venue.routes |= {"trade/order": PLACED, "trade/order-tpsl": ok({"tpslId": "9", "code": "0"})}
    for _ in range(14):
        await account.place(ENTRY)
    with pytest.raises(RateLimitError):
        await account.place(ENTRY)
    assert (await account.protect(STOP)).outcome is Outcome.ACCEPTED
    assert len(venue.to("trade/order")) == 14


async def test_no_secret_is_in_any_error(venue, account):
    """I20: neither key nor secret, passphrase or signature."""
    texts = []
    for reply in (CLOSE, HTML, error("152409"), Reply("{"), error("152002", "s")):
        venue.routes["account/balance"] = reply
        with pytest.raises(BlofinError) as problem:
            await account.account()
        chain, cause = [problem.value], problem.value.__cause__
        texts += [repr(item) + str(item) for item in (*chain, cause) if item]
        texts.append(json.dumps(problem.value.envelope()))
    assert "canary" not in "".join(texts)
    signatures = {
        seen.headers["access-sign"] for seen in venue.seen if "access-sign" in seen.headers
    }
    assert not [sign for sign in signatures if sign in "".join(texts)]


async def test_reads_share_warm_connections(venue, account):
    """One order, one warm connection; nothing is opened anew for each call."""
    venue.routes |= {"trade/order": PLACED, "market/mark-price": ok([])}
    await account.warm()
    opened = venue.connections
    for _ in range(5):
        await account.place(ENTRY)
        await account.instruments()
    assert venue.connections == opened


async def test_query_arrives_as_it_was_signed(venue, account):
    """httpx must not rewrite the percent signs that the signature covers."""
    call = transport.calls.private("account/positions", instId="BTC-USDT,ETH-USDT", x="a b/ü")
    venue.routes["account/positions"] = ok([])
    await account._sender.read(call)
    assert venue.to("account/positions")[0].target == call.target
