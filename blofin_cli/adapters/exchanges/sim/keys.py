"""Who is calling: signatures, clocks, nonces, permissions, and how often. The box's own reading.

The prehash is `path?query + METHOD + timestamp + nonce + body` over the bytes received; the
signature is the Base64 of the hexadecimal text of its HMAC-SHA256. BloFin does not document the
order of its checks; here it is key, passphrase, clock, nonce, signature, permission.

Source: BloFin's API documentation, Authentication and Rate Limits.
"""

import base64
import hashlib
import hmac
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from blofin_cli.adapters.exchanges.sim.records import VenueError

CLOCK_WINDOW_MS = 60_000
NONCE_WINDOW_MS = 60_000
LOGIN_PATH = "/users/self/verify"
_NONCES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Key:
    """One API key of the account. `state` is ok, unknown, expired or address."""

    key: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)
    permissions: frozenset[str] = frozenset({"READ", "TRADE"})
    state: str = "ok"


DEMO_KEY = Key("demo-key-0001", "demo-secret-0001", "demo-pass-0001")

_STATES = {
    "unknown": ("152401", "Access key does not exist"),
    "expired": ("152402", "Access key has expired"),
    "address": ("152406", "IP not in whitelist"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller says about itself."""

    key: str
    passphrase: str = field(repr=False)
    timestamp: str
    nonce: str
    sign: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The moments a timestamp may be near: the wall's, and the market's when that runs apart."""

    wall_ms: int
    market_ms: int

    def is_near(self, timestamp_ms: int) -> bool:
        """Within BloFin's window of either."""
        offsets = (abs(timestamp_ms - self.wall_ms), abs(timestamp_ms - self.market_ms))
        return min(offsets) <= CLOCK_WINDOW_MS


def signature(secret: str, prehash: bytes) -> str:
    """Base64 of the hexadecimal text of the HMAC-SHA256."""
    digest = hmac.new(secret.encode(), prehash, hashlib.sha256).hexdigest()
    return base64.b64encode(digest.encode("ascii")).decode("ascii")


class Gatekeeper:
    """Judges claims and remembers nonces."""

    def __init__(self, keys: tuple[Key, ...] = (DEMO_KEY,)) -> None:
        self.keys = {key.key: key for key in keys}
        self._nonces: dict[tuple[str, str], int] = {}
        self._order: deque[tuple[int, tuple[str, str]]] = deque()

    def check(self, claim: Claim, target: bytes, method: str, body: bytes, clocks: Clocks) -> Key:
        """The key a request is signed with.

        Errors: VenueError with BloFin's code.
        """
        key = self.keys.get(claim.key)
        if key is None:
            raise VenueError("152401", "Access key does not exist")
        if key.state in _STATES:
            raise VenueError(*_STATES[key.state])
        if not hmac.compare_digest(claim.passphrase.encode(), key.passphrase.encode()):
            raise VenueError("152408", "Passphrase error")
        self._check_clock(claim.timestamp, clocks)
        if not claim.nonce:
            raise VenueError("152001", "Parameter ACCESS-NONCE cannot be empty.")
        if self._is_used(claim, clocks.wall_ms):
            raise VenueError("152407", "Repeated nonce")
        prehash = target + (method + claim.timestamp + claim.nonce).encode() + body
        wanted = signature(key.secret, prehash)
        if not hmac.compare_digest(claim.sign.encode(), wanted.encode()):
            raise VenueError("152409", "Signature verification failed")
        self._remember(claim, clocks.wall_ms)
        return key

    def login(self, claim: Claim, clocks: Clocks) -> Key:
        """The key a WebSocket login is signed with.

        Errors: VenueError.
        """
        return self.check(claim, LOGIN_PATH.encode(), "GET", b"", clocks)

    def _check_clock(self, timestamp: str, clocks: Clocks) -> None:
        if not timestamp.isascii() or not timestamp.isdigit() or not 12 <= len(timestamp) <= 14:
            raise VenueError("152410", "Timestamp must be in milliseconds")
        if not clocks.is_near(int(timestamp)):
            raise VenueError("152405", "Timestamp expired")

    def _is_used(self, claim: Claim, now_ms: int) -> bool:
        while self._order and (
            self._order[0][0] <= now_ms - NONCE_WINDOW_MS or len(self._order) > _NONCES_MAX
        ):
            _, name = self._order.popleft()
            self._nonces.pop(name, None)
        return (claim.key, claim.nonce) in self._nonces

    def _remember(self, claim: Claim, now_ms: int) -> None:
        name = claim.key, claim.nonce
        self._nonces[name] = now_ms
        self._order.append((now_ms, name))


def claim_of(headers: Mapping[str, str]) -> Claim:
    """The claim in the headers of a request, lower-case names.

    Errors: VenueError naming the first header that is missing.
    """
    names = ("access-key", "access-passphrase", "access-timestamp", "access-nonce", "access-sign")
    values = [headers.get(name, "") for name in names]
    for name, value in zip(names, values, strict=True):
        if not value:
            raise VenueError("152001", f"Parameter {name.upper()} cannot be empty.")
    return Claim(*values)


class Window:
    """Events of a sliding span of time."""

    def __init__(self, span_ms: int, limit: int) -> None:
        self.span_ms = span_ms
        self.limit = limit
        self.seen_max = 0
        self._times: deque[int] = deque()

    def take(self, now_ms: int) -> bool:
        """Count one more; False when that is over the limit."""
        while self._times and self._times[0] <= now_ms - self.span_ms:
            self._times.popleft()
        if len(self._times) >= self.limit:
            self.seen_max = max(self.seen_max, self.limit + 1)
            return False
        self._times.append(now_ms)
        self.seen_max = max(self.seen_max, len(self._times))
        return True


class RateLimits:
    """BloFin's limits for one address and one user; suspended callers are refused until it ends.

    Which calls count as trading is not documented. Everything under `trade/` and the three
    account settings do here, as in ccxt's own limiter. New connections are counted per endpoint,
    since ccxt opens both in the same second.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.suspended_until_ms = 0
        self.minute = Window(60_000, 500)
        self.five_minutes = Window(300_000, 1_500)
        self.trading = Window(10_000, 30)
        self.connections: dict[str, Window] = {}

    def suspend(self, until_ms: int) -> None:
        """Refuse everything until a moment."""
        self.suspended_until_ms = until_ms

    def check(self, now_ms: int, *, is_trading: bool) -> None:
        """Count one request.

        Errors: VenueError 429.
        """
        if not self.enabled:
            return
        refused = VenueError("429", "Too Many Requests")
        if now_ms < self.suspended_until_ms:
            raise refused
        if not self.five_minutes.take(now_ms):
            self.suspend(now_ms + 3_600_000)
            raise refused
        if not self.minute.take(now_ms):
            self.suspend(now_ms + 300_000)
            raise refused
        if is_trading and not self.trading.take(now_ms):
            raise refused

    def may_connect(self, endpoint: str, now_ms: int) -> bool:
        """Count one new WebSocket connection."""
        window = self.connections.setdefault(endpoint, Window(1_000, 1))
        return window.take(now_ms) or not self.enabled
