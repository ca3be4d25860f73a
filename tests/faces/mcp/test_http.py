"""HTTP on loopback: who may come in, and the official client once it is inside."""

import asyncio
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from blofin_cli.errors import ConfigError
from blofin_cli.faces.mcp.calls import Caller
from blofin_cli.faces.mcp.http import BODY_BYTES_MAX, http_app, read_token
from tests.faces.mcp.conftest import ERAS, content

TOKEN = "t" * 32
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture
def app(offered, state):
    return http_app(Caller(offered(), str(state)), TOKEN)


@asynccontextmanager
async def alive(app):
    """The application with its lifespan running, as a server would run it."""
    incoming: asyncio.Queue = asyncio.Queue()
    outgoing: asyncio.Queue = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    task = asyncio.create_task(app(scope, incoming.get, outgoing.put))
    await incoming.put({"type": "lifespan.startup"})
    assert (await outgoing.get())["type"] == "lifespan.startup.complete"
    yield
    await incoming.put({"type": "lifespan.shutdown"})
    await outgoing.get()
    await task


def browser(app, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8790", headers=JSON | headers
    )


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:8790"},
    {"Host": "evil.example:127.0.0.1"},
    {"Host": "localhost@evil.example"},
    {"Host": "127.0.0.2:8790"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example:80"},
    {"Origin": "file://"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_page_of_another_site_is_refused_before_routing(app, headers):
    """403 with the right token, on every path and method: a browser must not drive this port."""
    async with browser(app, **(RIGHT | headers)) as client:
        for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("OPTIONS", "/mcp"), ("GET", "/")):
            assert (await client.request(method, path)).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"},
     {"Authorization": "Bearer "}, {"Authorization": f"Bearer {TOKEN}x"},
     {"Authorization": f"Bearer {TOKEN} {TOKEN}"}],
    ids=str,
)  # fmt: skip
async def test_no_token_no_answer(app, headers):
    """401, whatever is asked; the token is compared in constant time."""
    async with browser(app, **headers) as client:
        for path in ("/mcp", "/", "/.well-known/oauth-protected-resource"):
            answer = await client.post(path, json=LIST)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_two_tokens_are_none(app):
    """A second header could be what a proxy checked."""
    async with browser(app) as client:
        both = [("Authorization", f"Bearer {TOKEN}")] * 2
        assert (await client.post("/mcp", json=LIST, headers=both)).status_code == 401


async def test_body_has_a_limit(app):
    """A request larger than a megabyte is refused before it is read as one."""
    async with alive(app), browser(app, **RIGHT) as client:
        answer = await client.post("/mcp", content=b"x" * (BODY_BYTES_MAX + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("host", ["127.0.0.1:8790", "localhost:8790", "[::1]:8790", "LOCALHOST"])
async def test_program_on_this_machine_comes_in(app, host):
    """By any of the names of loopback, with its token, from no page or from a local one."""
    async with alive(app), browser(app, **RIGHT, Host=host) as client:
        for more in ({}, {"Origin": "http://localhost:3000"}):
            answer = await client.post("/mcp", json=LIST, headers=more)
            assert answer.status_code not in {401, 403, 421}


@pytest.fixture
def listening(own_home):
    """A server process on a free port: its address, its token, and what it printed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "blofin_cli", "mcp", "--http", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"HOME": str(own_home), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    line = process.stderr.readline()
    found = re.match(r"MCP on (\S+); token in (\S+)\. Ctrl", line)
    assert found, line + process.stderr.read()
    path = Path(found[2])
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text(encoding="ascii").strip()
    assert token not in line
    yield found[1], token
    process.terminate()
    assert process.communicate(timeout=60)[0] == ""


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.process
async def test_official_client_over_http(listening, era):
    """The token from the file the server made, and nothing on its stdout."""
    url, token = listening
    inside = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30)
    async with inside, Client(streamable_http_client(url, http_client=inside), mode=era) as client:
        assert (await client.list_tools()).tools
        assert content(await client.call_tool("get_ohlcv", {"synthetic": 7}))["bars"] == 100


def test_token_is_made_once_for_the_owner_alone(tmp_path):
    """A second start finds the first one's token."""
    path = tmp_path / "folder" / "token"
    token = read_token(path)
    assert len(token) >= 32
    assert read_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("text", "mode"), [("s" * 32, 0o644), ("short", 0o600), ("", 0o600)])
def test_token_that_protects_nothing_is_refused(text, mode, tmp_path):
    """Readable by others, or guessed in an afternoon."""
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError):
        read_token(path)


@pytest.mark.process
def test_taken_port_is_said_so(own_home):
    """One line instead of a traceback."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = subprocess.run(
            [sys.executable, "-m", "blofin_cli", "mcp", "--http", "--port", port],
            capture_output=True, text=True, check=False, env={"HOME": str(own_home)},
        )  # fmt: skip
    assert outcome.returncode == 2
    assert json.loads(outcome.stderr)["error"]["hint"].startswith("choose another")
