"""The bench runs, and its JSON holds every row; what the rows say is this machine's affair."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = {
    "python -c pass",
    "python -c 'import typer'",
    "blofin --help",
    "blofin --version",
    "blofin runs",
    "blofin guide",
    "blofin instruments",
    "blofin mcp",
    "blofin backtest --json",
    "trades, fills, signals, curve, metrics",
    "35,040 bars of 15m, zones of 1h,4h",
    "105,120 bars of 15m, zones of 1h,4h",
    "zones differ",
    "only exits and risk differ",
    "blofin-cli, the step with fees, funding and equity",
    "blofin-cli, found",
    "blofin-cli, found and followed to their end",
    "plain pandas, found",
    "one orders push, text to events",
    "one candle push, text to events",
    "one bracket order, built and signed",
    "account/positions",
    "trade/order",
    "blofin-cli, native client",
}


@pytest.mark.process
@pytest.mark.timeout(240)
def test_quick_bench_has_every_row():
    """A row that silently disappears is a claim nobody checks any more."""
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", "--quick", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == ROWS
    assert rows["trades, fills, signals, curve, metrics"]["mark"] == "pass"
    assert rows["plain pandas, found"]["goals"][1]["is_met"]
    assert all(row["ms"] > 0 for row in rows.values() if row["ms"] is not None)
