"""The state on a PostgreSQL server: the same records by the same SQL, shared by several hosts.

Everything lives in a schema of its own, `blofin`, and all writers take one advisory lock, so that
a transaction here means what it means in a file. A name is locked for as long as a connection
lives; whoever lost that connection has lost the name, and finds out before its next durable write.
No answer is waited for without end: a server that is stopped must not stop the one who asks.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from psycopg import Connection, Error, IntegrityError, OperationalError, ProgrammingError, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from blofin_cli.adapters.store import schema
from blofin_cli.adapters.store.database import (
    QUICK_SECONDS_MAX,
    Kept,
    Patience,
    Row,
    Values,
    bound,
    check_lock_name,
    held_elsewhere,
)
from blofin_cli.errors import ConfigError, DataError

CONNECT_SECONDS_MAX = 2
ANSWER_SECONDS_MAX = 5.0
SETUP_SECONDS_MAX = 60.0
LOCK_SPACE = schema.APPLICATION_ID
"""First half of the key of every advisory lock of ours."""

_WRITER = "one writer"
_NAME = re.compile(r"(?<!:):([a-z_0-9]+)")
_OPTIONS = "-c search_path=blofin -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
_BUSY = (errors.LockNotAvailable, errors.QueryCanceled)


class _Impatient(Connection[Row]):
    """A connection that gives up on an answer instead of waiting for ever."""

    seconds_max: float = ANSWER_SECONDS_MAX

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for a reply, at most `seconds_max`."""
        return super().wait(gen, interval, self.seconds_max if timeout is None else timeout)

    def __del__(self, *_: Any) -> None:
        """End quietly with whoever kept it; the driver closes what this process opened."""


class ServerTables:
    """A connection inside a transaction, asked by name."""

    def __init__(self, connection: _Impatient) -> None:
        self._connection = connection

    def ask(self, sql: str, values: Values | None = None) -> list[Row]:
        """Every row a query finds."""
        return self._connection.execute(_translated(sql), bound(values)).fetchall()

    def write(self, sql: str, values: Values) -> int:
        """Run one statement; how many rows it touched."""
        return self._connection.execute(_translated(sql), bound(values)).rowcount


class _Threads(threading.local):
    """The connection of the thread that looks; None before its first use."""

    kept: Kept[_Impatient] | None = None


class StateServer:
    """The database `postgresql://…` names.

    Errors: DataError when it is not reached, busy, full, damaged, newer or somebody else's;
    ConfigError when the address cannot be read. A password is in none of them.
    """

    def __init__(self, address: str, *, busy_seconds_max: float = ANSWER_SECONDS_MAX) -> None:
        self._address = address
        self._patience = Patience(busy_seconds_max)
        self._shown = shown_address(address)
        self._threads = _Threads()
        self._is_known = False
        self._holding: dict[str, _Impatient] = {}

    @contextmanager
    def reading(self, *, is_quick: bool = False) -> Iterator[ServerTables | None]:
        """One consistent look; None, and nothing created, when there is no state yet."""
        seconds = QUICK_SECONDS_MAX if is_quick else self._patience.seconds
        with self._typed():
            kept = self._begun(f"begin read only; {_limits(seconds)}", seconds)
            connection = kept.connection
            if not self._is_there(connection):
                connection.execute("rollback")
                self._threads.kept = kept
                yield None
                return
            yield ServerTables(connection)
            connection.execute("commit")
            self._threads.kept = kept

    @contextmanager
    def writing(self, *, is_durable: bool = False) -> Iterator[ServerTables]:
        """A transaction that no other writer overlaps."""
        seconds = self._patience.seconds
        with self._typed():
            sync = "on" if is_durable else "off"
            start = f"begin; {_limits(seconds)}; set local synchronous_commit = {sync}"
            kept = self._begun(start, seconds)
            connection = kept.connection
            try:
                _take_turn(connection)
                if not self._is_there(connection):
                    self._prepare(connection)
                if is_durable:
                    self._check_names(connection)
                yield ServerTables(connection)
                connection.execute("commit")
                self._is_known = True
                self._patience.restore()
            finally:
                if connection.info.transaction_status is not TransactionStatus.IDLE:
                    with suppress(Error):
                        connection.execute("rollback")
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    self._threads.kept = kept

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a name while the process and its connection live."""
        check_lock_name(name)
        with self._typed():
            connection = self._connected()
            if not connection.execute(*_try_lock(name)).fetchall()[0][0]:
                connection.close()
                raise held_elsewhere(name, f"{self._shown}: {name}")
        self._holding[name] = connection
        try:
            yield
        finally:
            del self._holding[name]
            connection.close()

    def is_locked(self, name: str) -> bool:
        """Whether some process on some host holds the name."""
        with self._typed(), closing(self._connected()) as connection:
            return bool(connection.execute(*_holders(name)).fetchall())

    def _begun(self, statements: str, seconds: float) -> Kept[_Impatient]:
        """This thread's connection, or a new one where that is gone, in a transaction.

        A connection that ended since is replaced; a server that does not answer is not asked twice.
        """
        kept, self._threads.kept = self._threads.kept, None
        if kept is not None and kept.is_ours:
            kept.connection.seconds_max = seconds + QUICK_SECONDS_MAX
            try:
                kept.connection.execute(statements)
            except errors._WaitTimeout:  # noqa: SLF001 - its public parent means too much
                raise
            except OperationalError:
                kept.connection.close()
            else:
                return kept
        kept = Kept(self._connected())
        kept.connection.execute(statements)
        kept.connection.seconds_max = seconds + QUICK_SECONDS_MAX
        return kept

    def _connected(self) -> _Impatient:
        connection = _Impatient.connect(
            self._address,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS_MAX,
            options=_OPTIONS,
            tcp_user_timeout=CONNECT_SECONDS_MAX * 1000,
            application_name="blofin",
        )
        connection.prepare_threshold = 2
        return connection

    def _is_there(self, connection: _Impatient) -> bool:
        """Whether there is a state of this build's version.

        Errors: DataError when it is newer, or when what was there has gone.
        """
        if not self._is_known:
            found = connection.execute(
                "select to_regclass('blofin.state_version') is not null,"
                " exists (select 1 from pg_namespace where nspname = 'blofin')"
            ).fetchall()
            has_version, has_schema = found[0]
            if has_schema and not has_version:
                raise self._refusal("has a schema blofin that is not ours")
            if not has_version:
                return False
        version = connection.execute("select max(version) from state_version").fetchall()[0][0]
        if version is None or version < schema.VERSION:
            raise self._refusal("is damaged: it has no version")
        if version > schema.VERSION:
            raise DataError(
                f"the state at {self._shown} was written by a newer blofin-cli"
                f" (schema {version}; this one knows {schema.VERSION})",
                hint="upgrade blofin-cli, or name another state with --state",
            )
        self._is_known = True
        return True

    def _prepare(self, connection: _Impatient) -> None:
        """Make the tables; the caller holds the writers' lock."""
        connection.execute(f"set local statement_timeout = '{SETUP_SECONDS_MAX:g}s'")
        for statement in creation():
            connection.execute(statement)

    def _check_names(self, connection: _Impatient) -> None:
        """Refuse to write for a name that is no longer ours: another host may hold it by now."""
        for name, holder in self._holding.items():
            pids = [pid for (pid,) in connection.execute(*_holders(name)).fetchall()]
            if holder.closed or holder.info.backend_pid not in pids:
                raise DataError(
                    f"the lock {name} was lost with its connection to {self._shown}",
                    hint="end this process and start it again: it will reconcile",
                )

    def _refusal(self, what: str) -> DataError:
        return DataError(
            f"the state at {self._shown} {what}",
            hint="it was not touched; restore a backup, or name another state with --state",
        )

    @contextmanager
    def _typed(self) -> Iterator[None]:
        """What the server complains about, in the user's words."""
        try:
            yield
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
            raise self._refusal("is damaged: a table is missing") from error
        except (IntegrityError, errors.DataError):
            raise  # a defect of ours, not of the server
        except errors.InsufficientPrivilege as error:
            raise self._refusal("may not be used by this user") from error
        except _BUSY as error:
            self._patience.spend()
            raise DataError(
                f"the state at {self._shown} is busy",
                hint="try again when the other process is done",
            ) from error
        except (errors.DiskFull, errors.ReadOnlySqlTransaction) as error:
            raise self._refusal(f"cannot be written: {_first_line(error)}") from error
        except ProgrammingError:
            raise
        except Error as error:
            raise DataError(
                f"the state at {self._shown} cannot be used: {self._without_secret(error)}",
                hint="see that the server runs and lets this host in",
            ) from error

    def _without_secret(self, error: Exception) -> str:
        password = unquote(urlsplit(self._address).password or "")
        text = _first_line(error)
        return text.replace(password, "***") if password else text


def shown_address(address: str) -> str:
    """Host and database of an address, for messages. Errors: ConfigError when it is none."""
    try:
        parts = conninfo_to_dict(address)
    except ProgrammingError:
        raise ConfigError(
            "the address of the PostgreSQL server cannot be read",
            hint="write it like postgresql://user@host/database; the password goes to ~/.pgpass",
        ) from None
    return f"{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"


def creation() -> Iterator[str]:
    """The statements that make an empty schema this build's."""
    kinds = {"int": "bigint", "str": "text", "float": "double precision", "bytes": "bytea"}
    yield "create schema blofin"
    for table in (*schema.FIRST_TABLES, *schema.JOURNAL_TABLES):
        is_numbered = table.key == ("id",) and table.name != "audit"
        columns = [
            f"{name} {kinds[kind.rstrip('?')]}"
            + ("" if kind.endswith("?") else " not null")
            + (" generated by default as identity" if is_numbered and name == "id" else "")
            for name, kind in table.columns.items()
        ]
        if not is_numbered:
            columns.append("rowid bigint not null generated by default as identity")
        yield f"create table {table.name} ({', '.join(columns)}, primary key ({_list(table.key)}))"
        for index in table.indexes:
            yield f"create index on {table.name} ({_list(index)})"
    yield (
        "create function refuse_change() returns trigger language plpgsql as"
        " $$ begin raise exception 'the audit trail is append-only'"
        " using errcode = 'integrity_constraint_violation'; end $$"
    )
    yield (
        "create trigger audit_keeps_rows before update or delete on audit"
        " for each row execute function refuse_change()"
    )
    yield (
        "create trigger audit_keeps_all before truncate on audit"
        " for each statement execute function refuse_change()"
    )
    yield "create table state_version (version bigint not null)"
    yield f"insert into state_version values ({schema.VERSION})"  # noqa: S608 - a constant


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _limits(seconds: float) -> str:
    ms = int(seconds * 1000)
    return f"set local lock_timeout = {ms}; set local statement_timeout = {ms}"


def _take_turn(connection: _Impatient) -> None:
    connection.execute(
        "select pg_advisory_xact_lock(%s::int, %s::int)", (LOCK_SPACE, _number_of(_WRITER))
    )


def _try_lock(name: str) -> tuple[str, tuple[int, int]]:
    return "select pg_try_advisory_lock(%s::int, %s::int)", (LOCK_SPACE, _number_of(name))


def _holders(name: str) -> tuple[str, tuple[int, int]]:
    return (
        "select pid from pg_locks where locktype = 'advisory' and granted and objsubid = 2"
        " and database = (select oid from pg_database where datname = current_database())"
        " and classid = %s::bigint::oid and objid = (%s::bigint & 4294967295)::oid",
        (LOCK_SPACE, _number_of(name)),
    )


def _number_of(name: str) -> int:
    """A name as a signed 32-bit number, which is what an advisory lock is called."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)


@lru_cache(maxsize=256)
def _translated(sql: str) -> str:
    return _NAME.sub(r"%(\1)s", sql.replace("%", "%%"))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
