"""Closed candles in order and without holes, each handed to the strategy once.

The stream brings them; what it skipped is read over REST before the next step. A bar that comes
late still teaches the strategy, but nothing is opened on it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from blofin_cli.core.feed import CandleEvent
from blofin_cli.core.journal import Level
from blofin_cli.core.quotes import Bar
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.strategist import Strategist
from blofin_cli.errors import BlofinError

FRESH_MS = 10_000
PAGE_BARS = 500
LATE_MS = 5_000
RETRY_MS = 5_000
WAITING_MAX = 500

OnBars = Callable[[str, tuple[Bar, ...]], None]


class OnBar(Protocol):
    """What is called for each bar, one at a time for a symbol."""

    def __call__(self, symbol: str, bar: Bar, *, is_fresh: bool) -> Awaitable[None]:
        """Take one closed bar."""
        ...


class Feeder:
    """Candles of the session's symbols. `on_bars` is told of what was taken, to be kept."""

    def __init__(
        self, state: LiveState, strategist: Strategist, on_bar: OnBar, on_bars: OnBars | None
    ) -> None:
        self._state, self._strategist = state, strategist
        self._on_bar, self._on_bars = on_bar, on_bars
        self._waiting: dict[str, dict[int, Bar]] = {s: {} for s in state.session.symbols}
        self._asked_ms: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.taken = 0
        self.last_bar_ms: int | None = None

    def take(self, event: CandleEvent, crew: Crew) -> None:
        """Take a candle from the stream; only closed ones of the entry timeframe count."""
        if event.symbol not in self._waiting or event.timeframe != self._strategist.timeframe:
            return
        if not event.bar.is_closed:
            return
        due = self._strategist.next_open_ms(event.symbol)
        if event.bar.ts_ms < due:
            self.counts["late"] += 1
            return
        waiting = self._waiting[event.symbol]
        if event.bar.ts_ms in waiting:
            self.counts["double"] += 1
            return
        if len(waiting) < WAITING_MAX:
            waiting[event.bar.ts_ms] = event.bar
        self._send(event.symbol, crew)

    def tick(self, crew: Crew) -> None:
        """Fetch what should have come by now."""
        state, step = self._state, self._strategist.timeframe.ms
        for symbol in self._waiting:
            due_ms = self._strategist.next_open_ms(symbol) + step
            is_late = state.now_ms() >= due_ms + LATE_MS
            asked = self._asked_ms.get(symbol, -RETRY_MS)
            if is_late and state.mono_ms() - asked >= RETRY_MS:
                self._send(symbol, crew)

    def suspect(self) -> None:
        """Something may have been missed: ask at the next tick."""
        self._asked_ms.clear()

    def _send(self, symbol: str, crew: Crew) -> None:
        crew.send(f"bars:{symbol}", partial(self._feed, symbol))

    async def _feed(self, symbol: str) -> None:
        """Hand over everything that is due, filling holes first."""
        while True:
            due = self._strategist.next_open_ms(symbol)
            waiting = self._waiting[symbol]
            for stale in [ts for ts in waiting if ts < due]:
                del waiting[stale]
            bar = waiting.pop(due, None)
            if bar is not None:
                await self._hand_over(symbol, bar)
                continue
            if not waiting and not self._is_behind(symbol):
                return
            if not await self._fill(symbol):
                return

    def _is_behind(self, symbol: str) -> bool:
        step = self._strategist.timeframe.ms
        due_ms = self._strategist.next_open_ms(symbol) + step
        return self._state.now_ms() >= due_ms + LATE_MS

    async def _fill(self, symbol: str) -> bool:
        """Read missing bars over REST; whether there is one to go on with."""
        state, step = self._state, self._strategist.timeframe.ms
        self._asked_ms[symbol] = state.mono_ms()
        due = self._strategist.next_open_ms(symbol)
        try:
            found = await state.exchange.candles(
                symbol, self._strategist.timeframe, since_ms=due, limit=PAGE_BARS
            )
        except BlofinError as problem:
            state.tell_once(
                Level.WARNING, "gap", f"{symbol}: missing candles not read: {problem.message}"
            )
            return False
        state.answered()
        now, waiting = state.now_ms(), self._waiting[symbol]
        closed = [
            bar for bar in found
            if bar.is_closed and bar.ts_ms >= due and bar.ts_ms + step <= now + FRESH_MS
        ]  # fmt: skip
        for bar in closed[:WAITING_MAX]:
            waiting.setdefault(bar.ts_ms, bar)
        if due in waiting:
            self.counts["filled"] += len(closed)
            return True
        later = [bar.ts_ms for bar in closed if bar.ts_ms > due]
        if later and now - due > 10 * step:
            # The exchange itself has a hole there: go on behind it, gaps are never invented.
            await self._hand_over(symbol, waiting.pop(min(later)))
            return True
        return False

    async def _hand_over(self, symbol: str, bar: Bar) -> None:
        state, step = self._state, self._strategist.timeframe.ms
        self._strategist.take(symbol, (bar,))
        self.taken += 1
        self.last_bar_ms = bar.ts_ms
        if self._on_bars is not None:
            self._on_bars(symbol, (bar,))
        age_ms = state.now_ms() - (bar.ts_ms + step)
        await self._on_bar(symbol, bar, is_fresh=age_ms <= FRESH_MS)
