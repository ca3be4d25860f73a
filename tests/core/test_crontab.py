"""When a line of cron runs next, and the one block of a crontab that is ours."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core.crontab import BEGIN, END, Entry, entries, times, with_entries
from blofin_cli.errors import ConfigError, UsageError

FRIDAY = datetime(2026, 1, 2, 12, 30)  # noqa: DTZ001 - local time, as cron has it
NIGHTLY = Entry("nightly", "15 2 * * *", "cd /x && blofin backtest > '100%.json'")


@pytest.mark.parametrize(
    ("when", "following"),
    [
        ("15 2 * * *", "2026-01-03T02:15"),
        ("* * * * *", "2026-01-02T12:31"),
        ("*/20 * * * *", "2026-01-02T12:40"),
        ("30 12 * * *", "2026-01-03T12:30"),
        ("31 12 * * *", "2026-01-02T12:31"),
        ("0 9-17/4 * * mon-fri", "2026-01-02T13:00"),
        ("0 0 29 feb *", "2028-02-29T00:00"),
        ("0 0 13 * fri", "2026-01-09T00:00"),  # the 13th or a Friday
        ("0 0 13 * *", "2026-01-13T00:00"),
        ("0 0 * * 7", "2026-01-04T00:00"),
        ("5,10 0 1 1,7 *", "2026-07-01T00:05"),
        ("@daily", "2026-01-03T00:00"),
        ("@hourly", "2026-01-02T13:00"),
        ("@monthly", "2026-02-01T00:00"),
    ],
)
def test_next_run_is_the_first_minute_that_fits(when, following):
    """Five fields as crontab(5) has them, names and steps included."""
    found = times(when).next_after(FRIDAY)
    assert found is not None
    assert found.isoformat(timespec="minutes") == following


@pytest.mark.parametrize(
    "when",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
        "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@reboot", "0 0 31 2 *",
        "-1 * * * *",
        "1,,2 * * * *", "* * * foo *", "٣ * * * *",
    ],
)  # fmt: skip
def test_times_that_make_no_sense_are_refused(when):
    """Before they stand in a crontab, where they would silently never run."""
    with pytest.raises(UsageError):
        times(when)


OTHERS = "MAILTO=me@example.org\n0 1 * * * backup --100%\n"


@pytest.mark.parametrize("others", ["", OTHERS, OTHERS.rstrip("\n"), "\n\n"])
def test_everything_outside_the_block_is_kept(others):
    """Adding, changing and removing ours leaves the rest as it is."""
    added = with_entries(others, (NIGHTLY,))
    assert entries(added) == (NIGHTLY,)
    assert added.startswith(others)
    changed = with_entries(added + "# after\n", (NIGHTLY, Entry("b", "@daily", "x")))
    assert [entry.name for entry in entries(changed)] == ["nightly", "b"]
    assert changed.endswith("# after\n")
    gone = with_entries(changed, ())
    assert BEGIN not in gone
    assert gone.replace("\n", "") == (others + "# after").replace("\n", "")


def test_percent_signs_survive_cron():
    """cron takes an unescaped % for a line end."""
    assert "100\\%.json" in with_entries("", (NIGHTLY,))


@given(st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True), unique=True, max_size=5))
def test_block_reads_back_what_was_written(names):
    """parse(build(x)) = x, whatever stands around it."""
    wanted = tuple(Entry(name, "1 2 3 4 5", f"echo 50% of {name}") for name in names)
    assert entries(with_entries(OTHERS, wanted)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{END}\n",
        f"{BEGIN}\n1 2 * * * echo\n{END}\n", f"{BEGIN}\n# name: a\nnonsense\n{END}\n",
    ],
)  # fmt: skip
def test_damaged_block_is_not_touched(text):
    """A block somebody edited is theirs to mend."""
    with pytest.raises(ConfigError):
        entries(text)
