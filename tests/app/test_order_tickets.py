"""What a zone or a signal becomes as an order."""

from decimal import Decimal

import pytest

from blofin_cli.app.commands.order import OrderRequest, signal_ticket, zone_ticket
from blofin_cli.core.market import Action, Kind, Pattern, Signal, Timeframe, Zone, ZoneState
from blofin_cli.core.orders import OrderType, Side
from blofin_cli.core.strategy import build_strategy
from blofin_cli.errors import UsageError

BTC = "BTC-USDT"


def zone(kind: Kind, proximal: float, distal: float) -> Zone:
    return Zone(
        id="z1", symbol=BTC, timeframe=Timeframe.H1, kind=kind, pattern=Pattern.DBR,
        proximal=proximal,
        distal=distal, base_start_ms=0, base_end_ms=0, born_ms=0, state=ZoneState.FRESH, touches=0,
        freshness=1.0, strength=70.0, confidence=70.0, score={}, ended_ms=None, atr=100.0,
        departure_atr=2.0, penetration=0.0, distance_atr=1.0,
    )  # fmt: skip


def signal(action: Action) -> Signal:
    return Signal(
        symbol=BTC, ts_ms=5, action=action, confidence=61.0, zone_id="z1", entry=60_000.0,
        stop=59_000.0, target=64_000.0, reward_risk=4.0, cost_r=0.1, risk_fraction=0.005,
        quantity=0.05, gates=[],
    )  # fmt: skip


def asked(**words) -> OrderRequest:
    return OrderRequest(symbol=BTC, **words)


@pytest.mark.parametrize(
    ("kind", "distal", "side", "stop", "target"),
    [
        (Kind.DEMAND, 900.0, Side.BUY, 750, 1750),
        (Kind.SUPPLY, 1100.0, Side.SELL, 1250, 250),
    ],
)
def test_zone_becomes_a_limit_at_its_near_edge(kind, distal, side, stop, target):
    """Stop buf ATRs beyond the far edge, target rr stop distances away, risk of the strategy."""
    strategy = build_strategy({"target.rr": 3})
    made = zone_ticket(asked(zone="z1"), zone(kind, 1000.0, distal), strategy)
    assert (made.side, made.type, made.price) == (side, OrderType.LIMIT, Decimal(1000))
    assert (made.stop, made.target) == (stop, target)
    assert made.risk_fraction == Decimal("0.005")
    assert (made.zone_id, made.confidence) == ("z1", 70.0)


def test_signal_becomes_a_market_order():
    """Its own stop, target and risk; the zone and the moment travel with it."""
    made = signal_ticket(asked(signal="z1"), signal(Action.BUY))
    assert (made.side, made.type, made.price) == (Side.BUY, OrderType.MARKET, None)
    assert (made.stop, made.target) == (Decimal("59000.0"), Decimal("64000.0"))
    assert (made.risk_fraction, made.signal_ms) == (Decimal("0.005"), 5)


def test_size_may_be_named_all_the_same():
    """Who names a size gets it."""
    made = signal_ticket(asked(signal="z1", size="0.02"), signal(Action.BUY))
    assert (made.size, made.risk_fraction) == (Decimal("0.02"), None)


@pytest.mark.parametrize("words", [{"stop": "1"}, {"side": "buy"}, {"target": "1"}, {"price": "1"}])
def test_signal_brings_its_own_prices(words):
    """A stop beside a signal would be a third opinion."""
    with pytest.raises(ValueError, match="brings its own"):
        asked(signal="z1", **words)


def test_signal_and_zone_contradict():
    """One or the other."""
    with pytest.raises(ValueError, match="contradict"):
        asked(signal="z1", zone="z1")


def test_risk_above_the_hard_cap_is_refused():
    """2 % whatever was asked."""
    with pytest.raises(UsageError, match="at most 2%"):
        signal_ticket(asked(signal="z1", risk="2.1%"), signal(Action.BUY))
