"""BloFin's public data over REST: the `MarketData` port. Needs no key."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from blofin_cli.adapters.exchanges.blofin.transport import Sender
from blofin_cli.adapters.exchanges.blofin.wire import answers, calls, market
from blofin_cli.adapters.exchanges.blofin.wire.fields import clean, rows_of
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import MarginMode
from blofin_cli.core.quotes import (
    Bar,
    Book,
    Capability,
    ClockOffset,
    FundingRate,
    Listing,
    PositionTier,
    Print,
    Quote,
    Venue,
)
from blofin_cli.errors import BadAnswerError, UsageError
from blofin_cli.ports import Clock

INSTRUMENTS_AGE_MAX_MS = 3_600_000
_REFRESH_MIN_MS = 10_000
_CAPABILITIES = frozenset(Capability) - {Capability.HEDGE}


class PublicData:
    """Market data of one host. Keeps the instruments for an hour."""

    def __init__(self, sender: Sender, clock: Clock):
        self._sender, self._clock = sender, clock
        self._listings: dict[str, Listing] = {}
        self._tiers: dict[str, tuple[PositionTier, ...]] = {}
        self._contract_values: dict[str, Decimal] = {}
        self._listed_ms: int | None = None
        self._listing = asyncio.Lock()

    @property
    def venue(self) -> Venue:
        """BloFin as this client uses it: isolated margin in one-way mode."""
        has_key = self._sender.has_credentials
        return Venue(
            name="blofin",
            environment=self._sender.host.environment,
            capabilities=_CAPABILITIES if has_key else _CAPABILITIES - {Capability.TRADING},
            timeframes=tuple(Timeframe),
        )

    @property
    def instruments_age_ms(self) -> int | None:
        """How old the kept instruments are; None before the first reading."""
        return None if self._listed_ms is None else self._clock.now_ms() - self._listed_ms

    async def clock_offset(self) -> ClockOffset:
        """Exchange time against ours, measured anew and used in every signature from now on."""
        return await self._sender.measure_offset()

    async def server_time_ms(self) -> int:
        """Exchange time now: our clock plus the last measured offset."""
        if self._sender.offset is None:
            await self._sender.measure_offset()
        return self._sender.now_ms()

    def now_ms(self) -> int:
        """Exchange time as far as it was measured; asks nobody."""
        return self._sender.now_ms()

    async def instruments(self) -> tuple[Listing, ...]:
        """Every USDT-M linear perpetual, sorted by symbol; read again after an hour."""
        await self._load_instruments(INSTRUMENTS_AGE_MAX_MS)
        return tuple(self._listings.values())

    async def instrument(self, symbol: str) -> Listing:
        """One instrument with the maintenance rate and leverage of its first tier.

        Errors: UsageError when BloFin lists no such perpetual.
        """
        listing = await self._listed(symbol)
        tiers = self._tiers.get(symbol) or await self.position_tiers(symbol)
        if not tiers:
            return listing
        first = tiers[0]
        terms = replace(
            listing.instrument,
            maintenance_margin=first.maintenance_margin,
            leverage_max=min(listing.instrument.leverage_max, first.leverage_max),
            source="exchange",
        )
        return replace(listing, instrument=terms)

    async def position_tiers(self, symbol: str) -> tuple[PositionTier, ...]:
        """Isolated-margin tiers, smallest first."""
        listing = await self._listed(symbol)
        call = calls.public(
            "market/position-tiers", instId=symbol, marginMode=MarginMode.ISOLATED.value
        )
        data = answers.data_of(await self._sender.read(call))
        self._tiers[symbol] = market.tiers(data, listing.instrument.contract_value)
        return self._tiers[symbol]

    async def quotes(self, symbols: Sequence[str] = ()) -> tuple[Quote, ...]:
        """Last and best prices of these symbols, of all when none is named."""
        for symbol in symbols:
            await self._listed(symbol)
        await self._load_instruments(INSTRUMENTS_AGE_MAX_MS)
        only = symbols[0] if len(symbols) == 1 else None
        answer = await self._sender.read(calls.public("market/tickers", instId=only))
        wanted = set(symbols) or self._contract_values.keys()
        values = {name: self._contract_values[name] for name in wanted}
        quotes = market.tickers(answers.data_of(answer), values, self._clock.now_ms())
        if missing := set(symbols) - {quote.symbol for quote in quotes}:
            raise BadAnswerError(f"BloFin sent no price of {', '.join(sorted(missing))}")
        return quotes

    async def quote(self, symbol: str) -> Quote:
        """Last and best prices with mark, index and funding; three requests at once."""
        await self._listed(symbol)  # a wrong name must not leave two requests on their way
        quotes, mark, funding = await asyncio.gather(
            self.quotes((symbol,)),
            self._sender.read(calls.public("market/mark-price", instId=symbol)),
            self._sender.read(calls.public("market/funding-rate", instId=symbol)),
        )
        rows = list(rows_of(answers.data_of(mark), "mark"))
        rates = market.funding_rates(answers.data_of(funding))
        if len(rows) != 1 or rows[0].symbol() != symbol:
            raise BadAnswerError(f"BloFin sent no mark price of {symbol}")
        mark_price, index_price, _ = market.mark_price(rows[0])
        rate = next((rate for rate in rates if rate.symbol == symbol), None)
        return replace(
            quotes[0],
            mark=mark_price,
            index=index_price,
            funding_rate=rate.rate if rate else None,
            funding_ms=rate.ts_ms if rate else None,
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

        Rows outside the bounds or off the timeframe's grid are refused: they are of something
        else.
        """
        call = calls.candles(symbol, timeframe, since_ms=since_ms, until_ms=until_ms, limit=limit)
        bars = market.bars(answers.data_of(await self._sender.read(call)))
        for bar in bars:
            is_early = since_ms is not None and bar.ts_ms < since_ms
            is_late = until_ms is not None and bar.ts_ms >= until_ms
            if is_early or is_late or bar.ts_ms % timeframe.ms:
                raise BadAnswerError(f"{symbol} {timeframe}: a candle of {bar.ts_ms} nobody asked")
        return bars

    async def funding_history(
        self,
        symbol: str,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limit: int = 100,
    ) -> tuple[FundingRate, ...]:
        """One page of settled rates, the newest `limit` before `until_ms`, ascending."""
        call = calls.public(
            "market/funding-rate-history", instId=symbol, after=until_ms,
            limit=min(limit, calls.PAGE_MAX),
        )  # fmt: skip
        rates = market.funding_rates(answers.data_of(await self._sender.read(call)))
        return tuple(
            rate
            for rate in rates
            if rate.symbol == symbol
            and (since_ms is None or rate.ts_ms >= since_ms)
            and (until_ms is None or rate.ts_ms < until_ms)
        )

    async def book(self, symbol: str, depth: int = 20) -> Book:
        """The order book, up to 100 levels a side."""
        listing = await self._listed(symbol)
        call = calls.public("market/books", instId=symbol, size=min(depth, 100))
        rows = answers.data_of(await self._sender.read(call))
        if not isinstance(rows, list) or len(rows) != 1:
            raise BadAnswerError(f"BloFin sent no book of {symbol}")
        return market.book(symbol, rows[0], listing.instrument.contract_value)

    async def prints(self, symbol: str, limit: int = 100) -> tuple[Print, ...]:
        """The market's last trades."""
        await self._listed(symbol)
        call = calls.public("market/trades", instId=symbol, limit=min(limit, calls.PAGE_MAX))
        return market.prints(answers.data_of(await self._sender.read(call)), self._contract_values)

    async def contract_values(self) -> dict[str, Decimal]:
        """Base units a contract, by symbol; the same object grows as instruments are read."""
        await self._load_instruments(INSTRUMENTS_AGE_MAX_MS)
        return self._contract_values

    async def aclose(self) -> None:
        """Close the connections; harmless when repeated."""
        await self._sender.aclose()

    async def _listed(self, symbol: str) -> Listing:
        await self._load_instruments(INSTRUMENTS_AGE_MAX_MS)
        if symbol not in self._listings:
            await self._load_instruments(_REFRESH_MIN_MS)
        if symbol not in self._listings:
            raise UsageError(
                f"the exchange lists no USDT-M perpetual {clean(symbol)}",
                hint="see: blofin instruments",
            )
        return self._listings[symbol]

    async def _load_instruments(self, age_max_ms: int) -> None:
        """Read the instruments unless they are young enough; one reading at a time."""
        async with self._listing:
            age_ms = self.instruments_age_ms
            if age_ms is not None and 0 <= age_ms < age_max_ms:
                return
            answer = await self._sender.read(calls.public("market/instruments"))
            found = market.listings(answers.data_of(answer))
            if not found:
                raise BadAnswerError("BloFin lists no instrument at all")
            self._listings = {listing.instrument.symbol: listing for listing in found}
            self._contract_values.update(
                (symbol, listing.instrument.contract_value)
                for symbol, listing in self._listings.items()
            )
            self._tiers.clear()
            self._listed_ms = self._clock.now_ms()
