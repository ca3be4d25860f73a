"""What the exchange and the journal say at one moment, read at once before an order is planned."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Halt, Intent, IntentState, Pause, Purpose
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    MarginMode,
    Order,
    Position,
    PositionMode,
    Protection,
    Side,
)
from blofin_cli.core.quotes import (
    Bar,
    Capability,
    ClockOffset,
    Listing,
    Mode,
    PositionTier,
    PriceRange,
    Quote,
    Venue,
)
from blofin_cli.core.risk import DAY_MS, HOUR_MS, MONDAY_OFFSET_DAYS
from blofin_cli.errors import DataError
from blofin_cli.ports import Journal, MarketData, ReduceOnly

BARS = 1_400  # 15m bars: enough for the correlation of two weeks of hours, and one page
WEEK_MS = 7 * DAY_MS
ZERO = Decimal(0)
_NEVER_THERE = frozenset({IntentState.REFUSED, IntentState.VOID})


@dataclass(frozen=True, kw_only=True, eq=False)
class Situation:
    """What the exchange and the journal say at one moment.

    Units: `leverage` in force, None when unknown; `now_ms` exchange time; `reserved` are intents
    whose orders the exchange may not show yet; `modes_follow`: whoever places brings the account to
    isolated margin and one-way positions first, as nothing is open; `markets` begins with the
    order's symbol and holds every symbol of a position, an order or an intent. `day_start_usdt`,
    `week_start_usdt` and `peak_usdt` are equities the breakers measure from, None when nobody wrote
    them down; `risk_today_usdt` what today's entries may lose, or could have lost.
    """

    exchange: str
    mode: Mode
    simulated: bool
    listing: Listing
    tiers: tuple[PositionTier, ...]
    quote: Quote
    price_range: PriceRange | None
    equity_usdt: Decimal
    available_usdt: Decimal
    leverage: int | None
    margin_mode: MarginMode
    position_mode: PositionMode
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]
    protections: tuple[Protection, ...]
    reserved: tuple[Intent, ...]
    entries_today: int
    markets: tuple[Market, ...]
    clock_offset_ms: int
    now_ms: int
    halt: Halt | None = None
    pauses: tuple[Pause, ...] = ()
    entries_hour: int = 0
    risk_today_usdt: Decimal = ZERO
    day_start_usdt: Decimal | None = None
    week_start_usdt: Decimal | None = None
    peak_usdt: Decimal | None = None
    modes_follow: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing is open at the exchange or on its way there: it lets the modes be changed."""
        is_flat = not any(position.size for position in self.positions)
        return is_flat and not (self.orders or self.protections or self.reserved)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What the journal knows of an account at one moment, as a `Situation` takes it."""

    reserved: tuple[Intent, ...] = ()
    entries_today: int = 0
    entries_hour: int = 0
    risk_today_usdt: Decimal = ZERO
    halt: Halt | None = None
    pauses: tuple[Pause, ...] = ()
    day_start_usdt: Decimal | None = None
    week_start_usdt: Decimal | None = None
    peak_usdt: Decimal | None = None


async def look(
    exchange: ReduceOnly,
    journal: Journal,
    symbol: str,
    side: Side,
    *,
    account: str,
    name: str,
    mode: Mode,
    timeframe: Timeframe = Timeframe.M15,
) -> Situation:
    """Read everything that a plan for this symbol is judged on; what can be asked at once is.

    Errors: as the ports; DataError when the exchange tells no USDT balance.
    """
    offset, since_s = await exchange.clock_offset(), _seconds()
    market = _Market(exchange, symbol, side, timeframe)
    (terms, quote, price_range, candles), held, modes = await _together(
        market.read(), _held(exchange), _modes(exchange, symbol)
    )
    listing, tiers = terms
    account_info, orders, protections, positions = held
    balance = account_info.balance()
    if balance is None:
        raise DataError("the exchange told no USDT balance", hint="blofin account shows it")
    now_ms = _now_ms(offset, since_s)
    book = ledger_of(journal, account, now_ms)
    seen = {symbol}
    others: list[str] = []
    for each in (*positions, *orders, *book.reserved):
        if each.symbol not in seen:
            seen.add(each.symbol)
            others.append(each.symbol)
    markets = await _together(*(_market_of(exchange, other, timeframe) for other in others))
    leverage, margin_mode, position_mode = modes
    return Situation(
        exchange=name,
        mode=mode,
        simulated=exchange.venue.is_simulated,
        listing=listing,
        tiers=tiers,
        quote=quote,
        price_range=price_range,
        equity_usdt=balance.equity,
        available_usdt=balance.available,
        leverage=leverage,
        margin_mode=margin_mode,
        position_mode=position_mode,
        positions=positions,
        orders=orders,
        protections=protections,
        markets=(Market(candles, listing.instrument), *markets),
        clock_offset_ms=offset.offset_ms,
        now_ms=now_ms,
        **_fields(book),
    )


async def look_dry(
    data: MarketData,
    journal: Journal,
    symbol: str,
    *,
    account: str,
    name: str,
    equity_usdt: Decimal,
    timeframe: Timeframe = Timeframe.M15,
) -> Situation:
    """The same for a dry run: real prices, and a flat account of this equity.

    Errors: as the ports.
    """
    offset, since_s = await data.clock_offset(), _seconds()
    (listing, tiers), quote, candles = await _together(
        _terms(data, symbol), data.quote(symbol), _candles(data, symbol, timeframe)
    )
    now_ms = _now_ms(offset, since_s)
    return Situation(
        exchange=name,
        mode=Mode.DRY_RUN,
        simulated=data.venue.is_simulated,
        listing=listing,
        tiers=tiers,
        quote=quote,
        price_range=None,
        equity_usdt=equity_usdt,
        available_usdt=equity_usdt,
        leverage=None,
        margin_mode=MarginMode.ISOLATED,
        position_mode=PositionMode.ONE_WAY,
        positions=(),
        orders=(),
        protections=(),
        markets=(Market(candles, listing.instrument),),
        clock_offset_ms=offset.offset_ms,
        now_ms=now_ms,
        **_fields(ledger_of(journal, account, now_ms)),
    )


def ledger_of(journal: Journal, account: str, now_ms: int) -> Ledger:
    """What the journal says of an account: reservations, today's entries, flags, equities.

    Errors: DataError when the journal cannot be read: then nothing may open.
    """
    day_ms = now_ms // DAY_MS * DAY_MS
    week_ms = (now_ms // DAY_MS + MONDAY_OFFSET_DAYS) // 7 * WEEK_MS - MONDAY_OFFSET_DAYS * DAY_MS
    entered = [
        intent
        for intent in journal.intents(account, since_ms=min(day_ms, now_ms - HOUR_MS))
        if intent.purpose is Purpose.ENTRY and intent.state not in _NEVER_THERE
    ]
    today = [intent for intent in entered if intent.created_ms >= day_ms]
    day_start, week_start, peak = _marks(journal, account, day_ms, week_ms)
    return Ledger(
        reserved=tuple(
            intent for intent in journal.open_intents(account) if intent.purpose is Purpose.ENTRY
        ),
        entries_today=len(today),
        entries_hour=sum(intent.created_ms > now_ms - HOUR_MS for intent in entered),
        risk_today_usdt=sum((intent.risk_usdt for intent in today), ZERO),
        halt=journal.halted(),
        pauses=journal.pauses(),
        day_start_usdt=day_start,
        week_start_usdt=week_start,
        peak_usdt=peak,
    )


def _marks(
    journal: Journal, account: str, day_ms: int, week_ms: int
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Equities the breakers measure from: as a session remembers them, else as points tell."""
    week = journal.equity(account, since_ms=week_ms)
    day = [point for point in week if point.ts_ms >= day_ms]
    peak = max((point.equity_usdt for point in week), default=None)
    day_start = day[0].equity_usdt if day else None
    week_start = week[0].equity_usdt if week else None
    memory = journal.recall(account, "breakers")
    if memory is None:
        return day_start, week_start, peak
    if memory["day"] * DAY_MS >= day_ms:
        day_start = Decimal(repr(float(memory["day_start"])))
    if memory["day"] * DAY_MS >= week_ms:
        week_start = Decimal(repr(float(memory["week_start"])))
    return day_start, week_start, Decimal(repr(float(memory["peak"])))


class _Market:
    """Everything public about the order's own symbol."""

    def __init__(self, exchange: ReduceOnly, symbol: str, side: Side, timeframe: Timeframe) -> None:
        self._exchange, self._symbol, self._side = exchange, symbol, side
        self._timeframe = timeframe

    async def read(
        self,
    ) -> tuple[tuple[Listing, tuple[PositionTier, ...]], Quote, PriceRange | None, Candles]:
        """Terms and tiers, quote, price band, candles."""
        exchange, symbol = self._exchange, self._symbol
        terms, band, candles = await _together(
            _terms(exchange, symbol), self._band(), _candles(exchange, symbol, self._timeframe)
        )
        # The quote comes last, since it is the one that ages.
        return terms, await exchange.quote(symbol), band, candles

    async def _band(self) -> PriceRange | None:
        if not _can(self._exchange.venue, Capability.PRICE_RANGE):
            return None
        return await self._exchange.price_range(self._symbol, self._side)


async def _held(exchange: ReduceOnly) -> tuple[Any, ...]:
    """Account, orders, stops, positions: an order that fills meanwhile is then seen twice, not
    never."""
    orders = await exchange.open_orders()
    protections = await exchange.protections()
    positions = await exchange.positions()
    return await exchange.account(), orders, protections, positions


async def _modes(exchange: ReduceOnly, symbol: str) -> tuple[int | None, MarginMode, PositionMode]:
    settings, margin_mode, position_mode = await _together(
        exchange.leverage(symbol), exchange.margin_mode(), exchange.position_mode()
    )
    leverage = max((row.leverage for row in settings), default=None)
    return leverage, margin_mode, position_mode


async def _terms(data: MarketData, symbol: str) -> tuple[Listing, tuple[PositionTier, ...]]:
    listing = await data.instrument(symbol)
    if not _can(data.venue, Capability.POSITION_TIERS):
        return listing, ()
    return listing, await data.position_tiers(symbol)


async def _market_of(data: MarketData, symbol: str, timeframe: Timeframe) -> Market:
    listing, candles = await _together(data.instrument(symbol), _candles(data, symbol, timeframe))
    return Market(candles, listing.instrument)


async def _candles(data: MarketData, symbol: str, timeframe: Timeframe) -> Candles:
    candles = candles_of(symbol, timeframe, await data.candles(symbol, timeframe, limit=BARS))
    if len(candles) == 0:
        raise DataError(f"{symbol} has no closed {timeframe} candle")
    return candles


def candles_of(symbol: str, timeframe: Timeframe, bars: Iterable[Bar]) -> Candles:
    """Closed bars of an exchange as columns."""
    closed = [bar for bar in bars if bar.is_closed]
    ts = np.array([bar.ts_ms for bar in closed], dtype=np.int64)
    open_, high, low, close, volume = (
        np.array([getattr(bar, name) for bar in closed], dtype=np.float64) for name in COLUMNS
    )
    return Candles(symbol, timeframe, ts, open_, high, low, close, volume)


async def _together(*work: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """Await all at once; of several errors that of the earliest argument is raised."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return tuple(results)


def _can(venue: Venue, capability: Capability) -> bool:
    return capability in venue.capabilities


def _fields(book: Ledger) -> dict[str, Any]:
    return {name: getattr(book, name) for name in Ledger.__dataclass_fields__}


def _now_ms(offset: ClockOffset, measured_s: float) -> int:
    """The exchange's time now, by the monotonic clock since its offset was measured."""
    return offset.measured_ms + offset.offset_ms + round((_seconds() - measured_s) * 1000)


def _seconds() -> float:
    return asyncio.get_running_loop().time()
