"""What a look costs with fifty symbols, in the time of the processor: others bend it least."""

import time
from dataclasses import replace

import pytest

from blofin_cli.adapters.store import open_journal
from tests.faces.seed import NOW_MS
from tests.faces.tui.conftest import settled

pytestmark = pytest.mark.process

LOOKS = 25
REFRESH_MS_MAX = 100
IDLE_MS_MAX = 60  # 30 is three percent of a second; the rest is for slower machines


async def cost_ms(app, pilot, between) -> list[float]:
    """Processor time of each look, from asking to drawn, ascending."""
    found = []
    for number in range(LOOKS):
        between(number)
        drawn, started = len(app.timings_ms), time.process_time()
        app.look()
        while len(app.timings_ms) == drawn:
            await pilot.pause(0.01)
        found.append((time.process_time() - started) * 1000)
    return sorted(found)


async def test_refresh_with_fifty_symbols_stays_fast(desk, tmp_path):
    """Every quote and six positions move between two looks: p95 below a tenth of a second."""
    app = desk("many")
    journal = open_journal(str(tmp_path / "state" / "state.db"))
    before = journal.status()
    assert before is not None
    assert len(before.symbols) == 50

    def move(number: int) -> None:
        factor = 1 + 0.0001 * (number % 7 + 1)
        quotes = {
            name: replace(quote, last=quote.last * factor) for name, quote in before.quotes.items()
        }
        positions = tuple(
            replace(item, unrealized_usdt=item.unrealized_usdt * factor)
            for item in before.positions[:6]
        )
        journal.beat(replace(before, ts_ms=NOW_MS + number, quotes=quotes, positions=positions))

    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        costs = await cost_ms(app, pilot, move)
    assert costs[int(LOOKS * 0.95)] < REFRESH_MS_MAX


async def test_idle_look_costs_little(desk):
    """Nothing has changed: nothing is drawn again."""
    app = desk("many")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        costs = await cost_ms(app, pilot, lambda number: None)
    assert costs[LOOKS // 2] < IDLE_MS_MAX
