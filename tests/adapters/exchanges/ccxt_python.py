"""An interpreter that has ccxt, made once for all test processes.

ccxt pins a dozen packages exactly, so it lives in a virtual environment of its own beside the
repository's. Where it cannot be installed the tests that ask for it are skipped with the reason.
"""

import fcntl
import os
import subprocess
import venv
from pathlib import Path

import pytest

from tests.adapters.exchanges.boxes import ROOT

CCXT = "ccxt==4.5.90"
FOLDER = ROOT / ".venv-ccxt"
WAIT_S = 420  # what a test may take that makes the environment, or waits for another to do so
HOME = os.environ.get("HOME", "")  # as it is before a test gets one of its own


def ccxt_python() -> Path:
    """The interpreter; made at the first call, while other processes wait."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / ".made-for"
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == CCXT):
            venv.create(FOLDER, with_pip=True, clear=True)
            _install(python)
            stamp.write_text(CCXT)
    return python


def _install(python: Path) -> None:
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-compile", CCXT]
    environment = {**os.environ, "HOME": HOME}
    outcome = subprocess.run(
        [str(python), "-m", "pip", *words], env=environment,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if outcome.returncode:
        pytest.skip(f"{CCXT} cannot be installed: {outcome.stderr.strip()[-200:]}")
