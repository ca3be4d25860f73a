"""Signatures, clocks, nonces, permissions and rate limits, by the box's own reading."""

import pytest

from blofin_cli.adapters.exchanges.sim.keys import (
    DEMO_KEY,
    Claim,
    Clocks,
    Gatekeeper,
    Key,
    RateLimits,
    signature,
)
from blofin_cli.adapters.exchanges.sim.records import VenueError
from tests.adapters.exchanges.sim.driver import KEY, PASSPHRASE, SECRET, START_MS, Caller, sign

BODY = (
    '{"instId":"BTC-USDT","marginMode":"isolated","positionSide":"net","side":"buy",'
    '"orderType":"limit","price":"95000","size":"0.1","clientOrderId":"vec0001"}'
)
T, N32 = "1767225600000", "0123456789abcdef0123456789abcdef"
LEVERAGES = "/api/v1/account/batch-leverage-info?instId=BTC-USDT%2CETH-USDT&marginMode=isolated"
CANCEL = '[{"tpslId":"10001386047","instId":"BTC-USDT"}]'
SECRET_10 = ("secret", "1700000000000", "123e4567-e89b-12d3-a456-426614174000")

# The ten worked vectors: target, method, nonce, body, signature.
VECTORS = [
    ("/api/v1/account/balance", "GET", T, "",
     "N2FlOWJjNDc2ZjIyYjE5MDkzMmM1MzJkOTk5ZmUzMzA4N2U2NGU2NDg3MDdkODQ2NjBhNjdmZWYxMGMzMzBjNA=="),
    ("/api/v1/account/positions?instId=BTC-USDT", "GET", T, "",
     "OGM2ODAzNGZjZDY0MGQyZWVhNGZmMDJjYWQ2NGE2ZWE1ZmYwZGFlMGM5MGEwMTI1ZjEyYmYwOGU4ZmE4ZDA3OQ=="),
    (LEVERAGES, "GET", T, "",
     "NTM4NDA2Mjg5YjJjYWE2M2RmNWE1NGE1YmVlNGYzN2I4ZWE3MWM2MzdhNzQ0MjJlZjc2ODM2OWM5Yzg5YTI2MQ=="),
    ("/api/v1/trade/order", "POST", T, BODY,
     "ZTczNTNjNGUxOWE5NzM0ZDJiMmQzYjI5OTk4YzM5OWJhMmI4MjFiMDJlYmE0MThkZDlkNjViYzQ5ZWIzYjZhNQ=="),
    ("/api/v1/trade/cancel-tpsl", "POST", T, CANCEL,
     "ZDM2NjMzNDE4ZDNiOWM2MzkyMjIyNjg4MDNmN2RlNzRkMjRmYzYzZThjODVkNGQ3NTU3MjgyMThmYzY2M2IzZA=="),
    ("/api/v1/account/positions?instId=BTC-USDT", "GET", N32, "",
     "OGU1ZDJlNjBhZmVmNDVmMjllMjhiNjUxOTExNGY3YjMwODdiMjEwYTI3M2FhMWQ4ZmVkZWQ0NjBkMDlkN2I4YQ=="),
    ("/api/v1/trade/order", "POST", N32, BODY,
     "YzljMWE1ZGNkMTEyMWI3Mjk1MGRhYzY3MzI3OTVkNDZhYzFkZGY3ZGI0ZmFkN2EwYWM0YjYyZTU3MTc4ZmQzOA=="),
    ("/users/self/verify", "GET", T, "",
     "NTJhN2I0OTJhZTQxNDVhMzliY2NmYmUzM2M5NDllM2U1MzVkZDE3YzM2MjFiNWJkYzE5NmNhMTA3NGU0YmFmNg=="),
    ("/users/self/verify", "GET", "n_" + T, "",
     "NzZiZmY2NWEwODdiMWUzNDA5OGY4ZjNmYzE3YmZkNjllZDI1MGUxZDRkZjE1NjhhNjhlNDIyNTkyMTQ5ZTI5YQ=="),
]  # fmt: skip


@pytest.mark.parametrize(("target", "method", "nonce", "body", "wanted"), VECTORS)
def test_worked_vectors_are_accepted(target, method, nonce, body, wanted):
    """What the reference computed passes the box's own check."""
    claim = Claim(KEY, PASSPHRASE, T, nonce, wanted)
    clocks = Clocks(int(T), int(T))
    assert Gatekeeper().check(claim, target.encode(), method, body.encode(), clocks) == DEMO_KEY


def test_vector_of_the_official_tool():
    """Another secret, a UUID for a nonce."""
    secret, stamp, nonce = SECRET_10
    assert signature(secret, f"/api/v1/testGET{stamp}{nonce}".encode()) == (
        "ZTQ2N2RhODY4OTExZjc1NjQyMDVhODVhZmIxOTFhYTk1OTkxODE1ZWZjNGJhNGZmOWQ1YTA2NGQ4YTE3NGUwNw=="
    )


REFUSED = [
    ({"key": "nobody"}, "152401"),
    ({"passphrase": "wrong"}, "152408"),
    ({"sign": sign(b"something else", SECRET)}, "152409"),
    ({"sign": "not even base64"}, "152409"),
    ({"timestamp": str(START_MS // 1_000)}, "152410"),
    ({"timestamp": "yesterday"}, "152410"),
    ({"timestamp": "²" * 13}, "152410"),
    ({"timestamp": str(START_MS - 60_001)}, "152405"),
    ({"timestamp": str(START_MS + 60_001)}, "152405"),
    ({"sign": ""}, "152001"),
    ({"nonce": ""}, "152001"),
]


@pytest.mark.parametrize(("changed", "code"), REFUSED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_wrong_claim_is_refused_with_blofins_code(changed, code, method):
    """HTTP 200 and a code, and nothing has happened."""
    caller = Caller()
    path = "account/balance" if method == "GET" else "trade/order"
    answer = caller.send(method, path, body=b"{}" if method == "POST" else b"", **changed)
    assert (answer.status, f'"code":"{code}"' in answer.body.decode()) == (200, True)


def test_timestamp_may_be_a_minute_off():
    """BloFin's window, to the millisecond."""
    caller = Caller()
    for offset in (-60_000, 60_000):
        assert b'"code":"0"' in caller.send("GET", "account/balance", timestamp=str(
            START_MS + offset)).body  # fmt: skip


def test_nonce_is_used_once_a_minute():
    """A repeated request is refused, and may come again later."""
    caller = Caller()
    assert b'"code":"0"' in caller.send("GET", "account/balance", nonce="same").body
    assert b"152407" in caller.send("GET", "account/balance", nonce="same").body
    caller.wall_ms += 60_000
    assert b'"code":"0"' in caller.send("GET", "account/balance", nonce="same").body


def test_refused_signature_does_not_use_up_its_nonce():
    """Nobody can burn another's nonces."""
    caller = Caller()
    caller.send("GET", "account/balance", nonce="same", sign="bad")
    assert b'"code":"0"' in caller.send("GET", "account/balance", nonce="same").body


def test_signature_covers_the_bytes_that_came():
    """Spaces in the body are fine as long as they were signed."""
    caller = Caller()
    body = b'{ "marginMode" :  "isolated" }'
    assert b'"code":"0"' in caller.send("POST", "account/set-margin-mode", body=body).body


@pytest.mark.parametrize(
    ("state", "code"), [("unknown", "152401"), ("expired", "152402"), ("address", "152406")]
)
def test_key_that_lapses_is_refused(state, code):
    """In the middle of everything."""
    caller = Caller()
    caller.box.gate.keys[KEY] = Key(KEY, SECRET, PASSPHRASE, state=state)
    assert caller.get("account/balance")["code"] == code


def test_key_without_trade_may_only_read():
    """The permission is asked for on every write."""
    caller = Caller()
    caller.box.gate.keys[KEY] = Key(KEY, SECRET, PASSPHRASE, frozenset({"READ"}))
    assert caller.get("account/balance")["code"] == "0"
    assert caller.order()["code"] == "152404"
    assert caller.get("user/query-apikey")["data"]["readOnly"] == 1


def test_key_shows_no_secret():
    """Not in a traceback, not in a log."""
    assert SECRET not in repr(DEMO_KEY)
    assert PASSPHRASE not in repr(DEMO_KEY)


def test_trading_calls_are_limited_by_ten_seconds():
    """The thirty-first is refused, with HTTP 429; reading the market is not counted."""
    caller = Caller(limited=True)
    for _ in range(30):
        assert caller.get("trade/orders-pending")["code"] == "0"
    assert caller.send("GET", "trade/orders-pending").status == 429
    assert caller.get("account/balance")["code"] == "0"
    caller.wall_ms += 10_000
    assert caller.get("trade/orders-pending")["code"] == "0"


@pytest.mark.parametrize(
    ("count", "pause_ms", "until_ms"), [(500, 0, 300_000), (1_500, 150, 3_600_000)]
)
def test_address_is_suspended_for_too_many_requests(count, pause_ms, until_ms):
    """500 a minute: five minutes; 1500 in five minutes: an hour. Everything is refused then."""
    limits, now_ms = RateLimits(), START_MS
    for _ in range(count):
        limits.check(now_ms, is_trading=False)
        now_ms += pause_ms
    with pytest.raises(VenueError, match="429"):
        limits.check(now_ms, is_trading=False)
    with pytest.raises(VenueError, match="429"):
        limits.check(now_ms + until_ms - 1, is_trading=False)
    limits.check(now_ms + until_ms, is_trading=False)


def test_new_connections_are_limited_by_the_second():
    """One a second and endpoint."""
    limits = RateLimits()
    assert limits.may_connect("public", START_MS)
    assert limits.may_connect("private", START_MS)
    assert not limits.may_connect("public", START_MS + 999)
    assert limits.may_connect("public", START_MS + 1_000)
