"""Times as people type them: ISO 8601 in UTC, or a span back from an anchor such as `90d`.

A span has no meaning until somebody says from when, so parsing keeps it apart from a date: the
command decides whether it counts back from the clock or from the end of its data.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

LENGTH_MAX = 40
YEAR_MIN, YEAR_MAX = 2009, 2099  # before the first coin nothing traded
SPAN_DAYS_MAX = 36_525

_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdwy])")
_SPAN_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_557_600_000}
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?")
RULE = "must be a UTC date or time like 2024-08-05T06:15, or a span back like 90d or 2y"


@dataclass(frozen=True, slots=True)
class TimeSpec:
    """A moment (`at_ms`) or a span back from an anchor (`back_ms`); exactly one is set."""

    text: str
    at_ms: int | None = None
    back_ms: int | None = None

    def resolve(self, anchor_ms: int) -> int:
        """The moment in UTC ms, with a span counted back from the anchor."""
        if self.at_ms is not None:
            return self.at_ms
        assert self.back_ms is not None
        return anchor_ms - self.back_ms

    def __str__(self) -> str:
        return self.text


def parse_time(text: object) -> TimeSpec:
    """Read one time as typed; a time without an offset is UTC.

    Errors: ValueError with the rule, for the field's own message.
    """
    if isinstance(text, TimeSpec):
        return text
    if not isinstance(text, str) or len(text) > LENGTH_MAX or not text.isascii():
        raise ValueError(RULE)
    word = text.strip()
    span = _SPAN.fullmatch(word)
    if span:
        return TimeSpec(word, back_ms=_span_ms(int(span[1]), span[2]))
    return TimeSpec(word, at_ms=_moment_ms(word))


def _span_ms(count: int, unit: str) -> int:
    span_ms = count * _SPAN_MS[unit]
    if span_ms > SPAN_DAYS_MAX * _SPAN_MS["d"]:
        raise ValueError(f"must reach back at most {SPAN_DAYS_MAX // 365} years")
    return span_ms


def _moment_ms(word: str) -> int:
    if _ISO.fullmatch(word) is None:
        raise ValueError(RULE)
    try:
        moment = datetime.fromisoformat(word)
    except ValueError as defect:
        raise ValueError(f"is no such time: {defect}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"must be between {YEAR_MIN} and {YEAR_MAX}")
    return round(moment.timestamp() * 1000)


def day_of(ts_ms: int) -> str:
    """The UTC date of a time in ms."""
    return datetime.fromtimestamp(int(ts_ms) / 1000, UTC).strftime("%Y-%m-%d")


def minute_of(ts_ms: int) -> str:
    """A time in ms as UTC text to the minute."""
    return datetime.fromtimestamp(int(ts_ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def second_of(ts_ms: int) -> str:
    """A time in ms as UTC text to the second."""
    return datetime.fromtimestamp(int(ts_ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
