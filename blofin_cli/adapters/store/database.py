"""What the records are kept in, whichever database that is: tables asked in one dialect of SQL.

Values are bound by name (`:name`), never pasted. Both databases know `on conflict` and `rowid`
(the server's tables have a column of that name), so each statement exists once.
"""

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from blofin_cli.adapters.store.records import word
from blofin_cli.errors import RefusedError, UsageError

Row = tuple[Any, ...]
Values = Mapping[str, Any]

LOCK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
QUICK_SECONDS_MAX = 0.05


class Patience:
    """How long a call waits for another process's transaction: the longest once, and hardly at all
    from then on until one gets through. Whoever has stops to look after cannot wait each time.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._is_spent = False

    @property
    def seconds(self) -> float:
        """For the next call."""
        return min(QUICK_SECONDS_MAX, self._seconds_max) if self._is_spent else self._seconds_max

    def spend(self) -> None:
        """A call has waited in vain."""
        self._is_spent = True

    def restore(self) -> None:
        """A transaction has come through."""
        self._is_spent = False


"""How long a reader of the halt flag waits for a locked database."""


class Tables(Protocol):
    """One open transaction or reading. Text is bound as `records.word` writes it."""

    def ask(self, sql: str, values: Values | None = None) -> list[Row]:
        """Every row a query finds."""
        ...

    def write(self, sql: str, values: Values) -> int:
        """Run one statement; how many rows it touched."""
        ...


class Database(Protocol):
    """Where the state is kept.

    Errors: DataError for everything that can be wrong with it, within a bounded time.
    """

    def reading(self, *, is_quick: bool = False) -> AbstractContextManager[Tables | None]:
        """Look without changing; None, and nothing created, when there is no state yet.

        `is_quick` waits for a lock QUICK_SECONDS_MAX at most.
        """
        ...

    def writing(self, *, is_durable: bool = False) -> AbstractContextManager[Tables]:
        """A transaction that no other writer overlaps; it commits at the end or rolls back.

        `is_durable`: what was committed survives a power cut, else a crash of the process.
        """
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name while the process lives. Errors: RefusedError when another holds it."""
        ...

    def is_locked(self, name: str) -> bool:
        """Whether some process holds the name."""
        ...


class Closable(Protocol):
    """A connection."""

    def close(self) -> None:
        """Let it go."""
        ...


C = TypeVar("C", bound=Closable)


class Kept(Generic[C]):
    """A connection that stays open until nobody keeps it: its thread ended, or it failed.

    A child process that inherited it neither uses nor closes it: both would harm its parent's.
    """

    def __init__(self, connection: C) -> None:
        self.connection = connection
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it."""
        return self._pid == os.getpid()

    def __del__(self) -> None:
        if self.is_ours:
            self.connection.close()


def bound(values: Values | None) -> dict[str, Any]:
    """Values as both databases take them: enums and odd text as plain text."""
    return {
        name: word(value) if isinstance(value, str) else value
        for name, value in (values or {}).items()
    }


def check_lock_name(name: str) -> None:
    """Accept what can be a file's name. Errors: UsageError."""
    if LOCK_NAME.fullmatch(name) is None:
        raise UsageError("a lock is named with letters, digits, dots and dashes")


def held_elsewhere(name: str, where: str) -> RefusedError:
    """What to say to the second who wants a name."""
    account = name.removeprefix("account-")
    held = f"another session or command holds {account}"
    return RefusedError(
        f"another {name} is running" if account == name else held,
        hint="wait until it is done; if it hangs, end that process",
        details={"lock": where},
    )
