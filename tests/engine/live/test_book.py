"""The book: from the first fill to the last, in whatever order they come, to the cent."""

import json
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.core.journal import FundingPayment, Intent, IntentState
from blofin_cli.core.market import ExitReason
from blofin_cli.core.orders import Fill, OrderType, Side
from blofin_cli.engine.live import book
from blofin_cli.engine.live.book import Holding
from tests.dealing import ETH, NOW_MS, D, intent

SESSION = "s1"
MINUTE_MS = 60_000


def fill(side: str, size: object, price: object, fee: object = "0", **changes: Any) -> Fill:
    """One execution in ETH."""
    known: dict[str, Any] = {
        "symbol": ETH, "trade_id": f"{side}{size}@{price}", "order_id": "o1", "side": Side(side),
        "price": D(str(price)), "size": D(str(size)), "fee_usdt": D(str(fee)), "pnl_usdt": D(0),
        "ts_ms": NOW_MS,
    }  # fmt: skip
    return Fill(**(known | changes))


def wish(**changes: Any) -> Intent:
    """A long planned at 3,000 with a stop at 2,900 and a time stop of an hour."""
    known: dict[str, Any] = {
        "session_id": SESSION, "client_id": "c7", "stop": D(2_900), "target": D(3_200),
        "entry": D(3_000), "signal_ms": NOW_MS, "zone_id": "z1", "confidence": 61.0,
        "hold_ms": 3_600_000, "state": IntentState.ACCEPTED, "size": D(2),
    }  # fmt: skip
    return intent(200, ETH, **(known | changes))


def played(*fills: Fill, funding: object = "0", plan: Intent | None = None) -> Holding:
    """The holding after these fills and one settlement."""
    held = book.opened_by(fills[0], plan, SESSION)
    for each in fills:
        held, left = book.booked(held, each, ExitReason.MANUAL)
        assert left == 0
    paid = FundingPayment(symbol=ETH, ts_ms=NOW_MS, rate=D(0), amount_usdt=D(str(funding)))
    return book.funded(held, paid)


def test_first_fill_begins_a_holding_with_the_protection_of_its_intent():
    """Stop, target, plan and time stop are the intent's; the id is its client order id."""
    held = book.opened_by(fill("buy", 1, 3_000, ts_ms=NOW_MS + 5), wish(), SESSION)
    assert (held.trade_id, held.origin, held.stop, held.target) == (
        "c7", "session", D(2_900), D(3_200),
    )  # fmt: skip
    assert held.due_ms == NOW_MS + 5 + 3_600_000
    assert held.quantity == 0


@pytest.mark.parametrize(
    ("plan", "origin"),
    [
        (wish(), "session"),
        (wish(signal_ms=None), "manual"),
        (wish(session_id="another"), "manual"),
        (None, "external"),
    ],
)
def test_origin_tells_who_opened_it(plan, origin):
    """The strategy of this session, a person or an earlier session, or somebody else."""
    assert book.opened_by(fill("buy", 1, 3_000), plan, SESSION).origin == origin


def test_trade_by_hand():
    """Two entries, two exits: every figure of the trade as a person would reckon it."""
    held = played(
        fill("buy", 1, 3_000, "1.8"),
        fill("buy", 1, 3_010, "1.8"),
        fill("sell", "0.5", 3_105, "0.9", ts_ms=NOW_MS + MINUTE_MS),
        fill("sell", "1.5", 3_205, "2.9", ts_ms=NOW_MS + 2 * MINUTE_MS),
        funding="-0.6",
        plan=wish(),
    )
    trade = book.trade_of(held, SESSION, "demo", "15m")
    # Average entry 3,005; gained 0.5 x 100 + 1.5 x 200; fees 7.4, funding 0.6.
    assert (trade.entry_price, trade.quantity) == (3_005.0, 2.0)
    assert trade.exit_price == (0.5 * 3_105 + 1.5 * 3_205) / 2
    assert trade.pnl_usdt == 350 - 7.4 - 0.6
    assert (trade.fees_usdt, trade.funding_usdt) == (7.4, -0.6)
    assert trade.slippage_usdt == 10.0  # 5 beyond the plan, twice
    assert trade.r_multiple == pytest.approx(342 / (105 * 2))
    assert trade.mfe_r == pytest.approx(200 / 105)
    assert trade.mae_r == pytest.approx(-5 / 105)
    assert (trade.side, trade.stop, trade.target) == ("long", 2_900.0, 3_200.0)
    assert (trade.exit_ms, trade.exit_reason) == (NOW_MS + 2 * MINUTE_MS, ExitReason.MANUAL)
    assert [(part.price, part.quantity) for part in trade.exits] == [(3_105.0, 0.5), (3_205.0, 1.5)]
    assert (trade.id, trade.zone_id, trade.confidence, trade.tags) == ("c7", "z1", 61.0, [])


def test_short_gains_when_the_price_falls():
    """Signs turn with the side."""
    plan = wish(side=Side.SELL, stop=D(3_100), target=D(2_800))
    held = played(fill("sell", 2, 2_990, 1), fill("buy", 2, 2_890, 1), plan=plan)
    trade = book.trade_of(held, SESSION, "demo", "15m")
    assert trade.side == "short"
    assert trade.pnl_usdt == 200 - 2
    assert trade.slippage_usdt == 20.0  # sold 10 below the plan
    assert trade.r_multiple == pytest.approx(198 / (110 * 2))


def test_trade_without_a_stop_is_measured_by_its_planned_risk():
    """R needs a distance; without one the reserved risk stands in, and without that it is 0."""
    fills = (fill("buy", 2, 3_000), fill("sell", 2, 3_100))
    planned = played(*fills, plan=wish(stop=None))
    assert book.trade_of(planned, SESSION, "demo", "15m").r_multiple == 1.0
    external = book.trade_of(played(*fills), SESSION, "demo", "15m")
    assert (external.r_multiple, external.tags) == (0.0, ["external"])


def test_moved_stop_leaves_r_where_it_was_planned():
    """R is measured by the stop the trade was sized on."""
    held = played(fill("buy", 2, 3_000), fill("sell", 2, 3_050), plan=wish())
    moved = replace(held, stop=D(3_040), is_moved=True)
    assert book.trade_of(moved, SESSION, "demo", "15m").r_multiple == 0.5


def test_fills_of_one_instant_lead_to_the_same_trade_in_any_order():
    """Entries in any order, then exits in any order: the same result to the last digit."""
    entries = [fill("buy", 1, 3_000, "1.8"), fill("buy", 2, 3_013, "3.7"), fill("buy", 1, 2_999)]
    exits = [fill("sell", 3, 3_090, "5.5"), fill("sell", 1, 2_995, "1.9")]
    results = {
        played(*first, *last, funding="-0.11", plan=wish()).pnl_usdt
        for first in permutations(entries)
        for last in permutations(exits)
    }
    assert results == {D(12_265) - D(12_025) - D("12.9") - D("0.11")}


def test_close_larger_than_the_position_leaves_a_rest():
    """What flips is split: the fee falls on both parts by their size."""
    held = played(fill("buy", 2, 3_000), plan=wish())
    after, left = book.booked(held, fill("sell", 5, 3_100, "5"), ExitReason.STOP)
    assert (after.quantity, left) == (0, D(3))
    assert after.fees_usdt == 2
    assert after.exits[-1][2:] == ("2", "stop")


def test_position_seen_before_its_fills_was_opened_by_the_first_of_them():
    """Its time stop moves with it, and a settlement in between is one of its own."""
    seen = replace(book.opened_by(fill("buy", 2, 3_000), wish(), SESSION), opened_ms=NOW_MS + 9_000)
    seen = replace(seen, due_ms=NOW_MS + 9_000 + 3_600_000)
    held, _ = book.booked(seen, fill("buy", 2, 3_000), ExitReason.MANUAL)
    assert (held.opened_ms, held.due_ms) == (NOW_MS, NOW_MS + 3_600_000)
    later, _ = book.booked(held, fill("buy", 1, 3_000, ts_ms=NOW_MS + 5), ExitReason.MANUAL)
    assert later.opened_ms == NOW_MS


def test_claimed_holding_gets_its_intents_protection_and_keeps_what_a_person_set():
    """A holding taken for external becomes ours with its stop; a stop set meanwhile stays."""
    found = played(fill("buy", 2, 3_000, "1"))
    ours = book.claimed(found, wish(), SESSION)
    assert (ours.origin, ours.trade_id, ours.stop, ours.first_stop) == (
        "session", "c7", D(2_900), D(2_900),
    )  # fmt: skip
    assert (ours.opened, ours.fees_usdt) == (found.opened, found.fees_usdt)
    assert ours.due_ms == found.opened_ms + 3_600_000
    touched = book.claimed(replace(found, stop=D(2_950)), wish(), SESSION)
    assert (touched.stop, touched.target) == (D(2_950), D(3_200))


def test_extremes_are_kept_by_side():
    """Best and worst price are seen from the position's side."""
    held = played(fill("sell", 1, 3_000), plan=wish(side=Side.SELL, stop=D(3_100)))
    for price in (2_950, 3_060, 2_980):
        held = held.seen_at(D(price))
    assert (held.best, held.worst) == (2_950, 3_060)


MONEY = st.decimals(D("0.01"), D(100_000), places=4)
SIZES = st.decimals(D("0.001"), D(50), places=3)
FEES = st.decimals(D("-0.5"), D(5), places=6)


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Fill], list[Decimal]]:
    """A position from opening to flat: entries and partial closes mixed, and settlements."""
    fills, held = [], D(0)
    for number in range(draw(st.integers(1, 8))):
        is_entry = held == 0 or draw(st.booleans())
        size = draw(SIZES) if is_entry else min(held, draw(SIZES))
        held += size if is_entry else -size
        fills.append(
            fill("buy" if is_entry else "sell", size, draw(MONEY), draw(FEES), ts_ms=number)
        )
        if held == 0:
            break
    if held:
        fills.append(fill("sell", held, draw(MONEY), draw(FEES), ts_ms=99))
    return fills, draw(st.lists(FEES, max_size=3))


@given(lives())
@settings(max_examples=80, deadline=None)
def test_result_is_fills_fees_and_funding_to_the_cent(life):
    """F68: what was received less what was paid, less fees, plus funding; a restart between each
    changes nothing."""
    fills, settlements = life
    held = book.opened_by(fills[0], wish(), SESSION)
    for each in fills:
        held, left = book.booked(held, each, ExitReason.MANUAL)
        assert left == 0
        held = book.of_record(json.loads(json.dumps(book.to_record([held]))))[ETH]
    for amount in settlements:
        paid = FundingPayment(symbol=ETH, ts_ms=0, rate=D(0), amount_usdt=amount)
        held = book.funded(held, paid)
    assert held.quantity == 0
    cash = sum((-each.side.sign * each.price * each.size - each.fee_usdt for each in fills), D(0))
    assert abs(held.pnl_usdt - cash - sum(settlements, D(0))) < D("0.000001")
    trade = book.trade_of(held, SESSION, "demo", "15m")
    assert trade.pnl_usdt == pytest.approx(float(cash + sum(settlements, D(0))), abs=0.005)


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    """Any holding that may stand in the journal."""
    maybe = st.one_of(st.none(), MONEY)
    return Holding(
        trade_id=draw(st.text("abcx0123", min_size=1, max_size=32)),
        symbol=draw(st.sampled_from(["BTC-USDT", ETH, "1000PEPE-USDT"])),
        side=draw(st.sampled_from(Side)),
        origin=draw(st.sampled_from(["session", "manual", "external"])),
        opened_ms=draw(st.integers(0, 2**45)),
        stop=draw(maybe), target=draw(maybe), target_limit=draw(maybe), first_stop=draw(maybe),
        planned_entry=draw(maybe), risk_usdt=draw(maybe), opened=draw(MONEY),
        opened_value=draw(MONEY), closed=draw(MONEY), closed_value=draw(MONEY),
        fees_usdt=draw(FEES), funding_usdt=draw(FEES),
        exits=tuple(draw(st.lists(st.tuples(
            st.integers(0, 2**45), MONEY.map(str), SIZES.map(str),
            st.sampled_from(ExitReason).map(str),
        ), max_size=3))),
        best=draw(maybe), worst=draw(maybe),
        zone_id=draw(st.one_of(st.none(), st.text(max_size=5))),
        confidence=draw(st.one_of(st.none(), st.floats(0, 100))),
        signal_ms=draw(st.one_of(st.none(), st.integers(0, 2**45))),
        due_ms=draw(st.one_of(st.none(), st.integers(0, 2**45))),
        is_moved=draw(st.booleans()), leaving=draw(st.sampled_from(["", "time", "halt"])),
    )  # fmt: skip


@given(st.lists(holdings(), max_size=3))
@settings(max_examples=30, deadline=None)
def test_record_gives_every_holding_back(held):
    """The book survives the journal whole, digit by digit."""
    by_symbol = {item.symbol: item for item in held}
    record = json.loads(json.dumps(book.to_record(by_symbol.values())))
    assert book.of_record(record) == by_symbol


def test_record_of_a_later_version_is_read_for_what_is_known():
    """A field this build does not know is passed over, an absent one has its default."""
    record = book.to_record([played(fill("buy", 1, 3_000), plan=wish())])
    record[ETH] |= {"colour": "blue"}
    del record[ETH]["leaving"]
    assert book.of_record(record)[ETH].opened == 1


def test_limit_entry_is_a_holding_like_any_other():
    """The type of the order leaves no trace in the book."""
    plain, limit = wish(), wish(type=OrderType.LIMIT, price=D(3_000))
    first = fill("buy", 1, 3_000)
    assert book.opened_by(first, plain, SESSION) == book.opened_by(first, limit, SESSION)
