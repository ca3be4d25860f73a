"""An account at one moment, made by hand: what planning is judged on, changed by keyword."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from blofin_cli.core.candles import Candles
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Intent, IntentState, Purpose
from blofin_cli.core.mandate import BUILT_IN, Mandate
from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.orders import (
    MarginMode,
    Order,
    OrderState,
    OrderType,
    Position,
    PositionMode,
    Protection,
    Side,
)
from blofin_cli.core.quotes import Listing, Mode, PositionTier, PriceRange, Quote
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.engine.planning import Situation, draw

D = Decimal
BTC, ETH = "BTC-USDT", "ETH-USDT"
NOW_MS = 1_767_225_600_000
PRICE = 60_000.0
DEFAULT = build_strategy({})


def terms(symbol: str = BTC, **changes: Any) -> Instrument:
    """BloFin's BTC contract."""
    given: dict[str, Any] = {
        "symbol": symbol, "contract_value": D("0.001"), "lot_size": D("0.1"),
        "min_size": D("0.1"), "tick_size": D("0.1"), "leverage_max": 150,
        "maintenance_margin": D("0.004"), "market_size_max": D(100_000),
        "limit_size_max": D(1_000_000), "source": "made for a test",
    }  # fmt: skip
    return Instrument(**(given | changes))


def market(symbol: str = BTC, price: float = PRICE, bars: int = 200, **changes: Any) -> Market:
    """Calm candles at a price, with so much volume that it limits nothing."""
    step = Timeframe.M15.ms
    last = NOW_MS // step * step - step
    ts = np.arange(last - (bars - 1) * step, last + step, step, dtype=np.int64)
    wave = price * (1 + 1e-4 * np.sin(np.arange(bars)))
    high, low = wave * 1.0002, wave * 0.9998
    volume = np.full(bars, 1e9 / price)
    candles = Candles(symbol, Timeframe.M15, ts, wave, high, low, wave, volume)
    return Market(candles, terms(symbol, **changes))


def quote(price: object = PRICE, symbol: str = BTC, **changes: Any) -> Quote:
    """A spread of 0.2 around a price."""
    last = D(str(price))
    given: dict[str, Any] = {
        "symbol": symbol, "last": last, "bid": last - D("0.1"), "ask": last + D("0.1"),
        "ts_ms": NOW_MS - 200, "mark": last,
    }  # fmt: skip
    return Quote(**(given | changes))


def situation(**changes: Any) -> Situation:
    """A flat demo account of 10,000 USDT looking at BTC."""
    listing = Listing(instrument=terms(), is_live=True)
    given: dict[str, Any] = {
        "exchange": "blofin", "mode": Mode.DEMO, "simulated": False, "listing": listing,
        "tiers": (tier(),), "quote": quote(),
        "price_range": PriceRange(price_min=D(57_000), price_max=D(63_000)),
        "equity_usdt": D(10_000), "available_usdt": D(10_000), "leverage": 3,
        "margin_mode": MarginMode.ISOLATED, "position_mode": PositionMode.ONE_WAY,
        "positions": (), "orders": (), "protections": (), "reserved": (), "entries_today": 0,
        "markets": (market(),), "clock_offset_ms": 3, "now_ms": NOW_MS,
    }  # fmt: skip
    return Situation(**(given | changes))


def tier(symbol: str = BTC, **changes: Any) -> PositionTier:
    """One tier for every size."""
    given: dict[str, Any] = {
        "symbol": symbol, "size_min": D(0), "size_max": D(1_000_000),
        "maintenance_margin": D("0.004"), "leverage_max": 150,
    }  # fmt: skip
    return PositionTier(**(given | changes))


def ticket(side: str = "buy", **changes: Any) -> Ticket:
    """A market order with a stop 1 % away, risking 0.5 %."""
    sign = 1 if side == "buy" else -1
    given: dict[str, Any] = {
        "symbol": BTC, "side": Side(side), "type": OrderType.MARKET,
        "stop": D(60_000) - sign * 600, "risk_fraction": D("0.005"),
    }  # fmt: skip
    given |= changes
    if "size" in changes or "notional_usdt" in changes:
        given.pop("risk_fraction")
    return Ticket(**given)


def drawn(
    wish: Ticket | None = None,
    now: Situation | None = None,
    strategy: Strategy = DEFAULT,
    mandate: Mandate = BUILT_IN,
    **changes: Any,
) -> Plan:
    """The plan of a ticket; keywords change the mandate."""
    return draw(wish or ticket(), now or situation(), strategy, replace(mandate, **changes))


def refused(plan: Plan) -> list[str]:
    """Names of the gates that say no."""
    return [gate.name for gate in plan.gates if not gate.passed]


def position(size: object, entry: object = PRICE, symbol: str = ETH, **changes: Any) -> Position:
    """An isolated position at 3x."""
    amount, price = D(str(size)), D(str(entry))
    given: dict[str, Any] = {
        "symbol": symbol, "position_id": f"p{symbol}", "size": amount, "available": amount,
        "entry_price": price, "mark_price": price, "leverage": 3,
        "margin_mode": MarginMode.ISOLATED, "margin_usdt": abs(amount) * price / 3,
    }  # fmt: skip
    return Position(**(given | changes))


def stop_order(held: Position, price: object, **changes: Any) -> Protection:
    """A stop for the whole of a position."""
    given: dict[str, Any] = {
        "symbol": held.symbol, "protection_id": f"t{held.symbol}", "client_id": "",
        "side": held.closing_side, "state": OrderState.LIVE, "size": None, "stop": D(str(price)),
    }  # fmt: skip
    return Protection(**(given | changes))


def resting(side: str, size: object, price: object, symbol: str = ETH, **changes: Any) -> Order:
    """A limit entry that waits."""
    given: dict[str, Any] = {
        "symbol": symbol, "order_id": f"o{symbol}", "client_id": "", "side": Side(side),
        "type": OrderType.LIMIT, "state": OrderState.LIVE, "size": D(str(size)), "filled": D(0),
        "price": D(str(price)), "leverage": 3,
    }  # fmt: skip
    return Order(**(given | changes))


def intent(risk: object = 50, symbol: str = ETH, **changes: Any) -> Intent:
    """An entry that was written down and perhaps sent."""
    given: dict[str, Any] = {
        "client_id": "c1", "session_id": "s", "key": "k", "account": "blofin-demo",
        "symbol": symbol, "purpose": Purpose.ENTRY, "side": Side.BUY, "type": OrderType.MARKET,
        "size": D(1), "risk_usdt": D(str(risk)), "notional_usdt": D(3_000),
        "state": IntentState.RESERVED, "face": "cli", "data_ms": NOW_MS, "created_ms": NOW_MS,
        "updated_ms": NOW_MS, "leverage": 3,
    }  # fmt: skip
    return Intent(**(given | changes))
