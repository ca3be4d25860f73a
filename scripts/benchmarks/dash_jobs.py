"""The terminal dashboard over fifty positions: what a refresh takes, and looking on."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store import open_journal
from blofin_cli.app.commands.dash import DashRequest
from blofin_cli.faces.tui.app import Desk

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.faces.seed import StillClock, seed

SYMBOLS, LOOKS, SETTLE_S, REST_S, IDLE_S = 50, 20, 1.0, 0.1, 3.0
Job = Callable[[], dict[str, Any]]


def refreshing(folder: Path) -> Job:
    """Every position changes between two looks."""
    state = _sown(folder)
    return lambda: asyncio.run(_refreshed(state))


def idling(folder: Path) -> Job:
    """Nothing changes, and it looks once a second."""
    state = _sown(folder)
    return lambda: asyncio.run(_idled(state))


def _sown(folder: Path) -> str:
    sown = seed(folder / f"dash-{os.getpid()}", symbols=SYMBOLS)
    os.environ["BLOFIN_CACHE"] = str(sown.cache)
    return str(sown.state)


@asynccontextmanager
async def _watching(state: str) -> AsyncIterator[Desk]:
    desk = Desk(DashRequest(refresh_ms=1_000), state_override=state, clock=StillClock())
    async with desk.run_test(size=(200, 60)) as pilot:
        await pilot.pause(SETTLE_S)
        desk.settle()
        yield desk


async def _refreshed(state: str) -> dict[str, Any]:
    """Milliseconds from a look to what it drew."""
    journal = open_journal(state)
    status = journal.status()
    assert status is not None
    async with _watching(state) as desk:
        desk.timings_ms.clear()
        while (done := len(desk.timings_ms)) < LOOKS:
            moved = [replace(row, unrealized_usdt=float(done)) for row in status.positions]
            await asyncio.sleep(REST_S)
            journal.beat(replace(status, positions=tuple(moved), ts_ms=status.ts_ms + done))
            desk.look()
            while len(desk.timings_ms) == done:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        taken = sorted(desk.timings_ms)
    return {"p50_ms": taken[LOOKS // 2], "p95_ms": taken[int(LOOKS * 0.95)]}


async def _idled(state: str) -> dict[str, Any]:
    """The share of a core that looking on takes."""
    async with _watching(state):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return {"idle_pct": 100 * cpu_s / wall_s}
