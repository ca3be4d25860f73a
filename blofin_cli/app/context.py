"""The composition root: what a command may reach, each thing opened on first use.

The only code that picks adapters. A face builds one context per call and closes it afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.app import config

if TYPE_CHECKING:  # ports name arrays, and numpy must not load before a command needs it
    from blofin_cli.app.settings import Loaded, Settings
    from blofin_cli.ports import Clock, Journal, RunStore

Progress = Callable[[int, int, str], None]
Show = Callable[[Any], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One passage through the gate that could change something."""

    ts_ms: int
    face: str
    command: str
    effect: str
    arguments: dict[str, Any]
    outcome: str


def _no_progress(done: int, total: int, text: str) -> None:
    """Nobody is watching."""


def _unheard(text: str) -> None:
    """Nobody is listening."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Clock, settings, places and the way back to the person, for one call of one command.

    `progress(done, total, text)` draws a bar where a person watches; `say(text)` is one line of
    narration; neither ever reaches stdout. `show(result)` puts a result of many out at once where a
    program reads them, and is None elsewhere. `consent` is what was given beforehand (`--yes`);
    `ask(question)` puts a question to the person and is None where nobody could answer; `demand`
    has a person type a word and knows no other way to get it; `secret` does the same for a secret
    and shows nothing of it. `spec` judges them. `client` is the program behind a face that serves
    many, as the audit trail names it. `box_url` and `cache_override` win over the settings, for the
    demo that brings a box of its own.
    """

    face: str
    client: str = ""
    state_override: str | None = None
    cache_override: str | None = None
    box_url: str | None = None
    consent: bool = False
    ask: Callable[[str], bool] | None = None
    demand: Callable[[str], str] | None = None
    secret: Callable[[str], str] | None = None
    clock: "Clock" = field(default_factory=SystemClock)
    progress: Progress = _no_progress
    say: Say = _unheard
    show: Show | None = None

    @cached_property
    def loaded(self) -> "Loaded":
        """All settings with their origins; costs 0.2 s the first time."""
        from blofin_cli.app.settings import load

        given = {"state": self.state_override, "sim_url": self.box_url}
        return load({name: value for name, value in given.items() if value is not None})

    @property
    def settings(self) -> "Settings":
        """All settings; costs 0.2 s the first time."""
        return self.loaded.settings

    @property
    def strategy_settings(self) -> dict[str, Any]:
        """Strategy parameters by dotted path from the settings; free when no source has any."""
        return dict(self.settings.strategy) if self.has_settings else {}

    @property
    def has_settings(self) -> bool:
        """Whether any source sets more than where state and cache lie; loads no settings."""
        light = {"state", "cache"}
        return any(layer.values.keys() - light for layer in config.layers())

    @cached_property
    def state(self) -> str:
        """Path of the state file or address of the database; needs no settings."""
        return config.state_location(self.state_override)

    @cached_property
    def store(self) -> "RunStore":
        """Saved runs, the trial ledger and the audit trail."""
        from blofin_cli.adapters.store import open_store

        return open_store(self.state)

    @cached_property
    def journal(self) -> "Journal":
        """Halts, intents and facts of trading, and what faces ask of a running session."""
        from blofin_cli.adapters.store import open_journal

        return open_journal(self.state, self.state_folder)

    def audit(self, entry: AuditEntry) -> None:
        """Enter one passage through the gate into the audit trail."""
        self.journal.append_audit(entry)

    @cached_property
    def state_folder(self) -> Path:
        """The folder beside which the log and the halt flag live."""
        return config.state_folder(self.state)

    @cached_property
    def cache_folder(self) -> Path:
        """The folder of candles and compiled code; needs no settings."""
        return config.cache_folder(self.cache_override)
