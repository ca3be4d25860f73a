"""One ccxt client: made, asked, and every failure of it told in our own errors.

The only module that knows ccxt and aiohttp. A read is tried again after a network fault. A write is
sent once: whether its first byte left is known from a hook in the request itself, which also runs
the fence, so that a lost answer is told from a request that never went out.
"""

import asyncio
import importlib
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from blofin_cli.adapters.exchanges.ccxt.dialects import Dialect, Key, dialect_of
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    ConfigError,
    NetworkError,
    RateLimitError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)
from blofin_cli.ports import Clock

READ_ATTEMPTS = 3
PAUSE_S = 0.3
NONCE_PAUSE_S = 0.05
TIMEOUT_MS = 10_000
COOL_DOWN_MS = 60_000
NOT_FOUND, DUPLICATE = "OrderNotFound", "DuplicateOrderId"

_URL = re.compile(r"\S*://\S+")
_CODE = re.compile(r'"(?:code|retCode|sCode)"\s*:\s*"?(-?\d+)')
_TEXT = re.compile(r'"(?:msg|message|retMsg|sMsg)"\s*:\s*"([^"]+)"')
_NOT_PRINTABLE = re.compile(r"[^ -~]+")

Fence = Callable[[], None]


@dataclass(slots=True)
class _Sending:
    """One write on its way."""

    fence: Fence | None
    is_sent: bool = False
    stopped: BaseException | None = None


_SENDING: ContextVar[_Sending | None] = ContextVar("ccxt_sending", default=None)


class Library:
    """A client of one exchange.

    Errors: ConfigError when ccxt is not installed; UsageError when it knows no such exchange.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        key: Key | None = None,
        urls: Mapping[str, Any] | None = None,
    ):
        self.name, self.dialect = name, dialect_of(name)
        self.has_key, self.is_stand_in = key is not None, urls is not None
        self._clock = clock
        self._errors = _module("ccxt.base.errors")
        self.client = _client(self.dialect, name, key, urls)
        self._session: Any = None
        self._loading = asyncio.Lock()

    @property
    def features(self) -> dict[str, Any]:
        """What ccxt says the exchange's linear swaps can do."""
        swap = (self.client.features or {}).get("swap") or {}
        return swap.get("linear") or {}

    def can(self, method: str) -> bool:
        """Whether ccxt has this unified method here, in its own camel case."""
        return bool(self.client.has.get(method))

    async def markets(self, *, is_fresh: bool = False) -> dict[str, dict[str, Any]]:
        """Every market by ccxt's symbol, read once unless it must be fresh."""
        if is_fresh or not self.client.markets:
            async with self._loading:
                if is_fresh or not self.client.markets:
                    await self._asked("load_markets", (is_fresh,), {})
        found: dict[str, dict[str, Any]] = self.client.markets
        return found

    async def read(self, method: str, *given: Any, **named: Any) -> Any:
        """Ask; again after a network fault.

        Errors: NetworkError, BadAnswerError, AuthError, RateLimitError, VenueError as last met.
        """
        await self.markets()
        return await self._asked(method, given, named)

    async def write(self, method: str, *given: Any, fence: Fence | None = None) -> Any:
        """Send once, the markets being loaded before.

        Errors: VenueError when refused, NetworkError and RateLimitError when nothing was done,
        AuthError, what `fence` raises, and UnknownOutcomeError when nobody knows.
        """
        await self.markets()
        self._open()
        try:
            return await self._sent(method, given, _Sending(fence))
        except self._errors.InvalidNonce:  # refused before it was read: nothing was done
            await asyncio.sleep(NONCE_PAUSE_S)
        again = _Sending(fence)
        try:
            return await self._sent(method, given, again)
        except self._errors.InvalidNonce as problem:
            raise self._of_write(problem, is_sent=again.is_sent) from problem

    async def aclose(self) -> None:
        """Close the connections; harmless when repeated."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        self.client.session = None
        await self.client.close()

    async def _sent(self, method: str, given: tuple[Any, ...], sending: _Sending) -> Any:
        """One write. Errors: as `write`, and ccxt's InvalidNonce as it comes."""
        token = _SENDING.set(sending)
        try:
            return await getattr(self.client, method)(*given)
        except self._errors.InvalidNonce:
            raise
        except Exception as problem:  # boundary: ccxt's clients raise anything
            if sending.stopped is not None:
                raise sending.stopped from None
            raise self._of_write(problem, is_sent=sending.is_sent) from problem
        finally:
            _SENDING.reset(token)

    async def _asked(self, method: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._open()
        for attempt in range(READ_ATTEMPTS):
            try:
                return await getattr(self.client, method)(*given, **named)
            except Exception as problem:  # boundary: ccxt's clients raise anything
                told = self._of_read(problem)
                is_passing = isinstance(problem, self._errors.InvalidNonce)
                is_passing = is_passing or isinstance(told, NetworkError)
                if not is_passing or attempt == READ_ATTEMPTS - 1:
                    raise told from problem
            await asyncio.sleep(PAUSE_S * 2**attempt)
        raise NetworkError(f"{self.name} did not answer")  # the loop has raised or returned

    def _open(self) -> None:
        """A session whose requests know the fence; the client would make a plain one."""
        if self._session is None:
            aiohttp = _module("aiohttp")
            self._session = aiohttp.ClientSession(
                request_class=_fenced(aiohttp), trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )  # fmt: skip
            self.client.session, self.client.own_session = self._session, False

    # Failures.

    def _of_read(self, problem: Exception) -> BlofinError:
        errors = self._errors
        if isinstance(problem, BlofinError):
            return problem
        if (told := self._of_either(problem)) is not None:
            return told
        if isinstance(problem, errors.BadResponse):
            return BadAnswerError(f"{self.name} answered what cannot be read: {_text(problem)}")
        if isinstance(problem, (errors.OperationFailed, OSError, TimeoutError)):
            return NetworkError(f"{self.name} gave no answer: {_text(problem)}")
        if isinstance(problem, errors.BaseError):
            return self._refusal(problem)
        return BadAnswerError(f"{self.name} answered what ccxt cannot read: {_text(problem)}")

    def _of_write(self, problem: Exception, *, is_sent: bool) -> BlofinError:
        errors = self._errors
        if (told := self._of_either(problem)) is not None:
            return told
        is_failure = isinstance(problem, (errors.OperationFailed, OSError, TimeoutError))
        is_refusal = isinstance(problem, errors.ExchangeError) and (
            type(problem) is not errors.ExchangeError or _code(problem)
        )
        if is_refusal:
            return self._refusal(problem)
        if is_sent:
            return UnknownOutcomeError(
                f"nobody knows whether {self.name} carried it out: {_text(problem)}",
                hint="it is looked up by its client id; do not send it again",
            )
        if is_failure:
            return NetworkError(f"{self.name} was not reached: {_text(problem)}")
        return RefusedError(f"ccxt did not send it to {self.name}: {_text(problem)}")

    def _of_either(self, problem: Exception) -> BlofinError | None:
        """What means the same for reads and writes: nothing was done."""
        errors = self._errors
        details = {"venue_code": _code(problem), "ccxt": type(problem).__name__}
        if isinstance(problem, (errors.RateLimitExceeded, errors.DDoSProtection)):
            until_ms = self._clock.now_ms() + COOL_DOWN_MS
            return RateLimitError(f"{self.name} wants fewer requests", until_ms=until_ms)
        if isinstance(problem, errors.InvalidNonce):
            return AuthError(
                f"{self.name} does not accept the time of a request: {_text(problem)}",
                hint="set this machine's clock: blofin doctor", details=details,
            )  # fmt: skip
        if isinstance(problem, errors.AuthenticationError):
            return AuthError(
                f"{self.name} does not accept the key: {_text(problem)}",
                hint="check its parts, its permissions and its list of addresses", details=details,
            )  # fmt: skip
        if isinstance(problem, errors.BadSymbol):
            return UsageError(f"{self.name}: {_text(problem)}")
        if isinstance(problem, (errors.NotSupported, errors.ArgumentsRequired)):
            return RefusedError(f"{self.name} cannot do this through ccxt: {_text(problem)}")
        return None

    def _refusal(self, problem: Exception) -> VenueError:
        return VenueError(
            f"{self.name} refused: {_text(problem)}",
            details={"ccxt": type(problem).__name__}, venue_code=_code(problem),
        )  # fmt: skip


def is_kind(problem: VenueError, kind: str) -> bool:
    """Whether a refusal is of one of ccxt's kinds: `NOT_FOUND` or `DUPLICATE`."""
    return problem.details.get("ccxt") == kind


def _client(dialect: Dialect, name: str, key: Key | None, urls: Mapping[str, Any] | None) -> Any:
    library = _module("ccxt.async_support")
    if dialect.client not in library.exchanges:
        raise UsageError(
            f"ccxt knows no exchange {name!a}", hint="write its id as ccxt does, e.g. ccxt:binance"
        )
    settings: dict[str, Any] = {
        "options": dict(dialect.options), "timeout": TIMEOUT_MS, "enableRateLimit": True,
    }  # fmt: skip
    if key is not None:
        settings |= {"apiKey": key.key, "secret": key.secret, "password": key.passphrase}
    client = getattr(library, dialect.client)(settings)
    if urls is not None:
        client.urls = client.deep_extend(client.urls, dict(urls))
    client.number = str  # exact digits; a float would be somebody's money rounded
    return client


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ConfigError(
            "other exchanges need ccxt, which is not installed",
            hint="pip install 'blofin-cli[ccxt]'",
        ) from problem


def _fenced(aiohttp: Any) -> Any:
    """A request that runs the fence when a connection is at hand and nothing is written yet.

    Errors: ConfigError when this aiohttp has no such place: nothing could be halted there.
    """
    if not hasattr(aiohttp.ClientRequest, "send"):
        raise ConfigError(
            "this version of aiohttp is not supported", hint="pip install 'aiohttp<4'"
        )

    class FencedRequest(aiohttp.ClientRequest):  # type: ignore[misc]
        async def send(self, conn: Any) -> Any:
            sending = _SENDING.get()
            if sending is not None and self.method not in {"GET", "HEAD"}:
                try:
                    if sending.fence is not None:
                        sending.fence()
                except BaseException as problem:  # boundary: ccxt would wrap it
                    sending.stopped = problem
                    raise
                sending.is_sent = True
            return await super().send(conn)

    return FencedRequest


def _code(problem: Exception) -> str:
    """The exchange's own code in an error's text, the innermost if there are several."""
    found = _CODE.findall(str(problem))
    return found[-1] if found else ""


def _text(problem: Exception) -> str:
    """The exchange's own words, else the kind and text; no address, since it may be signed."""
    text = str(problem)
    words = _TEXT.findall(text)
    shown = words[-1] if words else f"{type(problem).__name__} {_URL.sub('', text)}"
    return _NOT_PRINTABLE.sub(" ", shown).strip()[:200]
