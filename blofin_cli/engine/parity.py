"""Replay a recorded session over the same candles and name the first decision that differs.

A decision is what the strategy wanted at a closed bar: action, zone, entry, stop and target. The
replay uses the plane of a backtest over all candles at once, so a difference means that the session
saw other candles, ran other code, or looked ahead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean, median

import numpy as np

from blofin_cli.core.candles import Candles
from blofin_cli.core.journal import Decision, Intent, Purpose
from blofin_cli.core.market import Trade
from blofin_cli.core.orders import Fill
from blofin_cli.core.reading import name_of
from blofin_cli.core.signals import Plane

PRICE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One bar on which session and replay disagree, in words of both."""

    symbol: str
    bar_ms: int
    field: str
    session: str
    replay: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How entries fared against their plan.

    Units: `latency_ms` from the decision to the first fill; `slippage_bps` of the planned price,
    positive when worse than planned; None without entries.
    """

    entries: int
    latency_ms_p50: float | None
    latency_ms_max: float | None
    slippage_bps_mean: float | None
    slippage_bps_max: float | None
    slippage_usdt: float


def expected(plane: Plane) -> dict[int, tuple[str, str, float, float]]:
    """What a plane would do: bar open time -> action, zone, entry and stop.

    Of several decisions on one bar the first by the step's order counts.
    """
    rows = plane.signals()
    ts, symbol = plane.market.entry.ts, plane.market.entry.symbol
    found: dict[int, tuple[str, str, float, float]] = {}
    for row in rows:
        bar_ms = int(ts[row["tick"]])
        if bar_ms not in found:
            zone = name_of(plane.book, symbol, int(plane.zone[row["zone"]]))
            action = "buy" if row["side"] > 0 else "sell"
            found[bar_ms] = (action, zone, float(row["entry"]), float(row["stop"]))
    return found


def compare(plane: Plane, decisions: Sequence[Decision]) -> list[Difference]:
    """Every difference between a session's decisions on one symbol and the replay, in bar order."""
    wanted = expected(plane)
    known = {int(ts) for ts in plane.market.entry.ts}
    found: list[Difference] = []
    seen: set[int] = set()
    for decision in decisions:
        if decision.bar_ms in seen:
            continue  # a bar with several wishes is one decision; the first was compared
        seen.add(decision.bar_ms)
        if decision.bar_ms not in known:
            found.append(_difference(decision, "candle", "traded on it", "not in the store"))
            continue
        found += _compared(decision, wanted.get(decision.bar_ms))
    return found


def _compared(decision: Decision, wanted: tuple[str, str, float, float] | None) -> list[Difference]:
    acted = decision.action if decision.side is not None else "hold"
    action, zone, entry, stop = wanted or ("hold", "", 0.0, 0.0)
    if acted != action:
        return [_difference(decision, "action", acted, action)]
    if action == "hold":
        return []
    if decision.zone_id != zone:
        return [_difference(decision, "zone", str(decision.zone_id), zone)]
    for name, mine, theirs in (("entry", decision.entry, entry), ("stop", decision.stop, stop)):
        if mine is None or abs(mine - theirs) > PRICE_TOLERANCE * abs(theirs):
            return [_difference(decision, name, str(mine), str(theirs))]
    return []


def _difference(decision: Decision, field: str, session: str, replay: str) -> Difference:
    return Difference(
        symbol=decision.symbol,
        bar_ms=decision.bar_ms,
        field=field,
        session=session,
        replay=replay,
    )


def missing_bars(candles: Candles, decisions: Sequence[Decision]) -> list[int]:
    """Bars between a session's first and last decision that it never decided on."""
    if not decisions:
        return []
    decided = {decision.bar_ms for decision in decisions}
    first, last = min(decided), max(decided)
    inside = candles.ts[(candles.ts >= first) & (candles.ts <= last)]
    return [int(ts) for ts in inside if int(ts) not in decided]


def execution_of(intents: Sequence[Intent], fills: Sequence[Fill]) -> Execution:
    """Latency and slippage of a session's entries, from its intents and their fills."""
    by_order: dict[str, list[Fill]] = {}
    for fill in fills:
        by_order.setdefault(fill.order_id, []).append(fill)
    latencies, slips, lost = [], [], Decimal(0)
    for intent in intents:
        mine = by_order.get(intent.order_id or "", [])
        if intent.purpose is not Purpose.ENTRY or not mine or intent.entry is None:
            continue
        size = sum((fill.size for fill in mine), Decimal(0))
        paid = sum((fill.size * fill.price for fill in mine), Decimal(0)) / size
        drift = (paid - intent.entry) * intent.side.sign
        decided_ms = intent.signal_ms or intent.created_ms
        latencies.append(float(min(fill.ts_ms for fill in mine) - decided_ms))
        slips.append(float(drift / intent.entry) * 1e4)
        lost += drift * size
    return Execution(
        entries=len(slips),
        latency_ms_p50=median(latencies) if latencies else None,
        latency_ms_max=max(latencies) if latencies else None,
        slippage_bps_mean=mean(slips) if slips else None,
        slippage_bps_max=max(slips) if slips else None,
        slippage_usdt=float(lost),
    )


def differing_trades(
    recorded: Sequence[Trade], replayed: Sequence[Trade], tolerance: float = 1e-9
) -> list[str]:
    """Where a dry run's trades and a backtest's part, in words; empty when they are the same."""
    found = []
    by_entry: Mapping[tuple[str, int], Trade] = {(t.symbol, t.entry_ms): t for t in replayed}
    for trade in recorded:
        twin = by_entry.get((trade.symbol, trade.entry_ms))
        if twin is None:
            found.append(f"{trade.symbol} entered {trade.entry_ms}: the replay has no such trade")
            continue
        if trade.exit_reason in ("manual", "halt", "end") or twin.exit_reason == "end":
            continue
        for name in ("entry_price", "exit_price", "quantity", "pnl_usdt", "exit_ms"):
            mine, theirs = float(getattr(trade, name)), float(getattr(twin, name))
            if not np.isclose(mine, theirs, rtol=0, atol=tolerance * max(1.0, abs(theirs))):
                found.append(f"{trade.symbol} entered {trade.entry_ms}: {name} {mine} is {theirs}")
    return found
