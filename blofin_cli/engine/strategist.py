"""The strategy as a live session asks it: closed bars in, one judgement a bar out.

It holds each symbol's candles from one recorded start and judges by the same `evaluate` as a
backtest, over the whole of them: no trailing window, no second implementation.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Decision
from blofin_cli.core.market import Action, Instrument, Timeframe, Zone
from blofin_cli.core.orders import OrderType, Side
from blofin_cli.core.quotes import Bar
from blofin_cli.core.reading import Reading, name_of, read, signal_of, zones_now
from blofin_cli.core.signals import Plane
from blofin_cli.core.strategy import Strategy
from blofin_cli.core.tickets import Ticket

ROOM_BARS = 4_096
PLAN_DAYS = 40
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FOREVER = np.int64(1 << 40)


@dataclass(frozen=True, kw_only=True, eq=False)
class Wish:
    """A ticket the strategy wants placed. `hold_ms` is its time stop."""

    ticket: Ticket
    hold_ms: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What the strategy says at one closed bar.

    `decision` explains it whatever it is; `resting` names the zones whose resting entries may stay;
    `plane` is what it was read from, None where another strategy stands in.
    """

    decision: Decision
    wishes: tuple[Wish, ...] = ()
    resting: frozenset[str] = frozenset()
    plane: Plane | None = None

    def keeps_zones(self, timeframe: Timeframe) -> bool:
        """Whether the zones belong in the journal with it: those that a wish was judged by, and
        once an hour, since they change with a context bar."""
        decision = self.decision
        return decision.side is not None or (decision.bar_ms + timeframe.ms) % HOUR_MS == 0


class Strategist(Protocol):
    """Whoever decides at a closed bar; the storm puts another in the strategy's place."""

    @property
    def timeframe(self) -> Timeframe:
        """The entry timeframe."""
        ...

    def next_open_ms(self, symbol: str) -> int:
        """Open time of the bar that must come next."""
        ...

    def take(self, symbol: str, bars: Sequence[Bar]) -> None:
        """Add closed bars; each opens later than what is held."""
        ...

    def judge(self, symbol: str, now_ms: int) -> Judgement:
        """Decide at the last bar taken."""
        ...

    def zones(self, symbol: str) -> tuple[Zone, ...]:
        """The zones as they stand at the last bar taken."""
        ...

    def market(self, symbol: str) -> Market:
        """The last weeks of candles, for sizing and correlation."""
        ...


class History:
    """One symbol's closed candles in columns that grow; a slice of them costs nothing."""

    def __init__(self, candles: Candles) -> None:
        self._symbol, self.timeframe = candles.symbol, candles.timeframe
        self._length = len(candles)
        self._columns = {
            name: np.concatenate([getattr(candles, name), np.zeros(ROOM_BARS)]) for name in COLUMNS
        }
        self._ts = np.concatenate([candles.ts, np.zeros(ROOM_BARS, dtype=np.int64)])
        self._sha = hashlib.sha256()
        self._sha.update(candles.ts.tobytes())
        for name in COLUMNS:
            self._sha.update(np.ascontiguousarray(getattr(candles, name)).tobytes())

    def append(self, bar: Bar) -> None:
        """Add one bar."""
        if self._length == len(self._ts):
            self._grow()
        at = self._length
        self._ts[at] = bar.ts_ms
        for name in COLUMNS:
            self._columns[name][at] = getattr(bar, name)
        self._length += 1
        row = f"{bar.ts_ms} {bar.open!r} {bar.high!r} {bar.low!r} {bar.close!r} {bar.volume!r}"
        self._sha.update(row.encode())

    @property
    def digest(self) -> str:
        """Name of everything held, in the order it came."""
        return self._sha.copy().hexdigest()[:16]

    def candles(self, last_bars: int | None = None) -> Candles:
        """The candles held, or the newest of them; later bars do not show in it."""
        first = 0 if last_bars is None else max(0, self._length - last_bars)
        rows = slice(first, self._length)
        columns = {name: column[rows] for name, column in self._columns.items()}
        return Candles(self._symbol, self.timeframe, self._ts[rows], **columns)

    @property
    def last_ms(self) -> int:
        """Open time of the newest bar."""
        return int(self._ts[self._length - 1])

    def _grow(self) -> None:
        self._ts = np.concatenate([self._ts, np.zeros(len(self._ts), dtype=np.int64)])
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros(len(column))])


class ZoneStrategist:
    """The supply and demand strategy over live candles."""

    def __init__(
        self,
        strategy: Strategy,
        candles: Mapping[str, Candles],
        instruments: Mapping[str, Instrument],
    ) -> None:
        self.strategy = strategy
        self._instruments = dict(instruments)
        self._histories = {symbol: History(rows) for symbol, rows in candles.items()}

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it holds candles of."""
        return tuple(self._histories)

    @property
    def timeframe(self) -> Timeframe:
        """The entry timeframe."""
        return self.strategy.timeframe

    def next_open_ms(self, symbol: str) -> int:
        """Open time of the bar that must come next."""
        return self._histories[symbol].last_ms + self.timeframe.ms

    def take(self, symbol: str, bars: Sequence[Bar]) -> None:
        """Add closed bars, in order."""
        history = self._histories[symbol]
        for bar in bars:
            assert bar.is_closed
            assert bar.ts_ms > history.last_ms
            history.append(bar)

    def judge(self, symbol: str, now_ms: int) -> Judgement:
        """Decide at the last bar taken, by the same plane as a backtest."""
        whole = self.whole(symbol)
        reading = read(whole, self.strategy)
        found = signal_of(reading, None, [])
        plane, last = reading.plane, len(whole.entry) - 1
        rows = plane.signals()
        due = rows[rows["tick"] == last]
        wishes = tuple(self._wish(reading, symbol, row) for row in due)
        alive = rows[resting_until(plane, rows) > last]
        action = found.action
        if wishes:
            action = Action.BUY if wishes[0].ticket.side is Side.BUY else Action.SELL
        first = wishes[0].ticket if wishes else None
        decision = Decision(
            symbol=symbol,
            bar_ms=int(whole.entry.ts[last]),
            ts_ms=now_ms,
            action=action.value,
            outcome="hold",
            gates=tuple(found.gates),
            digest=self._histories[symbol].digest,
            zone_id=first.zone_id if first else found.zone_id,
            side=first.side.value if first else None,
            entry=float(due["entry"][0]) if wishes else found.entry,
            stop=float(due["stop"][0]) if wishes else found.stop,
            target=float(first.target) if first and first.target else found.target,
            confidence=first.confidence if first else found.confidence,
            risk_fraction=float(due["risk_fraction"][0]) if wishes else found.risk_fraction,
        )
        resting = frozenset(
            name_of(plane.book, symbol, int(plane.zone[row])) for row in alive["zone"]
        )
        return Judgement(decision=decision, wishes=wishes, resting=resting, plane=plane)

    def zones(self, symbol: str) -> tuple[Zone, ...]:
        """Live zones, nearest first."""
        return tuple(zones_now(self.whole(symbol), self.strategy))

    def market(self, symbol: str) -> Market:
        """The last weeks of candles."""
        bars = PLAN_DAYS * DAY_MS // self.timeframe.ms
        return Market(self._histories[symbol].candles(bars), self._instruments[symbol])

    def whole(self, symbol: str) -> Market:
        """All candles held."""
        return Market(self._histories[symbol].candles(), self._instruments[symbol])

    def _wish(self, reading: Reading, symbol: str, row: np.void) -> Wish:
        """The ticket of one signal row."""
        plane, at = reading.plane, int(row["zone"])
        side = Side.BUY if row["side"] > 0 else Side.SELL
        limit = float(row["limit"])
        target = float(plane.target[at])
        ticket = Ticket(
            symbol=symbol,
            side=side,
            type=OrderType.LIMIT if limit > 0 else OrderType.MARKET,
            price=_money(limit) if limit > 0 else None,
            stop=_money(float(row["stop"])),
            target=_money(target) if target > 0 else None,
            risk_fraction=_money(float(row["risk_fraction"])),
            confidence=float(plane.confidence[at]),
            zone_id=name_of(plane.book, symbol, int(plane.zone[at])),
            signal_ms=int(plane.at.now_ms[at]),
            notional_scale=float(row["notional_scale"]),
        )
        return Wish(ticket=ticket, hold_ms=int(row["hold_ms"]))


def resting_until(plane: Plane, rows: NDArray[Any]) -> NDArray[np.int64]:
    """Last bar at which each row's entry may rest, as far as is known; `FOREVER` while it is not.

    A finished history has the last candle stand for "not ended yet"; a live one must tell the two
    apart, or an order would be given up a bar early.
    """
    if plane.strategy.entry.mode != "limit":
        return rows["until"].astype(np.int64)
    lives = plane.book.first[plane.zone[rows["zone"]]]
    end = np.where(lives["window_end"] >= 0, lives["window_end"], lives["end"])
    return np.where(end >= 0, end, FOREVER)


def _money(value: float) -> Decimal:
    return Decimal(repr(value))
