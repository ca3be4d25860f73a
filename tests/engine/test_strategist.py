"""The strategy fed bar by bar says at each bar what it says over all candles at once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.orders import OrderType
from blofin_cli.core.quotes import Bar
from blofin_cli.core.reading import name_of
from blofin_cli.core.signals import Plane, evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.strategist import History, Judgement, ZoneStrategist, resting_until
from tests.fakes import BTC, M15_MS, START_MS, candles_of, contract, invented_market

EAGER = {
    "context": "1h",
    "stop.min_stop_pct": 0.2,
    "target.min_net_rr": 0,
    "volatility.rank_max": 1,
    "volatility.atr_max_pct": 100,
    "volatility.extreme_bars": 0,
}
FIRST, LAST = 500, 600


def bars_of(candles: Candles) -> list[Bar]:
    """Candles as an exchange sends them, all closed."""
    columns = zip(candles.ts, *(getattr(candles, name) for name in COLUMNS), strict=True)
    return [Bar(int(ts), *(float(value) for value in rest), True) for ts, *rest in columns]


class Told:
    """A strategist told bar by bar, each judgement, and the plane over all of the candles."""

    def __init__(self, mode: str, seed: int) -> None:
        strategy = build_strategy(EAGER | {"entry.mode": mode})
        whole = invented_market(seed, LAST, BTC)
        self.plane: Plane = evaluate(Market(whole.entry, whole.instrument), strategy)
        strategist = ZoneStrategist(strategy, {BTC: whole.entry[:FIRST]}, {BTC: whole.instrument})
        self.judgements: dict[int, Judgement] = {}
        for bar in bars_of(whole.entry)[FIRST:]:
            assert strategist.next_open_ms(BTC) == bar.ts_ms
            strategist.take(BTC, [bar])
            self.judgements[bar.ts_ms] = strategist.judge(BTC, bar.ts_ms + M15_MS)
        self.strategist = strategist
        self.rows = self.plane.signals()

    def ts_ms(self, tick: int) -> int:
        return int(self.plane.market.entry.ts[tick])

    def name(self, row: Any) -> str:
        return name_of(self.plane.book, BTC, int(self.plane.zone[row["zone"]]))


@pytest.fixture(scope="module", params=[("confirm", 21), ("limit", 3)])
def told(request) -> Told:
    return Told(*request.param)


def test_wishes_bar_by_bar_are_the_signals_over_all_candles(told):
    """No look ahead, no second implementation: prices and shares are equal to the last bit."""
    expected = [
        (told.ts_ms(row["tick"]), told.name(row), int(row["side"]), float(row["stop"]),
         float(row["limit"]), float(row["risk_fraction"]), int(row["hold_ms"]))
        for row in told.rows
        if row["tick"] >= FIRST
    ]  # fmt: skip
    wished = [
        (ts_ms, wish.ticket.zone_id, wish.ticket.side.sign, float(wish.ticket.stop or 0),
         float(wish.ticket.price or 0), float(wish.ticket.risk_fraction or 0), wish.hold_ms)
        for ts_ms, judgement in told.judgements.items()
        for wish in judgement.wishes
    ]  # fmt: skip
    assert expected, "these candles show nothing"
    assert sorted(wished) == sorted(expected)


def test_decision_tells_of_the_first_wish(told):
    """A bar with a wish is a buy or a sell with its prices; without one it names no side."""
    for judgement in told.judgements.values():
        decision = judgement.decision
        assert decision.gates
        if not judgement.wishes:
            assert decision.side is None
            continue
        ticket = judgement.wishes[0].ticket
        assert (decision.action, decision.side, decision.zone_id) == (
            ticket.side.value, ticket.side.value, ticket.zone_id,
        )  # fmt: skip
        assert decision.stop == float(ticket.stop)
        assert ticket.type is (OrderType.MARKET if ticket.price is None else OrderType.LIMIT)
        assert ticket.signal_ms == decision.bar_ms + M15_MS


def test_resting_entries_rest_as_long_as_over_all_candles(told):
    """At each bar the zones whose entry may stay are those the whole history keeps alive then."""
    ends = resting_until(told.plane, told.rows)
    for tick in range(FIRST, LAST - 1):
        expected = {
            told.name(row)
            for row, end in zip(told.rows, ends, strict=True)
            if row["tick"] <= tick < end
        }
        assert told.judgements[told.ts_ms(tick)].resting == expected


def test_digest_names_the_candles_seen(told):
    """Each bar has a digest of its own, and the same candles lead to the same one."""
    digests = [judgement.decision.digest for judgement in told.judgements.values()]
    assert len(set(digests)) == len(digests)


def test_market_for_sizing_is_the_last_weeks(told):
    """Forty days of candles at most, ending with the last bar taken."""
    market = told.strategist.market(BTC)
    assert len(market.entry) == LAST  # less than forty days of 15m candles
    assert int(market.entry.ts[-1]) == told.ts_ms(LAST - 1)


# History.


def made(bars: int) -> Candles:
    return candles_of([(100.0 + n, 102.0 + n, 99.0 + n, 101.0 + n, 5.0) for n in range(bars)])


def test_history_grows_without_end_and_loses_nothing():
    """Beyond its room the columns grow; what was held stays bit by bit."""
    whole = made(9_000)
    history = History(whole[:10])
    for bar in bars_of(whole)[10:]:
        history.append(bar)
    held = history.candles()
    assert len(held) == 9_000
    for name in ("ts", *COLUMNS):
        assert np.array_equal(getattr(held, name), getattr(whole, name))
    assert history.last_ms == int(whole.ts[-1])


def test_slice_does_not_change_when_more_comes():
    """What was handed out stays as it was."""
    whole = made(20)
    history = History(whole[:10])
    before = history.candles()
    history.append(bars_of(whole)[10])
    assert len(before) == 10
    assert np.array_equal(before.close, whole.close[:10])
    assert len(history.candles(last_bars=3)) == 3
    assert np.array_equal(history.candles(3).close, whole.close[8:11])
    assert len(history.candles(last_bars=99)) == 11


def test_digest_depends_on_each_digit_and_on_the_beginning():
    """Another price, another start, another order of the same: another name."""
    whole = made(20)
    tail = bars_of(whole)[10:12]

    def digest(first: Candles, *bars: Bar) -> str:
        history = History(first)
        for bar in bars:
            history.append(bar)
        return history.digest

    known = digest(whole[:10], *tail)
    assert digest(whole[:10], *tail) == known
    nudged = replace(tail[1], close=float(np.nextafter(tail[1].close, 1e9)))
    assert digest(whole[:10], tail[0], nudged) != known
    assert digest(whole[1:10], *tail) != known
    assert digest(whole[:10], tail[0]) != known


def test_bars_must_come_in_order_and_closed():
    """The feeder sees to it; here a mistake stops at once instead of trading on nonsense."""
    strategist = ZoneStrategist(build_strategy({}), {BTC: made(10)}, {BTC: contract()})
    old, new = Bar(START_MS, 1, 1, 1, 1, 1, True), bars_of(made(11))[10]
    with pytest.raises(AssertionError):
        strategist.take(BTC, [old])
    with pytest.raises(AssertionError):
        strategist.take(BTC, [replace(new, is_closed=False)])
    strategist.take(BTC, [new])
    assert strategist.next_open_ms(BTC) == new.ts_ms + M15_MS
