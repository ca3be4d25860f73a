"""What happened: events of the session, or the tail of a log file.

There are two files in the state folder: what a session started in the background said, and the
tracebacks of this program's own defects.
"""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from blofin_cli.app.desk import log_tail
from blofin_cli.core.journal import Happening, Level
from blofin_cli.faces.tui.dashboard import event_lines
from blofin_cli.faces.tui.gestures import TypeIn
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.parts import Panel, Still
from blofin_cli.faces.tui.words import lines, plain

if TYPE_CHECKING:
    from blofin_cli.faces.tui.reading import Seen

LEVELS = tuple(Level)
LINES = 500
FILES = {"session.log": "a session started in the background writes it", "blofin.log": "no defect"}


class Logs(Page):
    """Events and the log files, with filters."""

    NAME = "logs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "level", "level"),
        Binding("f", "file", "events/files"),
        Binding("slash", "find", "find", key_display="/"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._least = 0
        self._file = ""  # one of FILES, or empty: events
        self._needle = ""
        self._happenings: list[Happening] = []
        self._tail: tuple[str, ...] = ()

    def content(self) -> ComposeResult:
        """One long list."""
        with VerticalScroll(id="log-scroll"):
            yield Panel("Events", Still(id="log", classes="wraps"), id="log-panel")

    def on_mount(self) -> None:
        """Keys scroll the list."""
        self.query_one("#log-scroll").focus()

    def show(self, seen: "Seen") -> None:
        """The newest events."""
        if seen.result is not None:
            self._happenings = seen.result.happenings
        self._draw()

    def load(self) -> None:
        """Read the tail of the log file on show."""
        self.later(self._load, "log")

    async def _load(self) -> None:
        name = self._file
        self._tail = await self.desk.slow.read(
            lambda c: log_tail(c, LINES, name=name) if name else ()
        )
        self._draw()

    def _draw(self) -> None:
        least, needle = LEVELS[self._least], self._needle.lower()
        chosen = f", holding {plain(self._needle, 30)}" if needle else ""
        if self._file:
            found = [line for line in reversed(self._tail) if needle in line.lower()]
            empty = "nothing found" if self._tail else f"it is empty: {FILES[self._file]}"
            text = Text("\n".join(plain(line, 400) for line in found) or empty)
            title = f"{self._file}, newest first{chosen}"
        else:
            kept = [
                item
                for item in self._happenings
                if LEVELS.index(item.level) >= self._least
                and needle in f"{item.kind} {item.symbol} {item.text}".lower()
            ]
            text = event_lines(kept, self.paint)
            title = f"Events, newest first, {least} and graver{chosen}"
            if timings := self.desk.timings_ms:
                worst = sorted(timings)[int(len(timings) * 0.95)]
                text.append("\n\n")
                text.append_text(
                    lines([("refresh p95", f"{worst:.0f} ms of {len(timings)}")], self.paint)
                )
        self.query_one("#log", Still).show(text)
        self.query_one("#log-panel", Panel).rename(title)

    def action_level(self) -> None:
        """Leave out more, then start again."""
        self._least = (self._least + 1) % len(LEVELS)
        self._draw()

    def action_file(self) -> None:
        """Events, then each log file."""
        order = ("", *FILES)
        self._file, self._tail = order[(order.index(self._file) + 1) % len(order)], ()
        self.load()

    def action_find(self) -> None:
        """Only what holds some words."""

        def found(words: str | None) -> None:
            self._needle = words or ""
            self._draw()

        self.app.push_screen(TypeIn("Show only what holds (empty: everything)"), found)
