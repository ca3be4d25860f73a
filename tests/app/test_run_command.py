"""`run` as people run it: real processes against an exchange in a box, from start to parity."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin as client
from blofin_cli.adapters.exchanges.sim.keys import DEMO_KEY
from blofin_cli.adapters.exchanges.sim.market import MarketClock
from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms
from blofin_cli.adapters.store import open_journal
from blofin_cli.app import catalog
from blofin_cli.app.commands.showcase import BEGIN, EAGER, SEED
from blofin_cli.app.commands.sim import SimRequest, box_of
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.core.journal import Halt, IntentState
from blofin_cli.core.quotes import Environment
from tests.boxed import BTC, ETH, Boxed, box_running
from tests.dealing import D

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "sim-demo"
SPEED = 60.0
# Kernels run interpreted in the processes of these tests too: none waits for a compiler.
INTERPRETED = "from blofin_cli.core import compiled\ncompiled._forced.append(False)\n"


@dataclass
class Line:
    """A command line in processes of its own, on one state and one box."""

    folder: Path
    url: str
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "sitecustomize.py").write_text(INTERPRETED)
        self.env = os.environ | {
            "PYTHONPATH": str(self.folder), "BLOFIN_EXCHANGE": "sim", "BLOFIN_SIM_URL": self.url,
            "BLOFIN_STATE": str(self.folder / "state.db"),
        }  # fmt: skip

    @property
    def journal(self) -> Any:
        return open_journal(str(self.folder / "state.db"))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """A command that goes on while the test does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "blofin_cli", *words, "--json"],
            cwd=ROOT, env=self.env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The JSON a command answers with; its exit code must be this one."""
        return answer(self.start(*words), code)

    def until(self, is_so: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait for something to be so."""
        end = time.monotonic() + seconds
        while not (found := is_so()):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.1)
        return found

    def lives(self, session_id: str) -> bool:
        """Whether a session has reconciled and may trade."""
        status = self.journal.status(session_id)
        return status is not None and status.phase == "trading"

    def close(self) -> None:
        """Leave no process behind."""
        for session in self.journal.sessions(ACCOUNT):
            if session.ended_ms is None:
                stop(session.pid)
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)


def answer(process: "subprocess.Popen[str]", code: int = 0) -> dict[str, Any]:
    out, err = process.communicate(timeout=110)
    assert process.returncode == code, f"exit {process.returncode}: {out}{err[-1500:]}"
    told: dict[str, Any] = json.loads(out or err.strip().splitlines()[-1])
    return told


def stop(pid: int) -> None:
    """Ctrl-C, as a service manager says it."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


@pytest.fixture
def calm(tmp_path) -> Iterator[tuple[Line, Boxed]]:
    """A box in real time that prints the same price each second."""
    over = threading.Event()

    def trade() -> None:
        while not over.wait(1.0):
            box.price(60_000)

    with box_running() as box:
        market = threading.Thread(target=trade)
        market.start()
        line = Line(tmp_path, box.url)
        yield line, box
        line.close()
        over.set()
        market.join(5)


@contextmanager
def eager_market() -> Iterator[str]:
    """An invented market that runs sixty times as fast as the wall; its address."""
    request = SimRequest.model_validate(
        {"synthetic": SEED, "symbol": (BTC,), "since": BEGIN, "no_limits": True}
    )
    box = box_of(request, Context(face="cli"))
    server = BoxServer(box, MarketClock(box.now_ms, SPEED, system_ms))
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    addresses: list[str] = []

    async def serve() -> None:
        async with listening(server, 0) as address:
            addresses.append(address.rest)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("mode", ["dry-run", "demo"])
def test_session_decides_at_each_bar_as_the_replay_does(tmp_path, mode):
    """A short session: decisions in the journal, a page at its end, and parity says the same."""
    page = tmp_path / "session.html"
    settings = [word for each in EAGER for word in ("--set", each)]
    with eager_market() as url:
        line = Line(tmp_path, url)
        told = line.call(
            "run", BTC, "--mode", mode, "--timeframe", "1m", "--context", "5m,15m", *settings,
            "--since", "2d", "--max-seconds", "10", "--report", str(page), "--yes",
        )  # fmt: skip
        assert (told["state"], told["reason"], told["mode"]) == ("stopped", "time is up", mode)
        assert told["simulated"] is True
        assert told["ended_ms"] > told["started_ms"]
        decisions = line.journal.decisions(told["session_id"])
        assert len(decisions) == told["bars"] >= 5
        assert all(row.gates for row in decisions)
        said = [row.text for row in line.journal.happenings(limit=1_000)]
        assert not [text for text in said if "were lost" in text]  # a market's pace is no leap
        found = line.call("parity", told["session_id"])
        assert (found["same"], found["missed_bars"]) == (True, 0)
        assert found["decisions"] == len(decisions)
        line.close()
    text = page.read_text()
    assert f"Session {told['session_id']}" in text
    assert "it shows that the loop works" in text
    assert [row["run_id"] for row in line.call("runs")["runs"]] == [told["session_id"]]


def test_live_needs_a_mandate_before_anything_else(calm):
    """No signed mandate: exit 3, no session, no order."""
    line, box = calm
    told = line.call("run", BTC, "--exchange", "blofin", "--mode", "live", "--yes", code=3)
    assert "mandate" in told["error"]["message"]
    assert line.journal.sessions() == ()
    assert box.truth["orders"] == []


def test_detached_session_does_what_other_commands_ask(calm):
    """Started on its own: it shows itself, places, protects and closes on request, and halts."""
    line, box = calm
    run = ("run", BTC, "--mode", "demo", "--yes")
    begun = line.call(*run, "--detach")
    session_id = begun["session_id"]
    line.until(lambda: line.lives(session_id))
    status = line.call("status")
    assert session_id in json.dumps(status)

    refused = line.call(*run, code=3)  # one account, one session
    assert ACCOUNT in refused["error"]["message"]

    plan = line.call("order", BTC, "--mode", "demo", "--side", "buy", "--risk", "0.2%", "--stop",
                     "59400", "--target", "63000")  # fmt: skip
    line.call("order", BTC, "--mode", "demo", "--apply", plan["hash"], "--yes")
    assert box.held() > 0
    assert guards(box) == {59_400, 63_000}

    moved = line.call("protect", BTC, "--mode", "demo", "--stop", "59500", "--target", "62000")
    assert moved["by"] == "session"
    line.until(lambda: guards(box) == {59_500, 62_000})

    line.call("protect", BTC, "--mode", "demo", "--stop", "59300", "--wider", "--yes")
    line.until(lambda: guards(box) == {59_300, 62_000})

    half = line.call("close", BTC, "--mode", "demo", "--fraction", "50%")
    assert (half["status"], half["by"]) == ("reduced", "session")
    assert line.call("close", BTC, "--mode", "demo")["status"] == "closed"
    line.until(lambda: box.held() == 0 and not guards(box))
    trades = line.journal.trades(account=ACCOUNT)
    assert [(trade.exit_reason, trade.tags) for trade in trades] == [("manual", ["manual"])]

    box.price(3_000, ETH)  # a symbol that the session does not trade
    plan = line.call("order", ETH, "--mode", "demo", "--side", "buy", "--risk", "0.2%", "--stop",
                     "2950")  # fmt: skip
    box.price(3_000, ETH)
    line.call("order", ETH, "--mode", "demo", "--apply", plan["hash"], "--yes")
    assert (box.held(ETH) > 0, guards(box)) == (True, {2_950})

    halted = line.call("halt", "--reason", "a test", "--flatten")
    assert (halted["state"], halted["flat"], box.held(ETH)) == ("halted", True, 0)
    line.until(lambda: len(line.journal.trades(account=ACCOUNT)) == 2)
    assert {trade.exit_reason for trade in line.journal.trades(account=ACCOUNT)} == {
        "manual", "halt",
    }  # fmt: skip
    assert line.journal.status(session_id).halt_seen_ms == line.journal.halted().ts_ms
    again = line.call("order", BTC, "--mode", "demo", "--side", "buy", "--risk", "0.2%", "--stop",
                      "59400", code=9)  # fmt: skip
    assert "halt" in json.dumps(again)
    assert box.held() == 0


def test_session_an_agent_starts_waits_for_a_person_at_every_entry(calm, monkeypatch):
    """Its process is told so, and by whom: no entry of it is placed that nobody approved."""
    line, _ = calm
    for name in ("PYTHONPATH", "BLOFIN_EXCHANGE", "BLOFIN_SIM_URL", "BLOFIN_STATE"):
        monkeypatch.setenv(name, line.env[name])
    heard: list[str] = []
    agent = Context(face="mcp", client="probe 1", consent=True, say=heard.append)
    wish = {"symbol": (BTC,), "mode": "demo", "detach": True}

    async def start_and_end() -> bool:
        begun = await invoke(catalog.load("run"), wish, agent)
        while not line.lives(begun.session_id):  # noqa: ASYNC110 - another process begins
            await asyncio.sleep(0.1)
        status = line.journal.status(begun.session_id)
        stop(pid := line.journal.session(begun.session_id).pid)
        with suppress(ProcessLookupError):
            while True:  # until this loop has heard of its end
                os.kill(pid, 0)
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        return status.approval_only

    assert asyncio.run(start_and_end())
    assert "blofin approve" in heard[0]
    (row,) = (row for row in line.journal.audit() if row.face == "cli")
    assert (row.command, row.arguments["asked_by"]) == ("run", "mcp:probe 1")


def test_detached_session_that_cannot_start_tells_its_own_error(calm):
    """Code, message and exit are the session's, not those of the process that waited for it."""
    line, _ = calm
    words = ("run", BTC, "--exchange", "blofin", "--mode", "live", "--yes")
    own = line.call(*words, code=3)
    assert line.call(*words, "--detach", code=3) == own
    log = line.folder / "session.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def guards(box: Boxed) -> set[float]:
    """Prices of every live stop and target, whichever order carries them, as the box has them."""
    names = ("slTriggerPrice", "tpTriggerPrice")
    return {float(row[name]) for row in box.truth["tpsl"] for name in names if row[name]}


def test_standby_takes_over_when_the_session_ends(calm):
    """A second process waits for the account and goes on where the first one ended."""
    line, _ = calm
    first = line.call("run", BTC, "--mode", "demo", "--yes", "--detach")
    waiting = line.start(
        "run", BTC, "--mode", "demo", "--yes", "--standby", "--max-seconds", "2"
    )  # fmt: skip
    line.until(lambda: line.lives(first["session_id"]))
    assert waiting.poll() is None
    stop(line.journal.session(first["session_id"]).pid)
    told = answer(waiting)
    assert (told["state"], told["reason"]) == ("stopped", "time is up")
    ended = line.journal.session(first["session_id"])
    assert ended.end_reason == "SIGTERM"
    assert told["started_ms"] >= ended.ended_ms


def test_halt_before_the_start_holds_the_session(calm):
    """A flag that was up already: the session starts, shows it, and enters nothing."""
    line, box = calm
    line.journal.set_halt(Halt(ts_ms=system_ms(), face="cli", cause="before"))
    told = line.call("run", BTC, "--mode", "demo", "--yes", "--max-seconds", "3")
    status = line.journal.status(told["session_id"])
    assert status.halt_seen_ms is not None
    assert box.truth["orders"] == []
    states = {intent.state for intent in line.journal.intents(ACCOUNT)}
    assert states <= {IntentState.DONE}
    assert told["equity_usdt"] == float(D(10_000))


def test_start_looks_after_a_bare_position_before_it_reads_its_history(calm):
    """Killed with a position whose stop then vanished: the next start puts it back at once."""
    line, box = calm
    run = ("run", BTC, "--mode", "demo", "--yes", "--detach")
    first = line.call(*run)["session_id"]
    line.until(lambda: line.lives(first))
    plan = line.call("order", BTC, "--mode", "demo", "--side", "buy", "--risk", "0.2%", "--stop",
                     "59400")  # fmt: skip
    line.call("order", BTC, "--mode", "demo", "--apply", plan["hash"], "--yes")
    line.until(lambda: line.journal.recall(ACCOUNT, "book"))
    os.kill(line.journal.session(first).pid, signal.SIGKILL)
    asyncio.run(drop_stops(box, line.folder))
    assert not guards(box)
    box.fault("delay", "/market/", count=None, ms=2_000)
    second = line.start(*run)
    line.until(lambda: guards(box) == {59_400})
    assert line.journal.sessions(ACCOUNT)[0].session_id == first
    box.control("calm")
    session_id = answer(second)["session_id"]
    line.until(lambda: line.lives(session_id))
    assert guards(box) == {59_400}
    assert box.held() > 0


async def drop_stops(box: Boxed, folder: Path) -> None:
    """Take every stop away, as its owner may at the exchange."""
    settings = client.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=box.url
    )
    credentials = client.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
    account = client.connect(settings, SystemClock(), credentials)
    for row in await account.protections():
        await account.cancel_protection(row.ref)
    await account.aclose()


def test_no_secret_is_in_anything_a_session_leaves(calm):
    """I20: neither secret nor passphrase, in whatever spelling, on any output or in any file."""
    line, box = calm
    said = []

    def hear(*words: str) -> None:
        process = line.start(*words)
        said.extend(process.communicate(timeout=110))

    page = line.folder / "session.html"
    hear("run", BTC, "--mode", "demo", "--yes", "--max-seconds", "2", "--report", str(page))
    for fault in ("html", "server_error", "internal_error"):
        box.fault(fault)
    for words in (
        ("account",), ("positions",), ("doctor", "--mode", "demo"), ("config",), ("status",),
        ("order", BTC, "--mode", "demo", "--side", "buy", "--risk", "0.2%", "--stop", "59400"),
        ("log",), ("state", "export", str(line.folder / "state.ndjson")),
    ):  # fmt: skip
        hear(*words)
    left = [path.read_bytes() for path in line.folder.rglob("*") if path.is_file()]
    assert page.is_file()
    whole = b"".join([*left, "".join(said).encode()])
    assert len(whole) > 100_000
    for secret in (DEMO_KEY.secret, DEMO_KEY.passphrase):
        raw = secret.encode()
        for spelling in (raw, b64encode(raw), raw.hex().encode(), quote(secret, safe="").encode()):
            assert spelling not in whole
