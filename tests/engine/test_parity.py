"""Step parity: compiled and interpreted, the same functions give the same bits."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from platformdirs import user_cache_path

from tests.engine.parity_probe import SETTINGS, columns_of, outcome_of

ROOT = Path(__file__).resolve().parents[2]
# Kernels compile in half a minute, so they are kept where the user's are, not in the test's home.
KERNELS = user_cache_path()
pytestmark = [
    pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra `fast`) is not here"),
    pytest.mark.timeout(240),
]


def compile_and_run(folder: Path, *words: str) -> Path:
    """Run the probe in a process of its own and return the folder it wrote."""
    cache = KERNELS / "blofin-cli" / "plain" if words else KERNELS
    subprocess.run(
        [sys.executable, "-m", "tests.engine.parity_probe", str(folder), *words],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def compiled_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the compiled step did, one file a setting."""
    return compile_and_run(tmp_path_factory.mktemp("compiled"))


def differences(file: Path, name: str) -> list[str]:
    """Columns whose bytes differ between a compiled run and an interpreted one."""
    plain = columns_of(outcome_of(name))
    with np.load(file) as fast:
        assert set(fast.files) == set(plain)
        return [column for column in plain if fast[column].tobytes() != plain[column].tobytes()]


@pytest.mark.parametrize("name", SETTINGS)
def test_compiled_step_equals_the_interpreted_one(compiled_runs: Path, name: str) -> None:
    """Trades, exits, signals, account and equity are equal to the last bit."""
    assert differences(compiled_runs / f"{name}.npz", name) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_parity_settings_trade(name: str) -> None:
    """Each setting that parity is shown on makes trades, so that it shows something."""
    assert len(outcome_of(name).trades) >= (1 if name == "refined" else 5)


@pytest.mark.campaign
def test_plain_compilation_equals_the_interpreted_step(tmp_path: Path) -> None:
    """Without numba's private option, which a later version may drop, the bits are the same."""
    assert differences(compile_and_run(tmp_path, "plain") / "parts.npz", "parts") == []
