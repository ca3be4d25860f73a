"""Work in a thread with a loop of its own, so that a long backtest never silences the server.

Commands compute between two awaits for as long as they like; on the protocol's loop that would
hold up every other call, a halt included.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from time import monotonic
from typing import Any, Generic, TypeVar

import anyio.to_thread

from blofin_cli.app.context import Progress

T = TypeVar("T")

REPORT_SECONDS_MIN = 0.2
Report = Callable[[float, float | None, str], Awaitable[None]]


class Job(Generic[T]):
    """One coroutine in a thread. `stop` cancels it at its next await or report of progress."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._stopped = False

    def run(self) -> T:
        """Run to the end in this thread. Errors: CancelledError when stopped, and its own."""
        return asyncio.run(self._main())

    def stop(self) -> None:
        """Ask it to end; may be called from any thread, also before it began."""
        self._stopped = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def check(self) -> None:
        """End here when it was stopped; work that never awaits comes by with its progress."""
        if self._stopped:
            raise asyncio.CancelledError

    async def _main(self) -> T:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.check()
        return await self._work()


async def run_job(job: Job[T], limiter: anyio.CapacityLimiter, *, may_stop: bool) -> T:
    """Run a job in a thread. A cancelled caller stops it; what must not be cut short goes on."""
    try:
        return await anyio.to_thread.run_sync(job.run, limiter=limiter, abandon_on_cancel=True)
    except asyncio.CancelledError:
        if may_stop:
            job.stop()
        raise


class Reporter:
    """Carries progress out of the thread: at most five reports a second, always rising.

    A command counts from zero at each of its stages; the protocol wants one rising number, so the
    stages are laid end to end.
    """

    def __init__(self, report: Report, check: Callable[[], None]) -> None:
        self._report = report
        self._check = check
        self._loop = asyncio.get_running_loop()
        self._base = self._last = self._stage_total = 0
        self._told = 0.0
        self._pending: Future[None] | None = None

    def progress(self) -> Progress:
        """What the command calls, from its thread."""
        return self._tell

    async def settle(self) -> None:
        """Wait for the last report, so that none arrives after the answer."""
        if self._pending is not None:
            await asyncio.wait([asyncio.wrap_future(self._pending)], timeout=1.0)

    def _tell(self, done: int, total: int, text: str) -> None:
        self._check()
        if done < self._last - self._base:
            self._base += max(self._stage_total, self._last - self._base)
        self._stage_total = total
        reached = self._base + done
        now = monotonic()
        is_due = now - self._told >= REPORT_SECONDS_MIN or done >= total
        is_free = self._pending is None or self._pending.done()
        if reached <= self._last or not is_due or not is_free:
            return
        self._last, self._told = reached, now
        self._pending = asyncio.run_coroutine_threadsafe(
            self._send(reached, self._base + total, text), self._loop
        )

    async def _send(self, done: float, total: float, text: str) -> None:
        await self._report(done, total, text)
