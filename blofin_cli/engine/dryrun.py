"""The dry run as a session: the feed of a live one, the fills of a backtest, no account anywhere.

It can reach nothing but public prices: there is no key, no signer and no port that could send.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast

from blofin_cli.core.context import Market
from blofin_cli.core.feed import (
    CandleEvent,
    Channel,
    Connected,
    Disconnected,
    QuoteEvent,
    ReconcileNeeded,
    Stalled,
    Topic,
)
from blofin_cli.core.journal import (
    EquityPoint,
    Errand,
    ErrandState,
    Halt,
    Happening,
    Level,
    Session,
)
from blofin_cli.core.market import price_text
from blofin_cli.core.quotes import Bar
from blofin_cli.core.signals import Plane
from blofin_cli.core.status import (
    BreakerView,
    HealthView,
    OrderView,
    PositionView,
    QuoteView,
    SessionStatus,
)
from blofin_cli.core.strategy import Strategy
from blofin_cli.engine.live import reporting
from blofin_cli.engine.live.breakers import Breakers, Memory
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.feeder import Feeder
from blofin_cli.engine.live.flags import Flags
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.live.timepiece import SLEPT_MS, Timepiece
from blofin_cli.engine.paper import END, HALT, MANUAL, VERDICTS, PaperAccount
from blofin_cli.engine.strategist import Judgement, ZoneStrategist
from blofin_cli.errors import BlofinError, DataError, RefusedError, UsageError
from blofin_cli.ports import Clock, Exchange, Journal, MarketData, Stream

TICK_S = 0.25
BEAT_MS = 1_000
TICK_WAIT_MS = 8_000
CURVE_POINTS = 300


class DryRunSession:
    """One dry run. `run` ends when `stop` was called; what is open then is closed as `end`."""

    def __init__(
        self,
        data: MarketData,
        stream: Stream,
        journal: Journal,
        clock: Clock,
        *,
        wall: Clock | None = None,
        session: Session,
        strategy: Strategy,
        strategist: ZoneStrategist,
        notify: Callable[[Happening], None],
        on_bars: Callable[[str, tuple[Bar, ...]], None] | None = None,
        is_paced: bool = False,
    ) -> None:
        memory = Memory.fresh(float(session.equity_start_usdt), session.started_ms)
        self.state = LiveState(
            exchange=cast("Exchange", data),  # only candles and the clock are asked of it
            journal=journal,
            clock=clock,
            wall=wall or clock,
            session=session,
            breakers=Breakers(strategy.risk, memory),
            notify=notify,
        )
        self._stream, self._strategist = stream, strategist
        self._strategy = strategy
        self._timepiece = Timepiece(self.state, is_paced=is_paced)
        self._crew = Crew(self._broke)
        self._feeder = Feeder(self.state, strategist, self._on_bar, on_bars)
        step_ms = strategy.timeframe.ms
        first_ms = min(strategist.next_open_ms(symbol) for symbol in session.symbols)
        self.account = PaperAccount(
            strategy,
            float(session.equity_start_usdt),
            first_ms,
            run_id=session.session_id,
            mode="dry-run",
        )
        self._step_ms = step_ms
        self._bars: dict[int, dict[str, tuple[Market, Judgement, bool]]] = {}
        self._first_seen: dict[int, int] = {}
        self._done_ms = first_ms - step_ms
        self._flags = Flags()
        self._flattened_ms: int | None = None
        self._stopping = ""
        self._at: dict[str, int] = {}
        self._results = reporting.Results()
        self._curve: deque[tuple[int, float]] = deque(maxlen=CURVE_POINTS)
        self._is_up = False
        self._reconnects = 0

    async def run(self) -> str:
        """Trade on paper until stopped; why it ended."""
        self._timepiece.start()
        try:
            while not self._stopping:
                self._tick()
                await asyncio.sleep(TICK_S)
            if self.account.close(None, self._prices(), END):
                self._tell_trades()
            self.state.tell(Level.INFO, "session", f"the dry run ends: {self._stopping}")
            self._beat()
        finally:
            await self._crew.dismiss()
            await self._stream.aclose()
        return self._stopping

    def stop(self, reason: str) -> None:
        """End in good order."""
        self._stopping = self._stopping or reason

    @property
    def phase(self) -> str:
        """Where it stands, in one word."""
        if self._stopping:
            return "stopping"
        if self._flags.is_halted:
            return "halted"
        if not self._is_up:
            return "starting"
        return "paused" if self._flags.pauses_all else "trading"

    # The tick.

    def _tick(self) -> None:
        state, now = self.state, self.state.clock.now_ms()
        leap_ms = self._timepiece.look()
        if leap_ms > SLEPT_MS:
            state.tell(
                Level.WARNING, "gap", f"{leap_ms / 1000:.0f} s were lost: bars are read anew"
            )
            self._feeder.suspect()
        self._look_at_flags()
        state.scribe.flush()
        if not self._crew.is_busy("listen"):
            self._crew.send("listen", self._listen)
        if not self._crew.is_busy("offset") and self._timepiece.is_due():
            self._crew.send("offset", self._measure_offset)
        self._feeder.tick(self._crew)
        self._trade_due()
        self._take_errands()
        if now - self._at.get("beat", -BEAT_MS) >= BEAT_MS:
            self._beat()

    def _look_at_flags(self) -> None:
        state, before = self.state, self._flags.halt
        self._flags = self._flags.looked(state.journal, state.now_ms(), state.mono_ms())
        halt = self._flags.halt
        if halt is None:
            if before is not None:
                state.tell(Level.INFO, "resume", "trading goes on", next_step="blofin status")
            return
        if before is None:
            self.account.cancel_entries()
            state.tell(
                Level.ALERT, "halt", f"halted by {halt.face}: {halt.cause}",
                protects="simulated stops stay", next_step="blofin resume",
            )  # fmt: skip
        if halt.flatten and self._flattened_ms != halt.ts_ms:
            self._flattened_ms = halt.ts_ms
            self.account.close(None, self._prices(), HALT)
            self._tell_trades()
        if before is None:
            self._beat()

    def _may_enter(self, symbol: str) -> bool:
        if self._flags.is_halted or self.state.scribe.is_behind or self._timepiece.doubt():
            return False
        return not self._flags.pauses_symbol(symbol)

    # The feed.

    async def _listen(self) -> None:
        session, timeframe = self.state.session, self._strategy.timeframe
        topics = [
            *(Topic(Channel.CANDLES, symbol, timeframe) for symbol in session.symbols),
            *(Topic(Channel.QUOTES, symbol) for symbol in session.symbols),
        ]
        while True:
            try:
                await self._stream.subscribe(*topics)
                break
            except BlofinError as problem:
                self.state.tell_once(Level.WARNING, "reconnect", f"no feed: {problem.message}")
                await asyncio.sleep(2.0)
        async for event in self._stream.events():
            match event:
                case QuoteEvent(quote):
                    self.state.hear_quote(quote)
                case CandleEvent():
                    self._feeder.take(event, self._crew)
                case Connected(is_private=False):
                    self._is_up = True
                case Disconnected(is_private=False, reason=reason):
                    self._is_up = False
                    self._reconnects += 1
                    self.state.tell_once(Level.WARNING, "reconnect", f"the feed ended: {reason}")
                case ReconcileNeeded():
                    self._feeder.suspect()
                case Stalled(topic=topic):
                    self.state.tell_once(Level.WARNING, "gap", f"{topic.symbol}: silent")

    async def _measure_offset(self) -> None:
        try:
            await self._timepiece.measure()
        except BlofinError as problem:
            self.state.tell_once(
                Level.WARNING, "reconnect",
                f"the exchange's clock could not be read: {problem.message}",
            )  # fmt: skip

    async def _on_bar(self, symbol: str, bar: Bar, *, is_fresh: bool) -> None:
        """Judge a bar and lay it beside the other symbols' bars of the same time."""
        judgement = self._strategist.judge(symbol, self.state.now_ms())
        market = self._strategist.whole(symbol)
        waiting = self._bars.setdefault(bar.ts_ms, {})
        waiting[symbol] = (market, judgement, is_fresh)
        self._first_seen.setdefault(bar.ts_ms, self.state.mono_ms())
        self._trade_due()

    def _trade_due(self) -> None:
        """Trade every time whose bars are all there, or have been waited for long enough."""
        symbols = self.state.session.symbols
        for ts_ms in sorted(self._bars):
            waiting = self._bars[ts_ms]
            waited = self.state.mono_ms() - self._first_seen[ts_ms]
            if len(waiting) < len(symbols) and waited < TICK_WAIT_MS:
                return
            del self._bars[ts_ms], self._first_seen[ts_ms]
            if ts_ms > self._done_ms:
                self._done_ms = ts_ms
                self._trade(ts_ms, waiting)

    def _trade(self, ts_ms: int, waiting: dict[str, tuple[Market, Judgement, bool]]) -> None:
        """Run the step over one bar of all symbols."""
        close_ms = ts_ms + self._step_ms
        markets: list[Market] = []
        planes: list[Plane | None] = []
        for symbol in self.state.session.symbols:
            if symbol in waiting:
                market, judgement, _ = waiting[symbol]
                plane = judgement.plane
            else:
                market, plane = self._strategist.whole(symbol).until(close_ms), None
            markets.append(market)
            planes.append(plane)
        verdicts = self.account.on_tick(markets, planes, may_enter=self._may_enter)
        outcomes = {origin.symbol: VERDICTS[code] for origin, code in verdicts}
        for symbol, (_, judgement, is_fresh) in waiting.items():
            self._note(symbol, judgement, outcomes, is_fresh=is_fresh)
        self._tell_trades()
        equity = self.account.equity
        self._curve.append((close_ms, equity))
        point = EquityPoint(
            ts_ms=close_ms,
            equity_usdt=_money(equity),
            available_usdt=_money(equity),
            open_profit_usdt=_money(equity - float(self.account.account["cash"])),
        )
        state = self.state
        session_id = state.session.session_id
        state.scribe.write(lambda: state.journal.add_equity(state.account, session_id, point))
        if self.account.account["is_halted"] and self._flags.halt is None:
            halt = Halt(ts_ms=state.now_ms(), face="breaker", cause="drawdown limit")
            with suppress(DataError):
                state.journal.set_halt(halt)

    def _note(
        self, symbol: str, judgement: Judgement, outcomes: dict[str, str], *, is_fresh: bool
    ) -> None:
        """Write a bar's decision down, with what the account said to it."""
        state, decision = self.state, judgement.decision
        if decision.side is not None:
            said = outcomes.get(symbol, self._timepiece.doubt() or "paused or halted")
            placed = said == "traded"
            decision = replace(
                decision,
                outcome="placed" if placed else "refused",
                note="" if placed else said,
                equity_usdt=self.account.equity,
            )
            if placed:
                state.tell(
                    Level.INFO, "fill",
                    f"{symbol}: {decision.action} planned at {price_text(decision.entry)}, stop "
                    f"{price_text(decision.stop)}; fills at the next open (simulated)",
                    symbol=symbol,
                )  # fmt: skip
        if not is_fresh:
            decision = replace(decision, note=f"{decision.note} late".strip())
        is_kept = judgement.keeps_zones(self._strategist.timeframe) or not self._curve
        zones = self._strategist.zones(symbol) if is_kept else None
        session_id = state.session.session_id
        state.scribe.write(lambda: state.journal.save_decision(session_id, decision, zones))

    def _tell_trades(self) -> None:
        state = self.state
        for trade in self.account.new_trades():
            state.scribe.write(partial(state.journal.save_trade, state.account, trade))
            kind = "stop" if trade.exit_reason in ("stop", "trailing") else "fill"
            state.tell(
                Level.ALERT, kind,
                f"{trade.symbol}: closed by {trade.exit_reason} at {price_text(trade.exit_price)}, "
                f"{trade.pnl_usdt:+.2f} USDT, {trade.r_multiple:+.2f} R (simulated)",
                symbol=trade.symbol, protects="nothing is held", next_step="blofin trades",
                details={"trade_id": trade.id},
            )  # fmt: skip
            self._results.forget()

    # What faces ask.

    def _take_errands(self) -> None:
        state = self.state
        try:
            taken = state.journal.take_errands(state.account, state.wall.now_ms())
        except DataError:
            return
        for errand in taken:
            try:
                answer, ended = self._carry_out(errand), ErrandState.DONE
            except BlofinError as problem:
                answer, ended = problem.envelope() | {"exit": int(problem.exit)}, ErrandState.FAILED
            except (KeyError, TypeError, ValueError) as defect:
                wrong = UsageError(f"the errand {errand.kind} is malformed: {defect}")
                answer, ended = wrong.envelope() | {"exit": int(wrong.exit)}, ErrandState.FAILED
            write = partial(
                state.journal.answer_errand, errand.id, ended, answer, state.wall.now_ms()
            )
            state.scribe.write(write)

    def _carry_out(self, errand: Errand) -> dict[str, Any]:
        words = errand.arguments
        match errand.kind:
            case "close":
                if float(words.get("fraction") or 1) < 1:
                    raise RefusedError("a dry run closes positions whole")
                closed = self.account.close(words["symbol"], self._prices(), MANUAL)
                self._tell_trades()
                return {"symbol": words["symbol"], "closed": str(closed), "remaining": "0"}
            case "flatten":
                held = [symbol for symbol, _, _ in self.account.held()]
                self.account.close(None, self._prices(), HALT)
                self._tell_trades()
                return {"closed": held, "remaining": []}
            case "protect":
                return self._protect(words)
            case "cancel":
                return {"cancelled": [self._cancel(name) for name in words["ids"]]}
            case "settings":
                raise RefusedError(
                    f"{words['name']} takes effect when a dry run begins",
                    hint="end this one and run again",
                )
            case "place":
                raise RefusedError(
                    "a dry run takes no orders of people or agents",
                    hint="run with --mode demo to place orders with play money",
                )
        raise UsageError(f"the session does not know how to {errand.kind}")

    def _cancel(self, name: str) -> dict[str, str]:
        """Give up a waiting entry by the id that `status` shows."""
        numbers = {_entry_id(row): int(row["number"]) for _, row, _ in self.account.waiting()}
        if name in numbers and self.account.cancel_entries(numbers[name]):
            return {"id": name, "outcome": "accepted"}
        return {"id": name, "outcome": "gone", "message": "no such open order"}

    def _protect(self, words: dict[str, Any]) -> dict[str, Any]:
        symbol = words["symbol"]
        stop, target = words.get("stop"), words.get("target")
        done = [
            stop is None or self.account.move_stop(symbol, float(stop)),
            target is None or self.account.move_target(symbol, float(target)),
        ]
        if not all(done):
            raise RefusedError(f"{symbol} is flat: there is nothing to protect")
        return {"symbol": symbol, "stop": str(stop), "target": str(target)}

    def _prices(self) -> dict[str, float]:
        return {symbol: float(quote.last) for symbol, quote in self.state.quotes.items()}

    # How it is.

    def _beat(self) -> None:
        self._at["beat"] = self.state.clock.now_ms()
        with suppress(DataError):
            self.state.journal.beat(self.status())

    def status(self) -> SessionStatus:
        """Everything a person needs at a glance."""
        state, now = self.state, self.state.now_ms()
        row = self.account.account
        today, week = self._results.now(state.journal, state.account, now)
        return SessionStatus(
            ts_ms=state.wall.now_ms(),
            session_id=state.session.session_id,
            phase=self.phase,
            mode="dry-run",
            exchange=state.session.exchange,
            simulated=True,
            symbols=state.session.symbols,
            timeframe=state.session.timeframe,
            equity_usdt=self.account.equity,
            available_usdt=self.account.equity,
            drawdown_fraction=(
                None if row is None else max(0.0, 1.0 - float(row["equity"]) / float(row["peak"]))
            ),
            halt_seen_ms=None if self._flags.halt is None else self._flags.halt.ts_ms,
            health=HealthView(
                clock_offset_ms=state.offset_ms,
                public_connected=self._is_up,
                reconnects=self._reconnects,
                feed_age_ms={
                    symbol: max(0, now - quote.ts_ms) for symbol, quote in state.quotes.items()
                },
                margin_mode="isolated",
                position_mode="one_way",
                storage_ok=not state.scribe.is_behind,
                note=self._flags.problem
                or self._timepiece.doubt()
                or "dry run: no account, simulated fills",
            ),
            positions=tuple(
                self._position(*held) for held in self.account.held() if held[1]["quantity"] > 0
            ),
            orders=tuple(_entry(*waiting) for waiting in self.account.waiting()),
            breakers=self._breakers(),
            today=today,
            week=week,
            quotes={
                symbol: QuoteView(
                    last=float(quote.last),
                    bid=None if quote.bid is None else float(quote.bid),
                    ask=None if quote.ask is None else float(quote.ask),
                    mark=None if quote.mark is None else float(quote.mark),
                    ts_ms=quote.ts_ms,
                )
                for symbol, quote in state.quotes.items()
            },
            bars=self._feeder.taken,
            last_bar_ms=self._feeder.last_bar_ms,
            curve=tuple(self._curve),
        )

    def _position(self, symbol: str, row: Any, origin: Any) -> PositionView:
        quote = self.state.quotes.get(symbol)
        price = float(quote.last) if quote else float(row["entry"])
        side, quantity = int(row["side"]), float(row["quantity"])
        profit = side * (price - float(row["entry"])) * quantity
        risk = float(row["risk_price"]) * float(row["filled"])
        return PositionView(
            symbol=symbol,
            side="long" if side > 0 else "short",
            quantity=side * quantity,
            entry_price=float(row["entry"]),
            mark_price=price,
            stop=float(row["stop"]),
            target=float(row["target"]) or None,
            liquidation_price=float(row["liquidation"]) or None,
            leverage=None,
            margin_usdt=float(row["margin"]),
            notional_usdt=price * quantity,
            unrealized_usdt=profit,
            r_multiple=profit / risk if risk else None,
            risk_usdt=risk,
            naked_s=0.0,
            origin="session",
            opened_ms=int(row["entry_ms"]),
            due_ms=int(row["due_ms"]),
            zone_id=origin.zone_id,
        )

    def _breakers(self) -> tuple[BreakerView, ...]:
        """The account row of the step, read as breakers."""
        row = self.account.account
        if row is None:
            return ()
        memory = self.state.breakers.memory
        for name in (
            "equity", "peak", "day_start", "week_start", "is_day_blocked", "is_week_blocked",
            "is_halted", "paused_until_ms", "stops_in_row", "entries_today",
        ):  # fmt: skip
            setattr(memory, name, row[name].item())
        return self.state.breakers.views(self.state.now_ms())

    def _broke(self, name: str, problem: BaseException) -> None:
        self.state.tell(
            Level.ALERT, "session", f"{name} failed: {type(problem).__name__}: {problem}"[:300]
        )
        self._at["broken"] = self._at.get("broken", 0) + 1
        if self._at["broken"] > 6:
            self.stop("failed too often")


def _entry_id(row: Any) -> str:
    return f"dry-{int(row['number'])}"


def _entry(symbol: str, row: Any, asked_ms: int) -> OrderView:
    """A waiting entry of the paper account, as an order that works."""
    name, limit = _entry_id(row), float(row["limit"])
    return OrderView(
        id=name,
        client_id=name,
        symbol=symbol,
        kind="entry",
        side="buy" if row["side"] > 0 else "sell",
        type="limit" if limit > 0 else "market",
        size=float(row["wanted"]),
        filled=float(row["filled"]),
        price=limit or None,
        trigger=None,
        state="partially_filled" if row["filled"] > 0 else "live",
        created_ms=asked_ms,
    )


def _money(value: float) -> Any:
    from decimal import Decimal

    return Decimal(repr(float(value)))
