"""The trade journal: finished trades, the notes on them, and the audit trail."""

from typing import Annotated, Any, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Name, Request, Result, Symbol, Time, command
from blofin_cli.app.timespec import minute_of, second_of
from blofin_cli.core.journal import AuditRow
from blofin_cli.core.market import ExitReason, Trade
from blofin_cli.errors import ComparisonError, UsageError

SCANNED_MAX = 100_000
Id = Annotated[str, Field(min_length=1, max_length=80)]


class TradesRequest(Request):
    """Which finished trades."""

    symbol: Annotated[Symbol | None, Field(description="One instrument only")] = None
    since: Annotated[Time | None, Field(description="Closed at or after, e.g. 30d")] = None
    until: Annotated[Time | None, Field(description="Closed before")] = None
    outcome: Annotated[
        Literal["win", "loss"] | None, Field(description="win: more than nothing after all costs")
    ] = None
    min_r: Annotated[float | None, Field(description="Net result of at least so many R")] = None
    max_r: Annotated[float | None, Field(description="Net result of at most so many R")] = None
    zone: Annotated[Id | None, Field(description="Traded from this zone")] = None
    reason: Annotated[ExitReason | None, Field(description="Ended by this")] = None
    tag: Annotated[Id | None, Field(description="Bears this tag")] = None
    session: Annotated[Id | None, Field(description="Of this session; a start of its id")] = None
    limit: Annotated[int, Field(description="The newest ones only", ge=1, le=10_000)] = 100


class TradesResult(Result):
    """Finished trades, newest first, and what they sum to."""

    count: int
    net_r: float
    net_usdt: float
    trades: list[Trade]

    def table(self) -> list[dict[str, Any]]:
        """One short line a trade."""
        return [_trade_line(trade) for trade in self.trades]

    def summary(self) -> list[tuple[str, object]]:
        """How many, and what they brought."""
        return [("trades", f"{self.count}, {self.net_r:+.2f} R, {self.net_usdt:+,.2f} USDT")]


@command(effect=Effect.READ, tool="get_trades")
async def trades(request: TradesRequest, context: Context) -> TradesResult:
    """List finished trades of dry-run, demo and live sessions.

    Example: blofin trades --since 30d --outcome loss
    """
    now_ms = context.clock.now_ms()
    session_id = None if request.session is None else _session_id(request.session, context)
    found = context.journal.trades(
        session_id=session_id,
        symbol=request.symbol,
        since_ms=0 if request.since is None else request.since.resolve(now_ms),
        until_ms=None if request.until is None else request.until.resolve(now_ms),
        limit=SCANNED_MAX,
    )
    chosen = [trade for trade in reversed(found) if _is_wanted(trade, request)][: request.limit]
    return TradesResult(
        count=len(chosen),
        net_r=sum(trade.r_multiple for trade in chosen),
        net_usdt=sum(trade.pnl_usdt for trade in chosen),
        trades=chosen,
    )


def _is_wanted(trade: Trade, request: TradesRequest) -> bool:
    is_win = trade.pnl_usdt > 0
    return (
        (request.outcome is None or is_win == (request.outcome == "win"))
        and (request.min_r is None or trade.r_multiple >= request.min_r)
        and (request.max_r is None or trade.r_multiple <= request.max_r)
        and (request.zone is None or trade.zone_id == request.zone)
        and (request.reason is None or trade.exit_reason is request.reason)
        and (request.tag is None or request.tag in trade.tags)
    )


def _session_id(start: str, context: Context) -> str:
    return context.journal.session(start).session_id


def _trade_line(trade: Trade) -> dict[str, Any]:
    return {
        "closed": minute_of(trade.exit_ms),
        "symbol": trade.symbol,
        "side": trade.side,
        "by": trade.exit_reason.value,
        "R": f"{trade.r_multiple:+.2f}",
        "net": f"{trade.pnl_usdt:+,.2f}",
        "id": trade.id,
        "tags": " ".join(trade.tags),
        "note": trade.note,
        "entry": trade.entry_price,
        "exit": trade.exit_price,
    }


class LogRequest(Request):
    """What to read of the log, or what to write into it."""

    what: Annotated[
        Literal["list", "note", "audit", "verify"],
        Field(
            description="list: trades with a note or tag; note: set them; audit: who did what; "
            "verify: whether the audit trail was changed"
        ),
    ] = "list"
    trade: Annotated[Id | None, Field(description="For note: the trade, or a start of its id")] = (
        None
    )
    text: Annotated[
        str | None, Field(description="For note: what to remember", max_length=4000)
    ] = None
    tag: Annotated[
        tuple[Name, ...],
        Field(description="For note: a tag to add; may be repeated", max_length=20),
    ] = ()
    since: Annotated[Time | None, Field(description="For list and audit, e.g. 7d")] = None
    limit: Annotated[int, Field(description="The newest ones only", ge=1, le=10_000)] = 50

    def effect(self, declared: Effect) -> Effect:
        """Only a note changes anything."""
        return declared if self.what == "note" else Effect.READ


class LogResult(Result):
    """Trades with notes, the one just noted, or the audit trail and whether it is whole."""

    trades: list[Trade] | None = None
    audit: list[AuditRow] | None = None
    audit_rows: int | None = None
    audit_hash: str | None = None
    broken_at: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The trail if it was asked for, else the trades."""
        from blofin_cli.app.spec import to_record

        return [to_record(item) for item in self.audit or self.trades or ()]

    def table(self) -> list[dict[str, Any]]:
        """One short line each."""
        if self.audit is not None:
            return [_audit_line(row) for row in self.audit]
        return [
            {
                "closed": minute_of(trade.exit_ms),
                "symbol": trade.symbol,
                "R": f"{trade.r_multiple:+.2f}",
                "id": trade.id,
                "tags": " ".join(trade.tags),
                "note": trade.note,
            }
            for trade in self.trades or ()
        ]

    def summary(self) -> list[tuple[str, object]]:
        """Whether the trail is whole, when that was asked."""
        if self.audit_rows is None:
            return []
        state = "intact" if self.broken_at is None else f"BROKEN from row {self.broken_at} on"
        return [
            ("audit trail", f"{self.audit_rows} rows, {state}"),
            ("last hash", self.audit_hash or "none"),
        ]


@command(effect=Effect.WRITE, positional=("what", "trade", "text"), tool="log_trade")
async def log(request: LogRequest, context: Context) -> LogResult:
    """Note something on a finished trade; list notes; show or verify the audit trail.

    Example: blofin log note tr-1f "chased the entry" --tag review
    """
    if request.what != "note" and (request.trade or request.text or request.tag):
        raise UsageError("trade, text and tag belong to a note", hint='blofin log note ID "text"')
    since_ms = 0 if request.since is None else request.since.resolve(context.clock.now_ms())
    if request.what == "note":
        return LogResult(trades=[_noted(request, context)])
    if request.what == "audit":
        return LogResult(audit=list(context.journal.audit(since_ms=since_ms, limit=request.limit)))
    if request.what == "verify":
        return _verified(context)
    found = context.journal.trades(since_ms=since_ms, limit=SCANNED_MAX)
    noted = [trade for trade in reversed(found) if trade.note or trade.tags]
    return LogResult(trades=noted[: request.limit])


def _noted(request: LogRequest, context: Context) -> Trade:
    if request.trade is None or (request.text is None and not request.tag):
        raise UsageError("a note needs a trade and a text or a tag", hint="blofin trades lists ids")
    return context.journal.annotate(request.trade, note=request.text, tags=request.tag)


def _verified(context: Context) -> LogResult:
    rows, broken_at = context.journal.verify_audit()
    newest = context.journal.audit(limit=1)
    result = LogResult(
        audit_rows=rows, audit_hash=newest[0].hash if newest else None, broken_at=broken_at
    )
    if broken_at is not None:
        raise ComparisonError(
            f"the audit trail was changed: row {broken_at} does not follow from the row before it",
            hint="compare with a backup (blofin guide state)",
            result=result,
        )
    return result


def _audit_line(row: AuditRow) -> dict[str, Any]:
    return {
        "time": second_of(row.ts_ms),
        "face": row.face,
        "command": row.command,
        "effect": row.effect,
        "outcome": row.outcome,
        "arguments": row.arguments,
    }
