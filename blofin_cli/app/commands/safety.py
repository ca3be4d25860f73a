"""The kill switch, and pausing. What lowers risk asks nobody; what raises it asks a person."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, Symbol, command
from blofin_cli.core.journal import ALL_SYMBOLS, Pause
from blofin_cli.errors import DataError, Exit

if TYPE_CHECKING:
    from blofin_cli.app.halting import Halted

REASON_MAX = 200
Reason = Annotated[  # a remark that is too long must not hold up what stops trading
    str, AfterValidator(lambda text: text[:REASON_MAX]), Field(description="Why, in your words")
]


class HaltRequest(Request):
    """How far to go."""

    flatten: Annotated[bool, Field(description="Close every position too, reduce-only")] = False
    reason: Reason = "by hand"
    drill: Annotated[
        bool, Field(description="Do all of it on an exchange in a box, and time it")
    ] = False


class HaltResult(Result):
    """What a halt did and what it could not do.

    `state` is `halted`, `drilled` after a drill, `not_halted` when no flag could be set. `flat`
    says whether every position that was to be closed is known to be gone; null without a flatten.
    Units: `_ms` from the command to the fact.
    """

    state: str
    cause: str
    protects: str
    next_step: str
    sessions: list[dict[str, Any]]
    canceled: list[dict[str, Any]]
    closed: list[dict[str, Any]]
    on_the_wire: list[str]
    not_done: list[str]
    halt_ms: int
    done_ms: int
    flat: bool | None = None
    code: Annotated[Exit, Field(exclude=True)] = Exit.OK

    columns: ClassVar[tuple[str, ...]] = ("symbol", "what", "outcome")

    def exit_code(self) -> Exit:
        """0 when no opening order can leave; see `blofin guide halt` for the others."""
        return self.code

    def rows(self) -> list[dict[str, Any]]:
        """One line a cancel or close."""
        did = [
            {"symbol": row["symbol"], "what": row["action"], "outcome": row["outcome"]}
            for row in self.canceled
        ]
        return did + [
            {"symbol": row["symbol"], "what": "close", "outcome": row["status"]}
            for row in self.closed
        ]

    def summary(self) -> list[tuple[str, object]]:
        """Cause, what protects, what is left to do."""
        lines: list[tuple[str, object]] = [
            (self.state, self.cause),
            ("protects", self.protects),
            ("took", f"{self.halt_ms} ms to halt, {self.done_ms} ms in all"),
        ]
        lines += [("session", _heard(row)) for row in self.sessions]
        lines += [("on the wire", order) for order in self.on_the_wire]
        lines += [("NOT DONE", words) for words in self.not_done]
        return [*lines, ("next", self.next_step)]


def _heard(row: dict[str, Any]) -> str:
    word = "has stopped opening" if row["acknowledged"] else "DOES NOT ANSWER"
    return f"{row['account']} {row['session_id'][:12]} {word}".replace("  ", " ")


@command(effect=Effect.SAFE, tool="halt_trading")
async def halt(request: HaltRequest, context: Context) -> HaltResult:
    """Stop all trading now: raise the flag, cancel resting entries, keep the stops.

    Works without a session, beside a hung one, without network and with a broken state file, and
    says what it could not do. Only `blofin resume` lets entries pass again.

    Example: blofin halt --drill
    """
    from dataclasses import asdict

    from blofin_cli.app.halting import halt_everything
    from blofin_cli.core.journal import Halt

    flat, state = None, ""
    if request.drill:
        from blofin_cli.app.drill import drill

        drilled = await drill(context, flatten=request.flatten)
        done, flat, state = drilled.halted, drilled.flat and drilled.refused_after, "drilled"
    else:
        now_ms = context.clock.now_ms()
        done = await halt_everything(
            context,
            Halt(ts_ms=now_ms, face=context.face, cause=request.reason, flatten=request.flatten),
        )
    code = done.exit if flat is not False else Exit.COMPARISON
    return HaltResult(
        state=state or ("halted" if done.durable else "not_halted"),
        cause=done.cause,
        protects=_protects(done),
        next_step=_next_step(code, request, done),
        sessions=[asdict(each) for each in done.listeners],
        canceled=[asdict(each) for each in done.canceled],
        closed=[asdict(each) for each in done.closed],
        on_the_wire=done.on_the_wire,
        not_done=done.left,
        halt_ms=done.halt_ms,
        done_ms=done.done_ms,
        flat=flat if request.drill or not request.flatten else not done.unconfirmed,
        code=code,
    )


def _protects(done: "Halted") -> str:
    """What protects what is still open, and what was closed when that was asked for."""
    if not done.halt.flatten:
        return "positions keep their stops and targets at the exchange"
    if done.closed:
        return f"closed: {len(done.closed)}; what is still open keeps its stops at the exchange"
    if done.unconfirmed:
        return "no position is known to be closed; what is open keeps its stops at the exchange"
    own = "; a session closes what it holds itself" if done.listeners else ""
    return f"nothing was open any more when the exchange was asked{own}"


def _next_step(code: Exit, request: HaltRequest, done: "Halted") -> str:
    if request.drill:
        return "nothing was touched; the real one is blofin halt"
    if code in (Exit.REFUSED, Exit.DATA):
        deaf = [str(each.pid) for each in done.listeners if each.pid and not each.acknowledged]
        return f"end the session's process (kill {' '.join(deaf) or 'PID'}), then blofin halt again"
    if code is Exit.NETWORK:
        return "blofin halt again when the exchange answers; blofin orders shows what rests"
    return "blofin status shows what is held; blofin resume lets entries pass again"


class ResumeRequest(Request):
    """Nothing to say."""


class ResumeResult(Result):
    """Whether there was a halt, and what holds now."""

    state: str
    was_halted: bool
    cause: str
    paused: list[Pause]
    next_step: str


@command(effect=Effect.PERSON)
async def resume(request: ResumeRequest, context: Context) -> ResumeResult:
    """Let entries pass again after a halt; a person only, never an agent.

    Example: blofin resume
    """
    del request
    journal, now_ms = context.journal, context.clock.now_ms()
    try:
        known = journal.halted()
        cause = "" if known is None else f"{known.face}: {known.cause}"
    except DataError as problem:
        cause = f"unreadable: {problem.message}"
    was_halted = journal.clear_halt(now_ms, context.face)
    pauses = [p for p in journal.pauses() if p.until_ms is None or p.until_ms > now_ms]
    return ResumeResult(
        state="not halted",
        was_halted=was_halted,
        cause=cause,
        paused=pauses,
        next_step="blofin unpause ends the pauses" if pauses else "blofin status",
    )


class PauseRequest(Request):
    """What to pause."""

    symbol: Annotated[Symbol | None, Field(description="Instrument; without it, all")] = None
    reason: Reason = "by hand"


class UnpauseRequest(Request):
    """What to let trade again."""

    symbol: Annotated[
        Symbol | None, Field(description="Instrument; without it, the pause of all")
    ] = None


class PauseResult(Result):
    """The pauses in force; `*` is every symbol. Protection goes on whatever is paused."""

    changed: bool
    pauses: list[Pause]
    next_step: str
    note: str = ""

    columns: ClassVar[tuple[str, ...]] = ("symbol", "by", "cause")

    def rows(self) -> list[dict[str, Any]]:
        """One line a pause."""
        return [{"symbol": p.symbol, "by": p.face, "cause": p.cause} for p in self.pauses]

    def summary(self) -> list[tuple[str, object]]:
        """What to do next."""
        note = [("note", self.note)] if self.note else []
        return [("pauses", len(self.pauses)), *note, ("next", self.next_step)]


@command(effect=Effect.SAFE, positional=("symbol",))
async def pause(request: PauseRequest, context: Context) -> PauseResult:
    """Let no entries pass for one symbol or for all; stops and closing go on.

    Example: blofin pause BTC-USDT --reason "news at 14:30"
    """
    symbol = request.symbol or ALL_SYMBOLS
    context.journal.set_pause(
        Pause(
            symbol=symbol,
            ts_ms=context.clock.now_ms(),
            face=context.face,
            cause=request.reason,
        )
    )
    told = _pauses(context, changed=True)
    return told.model_copy(update={"note": _untraded(symbol, context)})


def _untraded(symbol: str, context: Context) -> str:
    """What a person should know who may have mistyped a symbol."""
    try:
        running = [each for each in context.journal.sessions() if each.ended_ms is None]
    except DataError:
        return ""  # the pause is set, whatever else cannot be read
    traded = {symbol for session in running for symbol in session.symbols}
    if symbol == ALL_SYMBOLS or not traded or symbol in traded:
        return ""
    return f"no session here trades {symbol}, only {', '.join(sorted(traded))}; the pause holds"


@command(effect=Effect.SAFE, positional=("symbol",))
async def unpause(request: UnpauseRequest, context: Context) -> PauseResult:
    """End a pause. A halt stays: only `blofin resume` clears one.

    Example: blofin unpause BTC-USDT
    """
    changed = context.journal.clear_pause(request.symbol or ALL_SYMBOLS)
    return _pauses(context, changed=changed)


def _pauses(context: Context, *, changed: bool) -> PauseResult:
    now_ms = context.clock.now_ms()
    pauses = [p for p in context.journal.pauses() if p.until_ms is None or p.until_ms > now_ms]
    words = " ".join("" if p.symbol == ALL_SYMBOLS else p.symbol for p in pauses[:1]).strip()
    step = f"blofin unpause {words}".strip() if pauses else "entries may pass"
    return PauseResult(changed=changed, pauses=pauses, next_step=step)
