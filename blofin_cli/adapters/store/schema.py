"""The tables of the state database and how each version of them follows from the one before.

A migration is a named function, run once in its own place in the order and never edited after a
release: files written by every earlier build are still out there. Loading this module does not
load sqlite-utils; only a file that needs a migration pays for it.
"""

import sqlite3
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

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


MIGRATIONS = (m0001_runs_trials_audit,)
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
