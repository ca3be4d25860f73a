"""Supply and demand zones: found in one causal pass, then followed through their life.

A zone exists from the close of the candle that confirms it and never changes afterwards; what
changes is its life: touched, spent, broken, expired, superseded. Both passes are kernels over
columns, so feeding a prefix of the candles gives exactly the zones and lives of that prefix.

Supply is demand upside down: the life kernels know demand only and are given mirrored prices.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core import indicators
from blofin_cli.core.candles import Candles, Flags, Prices, Times
from blofin_cli.core.compiled import Record, call, kernel
from blofin_cli.core.market import Pattern, Timeframe, ZoneState
from blofin_cli.core.strategy import Zones, rules

WICK = 1  # position of "wick" among the words of `proximal` and `break_mode`
PENDING_MAX = 8

# Codes of `ZoneRow.pattern` and `ZoneRow.state`, in the order of the enums they stand for.
PATTERNS = (Pattern.DBR, Pattern.RBR, Pattern.RBD, Pattern.DBD)
STATES = tuple(ZoneState)
FRESH, TESTED, SPENT, BROKEN, EXPIRED, SUPERSEDED = range(6)


class ZoneRow(Record):
    """A zone as confirmed; indexes are rows of the candles it was found in.

    `side` is +1 for demand, -1 for supply; `departure_atr`, `base_height_atr`, `leg_in_atr` and
    `gap_atr` are in the yardstick of the leg-out's first candle, `atr`.
    """

    side: int
    pattern: int
    proximal: float
    distal: float
    atr: float
    base_start: int
    base_end: int
    leg_out: int
    born: int
    departure_atr: float
    base_height_atr: float
    leg_in_atr: float
    out_body: float
    out_volume: float
    base_volume: float
    gap_atr: float


class LifeRow(Record):
    """A zone followed through the candles after it, as demand whatever its side.

    Given: `proximal` and `distal` (mirrored for supply), `atr`, `first_bar` to look at, `expiry`
    bar, and `limit`, the bar before which to stop. Found: the rest, -1 where it did not happen;
    `window_end` is the bar that ended the first touch.
    """

    proximal: float
    distal: float
    atr: float
    first_bar: int
    expiry: int
    limit: int
    state: int
    touches: int
    first_touch: int
    window_end: int
    end: int
    penetration: float
    margin: float


class Columns(NamedTuple):
    """Candles as a kernel sees them, with the yardstick and the flags that reset patterns."""

    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    volume_mean: Any
    yardstick: Any
    valid: Any
    starts: Any


def detect(candles: Candles, parameters: Zones, atr: Prices | None = None) -> NDArray[Any]:
    """Find every zone, in order of confirmation.

    Shapes: rows of `ZoneRow`. `atr` (n,) replaces the ATR(14) before each candle: the yardstick
    that candle is measured by.
    Warm-up: 15 candles. Invariants: causal: a prefix of the candles gives a prefix of the zones.
    Source: the specification, section 2.
    """
    columns = Columns(
        candles.open,
        candles.high,
        candles.low,
        candles.close,
        candles.volume,
        indicators.volume_mean_before(candles),
        indicators.yardstick(candles) if atr is None else np.asarray(atr, dtype=np.float64),
        candles.valid,
        candles.segment_starts,
    )
    return detect_in(columns, rules(parameters))


def detect_in(columns: Columns, zone_rules: Any) -> NDArray[Any]:
    """`detect` for prepared columns, as a parameter sweep calls it."""
    bars = len(columns.open)
    found = ZoneRow.rows(bars // 2 + 1)
    candidates = ZoneRow.rows(PENDING_MAX)
    count = call(find_zones, columns, zone_rules, candidates, found, work_bars=bars)
    return found[:count].copy()


@kernel
def find_zones(columns: Columns, rules: Any, candidates: Any, found: Any) -> int:
    """Run the state machine over all candles; returns how many zones were confirmed."""
    count = 0
    pending = 0
    run = 0
    segment_start = 0
    for k in range(len(columns.open)):
        if not columns.valid[k]:
            run = 0
            pending = 0
            segment_start = k + 1
            continue
        if columns.starts[k]:
            run = 0
            pending = 0
            segment_start = k
        scale = columns.yardstick[k]
        if not scale > 0.0:
            continue
        before = pending
        pending = 0
        for slot in range(before):
            verdict = follow_candidate(candidates[slot], columns, k, rules)
            if verdict > 0:
                confirm(candidates[slot], found[count], columns, k)
                count += 1
            elif verdict == 0:
                if slot != pending:
                    copy_candidate(candidates[slot], candidates[pending])
                pending += 1
        base_start = k - run
        has_base = rules.base_min <= run <= rules.base_max and base_start > segment_start
        if has_base and build_candidate(candidates[pending], columns, k, run, segment_start, rules):
            candidate = candidates[pending]
            reach = candidate.side * (columns.close[k] - candidate.proximal)
            if reach >= rules.out_move_atr * scale:
                confirm(candidate, found[count], columns, k)
                count += 1
            elif rules.out_max_bars > 1:
                pending += 1
        run = run + 1 if is_base(columns, k, scale, rules) else 0
    return count


@kernel
def is_base(columns: Columns, k: int, scale: float, rules: Any) -> bool:
    """Whether candle k is quiet enough for a base."""
    size = columns.high[k] - columns.low[k]
    if size <= rules.base_small_atr * scale:
        return True
    body = abs(columns.close[k] - columns.open[k])
    return body <= rules.base_body_max * size and size <= rules.base_range_atr * scale


@kernel
def follow_candidate(candidate: ZoneRow, columns: Columns, k: int, rules: Any) -> int:
    """1 when candle k confirms the candidate, -1 when it ends it, 0 while it may still come."""
    side = candidate.side
    adverse = columns.low[k] if side > 0 else columns.high[k]
    if side * (adverse - candidate.proximal) <= 0.0:
        return -1
    reach = side * (columns.close[k] - candidate.proximal)
    if reach >= rules.out_move_atr * candidate.atr:
        return 1
    if k - candidate.leg_out + 1 >= rules.out_max_bars:
        return -1
    return 0


@kernel
def build_candidate(
    candidate: ZoneRow, columns: Columns, k: int, run: int, segment_start: int, rules: Any
) -> bool:
    """Fill the candidate that leaves the base of `run` candles before k; False if there is none."""
    scale = columns.yardstick[k]
    size = columns.high[k] - columns.low[k]
    body = abs(columns.close[k] - columns.open[k])
    if size <= 0.0 or body <= 0.0 or size < rules.out_bar_atr * scale:
        return False
    if body < rules.out_body_min * size:
        return False
    side = 1 if columns.close[k] > columns.open[k] else -1

    base_start = k - run
    net = 0.0
    for m in range(1, rules.in_max_bars + 1):
        if base_start - m < segment_start:
            break
        move = columns.close[base_start - 1] - columns.open[base_start - m]
        if m == 1 or abs(move) > abs(net):
            net = move
    if abs(net) < rules.in_move_atr * scale:
        return False

    highest = columns.high[base_start]
    lowest = columns.low[base_start]
    body_top = max(columns.open[base_start], columns.close[base_start])
    body_bottom = min(columns.open[base_start], columns.close[base_start])
    for j in range(base_start + 1, k):
        highest = max(highest, columns.high[j])
        lowest = min(lowest, columns.low[j])
        body_top = max(body_top, columns.open[j], columns.close[j])
        body_bottom = min(body_bottom, columns.open[j], columns.close[j])
    if highest - lowest > rules.base_height_atr * scale:
        return False

    reversal = (net < 0.0) == (side > 0)
    if side > 0:
        proximal = highest if rules.proximal == WICK else body_top
        distal = min(lowest, columns.low[k])
        if reversal:
            distal = min(distal, columns.low[base_start - 1])
    else:
        proximal = lowest if rules.proximal == WICK else body_bottom
        distal = max(highest, columns.high[k])
        if reversal:
            distal = max(distal, columns.high[base_start - 1])
    height = side * (proximal - distal)
    if height > rules.zone_max_atr * scale:
        return False
    if height < rules.zone_min_atr * scale:
        distal = proximal - side * rules.zone_min_atr * scale

    candidate.side = side
    candidate.pattern = (0 if reversal else 1) + (0 if side > 0 else 2)
    candidate.proximal = proximal
    candidate.distal = distal
    candidate.atr = scale
    candidate.base_start = base_start
    candidate.base_end = k - 1
    candidate.leg_out = k
    candidate.base_height_atr = (highest - lowest) / scale
    candidate.leg_in_atr = abs(net) / scale
    return True


@kernel
def copy_candidate(source: ZoneRow, target: ZoneRow) -> None:
    """Copy what `build_candidate` wrote."""
    target.side = source.side
    target.pattern = source.pattern
    target.proximal = source.proximal
    target.distal = source.distal
    target.atr = source.atr
    target.base_start = source.base_start
    target.base_end = source.base_end
    target.leg_out = source.leg_out
    target.base_height_atr = source.base_height_atr
    target.leg_in_atr = source.leg_in_atr


@kernel
def confirm(candidate: ZoneRow, zone: ZoneRow, columns: Columns, k: int) -> None:
    """Record the zone that candle k confirmed, with the facts known by then."""
    copy_candidate(candidate, zone)
    zone.born = k
    side = zone.side
    zone.departure_atr = side * (columns.close[k] - zone.proximal) / zone.atr
    bodies = 0.0
    out_volume = 0.0
    for j in range(zone.leg_out, k + 1):
        size = columns.high[j] - columns.low[j]
        if size > 0.0:
            bodies += side * (columns.close[j] - columns.open[j]) / size
        out_volume += columns.volume[j]
    zone.out_body = bodies / (k - zone.leg_out + 1)
    base_volume = 0.0
    for j in range(zone.base_start, zone.base_end + 1):
        base_volume += columns.volume[j]
    mean = columns.volume_mean[zone.base_start]
    zone.out_volume = math.nan
    zone.base_volume = math.nan
    if mean > 0.0:
        zone.out_volume = out_volume / (k - zone.leg_out + 1) / mean
        zone.base_volume = base_volume / (zone.base_end - zone.base_start + 1) / mean
    zone.gap_atr = side * (columns.open[zone.leg_out] - columns.close[zone.base_end]) / zone.atr


BLOCK_BARS = 64


class Path(NamedTuple):
    """Prices that zones of one side are followed on; supply sees them mirrored.

    `adverse` is the extreme towards the zone, `favourable` away from it; a block holds the
    extreme of BLOCK_BARS bars, so that a search can step over bars that never came near.
    """

    open: Any
    adverse: Any
    favourable: Any
    close: Any
    adverse_blocks: Any
    favourable_blocks: Any


def path_of(candles: Candles, side: int) -> Path:
    """The candles as zones of one side see them. A bar without prices touches and ends nothing.

    A bar that opens outside its own range makes no pattern, but its extremes and close count.
    """
    low, high, close = candles.low, candles.high, candles.close
    low, high = (low, high) if side > 0 else (-high, -low)
    adverse, favourable = low, high
    if not candles.valid.all():
        valid = np.isfinite(candles.high + candles.low + candles.close)
        adverse, favourable = np.where(valid, low, np.inf), np.where(valid, high, -np.inf)
    return Path(
        candles.open if side > 0 else -candles.open,
        adverse,
        favourable,
        close if side > 0 else -close,
        _blocks(adverse, np.inf).min(axis=1),
        _blocks(favourable, -np.inf).max(axis=1),
    )


def _blocks(values: Prices, filler: float) -> Prices:
    padded = np.full(-(-len(values) // BLOCK_BARS) * BLOCK_BARS, filler)
    padded[: len(values)] = values
    return padded.reshape(-1, BLOCK_BARS)


def start_lives(
    zones: NDArray[Any], candles: Candles, path_ts: Times, path_step_ms: int, parameters: Zones
) -> NDArray[Any]:
    """Lives about to be followed on bars that open at `path_ts`, one row a zone."""
    lives = LifeRow.rows(len(zones))
    side = zones["side"]
    born_ms = candles.close_ts[zones["born"]]
    lives["proximal"] = side * zones["proximal"]
    lives["distal"] = side * zones["distal"]
    lives["atr"] = zones["atr"]
    lives["first_bar"] = np.searchsorted(path_ts, born_ms)
    last_ms = born_ms + parameters.max_age_bars * candles.timeframe.ms
    lives["expiry"] = np.searchsorted(path_ts, last_ms - path_step_ms)
    lives["limit"] = len(path_ts)
    return lives


@kernel
def follow_lives(lives: Any, sides: Any, demand: Path, supply: Path, rules: Any) -> None:
    """Follow every zone to its end or to its limit."""
    for i in range(len(sides)):
        follow_life(lives[i], demand if sides[i] > 0 else supply, rules)


@kernel
def follow_life(life: LifeRow, path: Path, rules: Any) -> None:
    """Follow one zone: touch, penetration, then broken, spent or expired, bar by bar."""
    life.state = FRESH
    life.touches = 0
    life.first_touch = -1
    life.window_end = -1
    life.end = -1
    life.penetration = 0.0
    stop = min(life.expiry + 1, life.limit)
    k = next_touch(path, life.first_bar, stop, life.proximal)
    height = life.proximal - life.distal
    highest = highest_between(path, life.first_bar, min(k, stop))
    life.margin = max(0.0, (highest - life.proximal) / height) if height > 0.0 else 0.0
    touching = False
    while k < stop:
        adverse = path.adverse[k]
        if adverse <= life.proximal:
            if not touching:
                touching = True
                life.touches += 1
                life.state = TESTED
                if life.touches == 1:
                    life.first_touch = k
            if height > 0.0:
                life.penetration = max(life.penetration, (life.proximal - adverse) / height)
        elif touching and life.proximal + rules.rearm_atr * life.atr < adverse < math.inf:
            touching = False
            if life.touches == 1:
                life.window_end = k
        breaker = adverse if rules.break_mode == WICK else path.close[k]
        if breaker < life.distal:
            life.state = BROKEN
        elif life.touches > rules.max_touches:
            life.state = SPENT
        elif k == life.expiry:
            life.state = EXPIRED
        if life.state > TESTED:
            life.end = k
            break
        k = k + 1 if touching else next_touch(path, k + 1, stop, life.proximal)
    if life.end < 0 and life.expiry < life.limit:
        life.state = EXPIRED
        life.end = life.expiry
    if life.touches == 1 and life.window_end < 0:
        life.window_end = life.end


@kernel
def next_touch(path: Path, first: int, stop: int, level: float) -> int:
    """First bar in [first, stop) that trades at the level or below; `stop` if none does."""
    k = first
    while k < stop:
        if k % BLOCK_BARS == 0 and path.adverse_blocks[k // BLOCK_BARS] > level:
            k += BLOCK_BARS
        elif path.adverse[k] <= level:
            return k
        else:
            k += 1
    return stop


@kernel
def highest_between(path: Path, first: int, stop: int) -> float:
    """Highest favourable extreme of the bars in [first, stop); minus infinity if there are none."""
    highest = -math.inf
    k = first
    while k < stop:
        if k % BLOCK_BARS == 0 and k + BLOCK_BARS <= stop:
            highest = max(highest, path.favourable_blocks[k // BLOCK_BARS])
            k += BLOCK_BARS
        else:
            highest = max(highest, path.favourable[k])
            k += 1
    return highest


@kernel
def supersede(lives: Any, sides: Any, first_bars: Any, successors: Any, rules: Any) -> int:
    """Shorten the life of every zone that a newer one of its side covers; returns how many.

    Zones come in order of birth. A shortened life gets its new `limit` and must be followed
    again; `successors` receives the index of the newer zone, -1 for none.
    """
    count = 0
    oldest = 0
    for new in range(len(sides)):
        now = first_bars[new]
        while oldest < new and lives[oldest].end >= 0 and lives[oldest].end < now:
            oldest += 1
        for old in range(oldest, new):
            if sides[old] != sides[new] or successors[old] >= 0 or first_bars[old] >= now:
                continue
            if lives[old].end >= 0 and lives[old].end < now:
                continue
            if overlap(lives[old], lives[new]) >= rules.overlap_frac:
                successors[old] = new
                lives[old].limit = min(lives[old].limit, now)
                count += 1
    return count


@kernel
def overlap(one: LifeRow, other: LifeRow) -> float:
    """Shared height of two zones of a side, as a share of the smaller one."""
    shared = min(one.proximal, other.proximal) - max(one.distal, other.distal)
    smaller = min(one.proximal - one.distal, other.proximal - other.distal)
    if shared <= 0.0 or smaller <= 0.0:
        return 0.0
    return shared / smaller


@dataclass(frozen=True, eq=False)
class ZoneBook:
    """All zones of one symbol, of several timeframes, with what became of them.

    Shapes: (z,) each. `rows` are `ZoneRow`, `lives` are `LifeRow` followed on the entry candles
    up to their end; `first` are the same lives had nothing superseded them, which is what entries
    are made from. `ended_ms` is 0 for a zone still alive; `successor` -1 for none.
    """

    rows: NDArray[Any]
    lives: NDArray[Any]
    first: NDArray[Any]
    step_ms: NDArray[np.int64]
    born_ms: Times
    leg_out_ms: Times
    base_start_ms: Times
    base_end_ms: Times
    ended_ms: Times
    successor: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def alive(self, now_ms: Times, among: NDArray[np.intp]) -> Flags:
        """Shape (m, a): which of a zones live at each of m times."""
        now, ended_ms = now_ms[:, None], self.ended_ms[among]
        return (self.born_ms[among] <= now) & ((ended_ms == 0) | (ended_ms > now))

    def containing(self, price: Prices, among: NDArray[np.intp]) -> Flags:
        """Shape (m, a): which of a zones each of m prices lies in."""
        proximal, distal = self.rows["proximal"][among], self.rows["distal"][among]
        low, high = np.minimum(proximal, distal), np.maximum(proximal, distal)
        return (low <= price[:, None]) & (price[:, None] <= high)


def follow(
    found: list[tuple[Candles, NDArray[Any]]],
    entry: Candles,
    paths: tuple[Path, Path],
    parameters: Zones,
) -> ZoneBook:
    """Follow the zones of several timeframes on the entry candles, to their ends.

    `found` holds each timeframe's candles and its zones in order of birth; `paths` the entry
    candles as demand and as supply see them.
    """
    zone_rules = rules(parameters)
    parts = [start_lives(z, c, entry.ts, entry.timeframe.ms, parameters) for c, z in found]
    rows = np.concatenate([z for _, z in found]) if found else ZoneRow.rows(0)
    lives = np.concatenate(parts) if parts else LifeRow.rows(0)
    sides = np.ascontiguousarray(rows["side"])
    call(follow_lives, lives, sides, *paths, zone_rules, work_bars=len(entry) + 40 * len(rows))
    first = lives.copy()

    successor = np.full(len(rows), -1, dtype=np.int64)
    offset = 0
    for part in parts:
        inside = slice(offset, offset + len(part))
        _supersede_in(lives, sides, successor, inside, zone_rules)
        offset += len(part)
    again = np.flatnonzero(successor >= 0)
    shortened = lives[again]
    call(follow_lives, shortened, sides[again], *paths, zone_rules, work_bars=40 * len(again))
    lives[again] = shortened

    born_ms = _times(found, "born", closes=True)
    ended_ms = np.where(lives["end"] >= 0, entry.close_ts[lives["end"]] if len(entry) else 0, 0)
    lives["state"][again] = SUPERSEDED
    ended_ms[again] = born_ms[successor[again]]
    return ZoneBook(
        rows=rows,
        lives=lives,
        first=first,
        step_ms=np.repeat(
            np.array([c.timeframe.ms for c, _ in found], dtype=np.int64),
            np.array([len(z) for _, z in found], dtype=np.int64),
        ),
        born_ms=born_ms,
        leg_out_ms=_times(found, "leg_out"),
        base_start_ms=_times(found, "base_start"),
        base_end_ms=_times(found, "base_end"),
        ended_ms=ended_ms,
        successor=successor,
    )


def _supersede_in(
    lives: NDArray[Any], sides: Any, successor: Any, inside: slice, zone_rules: Any
) -> None:
    part, newer = lives[inside].copy(), successor[inside].copy()
    first_bars = np.ascontiguousarray(part["first_bar"])
    call(supersede, part, sides[inside], first_bars, newer, zone_rules, work_bars=10 * len(part))
    lives[inside] = part
    successor[inside] = np.where(newer >= 0, newer + inside.start, -1)


def _times(found: list[tuple[Candles, NDArray[Any]]], name: str, closes: bool = False) -> Times:
    parts = [(c.close_ts if closes else c.ts)[z[name]] for c, z in found]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def zone_id(symbol: str, timeframe: Timeframe, side: int, leg_out_ms: int) -> str:
    """Name of a zone: the same for every run that finds it, at most 32 characters."""
    base = symbol.split("-", maxsplit=1)[0][:12]
    return f"{base}-{timeframe}-{'D' if side > 0 else 'S'}-{leg_out_ms // 1000}"


def freshness_of(touches: Any, age_bars: Any, penetration: Any, half_life_bars: float) -> Any:
    """How unspent a zone is, 0-1. Source: the specification, section 3."""
    age = np.exp2(-np.asarray(age_bars, dtype=np.float64) / half_life_bars)
    return 0.5 ** np.asarray(touches) * age * (1.0 - 0.5 * np.minimum(1.0, penetration))
