"""Halting: the flag first, then whatever can be done from here, and in words what could not.

Nothing here waits for a session: the flag is the message, and it is read before every send. A halt
that finds the journal broken, the network gone or the session hung does all the rest.
"""

import asyncio
import platform
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from blofin_cli.app.context import Context
from blofin_cli.app.errands import has_process
from blofin_cli.app.venues import AccountRequest, account_name, open_account
from blofin_cli.core.journal import (
    Halt,
    Happening,
    IntentState,
    Level,
    Purpose,
)
from blofin_cli.core.quotes import Mode
from blofin_cli.engine.reducing import Deed, Reduced, Reducer
from blofin_cli.errors import BlofinError, ConfigError, Exit

if TYPE_CHECKING:
    from blofin_cli.core.journal import Session
    from blofin_cli.ports import ReduceOnly

ACKNOWLEDGE_S = 2.0
LOOK_S = 0.05
EXCHANGE_S = 10.0
BOX_S = 1.0
SESSIONS_READ = 50
ON_THE_WIRE = frozenset({IntentState.RESERVED, IntentState.UNKNOWN})
KNOWN_ACCOUNTS = (
    ("blofin", Mode.LIVE), ("blofin", Mode.DEMO), ("blofin", Mode.DRY_RUN), ("sim", Mode.DEMO),
    ("sim", Mode.DRY_RUN),
)  # fmt: skip

Opener = Callable[["Account"], "AbstractAsyncContextManager[ReduceOnly]"]


@dataclass(frozen=True, slots=True)
class Account:
    """An account by exchange and mode."""

    exchange: str
    mode: Mode

    @property
    def name(self) -> str:
        """What the journal calls it."""
        return account_name(self.exchange, self.mode)

    @classmethod
    def of_name(cls, name: str) -> "Account | None":
        """The account that the journal calls so, None when it is none of an exchange."""
        for mode in Mode:
            if name.endswith(f"-{mode}"):
                exchange = name.removesuffix(f"-{mode}")
                known = cls(re.sub("^ccxt-", "ccxt:", exchange), mode)
                return known if exchange else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A process that trades and whether it has heard of the halt; `pid` only on this machine."""

    account: str
    session_id: str
    acknowledged: bool
    heartbeat_age_ms: int | None
    pid: int | None = None


@dataclass(slots=True, kw_only=True)
class Halted:
    """What a halt did. `cause` is that of the halt in force: the first reason stays. `left` says in
    words what it could not do.
    """

    halt: Halt
    cause: str = ""
    durable: bool = True
    left: list[str] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    canceled: list[Deed] = field(default_factory=list)
    closed: list[Reduced] = field(default_factory=list)
    on_the_wire: list[str] = field(default_factory=list)
    unconfirmed: bool = False
    halt_ms: int = 0
    done_ms: int = 0

    @property
    def exit(self) -> Exit:
        """0 when no opening order can leave and everything asked for is confirmed."""
        if not self.durable:
            return Exit.DATA
        if any(not each.acknowledged for each in self.listeners):
            return Exit.REFUSED
        return Exit.NETWORK if self.unconfirmed else Exit.OK


async def halt_everything(
    context: Context,
    halt: Halt,
    accounts: Sequence[Account] | None = None,
    opener: Opener | None = None,
) -> Halted:
    """Raise the flag, wait for sessions to acknowledge it, cancel entries and perhaps close all."""
    started_ms = context.clock.now_ms()
    done = Halted(halt=halt)
    _raise_flag(context, done)
    in_force = _in_force(context, halt)
    done.cause = in_force.cause
    sessions = _sessions(context, done)
    chosen = list(accounts) if accounts is not None else _accounts(context, done, sessions)
    open_it = opener or _opener(context)
    waiting = _acknowledged(context, done, sessions, started_ms, in_force.ts_ms)
    trading = {session.account for session in sessions}
    work = [_work(context, done, account, open_it, trading) for account in chosen]
    await asyncio.gather(waiting, *work)
    for account in chosen:
        _list_sent(context, done, account)
        _tell(context, done, account)
    done.done_ms = context.clock.now_ms() - started_ms
    return done


def _raise_flag(context: Context, done: Halted) -> None:
    try:
        done.left += context.journal.set_halt(done.halt)
    except BlofinError as problem:
        done.durable = False
        done.left.append(f"the halt flag was not set: {problem.message}")
        if problem.hint:
            done.left.append(problem.hint)


def _sessions(context: Context, done: Halted) -> "list[Session]":
    """Sessions that have not ended, by the journal."""
    try:
        listed = context.journal.sessions(limit=SESSIONS_READ)
    except BlofinError as problem:
        done.left.append(f"sessions could not be listed: {problem.message}")
        return []
    return [session for session in listed if session.ended_ms is None]


def _accounts(context: Context, done: Halted, sessions: "list[Session]") -> list[Account]:
    """Accounts whose orders are looked after: all that were traded on, and the one of the settings.

    A flatten that knows of none, or not of all, is unconfirmed.
    """
    found: list[Account | None] = [Account(each.exchange, each.mode) for each in sessions]
    is_known = True
    try:
        found += [Account.of_name(name) for name in context.journal.accounts()]
    except BlofinError as problem:
        is_known = False
        done.left.append(f"accounts traded on could not be listed: {problem.message}")
    found.append(_account_of_settings(context))
    chosen = [each for each in dict.fromkeys(found) if each and each.mode is not Mode.DRY_RUN]
    if done.halt.flatten and not (is_known and chosen):
        done.unconfirmed = True
        done.left.append(
            "positions of other accounts were not looked at; name one with BLOFIN_MODE=live or demo"
            " before the command"
            if chosen
            else "no account is known here, so nothing was closed; name one with BLOFIN_MODE=live"
            " or demo before the command"
        )
    return chosen


def _account_of_settings(context: Context) -> Account | None:
    try:
        return Account(context.settings.exchange, context.settings.mode)
    except ConfigError:  # broken settings must not stop a halt
        return None


async def _acknowledged(
    context: Context, done: Halted, sessions: "list[Session]", started_ms: int, flag_ms: int
) -> None:
    """Wait until every living session has seen the flag, at most two seconds."""
    living = _living(context, sessions)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ACKNOWLEDGE_S
    while True:
        heard = [_listener(context, account, session, flag_ms) for account, session in living]
        if all(each.acknowledged for each in heard) or loop.time() >= deadline:
            break
        await asyncio.sleep(LOOK_S)
    done.listeners = heard
    done.halt_ms = context.clock.now_ms() - started_ms
    for each in heard:
        if not each.acknowledged:
            if not each.session_id:
                done.left.append(
                    f"a command is at work on {each.account}; it reads the flag before it sends"
                )
                continue
            age = each.heartbeat_age_ms
            when = "never" if age is None else f"{age / 1000:.0f} s ago"
            done.left.append(
                f"the session on {each.account} has not acknowledged (last heartbeat {when}); it "
                "reads the flag before it sends, and if in doubt end its process"
            )


def _living(context: Context, sessions: "list[Session]") -> "list[tuple[str, Session | None]]":
    """Accounts whose lock a process holds, with their sessions; a dead session holds no lock."""
    newest: dict[str, Session] = {}
    for session in sessions:
        newest.setdefault(session.account, session)
    names = dict.fromkeys([*newest, *(account_name(*pair) for pair in KNOWN_ACCOUNTS)])
    living = []
    for name in names:
        try:
            is_held = context.journal.is_locked(f"account-{name}")
        except BlofinError:
            is_held = name in newest
        if is_held:
            known = newest.get(name)
            living.append((name, known if known is not None and has_process(known) else None))
    return living


def _listener(context: Context, account: str, session: "Session | None", flag_ms: int) -> Listener:
    """Whether one session has seen the flag; a lock without a session is a command at work."""
    if session is None:
        held = _still_locked(context, account)
        return Listener(
            account=account, session_id="", acknowledged=not held, heartbeat_age_ms=None
        )
    try:
        status = context.journal.status(session.session_id)
    except BlofinError:
        status = None
    seen = status is not None and (status.halt_seen_ms or 0) >= flag_ms
    return Listener(
        account=account,
        session_id=session.session_id,
        acknowledged=seen or not _still_locked(context, account),
        heartbeat_age_ms=None if status is None else max(0, context.clock.now_ms() - status.ts_ms),
        pid=session.pid if session.host == platform.node() else None,
    )


def _still_locked(context: Context, account: str) -> bool:
    try:
        return context.journal.is_locked(f"account-{account}")
    except BlofinError:
        return True


def _in_force(context: Context, halt: Halt) -> Halt:
    """The halt that holds: an earlier one keeps its own time and cause."""
    try:
        known = context.journal.halted()
    except BlofinError:
        known = None
    return halt if known is None or known.ts_ms > halt.ts_ms else known


def _opener(context: Context) -> Opener:
    @asynccontextmanager
    async def opened(account: Account) -> "AsyncIterator[ReduceOnly]":
        request = AccountRequest(exchange=account.exchange, mode=account.mode)
        async with open_account(request, context) as exchange:
            yield exchange

    return opened


async def _work(
    context: Context, done: Halted, account: Account, open_it: Opener, trading: set[str]
) -> None:
    """Cancel the entries of one account, and close its positions when that was asked for.

    `trading` names accounts with a session that has not ended.
    """
    did: list[Reduced | Deed] = []
    try:
        async with asyncio.timeout(EXCHANGE_S), open_it(account) as exchange:
            reducer = Reducer(
                exchange=exchange,
                journal=context.journal,
                clock=context.clock,
                account=account.name,
                session_id=f"manual-{account.name}",
                face=context.face,
            )
            if done.halt.flatten:
                await reducer.flatten(did)
            else:
                did += await reducer.cancel_entries()
            done.left += [f"not written down: {note}" for note in reducer.notes]
    except ConfigError as problem:
        done.left.append(f"{account.name}: its orders were not looked at: {problem.message}")
        done.unconfirmed |= done.halt.flatten
        return
    except (BlofinError, TimeoutError) as problem:
        is_wanted = account.name in trading or account == _account_of_settings(context)
        if account.exchange == "sim" and not is_wanted and not await _has_box(context):
            done.left.append(f"{account.name}: no exchange in a box runs, so it holds nothing")
            return
        words = problem.message if isinstance(problem, BlofinError) else "no answer within 10 s"
        what = "entries may rest and positions be open" if done.halt.flatten else "entries may rest"
        done.left.append(f"{account.name}: {what}: {words}")
        done.unconfirmed = True
    finally:
        for each in did:
            _take(done, account, each)


async def _has_box(context: Context) -> bool:
    """Whether something listens where the box would; one that was ended has kept nothing."""
    address = urlsplit(context.settings.sim_url)
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(address.hostname, address.port), BOX_S
        )
    except (OSError, TimeoutError) as problem:
        return not isinstance(problem, ConnectionRefusedError)
    writer.close()
    return True


def _take(done: Halted, account: Account, each: Reduced | Deed) -> None:
    if isinstance(each, Reduced):
        done.closed.append(each)
        if each.status == "open":
            done.unconfirmed = True
            done.left.append(f"{account.name}: {each.symbol} is still open; its stop stays")
        return
    done.canceled.append(each)
    if each.outcome in ("unknown", "failed"):
        done.unconfirmed = True
        done.left.append(
            f"{account.name}: {each.action} of {each.symbol} {each.ref} is unconfirmed: "
            f"{each.message}"
        )


def _list_sent(context: Context, done: Halted, account: Account) -> None:
    """Name the entries that were on the wire before the flag went up."""
    try:
        for intent in context.journal.open_intents(account.name):
            if intent.purpose is Purpose.ENTRY and intent.state in ON_THE_WIRE:
                done.on_the_wire.append(
                    f"{account.name}: {intent.side} {intent.size:f} {intent.symbol} "
                    f"{intent.client_id} ({intent.state})"
                )
    except BlofinError:
        done.left.append(f"{account.name}: orders on the wire could not be listed")


def _tell(context: Context, done: Halted, account: Account) -> None:
    happening = Happening(
        ts_ms=done.halt.ts_ms,
        level=Level.ALERT,
        kind="halt",
        text=f"halted by {done.halt.face}: {done.halt.cause}",
        protects="stops stay at the exchange",
        next_step="blofin resume clears it",
    )
    try:
        context.journal.tell(account.name, f"manual-{account.name}", happening)
    except BlofinError:
        return  # the flag is what matters, and it has been told of
