"""Orders meet candles: at what price, how much of them, at what cost. Pessimistic inside a bar.

Source: the specification, section 7.
"""

import math
from typing import Any

from blofin_cli.core.compiled import kernel
from blofin_cli.core.ledger import Bars, Desk, PositionRow, SymbolRow

IMPACT_BARS = 96
LIMIT = 1  # position of "limit" among the words of `target.order`
FIXED = 1  # position of "fixed" among the words of `costs.slippage`
UNCAPPED = 1.0  # a participation of the whole candle means no cap at all


@kernel
def slip_fraction(desk: Desk, k: int, symbol: SymbolRow, notional: float, rules: Any) -> float:
    """Half spread plus square-root impact of an order at bar k, never below the floor.

    Source: 7.3; the impact's inputs are those of the 96 bars before k.
    """
    costs = rules.costs
    slip = symbol.slip_floor
    if costs.slippage != FIXED:
        law = impact_scale(desk, k, symbol.first)
        modelled = costs.half_spread_bps * 1e-4 + costs.impact * law * math.sqrt(notional)
        slip = max(slip, modelled)
    return slip * costs.scale


@kernel
def impact_scale(desk: Desk, k: int, first: int) -> float:
    """sigma / sqrt(median quote volume) of the 96 bars before k; remembered, -1 is unknown."""
    if desk.impact_memo[k] >= 0.0:
        return desk.impact_memo[k]
    bars = desk.bars
    start = max(first, k - IMPACT_BARS)
    law = 0.0
    if k - start >= 3:
        total = 0.0
        squares = 0.0
        for j in range(start + 1, k):
            change = math.log(bars.close[j] / bars.close[j - 1])
            total += change
            squares += change * change
        n = k - start - 1
        variance = max(0.0, (squares - total * total / n) / (n - 1))
        for j in range(start, k):
            desk.scratch[j - start] = bars.close[j] * bars.volume[j]
        volume = median(desk.scratch, k - start)
        if volume > 0.0:
            law = math.sqrt(variance / volume)
    desk.impact_memo[k] = law
    return law


@kernel
def median(values: Any, count: int) -> float:
    """Median of the first `count` values, which are reordered.

    Source: Hoare's FIND, Communications of the ACM 4(7), 1961.
    """
    middle = (count - 1) // 2
    left = 0
    right = count - 1
    while left < right:
        pivot = values[middle]
        i = left
        j = right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                kept = values[i]
                values[i] = values[j]
                values[j] = kept
                i += 1
                j -= 1
        if j < middle:
            left = i
        if middle < i:
            right = j
    if count % 2 == 1:
        return values[middle]
    upper = values[middle + 1]
    for i in range(middle + 2, count):
        upper = min(upper, values[i])
    return 0.5 * (values[middle] + upper)


@kernel
def market_fill(bars: Bars, k: int, wanted: float, rules: Any) -> float:
    """How much of a market order bar k can take."""
    share = rules.costs.market_share
    return wanted if share >= UNCAPPED else min(wanted, share * bars.volume[k])


@kernel
def limit_fill(bars: Bars, k: int, wanted: float, through: float, rules: Any) -> float:
    """How much of a limit order bar k can take; `through` is how far price went beyond it."""
    share = rules.costs.limit_share
    if share >= UNCAPPED:
        return wanted
    size = bars.high[k] - bars.low[k]
    reached = min(1.0, through / size) if size > 0.0 else 1.0
    return min(wanted, share * bars.volume[k] * reached)


@kernel
def through_distance(price: float, tick: float, rules: Any) -> float:
    """How far a bar must trade beyond a limit price to fill it: a mere touch never does.

    A hair less than a tick, since the difference of two prices a tick apart is one only nearly.
    """
    return max(tick, price * rules.costs.through_bps * 1e-4) * (1.0 - 1e-9)


@kernel
def target_reached(position: PositionRow, bars: Bars, k: int, tick: float, rules: Any) -> bool:
    """Whether bar k fills what rests at the target."""
    favourable = bars.high[k] if position.side > 0 else bars.low[k]
    beyond = position.side * (favourable - position.target)
    if rules.target.order == LIMIT:
        return beyond >= through_distance(position.target, tick, rules)
    return beyond >= 0.0


@kernel
def stop_reached(position: PositionRow, bars: Bars, k: int) -> bool:
    """Whether bar k trades at the stop or beyond it."""
    adverse = bars.low[k] if position.side > 0 else bars.high[k]
    return position.side * (adverse - position.stop) <= 0.0


@kernel
def stop_comes_first(position: PositionRow, desk: Desk, k: int, tick: float, rules: Any) -> bool:
    """Which of stop and target bar k reached first; marks the trade when nothing can tell.

    The open decides when it is beyond either; then finer candles; then, honestly not knowing,
    the stop, or the target in the optimistic bound.
    """
    bars = desk.bars
    if position.side * (bars.open[k] - position.stop) <= 0.0:
        return True
    if position.side * (bars.open[k] - position.target) >= 0.0:
        return False
    through = 0.0
    if rules.target.order == LIMIT:
        through = through_distance(position.target, tick, rules)
    through = 0.0
    if rules.target.order == LIMIT:
        through = through_distance(position.target, tick, rules)
    for j in range(bars.fine_first[k], bars.fine_stop[k]):
        adverse = bars.fine_low[j] if position.side > 0 else bars.fine_high[j]
        favourable = bars.fine_high[j] if position.side > 0 else bars.fine_low[j]
        is_stopped = position.side * (adverse - position.stop) <= 0.0
        is_paid = position.side * (favourable - position.target) >= through
        if is_stopped and is_paid:
            break
        if is_stopped or is_paid:
            position.resolution_ms = desk.step_ms // (bars.fine_stop[k] - bars.fine_first[k])
            return is_stopped
    position.is_ambiguous = 1
    return desk.optimistic == 0


@kernel
def round_price(price: float, tick: float, up: bool) -> float:
    """Price on the tick grid; a tick of 0 leaves it alone."""
    if tick <= 0.0:
        return price
    steps = price / tick
    nearest = math.floor(steps + 0.5)
    if abs(steps - nearest) > 1e-6:
        nearest = math.ceil(steps) if up else math.floor(steps)
    return nearest * tick
