"""What we hold and why: one `Holding` a symbol, from the first fill to the last.

The exchange says how much is held; the book says what it cost, what should protect it, and what it
made. It is a small document that the journal keeps, so a restart goes on where the last one ended.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any

from blofin_cli.core.journal import FundingPayment, Intent
from blofin_cli.core.market import ExitReason, PartExit, Trade
from blofin_cli.core.orders import Fill, Side
from blofin_cli.engine.trades import session_of

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A position of ours, or one we found.

    Units: sizes base units, `_usdt` quote currency. `stop` and `target` are what should protect it,
    `first_stop` what it was sized on; `origin` is `session`, `manual` or `external`; `leaving` is
    the reason it is being closed for, empty while it is not.
    """

    trade_id: str
    symbol: str
    side: Side
    origin: str
    opened_ms: int
    stop: Decimal | None = None
    target: Decimal | None = None
    target_limit: Decimal | None = None
    first_stop: Decimal | None = None
    planned_entry: Decimal | None = None
    risk_usdt: Decimal | None = None
    opened: Decimal = ZERO
    opened_value: Decimal = ZERO
    closed: Decimal = ZERO
    closed_value: Decimal = ZERO
    fees_usdt: Decimal = ZERO
    funding_usdt: Decimal = ZERO
    exits: tuple[tuple[int, str, str, str], ...] = ()
    best: Decimal | None = None
    worst: Decimal | None = None
    zone_id: str | None = None
    confidence: float | None = None
    signal_ms: int | None = None
    due_ms: int | None = None
    is_moved: bool = False
    leaving: str = ""

    @property
    def quantity(self) -> Decimal:
        """What the booked fills say is still held, unsigned."""
        return self.opened - self.closed

    @property
    def entry_price(self) -> Decimal | None:
        """Average price paid."""
        return self.opened_value / self.opened if self.opened else None

    @property
    def gross_usdt(self) -> Decimal:
        """Realised profit before costs."""
        if not self.opened:
            return ZERO
        return self.side.sign * (self.closed_value - self.closed * self.opened_value / self.opened)

    @property
    def pnl_usdt(self) -> Decimal:
        """Realised profit after costs."""
        return self.gross_usdt - self.fees_usdt + self.funding_usdt

    @property
    def slippage_usdt(self) -> Decimal:
        """What the entry cost beyond its plan; negative when it was better."""
        if self.planned_entry is None or not self.opened:
            return ZERO
        return self.side.sign * (self.opened_value - self.planned_entry * self.opened)

    def seen_at(self, price: Decimal) -> "Holding":
        """The same with the best and worst price met so far."""
        sign = self.side.sign
        best, worst = self.best or price, self.worst or price
        if (price - best) * sign > 0:
            best = price
        if (price - worst) * sign < 0:
            worst = price
        if (best, worst) == (self.best, self.worst):
            return self
        return replace(self, best=best, worst=worst)


def opened_by(fill: Fill, intent: Intent | None, session_id: str) -> Holding:
    """The holding that a first fill begins, with the protection its intent asked for."""
    if intent is None:
        return Holding(
            trade_id=f"x{fill.trade_id}"[:32],
            symbol=fill.symbol,
            side=fill.side,
            origin="external",
            opened_ms=fill.ts_ms,
        )
    return Holding(
        trade_id=intent.client_id,
        symbol=fill.symbol,
        side=intent.side,
        origin="session" if intent.session_id == session_id and intent.signal_ms else "manual",
        opened_ms=fill.ts_ms,
        stop=intent.stop,
        target=intent.target,
        target_limit=intent.target_limit,
        first_stop=intent.stop,
        planned_entry=intent.entry,
        risk_usdt=intent.risk_usdt,
        zone_id=intent.zone_id,
        confidence=intent.confidence,
        signal_ms=intent.signal_ms,
        due_ms=None if intent.hold_ms is None else fill.ts_ms + intent.hold_ms,
    )


def claimed(holding: Holding, intent: Intent, session_id: str) -> Holding:
    """A holding taken for an external one, with the protection of the intent that opened it."""
    origin = "session" if intent.session_id == session_id and intent.signal_ms else "manual"
    return replace(
        holding,
        trade_id=intent.client_id,
        origin=origin,
        stop=holding.stop or intent.stop,
        target=holding.target or intent.target,
        target_limit=intent.target_limit,
        first_stop=intent.stop,
        planned_entry=intent.entry,
        risk_usdt=intent.risk_usdt,
        zone_id=intent.zone_id,
        confidence=intent.confidence,
        signal_ms=intent.signal_ms,
        due_ms=None if intent.hold_ms is None else holding.opened_ms + intent.hold_ms,
    )


def booked(holding: Holding, fill: Fill, reason: ExitReason) -> tuple[Holding, Decimal]:
    """The holding after one execution, and what of it is left over when it was more than held.

    A position may be seen before its fills: then it was opened when the first of them happened.
    """
    if fill.side is holding.side:
        early_ms = max(0, holding.opened_ms - fill.ts_ms)
        grown = replace(
            holding,
            opened_ms=holding.opened_ms - early_ms,
            due_ms=None if holding.due_ms is None else holding.due_ms - early_ms,
            opened=holding.opened + fill.size,
            opened_value=holding.opened_value + fill.size * fill.price,
            fees_usdt=holding.fees_usdt + fill.fee_usdt,
        )
        return grown.seen_at(fill.price), ZERO
    size = min(fill.size, holding.quantity)
    share = size / fill.size if fill.size else Decimal(1)
    shrunk = replace(
        holding,
        closed=holding.closed + size,
        closed_value=holding.closed_value + size * fill.price,
        fees_usdt=holding.fees_usdt + fill.fee_usdt * share,
        exits=(*holding.exits, (fill.ts_ms, str(fill.price), str(size), reason.value)),
    )
    return shrunk.seen_at(fill.price), fill.size - size


def funded(holding: Holding, payment: FundingPayment) -> Holding:
    """The holding after one settlement."""
    return replace(holding, funding_usdt=holding.funding_usdt + payment.amount_usdt)


def trade_of(holding: Holding, session_id: str, mode: str, timeframe: str) -> Trade:
    """The finished trade a holding became. Units as `core.market.Trade`."""
    assert holding.opened > 0
    assert holding.exits
    entry = holding.opened_value / holding.opened
    stop = holding.first_stop or ZERO
    distance = abs(entry - stop) if holding.first_stop is not None else None
    pnl = holding.pnl_usdt
    planned = distance * holding.opened if distance else holding.risk_usdt
    sign = holding.side.sign

    def in_r(price: Decimal | None) -> float:
        if price is None or not distance:
            return 0.0
        return float(sign * (price - entry) / distance)

    ms, _, _, reason = holding.exits[-1]
    return Trade(
        id=holding.trade_id,
        run_id=session_id,
        mode=mode,
        symbol=holding.symbol,
        side="long" if holding.side is Side.BUY else "short",
        quantity=float(holding.opened),
        entry_ms=holding.opened_ms,
        entry_price=float(entry),
        stop=float(stop),
        target=None if holding.target is None else float(holding.target),
        exit_ms=ms,
        exit_price=float(holding.closed_value / holding.closed),
        exit_reason=ExitReason(reason),
        exits=[
            PartExit(int(at), float(price), float(size), ExitReason(why))
            for at, price, size, why in holding.exits
        ],
        pnl_usdt=float(pnl),
        fees_usdt=float(holding.fees_usdt),
        funding_usdt=float(holding.funding_usdt),
        slippage_usdt=float(holding.slippage_usdt),
        r_multiple=float(pnl / planned) if planned else 0.0,
        mfe_r=in_r(holding.best),
        mae_r=in_r(holding.worst),
        zone_id=holding.zone_id,
        timeframe=timeframe,
        pattern="",
        regime="",
        session=session_of(holding.opened_ms),
        confidence=holding.confidence,
        freshness=None,
        strength=None,
        resolution="exchange",
        ambiguous=False,
        tags=[] if holding.origin == "session" else [holding.origin],
        note="",
    )


_MONEY = frozenset(item.name for item in fields(Holding) if item.type in (Decimal, Decimal | None))


def to_record(holdings: Iterable[Holding]) -> dict[str, Any]:
    """The book as JSON values by symbol."""
    return {
        item.symbol: {
            name: str(value) if isinstance(value, (Decimal, Side)) else value
            for name, value in asdict(item).items()
        }
        for item in holdings
    }


def of_record(record: Mapping[str, Any]) -> dict[str, Holding]:
    """The book from what `to_record` made of it."""
    return {symbol: _holding(values) for symbol, values in record.items()}


def _holding(values: Mapping[str, Any]) -> Holding:
    known = {item.name for item in fields(Holding)}
    read = {name: value for name, value in values.items() if name in known}
    for name in _MONEY & read.keys():
        read[name] = None if read[name] is None else Decimal(read[name])
    read["side"] = Side(read["side"])
    read["exits"] = tuple((int(a), str(b), str(c), str(d)) for a, b, c, d in read["exits"])
    return Holding(**read)
