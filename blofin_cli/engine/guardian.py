"""The watchdog: a second process that looks at one account when the first has fallen silent.

BloFin has no dead man's switch; this is it. It holds no right to open, decides nothing about
trading and keeps no state: each round reads the heartbeat, the halt flag and the exchange, and does
the least that is missing: put a stop back, cancel entries, close.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from blofin_cli.core.journal import Halt, Happening, Level, Purpose
from blofin_cli.core.orders import Position, Protection
from blofin_cli.core.status import SessionStatus
from blofin_cli.engine.live import book
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.reducing import Deed, Reduced, Reducer
from blofin_cli.errors import BlofinError, DataError, RefusedError
from blofin_cli.ports import Clock, Journal, ReduceOnly

ROUND_S = 2.0
QUIET_ROUND_S = 5.0
HALT_GRACE_MS = 3_000
BARE_GRACE_MS = 15_000
TELL_EVERY_MS = 60_000
REFUSED_MAX = 3
UNBOOKED_MS = 24 * 3_600_000
JUST_FILLED_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """When the watchdog acts, and how.

    Units: `heartbeat_stale_s` seconds without a heartbeat after which the session counts as gone,
    None when it is known to be gone; `stop_pct` distance of an emergency stop for a position whose
    stop nobody knows, percent of the mark price; None leaves such a position to its owner.
    """

    heartbeat_stale_s: float | None = 30.0
    on_stale: Literal["repair", "flatten"] = "repair"
    stop_pct: float | None = None


@dataclass(slots=True, kw_only=True)
class Guardian:
    """One account under watch, at the reducer's pace. `notify` is told of everything it does."""

    exchange: ReduceOnly
    journal: Journal
    clock: Clock
    account: str
    reducer: Reducer
    watch: Watch
    notify: Callable[[Happening], None]
    rounds: int = 0
    _bare_since_ms: dict[str, int] = field(default_factory=dict)
    _refused: dict[str, int] = field(default_factory=dict)
    _flattened_ms: int | None = None
    _told: dict[str, int] = field(default_factory=dict)
    _stopping: bool = False

    async def run(self) -> None:
        """Look again and again until `stop`; nothing it meets ends it."""
        while not self._stopping:
            try:
                await self.round()
                pause = ROUND_S
            except BlofinError as problem:
                self._tell_once(Level.WARNING, f"the guard could not look: {problem.message}")
                pause = QUIET_ROUND_S
            except Exception as defect:  # noqa: BLE001  # boundary: the last guard outlives defects
                kind = type(defect).__name__
                self._tell_once(Level.EMERGENCY, f"the guard itself failed: {kind}: {defect}"[:300])
                pause = QUIET_ROUND_S
            await self.reducer.pause(pause)

    def stop(self) -> None:
        """End after the present round."""
        self._stopping = True

    async def round(self) -> None:
        """One look, and what follows from it. Errors: those of the exchange."""
        self.rounds += 1
        now = self.clock.now_ms()
        halt, status = self._halt(), self._status()
        age_ms = None if status is None else now - status.ts_ms
        stale_s = self.watch.heartbeat_stale_s
        is_silent = age_ms is None or stale_s is None or age_ms > stale_s * 1000
        if halt is not None and (is_silent or self._is_ignored(halt, status, now)):
            await self._obey(halt)
        positions = await self.exchange.positions()
        protections = await self.exchange.protections() if positions else ()
        if positions and is_silent and self.watch.on_stale == "flatten":
            self._tell_once(
                Level.EMERGENCY, f"the session is silent ({_seconds(age_ms)}): closing everything",
                about="silent",
            )  # fmt: skip
            await self.reducer.flatten()
            return
        if positions and is_silent and stale_s is not None:
            self._tell_once(
                Level.ALERT, f"the session is silent ({_seconds(age_ms)}); stops are looked after",
                about="silent",
            )  # fmt: skip
        await self._protect(positions, protections, is_silent=is_silent)

    async def _protect(
        self, positions: tuple[Position, ...], protections: tuple[Protection, ...], *,
        is_silent: bool,
    ) -> None:  # fmt: skip
        """Give bare positions their stop back; a living session has a while to do it itself."""
        now = self.clock.now_ms()
        bare = {row.symbol: row for row in positions if is_bare(row, protections)}
        self._bare_since_ms = {
            symbol: self._bare_since_ms.get(symbol, now) for symbol in sorted(bare)
        }
        self._refused = {s: count for s, count in self._refused.items() if s in bare}
        for symbol, since in self._bare_since_ms.items():
            if not is_silent and now - since < BARE_GRACE_MS:
                continue
            try:
                await self._mend(bare[symbol])
            except BlofinError as problem:  # the next symbol is not left bare for it
                self._tell_once(
                    Level.EMERGENCY, f"{symbol} has no stop: {problem.message}", symbol=symbol
                )

    async def _mend(self, position: Position) -> None:
        """Place the stop the book knows; where it knows none, an emergency one or a word."""
        symbol = position.symbol
        stop = self._stop_for(position)
        if stop is None:
            self._tell_once(
                Level.EMERGENCY, f"{symbol} has no stop and nobody knows one",
                symbol=symbol, next_step=f"blofin protect {symbol} --stop PRICE",
            )  # fmt: skip
            return
        sign = 1 if position.size > 0 else -1
        if (position.mark_price - stop) * sign <= 0:
            self._tell(Level.EMERGENCY, f"{symbol} is beyond its stop {stop}: closing", symbol)
            await self.reducer.close(symbol)
            return
        try:
            done = await self.reducer.protect(symbol, stop, None)
        except RefusedError as problem:  # the price has gone beyond it meanwhile
            await self._give_up(symbol, problem.message)
            return
        if done.stop is not None:
            self._tell(Level.ALERT, f"{symbol} had no stop: {done.stop} is in force now", symbol)
            return
        said = done.deeds[0].message if done.deeds else ""
        self._refused[symbol] = self._refused.get(symbol, 0) + 1
        if self._refused[symbol] >= REFUSED_MAX:
            await self._give_up(symbol, said)
            return
        self._tell_once(Level.EMERGENCY, f"{symbol}: its stop was not taken: {said}", symbol=symbol)

    async def _give_up(self, symbol: str, why: str) -> None:
        """Close what cannot be protected."""
        self._tell(Level.EMERGENCY, f"{symbol}: its stop was refused ({why}): closing", symbol)
        await self.reducer.close(symbol)

    def _stop_for(self, position: Position) -> Decimal | None:
        holding = self._book().get(position.symbol)
        is_ours = holding is not None and holding.side.sign * position.size > 0
        if holding is not None and is_ours and holding.stop:
            return holding.stop
        planned = None if is_ours else self._planned_stop(position)
        if planned is not None:
            return planned
        if self.watch.stop_pct is None:
            return None
        away = position.mark_price * Decimal(repr(self.watch.stop_pct)) / 100
        return position.mark_price - away * (1 if position.size > 0 else -1)

    def _planned_stop(self, position: Position) -> Decimal | None:
        """The stop of the entry that most likely opened it: whoever sent it died before booking."""
        now = self.clock.now_ms()
        try:
            newest = self.journal.intents(self.account, since_ms=now - UNBOOKED_MS)
        except DataError:
            return None
        for intent in newest:
            is_opening = intent.purpose is Purpose.ENTRY and intent.symbol == position.symbol
            if (
                is_opening
                and intent.side.sign * position.size > 0
                and (
                    intent.state.is_open
                    or (intent.filled > 0 and now - intent.updated_ms < JUST_FILLED_MS)
                )
            ):
                return intent.stop if abs(position.size) <= intent.size else None
        return None

    async def _obey(self, halt: Halt) -> None:
        """Carry out a halt the session has not acknowledged."""
        self._tell_once(
            Level.ALERT, f"halted by {halt.face} ({halt.cause}), and the session does not answer"
        )
        canceled = await self.reducer.cancel_entries()
        if canceled:
            self._tell(Level.ALERT, f"{len(canceled)} resting entries cancelled by the guard")
        if halt.flatten and self._flattened_ms != halt.ts_ms:
            done = await self.reducer.flatten()
            closed = [row for row in done if isinstance(row, Reduced) and row.status != "open"]
            self._tell(Level.ALERT, f"{len(closed)} positions closed by the guard")
            if not any(_is_left_open(row) for row in done):
                self._flattened_ms = halt.ts_ms

    def _is_ignored(self, halt: Halt, status: SessionStatus | None, now: int) -> bool:
        if now - halt.ts_ms < HALT_GRACE_MS:
            return False
        return status is None or status.halt_seen_ms is None or status.halt_seen_ms < halt.ts_ms

    def _halt(self) -> Halt | None:
        """The flag, None also when it cannot be read."""
        try:
            return self.journal.halted()
        except DataError as problem:
            self._tell_once(Level.ALERT, f"the halt flag cannot be read: {problem.message}")
            return None  # entries are refused by everybody then; stops are looked after below

    def _status(self) -> SessionStatus | None:
        """The heartbeat of the account's newest session, None when there is none to be read."""
        try:
            newest = self.journal.sessions(self.account, limit=1)
            return self.journal.status(newest[0].session_id) if newest else None
        except DataError:
            return None

    def _book(self) -> dict[str, Holding]:
        try:
            return book.of_record(self.journal.recall(self.account, "book") or {})
        except DataError:
            return {}

    def _tell_once(self, level: Level, text: str, *, about: str = "", **words: str) -> None:
        """Tell at most once a minute, of the same matter where the words differ each time."""
        now, about = self.clock.now_ms(), about or text
        if now - self._told.get(about, -TELL_EVERY_MS) >= TELL_EVERY_MS:
            self._told[about] = now
            self._tell(level, text, **words)

    def _tell(
        self, level: Level, text: str, symbol: str | None = None, next_step: str = ""
    ) -> None:
        happening = Happening(
            ts_ms=self.clock.now_ms(),
            level=level,
            kind="guard",
            text=text,
            symbol=symbol,
            protects="stops at the exchange",
            next_step=next_step or "blofin status",
        )
        try:
            self.journal.tell(self.account, self.reducer.session_id, happening)
        except DataError:
            self.reducer.notes.append(text)
        self.notify(happening)


def is_bare(position: Position, protections: tuple[Protection, ...]) -> bool:
    """Whether live stops cover less than the position."""
    held, covered = abs(position.size), Decimal(0)
    for row in protections:
        is_stop = row.symbol == position.symbol and row.stop is not None
        if is_stop and row.side is position.closing_side:
            covered += held if row.size is None else row.size
    return covered < held


def _is_left_open(row: Reduced | Deed) -> bool:
    return row.status == "open" if isinstance(row, Reduced) else row.action == "close"


def _seconds(age_ms: int | None) -> str:
    return "no heartbeat" if age_ms is None else f"{age_ms / 1000:.0f} s"
