"""One exchange as the engine sees it: public data, an account to read, to shrink, to open, a feed.

Each caller gets the weakest of these that does its work.
"""

from typing import TYPE_CHECKING, Protocol

from blofin_cli.core.market import Timeframe

if TYPE_CHECKING:  # arrays, and names that only signatures need
    from collections.abc import AsyncIterator, Callable, Sequence

    from blofin_cli.core.feed import FeedEvent, FeedHealth, Topic
    from blofin_cli.core.orders import (
        AccountInfo,
        Ack,
        CloseRequest,
        Fill,
        KeyInfo,
        LeverageSetting,
        MarginMode,
        Order,
        OrderRef,
        OrderRequest,
        Position,
        PositionMode,
        Protection,
        ProtectionRef,
        ProtectionRequest,
        Side,
    )
    from blofin_cli.core.quotes import (
        Bar,
        Book,
        ClockOffset,
        FundingRate,
        Listing,
        PositionTier,
        PriceRange,
        Print,
        Quote,
        Venue,
    )


class MarketData(Protocol):
    """Public data of one exchange; needs no key.

    Invariants: sizes are base units; lists ascend in time; a failed query raises and never reads
    as empty.
    Errors, of every method that asks: NetworkError when the exchange was not reached,
    RateLimitError, VenueError when it refused, BadAnswerError when its answer makes no sense.
    """

    @property
    def venue(self) -> "Venue":
        """Which exchange this is and what it can do."""
        ...

    async def clock_offset(self) -> "ClockOffset":
        """Exchange time against ours, measured anew."""
        ...

    async def server_time_ms(self) -> int:
        """Exchange time now: our clock plus the last measured offset."""
        ...

    async def instruments(self) -> "tuple[Listing, ...]":
        """Every USDT-M linear perpetual, sorted by symbol; kept for a while."""
        ...

    async def instrument(self, symbol: str) -> "Listing":
        """One instrument with the maintenance rate and leverage of its first tier.

        Errors: UsageError when the exchange lists no such instrument.
        """
        ...

    async def position_tiers(self, symbol: str) -> "tuple[PositionTier, ...]":
        """Isolated-margin tiers, smallest first."""
        ...

    async def quotes(self, symbols: "Sequence[str]" = ()) -> "tuple[Quote, ...]":
        """Last and best prices of these symbols, of all when none is named; without mark."""
        ...

    async def quote(self, symbol: str) -> "Quote":
        """Last and best prices with mark, index and funding."""
        ...

    async def candles(
        self,
        symbol: str,
        timeframe: Timeframe,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> "tuple[Bar, ...]":
        """One page of candles: opens from `since_ms` up to but not at `until_ms`, ascending.

        With `since_ms` the first `limit` bars after it, else the newest. The forming candle is
        there with `is_closed` False. A page may be short; an empty one is no proof of the end.
        """
        ...

    async def funding_history(
        self,
        symbol: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 100,
    ) -> "tuple[FundingRate, ...]":
        """One page of settled rates, bounds as for candles, newest `limit` of them, ascending."""
        ...

    async def book(self, symbol: str, depth: int = 20) -> "Book":
        """The order book, `depth` levels a side."""
        ...

    async def prints(self, symbol: str, limit: int = 100) -> "tuple[Print, ...]":
        """The market's last trades."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; harmless when repeated."""
        ...


class AccountReader(Protocol):
    """What an account holds. Needs a key that can read.

    Errors: as MarketData, and AuthError when the key is not accepted. A list is complete or the
    call raises: absence from it may be read as absence at the exchange at that moment.
    """

    async def account(self) -> "AccountInfo":
        """Balances of the futures account."""
        ...

    async def positions(self, symbol: str | None = None) -> "tuple[Position, ...]":
        """Open positions."""
        ...

    async def open_orders(self, symbol: str | None = None) -> "tuple[Order, ...]":
        """Working orders and waiting stop entries."""
        ...

    async def protections(self, symbol: str | None = None) -> "tuple[Protection, ...]":
        """Waiting stops and targets that are orders of their own."""
        ...

    async def order(self, ref: "OrderRef") -> "Order | None":
        """One order, open or finished; None when the exchange says there is none.

        An order may be invisible for a while after its acknowledgement: one None proves nothing.
        """
        ...

    async def order_history(
        self, symbol: str | None = None, *, since_ms: int | None = None, limit: int = 100
    ) -> "tuple[Order, ...]":
        """Finished orders, ascending by update; the newest `limit`."""
        ...

    async def fills(
        self, symbol: str | None = None, *, since_ms: int | None = None, order_id: str | None = None
    ) -> "tuple[Fill, ...]":
        """Executions, ascending; every page of them since `since_ms`, else the newest page."""
        ...

    async def leverage(self, symbol: str) -> "tuple[LeverageSetting, ...]":
        """Isolated leverage in force: one row, or one a side in hedge mode."""
        ...

    async def margin_mode(self) -> "MarginMode":
        """The account's default margin mode."""
        ...

    async def position_mode(self) -> "PositionMode":
        """One-way or hedge, for the whole account."""
        ...

    async def key_info(self) -> "KeyInfo":
        """Permissions, addresses and age of the key in use."""
        ...

    async def price_range(self, symbol: str, side: "Side") -> "PriceRange":
        """Prices an order of this side may have now."""
        ...


class ReduceOnly(MarketData, AccountReader, Protocol):
    """An exchange seen by those who may lower exposure and nothing else: halt, guard, close.

    Invariants: no call opens or enlarges a position; calls use the reserve of the rate budget.
    Outcomes of writes: an Ack ACCEPTED or REFUSED; when an answer is lost the state is looked up
    by id, and the Ack is UNKNOWN when that leads nowhere. Errors: as AccountReader, raised only
    when nothing was sent.
    """

    async def cancel(self, ref: "OrderRef") -> "Ack":
        """Cancel an order or stop entry; REFUSED when it is gone already: then ask its state."""
        ...

    async def cancel_many(self, refs: "Sequence[OrderRef]") -> "tuple[Ack, ...]":
        """Cancel orders, in as few requests as the exchange allows; Acks in the same order."""
        ...

    async def reduce(self, request: "OrderRequest") -> "Ack":
        """Place a reduce-only order.

        Errors: UsageError when the request is not reduce-only.
        """
        ...

    async def close_position(self, request: "CloseRequest") -> "Ack":
        """Close a whole position at market; REFUSED with nothing to close."""
        ...

    async def protect(self, request: "ProtectionRequest") -> "Ack":
        """Place a stop, a target or both for an open position."""
        ...

    async def cancel_protection(self, ref: "ProtectionRef") -> "Ack":
        """Remove a stop or target; whoever calls has asked whether a position still needs it."""
        ...


class Exchange(ReduceOnly, Protocol):
    """An exchange seen by the one holder of the account lock: it can open.

    Invariants: a write is sent once; an id that was used is never replaced by another. `fence` is
    called synchronously right before the first byte leaves, after every wait for connection and
    rate budget; what it raises ends the call with nothing sent.
    """

    async def place(
        self, request: "OrderRequest", *, fence: "Callable[[], None] | None" = None
    ) -> "Ack":
        """Place one order with its attached stop and target."""
        ...

    async def place_many(
        self, requests: "Sequence[OrderRequest]", *, fence: "Callable[[], None] | None" = None
    ) -> "tuple[Ack, ...]":
        """Place up to 20 orders of one symbol; Acks in the same order, each judged by itself."""
        ...

    async def set_leverage(self, symbol: str, leverage: int) -> "tuple[LeverageSetting, ...]":
        """Set isolated leverage and read it back.

        Errors: VenueError when refused, or when what is read back differs.
        """
        ...

    async def set_margin_mode(self, mode: "MarginMode") -> "MarginMode":
        """Set the account's default margin mode and read it back; sends nothing when it is so."""
        ...

    async def set_position_mode(self, mode: "PositionMode") -> "PositionMode":
        """Set the position mode and read it back; sends nothing when it is so."""
        ...


class Stream(Protocol):
    """A live feed that keeps itself alive: it reconnects, subscribes anew and says so.

    Invariants: a topic counts once its subscription is confirmed; after each reconnect of the
    private connection a `ReconcileNeeded` comes before any private event; account events are
    never dropped, of market events the newest survive; `events` has one consumer.
    """

    async def subscribe(self, *topics: "Topic") -> None:
        """Ask for topics; confirmation or refusal comes as an event. Known ones are ignored."""
        ...

    async def unsubscribe(self, *topics: "Topic") -> None:
        """Give topics up."""
        ...

    def events(self) -> "AsyncIterator[FeedEvent]":
        """Everything that happens, until `aclose`."""
        ...

    def health(self) -> "FeedHealth":
        """Connections, ages and counts now."""
        ...

    async def aclose(self) -> None:
        """End both connections and the iterator; harmless when repeated."""
        ...
