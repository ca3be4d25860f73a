"""The state of a session as every face shows it: one document, written with each heartbeat.

A face reads it from the journal and never asks the network. Money is float here: it is shown, not
computed with. Ages are measured by the writer at `ts_ms`.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """An open position with what protects it.

    Units: `side` is `long` or `short`; `quantity` signed base units; `r_multiple` open profit over
    planned risk, None when the risk is unknown; `naked_s` seconds without a live stop now. `origin`
    is `session`, `manual` or `external` (opened elsewhere).
    """

    symbol: str
    side: str
    quantity: float
    entry_price: float
    mark_price: float | None
    stop: float | None
    target: float | None
    liquidation_price: float | None
    leverage: int | None
    margin_usdt: float | None
    notional_usdt: float
    unrealized_usdt: float
    r_multiple: float | None
    risk_usdt: float | None
    naked_s: float
    origin: str
    opened_ms: int | None
    due_ms: int | None = None
    zone_id: str | None = None
    trade_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """A working order, stop entry, stop or target. `kind` is `entry stop target close external`."""

    id: str
    client_id: str
    symbol: str
    kind: str
    side: str
    type: str
    size: float | None
    filled: float
    price: float | None
    trigger: float | None
    state: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """One breaker: its value against its limit, in `unit`; `distance` is what is left, 0-1.

    `action` is what it does when tripped: `halt`, `pause` (no entries) or `approve` (entries become
    proposals).
    """

    name: str
    value: float
    limit: float
    unit: str
    distance: float
    action: str
    tripped: bool
    until_ms: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What trading brought in a span of time; funding is positive when received."""

    trades: int = 0
    wins: int = 0
    pnl_usdt: float = 0.0
    r: float = 0.0
    fees_usdt: float = 0.0
    funding_usdt: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NakedView:
    """Seconds that positions spent without a live stop, exchange reachable."""

    now_s: float = 0.0
    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthView:
    """Connections, clocks and ages. Ages in ms, None before the first message."""

    clock_offset_ms: int | None = None
    public_connected: bool = False
    private_connected: bool = False
    reconnects: int = 0
    feed_age_ms: dict[str, int | None] = field(default_factory=dict)
    reconciled_ms: int | None = None
    margin_mode: str | None = None
    position_mode: str | None = None
    unresolved_intents: int = 0
    storage_ok: bool = True
    rate_suspended_s: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteView:
    """Last price of a symbol; `ts_ms` is the exchange's time."""

    last: float
    bid: float | None
    ask: float | None
    mark: float | None
    ts_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """Everything a person needs at a glance.

    `phase` is `starting reconciling trading paused halted stopping`; `halt_seen_ms` the time of the
    halt flag this session has acknowledged; `changed` the parameters, by their dotted names, that
    it took over since it began; `curve` equity points `[ts_ms, equity]`, newest last,
    thinned to at most 500.
    """

    ts_ms: int
    session_id: str
    phase: str
    mode: str
    exchange: str
    simulated: bool
    symbols: tuple[str, ...]
    timeframe: str
    equity_usdt: float | None = None
    available_usdt: float | None = None
    drawdown_fraction: float | None = None
    halt_seen_ms: int | None = None
    approval_only: bool = False
    changed: dict[str, str] = field(default_factory=dict)
    override: str = ""
    health: HealthView = field(default_factory=HealthView)
    positions: tuple[PositionView, ...] = ()
    orders: tuple[OrderView, ...] = ()
    breakers: tuple[BreakerView, ...] = ()
    naked: NakedView = field(default_factory=NakedView)
    today: Result = field(default_factory=Result)
    week: Result = field(default_factory=Result)
    quotes: dict[str, QuoteView] = field(default_factory=dict)
    bars: int = 0
    last_bar_ms: int | None = None
    curve: tuple[tuple[int, float], ...] = ()

    def record(self) -> dict[str, Any]:
        """The document as JSON values; `status_of` reads it back."""
        return asdict(self)


def status_of(record: dict[str, Any]) -> SessionStatus:
    """A status from what `SessionStatus.record` made of it, or its JSON; unknown names pass by."""
    return _read(SessionStatus, record)


def _read(kind: type[T], record: dict[str, Any]) -> T:
    hints = get_type_hints(kind)
    known = {item.name for item in fields(cast("Any", kind))}
    return kind(**{k: _value(hints[k], v) for k, v in record.items() if k in known})


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return _read(hint, value)
    if origin is tuple:
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        return tuple(_value(inner, item) for item in value) if inner else tuple(value)
    if origin is dict:
        return {name: _value(args[1], item) for name, item in value.items()}
    return value
