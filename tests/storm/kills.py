"""kill -9 at every loop step and between every two SQL statements of scripted scenarios.

A scenario is calm weather and one story: an entry whose stop the exchange leaves out, a resting
entry that is halted half filled, an entry whose answer is lost and whose stop is jumped over. It is
run once to count, then once for each point at which its first life can die. Another life follows a
second later, and at the end nothing may be lost, doubled, bare or left over.
"""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from blofin_cli.core.journal import IntentState, Purpose
from tests.memory import collect_seldom
from tests.storm import storage
from tests.storm.checkers import ACCOUNT
from tests.storm.loop import Incarnation
from tests.storm.nemesis import Nemesis
from tests.storm.storm import Program, Scene, Storm, Verdict, _freeze, in_silence

BEGIN_S, END_S = 59.5, 118.0
LAST_S = 165.0
SCENARIOS = ("dropped stop", "halted limit", "lost answer")
BATCH = 25


@dataclass(frozen=True)
class KillPoint:
    """One moment of the first life: a loop step or a statement, numbered from the start."""

    is_statement: bool
    number: int
    at_s: float = field(default=0.0, compare=False)


class Scripted(Storm):
    """A storm whose weather is a story."""

    def __init__(self, name: str, *given: Any, point: KillPoint | None = None) -> None:
        nemesis = Nemesis(1, 0.0, intensity=0.0)
        scene = Scene(seed=1, span_s=LAST_S, symbols=3, script=name)
        super().__init__(scene, *given, nemesis=nemesis)
        self.name, self.point = name, point
        self.points: list[KillPoint] = []
        self.on_start = self._arm

    def _arm(self, life: Incarnation) -> None:
        """Watch the steps and statements of the first life."""
        if life.number != 1:
            self.loop.before_step = None
            self.watch.before = None
            return
        counts = {False: 0, True: 0}

        def passed(is_statement: bool, who: Incarnation | None) -> None:
            if who is not life or not BEGIN_S <= self.loop.now_s <= END_S:
                return
            counts[is_statement] += 1
            here = KillPoint(is_statement, counts[is_statement], self.loop.now_s)
            if self.point is None:
                self.points.append(here)
            elif here == self.point:
                self.world.note(f"killed at {here}")
                self.kill_quietly(life)

        self.loop.before_step = lambda number, who: passed(False, who)
        self.watch.before = lambda who, word, number: passed(True, who)

    def kill_quietly(self, life: Incarnation) -> None:
        """kill -9 from outside its stack: the loop and the statement see that it is dead."""
        self.loop.kill(life)
        self.world.streams.clear()
        self._ended.set()

    async def _weather(self) -> None:
        world = self.world
        tasks = [
            self.loop.spawn(None, self._market(), "market"),
            self.loop.spawn(None, self._supervise(), "supervisor"),
        ]
        await asyncio.sleep(0.0)
        if self.name == "dropped stop":
            self.nemesis.probability["dropped_stop"] = 1.0
        elif self.name == "lost answer":
            self.nemesis.probability["lost_place"] = 1.0
        await self._story()
        await asyncio.sleep(LAST_S - self.loop.now_s)
        self._judge()
        self.restarts = False
        if world.life is not None:
            self.loop.kill(world.life)
        self._ended.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _story(self) -> None:
        """What happens from outside, at its time."""
        if self.name == "halted limit":
            await asyncio.sleep(68.0)
            self.people.halt(1e9)
            await asyncio.sleep(8.0)
            for symbol in self.world.symbols:
                self.people.errand("close", {"symbol": symbol, "fraction": "1"})
        elif self.name == "lost answer":
            await asyncio.sleep(72.0)
            self.nemesis.probability["lost_place"] = 0.0
            for symbol in self.world.symbols:
                self.world.walks[symbol].force(-0.012)
        else:
            await asyncio.sleep(80.0)
            self.people.errand("close", {"symbol": self.world.symbols[0], "fraction": "0.5"})

    def _judge(self) -> None:
        """What must hold when all is over."""
        self.books.final()
        if self.naked.bare_s:
            self.world.violate("I01", f"{sorted(self.naked.bare_s)} bare at the end")
        for intent in self.reader.open_intents(ACCOUNT):
            live = self.world.venue.orders.by_client.get(intent.client_id)
            if live is None or intent.purpose is not Purpose.ENTRY:
                continue  # killed before it was sent: it is asked for, or forgotten after a minute
            if not live.is_open or intent.state is not IntentState.ACCEPTED:
                text = f"intent {intent.client_id} is {intent.state} after its end"
                self.world.violate("I10", text)
        for tpsl in self.world.venue.triggers.tpsl_live.values():
            if self.world.position(tpsl.request.inst_id) is None:
                self.world.violate("I22", f"{tpsl.tpsl_id} waits for nothing")


def play(
    name: str, program: Program, point: KillPoint | None = None
) -> tuple[Verdict, list[KillPoint]]:
    """Run a scenario, killed at a point or not at all; the points that it passed."""
    with storage.watched() as watch, storage.memory_folder() as folder, in_silence():
        _freeze()
        story = Scripted(name, program, folder, watch, point=point)
        verdict, points = story.run(), story.points
        del story
        gc.collect()
        return verdict, points


def points_of(name: str, program: Program) -> list[KillPoint]:
    """Every point at which the first life of a scenario can die.

    Errors: AssertionError when the scenario fails without any kill.
    """
    verdict, points = play(name, program)
    assert not verdict.violations, verdict.violations
    assert verdict.counts["openings"] >= 2, "the story needs its entries"
    return points


def killed(name: str, points: list[KillPoint]) -> list[tuple[KillPoint, list[str]]]:
    """The points of a batch whose run broke an invariant, with what was broken."""
    from tests.storm.bot import live

    broken = []
    for point in points:
        verdict, _ = play(name, live, point)
        if verdict.violations:
            broken.append((point, verdict.violations))
    return broken


def every_scenario(workers: int, progress: Callable[..., None]) -> dict[str, tuple[str, bool]]:
    """Enumerate all scenarios; scenario -> what the table says, and whether anything broke."""
    from tests.storm.bot import live

    said: dict[str, tuple[str, bool]] = {}
    with ProcessPoolExecutor(workers, initializer=collect_seldom) as pool:
        for name in SCENARIOS:
            points = points_of(name, live)
            batches = [points[at : at + BATCH] for at in range(0, len(points), BATCH)]
            futures = [pool.submit(killed, name, batch) for batch in batches]
            broken: list[tuple[KillPoint, list[str]]] = []
            for done, future in enumerate(as_completed(futures)):
                broken += future.result()
                progress(f"kills of {name}: {done * BATCH}/{len(points)}, {len(broken)} broke")
            statements = sum(point.is_statement for point in points)
            text = f"{len(points)} ({statements} statements), {len(broken)} broke an invariant"
            if broken:
                text += f"; first {broken[0][0]}: {broken[0][1][0][:120]}"
            said[name] = (text, bool(broken))
    progress("", end="\n")
    return said


__all__ = ["SCENARIOS", "KillPoint", "every_scenario", "killed", "play", "points_of"]
