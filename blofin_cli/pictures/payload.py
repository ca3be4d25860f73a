"""Views as the JSON that `assets/chart.js` and `assets/report.js` draw from.

Candles and trades go as columns, which halves the file. Times are seconds UTC, as the chart
library wants them. The looks of a zone are decided here, once, not in the browser.
"""

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles, Prices, resample
from blofin_cli.core.market import Timeframe, Trade, Zone
from blofin_cli.errors import DataError
from blofin_cli.pictures.looks import zone_edges, zone_label, zone_look
from blofin_cli.pictures.markup import Markup
from blofin_cli.pictures.views import ChartView, Series
from blofin_cli.pictures.wording import plain, price_decimals

ZONES_MAX = 5_000
Json = dict[str, Any]


def to_json(value: object) -> Markup:
    """JSON that may stand inside a script element: no `<`, no NaN, nothing outside ASCII."""
    text = json.dumps(_known(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _known(value: object) -> object:
    """The value with unknown numbers as null and numpy scalars as plain ones."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, dict):
        return {plain(key): _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return plain(value) if isinstance(value, str) else value


def chart_payload(view: ChartView, candles_max: int, *, with_trades: bool = True) -> Json:
    """One chart: its newest candles, and what of zones, trades and levels falls among them."""
    candles = drawable(view.candles)[-candles_max:]
    first_ms = int(candles.ts[0]) if len(candles) else 0
    zones = zones_within(view.zones, first_ms)[-ZONES_MAX:]
    trades = [trade for trade in view.trades if trade.exit_ms >= first_ms] if with_trades else []
    return {
        "title": view.title,
        "symbol": candles.symbol,
        "timeframe": str(candles.timeframe),
        "step": candles.timeframe.ms // 1000,
        "decimals": price_decimals(candles.close),
        "candles": candle_columns(candles),
        "zones": [zone_payload(zone) for zone in zones],
        "trades": [trade_payload(trade) for trade in trades],
        "levels": [
            {"price": level.price, "role": str(level.role), "label": level.label}
            for level in view.levels
            if math.isfinite(level.price)
        ],
    }


def drawable(candles: Candles) -> Candles:
    """The candles without the bars that cannot be drawn."""
    if len(candles) == 0 or candles.valid.all():
        return candles
    keep = candles.valid
    return Candles(
        candles.symbol,
        candles.timeframe,
        candles.ts[keep],
        candles.open[keep],
        candles.high[keep],
        candles.low[keep],
        candles.close[keep],
        candles.volume[keep],
    )


def zones_within(zones: Sequence[Zone], first_ms: int) -> list[Zone]:
    """Zones that still lived at `first_ms` or came later, oldest first, with known prices."""
    known = (zone for zone in zones if all(map(math.isfinite, zone_edges(zone))))
    seen = [zone for zone in known if zone.ended_ms is None or zone.ended_ms >= first_ms]
    return sorted(seen, key=lambda zone: (zone.base_start_ms, zone.id))


def candle_columns(candles: Candles) -> dict[str, list[float] | list[int]]:
    """Columns t, o, h, l, c, v; prices rounded to what the axis can show, and two digits more."""
    decimals = price_decimals(candles.close) + 2
    prices = {
        short: np.round(getattr(candles, name), decimals).tolist()
        for short, name in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"))
    }
    return {"t": (candles.ts // 1000).tolist(), **prices, "v": _significant(candles.volume)}


def zone_payload(zone: Zone) -> Json:
    """One zone with its look and label."""
    look = zone_look(zone)
    low, high = zone_edges(zone)
    return {
        "id": zone.id,
        "kind": str(zone.kind),
        "state": str(zone.state),
        "low": low,
        "high": high,
        "from": zone.base_start_ms // 1000,
        "to": None if zone.ended_ms is None else zone.ended_ms // 1000,
        "alive": look.is_alive,
        "opacity": look.opacity,
        "border": look.border,
        "hatched": look.is_hatched,
        "label": zone_label(zone),
        "touches": zone.touches,
        "freshness": zone.freshness,
        "confidence": zone.confidence,
    }


TRADE_FIELDS = (
    "id",
    "symbol",
    "side",
    "quantity",
    "stop",
    "target",
    "entry_price",
    "exit_price",
    "exit_reason",
    "pnl_usdt",
    "fees_usdt",
    "funding_usdt",
    "slippage_usdt",
    "r_multiple",
    "mfe_r",
    "mae_r",
    "zone_id",
    "timeframe",
    "pattern",
    "regime",
    "session",
    "confidence",
    "freshness",
    "ambiguous",
    "note",
)


def trade_payload(trade: Trade) -> Json:
    """One trade, named as in the JSON output, its times in seconds."""
    fields = {name: getattr(trade, name) for name in TRADE_FIELDS}
    exits = [[part.ms // 1000, part.price, part.quantity, str(part.reason)] for part in trade.exits]
    return {
        **fields,
        "exit_reason": str(trade.exit_reason),
        "entry": trade.entry_ms // 1000,
        "exit": trade.exit_ms // 1000,
        "exits": exits if len(exits) > 1 else [],
        "tags": ", ".join(trade.tags),
    }


def as_columns(rows: Sequence[Json]) -> Json:
    """Rows of equal shape as one list a field."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def at_most(candles: Candles, bars_max: int) -> Candles:
    """The candles folded into the smallest timeframe that needs no more than `bars_max` bars.

    Invariants: keeps the newest `bars_max` when even days are too many.
    """
    folded = candles
    for timeframe in sorted(Timeframe, key=lambda each: each.ms):
        if len(folded) <= bars_max:
            return folded
        if timeframe.ms > candles.timeframe.ms and timeframe.ms % candles.timeframe.ms == 0:
            folded = resample(candles, timeframe)
    return folded[-bars_max:]


def thinned(series: Series, points_max: int) -> Series:
    """At most `points_max` points that keep the first, the last and every bucket's extremes.

    Errors: DataError when times and values differ in length.
    """
    if len(series.ms) != len(series.value):
        raise DataError("a series needs as many values as times")
    keep = np.flatnonzero(np.isfinite(series.value))
    # Points that share a second would be refused by the chart; the last one counts.
    second = series.ms[keep] // 1000
    keep = keep[np.r_[second[1:] != second[:-1], True]] if len(keep) else keep
    if len(keep) > points_max:
        keep = keep[_extremes(series.value[keep], (points_max - 2) // 2)]
    return Series(series.ms[keep], series.value[keep])


def _extremes(values: Prices, buckets: int) -> NDArray[np.int64]:
    """Positions of each bucket's lowest and highest value, and of both ends."""
    edges = np.linspace(0, len(values), buckets + 1).astype(np.int64)
    chosen = [0, len(values) - 1]
    for start, end in pairwise(edges.tolist()):
        part = values[start:end]
        chosen += [start + int(part.argmin()), start + int(part.argmax())]
    return np.unique(np.array(chosen, dtype=np.int64))


def drawdown_of(equity: Series) -> Series:
    """Loss from the highest equity so far, as a fraction of it, zero or negative."""
    peak = np.fmax.accumulate(equity.value) if len(equity.value) else equity.value
    with np.errstate(invalid="ignore", divide="ignore"):
        return Series(equity.ms, np.where(peak > 0, equity.value / peak - 1, np.nan))


def series_columns(series: Series, decimals: int) -> dict[str, list[float] | list[int]]:
    """Columns t and v."""
    return {"t": (series.ms // 1000).tolist(), "v": np.round(series.value, decimals).tolist()}


def _significant(values: Prices) -> list[float]:
    """Values to four significant digits, which is more than a bar of volume can show."""
    return [float(f"{value:.4g}") for value in values.tolist()]
