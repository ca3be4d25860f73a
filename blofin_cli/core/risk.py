"""How much, and whether at all: size from the stop, exposure, and the breakers.

Pure kernels over the book. A breaker that trips stays tripped until its own rule re-arms it;
nothing here un-halts.

Source: the specification, sections 8 and 9.
"""

import math
from typing import Any

from blofin_cli.core.compiled import kernel
from blofin_cli.core.ledger import (
    ENTERING,
    FREE,
    LIQUIDATION,
    RESTING,
    STOP,
    TRAILING,
    AccountRow,
    Desk,
    PositionRow,
    SignalRow,
    SymbolRow,
    Verdict,
)

CORRELATION_UNKNOWN = 0.7
OPPOSITE_HAIRCUT = 0.5
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MONDAY_OFFSET_DAYS = 3  # day 0 of the epoch was a Thursday

TRADED = int(Verdict.TRADED)
HALTED = int(Verdict.HALTED)
DAY_LOSS = int(Verdict.DAY_LOSS)
WEEK_LOSS = int(Verdict.WEEK_LOSS)
ACCOUNT_PAUSED = int(Verdict.ACCOUNT_PAUSED)
COOLDOWN = int(Verdict.COOLDOWN)
POSITION_OPEN = int(Verdict.POSITION_OPEN)
COUNT = int(Verdict.COUNT)
ENTRIES_PER_DAY = int(Verdict.ENTRIES_PER_DAY)


@kernel
def loss_per_unit(
    side: int, entry: float, stop: float, slip: float, fee_in: float, fee_out: float
) -> float:
    """What one base unit loses when the stop is hit, costs of both sides included.

    Units: quote currency per base unit. Source: 9.1.
    """
    return abs(entry - stop) + stop * slip + entry * fee_in + stop * (1.0 - side * slip) * fee_out


@kernel
def whole_lots(quantity: float, lot: float, minimum: float) -> float:
    """Quantity rounded down to whole lots; 0 below the minimum. A lot of 0 leaves it alone."""
    if lot <= 0.0:
        return quantity
    rounded = math.floor(quantity / lot * (1.0 + 1e-12)) * lot
    return rounded if rounded >= minimum * (1.0 - 1e-12) else 0.0


@kernel
def liquidation_price(side: int, entry: float, margin_per_unit: float, maintenance: float) -> float:
    """Mark price at which an isolated position is liquidated.

    Units: `maintenance` is the tier's rate plus the taker fee. Source: 8; BloFin's own samples.
    """
    return (entry - side * margin_per_unit) / (1.0 - side * maintenance)


@kernel
def leverage_cap(entry: float, stop: float, maintenance: float, kappa: float) -> float:
    """Highest leverage that keeps liquidation kappa stop distances away. Source: 8."""
    distance = abs(entry - stop) / entry
    return 1.0 / (maintenance + kappa * distance * (1.0 - maintenance))


@kernel
def pair_correlation(desk: Desk, tick: int, one: int, other: int) -> float:
    """Correlation of two symbols at a tick; 1 for a symbol with itself. Source: 9.4."""
    if one == other:
        return 1.0
    low = min(one, other)
    high = max(one, other)
    symbols = len(desk.symbols)
    pair = low * symbols - low * (low + 1) // 2 + high - low - 1
    row = desk.correlation_row[tick]
    if row < 0:
        return CORRELATION_UNKNOWN
    return desk.correlation[row * (symbols * (symbols - 1) // 2) + pair]


@kernel
def risk_at_stop(position: PositionRow, equity: float) -> float:
    """Share of equity a position, or the order for it, loses at its stop."""
    if position.status == FREE or equity <= 0.0:
        return 0.0
    is_filling = position.status in (ENTERING, RESTING)
    unfilled = position.budget if is_filling else 0.0
    open_risk = max(0.0, position.side * (position.entry - position.stop)) * position.quantity
    return max(unfilled, open_risk) / equity


@kernel
def exposure_scale(desk: Desk, tick: int, signal: SignalRow, wanted: float, risk: Any) -> float:
    """Largest share of a wanted risk fraction that every exposure limit allows, 0-1.

    Source: 9.4: correlated risk, sum of risks, sum of one direction.
    """
    if wanted <= 0.0:
        return 0.0
    total, same_direction, variance, covariance = exposure(desk, tick, signal)
    room = min(
        risk.total_pct * 0.01 - total,
        risk.direction_pct * 0.01 - same_direction,
        correlated_room(variance, covariance, risk.portfolio_pct * 0.01),
    )
    return max(0.0, min(1.0, room / wanted))


@kernel
def exposure(desk: Desk, tick: int, signal: SignalRow) -> tuple[float, float, float, float]:
    """What the book already risks, as shares of equity.

    The sum, the sum in the signal's direction, the variance of the correlated book, and its
    covariance with the signal's symbol and direction.
    """
    equity = desk.account[0].equity
    total = 0.0
    same_direction = 0.0
    variance = 0.0
    covariance = 0.0
    for i in range(desk.account[0].slots_used):
        held = desk.positions[i]
        held_risk = risk_at_stop(held, equity)
        if held_risk <= 0.0:
            continue
        total += held_risk
        if held.side == signal.side:
            same_direction += held_risk
        for j in range(desk.account[0].slots_used):
            other = desk.positions[j]
            variance += (
                held_risk * risk_at_stop(other, equity) * signed_rho(desk, tick, held, other)
            )
        rho = pair_correlation(desk, tick, held.symbol, signal.symbol)
        agreement = 1.0 if held.side == signal.side else -OPPOSITE_HAIRCUT
        covariance += held_risk * agreement * rho
    return total, same_direction, variance, covariance


@kernel
def signed_rho(desk: Desk, tick: int, one: PositionRow, other: PositionRow) -> float:
    """Correlation with the sign of the pair: opposite positions offset each other by half only."""
    rho = pair_correlation(desk, tick, one.symbol, other.symbol)
    if one.side == other.side:
        return rho
    return -OPPOSITE_HAIRCUT * rho


@kernel
def correlated_room(variance: float, covariance: float, limit: float) -> float:
    """Risk fraction x that brings sqrt(variance + 2 x covariance + x^2) to the limit."""
    inside = covariance * covariance - variance + limit * limit
    if inside <= 0.0:
        return 0.0
    return math.sqrt(inside) - covariance


@kernel
def refusal(desk: Desk, tick: int, signal: SignalRow, rules: Any) -> int:
    """First condition of the account that refuses a signal, TRADED when none does."""
    account = desk.account[0]
    symbol = desk.symbols[signal.symbol]
    now_ms = desk.tick_ts[tick] + desk.step_ms
    if account.is_halted:
        return HALTED
    if not rules.risk.limits:
        return TRADED
    if account.is_day_blocked:
        return DAY_LOSS
    if account.is_week_blocked:
        return WEEK_LOSS
    if now_ms < account.paused_until_ms:
        return ACCOUNT_PAUSED
    if now_ms < symbol.paused_until_ms:
        return COOLDOWN
    held = 0
    for i in range(account.slots_used):
        position = desk.positions[i]
        if position.status == FREE:
            continue
        held += 1
        if position.symbol == signal.symbol and (signal.limit <= 0.0 or position.quantity > 0.0):
            return POSITION_OPEN
    if held >= rules.risk.positions_max:
        return COUNT
    if account.entries_today >= rules.risk.entries_per_day:
        return ENTRIES_PER_DAY
    return TRADED


@kernel
def notional_cap(desk: Desk, k: int, signal: SignalRow, leverage: float, rules: Any) -> float:
    """Largest notional the account, its free margin and the market's own volume allow, in USDT."""
    account = desk.account[0]
    free_margin = account.equity
    for i in range(account.slots_used):
        if desk.positions[i].status != FREE:
            free_margin -= desk.positions[i].margin
    cap = account.equity * rules.risk.max_leverage * signal.notional_scale
    cap = min(cap, free_margin * leverage)
    day_bars = DAY_MS // desk.step_ms
    first = max(desk.symbols[signal.symbol].first, k - day_bars)
    traded = desk.bars.quote_sum[k] - (desk.bars.quote_sum[first] if first < k else 0.0)
    return max(0.0, min(cap, traded * rules.risk.volume_share_pct * 0.01))


@kernel
def margin_leverage(symbol: SymbolRow, entry: float, stop: float, rules: Any) -> float:
    """Leverage a position is margined at. Source: 8."""
    maintenance = symbol.maintenance + rules.costs.taker
    safe = leverage_cap(entry, stop, maintenance, rules.risk.liquidation_stops)
    return max(1.0, min(rules.risk.max_leverage, symbol.leverage_max, safe))


@kernel
def roll_calendar(account: AccountRow, now_ms: int) -> None:
    """Begin a new UTC day, and on Monday a new week, at the equity the last one closed with."""
    if 0 <= now_ms - account.day * DAY_MS < DAY_MS:
        return
    day = now_ms // DAY_MS
    week = (day + MONDAY_OFFSET_DAYS) // 7
    if week != (account.day + MONDAY_OFFSET_DAYS) // 7:
        account.week_start = account.equity
        account.is_week_blocked = 0
    account.day = day
    account.day_start = account.equity
    account.is_day_blocked = 0
    account.entries_today = 0


@kernel
def trip_breakers(account: AccountRow, risk: Any) -> None:
    """Trip what open and closed profit together have earned. Source: 9.5."""
    if account.equity <= account.day_start * (1.0 - risk.day_loss_pct * 0.01):
        account.is_day_blocked = 1
    if account.equity <= account.week_start * (1.0 - risk.week_loss_pct * 0.01):
        account.is_week_blocked = 1
    if account.equity <= account.peak * (1.0 - risk.drawdown_pct * 0.01):
        account.is_halted = 1


@kernel
def remember_exit(desk: Desk, position: PositionRow, now_ms: int, risk: Any) -> None:
    """Cooldowns and pauses that follow from a finished trade. Source: 9.5."""
    account = desk.account[0]
    symbol = desk.symbols[position.symbol]
    is_loss = position.realised <= 0.0 and position.reason == TRAILING
    if is_loss or position.reason in (STOP, LIQUIDATION):
        symbol.stops_in_row += 1
        account.stops_in_row += 1
        pause_h = risk.cooldown_h
        if symbol.stops_in_row >= risk.stops_symbol:
            symbol.stops_in_row = 0
            pause_h = max(pause_h, risk.pause_h)
        if account.stops_in_row >= risk.stops_account:
            account.stops_in_row = 0
            account.paused_until_ms = now_ms + int(risk.pause_h * HOUR_MS)
        symbol.paused_until_ms = now_ms + int(pause_h * HOUR_MS)
        return
    symbol.stops_in_row = 0
    account.stops_in_row = 0
    if position.realised > 0.0 and risk.win_cooldown_h > 0.0:
        symbol.paused_until_ms = now_ms + int(risk.win_cooldown_h * HOUR_MS)
