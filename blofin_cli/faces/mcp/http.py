"""Streamable HTTP on loopback: Host, Origin and token are judged before anything is routed."""

import hmac
import os
import secrets
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from blofin_cli.errors import ConfigError, UsageError
from blofin_cli.faces.mcp.calls import Caller
from blofin_cli.faces.mcp.server import build_server
from blofin_cli.faces.mcp.toolset import Offer

PATH = "/mcp"
HOST = "127.0.0.1"
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
TOKEN_LENGTH_MIN = 16
TOKEN_FILE_BYTES_MAX = 4096
BODY_BYTES_MAX = 1_048_576
SESSIONS_MAX = 64
# Of another site's page; a program that is no browser sends none of them.
FOREIGN_FETCH = frozenset({"cross-site", "same-site"})

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def serve(offer: Offer, port: int, token_file: Path, state_override: str | None) -> int:
    """Listen until Ctrl-C. Errors: UsageError when the port is taken; ConfigError for the file."""
    import uvicorn

    token = read_token(token_file)
    app = http_app(Caller(offer, state_override), token)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()  # who reads the address may come at once
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}", hint="choose another with --port"
            ) from None
        address = f"http://{HOST}:{listener.getsockname()[1]}{PATH}"
        sys.stderr.write(f"MCP on {address}; token in {token_file}. Ctrl-C stops it.\n")
        sys.stderr.flush()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2
        )
        anyio.run(uvicorn.Server(config).serve, [listener])
    return 0


def http_app(caller: Caller, token: str | None) -> App:
    """The ASGI application; `token` None only where no port is open, as in tests."""
    from mcp.server.transport_security import TransportSecuritySettings

    routed = build_server(caller).streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=BODY_BYTES_MAX,
        max_sessions=SESSIONS_MAX,
        # `_Door` has judged Host and Origin by then, by a stricter rule.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return _Door(routed, token)


class _Door:
    """Refuses what a web page of another site could send, then who has no token."""

    def __init__(self, inside: App, token: str | None) -> None:
        self._inside = inside
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._inside(scope, receive, send)
        if scope["type"] != "http":
            return None
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if not _is_local(headers):
            return await _refuse(send, 403, b"only programs on this machine may call")
        if not self._is_allowed(headers):
            return await _refuse(send, 401, b"a bearer token is needed")
        return await self._inside(scope, receive, send)

    def _is_allowed(self, headers: dict[str, list[str]]) -> bool:
        if self._token is None:
            return True
        given = headers.get("authorization", [])
        scheme, _, word = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(word.strip().encode(), self._token.encode())
        return right and scheme.lower() == "bearer"


def _is_local(headers: dict[str, list[str]]) -> bool:
    """Whether Host is ours and no browser speaks for another site."""
    hosts = headers.get("host", [])
    if len(hosts) != 1 or _name(hosts[0]) not in HOSTS:
        return False
    origins = headers.get("origin", [])
    if any(_name(origin.partition("://")[2]) not in HOSTS for origin in origins):
        return False
    return not FOREIGN_FETCH & set(headers.get("sec-fetch-site", []))


def _name(host: str) -> str:
    """A host without its port; empty when what follows the name is no port."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or host.strip().endswith("]"):
        return host.strip().lower()
    return name if port.isdecimal() else ""


async def _refuse(send: Send, status: int, why: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(why)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why})


def read_token(path: Path) -> str:
    """The token of a file that only its owner may read; made when the file is not there.

    Errors: ConfigError for a file that others may read or that holds too short a word.
    """
    try:
        if not path.exists():
            _write_token(path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > TOKEN_FILE_BYTES_MAX:
            raise ConfigError(f"{path} is no token file")
        if os.name == "posix" and status.st_mode & 0o077:
            raise ConfigError(f"{path} may be read by others", hint=f"chmod 600 {path}")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be used: {error}") from None
    if len(token) < TOKEN_LENGTH_MIN or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{path} holds no token of at least {TOKEN_LENGTH_MIN} characters",
            hint="remove the file and a new one is made",
        )
    return token


def _write_token(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as out:
        out.write(secrets.token_urlsafe(32) + "\n")
