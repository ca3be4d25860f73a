"""The look-ahead checker: what was said by a moment must not depend on any candle after it."""

from typing import Any

import numpy as np

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.signals import Plane

Said = dict[str, bytes]


def cut(market: Market, bar: int) -> Market:
    """The market as it stood at the close of bar `bar - 1`."""
    return Market(market.entry[:bar], market.instrument, mark=market.mark, funding=market.funding)


def perturbed(market: Market, bar: int, seed: int) -> Market:
    """The same market up to bar `bar - 1`, and another future at random."""
    noise = np.random.default_rng(seed)
    candles = market.entry
    future = len(candles) - bar
    start = candles.close[bar - 1]
    close = start * np.exp(np.cumsum(noise.normal(0, 0.01, future)))
    opened = np.r_[start, close[:-1]][:future]
    high = np.maximum(opened, close) * (1 + np.abs(noise.normal(0, 0.005, future)))
    low = np.minimum(opened, close) * (1 - np.abs(noise.normal(0, 0.005, future)))
    volume = candles.volume[bar:] * noise.uniform(0.1, 10.0, future)
    columns = [
        np.r_[getattr(candles, name)[:bar], tail]
        for name, tail in zip(COLUMNS, (opened, high, low, close, volume), strict=True)
    ]
    other = Candles(candles.symbol, candles.timeframe, candles.ts, *columns)
    return Market(other, market.instrument, mark=market.mark, funding=market.funding)


def said_by(plane: Plane, now_ms: int) -> Said:
    """Everything a plane said up to a moment: zones, ends of lives, whole decisions."""
    book = plane.book
    names = [
        f"{step}/{side}/{at}"
        for step, side, at in zip(book.step_ms, book.rows["side"], book.leg_out_ms, strict=True)
    ]
    said: Said = {}
    for zone in np.flatnonzero(book.born_ms <= now_ms):
        moment = int(book.born_ms[zone])
        said[f"zone {names[zone]}"] = bytes_of(book.rows[zone], moment)
    for zone in np.flatnonzero((book.ended_ms > 0) & (book.ended_ms <= now_ms)):
        life = book.lives[zone]
        said[f"end {names[zone]}"] = bytes_of(book.ended_ms[zone], life["state"], life["touches"])
    made = np.flatnonzero(plane.at.now_ms <= now_ms)
    columns = [
        plane.at.now_ms, plane.at.side, plane.entry, plane.limit, plane.stop, plane.target,
        plane.strength, plane.freshness, plane.risk_fraction(), plane.notional_scale(),
        *plane.score.values(), *(gate.passed for gate in plane.gates),
        *(gate.value for gate in plane.gates),
    ]  # fmt: skip
    for row in made:
        zone = names[int(plane.zone[row])]
        regime = str(plane.regime[row]).encode()
        said[f"decision {zone}"] = bytes_of(*(column[row] for column in columns)) + regime
    return said


def bytes_of(*values: Any) -> bytes:
    return b"".join(np.asarray(value).tobytes() for value in values)


def changed(before: Said, after: Said) -> list[str]:
    """Names of what was said before and not after, or otherwise, or only after."""
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def rewritten(
    series: Any, candles: Candles, bars: list[int], *, strictly: bool = False
) -> list[int]:
    """Bars whose value by `series(candles)` depends on later candles.

    `strictly`: on that candle itself too.
    """
    full = series(candles)
    wrong = []
    for bar in bars:
        past = candles[: bar + 1]
        if strictly:
            last = {name: getattr(past, name).copy() for name in COLUMNS}
            last["high"][-1] *= 1.5
            last["volume"][-1] *= 3.0
            past = Candles(past.symbol, past.timeframe, past.ts, **last)
        if bytes_of(series(past)[-1]) != bytes_of(full[bar]):
            wrong.append(bar)
    return wrong
