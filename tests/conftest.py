"""Fixtures for every test: no test sees this machine's settings, state or terminal."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from platformdirs import user_cache_path

from blofin_cli.faces.cli import run
from tests.memory import collect_seldom

KERNELS = user_cache_path("blofin-cli") / "kernels"  # of this machine's user

hypothesis.settings.register_profile("shared", deadline=None)  # workers share the cores
hypothesis.settings.load_profile("shared")


def pytest_collection_finish() -> None:
    """Everything is loaded."""
    collect_seldom()


@dataclass(frozen=True)
class Outcome:
    """What one command line left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def own_home(request, tmp_path_factory, monkeypatch) -> Path:
    """An empty home and no BLOFIN_* variables, for every test.

    A home of its own a test costs 0.2 ms; without it a test would write into the user's state.
    Compiled kernels alone are shared: a program that a test starts would compile for half a minute.
    """
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("BLOFIN_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    cache = home / ".cache" / "blofin-cli"
    cache.mkdir(parents=True)
    (cache / "kernels").symlink_to(KERNELS)
    return home


@pytest.fixture
def empty_folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def blofin(capsys) -> Callable[..., Outcome]:
    """Runs a command line in this process: `blofin("guide", "--json").stdout`."""

    def call(*words: str) -> Outcome:
        code = run(list(words))
        captured = capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    return call


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items) -> None:
    """Tests marked `process` get four minutes instead of one.

    Files with long ones come first, the storm before all, so that no worker is left alone with
    them at the end.
    """
    for item in items:
        if item.get_closest_marker("process") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(240))
    long_ones = {item.path for item in items if item.get_closest_marker("process")}
    items.sort(key=lambda item: ("storm" not in item.path.parts, item.path not in long_ones))
