"""Same seed, same story: in another process, under another hash seed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.exchanges.sim import story

ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.process


def told_elsewhere(seed: int, hash_seed: str) -> dict[str, str]:
    """The story in a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    outcome = subprocess.run(
        [sys.executable, str(Path(story.__file__)), str(seed)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(outcome.stdout)


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    """The story as this process tells it."""
    return story.tell(3)


def test_same_seed_tells_the_same_story_everywhere(here):
    """Fills, money, every answer and every push."""
    assert told_elsewhere(3, "1") == told_elsewhere(3, "2") == here
    assert int(here["fills"]) > 20
    assert json.loads(here["fired"])


def test_other_seed_tells_another_story(here):
    """The seed is not decoration."""
    assert story.tell(4)["trace"] != here["trace"]
