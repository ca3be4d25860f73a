"""What the parts of a live session share: the ports, the mirror, the book, and the time."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from blofin_cli.core.journal import Happening, Intent, IntentState, Level, Purpose, Session
from blofin_cli.core.quotes import Quote
from blofin_cli.core.status import NakedView
from blofin_cli.engine.live.book import Holding, to_record
from blofin_cli.engine.live.breakers import Breakers
from blofin_cli.engine.live.mirror import Mirror
from blofin_cli.engine.live.scribe import Scribe
from blofin_cli.ports import Clock, Exchange, Journal

NAKED_KEPT = 1_000
TICKS_KEPT = 3
BAND_FRACTION = Decimal("0.2")
QUIET_MS = 10_000


@dataclass(slots=True)
class Bareness:
    """How long a position has lacked a stop, the exchange being reachable.

    `since_ms` is monotonic time; `wanted_ms` is the part of `ms` that a stop was wanted for;
    `is_ours` is False for one opened elsewhere that its owner keeps without our stops; `looked`:
    the exchange told of stops since; `looks_failed`: how often it did not; `placed_unseen` and
    `refused` count stops.
    """

    since_ms: int
    ms: int = 0
    wanted_ms: int = 0
    is_ours: bool = True
    looked: bool = False
    looks_failed: int = 0
    placed_unseen: int = 0
    refused: int = 0


@dataclass(slots=True, kw_only=True)
class LiveState:
    """One account as one session sees it. Everything here belongs to one event loop.

    `clock` tells the market's time; `wall` what other processes count by: heartbeats, errands and
    proposals. They differ only at an exchange in a box with a time of its own.
    """

    exchange: Exchange
    journal: Journal
    clock: Clock
    wall: Clock
    session: Session
    breakers: Breakers
    notify: Callable[[Happening], None]
    scribe: Scribe = field(default_factory=Scribe)
    mirror: Mirror = field(default_factory=Mirror)
    holdings: dict[str, Holding] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    known_fills: dict[str, None] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    bare: dict[str, Bareness] = field(default_factory=dict)
    flat_since_ms: dict[str, int] = field(default_factory=dict)
    moved_ms: dict[str, int] = field(default_factory=dict)
    naked_s: deque[float] = field(default_factory=lambda: deque(maxlen=NAKED_KEPT))
    spent: set[str] = field(default_factory=set)
    odd_ticks: dict[str, list[Decimal]] = field(default_factory=dict)
    offset_ms: int = 0
    failures: int = 0
    reconciled_ms: int | None = None
    _told: dict[str, int] = field(default_factory=dict)
    _kept_memory: dict[str, object] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """What the journal calls the account."""
        return self.session.account

    def now_ms(self) -> int:
        """Exchange time as far as it is known."""
        return self.clock.now_ms() + self.offset_ms

    def mono_ms(self) -> int:
        """Time that only goes forward, whatever the clocks say: what waiting is measured by."""
        return int(asyncio.get_running_loop().time() * 1000)

    @property
    def is_reachable(self) -> bool:
        """Whether the last question to the exchange was answered."""
        return self.failures == 0

    def answered(self) -> None:
        """The exchange answered."""
        self.failures = 0

    def failed(self) -> None:
        """The exchange did not answer."""
        self.failures += 1

    # Quotes.

    def hear_quote(self, quote: Quote) -> None:
        """Take a quote; one far from the last good one waits until others agree with it.

        A single nonsense print must neither open nor close anything; a real crash repeats itself.
        """
        known = self.quotes.get(quote.symbol)
        if quote.last <= 0:
            return
        if known is not None and quote.ts_ms < known.ts_ms:
            return
        if known is None or _is_near(quote.last, known.last):
            self.odd_ticks.pop(quote.symbol, None)
            self.quotes[quote.symbol] = quote if known is None else _with_mark(quote, known)
            return
        seen = self.odd_ticks.setdefault(quote.symbol, [])
        seen.append(quote.last)
        if len(seen) >= TICKS_KEPT and all(_is_near(price, quote.last) for price in seen):
            self.odd_ticks.pop(quote.symbol, None)
            self.quotes[quote.symbol] = quote
        elif len(seen) >= TICKS_KEPT:
            del seen[0]

    def last(self, symbol: str) -> Decimal | None:
        """Last good price, None when there is none or it is old."""
        quote = self.quotes.get(symbol)
        if quote is None or self.now_ms() - quote.ts_ms > QUIET_MS:
            return None
        return quote.last

    # Writing down.

    def keep_intent(self, intent: Intent) -> None:
        """Enter what is known of an intent; an ended one leaves the list of open ones."""
        if intent.state.is_open:
            self.intents[intent.client_id] = intent
        else:
            self.intents.pop(intent.client_id, None)
        self.scribe.write(lambda: self.journal.settle_intent(intent))

    def reserve_duty(self, intent: Intent) -> None:
        """Make a protecting or closing intent durable if the journal can; send it either way."""
        self.intents[intent.client_id] = intent
        self.scribe.write(lambda: self.journal.reserve(intent))

    def keep_book(self) -> None:
        """Enter the holdings."""
        record = to_record(self.holdings.values())
        self.scribe.write(lambda: self.journal.remember(self.account, "book", record))

    def keep_memory(self) -> None:
        """Enter what the breakers remember."""
        record = self.breakers.memory.record()
        if record == self._kept_memory:
            return
        self._kept_memory = record
        self.scribe.write(lambda: self.journal.remember(self.account, "breakers", record))

    def tell(self, level: Level, kind: str, text: str, **words: object) -> None:
        """Enter an event, and alert a person when it matters."""
        self.happened(
            Happening(ts_ms=self.now_ms(), level=level, kind=kind, text=text, **words)  # type: ignore[arg-type]
        )

    def tell_once(self, level: Level, kind: str, text: str, **words: object) -> None:
        """The same, at most once a minute for the same text."""
        now = self.now_ms()
        if now - self._told.get(text, -60_000) >= 60_000:
            self._told[text] = now
            if len(self._told) > 500:
                del self._told[next(iter(self._told))]
            self.tell(level, kind, text, **words)

    def happened(self, happening: Happening) -> None:
        """Enter an event that was made elsewhere."""
        session_id = self.session.session_id
        self.scribe.write(lambda: self.journal.tell(self.account, session_id, happening))
        self.notify(happening)

    # What is held.

    def touch(self, symbol: str) -> None:
        """Something about a symbol changed."""
        self.moved_ms[symbol] = self.mono_ms()

    def set_holding(self, holding: Holding) -> None:
        """Replace a holding."""
        if self.holdings.get(holding.symbol) != holding:
            self.holdings[holding.symbol] = holding
            self.keep_book()

    def leave(self, symbol: str, why: str) -> None:
        """Mark a holding to be closed; the first reason stays."""
        holding = self.holdings.get(symbol)
        if holding is not None and not holding.leaving:
            self.set_holding(replace(holding, leaving=why))

    def open_entries(self, symbol: str | None = None) -> tuple[Intent, ...]:
        """Entry intents whose end is not proven."""
        return tuple(
            intent
            for intent in self.intents.values()
            if intent.purpose is Purpose.ENTRY and symbol in (None, intent.symbol)
        )

    def unresolved(self) -> tuple[Intent, ...]:
        """Intents of which nobody knows whether the exchange has them."""
        unknown = (IntentState.RESERVED, IntentState.UNKNOWN)
        return tuple(intent for intent in self.intents.values() if intent.state in unknown)

    def naked_view(self) -> NakedView:
        """Naked seconds so far."""
        done = sorted(self.naked_s)
        now_s = max((item.ms for item in self.bare.values()), default=0) / 1000
        if not done:
            return NakedView(now_s=now_s, max_s=now_s)
        return NakedView(
            now_s=now_s,
            p50_s=done[len(done) // 2],
            p99_s=done[min(len(done) - 1, int(len(done) * 0.99))],
            max_s=max(done[-1], now_s),
            count=len(done),
        )


def plain(value: Decimal) -> str:
    """A number as a person writes it: no exponent, no zeros behind the last digit."""
    return f"{value.normalize():f}" if value else "0"


def _is_near(price: Decimal, other: Decimal) -> bool:
    return abs(price - other) <= BAND_FRACTION * other


def _with_mark(quote: Quote, known: Quote) -> Quote:
    """The quote with the mark price that an earlier message told."""
    if quote.mark is not None or known.mark is None:
        return quote
    return replace(quote, mark=known.mark)
