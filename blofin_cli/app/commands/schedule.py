"""Entries in the user's crontab: one marked block, everything else untouched."""

import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.errors import UsageError

if TYPE_CHECKING:
    from blofin_cli.core.crontab import Entry

# They run until somebody ends them, or change the schedule itself.
LASTING = frozenset({"dash", "web", "mcp", "sim", "guard", "run", "schedule", "service"})


class ScheduleRequest(Request):
    """What to do with the schedule."""

    action: Annotated[
        Literal["list", "add", "remove"], Field(description="Show, add or replace, or remove")
    ] = "list"
    name: Annotated[
        str | None, Field(description="Name of the entry, e.g. nightly", max_length=32)
    ] = None
    when: Annotated[
        str | None,
        Field(description="Minute hour day month weekday, e.g. '15 2 * * *', or @daily"),
    ] = None
    command: Annotated[
        str | None,
        Field(description="What to run, e.g. 'backtest BTC-USDT --save --compare last --quiet'"),
    ] = None
    folder: Annotated[
        str | None, Field(description="Working folder of the command; default: this one")
    ] = None

    @model_validator(mode="after")
    def _words_belong_together(self) -> Self:
        if self.action == "add" and None in {self.name, self.when, self.command}:
            raise ValueError("write blofin schedule add NAME --when '15 2 * * *' --command '…'")
        if self.action == "remove" and self.name is None:
            raise ValueError("write blofin schedule remove NAME")
        if self.action != "add" and (self.when or self.command or self.folder):
            raise ValueError("--when, --command and --folder belong to add")
        return self

    def effect(self, declared: Effect) -> Effect:
        """Listing changes nothing."""
        return Effect.READ if self.action == "list" else declared


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One entry and the next time it runs, in this machine's local time."""

    name: str
    when: str
    next: str | None
    command: str


class ScheduleResult(Result):
    """The entries as they are now."""

    columns: ClassVar[tuple[str, ...]] = ("name", "when", "next", "command")

    entries: list[Scheduled]


@command(effect=Effect.WRITE, positional=("action", "name"))
async def schedule(request: ScheduleRequest, context: Context) -> ScheduleResult:
    """List, add or remove commands that cron runs, in one marked block of your crontab.

    Everything outside the block stays as it is. An entry's answer is kept beside the state file in
    `schedule/NAME.json`; cron mails what goes to stderr. Commands that trade or never end are
    refused: a session is a service.

    Example: blofin schedule add nightly --when @daily --command 'backtest BTC-USDT --save'
    """
    from blofin_cli.adapters.crontab import read_crontab, write_crontab
    from blofin_cli.core import crontab

    text = read_crontab()
    known = {entry.name: entry for entry in crontab.entries(text)}
    if request.action != "list":
        assert request.name is not None
        crontab.check_name(request.name)
    if request.action == "add":
        known[request.name or ""] = _entry(request, context)
    elif request.action == "remove":
        if request.name not in known:
            raise UsageError(
                f"no entry {request.name!a}", hint=f"there are: {', '.join(known) or 'none'}"
            )
        del known[request.name]
    if request.action != "list":
        write_crontab(crontab.with_entries(text, tuple(known.values())))
    return ScheduleResult(entries=[_scheduled(entry) for entry in known.values()])


def _entry(request: ScheduleRequest, context: Context) -> "Entry":
    """A checked line of the crontab. Errors: UsageError."""
    from blofin_cli.core import crontab

    when = " ".join((request.when or "").split())
    crontab.times(when)
    words = _words(request.command or "")
    folder = Path(request.folder or ".").resolve()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)[-60:]!a}")
    answers = context.state_folder / "schedule"
    answers.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "blofin_cli"]
    if context.state_override is not None:
        words += ["--state", context.state_override]
    line = (
        f"cd {shlex.quote(str(folder))} && {shlex.join([*program, *words])} "
        f"> {shlex.quote(str(answers / f'{request.name}.json'))}"
    )
    return crontab.Entry(request.name or "", when, line)


def _words(command_line: str) -> list[str]:
    """The command's words. Errors: UsageError when cron must not run it."""
    from blofin_cli.app import catalog

    try:
        words = shlex.split(command_line)
    except ValueError as problem:
        raise UsageError(f"the command cannot be read: {problem}") from problem
    if any(not word.isprintable() for word in words):
        raise UsageError("the command holds line ends or control characters")
    if words and words[0] == "blofin":
        words = words[1:]
    if not words or words[0] not in catalog.index():
        raise UsageError(f"{' '.join(words[:1])!a} is no command", hint="blofin --help lists them")
    if words[0] in LASTING:
        raise UsageError(
            f"{words[0]} does not belong into cron",
            hint="what lasts is a service: blofin service",
        )
    if catalog.load(words[0]).effect in {Effect.TRADE, Effect.PERSON}:
        raise UsageError(
            f"{words[0]} needs a person or a mandate, and cron is neither",
            hint="a running session trades by itself: blofin service",
        )
    return words


def _scheduled(entry: "Entry") -> Scheduled:
    """An entry as it is shown; no next time for one that was edited into nonsense."""
    from blofin_cli.core import crontab

    try:
        moment = crontab.times(entry.when).next_after(datetime.now().astimezone())
    except UsageError:
        moment = None
    shown = None if moment is None else moment.isoformat(timespec="minutes")
    return Scheduled(entry.name, entry.when, shown, entry.command)
