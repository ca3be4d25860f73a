"""Public data of any exchange ccxt knows: the `MarketData` port. Needs no key."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from blofin_cli.adapters.exchanges.ccxt import reading
from blofin_cli.adapters.exchanges.ccxt.library import Library
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import OrderType
from blofin_cli.core.quotes import (
    Bar,
    Book,
    Capability,
    ClockOffset,
    Environment,
    FundingRate,
    Listing,
    PositionTier,
    Print,
    Quote,
    Venue,
)
from blofin_cli.errors import BadAnswerError, RefusedError, UsageError
from blofin_cli.ports import Clock

INSTRUMENTS_AGE_MAX_MS = 3_600_000
PAGE_MAX = 500
_TICK_SIZE_MODE = 4  # ccxt's TICK_SIZE: precisions are steps and not digits
_KINDS = {
    OrderType.POST_ONLY: Capability.POST_ONLY,
    OrderType.IOC: Capability.IOC,
    OrderType.FOK: Capability.FOK,
}


class PublicData:
    """Market data of one exchange. Keeps the instruments for an hour."""

    def __init__(self, library: Library, clock: Clock):
        self._library, self._clock = library, clock
        self._listings: dict[str, Listing] = {}
        self._names: dict[str, str] = {}
        self._listed_ms: int | None = None
        self._offset: ClockOffset | None = None

    @property
    def venue(self) -> Venue:
        """The exchange and what it can do through this client; no trading without a key."""
        library, dialect = self._library, self._library.dialect
        can: set[Capability] = set()
        if library.has_key and dialect.is_tried:
            attached = (library.features.get("createOrder") or {}).get("attachedStopLossTakeProfit")
            can |= {Capability.TRADING, Capability.PROTECTION}
            can |= {Capability.WHOLE_POSITION_PROTECTION} if dialect.protects_whole else set()
            can |= {Capability.ATTACHED_STOP, Capability.ATTACHED_TARGET} if attached else set()
            can |= {Capability.STOP_ENTRY} if dialect.stop_entries else set()
            can |= {Capability.CLOSE_POSITION} if dialect.can_close else set()
            can |= {name for kind, name in _KINDS.items() if kind in dialect.kinds}
        known = library.client.timeframes or {}
        return Venue(
            name=f"ccxt:{library.name}",
            environment=Environment.SIMULATED if library.is_stand_in else Environment.LIVE,
            capabilities=frozenset(can),
            timeframes=tuple(timeframe for timeframe in Timeframe if timeframe.value in known),
        )

    async def clock_offset(self) -> ClockOffset:
        """Exchange time against ours: by its time route, else by an answer's Date."""
        sent_ms = self._clock.now_ms()
        if self._library.can("fetchTime"):
            told_ms = int(await self._library.read("fetch_time"))
            received_ms = self._clock.now_ms()
            offset_ms = told_ms - (sent_ms + received_ms) // 2
            uncertainty_ms = (received_ms - sent_ms + 1) // 2
        else:
            name = next(iter((await self._known()).values()))
            sent_ms = self._clock.now_ms()
            await self._library.read("fetch_ticker", name)
            received_ms = self._clock.now_ms()
            told_ms = _date_ms(self._library.client.last_response_headers)
            lowest, highest = told_ms - received_ms, told_ms + 999 - sent_ms
            offset_ms, uncertainty_ms = (lowest + highest) // 2, (highest - lowest + 1) // 2
        self._offset = ClockOffset(
            offset_ms=offset_ms, uncertainty_ms=uncertainty_ms, measured_ms=received_ms
        )
        return self._offset

    async def server_time_ms(self) -> int:
        """Exchange time now: our clock plus the last measured offset."""
        if self._offset is None:
            await self.clock_offset()
        return self.now_ms()

    def now_ms(self) -> int:
        """Exchange time as far as it was measured; asks nobody."""
        return self._clock.now_ms() + (self._offset.offset_ms if self._offset else 0)

    async def instruments(self) -> tuple[Listing, ...]:
        """Every USDT-M linear perpetual whose steps are told, sorted; read again hourly."""
        await self._known()
        return tuple(self._listings[symbol] for symbol in sorted(self._listings))

    async def instrument(self, symbol: str) -> Listing:
        """One instrument; its maintenance rate and leverage are cautious.

        Errors: UsageError when the exchange lists no such perpetual.
        """
        await self._name(symbol)
        return self._listings[symbol]

    async def position_tiers(self, symbol: str) -> tuple[PositionTier, ...]:
        """Refused: ccxt tells tiers by value and not by size."""
        raise RefusedError(
            f"{self.venue.name} tells no tiers by size for {symbol}",
            hint="leverage is held at what is safe without them",
        )

    async def quotes(self, symbols: Sequence[str] = ()) -> tuple[Quote, ...]:
        """Last and best prices of these symbols, of all when none is named."""
        names = [await self._name(symbol) for symbol in symbols]
        known = await self._known()
        if len(names) == 1:
            rows = {names[0]: await self._library.read("fetch_ticker", names[0])}
        else:
            rows = await self._library.read("fetch_tickers", names or None)
        if not isinstance(rows, dict):
            raise BadAnswerError("prices that are no table")
        if any(not _has_best(row) for row in rows.values()):
            rows = await self._with_best(rows, names)
        wanted = list(symbols) or [symbol for symbol, name in known.items() if name in rows]
        now_ms = self._clock.now_ms()
        if missing := [symbol for symbol in wanted if known[symbol] not in rows]:
            raise BadAnswerError(f"{self.venue.name} sent no price of {', '.join(missing)}")
        return tuple(
            reading.quote(rows[known[symbol]], self._listings[symbol].instrument, now_ms)
            for symbol in sorted(wanted)
        )

    async def quote(self, symbol: str) -> Quote:
        """Last and best prices with mark, index and funding as far as they are told."""
        name = await self._name(symbol)
        (found,), funding = await asyncio.gather(
            self.quotes((symbol,)), self._library.read("fetch_funding_rate", name)
        )
        mark = reading.number(funding.get("markPrice"))
        if mark is None and self._library.can("fetchMarkPrice"):
            row = await self._library.read("fetch_mark_price", name)
            mark = reading.number(row.get("markPrice"))
        settles = reading.time_ms(funding.get("fundingTimestamp"))
        return replace(
            found,
            mark=mark,
            index=reading.number(funding.get("indexPrice")),
            funding_rate=reading.number(funding.get("fundingRate")),
            funding_ms=settles or None,
        )

    async def candles(
        self,
        symbol: str,
        timeframe: Timeframe,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 500,
    ) -> tuple[Bar, ...]:
        """One page of candles; with `since_ms` the first `limit` after it, else the newest.

        Rows outside the bounds are left out: exchanges differ in what they send around them.
        Errors: UsageError when the exchange has no such bars.
        """
        name = await self._name(symbol)
        if timeframe not in self.venue.timeframes:
            raise UsageError(f"{self.venue.name} has no {timeframe} candles")
        count = min(limit, self._page_max("fetchOHLCV"))
        first_ms = since_ms
        if first_ms is None and until_ms is not None:
            first_ms = until_ms - count * timeframe.ms
        rows = await self._library.read("fetch_ohlcv", name, timeframe.value, first_ms, count)
        found = reading.bars(rows, timeframe, await self.server_time_ms())
        kept = tuple(
            bar
            for bar in found
            if (first_ms is None or bar.ts_ms >= first_ms)
            and (until_ms is None or bar.ts_ms < until_ms)
        )
        return kept[:count] if since_ms is not None else kept[-count:]

    async def funding_history(
        self,
        symbol: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 100,
    ) -> tuple[FundingRate, ...]:
        """One page of settled rates, the newest `limit` of those it holds, ascending."""
        name = await self._name(symbol)
        count = min(limit, 100)
        extra = {} if until_ms is None else {"until": until_ms - 1}
        rows = await self._library.read(
            "fetch_funding_rate_history", name, since_ms, count, params=extra
        )
        kept = tuple(
            rate
            for rate in reading.funding_rates(rows, symbol)
            if (since_ms is None or rate.ts_ms >= since_ms)
            and (until_ms is None or rate.ts_ms < until_ms)
        )
        return kept[-count:]

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """The order book, `depth` levels a side at most."""
        name = await self._name(symbol)
        row = await self._library.read("fetch_order_book", name, _book_size(depth))
        terms = self._listings[symbol].instrument
        return reading.book(row, terms, depth, self._clock.now_ms())

    async def prints(self, symbol: str, limit: int = 100) -> tuple[Print, ...]:
        """The market's last trades."""
        name = await self._name(symbol)
        rows = await self._library.read("fetch_trades", name, None, min(limit, 100))
        return reading.prints(rows, self._listings[symbol].instrument)

    async def aclose(self) -> None:
        """Close the connections; harmless when repeated."""
        await self._library.aclose()

    # Names and terms.

    async def _name(self, symbol: str) -> str:
        """ccxt's symbol. Errors: UsageError when the exchange lists no such perpetual."""
        known = await self._known()
        if symbol not in known:
            raise UsageError(f"{self.venue.name} lists no USDT-M perpetual {symbol[:40]!a}")
        return known[symbol]

    async def _known(self) -> dict[str, str]:
        """ccxt's symbols by ours; the markets are read again after an hour."""
        age_ms = None if self._listed_ms is None else self._clock.now_ms() - self._listed_ms
        if age_ms is not None and 0 <= age_ms < INSTRUMENTS_AGE_MAX_MS:
            return self._names
        library = self._library
        if library.client.precisionMode != _TICK_SIZE_MODE:
            raise RefusedError(f"{self.venue.name} tells no price steps through ccxt")
        markets = await library.markets(is_fresh=age_ms is not None)
        listings: dict[str, Listing] = {}
        names: dict[str, str] = {}
        for name, market in markets.items():
            symbol = f"{market.get('base')}-USDT"
            found = reading.listing(market, symbol, "exchange") if reading.is_ours(market) else None
            if found is not None:
                listings[symbol], names[symbol] = found, name
        if not names:
            raise BadAnswerError(f"{self.venue.name} lists no USDT-M perpetual at all")
        self._listings, self._names, self._listed_ms = listings, names, self._clock.now_ms()
        return names

    async def _with_best(self, rows: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Prices with best bid and ask where another method tells them (Binance's swaps)."""
        if not self._library.can("fetchBidsAsks"):
            return rows
        best = await self._library.read("fetch_bids_asks", names or None)
        parts = ("bid", "ask", "bidVolume", "askVolume")
        return {
            name: {**row, **{part: best[name].get(part) for part in parts}} if name in best else row
            for name, row in rows.items()
        }

    def _page_max(self, method: str) -> int:
        told = (self._library.features.get(method) or {}).get("limit")
        return min(int(told), PAGE_MAX) if told else 100


def _has_best(row: reading.Row) -> bool:
    return row.get("bid") is not None and row.get("ask") is not None


def _book_size(depth: int) -> int:
    """A depth every exchange takes: some know only these."""
    return next((size for size in (5, 10, 20, 50) if depth <= size), 100)


def _date_ms(headers: reading.Row | None) -> int:
    """The Date of an answer. Errors: BadAnswerError when there is none to be read."""
    date = next((text for name, text in (headers or {}).items() if name.lower() == "date"), "")
    try:
        return int(parsedate_to_datetime(str(date)).timestamp() * 1000)
    except (ValueError, OverflowError) as problem:
        raise BadAnswerError("the answer carries no date to set the clock by") from problem
