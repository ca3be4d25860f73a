"""Axes: which prices and times to write beside a chart, and where."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blofin_cli.core.candles import Times

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_TIME_STEPS_MS = (
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 6, 8, 12)),
    *(days * _DAY for days in (1, 2, 4, 7, 14, 30, 91, 182, 365)),
)


def nice_ticks(low: float, high: float, count_max: int) -> list[float]:
    """Round values within [low, high], at most `count_max`, in steps of 1, 2 or 5 times 10^n.

    Invariants: empty when the range is empty or unknown.
    """
    span = high - low
    if not math.isfinite(span) or span <= 0 or count_max < 1:
        return []
    raw = span / count_max
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)][:count_max]


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A label on the time axis; a major one begins a day, month or year."""

    index: int
    label: str
    is_major: bool


def time_ticks(ts: Times, bar_pixels: float, spacing_pixels: float) -> list[TimeTick]:
    """Labels for a time axis with one equal slot a bar, UTC, at least `spacing_pixels` apart.

    Invariants: indices ascend; a bar gets a label when it is the first on or after a round time.
    """
    if len(ts) < 2:
        return []
    bar_ms = int(sorted(ts[1:] - ts[:-1])[(len(ts) - 1) // 2])
    wanted_ms = spacing_pixels / bar_pixels * bar_ms
    step_ms = next((step for step in _TIME_STEPS_MS if step >= wanted_ms), _TIME_STEPS_MS[-1])
    bucket = ts // step_ms
    ticks: list[TimeTick] = []
    for index in range(1, len(ts)):
        far_enough = not ticks or (index - ticks[-1].index) * bar_pixels >= spacing_pixels * 0.8
        if bucket[index] != bucket[index - 1] and far_enough:
            ticks.append(_tick(index, int(ts[index - 1]), int(ts[index])))
    return ticks


def _tick(index: int, before_ms: int, ms: int) -> TimeTick:
    before, now = (datetime.fromtimestamp(each / 1000, UTC) for each in (before_ms, ms))
    if now.year != before.year:
        return TimeTick(index, str(now.year), is_major=True)
    if now.month != before.month:
        return TimeTick(index, now.strftime("%b"), is_major=True)
    if now.date() != before.date():
        return TimeTick(index, now.strftime("%b ") + str(now.day), is_major=True)
    return TimeTick(index, now.strftime("%H:%M"), is_major=False)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved until neighbours are `gap` apart, within [low, high] if they fit."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [0.0] * len(positions)
    floor = low
    for index in order:
        placed[index] = max(positions[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
