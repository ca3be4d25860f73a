"""What the charts in the browser draw from: candles, zones, levels and fills, and equity."""

from typing import Any

from blofin_cli.app import desk
from blofin_cli.app.context import Context
from blofin_cli.core.market import Timeframe

BARS_MAX = 600
ROLES = {"entry": "ENTRY", "stop": "SL", "target": "TP", "liquidation": "LIQ"}


def chart_document(
    context: Context, symbol: str, timeframe: Timeframe, at_ms: int | None, *, all_zones: bool
) -> dict[str, Any]:
    """One symbol's chart, now or as it was known at a moment.

    Errors: those of `desk.chart_data`.
    """
    return _document(
        desk.chart_data(context, symbol, timeframe, at_ms=at_ms, bars=BARS_MAX), all_zones
    )


def trade_document(context: Context, trade: Any) -> dict[str, Any]:
    """The chart of one finished trade."""
    return _document(desk.trade_chart(context, trade), True)


def equity_document(points: Any) -> dict[str, Any]:
    """Equity and how far it is below its peak so far; seconds ascending and unique."""
    times: list[int] = []
    equity: list[float] = []
    drawdown: list[float] = []
    peak = float("-inf")
    for ts_ms, value in points:
        seconds = int(ts_ms) // 1000
        peak = max(peak, value)
        if times and times[-1] >= seconds:
            continue
        times.append(seconds)
        equity.append(value)
        drawdown.append(value / peak - 1 if peak > 0 else 0.0)
    return {"t": times, "equity": equity, "drawdown": drawdown}


def _document(data: desk.ChartData, all_zones: bool) -> dict[str, Any]:
    from blofin_cli.pictures.looks import zone_look
    from blofin_cli.pictures.payload import chart_payload
    from blofin_cli.pictures.views import ChartView, Level, Role

    roles = {"entry": Role.ENTRY, "stop": Role.STOP, "target": Role.TARGET}
    zones = [zone for zone in data.zones if all_zones or zone_look(zone).is_alive]
    view = ChartView(
        title=f"{data.symbol} {data.timeframe}",
        candles=data.candles,
        zones=zones,
        levels=[
            Level(level.price, roles.get(level.kind, Role.MARK), ROLES.get(level.kind, ""))
            for level in data.levels
        ],
    )
    return chart_payload(view, BARS_MAX) | {
        "at_ms": data.at_ms,
        "zones_from": data.zones_from,
        "last": data.last_price,
        "note": data.note,
        "first_ms": int(data.candles.ts[0]) if len(data.candles) else None,
        "last_ms": int(data.candles.close_ts[-1]) if len(data.candles) else None,
        "marks": [
            {"kind": mark.kind, "time": mark.ms // 1000, "price": mark.price, "side": mark.side,
             "reason": mark.reason}
            for mark in data.marks
        ],
        "table": [
            {"id": zone.id, "kind": str(zone.kind), "timeframe": str(zone.timeframe),
             "pattern": str(zone.pattern), "low": min(zone.proximal, zone.distal),
             "high": max(zone.proximal, zone.distal), "score": zone.confidence,
             "freshness": zone.freshness, "touches": zone.touches, "state": str(zone.state)}
            for zone in sorted(zones, key=lambda zone: -zone.confidence)
        ],
    }  # fmt: skip
