"""What an account and an order book are made of, in the trade's words and in base units.

Every size here is in base units and every number a `Decimal`; contracts exist only inside an
exchange's wire code. Records that are about to be sent check themselves, so that a NaN, a zero or
a missing price stops here and not at the exchange. Nothing loads numpy.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from blofin_cli.errors import UsageError

CLIENT_ID = re.compile(r"[A-Za-z0-9]{1,32}")
ZERO = Decimal(0)
_DIGITS_MAX = 18


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The side that closes what this one opened."""
        return Side.SELL if self is Side.BUY else Side.BUY

    @property
    def sign(self) -> int:
        """What one unit adds to a signed position."""
        return 1 if self is Side.BUY else -1


class PositionSide(StrEnum):
    """`net` in one-way mode; `long` and `short` exist in hedge mode only."""

    NET = "net"
    LONG = "long"
    SHORT = "short"


class OrderType(StrEnum):
    """How an order executes; `trigger` waits for a price and then opens (a stop entry)."""

    MARKET = "market"
    LIMIT = "limit"
    POST_ONLY = "post_only"
    IOC = "ioc"
    FOK = "fok"
    TRIGGER = "trigger"
    UNKNOWN = "unknown"


class OrderState(StrEnum):
    """Life of an order, stop entry or protection; `unknown` is a word this build does not know."""

    LIVE = "live"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    PARTIALLY_CANCELED = "partially_canceled"
    TRIGGERED = "triggered"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_open(self) -> bool:
        """It can still fill; so can one in a state nobody knows."""
        return self in _OPEN_STATES


_OPEN_STATES = frozenset({OrderState.LIVE, OrderState.PARTIALLY_FILLED, OrderState.UNKNOWN})


class OrderCategory(StrEnum):
    """Why an order exists."""

    NORMAL = "normal"
    STOP = "stop"
    TARGET = "target"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    UNKNOWN = "unknown"


class MarginMode(StrEnum):
    """This product opens isolated positions only; it must recognise the other."""

    ISOLATED = "isolated"
    CROSS = "cross"
    UNKNOWN = "unknown"


class PositionMode(StrEnum):
    """One position a symbol, or a long and a short one side by side."""

    ONE_WAY = "one_way"
    HEDGE = "hedge"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """What is known about a write. UNKNOWN ends by evidence only; its risk stays reserved."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """One order to be sent, with the stop and target it carries from its first fill on.

    Units: `size` base units; prices quote currency. `stop` executes at market when triggered;
    `target` too unless `target_limit` names its price. `trigger` belongs to stop entries, whose
    `price` None means market once triggered.
    Errors: UsageError when a number is not finite and positive or the parts contradict.
    """

    symbol: str
    side: Side
    type: OrderType
    size: Decimal
    client_id: str
    price: Decimal | None = None
    trigger: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    target_limit: Decimal | None = None
    reduce_only: bool = False
    position_side: PositionSide = PositionSide.NET

    def __post_init__(self) -> None:
        check_client_id(self.client_id)
        names = ("size", "price", "trigger", "stop", "target", "target_limit")
        for name in names:
            check_positive(name, getattr(self, name))
        if self.type is OrderType.UNKNOWN:
            raise UsageError("an order needs a known type")
        is_market = self.type is OrderType.MARKET
        if self.type is not OrderType.TRIGGER and is_market == (self.price is not None):
            word = "takes no" if is_market else "needs a"
            raise UsageError(f"a {self.type} order {word} price")
        if (self.type is OrderType.TRIGGER) != (self.trigger is not None):
            raise UsageError("a trigger price belongs to trigger orders, and each has one")
        if self.reduce_only and (self.stop is not None or self.target is not None):
            raise UsageError(
                "a reduce-only order carries no stop or target",
                hint="such an order fills at once; protect the position instead",
            )
        if self.target_limit is not None and self.target is None:
            raise UsageError("a target's limit price needs a target")
        self._check_order_of_prices()

    def _check_order_of_prices(self) -> None:
        """Stop and target lie on either side of the entry as the direction wants."""
        entry = self.trigger or self.price
        sign = self.side.sign
        for name, level, way in (("stop", self.stop, -sign), ("target", self.target, sign)):
            if level is not None and entry is not None and (level - entry) * way <= 0:
                raise UsageError(f"the {name} {level} is on the wrong side of the entry {entry}")
        _check_bracket(self.stop, self.target, sign)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionRequest:
    """A stop, a target or both for a position that exists; the first to trigger ends the other.

    Units: `size` base units, None for the whole position as it grows and shrinks. `side` is the
    closing side. Always reduce-only.
    Errors: UsageError as for orders, and when there is neither stop nor target.
    """

    symbol: str
    side: Side
    client_id: str
    stop: Decimal | None = None
    target: Decimal | None = None
    target_limit: Decimal | None = None
    size: Decimal | None = None
    position_side: PositionSide = PositionSide.NET

    def __post_init__(self) -> None:
        check_client_id(self.client_id)
        for name in ("size", "stop", "target", "target_limit"):
            check_positive(name, getattr(self, name))
        if self.stop is None and self.target is None:
            raise UsageError("a protection needs a stop or a target")
        if self.target_limit is not None and self.target is None:
            raise UsageError("a target's limit price needs a target")
        _check_bracket(self.stop, self.target, self.side.opposite.sign)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest:
    """Close the whole position of a symbol at market, whatever its size is by then."""

    symbol: str
    client_id: str
    position_side: PositionSide = PositionSide.NET

    def __post_init__(self) -> None:
        check_client_id(self.client_id)


def check_client_id(client_id: str) -> None:
    """Accept an id of one to 32 ASCII letters and digits.

    Errors: UsageError otherwise.
    """
    if not CLIENT_ID.fullmatch(client_id):
        raise UsageError(f"client order id {client_id[:80]!a} is not 1 to 32 letters and digits")


def check_positive(name: str, value: object) -> None:
    """Accept None and finite Decimals above zero, of a size that money has.

    Errors: UsageError for anything else, floats included.
    """
    if value is None:
        return
    is_money = (
        isinstance(value, Decimal)
        and value.is_finite()
        and value > 0
        and -_DIGITS_MAX <= value.adjusted() <= _DIGITS_MAX
    )
    if not is_money:
        raise UsageError(f"{name} must be a finite decimal above zero, not {str(value)[:40]!a}")


def _check_bracket(stop: Decimal | None, target: Decimal | None, sign: int) -> None:
    """The target of a long lies above its stop, of a short below."""
    if stop is not None and target is not None and (target - stop) * sign <= 0:
        raise UsageError(f"stop {stop} and target {target} are swapped")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRef:
    """Names one order at the exchange by either id; stop entries live in a list of their own."""

    symbol: str
    order_id: str | None = None
    client_id: str | None = None
    is_trigger: bool = False

    def __post_init__(self) -> None:
        if not self.order_id and not self.client_id:
            raise UsageError("an order is named by its id or its client id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionRef:
    """Names one stop or target order at the exchange."""

    symbol: str
    protection_id: str | None = None
    client_id: str | None = None

    def __post_init__(self) -> None:
        if not self.protection_id and not self.client_id:
            raise UsageError("a protection is named by its id or its client id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The exchange's answer to one write: taken for execution, refused, or nobody knows.

    ACCEPTED is not filled. `resolved` tells that the answer was lost and the state looked up.
    """

    outcome: Outcome
    order_id: str | None = None
    client_id: str | None = None
    code: str = ""
    message: str = ""
    resolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order or stop entry as the exchange tells it.

    Units: sizes base units; `fee_usdt` positive when paid; `pnl_usdt` gross of fees.
    `price` is None for market orders, `average_price` before the first fill. `stop` and `target`
    are attached and not yet orders of their own. `oddities` are words this build does not know.
    """

    symbol: str
    order_id: str
    client_id: str
    side: Side
    type: OrderType
    state: OrderState
    size: Decimal
    filled: Decimal
    price: Decimal | None = None
    trigger: Decimal | None = None
    average_price: Decimal | None = None
    reduce_only: bool = False
    position_side: PositionSide = PositionSide.NET
    margin_mode: MarginMode = MarginMode.UNKNOWN
    leverage: int | None = None
    category: OrderCategory = OrderCategory.NORMAL
    stop: Decimal | None = None
    target: Decimal | None = None
    fee_usdt: Decimal = ZERO
    pnl_usdt: Decimal = ZERO
    algo_id: str = ""
    algo_client_id: str = ""
    cancel_reason: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    oddities: tuple[str, ...] = ()

    @property
    def ref(self) -> OrderRef:
        """The name to look it up or cancel it by."""
        return OrderRef(
            symbol=self.symbol,
            order_id=self.order_id,
            client_id=self.client_id or None,
            is_trigger=self.type is OrderType.TRIGGER,
        )

    @property
    def remaining(self) -> Decimal:
        """What can still fill, in base units."""
        return max(self.size - self.filled, ZERO) if self.state.is_open else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """A stop, a target or both, as an order of its own at the exchange.

    Units: `size` base units, None for the whole position. `stop_limit` and `target_limit` None
    mean market when triggered. `side` is the closing side.
    """

    symbol: str
    protection_id: str
    client_id: str
    side: Side
    state: OrderState
    size: Decimal | None
    stop: Decimal | None = None
    stop_limit: Decimal | None = None
    target: Decimal | None = None
    target_limit: Decimal | None = None
    triggered_side: OrderCategory | None = None
    reduce_only: bool | None = None
    position_side: PositionSide = PositionSide.NET
    margin_mode: MarginMode = MarginMode.UNKNOWN
    created_ms: int = 0
    updated_ms: int = 0
    oddities: tuple[str, ...] = ()

    @property
    def ref(self) -> ProtectionRef:
        """The name to look it up or cancel it by."""
        return ProtectionRef(
            symbol=self.symbol,
            protection_id=self.protection_id,
            client_id=self.client_id or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. Units: `size` base units; `fee_usdt` positive when paid; `pnl_usdt` gross."""

    symbol: str
    trade_id: str
    order_id: str
    side: Side
    price: Decimal
    size: Decimal
    fee_usdt: Decimal
    pnl_usdt: Decimal
    ts_ms: int
    position_side: PositionSide = PositionSide.NET


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """An open position.

    Units: `size` and `available` base units, signed: negative is short in both position modes.
    `margin_ratio` is a multiple, large is safe, liquidation at 1.
    """

    symbol: str
    position_id: str
    size: Decimal
    available: Decimal
    entry_price: Decimal
    mark_price: Decimal
    leverage: int
    margin_mode: MarginMode
    position_side: PositionSide = PositionSide.NET
    margin_usdt: Decimal | None = None
    maintenance_margin_usdt: Decimal | None = None
    margin_ratio: Decimal | None = None
    liquidation_price: Decimal | None = None
    unrealized_pnl_usdt: Decimal = ZERO
    adl: int | None = None
    created_ms: int = 0
    updated_ms: int = 0
    oddities: tuple[str, ...] = ()

    @property
    def closing_side(self) -> Side:
        """The side of an order that reduces it."""
        return Side.SELL if self.size > 0 else Side.BUY


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One currency of the futures account."""

    currency: str
    equity: Decimal
    balance: Decimal
    available: Decimal
    frozen: Decimal | None = None
    order_frozen: Decimal | None = None
    isolated_equity: Decimal | None = None
    isolated_unrealized_pnl: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    ts_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """The futures account; `total_equity_usd` counts every currency."""

    total_equity_usd: Decimal | None
    balances: tuple[Balance, ...]
    ts_ms: int

    def balance(self, currency: str = "USDT") -> Balance | None:
        """One currency; None when the exchange lists none, which is not the same as zero."""
        return next((row for row in self.balances if row.currency == currency), None)


class KeyKind(StrEnum):
    """Whose key it is: the account's own, or bound to a third party."""

    OWN = "own"
    THIRD_PARTY = "third_party"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What the exchange says about the key in use; never the key itself.

    `can_withdraw` None: the exchange does not say. `expires_ms` None: it says no date.
    """

    name: str
    kind: KeyKind
    can_trade: bool
    ips: tuple[str, ...]
    created_ms: int | None = None
    expires_ms: int | None = None
    can_withdraw: bool | None = None
    is_sub_account: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageSetting:
    """Leverage in force for one symbol and margin mode."""

    symbol: str
    leverage: int
    margin_mode: MarginMode
    position_side: PositionSide = PositionSide.NET
