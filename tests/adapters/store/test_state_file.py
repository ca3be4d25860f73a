import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from blofin_cli.adapters.store import open_journal, open_store, schema
from blofin_cli.adapters.store.file import StateFile
from blofin_cli.adapters.store.runs import sqlite_store
from blofin_cli.app.context import AuditEntry
from blofin_cli.errors import DataError, Exit, RefusedError, UsageError

ROOT = Path(__file__).parents[3]
DUMPS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def refused(path: Path, a_run) -> str:
    """Reading and writing are both refused with exit 8, and the file stays; what was said."""
    before = path.read_bytes() if path.is_file() else None
    store = open_store(str(path))
    for attempt in (store.runs, lambda: store.save_run(a_run()), lambda: store.trial_sharpes("d")):
        with pytest.raises(DataError) as caught:
            attempt()
        assert caught.value.exit is Exit.DATA
        assert caught.value.hint
    assert (path.read_bytes() if path.is_file() else None) == before
    return caught.value.message


def test_new_state_is_private_and_logs_ahead(store, a_run, path):
    """Folder 0700, file 0600, write-ahead log, and no half-made file beside it."""
    store.save_run(a_run())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert not list(path.parent.glob("*.part*"))


@pytest.mark.parametrize(
    "content", [b"a line of text\n", b"\0" * 4096, b"SQLite format 3\0", b"SQLite format 3\0" * 64]
)
def test_file_that_is_no_state_is_refused(tmp_path, a_run, content):
    """Text, zeros or the mere look of a database are neither read as empty nor overwritten."""
    path = tmp_path / "state.db"
    path.write_bytes(content)
    assert str(path) in refused(path, a_run)
    assert [item.name for item in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_database_of_another_program_is_refused_without_a_trace(tmp_path, a_run, mode):
    """Another bot's database is not even opened."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"pragma journal_mode = {mode}")
        connection.execute("create table runs (run_id text)")
    assert "another program" in refused(path, a_run)
    assert [item.name for item in tmp_path.iterdir()] == ["state.db"]


def test_database_swapped_in_later_is_refused(store, a_run, path):
    """Having been ours once does not make a file ours: SQLite is asked again on each opening."""
    store.save_run(a_run())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("pragma application_id = 7")
    assert "another program" in refused(path, a_run)


def test_folder_in_place_of_the_state_is_refused(tmp_path, a_run):
    """A folder stays a folder."""
    (tmp_path / "inside").touch()
    assert "not a regular file" in refused(tmp_path, a_run)


def test_pipe_in_place_of_the_state_does_not_hang(tmp_path, a_run):
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "state.db")
    assert "not a regular file" in refused(tmp_path / "state.db", a_run)


def test_link_into_nowhere_is_refused(tmp_path, a_run):
    """A disk that is not mounted must not look like an empty history."""
    link = tmp_path / "state.db"
    link.symlink_to(tmp_path / "unmounted" / "state.db")
    assert "link" in refused(link, a_run)
    assert not (tmp_path / "unmounted").exists()


def test_file_in_place_of_the_folder_is_refused(tmp_path, a_run):
    """The state's folder cannot be made inside a file."""
    (tmp_path / "notes").write_text("mine")
    refused(tmp_path / "notes" / "state.db", a_run)
    assert (tmp_path / "notes").read_text() == "mine"


def test_newer_schema_is_refused(store, a_run, path):
    """An older build keeps its hands off what it does not know."""
    store.save_run(a_run())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"pragma user_version = {schema.VERSION + 1}")
    assert "newer blofin-cli" in refused(path, a_run)


def test_damaged_pages_are_told(store, a_run, path):
    """A header that is fine does not hide a body that is not."""
    store.save_run(a_run())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(DataError, match="damaged"):
        store.runs()


def test_log_left_over_from_a_lost_state_is_not_replayed(store, a_run, path):
    """SQLite would play it into the new file, and it may be all that is left of the old one."""
    path.parent.mkdir()
    log = path.with_name("state.db-wal")
    log.write_bytes(b"what is left")
    with pytest.raises(DataError, match="left over"):
        store.save_run(a_run())
    assert log.read_bytes() == b"what is left"
    assert not path.exists()


def test_empty_file_holds_no_state_yet(store, a_run, path):
    """Nothing can be lost in it, so it may be filled."""
    path.parent.mkdir()
    path.touch()
    assert store.runs() == []
    assert store.save_run(a_run()) is True
    assert len(store.runs()) == 1


def test_linked_state_is_one_state(store, a_run, path, tmp_path):
    """The link stays a link, and both names share one set of locks."""
    path.parent.mkdir()
    path.touch()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = open_store(str(link))
    linked.save_run(a_run())
    assert link.is_symlink()
    assert len(store.runs()) == 1
    with store.lock("backtest"), pytest.raises(RefusedError), linked.lock("backtest"):
        pass


def test_state_with_odd_characters_in_its_name_is_that_file(tmp_path, a_run):
    """A name is a name, not a part of an address."""
    path = tmp_path / "a b?mode=memory#%41.db"
    open_store(str(path)).save_run(a_run())
    assert path.is_file()
    assert len(open_store(str(path)).runs()) == 1


def test_failed_write_changes_nothing(store, a_run, path):
    """A transaction is whole or not at all."""
    store.save_run(a_run())

    def fail() -> None:
        with StateFile(path).writing() as tables:
            tables.connection.execute("delete from runs")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(store.runs()) == 1


def test_writer_waits_and_then_says_who_is_in_the_way(store, a_run, path):
    """Readers go on while another process writes; a second writer is told after its wait."""
    store.save_run(a_run())
    hasty = sqlite_store(path, busy_seconds_max=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert len(hasty.runs()) == 1
        with pytest.raises(DataError, match="busy") as caught:
            hasty.save_run(a_run("bt-2"))
    assert "try again" in caught.value.hint
    assert hasty.save_run(a_run("bt-2")) is True


def test_writer_waits_long_only_once_while_another_holds_the_file(store, a_run, path):
    """The message says how long each call waited; one that gets through makes patient again."""
    store.save_run(a_run())
    patient = sqlite_store(path, busy_seconds_max=0.3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for waited in ("0.3 s", "0.05 s", "0.05 s"):
            other.execute("begin immediate")
            with pytest.raises(DataError, match=f"held it for {waited}"):
                patient.save_run(a_run("bt-2"))
            other.execute("rollback")
        assert patient.save_run(a_run("bt-2")) is True
        other.execute("begin immediate")
        with pytest.raises(DataError, match=r"held it for 0\.3 s"):
            patient.save_run(a_run("bt-3"))


def test_full_disk_is_told(tmp_path):
    """SQLite's own word for it, in ours."""

    def fill() -> None:
        with StateFile(tmp_path / "state.db").writing() as tables:
            tables.connection.execute("pragma max_page_count = 1")
            rows = [(row, "x" * 4096) for row in range(100)]
            tables.connection.executemany("insert into documents values ('a', ?, ?)", rows)

    with pytest.raises(DataError, match="disk is full") as caught:
        fill()
    assert "space" in caught.value.hint


def test_defect_of_ours_is_not_blamed_on_the_file(store, a_run):
    """A wrong type in a row is a bug and ends as one."""
    with pytest.raises(sqlite3.IntegrityError):
        store.save_run(a_run(version=None))


def test_lock_refuses_the_second_and_frees_after_the_first(store, path):
    """Cron starts the next job while the last one runs: it is refused at once, with exit 3."""
    other = open_store(str(path))
    with store.lock("backtest"):
        with (
            pytest.raises(RefusedError, match="another backtest is running"),
            other.lock("backtest"),
        ):
            pytest.fail("two hold it")
        with other.lock("tune"):
            pass
    with other.lock("backtest"):
        pass


def test_lock_passes_on_what_its_job_raises(store):
    """A job's own failure is not the state file's, and frees the lock."""
    with pytest.raises(FileNotFoundError), store.lock("backtest"):
        raise FileNotFoundError("candles")
    with store.lock("backtest"):
        pass


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_lock_name_cannot_leave_the_folder(store, name):
    """A name is a word, not a path."""
    with pytest.raises(UsageError), store.lock(name):
        pass


def dumped(path: Path) -> str:
    """The tables as SQL, without the times at which migrations ran."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "select sql from sqlite_master where sql > ''"
            " order by type = 'trigger', type desc, name"
        )
        tables = ";\n".join(sql for (sql,) in found)
        names = connection.execute("select name from _sqlite_migrations order by id").fetchall()
        version = schema.identity(connection)[1]
    applied = "".join(
        f"insert into _sqlite_migrations values ({number}, 'blofin', '{name}', '');\n"
        for number, (name,) in enumerate(names, start=1)
    )
    return f"{tables};\n{applied}pragma user_version = {version};\n"


def test_newest_dump_is_the_schema_of_this_build(store, a_run, path):
    """A released schema never changes; a new one comes with a migration and a dump of its own."""
    store.save_run(a_run())
    assert len(DUMPS) == schema.VERSION
    assert DUMPS[-1].read_text(encoding="utf-8") == dumped(path)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
@pytest.mark.parametrize("first", ["read", "write"])
def test_state_of_every_earlier_schema_opens(tmp_path, a_run, dump, first):
    """Whatever build wrote it, the first contact brings it to this build's schema."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
        connection.execute(f"pragma application_id = {schema.APPLICATION_ID}")
        connection.execute("pragma journal_mode = wal")
    store = open_store(str(path))
    if first == "read":
        assert store.runs() == []
    assert store.save_run(a_run()) is True
    assert dumped(path) == DUMPS[-1].read_text(encoding="utf-8")


def test_old_audit_rows_are_chained_by_the_migration(tmp_path):
    """What was entered before there was a chain becomes its beginning; new rows follow."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(DUMPS[0].read_text(encoding="utf-8"))
        connection.execute(f"pragma application_id = {schema.APPLICATION_ID}")
        rows = [(1, "cli", "backtest", "write", '{"symbol": ["BTC-USDT"]}', "ok")] * 3
        connection.executemany("insert into audit values (null, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("delete from audit where id = 2")  # nobody forbade it then
    journal = open_journal(str(path))
    assert journal.verify_audit() == (2, None)
    journal.append_audit(AuditEntry(2, "cli", "order", "trade", {}, "ok"))
    assert journal.verify_audit() == (3, None)
    assert [row.id for row in journal.audit()] == [4, 3, 1]


def test_interrupted_setup_leaves_no_state(store, a_run, path):
    """A file that was being made when the power went is made again."""
    path.parent.mkdir()
    path.with_name("state.db.part").write_bytes(b"half")
    assert store.runs() == []
    assert store.save_run(a_run()) is True


WRITER = """
import sys
from dataclasses import replace
from blofin_cli.adapters.store import open_store
from blofin_cli.ports import SavedRun, Trial
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = open_store(path)
run = SavedRun(
    run_id="x", kind="backtest", series="s", created_ms=1, symbols=("BTC-USDT",), timeframe="15m",
    since_ms=0, until_ms=1, digests={}, metrics={}, verdict_status="", version="0",
    result_json=b"{}" * 2000,
)
new = 0
for number in range(count):
    store.save_run(replace(run, run_id=f"{name}-{number}"))
    new += store.save_run(replace(run, run_id=f"shared-{number}"))
    store.record_trial(Trial(config_digest="c", data_digest="d", sharpe=0.1, created_ms=number))
    print(number, flush=True) if name == "endless" else None
print(new)
"""


def start(code: str, *arguments: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.process
def test_two_processes_write_at_once_from_the_first_moment(store, path):
    """Both find no state and make one; nothing is lost, and what both save is saved once."""
    writers = [start(WRITER, str(path), name, "40") for name in ("a", "b")]
    said = [writer.communicate(timeout=50) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert sum(int(out) for out, _ in said) == 40
    assert len(store.runs(limit=1_000)) == 120
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select times from trials").fetchall() == [(80,)]
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.process
def test_killed_writer_loses_nothing_it_had_said(store, path):
    """What a call returned from survives the death of the process."""
    writer = start(WRITER, str(path), "endless", "1000000")
    assert writer.stdout is not None
    last = [int(writer.stdout.readline()) for _ in range(20)][-1]
    writer.kill()
    writer.communicate(timeout=10)
    held = {run.run_id for run in store.runs(limit=100_000)}
    assert {f"endless-{number}" for number in range(last + 1)} <= held


HOLDER = """
import sys
from blofin_cli.adapters.store import open_store
with open_store(sys.argv[1]).lock("backtest"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_lock_of_a_dead_process_is_free(store, path):
    """Cron must not stand still because a job was killed."""
    holder = start(HOLDER, str(path), stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RefusedError), store.lock("backtest"):
        pass
    holder.kill()
    holder.communicate(timeout=10)
    with store.lock("backtest"):
        pass


LIMITED = """
import filelock, json, os, resource, sqlite3, sys
from dataclasses import replace
from blofin_cli.adapters.store import open_store
from blofin_cli.adapters.store.schema import wrapped
from blofin_cli.errors import DataError
store = open_store(sys.argv[1])
if sys.argv[2] == "frozen" and os.geteuid() == 0:
    wrapped(sqlite3.connect(":memory:"))  # all is loaded: nobody may not read the packages
    os.setuid(65534)
run = store.run("bt-1f00")
if sys.argv[2] == "small":
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
again = store.run("bt-1f00") == run
try:
    store.save_run(replace(run, run_id="bt-2", result_json=os.urandom(500_000)))
except DataError as error:
    print(json.dumps([again, error.message, error.hint]))
"""


@pytest.mark.process
def test_write_that_hits_a_limit_of_the_disk_keeps_what_was_there(store, a_run, path):
    """A file that cannot grow is told, and the earlier runs stay."""
    store.save_run(a_run())
    out, err = start(LIMITED, str(path), "small").communicate(timeout=30)
    again, message, _ = json.loads(out or err)
    assert again
    assert "disk" in message
    assert [run.run_id for run in store.runs()] == ["bt-1f00"]


@pytest.fixture
def frozen(store, a_run, path):
    """A state in a folder that cannot be written, even by a test that runs as root."""
    store.save_run(a_run())
    folder = Path(tempfile.mkdtemp())
    shutil.copyfile(path, folder / path.name)
    (folder / path.name).chmod(0o444)
    folder.chmod(0o555)
    yield folder / path.name
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.process
def test_read_only_state_is_read_and_not_written(frozen):
    """Looking needs no right to write; saving says what is missing."""
    out, err = start(LIMITED, str(frozen), "frozen").communicate(timeout=30)
    again, message, hint = json.loads(out or err)
    assert again
    assert "read-only" in message
    assert "--state" in hint
    assert [item.name for item in frozen.parent.iterdir()] == ["state.db"]
