"""Draw the plan of an order: size, worst case, liquidation, exposure, and every gate's verdict.

The same kernels as every bar of a backtest size it and hold it against the account; what is added
here is what only a live exchange can tell: its quote, its price band, its margin and its modes.
Pure: whoever calls has read the exchange.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from blofin_cli.core.compiled import call
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Intent
from blofin_cli.core.ledger import OPEN, RESTING, Desk, PositionRow, SignalRow, Verdict
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.market import Gate
from blofin_cli.core.orders import (
    MarginMode,
    Order,
    OrderType,
    Position,
    PositionMode,
    Protection,
    Side,
)
from blofin_cli.core.quotes import Listing, Mode, PositionTier, PriceRange, Quote
from blofin_cli.core.risk import exposure, leverage_cap, liquidation_price
from blofin_cli.core.strategy import Strategy
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.engine import orders
from blofin_cli.engine.backtest import desk_of, lay_course, step_rules
from blofin_cli.errors import DataError, UsageError

PLAN_LIFE_MS = 120_000
QUOTE_AGE_MS_MAX = 10_000
CLOCK_OFFSET_MS_MAX = 30_000
SPREAD_FRACTION_MAX = 0.003  # 9.5: no market entries above it
RISK_SLACK = Decimal("0.1")  # share by which a plan's risk may still grow until it is placed

_RESTS = frozenset({OrderType.LIMIT, OrderType.POST_ONLY})


@dataclass(frozen=True, kw_only=True, eq=False)
class Situation:
    """What the exchange and the journal say at one moment.

    Units: `leverage` in force, None when unknown; `now_ms` exchange time; `reserved` are intents
    whose orders the exchange may not show yet; `markets` begins with the ticket's symbol and
    holds every symbol of a position or an order.
    """

    exchange: str
    mode: Mode
    simulated: bool
    listing: Listing
    tiers: tuple[PositionTier, ...]
    quote: Quote
    price_range: PriceRange | None
    equity_usdt: Decimal
    available_usdt: Decimal
    leverage: int | None
    margin_mode: MarginMode
    position_mode: PositionMode
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]
    protections: tuple[Protection, ...]
    reserved: tuple[Intent, ...]
    entries_today: int
    markets: tuple[Market, ...]
    clock_offset_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class _Sizing:
    """What the kernels said."""

    size: Decimal
    allowed: Decimal
    verdict: Verdict
    unit_loss: float
    scale: float
    open_risk: float
    portfolio_risk: float


def draw(ticket: Ticket, now: Situation, strategy: Strategy, mandate: Mandate) -> Plan:
    """The plan of a ticket; a gate that refuses is in it and not an error.

    Errors: UsageError when prices contradict each other or a number lies outside what the
    instrument has; DataError when the exchange tells too little to judge.
    """
    if not strategy.risk.limits:
        raise UsageError("orders need the account limits", hint="leave risk.limits on")
    instrument, sign = now.listing.instrument, ticket.side.sign
    price, trigger, stop, target = _on_grid(ticket, now)
    entry = trigger or price or _touch(now.quote, ticket.side)
    _checked(ticket, entry, stop, target)
    leverage = _leverage(ticket, now, entry, stop, strategy)
    maintenance = float(instrument.maintenance_margin) + strategy.costs.taker
    bankrupt = liquidation_price(sign, float(entry), float(entry) / leverage, maintenance)
    worst = float(stop) if stop is not None else max(bankrupt, float(instrument.tick_size))
    sizing = _size(ticket, now, strategy, float(entry), worst)
    size = sizing.size
    notional = size * entry
    maintenance = _maintenance(now, size) + strategy.costs.taker
    liquidation = liquidation_price(sign, float(entry), float(entry) / leverage, maintenance)
    distance = abs(float(entry) - worst)
    loss = sizing.unit_loss * float(size)
    fees = float(size) * strategy.costs.taker * (float(entry) + worst)
    margin = notional / leverage
    plan = Plan(
        exchange=now.exchange,
        mode=now.mode,
        simulated=now.simulated,
        symbol=ticket.symbol,
        side=ticket.side,
        type=ticket.type,
        size=size,
        contracts=size / instrument.contract_value,
        notional_usdt=notional,
        entry=entry,
        price=price,
        trigger=trigger,
        stop=stop,
        target=target,
        target_limit=target if strategy.target.order == "limit" else None,
        leverage=leverage,
        margin_usdt=_money(float(margin)),
        price_min=entry - _band(ticket.side, entry, distance, is_low=True),
        price_max=entry + _band(ticket.side, entry, distance, is_low=False),
        equity_usdt=now.equity_usdt,
        risk_usdt=_money(loss),
        risk_fraction=_money(loss / float(now.equity_usdt)) if now.equity_usdt > 0 else Decimal(1),
        fees_usdt=_money(fees),
        slippage_usdt=_money(max(0.0, loss - float(size) * distance - fees)),
        reward_risk=None if target is None else abs(float(target - entry)) / distance,
        liquidation_price=_money(liquidation) if liquidation > 0 else None,
        liquidation_stops=(
            None if stop is None or liquidation <= 0 else abs(float(entry) - liquidation) / distance
        ),
        open_risk_fraction=sizing.open_risk,
        portfolio_risk_fraction=sizing.portfolio_risk,
        scale=sizing.scale,
        confidence=ticket.confidence,
        zone_id=ticket.zone_id,
        signal_ms=ticket.signal_ms,
        quote_ms=now.quote.ts_ms,
        created_ms=now.now_ms,
        expires_ms=now.now_ms + PLAN_LIFE_MS,
        mandate=mandate.name,
        gates=(),
    )
    from dataclasses import replace

    return replace(plan, gates=tuple(_gates(plan, sizing, now, strategy, mandate)))


def _on_grid(
    ticket: Ticket, now: Situation
) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
    """Price, trigger, stop and target on the tick grid, each rounded away from harm."""
    terms, is_buy = now.listing.instrument, ticket.side is Side.BUY

    def rounded(price: Decimal | None, *, up: bool) -> Decimal | None:
        if price is None:
            return None
        on_grid = terms.quantise_price(price, up=up)
        if on_grid <= 0:
            raise UsageError(f"{price} is below the smallest price {terms.tick_size}")
        return on_grid

    return (
        rounded(ticket.price, up=not is_buy),
        rounded(ticket.trigger, up=is_buy),
        rounded(ticket.stop, up=not is_buy),
        rounded(ticket.target, up=not is_buy),
    )


def _touch(quote: Quote, side: Side) -> Decimal:
    """The price a market order meets."""
    price = quote.ask if side is Side.BUY else quote.bid
    if price is None:
        raise DataError(
            f"{quote.symbol} has no {'ask' if side is Side.BUY else 'bid'} now",
            hint="the book is empty on that side; try a limit order",
        )
    return price


def _checked(ticket: Ticket, entry: Decimal, stop: Decimal | None, target: Decimal | None) -> None:
    from dataclasses import replace

    replace(ticket, stop=stop, target=target).check_prices(entry)


def _leverage(
    ticket: Ticket, now: Situation, entry: Decimal, stop: Decimal | None, strategy: Strategy
) -> int:
    """Whole leverage: as asked, else the highest that keeps liquidation away from the stop."""
    highest = now.listing.instrument.leverage_max
    if ticket.leverage is not None:
        if not 1 <= ticket.leverage <= highest:
            raise UsageError(
                f"--leverage must be 1 to {highest} for {ticket.symbol}; got {ticket.leverage}"
            )
        return ticket.leverage
    cap = min(strategy.risk.max_leverage, float(highest))
    if stop is not None:
        cap = min(cap, _safe_leverage(now, entry, stop, strategy))
    return max(1, math.floor(cap))


def _safe_leverage(now: Situation, entry: Decimal, stop: Decimal, strategy: Strategy) -> float:
    maintenance = float(now.listing.instrument.maintenance_margin) + strategy.costs.taker
    return leverage_cap(float(entry), float(stop), maintenance, strategy.risk.liquidation_stops)


def _size(
    ticket: Ticket, now: Situation, strategy: Strategy, entry: float, worst: float
) -> _Sizing:
    """Size and exposure by the kernels of the step, on a desk that mirrors the account."""
    rules = step_rules(strategy)
    terms = now.listing.instrument
    rows = SignalRow.rows(1)
    row = rows[0]
    course = lay_course(now.markets, strategy.costs)
    tick = len(course.tick_ts) - 1
    row["tick"], row["symbol"], row["side"] = tick, 0, ticket.side.sign
    row["entry"], row["stop"] = entry, worst
    row["limit"] = entry if ticket.type in _RESTS else 0.0
    row["notional_scale"] = ticket.notional_scale
    desk = _desk_now(desk_of(course, rows, strategy, float(now.equity_usdt)), now)
    asked = ticket.size
    if ticket.notional_usdt is not None:
        asked = ticket.notional_usdt / Decimal(repr(entry))
    if asked is not None:
        size = terms.quantise_size(asked)
        row["risk_fraction"] = _unit_loss(desk, tick, float(asked), rules) * float(asked)
        row["risk_fraction"] /= max(float(now.equity_usdt), 1e-9)
    else:
        assert ticket.risk_fraction is not None
        row["risk_fraction"] = float(ticket.risk_fraction)
    intended = float(row["risk_fraction"])
    total, _, variance, covariance = call(exposure_of, desk, tick, work_bars=0)
    quantity = float(call(orders.plan, desk, tick, 0, rules, work_bars=0))
    verdict = Verdict(int(rows[0]["verdict"]))
    allowed = _whole(quantity, terms)
    if asked is None:
        size = allowed
    unit_loss = _unit_loss(desk, tick, float(size) or 1.0, rules)
    risk = unit_loss * float(size) / max(float(now.equity_usdt), 1e-9)
    return _Sizing(
        size,
        allowed,
        verdict,
        unit_loss,
        float(rows[0]["risk_fraction"]) / intended if intended > 0 else 0.0,
        total,
        math.sqrt(max(0.0, variance + 2.0 * risk * covariance + risk * risk)),
    )


def exposure_of(desk: Desk, tick: int) -> tuple[float, float, float, float]:
    """What the book risks beside the desk's one signal."""
    return exposure(desk, tick, desk.signals[0])


def unit_loss_of(desk: Desk, tick: int, quantity: float, rules: Any) -> float:
    """What a base unit of the desk's one signal loses at its stop."""
    k = desk.bar_at[tick]
    return orders.unit_loss(desk, k, desk.signals[0], quantity, rules)


def _unit_loss(desk: Desk, tick: int, quantity: float, rules: Any) -> float:
    return float(call(unit_loss_of, desk, tick, quantity, rules, work_bars=0))


def _whole(quantity: float, terms: Any) -> Decimal:
    """A quantity of whole lots, as the kernels give it, exactly."""
    lot = terms.lot_size * terms.contract_value
    return round(quantity / float(lot)) * lot if quantity > 0 else Decimal(0)


def _desk_now(desk: Desk, now: Situation) -> Desk:
    """The desk with the account's positions, resting entries and reserved intents in its slots."""
    places = {market.entry.symbol: place for place, market in enumerate(now.markets)}
    held = [position for position in now.positions if position.size != 0]
    waiting = [order for order in now.orders if not order.reduce_only]
    seen = {order.client_id for order in now.orders}
    reserved = [intent for intent in now.reserved if intent.client_id not in seen]
    positions = PositionRow.rows(len(held) + len(waiting) + len(reserved) + 1)
    for row, position in zip(positions, held, strict=False):
        row["status"], row["symbol"] = OPEN, places[position.symbol]
        row["side"] = 1 if position.size > 0 else -1
        row["quantity"] = float(abs(position.size))
        row["entry"] = float(position.entry_price)
        row["stop"] = _stop_of(position, now.protections)
        row["margin"] = float(position.margin_usdt or 0)
    for row, order in zip(positions[len(held) :], waiting, strict=False):
        entry = float(order.price or now.quote.last)
        row["status"], row["symbol"] = RESTING, places[order.symbol]
        row["side"] = order.side.sign
        stop = float(order.stop) if order.stop is not None else 0.0
        row["budget"] = abs(entry - stop) * float(order.remaining)
        row["margin"] = entry * float(order.remaining) / (order.leverage or 1)
    for row, intent in zip(positions[len(held) + len(waiting) :], reserved, strict=False):
        row["status"], row["symbol"] = RESTING, places.get(intent.symbol, 0)
        row["side"] = intent.side.sign
        row["budget"] = float(intent.risk_usdt)
    account = desk.account
    account[0]["slots_used"] = len(positions) - 1
    account[0]["entries_today"] = now.entries_today
    return desk._replace(positions=positions)


def _stop_of(position: Position, protections: tuple[Protection, ...]) -> float:
    """The stop that covers a position; the liquidation price, or all of it, when none does."""
    stops = [
        row.stop
        for row in protections
        if row.symbol == position.symbol
        and row.stop is not None
        and row.side is position.closing_side
        and (row.size is None or row.size >= abs(position.size))
    ]
    if stops:
        return float(max(stops) if position.size > 0 else min(stops))
    if position.liquidation_price is not None:
        return float(position.liquidation_price)
    return 0.0 if position.size > 0 else 2.0 * float(position.entry_price)


def _maintenance(now: Situation, size: Decimal) -> float:
    """Maintenance rate of the tier that holds a position of this size."""
    for tier in now.tiers:
        if size <= tier.size_max:
            return float(tier.maintenance_margin)
    return float(
        now.tiers[-1].maintenance_margin if now.tiers else now.listing.instrument.maintenance_margin
    )


def _band(side: Side, entry: Decimal, distance: float, *, is_low: bool) -> Decimal:
    """How far the price may move before the plan is void: a tenth of R the dear way, half cheap."""
    del entry
    is_dear = (side is Side.SELL) == is_low
    share = RISK_SLACK if is_dear else Decimal("0.5")
    return _money(distance) * share


def _money(value: float) -> Decimal:
    return Decimal(f"{value:.8f}").normalize() + 0


def _gates(
    plan: Plan, sizing: _Sizing, now: Situation, strategy: Strategy, mandate: Mandate
) -> list[Gate]:
    """Every condition this order must meet, refused or not, in the order they are asked."""
    terms, risk = now.listing.instrument, strategy.risk
    sign = plan.side.sign
    age_ms = max(0, now.now_ms - now.quote.ts_ms)
    spread = _spread(now.quote)
    gates = [
        _gate("mode", plan.mode in mandate.modes, str(plan.mode), ", ".join(sorted(mandate.modes)),
              f"the {mandate.name} mandate allows these modes"),
        _gate("instrument", now.listing.is_live, "live" if now.listing.is_live else "suspended",
              "live", "the exchange trades it"),
        _gate("quote_age_ms", age_ms <= QUOTE_AGE_MS_MAX, age_ms, QUOTE_AGE_MS_MAX,
              "age of the quote by exchange time"),
        _gate("clock_offset_ms", abs(now.clock_offset_ms) <= CLOCK_OFFSET_MS_MAX,
              now.clock_offset_ms, CLOCK_OFFSET_MS_MAX, "this machine's clock against the exchange"),
        _gate("position_mode", now.position_mode is PositionMode.ONE_WAY, str(now.position_mode),
              "one_way", "hedge mode is not supported"),
        _gate("margin_mode", now.margin_mode is MarginMode.ISOLATED, str(now.margin_mode),
              "isolated", "the account's default margin mode"),
        _gate("account", sizing.verdict in (Verdict.TRADED, Verdict.SIZE, Verdict.EXPOSURE),
              sizing.verdict.name.lower(), "traded", "positions, entries and pauses of the account"),
        _gate("exposure", sizing.scale >= (risk.scale_min if plan.size <= sizing.allowed else 1.0),
              sizing.scale, risk.scale_min, "share of the intended risk that open risk leaves room for"),
        _gate("size", terms.min_size * terms.contract_value <= plan.size, float(plan.size),
              float(terms.min_size * terms.contract_value), "base units, rounded down to lots"),
        _gate("size_allowed", plan.size <= sizing.allowed, float(plan.size), float(sizing.allowed),
              "largest size that margin, volume, exposure and the instrument allow"),
        _gate("risk", plan.risk_fraction <= mandate.risk_fraction_max, float(plan.risk_fraction),
              float(mandate.risk_fraction_max), "share of equity lost at the stop, costs included"),
        _gate("margin", plan.margin_usdt <= now.available_usdt, float(plan.margin_usdt),
              float(now.available_usdt), "initial margin against what is available, USDT"),
        _gate("stop", plan.stop is not None or mandate.allows_no_stop,
              None if plan.stop is None else float(plan.stop), None, "every position has a stop"),
    ]  # fmt: skip
    if mandate.notional_usdt_max is not None:
        gates.append(
            _gate("notional", plan.notional_usdt <= mandate.notional_usdt_max,
                  float(plan.notional_usdt), float(mandate.notional_usdt_max), "the mandate's, USDT")
        )  # fmt: skip
    if plan.stop is not None and plan.liquidation_price is not None:
        inside = (plan.stop - plan.liquidation_price) * sign > 0
        safe = _safe_leverage(now, plan.entry, plan.stop, strategy)
        gates.append(
            _gate("liquidation", inside and plan.leverage <= max(1.0, safe), float(plan.leverage),
                  math.floor(max(1.0, safe)), f"highest leverage with liquidation "
                  f"{risk.liquidation_stops:g} stop distances away")
        )  # fmt: skip
    if plan.type is OrderType.MARKET:
        gates.append(
            _gate("spread", spread <= SPREAD_FRACTION_MAX, spread, SPREAD_FRACTION_MAX,
                  "spread as a share of price; wider ones want a limit order")
        )  # fmt: skip
    if plan.price is not None and now.price_range is not None:
        low, high = now.price_range.price_min, now.price_range.price_max
        gates.append(
            _gate("price_band", low <= plan.price <= high, float(plan.price), f"{low} to {high}",
                  "prices the exchange takes now")
        )  # fmt: skip
    if plan.target is not None:
        gain = abs(plan.target - plan.entry) * plan.size
        gates.append(
            _gate("target", gain > plan.fees_usdt, float(gain), float(plan.fees_usdt),
                  "gain at the target against fees, USDT")
        )  # fmt: skip
    return gates


def _gate(name: str, passed: bool, value: Any, threshold: Any, note: str) -> Gate:
    return Gate(name, bool(passed), value, threshold, note)


def _spread(quote: Quote) -> float:
    if quote.bid is None or quote.ask is None or quote.ask <= 0:
        return math.inf
    return float((quote.ask - quote.bid) / quote.ask)
