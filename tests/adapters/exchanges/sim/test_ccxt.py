"""ccxt's own BloFin clients trade on the box unchanged, each with a box of its own as a process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.exchanges.boxes import ROOT
from tests.adapters.exchanges.ccxt_python import WAIT_S, ccxt_python

CLIENT = Path(__file__).parent / "ccxt_client" / "client.py"

pytestmark = [pytest.mark.process, pytest.mark.timeout(WAIT_S)]


@pytest.fixture
def interpreter():
    """Asked for before the box, whose time is limited."""
    return ccxt_python()


@pytest.fixture
def port(interpreter):
    """The port of a fresh box in a process of its own."""
    command = [
        sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--synthetic", "7",
        "--max-seconds", "900",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := re.match(r"REST +http://127\.0\.0\.1:(\d+)", line):
            yield int(match[1])
            break
    else:
        pytest.fail("the box did not start: " + "".join(lines))
    process.terminate()
    process.wait(10)
    process.stderr.close()


@pytest.mark.parametrize("kind", ["sync", "async", "pro"])
def test_ccxt_trades_on_the_box(kind, interpreter, port):
    """Markets, account, orders of every kind, positions, history; and what can be watched."""
    outcome = subprocess.run(
        [str(interpreter), str(CLIENT), kind, str(port)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-2_000:]
    steps = json.loads(outcome.stdout.splitlines()[-1])
    failed = {name: why for name, why in steps.items() if why != "ok"}
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())
    assert len(steps) >= 11
