"""Contract terms for work without an exchange: a dated snapshot, else terms inferred from prices.

The snapshot holds what was seen of BloFin's public instrument and tier lists; live work reads the
exchange instead. A term nobody recorded is set so that it restricts: leverage at most 10 with a
maintenance rate of 0.02 where the first tier is unknown, the smallest recorded market order where
the limit is unknown. `Instrument.source` says which terms those are.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from blofin_cli.core.market import Instrument

if TYPE_CHECKING:
    from blofin_cli.core.candles import Candles

INSTRUMENTS_AS_OF = "2026-09-05"
"""Date of the newest observation in the snapshot; each row's `source` has its own."""

INFERRED = "inferred from data"

_LEVERAGE_UNKNOWN_TIER = 10
_MAINTENANCE_UNKNOWN_TIER = "0.02"
_LOTS_A_MARKET_ORDER = 1_000_000
_TICKS = [Decimal(f"{step}E{power}") for power in range(2, -11, -1) for step in (5, 1)]

# Symbol: contract value, lot (also the minimum), tick, leverage, maintenance, largest market
# order, largest limit order, source. Sizes in contracts.
_ROWS = {
    "BTC-USDT": ("0.001", "0.1", "0.1", 150, "0.003", "100000", "1000000",
                 "observed 2026-09-05; first tier observed 2025-12"),
    "ETH-USDT": ("0.01", "0.1", "0.01", 150, "0.004", "200000", "600000",
                 "observed 2025; first tier from the documentation's recording"),
    "LTC-USDT": ("1", "0.01", "0.01", 50, "0.005", "3500", "150000",
                 "observed 2025, with first tier"),
    "ADA-USDT": ("100", "1", "0.0001", 10, "0.02", "4500", "100000000",
                 "observed before 2025; tier unknown: maintenance 0.02, leverage 10"),
    "SOL-USDT": ("1", "0.01", "0.01", 10, "0.02", "3500", "3500",
                 "contract and lot observed 2026; tick, limits and tier assumed"),
    "XRP-USDT": ("100", "1", "0.0001", 10, "0.02", "3500", "3500",
                 "contract observed 2026; lot, tick, limits and tier assumed"),
    "DOGE-USDT": ("1000", "1", "0.00001", 10, "0.02", "3500", "3500",
                  "contract observed 2026; lot, tick, limits and tier assumed"),
}  # fmt: skip


def snapshot() -> dict[str, Instrument]:
    """Every instrument whose terms the package carries, by symbol."""
    return {symbol: _of_row(symbol) for symbol in _ROWS}


def instrument(symbol: str) -> Instrument | None:
    """The snapshot's terms of one symbol; None when it has none."""
    return _of_row(symbol) if symbol in _ROWS else None


def infer_instrument(symbol: str, candles: "Candles") -> Instrument:
    """Cautious terms for a symbol that only its prices describe.

    The tick is the largest of 1 and 5 times a power of ten on which every price lies; one lot is
    one contract, worth between 0.1 and 1 USDT at the last close.
    Errors: ValueError when no candle is valid.
    """
    valid = candles.close[candles.valid]
    if len(valid) == 0:
        raise ValueError(f"no valid candle of {symbol} to infer its terms from")
    last = Decimal(repr(float(valid[-1])))
    return Instrument(
        symbol=symbol,
        contract_value=Decimal(1).scaleb(-last.adjusted() - 1),
        lot_size=Decimal(1),
        min_size=Decimal(1),
        tick_size=_tick(candles),
        leverage_max=_LEVERAGE_UNKNOWN_TIER,
        maintenance_margin=Decimal(_MAINTENANCE_UNKNOWN_TIER),
        market_size_max=Decimal(_LOTS_A_MARKET_ORDER),
        limit_size_max=Decimal(_LOTS_A_MARKET_ORDER),
        source=INFERRED,
    )


def _of_row(symbol: str) -> Instrument:
    value, lot, tick, leverage, maintenance, market_max, limit_max, source = _ROWS[symbol]
    return Instrument(
        symbol=symbol,
        contract_value=Decimal(value),
        lot_size=Decimal(lot),
        min_size=Decimal(lot),
        tick_size=Decimal(tick),
        leverage_max=leverage,
        maintenance_margin=Decimal(maintenance),
        market_size_max=Decimal(market_max),
        limit_size_max=Decimal(limit_max),
        source=f"snapshot {INSTRUMENTS_AS_OF}: {source}",
    )


def _tick(candles: "Candles") -> Decimal:
    import numpy as np

    columns = (candles.open, candles.high, candles.low, candles.close)
    prices = np.unique(np.concatenate([column[candles.valid] for column in columns]))
    for tick in _TICKS:
        ticks = prices / float(tick)
        # A float is off its decimal by 1e-16 of itself; a price between ticks by far more.
        if np.all(np.abs(ticks - np.rint(ticks)) <= 1e-9 * np.maximum(ticks, 1.0)):
            return tick
    return _TICKS[-1]
