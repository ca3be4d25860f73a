"""The port Journal, put together from its parts over one database."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from blofin_cli.adapters.store.database import Database
from blofin_cli.adapters.store.facts import Facts
from blofin_cli.adapters.store.file import StateFile
from blofin_cli.adapters.store.halting import HaltFile, Halting
from blofin_cli.adapters.store.intents import Intents
from blofin_cli.adapters.store.requests import Requests
from blofin_cli.adapters.store.sessions import Sessions
from blofin_cli.adapters.store.trail import Trail

BUSY_SECONDS_MAX = 1.0
"""A session waits no longer for another process's write: it has stops to look after."""


class StateJournal(Halting, Intents, Sessions, Facts, Requests, Trail):
    """The memory of trading over a database and the HALT files beside it."""

    def __init__(self, db: Database, folders: Sequence[Path]) -> None:
        self._db = db
        self._halt_files = tuple(HaltFile(folder) for folder in dict.fromkeys(folders))

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for as long as a process lives."""
        return self._db.lock(name)

    def is_locked(self, name: str) -> bool:
        """Whether some process holds the name."""
        return self._db.is_locked(name)


def sqlite_journal(path: Path, *, busy_seconds_max: float = BUSY_SECONDS_MAX) -> StateJournal:
    """The journal in a file; HALT lies beside it, and beside what it links to."""
    file = StateFile(path, busy_seconds_max=busy_seconds_max, keeps_open=True)
    return StateJournal(file, [path.absolute().parent, Path(os.path.realpath(path)).parent])
