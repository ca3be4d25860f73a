"""One bar of trading, written once: settle fills, mark to market, guard the account, decide.

Every mode runs these functions. The backtest loops `run` over all of history, compiled when that
pays; a live session calls the same functions one bar at a time. A decision at the close of a bar
fills no earlier than the open of the next.
"""

from typing import Any

from blofin_cli.core.compiled import kernel
from blofin_cli.core.fills import (
    LIMIT,
    limit_fill,
    market_fill,
    round_price,
    slip_fraction,
    stop_comes_first,
    stop_reached,
    target_reached,
)
from blofin_cli.core.ledger import (
    END,
    ENTERING,
    FREE,
    HALT,
    LEAVING,
    LIQUIDATION,
    OPEN,
    RESTING,
    SIGNAL,
    STOP,
    TARGET,
    TIME,
    TRAILING,
    Desk,
    PositionRow,
    SignalRow,
    book_cost,
    book_exit,
    book_funding,
    book_trade,
    open_profit,
)
from blofin_cli.core.risk import (
    remember_exit,
    roll_calendar,
    trip_breakers,
    whole_lots,
)
from blofin_cli.engine.orders import (
    DUST,
    abandon,
    aim,
    enter_market,
    enter_resting,
    free_slot,
    maker_fee,
    order,
    plan,
)

EVERY = -1
STALE_BARS = 3  # zone-timeframe bars without data after which a position is closed


@kernel
def run(desk: Desk, rules: Any, curve: Any) -> int:
    """Trade every tick; `curve` receives the equity at each close. Returns trades finished.

    While nothing is held or ordered, equity cannot change, so the loop goes to the next signal.
    """
    account = desk.account[0]
    ticks = len(desk.tick_ts)
    tick = 0
    while tick < ticks:
        if account.active == 0:
            upcoming = ticks
            if account.next_signal < len(desk.signals):
                upcoming = max(tick, desk.signals[account.next_signal].tick)
            for idle in range(tick, upcoming):
                curve[idle] = account.equity
            tick = upcoming
            if tick >= ticks:
                break
        step(desk, tick, rules)
        curve[tick] = account.equity
        tick += 1
    return account.trades


@kernel
def step(desk: Desk, tick: int, rules: Any) -> None:
    """One tick of all symbols: settle, mark, guard, decide."""
    account = desk.account[0]
    roll_calendar(account, desk.tick_ts[tick])
    if account.active > 0:
        for slot in range(account.slots_used):
            position = desk.positions[slot]
            if position.status != FREE:
                k = desk.bar_at[position.symbol * len(desk.tick_ts) + tick]
                if k >= 0:
                    settle(desk, position, tick, k, rules)
    mark(desk, tick, rules)
    if tick == len(desk.tick_ts) - 1:
        close_at_end(desk, rules)
        mark(desk, tick, rules)
        return
    while account.next_signal < len(desk.signals):
        signal = desk.signals[account.next_signal]
        if signal.tick > tick:
            break
        if signal.tick == tick:
            decide(desk, tick, account.next_signal, rules)
        account.next_signal += 1


@kernel
def settle(desk: Desk, position: PositionRow, tick: int, k: int, rules: Any) -> None:
    """Let bar k do to a position what it must: enter, pay funding, stop, pay, time out."""
    bars = desk.bars
    is_limit_bar = False
    if position.status == RESTING:
        is_limit_bar = enter_resting(desk, position, tick, k, rules)
    elif position.status == ENTERING:
        enter_market(desk, position, k, rules)
    if position.quantity <= 0.0:
        return
    desk.account[0].bars_exposed += 1
    if rules.risk.limits and k > desk.symbols[position.symbol].first:
        silence_ms = bars.ts[k] - bars.ts[k - 1] - desk.step_ms
        if silence_ms >= STALE_BARS * position.zone_ms and position.status == OPEN:
            position.status = LEAVING
            position.reason = HALT
    if position.status == LEAVING:
        leave(desk, position, k, bars.open[k], rules)
        if position.status == FREE:
            return
    value = bars.mark_close[k] if bars.mark_close[k] > 0.0 else position.entry
    rate = bars.funding_long[k] if position.side > 0 else bars.funding_short[k]
    if rate != 0.0:
        book_funding(desk.account[0], position, -rate * value * position.quantity)
    if is_liquidated(position, desk, k):
        liquidate(desk, position, k, rules)
        return
    settle_bracket(desk, position, k, is_limit_bar, rules)
    if position.status == FREE:
        return
    if bars.ts[k] >= position.due_ms and position.status != LEAVING:
        position.status = LEAVING
        position.reason = TIME
        leave(desk, position, k, bars.close[k], rules)
    if position.status != FREE and not is_limit_bar:
        follow_price(desk, position, k, rules)


@kernel
def is_liquidated(position: PositionRow, desk: Desk, k: int) -> bool:
    """Whether the mark price reached liquidation before the stop could act.

    The stop acts on the last price and liquidation on the mark. An open beyond liquidation gets
    there first, unless a mark price is known that stayed short of it.
    """
    bars = desk.bars
    adverse = bars.mark_low[k] if position.side > 0 else bars.mark_high[k]
    if adverse > 0.0 and position.side * (adverse - position.liquidation) > 0.0:
        return False
    if position.side * (bars.open[k] - position.liquidation) <= 0.0:
        return True
    return adverse > 0.0 and not stop_reached(position, bars, k)


@kernel
def liquidate(desk: Desk, position: PositionRow, k: int, rules: Any) -> None:
    """Lose the whole isolated margin."""
    position.reason = LIQUIDATION
    price = position.entry - position.side * position.margin / position.quantity
    finish(desk, position, k, price, position.quantity, rules)


@kernel
def settle_bracket(
    desk: Desk, position: PositionRow, k: int, is_limit_bar: bool, rules: Any
) -> None:
    """Stop and target of bar k; the stop wins unless something finer proves otherwise."""
    bars = desk.bars
    symbol = desk.symbols[position.symbol]
    for _ in range(rules.parts):
        is_stopped = stop_reached(position, bars, k)
        is_paid = position.status != LEAVING and target_reached(
            position, bars, k, symbol.tick, rules
        )
        if is_limit_bar:
            is_paid = is_paid and position.side * (bars.close[k] - position.target) > 0.0
            if is_stopped and is_paid:
                position.is_ambiguous = 1
                is_stopped = desk.optimistic == 0
        elif is_stopped and is_paid:
            is_stopped = stop_comes_first(position, desk, k, symbol.tick, rules)
        if is_stopped:
            stop_out(desk, position, k, rules)
            return
        if not is_paid:
            return
        part = position.part
        pay_out(desk, position, k, rules)
        if position.status == FREE or position.part == part:
            return


@kernel
def stop_out(desk: Desk, position: PositionRow, k: int, rules: Any) -> None:
    """Leave at the stop, or at the open that jumped over it, and pay the impact."""
    bars = desk.bars
    symbol = desk.symbols[position.symbol]
    position.reason = TRAILING if position.is_moved else STOP
    is_gap = position.side * (bars.open[k] - position.stop) <= 0.0
    price = bars.open[k] if is_gap else position.stop
    slip = slip_fraction(desk, k, symbol, price * position.quantity, rules)
    pay_taker(desk, position, k, price, position.quantity, slip, rules)


@kernel
def pay_out(desk: Desk, position: PositionRow, k: int, rules: Any) -> None:
    """Take profit on the part whose target bar k reached."""
    bars = desk.bars
    symbol = desk.symbols[position.symbol]
    position.reason = TARGET
    position.status = OPEN  # what the entry has not filled by now is cancelled
    quantity = position.quantity
    is_last = position.part >= rules.parts - 1
    if not is_last:
        kept = position.filled
        for part in range(position.part + 1):
            kept -= position.filled * rules.parts_fraction[part]
        quantity = min(quantity, whole_lots(max(0.0, quantity - kept), symbol.lot, 0.0))
    if rules.target.order == LIMIT:
        favourable = bars.high[k] if position.side > 0 else bars.low[k]
        through = position.side * (favourable - position.target)
        filled = whole_lots(limit_fill(bars, k, quantity, through, rules), symbol.lot, 0.0)
        if filled > 0.0:
            fee = position.target * filled * maker_fee(rules)
            book_cost(desk.account[0], position, fee, 0.0)
            finish(desk, position, k, position.target, filled, rules)
        if filled < quantity * (1.0 - DUST):
            return
    elif quantity > 0.0:
        is_gap = position.side * (bars.open[k] - position.target) > 0.0
        price = bars.open[k] if is_gap else position.target
        slip = slip_fraction(desk, k, symbol, price * quantity, rules)
        pay_taker(desk, position, k, price, quantity, slip, rules)
    if position.status != FREE and not is_last:
        position.part += 1
        aim(position, symbol.tick, rules)


@kernel
def leave(desk: Desk, position: PositionRow, k: int, price: float, rules: Any) -> None:
    """Close at market what bar k can take; the rest goes at the next open."""
    symbol = desk.symbols[position.symbol]
    quantity = market_fill(desk.bars, k, position.quantity, rules)
    if quantity < position.quantity:
        quantity = whole_lots(quantity, symbol.lot, 0.0)
    if quantity > 0.0:
        slip = slip_fraction(desk, k, symbol, price * quantity, rules)
        pay_taker(desk, position, k, price, quantity, slip, rules)


@kernel
def pay_taker(
    desk: Desk,
    position: PositionRow,
    k: int,
    price: float,
    quantity: float,
    slip: float,
    rules: Any,
) -> None:
    """Close a quantity as a taker: slippage in the price, fee on top."""
    paid = price * (1.0 - position.side * slip)
    fee = paid * quantity * rules.costs.taker * rules.costs.scale
    book_cost(desk.account[0], position, fee, price * slip * quantity)
    finish(desk, position, k, paid, quantity, rules)


@kernel
def finish(
    desk: Desk, position: PositionRow, k: int, price: float, quantity: float, rules: Any
) -> None:
    """Book a closing fill, and the trade when nothing is left."""
    now_ms = desk.bars.ts[k] + desk.step_ms
    remember_extremes(desk, position, k)
    position.margin *= 1.0 - quantity / position.quantity
    book_exit(desk, position, desk.bars.ts[k], price, quantity)
    if position.quantity <= position.filled * DUST:
        position.quantity = 0.0
        remember_exit(desk, position, now_ms, rules.risk)
        book_trade(desk, position)


@kernel
def remember_extremes(desk: Desk, position: PositionRow, k: int) -> None:
    """Best and worst price seen while held."""
    high = desk.bars.high[k]
    low = desk.bars.low[k]
    if position.side > 0:
        position.best = max(position.best, high)
        position.worst = min(position.worst, low)
    else:
        position.best = min(position.best, low)
        position.worst = max(position.worst, high)


@kernel
def follow_price(desk: Desk, position: PositionRow, k: int, rules: Any) -> None:
    """Move the stop to breakeven or behind the best price, in force from the next bar."""
    remember_extremes(desk, position, k)
    gained = position.side * (position.best - position.entry)
    moved = position.stop
    if rules.manage.be_at > 0.0 and gained >= rules.manage.be_at * position.risk_price:
        moved = tighter(position, moved, position.entry)
    if rules.manage.trail > 0.0:
        trail = position.best - position.side * rules.manage.trail * position.risk_price
        moved = tighter(position, moved, trail)
    if moved != position.stop:
        tick = desk.symbols[position.symbol].tick
        position.stop = tighter(
            position, position.stop, round_price(moved, tick, position.side < 0)
        )
        position.is_moved = 1


@kernel
def tighter(position: PositionRow, one: float, other: float) -> float:
    """The stop nearer to the market."""
    return max(one, other) if position.side > 0 else min(one, other)


@kernel
def mark(desk: Desk, tick: int, rules: Any) -> None:
    """Equity at the close, its peak and drawdown, and the breakers it trips."""
    account = desk.account[0]
    equity = account.cash
    if account.active > 0:
        for slot in range(account.slots_used):
            position = desk.positions[slot]
            if position.status != FREE and position.quantity > 0.0:
                equity += open_profit(position, last_close(desk, position.symbol, tick))
    account.equity = equity
    account.peak = max(account.peak, equity)
    account.drawdown_max = max(account.drawdown_max, 1.0 - equity / account.peak)
    if not rules.risk.limits:
        return
    was_halted = account.is_halted
    trip_breakers(account, rules.risk)
    if account.is_halted and not was_halted:
        account.halted_ms = desk.tick_ts[tick] + desk.step_ms
        leave_all(desk)
    now_ms = desk.tick_ts[tick] + desk.step_ms
    if account.is_day_blocked or account.is_week_blocked or now_ms < account.paused_until_ms:
        cancel_entries(desk, EVERY)


@kernel
def last_close(desk: Desk, symbol: int, tick: int) -> float:
    """Close of the symbol's bar at a tick, or of the last one before a gap."""
    t = tick
    while t >= 0:
        k = desk.bar_at[symbol * len(desk.tick_ts) + t]
        if k >= 0:
            return desk.bars.close[k]
        t -= 1
    return 0.0


@kernel
def leave_all(desk: Desk) -> None:
    """Close every position at the next open and cancel every entry: the drawdown breaker."""
    for slot in range(desk.account[0].slots_used):
        position = desk.positions[slot]
        if position.status == FREE:
            continue
        if position.quantity > 0.0:
            position.status = LEAVING
            position.reason = HALT
        else:
            abandon(desk, position)


@kernel
def cancel_entries(desk: Desk, number: int) -> int:
    """Cancel the entry of this number, or `EVERY` one, that still rests or fills; how many.

    A block lets none in, early or late.
    """
    canceled = 0
    for slot in range(desk.account[0].slots_used):
        position = desk.positions[slot]
        is_meant = number in (EVERY, position.number)
        if is_meant and position.status in (RESTING, ENTERING):
            abandon(desk, position)
            canceled += 1
    return canceled


@kernel
def close_at_end(desk: Desk, rules: Any) -> None:
    """The data end here: close what is held at its last close, as a taker, and say so."""
    last = len(desk.tick_ts) - 1
    for slot in range(desk.account[0].slots_used):
        position = desk.positions[slot]
        if position.status == FREE:
            continue
        if position.quantity <= 0.0:
            abandon(desk, position)
            continue
        t = last
        k = desk.bar_at[position.symbol * len(desk.tick_ts) + t]
        while k < 0:
            t -= 1
            k = desk.bar_at[position.symbol * len(desk.tick_ts) + t]
        position.reason = END
        symbol = desk.symbols[position.symbol]
        price = desk.bars.close[k]
        slip = slip_fraction(desk, k, symbol, price * position.quantity, rules)
        pay_taker(desk, position, k, price, position.quantity, slip, rules)


@kernel
def decide(desk: Desk, tick: int, index: int, rules: Any) -> None:
    """Turn a signal into an order, or record why not."""
    if rules.manage.exit_on_opposite:
        leave_opposite(desk, desk.signals[index])
    quantity = plan(desk, tick, index, rules)
    if quantity > 0.0:
        order(desk, free_slot(desk), index, quantity, rules)


@kernel
def leave_opposite(desk: Desk, signal: SignalRow) -> None:
    """Close a position of the other side on the signal's symbol at the next open."""
    for slot in range(desk.account[0].slots_used):
        position = desk.positions[slot]
        is_held = position.status == OPEN and position.symbol == signal.symbol
        if is_held and position.side != signal.side:
            position.status = LEAVING
            position.reason = SIGNAL
