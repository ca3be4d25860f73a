"""An order book around the last print: invented levels, the same for the same price and depth.

Who takes liquidity thins the book until the next print of that instrument.
"""

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from blofin_cli.adapters.exchanges.sim.checks import Quote
from blofin_cli.adapters.exchanges.sim.records import ZERO, Terms, Tick, VenueError

LEVELS_MAX = 200
_STEP = Decimal("0.00002")  # distance of levels as a fraction of the price
_DEPTH_VALUE = Decimal(50_000)  # USDT a level where nobody says how deep the market is

Level = tuple[Decimal, Decimal]


@dataclass(slots=True)
class Book:
    """Both sides of one instrument at one print; `ts_ms` is the print's."""

    bid: Decimal
    ask: Decimal
    step: Decimal
    depth_lots: int
    lot_size: Decimal
    tick_size: Decimal
    ts_ms: int
    taken: dict[Decimal, Decimal] = field(default_factory=dict)

    def levels(self, side: str, count: int) -> list[Level]:
        """The best `count` levels of `bids` or `asks` that still hold something, best first."""
        found: list[Level] = []
        for index in range(LEVELS_MAX):
            price, size = self._level(side, index)
            if price <= 0 or len(found) == count:
                break
            if size > 0:
                found.append((price, size))
        return found

    def take(self, side: str, wanted: Decimal, limit: Decimal | None) -> list[Level]:
        """What an order of `side` gets now, best price first, down to its limit."""
        resting = "asks" if side == "buy" else "bids"
        got: list[Level] = []
        for index in range(LEVELS_MAX):
            price, size = self._level(resting, index)
            if wanted <= 0 or price <= 0 or (limit is not None and _beyond(side, price, limit)):
                break
            part = min(wanted, size)
            if part > 0:
                got.append((price, part))
                wanted -= part
        return got

    def remember(self, taken: list[Level]) -> None:
        """Thin the book by what was taken."""
        for price, size in taken:
            self.taken[price] = self.taken.get(price, ZERO) + size

    def _level(self, side: str, index: int) -> Level:
        price = self.ask + index * self.step if side == "asks" else self.bid - index * self.step
        ticks = int(price / self.tick_size)
        # A multiplicative hash: sizes look uneven, and are the same wherever the price is.
        noise = (ticks * 2_654_435_761 >> 7) & 0xFF
        lots = max(1, self.depth_lots * (64 + noise) * (4 + index) >> 10)
        return price, lots * self.lot_size - self.taken.get(price, ZERO)


def book_of(terms: Terms, tick: Tick, half_spread: Decimal) -> Book:
    """The book at a print: last lies at or inside the spread."""
    grid = terms.tick_size
    half = max(grid, _on_grid(tick.price * half_spread, grid, ROUND_CEILING))
    bid = tick.bid if tick.bid is not None else _below(tick, grid, half)
    ask = tick.ask if tick.ask is not None else max(bid + grid, _above(tick, grid, half))
    depth = tick.depth
    if depth is None:
        depth = _DEPTH_VALUE / tick.price / terms.contract_value
    return Book(
        bid=max(bid, grid),
        ask=ask,
        step=max(grid, _on_grid(tick.price * _STEP, grid, ROUND_FLOOR)),
        depth_lots=max(1, int(depth / terms.lot_size)),
        lot_size=terms.lot_size,
        tick_size=grid,
        ts_ms=tick.ts_ms,
    )


def _below(tick: Tick, grid: Decimal, half: Decimal) -> Decimal:
    """A buyer printed at the ask, so the bid lies a spread below; a seller printed at the bid."""
    return _on_grid(tick.price, grid, ROUND_FLOOR) - (half if tick.side == "buy" else ZERO)


def _above(tick: Tick, grid: Decimal, half: Decimal) -> Decimal:
    return _on_grid(tick.price, grid, ROUND_CEILING) + (ZERO if tick.side == "buy" else half)


def _on_grid(price: Decimal, grid: Decimal, rounding: str) -> Decimal:
    return (price / grid).to_integral_value(rounding) * grid


def _beyond(side: str, price: Decimal, limit: Decimal) -> bool:
    return price > limit if side == "buy" else price < limit


class MarketState:
    """Last, mark and book of one instrument.

    Where a print brings no mark, the mark is the middle one of the last three prices: one
    nonsense print liquidates nobody. The index equals the mark.
    """

    def __init__(self, terms: Terms, half_spread: Decimal) -> None:
        self.terms = terms
        self.tick: Tick | None = None
        self.mark = ZERO
        self._half_spread = half_spread
        self._recent: list[Decimal] = []
        self._book: Book | None = None

    def print(self, tick: Tick) -> None:
        """Take the next print."""
        self.tick = tick
        self._book = None
        if tick.mark is not None:
            self.mark = tick.mark
            self._recent = [tick.mark] * 3
            return
        self._recent = [*self._recent[-2:], tick.price]
        self.mark = sorted(self._recent)[len(self._recent) // 2]

    @property
    def book(self) -> Book:
        """The book since the last print."""
        assert self.tick is not None
        if self._book is None:
            self._book = book_of(self.terms, self.tick, self._half_spread)
        return self._book

    def quote(self) -> Quote:
        """What an order is judged against.

        Errors: VenueError before the first print.
        """
        if self.tick is None:
            raise VenueError("103013", "Internal error; unable to process your request.")
        book = self.book
        return Quote(self.tick.price, self.mark, book.bid, book.ask)
