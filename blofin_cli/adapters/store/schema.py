"""The tables of the state database and how each version of them follows from the one before.

A migration is a named function, run once in its own place in the order and never edited after a
release: files written by every earlier build are still out there. Loading this module does not
load sqlite-utils; only a file that needs a migration pays for it.
"""

import sqlite3
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.store.chain import AUDIT_COLUMNS, FIRST_HASH, chained

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x424C4F46
"""`BLOF` in the file's header: what tells our file from another program's."""


def m0001_runs_trials_audit(db: "Database") -> None:
    """Saved runs, the trial ledger and the audit trail."""
    runs: dict[str, Any] = {
        "run_id": str, "kind": str, "series": str, "created_ms": int, "symbols": str,
        "timeframe": str, "since_ms": int, "until_ms": int, "digests": str, "metrics": str,
        "verdict_status": str, "version": str, "result": bytes,
    }  # fmt: skip
    db.table("runs").create(runs, pk="run_id", not_null=set(runs), strict=True)
    db.table("runs").create_index(["created_ms"])
    db.table("runs").create_index(["kind", "series", "created_ms"])
    trials: dict[str, Any] = {
        "data_digest": str, "config_digest": str, "sharpe": float, "times": int,
        "first_ms": int, "last_ms": int,
    }  # fmt: skip
    key = ("data_digest", "config_digest")
    db.table("trials").create(trials, pk=key, not_null=set(trials), strict=True)
    audit: dict[str, Any] = {
        "id": int, "ts_ms": int, "face": str, "command": str, "effect": str, "arguments": str,
        "outcome": str,
    }  # fmt: skip
    db.table("audit").create(audit, pk="id", not_null=set(audit) - {"id"}, strict=True)
    db.table("audit").create_index(["ts_ms"])


@dataclass(frozen=True, slots=True)
class Table:
    """A table as data, for either database; a `?` after a type: the value may be missing."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()


FIRST_TABLES = (
    Table(
        "runs",
        {
            "run_id": "str", "kind": "str", "series": "str", "created_ms": "int", "symbols": "str",
            "timeframe": "str", "since_ms": "int", "until_ms": "int", "digests": "str",
            "metrics": "str", "verdict_status": "str", "version": "str", "result": "bytes",
        },
        ("run_id",),
        (("created_ms",), ("kind", "series", "created_ms")),
    ),
    Table(
        "trials",
        {
            "data_digest": "str", "config_digest": "str", "sharpe": "float", "times": "int",
            "first_ms": "int", "last_ms": "int",
        },
        ("data_digest", "config_digest"),
    ),
    Table(
        "audit",
        {
            "id": "int", "ts_ms": "int", "face": "str", "command": "str", "effect": "str",
            "arguments": "str", "outcome": "str", "hash": "str",
        },
        ("id",),
        (("ts_ms",),),
    ),
)  # fmt: skip
"""What the first two migrations leave of the tables a server had no first version of."""

JOURNAL_TABLES = (
    Table(
        "halts",
        {
            "id": "int", "ts_ms": "int", "document": "str", "cleared_ms": "int?",
            "cleared_by": "str?",
        },
        ("id",),
    ),
    Table("pauses", {"symbol": "str", "document": "str"}, ("symbol",)),
    Table(
        "intents",
        {
            "client_id": "str", "account": "str", "session_id": "str", "symbol": "str",
            "purpose": "str", "state": "str", "is_open": "int", "face": "str", "created_ms": "int",
            "updated_ms": "int", "risk_usdt": "str", "notional_usdt": "str", "document": "str",
        },
        ("client_id",),
        (("account", "is_open"), ("account", "created_ms")),
    ),
    Table(
        "sessions",
        {
            "session_id": "str", "account": "str", "started_ms": "int", "ended_ms": "int?",
            "end_reason": "str", "document": "str",
        },
        ("session_id",),
        (("started_ms",),),
    ),
    Table("beats", {"session_id": "str", "ts_ms": "int", "document": "str"}, ("session_id",)),
    Table("documents", {"account": "str", "name": "str", "document": "str"}, ("account", "name")),
    Table(
        "fills",
        {
            "account": "str", "symbol": "str", "trade_id": "str", "session_id": "str",
            "ts_ms": "int", "document": "str",
        },
        ("account", "symbol", "trade_id"),
        (("account", "ts_ms"),),
    ),
    Table(
        "funding",
        {
            "account": "str", "symbol": "str", "ts_ms": "int", "session_id": "str",
            "document": "str",
        },
        ("account", "symbol", "ts_ms"),
    ),
    Table(
        "trades",
        {
            "trade_id": "str", "account": "str", "session_id": "str", "symbol": "str",
            "exit_ms": "int", "document": "str", "note": "str?", "tags": "str?",
        },
        ("trade_id",),
        (("exit_ms",),),
    ),
    Table(
        "decisions",
        {"session_id": "str", "symbol": "str", "bar_ms": "int", "document": "str"},
        ("session_id", "symbol", "bar_ms"),
    ),
    Table(
        "zones",
        {"session_id": "str", "symbol": "str", "ts_ms": "int", "document": "str"},
        ("session_id", "symbol", "ts_ms"),
    ),
    Table(
        "equity",
        {"account": "str", "ts_ms": "int", "session_id": "str", "document": "str"},
        ("account", "ts_ms"),
    ),
    Table(
        "happenings",
        {
            "id": "int", "account": "str", "session_id": "str", "ts_ms": "int", "level": "str",
            "document": "str",
        },
        ("id",),
        (("ts_ms",),),
    ),
    Table(
        "errands",
        {
            "errand_id": "str", "account": "str", "state": "str", "created_ms": "int",
            "document": "str",
        },
        ("errand_id",),
        (("account", "state"),),
    ),
    Table(
        "proposals",
        {
            "proposal_id": "str", "account": "str", "plan_hash": "str", "state": "str",
            "created_ms": "int", "document": "str",
        },
        ("proposal_id",),
        (("account", "state"),),
    ),
)  # fmt: skip
"""Filtered-by columns beside each record's whole; the dumps under tests keep them as they are."""

_APPEND_ONLY = (
    "create trigger audit_keeps_{what} before {event} on audit{when} begin"
    " select raise(abort, 'the audit trail is append-only'); end"
)


def m0002_journal(db: "Database") -> None:
    """The journal of trading, and a hash chain over the audit trail, which nobody may rewrite."""
    types = {"int": int, "str": str}
    for table in JOURNAL_TABLES:
        columns: dict[str, Any] = {n: types[kind[:3]] for n, kind in table.columns.items()}
        is_numbered = table.key == ("id",)
        needed = {name for name, kind in table.columns.items() if not kind.endswith("?")}
        db.table(table.name).create(
            columns,
            pk=table.key if len(table.key) > 1 else table.key[0],
            not_null=needed - {"id"} if is_numbered else needed,
            strict=True,
        )
        for index in table.indexes:
            db.table(table.name).create_index(list(index))
    db.table("audit").add_column("hash", str, not_null_default="")
    before = FIRST_HASH
    rows = db.execute(f"select {', '.join(AUDIT_COLUMNS)} from audit order by id")  # noqa: S608 - constants
    for row in rows.fetchall():
        before = chained(before, row)
        db.execute("update audit set hash = ? where id = ?", (before, row[0]))
    taken = " when exists (select 1 from audit where id = new.id)"  # `insert or replace` deletes
    for what, event, when in (
        ("rows", "delete", ""), ("words", "update", ""), ("places", "insert", taken),
    ):  # fmt: skip
        db.execute(_APPEND_ONLY.format(what=what, event=event, when=when))


MIGRATIONS = (m0001_runs_trials_audit, m0002_journal)
VERSION = len(MIGRATIONS)


def identity(connection: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is and the version of its schema, as the file says."""
    names = ("application_id", "user_version")
    application, version = (int(connection.execute(f"pragma {n}").fetchone()[0]) for n in names)
    return application, version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to this build's version, inside the caller's transaction."""
    named = _sqlite_utils().Migrations("blofin")
    for migration in MIGRATIONS:
        named()(migration)
    named.apply(wrapped(connection))
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute(f"pragma user_version = {VERSION}")


def wrapped(connection: sqlite3.Connection) -> "Database":
    """The same connection, with sqlite-utils' ways to write and without its plugins."""
    database: Database = _sqlite_utils().Database(
        connection, recursive_triggers=False, execute_plugins=False
    )
    return database


@cache
def _sqlite_utils() -> Any:
    # sqlite-utils imports pandas when it finds it: 0.7 s more, for one column type.
    is_blocked = "pandas" not in sys.modules
    if is_blocked:
        sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        import sqlite_utils
    finally:
        if is_blocked:
            del sys.modules["pandas"]
    return sqlite_utils
