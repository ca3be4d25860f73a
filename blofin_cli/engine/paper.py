"""A dry run: real closed candles, simulated fills, and the very step a backtest runs.

The account is a `Desk` that grows by one tick a bar. Each tick goes through `step.step`, so what a
dry run does over some candles is, to the last bit, what a backtest over the same candles does.
Positions live in memory: a session starts flat, and what is open when it ends is closed with reason
`end`, as at the end of a backtest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Times
from blofin_cli.core.compiled import call, kernel
from blofin_cli.core.context import Market
from blofin_cli.core.fills import slip_fraction
from blofin_cli.core.ledger import (
    ENTERING,
    FREE,
    REASONS,
    RESTING,
    Desk,
    ExitRow,
    SignalRow,
    TradeRow,
    Verdict,
)
from blofin_cli.core.market import ExitReason, Trade
from blofin_cli.core.signals import Plane
from blofin_cli.core.strategy import Strategy
from blofin_cli.engine import step
from blofin_cli.engine.backtest import Course, desk_of, lay_course, step_rules
from blofin_cli.engine.orders import abandon
from blofin_cli.engine.step import pay_taker
from blofin_cli.engine.strategist import resting_until
from blofin_cli.engine.trades import Origin, origin_of, part_exits, to_trade

EXITS_ROOM = 64
HALT = REASONS.index(ExitReason.HALT)
MANUAL = REASONS.index(ExitReason.MANUAL)
END = REASONS.index(ExitReason.END)


@kernel
def close_now(desk: Desk, slot: int, k: int, price: float, reason: int, rules: Any) -> None:
    """Close a position whole at a price, or cancel its entry, between two bars."""
    position = desk.positions[slot]
    if position.quantity <= 0.0:
        abandon(desk, position)
        return
    position.reason = reason
    symbol = desk.symbols[position.symbol]
    slip = slip_fraction(desk, k, symbol, price * position.quantity, rules)
    pay_taker(desk, position, k, price, position.quantity, slip, rules)


def everywhere(symbol: str) -> bool:
    """Every symbol may be entered."""
    del symbol
    return True


class PaperAccount:
    """A simulated account that trades bar by bar.

    `since_ms` is when it begins: earlier candles only warm indicators and zones.
    """

    def __init__(
        self, strategy: Strategy, equity: float, since_ms: int, *, run_id: str, mode: str
    ) -> None:
        self.strategy, self.since_ms = strategy, since_ms
        self.run_id, self.mode = run_id, mode
        self._rules = step_rules(strategy)
        self._equity = equity
        self._desk: Desk | None = None
        self._course: Course | None = None
        self._signals: NDArray[Any] = SignalRow.rows(0)
        self._origins: list[Origin] = []
        self._told = 0
        self.curve: list[tuple[int, float]] = []

    @property
    def equity(self) -> float:
        """Equity at the last close."""
        return self._equity if self._desk is None else float(self._desk.account[0]["equity"])

    @property
    def account(self) -> Any:
        """The account row, None before the first bar."""
        return None if self._desk is None else self._desk.account[0]

    def on_tick(
        self,
        markets: Sequence[Market],
        planes: Sequence[Plane | None],
        *,
        may_enter: Callable[[str], bool] = everywhere,
    ) -> list[tuple[Origin, int]]:
        """Trade one closed bar of all symbols; the planes end with it, None where a bar is missing.

        Returns each signal of this bar with the account's verdict. Where nothing may be entered,
        nothing is asked for.
        """
        course = self._grown(markets)
        tick = len(course.tick_ts) - 2  # the last tick is the one to come
        new, origins = self._due(course, planes, tick)
        kept = [at for at, origin in enumerate(origins) if may_enter(origin.symbol)]
        new, origins = new[kept], [origins[at] for at in kept]
        first = len(self._signals)
        self._signals = np.concatenate([self._signals, new])
        self._origins += origins
        desk = self._desk_over(course)
        if self.strategy.entry.mode == "limit":
            _extend(desk, course, planes, self._origins)
        call(step.step, desk, tick, self._rules, work_bars=0)
        self._desk, self._signals = desk, desk.signals
        self.curve.append((int(course.tick_ts[tick]) + course.step_ms, self.equity))
        verdicts = desk.signals["verdict"][first:]
        return list(zip(origins, (int(code) for code in verdicts), strict=True))

    def cancel_entries(self, number: int = step.EVERY) -> int:
        """Give up the entry of this number, or every one, that rests or still fills; how many."""
        if self._desk is None:
            return 0
        return int(call(step.cancel_entries, self._desk, number, work_bars=0))

    def close(self, symbol: str | None, prices: dict[str, float], reason: int = MANUAL) -> int:
        """Close positions of a symbol, or all, at these prices now; how many were closed."""
        if self._desk is None or self._course is None:
            return 0
        closed = 0
        for slot, row in enumerate(self._desk.positions):
            name = self._course.markets[int(row["symbol"])].entry.symbol
            if row["status"] == FREE or symbol not in (None, name):
                continue
            k = self._last_bar(int(row["symbol"]))
            price = prices.get(name, float(self._desk.bars.close[k]))
            call(close_now, self._desk, slot, k, price, reason, self._rules, work_bars=0)
            closed += 1
        account = self._desk.account
        if closed and account[0]["active"] == 0:
            account[0]["equity"] = account[0]["cash"]
        return closed

    def move_stop(self, symbol: str, stop: float) -> bool:
        """Set the stop of a position; False when there is none."""
        row = self._row(symbol)
        if row is None:
            return False
        row["stop"], row["is_moved"] = stop, 1
        return True

    def move_target(self, symbol: str, target: float) -> bool:
        """Set the target of a position; False when there is none."""
        row = self._row(symbol)
        if row is None:
            return False
        row["target"] = row["fixed_target"] = target
        return True

    def new_trades(self) -> list[Trade]:
        """Trades finished since the last call, in order of their exit."""
        if self._desk is None:
            return []
        done = int(self._desk.account[0]["trades"])
        exits = part_exits(self._desk.exits[: int(self._desk.account[0]["exits"])])
        fresh = []
        for index in range(self._told, done):
            row = self._desk.trades[index]
            fresh.append(
                to_trade(
                    row,
                    exits.get(int(row["number"]), []),
                    self._origins[int(row["signal"])],
                    trade_id=f"{self.run_id}-{index + 1}",
                    run_id=self.run_id,
                    mode=self.mode,
                )
            )
        self._told = done
        return fresh

    def held(self) -> list[tuple[str, Any, Origin]]:
        """Open positions and waiting entries: symbol, row and where they came from."""
        if self._desk is None or self._course is None:
            return []
        return [
            (
                self._course.markets[int(row["symbol"])].entry.symbol,
                row,
                self._origins[int(row["signal"])],
            )
            for row in self._desk.positions
            if row["status"] != FREE
        ]

    def waiting(self) -> list[tuple[str, Any, int]]:
        """Entries that rest or still fill: symbol, row and when they were asked for."""
        if self._desk is None or self._course is None:
            return []
        ticks, step_ms = self._course.tick_ts, self._course.step_ms
        asked = self._desk.signals["tick"]
        return [
            (symbol, row, int(ticks[int(asked[int(row["signal"])])]) + step_ms)
            for symbol, row, _ in self.held()
            if row["status"] in (RESTING, ENTERING)
        ]

    def _row(self, symbol: str) -> Any | None:
        for name, row, _ in self.held():
            if name == symbol and row["quantity"] > 0:
                return row
        return None

    def _last_bar(self, symbol: int) -> int:
        """Place of a symbol's newest bar."""
        assert self._course is not None
        ticks = len(self._course.tick_ts)
        bars = self._course.bar_at[symbol * ticks : (symbol + 1) * ticks]
        return int(bars[bars >= 0][-1])

    def _grown(self, markets: Sequence[Market]) -> Course:
        """The course so far and one tick beyond it, so that the newest bar is not the end."""
        course = lay_course(markets, self.strategy.costs, self.since_ms)
        ticks = len(course.tick_ts)
        following = np.append(course.tick_ts, course.tick_ts[-1] + course.step_ms)
        rows = course.bar_at.reshape(len(markets), ticks)
        bar_at = np.concatenate([rows, np.full((len(markets), 1), -1, dtype=np.int64)], axis=1)
        known = np.append(course.correlation_row, course.correlation_row[-1])
        self._course = Course(
            course.markets,
            course.bars,
            following,
            bar_at.ravel(),
            course.first,
            course.start_row,
            course.correlation,
            known,
            course.impact_memo,
            course.step_ms,
        )
        return self._course

    def _due(
        self, course: Course, planes: Sequence[Plane | None], tick: int
    ) -> tuple[NDArray[Any], list[Origin]]:
        """Signals decided at this tick's close, higher timeframes first, then by symbol."""
        parts, sources = [], []
        for index, plane in enumerate(planes):
            if plane is None:
                continue
            entry = plane.market.entry
            if len(entry) == 0 or int(entry.ts[-1]) != int(course.tick_ts[tick]):
                continue
            rows = plane.signals()
            rows = rows[rows["tick"] == len(entry) - 1]
            sources += [origin_of(plane, int(row["zone"])) for row in rows]
            rows["symbol"], rows["tick"], rows["until"] = index, tick, tick
            parts.append(rows)
        if not parts:
            return SignalRow.rows(0), []
        joined = np.concatenate(parts)
        order = np.lexsort((joined["symbol"], -joined["zone_ms"]))
        return joined[order], [sources[int(at)] for at in order]

    def _desk_over(self, course: Course) -> Desk:
        """The account as it was, over the grown course."""
        fresh = desk_of(course, self._signals, self.strategy, self._equity, exits_room=EXITS_ROOM)
        before = self._desk
        if before is None:
            return fresh
        symbols = fresh.symbols
        for name in ("paused_until_ms", "stops_in_row"):
            symbols[name] = before.symbols[name]
        return fresh._replace(
            symbols=symbols,
            positions=before.positions,
            account=before.account,
            trades=_with_room(before.trades, TradeRow, len(self._signals)),
            exits=_with_room(before.exits, ExitRow, int(before.account[0]["exits"]) + EXITS_ROOM),
        )


def _with_room(rows: NDArray[Any], kind: Any, room: int) -> NDArray[Any]:
    """The rows, with empty ones behind them where there are too few."""
    missing = room - len(rows)
    return rows if missing <= 0 else np.concatenate([rows, kind.rows(missing)])


def _extend(
    desk: Desk, course: Course, planes: Sequence[Plane | None], origins: Sequence[Origin]
) -> None:
    """Let resting entries rest until the bar that ends the first touch, which is known by then."""
    ends: dict[str, int] = {}
    for plane in planes:
        if plane is None:
            continue
        rows = plane.signals()
        for row, until in zip(rows, resting_until(plane, rows), strict=True):
            ends[origin_of(plane, int(row["zone"])).zone_id] = _tick_of(course, plane, int(until))
    for row in desk.positions:
        if row["status"] == RESTING:
            at = int(row["signal"])
            row["until"] = ends.get(origins[at].zone_id, int(desk.signals["tick"][at]))


def _tick_of(course: Course, plane: Plane, bar: int) -> int:
    ts: Times = plane.market.entry.ts
    if bar >= len(ts):
        return bar
    return int(np.searchsorted(course.tick_ts, ts[bar]))


VERDICTS = {int(verdict): verdict.name.lower() for verdict in Verdict}
