"""A server over a state of its own, and the official client beside it."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from blofin_cli.app import catalog
from blofin_cli.faces.mcp.calls import Caller
from blofin_cli.faces.mcp.server import build_server
from blofin_cli.faces.mcp.toolset import Offer, offer_of

# Both eras of the protocol: without and with a handshake.
ERAS = ("auto", "legacy")


@pytest.fixture
def state(tmp_path) -> Path:
    """Where the state of this test's server lives."""
    return tmp_path / "state.db"


@pytest.fixture
def offered() -> Callable[..., Offer]:
    """The offer of a server started with these options."""

    def make(**options: Any) -> Offer:
        return offer_of(catalog.load_all().values(), **options)

    return make


@pytest.fixture
def served(state, offered) -> Callable[..., AbstractAsyncContextManager[Client]]:
    """A client connected in this process: `async with served("legacy") as client`.

    `ways` go to the client, everything else is an option of the server.
    """

    def connect(
        era: str = "auto", ways: dict[str, Any] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[Client]:
        server = build_server(Caller(offered(**options), str(state)))
        return Client(server, mode=era, **(ways or {}))

    return connect


def content(result: Any) -> dict[str, Any]:
    """The JSON of an answer, which stands in it twice: as structure and as text."""
    assert json.loads(result.content[0].text) == result.structured_content
    return dict(result.structured_content)


def error(result: Any) -> dict[str, Any]:
    """The envelope of a call that failed."""
    assert result.is_error
    return dict(content(result)["error"])
