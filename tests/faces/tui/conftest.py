"""A dashboard over a real state file, with a clock that stands still."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.worker import WorkerCancelled

from blofin_cli.app.commands.dash import DashRequest
from blofin_cli.core import compiled
from blofin_cli.faces.tui.app import Desk
from tests.faces.seed import Seed, StillClock, seed

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hostile": {"hostile": True},
    "halted": {"halted": True},
    "many": {"symbols": 50},
}


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """No test here waits for a compiler."""
    with compiled.forced(False):
        yield


@pytest.fixture(scope="session")
def sown(tmp_path_factory) -> Callable[[str], tuple[Path, Seed]]:
    """Each kind of state, written once."""
    kept: dict[str, tuple[Path, Seed]] = {}

    def make(kind: str) -> tuple[Path, Seed]:
        if kind not in kept:
            folder = tmp_path_factory.mktemp(f"sown-{kind}")
            with compiled.forced(False):
                kept[kind] = folder, seed(folder, **KINDS[kind])
        return kept[kind]

    return make


@pytest.fixture
def desk(sown, tmp_path, own_home, monkeypatch) -> Callable[..., Desk]:
    """Makes a dashboard over a copy of a kind of state: `desk("plain", screen="map")`."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setitem(os.environ, "COLORTERM", "truecolor")
    monkeypatch.chdir(own_home)

    def make(kind: str = "plain", **words: Any) -> Desk:
        source, _ = sown(kind)
        shutil.copytree(source, tmp_path / "state")
        monkeypatch.setenv("BLOFIN_CACHE", str(tmp_path / "state" / "cache"))
        request = DashRequest(**{"refresh_ms": 60_000, **words})
        return Desk(
            request, state_override=str(tmp_path / "state" / "state.db"), clock=StillClock()
        )

    return make


async def settled(pilot: Any) -> None:
    """Wait until everything that was asked for has been read and drawn."""
    done = 0
    while done < 3:
        try:
            await pilot.app.workers.wait_for_complete()
            done += 1
        except WorkerCancelled:
            pass  # a newer reading took its place
        await pilot.pause()


def picture(app: Desk) -> list[str]:
    """The characters on the screen, a line each."""
    strips = app.screen._compositor.render_strips(app.size)
    return ["".join(segment.text for segment in strip) for strip in strips]
