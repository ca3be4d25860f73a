"""What a source has handed out: kept once, told once, and summed up in a digest."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles
from blofin_cli.core.funding import FundingHistory


class Served:
    """Memory of one source: the series given to its caller and the notes about them."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], Candles | FundingHistory | None] = {}
        self._notes: list[str] = []

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._series

    def get(self, symbol: str, label: str) -> Candles | FundingHistory | None:
        """The series kept under this label; None when the source has none."""
        return self._series[symbol, label]

    def keep(self, symbol: str, label: str, series: Candles | FundingHistory | None) -> None:
        """Remember what is handed out, under a label such as `15m`, `funding` or `mark`."""
        self._series[symbol, label] = series

    def note(self, *lines: str) -> None:
        """Tell a person something, once."""
        self._notes += [line for line in lines if line not in self._notes]

    def notes(self) -> list[str]:
        """Everything told so far, in order."""
        return list(self._notes)

    def digest(self, symbol: str) -> str:
        """SHA-256 over labels and little-endian column bytes, whatever the order of reading."""
        total = hashlib.sha256(symbol.encode())
        for (owner, label), series in sorted(self._series.items(), key=lambda item: item[0]):
            if owner == symbol and series is not None:
                total.update(f"\n{label} {len(series)}\n".encode())
                for column in _columns(series):
                    total.update(column.tobytes())
        return total.hexdigest()


def gap_notes(candles: Candles, label: str) -> list[str]:
    """One line on the holes in time, or none."""
    if not candles.gaps:
        return []
    missing = candles.missing_bars
    share = missing / (len(candles) + missing)
    return [f"{label}: {candles.gaps} gaps, {missing} bars missing ({share:.3%}); not filled"]


def _columns(series: Candles | FundingHistory) -> list[NDArray[Any]]:
    if isinstance(series, FundingHistory):
        columns = [series.ts, series.rate]
    else:
        prices = [series.open, series.high, series.low, series.close, series.volume]
        columns = [series.ts, *prices]
    return [np.ascontiguousarray(c, dtype=c.dtype.newbyteorder("<")) for c in columns]
