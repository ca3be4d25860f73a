"""Numbers and times as people read them, and text that cannot misbehave."""

import math
import re
from datetime import UTC, datetime

import numpy as np

from blofin_cli.core.candles import Prices

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# Control characters, lone surrogates and non-characters are illegal in XML; bidirectional
# overrides let a note or a symbol show other text than it holds.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def plain(text: object) -> str:
    """The text with every character replaced that is illegal in XML or reorders what is read."""
    return _UNFIT.sub("\ufffd", str(text))


def is_known(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def number(value: float | None, decimals: int = 2, *, signed: bool = False, unit: str = "") -> str:
    """A number with thousands separators and a true minus; a dash when it is unknown."""
    if value is None or not math.isfinite(value):
        return MISSING
    shown = f"{abs(value):,.{decimals}f}"
    is_zero = not shown.strip("0.,")
    sign = "" if is_zero else MINUS if value < 0 else "+" if signed else ""
    return f"{sign}{shown}{unit}"


def percent(fraction: float | None, decimals: int = 1, *, signed: bool = False) -> str:
    """A fraction as a percentage."""
    scaled = None if fraction is None else fraction * 100
    return number(scaled, decimals, signed=signed, unit=" %")


def compact(value: float) -> str:
    """A volume in at most four characters and a letter: 1.2K, 34M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def price_decimals(prices: Prices) -> int:
    """How many decimals these prices need, at most about seven significant digits.

    Invariants: the fewest decimals that keep the last 500 prices, within that limit.
    """
    known = prices[np.isfinite(prices) & (prices > 0)][-500:]
    if len(known) == 0:
        return 2
    limit = min(10, max(0, 6 - math.floor(math.log10(float(np.median(known))))))
    for decimals in range(limit):
        if np.allclose(known, np.round(known, decimals), rtol=1e-9, atol=0):
            return max(decimals, min(1, limit))
    return limit


def moment(ms: int) -> str:
    """A time as `2024-05-01 13:45`, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def words(name: str) -> str:
    """A field name as a heading: `exit_reason` -> `Exit reason`."""
    spaced = name.replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]
