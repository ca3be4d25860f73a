"""Runs the settings of `test_parity` compiled, in a process of its own, and writes what they did.

    python -m tests.engine.parity_probe FOLDER [plain]

`plain` compiles without numba's private option that switches reference counting off.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from blofin_cli.core import compiled
from blofin_cli.core.context import Market
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.backtest import Outcome, lay_course, trade
from tests.fakes import BTC, invented_market

BARS = 6_000
COINS = (BTC, "ETH-USDT", "SOL-USDT")
SETTINGS: dict[str, dict[str, Any]] = {
    "reference": {"preset": "reference"},
    "default": {},
    "limit": {"entry.mode": "limit", "risk.positions_max": 20},
    "parts": {
        "target.parts": "1:25%,2:25%,4:50%",
        "target.order": "limit",
        "manage.trail": 1.5,
        "manage.be_at": 1,
    },
    "refined": {"entry.mode": "refined"},
    "opposing": {"target.mode": "opposing", "target.min_rr": 1.5},
    "opposite": {"preset": "reference", "manage.exit_on_opposite": "true"},
    "loose": {
        "risk.per_trade_pct": 2,
        "risk.portfolio_pct": 20,
        "risk.total_pct": 20,
        "risk.direction_pct": 20,
        "costs.market_share": 0.01,
        "stop.min_stop_pct": 0,
        "target.min_net_rr": 0,
        "volatility.rank_max": 1,
        "risk.cooldown_h": 0,
    },
}


def markets(name: str) -> list[Market]:
    """Three symbols on one clock for the account settings, one for the others."""
    coins = COINS if name in ("default", "limit", "parts", "loose") else COINS[:1]
    return [invented_market(5, BARS, coin) for coin in coins]


def outcome_of(name: str, *, optimistic: bool = False) -> Outcome:
    """One setting's run."""
    strategy = build_strategy(SETTINGS[name])
    known = markets(name)
    course = lay_course(known, strategy.costs)
    planes = [evaluate(market, strategy) for market in known]
    return trade(course, planes, strategy, 10_000.0, optimistic)


def columns_of(outcome: Outcome) -> dict[str, np.ndarray]:
    """Everything a run leaves behind, as plain arrays."""
    columns = {"curve": outcome.curve}
    rows = {"trades": outcome.trades, "exits": outcome.exits, "signals": outcome.signals}
    rows["account"] = np.atleast_1d(outcome.account)
    for table, records in rows.items():
        for field in records.dtype.names:
            columns[f"{table}.{field}"] = np.ascontiguousarray(records[field])
    return columns


def main(folder: Path, *, plain: bool) -> None:
    """Write one file of columns for each setting."""
    if plain:
        import numba

        fast = numba.njit

        def without_option(*_: Any, **options: Any) -> Any:
            options.pop("_nrt", None)
            return fast(**options)

        numba.njit = without_option
    names = ["parts"] if plain else list(SETTINGS)
    with compiled.forced(compile_kernels=True):
        for name in names:
            np.savez(folder / f"{name}.npz", **columns_of(outcome_of(name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), plain=sys.argv[2:] == ["plain"])
