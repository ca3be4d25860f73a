"""One storm: a seed, a program, an hour of weather, then calm, and the verdict.

The program under test is whatever `Program` builds; everything else is the same for it, for a
planted bug and for an enumeration of kills.
"""

import asyncio
import gc
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store import open_journal
from blofin_cli.engine import points
from blofin_cli.errors import BlofinError
from tests.storm import storage
from tests.storm.checkers import (
    ACCOUNT,
    Books,
    Daemon,
    Halting,
    Limits,
    Naked,
    Orders,
    Orphans,
    Rates,
    Reach,
    Steps,
)
from tests.storm.exchange import StormExchange
from tests.storm.feed import StormStream
from tests.storm.loop import INCARNATION, Incarnation, Killed, VirtualLoop, current
from tests.storm.nemesis import Nemesis
from tests.storm.people import People
from tests.storm.storage import StormJournal
from tests.storm.world import START_MS, Told, World

QUIET_S = 300.0
BRIEF_S = 1200.0
RESUME_S = 150.0
FREE_S = 125.0
FLAT_S = 65.0


@dataclass(frozen=True)
class Scene:
    """What one storm is made of."""

    seed: int
    span_s: float = 3600.0
    symbols: int = 2
    intensity: float = 1.0
    total_pct: float = 4.0
    positions_max: int = 6
    signal_share: float = 0.35
    script: str = ""
    density: float = 1.0

    @classmethod
    def of(cls, seed: int, span_s: float = 3600.0, density: float = 1.0) -> "Scene":
        """The scene that a seed draws; `density` packs the faults of an hour into less."""
        from random import Random

        chance = Random(f"scene {seed}")
        return cls(
            seed=seed,
            span_s=span_s,
            symbols=chance.choice((1, 2, 2, 3)),
            intensity=chance.choice((0.3, 0.6, 1.0, 1.0)),
            density=density,
            total_pct=chance.choice((0.8, 1.2, 4.0)),
            positions_max=chance.choice((1, 2, 6)),
            signal_share=chance.choice((0.4, 0.8, 0.8)),
        )

    @classmethod
    def brief(cls, seed: int) -> "Scene":
        """A quarter of an hour with as many faults as an hour, and calm after it."""
        return cls.of(seed, BRIEF_S, 3600.0 / (BRIEF_S - QUIET_S))


@dataclass
class Verdict:
    """What a storm found."""

    seed: int
    violations: list[str]
    trace: int
    steps: int
    seconds: float
    fired: Counter[str]
    counts: Counter[str]
    naked_s: list[float]
    halt_seen_s: list[float]
    rates: Counter[str]
    duplicates: int
    statements: int
    story: list[str] = field(default_factory=list)


class Clock:
    """The program's clock: the virtual time of the exchange, wrong by as much as the storm says."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._world.bot_ms


@dataclass
class Parts:
    """What a program is built from."""

    scene: Scene
    world: World
    exchange: StormExchange
    stream: StormStream
    journal: StormJournal
    clock: Clock
    steps: Steps
    life: Incarnation
    is_silent: Callable[[], bool]
    bad_signals: list[str]


Program = Callable[[Parts], Coroutine[Any, Any, str]]


class Storm:
    """One seed, from an empty account to the verdict."""

    def __init__(
        self,
        scene: Scene,
        program: Program,
        folder: Path,
        watch: storage.Watch,
        *,
        nemesis: Nemesis | None = None,
        stops_early: bool = False,
    ) -> None:
        self.stops_early = stops_early
        self.scene, self.program, self.folder, self.watch = scene, program, folder, watch
        self.loop = VirtualLoop()
        storm_s = scene.span_s - QUIET_S
        self.nemesis = nemesis or Nemesis(
            scene.seed, storm_s, intensity=scene.intensity, density=scene.density
        )
        self.world = World(self.loop, self.nemesis, symbols=scene.symbols)
        self.path = folder / f"state-{scene.seed}.db"
        self.face = open_journal(str(self.path))
        self.reader = open_journal(str(self.path))
        limits = Limits(Decimal(str(scene.total_pct)) / 100, scene.positions_max)
        self.reach = Reach(self.world)
        self.world.told.answered.append(self.reach.answered)
        self.daemon = Daemon(self.world)
        self.naked = Naked(self.world, self.reach, self.daemon)
        self.orders = Orders(self.world, self.reader, self.world.journals, limits=limits)
        self.books = Books(self.world, self.reader, self.reach, self.daemon)
        self.orphans = Orphans(self.world, self.reach, self.daemon)
        self.rates = Rates(self.world)
        self.halting = Halting(self.world, self.orders, self.books, self.reach)
        self.steps = Steps(self.world)
        self.people = People(self.world, self.face, self.orders, self.halting, self.kill)
        self.is_silent = False
        self.bad_signals: list[str] = []
        self.on_start: Callable[[Incarnation], None] | None = None
        self.restarts = True
        self._ended = asyncio.Event()
        self._graves: list[Any] = []
        self._number = 0
        self._is_over = False
        self._writes_in_calm = 0

    # Running.

    def run(self) -> Verdict:
        """The whole storm."""
        asyncio.set_event_loop(self.loop)
        points.hook = self._at_point
        storage.strike_storage(self.world, self.world.journals)
        try:
            self.loop.run_until_complete(self._weather())
        except RuntimeError as problem:
            if not (self.stops_early and self.world.violations):
                self.world.violate("I23", repr(problem))
        except Exception as problem:  # noqa: BLE001  # boundary: a stuck loop is a finding
            self.world.violate("I23", f"{type(problem).__name__}: {problem}")
        finally:
            points.hook = None
            self.watch.before = None
        self._audit_tasks()
        verdict = self._verdict()
        self._bury()
        return verdict

    def kill(self) -> None:
        """kill -9 of the program that runs; raises when that is who asked."""
        life = self.world.life
        if life is None or life.is_dead:
            return
        self.loop.kill(life)
        self.world.streams.clear()
        self.world.note(f"killed life {life.number}")
        self._ended.set()
        if current() is life:
            raise Killed

    async def _weather(self) -> None:
        world_tasks = [
            self.loop.spawn(None, self._market(), "market"),
            self.loop.spawn(None, self._supervise(), "supervisor"),
            self.loop.spawn(None, self._fate(), "fate"),
        ]
        await asyncio.sleep(self.scene.span_s - QUIET_S)
        await self._calm()
        self._is_over = True
        self.restarts = False
        life = self.world.life
        if life is not None and not life.is_dead:
            self.loop.kill(life)
        self._ended.set()
        for task in world_tasks:
            task.cancel()
        await asyncio.gather(*world_tasks, return_exceptions=True)

    async def _market(self) -> None:
        while True:
            await asyncio.sleep(self.world.print_s)
            self.world.tick()
            if self.stops_early and self.world.violations:
                self.loop.stop()

    async def _fate(self) -> None:
        """Moments as drawn, windows that begin, halts that end, connections that break."""
        moments = list(self.nemesis.moments)
        skew = self.nemesis.chances.of("skew")
        skewed = halted = None
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.now_s
            while moments and moments[0][0] <= now and not self.nemesis.calm:
                self._moment(moments.pop(0)[1])
            for stream in list(self.world.streams):
                stream.watch()
            window = self.nemesis.window("skew", now)
            if window is not skewed:
                skewed = window
                most = 90_000 if skew.random() < 0.5 else 5_000
                self.world.skew_ms = round(skew.uniform(-most, most)) if window else 0
                self.world.note(f"skew {self.world.skew_ms}")
            window = self.nemesis.window("halted", now)
            if window is not None and window is not halted:
                halted = window
                self.people.halt(window.end_s - now)
            window = self.nemesis.window("suspended_symbol", now)
            self._suspend(window is not None)
            self.people.resume_if_due()

    def _moment(self, name: str) -> None:
        if name == "bad_signal":
            self.bad_signals.append(name)
            self.nemesis.fired[name] += 1
            return
        self.people.do(name)

    def _suspend(self, is_on: bool) -> None:
        symbol = self.world.symbols[-1]
        state = "suspend" if is_on else "live"
        if self.world.terms(symbol).state != state:
            self.world.venue.set_state(symbol, state)
            self.world.note(f"{symbol} {state}")

    async def _supervise(self) -> None:
        """Start the program, and again whenever it ends."""
        chance = self.nemesis.chances.of("restart")
        while self.restarts:
            self._number += 1
            life = Incarnation(self._number)
            self.world.life, self.daemon.since = life, self.loop.now_s
            self._ended = asyncio.Event()
            parts = self._parts(life)
            self.world.note(f"life {life.number} begins")
            if self.on_start is not None:
                self.on_start(life)
            task = self.loop.spawn(life, self.program(parts), f"life {life.number}")
            ended = self._ended
            task.add_done_callback(lambda _, ended=ended: ended.set())
            await ended.wait()
            self._graves.append((task, parts))
            if task.done() and not life.is_dead:
                self._ended_by_itself(task, life)
            life.is_dead = True
            self.world.streams.clear()
            self.world.counts["lives"] += 1
            await asyncio.sleep(1.0 if self.nemesis.calm else chance.uniform(0.5, 15.0))

    def _ended_by_itself(self, task: "asyncio.Task[str]", life: Incarnation) -> None:
        problem = None if task.cancelled() else task.exception()
        if problem is None:
            said = "cancelled" if task.cancelled() else task.result()
            self.world.note(f"life {life.number} ended: {said}")
            self.world.counts["ended"] += 1
        elif isinstance(problem, BlofinError):
            self.world.note(f"life {life.number} gave up: {problem}")
            self.world.counts["gave up"] += 1
            if self.nemesis.calm:
                self.world.violate("I29", f"gave up in calm weather: {problem}")
        else:
            text = "".join(traceback.format_exception(problem))[-1500:]
            self.world.violate("I23", f"life {life.number} crashed: {problem!r}\n{text}")

    def _parts(self, life: Incarnation) -> Parts:
        journal = StormJournal(self.world, life, self.path)
        self.world.journals[life.number] = journal
        stream = StormStream(self.world, life)
        self.world.streams[:] = [stream]
        return Parts(
            scene=self.scene,
            world=self.world,
            exchange=StormExchange(self.world),
            stream=stream,
            journal=journal,
            clock=Clock(self.world),
            steps=self.steps,
            life=life,
            is_silent=lambda: self.is_silent,
            bad_signals=self.bad_signals,
        )

    def _at_point(self, name: str) -> None:
        life = current()
        if life is not None:
            life.check()
            self.people.at_point(name)

    # The calm after it.

    async def _calm(self) -> None:
        """Faults end; trading resumes, a close closes, the books agree, a restart does nothing."""
        world = self.world
        self.nemesis.calm = True
        self.bad_signals.clear()
        world.skew_ms = 0
        world.note("calm")
        self.people.restore_modes()
        if world.life is not None:
            self.loop.wake(world.life)
        for stream in world.streams:
            stream.revive()
        self.people.resume_if_due(at_once=True)
        opened = self._openings()
        free_s = 0.0
        free_ms: dict[str, list[int]] = {symbol: [] for symbol in world.symbols}
        for _ in range(round(RESUME_S / 5.0)):
            await asyncio.sleep(5.0)
            free_s += 0.0 if self._has_reason_not_to_open() else 5.0
            for symbol in free_ms.keys() - self._taken():
                free_ms[symbol].append(world.now_ms)
        is_due = free_s >= FREE_S and self._has_signalled(free_ms) and not self._is_poor()
        if self._openings() == opened and is_due:
            world.violate("I29", f"nothing was opened in {free_s:.0f} s of calm")
        self.is_silent = True
        resting = [*world.venue.orders.open, *world.venue.triggers.algo_live]
        if resting:
            self.people.errand("cancel", {"ids": resting})
        await asyncio.sleep(8.0)
        left = [*world.venue.orders.open, *world.venue.triggers.algo_live]
        if left:
            world.violate("I29", f"{left} rest though their cancel was asked for")
        for symbol in world.symbols:
            self.people.errand("close", {"symbol": symbol, "fraction": "1"})
        await asyncio.sleep(FLAT_S)
        for symbol in world.symbols:
            if world.signed(symbol):
                world.violate("I29", f"{symbol} is not flat {FLAT_S:.0f} s after the close")
        await asyncio.sleep(QUIET_S - RESUME_S - FLAT_S - 8.0 - 50.0)
        self.books.final()
        await self._restart_twice()

    async def _restart_twice(self) -> None:
        """I11: start is reconciliation; when all is well it changes nothing."""
        rows = self._intent_rows()
        sent = self._writes()
        for _ in range(2):
            self.kill()
            await asyncio.sleep(25.0)
        if self._writes() != sent:
            last = [s for s in self.world.log if s.is_write][-1]
            self.world.violate("I11", f"a restart in peace sent {last.name} {last.symbol}")
        if self._intent_rows() != rows:
            self.world.violate("I11", "a restart in peace changed intents")

    def _intent_rows(self) -> list[str]:
        return sorted(f"{i.client_id} {i.state} {i.filled}" for i in self.reader.intents(ACCOUNT))

    def _writes(self) -> int:
        return sum(s.is_write and not s.name.startswith("set_") for s in self.world.log)

    def _openings(self) -> int:
        return sum(s.opens for s in self.world.log)

    def _has_signalled(self, free_ms: dict[str, list[int]]) -> bool:
        """Whether the strategy wanted to open where nothing was held or on its way."""
        return any(
            row.outcome != "hold"
            and any(abs(at - row.ts_ms) <= 2_500 for at in free_ms[row.symbol])
            for session in self.reader.sessions(ACCOUNT, limit=3)
            for row in self.reader.decisions(session.session_id, since_ms=START_MS)
        )

    def _taken(self) -> set[str]:
        """Symbols where something is held or may come to be."""
        world = self.world
        taken = {s for s in world.symbols if world.position(s) is not None}
        taken |= {o.request.inst_id for o in world.venue.orders.open.values()}
        taken |= {a.request.inst_id for a in world.venue.triggers.algo_live.values()}
        return taken | {intent.symbol for intent in self.reader.open_intents(ACCOUNT)}

    def _is_poor(self) -> bool:
        """What is left, after a liquidation or beside other entries, is less than one lot."""
        since_ms = self.world.now_ms - round(RESUME_S * 1000)
        return any(
            row.note.startswith(("size", "refused by risk_usdt"))
            for session in self.reader.sessions(ACCOUNT, limit=3)
            for row in self.reader.decisions(session.session_id, since_ms=since_ms)
        )

    def _has_reason_not_to_open(self) -> bool:
        """Every symbol is taken, or a limit is used up, or a breaker has tripped."""
        world = self.world
        if any(holding.others for holding in world.holdings.values()):
            return True  # what somebody else holds may use up any limit
        taken = self._taken()
        if len(taken) >= min(self.scene.positions_max, len(world.symbols)):
            return True
        if self.scene.total_pct < 1.0 and taken:
            return True
        status = self.books.status()
        return status is not None and any(view.tripped for view in status.breakers)

    # The verdict.

    def _audit_tasks(self) -> None:
        for told in self.loop.problems:
            problem = told.get("exception")
            if not isinstance(problem, Killed):
                text = f"{told.get('message')}: {problem!r}"
                if problem is not None:
                    text += "".join(traceback.format_exception(problem))[-1500:]
                self.world.violate("I23", text)

    def _verdict(self) -> Verdict:
        counts = self.world.counts
        counts["steps of the strategy"] = self.steps.count
        counts["openings"] = self._openings()
        return Verdict(
            seed=self.scene.seed,
            violations=list(self.world.violations),
            trace=self.world.trace,
            steps=self.loop.steps,
            seconds=self.loop.now_s,
            fired=Counter(self.nemesis.fired),
            counts=Counter(counts),
            naked_s=[*self.naked.closed_s, *self.naked.bare_s.values()],
            halt_seen_s=list(self.halting.seen_s),
            rates=Counter(self.rates.most),
            duplicates=self.orders.duplicates,
            statements=self.watch.count,
            story=self.world.first_story or list(self.world.story),
        )

    def _bury(self) -> None:
        """Let the dead go. What their `finally` does now meets ports that refuse, and a loop that
        forgets."""
        INCARNATION.set(None)
        asyncio.set_event_loop(None)
        for task, parts in self._graves:
            parts.life.is_dead = True
            task._log_destroy_pending = False
        self.loop.forget()
        self._graves.clear()
        self.people.kill = _nobody
        self.world.told = Told()


def _nobody() -> None:
    """Nobody is left to kill."""


def run_seed(scene: Scene, program: Program, **given: Any) -> Verdict:
    """Run one storm in a folder of its own."""
    with storage.watched() as watch, storage.memory_folder() as folder, in_silence():
        _freeze()
        verdict = Storm(scene, program, folder, watch, **given).run()
        gc.collect()
        return verdict


@cache
def _freeze() -> None:
    """What was imported is not looked through again at each collection."""
    gc.collect()
    gc.freeze()


@contextmanager
def in_silence() -> Iterator[None]:
    """The dead are collected meanwhile, and their last words are nobody's news."""
    heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = heard
