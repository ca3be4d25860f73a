"""Answers an agent can hold: text made harmless, long lists column-wise, big results by the page.

What comes from the exchange, the journal or a file is data. Control characters are shown as their
escapes and long texts are cut, so that nothing in an answer can pose as something else.
"""

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

from blofin_cli.errors import UsageError
from blofin_cli.faces.render import printable

TEXT_LENGTH_MAX = 2_000
KEY_LENGTH_MAX = 120
ITEMS_DEPTH_MAX = 12
COLUMNS_FROM = 20  # records; fewer read better one by one
PAGE_CHARACTERS = 16_000  # 4,000 tokens
PAGE_LENGTHS = (100, 50, 20, 10, 5, 2, 1, 0)
PAGE_ROWS = 200
CUT_CHARACTERS = 1_500  # a list shorter than this is worth its place
KEPT_RESULTS_MAX = 32
KEPT_CHARACTERS_MAX = 32_000_000
RESULT_URI = "blofin://result/"


@dataclass(frozen=True, slots=True)
class Page:
    """What goes out now, and where the rest is: None when everything fitted."""

    content: dict[str, Any]
    uri: str | None = None


class Results:
    """Results too large for one answer, the newest few, by a name nobody can guess."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def keep(self, whole: Any, characters: int) -> str:
        """Keep a result and return its name; the oldest ones make room."""
        name = secrets.token_hex(4)
        with self._lock:
            self._kept[name] = (whole, characters)
            while len(self._kept) > 1 and self._is_full():
                self._kept.popitem(last=False)
        return name

    def _is_full(self) -> bool:
        characters = sum(size for _, size in self._kept.values())
        return len(self._kept) > KEPT_RESULTS_MAX or characters > KEPT_CHARACTERS_MAX

    def page(self, cursor: str) -> dict[str, Any]:
        """The page a cursor `NAME/LIST/OFFSET` names; `NAME` alone lists what there is.

        Errors: UsageError when the result is gone or has no such list.
        """
        name, _, rest = cursor.strip().removeprefix(RESULT_URI).partition("/")
        with self._lock:
            kept = self._kept.get(name)
        if kept is None:
            raise UsageError(
                "no result is kept under this cursor", hint="call the tool again without a cursor"
            )
        lists = dict(_lists(kept[0]))
        path, _, offset_text = rest.rpartition("/")
        if not rest:
            return {"result": name, "lists": {path: _length(item) for path, item in lists.items()}}
        is_number = offset_text.isascii() and offset_text.isdecimal() and len(offset_text) < 12
        offset = int(offset_text) if is_number else -1
        if path not in lists or offset < 0:
            raise UsageError(
                "this cursor names no page", hint=f"{name} alone lists what the result holds"
            )
        return _rows(name, path, lists[path], offset)


def page_of(whole: dict[str, Any], results: Results, summary: list[str]) -> Page:
    """A result as one answer; when it is too large, its beginning, a summary and the way on."""
    whole = harmless(whole)
    plain = columnwise(whole)
    characters = len(_dumps(plain))
    if characters <= PAGE_CHARACTERS:
        return Page(plain)
    name = results.keep(whole, characters)
    for length in PAGE_LENGTHS:
        shown = columnwise(_cut(whole, length))
        if len(_dumps(shown)) <= PAGE_CHARACTERS or length == 0:
            break
    lists = {path: _length(item) for path, item in _lists(whole) if _is_cut(item, length)}
    shown[_PAGE] = {
        "summary": [line[:300] for line in summary[:20]],
        "total": lists,
        "shown": length,
        "next": [f"{name}/{path}/{length}" for path in list(lists)[:8]],
    }
    return Page(shown, f"{RESULT_URI}{name}")


_PAGE = "page"


def harmless(value: Any, depth: int = 0) -> Any:
    """The same JSON with every text escaped and cut, and nothing nested without end."""
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, dict):
        if depth > ITEMS_DEPTH_MAX:
            return {}
        return {
            safe_text(key, KEY_LENGTH_MAX): harmless(item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, list):
        return [] if depth > ITEMS_DEPTH_MAX else [harmless(item, depth + 1) for item in value]
    return value


def safe_text(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Text that cannot act: control and direction characters escaped, cut with a mark."""
    shown = printable(text[: length_max + 1])
    return shown if len(shown) <= length_max else shown[: length_max - 1] + "…"


def columnwise(value: Any) -> Any:
    """The same JSON with each long list of records as one list a field."""
    if isinstance(value, dict):
        return {key: columnwise(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > COLUMNS_FROM and all(isinstance(item, dict) for item in value):
        names = dict.fromkeys(key for item in value for key in item)
        return {key: [columnwise(item.get(key)) for item in value] for key in names}
    return [columnwise(item) for item in value]


def _cut(value: Any, length: int) -> Any:
    if _is_table(value):
        return {key: column[:length] for key, column in value.items()}
    if isinstance(value, dict):
        return {key: _cut(item, length) for key, item in value.items()}
    return value[:length] if _is_cut(value, length) else value


def _is_cut(item: Any, length: int) -> bool:
    """Whether a page of this length shows less than all of a list or table."""
    if isinstance(item, list) and len(_dumps(item)) <= CUT_CHARACTERS:
        return False
    return isinstance(item, (list, dict)) and _length(item) > length


def _is_table(value: Any) -> bool:
    """Whether a mapping is a table already: columns of one length, longer than a few."""
    if not isinstance(value, dict) or not value:
        return False
    if not all(isinstance(item, list) for item in value.values()):
        return False
    lengths = {len(item) for item in value.values()}
    return len(lengths) == 1 and lengths.pop() > COLUMNS_FROM


def _lists(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every list and table of a result by its dotted path, outermost first."""
    if path and (_is_table(value) or isinstance(value, list)):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _lists(item, f"{path}.{key}" if path else key)


def _length(item: Any) -> int:
    return len(next(iter(item.values()))) if isinstance(item, dict) else len(item)


def _rows(name: str, path: str, item: Any, offset: int) -> dict[str, Any]:
    total, length = _length(item), PAGE_ROWS
    while True:
        end = min(total, offset + length)
        part: Any = (
            {key: column[offset:end] for key, column in item.items()}
            if isinstance(item, dict)
            else columnwise(item[offset:end])
        )
        if length == 1 or len(_dumps(part)) <= PAGE_CHARACTERS:
            break
        length = max(1, length // 2)
    following = [f"{name}/{path}/{end}"] if end < total else []
    page = {"total": {path: total}, "shown": end - min(offset, total), "next": following}
    return _planted(path, part) | {_PAGE: page}


def _planted(path: str, part: Any) -> dict[str, Any]:
    """The part under the names it has in the result, so that a page looks like its result."""
    for name in reversed(path.split(".")):
        part = {name: part}
    return dict(part)


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def to_json(value: Any) -> str:
    """A value as the text beside structured content."""
    return _dumps(value)
