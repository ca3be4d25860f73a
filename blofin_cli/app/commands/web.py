"""The web dashboard, as a word on the command line."""

from typing import Annotated

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.sections import Address, HostName, Network
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.errors import UsageError

PORT = 8788
LOOPBACK = ("127.0.0.1", "::1")


class WebRequest(Request):
    """Where to listen, who may come and how the line is protected; see the settings' `web` too."""

    host: Annotated[
        Address, Field(description="Address to listen on; any but loopback needs TLS or a proxy")
    ] = LOOPBACK[0]
    port: Annotated[
        int, Field(description="Port to listen on, 0 for a free one", ge=0, le=65535)
    ] = PORT
    tls_cert: Annotated[str | None, Field(description="Certificate (PEM) to serve https with")] = (
        None
    )
    tls_key: Annotated[str | None, Field(description="Private key (PEM) of the certificate")] = None
    behind_proxy: Annotated[
        HostName | None,
        Field(description="Name under which a reverse proxy serves this over https"),
    ] = None
    proxy_from: Annotated[
        tuple[Address, ...], Field(description="Address the proxy connects from; may be repeated")
    ] = LOOPBACK
    allow: Annotated[
        tuple[Network, ...],
        Field(description="Only these addresses or networks may come, e.g. 192.168.1.0/24"),
    ] = ()
    set_password: Annotated[
        bool, Field(description="Choose the password in this terminal, and stop")
    ] = False


class WebResult(Result):
    """Nothing is left on stdout when the server stops."""


@command(effect=Effect.READ)
async def web(request: WebRequest, context: Context) -> WebResult:
    """Serve the dashboard to a browser: the same pages and acts as the terminal, and a JSON API.

    It listens on this machine only, and not before a password was chosen with --set-password.

    Example: blofin web --set-password
    """
    del request, context
    raise UsageError("web is a server of its own", hint="run blofin web in a terminal")
