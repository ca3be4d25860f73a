"""`blofin sim`: what it says, where, and how it ends."""

import json
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from blofin_cli.app.commands.sim import SimRequest, box_of
from blofin_cli.app.context import Context

pytestmark = pytest.mark.process
MARKET = ("--synthetic", "7", "--symbol", "BTC-USDT", "--max-seconds", "0.3")


def test_box_introduces_itself_on_stderr_and_reports_on_stdout(blofin):
    """Addresses and the demo key are said to a person; stdout is one document."""
    outcome = blofin("sim", *MARKET, "--port", "0", "--speed", "100")
    assert outcome.code == 0
    assert "demo-key-0001" in outcome.stderr
    assert "ws/private" in outcome.stderr
    answer = json.loads(outcome.stdout)
    assert answer["simulated"] is True
    assert answer["instruments"] == ["BTC-USDT"]
    assert answer["rest_url"].startswith("http://127.0.0.1:")


def test_storm_names_its_faults(blofin):
    """A person sees what will go wrong."""
    outcome = blofin("sim", *MARKET, "--port", "0", "--chaos", "4")
    assert "chaos" in outcome.stderr


def test_port_in_use_is_named(blofin):
    """With what to do about it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = blofin("sim", *MARKET, "--port", str(taken.getsockname()[1]))
    assert outcome.code == 2
    assert "--port 0" in outcome.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--speed", "-1"),
        ("--port", "70000"),
        ("--chaos", "x"),
        ("--balance", "0"),
        ("--since", "2024-06-02", "--until", "2024-06-01"),
    ],
)
def test_nonsense_is_refused(blofin, words):
    """Before anything is opened."""
    assert blofin("sim", *MARKET, *words).code == 2


def test_replay_begins_where_asked(blofin, tmp_path):
    """Candles from a file; what came before `--since` is history."""
    rows = ["ts,open,high,low,close,volume"]
    start = 1_704_067_200_000
    rows += [f"{start + i * 900_000},{100 + i},{101 + i},{99 + i},{100 + i},5" for i in range(200)]
    file = tmp_path / "ADA-USDT_15m.csv"
    file.write_text("\n".join(rows) + "\n")
    words = ("sim", "--symbol", "ADA-USDT", "--max-seconds", "0.2", "--port", "0", "--speed", "0")
    outcome = blofin(*words, "--data", str(file), "--since", "2024-01-02")
    assert outcome.code == 0, outcome.stderr
    moved = json.loads(outcome.stdout)["market_ms"] - (start + 86_400_000)
    assert moved % (7 * 86_400_000) == 0


def test_box_started_again_numbers_anew():
    """A journal that knows the first box must not take the second one's fills for its own."""
    ids = []
    for wall_ms in (1_700_000_000_000, 1_700_000_060_000):
        clock: Any = SimpleNamespace(now_ms=lambda wall_ms=wall_ms: wall_ms)
        request = SimRequest.model_validate(
            {"synthetic": 7, "symbol": ("BTC-USDT",), "since": "2024-12-12"}
        )
        box = box_of(request, Context(face="cli", clock=clock))
        ids.append([int(box.venue.account.new_id()) for _ in range(1_000)])
    assert not set(ids[0]) & set(ids[1])
