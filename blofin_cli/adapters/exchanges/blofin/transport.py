"""Requests on the wire: signed, within the budget, in time, and never a write twice.

The only module that knows httpx. A read is tried again after a network fault. A write is sent
once: what happens after its first byte without a readable answer is `UnknownOutcomeError`, and
the caller looks the order up. The fence of a write runs after the wait for budget and again when
httpx has a connection in hand and is about to write, so that a halt stops it at the last moment.
"""

import asyncio
import importlib.util
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from blofin_cli.adapters.exchanges.blofin import hosts
from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.hosts import Host
from blofin_cli.adapters.exchanges.blofin.wire import answers, calls
from blofin_cli.adapters.exchanges.blofin.wire.answers import Answer
from blofin_cli.adapters.exchanges.blofin.wire.calls import Call, Purpose
from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, clean
from blofin_cli.adapters.exchanges.blofin.wire.signing import (
    Credentials,
    fresh_nonce,
    signed_headers,
)
from blofin_cli.core.quotes import ClockOffset, Environment
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    NetworkError,
    RateLimitError,
    UnknownOutcomeError,
    VenueError,
)
from blofin_cli.ports import Clock

BODY_BYTES_MAX = 8 * 1024 * 1024
READ_ATTEMPTS = 3
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 2.0
FIREWALL_BAN_S = 300.0
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "blofin-cli",
}
_RETRY_SIGNED = answers.CLOCK | {answers.NONCE}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Fence = Callable[[], None]

if importlib.util.find_spec("sniffio") is None:
    # httpcore asks for it four times a request, and each failing search costs 40 us of the order.
    sys.modules["sniffio"] = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait, by class of call: `total_s` bounds everything after the budget's wait.

    What protects is asked after sooner: three lost answers in a row must not leave a position bare
    for longer than it may be.
    """

    connect_s: float = 3.0
    pool_s: float = 2.0
    read_s: float = 5.0
    write_s: float = 5.0
    protect_s: float = 3.0
    total_s: float = 10.0
    protect_budget_s: float = 11.0
    open_budget_s: float = 2.0
    read_budget_s: float = 20.0

    def budget_s(self, purpose: Purpose) -> float:
        """How long a call may wait for room: an opening that comes late is worse than none."""
        match purpose:
            case Purpose.PROTECT:
                return self.protect_budget_s
            case Purpose.OPEN:
                return self.open_budget_s
        return self.read_budget_s


class Sender:
    """Connections to one host. Reads and writes have pools of their own."""

    def __init__(
        self,
        host: Host,
        governor: Governor,
        clock: Clock,
        *,
        credentials: Credentials | None = None,
        timeouts: Timeouts | None = None,
    ):
        self.host = host
        self._governor, self._clock, self._credentials = governor, clock, credentials
        self._timeouts = timeouts or Timeouts()
        self._reads = self._pool(connections=8)
        self._writes = self._pool(connections=4)
        self._offset: ClockOffset | None = None
        self._has_time_route = True

    @property
    def has_credentials(self) -> bool:
        """Private calls can be signed."""
        return self._credentials is not None

    @property
    def offset(self) -> ClockOffset | None:
        """The last measured clock offset."""
        return self._offset

    def now_ms(self) -> int:
        """Exchange time as far as it is known."""
        return self._clock.now_ms() + (self._offset.offset_ms if self._offset else 0)

    async def read(self, call: Call) -> Answer:
        """Send a read, again after a network fault, with growing random pauses.

        Errors: NetworkError, BadAnswerError, AuthError, RateLimitError, VenueError as last met.
        """
        for attempt in range(READ_ATTEMPTS):
            is_last = attempt == READ_ATTEMPTS - 1
            try:
                answer = await self._once(call)
            except (NetworkError, BadAnswerError):
                if is_last:
                    raise
            else:
                if answer.is_ambiguous and not is_last:
                    pass
                elif answer.code in _RETRY_SIGNED and not is_last:
                    await self._after_refused_signature(answer)
                elif not answer.is_success:
                    raise answers.error_of(answer.code, answer.message)
                else:
                    return answer
            await asyncio.sleep(_pause_s(attempt))
        raise NetworkError("the exchange did not answer")  # the loop has raised or returned

    async def write(self, call: Call, fence: Fence | None = None) -> Answer:
        """Send a write once. A signature refused for clock or nonce was not acted on: once more.

        Errors: NetworkError and RateLimitError when nothing was done, AuthError, what `fence`
        raises, and UnknownOutcomeError when nobody knows.
        """
        answer = await self._once(call, fence)
        if answer.code in _RETRY_SIGNED:
            await self._after_refused_signature(answer)
            answer = await self._once(call, fence)
        if not answer.is_success:
            error = answers.error_of(answer.code, answer.message)
            if isinstance(error, AuthError):
                raise error
        return answer

    async def warm(self) -> None:
        """Open the connection that orders will use, with a small public read."""
        await self._exchange(calls.public("market/mark-price", instId="BTC-USDT"), self._writes)

    async def measure_offset(self) -> ClockOffset:
        """Measure exchange time against ours: by its time route, else by an answer's Date.

        Errors: as `read`.
        """
        if self._has_time_route:
            try:
                return await self._offset_of_route()
            except (VenueError, AuthError, BadAnswerError) as problem:
                if isinstance(problem, RateLimitError):
                    raise
                self._has_time_route = False  # it is not documented; another answer will do
        call = calls.public("market/mark-price", instId="BTC-USDT")
        await self._governor.acquire(call.purpose, self._timeouts.budget_s(call.purpose))
        sent_ms = self._clock.now_ms()
        response = await self._exchange(call, self._reads)
        self._offset = _offset_of_date(response.date, sent_ms, self._clock.now_ms())
        return self._offset

    async def _offset_of_route(self) -> ClockOffset:
        sent_ms = self._clock.now_ms()
        row = answers.object_of(await self._once(calls.public("public/time")), "time")
        received_ms = self._clock.now_ms()
        name = "ts" if row.raw("ts") is not None else "timestamp"
        value = row.raw(name)
        text = str(value) if isinstance(value, int) else value
        told_ms = Row({name: text}, "time").time_ms(name)
        self._offset = ClockOffset(
            offset_ms=told_ms - (sent_ms + received_ms) // 2,
            uncertainty_ms=(received_ms - sent_ms + 1) // 2,
            measured_ms=received_ms,
        )
        return self._offset

    async def knows_key_elsewhere(self) -> Environment | None:
        """The other of BloFin's two hosts, when it is the one that knows this key.

        Asks that host once with a signed read. None for the simulator and for unknown keys.
        """
        others = [each for each in hosts.HOSTS.values() if each is not self.host]
        if len(others) == len(hosts.HOSTS) or self._credentials is None:
            return None
        other = Sender(
            others[0], self._governor, self._clock,
            credentials=self._credentials, timeouts=self._timeouts,
        )  # fmt: skip
        try:
            answer = await other._once(calls.private("user/query-apikey"))
            return others[0].environment if answer.is_success else None
        except (NetworkError, BadAnswerError, RateLimitError):
            return None
        finally:
            await other.close_connections()

    async def aclose(self) -> None:
        """Close the connections and let go of the budget; harmless when repeated."""
        await self.close_connections()
        self._governor.close()

    async def close_connections(self) -> None:
        """Close the connections alone."""
        await self._reads.aclose()
        await self._writes.aclose()

    # One request.

    async def _once(self, call: Call, fence: Fence | None = None) -> Answer:
        await self._governor.acquire(call.purpose, self._timeouts.budget_s(call.purpose))
        pool = self._writes if call.is_write else self._reads
        response = await self._exchange(call, pool, fence)
        return self._judge(call, response)

    async def _exchange(
        self, call: Call, pool: httpx.AsyncHTTPTransport, fence: Fence | None = None
    ) -> "_Response":
        headers = _HEADERS
        if call.body:
            headers = headers | {"Content-Type": "application/json"}
        if call.is_private:
            headers = headers | self._signature(call)
        request = httpx.Request(
            call.method, self.host.rest + call.target, headers=headers,
            content=call.body.encode() or None,
            extensions={"trace": _tracer(fence), "timeout": self._limits(call)},
        )  # fmt: skip
        if fence is not None:
            fence()
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                response = await pool.handle_async_request(request)
                try:
                    body = await _bounded_body(response)
                finally:
                    await response.aclose()
        except _NOT_SENT as problem:
            raise NetworkError(f"{self.host.rest} was not reached: {_kind(problem)}") from problem
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as problem:
            raise self._silence(call, _kind(problem)) from problem
        except BadAnswerError as problem:
            raise self._misread(call, problem) from problem
        return _Response(response.status_code, response.headers, body)

    def _signature(self, call: Call) -> dict[str, str]:
        if self._credentials is None:
            raise AuthError("this needs an API key", hint="public data and dry-run need none")
        return signed_headers(
            self._credentials, call.method, call.target, call.body,
            ts_ms=self.now_ms(), nonce=fresh_nonce(),
        )  # fmt: skip

    def _limits(self, call: Call) -> dict[str, float]:
        times = self._timeouts
        answer_s = times.read_s
        if call.is_write:
            answer_s = times.protect_s if call.purpose is Purpose.PROTECT else times.write_s
        return {
            "connect": times.connect_s, "pool": times.pool_s, "read": answer_s, "write": answer_s,
        }  # fmt: skip

    def _judge(self, call: Call, response: "_Response") -> Answer:
        """The envelope, or what the status means where there is none."""
        try:
            answer = answers.decode(response.body)
        except BadAnswerError as problem:
            answer = None
            unread = problem
        status = response.status
        if status == 429 or (answer is not None and answer.code == answers.RATE_LIMITED):
            is_trading = call.purpose is not Purpose.READ
            raise self._governor.suspend(is_trading=is_trading, retry_after_s=response.retry_after)
        if answer is not None and (status < 500 or not answer.is_success):
            return answer
        if status == 403:
            raise self._governor.suspend(is_trading=False, retry_after_s=FIREWALL_BAN_S)
        if status in (401, 404, 405):
            raise answers.error_of(str(status), f"HTTP {status}")
        if answer is not None or status >= 500:
            raise self._silence(call, f"HTTP {status}")
        raise self._misread(call, unread)

    def _silence(self, call: Call, what: str) -> NetworkError | UnknownOutcomeError:
        if not call.is_write:
            return NetworkError(f"{self.host.rest}{call.path} gave no answer: {what}")
        return UnknownOutcomeError(
            f"nobody knows whether {call.path} was carried out: {what}",
            hint="it is looked up by its client id; do not send it again",
        )

    def _misread(
        self, call: Call, problem: BadAnswerError
    ) -> BadAnswerError | UnknownOutcomeError | NetworkError:
        return self._silence(call, problem.message) if call.is_write else problem

    async def _after_refused_signature(self, answer: Answer) -> None:
        if answer.code in answers.CLOCK:
            await self.measure_offset()

    def _pool(self, connections: int) -> httpx.AsyncHTTPTransport:
        """Connections without httpx's client above them: no redirects, cookies or environment.

        A client adds a tenth of a millisecond to each order and nothing that is wanted here.
        """
        is_https = self.host.rest.startswith("https:")
        return httpx.AsyncHTTPTransport(
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=25.0,
            ),
            http2=is_https and importlib.util.find_spec("h2") is not None,
            trust_env=False,  # no proxy and no certificates from the environment
        )


@dataclass(frozen=True, slots=True)
class _Response:
    """What is needed of an HTTP response."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def date(self) -> str:
        return str(self.headers.get("date", ""))

    @property
    def retry_after(self) -> float | None:
        text = str(self.headers.get("retry-after", ""))
        return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _tracer(fence: Fence | None) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """Calls the fence when a connection is at hand and the headers are about to be written."""

    async def trace(event: str, info: dict[str, Any]) -> None:
        if fence is not None and event.endswith("send_request_headers.started"):
            fence()

    return trace


async def _bounded_body(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise BadAnswerError(f"the answer is longer than {BODY_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def _pause_s(attempt: int) -> float:
    """Full jitter: clients that failed together do not come back together."""
    longest = min(BACKOFF_FIRST_S * 2**attempt, BACKOFF_MAX_S)
    return random.uniform(0.2 * longest, longest)  # noqa: S311 - no secret depends on it


def _offset_of_date(date: str, sent_ms: int, received_ms: int) -> ClockOffset:
    """Offset by the Date header, which is cut to the second.

    Errors: BadAnswerError when there is none to be read.
    """
    try:
        told_ms = int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, OverflowError) as problem:
        raise BadAnswerError("the answer carries no date to set the clock by") from problem
    lowest, highest = told_ms - received_ms, told_ms + 999 - sent_ms
    return ClockOffset(
        offset_ms=(lowest + highest) // 2,
        uncertainty_ms=(highest - lowest + 1) // 2,
        measured_ms=received_ms,
    )


def _kind(problem: BaseException) -> str:
    """The name of a network fault and its text, which never holds a header."""
    return clean(f"{type(problem).__name__} {problem}".strip())
