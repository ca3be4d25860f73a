"""What the trading session is doing, as its last heartbeat and the journal tell it."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.core.journal import Halt, Happening, Pause, Proposal
from blofin_cli.core.market import price_text
from blofin_cli.core.status import SessionStatus

if TYPE_CHECKING:
    from blofin_cli.core.journal import Session
    from blofin_cli.ports import Journal

HEARTBEAT_STALE_MS = 10_000
HEARTBEAT_LATE_MS = 2_500
EVENTS_SHOWN = 20
WATCH_S = 1.0


class StatusRequest(Request):
    """Which session."""

    session: Annotated[
        str | None, Field(description="Session id; without it, the newest one", max_length=80)
    ] = None
    events: Annotated[int, Field(description="Newest events to list", ge=0, le=500)] = EVENTS_SHOWN
    watch: Annotated[
        bool, Field(description="One line a second until interrupted; of JSON with --json")
    ] = False


class StatusResult(Result):
    """State of the newest session.

    `state` is `none` (never ran), `stopped`, `stale` (no heartbeat for 10 s although it has not
    ended), `starting`, `reconciling`, `trading`, `paused`, `halted` or `stopping`. `halt` says
    `unreadable` in its cause when the flag could not be read, which counts as halted.
    """

    state: str
    now_ms: int
    session_id: str | None
    started_ms: int | None
    ended_ms: int | None
    end_reason: str
    heartbeat_age_ms: int | None
    halted: bool
    halt: Halt | None
    pauses: list[Pause]
    status: SessionStatus | None
    proposals: list[Proposal]
    happenings: list[Happening]

    columns: ClassVar[tuple[str, ...]] = ("time", "level", "kind", "symbol", "text")

    def rows(self) -> list[dict[str, Any]]:
        """Newest events, the newest last."""
        from blofin_cli.app.timespec import second_of

        return [
            {
                "time": second_of(item.ts_ms),
                "level": item.level.value,
                "kind": item.kind,
                "symbol": item.symbol or "",
                "text": item.text,
            }
            for item in reversed(self.happenings)
        ]

    def summary(self) -> list[tuple[str, object]]:
        """State, money, protection and distance to every breaker."""
        head: list[tuple[str, object]] = [("state", self.state)]
        if self.halt is not None:
            head.append(("halted", f"by {self.halt.face}: {self.halt.cause}"))
            head.append(("next", "blofin resume clears it"))
        head += [("paused", f"{p.symbol}: {p.cause}") for p in self.pauses]
        if self.status is None:
            if self.state == "none":
                head.append(
                    ("note", "no session has run on this state file: blofin run starts one")
                )
            return head
        return [*head, *_status_lines(self.status, self)]


def _status_lines(now: SessionStatus, result: StatusResult) -> list[tuple[str, object]]:
    age = result.heartbeat_age_ms
    lines: list[tuple[str, object]] = [
        ("session", f"{now.session_id} {now.mode} at {now.exchange}, {' '.join(now.symbols)}"),
        ("heartbeat", "-" if age is None else f"{age / 1000:.1f} s ago"),
    ]
    if now.health.note:
        lines.append(("note", now.health.note))
    lines.append(("feed age", _ages(now)))
    if now.override:
        lines.append(("override", now.override))
    if now.equity_usdt is not None:
        free = "-" if now.available_usdt is None else f"{now.available_usdt:,.2f}"
        lines.append(("equity", f"{now.equity_usdt:,.2f} USDT, {free} free"))
    for label, span in (("today", now.today), ("this week", now.week)):
        lines.append(
            (
                label,
                f"{span.pnl_usdt:+,.2f} USDT, {span.r:+.2f} R, {span.trades} trades, "
                f"fees {span.fees_usdt:,.2f}, funding {span.funding_usdt:+,.2f}",
            )
        )
    for position in now.positions:
        stop = "NO STOP" if position.stop is None else f"stop {price_text(position.stop)}"
        target = "no target" if position.target is None else f"target {price_text(position.target)}"
        lines.append(
            (
                position.symbol,
                f"{position.side} {price_text(abs(position.quantity))} at "
                f"{price_text(position.entry_price)}, "
                f"{position.unrealized_usdt:+,.2f} USDT, {stop}, {target}",
            )
        )
    naked = now.naked
    lines.append(
        (
            "naked seconds",
            f"now {naked.now_s:g}, p50 {naked.p50_s:g}, p99 {naked.p99_s:g}, max {naked.max_s:g}",
        )
    )
    for breaker in now.breakers:
        state = f"TRIPPED: {breaker.action}" if breaker.tripped else f"{breaker.distance:.0%} left"
        lines.append(
            (breaker.name, f"{breaker.value:g} of {breaker.limit:g} {breaker.unit}, {state}")
        )
    return lines


def _ages(now: SessionStatus) -> str:
    """How old the newest price of each symbol is."""
    ages = now.health.feed_age_ms.items()
    return ", ".join(
        f"{symbol} {'none yet' if age is None else f'{age / 1000:.1f} s'}" for symbol, age in ages
    )


@command(effect=Effect.READ, tool="get_status")
async def status(request: StatusRequest, context: Context) -> StatusResult:
    """Show mode, state, health, protection, breakers and the last events of the session.

    Example: blofin status
    """
    _tell_of_broken_settings(context)
    while request.watch:
        found = read_status(request, context)
        if context.show is not None:
            context.show(found)
        else:
            context.say(_line(found))
        await asyncio.sleep(WATCH_S)
    return read_status(request, context)


def _tell_of_broken_settings(context: Context) -> None:
    """Status needs no settings, so it works with broken ones, which stop most other commands."""
    from blofin_cli.errors import ConfigError

    try:
        if context.has_settings:
            from blofin_cli.app.settings import load

            load()
    except ConfigError as problem:
        context.say(f"the settings are broken and stop other commands: {problem.message}")


def _line(found: StatusResult) -> str:
    """The state in one line, for watching."""
    from blofin_cli.app.timespec import second_of

    now = found.status
    head = f"{second_of(found.now_ms)} {found.state}"
    if now is None:
        return head
    tripped = [breaker.name for breaker in now.breakers if breaker.tripped]
    held = ", ".join(
        f"{p.symbol} {price_text(p.quantity)} "
        f"{'' if p.stop is None else f'stop {price_text(p.stop)}'}".strip()
        for p in now.positions
    )
    return (
        f"{head} equity {now.equity_usdt or 0:,.2f} today {now.today.pnl_usdt:+,.2f} USDT "
        f"{now.today.r:+.2f} R | {held or 'flat'} | naked {now.naked.now_s:g} s | "
        f"{', '.join(tripped) or 'breakers quiet'}"
    )


def read_status(request: StatusRequest, context: Context) -> StatusResult:
    """One look at the journal; needs no network and no key."""
    from blofin_cli.errors import BlofinError

    journal, now_ms = context.journal, context.clock.now_ms()
    session = _session(request, context)
    found = None if session is None else journal.status(session.session_id)
    try:
        halt = journal.halted()
    except BlofinError as problem:
        halt = Halt(ts_ms=now_ms, face="status", cause=f"unreadable: {problem.message}")
    pauses = [p for p in journal.pauses() if p.until_ms is None or p.until_ms > now_ms]
    age_ms = None if found is None else max(0, now_ms - found.ts_ms)
    return StatusResult(
        state=_state(session, found, age_ms, journal),
        now_ms=now_ms,
        session_id=None if session is None else session.session_id,
        started_ms=None if session is None else session.started_ms,
        ended_ms=None if session is None else session.ended_ms,
        end_reason="" if session is None else session.end_reason,
        heartbeat_age_ms=age_ms,
        halted=halt is not None,
        halt=halt,
        pauses=pauses,
        status=found,
        proposals=[p for p in journal.proposals() if p.expires_ms > now_ms],
        happenings=list(journal.happenings(limit=request.events)) if request.events else [],
    )


def _session(request: StatusRequest, context: Context) -> "Session | None":
    if request.session is not None:
        return context.journal.session(request.session)
    newest = context.journal.sessions(limit=1)
    return newest[0] if newest else None


def _state(
    session: "Session | None", found: SessionStatus | None, age_ms: int | None, journal: "Journal"
) -> str:
    """The session's phase, `none`, `stopped`, or `stale`: it has not been heard from.

    A process that was killed holds no lock any more; the first beats that fail to come are enough.
    """
    if session is None:
        return "none"
    if session.ended_ms is not None:
        return "stopped"
    if found is None or age_ms is None or age_ms > HEARTBEAT_STALE_MS:
        return "stale"
    if age_ms > HEARTBEAT_LATE_MS and not journal.is_locked(f"account-{session.account}"):
        return "stale"
    return found.phase
