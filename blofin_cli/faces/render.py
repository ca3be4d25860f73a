"""Results and errors as text: tables for people; JSON, NDJSON and CSV for programs.

The one place that decides how a value looks. Nothing here trusts text: control characters, markup
and spreadsheet formulas that came from elsewhere are shown, not obeyed.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from blofin_cli.errors import BlofinError

if TYPE_CHECKING:  # pydantic loads with the first command, not with the help
    from blofin_cli.app.spec import Result

# A `_ms` value this large is a moment (after 1973), not a length of time (three years and more).
MOMENT_MS_MIN, MOMENT_MS_MAX = 100_000_000_000, 253_402_300_799_999
CELL_LENGTH_MAX = 120
SENTENCE_LENGTH_MAX = 500
PLAIN_MIN = 1e-9  # smaller numbers have an exponent: no price is that small
# Columns up to this width are never cut; longer text is folded into what is left.
PROSE_WIDTH, WORD_WIDTH, GAP, GAP_NARROW = 28, 36, 3, 2


class Format(StrEnum):
    """What stdout carries."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


def to_text(
    result: "Result", output: Format, *, width: int | None = None, indent: int | None = None
) -> str:
    """The whole of stdout for a result, ending in a newline."""
    if output is Format.JSON:
        return _dumps(json_ready(result), indent) + "\n"
    if output is Format.NDJSON:
        lines: list[Any] = list(result.rows()) or [result]
        return "".join(_dumps(json_ready(line)) + "\n" for line in lines)
    if output is Format.CSV:
        return _csv(result.rows() or [dict(result.summary())])
    return _table(result, width)


def error_text(error: BlofinError, output: Format) -> str:
    """One line for a person, or the JSON envelope where a program reads."""
    if output is not Format.TABLE:
        return _dumps(json_ready(error.envelope())) + "\n"
    hint = f" ({error.hint})" if error.hint else ""
    return printable(f"error: {error.message}{hint}") + "\n"


def json_ready(value: Any) -> Any:
    """A value as JSON can say it: numbers stay numbers, NaN is null, `_ms` gets its ISO twin."""
    if isinstance(value, Enum):
        return json_ready(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, Mapping):
        return _with_twins({str(_key(key)): json_ready(item) for key, item in value.items()})
    if hasattr(value, "tolist"):  # numpy's arrays and scalars, without loading numpy
        return json_ready(value.tolist())
    if isinstance(value, (PurePath, datetime)):
        return _iso(value) if isinstance(value, datetime) else str(value)
    if hasattr(type(value), "model_fields") or is_dataclass(value) or hasattr(value, "_asdict"):
        return _with_twins({key: json_ready(item) for key, item in _fields(value).items()})
    if isinstance(value, Iterable):
        return [json_ready(item) for item in value]
    return str(value)


def printable(text: str) -> str:
    """Text with every control, bidirectional or unprintable character shown as its escape."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)


def _dumps(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, allow_nan=False, indent=indent)


def _key(key: Any) -> Any:
    return key.value if isinstance(key, Enum) else key


def _decimal(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() and abs(value) < 2**53 else float(value)


def _fields(value: Any) -> dict[str, Any]:
    from blofin_cli.app.spec import to_record

    fields = getattr(type(value), "model_fields", {})
    hidden = {name for name, field in fields.items() if field.exclude}
    return {name: item for name, item in to_record(value).items() if name not in hidden}


def _with_twins(record: dict[str, Any]) -> dict[str, Any]:
    """The record with an ISO 8601 twin before every moment in milliseconds."""
    twins: dict[str, Any] = {}
    for key, item in record.items():
        stem = key.removesuffix("_ms")
        if stem != key and stem not in record and _is_moment(item):
            twins[stem] = moment_text(cast("int", item))
        twins[key] = item
    return twins


def _is_moment(value: Any) -> bool:
    return type(value) is int and MOMENT_MS_MIN <= value <= MOMENT_MS_MAX


def moment_text(ms: int) -> str:
    """UTC milliseconds as ISO 8601, with a fraction only when there is one."""
    return _iso(datetime.fromtimestamp(ms / 1000, UTC))


def _iso(moment: datetime) -> str:
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row.get(key)) for key in columns] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    plain = json_ready(value)
    if isinstance(plain, (dict, list)):
        return _dumps(plain)
    if not isinstance(plain, str):
        return plain
    text = printable(plain)  # a terminal would obey it
    return "'" + text if text.startswith(("=", "+", "-", "@")) else text  # a spreadsheet would


def _table(result: "Result", width: int | None) -> str:
    if prose := result.text():
        return "\n".join(printable(line) for line in prose.rstrip("\n").split("\n")) + "\n"

    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    for label, value in result.summary():
        console.print(Text(f"{_label(label)}: {summary_text(label, value)}"))
    rows = result.table()
    if rows:
        console.print(_grid(rows, result.columns or tuple(rows[0]), console.width))
    elif not result.summary():
        console.print("nothing to show")
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n")) + "\n"


def _grid(rows: list[dict[str, Any]], columns: tuple[str, ...], width: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = {column: [cell_text(column, row.get(column)) for row in rows] for column in columns}
    wide, narrow = _fitting(cells, width, GAP), _fitting(cells, width, GAP_NARROW)
    is_tight = len(narrow) > len(wide)
    fitting = narrow if is_tight else wide
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=is_tight)
    for column in fitting:
        numeric = any(isinstance(row.get(column), (int, float, Decimal)) for row in rows)
        side: Any = "right" if numeric else "left"
        is_prose = any(" " in text or len(text) > WORD_WIDTH for text in cells[column])
        grid.add_column(Text(_label(column)), justify=side, overflow="fold", no_wrap=not is_prose)
    for line in zip(*(cells[column] for column in fitting), strict=True):
        grid.add_row(*map(Text, line))
    hidden = [_label(column) for column in columns if column not in fitting]
    if hidden:
        grid.caption = Text("the terminal is too narrow for: " + ", ".join(hidden))
        grid.caption_justify = "left"
    return grid


def _fitting(cells: dict[str, list[str]], width: int, gap: int) -> list[str]:
    """The leading columns that fit: a column cut to an ellipsis tells nothing."""
    fitting: list[str] = []
    used = -gap
    for column, texts in cells.items():
        used += gap + max(_breadth(text) for text in (_label(column), *texts))
        if fitting and used > width:
            break
        fitting.append(column)
    return fitting


def _breadth(text: str) -> int:
    """Characters a text needs: prose may be folded, but no word of it, as one may be an id."""
    words = max(len(word) for word in text.split(" "))
    return max(min(len(text), PROSE_WIDTH), min(words, WORD_WIDTH))


def _label(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ")


def summary_text(label: str, value: Any) -> str:
    """A value as a person reads it beside its label: room for a sentence of what to do."""
    return cell_text(label, value, SENTENCE_LENGTH_MAX)


def cell_text(label: str, value: Any, length_max: int = CELL_LENGTH_MAX) -> str:
    """A value as a person reads it in a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    plain = json_ready(value)
    if label.endswith("_ms") and _is_moment(plain):
        return datetime.fromtimestamp(plain / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    if isinstance(plain, float) or (isinstance(value, Decimal) and plain is not None):
        return _number(float(plain))
    if isinstance(plain, (dict, list)):
        plain = ", ".join(_pairs(plain))
    text = printable(str("-" if plain is None else plain))
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def _pairs(plain: dict[str, Any] | list[Any]) -> Iterable[str]:
    if isinstance(plain, list):
        return (cell_text("", item) for item in plain)
    return (f"{key} {cell_text(key, item)}" for key, item in plain.items())


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.2f}"
    if abs(value) >= 0.01:
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{Decimal(f'{value:.4g}'):f}" if abs(value) >= PLAIN_MIN else f"{value:.4g}"
