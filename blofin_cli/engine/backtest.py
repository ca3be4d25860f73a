"""Drive the step over history: one account, many symbols, in time order.

`Course` holds what does not depend on the strategy's exits and risk, so that a sweep prepares it
once; `trade` runs the step over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles, Prices, Times
from blofin_cli.core.compiled import call
from blofin_cli.core.context import Market
from blofin_cli.core.correlation import correlations
from blofin_cli.core.fills import IMPACT_BARS
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.ledger import (
    AccountRow,
    Bars,
    Desk,
    ExitRow,
    PositionRow,
    SymbolRow,
    TradeRow,
    Verdict,
)
from blofin_cli.core.market import Gate
from blofin_cli.core.risk import DAY_MS
from blofin_cli.core.signals import Plane, slip_floor
from blofin_cli.core.strategy import TARGET_PARTS_MAX, Costs, Strategy, rules
from blofin_cli.engine import orders, step

FUNDING_8H_MS = 28_800_000
SLOTS_STUDY = 512


class StepRules(NamedTuple):
    """The sections of a strategy that the step reads."""

    costs: Any
    risk: Any
    target: Any
    manage: Any
    parts: int
    parts_rr: tuple[float, ...]
    parts_fraction: tuple[float, ...]


def step_rules(strategy: Strategy) -> StepRules:
    """A strategy as the step's named tuple; a plain target is one part of the whole.

    The parts are padded to a fixed number, since each length would be a compilation of its own.
    """
    parts = strategy.target.parts or ((strategy.target.rr, 1.0),)
    padded = parts + ((0.0, 0.0),) * (TARGET_PARTS_MAX - len(parts))
    return StepRules(
        rules(strategy.costs),
        rules(strategy.risk),
        rules(strategy.target),
        rules(strategy.manage),
        len(parts),
        tuple(float(reward) for reward, _ in padded),
        tuple(float(share) for _, share in padded),
    )


@dataclass(frozen=True, eq=False)
class Course:
    """The execution candles of all symbols laid end to end, on one clock.

    Shapes: `bars` columns (b,); `bar_at` (symbols * ticks,), -1 where a symbol has no bar.
    A symbol's history before the course only warms indicators and zones: `start_row` is the row
    of its entry candles at which the course begins, `first` that bar's place in `bars`.
    """

    markets: tuple[Market, ...]
    bars: Bars
    tick_ts: Times
    bar_at: NDArray[np.int64]
    first: tuple[int, ...]
    start_row: tuple[int, ...]
    correlation: Prices
    correlation_row: NDArray[np.int64]
    impact_memo: Prices
    step_ms: int

    @cached_property
    def day_ends(self) -> NDArray[np.int64]:
        """Last tick of every UTC day that has one."""
        day = self.tick_ts // DAY_MS
        return np.flatnonzero(np.r_[day[1:] != day[:-1], True])


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run did. `trades` are `TradeRow`, `exits` `ExitRow`, `curve` equity at each tick."""

    trades: NDArray[Any]
    exits: NDArray[Any]
    signals: NDArray[Any]
    curve: Prices
    account: Any


def lay_course(markets: Sequence[Market], costs: Costs, since_ms: int | None = None) -> Course:
    """Put the symbols' candles on one clock, with funding, marks and finer candles where known.

    Trading begins at `since_ms`, or with the first candle.
    """
    entries = [market.entry for market in markets]
    starts = [0 if since_ms is None else int(np.searchsorted(c.ts, since_ms)) for c in entries]
    step_ms = entries[0].timeframe.ms
    traded = [candles.ts[start:] for candles, start in zip(entries, starts, strict=True)]
    tick_ts = traded[0]
    for ts in traded[1:]:
        if len(ts) != len(tick_ts) or (ts != tick_ts).any():
            tick_ts = np.union1d(tick_ts, ts)
    first = tuple(int(n) for n in np.cumsum([0, *(len(ts) for ts in traded)])[:-1])
    bar_at = np.full((len(entries), len(tick_ts)), -1, dtype=np.int64)
    for row, (ts, candles) in enumerate(zip(traded, entries, strict=True)):
        at = slice(None) if len(ts) == len(tick_ts) else np.searchsorted(tick_ts, ts)
        places = np.arange(first[row], first[row] + len(ts))
        bar_at[row, at] = np.where(candles.valid[starts[row] :], places, -1)
    parts = [_bars(market, costs, start) for market, start in zip(markets, starts, strict=True)]
    bars = parts[0] if len(parts) == 1 else _joined(parts)
    correlation, correlation_row = correlations(markets, tick_ts, step_ms)
    return Course(
        tuple(markets),
        bars,
        tick_ts,
        bar_at.ravel(),
        first,
        tuple(starts),
        correlation,
        correlation_row,
        np.full(len(bars.ts), -1.0),
        step_ms,
    )


def _joined(parts: list[Bars]) -> Bars:
    fine_at = np.cumsum([0, *(len(part.fine_high) for part in parts)])
    for part, offset in zip(parts, fine_at, strict=False):
        part.fine_first[:] += offset
        part.fine_stop[:] += offset
    return Bars(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def trade(
    course: Course,
    planes: Sequence[Plane],
    strategy: Strategy,
    equity: float,
    optimistic: bool = False,
) -> Outcome:
    """Run the step over the whole course with these planes' signals."""
    return trade_signals(course, merge_signals(course, planes), strategy, equity, optimistic)


def trade_signals(
    course: Course,
    signals: NDArray[Any],
    strategy: Strategy,
    equity: float,
    optimistic: bool = False,
) -> Outcome:
    """Run the step over the whole course with signals in time order."""
    exits_room = 4 * len(signals) + 64
    while True:
        desk = desk_of(
            course, signals.copy(), strategy, equity, exits_room=exits_room, optimistic=optimistic
        )
        curve = np.empty(len(course.tick_ts))
        call(step.run, desk, step_rules(strategy), curve, work_bars=_work(course, signals))
        account = desk.account[0]
        if account["exits"] <= exits_room:
            break
        exits_room = 2 * int(account["exits"])
    trades = desk.trades[: account["trades"]]
    return Outcome(trades, desk.exits[: account["exits"]], desk.signals, curve, account)


def merge_signals(course: Course, planes: Sequence[Plane]) -> NDArray[Any]:
    """Signals of all symbols in time order; at one time higher timeframes first, then symbols."""
    parts = []
    for index, (plane, candles) in enumerate(zip(planes, course.markets, strict=True)):
        rows = plane.signals()
        rows = rows[rows["tick"] >= course.start_row[index]]
        rows["symbol"] = index
        for name in ("tick", "until"):
            rows[name] = np.searchsorted(course.tick_ts, candles.entry.ts[rows[name]])
        parts.append(rows)
    signals = np.concatenate(parts)
    order = np.lexsort((signals["symbol"], -signals["zone_ms"], signals["tick"]))
    return signals[order]


def _work(course: Course, signals: NDArray[Any]) -> int:
    # A position is held for a few hundred bars; idle bars cost next to nothing.
    return min(len(course.bars.ts), 200 * len(signals)) + len(course.tick_ts) // 8


def desk_of(
    course: Course,
    signals: NDArray[Any],
    strategy: Strategy,
    equity: float,
    *,
    exits_room: int = 0,
    optimistic: bool = False,
) -> Desk:
    """A fresh account of this equity before the course, with room for these signals."""
    account = AccountRow.rows(1)
    for name in ("start", "cash", "equity", "peak", "day_start", "week_start"):
        account[name] = equity
    account["day"] = course.tick_ts[0] // DAY_MS if len(course.tick_ts) else 0
    slots = strategy.risk.positions_max if strategy.risk.limits else SLOTS_STUDY
    return Desk(
        bars=course.bars,
        bar_at=course.bar_at,
        tick_ts=course.tick_ts,
        correlation=course.correlation,
        correlation_row=course.correlation_row,
        symbols=_symbols(course, strategy),
        signals=signals,
        positions=PositionRow.rows(slots),
        trades=TradeRow.rows(len(signals)),
        exits=ExitRow.rows(exits_room),
        account=account,
        impact_memo=course.impact_memo,
        scratch=np.zeros(IMPACT_BARS),
        step_ms=course.step_ms,
        optimistic=int(optimistic),
    )


def _symbols(course: Course, strategy: Strategy) -> NDArray[Any]:
    rows = SymbolRow.rows(len(course.markets))
    for row, market, first in zip(rows, course.markets, course.first, strict=True):
        terms = market.instrument
        row["first"] = first
        row["slip_floor"] = slip_floor(terms.symbol, strategy)
        row["leverage_max"] = terms.leverage_max
        row["maintenance"] = float(terms.maintenance_margin)
        if strategy.risk.limits:
            row["tick"] = float(terms.tick_size)
            row["lot"] = float(terms.lot_size * terms.contract_value)
            row["size_min"] = float(terms.min_size * terms.contract_value)
        row["size_max"] = float(
            min(terms.market_size_max, terms.limit_size_max) * terms.contract_value
        )
    return rows


def _bars(market: Market, costs: Costs, start: int) -> Bars:
    candles = market.entry[start:] if start else market.entry
    mark = _mark_columns(market.mark, candles)
    longs, shorts = _funding_columns(market.funding, candles, costs)
    fine_first, fine_stop, fine_high, fine_low = _fine_columns(market.fine, candles)
    return Bars(
        candles.ts,
        candles.open,
        candles.high,
        candles.low,
        candles.close,
        candles.volume,
        np.cumsum(_quote_volume(candles)),
        *mark,
        longs,
        shorts,
        fine_first,
        fine_stop,
        fine_high,
        fine_low,
    )


def _quote_volume(candles: Candles) -> Prices:
    value = candles.close * candles.volume
    return value if candles.valid.all() else np.nan_to_num(value)


def _funding_columns(
    history: FundingHistory | None, candles: Candles, costs: Costs
) -> tuple[Prices, Prices]:
    """What longs and shorts pay at the funding times in (open, close] of each bar.

    The history where there is one, the documented fallback before and after it. A time that
    falls into a gap is paid with the first bar after it.
    """
    longs, shorts = np.zeros(len(candles)), np.zeros(len(candles))
    if len(candles) == 0:
        return longs, shorts
    first_ms, last_ms = int(candles.ts[0]), int(candles.close_ts[-1])
    due_ms = np.arange(first_ms // FUNDING_8H_MS + 1, last_ms // FUNDING_8H_MS + 1) * FUNDING_8H_MS
    if history is not None and len(history):
        is_known = (due_ms >= history.ts[0]) & (due_ms < history.ts[-1] + FUNDING_8H_MS)
        due_ms = due_ms[~is_known]
        inside = (history.ts > first_ms) & (history.ts <= last_ms)
        bar = np.searchsorted(candles.close_ts, history.ts[inside])
        np.add.at(longs, bar, history.rate[inside])
        np.add.at(shorts, bar, -history.rate[inside])
    bar = np.searchsorted(candles.close_ts, due_ms)
    np.add.at(longs, bar, costs.funding_8h)
    np.add.at(shorts, bar, -costs.funding_8h * costs.funding_credit)
    return longs, shorts


def _mark_columns(mark: Candles | None, candles: Candles) -> tuple[Prices, Prices, Prices]:
    """Mark extremes and the last known mark close of each bar, 0 where unknown.

    A coarser mark bar lends its extremes to the entry bar only as far as the bar's own prices
    allow: its low is taken no lower than the bar's low and its high no higher than the bar's high.
    """
    none = np.zeros(len(candles))
    if mark is None or len(mark) == 0:
        return none, none, none
    inside = np.searchsorted(mark.ts, candles.ts, side="right") - 1
    covered = (inside >= 0) & (candles.ts < mark.ts[inside] + mark.timeframe.ms)
    closed = np.searchsorted(mark.close_ts, candles.close_ts, side="right") - 1
    low, high = mark.low[inside], mark.high[inside]
    if mark.timeframe.ms > candles.timeframe.ms:
        low, high = np.maximum(low, candles.low), np.minimum(high, candles.high)
    low, high = np.where(covered, low, 0.0), np.where(covered, high, 0.0)
    return low, high, np.where(covered & (closed >= 0), mark.close[closed], 0.0)


def _fine_columns(fine: Candles | None, candles: Candles) -> tuple[Any, Any, Any, Any]:
    none = np.zeros(len(candles), dtype=np.int64)
    if fine is None or len(fine) == 0:
        return none, none.copy(), np.empty(0), np.empty(0)
    first = np.searchsorted(fine.ts, candles.ts)
    stop = np.searchsorted(fine.ts, candles.close_ts)
    # A bar that finer candles cover only in part cannot be resolved by them.
    children = candles.timeframe.ms // fine.timeframe.ms
    stop = np.where(stop - first == children, stop, first)
    return first.astype(np.int64), stop.astype(np.int64), fine.high, fine.low


def plan_once(
    market: Market, plane: Plane, strategy: Strategy, equity: float
) -> tuple[float | None, Gate]:
    """Size the plane's one decision for a fresh account: base units and the account's gate.

    The same `plan` as every bar of a run.
    """
    last = Market(market.entry, market.instrument)
    course = lay_course([last], strategy.costs)
    rows = plane.signal_rows(np.arange(1))
    desk = desk_of(course, rows, strategy, equity)
    tick = len(course.tick_ts) - 1
    quantity = float(call(orders.plan, desk, tick, 0, step_rules(strategy), work_bars=0))
    verdict = Verdict(int(rows["verdict"][0]))
    name = "account" if verdict is Verdict.TRADED else verdict.name.lower()
    note = "size, exposure and breakers of a fresh account; the value is base units"
    return quantity or None, Gate(name, verdict is Verdict.TRADED, quantity, 0.0, note)
