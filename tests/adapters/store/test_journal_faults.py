"""Kills, races, locks, full disks, damage: nothing acknowledged is lost, nothing opens blindly."""

import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blofin_cli.adapters.store import open_journal, open_upkeep
from blofin_cli.adapters.store.journal import sqlite_journal
from blofin_cli.core.journal import Halt, IntentState
from blofin_cli.errors import DataError, RefusedError
from tests.adapters.store.samples import ACCOUNT, WIDE, halt, intent, room

ROOT = Path(__file__).parents[3]


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def checked(path: Path) -> None:
    """The file is whole by SQLite's own word and by ours."""
    assert open_upkeep(str(path)).check().problems == ()


# Kills and races.

LOOP = """
import sys
from dataclasses import replace
from pathlib import Path
from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import IntentState
from tests.adapters.store.samples import WIDE, intent
journal = open_journal(sys.argv[1], Path(sys.argv[2]))
for number in range(100_000):
    made = intent(f"{sys.argv[3]}-{number}")
    journal.reserve(made, WIDE)
    print("reserved", made.client_id, flush=True)
    journal.settle_intent(replace(made, state=IntentState.ACCEPTED, order_id=str(number)))
    journal.settle_intent(replace(made, state=IntentState.DONE, order_id=str(number)))
    print("settled", made.client_id, flush=True)
"""


@pytest.mark.process
def test_killed_session_loses_nothing_it_had_said(journal, location, path):
    """SIGKILL at any moment: what reserve or settle returned from is there, and at its word."""
    dice = random.Random(7)
    for life in range(3):
        session = start(LOOP, location, str(path.parent), str(life))
        assert session.stdout is not None
        said = [session.stdout.readline() for _ in range(3)]
        time.sleep(dice.uniform(0, 0.15))
        session.kill()
        rest, errors = session.communicate(timeout=60)
        assert not errors
        lines = [
            line.split() for line in [*said, *rest.splitlines(keepends=True)] if line[-1] == "\n"
        ]
        assert len(lines) >= 3
        for word, client_id in lines:
            found = journal.intent(client_id)
            assert found is not None
            assert word == "reserved" or found.state is IntentState.DONE
    ended = [item for item in journal.intents(ACCOUNT, limit=100_000) if not item.state.is_open]
    assert all(item.order_id is not None for item in ended)
    if "://" not in location:
        checked(path)


RACER = """
import sys
from decimal import Decimal
from pathlib import Path
from blofin_cli.adapters.store import open_journal
from blofin_cli.errors import DataError, RefusedError
from tests.adapters.store.samples import intent, room
journal = open_journal(sys.argv[1], Path(sys.argv[2]))
limits = room(count=30, risk_usdt=Decimal("75.5"), notional_usdt=Decimal(3000))
print("ready", flush=True)
sys.stdin.readline()
got = 0
for number in range(25):
    try:
        journal.reserve(intent(f"{sys.argv[3]}-{number}"), limits)
        got += 1
    except RefusedError:
        pass
print(got)
"""


@pytest.mark.process
def test_two_processes_never_pass_a_limit_together(another, location, path):
    """Of 75 USDT at 5 USDT each both together get 15 entries, exactly."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, location, str(path.parent), name], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=40) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], said
    assert sum(int(out) for out, _ in said) == 15
    held = another().open_intents(ACCOUNT)
    assert sum(item.risk_usdt for item in held) == 75


@pytest.mark.process
def test_threads_share_a_journal(journal, another):
    """Each has its own connection; together they keep the limit as well."""

    def take(number: int) -> bool:
        try:
            journal.reserve(intent(str(number)), room(count=10, risk_usdt=Decimal(10**6)))
        except RefusedError:
            return False
        return journal.halted() is None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(40))) == 10
    assert len(another().open_intents(ACCOUNT)) == 10


@pytest.mark.process
def test_child_process_does_not_use_its_parents_connection(journal, path):
    """A fork opens its own; the parent's goes on."""
    journal.reserve(intent("a"), WIDE)
    child = os.fork()
    if child == 0:
        try:
            journal.reserve(intent("b"), WIDE)
            os._exit(0 if len(journal.open_intents(ACCOUNT)) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    journal.reserve(intent("c"), WIDE)
    assert len(journal.open_intents(ACCOUNT)) == 3


# Locks.

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "all":
    connection.execute("pragma locking_mode = exclusive")
connection.execute("begin immediate")
connection.execute("insert into documents values ('a', 'b', '{}')")
print("held", flush=True)
time.sleep(float(sys.argv[3]))
connection.execute("rollback")
"""


@contextmanager
def held(path: Path, what: str, seconds: float) -> Iterator[None]:
    """Another process has the write lock, or all locks, for so long."""
    holder = start(HOLDER, str(path), what, str(seconds))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield
    finally:
        holder.kill()
        holder.communicate(timeout=10)


@pytest.mark.process
def test_reservation_waits_for_a_short_writer_and_not_for_a_long_one(path):
    """0.2 s is waited for; after a second the order is not sent, and the flag is read all along."""
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    with held(path, "writes", 0.2):
        journal.reserve(intent("b"), WIDE)
    with held(path, "writes", 30):
        begun = time.monotonic()
        assert journal.halted() is None
        assert len(journal.open_intents(ACCOUNT)) == 2
        assert time.monotonic() - begun < 1
        with pytest.raises(DataError, match="busy"):
            journal.reserve(intent("c"), WIDE)
        assert 0.8 < time.monotonic() - begun < 5
    journal.reserve(intent("c"), WIDE)


@pytest.mark.process
def test_locked_flag_is_told_at_once(path):
    """A database that cannot be read within 50 ms halts; the file still takes a halt."""
    open_journal(str(path)).reserve(intent("a"), WIDE)
    for wal in path.parent.glob("*-shm"):
        wal.unlink()
    journal = sqlite_journal(path, busy_seconds_max=0.2)
    with held(path, "all", 30):
        begun = time.monotonic()
        with pytest.raises(DataError, match="busy"):
            journal.halted()
        assert time.monotonic() - begun < 1
        [problem] = journal.set_halt(halt())
        assert "busy" in problem
        assert journal.halted() == halt()
    assert journal.halted() == halt()


def test_flag_is_read_within_a_millisecond(path):
    """It is read before every order: the median of 500 looks, with an intent kept now and then."""
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    took = []
    for _ in range(500):
        begun = time.perf_counter()
        assert journal.halted() is None
        took.append(time.perf_counter() - begun)
    assert statistics.median(took) < 0.001


# The disk.

FULL = """
import resource, sys
from dataclasses import replace
from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import IntentState
from blofin_cli.errors import DataError
from tests.adapters.store.samples import ACCOUNT, WIDE, halt, intent
journal = open_journal(sys.argv[1])
journal.reserve(intent("a"), WIDE)
size = max(300_000, __import__("os").stat(sys.argv[1]).st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
kept = 0
try:
    for number in range(10_000):
        journal.reserve(intent(str(number)), WIDE)
        kept += 1
except DataError as error:
    assert "disk" in error.message, error.message
else:
    raise SystemExit("never full")
assert journal.halted() is None
assert len(journal.open_intents(ACCOUNT)) == kept + 1
problems = journal.set_halt(halt())
assert len(problems) <= 1 and journal.halted() is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.clear_halt(1, "cli")
journal.reserve(intent("again"), WIDE)
assert len(journal.open_intents(ACCOUNT)) == kept + 2
print("ok")
"""


@pytest.mark.process
def test_file_that_cannot_grow_refuses_and_recovers(path):
    """No opening, the flag still works, and once there is space all goes on."""
    out, err = start(FULL, str(path)).communicate(timeout=50)
    assert out == "ok\n", err
    checked(path)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 2 MB; skipped where none may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.process
def test_full_disk_refuses_and_recovers(small_disk):
    """A real ENOSPC: the entry is refused, what was said stays, a halt is still one, and space
    brings it back."""
    path = small_disk / "state.db"
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        file.writelines(b"x" * 4096 for _ in range(10_000))

    def reserve_many() -> None:
        for number in range(2_000):
            journal.reserve(intent(f"b{number}", note="x" * 500), WIDE)

    with pytest.raises(DataError, match="disk"):
        reserve_many()
    kept = journal.open_intents(ACCOUNT)
    assert intent("a") in kept
    assert journal.halted() is None
    journal.set_halt(Halt(ts_ms=1, face="cli", cause="full"))
    assert (small_disk / "HALT").exists()
    assert journal.halted() is not None
    filler.unlink()
    journal.clear_halt(2, "cli")
    journal.reserve(intent("c"), WIDE)
    assert journal.open_intents(ACCOUNT) == (*kept, intent("c"))
    checked(path)


# Damage. A session is running: its connections are open and its pages are cached.


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def removed(path: Path) -> None:
    path.unlink()


def overwritten(path: Path) -> None:
    path.write_text("a line of text\n")


def zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)


def swapped_for_text(path: Path) -> None:
    path.unlink()
    path.write_text("a line of text\n" * 1000)


def swapped_for_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swapped_for_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table halts (id integer)")


def swapped_for_another_state(path: Path) -> None:
    other = path.with_name("other.db")
    open_journal(str(other)).reserve(intent("x"), WIDE)
    other.replace(path)


def taken_over(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("pragma application_id = 7")


def written_by_a_newer_build(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("pragma user_version = 99")


def without_its_flag(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("drop table halts")


def with_a_flag_nobody_can_read(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("insert into halts (ts_ms, document) values (1, 'stop')")


DAMAGE = (
    emptied, halved, removed, overwritten, zeroed, swapped_for_text, swapped_for_a_folder,
    swapped_for_another_program, swapped_for_another_state, taken_over, written_by_a_newer_build,
    without_its_flag, with_a_flag_nobody_can_read,
)  # fmt: skip
DATABASES = (taken_over, written_by_a_newer_build, without_its_flag, with_a_flag_nobody_can_read)
"""Whole databases all the same: SQLite may tidy their log away."""


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("has_log", [True, False])
def test_damage_under_a_running_session_halts(path, damage, has_log):
    """Nobody is ever told `not halted` by a state that is not whole; a halt can still be set."""
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    assert journal.halted() is None
    if not has_log:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DataError):
        journal.halted()
    with pytest.raises(DataError):
        journal.reserve(intent("b"), WIDE)
    assert len(journal.set_halt(halt())) == (0 if damage is with_a_flag_nobody_can_read else 1)
    assert journal.halted() is not None
    if damage not in DATABASES:
        assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    "damage", [emptied, overwritten, zeroed, swapped_for_text, swapped_for_a_folder,
               swapped_for_another_program, written_by_a_newer_build, halved],
    ids=lambda damage: damage.__name__,
)  # fmt: skip
def test_damaged_state_is_not_begun_with(path, damage):
    """A start refuses with the way out; it never starts empty by itself."""
    open_journal(str(path)).reserve(intent("a"), WIDE)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    for attempt in (
        lambda journal: journal.open_intents(ACCOUNT),
        lambda journal: journal.reserve(intent("b"), WIDE),
    ):
        with pytest.raises(DataError) as caught:
            attempt(open_journal(str(path)))
        assert caught.value.hint
    assert (path.read_bytes() if path.is_file() else None) == before


def test_log_without_its_file_is_no_fresh_start(path):
    """Who lost the file but not the log is told so, by the flag too."""
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(DataError, match="left over"):
        open_journal(str(path)).halted()


def test_flipped_bits_never_turn_a_halt_off(path):
    """One byte at a time, all over the file: the flag is told, or an error is."""
    journal = open_journal(str(path))
    journal.reserve(intent("a"), WIDE)
    journal.set_halt(halt())
    del journal
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("pragma journal_mode = delete")
    whole = path.read_bytes()
    for place in random.Random(7).sample(range(len(whole)), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(DataError):
            assert open_journal(str(path)).halted() is not None


@pytest.mark.process
def test_log_cut_anywhere_keeps_a_beginning_of_what_was_said(tmp_path):
    """150 cuts: the state opens, is whole, and holds the first intents without a hole."""
    path = tmp_path / "state.db"
    journal = open_journal(str(path))
    journal.reserve(intent("0"), WIDE)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    for number in range(1, 20):
        journal.reserve(intent(str(number), created_ms=number), WIDE)
        journal.settle_intent(
            replace(intent(str(number), created_ms=number), state=IntentState.DONE)
        )
    image, log = path.read_bytes(), path.with_name("state.db-wal").read_bytes()
    cuts = sorted({round(len(log) * step / 149) for step in range(150)})
    counts = []
    for number, cut in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "state.db").write_bytes(image)
        (folder / "state.db-wal").write_bytes(log[:cut])
        found = open_journal(str(folder / "state.db")).intents(ACCOUNT)
        keys = sorted(int(item.key) for item in found)
        assert keys == list(range(len(keys)))
        assert sum(item.state.is_open for item in found) <= 2
        counts.append(len(keys))
        if number % 30 == 0:
            checked(folder / "state.db")
        shutil.rmtree(folder)
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 20)


# A server.


@pytest.fixture
def on_server(server, path):
    """Opens the journal on an empty server."""
    from tests.adapters.store.server import emptied as empty_server

    address = empty_server(server)
    path.parent.mkdir()
    return lambda: open_journal(address, path.parent)


def asked(server: str, sql: str) -> list[tuple[object, ...]]:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        found = connection.execute(sql)
        return found.fetchall() if found.description else []


@pytest.mark.process
def test_server_that_hangs_halts_in_time(on_server, server):
    """A stopped server answers nothing: who asks for the flag is told within a second."""
    journal = on_server()
    journal.reserve(intent("a"), WIDE)
    assert journal.halted() is None
    [(pid,)] = asked(server, "select pid from pg_stat_activity where application_name = 'blofin'")
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(DataError):
            journal.halted()
        assert time.monotonic() - begun < 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert journal.halted() is None


@pytest.mark.process
def test_connection_that_broke_is_replaced(on_server, server):
    """A server that was restarted is asked again, without a word."""
    journal = on_server()
    journal.reserve(intent("a"), WIDE)
    asked(server, "select pg_terminate_backend(pid) from pg_stat_activity"
                  " where application_name = 'blofin'")  # fmt: skip
    assert journal.halted() is None
    assert journal.open_intents(ACCOUNT) == (intent("a"),)


@pytest.mark.process
def test_lost_name_stops_the_one_who_lost_it(on_server, server):
    """Two sessions must not trade one account: whose lock is gone reserves nothing more."""
    journal = on_server()
    with journal.lock("account-sim-demo"):
        journal.reserve(intent("a"), WIDE)
        asked(server, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
        with (
            on_server().lock("account-sim-demo"),
            pytest.raises(DataError, match="lock account-sim-demo was lost"),
        ):
            journal.reserve(intent("b"), WIDE)
    journal.reserve(intent("c"), WIDE)


@pytest.mark.process
@pytest.mark.parametrize(
    "sql",
    [
        "drop table blofin.halts",
        "drop table blofin.state_version",
        "delete from blofin.state_version",
        "update blofin.state_version set version = 99",
        "insert into blofin.halts (ts_ms, document) values (1, 'stop')",
        "drop schema blofin cascade",
    ],
)
def test_damage_on_the_server_halts(on_server, server, sql):
    """A table that is gone is not a flag that is down."""
    journal = on_server()
    journal.reserve(intent("a"), WIDE)
    asked(server, sql)
    with pytest.raises(DataError):
        journal.halted()
    with pytest.raises(DataError):
        journal.reserve(intent("b"), WIDE)
    assert len(journal.set_halt(halt())) == (0 if "insert" in sql else 1)
    assert journal.halted() is not None


@pytest.mark.process
def test_server_of_another_program_is_not_used(server, path):
    """A schema of our name that is not ours is left alone."""
    from tests.adapters.store.server import emptied as empty_server

    address = empty_server(server)
    asked(server, "create schema blofin; create table blofin.halts (id int)")
    journal = open_journal(address, path.parent)
    for attempt in (journal.halted, lambda: journal.reserve(intent(), WIDE)):
        with pytest.raises(DataError, match="not ours"):
            attempt()
    assert asked(server, "select count(*) from blofin.halts") == [(0,)]


@pytest.mark.parametrize("place", ["127.0.0.1:1/db", "/d?host=/nowhere"])
@pytest.mark.process
def test_server_that_is_not_there_is_told_without_the_password(place, path):
    """The address is shown without its secret, and the halt file still works."""
    pytest.importorskip("psycopg")
    journal = open_journal(f"postgresql://u:s3cret@{place}", path.parent)
    with pytest.raises(DataError) as caught:
        journal.halted()
    assert "s3cret" not in str(caught.value.envelope())
    [problem] = journal.set_halt(halt())
    assert "s3cret" not in problem
    assert journal.halted() == halt()


# The trail.


@pytest.mark.process
@pytest.mark.parametrize(
    "change",
    [
        "update {audit} set outcome = 'x'", "delete from {audit}",
        "insert or replace into {audit} select * from {audit}", "truncate {audit}",
    ],
)  # fmt: skip
def test_trail_is_append_only(journal, location, change):
    """The database itself refuses to change what was done."""
    from tests.adapters.store.test_journal import Entry

    journal.append_audit(Entry())
    if "://" in location:
        import psycopg

        with pytest.raises(psycopg.Error):
            asked(location, change.format(audit="blofin.audit"))
    else:
        with closing(sqlite3.connect(location)) as connection, pytest.raises(sqlite3.Error):
            connection.execute(change.format(audit="audit"))
    assert journal.verify_audit() == (1, None)
