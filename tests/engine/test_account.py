"""Known-answer tables for the account: size, exposure, breakers, cooldowns. Section 9."""

from typing import Any

import pytest

from blofin_cli.core.market import Timeframe
from tests.fakes import Fill, contract, play, signal

QUIET = (100, 101, 99, 100)
STOPPED = (100, 100, 94, 95)
HOUR_BARS = Timeframe.H1.ms // Timeframe.M15.ms
DAY_BARS = 24 * HOUR_BARS
NO_PAUSE = {"risk.cooldown_h": 0, "risk.stops_symbol": 50, "risk.stops_account": 50}


def table(bars: int, **stopped: bool) -> list[Any]:
    """Quiet bars, but those named `b5=True` fall to the stop."""
    hit = {int(name[1:]) for name in stopped}
    return [STOPPED if bar in hit else QUIET for bar in range(bars)]


def test_size_is_what_the_stop_may_lose() -> None:
    """Half a percent of 10 000 over a stop 5 away buys 10 units, in whole lots and never more."""
    assert play(table(3), [signal()]).entries[0][2] == 10.0
    assert play(table(3), [signal(stop=93.0)]).entries[0][2] == 7.1


def test_size_below_the_minimum_is_refused() -> None:
    """A size under the contract's minimum is none."""
    played = play(table(3), [signal()], equity=50.0, terms=contract(min_size=1))
    assert (played.entries, played.verdicts) == ([], ["size"])


def test_leverage_caps_the_notional() -> None:
    """Notional stays within equity times the highest leverage."""
    played = play(table(3), [signal(stop=99.9)], {"risk.max_leverage": 3})
    assert played.entries[0][2] == 300.0


def test_volatility_scales_the_notional_cap() -> None:
    """The volatility cap shrinks the largest notional, not the risk."""
    played = play(table(3), [signal(stop=99.9, notional_scale=0.5)], {"risk.max_leverage": 3})
    assert played.entries[0][2] == 150.0


def test_volume_caps_the_notional() -> None:
    """Notional stays within 1 % of 24 hours of quote volume."""
    rows = [(100, 101, 99, 100, 500), *table(3)]
    assert play(rows, [signal()]).entries[0][2] == 5.0


def test_largest_order_caps_the_size() -> None:
    """The instrument's largest order caps the size."""
    assert play(table(3), [signal()], terms=contract(market_size_max=4)).entries[0][2] == 4.0


def test_leverage_keeps_liquidation_two_stops_away() -> None:
    """With a wide stop the margin leverage falls until liquidation is two stop distances off."""
    wide = signal(stop=60.0, risk_fraction=0.005)
    mark_free = [QUIET, QUIET, (21, 22, 20, 21), QUIET]
    played = play(mark_free, [wide])
    assert played.fills[0].reason == "stop"  # liquidation is at 20
    beyond = play([QUIET, QUIET, (19, 20, 18, 19), QUIET], [wide])
    assert beyond.fills[0].reason == "liquidation"


def test_one_position_a_symbol() -> None:
    """A second signal on a symbol that is held is refused."""
    played = play(table(4), [signal(), signal(1)])
    assert played.verdicts == ["traded", "position_open"]


def test_fill_cancels_the_other_resting_entries_of_the_symbol() -> None:
    """Two zones may rest; the first to fill cancels the other."""
    rows = [QUIET, (100, 100, 97.5, 99), (99, 99, 96, 97), QUIET]
    near = signal(limit=98.0, entry=98.0)
    deep = signal(limit=97.0, entry=97.0, stop=94.0)
    played = play(rows, [near, deep])
    assert played.verdicts == ["traded", "traded"]
    assert [entry[1] for entry in played.entries] == [98.0]


def test_positions_are_counted() -> None:
    """No more positions and resting entries than allowed."""
    settings = {"risk.positions_max": 1}
    played = play(table(3), [signal(), signal(symbol=1)], settings, others=[table(3)])
    assert played.verdicts == ["traded", "count"]


def test_entries_of_a_day_are_counted_anew_each_utc_day() -> None:
    """The limit of entries a day holds till midnight UTC."""
    settings = NO_PAUSE | {"risk.entries_per_day": 1}
    rows = table(DAY_BARS + 4, b2=True)
    played = play(rows, [signal(), signal(5), signal(DAY_BARS)], settings)
    assert played.verdicts == ["traded", "entries_per_day", "traded"]


def test_exposure_scales_a_trade_down_to_what_is_left() -> None:
    """1 % is held; correlated at 0.7 with it, a second trade may risk 1.696 %, not 2 %."""
    signals = [signal(risk_fraction=0.01), signal(symbol=1, risk_fraction=0.02)]
    played = play(table(3), signals, others=[table(3)])
    assert played.outcome.signals["risk_fraction"][1] == pytest.approx(0.0169583, abs=1e-7)
    assert played.entries[1][2] == 33.5


def test_exposure_refuses_what_would_shrink_below_half() -> None:
    """A trade scaled below half of what it wanted is skipped."""
    signals = [signal(risk_fraction=0.02), signal(symbol=1, risk_fraction=0.02)]
    played = play(table(3), signals, others=[table(3)])
    assert played.verdicts == ["traded", "exposure"]


def test_exposure_lets_opposite_trades_offset_by_half() -> None:
    """A short beside a long reduces the book's risk, at half of their correlation."""
    short = signal(symbol=1, side=-1, stop=105.0, risk_fraction=0.02)
    played = play(table(3), [signal(risk_fraction=0.02), short], others=[table(3)])
    assert played.verdicts == ["traded", "traded"]
    assert played.outcome.signals["risk_fraction"][1] == 0.02  # the sum of risks, 4 %, is full


def test_exposure_caps_one_direction() -> None:
    """Risks of one direction sum to 3 % at most."""
    settings = {"risk.portfolio_pct": 20}
    signals = [signal(risk_fraction=0.0125), signal(symbol=1, risk_fraction=0.02)]
    played = play(table(3), signals, settings, others=[table(3)])
    assert played.outcome.signals["risk_fraction"][1] == pytest.approx(0.0175)


def test_exposure_counts_the_unfilled_part_of_an_entry() -> None:
    """An order that filled in part will fill the rest: its whole budget is committed."""
    slow = [QUIET, (100, 101, 99, 100, 100), (100, 101, 99, 100, 0), *table(3)]
    settings = {"costs.market_share": 0.05, "risk.portfolio_pct": 20, "risk.direction_pct": 2}
    signals = [signal(risk_fraction=0.01), signal(1, symbol=1, risk_fraction=0.015)]
    played = play(slow, signals, settings, others=[table(6)])
    assert played.outcome.signals["risk_fraction"][1] == pytest.approx(0.01)


def test_nothing_at_risk_is_refused() -> None:
    """A regime that scales the risk to nothing refuses the trade."""
    assert play(table(3), [signal(risk_fraction=0.0)]).verdicts == ["exposure"]


def test_day_loss_blocks_until_the_next_utc_day() -> None:
    """A day's loss at its limit stops entries till midnight UTC, and no longer."""
    settings = NO_PAUSE | {"risk.day_loss_pct": 0.5}
    rows = table(DAY_BARS + 4, b2=True)
    signals = [signal(), signal(5), signal(DAY_BARS - 1), signal(DAY_BARS)]
    played = play(rows, signals, settings)
    assert played.verdicts == ["traded", "day_loss", "day_loss", "traded"]


def test_day_loss_counts_open_loss() -> None:
    """The limit counts open loss too; the position itself keeps its stop."""
    settings = NO_PAUSE | {"risk.day_loss_pct": 0.4}
    rows = [QUIET, QUIET, (100, 100, 95.5, 96), QUIET, QUIET]
    played = play(rows, [signal(), signal(2, symbol=1)], settings, others=[table(5)])
    assert played.verdicts == ["traded", "day_loss"]
    assert played.fills[0].reason == "end"


def test_day_loss_cancels_entries_that_rest() -> None:
    """No entry means none: an order that rests when the day's loss is reached is cancelled."""
    settings = NO_PAUSE | {"risk.day_loss_pct": 0.5}
    resting = signal(symbol=1, limit=98.0, entry=98.0)
    other = [QUIET, QUIET, QUIET, QUIET, (99, 99, 97, 98), QUIET]
    played = play(table(6, b2=True), [signal(), resting], settings, others=[other])
    assert [entry[1] for entry in played.entries] == [100.0]


def test_week_loss_blocks_until_monday() -> None:
    """A week's loss at its limit stops entries till Monday 00:00 UTC."""
    settings = NO_PAUSE | {"risk.week_loss_pct": 0.5}
    rows = table(7 * DAY_BARS + 4, b2=True)
    signals = [signal(), signal(DAY_BARS), signal(7 * DAY_BARS - 1), signal(7 * DAY_BARS)]
    played = play(rows, signals, settings)
    assert played.verdicts == ["traded", "week_loss", "week_loss", "traded"]


BIG = {"risk.portfolio_pct": 20, "risk.total_pct": 20, "risk.direction_pct": 20}


def test_drawdown_closes_everything_and_halts_for_good() -> None:
    """The drawdown breaker closes all at the next open, cancels what rests, refuses for ever."""
    settings = NO_PAUSE | BIG | {"risk.drawdown_pct": 8, "risk.day_loss_pct": 100}
    others = [[QUIET, QUIET, QUIET, (98, 99, 97, 98), *table(400)]]
    signals = [
        signal(risk_fraction=0.1),
        signal(symbol=1, risk_fraction=0.05),
        signal(5),
        signal(300),
    ]
    played = play(table(404, b2=True), signals, settings, others=others)
    assert played.fills == [Fill(2, "stop", 95.0, 200.0), Fill(3, "halt", 98.0, 90.0)]
    assert played.verdicts == ["traded", "traded", "halted", "halted"]


def test_stop_out_pauses_its_symbol_for_four_hours() -> None:
    """After a stop-out the symbol rests four hours from the close of that bar; others do not."""
    first = 2 + 4 * HOUR_BARS  # the bar that closes four hours after bar 2
    signals = [signal(), signal(5, symbol=1), signal(first - 1), signal(first)]
    played = play(table(first + 4, b2=True), signals, others=[table(first + 4)])
    assert played.verdicts == ["traded", "traded", "cooldown", "traded"]


def test_win_pauses_its_symbol_only_when_asked() -> None:
    """A cooldown after a win is an option."""
    rows = [QUIET, QUIET, (100, 111, 99, 100), *table(20)]
    assert play(rows, [signal(), signal(3)]).verdicts == ["traded", "traded"]
    assert play(rows, [signal(), signal(3)], {"risk.win_cooldown_h": 1}).verdicts == [
        "traded",
        "cooldown",
    ]


def test_stop_outs_in_a_row_pause_the_symbol_for_a_day() -> None:
    """The third stop-out in a row on a symbol pauses it for 24 hours; a win starts the count."""
    settings = {"risk.cooldown_h": 0, "risk.stops_symbol": 2, "risk.stops_account": 50}
    rows = table(2 * DAY_BARS, b2=True, b5=True)
    signals = [signal(), signal(3), signal(5 + DAY_BARS - 1), signal(5 + DAY_BARS)]
    assert play(rows, signals, settings).verdicts == ["traded", "traded", "cooldown", "traded"]
    rows[4] = (100, 111, 99, 100)
    signals = [signal(), signal(3), signal(4), signal(6)]
    assert play(rows, signals, settings).verdicts == ["traded"] * 4


def test_stop_outs_in_a_row_pause_the_account() -> None:
    """Stop-outs in a row over all symbols pause the account."""
    settings = {"risk.cooldown_h": 0, "risk.stops_account": 2}
    signals = [signal(), signal(symbol=1), signal(5), signal(5, symbol=1)]
    played = play(table(9, b2=True), signals, settings, others=[table(9, b2=True)])
    assert played.verdicts == ["traded", "traded", "account_paused", "account_paused"]


def test_preset_without_limits_lets_every_trade_stand_alone() -> None:
    """The event study knows no account: overlapping trades, no lots, no pause."""
    settings = {"risk.limits": "false"}
    played = play(table(5, b3=True), [signal(), signal(1), signal(3)], settings)
    assert played.verdicts == ["traded"] * 3
    assert len(played.entries) == 3
