"""The no-repaint proof: what was said at a moment must still stand when more candles are known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from blofin_cli.core import signals
from blofin_cli.core.context import Market
from blofin_cli.core.signals import Plane
from blofin_cli.core.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many readings were compared and how many had changed."""

    points: int
    zones: int
    decisions: int
    readings: int
    rewritten: int
    first_rewritten: str | None


def compare_readings(
    market: Market, strategy: Strategy, points: int, progress: Callable[[int, int, str], None]
) -> Comparison:
    """Read history cut at `points` moments and hold each reading against the full one.

    Half of the moments are the closes at which decisions were made, where a decision that looks
    one candle ahead shows itself; the others are spread evenly.
    A reading is one zone (its lines, times and facts), one end of a life that had ended by then,
    or one decision with its plan, gates and score.
    """
    full = signals.evaluate(market, strategy)
    bars = len(market.entry)
    even = np.linspace(min(200, bars), bars, points - points // 2 + 1).astype(int)[:-1]
    decided = np.unique(full.at.bar) + 1
    spread = np.linspace(0, len(decided) - 1, points // 2 if len(decided) else 0).astype(int)
    moments = np.unique(np.r_[even, decided[spread]]).astype(int)
    readings = rewritten = 0
    first: str | None = None
    for done, bar in enumerate(moments):
        progress(done, len(moments), "cutting history")
        past = market.until(int(market.entry.close_ts[bar - 1]))
        compared, changed, name = _compare(signals.evaluate(past, strategy), full, past)
        readings += compared
        rewritten += changed
        first = first or name
    progress(len(moments), len(moments), "compared")
    return Comparison(len(moments), len(full.book), len(full.zone), readings, rewritten, first)


def _compare(then: Plane, now: Plane, past: Market) -> tuple[int, int, str | None]:
    cut_ms = int(past.entry.close_ts[-1])
    known = now.book.born_ms <= cut_ms
    said, stands = _zone_rows(then, np.ones(len(then.book), bool)), _zone_rows(now, known)
    said_life, stands_life = _ended(then, cut_ms), _ended(now, cut_ms)
    said_plans, stands_plans = _decisions(then, cut_ms), _decisions(now, cut_ms)
    total = changed = 0
    first = None
    for before, after in ((said, stands), (said_life, stands_life), (said_plans, stands_plans)):
        names = before.keys() | after.keys()
        wrong = sorted(name for name in names if before.get(name) != after.get(name))
        total += len(names)
        changed += len(wrong)
        first = first or (f"{wrong[0]} as of {cut_ms}" if wrong else None)
    return total, changed, first


def _key(plane: Plane, zone: int) -> str:
    book = plane.book
    return f"{book.step_ms[zone]}-{book.rows['side'][zone]}-{book.leg_out_ms[zone]}"


def _zone_rows(plane: Plane, chosen: Any) -> dict[str, bytes]:
    facts = plane.book.rows
    return {
        f"zone {_key(plane, int(z))}": facts[z].tobytes()
        + int(plane.book.born_ms[z]).to_bytes(8, "big")
        for z in np.flatnonzero(chosen)
    }


def _ended(plane: Plane, cut_ms: int) -> dict[str, tuple[int, int, int]]:
    ended = (plane.book.ended_ms > 0) & (plane.book.ended_ms <= cut_ms)
    lives = plane.book.lives
    return {
        f"end of {_key(plane, int(z))}": (
            int(plane.book.ended_ms[z]),
            int(lives["state"][z]),
            int(lives["touches"][z]),
        )
        for z in np.flatnonzero(ended)
    }


def _decisions(plane: Plane, cut_ms: int) -> dict[str, tuple[float, ...]]:
    made = np.flatnonzero(plane.at.now_ms <= cut_ms)
    passed = np.stack([gate.passed for gate in plane.gates]) if plane.gates else np.empty((0, 0))
    return {
        f"decision on {_key(plane, int(plane.zone[i]))}": (
            float(plane.at.now_ms[i]),
            float(plane.entry[i]),
            float(plane.stop[i]),
            float(plane.target[i]),
            float(plane.strength[i]),
            float(plane.freshness[i]),
            *passed[:, i].astype(float),
        )
        for i in made
    }
