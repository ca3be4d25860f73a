"""The real journal on a memory file system, with a hand on every statement it runs.

Each SQL statement of a living process passes here first: it may find the file locked or the disk
full, and the process may die between any two of them. Statements of the world outside (the other
face, the checkers) always pass.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import Errand, Halt, Pause
from blofin_cli.core.status import SessionStatus
from blofin_cli.errors import DataError
from blofin_cli.ports import Journal
from tests.storm.loop import Incarnation, Killed, current
from tests.storm.world import World

BEATS_A_WRITE = 6
LOOKS_A_READ = 200
_WRITES = ("insert", "update", "delete", "replace", "commit")
_real_connect = sqlite3.connect


class Watch:
    """Who is asked before a statement runs; `count` numbers those of living processes."""

    def __init__(self) -> None:
        self.count = 0
        self.before: Callable[[Incarnation, str, int], None] | None = None

    def statement(self, sql: str) -> None:
        """Let one statement pass, or not."""
        life = current()
        if life is None:
            return
        word = sql.lstrip()[:8].lower()
        if word.startswith("rollback"):
            return
        if life.is_dead:
            raise Killed
        self.count += 1
        if self.before is not None:
            self.before(life, word, self.count)
            if life.is_dead:
                raise Killed


WATCH = Watch()


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
        WATCH.statement(sql)
        return super().execute(sql, *given)

    def executemany(self, sql: str, *given: Any) -> sqlite3.Cursor:
        WATCH.statement(sql)
        return super().executemany(sql, *given)


def _connect(*given: Any, **words: Any) -> sqlite3.Connection:
    words.setdefault("factory", _Connection)
    return _real_connect(*given, **words)


@contextmanager
def watched() -> Iterator[Watch]:
    """Every connection made meanwhile is watched."""
    sqlite3.connect = _connect  # type: ignore[assignment]
    WATCH.count, WATCH.before = 0, None
    try:
        yield WATCH
    finally:
        sqlite3.connect = _real_connect  # type: ignore[assignment]
        WATCH.before = None


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that costs no disk."""
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="storm-", dir=place) as name:
        yield Path(name)


def locked() -> sqlite3.OperationalError:
    """What SQLite says when another process holds the file."""
    problem = sqlite3.OperationalError("database is locked")
    problem.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return problem


def full() -> sqlite3.OperationalError:
    """What SQLite says when the disk is full."""
    problem = sqlite3.OperationalError("database or disk is full")
    problem.sqlite_errorcode = sqlite3.SQLITE_FULL
    return problem


def strike_storage(world: World, journal_of: dict[int, "StormJournal"]) -> None:
    """Let the nemesis at the statements."""

    def before(life: Incarnation, word: str, number: int) -> None:
        now = world.loop.now_s
        nemesis = world.nemesis
        journal = journal_of.get(life.number)
        if journal is not None and journal.is_reading_halt:
            if nemesis.is_on("halt_unreadable", now):
                raise locked()
            return
        if nemesis.is_on("storage_locked", now) and word.startswith(("begin", *_WRITES)):
            raise locked()
        if nemesis.is_on("storage_full", now) and word.startswith(_WRITES):
            raise full()

    WATCH.before = before


class StormJournal:
    """The journal as one incarnation sees it; `halt_read` is what it last saw of the flag."""

    def __init__(self, world: World, life: Incarnation | None, path: Path) -> None:
        self.world, self.life = world, life
        self.inner: Journal = open_journal(str(path))
        self.is_reading_halt = False
        self.halt_read: tuple[int, str] = (-1, "never")
        self.status_seen: SessionStatus | None = None
        self._beats = 0
        self._halt: Halt | None = None
        self._pauses: tuple[Pause, ...] = ()
        self._looked: dict[str, tuple[int, int]] = {}

    def halted(self) -> Halt | None:
        """The halt in force. A quarter-second tick reads it 14,400 times an hour, so the file is
        only asked when somebody may have changed it, when reading fails, or now and then."""
        self._check()
        step = self.world.loop.steps
        failing = self.world.nemesis.window("halt_unreadable", self.world.loop.now_s)
        if self._must_look("halted") or failing:
            self.is_reading_halt = True
            try:
                self._halt = self.inner.halted()
            except DataError:
                self.halt_read = (step, "unreadable")
                self._looked.pop("halted", None)
                raise
            finally:
                self.is_reading_halt = False
        self.halt_read = (step, "clear" if self._halt is None else "halted")
        return self._halt

    def pauses(self) -> tuple[Pause, ...]:
        """Pauses in force; looked up as the halt is."""
        self._check()
        if self._must_look("pauses"):
            self._pauses = self.inner.pauses()
        return self._pauses

    def take_errands(self, account: str, now_ms: int) -> tuple[Errand, ...]:
        """Waiting errands; looked up as the halt is."""
        self._check()
        if not self._must_look("errands"):
            return ()
        return self.inner.take_errands(account, now_ms)

    def set_halt(self, halt: Halt) -> tuple[str, ...]:
        """Raise the flag."""
        self._check()
        self.world.face_writes += 1
        return self.inner.set_halt(halt)

    def _must_look(self, name: str) -> bool:
        version, calls = self._looked.get(name, (-1, 0))
        calls += 1
        is_due = version != self.world.face_writes or calls % LOOKS_A_READ == 0
        self._looked[name] = (self.world.face_writes, calls)
        return is_due

    def beat(self, status: SessionStatus) -> None:
        """Heartbeat: every sixth reaches the file, since making JSON of it costs 300 us."""
        self._check()
        self.status_seen = status
        self._beats += 1
        if self._beats % BEATS_A_WRITE == 1:
            self.inner.beat(status)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def call(*given: Any, **words: Any) -> Any:
            self._check()
            return method(*given, **words)

        self.__dict__[name] = call
        return call

    def _check(self) -> None:
        if self.life is not None:
            self.life.check()
