"""Many parameter sets over the same candles: what sets share is computed once.

Sets are taken as they come and their metrics handed out at once, so a sweep needs no more memory
for a million sets than for two. What a set shares with a recent one (zones, decisions, signals,
the course) is kept; put the settings that matter late (exits, risk) last in a grid's product, so
that neighbours share most. Figures equal those of single runs to the bit: the same functions make
them, and none of them changes what is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from blofin_cli.core.context import Market
from blofin_cli.core.signals import Plane, evaluate, find_zones_of, retarget
from blofin_cli.core.strategy import Costs, Manage, Strategy
from blofin_cli.engine.backtest import Course, lay_course, merge_signals, trade_signals
from blofin_cli.engine.study import quick_metrics

COURSES_KEPT = 2
ZONES_KEPT = 4
PLANES_KEPT = 16
SIGNALS_KEPT = 64


def sweep(
    markets: Sequence[Market],
    strategies: Iterable[Strategy],
    equity: float,
    since_ms: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The quick metrics of every strategy, in their order.

    Invariants: memory does not grow with the number of strategies; each result is what a single
    run of `evaluate`, `trade` and `quick_metrics` gives.
    """

    @lru_cache(COURSES_KEPT)
    def course_of(costs: Costs) -> Course:
        return lay_course(markets, costs, since_ms)

    @lru_cache(ZONES_KEPT)
    def zones_of(strategy: Strategy) -> list[Any]:
        return [find_zones_of(market, strategy) for market in markets]

    @lru_cache(PLANES_KEPT)
    def planes_of(strategy: Strategy) -> list[Plane]:
        found = zones_of(zones_only(strategy))
        return [evaluate(m, strategy, zones) for m, zones in zip(markets, found, strict=True)]

    @lru_cache(SIGNALS_KEPT)
    def signals_of(strategy: Strategy) -> NDArray[Any]:
        planes = [retarget(plane, strategy) for plane in planes_of(decisions_only(strategy))]
        return merge_signals(course_of(strategy.costs), planes)

    for strategy in strategies:
        course = course_of(strategy.costs)
        outcome = trade_signals(course, signals_of(signals_only(strategy)), strategy, equity)
        yield quick_metrics(outcome, course, equity)


# Each of these puts the defaults in place of what a stage does not read, so that strategies which
# differ only there are the same to it. `test_sweep` holds every parameter against single runs.

DEFAULT = Strategy()


def signals_only(strategy: Strategy) -> Strategy:
    """The strategy as its signals depend on it: the time stop and the risk of a trade are there."""
    given, default = strategy.risk, DEFAULT.risk
    risk = replace(
        default,
        limits=given.limits,
        tiers=given.tiers,
        per_trade_pct=given.per_trade_pct,
        weak_pct=given.weak_pct,
        fair_pct=given.fair_pct,
        strong_pct=given.strong_pct,
        range_scale=given.range_scale,
        high_volatility_scale=given.high_volatility_scale,
    )
    return replace(strategy, manage=Manage(tstop=strategy.manage.tstop), risk=risk)


def decisions_only(strategy: Strategy) -> Strategy:
    """The strategy as zones, scores and all gates but those of the plan depend on it."""
    risk = replace(DEFAULT.risk, limits=strategy.risk.limits, tiers=strategy.risk.tiers)
    return replace(strategy, target=DEFAULT.target, manage=DEFAULT.manage, risk=risk)


def zones_only(strategy: Strategy) -> Strategy:
    """The strategy as detection depends on it."""
    return replace(
        DEFAULT,
        timeframe=strategy.timeframe,
        context=strategy.context,
        trend=replace(DEFAULT.trend, timeframes=strategy.trend.timeframes),
        zones=strategy.zones,
        entry=replace(DEFAULT.entry, mode=strategy.entry.mode),
    )
