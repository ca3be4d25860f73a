"""A store and a journal on a path or a server of their own, and a run to put into it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blofin_cli.adapters.store import open_journal, open_store
from blofin_cli.ports import Journal, RunStore, SavedRun
from tests.adapters.store.server import emptied, running_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state will be; neither it nor its folder exists."""
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(path: Path) -> RunStore:
    return open_store(str(path))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a PostgreSQL server that runs for these tests."""
    with running_server() as address:
        yield address


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.process)])
def location(request, path: Path) -> str:
    """An empty place for a state: a file, then a server."""
    return str(path) if request.param == "file" else emptied(request.getfixturevalue("server"))


@pytest.fixture
def halt_file(path: Path) -> Path:
    """The file that halts, wherever the state is."""
    return path.parent / "HALT"


@pytest.fixture
def another(location: str, path: Path) -> Callable[[], Journal]:
    """Opens the journal again, as another process of the same state would."""
    return lambda: open_journal(location, path.parent)


@pytest.fixture
def journal(another: Callable[[], Journal]) -> Journal:
    return another()


@pytest.fixture
def any_store(location: str) -> RunStore:
    """The run store, in a file and on a server."""
    return open_store(location)


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
