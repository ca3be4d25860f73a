"""What candles and funding in a file must satisfy, and the explicit repair of what does not.

A file is refused whole, at its first broken row. Repair drops rows and sorts; it never invents a
candle, never changes a number and never writes the file.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blofin_cli.adapters.candles.tables import UNREADABLE_TS, Defect, Table, refuse
from blofin_cli.core.candles import Flags, Times
from blofin_cli.core.market import Timeframe

RULES = {
    "fields": "the number of fields differs from the header's",
    "integer": "is not an integer number of milliseconds",
    "number": "is not a number",
    "milliseconds": "does not look like UTC milliseconds",
    "disorder": "is earlier than the row before",
    "duplicate": "is the same as in the row before",
    "off_grid": "is not on the grid of its timeframe",
    "finite": "is missing, NaN or infinite",
    "positive": "is zero or negative",
    "high": "is below the open, the close or the low",
    "low": "is above the open or the close",
    "negative": "is negative",
    "rate": "is not a fraction between -1 and 1",
}
"""Each rule and the words a person reads when a value breaks it."""

Broken = tuple[str, str, Flags]


def clean(table: Table, timeframe: Timeframe | None, *, repair: bool) -> tuple[Table, list[str]]:
    """The table with every rule kept, and what was repaired.

    A `timeframe` asks for candles on its grid; None asks for funding.
    Errors: DataError at the first row that breaks a rule, unless `repair`; then only when nothing
    is left or the unit of time is wrong.
    """
    _refuse_other_units(table)
    broken = _order_broken(table) + _values_broken(table, timeframe)
    if not table.defects and not any(flags.any() for _, _, flags in broken):
        return table, []
    if not repair:
        _refuse_first(table, broken)
    return _repaired(table, _values_broken(table, timeframe))


def spacing_ms(ts: Times) -> int | None:
    """The most common step between neighbouring times; None when there are not two."""
    readable = ts[ts != UNREADABLE_TS]
    steps = np.diff(readable)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return None
    least = int(steps.min())
    if 2 * int(np.count_nonzero(steps == least)) > len(steps):
        return least
    values, counts = np.unique(steps, return_counts=True)
    return int(values[np.argmax(counts)])


def _refuse_other_units(table: Table) -> None:
    readable = table.ts[table.ts != UNREADABLE_TS]
    if len(readable) == 0:
        return
    middle, step = abs(int(np.median(readable))), spacing_ms(table.ts)
    unit = ""
    if middle > 10**14:
        unit = "microseconds" if middle < 10**17 else "nanoseconds"
    elif 10**8 <= middle < 10**11 and (step is None or step < Timeframe.M1.ms or step % 60_000):
        unit = "seconds"
    if unit:
        refuse(
            table.file,
            "milliseconds",
            f"{RULES['milliseconds']}; it looks like {unit}",
            row=int(table.rows[0]),
            column="ts",
            value=int(table.ts[0]),
        )


def _order_broken(table: Table) -> list[Broken]:
    ts = table.ts
    first = np.zeros(min(1, len(ts)), dtype=np.bool_)
    return [
        ("disorder", "ts", np.r_[first, ts[1:] < ts[:-1]]),
        ("duplicate", "ts", np.r_[first, ts[1:] == ts[:-1]]),
    ]


def _values_broken(table: Table, timeframe: Timeframe | None) -> list[Broken]:
    with np.errstate(invalid="ignore"):
        return _funding_broken(table) if timeframe is None else _bars_broken(table, timeframe)


def _funding_broken(table: Table) -> list[Broken]:
    rate = table.columns["funding_rate"]
    return [
        ("finite", "funding_rate", ~np.isfinite(rate)),
        ("rate", "funding_rate", np.abs(rate) >= 1),
    ]


def _bars_broken(table: Table, timeframe: Timeframe) -> list[Broken]:
    columns = table.columns
    high, low = columns["high"], columns["low"]
    open_, close = columns["open"], columns["close"]
    broken: list[Broken] = [("off_grid", "ts", table.ts % timeframe.ms != 0)]
    broken += [("finite", name, ~np.isfinite(column)) for name, column in columns.items()]
    broken += [("positive", name, columns[name] <= 0) for name in ("open", "high", "low", "close")]
    broken.append(("high", "high", (high < open_) | (high < close) | (high < low)))
    broken.append(("low", "low", (low > open_) | (low > close)))
    if "volume" in columns:
        broken.append(("negative", "volume", columns["volume"] < 0))
    return broken


def _refuse_first(table: Table, broken: list[Broken]) -> None:
    defects = table.defects + [
        _defect(table, rule, column, int(np.argmax(flags)))
        for rule, column, flags in broken
        if flags.any()
    ]
    first = min(defects, key=lambda defect: defect.row)
    rows = {defect.row for defect in table.defects}
    rows.update(*(table.rows[flags].tolist() for _, _, flags in broken))
    refuse(
        table.file,
        first.rule,
        f"{RULES[first.rule]} ({first.value})",
        row=first.row,
        column=first.column or None,
        value=first.value,
        more=len(rows) - 1,
    )


def _defect(table: Table, rule: str, column: str, at: int) -> Defect:
    value = int(table.ts[at]) if column == "ts" else float(table.columns[column][at])
    return Defect(int(table.rows[at]), column, value, rule)


def _repaired(table: Table, values_broken: list[Broken]) -> tuple[Table, list[str]]:
    changed: Counter[str] = Counter()
    unreadable = np.isin(table.rows, [defect.row for defect in table.defects])
    changed["rows with unreadable cells dropped"] = int(unreadable.sum())
    bad = unreadable.copy()
    for rule, column, flags in values_broken:
        new = flags & ~bad
        changed[f"rows dropped whose {column} {RULES[rule]}"] += int(new.sum())
        bad |= new
    table = table.take(~bad)
    if len(table) == 0:
        refuse(table.file, "empty", "holds no usable row, even after repair")
    order = np.argsort(table.ts, kind="stable")
    changed["rows moved into order"] = int((order != np.arange(len(order))).sum())
    table = _without_duplicates(table.take(order), changed)
    lines = [f"{table.file}: repaired: {count} {what}" for what, count in changed.items() if count]
    return replace(table, rows=np.arange(1, len(table) + 1)), lines


def _without_duplicates(table: Table, changed: Counter[str]) -> Table:
    """Keep the last row of each time: what comes later in a file restates what came before."""
    last: NDArray[np.bool_] = np.r_[table.ts[1:] != table.ts[:-1], True]
    same = np.r_[table.ts[1:] == table.ts[:-1], False]
    for column in table.columns.values():
        same &= np.r_[column[1:] == column[:-1], False]
    changed["duplicate rows dropped"] = int((~last & same).sum())
    changed["rows dropped that a later row of the same time restates"] = int((~last & ~same).sum())
    return table.take(last)
