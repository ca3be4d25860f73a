"""A plan: what it sizes, what it refuses, and that its words cannot be changed unseen."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.core.compiled import call
from blofin_cli.core.journal import Halt, IntentState, Pause, client_id_of
from blofin_cli.core.ledger import SignalRow
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.orders import MarginMode, OrderState, OrderType, PositionMode, Side
from blofin_cli.core.quotes import Listing, Mode, PriceRange
from blofin_cli.core.risk import loss_per_unit
from blofin_cli.core.strategy import build_strategy
from blofin_cli.core.tickets import Ticket, plan_of
from blofin_cli.engine import orders
from blofin_cli.engine.backtest import desk_of, lay_course, step_rules
from blofin_cli.engine.planning import room
from blofin_cli.errors import DataError, UsageError
from tests.dealing import (
    BTC,
    DEFAULT,
    ETH,
    NOW_MS,
    D,
    drawn,
    intent,
    market,
    position,
    quote,
    refused,
    resting,
    situation,
    stop_order,
    terms,
    ticket,
    tier,
)


def with_eth(**changes):
    """The account with something in ETH."""
    return situation(markets=(market(), market(ETH, 3_000.0)), **changes)


def test_plan_of_a_calm_account_passes_every_gate():
    """The plain case: allowed, whole lots, and its loss inside the budget."""
    plan = drawn()
    assert plan.allowed, refused(plan)
    assert plan.entry == D("60000.1")
    assert plan.contracts % D("0.1") == 0
    assert plan.size == plan.contracts * D("0.001")
    assert D("49") < plan.risk_usdt <= D(50)
    assert plan.leverage == 3
    assert plan.margin_usdt == pytest.approx(plan.notional_usdt / 3)


def test_size_is_that_of_the_step_on_the_same_desk():
    """One sizing for backtest and order: the kernel the step calls gives the same base units."""
    now, plan = situation(), drawn()
    course = lay_course(now.markets, DEFAULT.costs)
    rows = SignalRow.rows(1)
    rows["tick"], rows["side"] = len(course.tick_ts) - 1, 1
    rows["entry"], rows["stop"] = 60000.1, 59400.0
    rows["risk_fraction"], rows["notional_scale"] = 0.005, 1.0
    desk = desk_of(course, rows, DEFAULT, 10_000.0)
    tick = len(course.tick_ts) - 1
    quantity = call(orders.plan, desk, tick, 0, step_rules(DEFAULT), work_bars=0)
    assert float(plan.size) == pytest.approx(quantity, rel=1e-12)


@pytest.mark.parametrize(
    ("equity", "risk", "side", "entry", "stop", "settings_", "contracts", "lost"),
    [
        (10_000, "0.01", "buy", "60000", "59400", {}, "150.2", 99.9505),
        (50, "0.005", "buy", "60000", "57000", {"costs.maker": 0.0006}, "0", 0.0),
    ],
)
def test_sizes_of_the_specification(equity, risk, side, entry, stop, settings_, contracts, lost):
    """Known answers of section 13.2: maker in, taker out, slippage 3 bp."""
    strategy = build_strategy({"costs.slippage": "fixed", "costs.floor_major_bps": 3} | settings_)
    now = situation(equity_usdt=D(equity), available_usdt=D(equity), quote=quote(D(entry) + 10))
    wish = ticket(side, type=OrderType.LIMIT, price=D(entry), stop=D(stop), risk_fraction=D(risk))
    plan = drawn(wish, now, strategy)
    assert plan.contracts == D(contracts)
    assert float(plan.risk_usdt) == pytest.approx(lost, abs=1e-4)
    assert ("size" in refused(plan)) == (contracts == "0")


@given(
    equity=st.floats(20, 1e6),
    risk=st.decimals("0.0005", "0.01", places=4),
    distance=st.floats(0.002, 0.3),
    side=st.sampled_from(["buy", "sell"]),
    lot=st.sampled_from(["0.1", "1", "10"]),
)
@settings(max_examples=60, deadline=None)
def test_loss_at_the_stop_never_exceeds_the_budget(equity, risk, distance, side, lot):
    """Whatever the lot, the equity and the distance: rounding never adds risk."""
    sign = 1 if side == "buy" else -1
    listing = Listing(instrument=terms(lot_size=D(lot), min_size=D(lot)), is_live=True)
    money = D(repr(round(equity, 2)))
    now = situation(
        equity_usdt=money,
        available_usdt=money,
        listing=listing,
        markets=(market(lot_size=D(lot), min_size=D(lot)),),
    )
    stop = D(repr(round(60_000 * (1 - sign * distance), 3)))
    plan = drawn(ticket(side, stop=stop, risk_fraction=risk), now)
    assert plan.risk_usdt <= money * risk * (1 + D("1e-11"))
    assert plan.contracts % D(lot) == 0
    assert (plan.entry - plan.stop) * sign > 0
    assert (plan.stop - stop) * sign <= 0
    if plan.liquidation_price is not None and plan.allowed:
        assert (plan.stop - plan.liquidation_price) * sign > 0
        assert plan.liquidation_stops >= DEFAULT.risk.liquidation_stops - 1e-9
    if plan.size:
        slip_free = loss_per_unit(sign, float(plan.entry), float(plan.stop), 0, 0.0006, 0.0006)
        assert float(plan.risk_usdt) >= slip_free * float(plan.size) * (1 - 1e-9)


@given(
    side=st.sampled_from(["buy", "sell"]),
    price=st.decimals("50000", "70000", places=5),
    gap=st.decimals("0.01", "2000", places=5),
    reach=st.decimals("0.01", "2000", places=5),
)
@settings(max_examples=60, deadline=None)
def test_prices_land_on_the_grid_away_from_harm(side, price, gap, reach):
    """B10: a buy is rounded down and a sell up, a stop away, and the order still makes sense."""
    sign = 1 if side == "buy" else -1
    stop, target = price - sign * gap, price + sign * reach
    wish = ticket(side, type=OrderType.LIMIT, price=price, stop=stop, target=target, size=D("0.01"))
    try:
        plan = drawn(wish)
    except UsageError:
        assert gap < D("0.2") or reach < D("0.2")
        return
    for rounded, asked, harm in ((plan.price, price, 1), (plan.stop, stop, 1)):
        assert rounded % D("0.1") == 0
        assert (rounded - asked) * sign * harm <= 0
    assert (plan.stop - plan.price) * sign < 0 < (plan.target - plan.price) * sign
    order = plan.order("a1")
    assert (order.side, order.price) == (Side(side), plan.price)


def test_record_comes_back_whole_and_keeps_its_hash():
    """A plan survives JSON, and money stays exact and without exponent."""
    plan = drawn(ticket(target=D(63_000), confidence=71.25, zone_id="z1", signal_ms=5))
    text = json.dumps(plan.record(), allow_nan=False)
    again = plan_of(json.loads(text))
    assert again == plan
    assert again.hash == plan.hash
    assert len(plan.hash) == 16
    assert "E" not in plan.record()["size"]


@pytest.mark.parametrize(
    "changes",
    [{"size": D("0.083")}, {"stop": D(1)}, {"side": Side.SELL}, {"expires_ms": 1}, {"gates": ()}],
)
def test_hash_changes_with_every_word(changes):
    """F73: an altered plan is another plan."""
    plan = drawn()
    assert replace(plan, **changes).hash != plan.hash


def test_intent_of_a_plan_is_named_by_session_and_key():
    """The same session and key give the same client id, so a repetition is the same order."""
    plan = drawn()
    words = {"account": "blofin-demo", "session_id": "s1", "key": "k", "face": "cli", "now_ms": 7}
    made = plan.intent(**words)
    assert made.client_id == client_id_of("s1", "k")
    assert made.plan_hash == plan.hash
    assert made.order() == plan.order(made.client_id)
    assert (made.risk_usdt, made.state) == (plan.risk_usdt, IntentState.RESERVED)


# What refuses.


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("instrument", {"listing": Listing(instrument=terms(), is_live=False)}),
        ("quote_age_ms", {"quote": quote(ts_ms=NOW_MS - 10_001)}),
        ("quote_age_ms", {"quote": quote(ts_ms=NOW_MS + 5_001)}),
        ("clock_offset_ms", {"clock_offset_ms": -30_001}),
        ("spread", {"quote": quote(bid=D(59_700))}),
        ("spread", {"quote": quote(bid=None)}),
        ("price_band", {"price_range": PriceRange(price_min=D(1), price_max=D(60_000))}),
        ("position_mode", {"position_mode": PositionMode.HEDGE}),
        ("margin_mode", {"margin_mode": MarginMode.CROSS}),
        ("entries_hour", {"entries_hour": 20}),
        ("account", {"entries_today": 8}),
        ("mode", {"mode": Mode.LIVE}),
        ("halt", {"halt": Halt(ts_ms=1, face="cli", cause="x")}),
        ("pause", {"pauses": (Pause(symbol="*", ts_ms=1, face="cli", cause="x"),)}),
        ("pause", {"pauses": (Pause(symbol=BTC, ts_ms=1, face="cli", cause="x"),)}),
        ("margin", {"available_usdt": D(1)}),
        ("stop_side", {"quote": quote(60_000, last=D(59_400))}),
        ("day_loss", {"day_start_usdt": D(10_260)}),
        ("week_loss", {"week_start_usdt": D(10_600)}),
        ("drawdown", {"peak_usdt": D(11_710)}),
        ("risk_day", {"risk_today_usdt": D(560)}),
    ],
)
def test_gate_refuses(gate, changes):
    """Each condition by itself closes its own gate."""
    wish = ticket(size=D("0.08")) if gate == "margin" else ticket()
    assert gate in refused(drawn(wish, situation(**changes)))


def test_modes_that_are_set_before_sending_refuse_nothing():
    """Only where whoever places says so: a session sets them once, when it starts."""
    changes = {"margin_mode": MarginMode.CROSS, "position_mode": PositionMode.HEDGE}
    assert refused(drawn(None, situation(**changes))) == ["position_mode", "margin_mode"]
    assert drawn(None, situation(**changes, modes_follow=True)).allowed


def test_stop_entry_is_not_held_against_the_price_band_of_now():
    """Source: 6.3. The band that counts is the one of the moment it is triggered."""
    narrow = PriceRange(price_min=D(1), price_max=D(60_100))
    stop_entry = ticket(type=OrderType.TRIGGER, trigger=D(63_000), stop=D(62_000))
    assert "price_band" not in refused(drawn(stop_entry, situation(price_range=narrow)))


@pytest.mark.parametrize(
    "pause",
    [
        Pause(symbol=ETH, ts_ms=1, face="cli", cause="x"),
        Pause(symbol=BTC, ts_ms=1, face="cli", cause="x", until_ms=NOW_MS),
    ],
)
def test_pause_of_another_symbol_or_of_the_past_is_none(pause):
    """A pause holds for what it names and until it ends."""
    assert drawn(None, situation(pauses=(pause,))).allowed


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("risk", {"risk_fraction_max": D("0.0049")}),
        ("notional", {"notional_usdt_max": D(100)}),
        ("symbol", {"symbols": frozenset({ETH})}),
        ("mandate", {"expires_ms": NOW_MS}),
        ("entries_day", {"entries_day_max": 0}),
    ],
)
def test_mandate_refuses(gate, changes):
    """What the owner did not allow is refused, with value and limit."""
    plan = drawn(**changes)
    assert gate in refused(plan)


def test_limits_hold_to_the_cent():
    """B28: one cent above the limit is above it; exactly at it is not."""
    plan = drawn()
    at = plan.notional_usdt
    assert drawn(notional_usdt_max=at).allowed
    assert refused(drawn(notional_usdt_max=at - D("0.01"))) == ["notional"]
    edge = (10_000 - plan.risk_usdt) / D("0.97")
    assert "day_loss" not in refused(drawn(None, situation(day_start_usdt=edge)))
    assert "day_loss" in refused(drawn(None, situation(day_start_usdt=edge + D("0.02"))))


def test_order_without_stop_needs_the_mandate():
    """B27: the owner allows it by name or not at all, and the worst case is the whole margin."""
    wish = ticket(stop=None, size=D("0.001"))
    assert "stop" in refused(drawn(wish))
    bare = drawn(wish, allows_no_stop=True)
    assert bare.allowed, refused(bare)
    assert float(bare.risk_usdt) >= float(bare.margin_usdt) * 0.97


def test_leverage_that_puts_liquidation_near_the_stop_is_refused():
    """B26, F28: 100x with a 2 % stop."""
    plan = drawn(ticket(stop=D(58_800), leverage=100))
    assert {"liquidation", "leverage"} <= set(refused(plan))
    assert (plan.stop - plan.liquidation_price) < 0


@pytest.mark.parametrize("leverage", [0, -3, 151, 1000])
def test_leverage_outside_the_instrument_is_refused(leverage):
    """B11: the range comes from the instrument."""
    with pytest.raises(UsageError, match="1 to 150"):
        drawn(ticket(leverage=leverage))


def test_tier_of_the_size_decides_liquidation_and_leverage():
    """A larger position is liquidated earlier, and may have less leverage."""
    tiers = (
        tier(size_max=D("0.01")),
        tier(size_min=D("0.01"), maintenance_margin=D("0.05"), leverage_max=2),
    )
    plan = drawn(None, situation(tiers=tiers))
    assert plan.size > D("0.01")
    assert plan.leverage == 2
    assert plan.allowed, refused(plan)
    expected = (60000.1 - 60000.1 / 2) / (1 - 0.0506)
    assert float(plan.liquidation_price) == pytest.approx(expected)


def test_unknown_tiers_are_read_cautiously():
    """Section 8: maintenance 2 %, leverage at most 10."""
    plan = drawn(
        ticket(leverage=11), situation(tiers=()), build_strategy({"risk.max_leverage": 20})
    )
    assert "leverage" in refused(plan)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ("buy", {"stop": D(60_100)}),
        ("sell", {"stop": D(59_900)}),
        ("buy", {"stop": D("60000.1")}),
        ("buy", {"target": D(59_000)}),
        ("sell", {"target": D(61_000)}),
        ("buy", {"stop": D("0.05"), "size": D(1)}),
    ],
)
def test_prices_that_contradict_are_usage_errors(side, words):
    """B23-B25: the stop on the loss side, the target on the other, and none at the entry."""
    with pytest.raises(UsageError):
        drawn(ticket(side, **words))


@pytest.mark.parametrize(
    "words",
    [
        {"size": D(1), "notional_usdt": D(1)},
        {"size": D("nan")},
        {"size": D(0)},
        {"size": D(-1)},
        {"stop": None},
        {"price": D(1)},
        {"type": OrderType.LIMIT},
        {"type": OrderType.TRIGGER},
        {"trigger": D(61_000)},
        {"confidence": math.nan},
    ],
)
def test_ticket_that_makes_no_sense_is_refused(words):
    """B01-B04, B12: one size, all numbers real, each type its own prices."""
    with pytest.raises(UsageError):
        ticket(**words)


def test_ticket_without_a_size_is_refused():
    """Nobody guesses how much."""
    with pytest.raises(UsageError, match="one way"):
        Ticket(symbol=BTC, side=Side.BUY, type=OrderType.MARKET)


def test_size_off_the_lot_is_rounded_down_and_below_the_minimum_refused():
    """B09: never up."""
    assert drawn(ticket(size=D("0.01234"))).size == D("0.0123")
    small = drawn(ticket(size=D("0.00009")))
    assert small.size == 0
    assert "size" in refused(small)


def test_size_above_what_one_order_may_have_is_refused():
    """B09: above the largest market order, with the rule named."""
    plan = drawn(ticket(size=D(200)), situation(equity_usdt=D(10**9), available_usdt=D(10**9)))
    assert "size_allowed" in refused(plan)


def test_notional_becomes_base_units():
    """500 USDT at 60,000.1 is 0.0083 BTC in whole lots."""
    plan = drawn(ticket(notional_usdt=D(500)))
    assert plan.size == D("0.0083")
    assert plan.allowed, refused(plan)


def test_named_size_that_exposure_does_not_allow_is_refused_not_shrunk():
    """Who names a size gets it or a no."""
    plan = drawn(ticket(size=D("0.45")))
    assert plan.size == D("0.45")
    assert "risk" in refused(plan)


# What the account already holds.


def test_position_of_the_symbol_refuses_another():
    """One position a symbol."""
    held = position("0.01", symbol=BTC)
    now = situation(positions=(held,), protections=(stop_order(held, 59_000),))
    assert "account" in refused(drawn(None, now))


def test_open_risk_of_another_symbol_shrinks_or_refuses():
    """2.2 % at risk in ETH leave less than half of 1 %: refused by exposure."""
    held = position("2.2", 3_000)
    now = with_eth(positions=(held,), protections=(stop_order(held, 2_900),))
    plan = drawn(ticket(risk_fraction=D("0.01")), now)
    assert plan.open_risk_fraction == pytest.approx(0.022)
    assert "exposure" in refused(plan)
    free = drawn(ticket("sell", risk_fraction=D("0.01")), now)
    assert free.allowed, refused(free)


def test_position_without_a_stop_counts_up_to_its_liquidation():
    """Unprotected is the worst case, not no risk."""
    held = position("1", 3_000, liquidation_price=D(2_010))
    plan = drawn(None, with_eth(positions=(held,)))
    assert plan.open_risk_fraction == pytest.approx(0.099)
    assert "exposure" in refused(plan)


def test_stop_smaller_than_the_position_does_not_cover_it():
    """Half a stop is no stop."""
    held = position("1", 3_000, liquidation_price=D(2_010))
    half = stop_order(held, 2_990, size=D("0.5"))
    assert drawn(None, with_eth(positions=(held,), protections=(half,))).open_risk_fraction > 0.09


@pytest.mark.parametrize("state", [IntentState.RESERVED, IntentState.UNKNOWN, IntentState.ACCEPTED])
def test_reserved_intents_count_like_orders(state):
    """F17, I04: what may be out there holds its risk until the evidence."""
    waiting = intent(220, state=state)
    plan = drawn(ticket(risk_fraction=D("0.01")), with_eth(reserved=(waiting,)))
    assert plan.open_risk_fraction == pytest.approx(0.022)
    assert "exposure" in refused(plan)


def test_intent_whose_order_is_shown_counts_once():
    """Its order is listed: the order counts, the intent does not."""
    order = resting("buy", "1", 3_000, stop=D(2_950), client_id="c1")
    now = with_eth(reserved=(intent(50),), orders=(order,))
    assert drawn(None, now).open_risk_fraction == pytest.approx(0.005)


def test_resting_entry_without_a_stop_risks_its_value():
    """An order of somebody else's making is taken at its worst."""
    now = with_eth(orders=(resting("buy", "1", 3_000),))
    assert drawn(None, now).open_risk_fraction == pytest.approx(0.3)


def test_entry_that_fills_is_one_of_the_positions_at_a_time():
    """Half is held, half rests: one place is taken, and the risk is that of the whole."""
    held = position("1", 3_000)
    rest = resting("buy", "2", 3_000, stop=D(2_990), filled=D(1), state=OrderState.PARTIALLY_FILLED)
    now = with_eth(positions=(held,), protections=(stop_order(held, 2_990),), orders=(rest,))
    two = build_strategy({"risk.positions_max": 2})
    plan = drawn(None, now, two)
    assert plan.allowed, refused(plan)
    assert plan.open_risk_fraction == pytest.approx(0.002)
    other = replace(now, orders=(resting("sell", "1", 3_100, stop=D(3_110)),))
    assert "account" in refused(drawn(None, other, two))


def test_holding_without_candles_is_an_error_not_a_zero():
    """What cannot be weighed is not left out."""
    with pytest.raises(DataError, match=ETH):
        drawn(None, situation(positions=(position("1", 3_000),)))


def test_room_is_what_positions_leave():
    """What reserved entries must fit into, by risk, value and count."""
    held = position("1", 3_000)
    now = with_eth(positions=(held,), protections=(stop_order(held, 2_900),))
    left = room(now, DEFAULT, BUILT_IN)
    assert left.risk_usdt == D(300)
    assert left.notional_usdt == D(27_000)
    assert (left.count, left.held) == (6, (ETH,))


# Types of order.


def test_limit_at_the_touch_pays_as_a_taker():
    """A limit that trades at once has a taker's fee."""
    maker = drawn(ticket(type=OrderType.LIMIT, price=D(59_900)))
    taker = drawn(ticket(type=OrderType.LIMIT, price=D(60_100), stop=D(59_600)))
    assert maker.fees_usdt / maker.notional_usdt < D("0.0009")
    assert taker.fees_usdt / taker.notional_usdt > D("0.0011")


def test_post_only_that_would_trade_is_refused():
    """The exchange would cancel it."""
    wish = ticket(type=OrderType.POST_ONLY, price=D(60_100))
    assert "post_only" in refused(drawn(wish))


@pytest.mark.parametrize(("trigger", "passes"), [(60_500, True), (59_900, False)])
def test_stop_entry_waits_beyond_the_last_price(trigger, passes):
    """A buy stop below the market would fire at once."""
    plan = drawn(ticket(type=OrderType.TRIGGER, trigger=D(trigger)))
    assert ("trigger" not in refused(plan)) == passes
    assert plan.entry == trigger


def test_empty_side_of_the_book_is_an_error():
    """There is no price to plan on."""
    with pytest.raises(DataError, match="no ask"):
        drawn(None, situation(quote=quote(ask=None)))


def test_target_nearer_than_fees_is_refused():
    """B25: such a target wins nothing."""
    assert "target" in refused(drawn(ticket(target=D("60000.2"))))


def test_live_capital_is_the_mandates_share():
    """The first step with real money trades a tenth of it."""
    plan = drawn(
        None,
        situation(mode=Mode.LIVE),
        modes=frozenset({Mode.LIVE}),
        capital_fraction=D("0.10"),
    )
    assert plan.allowed, refused(plan)
    assert plan.equity_usdt == 1_000
    assert plan.risk_usdt <= 5


def test_market_band_follows_the_stop_distance():
    """A tenth of R dearer, half of R cheaper."""
    plan = drawn()
    assert plan.price_max == plan.entry + (plan.entry - plan.stop) * D("0.1")
    assert plan.price_min == plan.entry - (plan.entry - plan.stop) * D("0.5")
    short = drawn(ticket("sell"))
    assert short.price_min == short.entry - (short.stop - short.entry) * D("0.1")


def test_strategy_without_limits_places_nothing():
    """The event study sizes without an account."""
    with pytest.raises(UsageError, match=r"account limits"):
        drawn(strategy=build_strategy({"risk.limits": "false"}))


def test_every_gate_is_json():
    """No infinity, no NaN, whatever is missing."""
    plan = drawn(None, situation(quote=quote(bid=None)))
    assert json.dumps(plan.record(), allow_nan=False)
