"""The state database behind its ports: one SQLite file in WAL mode, or a PostgreSQL server."""

from pathlib import Path

from blofin_cli.errors import ConfigError
from blofin_cli.ports import Journal, RunStore


def open_store(location: str) -> RunStore:
    """The store at a path; nothing is opened or created before it is used.

    Errors: ConfigError when the location is an address of a server, whose password is not echoed.
    """
    from blofin_cli.adapters.store.runs import sqlite_store

    return sqlite_store(_path(location))


def open_journal(location: str) -> Journal:
    """The journal at a path; nothing is opened or created before it is used.

    Connections stay open for the thread that used them, so a session should keep its journal.
    Errors: ConfigError as for the store.
    """
    from blofin_cli.adapters.store.journal import sqlite_journal

    return sqlite_journal(_path(location))


def _path(location: str) -> Path:
    scheme, separator, _ = location.partition("://")
    if separator:
        server = "a PostgreSQL server" if scheme in {"postgresql", "postgres"} else "an address"
        raise ConfigError(
            f"the state is set to {server}, which is not supported for this yet",
            hint="name a file: --state PATH or BLOFIN_STATE=PATH",
        )
    if not location or "\0" in location:
        raise ConfigError("the state is set to no path", hint="name a file: --state PATH")
    return Path(location)
