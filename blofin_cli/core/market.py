"""The trade's own nouns: symbols, bar sizes, instruments, zones, signals and trades.

This module loads neither numpy nor pydantic, so that a command line can be built from its types
in milliseconds. Arrays of candles live in `candles`.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from blofin_cli.errors import UsageError

SYMBOL_LENGTH_MAX = 32
_SYMBOL = re.compile(r"([A-Z0-9]{1,20})[-/]?(USDT)(?::USDT)?")


def normalise_symbol(text: str) -> str:
    """Return BloFin's spelling of a symbol: `btcusdt`, `BTC/USDT:USDT` -> `BTC-USDT`.

    Errors: UsageError when the text is no USDT-margined symbol; look-alike letters are shown as
    code points, since the eye cannot tell them apart.
    """
    shown = ascii(text[:80])
    if len(text) > SYMBOL_LENGTH_MAX:
        raise UsageError(f"symbol {shown} is longer than {SYMBOL_LENGTH_MAX} characters")
    match = _SYMBOL.fullmatch(text.strip().upper()) if text.isascii() else None
    if match is None:
        raise UsageError(f"symbol {shown} is not a USDT-M perpetual", hint="write it like BTC-USDT")
    return f"{match[1]}-{match[2]}"


def price_text(value: float | None) -> str:
    """A price or size in as few digits as tell it, never rounded to six and never an exponent."""
    return "unknown" if value is None else f"{Decimal(f'{value:.12g}'):f}"


class Timeframe(StrEnum):
    """Bar sizes the product trades on or reads."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"

    @property
    def ms(self) -> int:
        """Length of a bar in milliseconds."""
        return int(self.value[:-1]) * _UNIT_MS[self.value[-1]]

    @classmethod
    def of_ms(cls, step_ms: int) -> "Timeframe":
        """The timeframe whose bars are `step_ms` long.

        Errors: UsageError when there is none.
        """
        for timeframe in cls:
            if timeframe.ms == step_ms:
                return timeframe
        raise UsageError(
            f"no timeframe has bars of {step_ms} ms", hint="use one of " + ", ".join(cls)
        )


_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Kind(StrEnum):
    """Which side of the market a zone feeds."""

    DEMAND = "demand"
    SUPPLY = "supply"


class Pattern(StrEnum):
    """Leg-in, base, leg-out: drop or rally on either side of the base."""

    DBR = "DBR"
    RBR = "RBR"
    RBD = "RBD"
    DBD = "DBD"


class ZoneState(StrEnum):
    """Life of a zone; fresh and tested are alive."""

    FRESH = "fresh"
    TESTED = "tested"
    SPENT = "spent"
    BROKEN = "broken"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


class Action(StrEnum):
    """What the strategy would do now."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


class ExitReason(StrEnum):
    """Why a position ended; `end` means the data ended first."""

    STOP = "stop"
    TARGET = "target"
    TRAILING = "trailing"
    TIME = "time"
    SIGNAL = "signal"
    HALT = "halt"
    LIQUIDATION = "liquidation"
    MANUAL = "manual"
    END = "end"


@dataclass(frozen=True, slots=True)
class Instrument:
    """Contract terms of one USDT-M perpetual.

    Units: `contract_value` base units a contract; `lot_size`, `min_size`, `market_size_max` and
    `limit_size_max` contracts; `tick_size` price. `source` says where the terms came from.
    """

    symbol: str
    contract_value: Decimal
    lot_size: Decimal
    min_size: Decimal
    tick_size: Decimal
    leverage_max: int
    maintenance_margin: Decimal
    market_size_max: Decimal
    limit_size_max: Decimal
    source: str

    def quantise_size(self, base_units: Decimal) -> Decimal:
        """Base units rounded down to whole lots; 0 below the minimum. Never rounds up."""
        lots = (base_units / self.contract_value / self.lot_size).to_integral_value(ROUND_FLOOR)
        contracts = lots * self.lot_size
        return contracts * self.contract_value if contracts >= self.min_size else Decimal(0)

    def quantise_price(self, price: Decimal, *, up: bool) -> Decimal:
        """Price on the tick grid, rounded up or down as the caller's safety asks."""
        rounding = ROUND_CEILING if up else ROUND_FLOOR
        return (price / self.tick_size).to_integral_value(rounding) * self.tick_size


@dataclass(frozen=True, slots=True)
class Zone:
    """One supply or demand zone as it was known at one moment.

    Units: prices in quote currency; `freshness` 0-1; `strength` and `confidence` 0-100 (a
    textbook score, not a probability); `score` holds each component, 0-1.
    """

    id: str
    symbol: str
    timeframe: Timeframe
    kind: Kind
    pattern: Pattern
    proximal: float
    distal: float
    base_start_ms: int
    base_end_ms: int
    born_ms: int
    state: ZoneState
    touches: int
    freshness: float
    strength: float
    confidence: float
    score: dict[str, float]
    ended_ms: int | None
    atr: float
    departure_atr: float
    penetration: float
    distance_atr: float
    superseded_by: str | None = None
    overlaps_opposite: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition a trade had to meet: its value, its threshold and the verdict.

    `setting` names the parameter and value that would have let the trade through, when a
    parameter can.
    """

    name: str
    passed: bool
    value: float | str | None
    threshold: float | str | None
    note: str = ""
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """What the strategy says at one closed bar, and every gate's reason for it."""

    symbol: str
    ts_ms: int
    action: Action
    confidence: float | None
    zone_id: str | None
    entry: float | None
    stop: float | None
    target: float | None
    reward_risk: float | None
    cost_r: float | None
    risk_fraction: float | None
    quantity: float | None
    gates: list[Gate]


@dataclass(frozen=True, slots=True)
class PartExit:
    """One closing fill of a trade."""

    ms: int
    price: float
    quantity: float
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip, net of every cost.

    Units: `quantity` base units; `_usdt` quote currency, costs positive when paid (funding
    positive when received); `r_multiple` net result over planned risk.
    """

    id: str
    run_id: str
    mode: str
    symbol: str
    side: str
    quantity: float
    entry_ms: int
    entry_price: float
    stop: float
    target: float | None
    exit_ms: int
    exit_price: float
    exit_reason: ExitReason
    exits: list[PartExit]
    pnl_usdt: float
    fees_usdt: float
    funding_usdt: float
    slippage_usdt: float
    r_multiple: float
    mfe_r: float
    mae_r: float
    zone_id: str | None
    timeframe: str
    pattern: str
    regime: str
    session: str
    confidence: float | None
    freshness: float | None
    strength: float | None
    resolution: str
    ambiguous: bool
    tags: list[str]
    note: str
