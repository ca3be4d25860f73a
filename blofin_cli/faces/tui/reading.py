"""How the dashboard reads and acts: every call through the one gate, none on the screen's thread.

Two threads read, each with a context of its own (a connection to the state belongs to its thread):
one for the heartbeat, one for whatever takes longer. An act gets a thread to itself, so that a halt
never waits behind a chart.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from blofin_cli.app import catalog
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Result, invoke
from blofin_cli.errors import BlofinError

if TYPE_CHECKING:
    from blofin_cli.app.commands.status import StatusResult

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last look at the state: what was there, and what went wrong if it could not be read."""

    result: "StatusResult | None" = None
    error: str = ""


def call(context: Context, name: str, arguments: Mapping[str, object] | None = None) -> Result:
    """Run one command to its end in this thread. Errors: whatever the command raises."""
    return asyncio.run(invoke(catalog.load(name), arguments or {}, context))


def knows(name: str) -> bool:
    """Whether there is a command of this name."""
    return name in catalog.index()


class Reader:
    """One thread that reads, with a context that stays open."""

    def __init__(self, make: Callable[[], Context], name: str) -> None:
        self._make = make
        self._context: Context | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def read(self, work: Callable[[Context], T]) -> T:
        """The answer of `work`, done in the reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)

    def _run(self, work: Callable[[Context], T]) -> T:
        if self._context is None:
            self._context = self._make()
        try:
            return work(self._context)
        except BlofinError:
            self._context = None  # whatever broke may be mended: look afresh the next time
            raise

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def alone(work: Callable[[], T]) -> T:
    """The answer of `work`, done in a thread of its own that holds nobody up and is not awaited at
    the end of the program."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(outcome: "T | BaseException") -> None:
        if answer.done():
            return
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def run() -> None:
        outcome: T | BaseException
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001  # boundary: it belongs to who awaits
            outcome = error
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:
            return  # the dashboard has been left

    Thread(target=run, daemon=True).start()
    return await answer
