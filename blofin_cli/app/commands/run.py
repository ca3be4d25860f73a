"""The real-time loop, in the foreground or on its own."""

import asyncio
import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from blofin_cli.app import config
from blofin_cli.app.context import Context
from blofin_cli.app.selection import StrategyRequest, strategy_of
from blofin_cli.app.spec import Effect, Symbol, command
from blofin_cli.app.venues import AccountRequest, VenueResult, account_name, exchange_of, mode_of
from blofin_cli.core.quotes import Mode
from blofin_cli.core.status import SessionStatus
from blofin_cli.errors import (
    BadAnswerError,
    BlofinError,
    NetworkError,
    RateLimitError,
    RefusedError,
    UsageError,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.core.journal import Session

DETACHED_S_MAX = 90.0
EQUITY = 10_000.0
STANDBY_S = 1.0
LONG_LIVED_BARS = 1_000_000_000
LOG_BYTES_MAX = 65_536
# What no agent chooses: each could loosen a limit of the settings.
CHOICES = ("strategy", "preset", "timeframe", "context", "set")


class RunRequest(AccountRequest, StrategyRequest):
    """What to trade, where and how."""

    symbol: Annotated[
        tuple[Symbol, ...], Field(description="Instruments", min_length=1, max_length=50)
    ]
    equity: Annotated[
        float, Field(description="Equity a dry run starts with, USDT", gt=0, le=1e12)
    ] = EQUITY
    max_seconds: Annotated[
        float | None, Field(description="Stop after this time instead of at Ctrl-C", gt=0)
    ] = None
    report: Annotated[
        str | None, Field(description="Write a page about the session when it ends: FILE.html")
    ] = None
    standby: Annotated[
        bool, Field(description="Wait until the account is free, then take over")
    ] = False
    detach: Annotated[
        bool, Field(description="Start it as a process of its own and return its session id")
    ] = False
    approval_only: Annotated[
        bool, Field(description="Every entry waits for a person, whatever the settings say")
    ] = False
    asked_by: Annotated[
        str | None, Field(description="Who had it started, for the audit trail", max_length=100)
    ] = None

    def effect(self, declared: Effect) -> Effect:
        """A dry run writes; anything at an exchange trades. Unknown until settings are read: the
        higher one."""
        return Effect.WRITE if self.mode is Mode.DRY_RUN else declared

    def effect_in(self, declared: Effect, context: Context) -> Effect:
        """The mode in force, typed or from the settings, decides."""
        return Effect.WRITE if mode_of(self, context) is Mode.DRY_RUN else declared


class RunResult(VenueResult):
    """What a session did, or that it is on its way."""

    session_id: str
    mode: Mode
    state: str
    reason: str
    symbols: list[str]
    started_ms: int
    ended_ms: int | None
    equity_start_usdt: float
    equity_usdt: float | None
    bars: int
    trades: int
    pnl_usdt: float
    r: float
    naked_max_s: float

    def summary(self) -> list[tuple[str, object]]:
        """The session in a few lines."""
        lines: list[tuple[str, object]] = [
            ("session", f"{self.session_id} {self.mode} at {self.exchange}"),
            ("state", f"{self.state} {self.reason}".strip()),
            ("bars", self.bars),
            ("trades", f"{self.trades}, {self.pnl_usdt:+,.2f} USDT, {self.r:+.2f} R"),
        ]
        if self.equity_usdt is not None:
            lines.append(("equity", f"{self.equity_start_usdt:,.2f} to {self.equity_usdt:,.2f}"))
        return [*lines, ("next", f"blofin parity {self.session_id}; blofin trades")]


@command(effect=Effect.TRADE, positional=("symbol",), tool="start_run")
async def run(request: RunRequest, context: Context) -> RunResult:
    """Trade the strategy in real time: dry-run by default, --mode demo or live at the exchange.

    Prices are live in every mode. A dry run simulates fills and holds no key; demo and live trade
    through the gate, with a stop attached to every entry. Ctrl-C ends it: stops stay at the
    exchange. `blofin halt` stops entries from anywhere.

    Example: blofin run BTC-USDT --mode dry-run --exchange sim --max-seconds 1
    """
    from blofin_cli.app.orders import is_agent
    from blofin_cli.app.running import Wanted, trade
    from blofin_cli.app.sessions import save_session, write_report

    _refuse_files(request)
    if is_agent(context):
        request = _for_agent(request, context)
    strategy = strategy_of(request, context)
    if request.detach:
        return await _detached(request, context)
    _load_compiler(context)
    wanted = Wanted(
        symbols=tuple(dict.fromkeys(request.symbol)),
        strategy=strategy,
        equity_usdt=Decimal(repr(request.equity)),
        max_seconds=request.max_seconds,
        since=request.since,
        approval_only=request.approval_only,
    )
    if request.standby:
        await _until_free(request, context)
    ended = await trade(request, wanted, context)
    save_session(ended.session, context)
    if request.report is not None:
        write_report(ended.session, request.report, context)
    return _result(ended.session, context, "stopped", ended.reason)


async def _until_free(request: RunRequest, context: Context) -> None:
    """Wait for the account's lock: it dies with the process that holds it, on any host that shares
    the state."""
    account = account_name(exchange_of(request, context), mode_of(request, context))
    if context.journal.is_locked(f"account-{account}"):
        context.say(f"standing by: another process holds {account}")
    while context.journal.is_locked(f"account-{account}"):  # noqa: ASYNC110 - another process holds it
        await asyncio.sleep(STANDBY_S)


def _refuse_files(request: RunRequest) -> None:
    for name in ("data", "synthetic", "funding", "mark", "until", "repair"):
        if getattr(request, name):
            raise UsageError(
                f"--{name} belongs to history; a session trades what comes live",
                hint="blofin sim --data PATH serves files as an exchange: --exchange sim",
            )


def _for_agent(request: RunRequest, context: Context) -> RunRequest:
    """What an agent may start: the settings' own strategy and limits, a person at every entry.

    Errors: RefusedError for anything that chooses others.
    """
    chosen = [name for name in CHOICES if getattr(request, name)]
    if chosen:
        raise RefusedError(
            f"an agent does not choose {chosen[0]}: a session trades what is set",
            hint="try an idea with run_backtest; a person changes the settings",
        )
    if mode_of(request, context) is not Mode.DRY_RUN:
        context.say("every entry of this session waits for a person: blofin approve")
    return request.model_copy(update={"approval_only": True})


def _load_compiler(context: Context) -> None:
    """A long-lived process pays for the compiler once; where it is absent kernels run plainly."""
    from blofin_cli.core.compiled import prepare

    if prepare(LONG_LIVED_BARS):
        context.say("compiling the kernels once: about half a minute")


def _result(session: "Session", context: Context, state: str, reason: str) -> RunResult:
    status: SessionStatus | None = context.journal.status(session.session_id)
    trades = context.journal.trades(session_id=session.session_id)
    return RunResult(
        exchange=session.exchange,
        simulated=session.simulated,
        session_id=session.session_id,
        mode=session.mode,
        state=state,
        reason=reason,
        symbols=list(session.symbols),
        started_ms=session.started_ms,
        ended_ms=context.journal.session(session.session_id).ended_ms,
        equity_start_usdt=float(session.equity_start_usdt),
        equity_usdt=None if status is None else status.equity_usdt,
        bars=0 if status is None else status.bars,
        trades=len(trades),
        pnl_usdt=sum(trade.pnl_usdt for trade in trades),
        r=sum(trade.r_multiple for trade in trades),
        naked_max_s=0.0 if status is None else status.naked.max_s,
    )


async def _detached(request: RunRequest, context: Context) -> RunResult:
    """Start the session as a process of its own and wait until it beats.

    Errors: RefusedError when the account is held already; its own error when it ended at once.
    """
    account = account_name(exchange_of(request, context), mode_of(request, context))
    if context.journal.is_locked(f"account-{account}"):
        raise RefusedError(
            f"a session or a command holds the account {account}", hint="blofin status shows it"
        )
    before = {item.session_id for item in context.journal.sessions(account)}
    log = context.state_folder / "session.log"
    with config.open_log(log) as out:
        begun = out.tell()
        process = await asyncio.create_subprocess_exec(
            *_words(request, context),
            stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    loop = asyncio.get_running_loop()
    until = loop.time() + DETACHED_S_MAX
    while loop.time() < until:
        fresh = [s for s in context.journal.sessions(account) if s.session_id not in before]
        if fresh and context.journal.status(fresh[0].session_id) is not None:
            return _result(fresh[0], context, "running", f"process {process.pid}")
        if process.returncode is not None:
            raise _ended_at_once(process.returncode, _last_words(log, begun), log.name)
        await asyncio.sleep(0.1)
    raise NetworkError("the session has not begun yet", hint="blofin status shows when it has")


def _words(request: RunRequest, context: Context) -> list[str]:
    """The command line of the same session without --detach."""
    words = [sys.executable, "-m", "blofin_cli", "run", *request.symbol, "--json", "--yes"]
    words += ["--state", context.state]
    face = f"{context.face}:{context.client}".rstrip(":")
    words += ["--asked-by", request.asked_by or face]
    for name, value in request.model_dump(mode="json", exclude_unset=True).items():
        option = "--" + name.replace("_", "-")
        if name in ("symbol", "detach", "asked_by") or value in (None, False, []):
            continue
        if name == "context":
            words += [option, ",".join(value)]
        elif isinstance(value, list):
            words += [word for item in value for word in (option, str(item))]
        elif value is True:
            words.append(option)
        else:
            words += [option, str(value)]
    return words


def _ended_at_once(code: int, words: str, log_name: str) -> BlofinError:
    """The error the process ended with, as it told it; else what is known of its end."""
    from blofin_cli.app.errands import error_of

    try:
        told = json.loads(words)["error"]
        code_word, text = str(told["code"]), str(told["message"])
        more = {"hint": told["hint"], "details": told["details"]}
    except (KeyError, TypeError, ValueError):
        return BlofinError(
            f"the session ended at once with exit code {code}: {words[:200] or 'it said nothing'}",
            hint=f"its words are in {log_name} in the state folder",
        )
    kind = _NOT_OF_ERRANDS.get(code_word)
    return error_of({"error": told}) if kind is None else kind(text, **more)


_NOT_OF_ERRANDS = {
    BlofinError.code: BlofinError,
    BadAnswerError.code: BadAnswerError,
    RateLimitError.code: VenueError,
}


def _last_words(log: Any, begun: int) -> str:
    """The last line the process said."""
    with log.open("rb") as file:
        file.seek(max(begun, log.stat().st_size - LOG_BYTES_MAX))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
