"""What the venue keeps: orders, triggers, positions, fills. BloFin's words, contracts as sizes.

Orders and positions change while they live, and only the venue changes them; whoever is told
about them gets a copy.
"""

from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)
WHOLE = Decimal(-1)
"""As a size: the whole position, whatever its size is by then."""

ISOLATED, CROSS = "isolated", "cross"
NET_MODE, HEDGE_MODE = "net_mode", "long_short_mode"
OPEN_STATES = frozenset({"live", "partially_filled"})


class VenueError(Exception):
    """The venue says no, with BloFin's code and text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Tier:
    """Maintenance rate and leverage for positions of up to `size_max` contracts."""

    size_min: Decimal
    size_max: Decimal
    maintenance: Decimal
    leverage_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One listed contract. Units: sizes in contracts, `contract_value` base units a contract."""

    inst_id: str
    contract_value: Decimal
    lot_size: Decimal
    min_size: Decimal
    tick_size: Decimal
    leverage_max: int
    market_size_max: Decimal
    limit_size_max: Decimal
    tiers: tuple[Tier, ...]
    list_ms: int = 1_600_000_000_000
    funding_ms: int = 8 * 3_600_000
    state: str = "live"

    @property
    def base(self) -> str:
        """Base currency."""
        return self.inst_id.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One print of the market. Units: `size` contracts, None for as much as anybody wants.

    `mark` None lets the venue work it out; `bid` and `ask` None lets it invent a spread.
    `depth` is the size of a book level in contracts.
    """

    inst_id: str
    ts_ms: int
    price: Decimal
    size: Decimal | None = None
    side: str = "buy"
    mark: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    depth: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Protection:
    """Trigger and order price of a take-profit and a stop-loss; order price None is market."""

    tp_trigger: Decimal | None = None
    tp_price: Decimal | None = None
    sl_trigger: Decimal | None = None
    sl_price: Decimal | None = None

    def __bool__(self) -> bool:
        return self.tp_trigger is not None or self.sl_trigger is not None


NO_PROTECTION = Protection()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """What a client asks of `trade/order`, read but not yet judged."""

    inst_id: str
    margin_mode: str
    side: str
    order_type: str
    size: Decimal
    price: Decimal | None = None
    position_side: str = "net"
    reduce_only: bool = False
    client_order_id: str = ""
    broker_id: str = ""
    protection: Protection = NO_PROTECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class TpslRequest:
    """What a client asks of `trade/order-tpsl`."""

    inst_id: str
    margin_mode: str
    side: str
    size: Decimal
    protection: Protection
    position_side: str = "net"
    reduce_only: bool = False
    client_order_id: str = ""
    broker_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoRequest:
    """What a client asks of `trade/order-algo`; `order_price` None is market."""

    inst_id: str
    margin_mode: str
    side: str
    size: Decimal
    trigger_price: Decimal
    order_price: Decimal | None = None
    position_side: str = "net"
    reduce_only: bool = False
    client_order_id: str = ""
    broker_id: str = ""
    protection: Protection = NO_PROTECTION


@dataclass(slots=True, kw_only=True)
class Order:
    """One order. `value` is the sum of price times contracts filled."""

    order_id: str
    request: OrderRequest
    leverage: int
    create_ms: int
    update_ms: int
    price: Decimal | None
    size: Decimal
    protection: Protection
    state: str = "live"
    category: str = "normal"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    pnl: Decimal = ZERO
    frozen: Decimal = ZERO
    cancel_source: str = "not_canceled"
    cancel_reason: str | None = None
    algo_id: str = ""
    algo_client_id: str = ""
    tpsl_id: str = ""

    @property
    def is_open(self) -> bool:
        """It can still fill."""
        return self.state in OPEN_STATES

    @property
    def remaining(self) -> Decimal:
        """Contracts not filled yet."""
        return self.size - self.filled

    @property
    def average(self) -> Decimal:
        """Average fill price; 0 before the first fill."""
        return self.value / self.filled if self.filled else ZERO

    @property
    def sign(self) -> int:
        """What a contract adds to a signed position."""
        return 1 if self.request.side == "buy" else -1


@dataclass(slots=True, kw_only=True)
class Tpsl:
    """A stop, a target or both, waiting for the last price; the first to trigger ends the other."""

    tpsl_id: str
    request: TpslRequest
    leverage: int
    size: Decimal
    protection: Protection
    create_ms: int
    update_ms: int
    state: str = "live"
    actual_size: Decimal | None = None
    actual_side: str = ""
    cancel_type: str = "not_canceled"
    entry_order_id: str = ""


@dataclass(slots=True, kw_only=True)
class Algo:
    """A trigger order; `rises` tells that it fires on the way up."""

    algo_id: str
    request: AlgoRequest
    leverage: int
    rises: bool
    create_ms: int
    update_ms: int
    trigger_price: Decimal
    size: Decimal
    state: str = "live"
    actual_size: Decimal | None = None
    cancel_type: str = "not_canceled"


@dataclass(slots=True, kw_only=True)
class Position:
    """One open position. `contracts` is positive; `direction` is +1 long, -1 short."""

    position_id: str
    inst_id: str
    margin_mode: str
    position_side: str
    direction: int
    leverage: int
    create_ms: int
    update_ms: int
    contracts: Decimal = ZERO
    entry: Decimal = ZERO
    margin: Decimal = ZERO
    contracts_max: Decimal = ZERO
    closed: Decimal = ZERO
    closed_value: Decimal = ZERO
    liquidated: Decimal = ZERO
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. Units: `size` contracts; `fee` USDT, positive paid; `pnl` gross."""

    trade_id: str
    order_id: str
    inst_id: str
    price: Decimal
    size: Decimal
    side: str
    position_side: str
    pnl: Decimal
    fee: Decimal
    ts_ms: int
    is_maker: bool
    broker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPosition:
    """What is left of a position in the history."""

    history_id: str
    state: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingBill:
    """One funding payment. Units: `amount` USDT, positive received."""

    bill_id: str
    inst_id: str
    position_side: str
    rate: Decimal
    amount: Decimal
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something the private channels tell: `channel` is BloFin's, `record` a copy."""

    channel: str
    record: Order | Tpsl | Algo | Position | None
    ts_ms: int = field(default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRules:
    """Where BloFin's behaviour is undocumented, what this venue does; and its charges.

    `participation` is the largest share of a print's size that goes to one resting order.
    `attach_at_first_fill` False makes an attached stop wait until its entry is finished.
    `orphans_kept` leaves a stop or target alive when its position is gone, as nothing promises
    its removal. It may still close only.
    `first_id` numbers the first order, fill or trigger: two venues that one journal meets must not
    share ids.
    """

    balance: Decimal = Decimal(10_000)
    maker: Decimal = Decimal("0.0002")
    taker: Decimal = Decimal("0.0006")
    participation: Decimal = Decimal("0.2")
    half_spread: Decimal = Decimal("0.00001")
    band_y: Decimal = Decimal("0.01")
    band_z: Decimal = Decimal("0.02")
    band_x: Decimal = Decimal("0.02")
    funding_rate: Decimal = Decimal("0.0001")
    leverage: int = 3
    margin_mode: str = CROSS
    position_mode: str = NET_MODE
    attach_at_first_fill: bool = True
    orphans_kept: bool = True
    history_max: int = 20_000
    first_id: int = 1_000_000_001
