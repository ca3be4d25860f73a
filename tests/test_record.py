"""The recorder works: anyone can make the cassettes anew."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tapes
from tests.adapters.exchanges.blofin import stories

ROOT = Path(__file__).parent.parent


@pytest.mark.process
def test_recorder_makes_every_cassette_against_a_box(tmp_path):
    """Without options it needs neither key nor network; what it writes has a heading."""
    outcome = subprocess.run(
        [sys.executable, "scripts/record.py", "--into", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    made = {path.stem: path for path in (tmp_path / "test_cassettes").glob("*.yaml")}
    assert set(made) == set(stories.STORIES)
    assert all(tapes.heading(path)["host"] == "simulated" for path in made.values())
    assert {path.stem for path in (tmp_path / "test_feed_tapes").iterdir()} == {"public", "private"}


@pytest.mark.process
def test_recorder_asks_for_a_key_of_the_demo_account(tmp_path):
    """--demo without a key ends before anything is sent, and names what is missing."""
    outcome = subprocess.run(
        [sys.executable, "scripts/record.py", "--demo", "--into", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert outcome.returncode != 0
    assert "no API key for demo" in outcome.stderr
    assert not list(tmp_path.iterdir())
