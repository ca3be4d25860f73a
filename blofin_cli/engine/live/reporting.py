"""How a session shows itself: the heartbeat document, built from what it knows right now."""

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blofin_cli.core.market import Trade
from blofin_cli.core.orders import Order, Position, Protection
from blofin_cli.core.quotes import Bar
from blofin_cli.core.risk import DAY_MS, MONDAY_OFFSET_DAYS
from blofin_cli.core.status import (
    HealthView,
    OrderView,
    PositionView,
    QuoteView,
    Result,
    SessionStatus,
)
from blofin_cli.engine.live.book import Holding
from blofin_cli.errors import DataError
from blofin_cli.ports import Journal

if TYPE_CHECKING:
    from blofin_cli.engine.live.session import LiveSession

CURVE_POINTS = 300
RESULTS_MS = 10_000


def status_of(session: "LiveSession") -> SessionStatus:
    """Everything a person needs at a glance."""
    state = session.state
    now = state.now_ms()
    margin_mode, position_mode = session.trader.modes()
    balance = None if state.mirror.account is None else state.mirror.account.balance()
    memory = state.breakers.memory
    feeds = {
        symbol: None if quote is None else max(0, now - quote.ts_ms)
        for symbol in state.session.symbols
        for quote in (state.quotes.get(symbol),)
    }
    today, week = session.results(now)
    return SessionStatus(
        ts_ms=state.wall.now_ms(),
        session_id=state.session.session_id,
        phase=session.phase,
        mode=str(state.session.mode),
        exchange=state.session.exchange,
        simulated=state.session.simulated,
        symbols=state.session.symbols,
        timeframe=state.session.timeframe,
        equity_usdt=None if balance is None else float(balance.equity),
        available_usdt=None if balance is None else float(balance.available),
        drawdown_fraction=max(0.0, 1.0 - memory.equity / memory.peak) if memory.peak else None,
        halt_seen_ms=session.halt_seen_ms,
        approval_only=session.trader.approval_only,
        changed=session.trader.changed,
        override=session.override,
        health=HealthView(
            clock_offset_ms=state.offset_ms,
            public_connected=session.public_up,
            private_connected=session.private_up,
            reconnects=session.reconnects,
            feed_age_ms=feeds,
            reconciled_ms=state.reconciled_ms,
            margin_mode=margin_mode,
            position_mode=position_mode,
            unresolved_intents=len(state.unresolved()),
            storage_ok=not state.scribe.is_behind,
            note=session.blocked(),
        ),
        positions=tuple(_position(session, row) for row in state.mirror.positions.values()),
        orders=(
            *(_order(session, row) for row in state.mirror.orders.values()),
            *(_protection(row) for row in state.mirror.protections.values()),
        ),
        breakers=state.breakers.views(now),
        naked=state.naked_view(),
        today=today,
        week=week,
        quotes={
            symbol: QuoteView(
                last=float(quote.last),
                bid=_float(quote.bid),
                ask=_float(quote.ask),
                mark=_float(quote.mark),
                ts_ms=quote.ts_ms,
            )
            for symbol, quote in state.quotes.items()
        },
        bars=session.bars,
        last_bar_ms=session.last_bar_ms,
        curve=session.curve(),
    )


class Results:
    """Today's and this week's results, read anew once in ten seconds."""

    def __init__(self) -> None:
        self._read_ms: int | None = None
        self._found = (Result(), Result())

    def forget(self) -> None:
        """A trade has finished: read anew at the next question."""
        self._read_ms = None

    def now(self, journal: Journal, account: str, now_ms: int) -> tuple[Result, Result]:
        """Results of the UTC day and of the week; the last known ones while the journal is busy."""
        if self._read_ms is None or abs(now_ms - self._read_ms) >= RESULTS_MS:
            self._read_ms = now_ms
            day_ms, week_ms = day_and_week_ms(now_ms)
            with suppress(DataError):
                week = journal.trades(account=account, since_ms=week_ms)
                today = tuple(trade for trade in week if trade.exit_ms >= day_ms)
                self._found = (result_of(today), result_of(week))
        return self._found


def result_of(trades: tuple[Trade, ...]) -> Result:
    """What some trades brought together."""
    return Result(
        trades=len(trades),
        wins=sum(trade.pnl_usdt > 0 for trade in trades),
        pnl_usdt=sum(trade.pnl_usdt for trade in trades),
        r=sum(trade.r_multiple for trade in trades),
        fees_usdt=sum(trade.fees_usdt for trade in trades),
        funding_usdt=sum(trade.funding_usdt for trade in trades),
    )


def day_and_week_ms(now_ms: int) -> tuple[int, int]:
    """Begin of the UTC day and of the week that starts on Monday."""
    day = now_ms // DAY_MS
    week = (day + MONDAY_OFFSET_DAYS) // 7 * 7 - MONDAY_OFFSET_DAYS
    return day * DAY_MS, week * DAY_MS


def followed(holding: Holding, bar: Bar, manage: Any, tick: Decimal | None) -> Holding:
    """A holding whose stop follows a closed bar: break-even and trailing, as in the step.

    The stop only ever comes nearer to the market.
    """
    sign = holding.side.sign
    extreme = Decimal(repr(bar.high if sign > 0 else bar.low))
    holding = holding.seen_at(extreme)
    entry, first, best = holding.entry_price, holding.first_stop, holding.best
    if entry is None or first is None or holding.stop is None or best is None:
        return holding
    risk = abs(entry - first)
    moved = holding.stop
    if manage.be_at > 0 and (best - entry) * sign >= Decimal(repr(manage.be_at)) * risk:
        moved = _tighter(moved, entry, sign)
    if manage.trail > 0:
        moved = _tighter(moved, best - sign * Decimal(repr(manage.trail)) * risk, sign)
    if moved == holding.stop or tick is None:
        return holding
    steps = (moved / tick).to_integral_value("ROUND_FLOOR" if sign > 0 else "ROUND_CEILING")
    moved = _tighter(holding.stop, steps * tick, sign)
    return holding if moved == holding.stop else replace(holding, stop=moved, is_moved=True)


def _tighter(one: Decimal, other: Decimal, sign: int) -> Decimal:
    return max(one, other) if sign > 0 else min(one, other)


def _position(session: "LiveSession", row: Position) -> PositionView:
    state = session.state
    holding = state.holdings.get(row.symbol)
    stops = [p.stop for p in state.mirror.stops(row.symbol, row.closing_side) if p.stop]
    targets = [p.target for p in state.mirror.targets(row.symbol, row.closing_side) if p.target]
    stop = (max(stops) if row.size > 0 else min(stops)) if stops else None
    bare = state.bare.get(row.symbol)
    quote = state.quotes.get(row.symbol)
    price = row.mark_price if quote is None else quote.last
    profit = (price - row.entry_price) * row.size
    risk = None if holding is None else _planned_risk(holding)
    return PositionView(
        symbol=row.symbol,
        side="long" if row.size > 0 else "short",
        quantity=float(row.size),
        entry_price=float(row.entry_price),
        mark_price=float(row.mark_price),
        stop=_float(stop),
        target=_float(targets[0] if targets else None),
        liquidation_price=_float(row.liquidation_price),
        leverage=row.leverage,
        margin_usdt=_float(row.margin_usdt),
        notional_usdt=float(abs(row.size) * price),
        unrealized_usdt=float(profit),
        r_multiple=float(profit / risk) if risk else None,
        risk_usdt=_float(risk),
        naked_s=0.0 if bare is None else bare.ms / 1000,
        origin="external" if holding is None else holding.origin,
        opened_ms=None if holding is None else holding.opened_ms,
        due_ms=None if holding is None else holding.due_ms,
        zone_id=None if holding is None else holding.zone_id,
        trade_id=None if holding is None else holding.trade_id,
    )


def _planned_risk(holding: Holding) -> Decimal | None:
    entry, first = holding.entry_price, holding.first_stop
    if entry is None or first is None:
        return holding.risk_usdt
    return abs(entry - first) * holding.quantity or None


def _order(session: "LiveSession", row: Order) -> OrderView:
    is_ours = row.client_id in session.state.intents
    kind = "close" if row.reduce_only else "entry" if is_ours else "external"
    return OrderView(
        id=row.order_id,
        client_id=row.client_id,
        symbol=row.symbol,
        kind=kind,
        side=row.side.value,
        type=row.type.value,
        size=float(row.size),
        filled=float(row.filled),
        price=_float(row.price),
        trigger=_float(row.trigger),
        state=row.state.value,
        created_ms=row.created_ms,
    )


def _protection(row: Protection) -> OrderView:
    """A stop or a target by its trigger; a bracket's stop is its trigger, its target the price."""
    is_bracket = row.stop is not None and row.target is not None
    return OrderView(
        id=row.protection_id,
        client_id=row.client_id,
        symbol=row.symbol,
        kind="stop" if row.stop is not None else "target",
        side=row.side.value,
        type="bracket" if is_bracket else "trigger",
        size=_float(row.size),
        filled=0.0,
        price=_float(row.target) if is_bracket else None,
        trigger=_float(row.stop if row.stop is not None else row.target),
        state=row.state.value,
        created_ms=row.created_ms,
    )


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
