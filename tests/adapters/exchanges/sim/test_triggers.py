"""Stops, targets and trigger orders: when they wait, when they act, what is left of them."""

from dataclasses import replace

import pytest

from blofin_cli.adapters.exchanges.sim.records import (
    WHOLE,
    AlgoRequest,
    Protection,
    TpslRequest,
    VenueError,
)
from tests.adapters.exchanges.sim.driver import ALL, COIN, D, Desk, bracket, tick


def tpsl(side="sell", size=5, stop=None, target=None, **fields):
    """A TP/SL request."""
    given = {"inst_id": COIN, "margin_mode": "isolated", "reduce_only": True}
    return TpslRequest(
        side=side, size=D(size), protection=bracket(stop, target), **(given | fields)
    )


def algo(text, trigger, **fields):
    """A trigger order: `buy 5`, at market unless a price follows."""
    side, size, *price = text.split()
    given = {
        "inst_id": COIN, "margin_mode": "isolated", "side": side, "size": D(size),
        "trigger_price": D(trigger), "order_price": D(price[0]) if price else None,
    }  # fmt: skip
    return AlgoRequest(**(given | fields))


# Entry, stop, target, prints, what is held at the end, category of the closing order.
TABLE = [
    ("buy 5 market", 950, 1100, [960, 951], 5, None),
    ("buy 5 market", 950, 1100, [950], 0, "sl"),
    ("buy 5 market", 950, 1100, [940], 0, "sl"),  # a gap: the stop still acts, at the book
    ("buy 5 market", 950, 1100, [1099], 5, None),
    ("buy 5 market", 950, 1100, [1100], 0, "tp"),
    ("sell 5 market", 1050, 900, [1049], -5, None),
    ("sell 5 market", 1050, 900, [1050], 0, "sl"),
    ("sell 5 market", 1050, 900, [900], 0, "tp"),
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_attached_bracket_acts_as_the_table_says(row):
    """The entry carries its stop and target from its fill on."""
    entry, stop, target, prints, held, category = row
    desk = Desk()
    desk.order(entry, protection=bracket(stop, target))
    assert len(desk.venue.triggers.tpsl_live) == 1
    desk.prints(*prints)
    assert desk.held == held
    closing = [o for o in desk.venue.orders.known.values() if o.category in {"tp", "sl"}]
    assert [o.category for o in closing] == ([category] if category else [])
    assert bool(desk.venue.triggers.tpsl_live) == (category is None)


def test_print_that_fills_an_entry_and_passes_its_stop_does_both():
    """Down through the limit and the stop at once: in, then out, never unprotected."""
    desk = Desk()
    desk.order("buy 5 limit 990", protection=bracket(950, 1100))
    desk.prints(940)
    assert desk.held == 0
    assert [side for side, _, _ in desk.fills] == ["buy", "sell"]


def test_waiting_entry_has_no_tpsl_order_yet():
    """Attached prices are fields of the order until it fills."""
    desk = Desk()
    order = desk.order("buy 5 limit 900", protection=bracket(850, 1100))
    assert not desk.venue.triggers.tpsl_live
    assert order.protection.sl_trigger == 850


def test_stop_covers_what_is_filled():
    """A partly filled entry has a stop of that size; it grows with each fill."""
    desk = Desk(replace(ALL, participation=D("0.2")))
    order = desk.order("buy 5 limit 990", protection=bracket(900, 1100))
    desk.prints(989, size=10)
    (stop,) = desk.venue.triggers.tpsl_live.values()
    assert stop.size == order.filled == 2
    desk.prints(989, size=10)
    assert stop.size == 4
    desk.venue.orders.cancel(order)
    assert (stop.size, order.state) == (4, "partially_canceled")


def test_stop_may_wait_for_the_end_of_its_entry():
    """The other reading of what BloFin leaves undocumented."""
    desk = Desk(replace(ALL, participation=D("0.2"), attach_at_first_fill=False))
    order = desk.order("buy 5 limit 990", protection=bracket(900, 1100))
    desk.prints(989, size=10)
    assert not desk.venue.triggers.tpsl_live
    desk.venue.orders.cancel(order)
    (stop,) = desk.venue.triggers.tpsl_live.values()
    assert stop.size == 2


def test_canceled_stop_does_not_come_back():
    """Further fills of the entry do not revive what the user has canceled."""
    desk = Desk(replace(ALL, participation=D("0.2")))
    desk.order("buy 5 limit 990", protection=bracket(900, 1100))
    desk.prints(989, size=10)
    (stop,) = desk.venue.triggers.tpsl_live.values()
    desk.venue.triggers.cancel(stop)
    desk.prints(989, size=10)
    assert not desk.venue.triggers.tpsl_live


def test_first_trigger_ends_the_other():
    """One id for both; the stop wins when one price reaches both."""
    desk = Desk()
    desk.order("buy 5 market")
    placed = desk.venue.triggers.place_tpsl(tpsl(stop=950, target=1100))
    desk.prints(950)
    assert (placed.state, placed.actual_side, placed.actual_size) == ("effective", "sl", 5)
    assert not desk.venue.triggers.tpsl_live
    with pytest.raises(VenueError, match="102068"):
        desk.venue.triggers.cancel(placed)


def test_target_with_a_price_rests_as_a_limit_order():
    """An order price of its own: no market order."""
    desk = Desk()
    desk.order("buy 5 market", protection=Protection(D(1010), D(1015), None, None))
    desk.prints(1010)
    (resting,) = desk.venue.orders.open.values()
    assert (resting.price, resting.category, resting.request.reduce_only) == (1015, "tp", True)
    desk.prints(1016)
    assert desk.held == 0


def test_whole_position_stop_follows_the_size():
    """Size -1 closes whatever there is by then; a position has one such slot."""
    desk = Desk()
    desk.order("buy 5 market")
    desk.venue.triggers.place_tpsl(tpsl(size=WHOLE, stop=950))
    with pytest.raises(VenueError, match="102114"):
        desk.venue.triggers.place_tpsl(tpsl(size=WHOLE, stop=940))
    desk.order("buy 3 market")
    desk.prints(949)
    assert desk.held == 0


def test_fixed_size_stop_never_closes_more_than_there_is():
    """Part closed by hand: the stop is not resized, and does not flip."""
    desk = Desk()
    desk.order("buy 5 market", protection=bracket(950))
    desk.order("sell 3 market")
    (stop,) = desk.venue.triggers.tpsl_live.values()
    assert stop.size == 5
    desk.prints(949)
    assert (desk.held, stop.actual_size) == (0, 2)


def test_orphan_stays_and_fails_without_a_position():
    """Nothing promises that the exchange tidies up; it may still not open anything."""
    desk = Desk()
    desk.order("buy 5 market", protection=bracket(950))
    desk.venue.close_position(COIN, "isolated", "net", "", "")
    (orphan,) = desk.venue.triggers.tpsl_live.values()
    desk.prints(949)
    assert (orphan.state, desk.held) == ("order_failed", 0)


def test_orphan_is_removed_where_the_rules_say_so():
    """The kind reading of what is undocumented."""
    desk = Desk(replace(ALL, orphans_kept=False))
    desk.order("buy 5 market", protection=bracket(950))
    desk.venue.close_position(COIN, "isolated", "net", "", "")
    assert not desk.venue.triggers.tpsl_live


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (tpsl(stop=1000), "102038"),
        (tpsl(target=1000), "102037"),
        (tpsl(), "152003"),
        (tpsl(size=0, stop=950), "152002"),
        (tpsl(stop="950.5"), "152002"),
        (tpsl(side="buy", stop=1050), "102022"),  # would not reduce a long
        (tpsl(stop=950, position_side="long"), "102089"),
        (tpsl(stop=950, client_order_id="a-b"), "152009"),
    ],
)
def test_tpsl_is_refused_with_blofins_code(request_, code):
    """What has passed already, points the wrong way or is off the grid."""
    desk = Desk()
    desk.order("buy 5 market")
    with pytest.raises(VenueError) as refusal:
        desk.venue.triggers.place_tpsl(request_)
    assert refusal.value.code == code


def test_stop_beyond_the_band_leaves_the_position():
    """A triggered order obeys the price band, so a stop is no guarantee."""
    desk = Desk()
    desk.order("buy 5 market", protection=bracket(950))
    far = tick(950, desk.venue.now_ms + 1, mark=D(1000), bid=D(900), ask=D(951))
    desk.venue.on_tick(far)
    assert desk.held == 5
    last = list(desk.venue.orders.known.values())[-1]
    assert (last.category, last.state) == ("sl", "canceled")


# Trigger order, its trigger, prints, fills it must make.
ALGO = [
    ("buy 5", 1050, [1049], []),
    ("buy 5", 1050, [1050], [("buy", 1051, 5)]),  # above: fires on the way up
    ("buy 5", 950, [1050, 950], [("buy", 951, 5)]),  # below: fires on the way down
    ("sell 5", 950, [949], [("sell", 948, 5)]),
    ("buy 5 1040", 1050, [1050], []),  # a limit order once triggered
    ("buy 5 1040", 1050, [1050, 1039], [("buy", 1040, 5)]),
]


@pytest.mark.parametrize(("text", "trigger", "prints", "fills"), ALGO)
def test_trigger_order_fires_from_the_side_it_was_placed(text, trigger, prints, fills):
    """The direction follows from the last price when it was placed."""
    desk = Desk()
    desk.venue.triggers.place_algo(algo(text, trigger))
    desk.prints(*prints)
    assert desk.fills == fills


def test_triggered_entry_carries_its_bracket():
    """Attached to the trigger order, protecting from the fill on."""
    desk = Desk()
    desk.venue.triggers.place_algo(algo("buy 5", 1050, protection=bracket(1000, 1200)))
    desk.prints(1050, 999)
    assert desk.held == 0
    assert [side for side, _, _ in desk.fills] == ["buy", "sell"]


def test_trigger_order_without_margin_fails_when_it_fires():
    """Accepted, then refused by the engine: order_failed."""
    desk = Desk()
    placed = desk.venue.triggers.place_algo(algo("buy 5000", 1050))
    desk.prints(1050)
    assert (placed.state, desk.fills) == ("order_failed", [])


def test_amended_stop_moves():
    """Later triggers count; one that has passed is refused and changes nothing."""
    desk = Desk()
    desk.order("buy 5 market", protection=bracket(950, 1100))
    (stop,) = desk.venue.triggers.tpsl_live.values()
    with pytest.raises(VenueError, match="102038"):
        desk.venue.triggers.amend_tpsl(stop, bracket(1010, 1100), None)
    desk.venue.triggers.amend_tpsl(stop, bracket(980, 1100), None)
    desk.prints(979)
    assert desk.held == 0
