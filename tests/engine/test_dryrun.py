"""A dry run beside clocks that go wrong: it trades by exchange time or not at all."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.feed import FeedEvent
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.dryrun import DryRunSession
from blofin_cli.engine.strategist import ZoneStrategist
from blofin_cli.errors import NetworkError
from tests.adapters.store.samples import session
from tests.engine.test_strategist import EAGER
from tests.fakes import BTC, invented_market


class Silence:
    """A stream that tells nothing, and prices nobody asks for; the exchange's time on request."""

    def __init__(self) -> None:
        self.is_up = True

    async def subscribe(self, *_: object) -> None:
        """Anything goes."""

    async def events(self) -> AsyncIterator[FeedEvent]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]  # never reached: it makes this a generator

    async def aclose(self) -> None:
        """Nothing is open."""

    async def clock_offset(self) -> Any:
        if not self.is_up:
            raise NetworkError("no answer")
        return SimpleNamespace(offset_ms=0)

    async def candles(self, *_: object, **__: object) -> list[Any]:
        return []


async def test_clock_that_is_set_is_told_and_blocks_until_the_time_is_read(tmp_path):
    """Eight seconds ahead with the exchange away: said in the status, and gone once it answers."""
    whole = invented_market(3, 600, BTC)
    strategy = build_strategy(EAGER)
    strategist = ZoneStrategist(strategy, {BTC: whole.entry}, {BTC: whole.instrument})
    silence: Any = Silence()
    first_ms = strategist.next_open_ms(BTC)
    loop, set_by = asyncio.get_running_loop(), [0]
    begun_s = loop.time() - 1
    clock: Any = SimpleNamespace(
        now_ms=lambda: first_ms + int((loop.time() - begun_s) * 1000) + set_by[0]
    )
    told: list[str] = []
    journal = open_journal(str(tmp_path / "state.db"))
    running = DryRunSession(
        silence, silence, journal, clock,
        session=session("dry", symbols=(BTC,), mode="dry-run", started_ms=first_ms),
        strategy=strategy, strategist=strategist,
        notify=lambda happening: told.append(happening.text),
    )  # fmt: skip
    task = asyncio.create_task(running.run())
    await asyncio.sleep(0.4)
    assert "clock" not in running.status().health.note
    silence.is_up, set_by[0] = False, 8_000
    await asyncio.sleep(0.4)
    assert "this clock was set" in running.status().health.note
    assert any("8 s were lost" in text for text in told)
    silence.is_up = True
    await asyncio.sleep(1.6)
    assert "clock" not in running.status().health.note
    running.stop("seen enough")
    assert await task == "seen enough"
