"""stdio as a client meets it: a process, its pipes, and nothing but protocol between them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.faces.mcp.conftest import ERAS, content, error

pytestmark = pytest.mark.process
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def request(number: Any, method: str, params: Any = None) -> str:
    whole = {"jsonrpc": "2.0", "id": number, "method": method}
    return json.dumps(whole | ({} if params is None else {"params": params}))


class Pipe:
    """A server process that is spoken to line by line."""

    def __init__(self, home: Path, *words: str, code: str = "") -> None:
        program = ["-c", code] if code else ["-m", "blofin_cli", "mcp"]
        self.log = home / "stderr"
        with self.log.open("w") as log:  # a pipe nobody reads would fill and stop the server
            self.process = subprocess.Popen(
                [sys.executable, *program, *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip

    def say(self, *lines: str) -> None:
        self.process.stdin.write("".join(line + "\n" for line in lines))
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return dict(json.loads(line))

    def greet(self) -> None:
        self.say(request(0, "initialize", HELLO))
        assert self.hear()["result"]["serverInfo"]["name"] == "blofin"
        self.say('{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def leave(self) -> tuple[str, str]:
        """Close stdin; what was left on stdout and stderr."""
        out, _ = self.process.communicate(timeout=60)
        said = self.log.read_text()
        assert self.process.returncode == 0, said
        return out, said


@pytest.fixture
def pipe(own_home):
    opened = []

    def start(*words: str, code: str = "") -> Pipe:
        opened.append(Pipe(own_home, *words, code=code))
        return opened[-1]

    yield start
    for one in opened:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("era", ERAS)
async def test_official_client_over_stdio(own_home, era):
    """List, call, read and be refused, as Cursor would."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "blofin_cli", "mcp"], env={"HOME": str(own_home)}
    )
    async with Client(stdio_client(server), mode=era) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"detect_zones", "run_backtest"} <= names
        assert content(await client.call_tool("detect_zones", {"synthetic": 7}))["zones"]
        assert error(await client.call_tool("detect_zones", {"nothing": 1}))["code"] == "usage"
        assert (await client.read_resource("blofin://guide/zones")).contents[0].text


NOISE = """
import builtins, os, sys
real = builtins.__import__
def noisy(name, *rest, **more):
    print("library says", name)
    os.write(1, b"library writes\\n")
    return real(name, *rest, **more)
from blofin_cli.faces.mcp import stdout
claimed = stdout.claim_stdout
def claim():
    wire = claimed()
    builtins.__import__ = noisy
    return wire
stdout.claim_stdout = claim
sys.argv = ["blofin", "mcp"]
from blofin_cli.__main__ import main
sys.exit(main())
"""


def test_stdout_carries_protocol_only(pipe):
    """Everything that is printed, by Python or below it, while loading or working, is on stderr."""
    server = pipe(code=NOISE)
    server.greet()
    server.say(
        request(1, "tools/list"),
        request(2, "tools/call", {"name": "check_signal", "arguments": {"synthetic": 7}}),
    )
    assert {server.hear()["id"], server.hear()["id"]} == {1, 2}
    out, err = server.leave()
    assert not out
    assert "library says" in err
    assert "library writes" in err


def test_malformed_protocol_is_answered_or_dropped_and_the_server_lives(pipe):
    """Batches, unknown methods, null ids, NaN, floods, megabytes: then it still lists its tools."""
    server = pipe()
    server.greet()
    batch = "[" + ",".join(request(n, "ping") for n in range(10_000)) + "]"
    server.say(
        batch,
        "not json at all",
        '{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        request(5, "no/such/method"),
        request(6, "tools/call", {"name": "detect_zones", "arguments": "x"}),
        '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"detect_zones",'
        '"arguments":{"limit":NaN}}}',
        *['{"jsonrpc":"2.0","method":"notifications/nonsense"}'] * 2000,
        request(8, "tools/call", {"name": "get_ohlcv", "arguments": {"symbol": "B" * 10_000_000}}),
        request(9, "tools/list"),
    )
    answers: dict[Any, dict] = {}
    while 9 not in answers or 8 not in answers:
        answer = server.hear()
        answers[answer.get("id")] = answer
    assert answers[9]["result"]["tools"]
    assert answers[8]["result"]["isError"]
    assert "error" in answers[5]
    assert "error" in answers[6]
    assert "error" in answers[7] or answers[7]["result"]["isError"]
    server.leave()


def test_broken_settings_do_not_keep_an_agent_from_halting(pipe, own_home):
    """The server starts with the defaults and says so; only what needs the settings fails."""
    folder = own_home / ".config" / "blofin-cli"
    folder.mkdir(parents=True)
    (folder / "blofin.toml").write_text("[mcp]\nno_such_setting = 1\n")
    server = pipe()
    server.greet()
    server.say(request(1, "tools/call", {"name": "get_status", "arguments": {}}))
    assert not server.hear()["result"]["isError"]
    assert "settings are ignored" in server.leave()[1]


def test_wrong_toolset_is_refused_before_anything_is_served(own_home):
    """stdout stays empty: no client mistakes an error for protocol."""
    outcome = subprocess.run(
        [sys.executable, "-m", "blofin_cli", "mcp", "--toolset", "nonsense"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={"HOME": str(own_home)},
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert json.loads(outcome.stderr)["error"]["code"] == "usage"
