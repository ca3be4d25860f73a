"""Same inputs, same bytes: in another process, with another hash seed, in another order."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from blofin_cli.core import compiled
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.backtest import lay_course, trade
from blofin_cli.engine.study import StudyPlan, study
from tests.fakes import invented_market

ROOT = Path(__file__).resolve().parents[2]
COINS = ("BTC-USDT", "SOL-USDT")
WORDS = (
    {},
    {"preset": "reference", "filters.volume_profile": "score"},
    {"entry.mode": "limit", "target.parts": "1:50%,3:50%"},
)


def digest() -> str:
    """One digest over trades, exits, equity and a study's figures of several settings."""
    whole = sha256()
    with compiled.forced(False):
        for words in WORDS:
            strategy = build_strategy(words)
            markets = [invented_market(6, 3_000, coin) for coin in COINS]
            course = lay_course(markets, strategy.costs)
            planes = [evaluate(market, strategy) for market in markets]
            outcome = trade(course, planes, strategy, 10_000.0)
            assert len(outcome.trades)
            for part in (outcome.trades, outcome.exits, outcome.curve, outcome.signals):
                whole.update(np.ascontiguousarray(part).tobytes())
        plan = StudyPlan(equity=10_000.0, draws=3, seed=11)
        done = study(markets, build_strategy({}), plan, lambda *_: None)
        whole.update(repr((done.metrics, done.baselines, done.placebo_p)).encode())
        whole.update(repr(done.trades("run")).encode())
    return whole.hexdigest()


@pytest.mark.process
def test_runs_give_the_same_bytes_in_two_processes() -> None:
    """Nothing of the process (hash seed, vector instructions) reaches trades, equity or chance."""
    found = set()
    for seed, features in (("1", ""), ("2", "AVX2 FMA3")):
        done = subprocess.run(
            [sys.executable, "-c", "from tests.engine.test_determinism import *; print(digest())"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "NPY_DISABLE_CPU_FEATURES": features},
        )
        found.add(done.stdout.strip())
    assert found == {digest()}


def test_order_of_symbols_does_not_change_what_stands_alone() -> None:
    """Without account limits the trades of a symbol do not depend on which come first."""
    strategy = build_strategy({"preset": "reference"})
    totals = []
    for coins in (COINS, COINS[::-1]):
        markets = [invented_market(6, 3_000, coin) for coin in coins]
        course = lay_course(markets, strategy.costs)
        outcome = trade(course, [evaluate(m, strategy) for m in markets], strategy, 10_000.0)
        totals.append(sorted(outcome.trades["pnl"]))
    assert totals[0] == totals[1]
