"""Looking after a state: is it whole, what is in it, a copy of it.

Nothing here changes the state. A check reads every record, since a database that is whole may
still hold a row that nobody can read.
"""

import base64
import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store import schema
from blofin_cli.adapters.store.database import Database, Row, Tables
from blofin_cli.adapters.store.file import StateFile, sync_folder
from blofin_cli.adapters.store.records import document, unpacked
from blofin_cli.adapters.store.runs import inflated
from blofin_cli.adapters.store.trail import Trail
from blofin_cli.core.journal import (
    Decision,
    EquityPoint,
    Errand,
    FundingPayment,
    Halt,
    Happening,
    Intent,
    Pause,
    Proposal,
    Session,
)
from blofin_cli.core.market import Trade, Zone
from blofin_cli.core.orders import Fill
from blofin_cli.core.status import status_of
from blofin_cli.errors import BlofinError, DataError, RefusedError

PAGE_ROWS = 500
PROBLEMS_MAX = 100

_KINDS: dict[str, Any] = {
    "halts": Halt, "pauses": Pause, "intents": Intent, "sessions": Session, "fills": Fill,
    "funding": FundingPayment, "trades": Trade, "decisions": Decision, "zones": tuple[Zone, ...],
    "equity": EquityPoint, "happenings": Happening, "errands": Errand, "proposals": Proposal,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCheck:
    """What a look at everything found. `audit_hash` is the trail's last hash, to be written down.

    `problems` are sentences, at most 100; empty when all is well.
    """

    schema: int
    records: dict[str, int]
    audit_rows: int
    audit_hash: str
    problems: tuple[str, ...]


class Upkeep(Trail):
    """Care for the state in a database; `file` only when that is a file."""

    def __init__(self, db: Database, file: StateFile | None = None) -> None:
        self._db = db
        self._state_file = file

    @property
    def is_begun(self) -> bool:
        """Whether there is a state. Errors: DataError when what is there cannot be opened."""
        with self._db.reading() as tables:
            return tables is not None

    def check(self) -> StateCheck:
        """Read everything. Errors: DataError when it cannot even be opened."""
        problems = list(self._integrity())
        records: dict[str, int] = {}
        with self._db.reading() as tables:
            if tables is None:
                return StateCheck(
                    schema=0, records={}, audit_rows=0, audit_hash="", problems=tuple(problems)
                )
            for table in (*schema.FIRST_TABLES, *schema.JOURNAL_TABLES):
                records[table.name] = 0
                for row in _rows(tables, table):
                    records[table.name] += 1
                    problems += _problem(table, row)
            last = tables.ask("select hash from audit order by id desc limit 1")
        rows, broken = self.verify_audit()
        if broken is not None:
            problems.append(f"the audit trail is broken from row {broken} on")
        return StateCheck(
            schema=schema.VERSION,
            records=records,
            audit_rows=rows,
            audit_hash=str(last[0][0]) if last else "",
            problems=tuple(problems[:PROBLEMS_MAX]),
        )

    def export(self) -> Iterator[dict[str, Any]]:
        """Every row as JSON values: `table`, its columns, and its document opened as `record`.

        A row that cannot be read is given as it is. While a session runs this is not one moment.
        """
        with self._db.reading() as tables:
            for table in () if tables is None else (*schema.FIRST_TABLES, *schema.JOURNAL_TABLES):
                assert tables is not None
                for row in _rows(tables, table):
                    yield _exported(table, row)

    def back_up(self, target: Path) -> int:
        """Copy a state file whole, while others use it; the size of the copy in bytes.

        Errors: RefusedError when the state is on a server or something is in the way; DataError
        when the copy cannot be written or is not whole.
        """
        if self._state_file is None:
            raise RefusedError(
                "a state on a server is backed up with the server's own tools",
                hint="pg_dump --schema=blofin --file=backup.sql postgresql://…",
            )
        if target.exists() or target.is_symlink():
            raise RefusedError(f"{target} is already there", hint="name a file that does not exist")
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._copy(part)
            os.link(part, target)  # unlike a rename it never replaces what came in between
            sync_folder(target.absolute().parent)
        except OSError as error:
            raise DataError(
                f"the backup {target} cannot be written: {error.strerror or error}",
                hint="name a folder that exists, with space",
            ) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return target.stat().st_size

    def _copy(self, part: Path) -> None:
        assert self._state_file is not None
        with self._state_file.reading() as tables:
            if tables is None:
                raise RefusedError("there is no state yet, so there is nothing to back up")
            try:
                with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                    tables.connection.backup(copy)
                    copy.execute("pragma journal_mode = delete")  # one file, no log beside it
                    found = copy.execute("pragma integrity_check(1)").fetchone()
            except sqlite3.OperationalError as error:
                raise DataError(
                    f"the copy could not be written: {error}", hint="is there enough space?"
                ) from error
        if found != ("ok",):
            raise DataError("the copy is not whole, and neither is the state", hint=_HINT)
        with part.open("rb+") as file:
            os.fsync(file.fileno())

    def _integrity(self) -> Iterator[str]:
        """What the database itself says of a file."""
        if self._state_file is None:
            return
        with self._state_file.reading() as tables:
            found = [] if tables is None else tables.ask("pragma integrity_check(20)")
        for (text,) in found:
            if text != "ok":
                yield f"the file is damaged: {text}"


_HINT = "restore an older backup (blofin guide state)"


def _rows(tables: Tables, table: schema.Table) -> Iterator[Row]:
    """Every row of a table in the order of entry, some at a time."""
    place = "id" if table.key == ("id",) else "rowid"
    sql = (
        f"select {place}, {', '.join(table.columns)} from {table.name}"  # noqa: S608 - constants
        f" where {place} > :last order by {place} limit :limit"
    )
    last = 0
    while page := tables.ask(sql, {"last": last, "limit": PAGE_ROWS}):
        for number, *row in page:
            last = number
            yield tuple(row)


def _problem(table: schema.Table, row: Row) -> Iterator[str]:
    """What is wrong with a row, if anything."""
    columns = dict(zip(table.columns, row, strict=True))
    key = " ".join(str(columns[name]) for name in table.key)
    try:
        if table.name == "runs":
            inflated(columns["result"], key)
        elif table.name == "audit":
            document(columns["arguments"], key)
        elif table.name == "beats":
            status_of(document(columns["document"], key))
        elif table.name == "documents":
            document(columns["document"], key)
        elif table.name in _KINDS:
            unpacked(_KINDS[table.name], columns["document"], key)
    except BlofinError as problem:
        yield f"{table.name}: {problem.message}"
    except TypeError:
        yield f"{table.name}: {key[:80]!a} is damaged"


def _exported(table: schema.Table, row: Row) -> dict[str, Any]:
    columns = dict(zip(table.columns, row, strict=True))
    line: dict[str, Any] = {"table": table.name}
    for name, value in columns.items():
        if isinstance(value, bytes):
            line["record"] = _opened(value)
        elif name == "document":
            line["record"] = _parsed(value)
        else:
            line[name] = value
    return line


def _opened(value: bytes) -> Any:
    try:
        return json.loads(inflated(value, "run"))
    except (BlofinError, ValueError):
        return base64.b64encode(value).decode("ascii")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
