"""From a signal to an order, and from an order to a position.

`plan` asks the account, `order` fills a slot, the `enter_` functions meet the candles.
"""

from typing import Any

from blofin_cli.core.compiled import kernel
from blofin_cli.core.fills import (
    limit_fill,
    market_fill,
    round_price,
    slip_fraction,
    through_distance,
)
from blofin_cli.core.ledger import (
    ENTERING,
    FREE,
    OPEN,
    RESTING,
    Desk,
    PositionRow,
    SignalRow,
    Verdict,
    book_cost,
    book_entry,
    book_trade,
    release,
)
from blofin_cli.core.risk import (
    exposure_scale,
    liquidation_price,
    loss_per_unit,
    margin_leverage,
    notional_cap,
    refusal,
    whole_lots,
)

DUST = 1e-9  # share of a position too small to be held

TRADED = int(Verdict.TRADED)
EXPOSURE = int(Verdict.EXPOSURE)
SIZE = int(Verdict.SIZE)
NO_SLOT = int(Verdict.NO_SLOT)


@kernel
def plan(desk: Desk, tick: int, index: int, rules: Any) -> float:
    """Base units the account lets a signal have, 0 when it refuses; the verdict says which gate.

    The signal's `risk_fraction` becomes what exposure limits left of it.
    """
    signal = desk.signals[index]
    signal.verdict = refusal(desk, tick, signal, rules)
    if signal.verdict != TRADED:
        return 0.0
    if free_slot(desk) < 0:
        signal.verdict = NO_SLOT
        return 0.0
    if not rules.risk.limits:
        return desk.account[0].start * signal.risk_fraction / abs(signal.entry - signal.stop)
    scale = exposure_scale(desk, tick, signal, signal.risk_fraction, rules.risk)
    if scale < rules.risk.scale_min:
        signal.verdict = EXPOSURE
        return 0.0
    signal.risk_fraction *= scale
    k = desk.bar_at[signal.symbol * len(desk.tick_ts) + tick]
    quantity = size(desk, k, signal, free_equity(desk) * signal.risk_fraction, rules)
    if quantity <= 0.0:
        signal.verdict = SIZE
    return quantity


@kernel
def free_equity(desk: Desk) -> float:
    """Equity less what resting and filling entries may already lose. Source: 9.1."""
    free = desk.account[0].equity
    for slot in range(desk.account[0].slots_used):
        position = desk.positions[slot]
        if position.status in (RESTING, ENTERING):
            free -= position.budget
    return max(0.0, free)


@kernel
def size(desk: Desk, k: int, signal: SignalRow, budget: float, rules: Any) -> float:
    """Base units whose loss at the stop, costs included, is the budget at most. Source: 9.1."""
    symbol = desk.symbols[signal.symbol]
    loss = unit_loss(desk, k, signal, budget / abs(signal.entry - signal.stop), rules)
    leverage = margin_leverage(symbol, signal.entry, signal.stop, rules)
    quantity = min(
        budget / loss,
        notional_cap(desk, k, signal, leverage, rules) / signal.entry,
        symbol.size_max,
    )
    return whole_lots(quantity, symbol.lot, symbol.size_min)


@kernel
def unit_loss(desk: Desk, k: int, signal: SignalRow, quantity: float, rules: Any) -> float:
    """What a base unit of an order of this quantity loses at its stop, costs included."""
    fee_out = rules.costs.taker * rules.costs.scale
    fee_in = fee_out if signal.limit <= 0.0 else maker_fee(rules)
    symbol = desk.symbols[signal.symbol]
    slip = slip_fraction(desk, k, symbol, quantity * signal.entry, rules)
    return loss_per_unit(signal.side, signal.entry, signal.stop, slip, fee_in, fee_out)


@kernel
def free_slot(desk: Desk) -> int:
    """First free position slot, -1 when all are taken."""
    for slot in range(len(desk.positions)):
        if desk.positions[slot].status == FREE:
            return slot
    return -1


@kernel
def order(desk: Desk, slot: int, index: int, quantity: float, rules: Any) -> None:
    """Fill a slot with the order that a signal became."""
    signal = desk.signals[index]
    account = desk.account[0]
    position = desk.positions[slot]
    budget = signal.risk_fraction * (free_equity(desk) if rules.risk.limits else account.start)
    account.active += 1
    account.slots_used = max(account.slots_used, slot + 1)
    account.entries_today += 1
    symbol = desk.symbols[signal.symbol]
    leverage = margin_leverage(symbol, signal.entry, signal.stop, rules)
    position.status = ENTERING if signal.limit <= 0.0 else RESTING
    position.symbol = signal.symbol
    position.signal = index
    position.side = signal.side
    position.number = index
    position.until = signal.until
    position.zone_ms = signal.zone_ms
    position.part = 0
    position.is_moved = 0
    position.is_ambiguous = 0
    position.resolution_ms = desk.step_ms
    position.reason = 0
    position.wanted = quantity
    position.filled = 0.0
    position.quantity = 0.0
    position.entry = 0.0
    position.limit = signal.limit
    position.stop = signal.stop
    position.first_stop = signal.stop
    position.target = 0.0
    position.fixed_target = signal.target
    position.budget = budget
    position.margin = signal.entry * quantity / leverage
    position.liquidation = 0.0
    position.realised = 0.0
    position.exit_value = 0.0
    position.fees = 0.0
    position.funding = 0.0
    position.slippage = 0.0


@kernel
def enter_market(desk: Desk, position: PositionRow, k: int, rules: Any) -> None:
    """Fill what bar k can take of a market entry at its open; the rest waits for the next bar.

    The order carries a price cap: an open that gapped away from the stop buys fewer units, so
    that the loss at the stop stays inside the budget; an open beyond the stop buys none.
    """
    bars = desk.bars
    symbol = desk.symbols[position.symbol]
    price = bars.open[k]
    wanted = position.wanted - position.filled
    slip = slip_fraction(desk, k, symbol, price * wanted, rules)
    paid = price * (1.0 + position.side * slip)
    if position.side * (paid - position.first_stop) <= 0.0:
        abandon(desk, position)
        return
    fee_rate = rules.costs.taker * rules.costs.scale
    if rules.risk.limits:
        loss = loss_per_unit(position.side, paid, position.first_stop, slip, fee_rate, fee_rate)
        spent = position.filled * loss_per_unit(
            position.side, position.entry, position.first_stop, slip, fee_rate, fee_rate
        )
        wanted = min(wanted, max(0.0, position.budget - spent) / loss)
    else:
        wanted = position.budget / abs(paid - position.first_stop)
    quantity = whole_lots(market_fill(bars, k, wanted, rules), symbol.lot, symbol.size_min)
    if quantity > 0.0:
        book_cost(desk.account[0], position, paid * quantity * fee_rate, price * slip * quantity)
        take(desk, position, k, paid, quantity, rules)
        cancel_others(desk, position, rules)
    if position.filled >= position.wanted * (1.0 - DUST) or not rules.risk.limits:
        position.status = OPEN
    elif wanted - quantity < max(symbol.lot, symbol.size_min):
        abandon(desk, position)


@kernel
def enter_resting(desk: Desk, position: PositionRow, tick: int, k: int, rules: Any) -> bool:
    """Fill what bar k can take of a resting limit entry; True when it filled anything.

    It fills at its price, as maker, however far a bar opens beyond it; only an order that was
    marketable when it arrived is a market order with a price cap. The order ends at the close of
    the bar that ended the first touch.
    """
    bars = desk.bars
    symbol = desk.symbols[position.symbol]
    gap = position.side * (position.limit - bars.open[k])
    decided_at = position.symbol * len(desk.tick_ts) + desk.signals[position.signal].tick
    is_taker = gap > 0.0 and desk.bar_at[decided_at] == k - 1
    adverse = bars.low[k] if position.side > 0 else bars.high[k]
    through = position.side * (position.limit - adverse)
    filled = False
    if gap > 0.0 or through >= through_distance(position.limit, symbol.tick, rules):
        wanted = position.wanted - position.filled
        price = position.limit
        fee_rate = maker_fee(rules)
        slip = 0.0
        if is_taker:
            slip = slip_fraction(desk, k, symbol, bars.open[k] * wanted, rules)
            paid = bars.open[k] * (1.0 + position.side * slip)
            price = min(paid, price) if position.side > 0 else max(paid, price)
            fee_rate = rules.costs.taker * rules.costs.scale
        risk = position.side * (price - position.first_stop)
        if risk > 0.0 and not rules.risk.limits:
            wanted = position.budget / risk
        quantity = whole_lots(
            limit_fill(bars, k, wanted, max(gap, through), rules), symbol.lot, symbol.size_min
        )
        if quantity > 0.0 and risk > 0.0:
            slipped = slip * bars.open[k] * quantity
            book_cost(desk.account[0], position, price * quantity * fee_rate, slipped)
            take(desk, position, k, price, quantity, rules)
            filled = True
            cancel_others(desk, position, rules)
    if position.filled >= position.wanted * (1.0 - DUST) or (filled and not rules.risk.limits):
        position.status = OPEN
    elif tick >= position.until:
        abandon(desk, position)
    return filled


@kernel
def maker_fee(rules: Any) -> float:
    """Maker rate under the stress multiplier; a rebate is not multiplied."""
    return rules.costs.maker * max(1.0, rules.costs.scale)


@kernel
def abandon(desk: Desk, position: PositionRow) -> None:
    """Cancel what is left of an entry; what filled stays, covered by its stop."""
    if position.quantity > 0.0:
        position.status = OPEN
    elif position.filled > 0.0:
        book_trade(desk, position)
    else:
        release(desk, position)


@kernel
def cancel_others(desk: Desk, position: PositionRow, rules: Any) -> None:
    """One position a symbol: a fill cancels the symbol's other entries."""
    if not rules.risk.limits:
        return
    for slot in range(desk.account[0].slots_used):
        other = desk.positions[slot]
        is_waiting = other.status in (RESTING, ENTERING)
        is_rival = is_waiting and other.symbol == position.symbol
        if is_rival and other.filled <= 0.0 and other.number != position.number:
            release(desk, other)


@kernel
def take(
    desk: Desk, position: PositionRow, k: int, price: float, quantity: float, rules: Any
) -> None:
    """Hold a filled quantity, margin it and set its target."""
    symbol = desk.symbols[position.symbol]
    if position.filled <= 0.0:
        position.entry_ms = desk.bars.ts[k]
        position.due_ms = desk.bars.ts[k] + desk.signals[position.signal].hold_ms
        position.best = price
        position.worst = price
        desk.account[0].opened += 1
    book_entry(desk.account[0], position, quantity, price)
    aim(position, symbol.tick, rules)
    leverage = margin_leverage(symbol, position.entry, position.first_stop, rules)
    position.margin = position.entry * position.quantity / leverage
    position.liquidation = liquidation_price(
        position.side,
        position.entry,
        position.entry / leverage,
        symbol.maintenance + rules.costs.taker,
    )


@kernel
def aim(position: PositionRow, tick: float, rules: Any) -> None:
    """Set the target of the part that is next: fixed by the signal, or a multiple of R."""
    if position.fixed_target > 0.0:
        position.target = position.fixed_target
        return
    goal = position.entry + position.side * rules.parts_rr[position.part] * position.risk_price
    position.target = round_price(goal, tick, position.side > 0)
