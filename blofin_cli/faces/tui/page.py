"""What all screens share: the two lines above, the keys below, and when they read."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer

from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Still, TabStrip
from blofin_cli.faces.tui.reading import Seen
from blofin_cli.faces.tui.themes import paint_of_app
from blofin_cli.faces.tui.words import age, clock, late_ms, number, plain, signed

if TYPE_CHECKING:
    from textual import events

    from blofin_cli.app.commands.status import StatusResult
    from blofin_cli.faces.tui.app import Desk

PAGES = (
    ("dashboard", "Dashboard"),
    ("map", "Map"),
    ("trades", "Trades"),
    ("signals", "Signals"),
    ("research", "Research"),
    ("settings", "Settings"),
    ("logs", "Logs"),
)

WIDE, VERY_WIDE = 110, 170


class Page(Screen[None]):
    """One screen of the dashboard.

    `show` is called with every look at the state while the screen is in sight; `load` when it
    comes into sight and when something was done that may have changed what it shows.
    """

    AUTO_FOCUS = ""  # each page says itself where the keys go, without scrolling there
    NAME: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = []

    @property
    def desk(self) -> "Desk":
        """The application."""
        return cast("Desk", self.app)

    @property
    def paint(self) -> Paint:
        """The colours in force."""
        return paint_of_app(self.app)

    def compose(self) -> ComposeResult:
        """State, screens, content, keys."""
        yield Still(id="state")
        yield TabStrip(PAGES, self.NAME)
        yield from self.content()
        yield Footer(show_command_palette=False)

    def content(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()

    def on_resize(self, event: "events.Resize") -> None:
        """Side by side where there is room, below each other where there is not."""
        self.set_class(event.size.width >= WIDE, "-wide")
        self.set_class(event.size.width >= VERY_WIDE, "-very-wide")

    def on_screen_resume(self) -> None:
        """In sight again: what was seen meanwhile, and a fresh load."""
        self.see(self.desk.seen)
        self.load()

    def see(self, seen: Seen, *, is_same: bool = False) -> None:
        """Show what the last look at the state found; `is_same`: only clocks have moved on."""
        self.query_one("#state", Still).show(state_line(seen, self.size.width, self.paint))
        if is_same:
            self.pass_time(seen)
        else:
            self.show(seen)

    def pass_time(self, seen: Seen) -> None:
        """Show how the time passes while nothing changes."""

    def show(self, seen: Seen) -> None:
        """Show the screen's own part of it."""

    def load(self) -> None:
        """Read what the state alone does not hold."""

    def later(self, work: Callable[[], Awaitable[None]], group: str) -> None:
        """Do some reading; what the group was still reading is of no use any more."""
        self.run_worker(cast("Any", work), exclusive=True, group=group, exit_on_error=False)

    def on_tab_strip_chosen(self, message: TabStrip.Chosen) -> None:
        """A tab was clicked."""
        self.desk.action_go(message.name)


def state_line(seen: Seen, width: int, paint: Paint) -> Text:
    """One line that says how things stand, the gravest first."""
    out = Text(no_wrap=True, overflow="ellipsis")
    if seen.error:
        out.append(" STATE UNREADABLE ", style=f"bold {paint.on_tag} on {paint.bad}")
        out.append(" " + plain(seen.error))
        return out
    if seen.result is None:
        out.append(" reading the state", style=paint.muted)
        return out
    result = seen.result
    out.append_text(_badge(result, paint))
    status = result.status
    if status is None:
        out.append("  no session has run yet")
        return _with_clock(out, result.now_ms, width, paint)
    mode = status.mode.upper()
    colour = paint.bad if mode == "LIVE" else paint.entry if mode == "DEMO" else paint.muted
    out.append(f" {plain(mode, 10)}", style=f"bold {colour}")
    if status.simulated:
        out.append(" simulated", style=paint.entry)
    out.append(f"  {number(status.equity_usdt)} USDT", style="bold")
    drawdown = status.drawdown_fraction
    out.append(f"  DD {'-' if drawdown is None else f'{-drawdown:.1%}'}")
    profit = sum(position.unrealized_usdt for position in status.positions)
    out.append("  uPnL ", style=paint.muted)
    out.append_text(signed(profit, paint, is_old=late_ms(result) is not None))
    if result.state != "stale":
        out.append(f"  beat {age(result.heartbeat_age_ms)}", style=paint.muted)
    if width >= 110:
        out.append(f"  {plain(status.exchange, 16)} {status.timeframe}", style=paint.muted)
        out.append(f"  {plain(', '.join(status.symbols[:4]), 44)}", style=paint.muted)
    return _with_clock(out, result.now_ms, width, paint)


def _with_clock(out: Text, now_ms: int, width: int, paint: Paint) -> Text:
    """The line cut to leave room for the time at its end."""
    words = f"  {clock(now_ms)}Z"
    out.truncate(max(0, width - len(words)), overflow="ellipsis")
    return out.append(words, style=paint.muted)


def _badge(result: "StatusResult", paint: Paint) -> Text:
    state = "halted" if result.halted else result.state
    colour = {
        "trading": paint.good,
        "paused": paint.entry,
        "halted": paint.bad,
        "stale": paint.bad,
        "starting": paint.accent,
        "reconciling": paint.accent,
    }.get(state, paint.muted)
    badge = Text(f" {plain(state, 12).upper()} ", style=f"bold {paint.on_tag} on {colour}")
    if result.halted and result.state not in {"halted", "none"}:
        badge.append(f" {plain(result.state, 12)}", style="")
    if result.state == "stale":  # how long is what matters now, so it stands first
        badge.append(f" {age(result.heartbeat_age_ms)}", style=f"bold {paint.bad}")
    return badge
