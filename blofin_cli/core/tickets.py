"""From what somebody wants to open to the exact plan that may be placed, with its hash.

A `Ticket` is a wish, a `Plan` the whole answer: numbers on the exchange's grid, what it can lose,
every gate's verdict, the prices between which it holds and until when. Its hash names exactly
these words: whoever places a plan by its hash places this plan and no other.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any

from blofin_cli.core.journal import Intent, IntentState, Purpose, client_id_of
from blofin_cli.core.market import Gate
from blofin_cli.core.orders import OrderRequest, OrderType, Side, check_positive
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import UsageError

HASH_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What somebody wants to open; sized by exactly one of risk, size and notional.

    Units: `risk_fraction` share of equity; `size` base units; `notional_usdt` quote currency.
    Errors: UsageError when numbers are not positive or the parts contradict.
    """

    symbol: str
    side: Side
    type: OrderType
    price: Decimal | None = None
    trigger: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    risk_fraction: Decimal | None = None
    size: Decimal | None = None
    notional_usdt: Decimal | None = None
    leverage: int | None = None
    confidence: float | None = None
    zone_id: str | None = None
    signal_ms: int | None = None
    notional_scale: float = 1.0

    def __post_init__(self) -> None:
        given = [
            name
            for name in ("risk_fraction", "size", "notional_usdt")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise UsageError("an order is sized one way: --risk, --size or --notional")
        for name in ("price", "trigger", "stop", "target", *given):
            check_positive(name, getattr(self, name))
        self._check_type()
        if self.risk_fraction is not None and self.stop is None:
            raise UsageError("--risk sizes from the stop, and there is none", hint="give --stop")
        for entry in (self.trigger, self.price):
            if entry is not None:
                self.check_prices(entry)
        if self.confidence is not None and not math.isfinite(self.confidence):
            raise UsageError("confidence must be a finite number")

    def _check_type(self) -> None:
        """Each type has the prices it needs and no other. Errors: UsageError."""
        is_stop_entry = self.type is OrderType.TRIGGER
        if is_stop_entry != (self.trigger is not None):
            raise UsageError("a stop entry has a --trigger, and nothing else has one")
        if self.type is OrderType.MARKET and self.price is not None:
            raise UsageError("a market order takes no --price", hint="--type limit has one")
        if self.type not in (OrderType.MARKET, OrderType.TRIGGER) and self.price is None:
            raise UsageError(f"a {self.type} order needs a --price")

    def check_prices(self, entry: Decimal) -> None:
        """Stop and target lie on either side of the entry as the direction wants.

        Errors: UsageError.
        """
        if self.stop is not None and (self.stop - entry) * self.side.sign >= 0:
            where = "below" if self.side is Side.BUY else "above"
            raise UsageError(
                f"the stop of a {self.side} must be {where} the entry {entry}; got {self.stop}"
            )
        if self.target is not None and (self.target - entry) * self.side.sign <= 0:
            where = "above" if self.side is Side.BUY else "below"
            raise UsageError(
                f"the target of a {self.side} must be {where} the entry {entry}; got {self.target}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One order as it would be placed, and everything a person should know before saying yes.

    Units: `size` base units, `contracts` the exchange's; `risk_usdt` what is lost when the stop
    is hit, fees and slippage included; `equity_usdt` the capital traded with; `price_min` and
    `price_max` bound the touch (ask of a buy, bid of a sell) at which the plan still holds;
    `liquidation_stops` distance to liquidation in stop distances;
    `portfolio_risk_fraction` correlated risk of the book with this order in it.
    """

    exchange: str
    mode: Mode
    simulated: bool
    symbol: str
    side: Side
    type: OrderType
    size: Decimal
    contracts: Decimal
    notional_usdt: Decimal
    entry: Decimal
    price: Decimal | None
    trigger: Decimal | None
    stop: Decimal | None
    target: Decimal | None
    target_limit: Decimal | None
    leverage: int
    margin_usdt: Decimal
    price_min: Decimal
    price_max: Decimal
    equity_usdt: Decimal
    risk_usdt: Decimal
    risk_fraction: Decimal
    fees_usdt: Decimal
    slippage_usdt: Decimal
    reward_risk: float | None
    liquidation_price: Decimal | None
    liquidation_stops: float | None
    open_risk_fraction: float
    portfolio_risk_fraction: float
    scale: float
    confidence: float | None
    zone_id: str | None
    signal_ms: int | None
    quote_ms: int
    created_ms: int
    expires_ms: int
    mandate: str
    gates: tuple[Gate, ...]

    @property
    def allowed(self) -> bool:
        """Whether every gate lets it pass."""
        return all(gate.passed for gate in self.gates)

    @property
    def hash(self) -> str:
        """Name of exactly this plan: 16 hex digits of the SHA-256 of its canonical form."""
        text = json.dumps(self.record(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]

    def record(self) -> dict[str, Any]:
        """The plan as JSON values, numbers that are money as text; `plan_of` reads it back."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def order(self, client_id: str) -> OrderRequest:
        """The order that this plan places."""
        return OrderRequest(
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            size=self.size,
            client_id=client_id,
            price=self.price,
            trigger=self.trigger,
            stop=self.stop,
            target=self.target,
            target_limit=self.target_limit,
        )

    def intent(self, *, account: str, session_id: str, key: str, face: str, now_ms: int) -> Intent:
        """What is written down before it is sent; session and key make its client order id."""
        return Intent(
            client_id=client_id_of(session_id, key),
            session_id=session_id,
            key=key,
            account=account,
            symbol=self.symbol,
            purpose=Purpose.ENTRY,
            side=self.side,
            type=self.type,
            size=self.size,
            risk_usdt=self.risk_usdt,
            notional_usdt=self.notional_usdt,
            state=IntentState.RESERVED,
            face=face,
            data_ms=self.quote_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
            price=self.price,
            trigger=self.trigger,
            stop=self.stop,
            target=self.target,
            target_limit=self.target_limit,
            leverage=self.leverage,
            entry=self.entry,
            plan_hash=self.hash,
            zone_id=self.zone_id,
            signal_ms=self.signal_ms,
            confidence=self.confidence,
        )


_MONEY = frozenset(field.name for field in fields(Plan) if field.type in (Decimal, Decimal | None))
_WORDS = {"mode": Mode, "side": Side, "type": OrderType}


def plan_of(record: dict[str, Any]) -> Plan:
    """A plan from what `Plan.record` made of it."""
    values = dict(record)
    for name in _MONEY:
        values[name] = None if values[name] is None else Decimal(values[name])
    for name, kind in _WORDS.items():
        values[name] = kind(values[name])
    values["gates"] = tuple(Gate(**gate) for gate in values["gates"])
    return Plan(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
