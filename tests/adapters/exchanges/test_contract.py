"""Every exchange adapter passes one suite: the native client, and ccxt's on two exchanges.

The native client and ccxt's BloFin run against the exchange in a box. ccxt's Binance runs against a
player of answers written down in Binance's documented format: there is no Binance on this machine.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin, ccxt
from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.core.quotes import Environment
from blofin_cli.errors import ConfigError
from tests.adapters.exchanges import contract
from tests.adapters.exchanges.boxes import ROOT, running_box
from tests.adapters.exchanges.ccxt.player import Player
from tests.adapters.exchanges.ccxt_python import WAIT_S, ccxt_python

SUITE, FAULTS = (Path(__file__).parent / "ccxt" / name for name in ("suite.py", "faults.py"))
KEY = blofin.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")

pytestmark = [pytest.mark.process, pytest.mark.timeout(WAIT_S)]


def _judge(verdicts: dict[str, str], skipped: set[str]) -> None:
    failed = {name: why for name, why in verdicts.items() if why[:2] != "ok" and why[:4] != "skip"}
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())
    assert verdicts.keys() == contract.CHECKS.keys()
    assert {name for name, why in verdicts.items() if why.startswith("skip")} == skipped


async def test_native_client_keeps_the_contract(tmp_path):
    """BloFin's own client against the box."""
    with running_box() as url:
        budgets = itertools.count()

        def connect() -> TradingAccount:
            """With a rate budget of its own: a suite places more orders than a trader may."""
            settings = blofin.Settings(
                state_folder=tmp_path / str(next(budgets)),
                environment=Environment.SIMULATED,
                simulator_url=url,
            )
            return blofin.connect(settings, SystemClock(), KEY)

        def lose() -> None:
            body = json.dumps({"name": "lost_answer", "path": "trade/order", "count": 1}).encode()
            urllib.request.urlopen(f"{url}/control/fault", body, timeout=20).close()

        stage = contract.Stage(symbol="BTC-USDT", size=Decimal("0.002"), lose_answer=lose)
        verdicts = await contract.run(connect, stage)
    _judge(verdicts, skipped=set())


@pytest.fixture
def interpreter():
    """Asked for before the box, whose time is limited."""
    return ccxt_python()


def test_ccxt_on_the_box_keeps_the_contract(interpreter):
    """ccxt's BloFin against the box: another road to the same port."""
    with running_box() as url:
        _judge(_run(interpreter, SUITE, "blofin", url, "BTC-USDT", "0.002"), skipped=set())


def test_ccxt_on_recorded_answers_keeps_the_contract(interpreter):
    """ccxt's Binance against answers in its documented format."""
    with Player("binance") as player:
        verdicts = _run(interpreter, SUITE, "binance", player.url, "BTC-USDT", "0.004")
    _judge(verdicts, skipped={"lost_answer_is_looked_up"})


def _run(interpreter: Path, program: Path, *words: str) -> dict[str, str]:
    outcome = subprocess.run(
        [str(interpreter), str(program), *words], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    found: dict[str, str] = json.loads(outcome.stdout.splitlines()[-1])
    return found


def test_failures_behind_ccxt_are_told_in_our_errors(interpreter):
    """Refused, lost, unread, limited, unsigned: each is what it is, and no key is in any text."""
    verdicts = _run(interpreter, FAULTS)
    failed = {name: why for name, why in verdicts.items() if why != "ok"}
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())
    assert len(verdicts) >= 12


@pytest.mark.skipif(importlib.util.find_spec("ccxt") is not None, reason="ccxt is installed here")
def test_without_ccxt_the_extra_is_named():
    """Whoever asks for another exchange is told what to install."""
    with pytest.raises(ConfigError) as refusal:
        ccxt.connect_public("binance", SystemClock())
    assert "blofin-cli[ccxt]" in refusal.value.hint
