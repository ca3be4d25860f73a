"""A stage for one fault: calm weather, the product's session, and a story told from outside.

The session opens long at the first bar, 60 seconds in, as the script says: `market`, `limit`,
`trigger`, or `none`; `every` does so at each bar. Every invariant is watched meanwhile.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from decimal import Decimal

from blofin_cli.core.journal import Happening, Intent
from blofin_cli.core.market import Trade
from tests.storm import storage
from tests.storm.bot import live
from tests.storm.checkers import ACCOUNT
from tests.storm.nemesis import Nemesis
from tests.storm.storm import Scene, Storm, _freeze, in_silence
from tests.storm.world import Sent

ENTRY_S = 60.0
BTC, ETH = "BTC-USDT", "ETH-USDT"
Story = Callable[["Stage"], Awaitable[None]]


class Stage(Storm):
    """One short scripted simulation; what came of it is read from it afterwards."""

    story: Story
    last_s: float
    happenings: list[Happening]
    intents: list[Intent]
    trades: list[Trade]
    broken_trail: int | None

    async def _weather(self) -> None:
        tasks = [
            self.loop.spawn(None, self._market(), "market"),
            self.loop.spawn(None, self._supervise(), "supervisor"),
            self.loop.spawn(None, self._fate(), "fate"),
        ]
        await asyncio.sleep(0.0)
        await self.story(self)
        await self.until(self.last_s)
        self.books.final()
        self.happenings = list(self.reader.happenings(limit=1_000))
        self.intents = list(self.reader.intents(ACCOUNT))
        self.trades = list(self.reader.trades(account=ACCOUNT))
        self.broken_trail = self.reader.verify_audit()[1]
        self.restarts = False
        if self.world.life is not None:
            self.loop.kill(self.world.life)
        self._ended.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What a story says.

    async def until(self, at_s: float) -> None:
        """Wait for a moment of the simulation."""
        if at_s > self.loop.now_s:
            await asyncio.sleep(at_s - self.loop.now_s)

    def window(self, name: str, seconds: float) -> None:
        """A fault that lasts from now on."""
        self.nemesis.open_window(name, self.loop.now_s, seconds)

    def chance(self, name: str, probability: float) -> None:
        """A fault with a probability, from now on."""
        self.nemesis.probability[name] = probability

    def move(self, fraction: float, symbol: str = BTC) -> None:
        """Let the market jump."""
        self.world.walks[symbol].force(fraction)
        walk = self.world.walks[symbol]
        tick = walk.terms.tick_size
        self.world.print_at(symbol, tick * max(1, round(walk.price / float(tick))))

    def break_streams(self, *, is_private: bool) -> None:
        """Connections end now."""
        for stream in list(self.world.streams):
            stream.lose(is_private, "cut")

    # What came of it.

    def sent(self, name: str, symbol: str = BTC) -> list[Sent]:
        """Requests of a kind, in order."""
        return [s for s in self.world.log if s.name == name and s.symbol == symbol]

    def accepted(self, name: str, symbol: str = BTC) -> list[Sent]:
        """Those the exchange took."""
        return [s for s in self.sent(name, symbol) if s.outcome == "accepted"]

    def held(self, symbol: str = BTC) -> Decimal:
        """Signed contracts at the exchange."""
        return self.world.signed(symbol)

    def told(self, kind: str) -> list[str]:
        """What the journal tells of a kind."""
        return [row.text for row in self.happenings if row.kind == kind]

    def stops(self, symbol: str = BTC) -> list[Decimal]:
        """Sizes of live stops."""
        rows = self.world.venue.triggers.tpsl_live.values()
        return [r.size for r in rows if r.request.inst_id == symbol and r.protection.sl_trigger]


def play(
    story: Story,
    script: str = "market",
    *,
    last_s: float = 150.0,
    symbols: int = 1,
    positions_max: int = 6,
) -> Stage:
    """Tell a story and return the stage; no invariant may be broken.

    Errors: AssertionError naming what was broken.
    """
    scene = Scene(
        seed=1, span_s=last_s, symbols=symbols, script=script, positions_max=positions_max
    )
    with storage.watched() as watch, storage.memory_folder() as folder, in_silence():
        _freeze()
        nemesis = Nemesis(1, 0.0, intensity=0.0)
        stage = Stage(scene, live, folder, watch, nemesis=nemesis)
        stage.story, stage.last_s = story, last_s
        stage.run()
        gc.collect()
    assert not stage.world.violations, stage.world.violations
    return stage
