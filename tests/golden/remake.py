"""Remake `default_btc.json`, the golden of the default preset, from the bundled candles.

    python -m tests.golden.remake

Read every changed line before it is committed: it is a change to how the product trades.
"""

import json
import sys
from pathlib import Path
from typing import Any

from blofin_cli.adapters.candles.files import FileSource
from blofin_cli.core.context import Market
from blofin_cli.core.ledger import REASONS
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.backtest import lay_course, trade
from blofin_cli.engine.study import StudyPlan, measure
from tests.fakes import BTC, PERP, real_market

GOLDEN = Path(__file__).parent / "default_btc.json"
PLAN = StudyPlan(equity=10_000.0, draws=0, seed=7)
ROUND = 10  # significant digits


def btc_with_costs() -> Market:
    """BTC's 15m candles of 2022-2024 with its real funding and hourly mark prices."""
    source, plain = FileSource(PERP), real_market("BTC")
    return Market(plain.entry, plain.instrument, mark=source.mark(BTC), funding=source.funding(BTC))


def golden() -> dict[str, Any]:
    """What the default preset does on BTC: counts, metrics, and its first and last trades."""
    market, strategy = btc_with_costs(), build_strategy({})
    course = lay_course([market], strategy.costs)
    plane = evaluate(market, strategy)
    outcome = trade(course, [plane], strategy, PLAN.equity)
    reasons = [str(REASONS[code]) for code in outcome.trades["reason"]]
    return {
        "decisions": len(plane.zone),
        "signals": len(outcome.signals),
        "trades": len(outcome.trades),
        "reasons": {name: reasons.count(name) for name in sorted(set(reasons))},
        "sum_r": short(outcome.trades["net_r"].sum()),
        "equity_end": short(outcome.curve[-1]),
        "metrics": {k: short(v) for k, v in sorted(measure(outcome, course, PLAN).items())},
        "first_trades": [told(row) for row in outcome.trades[:5]],
        "last_trade": told(outcome.trades[-1]),
    }


def told(row: Any) -> dict[str, Any]:
    """One trade, numbers shortened."""
    names = ("side", "entry_ms", "exit_ms", "quantity", "entry", "exit", "stop", "target", "pnl",
             "fees", "funding", "slippage", "net_r")  # fmt: skip
    words = {name: short(row[name]) for name in names}
    return words | {"reason": str(REASONS[row["reason"]])}


def short(value: Any) -> Any:
    """A number to ten significant digits; whole numbers and None as they are."""
    if value is None or float(value).is_integer():
        return None if value is None else int(value)
    return float(f"{float(value):.{ROUND}g}")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
    sys.stdout.write(f"{GOLDEN}\n")
