"""One row of an answer, read field by field with the unit and range each must have.

BloFin sends numbers as decimal text with up to 18 places, and `null`, "" or nothing for what is
absent. JSON numbers are refused but where the documentation shows them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from blofin_cli.errors import BadAnswerError

TEXT_LENGTH_MAX = 200
_NUMBER = re.compile(r"-?[0-9]{1,24}(?:\.[0-9]{1,24})?")
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}-[A-Z]{3,5}")
_TIME_MIN_MS, _TIME_MAX_MS = 1_262_304_000_000, 4_102_444_800_000  # 2010 to 2100
_NUMBER_MAX = Decimal("1E24")

Word = TypeVar("Word", bound=StrEnum)


def clean(text: object) -> str:
    """Foreign text fit to be shown: control characters escaped, cut to 200 characters."""
    if not isinstance(text, str):
        text = _plain(text)
    raw = text[: TEXT_LENGTH_MAX * 2]
    if raw.isprintable():
        return raw[:TEXT_LENGTH_MAX]
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in raw
    )
    return shown[:TEXT_LENGTH_MAX]


def shown(value: object) -> str:
    """A foreign value for an error text: quoted, short, and never walked into."""
    text = repr(value) if isinstance(value, str) else _plain(value)
    return clean(text)[:60]


def _plain(value: object) -> str:
    """Text of a scalar, the type's name of anything nested: its depth is the sender's choice."""
    if value is None:
        return ""
    if isinstance(value, int) and abs(value) > _NUMBER_MAX:
        return "a huge number"
    return str(value) if isinstance(value, int | Decimal) else type(value).__name__


def load_json(body: bytes | str) -> Any:
    """JSON without NaN and Infinity; fractions become Decimal.

    Errors: BadAnswerError when it is not JSON, too deep, or not UTF-8.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError) as problem:
        start = body[:80] if isinstance(body, str) else body[:80].decode("utf-8", "replace")
        kind = "HTML" if start.lstrip().startswith("<") else "no JSON"
        raise BadAnswerError(
            f"the answer is {kind}: {clean(start)!r}", hint="the exchange may be in maintenance"
        ) from problem


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def decimal_of(value: object, place: str) -> Decimal:
    """A finite decimal from text.

    Errors: BadAnswerError for other types, exponents and more digits than any amount has.
    """
    if isinstance(value, str) and len(value) <= 50 and _NUMBER.fullmatch(value):
        return Decimal(value)
    raise BadAnswerError(f"{place}: {shown(value)} is no decimal number")


def level_of(value: object, place: str) -> Decimal:
    """As `decimal_of`, and JSON numbers too: the documented books show them."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value) if abs(value) < _NUMBER_MAX else None
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < _NUMBER_MAX:
        return value
    return decimal_of(value, place)


def time_of(value: object, place: str) -> int:
    """Milliseconds since the epoch; seconds and microseconds fall outside the range.

    Errors: BadAnswerError.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 13:
        ts_ms = int(value)
        if _TIME_MIN_MS <= ts_ms < _TIME_MAX_MS:
            return ts_ms
    raise BadAnswerError(f"{place}: {shown(value)} is no time in milliseconds")


class Row:
    """A JSON object with a name for error texts; collects words that nobody knows.

    Errors, of every reader: BadAnswerError when the field is of another type or outside its
    range, and for the readers without `maybe_` when it is absent.
    """

    __slots__ = ("_values", "oddities", "place")

    def __init__(self, values: object, place: str):
        if not isinstance(values, dict):
            raise BadAnswerError(f"{place}: an object is due, not {type(values).__name__}")
        self._values: Mapping[str, Any] = values
        self.place = place
        self.oddities: list[str] = []

    def raw(self, name: str) -> Any:
        """The value as it came; None when it is null, empty or absent."""
        value = self._values.get(name)
        return None if value == "" else value

    def _due(self, name: str) -> Any:
        value = self.raw(name)
        if value is None:
            raise BadAnswerError(f"{self.place}.{name} is absent")
        return value

    def maybe_text(self, name: str) -> str:
        """Text, "" when absent; cleaned."""
        value = self.raw(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadAnswerError(f"{self.place}.{name} is no text")
        return clean(value)

    def text(self, name: str) -> str:
        """Text that must be there; cleaned."""
        self._due(name)
        return self.maybe_text(name)

    def symbol(self, name: str = "instId") -> str:
        """An instrument's name."""
        value = self._due(name)
        if not isinstance(value, str) or not _SYMBOL.fullmatch(value):
            raise BadAnswerError(f"{self.place}.{name}: {shown(value)} is no instrument")
        return value

    def decimal(self, name: str) -> Decimal:
        """A finite decimal."""
        return decimal_of(self._due(name), f"{self.place}.{name}")

    def maybe_decimal(self, name: str) -> Decimal | None:
        """A finite decimal, None when absent."""
        return None if self.raw(name) is None else self.decimal(name)

    def positive(self, name: str) -> Decimal:
        """A decimal above zero."""
        value = self.decimal(name)
        if value <= 0:
            raise BadAnswerError(f"{self.place}.{name}: {value} is not above zero")
        return value

    def maybe_positive(self, name: str) -> Decimal | None:
        """A decimal above zero; None when absent or zero, which is how BloFin writes absence."""
        value = self.not_negative(name) if self.raw(name) is not None else None
        return value or None

    def not_negative(self, name: str) -> Decimal:
        """A decimal of zero or more."""
        value = self.decimal(name)
        if value < 0:
            raise BadAnswerError(f"{self.place}.{name}: {value} is below zero")
        return value

    def maybe_trigger_limit(self, name: str) -> Decimal | None:
        """The price an order takes once triggered; -1 and absent mean market, None."""
        value = self.maybe_decimal(name)
        return None if value is None or value <= 0 else value

    def whole(self, name: str) -> int:
        """An integer above zero, as text or number (`"3"`, `3`, `"3.0"`)."""
        value = level_of(self._due(name), f"{self.place}.{name}")
        if value != value.to_integral_value() or not 0 < value < 10_000:
            raise BadAnswerError(f"{self.place}.{name}: {value} is no small whole number")
        return int(value)

    def time_ms(self, name: str) -> int:
        """Milliseconds since the epoch."""
        return time_of(self._due(name), f"{self.place}.{name}")

    def maybe_time_ms(self, name: str) -> int | None:
        """Milliseconds since the epoch, None when absent."""
        return None if self.raw(name) is None else self.time_ms(name)

    def maybe_flag(self, name: str) -> bool | None:
        """true or false, as text or JSON; None when absent."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return bool(value == "true")
        raise BadAnswerError(f"{self.place}.{name}: {shown(value)} is no flag")

    def word(self, name: str, known: Mapping[str, Word], unknown: Word) -> Word:
        """A word of a list; `unknown`, with a note in `oddities`, when the list lacks it."""
        value = self.maybe_text(name)
        if value in known:
            return known[value]
        if value:
            self.oddities.append(f"{name}={value}")
        return unknown

    def due_word(self, name: str, known: Mapping[str, Word]) -> Word:
        """A word without which the row means nothing."""
        value = self.text(name)
        if value not in known:
            raise BadAnswerError(f"{self.place}.{name}: {value!r} is not understood")
        return known[value]


def rows_of(data: object, place: str) -> Iterator[Row]:
    """The rows of an array.

    Errors: BadAnswerError when it is none.
    """
    if not isinstance(data, list):
        raise BadAnswerError(f"{place}: an array is due, not {type(data).__name__}")
    return (Row(values, f"{place}[{number}]") for number, values in enumerate(data))


def columns_of(data: object, place: str, width: int) -> Iterator[list[Any]]:
    """The rows of an array of arrays, each with at least `width` values.

    Errors: BadAnswerError.
    """
    if not isinstance(data, list):
        raise BadAnswerError(f"{place}: an array is due, not {type(data).__name__}")
    for number, values in enumerate(data):
        if not isinstance(values, list) or len(values) < width:
            raise BadAnswerError(f"{place}[{number}]: {width} columns are due")
        yield values
