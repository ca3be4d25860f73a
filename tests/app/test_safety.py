"""The kill switch: whatever is broken, it halts, does the rest, and says what it could not do."""

import asyncio
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin as client
from blofin_cli.adapters.store import open_journal
from blofin_cli.app import catalog
from blofin_cli.app.context import Context
from blofin_cli.app.halting import Account
from blofin_cli.app.spec import invoke
from blofin_cli.core.journal import Halt, IntentState, Room, Session
from blofin_cli.core.orders import MarginMode, OrderRequest, OrderType, PositionMode, Side
from blofin_cli.core.quotes import Environment, Mode
from blofin_cli.core.status import SessionStatus
from blofin_cli.errors import DataError, Exit
from tests.boxed import BTC, ETH, Boxed, box_running
from tests.dealing import D, intent

CREDENTIALS = client.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
ACCOUNT = "sim-demo"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path, monkeypatch) -> str:
    """A state of its own, at no exchange that could be reached."""
    path = str(tmp_path / "state" / "state.db")
    monkeypatch.setenv("BLOFIN_STATE", path)
    return path


@pytest.fixture
def halt(blofin, state) -> Callable[..., tuple[int, dict]]:
    """Exit code and JSON of `blofin halt`."""

    def call(*words: str) -> tuple[int, dict]:
        outcome = blofin("halt", *words, "--json")
        return outcome.code, json.loads(outcome.stdout or outcome.stderr)

    return call


def test_halt_without_anything_is_durable_and_exit_0(halt, state):
    """B30: no session, no key, no network: the flag is what matters."""
    code, told = halt("--reason", "storm")
    assert (code, told["state"], told["not_done"]) == (0, "halted", [])
    known = open_journal(state).halted()
    assert (known.cause, known.face) == ("storm", "cli")
    assert (Path(state).parent / "HALT").is_file()
    assert "resume" in told["next_step"]
    assert "stops" in told["protects"]


def test_halt_twice_keeps_the_first_cause(halt, state):
    """Idempotent."""
    halt("--reason", "first")
    code, told = halt("--reason", "second")
    assert (code, told["cause"], open_journal(state).halted().cause) == (0, "first", "first")


def test_halt_is_in_the_trail_and_told(halt, state):
    """Who, when, what."""
    halt()
    assert [row.command for row in open_journal(state).audit()] == ["halt"]


def test_resume_needs_a_person(blofin, halt, state):
    """--yes does not answer it."""
    halt()
    outcome = blofin("resume", "--yes")
    assert outcome.code == 3
    assert open_journal(state).halted() is not None


def test_pause_and_unpause(blofin, state):
    """One symbol, all, and back; a halt is not touched."""
    assert blofin("pause", "btcusdt", "--reason", "news").code == 0
    assert blofin("pause").code == 0
    assert {pause.symbol for pause in open_journal(state).pauses()} == {BTC, "*"}
    told = json.loads(blofin("unpause", BTC, "--json").stdout)
    assert told["changed"] is True
    assert [pause.symbol for pause in open_journal(state).pauses()] == ["*"]
    assert json.loads(blofin("unpause", ETH, "--json").stdout)["changed"] is False
    assert json.loads(blofin("unpause", "--json").stdout)["pauses"] == []


def test_pause_of_what_no_session_trades_says_so(blofin, state):
    """A mistyped symbol would feel safe; the pause is set all the same."""
    assert json.loads(blofin("pause", ETH, "--json").stdout)["note"] == ""
    open_journal(state).open_session(session_of(1))
    assert json.loads(blofin("pause", BTC, "--json").stdout)["note"] == ""
    told = json.loads(blofin("pause", "BTCC-USDT", "--json").stdout)
    assert told["note"] == f"no session here trades BTCC-USDT, only {BTC}; the pause holds"
    assert len(told["pauses"]) == 3


def test_halt_with_a_locked_database_sets_the_file(halt, state):
    """F60: either place suffices, and what failed is said."""
    halt_file = Path(state).parent / "HALT"
    open_journal(state).remember("x", "y", {})
    blocker = sqlite3.connect(state, isolation_level=None)
    blocker.execute("begin exclusive")
    try:
        code, told = halt()
    finally:
        blocker.execute("rollback")
        blocker.close()
    assert halt_file.is_file()
    assert code in (0, 3)
    assert told["not_done"]


def test_halt_with_an_unwritable_file_sets_the_database(halt, state):
    """The other place."""
    open_journal(state).remember("x", "y", {})
    folder = Path(state).parent / "HALT"
    folder.mkdir()
    code, _ = halt()
    assert code == 0
    assert open_journal(state).halted() is not None


def test_halt_with_a_broken_state_file_still_halts(halt, state):
    """F55, F60: a text file where the database should be; the file HALT halts."""
    Path(state).parent.mkdir(parents=True)
    Path(state).write_text("this was a database once " * 50)
    code, told = halt()
    assert (Path(state).parent / "HALT").is_file()
    assert code == 0
    assert told["not_done"]


def test_place_that_cannot_be_looked_at_counts_as_halted(halt, state):
    """I06: no folder, no file, no database: nobody can tell, so nothing opens."""
    folder = Path(state).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")
    code, told = halt()
    assert (code, told["state"]) == (0, "halted")
    assert told["not_done"]
    assert open_journal(state).halted() is not None


def test_flag_that_is_nowhere_is_exit_8_with_what_to_do(state):
    """Neither place took it: a person must end the process, and is told so."""

    class Broken:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def refuse(*words: Any, **named: Any) -> Any:
                raise DataError("the disk is gone")

            return refuse

    context = Context(face="cli")
    context.__dict__["journal"] = Broken()
    told = asyncio.run(invoke(catalog.load("halt"), {}, context))
    assert told.exit_code() is Exit.DATA
    assert told.state == "not_halted"
    assert any("not set" in words for words in told.not_done)
    assert "kill" in told.next_step


# A session that runs, hangs, or is gone.


def session_of(started_ms: int) -> Session:
    return Session(
        session_id="run1", account=ACCOUNT, exchange="sim", mode=Mode.DEMO, simulated=True,
        symbols=(BTC,), timeframe="15m", config={}, digests={}, version="0", pid=os.getpid(),
        host=platform.node(), started_ms=started_ms, history_start_ms={},
        equity_start_usdt=Decimal(1),
    )  # fmt: skip


def beat(now_ms: int, seen_ms: int | None) -> SessionStatus:
    return SessionStatus(
        ts_ms=now_ms, session_id="run1", phase="trading", mode="demo", exchange="sim",
        simulated=True, symbols=(BTC,), timeframe="15m", halt_seen_ms=seen_ms,
    )  # fmt: skip


@contextmanager
def running_session(state: str, *, answers: bool) -> Iterator[None]:
    """A thread that holds the account's lock and beats; it sees halts or it does not."""
    over = threading.Event()
    ready = threading.Event()

    def live() -> None:
        journal, clock = open_journal(state), SystemClock()
        with journal.lock(f"account-{ACCOUNT}"):
            journal.open_session(session_of(clock.now_ms()))
            journal.beat(beat(clock.now_ms(), None))
            ready.set()
            while not over.wait(0.05):
                known = journal.halted()
                seen = known.ts_ms if known is not None and answers else None
                journal.beat(beat(clock.now_ms(), seen))

    thread = threading.Thread(target=live)
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        over.set()
        thread.join(5)


@pytest.mark.process
def test_session_that_answers_is_exit_0(halt, state, monkeypatch):
    """The flag is durable and the session has acknowledged it."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    with running_session(state, answers=True):
        code, told = halt()
    assert told["sessions"][0]["acknowledged"] is True
    assert code == 7  # its entries could not be looked at: nothing listens at that port
    assert told["halt_ms"] < 2_000


@pytest.mark.process
def test_silent_session_is_exit_3_with_words(halt, state, monkeypatch):
    """Decision 29: it reads the flag before it sends, but nobody has heard from it."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    with running_session(state, answers=False):
        started = time.monotonic()
        code, told = halt()
        assert time.monotonic() - started < 12
    assert code == 3
    assert any("has not acknowledged" in words for words in told["not_done"])


@pytest.mark.process
def test_stopped_process_is_noticed_and_the_flag_is_there(halt, state, monkeypatch, tmp_path):
    """F58, F60: SIGSTOP holds the lock and beats no more; halt does not wait for it."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    holder = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from blofin_cli.adapters.store import open_journal
        from tests.app.test_safety import beat, session_of
        journal = open_journal({state!r})
        now = time.time_ns() // 1_000_000
        with journal.lock("account-{ACCOUNT}"):
            journal.open_session(session_of(now))
            journal.beat(beat(now, None))
            print("held", flush=True)
            time.sleep(60)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        os.kill(process.pid, signal.SIGSTOP)
        code, told = halt()
        assert code == 3
        assert open_journal(state).halted() is not None
        assert told["sessions"][0]["acknowledged"] is False
        assert f"(kill {process.pid})" in told["next_step"]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(5)
        process.stdout.close()
    code, _ = halt()
    assert code in (0, 7)  # the lock died with its process


@pytest.mark.process
def test_entries_on_the_wire_are_listed(halt, state, monkeypatch):
    """I05: what left before the flag went up is named."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BLOFIN_EXCHANGE", "sim")
    monkeypatch.setenv("BLOFIN_MODE", "demo")
    room = Room(risk_usdt=D(1_000), notional_usdt=D(100_000), count=5)
    waiting = intent(10, account=ACCOUNT, state=IntentState.RESERVED)
    open_journal(state).reserve(waiting, room)
    code, told = halt()
    assert code == 7
    assert "c1 (reserved)" in told["on_the_wire"][0]


# With an exchange.


@pytest.fixture
def box(monkeypatch) -> Iterator[Boxed]:
    with box_running() as running:
        monkeypatch.setenv("BLOFIN_SIM_URL", running.url)
        monkeypatch.setenv("BLOFIN_EXCHANGE", "sim")
        monkeypatch.setenv("BLOFIN_MODE", "demo")
        yield running


@pytest.fixture
def busy_box(box, tmp_path) -> Boxed:
    """A protected position in BTC and resting entries in both symbols."""

    async def arrange() -> None:
        settings = client.Settings(
            state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=box.url
        )
        account = client.connect(settings, SystemClock(), CREDENTIALS)
        await account.set_position_mode(PositionMode.ONE_WAY)
        await account.set_margin_mode(MarginMode.ISOLATED)

        def order(name: str, **words: Any) -> OrderRequest:
            given: dict[str, Any] = {
                "symbol": BTC, "side": Side.BUY, "type": OrderType.MARKET, "size": D("0.01"),
                "client_id": name,
            }  # fmt: skip
            return OrderRequest(**(given | words))

        await account.place(order("open1", stop=D(57_000)))
        await account.place(order("rest1", type=OrderType.LIMIT, price=D(59_000)))
        await account.place(
            order("rest2", symbol=ETH, type=OrderType.TRIGGER, trigger=D(3_100), size=D("0.1"))
        )
        await account.aclose()

    asyncio.run(arrange())
    return box


@pytest.mark.process
def test_halt_cancels_entries_and_keeps_stops(halt, busy_box):
    """F61: entries are gone, the position keeps its stop."""
    code, told = halt()
    assert (code, told["not_done"]) == (0, [])
    assert [row["outcome"] for row in told["canceled"]] == ["accepted", "accepted"]
    truth = busy_box.truth
    assert (truth["orders"], truth["algo"]) == ([], [])
    assert (busy_box.held(), len(truth["tpsl"])) == (10, 1)


@pytest.mark.process
def test_halt_flatten_ends_flat(halt, busy_box):
    """Reduce-only, and nothing is left behind."""
    code, told = halt("--flatten")
    assert (code, [row["status"] for row in told["closed"]]) == (0, ["closed"])
    truth = busy_box.truth
    assert (busy_box.held(), truth["orders"], truth["tpsl"]) == (0, [], [])
    assert told["flat"] is True
    _, again = halt("--flatten")
    assert (again["flat"], again["closed"]) == (True, [])
    assert again["protects"] == "nothing was open any more when the exchange was asked"


@pytest.mark.process
def test_halt_flatten_finds_accounts_that_only_orders_by_hand_know(
    halt, busy_box, state, monkeypatch
):
    """No session ever ran, and the settings name another account: what was traded on counts."""
    monkeypatch.delenv("BLOFIN_EXCHANGE")
    monkeypatch.delenv("BLOFIN_MODE")
    wide = Room(risk_usdt=D(1_000), notional_usdt=D(100_000), count=5)
    open_journal(state).reserve(intent(10, account=ACCOUNT, state=IntentState.DONE), wide)
    code, told = halt("--flatten")
    assert (code, [row["status"] for row in told["closed"]]) == (0, ["closed"])
    assert (busy_box.held(), busy_box.truth["orders"]) == (0, [])
    assert "closed: 1" in told["protects"]


@pytest.mark.process
@pytest.mark.parametrize(
    "words", [("close", BTC), ("protect", BTC, "--stop", "58000"), ("cancel", "nobody"), ("guard",)]
)
def test_dry_run_sends_nothing_to_the_box_either(blofin, busy_box, state, words):
    """I18: the box's account is the demo account; a dry run has none."""
    before = busy_box.truth
    outcome = blofin(*words, "--mode", "dry-run", "--yes")
    assert outcome.code == 3
    assert "dry-run has no account" in outcome.stderr
    after = busy_box.truth
    assert [after[kind] for kind in ("orders", "algo", "tpsl")] == [
        before[kind] for kind in ("orders", "algo", "tpsl")
    ]
    assert busy_box.held() == 10


def test_remark_of_any_length_holds_no_halt_up(halt):
    """An agent's whole paragraph is cut, not refused."""
    code, told = halt("--reason", "x" * 300)
    assert (code, told["state"], told["cause"]) == (0, "halted", "x" * 200)


def test_halt_flatten_that_knows_no_account_says_so(halt):
    """Nothing was closed, so nothing is claimed."""
    code, told = halt("--flatten")
    assert (code, told["closed"]) == (7, [])
    assert "no account is known" in told["not_done"][0]
    assert told["flat"] is False
    assert "no position is known to be closed" in told["protects"]


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("sim-demo", Account("sim", Mode.DEMO)),
        ("blofin-dry-run", Account("blofin", Mode.DRY_RUN)),
        ("ccxt-okx-live", Account("ccxt:okx", Mode.LIVE)),
        ("drill", None),
        ("-demo", None),
    ],
)
def test_account_is_found_by_its_name(name, account):
    """The journal knows names only."""
    assert Account.of_name(name) == account


@pytest.mark.process
def test_unconfirmed_cancel_is_exit_7(halt, busy_box):
    """What could not be confirmed is named; the flag is up all the same."""
    busy_box.fault("lost_request", "trade/cancel", count=None)
    code, told = halt()
    assert code == 7
    assert told["not_done"]


@pytest.mark.process
def test_drill_touches_nothing_and_is_timed(halt, state):
    """The whole of it on a box, and the real flag stays down."""
    code, told = halt("--drill", "--flatten")
    assert (code, told["state"], told["flat"]) == (0, "drilled", True)
    assert 0 < told["halt_ms"] <= told["done_ms"] < 10_000
    assert len(told["canceled"]) == 2
    assert open_journal(state).halted() is None


@pytest.mark.process
def test_halt_loads_nothing_it_does_not_need(tmp_path):
    """numba, textual and mcp have no part in stopping."""
    code = (
        "import sys, json\nfrom blofin_cli.faces.cli import run\n"
        f"assert run(['halt', '--state', {str(tmp_path / 's.db')!r}]) == 0\n"
        "sys.stderr.write(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
    assert loaded.isdisjoint({"numba", "textual", "mcp", "pandas", "rich", "talib"})


def test_halt_flag_survives_a_resume_that_is_refused(halt, blofin, state):
    """A refused resume leaves everything as it was."""
    open_journal(state).set_halt(Halt(ts_ms=1, face="test", cause="x"))
    assert blofin("resume").code == 3
    assert open_journal(state).halted().cause == "x"
