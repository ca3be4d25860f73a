"""Answers an agent can hold: harmless text, columns, pages."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from blofin_cli.errors import UsageError
from blofin_cli.faces.mcp.pages import (
    KEPT_RESULTS_MAX,
    PAGE_CHARACTERS,
    TEXT_LENGTH_MAX,
    Results,
    columnwise,
    harmless,
    page_of,
)
from tests.faces.seed import HOSTILE

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_harmless_text_is_printable_and_short(value):
    """No control or direction character survives anywhere, not even in a name."""

    def texts(item):
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            for key, inner in item.items():
                yield from (key, *texts(inner))
        elif isinstance(item, list):
            for inner in item:
                yield from texts(inner)

    for text in texts(harmless(value)):
        assert text.isprintable()
        assert len(text) <= TEXT_LENGTH_MAX


def test_hostile_text_is_shown_and_cut():
    """What a terminal or a model would obey is letters, and no longer than a paragraph."""
    shown = harmless({"note": HOSTILE, "long": "x" * 100_000, HOSTILE: 1})
    assert "\\x1b[2J" in shown["note"]
    assert "\\u202e" in shown["note"]
    assert len(shown["long"]) == TEXT_LENGTH_MAX
    assert all(key.isprintable() for key in shown)


def test_endless_nesting_ends():
    """A record inside itself a thousand times is cut where nobody reads on."""
    value: object = "deep"
    for _ in range(500):
        value = {"a": [value]}
    assert "deep" not in json.dumps(harmless(value))


def test_long_list_of_records_becomes_columns():
    """One list a field, every row's value at its place, None where a record has none."""
    rows = [
        {"id": number, "even": True} if number % 2 == 0 else {"id": number} for number in range(30)
    ]
    table = columnwise({"rows": rows})["rows"]
    assert table["id"] == list(range(30))
    assert table["even"] == [True, None] * 15
    assert columnwise({"rows": rows[:20]})["rows"] == rows[:20]


def test_small_result_is_whole():
    """Nothing is added to what fits."""
    assert page_of({"a": [1, 2]}, Results(), ["x"]).content == {"a": [1, 2]}


def test_pages_together_are_the_result():
    """Every record once, in order, each answer within its size."""
    whole = {"trades": [{"id": n, "note": "n" * 60} for n in range(2000)], "bars": 7}
    results = Results()
    page = page_of(whole, results, ["trades: 2000"])
    assert page.content["bars"] == 7
    assert page.content["page"]["total"] == {"trades": 2000}
    first = page.content["trades"]
    ids = list(first["id"]) if isinstance(first, dict) else [row["id"] for row in first]
    cursors = page.content["page"]["next"]
    while cursors:
        answer = results.page(cursors[0])
        assert len(json.dumps(answer)) < PAGE_CHARACTERS * 1.1
        rows = answer["trades"]
        ids += rows["id"] if isinstance(rows, dict) else [row["id"] for row in rows]
        cursors = answer["page"]["next"]
    assert ids == list(range(2000))


def test_results_forget_the_oldest():
    """A server that runs for months keeps a bounded number of them."""
    results = Results()
    names = [results.keep({"a": list(range(30))}, 100) for _ in range(KEPT_RESULTS_MAX + 1)]
    with pytest.raises(UsageError):
        results.page(names[0])
    assert results.page(names[-1])["lists"] == {"a": 30}


@pytest.mark.parametrize("rest", ["a/-1", "a/x", "b/0", "a/" + "9" * 5000, "a/\u0663"])
def test_cursor_that_names_no_page_is_refused(rest):
    """Offsets are whole numbers of lists that exist; past the end there is nothing."""
    results = Results()
    name = results.keep({"a": list(range(30))}, 100)
    with pytest.raises(UsageError):
        results.page(f"{name}/{rest}")
    assert results.page(f"{name}/a/31")["a"] == []
