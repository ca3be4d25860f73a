"""The README's commands do what it says, as a newcomer would type them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CANDLES = ROOT.parent / "shared" / "data" / "candles" / "binance_perp"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("blofin ")
]


def test_readme_sets_up_with_two_commands():
    """A fresh machine needs one command to see it and one to test it."""
    first = re.search(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert first is not None
    assert first[1].split() == ["scripts/demo", "scripts/test"]


def test_readme_shows_the_product_before_it_describes_it():
    """What it looks like stands in the first screen."""
    assert README.index("$ blofin backtest") < README.index("\n## ") < 2500


def test_readme_is_short():
    """Whoever wants more opens a guide."""
    assert len(README.splitlines()) <= 210


@pytest.mark.process
@pytest.mark.timeout(240)
@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: " ".join(line.split()[1:5]))
def test_readme_command_works(line, tmp_path):
    """Every command of the README ends with exit code 0 and says something on stdout."""
    words = shlex.split(line.partition(" | ")[0])[1:]
    if "--data" in words:
        if not CANDLES.is_dir():
            pytest.skip("needs real candles in ../shared/data, which the repository does not carry")
        (tmp_path / "candles").symlink_to(CANDLES)
    outcome = subprocess.run(
        [sys.executable, "-m", "blofin_cli", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout
    written = [words[words.index(o) + 1] for o in ("--chart", "--report") if o in words]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in written)
