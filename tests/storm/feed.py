"""The `Stream` port over the venue: pushes that come late, twice, swapped, old, or not at all.

It keeps what the port promises (each topic is confirmed, a reconciliation is asked for before any
private event after a reconnect, account events are never dropped while connected) and nothing more.
"""

from collections.abc import AsyncIterator
from typing import Any

from blofin_cli.adapters.exchanges.blofin.outbox import Outbox
from blofin_cli.adapters.exchanges.sim import records as sim
from blofin_cli.core.feed import (
    AccountEvent,
    BookEvent,
    CandleEvent,
    Channel,
    Connected,
    Disconnected,
    FeedEvent,
    FeedHealth,
    FundingEvent,
    MarkEvent,
    OrderEvent,
    PositionsEvent,
    PrintEvent,
    ProtectionEvent,
    QuoteEvent,
    ReconcileNeeded,
    Stalled,
    Topic,
    TopicConfirmed,
    TopicRefused,
)
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import Side
from blofin_cli.core.quotes import Bar, Book, BookLevel, FundingRate, Print, Quote
from blofin_cli.errors import NetworkError
from tests.storm import records
from tests.storm.loop import Incarnation, current
from tests.storm.market import Walk
from tests.storm.world import OUTSIDE, World

STALL_S = 30.0
_PRIVATE = {
    "orders": Channel.ORDERS,
    "orders-algo": Channel.PROTECTIONS,
    "positions": Channel.POSITIONS,
    "account": Channel.ACCOUNT,
}


class StormStream:
    """The feed of one incarnation; the world calls `on_print` and `on_events`."""

    def __init__(self, world: World, life: Incarnation | None) -> None:
        self.world, self.life = world, life
        self.nemesis, self.loop = world.nemesis, world.loop
        self._outbox = Outbox()
        self._topics: dict[Topic, bool] = {}
        self._heard_ms: dict[Topic, int] = {}
        self._is_up = {True: False, False: False}
        self._attempts = {True: 0, False: 0}
        self._last_ms: dict[bool, int | None] = {True: None, False: None}
        self._swapped: list[FeedEvent] = []
        self._closed_sent: dict[tuple[str, Timeframe], int] = {}
        self._frozen_ms: int | None = None
        self._stalled = False
        self._is_closed = False

    # The port.

    async def subscribe(self, *topics: Topic) -> None:
        """Ask for topics."""
        self._check()
        if self.nemesis.strikes("not_sent"):
            raise NetworkError("the instruments could not be read")
        for topic in topics:
            if topic not in self._topics:
                self._topics[topic] = False
        for is_private in (True, False):
            if any(topic.channel.is_private is is_private for topic in topics):
                self._later(0.2, self._connect, is_private)

    async def unsubscribe(self, *topics: Topic) -> None:
        """Give topics up."""
        self._check()
        for topic in topics:
            self._topics.pop(topic, None)

    def events(self) -> AsyncIterator[FeedEvent]:
        """Everything that happens."""
        return self._outbox

    def health(self) -> FeedHealth:
        """Connections, ages and counts now."""
        now = self.world.now_ms
        return FeedHealth(
            public_connected=self._is_up[False],
            private_connected=self._is_up[True],
            reconnects=max(0, self._attempts[True] - 1) + max(0, self._attempts[False] - 1),
            dropped=self._outbox.dropped,
            ages_ms={
                topic: now - self._heard_ms[topic] if topic in self._heard_ms else None
                for topic in self._topics
            },
        )

    async def aclose(self) -> None:
        """End everything."""
        self._is_closed = True
        self._outbox.close()
        if self in self.world.streams:
            self.world.streams.remove(self)

    # Connections.

    def _connect(self, is_private: bool) -> None:
        if self._is_gone():
            return
        wanted = [topic for topic in self._topics if topic.channel.is_private is is_private]
        if not wanted:
            return
        if self._is_up[is_private]:
            for topic in wanted:
                self._confirm(topic)
            return
        name = "private_down" if is_private else "public_down"
        window = self.nemesis.window(name, self.loop.now_s)
        window = window or self.nemesis.window("outage", self.loop.now_s)
        if window is None and is_private:
            window = self.nemesis.window("key_expired", self.loop.now_s)
        if window is not None:
            self._later(window.end_s - self.loop.now_s + 0.5, self._connect, is_private)
            return
        for topic in wanted:
            self._topics[topic] = False
            self._confirm(topic)
        self._is_up[is_private] = True
        self._attempts[is_private] += 1
        attempt, now = self._attempts[is_private], self.world.now_ms
        self._put(Connected(is_private, attempt, now))
        if is_private or attempt > 1:
            reason = "connected" if attempt == 1 else "reconnected"
            self._put(ReconcileNeeded(is_private, reason, self._last_ms[is_private], now))

    def _confirm(self, topic: Topic) -> None:
        if self._topics.get(topic):
            return
        if self.nemesis.is_on("subscribe_refused", self.loop.now_s):
            self._put(TopicRefused(topic, "60012"))
            self._later(15.0, self._confirm_again, topic)
            return
        self._topics[topic] = True
        self._put(TopicConfirmed(topic))

    def _confirm_again(self, topic: Topic) -> None:
        if not self._is_gone() and topic in self._topics and self._is_up[topic.channel.is_private]:
            self._confirm(topic)

    def lose(self, is_private: bool, reason: str) -> None:
        """The connection breaks now; it is made again when it can be."""
        if self._is_up[is_private]:
            self._is_up[is_private] = False
            self._swapped.clear()
            self._put(Disconnected(is_private, reason, self.world.now_ms))
            self._later(0.5 + self.nemesis.uniform("reconnect", 0, 2), self._connect, is_private)

    def revive(self) -> None:
        """Whatever kept it down is over."""
        for is_private in (True, False):
            if not self._is_up[is_private]:
                self._later(0.5, self._connect, is_private)

    def watch(self) -> None:
        """Once a second: breaks, and silences that the adapter itself would notice."""
        now = self.loop.now_s
        if self.nemesis.is_on("private_down", now) or self.nemesis.is_on("key_expired", now):
            self.lose(True, "closed without a word")
        if self.nemesis.is_on("public_down", now) or self.nemesis.is_on("outage", now):
            self.lose(False, "closed without a word")
            if self.nemesis.is_on("outage", now):
                self.lose(True, "closed without a word")
        window = self.nemesis.window("stall", now)
        if window is None:
            self._stalled = False
        elif not self._stalled and now - window.begin_s > STALL_S:
            self._stalled = True
            for topic in list(self._topics):
                if not topic.channel.is_private:
                    self._put(Stalled(topic, round(STALL_S * 1000), self.world.now_ms))
                    self.lose(False, "fell silent")
                    break

    # Pushes.

    def on_print(self, symbol: str, walk: Walk, *, frozen: bool) -> None:
        """The market moved."""
        if self._is_gone() or not self._is_up[False]:
            return
        if self.nemesis.is_on("stall", self.loop.now_s):
            return
        now = self.world.now_ms
        self._frozen_ms = (self._frozen_ms or now) if frozen else None
        for topic, confirmed in list(self._topics.items()):
            if confirmed and topic.symbol == symbol:
                self._heard_ms[topic] = self._last_ms[False] = now
                self._push_market(topic, symbol, walk)

    def _push_market(self, topic: Topic, symbol: str, walk: Walk) -> None:
        state = self.world.venue.markets[symbol]
        now = self._frozen_ms or self.world.now_ms
        match topic.channel:
            case Channel.QUOTES:
                self._emit(QuoteEvent(self._quote(symbol, now)))
            case Channel.CANDLES:
                self._push_candles(topic, symbol, walk)
            case Channel.MARK:
                assert topic.timeframe is not None
                start = now // topic.timeframe.ms * topic.timeframe.ms
                mark = float(state.mark)
                bar = Bar(start, mark, mark, mark, mark, 0.0, False)
                self._emit(MarkEvent(symbol, topic.timeframe, bar))
            case Channel.PRINTS:
                assert state.tick is not None
                assert state.tick.size is not None
                size = state.tick.size * state.terms.contract_value
                side = Side(state.tick.side)
                price = state.tick.price
                name = str(self.loop.steps)
                trade = Print(
                    symbol=symbol, trade_id=name, side=side, price=price, size=size, ts_ms=now
                )
                self._emit(PrintEvent(trade))
            case Channel.BOOK:
                value = state.terms.contract_value
                sides = {
                    side: tuple(BookLevel(p, s * value) for p, s in state.book.levels(side, 5))
                    for side in ("bids", "asks")
                }
                self._emit(BookEvent(Book(symbol=symbol, ts_ms=now, **sides)))
            case Channel.FUNDING:
                due = self.world.venue.next_funding_ms(symbol)
                rate = self.world.venue.funding_rate(symbol, due)
                self._emit(FundingEvent(FundingRate(symbol=symbol, rate=rate, ts_ms=due)))

    def _quote(self, symbol: str, now: int) -> Quote:
        state = self.world.venue.markets[symbol]
        told = state.quote()
        return Quote(
            symbol=symbol,
            last=told.last,
            bid=told.bid,
            ask=told.ask,
            ts_ms=now,
            received_ms=self.world.bot_ms,
        )

    def nonsense(self, symbol: str, factor: float) -> None:
        """A quote that no market ever had."""
        if self._is_gone() or not self._is_up[False]:
            return
        state = self.world.venue.markets[symbol]
        tick = state.terms.tick_size
        price = tick * max(1, round(float(state.quote().last) * factor / float(tick)))
        quote = Quote(
            symbol=symbol,
            last=price,
            bid=price,
            ask=price + tick,
            ts_ms=self.world.now_ms,
            received_ms=self.world.bot_ms,
        )
        self._emit(QuoteEvent(quote))

    def _push_candles(self, topic: Topic, symbol: str, walk: Walk) -> None:
        assert topic.timeframe is not None
        key = (symbol, topic.timeframe)
        closed, forming = walk.bar_now(topic.timeframe, self.world.now_ms)
        if closed is not None and closed.ts_ms > self._closed_sent.get(key, 0):
            is_first = key not in self._closed_sent
            self._closed_sent[key] = closed.ts_ms
            if not is_first and not self.nemesis.strikes("lost_candle"):
                event = CandleEvent(symbol, topic.timeframe, closed)
                self._emit(event)
                if self.nemesis.strikes("repeated_candle"):
                    self._emit(event)
                if self.nemesis.strikes("old_candle"):
                    self._old_candle(topic.timeframe, symbol, walk)
        if forming is not None:
            self._emit(CandleEvent(symbol, topic.timeframe, forming))

    def _old_candle(self, timeframe: Timeframe, symbol: str, walk: Walk) -> None:
        rows = [row for row in walk.bars(timeframe, self.world.now_ms) if row.is_closed]
        if len(rows) > 3:
            self._emit(CandleEvent(symbol, timeframe, rows[-3]))

    def on_events(self, events: list[sim.Event]) -> None:
        """Something of the account changed."""
        if self._is_gone() or not self._is_up[True] or not events:
            return
        if self.nemesis.is_on("deaf", self.loop.now_s):
            return
        if self.nemesis.strikes("merged"):
            events = _merged(events)
        for event in events:
            channel = _PRIVATE[event.channel]
            if isinstance(event.record, sim.Algo):
                channel = Channel.ORDERS
            topic = Topic(channel)
            if self._topics.get(topic):
                self._heard_ms[topic] = self._last_ms[True] = self.world.now_ms
                told = self._told(event)
                self._emit(told)
                if self.nemesis.strikes("duplicate"):
                    self._emit(told)

    def _told(self, event: sim.Event) -> FeedEvent:
        world, row = self.world, event.record
        if isinstance(row, sim.Order):
            return OrderEvent(records.order(row, world.terms(row.request.inst_id)))
        if isinstance(row, sim.Algo):
            return OrderEvent(records.trigger_order(row, world.terms(row.request.inst_id)))
        if isinstance(row, sim.Tpsl):
            return ProtectionEvent(records.protection(row, world.terms(row.request.inst_id)))
        if isinstance(row, sim.Position):
            return PositionsEvent((records.position(row, world.venue),))
        return AccountEvent(records.account(world.venue, world.now_ms))

    def _emit(self, event: FeedEvent) -> None:
        """Into the outbox: now, later, or after the next one."""
        if self.nemesis.strikes("reorder"):
            self._swapped.append(event)
            return
        if self.nemesis.strikes("push_delay"):
            attempts = dict(self._attempts)
            after = self.nemesis.uniform("push_delay", 0.05, 4.0)
            self._later(after, self._put_if_same, event, attempts)
        else:
            self._put(event)
        while self._swapped:
            self._put(self._swapped.pop(0))

    def _put_if_same(self, event: FeedEvent, attempts: dict[bool, int]) -> None:
        """A push that was under way when its connection broke is lost with it."""
        private = isinstance(event, OrderEvent | ProtectionEvent | PositionsEvent | AccountEvent)
        if self._is_up[private] and attempts[private] == self._attempts[private]:
            self._put(event)

    def _put(self, event: FeedEvent) -> None:
        if not self._is_gone():
            self._outbox.put(event)

    def _later(self, seconds: float, work: Any, *given: Any) -> None:
        self.loop.call_later(seconds, work, *given, context=OUTSIDE)

    def _is_gone(self) -> bool:
        return self._is_closed or (self.life is not None and self.life.is_dead)

    @staticmethod
    def _check() -> None:
        life = current()
        if life is not None:
            life.check()


def _merged(events: list[sim.Event]) -> list[sim.Event]:
    """Of each order only its last state: one message where there were two."""
    last: dict[str, sim.Event] = {}
    for event in events:
        row = event.record
        key = f"{event.channel} {getattr(row, 'order_id', '')}{getattr(row, 'tpsl_id', '')}"
        if isinstance(row, sim.Position):
            key += row.position_id
        last.pop(key, None)
        last[key] = event
    return list(last.values())
