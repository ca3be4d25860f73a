"""Commands called for a browser: each in a thread with a context of its own.

Commands read files and databases, so they never run on the loop that serves the pages. `halt` has
threads that nothing else can take.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from blofin_cli.app import catalog
from blofin_cli.app.context import AuditEntry, Context
from blofin_cli.app.spec import CommandSpec, Effect, Option, Request, Result, invoke, validate
from blofin_cli.app.venues import AccountRequest, mode_of
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import BlofinError, Exit, RefusedError, UsageError

T = TypeVar("T")
THREADS, HALT_THREADS = 8, 2
# Other faces, processes that never end, what writes a folder of pictures, and what has the machine
# run words later: a line in cron would trade without anybody typing for it.
ELSEWHERE = frozenset({"web", "dash", "mcp", "sim", "guard", "demo", "schedule", "service"})
# Minutes of work: these run in a process of their own and are watched.
LONG = frozenset({"backtest", "tune", "train", "verify", "parity"})
# A session is a process of its own, so that it goes on when this server stops.
FORCED: Mapping[str, Mapping[str, object]] = {"run": {"detach": True}}
# Options that name files on the server's disk, which a browser has no business with.
PATHS = frozenset(
    {
        "chart", "config", "data", "file", "folder", "funding", "mandate_file", "mark", "out",
        "output", "path", "record", "report", "state", "strategy", "to",
    }
)  # fmt: skip
# Options that only make sense in a terminal.
TERMINAL = frozenset({"asked_by", "detach", "drill", "follow", "max_seconds", "quiet", "watch"})
FIXED = ("web.", "notify.", "mcp.")
STATUS = {
    Exit.BUG: 500,
    Exit.USAGE: 400,
    Exit.REFUSED: 403,
    Exit.CONFIG: 409,
    Exit.AUTH: 424,
    Exit.VENUE: 424,
    Exit.NETWORK: 424,
    Exit.DATA: 409,
    Exit.HALTED: 423,
    Exit.COMPARISON: 409,
}
"""HTTP status of each kind of failure. 424: the exchange failed us; 5xx only for a defect here."""

NOT_THERE = 404

_log = logging.getLogger(__name__)


class NotThereError(UsageError):
    """An address names something that does not exist, or not here."""


def status_of(error: BlofinError) -> int:
    """HTTP status of a failure."""
    return NOT_THERE if isinstance(error, NotThereError) else STATUS[error.exit]


@dataclass(frozen=True, slots=True)
class Typed:
    """What a person typed into the very form that asks for an act: a word, a passphrase."""

    word: str = ""
    passphrase: str = ""

    def answer(self, question: str) -> str:
        """What `Context.demand` gets: the passphrase to a question for one, else the word."""
        wants_secret = "passphrase" in question.lower() or "password" in question.lower()
        return self.passphrase if wants_secret else self.word


@dataclass(frozen=True)
class Calls:
    """The way to every command, and to the readers that commands share."""

    make_context: Callable[..., Context]
    _threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(THREADS))
    _halting: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(HALT_THREADS)
    )

    async def call(
        self,
        name: str,
        arguments: Mapping[str, object],
        *,
        typed: Typed | None = None,
        client: str = "",
    ) -> Result:
        """Invoke a command; only the word that `expected_word` wants is consent.

        Errors: whatever the command raises; UsageError for one that is not served here.
        """
        limiter = self._halting if name == "halt" else self._threads

        def work() -> Result:
            spec = served(name)
            told = typed or Typed()
            request = validate(spec, arguments)
            context = self.make_context(
                client=client, demand=told.answer, secret=lambda _: told.passphrase
            )
            if told.word:
                word = expected_word(spec, request, context)
                context = replace(context, consent=is_typed(word, told))
            given = {**arguments, **FORCED.get(name, {})}
            return asyncio.run(invoke(spec, given, context))

        return await anyio.to_thread.run_sync(work, limiter=limiter)

    async def read(self, reader: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run a reader of the app (`app.desk`) with a context as its first argument."""

        def work() -> T:
            return reader(self.make_context(), *arguments, **named)

        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def enter(self, command: str, outcome: str, client: str) -> None:
        """Enter what is no command (sign in, sign out) into the audit trail."""

        def work() -> None:
            context = self.make_context(client=client)
            entry = AuditEntry(
                ts_ms=context.clock.now_ms(),
                face=f"web:{client}",
                command=command,
                effect=Effect.WRITE.value,
                arguments={},
                outcome=outcome,
            )
            try:
                context.audit(entry)
            except BlofinError as error:
                _log.warning("the audit trail could not be written: %s", error.message)

        await anyio.to_thread.run_sync(work, limiter=self._threads)


_loading = threading.Lock()


def served(name: str) -> CommandSpec:
    """A command that a browser may call, its models built.

    Errors: NotThereError for any other name.
    """
    if name not in catalog.index() or name in ELSEWHERE:
        raise NotThereError(
            f"no command is called {ascii(name[:80])[:80]} here", hint="see /commands"
        )
    with _loading:  # models build themselves on first use, which two threads must not do at once
        spec = catalog.load(name)
        spec.request.model_rebuild()
    return spec


def load_served() -> None:
    """Load every command ahead of its first use: the halt first, so that it is never waited for."""
    for name in sorted(served_names(), key=lambda name: name not in ("halt", "status")):
        served(name)


def served_names() -> list[str]:
    """Every command a browser may call."""
    return [name for name in catalog.index() if name not in ELSEWHERE]


def options_of(spec: CommandSpec) -> list[Option]:
    """The options a browser may set."""
    return [item for item in spec.options() if item.field not in PATHS | TERMINAL]


def check_fields(spec: CommandSpec, arguments: Mapping[str, object]) -> None:
    """Errors: UsageError for an option that is withheld from browsers."""
    withheld = sorted((PATHS | TERMINAL) & set(arguments) & set(spec.request.model_fields))
    if withheld:
        raise UsageError(
            f"{withheld[0]} is not offered over the web",
            hint="use the command line on the machine itself",
        )


def check_call(spec: CommandSpec, arguments: Mapping[str, object]) -> Effect:
    """What this call may do, after a look whether a browser may make it at all.

    Errors: UsageError for a withheld option or arguments that are no request; RefusedError for
    what is done on the machine itself: keys, places, and who may reach this server.
    """
    check_fields(spec, arguments)
    if spec.name == "config":
        action, setting = str(arguments.get("action", "show")), str(arguments.get("name", ""))
        if action not in {"show", "set", "unset"} or (action != "show" and is_fixed(setting)):
            raise RefusedError(
                "this is not set over the web", hint="use blofin config on the machine itself"
            )
    return effect_of(spec, arguments)


def is_fixed(setting: str) -> bool:
    """Whether a setting is left to the machine: where things lie, who is told, who may come."""
    return setting in {"state", "cache", "sim_url"} or setting.startswith(FIXED)


def needs_word(spec: CommandSpec, effect: Effect) -> bool:
    """Whether this call is asked about on a page of its own before it is made."""
    is_personal = spec.effect is Effect.PERSON and effect is not Effect.READ
    return effect in (Effect.TRADE, Effect.PERSON) or is_personal


def may_write(spec: CommandSpec) -> bool:
    """Whether any call of this command may change something."""
    return spec.effect is not Effect.READ or spec.request.effect is not Request.effect


def effect_of(spec: CommandSpec, arguments: Mapping[str, object]) -> Effect:
    """What this very call may do.

    Errors: UsageError for arguments that are no request.
    """
    return validate(spec, arguments).effect(spec.effect)


def expected_word(spec: CommandSpec, request: Request, context: Context) -> str:
    """The word a person types to agree: LIVE for real money, else the symbol, else the command.

    The mode in force counts, typed or from the settings.
    """
    if spec.effect is Effect.PERSON:
        return spec.name
    if isinstance(request, AccountRequest) and mode_of(request, context) is Mode.LIVE:
        return "LIVE"
    symbols = getattr(request, "symbol", None)
    first = symbols[0] if isinstance(symbols, (list, tuple)) and symbols else symbols
    return first if isinstance(first, str) and first else spec.name


def is_typed(word: str, typed: Typed) -> bool:
    """Whether the word was typed that this act asks for."""
    return typed.word.strip().casefold() == word.casefold()
