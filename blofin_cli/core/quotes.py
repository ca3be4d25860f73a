"""What an exchange tells about its market and itself: prices, books, terms, tiers, abilities.

Sizes are base units and numbers `Decimal`, but for candles: those are read by analysis, which is
float64. Nothing loads numpy.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.orders import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An instrument as listed now.

    `instrument.maintenance_margin` is cautious until its tiers are read. `is_live` False:
    suspended, or outside its listing time as the exchange tells it.
    """

    instrument: Instrument
    is_live: bool
    listed_ms: int | None = None
    expires_ms: int | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionTier:
    """Leverage and maintenance rate for positions of a size. Units: sizes base units."""

    symbol: str
    size_min: Decimal
    size_max: Decimal
    maintenance_margin: Decimal
    leverage_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Last, best prices and what belongs to them. Units: sizes and volume base units.

    `mark`, `index` and `funding_rate` are None until they were asked for. `received_ms` is this
    machine's clock.
    """

    symbol: str
    last: Decimal
    bid: Decimal | None
    ask: Decimal | None
    ts_ms: int
    received_ms: int = 0
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    funding_rate: Decimal | None = None
    funding_ms: int | None = None
    open_24h: Decimal | None = None
    high_24h: Decimal | None = None
    low_24h: Decimal | None = None
    volume_24h: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BookLevel:
    """Price and base units waiting there."""

    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Order book: `bids` descending, `asks` ascending."""

    symbol: str
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle from an exchange, for analysis: floats. Units: `volume` base units.

    Invariants: prices finite, positive and ordered; volume finite and not negative.
    """

    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One trade of the market; `side` is the taker's. Units: `size` base units."""

    symbol: str
    trade_id: str
    side: Side
    price: Decimal
    size: Decimal
    ts_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRate:
    """Rate at one settlement; positive means longs pay. `interval_ms` None: not told."""

    symbol: str
    rate: Decimal
    ts_ms: int
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRange:
    """Prices an order may have now."""

    price_min: Decimal
    price_max: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """Exchange time minus ours, give or take `uncertainty_ms`."""

    offset_ms: int
    uncertainty_ms: int
    measured_ms: int


class Environment(StrEnum):
    """Where orders go: real money, the exchange's play money, or this machine."""

    LIVE = "live"
    DEMO = "demo"
    SIMULATED = "simulated"


class Mode(StrEnum):
    """How orders are executed: simulated fills on real prices, play money, or real money."""

    DRY_RUN = "dry-run"
    DEMO = "demo"
    LIVE = "live"


class Capability(StrEnum):
    """What a venue may or may not do; asked before an order is sent."""

    TRADING = "trading"
    ATTACHED_STOP = "attached_stop"
    ATTACHED_TARGET = "attached_target"
    PROTECTION = "protection"
    WHOLE_POSITION_PROTECTION = "whole_position_protection"
    STOP_ENTRY = "stop_entry"
    POST_ONLY = "post_only"
    IOC = "ioc"
    FOK = "fok"
    BATCH = "batch"
    CLOSE_POSITION = "close_position"
    HEDGE = "hedge"
    PRICE_RANGE = "price_range"
    POSITION_TIERS = "position_tiers"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """Which exchange this is and what it can do."""

    name: str
    environment: Environment
    capabilities: frozenset[Capability]
    timeframes: tuple[Timeframe, ...]

    @property
    def is_simulated(self) -> bool:
        """Results that come from it carry this."""
        return self.environment is Environment.SIMULATED
