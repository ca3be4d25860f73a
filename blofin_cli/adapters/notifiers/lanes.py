"""The queue between trading and whoever is told: it takes at once, keeps a bound, and never raises.

Each address has a lane of its own, so that a dead one delays no other. A lane tries a message a few
times with growing pauses. When it is full the oldest message goes, is counted, and the next one
delivered says how many went.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from blofin_cli.core.journal import Happening
from blofin_cli.errors import BlofinError
from blofin_cli.ports import Clock


class Outcome(StrEnum):
    """What became of one message at one address."""

    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message at one address, for the record. `address` and `problem` show no token."""

    ts_ms: int
    address: str
    happening: Happening
    outcome: Outcome
    attempts: int
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much waits, how long one attempt may take and how often it is made."""

    waiting_max: int = 100
    attempt_s: float = 20.0
    attempts: int = 5
    pause_first_s: float = 1.0
    pause_max_s: float = 60.0
    closing_s: float = 8.0


OnOutcome = Callable[[Delivery], None]


def unrecorded(delivery: Delivery) -> None:
    """Nobody keeps a record."""


class Target(Protocol):
    """A `Notifier` with a name that may be logged."""

    @property
    def name(self) -> str:
        """Service and masked address."""
        ...

    async def send(self, happening: Happening) -> None:
        """Deliver one event. Errors: NetworkError when it was not delivered."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class NotifierQueue:
    """The `Notifier` port for many addresses: `put` returns at once, workers deliver.

    Invariants: `put` neither waits nor raises; what a lane holds is bounded; every message ends in
    one `Delivery` at every address, unless the process dies.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        clock: Clock,
        *,
        on_outcome: OnOutcome = unrecorded,
        limits: Limits | None = None,
    ):
        self._limits = limits or Limits()
        self._lanes = [_Lane(target, clock, on_outcome, self._limits) for target in targets]
        self._tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address as it may be shown."""
        return tuple(lane.target.name for lane in self._lanes)

    @property
    def dropped(self) -> int:
        """Messages that made room for newer ones, over all addresses."""
        return sum(lane.dropped for lane in self._lanes)

    def put(self, happening: Happening) -> None:
        """Take a message; after `aclose` it is counted as dropped."""
        for lane in self._lanes:
            lane.put(happening)

    async def send(self, happening: Happening) -> None:
        """Take a message, as the port has it: delivery is the workers' business."""
        self.put(happening)

    async def aclose(self) -> None:
        """Deliver what waits for a few seconds, then give up; harmless when repeated."""
        for lane in self._lanes:
            lane.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.closing_s)
        for lane, task in zip(self._lanes, self._tasks, strict=True):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            lane.give_up()
            await lane.target.aclose()
        self._tasks, self._lanes = [], []


class _Lane:
    """One address and what waits for it."""

    def __init__(self, target: Target, clock: Clock, on_outcome: OnOutcome, limits: Limits):
        self.target, self._clock, self._on_outcome, self._limits = target, clock, on_outcome, limits
        self._waiting: deque[Happening] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self.dropped, self._untold = 0, 0

    def put(self, happening: Happening) -> None:
        if self._is_closing:
            self._drop(happening)
            return
        if len(self._waiting) >= self._limits.waiting_max:
            self._drop(self._waiting.popleft())
        self._waiting.append(happening)
        self._wake.set()

    def close(self) -> None:
        self._is_closing = True
        self._wake.set()

    def give_up(self) -> None:
        """What still waits was not delivered."""
        while self._waiting:
            self._record(self._waiting.popleft(), Outcome.FAILED, 0, "the program ended")

    async def run(self) -> None:
        """Deliver until closed and empty."""
        while True:
            while self._waiting:
                await self._deliver(self._waiting.popleft())
            if self._is_closing:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _deliver(self, happening: Happening) -> None:
        problem = ""
        for attempt in range(1, self._limits.attempts + 1):
            told, count = self._with_count(happening), self._untold
            try:
                async with asyncio.timeout(self._limits.attempt_s):
                    await self.target.send(told)
            except asyncio.CancelledError:
                self._record(happening, Outcome.FAILED, attempt, "the program ended")
                raise
            except TimeoutError:
                problem = f"no answer in {self._limits.attempt_s:g} s"
            except BlofinError as error:
                problem = error.message
            except Exception as error:  # noqa: BLE001  # boundary: a lane outlives its notifier
                problem = type(error).__name__
            else:
                self._untold -= count
                self._record(happening, Outcome.SENT, attempt)
                return
            if attempt < self._limits.attempts:
                await self._pause(happening, attempt)
        self._untold += 1
        self._record(happening, Outcome.FAILED, self._limits.attempts, problem)

    async def _pause(self, happening: Happening, attempt: int) -> None:
        longest = min(self._limits.pause_first_s * 2.0 ** (attempt - 1), self._limits.pause_max_s)
        try:
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - no secret
        except asyncio.CancelledError:
            self._record(happening, Outcome.FAILED, attempt, "the program ended")
            raise

    def _with_count(self, happening: Happening) -> Happening:
        if not self._untold:
            return happening
        return replace(
            happening, text=f"{happening.text} ({self._untold} earlier alerts were lost)"
        )

    def _drop(self, happening: Happening) -> None:
        self.dropped += 1
        self._untold += 1
        self._record(happening, Outcome.DROPPED, 0, "too many alerts waited")

    def _record(
        self, happening: Happening, outcome: Outcome, attempts: int, problem: str = ""
    ) -> None:
        delivery = Delivery(
            ts_ms=self._clock.now_ms(), address=self.target.name, happening=happening,
            outcome=outcome, attempts=attempts, problem=problem,
        )  # fmt: skip
        with suppress(Exception):  # boundary: a record that fails must not cost the next alert
            self._on_outcome(delivery)
