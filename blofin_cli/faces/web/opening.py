"""Opening the dashboard: choose the password, or check everything and listen."""

import asyncio
import contextlib
import getpass
import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from blofin_cli.app import config
from blofin_cli.errors import UsageError
from blofin_cli.faces.web.doorway import Doorway, doorway_of
from blofin_cli.faces.web.passwords import FILE_NAME, LENGTH_MIN, PasswordFile
from blofin_cli.faces.web.routes import application
from blofin_cli.faces.web.site import make_site

if TYPE_CHECKING:
    from blofin_cli.app.commands.web import WebRequest
    from blofin_cli.app.context import Context

SHUTDOWN_S_MAX = 3
CONNECTIONS_MAX, BACKLOG = 200, 64


def password_file(given: str | None = None) -> PasswordFile:
    """Where this user's hash lies, unless the settings give one."""
    return PasswordFile(config.user_config_folder() / FILE_NAME, given)


def with_settings(request: "WebRequest", context: "Context") -> "WebRequest":
    """The request with what was not typed taken from the settings' section `web`."""
    section = context.settings.web
    fields = set(type(request).model_fields) & set(type(section).model_fields)
    found = {name: getattr(section, name) for name in fields - request.model_fields_set}
    return request.model_copy(update=found)


def set_password(context: "Context") -> int:
    """Ask twice in this terminal and store the hash.

    Errors: UsageError without a terminal, or when the two differ.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("the password is typed in a terminal", hint="a pipe cannot choose it")
    first = getpass.getpass(f"New password ({LENGTH_MIN} characters or more): ", sys.stderr)
    if getpass.getpass("Once more: ", sys.stderr) != first:
        raise UsageError("the two differ", hint="nothing was changed")
    found = password_file()
    found.choose(first)
    context.say(f"the hash is in {found.path}; whoever was signed in is signed out")
    return 0


def serve(request: "WebRequest", context: "Context") -> int:
    """Listen until Ctrl-C.

    Errors: ConfigError without a password; UsageError when others could read along or the port
    is taken.
    """
    request = with_settings(request, context)
    hashed = context.settings.web.password_hash
    passwords = password_file(None if hashed is None else hashed.get_secret_value())
    passwords.fingerprint()
    doorway_of(request, request.port)  # refuse before anything listens
    with _listening(request) as listener:
        port = int(listener.getsockname()[1])
        doorway = doorway_of(request, port)
        site = make_site(doorway, passwords, context.state_override)
        _log_to_file(context)
        context.say(f"dashboard  {_address(request, doorway, port)}")
        context.say("Ctrl-C stops it; a running session goes on")
        server = uvicorn.Server(_uvicorn(request, application(site)))
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(server.serve(sockets=[listener]))
    return 0


def _address(request: "WebRequest", doorway: Doorway, port: int) -> str:
    """Where a browser finds it: under the address it listens on, else under a name it has."""
    host = f"[{request.host}]" if ":" in request.host else request.host
    scheme = "https" if doorway.is_secure else "http"
    own = f"{scheme}://{host}:{port}"
    return own if own in doorway.origins else min(doorway.origins)


def _listening(request: "WebRequest") -> socket.socket:
    family = socket.AF_INET6 if ":" in request.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((request.host, request.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {request.port} of {request.host} cannot be used: {error.strerror}",
            hint="choose another with --port, or --port 0 for a free one",
        ) from None
    return listener


def _uvicorn(request: "WebRequest", app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the guard reads them itself, and believes its proxy only
        server_header=False,
        date_header=True,
        ws="none",
        lifespan="on",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=SHUTDOWN_S_MAX,
        ssl_certfile=request.tls_cert,
        ssl_keyfile=request.tls_key,
    )


def _log_to_file(context: "Context") -> None:
    """Warnings and defects go to the log file that every face shares; the screen stays quiet."""
    path = Path(context.state_folder) / "blofin.log"
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("blofin_cli", "uvicorn"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
