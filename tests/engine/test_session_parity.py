"""A recorded session against the replay: the same is the same, and what differs has a name."""

from dataclasses import replace
from typing import Any

import pytest

from blofin_cli.core.context import Market
from blofin_cli.core.journal import Decision, Intent, IntentState, Purpose
from blofin_cli.core.market import ExitReason, Trade
from blofin_cli.core.orders import Side
from blofin_cli.core.signals import Plane, evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.parity import (
    Difference,
    compare,
    differing_trades,
    execution_of,
    expected,
    missing_bars,
)
from tests.adapters.store.samples import decision, fill, intent, trade
from tests.dealing import D
from tests.engine.test_strategist import EAGER
from tests.fakes import BTC, M15_MS, invented_market

FIRST = 400


@pytest.fixture(scope="module")
def plane() -> Plane:
    """A market with a few signals."""
    whole = invented_market(3, 600, BTC)
    strategy = build_strategy(EAGER | {"entry.mode": "limit"})
    return evaluate(Market(whole.entry, whole.instrument), strategy)


@pytest.fixture
def session(plane) -> list[Decision]:
    """What a faithful session would have written down about the last bars."""
    wanted = expected(plane)
    rows = []
    for ts in plane.market.entry.ts[FIRST:]:
        found = wanted.get(int(ts))
        if found is None:
            rows.append(decision(int(ts), symbol=BTC, action="hold"))
            continue
        action, zone, entry, stop = found
        rows.append(
            decision(
                int(ts), symbol=BTC, action=action, side=action, zone_id=zone, entry=entry,
                stop=stop, outcome="placed",
            )
        )  # fmt: skip
    assert sum(row.side is not None for row in rows) >= 3
    return rows


def signals(rows: list[Decision]) -> list[int]:
    """Places of the decisions that wanted something."""
    return [at for at, row in enumerate(rows) if row.side is not None]


def test_faithful_session_differs_nowhere(plane, session):
    """The same candles and the same code: nothing to tell."""
    assert compare(plane, session) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"side": None, "action": "hold"}, "action"),
        ({"zone_id": "another"}, "zone"),
        ({"entry": 1.0}, "entry"),
        ({"stop": 1.0}, "stop"),
        ({"stop": None}, "stop"),
    ],
)
def test_difference_is_named_with_both_words(plane, session, changes, field):
    """Bar, field, the session's word and the replay's; one for each bar that differs."""
    at = signals(session)[1]
    mine = session[at]
    session[at] = replace(mine, **changes)
    found = compare(plane, session)
    assert [(item.bar_ms, item.field) for item in found] == [(mine.bar_ms, field)]
    assert found[0].session != found[0].replay


def test_opposite_side_is_a_difference(plane, session):
    """A buy where the replay sells."""
    at = signals(session)[0]
    wrong = {"buy": "sell", "sell": "buy"}[session[at].action]
    mine = session[at]
    session[at] = replace(mine, action=wrong, side=wrong)
    assert compare(plane, session) == [
        Difference(
            symbol=BTC, bar_ms=mine.bar_ms, field="action", session=wrong, replay=mine.action
        )
    ]


def test_wish_the_replay_does_not_know_is_a_difference(plane, session):
    """A session that saw other candles wants what the replay does not."""
    at = next(at for at, row in enumerate(session) if row.side is None)
    session[at] = replace(session[at], side="buy", action="buy", entry=1.0, stop=0.5)
    found = compare(plane, session)
    assert [(item.session, item.replay) for item in found] == [("buy", "hold")]


def test_action_without_a_wish_is_a_hold(plane, session):
    """What all gates let pass but nothing came of wished for nothing: only sides are compared."""
    at = next(at for at, row in enumerate(session) if row.side is None)
    session[at] = replace(session[at], action="buy")
    assert compare(plane, session) == []


def test_differences_come_in_bar_order(plane, session):
    """The first difference is the one to look at."""
    for at in signals(session):
        session[at] = replace(session[at], zone_id="another")
    found = compare(plane, session)
    assert [item.bar_ms for item in found] == sorted(item.bar_ms for item in found)
    assert len(found) == len(signals(session))


def test_refused_wish_is_the_same_decision(plane, session):
    """What the account or the exchange said to it is no part of the decision."""
    for at in signals(session):
        session[at] = replace(session[at], outcome="refused", note="a position is open")
    assert compare(plane, session) == []


def test_candle_the_store_does_not_hold_is_a_difference(plane, session):
    """The session traded on a bar that nobody can replay."""
    ghost = decision(int(plane.market.entry.ts[-1]) + M15_MS, symbol=BTC)
    found = compare(plane, [*session, ghost])
    assert [item.field for item in found] == ["candle"]


def test_bars_never_decided_on_are_missing(plane, session):
    """Between the first and the last decision every candle must have one."""
    candles = plane.market.entry
    assert missing_bars(candles, session) == []
    assert missing_bars(candles, []) == []
    gone = [session[5].bar_ms, session[9].bar_ms]
    left = [row for row in session if row.bar_ms not in gone]
    assert missing_bars(candles, left) == gone
    assert missing_bars(candles, session[3:-3]) == []  # it began later and ended earlier


# Execution.


def entry(key: str, side: Side = Side.BUY, price: int = 100, **changes: Any) -> Intent:
    """A filled entry planned at a price, decided at second 1."""
    known = {
        "side": side, "entry": D(price), "order_id": key, "state": IntentState.DONE,
        "signal_ms": 1_000,
    }  # fmt: skip
    return intent(key, **(known | changes))


def test_execution_figures_by_hand():
    """Latency to the first fill; slippage of the average price, positive when worse."""
    wishes = [entry("a", Side.BUY), entry("b", Side.SELL, 200)]
    fills = [
        fill("1", order_id="a", price=D("100.1"), size=D(1), ts_ms=1_400),
        fill("2", order_id="a", price=D("100.3"), size=D(1), ts_ms=1_300),
        fill("3", order_id="b", price=D("200.4"), size=D(3), ts_ms=1_900),
    ]
    found = execution_of(wishes, fills)
    assert found.entries == 2
    assert (found.latency_ms_p50, found.latency_ms_max) == (600.0, 900.0)
    assert found.slippage_bps_mean == pytest.approx((20 - 20) / 2)  # 0.2 % worse, 0.2 % better
    assert found.slippage_bps_max == pytest.approx(20)
    assert found.slippage_usdt == pytest.approx(0.2 * 2 - 0.4 * 3)


def test_execution_counts_filled_entries_alone():
    """Closes, stops, entries that never filled and entries without a plan say nothing."""
    wishes = [
        entry("a", purpose=Purpose.CLOSE),
        entry("b"),
        entry("c", entry=None),
        entry("d", order_id=None),
    ]
    fills = [fill("1", order_id=name) for name in "ac"]
    found = execution_of(wishes, fills)
    assert (found.entries, found.latency_ms_p50, found.slippage_usdt) == (0, None, 0.0)


# Trades of a dry run.


def test_same_trades_differ_nowhere():
    """Ids and notes are not compared, prices and money are."""
    rows = [trade("a"), trade("b", entry_ms=5)]
    assert differing_trades(rows, [replace(row, id="x", note="n") for row in rows]) == []


@pytest.mark.parametrize(
    "changes",
    [{"entry_price": 100.001}, {"exit_price": 1.0}, {"quantity": 2.0}, {"pnl_usdt": 0.0},
     {"exit_ms": 7}],
)  # fmt: skip
def test_trade_that_differs_is_told(changes):
    """In words: which trade, which figure, both values."""
    found = differing_trades([trade()], [replace(trade(), **changes)])
    assert len(found) == 1
    assert next(iter(changes)) in found[0]


def test_trade_unknown_to_the_replay_is_told():
    """An entry at another time is another trade."""
    found = differing_trades([trade(entry_ms=1)], [trade(entry_ms=2)])
    assert len(found) == 1
    assert "no such trade" in found[0]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (ExitReason.MANUAL, ExitReason.TARGET),
        (ExitReason.HALT, ExitReason.STOP),
        (ExitReason.END, ExitReason.STOP),
        (ExitReason.STOP, ExitReason.END),
    ],
)
def test_trade_a_person_ended_cannot_be_compared(mine, theirs):
    """What was closed by hand, by a halt or by the end had another exit in the replay."""
    recorded: Trade = trade(exit_reason=mine, exit_price=1.0)
    assert differing_trades([recorded], [trade(exit_reason=theirs)]) == []
