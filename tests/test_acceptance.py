"""The acceptance run trades on a box, tells when a trip fails, and asks before real money."""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from blofin_cli.core.quotes import Mode
from tests.adapters.exchanges.boxes import running_box

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.process


@pytest.fixture
def script(monkeypatch):
    """scripts/acceptance.py as a module, in a hurry."""
    spec = importlib.util.spec_from_file_location("acceptance", ROOT / "scripts/acceptance.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "acceptance", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "WAIT_S", 1.0)
    return module


def asked(tmp_path: Path, trips: int) -> argparse.Namespace:
    return argparse.Namespace(
        exchange="sim", mode=Mode.DEMO, symbol="BTC-USDT", trips=trips,
        state=str(tmp_path / "state.db"),
    )  # fmt: skip


async def test_two_round_trips_leave_evidence_and_nothing_else(script, tmp_path, monkeypatch):
    """A long and a short: opened, stop found at the exchange, closed, paid for, flat."""
    with running_box("--symbol", "BTC-USDT") as url:
        monkeypatch.setenv("BLOFIN_SIM_URL", url)
        evidence = await script.accept(asked(tmp_path, 2))
    assert evidence["verdict"] == "accepted", evidence["failed"]
    assert evidence["simulated"]
    assert evidence["flat"]
    assert [trip["side"] for trip in evidence["trips"]] == ["buy", "sell"]
    for trip in evidence["trips"]:
        assert trip["protection_ids"]
        assert trip["is_flat"]
        assert float(trip["fees_usdt"]) > 0
    json.dumps(evidence)
    assert "2 round trips" in script.table(evidence)


async def test_trip_that_fails_ends_the_run_flat(script, tmp_path, monkeypatch):
    """No stop at the exchange: the verdict says which trip and why, and nothing is left."""
    with running_box("--symbol", "BTC-USDT") as url:
        monkeypatch.setenv("BLOFIN_SIM_URL", url)
        original = script.confirm_protection

        async def blind(account, symbol, stop, target):
            await original(account, symbol, stop, target)
            raise script.FailedError("the stop is not at the exchange")

        monkeypatch.setattr(script, "confirm_protection", blind)
        evidence = await script.accept(asked(tmp_path, 3))
    assert evidence["verdict"] == "failed"
    assert evidence["failed"] == ["trip 1: the stop is not at the exchange"]
    assert evidence["trips"] == []
    assert evidence["flat"]


async def test_halt_stops_the_next_trip(script, tmp_path, monkeypatch):
    """The halt flag is read right before each order."""
    from blofin_cli.app.context import Context
    from blofin_cli.core.journal import Halt

    context = Context(face="cli", state_override=str(tmp_path / "state.db"))
    context.journal.set_halt(Halt(ts_ms=1, face="cli", cause="a test"))
    with running_box("--symbol", "BTC-USDT") as url:
        monkeypatch.setenv("BLOFIN_SIM_URL", url)
        evidence = await script.accept(asked(tmp_path, 2))
    assert evidence["verdict"] == "failed"
    assert "halted" in evidence["failed"][0]
    assert evidence["flat"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--exchange", "blofin", "--mode", "live"], 3),
        (["--mode", "live"], 2),
        (["--trips", "3"], 2),
        (["--exchange", "blofin"], 4),
    ],
)
def test_real_money_needs_a_person_and_ten_trips_are_the_least(words, code):
    """Live without a terminal is refused; a demo without a key is a matter of configuration."""
    outcome = subprocess.run(
        [sys.executable, "scripts/acceptance.py", *words],
        cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=90,
        check=False,
    )  # fmt: skip
    assert outcome.returncode == code, outcome.stderr
    assert outcome.stdout == ""
