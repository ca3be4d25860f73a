"""What the records are kept in, whichever database that is: tables asked in one dialect of SQL.

Values are bound by name (`:name`), never pasted. Both databases know `on conflict` and `rowid`
(the server's tables have a column of that name), so each statement exists once.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Values = Mapping[str, Any]

QUICK_SECONDS_MAX = 0.05
"""How long a reader of the halt flag waits for a locked database."""


class Tables(Protocol):
    """One open transaction or reading."""

    def ask(self, sql: str, values: Values | None = None) -> list[Row]:
        """Every row a query finds."""
        ...

    def write(self, sql: str, values: Values) -> int:
        """Run one statement; how many rows it touched."""
        ...

    def write_all(self, sql: str, rows: Iterable[Values]) -> None:
        """Run one statement for each row."""
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
