"""A crontab as text: when a line runs next, and the one block of it that is ours.

Everything outside the block is kept to the byte. Source: crontab(5), Vixie cron: when day of month
and day of week are both restricted, either of them suffices.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from blofin_cli.errors import ConfigError, UsageError

BEGIN = "# blofin-cli begin: edit with blofin schedule"
END = "# blofin-cli end"
DAYS_MAX = 366 * 8  # 29 February on a given weekday is the rarest
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_PART = re.compile(r"(\*|\w+(?:-\w+)?)(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of ours: its name, when it runs, and the command as the shell gets it."""

    name: str
    when: str
    command: str


@dataclass(frozen=True, slots=True)
class Times:
    """The minutes at which a line runs."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def next_after(self, moment: datetime) -> datetime | None:
        """The first minute after `moment`, in its own time zone; None when there is none.

        Local time is taken as it is written: an hour that a clock change skips or repeats is not
        accounted for.
        """
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for ahead in range(DAYS_MAX):
            day = start + timedelta(days=ahead)
            if not self._has_day(day):
                continue
            first = start.hour * 60 + start.minute if ahead == 0 else 0
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    if hour * 60 + minute >= first:
                        return day.replace(hour=hour, minute=minute)
        return None

    def _has_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


def times(when: str) -> Times:
    """What five fields or a word such as `@daily` mean.

    Errors: UsageError naming the field that makes no sense, and for times that never come.
    """
    words = _SHORT.get(when.strip().lower(), when).split()
    if len(words) != len(_FIELDS):
        raise UsageError(
            f"{when[:60]!a} is no time for cron",
            hint="write minute hour day month weekday, e.g. '15 2 * * *', or @daily",
        )
    found = [
        _field(word, name, low, high)
        for word, (name, low, high) in zip(words, _FIELDS, strict=True)
    ]
    read = Times(
        minutes=found[0],
        hours=found[1],
        days=found[2],
        months=found[3],
        weekdays=frozenset(value % 7 for value in found[4]),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if read.next_after(datetime(2024, 1, 1)) is None:  # noqa: DTZ001 - any moment will do
        raise UsageError(f"{when[:60]!a} never comes", hint="that month has no such day")
    return read


def entries(text: str) -> tuple[Entry, ...]:
    """Our lines of a crontab. Errors: ConfigError when the block was edited beyond reading."""
    _, block, _ = _split(text)
    found: list[Entry] = []
    name = None
    for line in block:
        if line.startswith("# name: "):
            name = line.removeprefix("# name: ").strip()
        elif line.strip() and not line.startswith("#"):
            if name is None:
                raise ConfigError(
                    f"a line of blofin's block in the crontab has no name: {line[:60]!a}",
                    hint="mend it with crontab -e; each line needs '# name: NAME' above it",
                )
            found.append(_entry(name, line))
            name = None
    return tuple(found)


def with_entries(text: str, wanted: tuple[Entry, ...]) -> str:
    """The crontab with our block holding these lines; without a block when there are none.

    Errors: ConfigError when the block was edited beyond reading.
    """
    before, _, after = _split(text)
    lines = [BEGIN]
    for entry in wanted:
        lines += [f"# name: {entry.name}", f"{entry.when} {_escaped(entry.command)}"]
    lines.append(END)
    if before and not before.endswith("\n"):
        before += "\n"
    return before + ("\n".join(lines) + "\n" if wanted else "") + after


def check_name(name: str) -> None:
    """Errors: UsageError for anything but 1 to 32 letters, digits, `_` and `-`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:40]!a} is no name: 1 to 32 letters, digits, _ and -")


def _split(text: str) -> tuple[str, list[str], str]:
    """What is before our block, its lines, and what is behind it."""
    lines = text.splitlines(keepends=True)
    marks = [n for n, line in enumerate(lines) if line.rstrip("\n") in {BEGIN, END}]
    if not marks:
        return text, [], ""
    is_whole = len(marks) == 2 and [lines[n].rstrip("\n") for n in marks] == [BEGIN, END]
    if not is_whole:
        raise ConfigError(
            "blofin's block in the crontab is damaged",
            hint=f"mend it with crontab -e: it begins with {BEGIN!r} and ends with {END!r}",
        )
    first, last = marks
    block = [line.rstrip("\n") for line in lines[first + 1 : last]]
    return "".join(lines[:first]), block, "".join(lines[last + 1 :])


def _entry(name: str, line: str) -> Entry:
    count = 1 if line.startswith("@") else len(_FIELDS)
    words = line.split(None, count)
    if len(words) <= count:
        raise ConfigError(f"{name}: {line[:60]!a} is no line for cron", hint="crontab -e mends it")
    return Entry(name, " ".join(words[:count]), words[count].replace("\\%", "%"))


def _escaped(command: str) -> str:
    """cron reads an unescaped % as a line end."""
    return command.replace("%", "\\%")


def _field(word: str, name: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise UsageError(f"{part[:20]!a} is no {name}")
        spread, step = match[1], int(match[2] or 1)
        first, _, last = spread.partition("-")
        if spread == "*":
            start, stop = low, high
        else:
            start = _value(first, name)
            stop = _value(last, name) if last else (high if match[2] else start)
        if not low <= start <= stop <= high or step < 1:
            raise UsageError(f"{part[:20]!a} is no {name}: {low} to {high}")
        found.update(range(start, stop + 1, step))
    return frozenset(found)


def _value(word: str, name: str) -> int:
    if word.isdigit() and word.isascii():
        return int(word)
    words = {"month": _MONTHS, "weekday": _WEEKDAYS}.get(name, [])
    if word.lower() in words:
        return words.index(word.lower()) + (name == "month")
    raise UsageError(f"{word[:20]!a} is no {name}")
