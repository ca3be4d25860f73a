"""From touches to moments of decision: what the first touch of each zone led to.

Source: the specification, 6.1 and, for the adaptive entry timeframe, 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles, Flags, Prices
from blofin_cli.core.compiled import Record, call, kernel
from blofin_cli.core.context import Market
from blofin_cli.core.market import Timeframe
from blofin_cli.core.strategy import Strategy, rules
from blofin_cli.core.zones import LifeRow, Path, ZoneBook, path_of

# Outcomes of a first touch.
UNTOUCHED, WAITING, CONFIRMED, BROKEN_FIRST, LAPSED = range(5)


class EntryRow(Record):
    """What the first touch of a zone led to.

    `signal` is the entry bar at whose close it confirmed, `extreme` the worst price since the
    touch, as demand, `step_ms` the length of the candles that were asked to confirm.
    """

    outcome: int
    signal: int
    step_ms: int
    extreme: float
    penetration: float


@kernel
def confirm_entries(
    lives: Any, sides: Any, demand: Path, supply: Path, rules: Any, entries: Any
) -> None:
    """Look for the confirming candle of every zone's first touch."""
    for i in range(len(sides)):
        confirm_entry(lives[i], demand if sides[i] > 0 else supply, rules, entries[i])


@kernel
def confirm_entry(life: LifeRow, path: Path, rules: Any, entry: EntryRow) -> None:
    """First candle of the touch's window that closes back out with a strong body.

    Source: 6.1, mode confirm. A close beyond distal before that cancels.
    """
    entry.signal = -1
    entry.outcome = UNTOUCHED
    if life.first_touch < 0:
        return
    height = life.proximal - life.distal
    entry.outcome = WAITING
    entry.extreme = path.adverse[life.first_touch]
    for k in range(life.first_touch, life.first_touch + rules.conf_win):
        if k >= life.limit:
            return
        entry.extreme = min(entry.extreme, path.adverse[k])
        if height > 0.0:
            entry.penetration = max(0.0, (life.proximal - entry.extreme) / height)
        close = path.close[k]
        if close < life.distal:
            entry.outcome = BROKEN_FIRST
            return
        size = path.favourable[k] - path.adverse[k]
        strong = close - path.open[k] >= rules.conf_body * size
        if strong and size > 0.0 and close > life.proximal:
            entry.outcome = CONFIRMED
            entry.signal = k
            return
    entry.outcome = LAPSED


def find_entries(market: Market, strategy: Strategy, book: ZoneBook) -> NDArray[Any]:
    """What the first touch of every zone led to, on the entry timeframe or, adaptively, on 5m."""
    entries = EntryRow.rows(len(book))
    sides = np.ascontiguousarray(book.rows["side"])
    call(
        confirm_entries,
        book.first,
        sides,
        market.path(1),
        market.path(-1),
        rules(strategy.entry),
        entries,
        work_bars=len(book) * strategy.entry.conf_win,
    )
    entries["step_ms"] = market.entry.timeframe.ms
    finer = market.finer(Timeframe.M5)
    if strategy.volatility.adaptive and finer is not None:
        _confirm_on_finer(market, strategy, book, entries, finer)
    return entries


def _confirm_on_finer(
    market: Market, strategy: Strategy, book: ZoneBook, entries: NDArray[Any], finer: Candles
) -> None:
    """Ask 5m candles instead where volatility was high when the zone was first touched.

    The decision still waits for the close of the entry candle, since it can fill no earlier.
    """
    touched = np.flatnonzero(book.first["first_touch"] >= 0)
    touch_ms = market.entry.ts[book.first["first_touch"][touched]]
    covered = (touch_ms >= finer.ts[0]) & (touch_ms < finer.ts[-1])
    touched, touch_ms = touched[covered], touch_ms[covered]
    fast = [is_fast(market, strategy, int(ms)) for ms in touch_ms]
    chosen = touched[np.array(fast, dtype=np.bool_)]
    if not len(chosen):
        return
    paths = market.keep(
        ("finer paths", finer.timeframe), lambda: (path_of(finer, 1), path_of(finer, -1))
    )
    lives, rows = book.first[chosen].copy(), EntryRow.rows(len(chosen))
    sides = np.ascontiguousarray(book.rows["side"][chosen])
    start = np.searchsorted(finer.ts, market.entry.ts[lives["first_touch"]])
    for i, side in enumerate(sides):
        adverse = (paths[0] if side > 0 else paths[1]).adverse[start[i] :]
        lives["first_touch"][i] = int(start[i]) + int(np.argmax(adverse <= lives["proximal"][i]))
    lives["limit"] = len(finer)
    call(
        confirm_entries,
        lives,
        sides,
        *paths,
        rules(strategy.entry),
        rows,
        work_bars=len(rows) * strategy.entry.conf_win,
    )
    confirmed = rows["signal"] >= 0
    bar = np.searchsorted(market.entry.close_ts, finer.close_ts[rows["signal"]])
    is_known = bar < len(market.entry)
    rows["outcome"] = np.where(confirmed & ~is_known, WAITING, rows["outcome"])
    rows["signal"] = np.where(confirmed & is_known, bar, -1)
    for at in np.flatnonzero(rows["signal"] >= 0):
        since = slice(int(book.first["first_touch"][chosen[at]]), int(rows["signal"][at]) + 1)
        rows["extreme"][at] = market.path(int(sides[at])).adverse[since].min()
    rows["step_ms"] = finer.timeframe.ms
    entries[chosen] = rows


def is_fast(market: Market, strategy: Strategy, now_ms: int) -> bool:
    """Whether 5m confirms at a time: the hourly volatility rank, with hysteresis.

    Invariants: causal: only hours closed by then are asked, back to the last one that decided.
    """
    limits = strategy.volatility
    row = int(market.frame_row(Timeframe.H1, np.array([now_ms]))[0])
    closes = market.frame(Timeframe.H1).close_ts
    while row >= 0:
        rank = float(market.volatility_rank(Timeframe.H1, closes[row : row + 1])[0])
        if not limits.adaptive_leave <= rank < limits.adaptive_enter:
            return rank >= limits.adaptive_enter
        row -= 1
    return False


@dataclass(frozen=True, eq=False)
class Moments:
    """Where decisions are made: zone, bar, entry price, limit price, stop reference, last bar.

    `margin` is how far price had gone from the zone by then; None where the zone's life knows it.
    """

    zone: NDArray[np.int64]
    bar: NDArray[np.int64]
    entry: Prices
    limit: Prices
    worst: Prices
    until: NDArray[np.int64]
    penetration: Prices
    touches: NDArray[np.int64]
    margin: Prices | None = None


def traded(strategy: Strategy, book: ZoneBook) -> Flags:
    """Which zones belong to a timeframe that is traded."""
    return np.isin(book.step_ms, [timeframe.ms for timeframe in strategy.context])


def _confirm_moments(market: Market, strategy: Strategy, book: ZoneBook, entries: Any) -> Moments:
    zone = np.flatnonzero((entries["outcome"] == CONFIRMED) & traded(strategy, book))
    side = book.rows["side"][zone]
    bar = entries["signal"][zone]
    distal = book.rows["distal"][zone]
    extreme = side * entries["extreme"][zone]
    return Moments(
        zone=zone,
        bar=bar,
        entry=market.entry.close[bar],
        limit=np.zeros(len(zone)),
        worst=np.where(side > 0, np.minimum(distal, extreme), np.maximum(distal, extreme)),
        until=bar,
        penetration=entries["penetration"][zone],
        touches=np.ones(len(zone), dtype=np.int64),
    )


def _limit_moments(market: Market, strategy: Strategy, book: ZoneBook, entries: Any) -> Moments:
    del entries
    bars = len(market.entry)
    # Where candles are missing, the first one that closes after the birth may touch the zone too.
    birth = np.searchsorted(market.entry.close_ts, book.born_ms)
    touched = book.first["first_touch"]
    in_time = (birth < bars) & ((touched < 0) | (touched > birth))
    zone = np.flatnonzero(in_time & traded(strategy, book))
    side, lives = book.rows["side"][zone], book.first[zone]
    proximal, distal = book.rows["proximal"][zone], book.rows["distal"][zone]
    price = proximal - strategy.entry.depth * (proximal - distal)
    tick = float(market.instrument.tick_size) if strategy.risk.limits else 0.0
    price = round_prices(price, tick, side < 0)
    end = np.where(lives["window_end"] >= 0, lives["window_end"], lives["end"])
    return Moments(
        zone=zone,
        bar=birth[zone],
        entry=price,
        limit=price,
        worst=distal,
        until=np.where(end >= 0, end, bars - 1),
        penetration=np.zeros(len(zone)),
        touches=np.zeros(len(zone), dtype=np.int64),
        margin=np.zeros(len(zone)),
    )


def _refined_moments(market: Market, strategy: Strategy, book: ZoneBook, entries: Any) -> Moments:
    """First same-side zone of the entry timeframe beside a touched zone of the highest context."""
    del entries
    top_ms = max(timeframe.ms for timeframe in strategy.context)
    small = np.flatnonzero(book.step_ms == strategy.timeframe.ms)
    zone, bar = [], []
    for big in np.flatnonzero((book.step_ms == top_ms) & (book.first["first_touch"] >= 0)):
        touch_ms = market.entry.close_ts[book.first["first_touch"][big]]
        last_ms = touch_ms + strategy.entry.refine_bars * top_ms
        ended_ms = book.ended_ms[big] or np.iinfo(np.int64).max
        rows, row = book.rows[small], book.rows[big]
        half = abs(row["proximal"] - row["distal"]) / 2
        low = min(row["proximal"], row["distal"]) - half
        high = max(row["proximal"], row["distal"]) + half
        fits = (rows["side"] == row["side"]) & (book.born_ms[small] > touch_ms)
        fits &= (book.born_ms[small] <= last_ms) & (book.born_ms[small] <= ended_ms)
        for line in (rows["proximal"], rows["distal"]):
            fits &= (low <= line) & (line <= high)
        if fits.any():
            refined = small[np.argmax(fits)]
            zone.append(big)
            bar.append(int(book.first["first_bar"][refined]) - 1)
    zones, bars = np.array(zone, dtype=np.int64), np.array(bar, dtype=np.int64)
    side, touched = book.rows["side"][zones], book.first["first_touch"][zones]
    proximal, distal = book.rows["proximal"][zones], book.rows["distal"][zones]
    deepest = [
        _extreme_between(market.entry, int(touch), int(b), int(s))
        for touch, b, s in zip(touched, bars, side, strict=True)
    ]
    extreme = np.array(deepest, dtype=np.float64)
    height = np.where(proximal != distal, np.abs(proximal - distal), np.inf)
    return Moments(
        zone=zones,
        bar=bars,
        entry=market.entry.close[bars],
        limit=np.zeros(len(zones)),
        worst=np.where(side > 0, np.minimum(distal, extreme), np.maximum(distal, extreme)),
        until=bars,
        penetration=np.maximum(0.0, side * (proximal - extreme) / height),
        touches=np.ones(len(zones), dtype=np.int64),
    )


def _extreme_between(candles: Candles, touch: int, bar: int, side: int) -> float:
    inside = slice(touch, bar + 1)
    return float(np.nanmin(candles.low[inside]) if side > 0 else np.nanmax(candles.high[inside]))


MOMENTS = {
    "confirm": _confirm_moments,
    "limit": _limit_moments,
    "refined": _refined_moments,
}


def round_prices(prices: Prices, tick: float, up: Flags) -> Prices:
    """Prices on the tick grid, up where told and down elsewhere; a tick of 0 leaves them alone."""
    if tick <= 0.0:
        return prices
    steps = prices / tick
    nearest = np.round(steps)
    away = np.where(up, np.ceil(steps), np.floor(steps))
    result: Prices = np.where(np.abs(steps - nearest) > 1e-6, away, nearest) * tick
    return result
