"""Known-answer tables: a few candles and the fills they must make. Section 7 of the specification.

Candles are open, high, low, close and, where it matters, volume, 15 minutes each. The signal is
made at the close of bar 0: long, stop 95, 50 USDT at risk. It buys 10 units at bar 1's open of 100,
so R is 5 and the target 110, unless a test says otherwise.
"""

from typing import Any

import pytest

from blofin_cli.core.market import Timeframe
from tests.fakes import M15_MS, START_MS, Fill, candles_of, play, signal

QUIET = (100, 101, 99, 100)
SHORT = {"side": -1, "stop": 105.0}
LIMIT = {"limit": 98.0, "entry": 98.0}  # 50 / 3 buys 16.6 units; the target is 104


def fine_bars(*rows: Any, bar: int) -> Any:
    """5m candles inside one bar."""
    return candles_of(rows, Timeframe.M5, START_MS + bar * M15_MS)


def test_market_entry_fills_at_the_next_open() -> None:
    """A decision at a close fills at the next open, for as much as the stop's loss allows."""
    played = play([QUIET, (100, 102, 99, 101), (101, 102, 100, 101)], [signal()])
    assert played.entries == [(1, 100.0, 10.0)]
    assert played.fills == [Fill(2, "end", 101.0, 10.0)]
    assert played.curve == [10_000.0, 10_010.0, 10_010.0]


def test_market_entry_pays_slippage_and_fees() -> None:
    """Slippage goes into the price, fees on top, and both into the size: the budget holds."""
    costs = {"costs.taker": 0.0006, "costs.floor_major_bps": 10}
    played = play([QUIET, (100, 101, 94, 95)], [signal()], costs)
    # loss a unit: 100.1 - 95, plus slippage of the stop 0.095, plus fees 0.06006 and 0.056943
    assert played.entries == [(1, 100.1, 9.4)]
    assert played.fills == [Fill(1, "stop", 94.905, 9.4)]
    (trade,) = played.outcome.trades
    assert trade["fees"] == pytest.approx(9.4 * 0.0006 * (100.1 + 94.905))
    assert trade["slippage"] == pytest.approx(9.4 * (0.1 + 0.095))
    assert trade["pnl"] == pytest.approx(-9.4 * 5.312003)
    assert trade["net_r"] == pytest.approx(-5.312003 / 5.1)


def test_short_entry_mirrors_a_long_one() -> None:
    """A short sells at the open less slippage and buys back at the stop plus slippage."""
    played = play([QUIET, (100, 106, 99, 105)], [signal(**SHORT)], {"costs.floor_major_bps": 10})
    assert played.entries == [(1, 99.9, 9.6)]
    assert played.fills == [Fill(1, "stop", 105.105, 9.6)]


def test_entry_that_opens_beyond_its_stop_is_not_made() -> None:
    """An open beyond the stop buys nothing."""
    assert play([QUIET, (94, 96, 93, 95), QUIET], [signal()]).entries == []


def test_entry_that_gaps_away_buys_fewer() -> None:
    """The order's price cap: a worse open buys fewer units, so the loss stays in the budget."""
    played = play([QUIET, (105, 106, 104, 105), (105, 105, 94, 95)], [signal()])
    assert played.entries == [(1, 105.0, 5.0)]
    assert played.outcome.trades["pnl"][0] == pytest.approx(-50.0)


@pytest.mark.parametrize("low", [94.9, 95.0])
def test_stop_in_the_entry_bar_counts(low: float) -> None:
    """The bar of a market entry can stop it; equality with the stop reaches it."""
    assert play([QUIET, (100, 101, low, 100)], [signal()]).fills == [Fill(1, "stop", 95.0, 10.0)]


def test_stop_fills_at_the_open_that_jumped_over_it() -> None:
    """An open beyond the stop is the price."""
    played = play([QUIET, QUIET, (93, 94, 92, 93)], [signal()])
    assert played.fills == [Fill(2, "stop", 93.0, 10.0)]


def test_trigger_target_fills_on_a_touch() -> None:
    """BloFin's attached target is a trigger: a touch fires it, at market."""
    slip = {"costs.floor_major_bps": 10}
    assert play([QUIET, QUIET, (100, 110, 99, 109)], [signal()]).fills == [
        Fill(2, "target", 110.0, 10.0)
    ]
    (fill,) = play([QUIET, (99.9, 101, 99, 100), (100, 111, 99, 109)], [signal()], slip).fills
    assert fill.price == pytest.approx(0.999 * 110.0, abs=0.1)


def test_trigger_target_fills_at_an_open_beyond_it() -> None:
    """An open beyond the target is the price of a triggered market order."""
    played = play([QUIET, QUIET, (112, 113, 111, 112)], [signal()])
    assert played.fills == [Fill(2, "target", 112.0, 10.0)]


@pytest.mark.parametrize(("high", "is_filled"), [(110.0, False), (110.05, False), (110.1, True)])
def test_limit_target_needs_a_trade_through(high: float, is_filled: bool) -> None:
    """A limit at the target fills when price trades through it by a tick, never on a touch."""
    played = play([QUIET, QUIET, (100, high, 99, 109)], [signal()], {"target.order": "limit"})
    expected = Fill(2, "target", 110.0, 10.0) if is_filled else Fill(2, "end", 109.0, 10.0)
    assert played.fills == [expected]


def test_limit_target_pays_the_maker_fee_at_its_price() -> None:
    """A limit target fills at its own price even when the bar opens beyond it, as a maker."""
    settings = {"target.order": "limit", "costs.maker": 0.0002}
    played = play([QUIET, QUIET, (112, 113, 111, 112)], [signal()], settings)
    assert played.fills == [Fill(2, "target", 110.0, 10.0)]
    assert played.outcome.trades["fees"][0] == pytest.approx(110.0 * 10 * 0.0002)


BOTH = (100, 111, 94, 100)


def test_stop_wins_over_target_in_one_bar() -> None:
    """Where nothing tells which came first, it was the stop, and the trade says it is ambiguous."""
    played = play([QUIET, QUIET, BOTH], [signal()])
    assert played.fills == [Fill(2, "stop", 95.0, 10.0)]
    assert played.outcome.trades["is_ambiguous"][0] == 1
    assert played.outcome.trades["resolution_ms"][0] == M15_MS


def test_optimistic_bound_gives_the_target() -> None:
    """The other end of the band: the same bar ends at the target."""
    played = play([QUIET, QUIET, BOTH], [signal()], optimistic=True)
    assert played.fills == [Fill(2, "target", 110.0, 10.0)]
    assert played.outcome.trades["is_ambiguous"][0] == 1


def test_open_beyond_the_target_decides_the_bar() -> None:
    """A bar that opens beyond the target was there before it fell to the stop."""
    played = play([QUIET, QUIET, (112, 113, 94, 100)], [signal()])
    assert played.fills == [Fill(2, "target", 112.0, 10.0)]
    assert played.outcome.trades["is_ambiguous"][0] == 0


@pytest.mark.parametrize(
    ("fine", "reason", "is_ambiguous"),
    [
        ([(100, 111, 99, 105), (105, 106, 94, 96), (96, 100, 96, 100)], "target", 0),
        ([(100, 101, 94, 96), (96, 111, 96, 105), (105, 106, 99, 100)], "stop", 0),
        ([(100, 111, 94, 96), (96, 97, 96, 97), (97, 100, 96, 100)], "stop", 1),
    ],
)
def test_finer_candles_tell_which_came_first(fine: Any, reason: str, is_ambiguous: int) -> None:
    """Finer candles decide; one that holds both leaves the bar ambiguous."""
    played = play([QUIET, QUIET, BOTH], [signal()], fine=fine_bars(*fine, bar=2))
    assert played.fills[0].reason == reason
    (trade,) = played.outcome.trades
    assert trade["is_ambiguous"] == is_ambiguous
    assert trade["resolution_ms"] == (M15_MS if is_ambiguous else Timeframe.M5.ms)


def test_finer_candles_that_miss_one_tell_nothing() -> None:
    """A bar that finer candles cover only in part is not resolved by them."""
    fine = fine_bars((100, 111, 99, 105), (105, 106, 94, 96), bar=2)
    assert play([QUIET, QUIET, BOTH], [signal()], fine=fine).fills[0].reason == "stop"


def test_limit_target_in_finer_candles_needs_a_trade_through_too() -> None:
    """A finer candle that only touches a limit target has not paid it before the stop."""
    fine = fine_bars((100, 110, 99, 105), (105, 106, 94, 96), (96, 111, 96, 100), bar=2)
    played = play([QUIET, QUIET, BOTH], [signal()], {"target.order": "limit"}, fine=fine)
    assert played.fills == [Fill(2, "stop", 95.0, 10.0)]


def test_time_stop_leaves_at_the_close_of_the_bar_that_is_due() -> None:
    """The first bar that opens at entry plus the hold closes the trade at its close."""
    rows = [QUIET, QUIET, (100, 101, 99, 100.5), (100.5, 102, 100, 101.5), QUIET]
    played = play(rows, [signal(hold_ms=2 * M15_MS)])
    assert played.fills == [Fill(3, "time", 101.5, 10.0)]


def test_breakeven_acts_from_the_next_bar() -> None:
    """At 1 R of profit the stop goes to entry, one bar later."""
    rows = [QUIET, QUIET, (101, 105, 99.5, 104), (104, 104, 99.9, 101), QUIET]
    played = play(rows, [signal()], {"manage.be_at": 1})
    assert played.fills == [Fill(3, "trailing", 100.0, 10.0)]


def test_trailing_stop_follows_the_best_price_from_the_next_bar() -> None:
    """The stop trails 1 R behind the best price of the bars before."""
    rows = [QUIET, (100, 102, 99, 101), (101, 106, 97.5, 105), (105, 105, 100.9, 103), QUIET]
    played = play(rows, [signal()], {"manage.trail": 1})
    assert played.fills == [Fill(3, "trailing", 101.0, 10.0)]


def test_partial_targets_close_parts_and_the_stop_follows_the_rest() -> None:
    """Half leaves at 1 R; the stop closes exactly the other half."""
    parts = {"target.parts": "1:50%,2:50%"}
    rows = [QUIET, QUIET, (100, 105, 99, 104), (104, 104, 94, 95)]
    played = play(rows, [signal()], parts)
    assert played.fills == [Fill(2, "target", 105.0, 5.0), Fill(3, "stop", 95.0, 5.0)]
    (trade,) = played.outcome.trades
    assert (trade["exit"], trade["pnl"]) == (100.0, 0.0)


def test_partial_targets_can_all_fill_in_one_bar() -> None:
    """A bar that reaches every target pays every part at its own price."""
    parts = {"target.parts": "1:25%,2:25%,3:50%"}
    played = play([QUIET, QUIET, (100, 116, 99, 104)], [signal()], parts)
    assert played.fills == [
        Fill(2, "target", 105.0, 2.5),
        Fill(2, "target", 110.0, 2.5),
        Fill(2, "target", 115.0, 5.0),
    ]


def test_partial_target_that_fills_in_pieces_takes_its_share_only() -> None:
    """What a first bar left of a part is taken by the next one, not a whole part again."""
    settings = {"target.parts": "1:50%,3:50%", "target.order": "limit", "costs.limit_share": 0.2}
    # 0.2 of 30 units, by half of the range beyond the target: 3 of the 5 units
    rows = [QUIET, QUIET, (104, 106, 104, 104, 30), (104, 106, 104, 104), (104, 105, 103, 104)]
    played = play(rows, [signal()], settings)
    assert played.fills == [
        Fill(2, "target", 105.0, 3.0),
        Fill(3, "target", 105.0, 2.0),
        Fill(4, "end", 104.0, 5.0),
    ]


def test_market_entry_takes_its_share_of_each_bar() -> None:
    """A market order fills 5 % of a bar's volume, the rest at the next open."""
    rows = [QUIET, (100, 101, 99, 100, 100), (101, 102, 99, 100, 1e4), (100, 101, 94, 95)]
    played = play(rows, [signal()], {"costs.market_share": 0.05})
    # 5 units risk 25; at 101 the other 25 buy 4.1 more
    assert played.entries == [(1, round((500 + 4.1 * 101) / 9.1, 6), 9.1)]
    assert played.outcome.trades["pnl"][0] == pytest.approx(-(5 * 5 + 4.1 * 6))


def test_stop_covers_what_is_filled_and_cancels_the_rest() -> None:
    """A stop during a partial entry closes the filled part; nothing more is bought."""
    rows = [QUIET, (100, 101, 99, 100, 100), (98, 99, 94, 95, 100), QUIET, QUIET]
    played = play(rows, [signal()], {"costs.market_share": 0.05})
    assert played.fills == [Fill(2, "stop", 95.0, 10.0)]
    assert len(played.outcome.trades) == 1


def test_time_stop_leaves_as_fast_as_volume_allows() -> None:
    """A market exit fills its share of the bar; the rest leaves at the next opens."""
    rows = [QUIET, QUIET, (100, 101, 99, 100, 60), (99, 100, 98, 99, 60), (97, 98, 96, 97), QUIET]
    settings = {"costs.market_share": 0.05}
    played = play(rows, [signal(hold_ms=M15_MS)], settings)
    assert played.fills == [
        Fill(2, "time", 100.0, 3.0),
        Fill(3, "time", 99.0, 3.0),
        Fill(4, "time", 97.0, 4.0),
    ]


@pytest.mark.parametrize(("low", "is_filled"), [(98.0, False), (97.95, False), (97.9, True)])
def test_limit_entry_needs_a_trade_through(low: float, is_filled: bool) -> None:
    """A resting entry fills when price trades through it by a tick, never on a touch."""
    played = play([QUIET, (99, 100, low, 99), QUIET], [signal(**LIMIT)])
    assert played.entries == ([(1, 98.0, 16.6)] if is_filled else [])


def test_limit_entry_that_opens_at_its_stop_buys_nothing() -> None:
    """Nothing is left to risk there, also where the size comes from the distance alone."""
    rows = [QUIET, (95, 100, 94, 99), QUIET]
    assert play(rows, [signal(**LIMIT)], {"risk.limits": "false"}).entries == []
    assert play(rows, [signal(**LIMIT)]).entries == []


def test_limit_entry_pays_the_maker_fee() -> None:
    """A resting entry is a maker, without slippage."""
    costs = {"costs.maker": 0.0002, "costs.floor_major_bps": 10}
    played = play([QUIET, (99, 100, 97, 99), QUIET], [signal(**LIMIT)], costs)
    bar, price, quantity = played.entries[0]
    assert (bar, price) == (1, 98.0)
    assert played.outcome.trades["fees"][0] == pytest.approx(98.0 * quantity * 0.0002)


def test_limit_entry_ends_with_the_bar_it_was_good_until() -> None:
    """The order ends at the close of its last bar; a later trade through does not fill it."""
    rows = [QUIET, QUIET, QUIET, (99, 100, 97, 99), QUIET]
    assert play(rows, [signal(**LIMIT, until=2)]).entries == []
    assert play(rows, [signal(**LIMIT, until=3)]).entries == [(3, 98.0, 16.6)]


def test_stop_in_the_bar_of_a_limit_entry_counts() -> None:
    """Price that went through the limit and on to the stop hit both."""
    played = play([QUIET, (99, 100, 94, 99), QUIET], [signal(**LIMIT)])
    assert played.fills == [Fill(1, "stop", 95.0, 16.6)]
    assert played.outcome.trades["is_ambiguous"][0] == 0


def test_target_in_the_bar_of_a_limit_entry_needs_a_close_beyond_it() -> None:
    """The high may have come before the entry; only a close beyond the target proves it."""
    not_yet = play([QUIET, (99, 105, 97, 103), (103, 103.5, 102, 103)], [signal(**LIMIT)])
    assert not_yet.fills == [Fill(2, "end", 103.0, 16.6)]
    proven = play([QUIET, (99, 105, 97, 104.5), QUIET], [signal(**LIMIT)])
    assert proven.fills == [Fill(1, "target", 104.0, 16.6)]


def test_stop_and_target_in_the_bar_of_a_limit_entry_are_ambiguous() -> None:
    """Both proven in the entry's bar: the stop, or the target in the optimistic bound."""
    rows = [QUIET, (99, 105, 94, 104.5), QUIET]
    worst, best = (play(rows, [signal(**LIMIT)], optimistic=o) for o in (False, True))
    assert worst.fills == [Fill(1, "stop", 95.0, 16.6)]
    assert best.fills == [Fill(1, "target", 104.0, 16.6)]
    assert worst.outcome.trades["is_ambiguous"][0] == best.outcome.trades["is_ambiguous"][0] == 1


def test_limit_entry_takes_its_share_of_the_bar_beyond_it() -> None:
    """A limit fills 20 % of volume times the share of the range beyond it; the rest stays."""
    settings = {"costs.limit_share": 0.2}
    rows = [QUIET, (98.5, 99, 97, 98.5, 100), (98.5, 99, 97, 98.5, 20), QUIET, QUIET]
    resting = play(rows, [signal(**LIMIT)], settings)
    assert resting.entries == [(1, 98.0, 12.0)]
    cancelled = play(rows, [signal(**LIMIT, until=1)], settings)
    assert cancelled.fills == [Fill(4, "end", 100.0, 10.0)]


def test_cancelled_remainder_leaves_a_position_that_its_stop_covers() -> None:
    """What filled before the order ended is held, stopped and counted, no more and no less."""
    settings = {"costs.limit_share": 0.2}
    rows = [QUIET, (98.5, 99, 97, 98.5, 100), (98.5, 99, 97, 98, 1e6), (98, 98, 94, 95), QUIET]
    played = play(rows, [signal(**LIMIT, until=1)], settings)
    assert played.fills == [Fill(3, "stop", 95.0, 10.0)]


def mark_of(*rows: Any, timeframe: Timeframe = Timeframe.M15) -> Any:
    return candles_of(rows, timeframe)


# Leverage keeps liquidation two stop distances away: margin 104.5, liquidation at 90.
LIQUIDATED = Fill(2, "liquidation", 89.55, 10.0)


def test_liquidation_by_the_mark_price_takes_the_margin() -> None:
    """A mark price at liquidation takes the margin, however far the last price is from the stop."""
    rows = [QUIET, QUIET, QUIET, QUIET]
    played = play(rows, [signal()], mark=mark_of(QUIET, QUIET, (100, 101, 89.9, 100), QUIET))
    assert played.fills == [LIQUIDATED]
    assert played.outcome.trades["pnl"][0] == pytest.approx(-104.5)


def test_mark_price_short_of_liquidation_takes_nothing() -> None:
    """A mark price that stays before liquidation leaves the position alone."""
    rows = [QUIET, QUIET, QUIET]
    played = play(rows, [signal()], mark=mark_of(QUIET, QUIET, (100, 101, 90.1, 100)))
    assert played.fills == [Fill(2, "end", 100.0, 10.0)]


def test_coarser_mark_bar_does_not_liquidate_a_bar_that_never_fell() -> None:
    """An hour's mark low says nothing about which of its bars fell; one that did not is spared."""
    hour = mark_of((100, 101, 89.0, 100), timeframe=Timeframe.H1)
    played = play([QUIET, QUIET, QUIET, QUIET], [signal()], mark=hour)
    assert played.fills == [Fill(3, "end", 100.0, 10.0)]


def test_open_beyond_liquidation_takes_the_margin_and_no_more() -> None:
    """An isolated position cannot lose more than its margin, with or without a mark price."""
    rows = [QUIET, QUIET, (80, 81, 79, 80), QUIET]
    assert play(rows, [signal()]).fills == [LIQUIDATED]
    assert play(rows, [signal()], mark=mark_of(*rows)).fills == [LIQUIDATED]


def test_open_between_stop_and_liquidation_stops_out() -> None:
    """A gap that stays short of liquidation is the stop's."""
    played = play([QUIET, QUIET, (91, 92, 89, 90), QUIET], [signal()])
    assert played.fills == [Fill(2, "stop", 91.0, 10.0)]


def test_liquidation_after_a_partial_exit_takes_the_margin_of_the_rest() -> None:
    """Closing half releases half of the margin; only the other half can be lost."""
    rows = [QUIET, QUIET, (100, 105, 99, 104), (80, 81, 79, 80), QUIET]
    played = play(rows, [signal()], {"target.parts": "1:50%,2:50%"})
    assert played.fills == [Fill(2, "target", 105.0, 5.0), Fill(3, "liquidation", 89.55, 5.0)]


def test_funding_is_paid_at_times_after_entry_up_to_exit() -> None:
    """A time at the entry is not paid, one at the close of a held bar is."""
    times = {0: 0.0, START_MS + M15_MS: 0.5, START_MS + 2 * M15_MS: 0.001}
    played = play([QUIET, QUIET, QUIET, QUIET], [signal()], funding=times)
    assert played.outcome.trades["funding"][0] == pytest.approx(-1.0)


def test_funding_history_pays_shorts_in_full() -> None:
    """What longs pay by the history, shorts receive."""
    times = {0: 0.0, START_MS + 2 * M15_MS: 0.001}
    played = play([QUIET, QUIET, QUIET], [signal(**SHORT)], funding=times)
    assert played.outcome.trades["funding"][0] == pytest.approx(1.0)


def test_funding_counts_the_mark_value_where_it_is_known() -> None:
    """Funding is a rate of the value at mark."""
    times = {0: 0.0, START_MS + 2 * M15_MS: 0.001}
    mark = mark_of(QUIET, (100, 121, 99, 120), QUIET)
    played = play([QUIET, QUIET, QUIET], [signal()], funding=times, mark=mark)
    assert played.outcome.trades["funding"][0] == pytest.approx(-1.2)


@pytest.mark.parametrize(("words", "funding"), [({}, -0.1), (SHORT, 0.05)])
def test_funding_fallback_charges_longs_and_credits_shorts_half(words: Any, funding: float) -> None:
    """Without a history longs pay 0.01 % at 00, 08 and 16 UTC, and shorts receive half of it."""
    played = play([QUIET] * 33, [signal(**words)], {"costs.funding_8h": 0.0001})
    assert played.outcome.trades["funding"][0] == pytest.approx(funding)


def test_exit_at_an_open_owes_no_funding_of_its_bar() -> None:
    """A position that left at a bar's open was not held at the bar's close."""
    rows = [QUIET, QUIET, QUIET, QUIET]
    times = {0: 0.0, START_MS + 3 * M15_MS: 0.001}
    signals = [signal(), signal(1, **SHORT)]
    played = play(rows, signals, {"manage.exit_on_opposite": "true"}, funding=times)
    assert played.fills[0] == Fill(2, "signal", 100.0, 10.0)
    assert played.outcome.trades["funding"][0] == 0.0


def test_opposite_signal_leaves_at_the_next_open() -> None:
    """With exit_on_opposite a short signal closes a long, and opens nothing itself."""
    rows = [QUIET, QUIET, (102, 103, 101, 102), QUIET]
    signals = [signal(), signal(1, **SHORT)]
    played = play(rows, signals, {"manage.exit_on_opposite": "true"})
    assert played.fills == [Fill(2, "signal", 102.0, 10.0)]
    assert played.verdicts == ["traded", "position_open"]


def test_stale_data_close_a_position_at_the_next_open() -> None:
    """Three zone bars without data close the position when data return."""
    rows = [QUIET, QUIET, *[None] * 12, (103, 104, 102, 103), QUIET]
    assert play(rows, [signal()]).fills == [Fill(14, "halt", 103.0, 10.0)]
    shorter = [QUIET, QUIET, *[None] * 11, (103, 104, 102, 103), QUIET]
    assert play(shorter, [signal()]).fills == [Fill(14, "end", 100.0, 10.0)]


def test_end_of_data_closes_what_is_held_and_cancels_what_rests() -> None:
    """The last close ends every trade, and says so; an unfilled order leaves no trade."""
    played = play([QUIET, QUIET, (100, 101, 99, 100.4)], [signal(), signal(1, **LIMIT, symbol=0)])
    assert played.fills == [Fill(2, "end", 100.4, 10.0)]
