"""What the account remembers against itself: losses, stops in a row, bad execution, naked time.

Losses, calendar and pauses are the kernels of the step itself, run on a memory that survives a
restart; what only an exchange can do wrong (refusals, slippage, missing stops) is counted here.
"""

from collections import deque
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from blofin_cli.core.journal import Happening, Level
from blofin_cli.core.ledger import REASONS
from blofin_cli.core.market import ExitReason
from blofin_cli.core.risk import DAY_MS, remember_exit, roll_calendar, trip_breakers
from blofin_cli.core.status import BreakerView
from blofin_cli.core.strategy import Risk

HOUR_MS = 3_600_000
_CODES = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRules:
    """When an exchange's behaviour stops entries.

    Units: `naked_s_max` seconds one position may be bare; `rejects_max` refused entries within
    `rejects_window_ms`; `slippage_bps_max` mean entry slippage beyond plan over the last
    `slippage_entries`, above which entries need a person's approval.
    """

    naked_s_max: float = 15.0
    rejects_max: int = 5
    rejects_window_ms: int = 600_000
    pause_ms: int = HOUR_MS
    slippage_bps_max: float = 25.0
    slippage_entries: int = 10


@dataclass(slots=True)
class SymbolMemory:
    """What the last trades of a symbol forbid."""

    paused_until_ms: int = 0
    stops_in_row: int = 0


@dataclass(slots=True)
class Memory:
    """The account as the kernels know it, with the names they use. Units: USDT, ms."""

    equity: float
    peak: float
    day: int
    day_start: float
    week_start: float
    drawdown_max: float = 0.0
    is_day_blocked: int = 0
    is_week_blocked: int = 0
    is_halted: int = 0
    paused_until_ms: int = 0
    stops_in_row: int = 0
    entries_today: int = 0
    transfers: float = 0.0
    execution_paused_until_ms: int = 0
    naked_paused_until_ms: int = 0
    symbols: dict[str, SymbolMemory] = field(default_factory=dict)

    @classmethod
    def fresh(cls, equity: float, now_ms: int) -> "Memory":
        """An account that begins now."""
        return cls(equity, equity, now_ms // DAY_MS, equity, equity)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Memory":
        """What `record` kept."""
        symbols = {name: SymbolMemory(**row) for name, row in record["symbols"].items()}
        return cls(**(record | {"symbols": symbols}))

    def record(self) -> dict[str, Any]:
        """The memory as JSON values."""
        return asdict(self)


class Breakers:
    """Judges every entry by what went before. Money here is float: it decides, it books nothing."""

    def __init__(self, risk: Risk, memory: Memory, execution: ExecutionRules | None = None) -> None:
        self.memory = memory
        self.risk, self._execution = risk, execution or ExecutionRules()
        self._rejects: deque[int] = deque(maxlen=64)
        self._slips: deque[float] = deque(maxlen=self._execution.slippage_entries)
        self._naked_s = 0.0

    @property
    def approval_only(self) -> bool:
        """Whether entries need a person because execution is worse than modelled."""
        return (
            len(self._slips) == self._slips.maxlen
            and sum(self._slips) / len(self._slips) > self._execution.slippage_bps_max
        )

    def mark(self, equity: Decimal, now_ms: int) -> list[Happening]:
        """Take the account's equity, open profit included; what tripped by it."""
        memory, before = self.memory, self._tripped()
        memory.equity = float(equity)
        roll_calendar(memory, now_ms)  # type: ignore[arg-type]
        memory.peak = max(memory.peak, memory.equity)
        if memory.peak > 0:
            memory.drawdown_max = max(memory.drawdown_max, 1.0 - memory.equity / memory.peak)
        if self.risk.limits:
            trip_breakers(memory, self.risk)  # type: ignore[arg-type]
        return [self._tell(name, now_ms) for name in self._tripped() if name not in before]

    def transferred(self, amount: Decimal) -> None:
        """Money was moved in or out: losses are measured from a floor moved with it."""
        moved = float(amount)
        self.memory.transfers += moved
        self.memory.peak += moved
        self.memory.day_start += moved
        self.memory.week_start += moved
        self.memory.equity += moved

    def entered(self, slippage_bps: float | None) -> None:
        """An entry was filled, so far from its plan."""
        if slippage_bps is not None:
            self._slips.append(slippage_bps)

    def placed(self) -> None:
        """An entry was sent."""
        self.memory.entries_today += 1

    def exited(
        self, symbol: str, reason: ExitReason, realised_usdt: Decimal, now_ms: int
    ) -> list[Happening]:
        """A trade ended: cooldowns and pauses follow by the rules of the step."""
        memory = self.memory
        before = memory.paused_until_ms
        row = memory.symbols.setdefault(symbol, SymbolMemory())
        desk: Any = SimpleNamespace(account=[memory], symbols={symbol: row})
        position: Any = SimpleNamespace(
            symbol=symbol, reason=_CODES[reason], realised=float(realised_usdt)
        )
        remember_exit(desk, position, now_ms, self.risk)
        if memory.paused_until_ms > max(before, now_ms):
            return [self._tell("stops_account", now_ms)]
        return []

    def rejected(self, now_ms: int) -> list[Happening]:
        """The exchange refused an entry."""
        self._rejects.append(now_ms)
        recent = [at for at in self._rejects if now_ms - at <= self._execution.rejects_window_ms]
        if len(recent) < self._execution.rejects_max:
            return []
        self._rejects.clear()
        if now_ms < self.memory.execution_paused_until_ms:
            return []
        self.memory.execution_paused_until_ms = now_ms + self._execution.pause_ms
        return [self._tell("rejects", now_ms)]

    def was_naked(self, seconds: float, now_ms: int) -> list[Happening]:
        """A position has had no stop for so long."""
        self._naked_s = max(self._naked_s, seconds)
        is_paused = now_ms < self.memory.naked_paused_until_ms
        if seconds <= self._execution.naked_s_max or is_paused:
            return []
        self.memory.naked_paused_until_ms = now_ms + self._execution.pause_ms
        return [self._tell("naked", now_ms)]

    def blocked(self, symbol: str, now_ms: int) -> str:
        """Why this symbol may not be entered now; empty when it may."""
        memory = self.memory
        if memory.is_halted:
            return "the drawdown breaker has tripped"
        if memory.is_day_blocked:
            return "the daily loss limit is reached"
        if memory.is_week_blocked:
            return "the weekly loss limit is reached"
        if now_ms < memory.paused_until_ms:
            return "too many stops in a row on the account"
        if now_ms < memory.execution_paused_until_ms:
            return "entries pause after repeated refusals"
        if now_ms < memory.naked_paused_until_ms:
            return "entries pause after a bare position"
        row = memory.symbols.get(symbol)
        if row is not None and now_ms < row.paused_until_ms:
            return f"{symbol} cools down after its last trade"
        if memory.entries_today >= self.risk.entries_per_day:
            return "the number of entries a day is reached"
        return ""

    def rearm(self, now_ms: int) -> None:
        """A person has resumed trading: a drawdown is measured from here."""
        memory = self.memory
        if memory.is_halted:
            memory.is_halted = 0
            memory.peak = memory.equity
        memory.execution_paused_until_ms = min(memory.execution_paused_until_ms, now_ms)
        memory.naked_paused_until_ms = min(memory.naked_paused_until_ms, now_ms)

    def views(self, now_ms: int) -> tuple[BreakerView, ...]:
        """Every breaker as a person reads it."""
        memory, risk = self.memory, self.risk
        day = _loss_pct(memory.equity, memory.day_start)
        week = _loss_pct(memory.equity, memory.week_start)
        drawdown = _loss_pct(memory.equity, memory.peak)
        slip = sum(self._slips) / len(self._slips) if self._slips else 0.0
        paused = max(memory.paused_until_ms, 0)
        execution, naked = memory.execution_paused_until_ms, memory.naked_paused_until_ms
        recent = [at for at in self._rejects if now_ms - at <= self._execution.rejects_window_ms]
        return (
            _view(
                "day_loss", day, risk.day_loss_pct, "%", "pause",
                tripped=bool(memory.is_day_blocked),
            ),
            _view(
                "week_loss", week, risk.week_loss_pct, "%", "pause",
                tripped=bool(memory.is_week_blocked),
            ),
            _view(
                "drawdown", drawdown, risk.drawdown_pct, "%", "halt",
                tripped=bool(memory.is_halted),
            ),
            _view(
                "stops_account", memory.stops_in_row, risk.stops_account, "stops", "pause",
                tripped=now_ms < paused, until_ms=paused,
            ),
            _view(
                "entries_today", memory.entries_today, risk.entries_per_day, "entries", "pause",
                tripped=memory.entries_today >= risk.entries_per_day,
            ),
            _view(
                "rejects", len(recent), self._execution.rejects_max, "refusals", "pause",
                tripped=now_ms < execution, until_ms=execution,
            ),
            _view(
                "naked", self._naked_s, self._execution.naked_s_max, "s", "pause",
                tripped=now_ms < naked, until_ms=naked,
            ),
            _view(
                "execution", slip, self._execution.slippage_bps_max, "bps", "approve",
                tripped=self.approval_only,
            ),
        )  # fmt: skip

    def _tripped(self) -> tuple[str, ...]:
        memory = self.memory
        flags = {
            "day_loss": memory.is_day_blocked,
            "week_loss": memory.is_week_blocked,
            "drawdown": memory.is_halted,
        }
        return tuple(name for name, tripped in flags.items() if tripped)

    def _tell(self, name: str, now_ms: int) -> Happening:
        text, next_step = _WORDS[name]
        return Happening(
            ts_ms=now_ms,
            level=Level.ALERT,
            kind="breaker",
            text=text,
            protects="stops stay at the exchange",
            next_step=next_step,
            details={"breaker": name},
        )


_WORDS = {
    "day_loss": ("the daily loss limit is reached: no entries until 00:00 UTC", "blofin status"),
    "week_loss": ("the weekly loss limit is reached: no entries until Monday", "blofin status"),
    "drawdown": ("the drawdown breaker has tripped: trading halts", "blofin resume"),
    "stops_account": ("too many stops in a row: entries pause", "blofin trades"),
    "rejects": ("the exchange refuses entries again and again: entries pause", "blofin doctor"),
    "naked": ("a position was bare for too long: entries pause", "blofin positions"),
}


def _loss_pct(equity: float, start: float) -> float:
    return max(0.0, (1.0 - equity / start) * 100.0) if start > 0 else 0.0


def _view(
    name: str,
    value: float,
    limit: float,
    unit: str,
    action: str,
    *,
    tripped: bool,
    until_ms: int | None = None,
) -> BreakerView:
    distance = 0.0 if tripped or limit <= 0 else max(0.0, min(1.0, 1.0 - value / limit))
    return BreakerView(
        name=name,
        value=round(float(value), 4),
        limit=float(limit),
        unit=unit,
        distance=distance,
        action=action,
        tripped=tripped,
        until_ms=until_ms if tripped else None,
    )
