"""Writes to the journal that must not stop what protects a position.

An entry is refused when the journal does not take its intent; everything else goes through here: it
is written now or, when the disk is full or the file locked, kept in order and tried again. While
anything waits, nothing opens.
"""

from collections import deque
from collections.abc import Callable

from blofin_cli.errors import DataError

WAITING_MAX = 10_000

Write = Callable[[], object]


class Scribe:
    """Ordered writes with patience. `lost` counts what was dropped when far too much waited."""

    def __init__(self) -> None:
        self._waiting: deque[Write] = deque()
        self.problem = ""
        self.lost = 0

    @property
    def is_behind(self) -> bool:
        """Whether something is known that the journal does not know yet."""
        return bool(self._waiting)

    def write(self, entry: Write) -> bool:
        """Write now, in order; whether everything is written.

        While something waits, only `flush` tries again, once a tick: a locked file holds the loop
        up each time.
        """
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(entry)
        return self.flush() if len(self._waiting) == 1 else False

    def flush(self) -> bool:
        """Write what waits, until one refuses; whether nothing is left."""
        while self._waiting:
            try:
                self._waiting[0]()
            except DataError as problem:
                self.problem = problem.message
                return False
            self._waiting.popleft()
        self.problem = ""
        return True
