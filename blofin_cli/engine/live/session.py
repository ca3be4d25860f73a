"""The real-time loop at an exchange: listen, book, protect, decide, answer, and say how it is.

Start-up is recovery: nothing opens before everything was read and compared. One tick every quarter
of a second looks at the flags and the clocks; whatever may wait for the network is a task of its
own, so a hanging request never delays a halt or a stop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from blofin_cli.core.feed import (
    AccountEvent,
    CandleEvent,
    Channel,
    Connected,
    Disconnected,
    FeedEvent,
    MarkEvent,
    Oddity,
    OrderEvent,
    PositionsEvent,
    ProtectionEvent,
    QuoteEvent,
    ReconcileNeeded,
    Stalled,
    Topic,
    TopicRefused,
)
from blofin_cli.core.journal import Halt, Happening, Intent, Level, Session
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.orders import OrderState, Position
from blofin_cli.core.quotes import Bar
from blofin_cli.core.status import Result
from blofin_cli.core.strategy import Strategy
from blofin_cli.engine.live import reporting
from blofin_cli.engine.live.breakers import Breakers, ExecutionRules, Memory
from blofin_cli.engine.live.clerk import Clerk
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.errands import Errands
from blofin_cli.engine.live.feeder import Feeder
from blofin_cli.engine.live.flags import Flags
from blofin_cli.engine.live.keeper import Keeper
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.live.timepiece import SLEPT_MS, Timepiece
from blofin_cli.engine.live.trader import Trader
from blofin_cli.engine.points import point
from blofin_cli.engine.strategist import Strategist
from blofin_cli.errors import BlofinError, DataError
from blofin_cli.ports import Clock, Exchange, Journal, Stream

TICK_S = 0.25
BEAT_MS = 1_000
RECONCILE_MS = 30_000
RECONCILE_BLIND_MS = 6_000
RETRY_MS, RETRY_BLIND_MS = 2_500, 1_000
LOOK_MS, LOOK_SOON_MS, ENTERED_MS = 7_000, 1_500, 10_000
EQUITY_MS = 60_000
MEMORY_MS = 5_000
WOUND_MS = 60_000
FAILURES_MAX = 6
HOUR_MS = 3_600_000
STOP_S = 10.0


def unheard(happening: Happening) -> None:
    """Nobody is notified."""


class LiveSession:
    """One session of one account. `run` ends when `stop` was called or too much broke.

    The caller holds the account lock and has opened the session in the journal.
    """

    def __init__(
        self,
        exchange: Exchange,
        stream: Stream,
        journal: Journal,
        clock: Clock,
        *,
        wall: Clock | None = None,
        session: Session,
        strategy: Strategy,
        strategist: Strategist,
        mandate: Callable[[], Mandate],
        notify: Callable[[Happening], None] = unheard,
        on_bars: Callable[[str, tuple[Bar, ...]], None] | None = None,
        execution: ExecutionRules | None = None,
        approval_only: bool = False,
        approval_always: bool = False,
        is_paced: bool = False,
        protects_external: bool = False,
        override: str = "",
    ) -> None:
        memory = Memory.fresh(float(session.equity_start_usdt), session.started_ms)
        self.state = LiveState(
            exchange=exchange,
            journal=journal,
            clock=clock,
            wall=wall or clock,
            session=session,
            breakers=Breakers(strategy.risk, memory, execution),
            notify=notify,
        )
        self.override = override
        self._stream, self._strategist = stream, strategist
        self._crew = Crew(self._broke)
        self._clerk = Clerk(self.state, str(strategist.timeframe))
        self._keeper = Keeper(
            self.state,
            pause=asyncio.sleep,
            is_ready=lambda: self._is_ready,
            entries_unwanted=self._entries_unwanted,
            flatten=lambda: self._flags.halt is not None and self._flags.halt.flatten,
            protects_external=protects_external,
        )
        self.trader = Trader(
            self.state,
            self._clerk,
            strategist,
            strategy,
            mandate=mandate,
            blocked=self.blocked,
            approval_only=approval_only,
            approval_always=approval_always,
        )
        self._feeder = Feeder(self.state, strategist, self._on_bar, on_bars)
        self._errands = Errands(self.state, self.trader, self._keeper, self._crew, beat=self.beat)
        self._manage = strategy.manage
        self._flags = Flags()
        self._is_recalled = self._is_ready = False
        self._stopping = ""
        self._wound, self._wounded_ms = "", 0
        self._breaks: list[int] = []
        self._at: dict[str, int] = {}
        self._ticked_s = 0.0
        self._timepiece = Timepiece(self.state, is_paced=is_paced)
        self._results = reporting.Results()
        self._curve: deque[tuple[int, float]] = deque(maxlen=reporting.CURVE_POINTS)
        self.public_up = self.private_up = False
        self.reconnects = 0

    async def run(self) -> str:
        """Trade until stopped; why it ended. Stops and targets stay at the exchange."""
        point("start")
        self._ticked_s = asyncio.get_running_loop().time()
        self._timepiece.start()
        self._at["begun"] = self.state.mono_ms()
        try:
            while not self._stopping:
                self._tick()
                await asyncio.sleep(TICK_S)
            await self._wind_down()
        finally:
            await self._crew.dismiss()
            await self._stream.aclose()
        return self._stopping

    def stop(self, reason: str) -> None:
        """End in good order: resting entries go, stops stay."""
        self._stopping = self._stopping or reason

    @property
    def phase(self) -> str:
        """Where it stands, in one word."""
        if self._stopping:
            return "stopping"
        if not self._is_recalled:
            return "starting"
        if self._flags.is_halted:
            return "halted"
        if not self._is_ready:
            return "reconciling"
        return "paused" if self._flags.pauses_all else "trading"

    @property
    def halt_seen_ms(self) -> int | None:
        """Time of the halt flag that is being obeyed."""
        return None if self._flags.halt is None else self._flags.halt.ts_ms

    def blocked(self) -> str:
        """Why nothing may be opened now; empty when it may."""
        state = self.state
        if self._stopping:
            return "the session is ending"
        if not self._is_ready:
            return "the account has not been reconciled"
        if self._flags.is_halted:
            return self._flags.problem or "trading is halted"
        if self._wound:
            return f"a part of the session failed: {self._wound}"
        if state.scribe.is_behind:
            return f"the journal cannot be written: {state.scribe.problem}"
        if not self.private_up:
            return "the private stream is down"
        if not state.is_reachable:
            return "the exchange does not answer"
        return self._timepiece.doubt()

    # What the heartbeat shows.

    @property
    def bars(self) -> int:
        """Closed bars taken so far."""
        return self._feeder.taken

    @property
    def last_bar_ms(self) -> int | None:
        """Open time of the newest of them."""
        return self._feeder.last_bar_ms

    def results(self, now_ms: int) -> tuple[Result, Result]:
        """Today's and this week's trades together."""
        return self._results.now(self.state.journal, self.state.account, now_ms)

    def curve(self) -> tuple[tuple[int, float], ...]:
        """Newest equity points."""
        return tuple(self._curve)

    # The tick.

    def _tick(self) -> None:
        """Look at flags and clocks, and send whoever has work. Never waits."""
        now_s = asyncio.get_running_loop().time()
        elapsed_ms = int((now_s - self._ticked_s) * 1000)
        self._ticked_s = now_s
        stepped_ms = self._timepiece.look()
        if max(elapsed_ms, stepped_ms) > SLEPT_MS:  # while it sleeps, only the wall's clock goes on
            self._woke(max(elapsed_ms, stepped_ms))
        self._look_at_flags()
        self.state.scribe.flush()
        if not self._is_recalled:
            self._recall()
        if self._is_recalled:
            self._send_listeners()
            self._send_keepers(min(elapsed_ms, 1_000))
            self._clerk.purse.note_settlement()
            self._send_reconciler()
            self._look_around()
            self._errands.tick()
            self._give_up_entries()
            self._halt_by_breaker()
        if self._wound and self.state.mono_ms() - self._wounded_ms > WOUND_MS:
            self._wound = ""
        self._write_regularly()

    def _look_at_flags(self) -> None:
        """Halt and pauses, read anew at every tick."""
        state, before = self.state, self._flags.halt
        self._flags = self._flags.looked(state.journal, state.now_ms(), state.mono_ms())
        halt = self._flags.halt
        if halt is not None and halt != before:
            self._obey(halt)
        elif halt is None and before is not None:
            state.breakers.rearm(state.now_ms())
            state.keep_memory()
            state.tell(Level.INFO, "resume", "trading goes on", next_step="blofin status")

    def _obey(self, halt: Halt) -> None:
        state = self.state
        held = ", ".join(state.mirror.positions)
        if self._is_ready:
            protects = "stops stay at the exchange" if held else "nothing is held"
            held = held or "nothing"
        else:
            held, protects = "not read yet", "whatever stops the exchange holds"
        state.tell(
            Level.ALERT, "halt", f"halted by {halt.face}: {halt.cause}; held: {held}",
            protects=protects,
            next_step="blofin resume" if halt.flatten else "blofin halt --flatten closes all",
        )  # fmt: skip
        self.beat()

    def _recall(self) -> None:
        """Take over what the journal knows; without it nothing starts."""
        state = self.state
        try:
            self._clerk.recall()
            remembered = state.journal.recall(state.account, "breakers")
        except DataError as problem:
            state.scribe.problem = problem.message
            return
        if remembered is not None:
            state.breakers.memory = Memory.of_record(remembered)
        self._is_recalled = True

    def _send_listeners(self) -> None:
        if not self._crew.is_busy("listen"):
            self._crew.send("listen", self._listen)
        if not self._crew.is_busy("offset") and self._timepiece.is_due():
            self._crew.send("offset", self._measure_offset)
        self._feeder.tick(self._crew)

    def _send_keepers(self, elapsed_ms: int) -> None:
        state = self.state
        symbols = {
            *state.mirror.positions,
            *(row.symbol for row in state.mirror.protections.values()),
            *(order.symbol for order in state.mirror.orders.values()),
            *state.bare,
        }
        for symbol in sorted(symbols):
            self._keeper.watch(symbol, elapsed_ms)
            self._tend(symbol)

    def _tend(self, symbol: str) -> None:
        if self._keeper.needs_work(symbol):
            self._crew.send(f"tend:{symbol}", partial(self._keeper.tend, symbol))

    def _send_reconciler(self) -> None:
        state, now = self.state, self.state.mono_ms()
        every = RECONCILE_MS if self.private_up and self._is_ready else RECONCILE_BLIND_MS
        if not self._is_ready or state.unresolved():
            every = min(every, 2_000 if not self._is_ready else RECONCILE_BLIND_MS)
        due = min(self._at.get("reconcile", -every) + every, self._at.get("again", now + every))
        if now >= due:
            self._reconcile_soon()

    def _look_around(self) -> None:
        """Read what is held and its stops now and then, whatever the stream says.

        Right after an entry was sent the next fill may come any moment, and a position that the
        book has and the exchange does not show may be there again: then more often.
        """
        state, now = self.state, self.state.mono_ms()
        entries = state.open_entries()
        if not state.mirror.positions and not state.holdings and not entries:
            return
        is_new = any(state.now_ms() - entry.created_ms < ENTERED_MS for entry in entries)
        is_unsure = state.holdings.keys() != state.mirror.positions.keys()
        every = LOOK_SOON_MS if is_new or is_unsure else LOOK_MS
        if now - self._at.get("look", 0) >= every and self._crew.send("look", self._look_at_all):
            self._at["look"] = now

    async def _look_at_all(self) -> None:
        state = self.state
        before = {symbol: row.size for symbol, row in state.mirror.positions.items()}
        try:
            await self._clerk.look()
        except BlofinError as problem:
            self._unanswered("positions and stops", problem)
            return
        if {symbol: row.size for symbol, row in state.mirror.positions.items()} != before:
            self._read_fills()

    def _reconcile_soon(self) -> None:
        if self._crew.send("books", self._reconcile):
            self._at["reconcile"] = self.state.mono_ms()
            self._at.pop("again", None)

    def _give_up_entries(self) -> None:
        """Cancel resting entries that have outlived their time."""
        now = self.state.now_ms()
        for intent in self.state.open_entries():
            is_late = intent.until_ms is not None and now >= intent.until_ms
            if is_late and intent.order_id in self.state.mirror.orders:
                self._crew.send(f"give-up:{intent.client_id}", partial(self._give_up, intent))

    async def _give_up(self, intent: Intent) -> None:
        with suppress(BlofinError):
            await self.trader.give_up(intent)

    def _write_regularly(self) -> None:
        state, now = self.state, self.state.mono_ms()
        if now - self._at.get("beat", -BEAT_MS) >= BEAT_MS:
            self.beat()
        if self._is_ready and now - self._at.get("memory", -MEMORY_MS) >= MEMORY_MS:
            self._at["memory"] = now
            state.keep_memory()
        minute = state.now_ms() // EQUITY_MS
        if self._is_ready and self._at.get("equity") != minute:
            self._at["equity"] = minute
            equity = self._clerk.purse.equity_point()
            if equity is not None:
                self._curve.append((equity.ts_ms, float(equity.equity_usdt)))
                session_id = state.session.session_id
                state.scribe.write(
                    lambda: state.journal.add_equity(state.account, session_id, equity)
                )

    def beat(self) -> None:
        """Say how it is, in the journal. A heartbeat that cannot be written is not kept."""
        self._at["beat"] = self.state.mono_ms()
        with suppress(DataError):
            self.state.journal.beat(reporting.status_of(self))

    # What runs beside the tick.

    async def _listen(self) -> None:
        """Subscribe and take every event of the feed, for ever."""
        session = self.state.session
        timeframe = self._strategist.timeframe
        topics = [
            *(Topic(Channel.CANDLES, symbol, timeframe) for symbol in session.symbols),
            *(Topic(Channel.QUOTES, symbol) for symbol in session.symbols),
            Topic(Channel.ORDERS),
            Topic(Channel.PROTECTIONS),
            Topic(Channel.POSITIONS),
            Topic(Channel.ACCOUNT),
        ]
        while True:
            try:
                await self._stream.subscribe(*topics)
                break
            except BlofinError as problem:
                self.state.tell_once(Level.WARNING, "reconnect", f"no feed: {problem.message}")
                await asyncio.sleep(2.0)
        async for event in self._stream.events():
            self._take(event)

    def _take(self, event: FeedEvent) -> None:
        """One event: into the mirror at once, and to whoever must act on it."""
        state, now = self.state, self.state.mono_ms()
        match event:
            case QuoteEvent(quote):
                state.hear_quote(quote)
                holding = state.holdings.get(quote.symbol)
                if holding is not None and quote.symbol not in state.odd_ticks:
                    state.holdings[quote.symbol] = holding.seen_at(quote.last)
            case CandleEvent():
                self._feeder.take(event, self._crew)
            case OrderEvent(order):
                state.touch(order.symbol)
                has_filled = state.mirror.hear_order(order, now)
                self._clerk.hear_order(order)
                if has_filled or not order.state.is_open:
                    self._read_fills()
            case ProtectionEvent(protection):
                if protection.state is not OrderState.CANCELED:  # tidying up is no movement
                    state.touch(protection.symbol)
                state.mirror.hear_protection(protection, now)
                if not protection.state.is_open:
                    self._read_fills()
            case PositionsEvent(positions):
                self._take_positions(positions, now)
            case AccountEvent(account):
                state.mirror.hear_account(account)
                self._clerk.purse.mark(is_quiet=False)
            case _:
                self._take_signal(event)
        symbol = _symbol_of(event)
        if symbol is not None:
            self._keeper.watch(symbol, 0)
            self._tend(symbol)

    def _take_positions(self, positions: tuple[Position, ...], now: int) -> None:
        state = self.state
        for position in positions:
            before = state.mirror.size(position.symbol)
            state.mirror.hear_position(position, now)
            if state.mirror.size(position.symbol) != before:
                state.touch(position.symbol)
                if position.size:
                    self._clerk.expect(position)
                self._read_fills()
            self._keeper.watch(position.symbol, 0)
            self._tend(position.symbol)

    def _take_signal(self, event: FeedEvent) -> None:
        """What the feed says of itself."""
        state = self.state
        match event:
            case Connected(is_private=is_private):
                self._set_up(is_private=is_private, is_up=True)
            case Disconnected(is_private=is_private, reason=reason):
                self._set_up(is_private=is_private, is_up=False)
                self.reconnects += 1
                name = "private" if is_private else "public"
                state.tell_once(Level.WARNING, "reconnect", f"the {name} stream ended: {reason}")
            case ReconcileNeeded(is_private=True):
                self._at["reconcile"] = -RECONCILE_MS
                self._reconcile_soon()
            case ReconcileNeeded(is_private=False):
                self._feeder.suspect()
            case Stalled(topic=topic):
                state.tell_once(Level.WARNING, "gap", f"{topic.channel} {topic.symbol}: silent")
            case TopicRefused(topic=topic, reason=reason):
                state.tell_once(
                    Level.ALERT, "gap", f"{topic.channel} {topic.symbol} is not served: {reason}"
                )
            case Oddity(text=text):
                state.tell_once(Level.INFO, "gap", f"a message was not understood: {text}")
            case MarkEvent():
                pass
            case _:
                pass

    def _set_up(self, *, is_private: bool, is_up: bool) -> None:
        if is_private:
            self.private_up = is_up
        else:
            self.public_up = is_up

    def _read_fills(self) -> None:
        """Read fills soon; while the books are being read, right after."""
        if not self._crew.send("books", self._collect):
            self._at["fills"] = 1

    async def _collect(self) -> None:
        """Read new fills, again while more were announced meanwhile."""
        while True:
            self._at["fills"] = 0
            try:
                await self._clerk.collect_fills()
            except BlofinError as problem:
                self._unanswered("fills", problem)
                self._hurry()
                return
            if not self._at.get("fills"):
                break
        state = self.state
        for symbol in [each for each in state.mirror.positions if each not in state.holdings]:
            await self._look(symbol)

    async def _look(self, symbol: str) -> None:
        """Ask whether a position that no fill explains is still there: nothing tells of its end."""
        try:
            await self._keeper.look(symbol)
        except BlofinError as problem:
            self._unanswered(symbol, problem)
            self._hurry()

    def _hurry(self) -> None:
        """Reconcile again soon after something could not be read."""
        is_seeing = self.private_up and self._is_ready
        wait_ms = RETRY_MS if is_seeing else RETRY_BLIND_MS
        self._at["again"] = self.state.mono_ms() + wait_ms

    async def _reconcile(self) -> None:
        """Read everything and compare; the first success lets trading begin."""
        try:
            await self._clerk.reconcile()
            if not self._is_ready:
                await self.trader.set_modes()
        except BlofinError as problem:
            self._unanswered("the account", problem)
            self._hurry()
            if self._at.get("fills"):
                await self._collect()
            return
        if not self._is_ready:
            self._is_ready = True
            held = len(self.state.mirror.positions)
            next_up = "trading is halted" if self._flags.is_halted else "trading may begin"
            self.state.tell(Level.INFO, "session", f"reconciled: {held} positions, {next_up}")
        if self._clerk.has_doubts:
            self._hurry()
        for symbol in sorted({*self.state.mirror.positions, *self.state.holdings}):
            self._keeper.watch(symbol, 0)
            self._tend(symbol)
        if self._at.get("fills"):
            await self._collect()

    def _unanswered(self, what: str, problem: BlofinError) -> None:
        self.state.failed()
        self.state.tell_once(
            Level.WARNING, "reconnect", f"{what} could not be read: {problem.message}"
        )

    async def _measure_offset(self) -> None:
        try:
            await self._timepiece.measure()
        except BlofinError as problem:
            self._unanswered("the exchange's clock", problem)

    # Bars.

    async def _on_bar(self, symbol: str, bar: Bar, *, is_fresh: bool) -> None:
        """One closed bar of a symbol has been taken: manage what is held, then decide."""
        point("bar")
        self._manage_holding(symbol, bar)
        judgement = self._strategist.judge(symbol, self.state.now_ms())
        for intent in self.state.open_entries(symbol):
            is_ours = intent.session_id == self.state.session.session_id and intent.zone_id
            if is_ours and intent.price and intent.zone_id not in judgement.resting:
                await self._give_up(intent)
        if self._manage.exit_on_opposite:
            holding = self.state.holdings.get(symbol)
            sides = {wish.ticket.side for wish in judgement.wishes}
            if holding is not None and holding.side.opposite in sides:
                self.state.leave(symbol, "signal")
        await self.trader.act(judgement, is_fresh=is_fresh)

    def _manage_holding(self, symbol: str, bar: Bar) -> None:
        """Time stop, break-even and trailing, by the rules of the step."""
        state = self.state
        holding = state.holdings.get(symbol)
        if holding is None or holding.origin == "external":
            return
        moved = reporting.followed(holding, bar, self._manage, self.trader.tick_size(symbol))
        if moved != holding:
            state.set_holding(moved)
        close_ms = bar.ts_ms + self._strategist.timeframe.ms
        if holding.due_ms is not None and close_ms >= holding.due_ms:
            state.leave(symbol, "time")

    # Endings and failures.

    def _entries_unwanted(self, symbol: str) -> bool:
        """Whether resting entries of a symbol must go."""
        state, memory = self.state, self.state.breakers.memory
        flags = self._flags
        if flags.halt is not None or self._stopping or flags.pauses_symbol(symbol):
            return True
        since = flags.unreadable_ms
        if since is not None and state.mono_ms() - since > SLEPT_MS:
            return True
        if any(order.client_id in state.spent for order in state.mirror.entries(symbol)):
            return True  # what it opened is being closed again: the rest must not open anew
        return bool(memory.is_day_blocked or memory.is_week_blocked or memory.is_halted)

    def _woke(self, elapsed_ms: int) -> None:
        """The machine slept: everything known is old."""
        self._is_ready = False
        self.state.mirror.doubt_positions()
        self.state.tell(
            Level.WARNING, "gap", f"{elapsed_ms / 1000:.0f} s were lost: everything is read anew"
        )
        self._feeder.suspect()
        self.trader.forget_terms()
        self._at["reconcile"] = -HOUR_MS
        self._timepiece.hurry()

    def _broke(self, name: str, problem: BaseException) -> None:
        """A task ended by an error nobody caught: nothing opens for a while, the rest goes on."""
        state, now = self.state, self.state.mono_ms()
        self._wound, self._wounded_ms = f"{name} ({type(problem).__name__})", now
        self._breaks = [at for at in self._breaks if now - at < HOUR_MS] + [now]
        state.tell(
            Level.ALERT, "session", f"{name} failed: {type(problem).__name__}: {problem}"[:300],
            protects="stops stay at the exchange", next_step="blofin status",
        )  # fmt: skip
        if len(self._breaks) > FAILURES_MAX:
            self.stop("failed too often")

    def _halt_by_breaker(self) -> None:
        """The drawdown breaker closes all and halts; only a person clears that."""
        if not self.state.breakers.memory.is_halted or self._flags.halt is not None:
            return
        halt = Halt(ts_ms=self.state.now_ms(), face="breaker", cause="drawdown limit", flatten=True)
        with suppress(DataError):
            self.state.journal.set_halt(halt)

    async def _wind_down(self) -> None:
        """Cancel resting entries, let what is under way finish, write the last words."""
        for symbol in sorted({order.symbol for order in self.state.mirror.orders.values()}):
            self._tend(symbol)
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_S
        while loop.time() < until and (self.state.mirror.entries() or self.state.scribe.is_behind):
            self.state.scribe.flush()
            self._send_keepers(0)
            await asyncio.sleep(TICK_S)
        await self._crew.settled(0.0)
        self.state.tell(Level.INFO, "session", f"the session ends: {self._stopping}")
        self.state.scribe.flush()
        self.beat()


def _symbol_of(event: FeedEvent) -> str | None:
    match event:
        case OrderEvent(order):
            return order.symbol
        case ProtectionEvent(protection):
            return protection.symbol
        case QuoteEvent(quote):
            return quote.symbol
    return None
