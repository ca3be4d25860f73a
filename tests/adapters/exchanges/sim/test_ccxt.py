"""ccxt's own BloFin clients trade on the box unchanged, each with a box of its own as a process.

ccxt pins a dozen packages exactly, so it lives in a virtual environment of its own beside the
repository's, made once. Where it cannot be installed these tests are skipped with the reason.
"""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CLIENT = Path(__file__).parent / "ccxt_client" / "client.py"
CCXT = "ccxt==4.5.90"
FOLDER = ROOT / ".venv-ccxt"
HOME = os.environ.get("HOME", "")  # as it is before a test gets one of its own

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


def ccxt_python() -> Path:
    """The interpreter that has ccxt; made at the first call."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / ".made-for"
    if stamp.is_file() and stamp.read_text() == CCXT:
        return python
    venv.create(FOLDER, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CCXT]
    environment = {**os.environ, "HOME": HOME}
    outcome = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    if outcome.returncode:
        pytest.skip(f"{CCXT} cannot be installed: {outcome.stderr.strip()[-200:]}")
    stamp.write_text(CCXT)
    return python


@pytest.fixture
def port():
    """The port of a fresh box in a process of its own."""
    command = [
        sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--synthetic", "7",
        "--max-seconds", "120",
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
def test_ccxt_trades_on_the_box(kind, port):
    """Markets, account, orders of every kind, positions, history; and what can be watched."""
    outcome = subprocess.run(
        [str(ccxt_python()), str(CLIENT), kind, str(port)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-2_000:]
    steps = json.loads(outcome.stdout.splitlines()[-1])
    failed = {name: why for name, why in steps.items() if why != "ok"}
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())
    assert len(steps) >= 11
