"""The guard at the door: nothing is routed before it has looked at where a request comes from.

Plain ASGI, so that event streams are not held back. In this order: the proxy and the allow-list,
the Host, the page that sends, the method, the size, who is signed in, and the token of that very
session with everything that is not a look. A route cannot forget any of it.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blofin_cli.errors import ConfigError
from blofin_cli.faces.web.doorway import Doorway
from blofin_cli.faces.web.passwords import PasswordFile
from blofin_cli.faces.web.sessions import Sessions, WebSession

BODY_BYTES_MAX, FIELDS_MAX, HEADERS_MAX = 65_536, 300, 100
METHODS = ("GET", "HEAD", "POST", "DELETE")
LOOKS = ("GET", "HEAD")
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
LOGIN = "/login"
OPEN_PATHS = (LOGIN, "/health")
OPEN_FOLDER = "/static/"
MACHINE_PATHS = ("/api/", "/live", "/data/")
CSRF_FIELD, CSRF_HEADER = "_csrf", "x-csrf-token"


class TurnedAwayError(Exception):
    """Why a request goes no further, as the answer it gets."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brought along: the fields of a form, or a JSON object."""

    fields: tuple[tuple[str, str], ...] = ()
    document: dict[str, Any] | None = None

    def one(self, name: str) -> str | None:
        """The last value of a field."""
        return next((value for key, value in reversed(self.fields) if key == name), None)


def cookie_name(doorway: Doorway) -> str:
    """The browser itself refuses a `__Host-` cookie that another host tries to plant."""
    return "__Host-blofin" if doorway.is_secure else "blofin"


def policy(style_digests: tuple[str, ...]) -> str:
    """What a page may load: our own files, and the style elements of these digests."""
    styles = " ".join(f"'sha256-{digest}'" for digest in style_digests)
    return (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        f"style-src 'self' {styles}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class Guard:
    """Lets requests pass that may; the app behind it finds `session`, `body` and `visitor`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        doorway: Doorway,
        passwords: PasswordFile,
        sessions: Sessions,
        content_policy: str,
    ):
        self.app, self.doorway = app, doorway
        self.passwords, self.sessions = passwords, sessions
        self.headers = _headers(content_policy, is_secure=doorway.is_secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # there is no WebSocket here
        outgoing = self._outgoing(send)
        try:
            await self._admit(scope, receive)
            answer = self._unknown_visitor(scope)
        except TurnedAwayError as refusal:
            answer = _refused(scope, refusal)
        except ConfigError as error:
            answer = _refused(scope, TurnedAwayError(503, error.message))
        if answer is not None:
            return await answer(scope, receive, outgoing)
        return await self.app(scope, receive, outgoing)

    async def _admit(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        visitor = self._visitor(scope, headers)
        _check_page(self.doorway, scope["method"], headers)
        if scope["method"] not in METHODS or any(name in headers for name in OVERRIDES):
            raise TurnedAwayError(405, "this method is not served here")
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(self.doorway))
        session = self.sessions.find(cookie, self.passwords.fingerprint())
        body = Body()
        if scope["method"] not in LOOKS:
            body = _parsed(await _read(receive, headers), headers)
            if scope["path"] != LOGIN:
                _check_token(session, body, headers)
        scope["blofin"] = Admitted(visitor, cookie, session, body)

    def _visitor(self, scope: Scope, headers: Headers) -> str:
        if len(headers) > HEADERS_MAX:
            raise TurnedAwayError(431, "too many headers")
        peer = str((scope.get("client") or ("",))[0])
        visitor = self.doorway.visitor(peer, headers.get("x-forwarded-for"))
        if visitor is None:
            raise TurnedAwayError(403, "this server answers its proxy only")
        if not self.doorway.admits(visitor):
            raise TurnedAwayError(403, "this address may not come here")
        if headers.getlist("host") != [headers.get("host", "")] or (
            headers["host"].lower() not in self.doorway.names
        ):
            raise TurnedAwayError(403, "this server does not answer to that name")
        return visitor

    def _unknown_visitor(self, scope: Scope) -> Response | None:
        """Where somebody goes who is not signed in; None when they may pass."""
        path, known = scope["path"], scope["blofin"].session is not None
        if known or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        if scope["method"] not in LOOKS or path.startswith(MACHINE_PATHS):
            return _refused(scope, TurnedAwayError(401, "sign in first"))
        query = scope["query_string"].decode("latin-1")
        here = path + (f"?{query}" if query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(here, safe='')}", 303)

    def _outgoing(self, send: Send) -> Callable[[Message], Any]:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                extra = [(name, value) for name, value in self.headers if name not in names]
                message = {**message, "headers": given + extra}
            await send(message)

        return with_headers


@dataclass(frozen=True, slots=True)
class Admitted:
    """What the guard found out about a request it let pass."""

    visitor: str
    cookie: str | None
    session: WebSession | None
    body: Body


def admitted(request: Request) -> Admitted:
    """What the guard found out about this request."""
    found = request.scope["blofin"]
    assert isinstance(found, Admitted)
    return found


def session_of(request: Request) -> WebSession:
    """The session of a request that the guard let pass to a page."""
    session = admitted(request).session
    assert session is not None
    return session


def digest(text: str) -> str:
    """The digest of a style or script as a policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _headers(content_policy: str, *, is_secure: bool) -> list[tuple[bytes, bytes]]:
    named = {
        "content-security-policy": content_policy,
        # `no-referrer` would make browsers post forms with `Origin: null`.
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
        "cache-control": "no-store",
    }
    if is_secure:
        named["strict-transport-security"] = "max-age=31536000"
    return [(name.encode(), value.encode()) for name, value in named.items()]


def _check_page(doorway: Doorway, method: str, headers: Headers) -> None:
    """Only our own pages, or a person typing the address, may send anything here."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and origin.lower() not in doorway.origins:
        raise TurnedAwayError(403, "that page may not use this server")
    if site is not None and site not in ("same-origin", "none"):
        raise TurnedAwayError(403, "open this address directly; other pages may not lead here")
    if method not in LOOKS and origin is None and site is None:
        raise TurnedAwayError(
            403, "a request that changes something must name the page it comes from"
        )


async def _read(receive: Receive, headers: Headers) -> bytes:
    chunks, size, more = [], 0, True
    if headers.get("content-length", "0").isdecimal() is False:
        raise TurnedAwayError(400, "the length is no number")
    if int(headers.get("content-length", "0")[:12]) > BODY_BYTES_MAX:
        raise TurnedAwayError(413, "that is too much")
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise TurnedAwayError(400, "the request broke off")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_BYTES_MAX:
            raise TurnedAwayError(413, "that is too much")
        more = message.get("more_body", False)
    return b"".join(chunks)


def _parsed(content: bytes, headers: Headers) -> Body:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not content and not kind:
        return Body()
    try:
        if kind == FORM:
            text = content.decode("utf-8")
            pairs = parse_qsl(
                text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
            )
            body = Body(fields=tuple(pairs))
            if body.one("_method") is not None:
                raise TurnedAwayError(405, "this method is not served here")
            return body
        if kind == JSON:
            document = json.loads(content)
            if not isinstance(document, dict):
                raise TurnedAwayError(400, "the body must be a JSON object")
            return Body(document=document)
    except (ValueError, RecursionError):
        raise TurnedAwayError(400, "the body cannot be read") from None
    raise TurnedAwayError(403, f"send {FORM} or {JSON}")


def _check_token(session: WebSession | None, body: Body, headers: Headers) -> None:
    if session is None:
        raise TurnedAwayError(401, "sign in first")
    token = headers.get(CSRF_HEADER) if body.document is not None else None
    if not session.owns(token or body.one(CSRF_FIELD) or headers.get(CSRF_HEADER)):
        raise TurnedAwayError(403, "this page is out of date: reload it and try again")


def _refused(scope: Scope, refusal: TurnedAwayError) -> Response:
    if not scope["path"].startswith(MACHINE_PATHS):
        return PlainTextResponse(refusal.text + "\n", refusal.status)
    code = "usage" if refusal.status in (400, 405, 413, 431) else "auth"
    if refusal.status >= 500:
        code = "config"
    error = {"code": code, "message": refusal.text, "hint": "", "retryable": False, "details": {}}
    return JSONResponse({"error": error}, refusal.status)
