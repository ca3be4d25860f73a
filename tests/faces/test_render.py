"""Results as text."""

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from blofin_cli.app.spec import Result
from blofin_cli.errors import UsageError
from blofin_cli.faces.render import Format, cell_text, error_text, json_ready, to_text


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    born_ms: int
    ended_ms: int | None
    value: Any
    colour: Colour = Colour.RED


class Sample(Result):
    symbol: str
    elapsed_ms: int
    rows_found: list[Row]


SAMPLE = Sample(
    symbol="BTC-USDT",
    elapsed_ms=12,
    rows_found=[
        Row("=HYPERLINK(1)", 1722838500000, None, 1.5),
        Row("[red]\x1b[2J[/]", 1722838500250, 1722838500250, float("nan")),
    ],
)


def document(value: Any) -> Any:
    return json.loads(json.dumps(json_ready(value), allow_nan=False))


def test_json_moments_get_an_iso_twin_and_spans_do_not():
    """`born_ms` comes with `born`; a length of time stays alone."""
    told = document(SAMPLE)
    assert told["rows_found"][0]["born"] == "2024-08-05T06:15:00Z"
    assert told["rows_found"][1]["ended"] == "2024-08-05T06:15:00.250Z"
    assert "ended" not in told["rows_found"][0]
    assert "elapsed" not in told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (np.float64("nan"), None),
        (np.array([1.0, np.inf]), [1.0, None]),
        (np.int64(5), 5),
        (np.bool_(True), True),
        (Decimal("0.1"), 0.1),
        (Decimal("5"), 5),
        (Decimal("NaN"), None),
        (Colour.RED, "red"),
        ({Colour.RED: (1, None)}, {"red": [1, None]}),
    ],
)
def test_json_numbers_are_numbers_and_nan_is_null(value, told):
    """Neither NaN nor a number in quotes ever leaves."""
    assert document(value) == told


def test_csv_escapes_formulas():
    """B62: a spreadsheet must not run what a note says."""
    lines = to_text(SAMPLE, Format.CSV).splitlines()
    assert lines[0] == "name,born_ms,ended_ms,value,colour"
    assert lines[1] == "'=HYPERLINK(1),1722838500000,,1.5,red"


@pytest.mark.parametrize("text", ["@SUM", "-1+1", "+1", "=1"])
def test_csv_text_that_starts_like_a_formula_is_quoted(text):
    """Numbers keep their sign; text does not get to act like one."""
    sample = Sample(symbol="x", elapsed_ms=1, rows_found=[Row(text, 0, None, -1.5)])
    row = to_text(sample, Format.CSV).splitlines()[1]
    assert row.startswith("'" + text)
    assert row.endswith(",-1.5,red")


def test_csv_shows_what_a_terminal_would_obey():
    """Escapes, bells, turned writing and a tab before a formula: none arrives as it is."""
    names = ("\x1b[2J\x07\u202e", "\t=1")
    sample = Sample(symbol="x", elapsed_ms=1, rows_found=[Row(n, 0, None, 1) for n in names])
    rows = to_text(sample, Format.CSV).splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["\\x1b[2J\\x07\\u202e", "\\t=1"]


def test_ndjson_is_one_record_a_line():
    """Each row stands alone."""
    lines = to_text(SAMPLE, Format.NDJSON).splitlines()
    assert [json.loads(line)["value"] for line in lines] == [1.5, None]


def test_table_shows_markup_and_escapes_literally():
    """B18, B19: text from elsewhere is shown, not obeyed."""
    table = to_text(SAMPLE, Format.TABLE, width=120)
    assert "[red]\\x1b[2J[/]" in table
    assert "\x1b" not in table
    assert "symbol: BTC-USDT" in table
    assert "2024-08-05 06:15" in table


def test_gaps_narrow_before_a_column_is_left_out():
    """Two blanks between columns are enough where three would hide one."""
    full = to_text(SAMPLE, Format.TABLE, width=200)
    needed = max(map(len, full.splitlines()))
    tight = to_text(SAMPLE, Format.TABLE, width=needed - 2)
    assert "too narrow" not in tight
    assert max(map(len, tight.splitlines())) < needed


class Deed(Result):
    """Something with an id to copy."""

    ref: str = "9a9df02047fa4c91eed52cde925b2865"
    what: str = "words that may be folded, " * 3

    def rows(self) -> list[dict[str, Any]]:
        return [{"ref": self.ref, "what": self.what}]


def test_id_is_never_folded():
    """What one copies stands on one line; prose gives way."""
    table = to_text(Deed(), Format.TABLE, width=70)
    assert sum("9a9df02047fa4c91eed52cde925b2865" in line for line in table.splitlines()) == 2
    assert max(map(len, table.splitlines()[2:])) <= 70


def test_table_leaves_out_columns_rather_than_cutting_them():
    """A number cut to an ellipsis is a wrong number."""
    table = to_text(SAMPLE, Format.TABLE, width=40)
    assert "…" not in table
    assert "too narrow for: ended, value, colour" in " ".join(table.split())


def test_sentence_beside_its_label_is_told_to_its_end():
    """What a halt could not do must not end in an ellipsis; what is endless still does."""

    class Told(Result):
        words: str

        def summary(self) -> list[tuple[str, object]]:
            return [("NOT DONE", self.words)]

    sentence = "the session has not acknowledged; " * 8 + "end its process"
    assert " ".join(to_text(Told(words=sentence), Format.TABLE, width=60).split()).endswith(
        "end its process"
    )
    assert len(to_text(Told(words="x" * 10_000), Format.TABLE, width=60)) < 600


def test_formats_agree_cell_for_cell():
    """CSV and NDJSON tell the same rows."""
    names = [json.loads(line)["name"] for line in to_text(SAMPLE, Format.NDJSON).splitlines()]
    assert names == [row.name for row in SAMPLE.rows_found]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (True, "yes"), (0.0, "0"), (61234.5, "61,234.50"), (1.25, "1.25"),
     (0.00001234, "0.00001234"), (Decimal(37000), "37,000.00"), (37000, "37000"),
     (float("nan"), "-"), ([1, 2], "1, 2"),
     ("x" * 500, "x" * 119 + "…")],
)  # fmt: skip
def test_cells_read_well(value, shown):
    """Short, rounded, never NaN."""
    assert cell_text("value", value) == shown


def test_error_line_shows_escapes():
    """An error cannot move the cursor."""
    line = error_text(UsageError("bad \x1b[2J", hint="x"), Format.TABLE)
    assert line == "error: bad \\x1b[2J (x)\n"
