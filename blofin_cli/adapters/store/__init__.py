"""The state database behind its ports: one SQLite file in WAL mode, or a PostgreSQL server."""

from pathlib import Path
from typing import TYPE_CHECKING

from blofin_cli.errors import ConfigError
from blofin_cli.ports import Journal, RunStore

if TYPE_CHECKING:
    from blofin_cli.adapters.store.postgres import StateServer
    from blofin_cli.adapters.store.upkeep import Upkeep

SERVER_SCHEMES = ("postgresql", "postgres")


def open_store(location: str) -> RunStore:
    """The store in a file or at `postgresql://…`; nothing is opened or created before it is used.

    Errors: ConfigError when the location is neither; a password is not echoed.
    """
    from blofin_cli.adapters.store.runs import StateStore, sqlite_store

    return StateStore(_server(location)) if is_server(location) else sqlite_store(_path(location))


def open_journal(location: str, folder: Path | None = None) -> Journal:
    """The journal in a file or at `postgresql://…`; nothing is opened before it is used.

    The file HALT lies beside a state file; for a server, in `folder`. Connections stay open for
    the thread that used them, so a session should keep its journal.
    Errors: ConfigError as for the store.
    """
    from blofin_cli.adapters.store.journal import BUSY_SECONDS_MAX, StateJournal, sqlite_journal

    if not is_server(location):
        return sqlite_journal(_path(location))
    if folder is None:
        raise ConfigError("a state on a server needs a folder for the file HALT")
    return StateJournal(_server(location, BUSY_SECONDS_MAX), [folder])


def open_upkeep(location: str) -> "Upkeep":
    """Checks, exports and copies of the state. Errors: ConfigError as for the store."""
    from blofin_cli.adapters.store.file import StateFile
    from blofin_cli.adapters.store.upkeep import Upkeep

    if is_server(location):
        return Upkeep(_server(location))
    file = StateFile(_path(location))
    return Upkeep(file, file)


def is_server(location: str) -> bool:
    """Whether a location is an address. Errors: ConfigError when it is one of another kind."""
    scheme, separator, _ = location.partition("://")
    if separator and scheme not in SERVER_SCHEMES:
        raise ConfigError(
            "the state is set to an address of a kind that is not supported",
            hint="name a file with --state PATH, or a server with postgresql://user@host/database",
        )
    return bool(separator)


def _path(location: str) -> Path:
    if not location or "\0" in location:
        raise ConfigError("the state is set to no path", hint="name a file: --state PATH")
    return Path(location)


def _server(location: str, busy_seconds_max: float = 5.0) -> "StateServer":
    try:
        from blofin_cli.adapters.store.postgres import StateServer
    except ImportError as error:
        raise ConfigError(
            "the state is set to a PostgreSQL server, and its driver is not installed",
            hint="pip install 'blofin-cli[postgres]', or name a file with --state PATH",
        ) from error
    return StateServer(location, busy_seconds_max=busy_seconds_max)
