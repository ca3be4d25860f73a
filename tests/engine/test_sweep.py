"""A sweep may share work between parameter sets, and nothing else."""

from dataclasses import replace
from itertools import chain, islice, repeat

import pytest

from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core.context import Market
from blofin_cli.core.instruments import instrument
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import Strategy, build_strategy, flatten
from blofin_cli.engine.backtest import lay_course, trade
from blofin_cli.engine.study import quick_metrics
from blofin_cli.engine.sweep import sweep
from blofin_cli.errors import UsageError

EQUITY = 10_000.0
# A strategy that trades often, so that few candles make many trades.
BUSY = {"stop.min_stop_pct": 0, "target.min_net_rr": 0, "target.rr": 2, "volatility.rank_max": 1}


@pytest.fixture(scope="module")
def market() -> Market:
    candles = SyntheticMarket(7, bars=3000).candles("BTC-USDT", Strategy().timeframe)
    terms = instrument("BTC-USDT")
    assert terms is not None
    return Market(candles, terms)


def single(market: Market, strategy: Strategy) -> dict:
    """The plain way, on a market that remembers nothing."""
    fresh = replace(market, _kept={})
    course = lay_course([fresh], strategy.costs)
    outcome = trade(course, [evaluate(fresh, strategy)], strategy, EQUITY)
    return quick_metrics(outcome, course, EQUITY)


def changed(name: str, value: object) -> object:
    """Another value that the parameter may have; None when there is none of use here."""
    words = {
        "entry.mode": "limit",
        "zones.proximal": "wick",
        "zones.break_mode": "wick",
        "target.mode": "opposing",
        "target.order": "limit",
        "target.parts": "1:50%,2:50%",
        "costs.slippage": "fixed",
        "context": "30m,4h",
        "trend.timeframes": "4h",
        "preset": "reference",
        "zones.preset": "classic",
        "manage.tstop": 10,
    }
    if name in words:
        return words[name]
    if isinstance(value, bool):
        return not value
    if name.endswith(".mode") and name != "filters.book_imbalance.mode":
        return "required"
    if isinstance(value, int | float):
        return _other_number(name, value)
    return None


def _other_number(name: str, value: float) -> float | None:
    for candidate in (value * 1.5, value * 0.6, value + 1, 1.0):
        number = int(candidate) if isinstance(value, int) else candidate
        if number != value and _allowed(name, number):
            return number
    return None


def _allowed(name: str, value: object) -> bool:
    try:
        build_strategy(BUSY | {name: value})
    except UsageError:
        return False
    return True


@pytest.mark.process
def test_sweep_equals_single_runs_for_every_parameter(market):
    """Whatever one parameter changes, a sweep sees it, and to the last bit."""
    flat = flatten(build_strategy(BUSY))
    values = {name: changed(name, value) for name, value in flat.items()}
    grid = [{}, *({name: value} for name, value in values.items() if value is not None)]
    strategies = [build_strategy(BUSY | settings) for settings in grid]
    swept = list(sweep([market], strategies, EQUITY))
    alone = [single(market, strategy) for strategy in strategies]
    assert [g for g, s, a in zip(grid, swept, alone, strict=True) if s != a] == []
    assert sum(a != alone[0] for a in alone) > len(alone) // 3
    assert alone[0]["trades"] > 5


def test_sweep_hands_out_results_as_it_goes(market):
    """An endless grid may be swept; nothing is collected first."""
    endless = chain.from_iterable(repeat([build_strategy(BUSY)]))
    first, second = islice(sweep([market], endless, EQUITY), 2)
    assert first == second
