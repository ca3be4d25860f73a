"""One WebSocket connection that keeps itself alive, and the topics that live on it.

Topics are asked one after the other, each in a frame of its own: BloFin's error frames do not name
the topic, and one bad topic spoils its whole frame. A line counts as connected when every topic is
confirmed or refused; private events that arrive earlier wait until `ReconcileNeeded` is out.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.outbox import Outbox
from blofin_cli.adapters.exchanges.blofin.wire import frames
from blofin_cli.adapters.exchanges.blofin.wire.fields import clean
from blofin_cli.adapters.exchanges.blofin.wire.frames import Notice, Push
from blofin_cli.adapters.exchanges.blofin.wire.signing import Credentials, fresh_nonce
from blofin_cli.core.feed import (
    BookEvent,
    CandleEvent,
    Channel,
    Connected,
    Disconnected,
    FeedEvent,
    MarkEvent,
    Oddity,
    QuoteEvent,
    ReconcileNeeded,
    Stalled,
    Topic,
    TopicConfirmed,
    TopicRefused,
)
from blofin_cli.errors import BadAnswerError

FRAME_BYTES_MAX = 1024 * 1024
_ODDITY_RECONCILE_S = 5.0
_LOGIN_REFUSED_FAILURES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """Seconds of patience. `stall_s` is the silence a channel may keep; others may be silent."""

    open_s: float = 5.0
    login_s: float = 5.0
    confirm_s: float = 5.0
    ping_s: float = 20.0
    dead_s: float = 30.0
    tick_s: float = 0.5
    stable_s: float = 30.0
    pause_first_s: float = 0.5
    pause_max_s: float = 30.0
    stall_s: dict[Channel, float] = field(
        default_factory=lambda: {
            Channel.BOOK: 20.0,
            Channel.QUOTES: 30.0,
            Channel.CANDLES: 90.0,
            Channel.MARK: 90.0,
            Channel.FUNDING: 180.0,
        }
    )
    stall_growth_max: float = 10.0


class _LostError(Exception):
    """The connection is of no more use; its text says why."""


@dataclass(slots=True)
class _Subscription:
    """One topic's state on the present connection, and what it last said on any."""

    is_confirmed: bool = False
    is_refused: bool = False
    asked_s: float | None = None
    tries: int = 0
    fresh_s: float | None = None
    heard_ms: int | None = None
    is_asked_anew: bool = False
    patience: float = 1.0
    last: FeedEvent | None = None

    def begin(self) -> None:
        """Forget the connection, keep what was said."""
        self.is_confirmed = self.is_refused = self.is_asked_anew = False
        self.asked_s, self.tries, self.fresh_s = None, 0, None


class Line:
    """A connection for some topics. `run` is its life; everything it hears goes to the outbox."""

    def __init__(
        self,
        uri: str,
        outbox: Outbox,
        governor: Governor,
        *,
        exchange_ms: Callable[[], int],
        contract_values: dict[str, Decimal],
        limits: FeedLimits,
        credentials: Credentials | None = None,
    ):
        self._uri, self._outbox, self._governor = uri, outbox, governor
        self._exchange_ms, self._contract_values = exchange_ms, contract_values
        self._limits, self._credentials = limits, credentials
        self._topics: dict[Topic, _Subscription] = {}
        self._socket: ClientConnection | None = None
        self._wanted = asyncio.Event()
        self._failures = 0
        self._end_reason = ""
        self._is_announced, self._announced_s = False, 0.0
        self._held: list[FeedEvent] = []
        self._asked: Topic | None = None
        self._heard_s, self._pinged_s = 0.0, 0.0
        self._last_heard_ms: int | None = None
        self._last_reconcile_s = 0.0
        self.reconnects = 0

    @property
    def is_private(self) -> bool:
        """It logs in."""
        return self._credentials is not None

    @property
    def is_connected(self) -> bool:
        """Every topic is confirmed or refused on a living connection."""
        return self._socket is not None and self._is_announced

    def argument_bytes(self) -> int:
        """Length of all its topics in BloFin's words."""
        return sum(len(str(frames.argument(topic))) + 1 for topic in self._topics)

    def ages_ms(self) -> dict[Topic, int | None]:
        """Milliseconds since each topic last said something new."""
        now = time.monotonic()
        return {
            topic: None if state.fresh_s is None else int((now - state.fresh_s) * 1000)
            for topic, state in self._topics.items()
        }

    async def subscribe(self, topic: Topic) -> None:
        """Add a topic; it is asked at once when a connection is up."""
        if topic not in self._topics:
            self._topics[topic] = _Subscription()
            self._wanted.set()
            await self._ask_next()

    async def unsubscribe(self, topic: Topic) -> None:
        """Give a topic up."""
        if self._topics.pop(topic, None) is None:
            return
        if not self._topics:
            self._wanted.clear()
        await self._send(frames.subscriptions("unsubscribe", [topic]))
        await self._ask_next()

    async def run(self) -> None:
        """Connect, listen, and connect again, for ever."""
        while True:
            await self._wanted.wait()
            await self._governor.acquire_connection()
            reason = await self._live()
            self._outbox.put(Disconnected(self.is_private, reason, self._exchange_ms()))
            self.reconnects += 1
            longest = min(
                self._limits.pause_first_s * 2.0**self._failures, self._limits.pause_max_s
            )
            self._failures = min(self._failures + 1, 16)
            await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311

    async def _live(self) -> str:
        """One connection from its opening to its end; why it ended."""
        self._begin()
        try:
            async with connect(
                self._uri, max_size=FRAME_BYTES_MAX, open_timeout=self._limits.open_s,
                close_timeout=1.0, ping_interval=None, proxy=None, max_queue=64,
            ) as socket:  # fmt: skip
                self._heard_s = time.monotonic()
                if self._credentials is not None:
                    await self._log_in(socket, self._credentials)
                self._socket = socket
                keeper = asyncio.create_task(self._keep(socket))
                try:
                    await self._ask_next()
                    await self._listen(socket)
                finally:
                    keeper.cancel()
                    with suppress(asyncio.CancelledError):
                        await keeper
        except _LostError as problem:
            self._end_reason = self._end_reason or str(problem)
        except (OSError, TimeoutError, WebSocketException) as problem:
            self._end_reason = self._end_reason or _reason(problem)
        finally:
            self._socket = None
        if time.monotonic() - self._announced_s > self._limits.stable_s and self._is_announced:
            self._failures = 0
        self._is_announced = False
        return self._end_reason or "closed"

    def _begin(self) -> None:
        self._is_announced, self._announced_s = False, 0.0
        self._end_reason = ""
        self._held, self._asked = [], None
        self._heard_s, self._pinged_s = time.monotonic(), 0.0
        for state in self._topics.values():
            state.begin()

    async def _log_in(self, socket: ClientConnection, credentials: Credentials) -> None:
        await socket.send(frames.login(credentials, ts_ms=self._exchange_ms(), nonce=fresh_nonce()))
        async with asyncio.timeout(self._limits.login_s):
            while True:
                notice = self._parse(await socket.recv())
                if not isinstance(notice, Notice):
                    continue
                if notice.is_login_failure or notice.kind == "error":
                    self._failures = max(self._failures, _LOGIN_REFUSED_FAILURES)
                    raise _LostError(f"login refused ({notice.code}): {notice.message}")
                if notice.kind == "login":
                    return

    async def _listen(self, socket: ClientConnection) -> None:
        async for frame in socket:
            self._heard_s = time.monotonic()
            told = self._parse(frame)
            if isinstance(told, Push):
                self._on_push(told)
            elif told is not None:
                await self._on_notice(told)
            await self._outbox.room()

    def _parse(self, frame: str | bytes) -> Notice | Push | None:
        try:
            return frames.parse(frame, self._contract_values, self._exchange_ms())
        except BadAnswerError as problem:
            self._odd(problem.message)
            return None

    # Subscriptions.

    async def _ask_next(self) -> None:
        """Ask the next topic nobody has asked on this connection; announce when none is left."""
        if self._socket is None or self._asked is not None:
            return
        for topic, state in self._topics.items():
            if not state.is_confirmed and not state.is_refused:
                state.asked_s, state.tries = time.monotonic(), state.tries + 1
                self._asked = topic
                await self._send(frames.subscriptions("subscribe", [topic]))
                return
        self._announce()

    async def _on_notice(self, notice: Notice) -> None:
        if notice.kind == "subscribe" and notice.topic in self._topics:
            state = self._topics[notice.topic]
            if not state.is_confirmed:
                state.is_confirmed, state.fresh_s = True, time.monotonic()
                self._outbox.put(TopicConfirmed(notice.topic))
            if self._asked == notice.topic:
                self._asked = None
            await self._ask_next()
        elif notice.kind == "error" and self._asked is not None:
            topic, self._asked = self._asked, None
            if topic in self._topics:
                self._topics[topic].is_refused = True
                self._outbox.put(TopicRefused(topic, f"{notice.code}: {notice.message}"))
            await self._ask_next()
        elif notice.kind in ("error", "unknown"):
            self._odd(f"{notice.code} {notice.message}".strip())

    def _announce(self) -> None:
        """Say that the line is up, then what to read anew, then what was held back."""
        if self._is_announced or not self._topics:
            return
        self._is_announced, self._announced_s = True, time.monotonic()
        now_ms = self._exchange_ms()
        self._outbox.put(Connected(self.is_private, self.reconnects + 1, now_ms))
        if self.is_private or self.reconnects:
            reason = "reconnected" if self.reconnects else "connected"
            self._reconcile(reason, self._last_heard_ms)
        for event in self._held:
            self._outbox.put(event)
        self._held = []

    def _reconcile(self, reason: str, since_ms: int | None) -> None:
        self._last_reconcile_s = time.monotonic()
        self._outbox.put(ReconcileNeeded(self.is_private, reason, since_ms, self._exchange_ms()))

    # Data.

    def _on_push(self, push: Push) -> None:
        state = self._topics.get(push.topic)
        if state is None:
            return
        self._last_heard_ms = state.heard_ms = self._exchange_ms()
        for event in push.events:
            if isinstance(event, Oddity):
                self._odd(event.text)
            elif self._is_news(push.topic, state, event):
                state.fresh_s, state.last = time.monotonic(), event
                state.is_asked_anew, state.patience = False, 1.0
                if self.is_private and not self._is_announced:
                    self._held.append(event)
                else:
                    self._outbox.put(event)

    def _is_news(self, topic: Topic, state: _Subscription, event: FeedEvent) -> bool:
        """Not older than, and not the same as, what the topic said before."""
        last = state.last
        if topic.channel.is_private or last is None:
            return True
        if isinstance(event, CandleEvent | MarkEvent) and isinstance(last, CandleEvent | MarkEvent):
            if event.bar.ts_ms < last.bar.ts_ms:
                return False
            if event.bar.ts_ms == last.bar.ts_ms:
                return not last.bar.is_closed and event != last
            if not last.bar.is_closed and isinstance(event, CandleEvent):
                self._reconcile(
                    f"{topic.symbol} {topic.timeframe}: a close was not seen", last.bar.ts_ms
                )
            return True
        if isinstance(event, QuoteEvent) and isinstance(last, QuoteEvent):
            return event.quote.ts_ms > last.quote.ts_ms
        if isinstance(event, BookEvent) and isinstance(last, BookEvent):
            return event.book.ts_ms > last.book.ts_ms
        return True

    def _odd(self, text: str) -> None:
        """Tell of a message that was not understood; on the private line, ask to reconcile."""
        self._outbox.put(Oddity(clean(text), self._exchange_ms()))
        is_due = time.monotonic() - self._last_reconcile_s > _ODDITY_RECONCILE_S
        if self.is_private and self._is_announced and is_due:
            self._reconcile("a message was not understood", self._last_heard_ms)

    # Keeping alive.

    async def _keep(self, socket: ClientConnection) -> None:
        """Ping when idle, ask again, watch for silence; end the connection when it is dead."""
        try:
            while True:
                await asyncio.sleep(self._limits.tick_s)
                now = time.monotonic()
                if now - self._heard_s > self._limits.dead_s:
                    raise _LostError(f"silent for {now - self._heard_s:.0f} s")
                last_s = max(self._heard_s, self._pinged_s)
                if now - last_s > self._limits.ping_s:
                    self._pinged_s = now
                    await self._send(frames.PING)
                await self._ask_again(now)
                for topic, state in tuple(self._topics.items()):
                    await self._watch(topic, state, now)
        except _LostError as problem:
            self._end_reason = str(problem)
            socket.transport.abort()  # a dead peer does not answer a closing handshake
        except Exception:  # boundary: the listener ends and meets the defect
            socket.transport.abort()
            raise

    async def _ask_again(self, now: float) -> None:
        """A subscription without an answer is asked up to three times."""
        if self._asked is None:
            return
        state = self._topics.get(self._asked)
        if state is None:
            self._asked = None
            await self._ask_next()
        elif state.asked_s is not None and now - state.asked_s > self._limits.confirm_s:
            if state.tries >= 3:
                raise _LostError(f"{frames.channel_of(self._asked)} was not confirmed")
            self._asked = None
            await self._ask_next()

    async def _watch(self, topic: Topic, state: _Subscription, now: float) -> None:
        """A silent topic is subscribed anew once, then the connection is made anew.

        Each time that did not help, its patience doubles: a quiet market must not become a storm
        of connections.
        """
        allowed_s = self._limits.stall_s.get(topic.channel)
        if allowed_s is None or not state.is_confirmed or state.fresh_s is None:
            return
        silent_s = now - state.fresh_s
        if silent_s <= allowed_s * state.patience:
            return
        state.patience = min(state.patience * 2, self._limits.stall_growth_max)
        self._outbox.put(Stalled(topic, int(silent_s * 1000), self._exchange_ms()))
        if state.is_asked_anew:
            raise _LostError(f"{frames.channel_of(topic)} {topic.symbol} fell silent")
        await self._send(frames.subscriptions("unsubscribe", [topic]))
        state.is_asked_anew, state.is_confirmed, state.tries = True, False, 0
        await self._ask_next()

    async def _send(self, text: str) -> None:
        """Send if connected; a lost connection shows itself to the listener."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(text)


def _reason(problem: BaseException) -> str:
    return clean(f"{type(problem).__name__} {problem}".strip())
