"""The world of one storm: market, exchange, other people, and the log that checkers read.

Everything here runs outside the program under test and goes on when it is dead. What the exchange
did is recorded as it happens; nobody but the venue knows what is true.
"""

import contextvars
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim import records as sim
from blofin_cli.adapters.exchanges.sim.venue import Venue
from blofin_cli.core.market import Timeframe
from tests.storm.loop import Incarnation, VirtualLoop
from tests.storm.market import CONTRACTS, Walk
from tests.storm.nemesis import Nemesis

START_MS = 1_767_252_900_000  # 2026-01-01 07:35 UTC: funding is due within the first hour
PRINT_S = 2.0
OUTSIDE = contextvars.Context()
D = Decimal
ZERO = D(0)
BALANCE = D(10_000)


@dataclass
class Sent:
    """One request on its way. `opens`: it may raise exposure. `outcome` as the venue judged it."""

    at_ms: int
    step: int
    life: int
    name: str
    symbol: str
    opens: bool
    is_write: bool
    request: Any = None
    client_id: str = ""
    arrived_ms: int | None = None
    outcome: str = ""
    code: str = ""
    order_id: str = ""


@dataclass
class Holding:
    """How much of a symbol's position our own orders made, and what others did. Contracts."""

    mine: Decimal = ZERO
    others: Decimal = ZERO
    opened_ms: int = 0
    changed_ms: int = 0


@dataclass
class Told:
    """What checkers are told; each is a list of functions."""

    sent: list[Callable[[Sent], None]] = field(default_factory=list)
    arrived: list[Callable[[Sent], None]] = field(default_factory=list)
    answered: list[Callable[[Sent | None, bool], None]] = field(default_factory=list)
    ticked: list[Callable[[], None]] = field(default_factory=list)
    settled: list[Callable[[], None]] = field(default_factory=list)
    filled: list[Callable[[sim.Fill, sim.Order, Decimal, Decimal], None]] = field(
        default_factory=list
    )


class World:
    """Truth. `now_ms` is exchange time; the program's clock may be wrong by `skew_ms`."""

    def __init__(
        self,
        loop: VirtualLoop,
        nemesis: Nemesis,
        *,
        symbols: int = 2,
        timeframe: Timeframe = Timeframe.M1,
        balance: Decimal = BALANCE,
        quotes_every_s: float = PRINT_S,
    ) -> None:
        self.loop, self.nemesis = loop, nemesis
        self.timeframe = timeframe
        self.print_s = quotes_every_s
        contracts = CONTRACTS[:symbols]
        rules = sim.VenueRules(
            balance=balance, margin_mode="isolated", leverage=10, orphans_kept=True
        )
        self.venue = Venue([each.terms for each in contracts], rules, now_ms=START_MS)
        self.walks = {
            each.terms.inst_id: Walk(
                each, nemesis.chances.of(f"market {each.terms.inst_id}"), START_MS
            )
            for each in contracts
        }
        self.symbols = tuple(self.walks)
        self.skew_ms = 0
        self.hidden: dict[str, float] = {}
        self.externals: set[str] = set()
        self.holdings = {symbol: Holding() for symbol in self.symbols}
        self.log: deque[Sent] = deque(maxlen=20_000)
        self.counts: Counter[str] = Counter()
        self.told = Told()
        self.streams: list[Any] = []
        self.journals: dict[int, Any] = {}
        self.face_writes = 0
        self.is_halted = False
        self.leverage_touched: set[str] = set()
        self.life: Incarnation | None = None
        self.trace = 0
        self.violations: list[str] = []
        self.story: deque[str] = deque(maxlen=400)
        self.first_story: list[str] = []
        self._fills_seen = 0
        self.foreign_bills: set[str] = set()
        self._bills_seen = 0
        for walk in self.walks.values():
            self.venue.on_tick(walk.print(self.now_ms, self.print_s))
        self.venue.drain()

    @property
    def now_ms(self) -> int:
        """Exchange time."""
        return START_MS + round(self.loop.now_s * 1000)

    @property
    def bot_ms(self) -> int:
        """What the program's clock says."""
        return self.now_ms + self.skew_ms

    def note(self, text: str) -> None:
        """Into the trace and the story."""
        line = f"{self.loop.now_s:.3f} {text}"
        self.trace = zlib.crc32(line.encode(), self.trace)
        self.story.append(line)

    def violate(self, rule: str, text: str) -> None:
        """An invariant is broken."""
        line = f"{rule} at {self.loop.now_s:.3f} s: {text}"
        self.violations.append(line)
        self.note(f"VIOLATION {line}")
        if len(self.violations) == 1:
            self.first_story = list(self.story)

    def terms(self, symbol: str) -> sim.Terms:
        """Terms of a listed symbol."""
        return self.venue.terms[symbol]

    def position(self, symbol: str) -> sim.Position | None:
        """The open position, if any."""
        account = self.venue.account
        return next(iter(account.of_instrument(symbol)), None)

    def signed(self, symbol: str) -> Decimal:
        """Signed contracts held."""
        return sum(
            (each.contracts * each.direction for each in self.venue.account.of_instrument(symbol)),
            ZERO,
        )

    def is_mine(self, order_id: str) -> bool:
        """Nobody else placed it."""
        return order_id not in self.externals

    def tick(self) -> None:
        """Two seconds of market for every symbol, then whatever that started."""
        now = self.now_ms
        self.venue.advance(now)
        self._see_bills()
        frozen = self.nemesis.is_on("frozen_time", self.loop.now_s)
        for symbol, walk in self.walks.items():
            self.venue.on_tick(walk.print(now, self.print_s))
            for stream in self.streams:
                stream.on_print(symbol, walk, frozen=frozen)
        self.settle()
        for hear in self.told.ticked:
            hear()

    def _see_bills(self) -> None:
        """Settlements of positions that are not ours alone are nobody's to book."""
        bills = self.venue.account.bills
        while self._bills_seen < len(bills):
            bill = bills[self._bills_seen]
            self._bills_seen += 1
            holding = self.holdings[bill.inst_id]
            if holding.others or not holding.mine:
                self.foreign_bills.add(bill.bill_id)

    def print_at(self, symbol: str, price: Decimal) -> None:
        """A print by force."""
        walk = self.walks[symbol]
        self.venue.on_tick(walk.tick(self.now_ms, price))
        for stream in self.streams:
            stream.on_print(symbol, walk, frozen=False)
        self.settle()

    def settle(self) -> None:
        """Hand what the venue tells to checkers and streams."""
        account = self.venue.account
        fresh = []
        for each in reversed(account.fills):
            if int(each.trade_id) <= self._fills_seen:
                break
            fresh.append(each)
        for each in reversed(fresh):
            self._fills_seen = int(each.trade_id)
            self._attribute(each)
        events = self.venue.drain()
        for event in events:
            if event.record is not None and event.channel != "positions":
                self.note(f"venue {_brief(event.record)}")
        for stream in self.streams:
            stream.on_events(events)
        for hear in self.told.settled:
            hear()

    def _attribute(self, fill: sim.Fill) -> None:
        holding = self.holdings[fill.inst_id]
        order = self.venue.orders.known[fill.order_id]
        change = fill.size if fill.side == "buy" else -fill.size
        before = holding.mine + holding.others
        if order.category == "full_liquidation":
            holding.mine = holding.others = ZERO
            self.counts["liquidation"] += 1
        elif self.is_mine(order.order_id) and self.is_mine(order.algo_id):
            holding.mine += change
        else:
            holding.others += change
        after = holding.mine + holding.others
        if not before:
            holding.opened_ms = self.now_ms
        if holding.mine * after <= 0 or abs(holding.mine) > abs(after):
            # What somebody else reduced or flipped was ours; what is left over is as it says.
            holding.mine = after if holding.mine * after > 0 else ZERO
            holding.others = after - holding.mine
        holding.changed_ms = self.now_ms
        self.counts["fill"] += 1
        self.counts["filled while halted"] += self.is_halted
        self.counts["filled while dead"] += self.life is None or self.life.is_dead
        self.counts["filled while deaf"] += bool(self.nemesis.window("deaf", self.loop.now_s))
        for hear in self.told.filled:
            hear(fill, order, before, after)

    def is_visible(self, order_id: str) -> bool:
        """Whether queries find an order yet."""
        return self.nemesis.calm or self.hidden.get(order_id, 0.0) <= self.loop.now_s


def _brief(record: Any) -> str:
    name = type(record).__name__.lower()
    own = getattr(record, "order_id", None) or getattr(record, "tpsl_id", None)
    own = own or getattr(record, "algo_id", "")
    asked = record.request
    filled = getattr(record, "filled", "")
    return (
        f"{name} {own} {asked.inst_id} {asked.side} {record.size} {record.state} {filled} "
        f"{asked.client_order_id}"
    )
