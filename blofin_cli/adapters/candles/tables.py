"""Columns out of parquet and CSV files: the file is opened, bounded and turned into arrays.

Nothing is judged here but the form: is it a regular file of bearable size, are the columns there,
are the cells numbers. What the numbers must satisfy lives in `rules`.

Rows are counted from 1 and the header does not count: row 1 of a CSV is the line below its header.
"""

import csv
import math
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Prices, Times
from blofin_cli.errors import DataError, UsageError

FILE_BYTES_MAX = 2 * 1024**3
ROWS_MAX = 20_000_000  # 38 years of 1m bars
SUFFIXES = (".parquet", ".csv")

UNREADABLE_TS = int(np.iinfo(np.int64).min)
"""Stands in `ts` where a cell holds no integer; such a row always carries a defect."""

_REPAIR_HINT = "fix the file, or let --repair drop what is broken"
_BEYOND_REPAIR = ("type", "milliseconds")

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?|[+-]?(nan|inf|infinity)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Defect:
    """One cell that breaks one rule; `row` counts from 1 without the header."""

    row: int
    column: str
    value: str | int | float | None
    rule: str


@dataclass(frozen=True)
class Table:
    """Columns of one file as they stand there, not yet judged.

    Shapes: `ts` (n,) int64; each of `columns` (n,) float64, NaN where a cell holds no number;
    `rows` (n,) int64, the row of the file that each came from.
    """

    file: str
    ts: Times
    columns: dict[str, Prices]
    rows: Times
    defects: list[Defect] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, picked: NDArray[Any]) -> "Table":
        """The picked rows, by flag or by position, with no cell defects left."""
        columns = {name: column[picked] for name, column in self.columns.items()}
        return Table(self.file, self.ts[picked], columns, self.rows[picked])


def read_table(path: Path, prices: Sequence[str]) -> Table:
    """Read `ts` and the named float columns of a parquet or CSV file.

    Errors: UsageError when there is no such file; DataError naming file, row and column when it
    is not a regular file, too large, not what its suffix says, or lacks a column.
    """
    _refuse_irregular(path)
    if path.suffix.lower() not in SUFFIXES:
        refuse(path.name, "format", f"is neither {' nor '.join(SUFFIXES)}")
    read = _read_csv if path.suffix.lower() == ".csv" else _read_parquet
    return read(path, prices)


def refuse(
    file: str,
    rule: str,
    what: str,
    *,
    row: int | None = None,
    column: str | None = None,
    value: str | float | None = None,
    more: int = 0,
) -> NoReturn:
    """Raise the DataError of a file that is not what it should be, naming the exact place."""
    place = ", ".join(
        part for part in (f"row {row}" if row else "", f"column {column}" if column else "") if part
    )
    shown = value if value is None or isinstance(value, int) or _finite(value) else str(value)
    tail = f"; {more} more rows have defects" if more else ""
    raise DataError(
        f"{file}{': ' + place if place else ''}: {what}{tail}",
        hint=_REPAIR_HINT if row and rule not in _BEYOND_REPAIR else "",
        details={"file": file, "row": row, "column": column, "value": shown, "rule": rule}
        | ({"more": more} if more else {}),
    )


def _finite(value: str | float) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _refuse_irregular(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UsageError(f"no such file: {path.name}", hint="check the path") from None
    except OSError as error:
        refuse(path.name, "readable", f"cannot be read ({error.strerror})")
    if stat.S_ISDIR(status.st_mode):
        refuse(path.name, "regular_file", "is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        refuse(path.name, "regular_file", "is not a regular file (a pipe, socket or device)")
    if status.st_size > FILE_BYTES_MAX:
        refuse(path.name, "size", f"is larger than {FILE_BYTES_MAX} bytes", value=status.st_size)
    if status.st_size == 0:
        refuse(path.name, "empty", "is empty")


def _require_columns(file: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            names = ", ".join(str(name)[:40] for name in found[:12])
            refuse(file, "missing_column", f"is not there; found: {names}", column=column)
        if list(found).count(column) > 1:
            refuse(file, "duplicate_column", "is there more than once", column=column)


def _require_rows(file: str, count: int) -> None:
    if count > ROWS_MAX:
        refuse(file, "size", f"holds more than {ROWS_MAX} rows", value=count)
    if count == 0:
        refuse(file, "empty", "holds no rows")


# Parquet. Neither memory-mapped (a file cut short by someone else would kill the process, and
# mapping gains nothing measurable) nor converted by pyarrow's `to_numpy`, which loads pandas and
# costs 1.4 s the first time.


def _read_parquet(path: Path, prices: Sequence[str]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = ["ts", *prices]
    try:
        with pq.ParquetFile(path) as file:
            _require_columns(path.name, file.schema_arrow.names, wanted)
            _require_rows(path.name, file.metadata.num_rows)
            arrow = file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        refuse(path.name, "parquet", f"is not a readable parquet file ({_first_line(error)})")
    defects: list[Defect] = []
    ts = _arrow_integers(path.name, arrow.column("ts"), defects)
    columns = {name: _arrow_floats(path.name, name, arrow.column(name)) for name in prices}
    return Table(path.name, ts, columns, np.arange(1, len(ts) + 1), defects)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__


def _arrow_integers(file: str, column: Any, defects: list[Defect]) -> Times:
    import pyarrow as pa

    if not pa.types.is_integer(column.type):
        _refuse_type(file, "ts", column, "integer milliseconds")
    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_pylist()) + 1
        defects += [Defect(int(row), "ts", None, "integer") for row in rows]
        column = column.fill_null(UNREADABLE_TS)
    return _array(column if pa.types.is_int64(column.type) else _cast(file, "ts", column, "int64"))


def _arrow_floats(file: str, name: str, column: Any) -> Prices:
    import pyarrow as pa

    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        _refuse_type(file, name, column, "numbers")
    if not pa.types.is_float64(column.type):
        column = _cast(file, name, column, "float64")
    return _array(column.fill_null(math.nan) if column.null_count else column)


def _cast(file: str, name: str, column: Any, kind: str) -> Any:
    import pyarrow as pa

    try:
        return column.cast(kind)
    except pa.ArrowInvalid as error:
        refuse(file, "type", _first_line(error), row=1, column=name)


def _refuse_type(file: str, name: str, column: Any, expected: str) -> NoReturn:
    value = str(column[0].as_py())[:40]
    what = f"holds {column.type}, not {expected}"
    refuse(file, "type", what, row=1, column=name, value=value)


def _array(column: Any) -> NDArray[Any]:
    """One writable array: compiled code has another signature for read-only ones."""
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


# CSV. The usual file is read by pyarrow with every type given; whatever it stumbles over is read
# again cell by cell, slowly, so that the defect can be named. pandas is not used: with its exact
# parser it guesses types first and then turns 1.7e12, `True` and 20-digit numbers into times, and
# its own parser is inexact in the last bit or deprecated, depending on the version.


def _read_csv(path: Path, prices: Sequence[str]) -> Table:
    with _decoding(path):
        header = _csv_header(path)
        _require_columns(path.name, header, ["ts", *prices])
        table = _csv_fast(path, prices)
        if table is None:
            table = _csv_slow(path, prices)
    _require_rows(path.name, len(table))
    return table


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as error:
        refuse(path.name, "csv", f"is not a readable CSV file ({_first_line(error)})")


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader([file.readline(65_536)]), [])


def _csv_fast(path: Path, prices: Sequence[str]) -> Table | None:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types: dict[str, Any] = {"ts": pa.int64(), **dict.fromkeys(prices, pa.float64())}
    options = arrow_csv.ConvertOptions(
        column_types=types, include_columns=list(types), null_values=[], true_values=[]
    )
    lines = arrow_csv.ParseOptions(ignore_empty_lines=False)
    try:
        arrow = arrow_csv.read_csv(path, parse_options=lines, convert_options=options)
    except (pa.ArrowException, OSError):
        return None
    _require_rows(path.name, arrow.num_rows)
    columns = {name: _array(arrow.column(name)) for name in prices}
    return Table(path.name, _array(arrow.column("ts")), columns, np.arange(1, arrow.num_rows + 1))


def _csv_slow(path: Path, prices: Sequence[str]) -> Table:
    rows: list[int] = []
    ts: list[int] = []
    cells: list[list[float]] = []
    defects: list[Defect] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) for name in prices]
        for record in reader:
            if not record:
                continue
            row = reader.line_num - 1
            if len(record) != len(header):
                defects.append(Defect(row, "", len(record), "fields"))
            fields = (record + [""] * len(header))[: len(header)]
            rows.append(row)
            ts.append(_integer_cell(fields[header.index("ts")], row, defects))
            found = zip(prices, places, strict=True)
            cells.append([_number_cell(fields[at], row, name, defects) for name, at in found])
            if len(rows) > ROWS_MAX:
                break
    matrix = np.array(cells, dtype=np.float64).reshape(len(rows), len(prices))
    columns = {name: matrix[:, i].copy() for i, name in enumerate(prices)}
    return Table(path.name, np.array(ts, np.int64), columns, np.array(rows, np.int64), defects)


def _integer_cell(text: str, row: int, defects: list[Defect]) -> int:
    if _INTEGER.fullmatch(text.strip()) and text.isascii():
        return int(text)
    defects.append(Defect(row, "ts", text[:40], "integer"))
    return UNREADABLE_TS


def _number_cell(text: str, row: int, name: str, defects: list[Defect]) -> float:
    if _NUMBER.fullmatch(text.strip()) and text.isascii():
        return float(text)
    defects.append(Defect(row, name, text[:40], "number"))
    return math.nan
