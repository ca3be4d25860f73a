"""BloFin's WebSocket protocol without a socket: sessions take text and hold text to be sent.

Public and private sessions differ by URL. Private channels tell changes, not the state: a closed
position is simply not told any more. Faults of pushes act here; their durations are market time.

Source: BloFin's API documentation, WebSocket; observations of its hosts, 2026.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.bars import BARS
from blofin_cli.adapters.exchanges.sim.keys import Claim
from blofin_cli.adapters.exchanges.sim.reading import Fields, read_json
from blofin_cli.adapters.exchanges.sim.records import (
    Algo,
    Event,
    Order,
    Position,
    Tick,
    Tpsl,
    VenueError,
)
from blofin_cli.adapters.exchanges.sim.topics import CandleTopic, DepthTopic

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box

PUBLIC, PRIVATE = "public", "private"
IDLE_MS = 30_000
ARGUMENT_BYTES_MAX = 4_096
OUTBOX_MAX = 10_000
INTERVAL_MS = 5_000
FUNDING_INTERVAL_MS = 30_000

Topic = tuple[str, str]

_CANDLES = ("candle", "index-candle", "mark-price-candle")
_PUBLIC_PLAIN = frozenset({"trades", "tickers", "books", "books5", "funding-rate"})
_PRIVATE = frozenset({"orders", "orders-algo", "positions", "account", "inverse-account"})


class Session:
    """One WebSocket connection.

    `outbox` holds (text, delay in ms) in the order of sending; `on_output` is called when it
    stops being empty. A session that `is_closed` is to be hung up on.
    """

    def __init__(self, box: "Box", kind: str, wall_ms: int) -> None:
        self.kind = kind
        self.topics: set[Topic] = set()
        self.outbox: deque[tuple[str, int]] = deque()
        self.on_output: Callable[[], None] = lambda: None
        self.is_logged_in = False
        self.is_closed = False
        self._box = box
        self._active_ms = wall_ms
        self._stalled_until_ms = 0
        self._withheld: tuple[str, int] | None = None

    def receive(self, text: str, wall_ms: int) -> None:
        """Take one message of the client."""
        self._active_ms = wall_ms
        if text == "ping":
            if not self._box.faults.strikes("lost_pong"):
                self._send("pong")
            return
        try:
            message = read_json(text)
            fields = Fields(message if isinstance(message, dict) else {})
            operation = fields.text("op")
        except VenueError:
            operation = ""
        args = message.get("args") if operation else None
        if not isinstance(args, list) or not all(isinstance(item, dict) for item in args):
            self._fail("60012", f"Invalid request: {text[:1_000]}")
        elif operation == "login" and self.kind == PRIVATE and len(args) == 1:
            self._login(Fields(args[0]), wall_ms)
        elif operation == "subscribe":
            self._subscribe(args, text)
        elif operation == "unsubscribe":
            self._unsubscribe(args)
        else:
            self._fail("60012", f"Invalid request: {text[:1_000]}")

    def is_idle(self, wall_ms: int) -> bool:
        """Nothing was asked and nothing pushed for too long."""
        return wall_ms - self._active_ms > IDLE_MS

    def push(self, text: str, channel: str, wall_ms: int) -> None:
        """Send one pushed message, as faults let it through."""
        self._active_ms = wall_ms
        faults = self._box.faults
        if self._box.now_ms < self._stalled_until_ms:
            return
        if not faults.active and self._withheld is None:
            self._send(text)
            return
        if fault := faults.strikes("stall", channel):
            self._stalled_until_ms = self._box.now_ms + fault.ms
            return
        if faults.strikes("disconnect", channel):
            self.close()
            return
        late = faults.strikes("push_delay", channel)
        delay_ms = late.ms if late else 0
        if self._withheld is None and faults.strikes("reorder", channel):
            self._withheld = text, delay_ms
            return
        self._send(text, delay_ms)
        if faults.strikes("duplicate", channel):
            self._send(text, delay_ms)
        if self._withheld is not None:
            self._send(*self._withheld)
            self._withheld = None

    def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        self.on_output()

    def _send(self, text: str, delay_ms: int = 0) -> None:
        if len(self.outbox) >= OUTBOX_MAX:
            self.close()
            return
        self.outbox.append((text, delay_ms))
        self.on_output()

    def _fail(self, code: str, msg: str) -> None:
        self._send(_json({"event": "error", "code": code, "msg": msg}))

    def _login(self, fields: Fields, wall_ms: int) -> None:
        try:
            claim = Claim(
                fields.need("apiKey"),
                fields.need("passphrase"),
                fields.need("timestamp"),
                fields.need("nonce"),
                fields.need("sign"),
            )
            if self._box.faults.strikes("login_refused"):
                raise VenueError("60009", "Login failed.")
            self._box.login(claim, wall_ms)
        except VenueError:
            self._fail("60009", "Login failed.")
            return
        self.is_logged_in = True
        self._send(_json({"event": "login", "code": "0", "msg": ""}))

    def _subscribe(self, args: list[dict[str, Any]], text: str) -> None:
        """All or nothing: one bad argument and none is subscribed."""
        if len(_json(args)) > ARGUMENT_BYTES_MAX or (
            self.kind == PRIVATE and not self.is_logged_in
        ):
            self._fail("60012", f"Invalid request: {text[:1_000]}")
            return
        topics = [_topic(item) for item in args]
        for channel, inst_id in topics:
            if not self._exists(channel, inst_id):
                self._fail(
                    "60018", f"Wrong URL or channel:{channel},instId:{inst_id} doesn't exist"
                )
                return
        for item, topic in zip(args, topics, strict=True):
            if not self._box.faults.strikes("lost_ack", topic[0]):
                self._send(_json({"event": "subscribe", "arg": item}))
            is_new = topic not in self.topics
            self.topics.add(topic)
            self._box.publisher.joined(self, topic, is_new=is_new)

    def _unsubscribe(self, args: list[dict[str, Any]]) -> None:
        for item in args:
            topic = _topic(item)
            self.topics.discard(topic)
            self._box.publisher.left(self, topic)
            self._send(_json({"event": "unsubscribe", "arg": item}))

    def _exists(self, channel: str, inst_id: str) -> bool:
        listed = inst_id in self._box.venue.terms
        if self.kind == PRIVATE:
            return channel in _PRIVATE and (not inst_id or listed)
        return listed and (channel in _PUBLIC_PLAIN or _bar_of(channel) is not None)


class Publisher:
    """Composes what the sessions have subscribed to, each message once for all of them."""

    def __init__(self, box: "Box") -> None:
        self.sessions: list[Session] = []
        self.opened = 0
        self._box = box
        self._listeners: dict[Topic, list[Session]] = {}
        self._trades: list[tuple[int, Tick]] = []
        self._moved: set[str] = set()
        self._candles: dict[Topic, CandleTopic] = {}
        self._depths: dict[Topic, DepthTopic] = {}
        self._told_ms: dict[Topic, int] = {}
        self._flushed_ms = -1
        self._wall_ms = 0

    def connect(self, kind: str, wall_ms: int) -> Session:
        """A new connection to the public or the private URL."""
        session = Session(self._box, kind, wall_ms)
        self.sessions.append(session)
        self.opened += 1
        return session

    def disconnect(self, session: Session) -> None:
        """A connection is gone."""
        for topic in session.topics:
            self.left(session, topic)
        if session in self.sessions:
            self.sessions.remove(session)

    def joined(self, session: Session, topic: Topic, *, is_new: bool) -> None:
        """Begin a subscription: books, positions and funding tell their state first."""
        channel, inst_id = topic
        if is_new:
            self._listeners.setdefault(topic, []).append(session)
        bar = _bar_of(channel)
        if bar is not None and topic not in self._candles:
            self._candles[topic] = CandleTopic(self._box, inst_id, bar)
        elif channel in {"books", "books5"}:
            depth = self._depths.setdefault(topic, DepthTopic(self._box, inst_id, channel))
            self._push_to([session], topic, {"action": "snapshot", "data": depth.snapshot()})
        elif channel == "funding-rate":
            self._push_to([session], topic, {"data": [self._funding(inst_id)]})
        elif channel == "positions":
            self._push_to([session], topic, {"data": self._positions(inst_id)})

    def left(self, session: Session, topic: Topic) -> None:
        """End a subscription."""
        listeners = self._listeners.get(topic, [])
        if session in listeners:
            listeners.remove(session)
        if not listeners:
            for kept in (self._listeners, self._candles, self._depths, self._told_ms):
                kept.pop(topic, None)

    def on_print(self, tick: Tick, trade_id: int) -> None:
        """Remember a print until the next flush."""
        if self._listeners:
            self._trades.append((trade_id, tick))
            self._moved.add(tick.inst_id)

    def flush(self, events: Iterable[Event], wall_ms: int) -> None:
        """Send what happened since the last time."""
        self._wall_ms = wall_ms
        if self._listeners:
            self._flush_prints()
            has_passed = self._box.now_ms != self._flushed_ms
            if self._moved or has_passed:
                for topic in list(self._listeners):
                    self._flush_market(topic)
            self._flush_events(events)
            if has_passed:
                self._flush_intervals()
        self._trades.clear()
        self._moved.clear()
        self._flushed_ms = self._box.now_ms

    def _flush_prints(self) -> None:
        for trade_id, tick in self._trades:
            topic = "trades", tick.inst_id
            if topic in self._listeners:
                self._push(topic, {"data": [rows.trade_row(tick, trade_id)]})

    def _flush_market(self, topic: Topic) -> None:
        channel, inst_id = topic
        has_moved = inst_id in self._moved
        if topic in self._candles:
            bars_only = not channel.startswith("candle")
            for row in self._candles[topic].rows(has_moved=has_moved):
                self._push(topic, {"data": [[*row[:5], row[8]] if bars_only else row]})
        elif has_moved and channel == "tickers":
            self._push(topic, {"data": [self._box.ticker(inst_id)]})
        elif has_moved and topic in self._depths:
            change = self._depths[topic].change()
            if change is not None:
                self._push(topic, change)

    def _flush_events(self, events: Iterable[Event]) -> None:
        account_changed = False
        for event in events:
            account_changed = account_changed or event.channel == "account"
            record = event.record
            if record is None:
                continue
            inst_id = record.inst_id if isinstance(record, Position) else record.request.inst_id
            for topic in ((event.channel, ""), (event.channel, inst_id)):
                if topic in self._listeners:
                    self._push(topic, self._record_frame(record))
        if account_changed:
            self._push_account()

    def _record_frame(self, record: Order | Tpsl | Algo | Position) -> dict[str, Any]:
        if isinstance(record, Position):
            return {"data": [rows.position_push(record, self._box.venue.account)]}
        if isinstance(record, Order):
            value = self._box.venue.terms[record.request.inst_id].contract_value
            return {"action": "snapshot", "data": [rows.order_push(record, value)]}
        return {"action": "snapshot", "data": [rows.trigger_push(record)]}

    def _flush_intervals(self) -> None:
        """Positions and the account are told at intervals too, funding at longer ones."""
        now_ms = self._box.now_ms
        for topic in list(self._listeners):
            channel, inst_id = topic
            span = FUNDING_INTERVAL_MS if channel == "funding-rate" else INTERVAL_MS
            if channel not in {"positions", "account", "funding-rate"}:
                continue
            if now_ms - self._told_ms.setdefault(topic, now_ms) < span:
                continue
            self._told_ms[topic] = now_ms
            if channel == "account":
                self._push_account()
            elif channel == "funding-rate":
                self._push(topic, {"data": [self._funding(inst_id)]})
            elif data := self._positions(inst_id):
                self._push(topic, {"data": data})

    def _push_account(self) -> None:
        if ("account", "") in self._listeners:
            self._push(("account", ""), {"data": self._box.balance(push=True)})

    def _positions(self, inst_id: str) -> list[dict[str, Any]]:
        account = self._box.venue.account
        return [
            rows.position_push(position, account)
            for position in account.positions.values()
            if not inst_id or position.inst_id == inst_id
        ]

    def _funding(self, inst_id: str) -> dict[str, str]:
        row = self._box.funding_row(inst_id)
        return {name: row[name] for name in ("fundingRate", "fundingTime", "instId")}

    def _push(self, topic: Topic, frame: dict[str, Any]) -> None:
        self._push_to(self._listeners.get(topic, ()), topic, frame)

    def _push_to(self, sessions: Iterable[Session], topic: Topic, frame: dict[str, Any]) -> None:
        channel, inst_id = topic
        arg = {"channel": channel, "instId": inst_id} if inst_id else {"channel": channel}
        text = _json({"arg": arg, **frame})
        for session in list(sessions):
            session.push(text, channel, self._wall_ms)


def _topic(item: dict[str, Any]) -> Topic:
    channel, inst_id = item.get("channel"), item.get("instId")
    return str(channel or ""), str(inst_id or "")


def _bar_of(channel: str) -> str | None:
    """The bar size of a candle channel."""
    for prefix in _CANDLES:
        bar = channel.removeprefix(prefix)
        if bar != channel and bar in BARS:
            return bar
    return None


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)
