"""What a feed has heard and its consumer has not: bounded, without losing what must not be lost.

Account events, events about the feed and closed candles wait in order. Of prices, books and forming
candles only the newest of each topic waits, which bounds them by the number of topics. Prints keep
the newest thousand.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from blofin_cli.core.feed import (
    BookEvent,
    CandleEvent,
    FeedEvent,
    FundingEvent,
    MarkEvent,
    PrintEvent,
    QuoteEvent,
)

PRINTS_MAX = 1000
KEPT_MAX = 10_000


class Outbox:
    """One consumer, many producers, one event loop. `dropped` counts what newer news replaced."""

    def __init__(self) -> None:
        self._kept: deque[FeedEvent] = deque()
        self._latest: dict[tuple[object, ...], FeedEvent] = {}
        self._prints: deque[FeedEvent] = deque()
        self._filled, self._drained = asyncio.Event(), asyncio.Event()
        self._problem: BaseException | None = None
        self._is_closed = False
        self.dropped = 0

    def put(self, event: FeedEvent) -> None:
        """Keep an event for the consumer."""
        key = _key(event)
        if isinstance(event, PrintEvent):
            if len(self._prints) >= PRINTS_MAX:
                self._prints.popleft()
                self.dropped += 1
            self._prints.append(event)
        elif key is None:
            self._kept.append(event)
        elif isinstance(event, CandleEvent) and event.bar.is_closed:
            self._latest.pop(key, None)  # the forming candle before it is history
            self._kept.append(event)
        else:
            self.dropped += self._latest.pop(key, None) is not None
            self._latest[key] = event
        self._filled.set()

    async def room(self) -> None:
        """Wait while too much is kept: the socket then holds back, and in the end reconnects."""
        while len(self._kept) >= KEPT_MAX and not self._is_closed:
            self._drained.clear()
            await self._drained.wait()

    def fail(self, problem: BaseException) -> None:
        """A producer died: the consumer meets the reason instead of silence."""
        self._problem = problem
        self._filled.set()

    def close(self) -> None:
        """End the iteration."""
        self._is_closed = True
        self._filled.set()
        self._drained.set()

    def __aiter__(self) -> AsyncIterator[FeedEvent]:
        return self

    async def __anext__(self) -> FeedEvent:
        """The most important event that waits. Errors: whatever a producer died of.

        An object and no generator: a consumer may give up waiting and ask again.
        """
        while True:
            if (event := self._next()) is not None:
                return event
            if self._problem is not None:
                raise self._problem
            if self._is_closed:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()

    def _next(self) -> FeedEvent | None:
        if self._is_closed:
            return None
        if self._kept:
            self._drained.set()
            return self._kept.popleft()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return self._prints.popleft() if self._prints else None


def _key(event: FeedEvent) -> tuple[object, ...] | None:
    """What replaces what; None for events of which each one counts."""
    match event:
        case CandleEvent() | MarkEvent():
            return (type(event), event.symbol, event.timeframe)
        case QuoteEvent():
            return (QuoteEvent, event.quote.symbol)
        case BookEvent():
            return (BookEvent, event.book.symbol)
        case FundingEvent():
            return (FundingEvent, event.funding.symbol)
    return None
