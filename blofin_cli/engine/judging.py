"""Every condition a planned order must meet, in the order they are asked, refused or not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from blofin_cli.core.journal import ALL_SYMBOLS
from blofin_cli.core.ledger import Verdict
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.market import Gate
from blofin_cli.core.orders import MarginMode, OrderType, PositionMode
from blofin_cli.core.quotes import PositionTier, Quote
from blofin_cli.core.strategy import Strategy
from blofin_cli.core.tickets import Plan
from blofin_cli.engine.gate import CLOCK_OFFSET_MS_MAX
from blofin_cli.engine.situation import Situation

QUOTE_AGE_MS_MAX = 10_000
QUOTE_AHEAD_MS_MAX = 5_000
SPREAD_FRACTION_MAX = 0.003  # 9.5: no market entries above it
_CROSSES = frozenset({OrderType.MARKET, OrderType.IOC, OrderType.FOK})
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the kernels say of one order.

    Units: `size` chosen and `allowed` at most, base units; `unit_loss` quote currency a base unit
    at `worst`, the price where it is given up; risks are shares of the capital traded with.
    `is_asked`: somebody named the size.
    """

    size: Decimal
    allowed: Decimal
    verdict: Verdict
    unit_loss: float
    worst: float
    scale: float
    is_asked: bool
    open_risk: float
    portfolio_risk: float
    tier: PositionTier


def judge(
    plan: Plan, weighed: Weighed, now: Situation, strategy: Strategy, mandate: Mandate
) -> tuple[Gate, ...]:
    """All gates of a plan."""
    return (
        *_permission_gates(plan, now, mandate),
        *_market_gates(plan, now),
        *_account_gates(plan, weighed, now, strategy, mandate),
        *_size_gates(plan, weighed, now, mandate),
        *_bracket_gates(plan, weighed, now, strategy, mandate),
    )


def _permission_gates(plan: Plan, now: Situation, mandate: Mandate) -> Iterator[Gate]:
    """Who allows it at all: the halt flag, pauses, the mandate."""
    halt = now.halt
    yield _gate(
        "halt", halt is None, halt and f"{halt.face}: {halt.cause}", "not halted",
        "a person clears a halt: blofin resume",
    )  # fmt: skip
    pause = next(
        (
            each
            for each in now.pauses
            if each.symbol in (plan.symbol, ALL_SYMBOLS)
            and (each.until_ms is None or each.until_ms > now.now_ms)
        ),
        None,
    )
    yield _gate(
        "pause", pause is None, pause and f"{pause.face}: {pause.cause}", "not paused",
        "blofin unpause ends a pause",
    )  # fmt: skip
    yield _gate(
        "mode", plan.mode in mandate.modes, str(plan.mode), ", ".join(sorted(mandate.modes)),
        f"modes of the {mandate.name} mandate",
    )  # fmt: skip
    yield _gate(
        "mandate", not mandate.is_expired(now.now_ms), mandate.name, "in force",
        "an expired mandate allows nothing",
    )  # fmt: skip
    if mandate.symbols is not None:
        yield _gate(
            "symbol", mandate.allows_symbol(plan.symbol), plan.symbol,
            ", ".join(sorted(mandate.symbols)), f"symbols of the {mandate.name} mandate",
        )  # fmt: skip


def _market_gates(plan: Plan, now: Situation) -> Iterator[Gate]:
    """What the exchange and its prices must be like."""
    quote = now.quote
    yield _gate(
        "instrument", now.listing.is_live, "live" if now.listing.is_live else "suspended", "live",
        "the exchange trades it",
    )  # fmt: skip
    yield _gate(
        "clock_offset_ms", abs(now.clock_offset_ms) <= CLOCK_OFFSET_MS_MAX, now.clock_offset_ms,
        CLOCK_OFFSET_MS_MAX, "this machine's clock against the exchange",
    )  # fmt: skip
    age_ms = now.now_ms - quote.ts_ms
    yield _gate(
        "quote_age_ms", -QUOTE_AHEAD_MS_MAX <= age_ms <= QUOTE_AGE_MS_MAX, age_ms,
        QUOTE_AGE_MS_MAX, "age of the quote by exchange time",
    )  # fmt: skip
    if plan.type in _CROSSES:
        spread = spread_of(quote)
        yield _gate(
            "spread", spread is not None and spread <= SPREAD_FRACTION_MAX, spread,
            SPREAD_FRACTION_MAX, "spread as a share of price; a wider one wants a limit order",
        )  # fmt: skip
    # A stop entry meets the band of the moment it is triggered, which has moved along by then.
    if now.price_range is not None and plan.trigger is None:
        low, high = now.price_range.price_min, now.price_range.price_max
        price = plan.price or plan.entry
        yield _gate(
            "price_band", price <= high if plan.side.sign > 0 else price >= low, float(price),
            float(high if plan.side.sign > 0 else low), "dearest price the exchange takes now",
        )  # fmt: skip
    if plan.type is OrderType.POST_ONLY and plan.price is not None:
        touch = quote.ask if plan.side.sign > 0 else quote.bid
        rests = touch is None or (touch - plan.price) * plan.side.sign > 0
        yield _gate(
            "post_only", rests, float(plan.price), None if touch is None else float(touch),
            "a price that would trade at once is canceled by the exchange",
        )  # fmt: skip
    if plan.trigger is not None:
        yield _gate(
            "trigger", (plan.trigger - quote.last) * plan.side.sign > 0, float(plan.trigger),
            float(quote.last), "a stop entry waits beyond the last price",
        )  # fmt: skip


def _account_gates(
    plan: Plan, weighed: Weighed, now: Situation, strategy: Strategy, mandate: Mandate
) -> Iterator[Gate]:
    """Modes, counts, and losses so far."""
    follows = "is set before the order is sent, since nothing is open"
    yield _gate(
        "position_mode", now.position_mode is PositionMode.ONE_WAY or now.modes_follow,
        str(now.position_mode), "one_way",
        follows if now.modes_follow else "hedge mode is not supported",
    )  # fmt: skip
    yield _gate(
        "margin_mode", now.margin_mode is MarginMode.ISOLATED or now.modes_follow,
        str(now.margin_mode), "isolated",
        follows if now.modes_follow
        else "the account's margin mode; change it in the exchange's own settings while it is flat",
    )  # fmt: skip
    yield _gate(
        "account", weighed.verdict is Verdict.TRADED, weighed.verdict.name.lower(), "traded",
        "one position a symbol; count of positions and of today's entries",
    )  # fmt: skip
    yield _gate(
        "entries_hour", now.entries_hour < mandate.entries_hour_max, now.entries_hour,
        mandate.entries_hour_max, "entries of the last hour, below the mandate's limit",
    )  # fmt: skip
    yield _gate(
        "entries_day", now.entries_today < mandate.entries_day_max, now.entries_today,
        mandate.entries_day_max, "entries of this UTC day, below the mandate's limit",
    )  # fmt: skip
    yield from _loss_gates(plan, now, strategy, mandate)


def _loss_gates(plan: Plan, now: Situation, strategy: Strategy, mandate: Mandate) -> Iterator[Gate]:
    """What was lost so far together with what this order can lose."""
    risk = strategy.risk
    for name, start, percent in (
        ("day_loss", now.day_start_usdt, risk.day_loss_pct),
        ("week_loss", now.week_start_usdt, risk.week_loss_pct),
        ("drawdown", now.peak_usdt, risk.drawdown_pct),
    ):
        if start is None or start <= 0:
            continue
        lost = float((start - now.equity_usdt + plan.risk_usdt) / start)
        yield _gate(
            name, lost <= percent * 0.01 + _SLACK, lost, percent * 0.01,
            "share of equity lost by now and at this order's stop",
        )  # fmt: skip
    spent = now.risk_today_usdt + plan.risk_usdt
    share = float(spent / plan.equity_usdt) if plan.equity_usdt > 0 else 1.0
    limit = float(mandate.risk_day_fraction_max)
    yield _gate(
        "risk_day", share <= limit + _SLACK, share, limit,
        "risk of all of today's entries, this one included, in the mandate",
    )  # fmt: skip


def _size_gates(plan: Plan, weighed: Weighed, now: Situation, mandate: Mandate) -> Iterator[Gate]:
    """What the instrument, the margin and the mandate let it be."""
    terms = now.listing.instrument
    least = terms.min_size * terms.contract_value
    yield _gate(
        "size", plan.size >= least, float(plan.size), float(least),
        f"base units, rounded down to lots of {terms.lot_size * terms.contract_value:f}; "
        "the value is the smallest order",
    )  # fmt: skip
    yield _gate(
        "size_allowed", plan.size <= weighed.allowed, float(plan.size), float(weighed.allowed),
        "largest size that capital, free margin, market volume and the instrument allow",
    )  # fmt: skip
    cost = float(plan.margin_usdt) + float(plan.fees_usdt) / 2
    yield _gate(
        "margin", cost <= float(now.available_usdt) + _SLACK, cost, float(now.available_usdt),
        "initial margin and entry fee against what is available, USDT",
    )  # fmt: skip
    if mandate.notional_usdt_max is not None:
        yield _gate(
            "notional", plan.notional_usdt <= mandate.notional_usdt_max,
            float(plan.notional_usdt), float(mandate.notional_usdt_max), "in the mandate, USDT",
        )  # fmt: skip


def _bracket_gates(
    plan: Plan, weighed: Weighed, now: Situation, strategy: Strategy, mandate: Mandate
) -> Iterator[Gate]:
    """Risk, stop, liquidation and target."""
    risk, sign = strategy.risk, plan.side.sign
    # An order of a size somebody named is not scaled down behind their back.
    needed = 1.0 - _SLACK if weighed.is_asked else risk.scale_min
    yield _gate(
        "exposure", weighed.scale >= needed, weighed.scale, needed,
        "share of the intended risk that open risk leaves room for",
    )  # fmt: skip
    yield _gate(
        "risk", plan.risk_fraction <= mandate.risk_fraction_max, float(plan.risk_fraction),
        float(mandate.risk_fraction_max), "share of equity lost at the stop, costs included",
    )  # fmt: skip
    stop = None if plan.stop is None else float(plan.stop)
    yield _gate(
        "stop", stop is not None or mandate.allows_no_stop, stop, None,
        "every position has a stop unless the mandate says otherwise",
    )  # fmt: skip
    if plan.stop is not None and plan.type in _CROSSES:
        near = [price for price in (now.quote.bid, now.quote.ask, now.quote.last) if price]
        worst = min(near) if sign > 0 else max(near)
        yield _gate(
            "stop_side", (worst - plan.stop) * sign > 0, float(plan.stop), float(worst),
            "the market has not passed the stop",
        )  # fmt: skip
    if plan.stop is not None:
        stops = plan.liquidation_stops
        yield _gate(
            "liquidation", stops is None or stops >= risk.liquidation_stops - _SLACK, stops,
            risk.liquidation_stops, "distance of liquidation in stop distances",
        )  # fmt: skip
    highest = min(risk.max_leverage, mandate.leverage_max, weighed.tier.leverage_max)
    yield _gate(
        "leverage", plan.leverage <= highest, plan.leverage, highest,
        "settings, mandate and the size's tier",
    )  # fmt: skip
    if plan.target is not None:
        gain = float(abs(plan.target - plan.entry) * plan.size)
        yield _gate(
            "target", gain > float(plan.fees_usdt), gain, float(plan.fees_usdt),
            "gain at the target against fees, USDT",
        )  # fmt: skip


def spread_of(quote: Quote) -> float | None:
    """Spread as a share of the ask; None when a side of the book is empty."""
    if quote.bid is None or quote.ask is None or quote.ask <= 0:
        return None
    return float((quote.ask - quote.bid) / quote.ask)


def _gate(name: str, passed: bool, value: Any, threshold: Any, note: str = "") -> Gate:
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    return Gate(name, bool(passed), value, threshold, note)
