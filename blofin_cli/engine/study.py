"""A backtest as evidence: the run, its bounds, what chance would have done, and the verdict.

Baselines run through the same step without account limits, where every trade stands alone, and
are compared with the strategy run the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core import indicators, stats, validation
from blofin_cli.core import verdict as gate_of_proof
from blofin_cli.core.candles import Candles, Prices
from blofin_cli.core.context import Market
from blofin_cli.core.ledger import SignalRow, Verdict
from blofin_cli.core.market import Timeframe, Trade
from blofin_cli.core.signals import Plane, evaluate, find_zones_of, plan_costs
from blofin_cli.core.strategy import Strategy
from blofin_cli.core.verdict import Evidence, count_regimes
from blofin_cli.engine.backtest import Course, Outcome, lay_course, trade, trade_signals
from blofin_cli.engine.trades import origin_of, part_exits, to_trade

BOOTSTRAP_DRAWS = 2000
SPA_DRAWS = 2000
SPA_BLOCK_WEEKS = 4
STRESS = 0.5
RANDOM_WINDOW_MS = 30 * 86_400_000
DAY_MS = 86_400_000

Progress = Callable[[int, int, str], None]
Row = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """How much to start with, from when, and how often to ask chance; 200 draws make a p-value."""

    equity: float
    draws: int
    seed: int
    since_ms: int | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """One strategy over history, with everything that says what it is worth."""

    strategy: Strategy
    course: Course
    planes: tuple[Plane, ...]
    outcome: Outcome
    optimistic: Outcome | None
    baselines: dict[str, Row]
    placebo_p: float | None
    plan: StudyPlan

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Section 10's metrics by their public names; None where undefined."""
        return measure(self.outcome, self.course, self.plan)

    @cached_property
    def bounds(self) -> dict[str, dict[str, float | None]]:
        """The same result when every undecidable bar went against us, and when for us."""
        best = self.optimistic or self.outcome
        return {
            "pessimistic": _bound(self.outcome, self.plan.equity),
            "optimistic": _bound(best, self.plan.equity),
        }

    def evidence(self, trial_sharpes: Sequence[float]) -> Evidence:
        """What the gate is judged on; `trial_sharpes` are daily ones of every trial so far."""
        trades = self.outcome.trades
        positive, counted = count_regimes(
            stats.by_bucket(self.regimes(), trades["net_r"], trades["entry_ms"])
        )
        weekly = validation.weekly_net_r(
            trades["net_r"], trades["entry_ms"], *_span_ms(self.course)
        )
        spa = validation.snooping(
            weekly, draws=SPA_DRAWS, block_weeks=SPA_BLOCK_WEEKS, seed=self.plan.seed
        )
        stressed = _stressed_r(trades)
        return Evidence(
            trades=len(trades),
            reward_risk=self.metrics["reward_risk"],
            mean_r_low=self.metrics["expectancy_r_low"],
            deflated_sharpe=self.deflated_sharpe(trial_sharpes),
            spa_p=None if spa is None else spa.consistent,
            placebo_p=self.placebo_p,
            placebo_draws=self.plan.draws,
            mean_r_stressed=float(stressed.mean()) if len(stressed) else None,
            regimes_positive=positive,
            regimes_counted=counted,
            ambiguous_share=self.metrics["ambiguous_share"],
        )

    def verdict(self, trial_sharpes: Sequence[float]) -> gate_of_proof.Verdict:
        """The gate's verdict, as far as a plain backtest can be judged."""
        return gate_of_proof.verdict(self.evidence(trial_sharpes))

    def deflated_sharpe(self, trial_sharpes: Sequence[float]) -> float | None:
        """Probability that the Sharpe ratio beats the best of as many lucky trials."""
        sample = validation.sharpe_sample(self.daily_returns)
        if sample is None:
            return None
        spread = float(np.var(trial_sharpes, ddof=1)) if len(trial_sharpes) > 1 else 0.0
        return validation.deflated_sharpe(sample, max(1, len(trial_sharpes)), spread)

    @cached_property
    def daily_sharpe(self) -> float | None:
        """Sharpe ratio per day, as the trial ledger keeps it."""
        sample = validation.sharpe_sample(self.daily_returns)
        return None if sample is None else sample.sharpe

    @cached_property
    def daily_returns(self) -> Prices:
        """Log returns of equity from day to day."""
        daily = np.r_[self.plan.equity, self.outcome.curve[self.course.day_ends]]
        return np.diff(np.log(daily)) if (daily > 0).all() else np.zeros(0)

    def plane_row(self, trade_row: Any) -> tuple[Plane, int]:
        """The plane and the decision that a trade came from."""
        signal = self.outcome.signals[trade_row["signal"]]
        return self.planes[signal["symbol"]], int(signal["zone"])

    def regimes(self) -> list[str]:
        """The regime each trade was decided in."""
        rows = [self.plane_row(row) for row in self.outcome.trades]
        return [str(plane.regime[decision]) for plane, decision in rows]

    def refusals(self) -> dict[str, int]:
        """How many decisions each gate was the first to refuse, gates before account."""
        counts: dict[str, int] = {}
        for plane, start in zip(self.planes, self.course.start_row, strict=True):
            left = plane.at.bar >= start
            for gate in plane.gates:
                refused = int((left & ~gate.passed).sum())
                counts[gate.name] = counts.get(gate.name, 0) + refused
                left &= gate.passed
        for verdict_code in self.outcome.signals["verdict"]:
            if verdict_code > Verdict.UNSEEN:
                name = Verdict(int(verdict_code)).name.lower()
                counts[name] = counts.get(name, 0) + 1
        return {name: count for name, count in counts.items() if count}

    def trades(self, run_id: str) -> list[Trade]:
        """The finished trades as public records, in order of their exit."""
        exits = part_exits(self.outcome.exits)
        return [
            to_trade(
                row,
                exits.get(int(row["number"]), []),
                origin_of(*self.plane_row(row)),
                trade_id=f"{run_id}-{index + 1}",
                run_id=run_id,
                mode="backtest",
            )
            for index, row in enumerate(self.outcome.trades)
        ]


def study(
    markets: Sequence[Market],
    strategy: Strategy,
    plan: StudyPlan,
    progress: Progress,
) -> Study:
    """Run a strategy over history, and everything it is to be compared with."""
    total = len(markets) + 2 + 2 * plan.draws
    planes = []
    for done, market in enumerate(markets):
        progress(done, total, f"zones of {market.entry.symbol}")
        planes.append(evaluate(market, strategy))
    course = lay_course(markets, strategy.costs, plan.since_ms)
    progress(len(markets), total, "trading")
    outcome = trade(course, planes, strategy, plan.equity)
    optimistic = None
    if outcome.trades["is_ambiguous"].any():
        optimistic = trade(course, planes, strategy, plan.equity, optimistic=True)
    baselines: dict[str, Row] = {
        "buy_and_hold": _hold(course, plan.equity, strategy),
        "ema_50_200": _ema_trend(course, plan.equity, strategy),
    }
    placebo_p = None
    if plan.draws:
        chance, placebo_p = _chance(course, planes, alone_strategy(strategy), plan, progress)
        baselines |= chance
    progress(total, total, "done")
    return Study(strategy, course, tuple(planes), outcome, optimistic, baselines, placebo_p, plan)


def trades_of(
    course: Course, planes: Sequence[Plane], strategy: Strategy, plan: StudyPlan, run_id: str
) -> list[Trade]:
    """The trades of a plain run, without anything to compare them with."""
    outcome = trade(course, planes, strategy, plan.equity)
    whole = Study(strategy, course, tuple(planes), outcome, None, {}, None, plan)
    return whole.trades(run_id)


def _chance(
    course: Course, planes: Sequence[Plane], alone: Strategy, plan: StudyPlan, progress: Progress
) -> tuple[dict[str, Row], float | None]:
    """What shuffled levels and random entries with the same brackets would have made."""
    actual = trade(course, planes, alone, plan.equity).trades["net_r"]
    if not len(actual):
        return {}, None
    found = [find_zones_of(plane.market, alone) for plane in planes]
    shuffled, guessed = [], []
    bits = np.random.PCG64(plan.seed)
    done, total = len(planes) + 2, len(planes) + 2 + 2 * plan.draws
    for draw in range(plan.draws):
        progress(done + 2 * draw, total, "levels shuffled, entries at random")
        fakes = [
            evaluate(plane.market, alone, shuffle_levels(zones, bits))
            for plane, zones in zip(planes, found, strict=True)
        ]
        shuffled.append(trade(course, fakes, alone, plan.equity).trades["net_r"])
        guesses = random_entries(course, planes, bits)
        guessed.append(trade_signals(course, guesses, alone, plan.equity).trades["net_r"])
    rows = {
        "ema_20_50_bracket": _ema_bracket(course, planes, alone, plan.equity),
        "strategy_alone": _mean_of([actual]),
        "random_entries": _mean_of(guessed),
        "shuffled_zones": _mean_of(shuffled),
    }
    means = np.array([_mean(draw) for draw in shuffled])
    return rows, validation.permutation_p(_mean(actual), means)


def measure(outcome: Outcome, course: Course, plan: StudyPlan) -> dict[str, Any]:
    """Metrics of section 10 of one run, by public name.

    `expectancy_r_low` and `_high` are the 95 % week-bootstrap interval of the mean net R.
    """
    trades = outcome.trades
    per_trade = stats.trade_metrics(trades["net_r"], trades["pnl"])
    interval = stats.week_bootstrap(
        trades["net_r"], trades["entry_ms"], draws=BOOTSTRAP_DRAWS, seed=plan.seed
    )
    costs = stats.cost_metrics(
        trades["pnl"],
        trades["risk_price"] * trades["quantity"],
        fees_usdt=trades["fees"],
        funding_usdt=trades["funding"],
        slippage_usdt=trades["slippage"],
    )
    first_ms, last_ms = _span_ms(course)
    metrics = quick_metrics(outcome, course, plan.equity)
    return metrics | {
        "average_win_r": per_trade.average_win_r,
        "average_loss_r": per_trade.average_loss_r,
        "breakeven_win_rate": per_trade.breakeven_win_rate,
        "sqn": per_trade.sqn,
        "losing_streak": per_trade.losing_streak,
        "drawdown_r": per_trade.drawdown_r,
        "sum_r": per_trade.sum_r,
        "pnl_usdt": per_trade.pnl_usdt,
        "expectancy_r_low": None if interval is None else interval.low,
        "expectancy_r_high": None if interval is None else interval.high,
        "exposure": stats.exposure(trades["entry_ms"], trades["exit_ms"], first_ms, last_ms),
        "turnover": float(outcome.account["turnover"]) / plan.equity,
        "fees_usdt": costs.fees_usdt,
        "funding_usdt": costs.funding_usdt,
        "slippage_usdt": costs.slippage_usdt,
        "fees_r": costs.fees_r,
        "funding_r": costs.funding_r,
        "slippage_r": costs.slippage_r,
        "share_of_gross": costs.share_of_gross,
        "ambiguous_share": float(trades["is_ambiguous"].mean()) if len(trades) else None,
    }


def quick_metrics(outcome: Outcome, course: Course, equity: float) -> dict[str, Any]:
    """The metrics a parameter sweep ranks by; no resampling."""
    per_trade = stats.trade_metrics(outcome.trades["net_r"])
    first_ms, last_ms = _span_ms(course)
    years = (last_ms - first_ms) / (365 * DAY_MS)
    daily = np.concatenate(((equity,), outcome.curve[course.day_ends]))
    curve = stats.equity_metrics(daily, float(outcome.account["drawdown_max"]), years)
    return {
        "trades": per_trade.trades,
        "win_rate": per_trade.win_rate,
        "reward_risk": per_trade.reward_risk,
        "expectancy_r": per_trade.expectancy_r,
        "profit_factor": per_trade.profit_factor,
        "total_return": curve.total_return,
        "cagr": curve.cagr,
        "max_drawdown": curve.max_drawdown,
        "sharpe": curve.sharpe,
        "sortino": curve.sortino,
        "calmar": curve.calmar,
    }


def alone_strategy(strategy: Strategy) -> Strategy:
    """The strategy without account limits, where every signal is traded and stands alone."""
    return replace(strategy, risk=replace(strategy.risk, limits=False))


def shuffle_levels(
    found: list[tuple[Candles, NDArray[Any]]], bits: np.random.PCG64
) -> list[tuple[Candles, NDArray[Any]]]:
    """The zones with their departure distances dealt out anew among them.

    Direction, height and time of each zone stay; its level becomes that of another zone.
    Source: 11.6, level placebo.
    """
    shuffled = []
    for candles, zones in found:
        moved = zones.copy()
        order = np.argsort(bits.random_raw(len(zones)), kind="stable")
        close = candles.close[zones["born"]]
        reach = (zones["departure_atr"] * zones["atr"])[order]
        moved["proximal"] = close - zones["side"] * reach
        moved["distal"] = moved["proximal"] - (zones["proximal"] - zones["distal"])
        shuffled.append((candles, moved))
    return shuffled


def random_entries(course: Course, planes: Sequence[Plane], bits: np.random.PCG64) -> NDArray[Any]:
    """Signals with the same brackets at a random bar within 30 days. Source: 11.6."""
    parts = []
    for index, plane in enumerate(planes):
        rows = plane.signals()
        start, closes = course.start_row[index], plane.market.entry.close
        rows = rows[rows["tick"] >= start]
        span = RANDOM_WINDOW_MS // course.step_ms
        shift = (bits.random_raw(len(rows)) % np.uint64(2 * span + 1)).astype(np.int64) - span
        bar = np.clip(rows["tick"] + shift, start, max(start, len(closes) - 2))
        scale = closes[bar] / rows["entry"]
        rows["stop"] *= scale
        rows["target"] *= scale
        rows["entry"], rows["limit"] = closes[bar], 0.0
        rows["symbol"] = index
        rows["tick"] = np.searchsorted(course.tick_ts, plane.market.entry.ts[bar])
        parts.append(rows)
    signals = np.concatenate(parts)
    return signals[np.argsort(signals["tick"], kind="stable")]


def _hold(course: Course, equity: float, strategy: Strategy) -> Row:
    """Buy every symbol in equal parts at the first open and sell at the last close."""
    part = equity / len(course.markets)
    curve = np.zeros(len(course.tick_ts))
    for market, first, start in zip(course.markets, course.first, course.start_row, strict=True):
        candles = market.entry[start:]
        if len(candles) == 0:
            curve += part
            continue
        fee = plan_costs(strategy, candles.symbol, is_limit=False)[1]
        rows = slice(first, first + len(candles))
        units = part / (candles.open[0] * (1 + fee))
        paid = np.cumsum(course.bars.funding_long[rows] * candles.close) * units
        value = candles.close * units * (1 - fee) - paid
        at = np.searchsorted(candles.ts, course.tick_ts, side="right") - 1
        curve += np.where(at >= 0, value[at], part)
    return _curve_figures(curve, equity, course)


def _ema_trend(course: Course, equity: float, strategy: Strategy) -> Row:
    """Always in, on the side of EMA50 over EMA200 of 1h, equal parts of equity a symbol."""
    part = equity / len(course.markets)
    curve = np.zeros(len(course.tick_ts))
    close_ms = course.tick_ts + course.step_ms
    for market in course.markets:
        frame = market.frame(Timeframe.H1)
        if len(frame) < 2:
            curve += part
            continue
        fee = plan_costs(strategy, frame.symbol, is_limit=False)[1]
        slow = _ema(market, 200)
        side = np.nan_to_num(np.sign(market.ema(Timeframe.H1) - slow))[:-1]
        side[frame.close_ts[:-1] < course.tick_ts[0]] = 0.0
        change = np.diff(frame.close) / frame.close[:-1]
        turns = np.abs(np.diff(np.r_[0.0, side]))
        worth = np.r_[1.0, np.cumprod(1 + side * change - turns * fee)]
        at = np.searchsorted(frame.close_ts, close_ms, side="right") - 1
        curve += part * np.where(at >= 0, worth[at], 1.0)
    return _curve_figures(curve, equity, course)


def _ema(market: Market, length_bars: int) -> Prices:
    frame = market.frame(Timeframe.H1)
    return market.keep(("ema", length_bars), lambda: indicators.ema(frame, length_bars))


def _ema_bracket(course: Course, planes: Sequence[Plane], alone: Strategy, equity: float) -> Row:
    """Enter where EMA20 crosses EMA50 on 1h, with the strategy's median stop and its target."""
    parts = []
    for index, plane in enumerate(planes):
        own, market = plane.signals(), plane.market
        frame = market.frame(Timeframe.H1)
        if not len(own) or len(frame) < 2:
            continue
        distance = float(np.median(np.abs(own["entry"] - own["stop"]) / own["entry"]))
        fast = _ema(market, 20)
        over = np.nan_to_num(np.sign(fast - market.ema(Timeframe.H1)))
        crossed = np.flatnonzero((over[1:] != over[:-1]) & (over[1:] * over[:-1] < 0)) + 1
        bar = np.searchsorted(market.entry.close_ts, frame.close_ts[crossed])
        inside = (bar >= course.start_row[index]) & (bar < len(market.entry))
        crossed, bar = crossed[inside], bar[inside]
        rows = SignalRow.rows(len(bar))
        rows["symbol"], rows["side"] = index, over[crossed].astype(np.int64)
        rows["tick"] = np.searchsorted(course.tick_ts, market.entry.ts[bar])
        rows["until"] = rows["tick"]
        rows["hold_ms"], rows["zone_ms"] = int(np.median(own["hold_ms"])), own["zone_ms"][0]
        rows["entry"] = market.entry.close[bar]
        rows["stop"] = rows["entry"] * (1 - rows["side"] * distance)
        rows["risk_fraction"], rows["notional_scale"] = alone.risk.per_trade_pct * 0.01, 1.0
        parts.append(rows)
    if not parts:
        return {"trades": 0}
    signals = np.concatenate(parts)
    signals = signals[np.argsort(signals["tick"], kind="stable")]
    return _mean_of([trade_signals(course, signals, alone, equity).trades["net_r"]])


def _curve_figures(curve: Prices, equity: float, course: Course) -> Row:
    first_ms, last_ms = _span_ms(course)
    years = (last_ms - first_ms) / (365 * DAY_MS)
    daily = np.r_[equity, curve[course.day_ends]]
    result = stats.equity_metrics(daily, stats.max_drawdown(np.r_[equity, curve]), years)
    return {
        "total_return": result.total_return,
        "max_drawdown": result.max_drawdown,
        "sharpe": result.sharpe,
    }


def _mean(net_r: Prices) -> float:
    return float(net_r.mean()) if len(net_r) else 0.0


def _mean_of(draws: list[Prices]) -> Row:
    means = np.array([_mean(draw) for draw in draws])
    pooled = np.concatenate(draws)
    return {
        "trades": round(len(pooled) / len(draws)),
        "expectancy_r": _mean(pooled),
        "win_rate": float((pooled > 0).mean()) if len(pooled) else None,
        "expectancy_r_min": float(means.min()),
        "expectancy_r_max": float(means.max()),
        "draws": len(draws),
    }


def _stressed_r(trades: NDArray[Any]) -> Prices:
    """Net R had fees and slippage been half as large again."""
    extra = STRESS * (trades["fees"] + trades["slippage"])
    return np.asarray((trades["pnl"] - extra) / (trades["risk_price"] * trades["quantity"]))


def _bound(outcome: Outcome, equity: float) -> dict[str, float | None]:
    net_r = outcome.trades["net_r"]
    return {
        "expectancy_r": float(net_r.mean()) if len(net_r) else None,
        "total_return": float(outcome.curve[-1] / equity - 1) if len(outcome.curve) else 0.0,
        "max_drawdown": float(outcome.account["drawdown_max"]),
    }


def _span_ms(course: Course) -> tuple[int, int]:
    return int(course.tick_ts[0]), int(course.tick_ts[-1]) + course.step_ms
