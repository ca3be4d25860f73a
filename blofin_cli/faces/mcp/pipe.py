"""The protocol over stdin and stdout, for a client that starts this process itself."""

from io import TextIOWrapper

import anyio
from mcp.server.stdio import stdio_server

from blofin_cli.faces.mcp.calls import Caller
from blofin_cli.faces.mcp.server import build_server
from blofin_cli.faces.mcp.toolset import Offer


def serve(wire: TextIOWrapper, offer: Offer, state_override: str | None) -> int:
    """Serve one client until it closes our stdin; `wire` is the real stdout."""
    anyio.run(_serve, wire, offer, state_override)
    return 0


async def _serve(wire: TextIOWrapper, offer: Offer, state_override: str | None) -> None:
    server = build_server(Caller(offer, state_override))
    async with stdio_server(stdout=anyio.wrap_file(wire)) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
