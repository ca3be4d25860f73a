"""BloFin's live feed: the `Stream` port over as many connections as its topics need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal

from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.hosts import Host
from blofin_cli.adapters.exchanges.blofin.line import FeedLimits, Line
from blofin_cli.adapters.exchanges.blofin.outbox import Outbox
from blofin_cli.adapters.exchanges.blofin.public import PublicData
from blofin_cli.adapters.exchanges.blofin.wire import frames
from blofin_cli.adapters.exchanges.blofin.wire.signing import Credentials
from blofin_cli.core.feed import FeedEvent, FeedHealth, Topic
from blofin_cli.errors import AuthError, BlofinError


class LiveFeed:
    """Public and private topics of one host. Connections open with the first topic."""

    def __init__(
        self,
        host: Host,
        data: PublicData,
        governor: Governor,
        *,
        credentials: Credentials | None = None,
        limits: FeedLimits | None = None,
    ):
        self._host, self._data, self._governor = host, data, governor
        self._credentials, self._limits = credentials, limits or FeedLimits()
        self._outbox = Outbox()
        self._lines: list[Line] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._place: dict[Topic, Line] = {}
        self._changing = asyncio.Lock()

    async def subscribe(self, *topics: Topic) -> None:
        """Ask for topics; confirmation or refusal comes as an event. Known ones are ignored.

        Errors: AuthError for a private topic without a key; those of `MarketData` while the
        instruments are read, without which sizes mean nothing.
        """
        if any(topic.channel.is_private for topic in topics):
            if self._credentials is None:
                raise AuthError("private topics need an API key")
            with suppress(BlofinError):  # the login is signed with exchange time
                await self._data.server_time_ms()
        contract_values = await self._data.contract_values()
        async with self._changing:
            for topic in topics:
                if topic not in self._place:
                    line = self._line_for(topic, contract_values)
                    self._place[topic] = line
                    await line.subscribe(topic)

    async def unsubscribe(self, *topics: Topic) -> None:
        """Give topics up."""
        async with self._changing:
            for topic in topics:
                if (line := self._place.pop(topic, None)) is not None:
                    await line.unsubscribe(topic)

    def events(self) -> AsyncIterator[FeedEvent]:
        """Everything that happens, until `aclose`; for one consumer."""
        return self._outbox

    def health(self) -> FeedHealth:
        """Connections, ages and counts now."""
        ages: dict[Topic, int | None] = {}
        for line in self._lines:
            ages |= line.ages_ms()
        public = [line for line in self._lines if not line.is_private]
        private = [line for line in self._lines if line.is_private]
        return FeedHealth(
            public_connected=bool(public) and all(line.is_connected for line in public),
            private_connected=bool(private) and all(line.is_connected for line in private),
            reconnects=sum(line.reconnects for line in self._lines),
            dropped=self._outbox.dropped,
            ages_ms=ages,
        )

    async def aclose(self) -> None:
        """End the connections and the iterator; harmless when repeated."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        self._outbox.close()
        self._governor.close()

    def _line_for(self, topic: Topic, contract_values: dict[str, Decimal]) -> Line:
        """A line of the right kind with room for the topic's name, or a new one."""
        is_private = topic.channel.is_private
        needed = len(str(frames.argument(topic))) + 1
        for line in self._lines:
            has_room = line.argument_bytes() + needed <= frames.ARGUMENT_BYTES_MAX
            if line.is_private == is_private and has_room:
                return line
        line = Line(
            self._host.private_stream if is_private else self._host.public_stream,
            self._outbox,
            self._governor,
            exchange_ms=self._data.now_ms,
            contract_values=contract_values,
            limits=self._limits,
            credentials=self._credentials if is_private else None,
        )
        self._lines.append(line)
        self._tasks.append(asyncio.create_task(self._guarded(line)))
        return line

    async def _guarded(self, line: Line) -> None:
        """A line must not die unseen."""
        try:
            await line.run()
        except Exception as problem:  # noqa: BLE001  # boundary: the consumer of the feed is told
            self._outbox.fail(problem)
