"""Draw the plan of an order: size, worst case, liquidation, exposure, and every gate's verdict.

The same kernels as every bar of a backtest size it and hold it against the account; what is added
here is what only a live exchange can tell: its quote, its price band, its margin and its modes.
Pure: whoever calls has read the exchange.
"""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from blofin_cli.core.compiled import call, kernel
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Intent, IntentState, Room
from blofin_cli.core.ledger import OPEN, RESTING, Desk, PositionRow, SignalRow, Verdict
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.orders import Order, OrderType, Position, Protection, Side
from blofin_cli.core.quotes import Mode, PositionTier
from blofin_cli.core.risk import (
    exposure,
    exposure_scale,
    leverage_cap,
    liquidation_price,
    margin_leverage,
    notional_cap,
    refusal,
)
from blofin_cli.core.strategy import Costs, Strategy
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.engine.backtest import Course, desk_of, lay_course, step_rules
from blofin_cli.engine.judging import Weighed, judge
from blofin_cli.engine.orders import free_equity, size, unit_loss
from blofin_cli.engine.situation import Situation
from blofin_cli.errors import DataError, UsageError

__all__ = ["Situation", "draw", "room"]

PLAN_LIFE_MS = 120_000
DEAR_SHARE = Decimal("0.1")  # of the stop distance a price may move against a plan: its risk grows
CHEAP_SHARE = Decimal("0.5")
RESTING_MOVE = Decimal("0.05")
MAINTENANCE_UNKNOWN = 0.02
LEVERAGE_UNKNOWN = 10
ZERO = Decimal(0)

_TAKERS = frozenset({OrderType.MARKET, OrderType.IOC, OrderType.FOK, OrderType.TRIGGER})


@dataclass(frozen=True, slots=True)
class _Prices:
    """A ticket's prices on the grid; `worst` is where it is given up, stop or liquidation."""

    entry: Decimal
    price: Decimal | None
    trigger: Decimal | None
    stop: Decimal | None
    target: Decimal | None
    is_maker: bool
    touch: Decimal


def draw(ticket: Ticket, now: Situation, strategy: Strategy, mandate: Mandate) -> Plan:
    """The plan of a ticket; a gate that refuses is in it and not an error.

    Errors: UsageError when prices contradict each other or a number lies outside what the
    instrument has; DataError when the exchange tells too little to judge.
    """
    if not strategy.risk.limits:
        raise UsageError("orders need the account limits", hint="leave risk.limits on")
    sketch = _Sketch(ticket, now, strategy, mandate, _on_grid(ticket, now))
    leverage = sketch.leverage(ZERO)
    weighed = sketch.weighed(leverage)
    at_size = sketch.leverage(weighed.size)
    if at_size != leverage:
        leverage = at_size
        weighed = sketch.weighed(leverage)
    plan = sketch.plan(weighed, leverage)
    return replace(plan, gates=judge(plan, weighed, now, strategy, mandate))


def capital_of(now: Situation, mandate: Mandate) -> Decimal:
    """Equity that is traded with: all of it with play money, the mandate's share of real money."""
    return now.equity_usdt * (mandate.capital_fraction if now.mode is Mode.LIVE else 1)


def room(now: Situation, strategy: Strategy, mandate: Mandate, *, is_agent: bool = False) -> Room:
    """What reserved entries and one more must fit into: the limits less what positions use.

    `is_agent` adds the mandate's budget for faces that no person sits at.
    """
    capital = capital_of(now, mandate)
    held = [position for position in now.positions if position.size]
    at_risk = sum((_risk_at_stop(position, now.protections) for position in held), ZERO)
    notional = sum((abs(p.size) * p.mark_price for p in held), ZERO)
    risk = strategy.risk
    budget = mandate.agent if is_agent else None
    day = capital * mandate.risk_day_fraction_max
    return Room(
        risk_usdt=capital * Decimal(repr(risk.total_pct)) / 100 - at_risk,
        notional_usdt=capital * Decimal(repr(risk.max_leverage)) - notional,
        count=risk.positions_max,
        held=tuple(position.symbol for position in held),
        face_entries_hour=mandate.entries_hour_max if budget is None else budget.entries_hour,
        face_entries_day=mandate.entries_day_max if budget is None else budget.entries_day,
        face_risk_day_usdt=day if budget is None else capital * budget.risk_day_fraction,
        face_notional_day_usdt=None if budget is None else budget.notional_day_usdt,
    )


def _on_grid(ticket: Ticket, now: Situation) -> _Prices:
    """Every price on the tick grid, rounded away from harm: an entry is never dearer, a stop never
    nearer, a target never easier than asked."""
    terms, is_buy = now.listing.instrument, ticket.side is Side.BUY

    def rounded(price: Decimal | None, *, up: bool) -> Decimal | None:
        if price is None:
            return None
        on_grid = terms.quantise_price(price, up=up)
        if on_grid <= 0:
            raise UsageError(f"{price:f} is below the smallest price {terms.tick_size:f}")
        return on_grid

    price = rounded(ticket.price, up=not is_buy)
    trigger = rounded(ticket.trigger, up=is_buy)
    stop = rounded(ticket.stop, up=not is_buy)
    target = rounded(ticket.target, up=is_buy)
    touch = _touch(now, ticket.side)
    given = [each for each in (price, trigger) if each is not None]
    entry = (max(given) if is_buy else min(given)) if given else touch
    for each in given or [touch]:
        replace(ticket, stop=stop, target=target).check_prices(each)
    is_maker = ticket.type not in _TAKERS and (touch - entry) * ticket.side.sign > 0
    return _Prices(entry, price, trigger, stop, target, is_maker, touch)


def _touch(now: Situation, side: Side) -> Decimal:
    """The price a market order meets."""
    quote = now.quote
    price = quote.ask if side is Side.BUY else quote.bid
    if price is None or price <= 0:
        raise DataError(
            f"{quote.symbol} has no {'ask' if side is Side.BUY else 'bid'} now",
            hint="the book is empty on that side; wait until somebody quotes",
        )
    return price


@dataclass(frozen=True, slots=True)
class _Sketch:
    """A ticket on its account, before its size and leverage are known."""

    ticket: Ticket
    now: Situation
    strategy: Strategy
    mandate: Mandate
    prices: _Prices

    def leverage(self, held: Decimal) -> int:
        """Whole leverage: as asked, else the highest that keeps liquidation away from the stop."""
        ticket, now, prices, strategy = self.ticket, self.now, self.prices, self.strategy
        highest = now.listing.instrument.leverage_max
        if ticket.leverage is not None:
            if not 1 <= ticket.leverage <= highest:
                raise UsageError(
                    f"--leverage must be 1 to {highest} for {ticket.symbol}; got {ticket.leverage}"
                )
            return ticket.leverage
        tier = tier_of(now, held)
        cap = min(strategy.risk.max_leverage, self.mandate.leverage_max, tier.leverage_max)
        if prices.stop is not None:
            maintenance = float(tier.maintenance_margin) + strategy.costs.taker
            stops = strategy.risk.liquidation_stops
            safe = leverage_cap(float(prices.entry), float(prices.stop), maintenance, stops)
            cap = min(cap, safe)
        return max(1, math.floor(cap))

    def weighed(self, leverage: int) -> Weighed:
        """Size and exposure by the kernels of the step, on a desk that mirrors the account."""
        ticket, now, prices, strategy = self.ticket, self.now, self.prices, self.strategy
        capital = capital_of(now, self.mandate)
        terms = now.listing.instrument
        entry = float(prices.entry)
        worst = float(
            prices.stop or _bankruptcy(ticket.side, now, prices.entry, leverage, strategy)
        )
        asked = _asked(ticket, prices.entry)
        if asked is not None:
            asked = terms.quantise_size(asked)
        rows = SignalRow.rows(1)
        row = rows[0]
        course = _course(now.markets, strategy.costs)
        tick = _last_tick(course)
        row["tick"], row["symbol"], row["side"] = tick, 0, ticket.side.sign
        row["entry"], row["stop"] = entry, worst
        row["limit"] = entry if prices.is_maker else 0.0
        row["notional_scale"] = ticket.notional_scale
        row["risk_fraction"] = 0.0 if ticket.risk_fraction is None else float(ticket.risk_fraction)
        desk = _desk_now(desk_of(course, rows, strategy, float(capital)), now)
        taker = strategy.costs.taker
        payable = max(0.0, float(now.available_usdt)) * leverage / (1.0 + taker * leverage)
        verdict, scale, allowed, loss, total, variance, covariance = call(
            weigh,
            desk,
            tick,
            0.0 if asked is None else float(asked),
            payable / entry,
            step_rules(strategy),
            work_bars=0,
        )
        permitted = _whole(float(allowed), terms)
        chosen = permitted if asked is None else asked
        risk = loss * float(chosen) / max(float(capital), 1e-9)
        return Weighed(
            size=chosen,
            allowed=permitted,
            verdict=Verdict(int(verdict)),
            unit_loss=float(loss),
            worst=worst,
            scale=float(scale),
            is_asked=asked is not None,
            open_risk=float(total),
            portfolio_risk=math.sqrt(max(0.0, variance + 2.0 * risk * covariance + risk * risk)),
            tier=tier_of(now, chosen),
        )

    def plan(self, weighed: Weighed, leverage: int) -> Plan:
        """The plan without its gates."""
        ticket, now, prices, strategy = self.ticket, self.now, self.prices, self.strategy
        capital = capital_of(now, self.mandate)
        terms, entry, chosen = now.listing.instrument, prices.entry, weighed.size
        low, high = _band(ticket, prices, abs(float(entry) - weighed.worst))
        return Plan(
            exchange=now.exchange,
            mode=now.mode,
            simulated=now.simulated,
            symbol=ticket.symbol,
            side=ticket.side,
            type=ticket.type,
            size=chosen,
            contracts=chosen / terms.contract_value,
            notional_usdt=chosen * entry,
            entry=entry,
            price=prices.price,
            trigger=prices.trigger,
            stop=prices.stop,
            target=prices.target,
            target_limit=prices.target if strategy.target.order == "limit" else None,
            leverage=leverage,
            price_min=low,
            price_max=high,
            equity_usdt=capital,
            open_risk_fraction=weighed.open_risk,
            portfolio_risk_fraction=weighed.portfolio_risk,
            scale=weighed.scale,
            confidence=ticket.confidence,
            zone_id=ticket.zone_id,
            signal_ms=ticket.signal_ms,
            quote_ms=now.quote.ts_ms,
            created_ms=now.now_ms,
            expires_ms=now.now_ms + PLAN_LIFE_MS,
            mandate=self.mandate.name,
            gates=(),
            **self._worst_case(weighed, leverage),
        )

    def _worst_case(self, weighed: Weighed, leverage: int) -> dict[str, Any]:
        """What the order costs and may lose, and how far away its liquidation is."""
        prices, strategy = self.prices, self.strategy
        entry, size_ = float(prices.entry), float(weighed.size)
        maintenance = float(weighed.tier.maintenance_margin) + strategy.costs.taker
        liquidation = liquidation_price(self.ticket.side.sign, entry, entry / leverage, maintenance)
        distance = abs(entry - weighed.worst)
        loss = weighed.unit_loss * size_
        fee_in = strategy.costs.maker if prices.is_maker else strategy.costs.taker
        fees = size_ * (fee_in * entry + strategy.costs.taker * weighed.worst)
        has_stop, has_liquidation = prices.stop is not None, liquidation > 0
        reward = None if prices.target is None else abs(float(prices.target) - entry) / distance
        return {
            "margin_usdt": _money(entry * size_ / leverage),
            "risk_usdt": _money(loss),
            "risk_fraction": _share(_money(loss), capital_of(self.now, self.mandate)),
            "fees_usdt": _money(fees),
            "slippage_usdt": _money(max(0.0, loss - size_ * distance - fees)),
            "reward_risk": reward if has_stop else None,
            "liquidation_price": _money(liquidation) if has_liquidation else None,
            "liquidation_stops": (
                abs(entry - liquidation) / distance if has_stop and has_liquidation else None
            ),
        }


def tier_of(now: Situation, held: Decimal) -> PositionTier:
    """The tier that holds a position of this size; a cautious one where tiers are unknown."""
    terms = now.listing.instrument
    for tier in now.tiers:
        if held <= tier.size_max:
            return tier
    if now.tiers:
        return now.tiers[-1]
    return PositionTier(
        symbol=terms.symbol,
        size_min=ZERO,
        size_max=Decimal("Infinity"),
        maintenance_margin=max(terms.maintenance_margin, Decimal(repr(MAINTENANCE_UNKNOWN))),
        leverage_max=min(terms.leverage_max, LEVERAGE_UNKNOWN),
    )


@kernel
def weigh(
    desk: Desk, tick: int, asked: float, payable: float, rules: Any
) -> tuple[float, float, float, float, float, float, float]:
    """What the account says to the desk's one signal, refused or not.

    The verdict, the share exposure leaves of its risk, the base units allowed, what one of them
    loses at the stop, and the risk, variance and covariance of the book beside it. `asked` base
    units, or 0 to size from the signal's risk; `payable` base units that free margin pays for.
    """
    signal = desk.signals[0]
    k = desk.bar_at[signal.symbol * len(desk.tick_ts) + tick]
    symbol = desk.symbols[signal.symbol]
    verdict = refusal(desk, tick, signal, rules)
    equity = desk.account[0].equity
    if asked > 0.0 and equity > 0.0:
        signal.risk_fraction = unit_loss(desk, k, signal, asked, rules) * asked / equity
    scale = exposure_scale(desk, tick, signal, signal.risk_fraction, rules.risk)
    if asked > 0.0:
        leverage = margin_leverage(symbol, signal.entry, signal.stop, rules)
        most = notional_cap(desk, k, signal, leverage, rules) / signal.entry
        allowed = min(most, payable, symbol.size_max)
        loss = unit_loss(desk, k, signal, asked, rules)
    else:
        budget = free_equity(desk) * signal.risk_fraction * scale
        allowed = 0.0
        if budget > 0.0:
            allowed = min(size(desk, k, signal, budget, rules), payable)
        loss = unit_loss(desk, k, signal, max(allowed, symbol.lot), rules)
    total, _, variance, covariance = exposure(desk, tick, signal)
    return float(verdict), scale, allowed, loss, total, variance, covariance


def _asked(ticket: Ticket, entry: Decimal) -> Decimal | None:
    """Base units when the ticket names a size or a value, None when it names a risk."""
    if ticket.size is not None:
        return ticket.size
    return None if ticket.notional_usdt is None else ticket.notional_usdt / entry


def _bankruptcy(
    side: Side, now: Situation, entry: Decimal, leverage: int, strategy: Strategy
) -> float:
    """Where a position without a stop ends: its liquidation, or the smallest price."""
    maintenance = float(tier_of(now, ZERO).maintenance_margin) + strategy.costs.taker
    price = liquidation_price(side.sign, float(entry), float(entry) / leverage, maintenance)
    return max(price, float(now.listing.instrument.tick_size))


@lru_cache(maxsize=4)
def _course(markets: tuple[Market, ...], costs: Costs) -> Course:
    """The candles on one clock; kept, since a session plans many times on the same ones."""
    return lay_course(markets, costs)


def _last_tick(course: Course) -> int:
    """The newest tick at which the order's symbol has a bar."""
    ticks = len(course.tick_ts)
    known = (course.bar_at[:ticks] >= 0).nonzero()[0]
    if len(known) == 0:
        raise DataError(f"{course.markets[0].entry.symbol} has no valid candle to size an order on")
    return int(known[-1])


def _whole(quantity: float, terms: Any) -> Decimal:
    """A quantity as whole lots, exactly; 0 below the minimum. Never rounds up but for dust."""
    return Decimal(terms.quantise_size(Decimal(repr(quantity * (1.0 + 1e-12)))))


def _desk_now(desk: Desk, now: Situation) -> Desk:
    """The desk with the account's positions, resting entries and reserved intents in its slots.

    What is left of an entry that fills is one slot with its position, as if it were filled.
    """
    places = {market.entry.symbol: place for place, market in enumerate(now.markets)}
    held = [position for position in now.positions if position.size != 0]
    waiting = [order for order in now.orders if not order.reduce_only and order.state.is_open]
    reserved = [intent for intent in now.reserved if not _is_shown(intent, now)]
    symbols = [
        *(p.symbol for p in held),
        *(o.symbol for o in waiting),
        *(i.symbol for i in reserved),
    ]
    if unknown := set(symbols) - places.keys():
        raise DataError(f"no candles of {min(unknown)}, which the account holds or has ordered")
    positions = PositionRow.rows(len(held) + len(waiting) + len(reserved) + 1)
    rows = iter(positions)
    of_position = {}
    for position in held:
        row = next(rows)
        row["status"], row["symbol"] = OPEN, places[position.symbol]
        row["side"] = 1 if position.size > 0 else -1
        row["quantity"] = float(abs(position.size))
        row["entry"] = float(position.entry_price)
        row["stop"] = float(stop_of(position, now.protections))
        row["margin"] = float(position.margin_usdt or 0)
        of_position[position.symbol, int(row["side"])] = row
    for order in waiting:
        price, left = _price_of(order, now), float(order.remaining)
        margin = price * left / (order.leverage or 1)
        filling = of_position.get((order.symbol, order.side.sign))
        if filling is not None and order.stop is not None:
            whole = filling["quantity"] + left
            filling["entry"] = (filling["entry"] * filling["quantity"] + price * left) / whole
            filling["quantity"] = whole
            filling["margin"] += margin
            continue
        row = next(rows)
        row["status"], row["symbol"] = RESTING, places[order.symbol]
        row["side"] = order.side.sign
        row["budget"] = _risk_of_order(order, now)
        row["margin"] = margin
    for intent in reserved:
        row = next(rows)
        row["status"], row["symbol"] = RESTING, places[intent.symbol]
        row["side"] = intent.side.sign
        row["budget"] = float(intent.risk_usdt)
        row["margin"] = float(intent.notional_usdt) / (intent.leverage or 1)
    account = desk.account
    account[0]["slots_used"] = len(positions) - 1
    account[0]["entries_today"] = now.entries_today
    return desk._replace(positions=positions)


def _is_shown(intent: Intent, now: Situation) -> bool:
    """The exchange shows what became of it: its order, or the position it opened."""
    if any(order.client_id == intent.client_id for order in now.orders):
        return True
    is_there = any(row.symbol == intent.symbol and row.size for row in now.positions)
    return intent.state is IntentState.ACCEPTED and is_there


def _price_of(order: Order, now: Situation) -> float:
    """What an order may pay; an order without a price pays what the market asks by then."""
    given = [float(each) for each in (order.price, order.trigger) if each is not None]
    return max(given) if given else float(now.quote.last)


def _risk_of_order(order: Order, now: Situation) -> float:
    """What a resting entry loses at its stop; all of its value when it carries none."""
    price = _price_of(order, now)
    distance = price if order.stop is None else abs(price - float(order.stop))
    return distance * float(order.remaining)


def stop_of(position: Position, protections: tuple[Protection, ...]) -> Decimal:
    """The stop that covers a position; its liquidation price, or all of it, when none does."""
    stops = [
        row.stop
        for row in protections
        if row.symbol == position.symbol
        and row.stop is not None
        and row.side is position.closing_side
        and row.state.is_open
        and (row.size is None or row.size >= abs(position.size))
    ]
    if stops:
        return max(stops) if position.size > 0 else min(stops)
    if position.liquidation_price is not None:
        return position.liquidation_price
    return ZERO if position.size > 0 else 2 * position.entry_price


def _risk_at_stop(position: Position, protections: tuple[Protection, ...]) -> Decimal:
    stop = stop_of(position, protections)
    lost = (position.entry_price - stop) * position.size
    return max(ZERO, lost)


def _band(ticket: Ticket, prices: _Prices, distance: float) -> tuple[Decimal, Decimal]:
    """Between which prices of the touch the plan still holds.

    A taker may pay a tenth of the stop distance more, or half of it less. What rests has its own
    price; there the touch must only stay near, and on the right side of the stop.
    """
    sign, touch = ticket.side.sign, prices.touch
    if prices.is_maker or prices.trigger is not None:
        dear = cheap = touch * RESTING_MOVE
        if prices.stop is not None:
            cheap = min(cheap, max(ZERO, (touch - prices.stop) * sign))
    else:
        touch = prices.touch if prices.price is None else prices.entry
        dear, cheap = _money(distance) * DEAR_SHARE, _money(distance) * CHEAP_SHARE
    return (touch - cheap, touch + dear) if sign > 0 else (touch - dear, touch + cheap)


def _money(value: float) -> Decimal:
    return Decimal(f"{value:.12g}")


def _share(part: Decimal, whole: Decimal) -> Decimal:
    return _money(float(part / whole)) if whole > 0 else Decimal(1)
