"""A store on a path of its own, and a run to put into it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blofin_cli.adapters.store import open_store
from blofin_cli.ports import RunStore, SavedRun


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state will be; neither it nor its folder exists."""
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(path: Path) -> RunStore:
    return open_store(str(path))


@pytest.fixture
def a_run() -> Callable[..., SavedRun]:
    def make(run_id: str = "bt-1f00", **changes: Any) -> SavedRun:
        fields: dict[str, Any] = {
            "run_id": run_id,
            "kind": "backtest",
            "series": "BTC-USDT 15m reference",
            "created_ms": 1_700_000_000_000,
            "symbols": ("BTC-USDT",),
            "timeframe": "15m",
            "since_ms": 1_640_995_200_000,
            "until_ms": 1_735_689_600_000,
            "digests": {"code": "c0", "config": "c1", "data": "d0"},
            "metrics": {"trades": 412, "expectancy_r": -0.1 / 3, "sortino": None},
            "verdict_status": "no_evidence",
            "version": "0.1.0",
            "result_json": b'{"run_id":"bt-1f00"}',
        }
        return SavedRun(**(fields | changes))

    return make
