"""Halt and pauses as a session reads them at every tick; what cannot be read counts as halted."""

from dataclasses import dataclass

from blofin_cli.core.journal import ALL_SYMBOLS, Halt, Pause
from blofin_cli.errors import DataError
from blofin_cli.ports import Journal


@dataclass(frozen=True, slots=True)
class Flags:
    """One look at the flags. `problem` says why they could not be read, and since when
    (`unreadable_ms`, monotonic); the halt and pauses are then those of the last look."""

    halt: Halt | None = None
    pauses: tuple[Pause, ...] = ()
    problem: str = ""
    unreadable_ms: int | None = None

    @property
    def is_halted(self) -> bool:
        """Whether nothing may open."""
        return self.halt is not None or bool(self.problem)

    def pauses_symbol(self, symbol: str) -> bool:
        """Whether a symbol, or everything, is paused."""
        return any(pause.symbol in (ALL_SYMBOLS, symbol) for pause in self.pauses)

    @property
    def pauses_all(self) -> bool:
        """Whether everything is paused."""
        return any(pause.symbol == ALL_SYMBOLS for pause in self.pauses)

    def looked(self, journal: Journal, now_ms: int, mono_ms: int) -> "Flags":
        """The next look."""
        try:
            halt = journal.halted()
            pauses = journal.pauses()
        except DataError as problem:
            since = mono_ms if self.unreadable_ms is None else self.unreadable_ms
            text = f"nobody can tell whether trading is halted: {problem.message}"
            return Flags(self.halt, self.pauses, text, since)
        in_force = tuple(p for p in pauses if p.until_ms is None or p.until_ms > now_ms)
        return Flags(halt, in_force)
