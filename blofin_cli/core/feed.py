"""What a live feed is asked for and what it tells, one frozen record an event.

A feed speaks of itself as well: connected, subscribed, stalled, lost. The one event that no
consumer may skip is `ReconcileNeeded`: private channels carry changes only, so whatever happened
while nobody listened must be read anew.
"""

from dataclasses import dataclass
from enum import StrEnum

from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import AccountInfo, Order, Position, Protection
from blofin_cli.core.quotes import Bar, Book, FundingRate, Print, Quote
from blofin_cli.errors import UsageError


class Channel(StrEnum):
    """Kinds of live data; the last four are private."""

    CANDLES = "candles"
    MARK = "mark"
    QUOTES = "quotes"
    PRINTS = "prints"
    BOOK = "book"
    FUNDING = "funding"
    ORDERS = "orders"
    PROTECTIONS = "protections"
    POSITIONS = "positions"
    ACCOUNT = "account"

    @property
    def is_private(self) -> bool:
        """It needs a key."""
        return self in _PRIVATE


_PRIVATE = frozenset({Channel.ORDERS, Channel.PROTECTIONS, Channel.POSITIONS, Channel.ACCOUNT})


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription. Private topics name no symbol: they tell of all.

    Errors: UsageError when symbol or timeframe is missing or too much.
    """

    channel: Channel
    symbol: str | None = None
    timeframe: Timeframe | None = None

    def __post_init__(self) -> None:
        if self.channel.is_private == (self.symbol is not None):
            raise UsageError(f"{self.channel}: public topics name a symbol, private ones none")
        has_bars = self.channel in {Channel.CANDLES, Channel.MARK}
        if has_bars != (self.timeframe is not None):
            raise UsageError(f"{self.channel}: a timeframe belongs to candles and mark alone")


@dataclass(frozen=True, slots=True)
class CandleEvent:
    """A candle moved or closed; only `bar.is_closed` feeds a strategy."""

    symbol: str
    timeframe: Timeframe
    bar: Bar


@dataclass(frozen=True, slots=True)
class MarkEvent:
    """The mark price moved; volume of the bar is 0."""

    symbol: str
    timeframe: Timeframe
    bar: Bar


@dataclass(frozen=True, slots=True)
class QuoteEvent:
    """New last or best prices."""

    quote: Quote


@dataclass(frozen=True, slots=True)
class PrintEvent:
    """A trade of the market."""

    trade: Print


@dataclass(frozen=True, slots=True)
class BookEvent:
    """The top of the book anew."""

    book: Book


@dataclass(frozen=True, slots=True)
class FundingEvent:
    """The rate of the coming settlement."""

    funding: FundingRate


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """An order or stop entry changed."""

    order: Order


@dataclass(frozen=True, slots=True)
class ProtectionEvent:
    """A stop or target changed."""

    protection: Protection


@dataclass(frozen=True, slots=True)
class PositionsEvent:
    """Positions that are or changed; a symbol's absence does not prove that it is flat."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Balances changed."""

    account: AccountInfo


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection is up, logged in where it must be, and every topic of it is confirmed."""

    is_private: bool
    attempt: int
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection is lost; it is being made again."""

    is_private: bool
    reason: str
    ts_ms: int


@dataclass(frozen=True, slots=True)
class TopicConfirmed:
    """The exchange serves this topic from now on."""

    topic: Topic


@dataclass(frozen=True, slots=True)
class TopicRefused:
    """The exchange does not serve this topic; it is asked again after each reconnect."""

    topic: Topic
    reason: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """A topic has been silent for longer than it may; it is subscribed anew, then reconnected."""

    topic: Topic
    silent_ms: int
    ts_ms: int


@dataclass(frozen=True, slots=True)
class ReconcileNeeded:
    """Something was missed: read it over REST before opening anything.

    Private: orders, protections, positions, fills and balance. Public: candles. `since_ms` is when
    the last message before the hole came, None when there was none.
    """

    is_private: bool
    reason: str
    since_ms: int | None
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Oddity:
    """A message that was not understood and therefore not used."""

    text: str
    ts_ms: int


FeedEvent = (
    CandleEvent | MarkEvent | QuoteEvent | PrintEvent | BookEvent | FundingEvent
    | OrderEvent | ProtectionEvent | PositionsEvent | AccountEvent
    | Connected | Disconnected | TopicConfirmed | TopicRefused | Stalled | ReconcileNeeded | Oddity
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """State of a feed at one moment. Units: ages in ms since the last message, None before one."""

    public_connected: bool
    private_connected: bool
    reconnects: int
    dropped: int
    ages_ms: dict[Topic, int | None]
