"""The live feed against a server on loopback that disconnects, stalls, repeats and swaps."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin import outbox as outbox_module
from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.hosts import Host
from blofin_cli.adapters.exchanges.blofin.line import FeedLimits
from blofin_cli.adapters.exchanges.blofin.outbox import Outbox
from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed
from blofin_cli.core.feed import (
    CandleEvent,
    Channel,
    Connected,
    Disconnected,
    FeedEvent,
    Oddity,
    OrderEvent,
    PrintEvent,
    QuoteEvent,
    ReconcileNeeded,
    Stalled,
    Topic,
    TopicConfirmed,
    TopicRefused,
)
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import Side
from blofin_cli.core.quotes import Bar, Environment, Print
from blofin_cli.errors import AuthError
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.fake_venue import FakeVenue

QUICK = FeedLimits(
    open_s=1, login_s=0.3, confirm_s=0.2, ping_s=0.2, dead_s=0.6, tick_s=0.02, stable_s=60,
    pause_first_s=0.02, pause_max_s=0.1, stall_s={Channel.QUOTES: 0.3},
)  # fmt: skip
CANDLES = Topic(Channel.CANDLES, "BTC-USDT", Timeframe.M1)
QUOTES = Topic(Channel.QUOTES, "BTC-USDT")
ORDERS = Topic(Channel.ORDERS)
START = 1767225600000


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection, number: int):
        self.socket, self.number = socket, number
        self.received: list[str] = []
        self.has_heard = asyncio.Event()
        self.does_pong = True
        self.acknowledges: Callable[[dict[str, str]], bool] = lambda argument: True

    async def push(self, argument: dict[str, str], data: Any) -> None:
        await self.socket.send(json.dumps({"arg": argument, "data": data}))

    async def candle(self, minute: int, confirm: str, close: str = "100") -> None:
        row = [str(START + minute * 60_000), "100", "110", "90", close, "1", "1", "1", confirm]
        await self.push({"channel": "candle1m", "instId": "BTC-USDT"}, [row])

    async def quote(self, second: int, last: str = "100") -> None:
        row = {"instId": "BTC-USDT", "last": last, "ts": str(START + second * 1000)}
        await self.push({"channel": "tickers", "instId": "BTC-USDT"}, [row])

    async def order(self, order_id: str, state: str = "live") -> None:
        row = {
            "orderId": order_id, "instId": "BTC-USDT", "side": "buy", "orderType": "limit",
            "price": "100", "size": "1", "filledSize": "0", "state": state,
            "createTime": str(START), "updateTime": str(START), "positionSide": "net",
        }  # fmt: skip
        await self.push({"channel": "orders"}, [row])

    async def serve(self) -> None:
        """Answer as BloFin does, until the connection ends."""
        async for text in self.socket:
            self.received.append(str(text))
            self.has_heard.set()
            if text == "ping":
                if self.does_pong:
                    await self.socket.send("pong")
                continue
            frame = json.loads(text)
            if frame["op"] == "login":
                await self.socket.send('{"event":"login","code":"0","msg":""}')
                continue
            for argument in frame["args"]:
                if self.acknowledges(argument):
                    await self.socket.send(json.dumps({"event": frame["op"], "arg": argument}))

    def asked(self, operation: str) -> list[str]:
        """Channels of one operation, in the order they were asked."""
        frames = [json.loads(text) for text in self.received if text.startswith("{")]
        return [
            argument.get("channel", "")
            for frame in frames
            if frame["op"] == operation
            for argument in frame["args"]
        ]

    async def until_asked(self, operation: str, number: int = 1) -> None:
        """Wait for so many topics of one operation, and until their answers are out."""
        while len(self.asked(operation)) < number:
            self.has_heard.clear()
            await self.has_heard.wait()
        await asyncio.sleep(0.005)


class EagerGovernor(Governor):
    """Connections need not be a second apart here."""

    def try_connect(self) -> float:
        return 0.0


Behave = Callable[[Peer], Awaitable[None]]


class Stage:
    """A server with a behaviour, a feed, and what the feed has told."""

    def __init__(self, feed: LiveFeed, peers: list[Peer]):
        self.feed, self.peers = feed, peers
        self.told: list[FeedEvent] = []

    async def until(self, is_enough: Callable[[list[FeedEvent]], bool]) -> list[FeedEvent]:
        """Listen until enough was told."""
        async with asyncio.timeout(4):
            async for event in self.feed.events():
                self.told.append(event)
                if is_enough(self.told):
                    return self.told
        raise AssertionError("the feed ended")

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


def count(kind: type, number: int) -> Callable[[list[FeedEvent]], bool]:
    return lambda told: sum(isinstance(event, kind) for event in told) >= number


@pytest.fixture
def stage(venue: FakeVenue, tmp_path: Path) -> Callable[..., Any]:
    """A stage for a behaviour."""

    @asynccontextmanager
    async def build(behave: Behave, limits: FeedLimits = QUICK) -> AsyncIterator[Stage]:
        peers: list[Peer] = []

        async def handle(socket: ServerConnection) -> None:
            peer = Peer(socket, len(peers))
            peers.append(peer)
            with suppress(ConnectionClosed):
                await behave(peer)

        settings = blofin.Settings(
            state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=venue.url
        )
        data = blofin.connect_public(settings, SystemClock())
        async with serve(handle, "127.0.0.1", 0, close_timeout=0.1) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            host = Host(Environment.SIMULATED, venue.url, url + "/public", url + "/private")
            feed = LiveFeed(
                host, data, EagerGovernor(tmp_path / "rate"), credentials=CREDENTIALS, limits=limits
            )
            try:
                yield Stage(feed, peers)
            finally:
                await feed.aclose()
                await data.aclose()

    return build


async def test_topics_are_confirmed_one_by_one(stage):
    """A frame a topic, then the line is up, then data."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe", 2)
        await peer.candle(0, "0")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES, QUOTES)
        told = await scene.until(count(CandleEvent, 1))
        assert {event.topic for event in scene.of(TopicConfirmed)} == {CANDLES, QUOTES}
        assert scene.of(Connected)[0].attempt == 1
        assert not scene.of(ReconcileNeeded)
        assert told[-1].bar.is_closed is False
        assert scene.feed.health().public_connected
        assert [text.count("channel") for text in scene.peers[0].received] == [1, 1]


async def test_private_line_logs_in_and_asks_to_reconcile_first(stage):
    """F43: a push that comes before the line is up waits behind the reconciliation."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        await peer.order("1")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(ORDERS, Topic(Channel.POSITIONS), Topic(Channel.ACCOUNT))
        told = await scene.until(count(OrderEvent, 1))
        kinds = [type(event) for event in told if not isinstance(event, TopicConfirmed)]
        assert kinds == [Connected, ReconcileNeeded, OrderEvent]
        login = json.loads(scene.peers[0].received[0])
        assert login["op"] == "login"
        assert "s-canary-2" not in json.dumps(login)


async def test_disconnect_is_told_and_healed(stage):
    """F36, B49: connect again, log in again, subscribe again, reconcile."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        await asyncio.sleep(0.02)
        await peer.order(str(peer.number))
        if peer.number < 2:
            await asyncio.sleep(0.02)
            if peer.number == 0:
                peer.socket.transport.abort()  # as a cut cable
            else:
                await peer.socket.close(1012)
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(ORDERS)
        told = await scene.until(count(OrderEvent, 3))
        kinds = [type(event) for event in told if not isinstance(event, TopicConfirmed)]
        assert kinds == [Connected, ReconcileNeeded, OrderEvent, Disconnected] * 2 + [
            Connected, ReconcileNeeded, OrderEvent,
        ]  # fmt: skip
        assert [event.since_ms is None for event in scene.of(ReconcileNeeded)] == [
            True, False, False,
        ]  # fmt: skip
        assert [peer.asked("login") for peer in scene.peers] == [[""]] * 3
        assert scene.feed.health().reconnects == 2


async def test_public_reconnect_asks_for_missed_candles(stage):
    """F39: the gap is told once the line is back."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        await peer.candle(peer.number, "1")
        if peer.number == 0:
            await asyncio.sleep(0.02)
            await peer.socket.close(1000)
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        await scene.until(count(CandleEvent, 2))
        (needed,) = scene.of(ReconcileNeeded)
        assert (needed.is_private, needed.since_ms is not None) == (False, True)


async def test_idle_line_pings_and_a_dead_one_is_replaced(stage):
    """F35: text ping when idle; without any answer the connection is made anew."""

    async def behave(peer: Peer) -> None:
        peer.does_pong = peer.number > 0
        await peer.serve()

    async with stage(behave) as scene:
        await scene.feed.subscribe(Topic(Channel.PRINTS, "BTC-USDT"))
        await scene.until(count(Connected, 2))
        assert "ping" in scene.peers[0].received
        assert "silent" in scene.of(Disconnected)[0].reason
        await asyncio.sleep(1.0)
        assert len(scene.peers) == 2
        assert scene.peers[1].received.count("ping") >= 2


async def test_silent_topic_is_asked_anew_then_the_line_is(stage):
    """F33: pongs come, data does not."""

    async def behave(peer: Peer) -> None:
        await peer.serve()

    async with stage(behave) as scene:
        await scene.feed.subscribe(QUOTES)
        await scene.until(count(Connected, 2))
        assert scene.peers[0].asked("unsubscribe") == ["tickers"]
        assert scene.peers[0].asked("subscribe") == ["tickers", "tickers"]
        assert len(scene.of(Stalled)) == 2


async def test_standing_timestamp_is_silence(stage):
    """F34: messages flow, their time does not."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        for _ in range(100):
            await asyncio.sleep(0.03)
            await peer.quote(0)
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(QUOTES)
        await scene.until(count(Stalled, 1))
        assert len(scene.of(QuoteEvent)) == 1


async def test_unconfirmed_topic_is_asked_again(stage):
    """F36: an acknowledgement is lost."""

    async def behave(peer: Peer) -> None:
        asked: list[str] = []

        def acknowledges(argument: dict[str, str]) -> bool:
            asked.append(argument["channel"])
            return asked.count(argument["channel"]) > 1

        peer.acknowledges = acknowledges
        await peer.serve()

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        await scene.until(count(Connected, 1))
        assert scene.peers[0].asked("subscribe") == ["candle1m", "candle1m"]


async def test_never_confirmed_topic_costs_the_connection(stage):
    """Three times unanswered: the line is not up and never said so."""

    async def behave(peer: Peer) -> None:
        peer.acknowledges = lambda _: peer.number > 0
        await peer.serve()

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        told = await scene.until(count(Connected, 1))
        assert isinstance(told[0], Disconnected)
        assert "not confirmed" in told[0].reason


async def test_refused_topic_leaves_the_others_alone(stage):
    """Error frames name no topic, so topics are asked one at a time."""
    answer = {"event": "error", "code": "60018", "msg": "Wrong URL or channel doesn't exist"}

    async def behave(peer: Peer) -> None:
        async for text in peer.socket:
            argument = json.loads(text)["args"][0] if text != "ping" else {}
            is_bad = argument.get("instId") == "ETH-USDT"
            reply = answer if is_bad else {"event": "subscribe", "arg": argument}
            await peer.socket.send(json.dumps(reply))

    async with stage(behave) as scene:
        bad = Topic(Channel.CANDLES, "ETH-USDT", Timeframe.M1)
        await scene.feed.subscribe(bad, CANDLES)
        await scene.until(count(Connected, 1))
        assert [event.topic for event in scene.of(TopicRefused)] == [bad]
        assert [event.topic for event in scene.of(TopicConfirmed)] == [CANDLES]


@pytest.mark.parametrize("answer", ['{"event":"error","code":"60009","msg":"Login failed."}', None])
async def test_failed_login_is_not_connected(stage, answer):
    """F42: an error, or nothing at all."""

    async def behave(peer: Peer) -> None:
        async for _ in peer.socket:
            if answer is not None:
                await peer.socket.send(answer)

    async with stage(behave) as scene:
        await scene.feed.subscribe(ORDERS)
        await scene.until(count(Disconnected, 1))
        assert not scene.of(Connected)
        assert not scene.feed.health().private_connected
        assert not scene.peers[0].asked("subscribe")


def is_close(event: FeedEvent) -> bool:
    return isinstance(event, CandleEvent) and event.bar.is_closed


async def test_late_and_repeated_candles_are_ignored(stage):
    """F37, F38: a closed bar stays closed, an older one is no news."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        for minute, confirm in [(0, "0"), (0, "1"), (0, "1"), (0, "0"), (1, "1"), (0, "1")]:
            await peer.candle(minute, confirm)
        await peer.candle(2, "1")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        await scene.until(lambda told: sum(is_close(event) for event in told) == 3)
        closed = [event.bar.ts_ms for event in scene.of(CandleEvent) if event.bar.is_closed]
        assert closed == [START, START + 60_000, START + 120_000]


async def test_close_that_was_never_sent_is_asked_for(stage):
    """BloFin does not promise the closed push: the next bar without it means reading it."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        await peer.candle(0, "0")
        await peer.candle(1, "0")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        await scene.until(count(ReconcileNeeded, 1))
        assert scene.of(ReconcileNeeded)[0].since_ms == START


@pytest.mark.parametrize(
    "frame",
    [
        "not json", "[]", "null", "{}", '{"event":"party"}', '{"arg":{"channel":"magic"},"data":1}',
        '{"arg":{"channel":"orders"},"data":{"a":1}}', '{"arg":{"channel":"orders"},"data":[{}]}',
        '{"arg":{"channel":"orders"},"data":[NaN]}', "[" * 50_000, "pong",
    ],
    ids=range(11),
)  # fmt: skip
async def test_frame_nobody_understands_does_not_end_the_feed(stage, frame):
    """B39 to B45: told, not used; what follows is read."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        await peer.socket.send(frame)
        await peer.order("7")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(ORDERS)
        await scene.until(count(OrderEvent, 1))
        assert len(scene.of(Oddity)) == (frame != "pong")
        assert not scene.of(Disconnected)


async def test_frame_above_a_mebibyte_ends_the_connection(stage):
    """B46: it is never held in memory; the line comes back."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("subscribe")
        if peer.number == 0:
            await peer.socket.send("x" * (1024 * 1024 + 1))
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES)
        await scene.until(count(Connected, 2))
        assert scene.of(Disconnected)


async def test_unsubscribed_topic_is_silent(stage):
    """It is asked to stop, and a late push of it is ignored."""

    async def behave(peer: Peer) -> None:
        serving = asyncio.create_task(peer.serve())
        await peer.until_asked("unsubscribe")
        await peer.quote(1)
        await peer.candle(0, "1")
        await serving

    async with stage(behave) as scene:
        await scene.feed.subscribe(CANDLES, QUOTES)
        await scene.until(count(Connected, 1))
        await scene.feed.unsubscribe(QUOTES)
        await scene.until(count(CandleEvent, 1))
        assert not scene.of(QuoteEvent)


async def test_private_topics_need_a_key(stage, venue, settings):
    """Said before anything is opened."""
    data = blofin.connect_public(settings, SystemClock())
    feed = blofin.connect_stream(settings, data)
    with pytest.raises(AuthError):
        await feed.subscribe(ORDERS)
    await feed.aclose()
    await data.aclose()


async def test_many_topics_take_several_lines(stage):
    """4,096 bytes of arguments a connection."""

    async def behave(peer: Peer) -> None:
        await peer.serve()

    async with stage(behave) as scene:
        topics = [Topic(Channel.QUOTES, f"COIN{number}-USDT") for number in range(150)]
        await scene.feed.subscribe(*topics)
        await scene.until(count(Connected, 2))
        assert len(scene.peers) == 2
        assert sorted(len(peer.asked("subscribe")) for peer in scene.peers)[0] > 0


def bar(minute: int, *, is_closed: bool) -> CandleEvent:
    return CandleEvent(
        "BTC-USDT", Timeframe.M1, Bar(START + minute * 60_000, 1, 1, 1, 1, 1, is_closed)
    )


async def drained(outbox: Outbox) -> list[FeedEvent]:
    told = []
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            async for event in outbox:
                told.append(event)  # noqa: PERF401 - the time-out must not lose them
    return told


async def test_outbox_keeps_account_news_and_the_newest_of_the_market():
    """F41: 10,000 messages while the consumer sleeps, and memory stays flat."""
    outbox = Outbox()
    for number in range(10_000):
        outbox.put(bar(number // 100, is_closed=False))
        outbox.put(PrintEvent(Print(
            symbol="BTC-USDT", trade_id=str(number), side=Side.BUY, price=1, size=1, ts_ms=START,
        )))  # fmt: skip
    outbox.put(bar(99, is_closed=True))
    outbox.put(Disconnected(True, "x", START))
    told = await drained(outbox)
    assert [type(event) for event in told[:2]] == [CandleEvent, Disconnected]
    assert len(told) == 2 + outbox_module.PRINTS_MAX
    assert told[-1].trade.trade_id == "9999"
    assert outbox.dropped > 18_000


async def test_outbox_that_is_full_holds_its_producer_back(monkeypatch):
    """Account events are never dropped: the socket waits instead."""
    monkeypatch.setattr(outbox_module, "KEPT_MAX", 3)
    outbox = Outbox()
    for _ in range(3):
        outbox.put(Disconnected(True, "x", START))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.room(), 0.02)
    waiting = asyncio.create_task(outbox.room())
    assert len(await drained(outbox)) == 3
    await asyncio.wait_for(waiting, 1)


async def test_death_of_a_producer_reaches_the_consumer():
    """F57: nobody waits for ever for a task that is gone."""
    outbox = Outbox()
    outbox.fail(RuntimeError("gone"))
    with pytest.raises(RuntimeError, match="gone"):
        await anext(outbox)
