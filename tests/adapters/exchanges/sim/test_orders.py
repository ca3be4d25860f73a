"""Orders and the fills they must make, as tables. The book stands a tick around each print."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.adapters.exchanges.sim.records import VenueError, VenueRules
from tests.adapters.exchanges.sim.driver import ALL, COIN, START_MS, D, Desk, bracket, tick

# Order, prints after it, fills it must have made, its state.
TABLE = [
    ("buy 5 market", [], [("buy", 1001, 5)], "filled"),
    ("sell 5 market", [], [("sell", 999, 5)], "filled"),
    ("buy 5 limit 990", [991, 990], [], "live"),  # a touch never fills
    ("buy 5 limit 990", [989], [("buy", 990, 5)], "filled"),
    ("sell 5 limit 1010", [1010], [], "live"),
    ("sell 5 limit 1010", [1011], [("sell", 1010, 5)], "filled"),
    ("buy 5 limit 1005", [], [("buy", 1001, 5)], "filled"),  # crosses: better than its limit
    ("buy 5 ioc 1001", [], [("buy", 1001, 5)], "filled"),
    ("buy 5 ioc 1000", [900], [], "canceled"),
    ("buy 5 fok 1001", [], [("buy", 1001, 5)], "filled"),
    ("buy 5 fok 1000", [900], [], "canceled"),
    ("buy 5 post_only 1001", [], [], "canceled"),
    ("buy 5 post_only 1000", [999], [("buy", 1000, 5)], "filled"),
    ("sell 5 post_only 999", [], [], "canceled"),
]


@pytest.mark.parametrize(("text", "prints", "fills", "state"), TABLE)
def test_order_fills_as_the_table_says(text, prints, fills, state):
    """One order, a few prints, these fills."""
    desk = Desk()
    order = desk.order(text)
    desk.prints(*prints)
    assert desk.fills == fills
    assert order.state == state


def test_market_order_walks_the_book_and_is_cut_at_the_band():
    """Thin levels: each costs more; beyond the price band nothing is bought."""
    desk = Desk()
    desk.venue.on_tick(tick(1000, desk.venue.now_ms, depth=D(1)))
    order = desk.order("buy 9 market")
    prices = [price for _, price, _ in desk.fills]
    assert prices == sorted(prices)
    assert prices[0] == 1001
    assert max(prices) <= 1020
    assert order.state in {"filled", "partially_canceled"}
    assert order.filled == sum(size for _, _, size in desk.fills)


def test_book_stays_thin_until_the_next_print():
    """Two takers of one moment do not get the same lots."""
    desk = Desk()
    desk.venue.on_tick(tick(1000, desk.venue.now_ms, depth=D(1)))
    desk.order("buy 2 market")
    first = list(desk.fills)
    desk.order("buy 2 market")
    assert min(price for _, price, _ in desk.fills[len(first) :]) > first[0][1]


def test_resting_order_gets_its_share_of_each_print():
    """A fifth of ten lots a print, in whole lots."""
    desk = Desk(VenueRules(participation=D("0.2")))
    order = desk.order("buy 5 limit 990")
    desk.prints(989, size=10)
    assert (order.state, order.filled) == ("partially_filled", 2)
    desk.prints(989, size=10)
    desk.prints(989, size=10)
    assert (order.state, order.filled) == ("filled", 5)
    assert [size for _, _, size in desk.fills] == [2, 2, 1]


def test_fill_is_charged_by_who_made_the_price():
    """Taker 0.06 %, maker 0.02 %."""
    desk = Desk()
    assert desk.order("buy 5 market").fee == D("1001") * 5 * D("0.0006")
    order = desk.order("sell 5 limit 1010")
    desk.prints(1011)
    assert order.fee == D("1010") * 5 * D("0.0002")
    assert order.pnl == 5 * (1010 - 1001)


def test_reduce_only_never_flips():
    """Larger than the position: it closes it and ends."""
    desk = Desk()
    desk.order("buy 3 market")
    order = desk.order("sell 9 market", reduce_only=True)
    assert (desk.held, order.state, order.filled) == (0, "partially_canceled", 3)
    with pytest.raises(VenueError, match="102022"):
        desk.order("sell 1 market", reduce_only=True)


def test_resting_reduce_only_follows_the_position():
    """Halving the position halves what may still fill."""
    desk = Desk()
    desk.order("buy 8 market")
    order = desk.order("sell 8 limit 1050", reduce_only=True)
    desk.order("sell 5 market")
    desk.prints(1051)
    assert (desk.held, order.filled) == (0, 3)


def test_one_way_order_larger_than_the_position_flips_it():
    """Closing part and opening part of one order."""
    desk = Desk()
    desk.order("buy 3 market")
    desk.order("sell 10 market")
    assert desk.held == -7
    (closed,) = desk.account.closed
    assert closed.position.pnl == 3 * (999 - 1001)


def test_hedge_mode_keeps_two_positions():
    """A long and a short side by side; each side's opposite only closes."""
    desk = Desk()
    desk.venue.set_position_mode("long_short_mode")
    desk.order("buy 5 market", position_side="long")
    desk.order("sell 4 market", position_side="short")
    desk.order("sell 9 market", position_side="long")
    assert [(p.position_side, p.contracts) for p in desk.account.positions.values()] == [
        ("short", 4)
    ]
    with pytest.raises(VenueError, match="102089"):
        desk.order("buy 1 market")


# Order, keywords, code it must be refused with.
REFUSED = [
    ("buy 0 market", {}, "152002"),
    ("buy 1.5 market", {}, "152002"),
    ("buy 1 limit 990.5", {}, "152002"),
    ("buy 1 limit -1", {}, "152002"),
    ("buy 20000 market", {}, "102015"),
    ("buy 200000 limit 990", {}, "102014"),
    ("buy 5000 market", {}, "103003"),
    ("buy 1 limit 1100", {}, "102064"),
    ("sell 1 limit 900", {}, "102065"),
    ("buy 1 market", {"side": "long"}, "152002"),
    ("buy 1 stop 990", {}, "152002"),
    ("buy 1 market", {"position_side": "long"}, "102089"),
    ("buy 1 market", {"position_side": "up"}, "152002"),
    ("buy 1 market", {"margin_mode": "both"}, "152002"),
    ("buy 1 market", {"inst_id": "NONE-USDT"}, "152014"),
    ("buy 1 market", {"client_order_id": "with-hyphen"}, "152009"),
    ("buy 1 market", {"client_order_id": "x" * 33}, "152009"),
    ("buy 1 market", {"reduce_only": True}, "102022"),
    ("buy 1 market", {"protection": bracket(target=1000)}, "102037"),
    ("buy 1 market", {"protection": bracket(stop=1000)}, "102038"),
    ("sell 1 market", {"protection": bracket(target=1000)}, "102039"),
    ("sell 1 market", {"protection": bracket(stop=1000)}, "102040"),
    ("buy 1 limit 990", {"protection": bracket(stop=990)}, "102051"),
    ("buy 1 limit 990", {"protection": bracket(target=990)}, "102052"),
    ("sell 1 limit 1010", {"protection": bracket(stop=1010)}, "102047"),
    ("sell 1 limit 1010", {"protection": bracket(target=1010)}, "102049"),
    ("buy 1 market", {"protection": bracket(stop="990.5")}, "152002"),
]


@pytest.mark.parametrize(("text", "fields", "code"), REFUSED)
def test_order_is_refused_with_blofins_code(text, fields, code):
    """A refusal changes nothing."""
    desk = Desk()
    with pytest.raises(VenueError) as refusal:
        desk.order(text, **fields)
    assert refusal.value.code == code
    assert not desk.venue.orders.known
    assert desk.account.balance == ALL.balance


def test_client_id_is_taken_for_ever():
    """A duplicate is refused even after the first has ended."""
    desk = Desk()
    desk.order("buy 1 market", client_order_id="one")
    with pytest.raises(VenueError, match="102002"):
        desk.order("buy 1 market", client_order_id="one")


def test_other_margin_mode_beside_an_open_position_is_refused():
    """An instrument has one margin mode at a time."""
    desk = Desk()
    desk.order("buy 1 market")
    with pytest.raises(VenueError):
        desk.order("buy 1 market", margin_mode="cross")


def test_tier_bounds_size_at_high_leverage():
    """Leverage above what the position's tier allows is refused."""
    from blofin_cli.adapters.exchanges.sim.records import Tier

    tiers = (Tier(D(0), D(5), D("0.004"), 100), Tier(D(5), D(1_000), D("0.01"), 20))
    desk = Desk(tiers=tiers)
    desk.venue.set_leverage(COIN, "isolated", "net", 50)
    desk.order("buy 5 market")
    with pytest.raises(VenueError, match="542"):
        desk.order("buy 1 market")


def test_resting_order_holds_margin_until_it_ends():
    """Frozen while it waits, free again when canceled."""
    desk = Desk()
    order = desk.order("buy 10 limit 900")
    assert desk.venue.orders.frozen() == 900
    assert desk.account.available(desk.venue.orders.frozen()) == ALL.balance - 900
    desk.venue.orders.cancel(order)
    assert (order.state, desk.venue.orders.frozen()) == ("canceled", 0)
    with pytest.raises(VenueError, match="102068"):
        desk.venue.orders.cancel(order)


def test_amended_order_keeps_its_id_and_may_execute():
    """A new price that crosses takes liquidity at once; a finished order cannot change."""
    desk = Desk()
    order = desk.order("buy 5 limit 900")
    desk.venue.orders.amend(order, D(1005), None, None)
    assert (order.state, desk.fills) == ("filled", [("buy", 1001, 5)])
    with pytest.raises(VenueError, match="102067"):
        desk.venue.orders.amend(order, D(1000), None, None)


def test_suspended_instrument_takes_no_orders():
    """Neither opening nor closing."""
    desk = Desk()
    desk.order("buy 1 market")
    desk.venue.set_state(COIN, "suspend")
    with pytest.raises(VenueError):
        desk.order("buy 1 market")
    with pytest.raises(VenueError):
        desk.venue.close_position(COIN, "isolated", "net", "", "")


def test_funding_is_paid_at_the_mark_on_utc_boundaries():
    """Longs pay a positive rate; an isolated position pays out of its margin."""
    desk = Desk()
    desk.order("buy 10 market")
    balance, margin = desk.account.balance, desk.account.positions[COIN, "net"].margin
    desk.venue.advance(START_MS + 8 * 3_600_000)
    owed = D("0.0001") * 10 * 1000
    assert desk.account.balance == balance - owed
    assert desk.account.positions[COIN, "net"].margin == margin - owed
    (bill,) = desk.account.bills
    assert (bill.amount, bill.ts_ms) == (-owed, START_MS + 8 * 3_600_000)


def test_funding_follows_the_markets_own_rates():
    """A short receives a positive rate; a missing one is the venue's."""
    desk = Desk()
    desk.venue.load_funding(COIN, {START_MS + 8 * 3_600_000: D("0.001")})
    desk.order("sell 10 market")
    desk.venue.advance(START_MS + 24 * 3_600_000)
    assert [bill.amount for bill in desk.account.bills] == [10, 1, 1]


@pytest.mark.parametrize("what", ["buy 1 market", "buy 1 limit 900"])
def test_settings_are_refused_while_something_is_open(what):
    """Margin mode, position mode and another leverage; the same leverage is no change."""
    desk = Desk()
    desk.order(what)
    for change in (
        lambda: desk.venue.set_margin_mode("isolated"),
        lambda: desk.venue.set_position_mode("long_short_mode"),
        lambda: desk.venue.set_leverage(COIN, "isolated", "net", 20),
    ):
        with pytest.raises(VenueError, match="110019"):
            change()
    desk.venue.set_leverage(COIN, "isolated", "net", 10)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 20),
        st.sampled_from(["market", "limit", "ioc"]),
        st.integers(-8, 8),
        st.booleans(),
        st.integers(-30, 30),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_money_and_contracts_are_conserved(actions):
    """Wallet = start + results - fees + funding; position = sum of fills; no free lot."""
    desk = Desk()
    price = 1000
    for side, size, kind, offset, reduce_only, step in actions:
        limit = f" {price + offset}" if kind != "market" else ""
        with contextlib.suppress(VenueError):
            desk.order(f"{side} {size} {kind}{limit}", reduce_only=reduce_only)
        price = max(500, price + step)
        desk.prints(price, size=7)
    fills = desk.account.fills
    account = desk.account
    earned = sum((f.pnl - f.fee for f in fills), D(0)) + sum(
        (bill.amount for bill in account.bills), D(0)
    )
    assert abs(account.balance - ALL.balance - earned) < D("1e-12")
    assert desk.held == sum((f.size if f.side == "buy" else -f.size for f in fills), D(0))
    for order in desk.venue.orders.known.values():
        assert order.filled <= order.size
        assert order.frozen == 0 or order.is_open
