"""Who is signed in, and who may try to: sessions in memory, and a brake on guessing.

Nothing here is written to disk: when the server stops, everybody is signed out. Times are seconds
of a clock that never goes back.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

IDLE_S_MAX, AGE_S_MAX = 12 * 3600.0, 7 * 24 * 3600.0
SESSIONS_MAX, NOTES_MAX = 32, 5
ATTEMPTS_FREE, WAIT_S_MAX = 5, 900.0
WINDOW_S, ATTEMPTS_WINDOW_MAX = 900.0, 60
ADDRESSES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Note:
    """What an act has to say on the next page; `is_bad` when it failed."""

    text: str
    is_bad: bool = False


@dataclass(slots=True)
class WebSession:
    """One signed-in browser.

    `csrf` must come back with everything that changes something; `answer` is what the last command
    it called answered.
    """

    csrf: str
    password: str
    opened_s: float
    seen_s: float
    notes: list[Note] = field(default_factory=list)
    answer: dict[str, Any] | None = None

    def note(self, text: str, *, is_bad: bool = False) -> None:
        """Leave a message for the next page."""
        self.notes = [*self.notes, Note(text, is_bad)][-NOTES_MAX:]

    def take_notes(self) -> list[Note]:
        """The messages left, each told once."""
        notes, self.notes = self.notes, []
        return notes

    def owns(self, csrf: str | None) -> bool:
        """Whether a token is this session's own."""
        return csrf is not None and hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Sessions by the digest of their cookie; the cookie itself is kept nowhere."""

    def __init__(self, seconds: Callable[[], float]):
        self._seconds = seconds
        self._open: dict[str, WebSession] = {}

    def begin(self, password: str) -> str:
        """Open a session under this password's fingerprint; returns the cookie."""
        cookie, now = secrets.token_urlsafe(32), self._seconds()
        while len(self._open) >= SESSIONS_MAX:
            del self._open[min(self._open, key=lambda key: self._open[key].seen_s)]
        self._open[_key(cookie)] = WebSession(secrets.token_urlsafe(32), password, now, now)
        return cookie

    def find(self, cookie: str | None, password: str) -> WebSession | None:
        """The session of a cookie if it is neither idle, old nor of another password."""
        if not cookie:
            return None
        found, now = self._open.get(_key(cookie)), self._seconds()
        if found is None:
            return None
        if self._is_over(found) or found.password != password:
            self.end(cookie)
            return None
        found.seen_s = now
        return found

    def holds(self, cookie: str | None, session: WebSession) -> bool:
        """Whether this session is still the cookie's; looking does not keep it alive."""
        return self._open.get(_key(cookie or "")) is session and not self._is_over(session)

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        self._open.pop(_key(cookie or ""), None)

    def _is_over(self, session: WebSession) -> bool:
        now = self._seconds()
        return now - session.seen_s > IDLE_S_MAX or now - session.opened_s > AGE_S_MAX


class Attempts:
    """A brake on guessing: free tries, then waits that double, an address and all together."""

    def __init__(self, seconds: Callable[[], float]):
        self._seconds = seconds
        self._failed: dict[str, tuple[int, float]] = {}
        self._recent: list[float] = []

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        now = self._seconds()
        self._recent = [at for at in self._recent if now - at < WINDOW_S]
        waits = [0.0]
        if len(self._recent) >= ATTEMPTS_WINDOW_MAX:
            waits.append(WINDOW_S - (now - self._recent[-ATTEMPTS_WINDOW_MAX]))
        count, last = self._failed.get(_group(address), (0, 0.0))
        if count >= ATTEMPTS_FREE:
            pause = min(WAIT_S_MAX, 2.0 ** min(count - ATTEMPTS_FREE + 1, 20))
            waits.append(last + pause - now)
        return max(waits)

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        group, now = _group(address), self._seconds()
        if group not in self._failed and len(self._failed) >= ADDRESSES_MAX:
            del self._failed[min(self._failed, key=lambda key: self._failed[key][1])]
        self._failed[group] = (self._failed.get(group, (0, 0.0))[0] + 1, now)
        self._recent.append(now)

    def succeeded(self, address: str) -> None:
        """Forget the failures of an address."""
        self._failed.pop(_group(address), None)


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _group(address: str) -> str:
    """An IPv4 address itself, an IPv6 one by its /64: who has one has the whole network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
