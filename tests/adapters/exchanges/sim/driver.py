"""A venue and a box in miniature: prints by hand, requests signed by the test's own code."""

import base64
import hashlib
import hmac
import itertools
import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from blofin_cli.adapters.exchanges.sim.box import Answer, Box, BoxRequest
from blofin_cli.adapters.exchanges.sim.faults import FaultPlan
from blofin_cli.adapters.exchanges.sim.keys import RateLimits
from blofin_cli.adapters.exchanges.sim.records import (
    Order,
    OrderRequest,
    Protection,
    Terms,
    Tick,
    Tier,
    VenueRules,
)
from blofin_cli.adapters.exchanges.sim.venue import Venue

D = Decimal
START_MS = 1_767_225_600_000
COIN = "COIN-USDT"
ALL = VenueRules(participation=D(1_000_000))
KEY, SECRET, PASSPHRASE = "demo-key-0001", "demo-secret-0001", "demo-pass-0001"


def terms(**changes: Any) -> Terms:
    """A contract of one coin in ticks of 1 and lots of 1."""
    given = {
        "inst_id": COIN, "contract_value": D(1), "lot_size": D(1), "min_size": D(1),
        "tick_size": D(1), "leverage_max": 100, "market_size_max": D(10_000),
        "limit_size_max": D(100_000), "tiers": (Tier(D(0), D(1_000_000), D("0.004"), 100),),
    }  # fmt: skip
    return Terms(**(given | changes))


def tick(price: object, at_ms: int = START_MS, **given: Any) -> Tick:
    """A print that everybody may have a share of, with a thick book of spread 2 around it."""
    price = D(str(price))
    book = {"bid": price - 1, "ask": price + 1, "depth": D(1_000_000), "mark": price}
    return Tick(inst_id=COIN, ts_ms=at_ms, price=price, **(book | given))


class Desk:
    """A venue with one contract, 10x isolated, and words short enough for tables."""

    def __init__(self, rules: VenueRules = ALL, price: object = 1000, **changes: Any) -> None:
        self.venue = Venue([terms(**changes)], rules, now_ms=START_MS)
        self.account = self.venue.account
        self.venue.on_tick(tick(price))
        self.venue.set_leverage(COIN, "isolated", "net", 10)
        self._ids = itertools.count(1)

    def order(self, text: str, **given: Any) -> Order:
        """Place `buy 5 market`, `sell 3 limit 1010`, ...; keywords are the request's fields."""
        return self.venue.orders.place(request(text, **given))

    def prints(self, *prices: object, size: object = None) -> None:
        """Prints a second apart."""
        for price in prices:
            at = self.venue.now_ms + 1_000
            self.venue.on_tick(tick(price, at, size=None if size is None else D(str(size))))

    @property
    def held(self) -> Decimal:
        """Signed contracts of the one-way position."""
        position = self.account.positions.get((COIN, "net"))
        return D(0) if position is None else position.direction * position.contracts

    @property
    def fills(self) -> list[tuple[str, int, int]]:
        """Side, price and size of every fill."""
        return [(f.side, int(f.price), int(f.size)) for f in self.account.fills]


def request(text: str, **given: Any) -> OrderRequest:
    """An order request out of a few words."""
    side, size, order_type, *price = text.split()
    fields = {
        "inst_id": COIN, "margin_mode": "isolated", "side": side, "order_type": order_type,
        "size": D(size), "price": D(price[0]) if price else None,
    }  # fmt: skip
    return OrderRequest(**(fields | given))


def bracket(stop: object = None, target: object = None) -> Protection:
    """A stop and a target at market."""
    return Protection(
        tp_trigger=None if target is None else D(str(target)),
        sl_trigger=None if stop is None else D(str(stop)),
    )


class Caller:
    """A client of a box in this process."""

    def __init__(self, box: Box | None = None, *, limited: bool = False, **given: Any) -> None:
        limits = RateLimits(enabled=limited)
        self.box = box or Box([terms()], ALL, limits=limits, now_ms=START_MS, **given)
        if box is None:
            self.box.print(tick(1000))
        self.wall_ms = START_MS
        self._nonces = itertools.count()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """A signed GET, its body read."""
        return json.loads(self.send("GET", path, query=query).body)

    def post(self, path: str, body: object) -> dict[str, Any]:
        """A signed POST, its body read."""
        return json.loads(self.send("POST", path, body=json.dumps(body).encode()).body)

    def order(self, **fields: Any) -> dict[str, Any]:
        """`trade/order` of one lot to buy at market, changed by what is given."""
        given = {
            "instId": COIN, "marginMode": "isolated", "side": "buy", "orderType": "market",
            "size": "1",
        }  # fmt: skip
        return self.post("trade/order", given | fields)

    def send(
        self, method: str, path: str, *, query: dict[str, Any] | None = None, body: bytes = b"",
        **changed: str,
    ) -> Answer:  # fmt: skip
        """A signed request; `changed` overwrites headers by lower-case name without `access-`."""
        target = f"/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        stamp, nonce = str(self.wall_ms), f"n{next(self._nonces)}"
        stamp, nonce = changed.get("timestamp", stamp), changed.get("nonce", nonce)
        prehash = f"{target}{method}{stamp}{nonce}".encode() + body
        headers = {
            "key": KEY, "passphrase": PASSPHRASE, "timestamp": stamp, "nonce": nonce,
            "sign": sign(prehash, SECRET),
        } | changed  # fmt: skip
        return self.box.request(
            BoxRequest(
                method=method,
                target=target,
                headers={f"access-{name}": value for name, value in headers.items()},
                body=body,
            ),
            self.wall_ms,
        )

    def login_frame(self) -> str:
        """A login for the private stream."""
        stamp, nonce = str(self.wall_ms), f"login{next(self._nonces)}"
        mac = sign(f"/users/self/verifyGET{stamp}{nonce}".encode(), SECRET)
        words = {
            "apiKey": KEY, "passphrase": PASSPHRASE, "timestamp": stamp, "nonce": nonce,
            "sign": mac,
        }  # fmt: skip
        return json.dumps({"op": "login", "args": [words]})


def sign(prehash: bytes, secret: str) -> str:
    """Base64 of the hexadecimal HMAC-SHA256."""
    digest = hmac.new(secret.encode(), prehash, hashlib.sha256).hexdigest()
    return base64.b64encode(digest.encode()).decode()


def subscribe(*channels: str, inst_id: str | None = COIN) -> str:
    """A subscription frame."""
    args = [{"channel": c} | ({"instId": inst_id} if inst_id else {}) for c in channels]
    return json.dumps({"op": "subscribe", "args": args})


def frames(session: Any) -> list[Any]:
    """Everything waiting to be sent, read and taken away."""
    found = [json.loads(text) if text != "pong" else text for text, _ in session.outbox]
    session.outbox.clear()
    return found


def faulty(*faults: Any, seed: int = 1, **given: Any) -> Caller:
    """A caller of a box with faults."""
    return Caller(faults=FaultPlan(seed, faults), **given)
