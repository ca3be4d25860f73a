"""Settings and strategy parameters with the source each came from; changed one at a time."""

import asyncio
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll

from blofin_cli.app.context import Context
from blofin_cli.app.desk import chosen_session
from blofin_cli.app.errands import run_errand
from blofin_cli.core.strategy import Strategy, flatten, to_text
from blofin_cli.errors import BlofinError
from blofin_cli.faces.tui.gestures import TypeIn
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.parts import Panel, Still, Table
from blofin_cli.faces.tui.reading import alone, call
from blofin_cli.faces.tui.starting import ALIVE
from blofin_cli.faces.tui.words import cell, lines, plain

if TYPE_CHECKING:
    from textual.widgets import DataTable

    from blofin_cli.core.journal import Session

COLUMNS = (("Setting", 35), ("Value", 18), ("Origin", 14), ("In session", 12))
LATER = "next start"  # a running session does not say what it has, and takes no other
APPROVAL = "session.approval_only"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting: its value in the files, where that came from, and what the session runs with."""

    key: str
    value: str
    origin: str
    about: str
    running: str

    @property
    def differs(self) -> bool:
        """Whether the session runs with another value."""
        return self.running not in {"", LATER, self.value}


class SettingsPage(Page):
    """Every setting; Enter changes the one under the cursor."""

    NAME = "settings"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "edit"),
        Binding("slash", "find", "find", key_display="/"),
        Binding("d", "changed", "changed only"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, Line] = {}
        self._needle = ""
        self._changed_only = False

    def content(self) -> ComposeResult:
        """The list, and what the one under the cursor means."""
        with Container(id="settings-body"):
            yield Panel("Settings", Table(COLUMNS, id="settings"), id="settings-panel")
            with VerticalScroll(id="about-scroll"):
                yield Panel("About", Still(id="about", classes="wraps"), id="about-panel")

    def on_mount(self) -> None:
        """Keys go to the list."""
        self.query_one("#settings", Table).focus()

    def load(self) -> None:
        """Read all settings again."""
        self.later(self._load, "settings")

    async def _load(self) -> None:
        try:
            found = await self.desk.slow.read(settings_lines)
        except BlofinError as error:
            self.query_one("#about", Still).show(Text(plain(error.message, 400)))
            return
        self._lines = {line.key: line for line in found}
        self._draw()

    def _draw(self) -> None:
        needle, paint = self._needle.lower(), self.paint
        kept = [
            line
            for line in self._lines.values()
            if needle in line.key.lower() and (not self._changed_only or line.origin != "default")
        ]
        rows = [
            (
                line.key,
                (
                    cell(line.key),
                    cell(line.value, "bold" if line.origin != "default" else ""),
                    cell(line.origin, paint.muted if line.origin == "default" else paint.entry),
                    cell(line.running, paint.bad if line.differs else paint.muted),
                ),
            )
            for line in kept
        ]
        self.query_one("#settings", Table).show(rows)
        what = f" holding {plain(self._needle, 30)}" if needle else ""
        changed = " changed" if self._changed_only else ""
        self.query_one("#settings-panel", Panel).rename(f"Settings  {len(rows)}{changed}{what}")
        self._show_about()

    def on_data_table_row_highlighted(self) -> None:
        """Another setting is under the cursor."""
        self._show_about()

    def on_data_table_row_selected(self, event: "DataTable.RowSelected") -> None:
        """Enter on a setting changes it."""
        event.stop()
        self.action_edit()

    @property
    def _chosen(self) -> Line | None:
        return self._lines.get(self.query_one("#settings", Table).current or "")

    def _show_about(self) -> None:
        line = self._chosen
        if line is None:
            self.query_one("#about", Still).show(Text("nothing is chosen"))
            return
        rows: list[tuple[str, object]] = [
            ("setting", Text(line.key, style="bold")),
            ("value", line.value),
            ("from", line.origin),
            ("in session", _in_words(line.running)),
        ]
        text = lines(rows, self.paint)
        text.append(f"\n\n{plain(line.about, 600)}")
        if line.differs:
            text.append(
                "\n\nThe session runs with another value until it confirms the change or is "
                "started again.",
                style=self.paint.entry,
            )
        self.query_one("#about", Still).show(text)

    @work(group="acts")
    async def action_edit(self) -> None:
        """Change the setting under the cursor: validated whole, saved at once, then confirmed."""
        line = self._chosen
        if line is None:
            return
        question = f"{line.key}: {line.about}" if line.about else line.key
        typed = await self.app.push_screen_wait(TypeIn(question, value=line.value))
        if not typed.strip() or typed.strip() == line.value:
            return
        arguments = {"action": "set", "name": line.key, "value": typed.strip()}
        if await self.desk.act("config", arguments) is not None:
            said = await self._confirm(line.key, typed.strip())
            self.desk.tell(f"{line.key} = {typed.strip()} is saved{said}")

    async def _confirm(self, key: str, value: str) -> str:
        """Ask a running session to take the value over; what became of it, as the end of a
        sentence."""
        result = self.desk.seen.result
        if result is None or result.status is None or result.state not in ALIVE:
            return ""
        if not (key.startswith("strategy.") or key == APPROVAL):
            return " and holds at the next start"
        name = key.removeprefix("strategy.")
        try:
            await alone(partial(apply_setting, self.desk.context(), name, value))
        except BlofinError as error:
            return f" and holds at the next start: {error.message}"
        self.load()
        return ", and the session has taken it over"

    def action_changed(self) -> None:
        """Only what differs from the defaults, or everything."""
        self._changed_only = not self._changed_only
        self._draw()

    def action_find(self) -> None:
        """Only settings whose name holds some letters."""

        def found(words: str | None) -> None:
            self._needle = words or ""
            self._draw()

        self.app.push_screen(TypeIn("Show settings whose name holds (empty: all)"), found)


def apply_setting(context: Context, name: str, value: str) -> None:
    """Ask the running session for a parameter and wait for its answer. Errors: what it met."""
    session = chosen_session(context, None)
    if session is not None:
        words = {"name": name, "value": value}
        asyncio.run(run_errand(context, session.account, "settings", words))


def settings_lines(context: Context) -> list[Line]:
    """Every setting and strategy parameter, defaults included, in order of their sections."""
    session = chosen_session(context, None)
    live = session is not None and session.ended_ms is None
    running = _running(context, session) if session is not None and live else {}
    unknown = LATER if live else ""
    result: Any = call(Context(face="tui", state_override=context.state_override), "config")
    found = {
        item.key: Line(
            item.key,
            _shown(item.value),
            item.origin,
            getattr(item, "about", ""),
            running.get(item.key.removeprefix("strategy."), unknown),
        )
        for item in result.settings
    }
    about = _sentences(Strategy())
    for name, value in flatten(Strategy()).items():
        key = f"strategy.{name}"
        if key not in found:
            words = about.get(name, "")
            found[key] = Line(key, to_text(value), "default", words, running.get(name, unknown))
        elif not found[key].about:
            old = found[key]
            found[key] = Line(key, old.value, old.origin, about.get(name, ""), old.running)
    return sorted(found.values(), key=lambda line: _place(line.key))


def _running(context: Context, session: "Session") -> dict[str, str]:
    """What a session began with and what it took over since, by the names it knows them by."""
    values = dict(session.config)
    status = context.journal.status(session.session_id)
    if status is not None:
        values |= status.changed | {APPROVAL: to_text(status.approval_only)}
    return {name: _shown(value) for name, value in values.items()}


def _in_words(running: str) -> str:
    """What stands in the last column, said in full."""
    if running == LATER:
        return "holds at the next start"
    return running or "no session"


def _place(key: str) -> int:
    """What a person changes most comes first; the order within a section stays."""
    first = ("strategy.risk.", "strategy.filters.", "strategy.", "session.", "trading.")
    return next((place for place, head in enumerate(first) if key.startswith(head)), len(first))


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(plain(item, 60) for item in value)
    return "" if value is None else plain(value, 200)


def _sentences(section: Any, prefix: str = "") -> dict[str, str]:
    """Dotted name -> the sentence each parameter carries, with its range."""
    found: dict[str, str] = {}
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            found |= _sentences(value, f"{prefix}{item.name}.")
            continue
        words = str(item.metadata.get("text", ""))
        if "low" in item.metadata:
            words += f" ({item.metadata['low']:g} to {item.metadata['high']:g})"
        found[f"{prefix}{item.name}"] = words
    return found
