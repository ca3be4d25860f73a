"""Signatures against the ten published vectors."""

import base64

import pytest

from blofin_cli.adapters.exchanges.blofin.wire.signing import (
    Credentials,
    fresh_nonce,
    login_arguments,
    sign,
    signed_headers,
)
from blofin_cli.errors import ConfigError

DEMO = Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
TS_MS = 1767225600000
UUID = "0123456789abcdef0123456789abcdef"
BODY = (
    '{"instId":"BTC-USDT","marginMode":"isolated","positionSide":"net","side":"buy",'
    '"orderType":"limit","price":"95000","size":"0.1","clientOrderId":"vec0001"}'
)
CANCEL = '[{"tpslId":"10001386047","instId":"BTC-USDT"}]'
LEVERAGES = "/api/v1/account/batch-leverage-info?instId=BTC-USDT%2CETH-USDT&marginMode=isolated"

# Target, method, nonce, body, hex of the HMAC.
REST = [
    ("/api/v1/account/balance", "GET", str(TS_MS), "",
     "7ae9bc476f22b190932c532d999fe33087e64e648707d84660a67fef10c330c4"),
    ("/api/v1/account/positions?instId=BTC-USDT", "GET", str(TS_MS), "",
     "8c68034fcd640d2eea4ff02cad64a6ea5ff0dae0c90a0125f12bf08e8fa8d079"),
    (LEVERAGES, "GET", str(TS_MS), "",
     "538406289b2caa63df5a54a5bee4f37b8ea71c637a74422ef768369c9c89a261"),
    ("/api/v1/trade/order", "POST", str(TS_MS), BODY,
     "e7353c4e19a9734d2b2d3b29998c399ba2b821b02eba418dd9d65bc49eb3b6a5"),
    ("/api/v1/trade/cancel-tpsl", "POST", str(TS_MS), CANCEL,
     "d36633418d3b9c639222268803f7de74d24fc63e8c85d4d755728218fc663b3d"),
    ("/api/v1/account/positions?instId=BTC-USDT", "GET", UUID, "",
     "8e5d2e60afef45f29e28b6519114f7b3087b210a273aa1d8feded460d09d7b8a"),
    ("/api/v1/trade/order", "POST", UUID, BODY,
     "c9c1a5dcd1121b72950dac6732795d46ac1ddf7db4fad7a0ac4b62e57178fd38"),
]  # fmt: skip
LOGINS = [
    (str(TS_MS), "52a7b492ae4145a39bccfbe33c949e3e535dd17c3621b5bdc196ca1074e4baf6"),
    (f"n_{TS_MS}", "76bff65a087b1e34098f8f3fc17bfd69ed250e1d4df1568a68e422592149e29a"),
]


def in_base64(digest: str) -> str:
    return base64.b64encode(digest.encode()).decode()


@pytest.mark.parametrize(("target", "method", "nonce", "body", "digest"), REST)
def test_rest_signature_equals_the_published_one(target, method, nonce, body, digest):
    """Vectors 1 to 7: path, method, time, nonce and body, in this order."""
    headers = signed_headers(DEMO, method, target, body, ts_ms=TS_MS, nonce=nonce)
    assert headers["ACCESS-SIGN"] == in_base64(digest)
    assert len(headers["ACCESS-SIGN"]) == 88
    assert headers["ACCESS-TIMESTAMP"] == str(TS_MS)
    assert headers["ACCESS-NONCE"] == nonce


@pytest.mark.parametrize(("nonce", "digest"), LOGINS)
def test_login_signature_equals_the_published_one(nonce, digest):
    """Vectors 8 and 9: the login signs a path of its own."""
    assert login_arguments(DEMO, ts_ms=TS_MS, nonce=nonce)["sign"] == in_base64(digest)


def test_signature_of_the_official_tool_is_the_same():
    """Vector 10."""
    prehash = "/api/v1/testGET1700000000000123e4567-e89b-12d3-a456-426614174000"
    digest = "e467da868911f7564205a85afb191aa95991815efc4ba4ff9d5a064d8a174e07"
    assert sign("secret", prehash) == in_base64(digest)


def test_credentials_show_nothing_of_themselves():
    """A secret in a repr ends in a log."""
    assert "demo" not in repr(DEMO)
    assert "demo" not in str(DEMO)


@pytest.mark.parametrize("part", ["", "abc ", "abc\n", '"abc"', "a b", "é", "x" * 300])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_credentials_with_blanks_or_quotes_are_refused_unseen(part, place):
    """A key copied with its line end fails here, not at the exchange, and is not repeated."""
    parts = ["k", "s", "p"]
    parts[place] = part
    with pytest.raises(ConfigError) as refusal:
        Credentials(*parts)
    assert not part or part.strip() not in refusal.value.message.split()


def test_nonces_differ():
    """BloFin refuses a nonce seen within a minute."""
    assert len({fresh_nonce() for _ in range(1000)}) == 1000
