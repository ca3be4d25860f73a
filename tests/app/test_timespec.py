"""Times as typed."""

import pytest

from blofin_cli.app.timespec import parse_time

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2024-08-05", 1722816000000),
        ("2024-08-05T06:15", 1722838500000),
        ("2024-08-05 06:15:00Z", 1722838500000),
        ("2024-08-05T08:15+02:00", 1722838500000),
        ("2024-08-05T06:15:00.250Z", 1722838500250),
    ],
)
def test_iso_time_without_offset_is_utc(text, at_ms):
    """ISO 8601 means UTC unless it says otherwise."""
    assert parse_time(text).resolve(anchor_ms=0) == at_ms


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("2y", 730.5), ("1w", 7), ("12h", 0.5)])
def test_span_counts_back_from_the_anchor(text, days):
    """A span has no meaning until the command says from when."""
    assert parse_time(text).resolve(anchor_ms=1000 * DAY_MS) == (1000 - days) * DAY_MS


@pytest.mark.parametrize(
    "text",
    [
        "25:99", "2026-02-30", "-5m", "1e9d", "1970-01-01", "9999-01-01", "0d", "", "now", "90",
        "999999y", "2024-13-01", "2024-08-05T25:00", "٩0d", "9" * 5000, "d",
        "2024-08-05T06:15+99:00", None, 5, True,
    ],
)  # fmt: skip
def test_bad_time_is_refused(text):
    """B29: times that cannot be, or that nobody means, are refused."""
    with pytest.raises(ValueError, match=r"must|is no such"):
        parse_time(text)
