"""The state file itself: what may stand in its place, how it is made, opened and locked.

Nothing is trusted because of its name. Kind, magic number and application id are read before
SQLite sees the file, since opening another program's database leaves traces beside it. A new file
is built under another name and moved into place whole, so a crash leaves a state or none.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from blofin_cli.adapters.store import schema
from blofin_cli.adapters.store.database import (
    LOCK_NAME,
    QUICK_SECONDS_MAX,
    Kept,
    Patience,
    Row,
    Values,
    bound,
    check_lock_name,
    held_elsewhere,
)
from blofin_cli.errors import BlofinError, DataError

BUSY_SECONDS_MAX = 5.0
SETUP_SECONDS_MAX = 60.0
LOCK_SECONDS_MAX = 0.1  # longer than somebody else needs to look whether a name is held

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID = slice(68, 72)
_HANDLES_MAX = 64
_UNTOUCHED = "it was not touched; move it away, or name another file with --state PATH"
_RESTORE = (
    "move it away, then restore a backup or begin anew from what the exchange reports"
    " (blofin guide state); it is never overwritten"
)

Identity = tuple[int, int]

_handles: dict[Identity, int] = {}
_verifying = threading.Lock()


class SqliteTables:
    """A connection to the file, asked by name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def ask(self, sql: str, values: Values | None = None) -> list[Row]:
        """Every row a query finds."""
        return self.connection.execute(sql, bound(values)).fetchall()

    def write(self, sql: str, values: Values) -> int:
        """Run one statement; how many rows it touched."""
        return self.connection.execute(sql, bound(values)).rowcount


class _Threads(threading.local):
    """The connections of the thread that looks; None before their first use."""

    reader: Kept[sqlite3.Connection] | None = None
    writer: Kept[sqlite3.Connection] | None = None


class StateFile:
    """One SQLite file in WAL mode and the locks beside it.

    A call opens a connection of its own, or with `keeps_open` uses the one its thread keeps, so
    that threads may share the object. Kept or not, each call looks at the file first: who swaps,
    cuts or empties it under a running session is found out before the next word is believed.
    Errors: DataError for everything that can be wrong with the file, its folder or its disk.
    """

    def __init__(
        self, path: Path, *, busy_seconds_max: float = BUSY_SECONDS_MAX, keeps_open: bool = False
    ) -> None:
        self._path = path
        self._patience = Patience(busy_seconds_max)
        self._keeps_open = keeps_open
        self._kept = _Threads()
        self._seen: Identity | None = None
        self._size_bytes = 0

    @contextmanager
    def reading(self, *, is_quick: bool = False) -> Iterator[SqliteTables | None]:
        """A read-only connection; None, and nothing created, when there is no state yet."""
        seconds = QUICK_SECONDS_MAX if is_quick else self._patience.seconds
        with self._typed(seconds):
            if self._identity() is None:
                self._refuse_leftover()
                yield None
                return
            with self._reader(seconds) as connection:
                yield SqliteTables(connection)

    @contextmanager
    def writing(self, *, is_durable: bool = False) -> Iterator[SqliteTables]:
        """A transaction that holds the write lock; it commits at the end and else rolls back."""
        seconds = self._patience.seconds
        with self._typed(seconds):
            if self._identity() is None:
                self._prepare()
                self._identity()
            with self._writer(seconds) as connection:
                connection.execute(f"pragma synchronous = {'full' if is_durable else 'normal'}")
                with _transaction(connection):
                    yield SqliteTables(connection)
        self._patience.restore()

    @contextmanager
    def _reader(self, seconds: float) -> Iterator[sqlite3.Connection]:
        if not self._keeps_open:
            with closing(self._read_only(seconds)) as connection:
                yield connection
            return
        kept = self._usable(self._kept.reader)
        self._kept.reader = None  # dropped unless all goes well
        if kept is None:
            connection = self._read_only(seconds)
            kept = Kept(connection)
        else:
            kept.connection.execute(f"pragma busy_timeout = {int(seconds * 1000)}")
        yield kept.connection
        self._kept.reader = kept

    @contextmanager
    def _writer(self, seconds: float) -> Iterator[sqlite3.Connection]:
        if not self._keeps_open:
            with closing(self._current("mode=rw", seconds)) as connection:
                yield connection
            return
        kept = self._usable(self._kept.writer)
        self._kept.writer = None
        if kept is None:
            kept = Kept(self._current("mode=rw", seconds))
        else:
            kept.connection.execute(f"pragma busy_timeout = {int(seconds * 1000)}")
        try:
            yield kept.connection
        except BlofinError:  # a refusal, not the connection's fault
            self._kept.writer = kept
            raise
        self._kept.writer = kept

    def _usable(self, kept: Kept[sqlite3.Connection] | None) -> Kept[sqlite3.Connection] | None:
        """The kept connection if it is of this process and this build's version.

        It is to the file that was looked at: `_identity` refuses any other.
        """
        if kept is None or not kept.is_ours:
            return None
        application_id, version = schema.identity(kept.connection)
        self._refuse_foreign(application_id)
        return kept if version == schema.VERSION else None

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name for other processes to respect.

        Errors: RefusedError when it is held; UsageError when the name could not be a file's.
        """
        check_lock_name(name)
        with self._held(name, seconds_max=LOCK_SECONDS_MAX) as is_held:
            if not is_held:
                raise held_elsewhere(name, str(self._lock_path(name)))
            yield

    def is_locked(self, name: str) -> bool:
        """Whether some process holds the name; nothing is created to find out."""
        if LOCK_NAME.fullmatch(name) is None or not self._lock_path(name).exists():
            return False
        with self._held(name, seconds_max=0) as is_held:
            return not is_held

    def _identity(self) -> Identity | None:
        """Which file it is, its header looked at; None when there is no state yet.

        An empty file that nobody began a state in holds none; anything foreign is refused, and so
        is a state that was there and is emptied, or was there for this object and is gone or
        another: to go on would mean to start empty.
        """
        try:
            status = self._path.stat()
        except FileNotFoundError:
            if self._path.is_symlink():
                raise self._refusal("is a link to a file that does not exist") from None
            if self._seen is not None:
                raise self._refusal("has gone while it was in use", _RESTORE) from None
            return None
        if not stat.S_ISREG(status.st_mode):
            raise self._refusal("is not a regular file")
        identity = (status.st_dev, status.st_ino)
        if status.st_size == 0:
            if self._seen is not None or _has_content(self._beside("-wal")) or self._was_made():
                raise self._refusal("was emptied", _RESTORE)
            return None
        self._verify(identity)
        self._check_size(status.st_size)
        if self._keeps_open and self._seen not in {None, identity}:
            raise self._refusal("was replaced while it was in use", "start this again")
        self._seen = identity
        return identity

    def _was_made(self) -> bool:
        """Whether a state was ever made under this name: a whole file takes its place at once, so
        an empty one beside the lock of its making lost what it held. One being made now counts not.
        """
        return self._lock_path("setup").exists() and not self.is_locked("setup")

    def _check_size(self, size_bytes: int) -> None:
        """Refuse a file that has shrunk: nothing here ever makes one smaller."""
        if size_bytes < self._size_bytes:
            raise self._refusal("was cut short while it was in use", _RESTORE)
        self._size_bytes = size_bytes

    def _verify(self, identity: Identity) -> None:
        """Read the header on the disk, which SQLite may never look at again.

        The handle is kept: closing any handle of a file drops all POSIX locks this process has on
        it, SQLite's too. Only the oldest of very many is closed.
        """
        with _verifying:
            if identity not in _handles:
                if len(_handles) >= _HANDLES_MAX:
                    os.close(_handles.pop(next(iter(_handles))))
                handle = os.open(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                opened = os.fstat(handle)
                if (opened.st_dev, opened.st_ino) != identity:
                    os.close(handle)
                    raise self._refusal("was replaced while it was opened", "start this again")
                _handles[identity] = handle
            header = os.pread(_handles[identity], _HEADER_BYTES, 0)
        if not header.startswith(_MAGIC):
            raise self._refusal("is not a database")
        self._refuse_foreign(int.from_bytes(header[_APPLICATION_ID], "big"))

    def _refuse_foreign(self, application_id: int) -> None:
        if application_id != schema.APPLICATION_ID:
            raise self._refusal("is a database of another program")

    def _read_only(self, seconds: float) -> sqlite3.Connection:
        try:
            return self._current("mode=ro", seconds)
        except sqlite3.OperationalError as error:
            # A reader of a WAL file needs an index beside it. Where the folder cannot be written
            # and no log is waiting, nobody is writing either.
            is_frozen = not os.access(self._path.parent, os.W_OK)
            if _code(error) in _BUSY or not is_frozen or _has_content(self._beside("-wal")):
                raise
            return self._current("mode=ro&immutable=1", seconds)

    def _current(self, options: str, seconds: float) -> sqlite3.Connection:
        """A connection to a file of this build's version, migrated if it was older."""
        connection, version = self._connected(options, seconds)
        if version < schema.VERSION:
            connection.close()
            self._prepare()
            connection, version = self._connected(options, seconds)
        return connection

    def _connected(self, options: str, seconds: float) -> tuple[sqlite3.Connection, int]:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?{options}",
            uri=True,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=not self._keeps_open,  # a thread that ended is tidied up by another
        )
        try:
            application_id, version = schema.identity(connection)
            self._refuse_foreign(application_id)
            if version > schema.VERSION:
                raise DataError(
                    f"state file {self._path} was written by a newer blofin-cli "
                    f"(schema {version}; this one knows {schema.VERSION})",
                    hint="upgrade blofin-cli, or name another file with --state PATH",
                    details={"path": str(self._path), "schema": version},
                )
        except (sqlite3.Error, DataError):
            connection.close()
            raise
        return connection, version

    def _prepare(self) -> None:
        """Make the file, or bring it to this build's version; one process at a time."""
        with self._held("setup", seconds_max=SETUP_SECONDS_MAX) as is_held:
            if not is_held:
                raise self._busy(SETUP_SECONDS_MAX)
            if self._identity() is None:
                self._create()
                return
            connection, version = self._connected("mode=rw", self._patience.seconds)
            with closing(connection):
                if version < schema.VERSION:
                    with _transaction(connection):
                        schema.migrate(connection)

    def _create(self) -> None:
        self._refuse_leftover()
        part = self._beside(".part")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as connection:
                with _transaction(connection):
                    schema.migrate(connection)
                connection.execute("pragma journal_mode = wal")
            part.replace(self._real_path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(part.parent)

    def _refuse_leftover(self) -> None:
        """A log without its file is all that is left of a state; SQLite would replay it."""
        log = self._beside("-wal")
        if _has_content(log):
            raise DataError(
                f"{log} is left over from a state file that is gone",
                hint=f"put {self._path.name} back beside it, or move {log.name} away",
                details={"path": str(log)},
            )

    @contextmanager
    def _held(self, name: str, *, seconds_max: float) -> Iterator[bool]:
        """Whether the named lock could be had within the time; held while the block runs."""
        from filelock import FileLock, Timeout

        with self._typed(self._patience.seconds):
            self._real_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._lock_path(name), timeout=seconds_max, mode=0o600)
            try:
                lock.acquire()
            except Timeout:
                is_held = False
            else:
                is_held = True
        try:
            yield is_held
        finally:
            lock.release()

    def _lock_path(self, name: str) -> Path:
        return self._beside(f".{name}.lock")

    def _beside(self, suffix: str) -> Path:
        return self._real_path.with_name(self._real_path.name + suffix)

    @property
    def _real_path(self) -> Path:
        """Where the file is when its name is a link: one file, one set of locks."""
        return Path(os.path.realpath(self._path))

    def _refusal(self, what: str, hint: str = _UNTOUCHED) -> DataError:
        return DataError(
            f"state file {self._path} {what}", hint=hint, details={"path": str(self._path)}
        )

    def _busy(self, seconds: float) -> DataError:
        return DataError(
            f"state file {self._path} is busy: another process has held it for {seconds:g} s",
            hint="try again when that process is done",
            details={"path": str(self._path)},
        )

    @contextmanager
    def _typed(self, seconds: float) -> Iterator[None]:
        """What SQLite and the system complain about, in the user's words."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
            raise  # a defect of ours, not of the file
        except sqlite3.DatabaseError as error:
            if _code(error) in _BUSY:
                self._patience.spend()
                raise self._busy(seconds) from error
            raise self._failure(_code(error), str(error)) from error
        except UnicodeDecodeError as error:
            raise self._failure(sqlite3.SQLITE_CORRUPT, str(error)) from error
        except OSError as error:
            raise DataError(
                f"state file {self._path} cannot be used: {error.strerror or error}",
                hint="check the folder and its permissions, or name another file with --state PATH",
                details={"path": str(self._path)},
            ) from error

    def _failure(self, code: int, said: str) -> DataError:
        what, hint = _FAILURES.get(code, (f"cannot be used: {said}", _UNTOUCHED))
        return DataError(
            f"state file {self._path} {what}",
            hint=hint,
            details={"path": str(self._path), "sqlite": said},
        )


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FAILURES = {
    sqlite3.SQLITE_READONLY: (
        "cannot be written: it or its file system is read-only",
        "make it writable, or name another file with --state PATH",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "check the folder and its permissions, or name another file with --state PATH",
    ),
    sqlite3.SQLITE_PERM: ("cannot be opened", "check its permissions"),
    sqlite3.SQLITE_FULL: (
        "cannot grow: the disk is full",
        "free some space and try again; what was saved before is safe",
    ),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: the disk is full or failing",
        "check the disk's space and health and try again",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        _RESTORE,
    ),
    sqlite3.SQLITE_NOTADB: ("is not a database", _UNTOUCHED),
}


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
