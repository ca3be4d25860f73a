"""Our side of every in-process row: each function prepares and returns what one round runs."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import peak_mb
from benchmarks.data import YEAR_BARS, load
from blofin_cli.core import compiled
from blofin_cli.core.candles import Candles
from blofin_cli.core.context import Market
from blofin_cli.core.instruments import instrument
from blofin_cli.core.ledger import SignalRow, Verdict
from blofin_cli.core.market import Timeframe
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import Strategy, Zones, build_strategy
from blofin_cli.core.zones import detect, follow, path_of
from blofin_cli.engine.backtest import Outcome, lay_course, trade, trade_signals
from blofin_cli.engine.study import quick_metrics
from blofin_cli.engine.sweep import sweep

EQUITY = 10_000.0
STOP_FRACTION, TARGET_FRACTION, RISK_FRACTION = 0.015, 0.03, 0.01
Job = Callable[[], dict[str, Any] | None]


def fresh(candles: Candles) -> Candles:
    """The same columns, nothing computed from them yet."""
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return Candles(candles.symbol, candles.timeframe, candles.ts, *columns)


def market(candles: Candles) -> Market:
    """A market that remembers nothing."""
    terms = instrument("BTC-USDT")
    assert terms is not None
    return Market(fresh(candles), terms)


def whole(candles: Candles, strategy: Strategy) -> tuple[Outcome, dict[str, Any]]:
    """Candles in memory to trades and metrics."""
    one = market(candles)
    plane = evaluate(one, strategy)
    course = lay_course([one], strategy.costs)
    outcome = trade(course, [plane], strategy, EQUITY)
    return outcome, quick_metrics(outcome, course, EQUITY)


def strategy_of(timeframe: Timeframe) -> Strategy:
    """The default strategy; on 1m its zones are those of 15m and 1h.

    There its breakers are out of reach too: a halted account would make the later bars cheap.
    """
    if timeframe == Timeframe.M15:
        return build_strategy({})
    endless = {"risk.drawdown_pct": 100, "risk.week_loss_pct": 100, "risk.day_loss_pct": 100}
    return build_strategy({"timeframe": "1m", "context": "15m,1h"} | endless)


def pipeline(folder: Path, name: str, bars: str, how: str = "compiled") -> Job:
    """The whole pipeline over the first bars of a series."""
    timeframe = Timeframe(name)
    candles, strategy = load(folder, name, timeframe, int(bars)), strategy_of(timeframe)

    def run() -> dict[str, Any]:
        with compiled.forced(how == "compiled"):
            outcome, metrics = whole(candles, strategy)
        return {"bars": len(candles), "trades": metrics["trades"], "signals": len(outcome.signals)}

    return run


def stages(folder: Path, name: str, bars: str) -> Job:
    """Where the time of the compiled pipeline goes."""
    timeframe = Timeframe(name)
    candles, strategy = load(folder, name, timeframe, int(bars)), strategy_of(timeframe)

    def run() -> dict[str, Any]:
        with compiled.forced(True):
            marks = [time.perf_counter()]
            one = market(candles)
            plane = evaluate(one, strategy)
            marks.append(time.perf_counter())
            course = lay_course([one], strategy.costs)
            marks.append(time.perf_counter())
            outcome = trade(course, [plane], strategy, EQUITY)
            marks.append(time.perf_counter())
            quick_metrics(outcome, course, EQUITY)
            marks.append(time.perf_counter())
        names = ("zones, signals, gates", "course", "step", "metrics")
        return {"stages_ms": dict(zip(names, (np.diff(marks) * 1e3).round(2), strict=True))}

    return run


def numpy_pass(folder: Path, name: str, bars: str) -> Job:
    """The yardstick of this machine: one running sum over each of the five columns."""
    candles = load(folder, name, Timeframe(name), int(bars))
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)

    def run() -> None:
        for column in columns:
            np.cumsum(column)

    return run


def equality(folder: Path) -> Job:
    """Interpreted against compiled: trades, fills, signals and the curve, byte by byte."""
    candles, strategy = load(folder, "15m", Timeframe.M15, YEAR_BARS), build_strategy({})

    def run() -> dict[str, Any]:
        found = []
        for compile_kernels in (False, True):
            with compiled.forced(compile_kernels):
                outcome, metrics = whole(candles, strategy)
            arrays = (outcome.trades, outcome.exits, outcome.signals, outcome.curve)
            found.append(([a.tobytes() for a in arrays], outcome.account.tobytes(), metrics))
        return {"equal": found[0] == found[1], "trades": found[0][2]["trades"]}

    return run


def zone_grid() -> Iterator[Strategy]:
    """A thousand sets, no two of which find the same zones: nothing can be shared."""
    axes = {
        "zones.out_move_atr": np.linspace(1.0, 2.8, 10),
        "zones.in_move_atr": np.linspace(0.5, 1.4, 10),
        "zones.base_range_atr": np.linspace(0.8, 1.4, 10),
    }
    return grid(axes)


def exit_grid() -> Iterator[Strategy]:
    """A thousand sets of exits and risk over the same zones and touches."""
    axes = {
        "target.rr": np.linspace(2.0, 6.5, 10),
        "risk.per_trade_pct": np.array([0.25, 0.5, 0.75, 1.0]),
        "manage.be_at": np.array([0.0, 0.5, 1.0, 1.5, 2.0]),
        "manage.trail": np.array([0.0, 1.0, 1.5, 2.0, 3.0]),
    }
    return grid(axes)


def grid(axes: dict[str, Any]) -> Iterator[Strategy]:
    """The product of the axes, the last one fastest."""
    for values in itertools.product(*axes.values()):
        yield build_strategy(dict(zip(axes, map(float, values), strict=True)))


GRIDS = {"zones": zone_grid, "exits": exit_grid}


def sweeping(folder: Path, name: str, sets: str) -> Job:
    """Parameter sets over one year; building the sets is not part of it, judging them is."""
    candles = load(folder, "15m", Timeframe.M15, YEAR_BARS)
    step = max(1, 1000 // int(sets))
    strategies = list(itertools.islice(GRIDS[name](), 0, None, step))

    def run() -> dict[str, Any]:
        early_mb, trades = 0.0, 0
        with compiled.forced(True):
            for done, metrics in enumerate(sweep([market(candles)], iter(strategies), EQUITY)):
                trades += metrics["trades"]
                if done == len(strategies) // 10:
                    early_mb = peak_mb()
        return {"sets": len(strategies), "trades": trades, "growth_mb": peak_mb() - early_mb}

    return run


def bracket(folder: Path) -> Job:
    """The step with signals given: stop 1.5 %, target 3 %, 1 % risk, taker 0.06 %, 2 bps."""
    candles = load(folder, "15m", Timeframe.M15, YEAR_BARS)
    side = np.load(folder / "crosses.npy")
    course = lay_course([market(candles)], BRACKET.costs)
    bar = np.flatnonzero(side)
    rows = SignalRow.rows(len(bar))
    rows["tick"], rows["until"], rows["side"] = bar, bar, side[bar]
    rows["entry"] = candles.close[bar]
    rows["stop"] = candles.close[bar] * (1 - side[bar] * STOP_FRACTION)
    rows["target"] = candles.close[bar] * (1 + side[bar] * TARGET_FRACTION)
    rows["hold_ms"] = 10 * YEAR_BARS * Timeframe.M15.ms
    rows["zone_ms"] = Timeframe.H1.ms
    rows["risk_fraction"], rows["notional_scale"] = RISK_FRACTION, 1.0
    rows["verdict"] = int(Verdict.UNSEEN)

    def run() -> dict[str, Any]:
        with compiled.forced(True):
            outcome = trade_signals(course, rows, BRACKET, EQUITY)
        trades = outcome.trades
        first = candles.ts[0]
        return {
            "trades": len(trades),
            "entry_bars": ((trades["entry_ms"] - first) // Timeframe.M15.ms).tolist(),
            "exit_bars": ((trades["exit_ms"] - first) // Timeframe.M15.ms).tolist(),
            "final": float(outcome.curve[-1]),
        }

    return run


# One position at a time and nothing else of the account's rules; the costs of the bracket job.
BRACKET = build_strategy(
    {
        "costs.slippage": "fixed",
        "costs.floor_major_bps": 2,
        "costs.taker": 0.0006,
        "costs.market_share": 1,
        "costs.funding_8h": 0,
        "risk.per_trade_pct": 1,
        "risk.max_leverage": 20,
        "risk.volume_share_pct": 10,
        "risk.portfolio_pct": 20,
        "risk.total_pct": 20,
        "risk.direction_pct": 20,
        "risk.day_loss_pct": 100,
        "risk.week_loss_pct": 100,
        "risk.drawdown_pct": 100,
        "risk.cooldown_h": 0,
        "risk.pause_h": 0,
        "risk.stops_symbol": 50,
        "risk.stops_account": 50,
        "risk.entries_per_day": 1000,
    }
)

FRAMES = (Timeframe.M15, Timeframe.H1, Timeframe.H4)


def zones(folder: Path, what: str) -> Job:
    """Zones of four years on three timeframes; `lives` also follows each to its end."""
    frames = [load(folder, f"zones_{timeframe}", timeframe) for timeframe in FRAMES]
    parameters = Zones()

    def run() -> dict[str, Any]:
        with compiled.forced(True):
            own = [fresh(frame) for frame in frames]
            found = [(frame, detect(frame, parameters)) for frame in own]
            if what == "lives":
                follow(found, own[0], (path_of(own[0], 1), path_of(own[0], -1)), parameters)
        return {"zones": [len(rows) for _, rows in found]}

    return run


def year_stages(folder: Path, data: str) -> Job:
    """Where the time of one year from the command line goes; a process of its own tells."""
    path = Path(data)
    source = f"data=Path({str(path)!r})" if path.exists() else "synthetic=7"
    program = YEAR_PROGRAM.replace("SOURCE", source)

    def run() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
        )
        return {"stages_ms": json.loads(done.stdout)}

    return run


YEAR_PROGRAM = """
import json, time
marks = [("", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
from pathlib import Path
import numpy as np
mark("numpy")
from blofin_cli.app import catalog
from blofin_cli.app.commands import research
mark("registry")
from blofin_cli.core import indicators
indicators._talib()
mark("talib")
from blofin_cli.engine.study import StudyPlan, study
from blofin_cli.core.context import Market
from blofin_cli.core.instruments import instrument
from blofin_cli.core.strategy import build_strategy
from blofin_cli.core.signals import evaluate
from blofin_cli.engine.backtest import lay_course, trade
mark("engine")
from blofin_cli.adapters.candles import open_source
from blofin_cli.core.market import Timeframe
source = open_source(SOURCE)
candles = source.candles("BTC-USDT", Timeframe.M15)[:35_040]
mark("candles")
one, strategy = Market(candles, instrument("BTC-USDT")), build_strategy({})
plane = evaluate(one, strategy)
mark("zones and signals")
course = lay_course([one], strategy.costs)
outcome = trade(course, [plane], strategy, 10_000.0)
mark("step")
steps = zip(marks, marks[1:])
print(json.dumps({name: (now - before) * 1e3 for (_, before), (name, now) in steps}))
"""
