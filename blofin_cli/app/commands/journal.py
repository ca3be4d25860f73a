"""The trade journal: finished trades, the notes on them, and the audit trail."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Name, Request, Result, Symbol, Time, command, to_record
from blofin_cli.app.timespec import minute_of, second_of
from blofin_cli.core.journal import AuditRow, Happening, Level
from blofin_cli.core.market import ExitReason, Trade
from blofin_cli.errors import ComparisonError, UsageError

SCANNED_MAX = 100_000
DIGEST_LENGTH, DIGEST_SHOWN = 32, 8
"""Characters of a trade id that is a digest, and of its start in a table; other ids count up."""
NOTE = "note"
"""The kind of an event that a person or agent wrote into the log."""

Id = Annotated[str, Field(min_length=1, max_length=80)]
Text = Annotated[str, Field(max_length=4000)]


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
    since_ms = 0 if request.since is None else request.since.resolve(now_ms)
    until_ms = None if request.until is None else request.until.resolve(now_ms)
    if until_ms is not None and since_ms >= until_ms:
        raise UsageError(
            "--since is not before --until", hint="a span such as 30d counts back from now"
        )
    session_id = None if request.session is None else _session_id(request.session, context)
    found = context.journal.trades(
        session_id=session_id,
        symbol=request.symbol,
        since_ms=since_ms,
        until_ms=until_ms,
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
        Literal["list", "add", "note", "audit", "verify"],
        Field(
            description="list: what was added and noted; add: an entry of its own; note: on a "
            "trade; audit: who did what; verify: whether the audit trail was changed"
        ),
    ] = "list"
    trade: Annotated[
        Text | None,
        Field(description="For note: the trade, or a start of its id; for add: the text"),
    ] = None
    text: Annotated[Text | None, Field(description="For note and add: what to remember")] = None
    symbol: Annotated[Symbol | None, Field(description="For add: what it is about")] = None
    tag: Annotated[
        tuple[Name, ...],
        Field(description="For note and add: a tag; may be repeated", max_length=20),
    ] = ()
    since: Annotated[Time | None, Field(description="For list and audit, e.g. 7d")] = None
    limit: Annotated[int, Field(description="The newest ones only", ge=1, le=10_000)] = 50

    @model_validator(mode="before")
    @classmethod
    def _only_word_of_add_is_its_text(cls, given: dict[str, Any]) -> dict[str, Any]:
        """An entry of its own has no trade: a word in that place is judged as the text."""
        if given.get("what") != "add" or given.get("text") is not None:
            return given
        return {**given, "trade": None, "text": given.get("trade")}

    def effect(self, declared: Effect) -> Effect:
        """Only writing changes anything."""
        return declared if self.what in {"note", "add"} else Effect.READ


class LogLine(Result):
    """One thing that was noted: on a trade, or by itself."""

    ts_ms: int
    symbol: str | None
    trade: str | None
    r_multiple: float | None
    tags: tuple[str, ...]
    note: str


class LogResult(Result):
    """What was noted, newest first, or the audit trail and whether it is whole."""

    notes: list[LogLine] | None = None
    audit: list[AuditRow] | None = None
    audit_rows: int | None = None
    audit_hash: str | None = None
    broken_at: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The trail if it was asked for, else the notes."""
        return [to_record(item) for item in self.audit or self.notes or ()]

    def table(self) -> list[dict[str, Any]]:
        """One short line each."""
        if self.audit is not None:
            return [_audit_line(row) for row in self.audit]
        return [_note_line(line) for line in self.notes or ()]

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
    """Note something, on a finished trade or by itself; list notes; show or verify the audit trail.

    Example: blofin log note tr-1f "chased the entry" --tag review
    """
    since_ms = 0 if request.since is None else request.since.resolve(context.clock.now_ms())
    _check_words(request)
    if request.what == "note":
        return LogResult(notes=[_noted(request, context)])
    if request.what == "add":
        return LogResult(notes=[_added(request, context)])
    if request.what == "audit":
        return LogResult(audit=list(context.journal.audit(since_ms=since_ms, limit=request.limit)))
    if request.what == "verify":
        return _verified(context)
    return LogResult(notes=_listed(since_ms, context)[: request.limit])


def _check_words(request: LogRequest) -> None:
    """Errors: UsageError for words that have no place in what is asked."""
    given = request.trade or request.text or request.tag or request.symbol
    if request.what not in {"note", "add"} and given:
        raise UsageError(
            "trade, text, tag and symbol belong to note and add", hint='blofin log note ID "text"'
        )
    if request.what == "note" and request.symbol is not None:
        raise UsageError("a note on a trade has the trade's symbol", hint="leave --symbol out")


def _noted(request: LogRequest, context: Context) -> LogLine:
    if request.trade is None or (request.text is None and not request.tag):
        raise UsageError("a note needs a trade and a text or a tag", hint="blofin trades lists ids")
    trade = context.journal.annotate(request.trade, note=request.text, tags=request.tag)
    return _line_of_trade(trade)


def _added(request: LogRequest, context: Context) -> LogLine:
    if request.trade is not None or request.text is None or not request.text.strip():
        raise UsageError("an entry needs a text and no trade", hint='blofin log add "text"')
    newest = context.journal.sessions(limit=1)
    entry = Happening(
        ts_ms=context.clock.now_ms(),
        level=Level.INFO,
        kind=NOTE,
        text=request.text,
        symbol=request.symbol,
        details={"tags": list(request.tag), "face": context.face},
    )
    context.journal.tell(newest[0].account if newest else context.face, "", entry)
    return _line_of_entry(entry)


def _listed(since_ms: int, context: Context) -> list[LogLine]:
    trades = context.journal.trades(since_ms=since_ms, limit=SCANNED_MAX)
    entries = context.journal.happenings(since_ms=since_ms, limit=SCANNED_MAX)
    lines = [_line_of_trade(trade) for trade in trades if trade.note or trade.tags]
    lines += [_line_of_entry(entry) for entry in entries if entry.kind == NOTE]
    return sorted(lines, key=lambda line: line.ts_ms, reverse=True)


def _line_of_trade(trade: Trade) -> LogLine:
    return LogLine(
        ts_ms=trade.exit_ms,
        symbol=trade.symbol,
        trade=trade.id,
        r_multiple=trade.r_multiple,
        tags=tuple(trade.tags),
        note=trade.note,
    )


def _line_of_entry(entry: Happening) -> LogLine:
    return LogLine(
        ts_ms=entry.ts_ms,
        symbol=entry.symbol,
        trade=None,
        r_multiple=None,
        tags=tuple(entry.details.get("tags", ())),
        note=entry.text,
    )


def _note_line(line: LogLine) -> dict[str, Any]:
    """The note stands where the narrowest terminal shows it; a start of an id is enough to type."""
    trade = line.trade or ""
    return {
        "time": minute_of(line.ts_ms),
        "symbol": line.symbol,
        "note": line.note,
        "trade": trade[:DIGEST_SHOWN] if len(trade) == DIGEST_LENGTH else line.trade,
        "R": None if line.r_multiple is None else f"{line.r_multiple:+.2f}",
        "tags": " ".join(line.tags),
    }


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
