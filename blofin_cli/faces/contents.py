"""The help of the program: every command under what one wants to do, in one line each."""

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Look at the market": ("price", "candles", "instruments"),
    "Find and test": (
        "zones", "signal", "why", "backtest", "runs", "analyze", "tune", "train", "verify",
        "parity",
    ),
    "Trade": ("account", "positions", "orders", "order", "protect", "close", "cancel"),
    "Stop": ("halt", "resume", "pause", "unpause"),
    "Run": ("run", "status", "guard", "trades", "log", "dash", "web", "mcp"),
    "Decide what may be done": ("mandate", "approve", "reject"),
    "Set up": ("guide", "demo", "sim", "config", "doctor", "alert", "schedule", "service", "state"),
}  # fmt: skip
REST = "More"
BRIEF_MIN = 20


class Contents(TyperGroup):
    """A program whose help has sections; a command in none of them stands at the end."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections that have commands."""
        known = {name: command.help or "" for name, command in self.commands.items()}
        width = formatter.width - 6 - max(map(len, known), default=0)
        placed = {name for names in SECTIONS.values() for name in names}
        rest = tuple(sorted(known.keys() - placed))
        for title, names in (*SECTIONS.items(), (REST, rest)):
            rows = [(name, brief(known[name], width)) for name in names if name in known]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(_aligned(rows, known))


def brief(text: str, width: int) -> str:
    """The first sentence, or as much of it as fits, ended where its sense allows."""
    line = text.partition("\n")[0].partition(". ")[0].rstrip(".")
    if len(line) <= width:
        return line
    head = line[: width + 1]
    ends = [head.rfind(mark) for mark in (": ", "; ", ", ", " and ")]
    if max(ends) >= BRIEF_MIN:
        return head[: max(ends)].removesuffix(" and").rstrip(" ,;:")
    return head[: width - 3].rpartition(" ")[0] + "..."


def _aligned(rows: list[tuple[str, str]], known: dict[str, str]) -> list[tuple[str, str]]:
    """Rows whose second column begins at the same place in every section."""
    longest = max(map(len, known))
    return [(name.ljust(longest), text) for name, text in rows]
