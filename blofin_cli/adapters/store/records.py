"""Records of the journal as canonical JSON, and back to equal records.

Sorted names, no spaces, ASCII only: equal records make equal bytes, and whatever a note holds
(SQL, NUL, half a surrogate pair) is stored as text and comes back literally. Decimals are text, so
that no digit is lost. What a record is made of is read from its type hints.
"""

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from blofin_cli.errors import DataError

T = TypeVar("T")

DOCUMENT_LENGTH_MAX = 16 * 1_048_576


def packed(record: Any, *, is_shown: bool = False) -> str:
    """A record as one line of JSON.

    `is_shown` marks what people look at and nobody computes with: there a number that is not finite
    is kept as unknown. Everywhere else it is refused.
    Errors: DataError for such a number, or for a record of more than 16 MB.
    """
    try:
        text = canonical(_plain(record, is_shown))
    except ValueError as error:
        raise DataError(f"a {_name(record)} holds {error}; it was not kept") from error
    if len(text) > DOCUMENT_LENGTH_MAX:
        raise DataError(f"a {_name(record)} of {len(text)} characters is too long; it was not kept")
    return text


def unpacked(kind: type[T], text: str, key: str) -> T:
    """The record that `packed` made this of; names a later build added pass by.

    Errors: DataError naming the record by its key when the text is not such a record.
    """
    try:
        return cast("T", _reader(cast("Any", kind))(json.loads(text)))
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation) as error:
        raise damaged(kind.__name__.lower(), key) from error


def document(text: str, key: str) -> dict[str, Any]:
    """A JSON object that was kept as it is. Errors: DataError when it is none."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise damaged("document", key) from error
    if not isinstance(value, dict):
        raise damaged("document", key)
    return value


def canonical(value: Any) -> str:
    """JSON values as canonical text. Errors: ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def word(text: str) -> str:
    """Text as it may stand in a column: what no database takes (NUL, half a pair) is escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]


def damaged(what: str, key: str) -> DataError:
    """What to say of a row that cannot be read."""
    return DataError(
        f"the {what} {key[:80]!a} is damaged in the state",
        hint="blofin state verify lists what is damaged; restore a backup (blofin guide state)",
        details={"record": what, "key": key[:80]},
    )


def _name(record: Any) -> str:
    return type(record).__name__.lower()


def _plain(value: Any, is_shown: bool) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _finite(value, is_shown)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"the number {value}")
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item, is_shown) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, is_shown) for item in value]
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), is_shown) for f in fields(value)}
    if hasattr(value, "item"):  # numpy's scalars, without loading numpy
        return _plain(value.item(), is_shown)
    raise TypeError(f"{type(value).__name__} is no part of a record")


def _finite(value: float, is_shown: bool) -> float | None:
    if math.isfinite(value):
        return float(value)
    if is_shown:
        return None
    raise ValueError(f"the number {value}")


Reader = Callable[[Any], Any]


@cache
def _reader(hint: Any) -> Reader:
    """The function that turns JSON into what a type hint says."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _optional([part for part in parts if part is not type(None)])
    if origin in {list, tuple}:
        item = _reader(parts[0])
        return lambda value: origin(item(part) for part in _sequence(value))
    if origin is dict:
        item = _reader(parts[1])
        return lambda value: {name: item(part) for name, part in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return _record_reader(hint)
    if hint is Decimal:
        return _decimal
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint is Any:  # a class since Python 3.11
        return _as_it_is
    return _checked(hint) if isinstance(hint, type) else _as_it_is


def _optional(parts: list[Any]) -> Reader:
    if len(parts) > 1:  # float | str | None: JSON says which
        return _as_it_is
    inner = _reader(parts[0])
    return lambda value: None if value is None else inner(value)


def _record_reader(kind: type[Any]) -> Reader:
    hints = get_type_hints(kind)
    readers = {item.name: _reader(hints[item.name]) for item in fields(kind)}

    def read(value: Any) -> Any:
        return kind(**{n: readers[n](part) for n, part in value.items() if n in readers})

    return read


def _checked(kind: type[Any]) -> Reader:
    """Plain JSON values; a whole number may stand where a fraction could, but no text."""

    def read(value: Any) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) and not (value is None and kind is float):
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return read


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _decimal(value: Any) -> Decimal:
    if not isinstance(value, str):
        raise TypeError("money is text")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("not finite")
    return number


def _as_it_is(value: Any) -> Any:
    return value
