"""Margin and liquidation of linear contracts, as recomputed from BloFin's own sample positions.

Symbols: q base units, d +1 long and -1 short, E entry, M mark, m collateral, mmr the tier's rate,
f the taker rate. A cross position takes the wallet for collateral.

Source: BloFin's API documentation, account/positions; the specification, section 8.
"""

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal

from blofin_cli.adapters.exchanges.sim.records import Terms, Tier
from blofin_cli.core.market import Instrument

PLACES = Decimal("1e-18")
_TIER_STEP = Decimal("0.005")
_TIER_SIZES = (Decimal(1), Decimal("2.5"), Decimal(22), Decimal(44), Decimal(66), Decimal(88))


_WIDE = Context(prec=60)


def to_places(value: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """18 decimals, however large the number; never a negative zero."""
    rounded = value.quantize(PLACES, rounding, _WIDE)
    return rounded if rounded else abs(rounded)


def cut_to_places(value: Decimal) -> Decimal:
    """18 decimals, the rest cut off, as BloFin prints."""
    return to_places(value, ROUND_DOWN)


def initial_margin(base_units: Decimal, price: Decimal, leverage: int) -> Decimal:
    """q * price / leverage, to 18 decimals."""
    return to_places(base_units * price / leverage)


def unrealized(direction: int, base_units: Decimal, entry: Decimal, mark: Decimal) -> Decimal:
    """d * q * (M - E)."""
    return direction * base_units * (mark - entry)


def maintenance_margin(base_units: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """q * M * mmr."""
    return base_units * mark * rate


def margin_ratio(collateral: Decimal, profit: Decimal, value: Decimal, rate: Decimal) -> Decimal:
    """(m + uPnL) / (q * M * (mmr + f)): liquidation at 1; large is safe.

    `value` is q * M, `rate` is mmr + f.
    """
    return (collateral + profit) / (value * rate)


def liquidation_price(
    direction: int, entry: Decimal, collateral_per_unit: Decimal, rate: Decimal
) -> Decimal:
    """(E - d * m/q) / (1 - d * (mmr + f)); not positive when nothing can liquidate.

    `rate` is mmr + f.
    """
    return (entry - direction * collateral_per_unit) / (1 - direction * rate)


def tier_of(tiers: Sequence[Tier], contracts: Decimal) -> Tier:
    """The tier that holds a position of this size; the last one beyond them all."""
    return next((tier for tier in tiers if contracts <= tier.size_max), tiers[-1])


def tiers_of(instrument: Instrument) -> tuple[Tier, ...]:
    """Tiers in the pattern BloFin announces: each larger, with half a percent more maintenance.

    The first tier's rate and leverage are the instrument's; its size is a tenth of the largest
    market order.
    Source: BloFin help centre, Adjust Position Tiers, 2024-06-28.
    """
    unit = max(instrument.min_size, instrument.market_size_max / 10)
    tiers = []
    floor = Decimal(0)
    for step, multiple in enumerate(_TIER_SIZES):
        rate = instrument.maintenance_margin + _TIER_STEP * step
        leverage = max(1, min(instrument.leverage_max, int(1 / (2 * rate))))
        top = instrument.leverage_max if step == 0 else leverage
        tiers.append(Tier(floor, unit * multiple, rate, top))
        floor = unit * multiple
    return tuple(tiers)


def terms_of(instrument: Instrument) -> Terms:
    """An instrument of the package as this venue lists it."""
    return Terms(
        inst_id=instrument.symbol,
        contract_value=instrument.contract_value,
        lot_size=instrument.lot_size,
        min_size=instrument.min_size,
        tick_size=instrument.tick_size,
        leverage_max=instrument.leverage_max,
        market_size_max=instrument.market_size_max,
        limit_size_max=instrument.limit_size_max,
        tiers=tiers_of(instrument),
    )
