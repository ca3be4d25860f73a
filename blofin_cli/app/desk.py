"""What a chart and its side panels show, now or as it was known at any moment.

Both dashboards read this and draw it; neither works it out again. Everything comes from the
journal and the candle store: nothing here asks the network, and nothing is written.
"""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blofin_cli.app.context import Context
from blofin_cli.app.selection import (
    SourceRequest,
    StrategyRequest,
    entry_candles,
    market_of,
    source_of,
    strategy_of,
)
from blofin_cli.core.market import Timeframe, Trade, Zone
from blofin_cli.errors import BlofinError

if TYPE_CHECKING:
    from blofin_cli.core.candles import Candles
    from blofin_cli.core.journal import Decision, Session
    from blofin_cli.core.status import SessionStatus

LOG_BYTES_MAX = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevel:
    """A price drawn across the chart: `entry`, `stop`, `target` or `liquidation`."""

    kind: str
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A fill on the chart: `entry` or `exit`, of a `long` or `short`, and why it ended."""

    kind: str
    ms: int
    price: float
    side: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartData:
    """One symbol's chart at one moment.

    `at_ms` None: now. `zones_from` is `session` (as the session knew them), `candles` (worked out
    from history up to the moment) or `nothing`. `decision` is the last one made by the moment.
    `note` says in words what is missing.
    """

    symbol: str
    timeframe: Timeframe
    at_ms: int | None
    candles: "Candles"
    zones: tuple[Zone, ...]
    zones_from: str
    levels: tuple[PriceLevel, ...]
    marks: tuple[Mark, ...]
    decision: "Decision | None"
    last_price: float | None
    note: str = ""


def chart_data(
    context: Context,
    symbol: str,
    timeframe: Timeframe,
    *,
    at_ms: int | None = None,
    bars: int = 500,
    session_id: str | None = None,
) -> ChartData:
    """Candles, zones, levels and fills of a symbol, now or as known at `at_ms`.

    Errors: UsageError for an unknown session or a timeframe finer than the store has; DataError
    when stored candles or the state are broken.
    """
    journal = context.journal
    session = chosen_session(context, session_id)
    exchange = exchange_of(session)
    candles, note = stored_candles(context, symbol, timeframe, at_ms, exchange=exchange)
    moment = context.clock.now_ms() if at_ms is None else at_ms
    zones, zones_from = _zones(context, session, symbol, at_ms)
    status = None if session is None else journal.status(session.session_id)
    shown = candles[max(0, len(candles) - bars) :]
    since_ms = int(shown.ts[0]) if len(shown) else moment
    trades = (
        ()
        if session is None
        else journal.trades(account=session.account, symbol=symbol, since_ms=since_ms)
    )
    decided = (
        ()
        if session is None
        else journal.decisions(session.session_id, symbol=symbol, until_ms=moment + 1, limit=1)
    )
    return ChartData(
        symbol=symbol,
        timeframe=timeframe,
        at_ms=at_ms,
        candles=shown,
        zones=zones,
        zones_from=zones_from,
        levels=_levels(symbol, status, trades, at_ms),
        marks=_marks(symbol, status, trades, moment),
        decision=decided[-1] if decided else None,
        last_price=_last_price(symbol, status, shown, at_ms),
        note=note,
    )


def chosen_session(context: Context, session_id: str | None) -> "Session | None":
    """The session of this id, or the newest one; None when none ever ran."""
    if session_id is not None:
        return context.journal.session(session_id)
    newest = context.journal.sessions(limit=1)
    return newest[0] if newest else None


def exchange_of(session: "Session | None") -> str:
    """Whose candles a session trades on; BloFin's when none ever ran."""
    return "blofin" if session is None else session.exchange


def stored_candles(
    context: Context,
    symbol: str,
    timeframe: Timeframe,
    at_ms: int | None = None,
    *,
    exchange: str = "blofin",
) -> "tuple[Candles, str]":
    """Candles of an exchange's store closed by a time, and a note when there are none."""
    import numpy as np

    from blofin_cli.core.candles import Candles

    source = source_of(SourceRequest(), [symbol], context, exchange=exchange)
    if not source.timeframes(symbol):
        none = np.empty(0)
        empty = Candles(symbol, timeframe, np.empty(0, np.int64), none, none, none, none, none)
        return empty, f"no candles of {symbol} in the store: blofin candles {symbol} --keep"
    found, _ = entry_candles(source, symbol, timeframe)
    return (found if at_ms is None else found.until(at_ms)), ""


def position_levels(
    symbol: str, status: "SessionStatus | None", at_ms: int | None = None
) -> tuple[PriceLevel, ...]:
    """Entry, stop, target and liquidation of what is open in a symbol and was by `at_ms`."""
    levels: list[PriceLevel] = []
    for position in () if status is None else status.positions:
        opened_ms = position.opened_ms or 0
        if position.symbol != symbol or (at_ms is not None and opened_ms > at_ms):
            continue
        for kind, price in (
            ("entry", position.entry_price),
            ("stop", position.stop),
            ("target", position.target),
            ("liquidation", position.liquidation_price),
        ):
            if price is not None:
                levels.append(PriceLevel(kind=kind, price=price))
    return tuple(levels)


def gates_of_last_bars(
    context: Context,
    *,
    symbol: str | None = None,
    until_ms: int | None = None,
    limit: int = 50,
    session_id: str | None = None,
) -> "tuple[Decision, ...]":
    """The session's newest decisions with every gate's verdict, newest first."""
    session = chosen_session(context, session_id)
    if session is None:
        return ()
    found = context.journal.decisions(
        session.session_id, symbol=symbol, until_ms=until_ms, limit=limit
    )
    return tuple(reversed(found))


def decision_of(context: Context, trade: Trade) -> "Decision | None":
    """The decision that led to a trade: the last one of its symbol before the entry."""
    session = _session_named(context, trade.run_id)
    if session is None:
        return None
    found = context.journal.decisions(
        session.session_id, symbol=trade.symbol, until_ms=trade.entry_ms + 1, limit=20
    )
    return next((item for item in reversed(found) if item.action != "hold"), None)


def trade_chart(context: Context, trade: Trade, *, bars_around: int = 30) -> ChartData:
    """The chart of one trade: its candles, its levels and its fills."""
    timeframe = _timeframe_of(trade.timeframe)
    session = _session_named(context, trade.run_id)
    exchange = exchange_of(session)
    candles, note = stored_candles(context, trade.symbol, timeframe, exchange=exchange)
    before_ms = bars_around * timeframe.ms
    shown = candles.between(trade.entry_ms - before_ms, trade.exit_ms + before_ms // 3)
    zones, zones_from = _zones(context, session, trade.symbol, trade.entry_ms)
    return ChartData(
        symbol=trade.symbol,
        timeframe=timeframe,
        at_ms=trade.exit_ms,
        candles=shown,
        zones=tuple(zone for zone in zones if trade.zone_id in (None, zone.id)),
        zones_from=zones_from,
        levels=_trade_levels(trade),
        marks=(_entry_mark(trade), *_exit_marks(trade)),
        decision=decision_of(context, trade),
        last_price=None,
        note=note,
    )


def equity_curve(context: Context, *, points_max: int = 400) -> tuple[tuple[int, float], ...]:
    """Equity of the newest session's account as `(ts_ms, equity)`, thinned evenly."""
    session = chosen_session(context, None)
    if session is None:
        return ()
    found = context.journal.equity(session.account)
    step = max(1, -(-len(found) // points_max))
    kept = found[::-step][::-1]
    return tuple((point.ts_ms, float(point.equity_usdt)) for point in kept)


def log_tail(context: Context, lines: int = 500, *, name: str = "blofin.log") -> tuple[str, ...]:
    """The newest lines of a log file beside the state, oldest first; empty when there is none."""
    path = context.state_folder / name
    try:
        with path.open("rb") as source:
            source.seek(0, 2)
            source.seek(max(0, source.tell() - LOG_BYTES_MAX))
            text = source.read(LOG_BYTES_MAX).decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(deque(text.splitlines(), maxlen=lines))


def _session_named(context: Context, session_id: str) -> "Session | None":
    return next(
        (item for item in context.journal.sessions() if item.session_id == session_id), None
    )


def _timeframe_of(word: str) -> Timeframe:
    return Timeframe(word) if word in set(Timeframe) else Timeframe.H1


def _zones(
    context: Context, session: "Session | None", symbol: str, at_ms: int | None
) -> tuple[tuple[Zone, ...], str]:
    moment = context.clock.now_ms() if at_ms is None else at_ms
    if session is not None and moment >= session.started_ms:
        known = context.journal.zones_at(session.session_id, symbol, moment)
        if known:
            return known, "session"
    try:
        return _worked_out(context, session, symbol, at_ms), "candles"
    except BlofinError:  # the chart says by itself that there are no candles
        return (), "nothing"


def _worked_out(
    context: Context, session: "Session | None", symbol: str, at_ms: int | None
) -> tuple[Zone, ...]:
    """Zones by the candles of the store, with the parameters of the session when one is asked."""
    from blofin_cli.core.reading import zones_now
    from blofin_cli.core.strategy import build_strategy

    request = StrategyRequest()
    strategy = strategy_of(request, context) if session is None else build_strategy(session.config)
    source = source_of(request, [symbol], context, exchange=exchange_of(session))
    market = market_of(request, symbol, source, strategy)
    return tuple(zones_now(market if at_ms is None else market.until(at_ms), strategy))


def _levels(
    symbol: str, status: "SessionStatus | None", trades: tuple[Trade, ...], at_ms: int | None
) -> tuple[PriceLevel, ...]:
    if at_ms is not None:
        open_then = [t for t in trades if t.entry_ms <= at_ms < t.exit_ms]
        if open_then:
            return _trade_levels(open_then[-1])
    return position_levels(symbol, status, at_ms)


def _trade_levels(trade: Trade) -> tuple[PriceLevel, ...]:
    found = (("entry", trade.entry_price), ("stop", trade.stop), ("target", trade.target))
    return tuple(PriceLevel(kind=kind, price=price) for kind, price in found if price is not None)


def _marks(
    symbol: str, status: "SessionStatus | None", trades: tuple[Trade, ...], moment: int
) -> tuple[Mark, ...]:
    marks = [_entry_mark(trade) for trade in trades if trade.entry_ms <= moment]
    marks += [mark for trade in trades for mark in _exit_marks(trade) if mark.ms <= moment]
    for position in () if status is None else status.positions:
        if position.symbol == symbol and position.opened_ms and position.opened_ms <= moment:
            marks.append(
                Mark(
                    kind="entry",
                    ms=position.opened_ms,
                    price=position.entry_price,
                    side=position.side,
                )
            )
    return tuple(sorted(marks, key=lambda mark: mark.ms))


def _entry_mark(trade: Trade) -> Mark:
    return Mark(kind="entry", ms=trade.entry_ms, price=trade.entry_price, side=trade.side)


def _exit_marks(trade: Trade) -> tuple[Mark, ...]:
    parts = trade.exits or []
    if not parts:
        reason = str(trade.exit_reason)
        return (
            Mark(
                kind="exit",
                ms=trade.exit_ms,
                price=trade.exit_price,
                side=trade.side,
                reason=reason,
            ),
        )
    return tuple(
        Mark(kind="exit", ms=part.ms, price=part.price, side=trade.side, reason=str(part.reason))
        for part in parts
    )


def _last_price(
    symbol: str, status: "SessionStatus | None", candles: "Candles", at_ms: int | None
) -> float | None:
    if at_ms is None and status is not None and symbol in status.quotes:
        return status.quotes[symbol].last
    return float(candles.close[-1]) if len(candles) else None
