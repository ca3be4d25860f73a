"""The state file itself: what may stand in its place, how it is made, opened and locked.

Nothing is trusted because of its name. Kind, magic number and application id are read before
SQLite sees the file, since opening another program's database leaves traces beside it. A new file
is built under another name and moved into place whole, so a crash leaves a state or none.
"""

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from blofin_cli.adapters.store import schema
from blofin_cli.errors import DataError, RefusedError, UsageError

BUSY_SECONDS_MAX = 5.0
SETUP_SECONDS_MAX = 60.0

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID = slice(68, 72)
_LOCK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_verified: set[tuple[int, int]] = set()
_verifying = threading.Lock()
_UNTOUCHED = "it was not touched; move it away, or name another file with --state PATH"


class StateFile:
    """One SQLite file in WAL mode and the locks beside it.

    Every call opens a connection of its own, so that threads may share the object.
    Errors: DataError for everything that can be wrong with the file, its folder or its disk.
    """

    def __init__(self, path: Path, *, busy_seconds_max: float = BUSY_SECONDS_MAX) -> None:
        self._path = path
        self._busy_seconds_max = busy_seconds_max

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A read-only connection; None, and nothing created, when there is no state yet."""
        with self._typed():
            if not self._is_present():
                yield None
                return
            with closing(self._read_only()) as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock; it commits at the end and else rolls back."""
        with self._typed():
            if not self._is_present():
                self._prepare()
            with closing(self._current("mode=rw")) as connection:
                connection.execute("pragma synchronous = normal")
                with _transaction(connection):
                    yield connection

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name for other processes to respect.

        Errors: RefusedError when it is held; UsageError when the name could not be a file's.
        """
        if _LOCK_NAME.fullmatch(name) is None:
            raise UsageError("a lock is named with letters, digits, dots and dashes")
        with self._held(name, seconds_max=0) as is_held:
            if not is_held:
                raise RefusedError(
                    f"another {name} is running",
                    hint="wait until it is done; if it hangs, end that process",
                    details={"lock": str(self._lock_path(name))},
                )
            yield

    def _is_present(self) -> bool:
        """Whether there is a state; an empty file holds none, anything foreign is refused."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            if self._path.is_symlink():
                raise self._refusal("is a link to a file that does not exist") from None
            return False
        if not stat.S_ISREG(status.st_mode):
            raise self._refusal("is not a regular file")
        if status.st_size == 0:
            return False
        self._verify((status.st_dev, status.st_ino))
        return True

    def _verify(self, identity: tuple[int, int]) -> None:
        """Read the header once, before SQLite opens the file.

        Closing any handle of a file drops all POSIX locks this process has on it, SQLite's too.
        """
        with _verifying:
            if identity in _verified:
                return
            with self._path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
            if not header.startswith(_MAGIC):
                raise self._refusal("is not a database")
            self._refuse_foreign(int.from_bytes(header[_APPLICATION_ID], "big"))
            _verified.add(identity)

    def _refuse_foreign(self, application_id: int) -> None:
        if application_id != schema.APPLICATION_ID:
            raise self._refusal("is a database of another program")

    def _read_only(self) -> sqlite3.Connection:
        try:
            return self._current("mode=ro")
        except sqlite3.OperationalError:
            # A reader of a WAL file needs an index beside it. Where the folder cannot be written
            # and no log is waiting, nobody is writing either.
            if os.access(self._path.parent, os.W_OK) or _has_content(self._beside("-wal")):
                raise
            return self._current("mode=ro&immutable=1")

    def _current(self, options: str) -> sqlite3.Connection:
        """A connection to a file of this build's version, migrated if it was older."""
        connection, version = self._connected(options)
        if version < schema.VERSION:
            connection.close()
            self._prepare()
            connection, version = self._connected(options)
        return connection

    def _connected(self, options: str) -> tuple[sqlite3.Connection, int]:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?{options}",
            uri=True,
            timeout=self._busy_seconds_max,
            isolation_level=None,
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
            if not self._is_present():
                self._create()
                return
            connection, version = self._connected("mode=rw")
            with closing(connection):
                if version < schema.VERSION:
                    with _transaction(connection):
                        schema.migrate(connection)

    def _create(self) -> None:
        log = self._beside("-wal")
        if _has_content(log):  # SQLite would replay it into the new file
            raise DataError(
                f"{log} is left over from a state file that is gone",
                hint=f"put {self._path.name} back beside it, or move {log.name} away",
                details={"path": str(log)},
            )
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
        _sync_folder(part.parent)

    @contextmanager
    def _held(self, name: str, *, seconds_max: float) -> Iterator[bool]:
        """Whether the named lock could be had within the time; held while the block runs."""
        from filelock import FileLock, Timeout

        with self._typed():
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

    def _refusal(self, what: str) -> DataError:
        return DataError(
            f"state file {self._path} {what}", hint=_UNTOUCHED, details={"path": str(self._path)}
        )

    def _busy(self, seconds: float) -> DataError:
        return DataError(
            f"state file {self._path} is busy: another process has held it for {seconds:g} s",
            hint="try again when that process is done",
            details={"path": str(self._path)},
        )

    @contextmanager
    def _typed(self) -> Iterator[None]:
        """What SQLite and the system complain about, in the user's words."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
            raise  # a defect of ours, not of the file
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise self._busy(self._busy_seconds_max) from error
            raise self._failure(code, error) from error
        except OSError as error:
            raise DataError(
                f"state file {self._path} cannot be used: {error.strerror or error}",
                hint="check the folder and its permissions, or name another file with --state PATH",
                details={"path": str(self._path)},
            ) from error

    def _failure(self, code: int, error: sqlite3.Error) -> DataError:
        what, hint = _FAILURES.get(code, (f"cannot be used: {error}", _UNTOUCHED))
        return DataError(
            f"state file {self._path} {what}",
            hint=hint,
            details={"path": str(self._path), "sqlite": str(error)},
        )


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
        "move it away and restore a copy; it is never overwritten",
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


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
