"""WebSocket frames: topics as channels, pushes as events.

The keep-alive is the text `ping`, not JSON. A push that cannot be read becomes an `Oddity`, never
an exception: one bad message must not end a feed. Source: BloFin API documentation, "WebSocket",
2026-03-21.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from blofin_cli.adapters.exchanges.blofin.wire import account, market
from blofin_cli.adapters.exchanges.blofin.wire.account import ContractValues
from blofin_cli.adapters.exchanges.blofin.wire.calls import bar_of
from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, clean, load_json, rows_of
from blofin_cli.adapters.exchanges.blofin.wire.signing import Credentials, login_arguments
from blofin_cli.core.feed import (
    AccountEvent,
    BookEvent,
    CandleEvent,
    Channel,
    FeedEvent,
    FundingEvent,
    MarkEvent,
    Oddity,
    OrderEvent,
    PositionsEvent,
    PrintEvent,
    ProtectionEvent,
    QuoteEvent,
    Topic,
)
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import BadAnswerError

Events = tuple[FeedEvent, ...]

PING, PONG = "ping", "pong"
ARGUMENT_BYTES_MAX = 4096
_LOGIN_FAILED = "60009"

_PLAIN = {
    Channel.QUOTES: "tickers",
    Channel.PRINTS: "trades",
    Channel.BOOK: "books5",
    Channel.FUNDING: "funding-rate",
    Channel.ORDERS: "orders",
    Channel.PROTECTIONS: "orders-algo",
    Channel.POSITIONS: "positions",
    Channel.ACCOUNT: "account",
}
_BARRED = {Channel.CANDLES: "candle", Channel.MARK: "mark-price-candle"}
_CHANNELS: dict[str, tuple[Channel, Timeframe | None]] = {
    **{name: (channel, None) for channel, name in _PLAIN.items()},
    **{
        prefix + bar_of(timeframe): (channel, timeframe)
        for channel, prefix in _BARRED.items()
        for timeframe in Timeframe
    },
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A frame about the connection itself; `topic` None when it names none we know."""

    kind: Literal["pong", "login", "subscribe", "unsubscribe", "error", "unknown"]
    topic: Topic | None = None
    code: str = ""
    message: str = ""

    @property
    def is_login_failure(self) -> bool:
        """The key was not accepted, or the clock is off."""
        return self.code == _LOGIN_FAILED or (self.kind == "login" and self.code not in ("", "0"))


@dataclass(frozen=True, slots=True)
class Push:
    """Data of one topic, as events in the order they came."""

    topic: Topic
    events: Events


def login(credentials: Credentials, *, ts_ms: int, nonce: str) -> str:
    """The frame that logs in."""
    return _frame("login", [login_arguments(credentials, ts_ms=ts_ms, nonce=nonce)])


def subscriptions(operation: Literal["subscribe", "unsubscribe"], topics: Iterable[Topic]) -> str:
    """One frame for these topics. All or nothing at the exchange: one bad topic spoils all."""
    return _frame(operation, [argument(topic) for topic in topics])


def argument(topic: Topic) -> dict[str, str]:
    """A topic in BloFin's words."""
    named = {"channel": channel_of(topic)}
    return named if topic.symbol is None else {**named, "instId": topic.symbol}


def channel_of(topic: Topic) -> str:
    """The channel of a topic."""
    if topic.timeframe is not None:
        return _BARRED[topic.channel] + bar_of(topic.timeframe)
    return _PLAIN[topic.channel]


def _frame(operation: str, arguments: list[dict[str, str]]) -> str:
    return json.dumps({"op": operation, "args": arguments}, separators=(",", ":"))


def parse(frame: str | bytes, contract_values: ContractValues, received_ms: int) -> Notice | Push:
    """What a frame says.

    Errors: BadAnswerError when it is no frame of BloFin's at all; a push whose rows make no sense
    is returned with an `Oddity` in place of the event.
    """
    if frame in (PONG, b"pong"):
        return Notice("pong")
    values = load_json(frame)
    if not isinstance(values, dict):
        raise BadAnswerError(f"a frame is an object, not {type(values).__name__}")
    if "event" in values:
        return _notice(values)
    topic = topic_of(values.get("arg"))
    if topic is None:
        named = values.get("arg")
        channel = named.get("channel") if isinstance(named, dict) else None
        return Notice("unknown", message=f"push of an unknown channel {clean(channel)}")
    data = None if values.get("data") == "" else values.get("data")
    try:
        events = _READERS[topic.channel](topic, data, contract_values, received_ms)
    except BadAnswerError as problem:
        events = (Oddity(f"{channel_of(topic)}: {problem.message}", received_ms),)
    return Push(topic, events)


def _notice(values: Mapping[str, Any]) -> Notice:
    event, topic = values["event"], topic_of(values.get("arg"))
    code = "" if values.get("code") is None else clean(values["code"])
    message = clean(values.get("msg"))
    match event:
        case "login" | "subscribe" | "unsubscribe" | "error":
            return Notice(event, topic, code, message)
    return Notice("unknown", topic, code, f"event {clean(event)}: {message}")


def topic_of(values: object) -> Topic | None:
    """The topic a frame's `arg` names; None when this build does not know it.

    Pushes of a private channel may name a symbol or not; both mean the whole channel.
    """
    if not isinstance(values, dict):
        return None
    name, symbol = values.get("channel"), values.get("instId") or None
    known = _CHANNELS.get(name) if isinstance(name, str) else None
    if known is None:
        return None
    channel, timeframe = known
    if channel.is_private:
        return Topic(channel)
    if not isinstance(symbol, str):
        return None
    return Topic(channel, clean(symbol), timeframe)


Reader = Callable[[Topic, object, ContractValues, int], Events]


def _candles(topic: Topic, data: object, _: ContractValues, __: int) -> Events:
    symbol, timeframe = _bars_of(topic)
    return tuple(CandleEvent(symbol, timeframe, bar) for bar in market.bars(data))


def _marks(topic: Topic, data: object, _: ContractValues, __: int) -> Events:
    symbol, timeframe = _bars_of(topic)
    return tuple(MarkEvent(symbol, timeframe, bar) for bar in market.mark_bars(data))


def _bars_of(topic: Topic) -> tuple[str, Timeframe]:
    if topic.symbol is None or topic.timeframe is None:
        raise BadAnswerError("candles without symbol or bar size")
    return topic.symbol, topic.timeframe


def _quotes(topic: Topic, data: object, values: ContractValues, received_ms: int) -> Events:
    value = market.terms(topic.symbol or "", values)
    rows = _of_topic(rows_of(data, "tickers"), topic)
    return tuple(QuoteEvent(market.ticker(row, value, received_ms)) for row in rows)


def _prints(topic: Topic, data: object, values: ContractValues, _: int) -> Events:
    return tuple(
        PrintEvent(trade) for trade in market.prints(data, values) if trade.symbol == topic.symbol
    )


def _book(topic: Topic, data: object, values: ContractValues, _: int) -> Events:
    symbol = topic.symbol or ""
    return (BookEvent(market.book(symbol, data, market.terms(symbol, values))),)


def _funding(topic: Topic, data: object, _: ContractValues, __: int) -> Events:
    rows = _of_topic(rows_of(data, "funding"), topic)
    return tuple(FundingEvent(market.funding_rate(row)) for row in rows)


def _of_topic(rows: Iterable[Row], topic: Topic) -> Iterable[Row]:
    """Rows, each of which must name the topic's symbol: a swapped answer is no price of ours."""
    for row in rows:
        if row.symbol() != topic.symbol:
            raise BadAnswerError(f"{row.place}: a row of {row.symbol()} among {topic.symbol}")
        yield row


def _orders(_: Topic, data: object, values: ContractValues, received_ms: int) -> Events:
    return _each(
        rows_of(data, "orders"), lambda row: OrderEvent(account.order(row, values)), received_ms
    )


def _algos(_: Topic, data: object, values: ContractValues, received_ms: int) -> Events:
    def read(row: Row) -> FeedEvent:
        kind = row.text("orderType")
        if kind == "conditional":
            return ProtectionEvent(account.protection(row, values))
        if kind == "trigger":
            return OrderEvent(account.trigger_order(row, values))
        raise BadAnswerError(f"{row.place}: an algo order of type {kind}")

    return _each(rows_of(data, "algos"), read, received_ms)


def _positions(_: Topic, data: object, values: ContractValues, received_ms: int) -> Events:
    def read(row: Row) -> FeedEvent:
        return PositionsEvent((account.position(row, values),))

    found = _each(rows_of(data, "positions"), read, received_ms)
    read_well = [event.positions[0] for event in found if isinstance(event, PositionsEvent)]
    odd = tuple(event for event in found if not isinstance(event, PositionsEvent))
    return (PositionsEvent(tuple(read_well)), *odd)


def _account(_: Topic, data: object, __: ContractValues, ___: int) -> Events:
    return (AccountEvent(account.account(Row(data, "account"))),)


def _each(rows: Iterable[Row], read: Callable[[Row], FeedEvent], received_ms: int) -> Events:
    """Row by row: a broken row becomes an oddity and leaves the others alone."""
    events: list[FeedEvent] = []
    for row in rows:
        if account.is_foreign(row):
            continue
        try:
            events.append(read(row))
        except BadAnswerError as problem:
            events.append(Oddity(problem.message, received_ms))
    return tuple(events)


_READERS: dict[Channel, Reader] = {
    Channel.CANDLES: _candles,
    Channel.MARK: _marks,
    Channel.QUOTES: _quotes,
    Channel.PRINTS: _prints,
    Channel.BOOK: _book,
    Channel.FUNDING: _funding,
    Channel.ORDERS: _orders,
    Channel.PROTECTIONS: _algos,
    Channel.POSITIONS: _positions,
    Channel.ACCOUNT: _account,
}
