"""One row a measurement: what it took, beside whom, how much memory, and whether that is enough."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound from the issue: `figure` must not exceed `most`, nor fall below `least`."""

    text: str
    figure: float
    most: float | None = None
    least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is."""
        low = self.least is None or self.figure >= self.least
        return low and (self.most is None or self.figure <= self.most)


@dataclass(frozen=True)
class Row:
    """A line of the table; `ms` is a median, `ratio` is to `versus` in the same rounds."""

    group: str
    name: str
    ms: float | None
    figure: str = ""
    ratio: float | None = None
    versus: str = ""
    peak_mb: float | None = None
    goals: tuple[Goal, ...] = ()
    note: str = ""

    @property
    def mark(self) -> str:
        """pass, short, or nothing where no goal is set."""
        if not self.goals:
            return ""
        return "pass" if all(goal.is_met for goal in self.goals) else "short"

    def record(self) -> dict[str, Any]:
        """The row as JSON."""
        goals = [asdict(goal) | {"is_met": goal.is_met} for goal in self.goals]
        return asdict(self) | {"goals": goals, "mark": self.mark}


HEADINGS = ("", "ms", "figure", "ratio", "peak MB", "target", "")


def render(rows: list[Row]) -> str:
    """The table as text, a heading a group, notes below."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in [HEADINGS, *cells]) for i in range(len(HEADINGS))]
    lines = [_line(HEADINGS, widths)]
    group = ""
    for row, line in zip(rows, cells, strict=True):
        if row.group != group:
            group = row.group
            lines += ["", group]
        lines.append(_line(line, widths))
    notes = [f"  {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, "", *notes])


def _cells(row: Row) -> tuple[str, ...]:
    short = [goal for goal in row.goals if not goal.is_met]
    return (
        f"  {row.name}",
        "" if row.ms is None else _number(row.ms),
        row.figure,
        "" if row.ratio is None else f"{_number(row.ratio)}x {row.versus}",
        "" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        "; ".join(goal.text for goal in row.goals),
        row.mark if len(short) < 2 else f"short ({len(short)})",
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [
        cell.rjust(width) if i in (1, 4) else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
