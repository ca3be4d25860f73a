"""The dashboard's application: looks at the state, switches screens, carries out what is asked.

It holds no key and asks no exchange. What it does goes through the same gate as a command line;
what trades wants a word typed, and halting never waits for an answer.
"""

import asyncio
import gc
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import current_thread, main_thread
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import HelpPanel

from blofin_cli.app.context import Context
from blofin_cli.core.journal import ALL_SYMBOLS
from blofin_cli.errors import BlofinError
from blofin_cli.faces.tui.dashboard import Dashboard
from blofin_cli.faces.tui.gestures import HaltQuestion, Matter, TypeIn
from blofin_cli.faces.tui.logs import Logs
from blofin_cli.faces.tui.page import PAGES, Page
from blofin_cli.faces.tui.reading import Reader, Seen, alone, call
from blofin_cli.faces.tui.research import Research
from blofin_cli.faces.tui.settings import SettingsPage
from blofin_cli.faces.tui.signals import Signals
from blofin_cli.faces.tui.themes import COLOURS, theme_of
from blofin_cli.faces.tui.trades import TradeLog
from blofin_cli.faces.tui.words import age, holding, plain, venue
from blofin_cli.faces.tui.zone_map import ZoneMap

if TYPE_CHECKING:
    from blofin_cli.app.commands.dash import DashRequest
    from blofin_cli.app.commands.status import StatusResult
    from blofin_cli.app.spec import Result
    from blofin_cli.core.status import SessionStatus
    from blofin_cli.ports import Clock

EVENTS = 100
SETTLED_S = 3.0
NOTHING = Matter()


class Desk(App[None]):
    """`blofin dash`."""

    CSS_PATH = "style.tcss"
    TITLE = "blofin"
    ENABLE_COMMAND_PALETTE = True
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "dashboard": Dashboard,
        "map": ZoneMap,
        "trades": TradeLog,
        "signals": Signals,
        "research": Research,
        "settings": SettingsPage,
        "logs": Logs,
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(index), f"go('{name}')", title, show=False)
            for index, (name, title) in enumerate(PAGES, 1)
        ),
        Binding("h", "halt", "HALT"),
        Binding("f8", "halt", "HALT", show=False, priority=True),
        Binding("p", "pause", "pause", show=False),
        Binding("p", "unpause", "unpause", show=False),
        Binding("t", "look", "theme", show=False),
        Binding("question_mark", "keys", "keys", key_display="?"),
        Binding("escape", "hide_help_panel", "hide the keys", show=False, priority=True),
        Binding("q", "quit", "quit"),
    ]

    def __init__(
        self,
        request: "DashRequest",
        *,
        state_override: str | None = None,
        clock: "Clock | None" = None,
    ) -> None:
        super().__init__()
        self.request = request
        self.seen = Seen()
        self.map_symbol: str | None = None  # what another screen wants to see on the map
        self.timings_ms: deque[float] = deque(maxlen=1000)
        self._state_override = state_override
        self._clock = clock
        self._looking = False
        self.quick = Reader(self.context, "status")
        self.slow = Reader(self.context, "reads")

    def context(self, **more: Any) -> Context:
        """What one call may reach; `more` are ways back to the person."""
        if self._clock is not None:
            more["clock"] = self._clock
        return Context(face="tui", state_override=self._state_override, **more)

    # The screens.

    def on_mount(self) -> None:
        """Begin with the colours and the screen that were asked for."""
        for name in COLOURS:
            self.register_theme(theme_of(name))
        wake_once(self)
        self.theme = f"blofin-{self.request.theme}"
        self.switch_mode(self.request.screen)
        self.look()
        self.set_interval(self.request.refresh_ms / 1000, self.look)
        if not self.is_headless:  # a test's process has more than this to keep
            self.set_timer(SETTLED_S, self.settle)

    def settle(self) -> None:
        """Look through what is loaded for garbage no more: that held a refresh up for 80 ms."""
        gc.collect()
        gc.freeze()

    def on_unmount(self) -> None:
        """Let the readers end."""
        self.quick.close()
        self.slow.close()

    @property
    def page(self) -> Page | None:
        """The screen in sight, dialogs apart."""
        return next((item for item in reversed(self.screen_stack) if isinstance(item, Page)), None)

    @property
    def status(self) -> "SessionStatus | None":
        """The last heartbeat, if any."""
        return None if self.seen.result is None else self.seen.result.status

    @property
    def where(self) -> tuple[str, ...]:
        """Which account a question is about, as a line of its dialog; none when none is known."""
        status = self.status
        return () if status is None else (venue(status.mode, status.exchange),)

    @property
    def as_of(self) -> tuple[str, ...]:
        """How old the figures in a question are, as a line of its dialog."""
        result = self.seen.result
        if result is None or result.heartbeat_age_ms is None:
            return ()
        return (f"uPnL as of {age(result.heartbeat_age_ms)} ago",)

    def action_go(self, name: str) -> None:
        """Another screen."""
        if not isinstance(self.screen, ModalScreen):
            self.switch_mode(name)

    def action_look(self) -> None:
        """The next of the four looks."""
        names = list(COLOURS)
        place = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(place + 1) % len(names)]
        if self.page is not None:
            self.page.see(self.seen)
            self.page.load()

    @property
    def shows_keys(self) -> bool:
        """Whether the panel with the keys is open."""
        return bool(self.screen.query(HelpPanel))

    def action_keys(self) -> None:
        """What every key does, or no longer."""
        if self.shows_keys:
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    @property
    def is_paused(self) -> bool:
        """Whether entries are paused in every symbol."""
        result = self.seen.result
        return result is not None and any(item.symbol == ALL_SYMBOLS for item in result.pauses)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape hides the keys while they show, and belongs to the screen otherwise; p pauses or
        unpauses, whichever there is to do."""
        if action == "hide_help_panel":
            return self.shows_keys
        if action in {"pause", "unpause"}:
            return self.is_paused == (action == "unpause")
        return super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers beside the keys."""
        yield SystemCommand(
            "Halt trading", "No new entries until a person resumes", self.action_halt
        )
        yield SystemCommand("Resume trading", "Clear the halt", self.action_resume)
        yield SystemCommand("Pause entries", "Protection goes on", self.action_pause)
        yield SystemCommand("Unpause entries", "Entries again", self.action_unpause)
        yield SystemCommand("Flatten", "Halt and close every position", self.action_flatten)
        yield SystemCommand("Start a session", "run: dry-run, demo or live", self.action_run)
        for name, title in PAGES:
            yield SystemCommand(f"Go to {title}", "screen", partial(self.action_go, name))
        yield SystemCommand("Next look", "dark, light, and for colour-blind eyes", self.action_look)
        is_open = bool(screen.query(HelpPanel))
        words = "Hide what every key does" if is_open else "What every key does"
        yield SystemCommand("Keys", words, self.action_keys)
        yield SystemCommand("Quit", "The session goes on", self.action_quit)

    # Looking at the state.

    def look(self) -> None:
        """Read the state, unless the last reading is still under way."""
        if not self._looking:
            self._looking = True
            self.run_worker(cast("Any", self._look), group="look", exit_on_error=False)

    async def _look(self) -> None:
        started, is_same, was_paused = perf_counter(), False, self.is_paused
        try:
            found = await self.quick.read(lambda c: call(c, "status", {"events": EVENTS}))
            result = cast("StatusResult", found)
            is_same = not self.seen.error and same_but_for_time(self.seen.result, result)
            self.seen = Seen(result)
        except BlofinError as error:
            self.seen = Seen(self.seen.result, error.message)
        finally:
            self._looking = False
        if self.is_paused != was_paused:
            self.refresh_bindings()
        if self.page is not None and self.page.is_running:
            self.page.see(self.seen, is_same=is_same)
            self.call_after_refresh(self._note_time, started)

    def _note_time(self, started: float) -> None:
        self.timings_ms.append((perf_counter() - started) * 1000)

    # Doing things.

    def tell(self, words: str, *, is_bad: bool = False) -> None:
        """Say something to the person; never markup."""
        self.notify(
            plain(words, 400),
            severity="error" if is_bad else "information",
            markup=False,
            timeout=8,
        )

    def complain(self, error: BlofinError) -> None:
        """Say what went wrong and what to do."""
        self.tell(f"{error.message} ({error.hint})" if error.hint else error.message, is_bad=True)

    async def act(
        self,
        name: str,
        arguments: Mapping[str, object],
        matter: Matter = NOTHING,
        *,
        consent: bool = False,
    ) -> "Result | None":
        """Carry out one command on behalf of the person; None when it failed, and that is said.

        `matter` is what the gate's questions are about; `consent`: the person has said yes to it,
        which answers for no passphrase and no word that the gate wants typed.
        """
        try:
            result = await alone(partial(self._invoke, name, arguments, matter, consent=consent))
        except BlofinError as error:
            self.complain(error)
            return None
        except KeyError:
            self.tell(f"this version has no command {name}", is_bad=True)
            return None
        finally:
            self.look()
        if self.page is not None:
            self.page.load()
        return result

    def _invoke(
        self, name: str, arguments: Mapping[str, object], matter: Matter, *, consent: bool
    ) -> "Result":
        matter = replace(matter, word=matter.word or name)
        context = self.context(
            ask=partial(self._ask, matter),
            demand=partial(self._demand, matter),
            say=partial(self._say, matter),
            consent=consent,
        )
        return call(context, name, arguments)

    def _say(self, matter: Matter, text: str) -> None:
        """What a command says on its way, unless the question said it."""
        if text not in matter.lines:
            self._from_thread(self.tell, text)

    def _from_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call_from_thread(function, *arguments)

    def _ask(self, matter: Matter, question: str) -> bool:
        """Put a question of the gate to the person: it is answered by typing the matter's word."""
        about = (*matter.lines, question) if matter.name else ()
        return (
            self._put(TypeIn(matter.name or question, about=about, word=matter.word)) == matter.word
        )

    def _demand(self, matter: Matter, question: str) -> str:
        """Have the person type what only the person knows."""
        is_secret = "passphrase" in question.lower()
        return self._put(
            TypeIn(
                matter.name or question,
                about=matter.lines,
                word="" if is_secret else matter.word,
                secret=question if is_secret else "",
            )
        )

    def _put(self, question: ModalScreen[str]) -> str:
        answer: Future[str | None] = Future()
        self._from_thread(self.push_screen, question, answer.set_result)
        return answer.result() or ""

    async def typed(self, matter: Matter) -> bool:
        """Whether the person typed the matter's word; call it from a worker."""
        question = TypeIn(matter.name, about=matter.lines, word=matter.word)
        return await self.push_screen_wait(question) == matter.word

    @work(group="acts")
    async def action_halt(self) -> None:
        """Halt; the question takes care of itself."""
        if isinstance(self.screen, HaltQuestion):
            return
        if await self.push_screen_wait(HaltQuestion()):
            await self.say_done("halt", {}, "halted: resume is for a person")

    async def say_done(
        self,
        name: str,
        arguments: Mapping[str, object],
        words: str,
        matter: Matter = NOTHING,
        *,
        consent: bool = False,
    ) -> None:
        """Carry out a command and say so."""
        result = await self.act(name, arguments, matter, consent=consent)
        if result is not None:
            said = ", ".join(f"{label} {plain(value)}" for label, value in result.summary()[:4])
            self.tell(said or words)

    @work(group="acts")
    async def action_resume(self) -> None:
        """Clear the halt; the gate asks for the person's word."""
        halt = None if self.seen.result is None else self.seen.result.halt
        cause = () if halt is None else (f"halted by {halt.face}: {halt.cause}",)
        matter = Matter("Clear the halt?", (*self.where, *cause))
        await self.say_done("resume", {}, "trading again", matter)

    @work(group="acts")
    async def action_pause(self) -> None:
        """No entries; protection goes on."""
        result = await self.act("pause", {})
        if result is not None:
            note = getattr(result, "note", "")
            words = "paused: no entries, protection goes on; p lets them through again"
            self.tell(f"{words} ({note})" if note else words)

    @work(group="acts")
    async def action_unpause(self) -> None:
        """Entries again."""
        pauses = () if self.seen.result is None else self.seen.result.pauses
        lines = (*self.where, *(f"paused {item.symbol}: {item.cause}" for item in pauses))
        if await self.typed(Matter("Let the session open positions again?", lines, "unpause")):
            await self.say_done("unpause", {}, "entries again")

    @work(group="acts")
    async def action_flatten(self) -> None:
        """Halt and close everything."""
        held = () if self.status is None else self.status.positions
        lines = (*self.where, *(holding(item) for item in held), *(self.as_of if held else ()))
        question = "Halt, and close every position at the market?"
        if await self.typed(Matter(question, lines, "flatten")):
            await self.say_done("halt", {"flatten": True}, "halted; closing every position")

    @work(group="acts")
    async def action_run(self) -> None:
        """Start a session."""
        from blofin_cli.faces.tui.starting import start_session

        await start_session(self)


def wake_once(app: App[Any]) -> None:
    """Let a process that was stopped without being asked (SIGSTOP) go on as it was.

    Textual takes every SIGCONT for the end of a suspension by Ctrl+Z and starts its threads anew.
    After a stop that no program can see they are still there: two of them read the keyboard then,
    and the program never ends.
    """
    before = signal.getsignal(signal.SIGCONT) if hasattr(signal, "SIGCONT") else None
    if not callable(before) or current_thread() is not main_thread():
        return
    resume, loop = before, asyncio.get_running_loop()

    def woken(number: int, frame: Any) -> None:
        driver = app._driver  # noqa: SLF001  # it says nowhere else whether it was suspended
        if getattr(driver, "_must_signal_resume", True):
            resume(number, frame)
        else:
            loop.call_soon_threadsafe(partial(app.refresh, layout=True))

    signal.signal(signal.SIGCONT, woken)


def same_but_for_time(before: "StatusResult | None", now: "StatusResult") -> bool:
    """Whether a look found nothing new: ages and the time left may differ."""
    if before is None:
        return False
    ages = {"now_ms": 0, "heartbeat_age_ms": 0}
    return before.model_copy(update=ages) == now.model_copy(update=ages)
