"""Tasks with an owner: each has a name, its end is seen, and no name runs twice at a time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Unexpected = Callable[[str, BaseException], None]


class Crew:
    """The tasks of one session.

    `on_failure(name, error)` is told of every task that ended with an error nobody caught: the
    session stops opening then. Whatever a task waits for, `dismiss` ends it.
    """

    def __init__(self, on_failure: Unexpected) -> None:
        self._on_failure = on_failure
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def send(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Start a job unless one of this name is at work; whether it was started."""
        if self.is_busy(name):
            return False
        task = asyncio.get_running_loop().create_task(work(), name=name)
        self._tasks[name] = task
        task.add_done_callback(self._ended)
        return True

    def is_busy(self, name: str) -> bool:
        """Whether a job of this name is at work."""
        task = self._tasks.get(name)
        return task is not None and not task.done()

    def busy(self) -> tuple[str, ...]:
        """Names of the jobs at work."""
        return tuple(name for name in self._tasks if self.is_busy(name))

    async def settled(self, seconds_max: float) -> bool:
        """Wait until no job is left, at most so long; whether that is so."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds_max)
        return not any(not task.done() for task in tasks)

    async def dismiss(self) -> None:
        """End every job."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = task.get_name()
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._on_failure(name, problem)
