"""A finished row of the step as a public trade, with where its zone came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blofin_cli.core.ledger import REASONS
from blofin_cli.core.market import PartExit, Timeframe, Trade
from blofin_cli.core.risk import DAY_MS
from blofin_cli.core.signals import Plane
from blofin_cli.core.zones import PATTERNS, zone_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The decision a trade came from."""

    symbol: str
    zone_id: str
    timeframe: Timeframe
    pattern: str
    regime: str
    confidence: float
    freshness: float
    strength: float


def origin_of(plane: Plane, decision: int) -> Origin:
    """Where one decision of a plane came from."""
    zone = int(plane.zone[decision])
    symbol = plane.market.entry.symbol
    timeframe = Timeframe.of_ms(int(plane.book.step_ms[zone]))
    side, born = int(plane.book.rows["side"][zone]), int(plane.book.leg_out_ms[zone])
    return Origin(
        symbol=symbol,
        zone_id=zone_id(symbol, timeframe, side, born),
        timeframe=timeframe,
        pattern=PATTERNS[plane.book.rows["pattern"][zone]],
        regime=str(plane.regime[decision]),
        confidence=float(plane.confidence[decision]),
        freshness=float(plane.freshness[decision]),
        strength=float(plane.strength[decision]),
    )


def part_exits(rows: Any) -> dict[int, list[PartExit]]:
    """Closing fills by the number of their position."""
    exits: dict[int, list[PartExit]] = {}
    for number, ms, reason, price, quantity in rows.tolist():
        exits.setdefault(number, []).append(PartExit(ms, price, quantity, REASONS[reason]))
    return exits


def to_trade(
    row: Any, exits: Sequence[PartExit], origin: Origin, *, trade_id: str, run_id: str, mode: str
) -> Trade:
    """One `TradeRow` as a public record."""
    return Trade(
        id=trade_id,
        run_id=run_id,
        mode=mode,
        symbol=origin.symbol,
        side="long" if row["side"] > 0 else "short",
        quantity=float(row["quantity"]),
        entry_ms=int(row["entry_ms"]),
        entry_price=float(row["entry"]),
        stop=float(row["stop"]),
        target=float(row["target"]) or None,
        exit_ms=int(row["exit_ms"]),
        exit_price=float(row["exit"]),
        exit_reason=REASONS[row["reason"]],
        exits=list(exits),
        pnl_usdt=float(row["pnl"]),
        fees_usdt=float(row["fees"]),
        funding_usdt=float(row["funding"]),
        slippage_usdt=float(row["slippage"]),
        r_multiple=float(row["net_r"]),
        mfe_r=float(row["mfe_r"]),
        mae_r=float(row["mae_r"]),
        zone_id=origin.zone_id,
        timeframe=origin.timeframe,
        pattern=origin.pattern,
        regime=origin.regime,
        session=session_of(int(row["entry_ms"])),
        confidence=origin.confidence,
        freshness=origin.freshness,
        strength=origin.strength,
        resolution=str(Timeframe.of_ms(int(row["resolution_ms"]))),
        ambiguous=bool(row["is_ambiguous"]),
        tags=[],
        note="",
    )


def session_of(ms: int) -> str:
    """Part of the trading day, UTC."""
    hour = ms % DAY_MS // 3_600_000
    return "asia" if hour < 8 else "europe" if hour < 13 else "us" if hour < 21 else "late"
