"""Numbers, axes and text as people read them."""

import math
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from blofin_cli.pictures.markup import Markup, tag
from blofin_cli.pictures.metrics import column_label, metric_order, metric_text
from blofin_cli.pictures.scales import nice_ticks, spread, time_ticks
from blofin_cli.pictures.wording import MINUS, MISSING, compact, number, percent, price_decimals


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, MISSING),
        (math.nan, MISSING),
        (-math.inf, MISSING),
        (1234.5, "1,234.50"),
        (-0.001, "0.00"),
        (-3.14159, f"{MINUS}3.14"),
    ],
)
def test_number_reads_well(value: float | None, shown: str) -> None:
    """Unknown is a dash, minus is a minus, and nothing is minus zero."""
    assert number(value) == shown


def test_signed_numbers_and_units() -> None:
    """A plus where the sign matters; fractions become percentages."""
    assert number(0.5, 1, signed=True, unit=" R") == "+0.5 R"
    assert percent(0.0123, 2) == "1.23 %"
    assert percent(None) == MISSING
    assert [compact(value) for value in (5.5, 1_234, 7_000_000, 2.5e9)] == [
        "5.5", "1.23K", "7M", "2.5B",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prices", "decimals"),
    [
        ([62_000.5, 62_001.0], 1),
        ([100.0, 101.0], 1),
        ([0.52341, 0.5], 5),
        ([1e-6 / 3], 10),
        ([], 2),
    ],
)
def test_price_decimals_follow_the_prices(prices: list[float], decimals: int) -> None:
    """As many decimals as the ticks need, bounded for prices that are noise."""
    assert price_decimals(np.array(prices, dtype=np.float64)) == decimals


def test_metric_text_follows_name_and_unit() -> None:
    """Known metrics by the dictionary, unknown ones by their suffix."""
    assert metric_text("win_rate", 0.331) == "33.1 %"
    assert metric_text("expectancy_r", -0.0412) == f"{MINUS}0.041"
    assert metric_text("swap_usdt", 12.0) == "12.00"
    assert metric_text("sharpe", math.nan) == MISSING
    assert metric_order({"zebra", "sharpe", "trades"}) == ["trades", "sharpe", "zebra"]
    assert column_label("ema_50_200") == "EMA 50/200"


def test_nice_ticks_are_round_and_inside() -> None:
    """Steps of 1, 2 or 5; nothing for an empty range."""
    assert nice_ticks(50_120, 52_480, 5) == [50_500, 51_000, 51_500, 52_000]
    assert nice_ticks(1.0, 1.0, 5) == []
    assert nice_ticks(math.nan, 1.0, 5) == []


def test_time_ticks_name_days_months_and_years() -> None:
    """A day, month or year is named where it begins, UTC."""
    start = int(datetime(2023, 12, 31, 20, tzinfo=UTC).timestamp() * 1000)
    ticks = time_ticks(start + np.arange(48, dtype=np.int64) * 3_600_000, 20, 80)
    assert [(tick.label, tick.is_major) for tick in ticks[:3]] == [
        ("2024", True), ("04:00", False), ("08:00", False),
    ]  # fmt: skip
    assert ("Jan 2", True) in [(tick.label, tick.is_major) for tick in ticks]


def test_spread_moves_neighbours_apart_in_order() -> None:
    """Tags never overlap while there is room."""
    placed = spread([100, 104, 98], 19, 0, 200)
    assert sorted(placed) == [placed[2], placed[0], placed[1]]
    ordered = sorted(placed)
    assert all(high - low >= 19 for low, high in pairwise(ordered))


def test_markup_escapes_all_but_markup() -> None:
    """Text and attributes cannot become elements."""
    made = tag("p", "<b>", Markup("<i></i>"), None, title='"<', hidden=True, class_=None)
    assert made == '<p title="&quot;&lt;" hidden>&lt;b&gt;<i></i></p>'
