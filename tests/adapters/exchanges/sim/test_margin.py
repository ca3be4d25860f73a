"""Margin and liquidation against BloFin's own sample positions and the specification's oracles."""

from decimal import Decimal
from itertools import pairwise

import pytest

from blofin_cli.adapters.exchanges.sim import margin
from blofin_cli.adapters.exchanges.sim.margin import terms_of
from blofin_cli.adapters.exchanges.sim.records import Tier
from blofin_cli.adapters.exchanges.sim.rows import long
from blofin_cli.core.instruments import instrument
from tests.adapters.exchanges.sim.driver import ALL, COIN, D, Desk, tick

TAKER = D("0.0006")
ANNOUNCED = (
    Tier(D(0), D(1_000), D("0.0065"), 50),
    Tier(D(1_000), D(2_500), D("0.01"), 40),
    Tier(D(2_500), D(22_000), D("0.015"), 20),
)


def test_isolated_sample_of_the_documentation_to_the_last_digit():
    """ETH long, 1 contract of 0.1: every figure of BloFin's example row."""
    desk = Desk(
        price="1591.8", contract_value=D("0.1"), tick_size=D("0.01"), lot_size=D("0.1"),
        min_size=D("0.1"),
    )  # fmt: skip
    desk.venue.set_leverage(COIN, "isolated", "net", 3)
    desk.venue.on_tick(tick("1591.8", ask=D("1591.8"), bid=D("1591.7")))
    desk.order("buy 1 market")
    desk.venue.on_tick(tick("1591.69"))
    position = desk.account.positions[COIN, "net"]
    health = desk.account.health(position)
    assert position.margin == D("53.06")
    assert health.profit == D("-0.011")
    assert health.maintenance == D("0.636676")
    assert long(health.profit_ratio) == "-0.000207312476441764"
    assert long(health.ratio) == "72.453752328329172684"
    assert long(health.liquidation) == "1066.104078762306610407"


def test_cross_sample_of_the_documentation():
    """BCH short, 290 contracts of 0.01: the wallet takes the margin's place."""
    units, rate = D("2.9"), D("0.01") + TAKER
    wallet = D("172426.851188979265788635") * units * 1889 * rate - units
    price = margin.liquidation_price(-1, D(1890), wallet / units, rate)
    assert price == pytest.approx(D("3418227.5995422594801"), rel=Decimal("1e-15"))


@pytest.mark.parametrize(
    ("direction", "wanted"), [(1, "54249.547920433996"), (-1, "65697.790165239896")]
)
def test_ten_times_leverage_on_one_coin(direction, wanted):
    """60,000 at 10x with a maintenance rate of 0.004."""
    price = margin.liquidation_price(direction, D(60_000), D(6_000), D("0.004") + TAKER)
    assert price == pytest.approx(D(wanted), rel=Decimal("1e-15"))


@pytest.mark.parametrize(
    ("contracts", "below", "above"),
    [
        # The specification misprints the first long and the second short; these are its formula's.
        (1_000, "90.643569342330547", "109.224506007347830"),
        (2_500, "90.964220739842329", "108.846229962398575"),
        (3_000, "91.426249492076392", "108.310358408822371"),
    ],
)
def test_tier_of_the_whole_position_decides(contracts, below, above):
    """E 100 at 10x under the tiers BloFin announced on 2024-06-28."""
    rate = margin.tier_of(ANNOUNCED, D(contracts)).maintenance + TAKER
    for direction, wanted in ((1, below), (-1, above)):
        price = margin.liquidation_price(direction, D(100), D(10), rate)
        assert price == pytest.approx(D(wanted), rel=Decimal("1e-15"))


@pytest.mark.parametrize("symbol", ["BTC-USDT", "ETH-USDT", "LTC-USDT", "ADA-USDT"])
def test_tiers_only_ever_restrict(symbol):
    """Larger positions: more maintenance, less leverage, no hole between tiers."""
    tiers = terms_of(instrument(symbol)).tiers
    for one, two in pairwise(tiers):
        assert one.size_max == two.size_min < two.size_max
        assert one.maintenance < two.maintenance
        assert one.leverage_max >= two.leverage_max >= 1


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_liquidation_happens_at_its_price_and_takes_the_margin(side):
    """One tick before nothing; at the price the whole isolated margin is gone."""
    desk = Desk()
    order = desk.order(f"{side} 10 market")
    position = desk.account.positions[COIN, "net"]
    staked, fee = position.margin, order.fee
    price = desk.account.health(position).liquidation
    direction = position.direction
    nearest = int(price) + (1 if direction > 0 else 0)
    desk.prints(nearest)
    assert desk.held
    desk.prints(nearest - direction)
    assert desk.held == 0
    assert desk.account.balance == ALL.balance - staked - fee
    (closed,) = desk.account.closed
    assert closed.state == "liquidated"
    last = list(desk.venue.orders.known.values())[-1]
    assert last.category == "full_liquidation"


def test_nonsense_print_liquidates_nobody():
    """The mark is the middle of three prints unless one is given."""
    desk = Desk()
    desk.order("buy 10 market")
    for price in (1000, 100, 1000):
        desk.venue.on_tick(tick(price, desk.venue.now_ms + 1, mark=None))
    assert desk.held == 10
