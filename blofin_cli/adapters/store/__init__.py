"""The state database behind its ports: one SQLite file in WAL mode."""

from pathlib import Path

from blofin_cli.errors import ConfigError
from blofin_cli.ports import RunStore


def open_store(location: str) -> RunStore:
    """The store at a path; nothing is opened or created before it is used.

    Errors: ConfigError when the location is an address of a server, whose password is not echoed.
    """
    from blofin_cli.adapters.store.runs import SqliteStore

    scheme, separator, _ = location.partition("://")
    if separator:
        server = "a PostgreSQL server" if scheme in {"postgresql", "postgres"} else "an address"
        raise ConfigError(
            f"the state is set to {server}, which is not supported for this yet",
            hint="name a file: --state PATH or BLOFIN_STATE=PATH",
        )
    if not location or "\0" in location:
        raise ConfigError("the state is set to no path", hint="name a file: --state PATH")
    return SqliteStore(Path(location))
