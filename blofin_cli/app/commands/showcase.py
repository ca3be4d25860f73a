"""The trading loop at work on a box of its own: an hour of an invented market in a minute.

Nothing here is special to the demo but the market's seed and its eager settings: the box, the loop,
the gate, the protection, the halt and the replay are the ones that trade.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blofin_cli.app.commands.parity import ParityRequest, parity
from blofin_cli.app.commands.run import RunRequest, RunResult, run
from blofin_cli.app.commands.sim import SimRequest, box_of
from blofin_cli.app.context import Context
from blofin_cli.core.journal import Halt
from blofin_cli.errors import BlofinError, ComparisonError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.market import MarketClock

SEED = 7
BEGIN = "2024-12-12T13:27"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
SPEED = 60.0
SECONDS = 70.0
HALT_AFTER_S = 52.0
RESUME_AFTER_S = 5.0
EAGER = (
    "stop.min_stop_pct=0.05",
    "target.rr=1.5",
    "target.min_net_rr=0",
    "manage.trail=1",
    "entry.conf_body=0.3",
    "zones.out_move_atr=1",
    "volatility.rank_max=1",
    "volatility.atr_max_pct=100",
    "volatility.extreme_bars=0",
    "volatility.adaptive=false",
    "trend.timeframes=15m,1h",
    "risk.cooldown_h=0",
    "risk.per_trade_pct=0.1",
    "risk.stops_account=1",
    "risk.pause_h=0.1",
    "risk.entries_per_day=100",
)


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened on the box. `halt_ms` passed here until the halt was acknowledged."""

    run: RunResult
    events: Counter[str] = field(default_factory=Counter)
    halt_ms: int | None = None
    same_decisions: bool | None = None
    decisions: int = 0
    report: str = ""


async def show_loop(folder: Path, context: Context) -> Story:
    """Run the loop against a box, halt it, resume it, and replay what it did."""
    _clear(folder)
    async with _box(context) as (address, clock):
        own = replace(
            context,
            clock=clock,
            state_override=str(folder / "demo.db"),
            cache_override=str(folder / "cache"),
            box_url=address,
        )
        report = folder / "session.html"
        request = RunRequest.model_validate(
            {
                "symbol": SYMBOLS,
                "exchange": "sim",
                "mode": "demo",
                "timeframe": "1m",
                "context": "5m,15m",
                "set": EAGER,
                "since": "3d",
                "max_seconds": SECONDS,
                "report": str(report),
            }
        )
        seen: dict[str, Any] = {}
        halting = asyncio.create_task(_direct(own, clock, seen))
        try:
            ended = await run(request, own)
        finally:
            halting.cancel()
            with suppress(asyncio.CancelledError):
                await halting
        story = Story(run=ended, report=str(report), halt_ms=seen.get("halt_ms"))
        happened = own.journal.happenings(limit=10_000)
        story.events = Counter(item.kind for item in happened)
        await _replay(story, own)
    return story


def _clear(folder: Path) -> None:
    """Forget an earlier demo."""
    for old in folder.glob("demo.db*"):
        old.unlink()


@asynccontextmanager
async def _box(context: Context) -> "AsyncIterator[tuple[str, MarketClock]]":
    """A box over the invented market on a free port of this machine, and its clock, still slow."""
    from blofin_cli.adapters.exchanges.sim.market import MarketClock
    from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms

    request = SimRequest.model_validate(
        {"synthetic": SEED, "symbol": SYMBOLS, "since": BEGIN, "no_limits": True}
    )
    box = box_of(request, replace(context, say=lambda _: None))
    clock = MarketClock(box.now_ms, 1.0, system_ms)
    async with listening(BoxServer(box, clock), 0) as address:
        yield address.rest, clock


async def _direct(context: Context, clock: "MarketClock", seen: dict[str, Any]) -> None:
    """Let the market run once the loop is there; pull the kill switch in the middle; go on."""
    journal = context.journal
    status = None
    while status is None:  # another task writes the first heartbeat to the file
        await asyncio.sleep(0.2)
        status = journal.status()
    clock.set_speed(SPEED)
    await asyncio.sleep(HALT_AFTER_S)
    context.say("the kill switch: halt and flatten")
    status = journal.status() or status
    halt = Halt(ts_ms=status.ts_ms, face="demo", cause="to show it", flatten=True)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    journal.set_halt(halt)
    while loop.time() - begun < RESUME_AFTER_S:
        now = journal.status()
        if now is not None and now.halt_seen_ms == halt.ts_ms:
            seen.setdefault("halt_ms", int((loop.time() - begun) * 1000))
        await asyncio.sleep(0.05)
    journal.clear_halt(halt.ts_ms, "demo")


async def _replay(story: Story, context: Context) -> None:
    """Hold the session against the backtester."""
    try:
        found = await parity(ParityRequest(session=story.run.session_id), context)
    except ComparisonError as apart:
        found = apart.result
        context.say(f"parity: {apart.message}")
    except BlofinError as problem:
        context.say(f"parity could not be asked: {problem.message}")
        return
    story.same_decisions, story.decisions = found.same, found.decisions
