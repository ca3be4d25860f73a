"""An asyncio loop in virtual time, and processes in it that can be killed or put to sleep.

Time is a number that jumps to the next timer when nothing can run; real I/O does not exist. A
process is whatever runs in the context of one `Incarnation`: its handles are skipped from the step
it dies in, so that neither an `except` nor a `finally` of it ever runs again, as after kill -9.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

STEPS_MAX = 30_000_000


class Killed(BaseException):
    """The process that runs this is dead; nothing it does any more reaches the world."""


class StuckError(Exception):
    """Nothing can run and no timer waits: a deadlock."""


class EndlessError(Exception):
    """More steps than a simulation of this length can need."""


class Incarnation:
    """One life of the program: number, whether it lives, and until when it is stopped."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_dead = False
        self.asleep_until = 0.0
        self.held: deque[Any] = deque()

    def check(self) -> None:
        """Refuse a call from a dead process."""
        if self.is_dead:
            raise Killed


INCARNATION: contextvars.ContextVar[Incarnation | None] = contextvars.ContextVar(
    "incarnation", default=None
)


def current() -> Incarnation | None:
    """The process that runs now; None for the world outside."""
    return INCARNATION.get()


class VirtualLoop(asyncio.BaseEventLoop):
    """One step is one handle. `before_step` is told the step's number and its process."""

    def __init__(self, steps_max: int = STEPS_MAX) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0
        self.steps_max = steps_max
        self.problems: list[dict[str, Any]] = []
        self._is_forgotten = False
        self.before_step: Callable[[int, Incarnation | None], None] | None = None
        self._kept: list[tuple[asyncio.Task[Any], Incarnation | None]] = []
        self.set_exception_handler(lambda _, told: self.problems.append(told))
        self.set_task_factory(self._remembered)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now_s

    def spawn(
        self, life: Incarnation | None, work: Coroutine[Any, Any, Any], name: str
    ) -> asyncio.Task[Any]:
        """Start work as part of a process, or of the world when there is none."""
        context = contextvars.copy_context()
        context.run(INCARNATION.set, life)
        return context.run(self.create_task, work, name=name)

    def kill(self, life: Incarnation) -> None:
        """kill -9: nothing of this process ever runs again."""
        life.is_dead = True
        life.held.clear()

    def sleep(self, life: Incarnation, seconds: float) -> None:
        """SIGSTOP now, SIGCONT later; what became ready meanwhile runs then, in order."""
        life.asleep_until = self.now_s + seconds
        context = contextvars.Context()
        self.call_at(life.asleep_until, self._wake, life, context=context)

    def bury(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not finished and belong to a living process or the world."""
        left = [(task, life) for task, life in self._kept if not task.done()]
        for task, _ in left:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        return [task for task, life in left if life is None or not life.is_dead]

    def forget(self) -> None:
        """End it: nothing runs any more, and what is asked of it is forgotten."""
        self.bury()
        self.before_step = None
        self.close()
        self._is_forgotten = True
        self._kept.clear()
        self.problems.clear()

    def _check_closed(self) -> None:
        if not self._is_forgotten:
            super()._check_closed()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Do it at once: there are no threads here."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as problem:  # noqa: BLE001  # boundary: as an executor does
            future.set_exception(problem)
        return future

    def _remembered(self, loop: Any, work: Any, **given: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **given)
        context = given.get("context")
        life = current() if context is None else context.get(INCARNATION)
        self._kept.append((task, life))
        if len(self._kept) > 4_096:
            self._kept = [each for each in self._kept if not each[0].done()]
        return task

    def wake(self, life: Incarnation) -> None:
        """SIGCONT now."""
        life.asleep_until = self.now_s
        self._wake(life)

    def _wake(self, life: Incarnation) -> None:
        if not life.is_dead and life.asleep_until <= self.now_s:
            self._ready.extend(life.held)
            life.held.clear()

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
            self._timer_cancelled_count -= 1
        if not ready:
            if not timers:
                raise StuckError(f"nothing can run at {self.now_s:.3f} s")
            self.now_s = max(self.now_s, timers[0]._when)
        while timers and timers[0]._when <= self.now_s:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            if not ready:
                break
            self._step(ready.popleft())

    def _step(self, handle: Any) -> None:
        if handle._cancelled:
            return
        life = handle._context.get(INCARNATION)
        if life is not None:
            if life.is_dead:
                return
            if life.asleep_until > self.now_s:
                life.held.append(handle)
                return
        self.steps += 1
        if self.steps > self.steps_max:
            raise EndlessError(f"{self.steps} steps by {self.now_s:.1f} s")
        if self.before_step is not None:
            self.before_step(self.steps, life)
            if life is not None and life.is_dead:
                return
        handle._run()

    def _timer_handle_cancelled(self, handle: Any) -> None:
        if handle._scheduled:
            self._timer_cancelled_count += 1

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError("there is no real I/O here")

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""

    def _make_socket_transport(self, *given: Any, **more: Any) -> Any:
        raise AssertionError("there is no real I/O here")

    _make_ssl_transport = _make_datagram_transport = _make_socket_transport
    _make_read_pipe_transport = _make_write_pipe_transport = _make_socket_transport
    _make_subprocess_transport = _make_socket_transport
    _add_reader = _add_writer = _remove_reader = _remove_writer = _make_socket_transport
