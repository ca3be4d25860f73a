"""What the browser is given to draw."""

import json
import math

import numpy as np
import pytest

from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError
from blofin_cli.pictures.payload import (
    at_most,
    chart_payload,
    drawdown_of,
    series_columns,
    thinned,
    to_json,
)
from blofin_cli.pictures.views import ChartView, Series
from tests.pictures import samples


def test_to_json_of_hostile_and_unknown_values_is_inert() -> None:
    """No markup survives and no number is NaN, yet the text means the same."""
    text = to_json({"note": samples.HOSTILE, "x": math.nan, "y": [np.float64("inf"), np.int64(3)]})
    assert not set("<>&") & set(text)
    assert text.isascii()
    parsed = json.loads(text)
    assert parsed["x"] is None
    assert parsed["y"] == [None, 3]
    assert "</script>" in parsed["note"]
    assert "\u202e" not in parsed["note"]
    assert "\x00" not in parsed["note"]


def test_thinned_series_keeps_its_ends_and_extremes() -> None:
    """Thinning may drop points, never the worst or the best moment."""
    values = np.random.default_rng(1).normal(0, 1, 50_000).cumsum()
    series = Series(np.arange(50_000, dtype=np.int64) * 60_000, values)
    few = thinned(series, 2_000)
    assert len(few.ms) <= 2_000
    assert (few.value[0], few.value[-1]) == (values[0], values[-1])
    assert (few.value.min(), few.value.max()) == (values.min(), values.max())
    assert (np.diff(few.ms) > 0).all()


def test_thinned_series_has_one_known_value_a_second() -> None:
    """The chart refuses two points at one time; the last one counts, unknown ones go."""
    ms = np.array([0, 400, 900, 1_000, 2_000], dtype=np.int64)
    few = thinned(Series(ms, np.array([1.0, 2.0, 3.0, math.nan, 5.0])), 100)
    assert series_columns(few, 2) == {"t": [0, 2], "v": [3.0, 5.0]}


def test_thinned_series_of_unequal_columns_is_refused() -> None:
    """A series whose columns disagree is a defect of the caller."""
    with pytest.raises(DataError):
        thinned(Series(np.array([1], dtype=np.int64), np.array([1.0, 2.0])), 10)


def test_drawdown_is_the_loss_from_the_peak() -> None:
    """Known answer: 100, 120, 90, 150 falls by a quarter once."""
    equity = Series(np.arange(4, dtype=np.int64), np.array([100.0, 120.0, 90.0, 150.0]))
    assert drawdown_of(equity).value.tolist() == [0, 0, -0.25, 0]


def test_at_most_folds_into_the_next_timeframe_that_fits() -> None:
    """Folding keeps the highest high and lowest low instead of dropping bars."""
    market = samples.candles(4_800)
    folded = at_most(market, 1_500)
    assert folded.timeframe == Timeframe.H4
    assert len(folded) == 1_200
    assert (folded.high.max(), folded.low.min()) == (market.high.max(), market.low.min())
    assert at_most(market, 4_800) is market


def test_chart_payload_leaves_out_bars_that_cannot_be_drawn() -> None:
    """A bar with NaN or impossible prices is skipped, not sent as null."""
    market = samples.candles(50)
    high = market.high.copy()
    high[10], high[20] = math.nan, 1.0
    broken = Candles(
        market.symbol, market.timeframe, market.ts, market.open, high, market.low, market.close,
        market.volume,
    )  # fmt: skip
    payload = chart_payload(ChartView("broken", broken), 100)
    assert len(payload["candles"]["t"]) == 48
    assert "null" not in to_json(payload["candles"])


def test_chart_payload_keeps_what_falls_among_the_candles_shown() -> None:
    """Zones that ended and trades that closed before the first candle shown are left out."""
    view = samples.chart_view(400)
    payload = chart_payload(view, 100)
    first = payload["candles"]["t"][0]
    assert len(payload["candles"]["t"]) == 100
    assert payload["zones"]
    assert all(zone["to"] is None or zone["to"] >= first for zone in payload["zones"])
    assert 0 < len(payload["trades"]) < len(view.trades)
    assert all(trade["exit"] >= first for trade in payload["trades"])


def test_zone_looks_tell_states_apart_without_colour() -> None:
    """Fresh is solid, tested dashed and fainter, the dead dotted and hatched."""
    zones = chart_payload(samples.chart_view(400), 5_000)["zones"]
    looks = {zone["state"]: (zone["border"], zone["hatched"]) for zone in zones}
    assert looks["fresh"] == ("solid", False)
    assert looks["tested"] == ("dashed", False)
    assert looks["broken"] == looks["spent"] == ("dotted", True)
    opacity = {zone["state"]: zone["opacity"] for zone in zones}
    assert opacity["fresh"] > opacity["tested"] > opacity["broken"]
    assert any(zone["label"].startswith("demand 4h DBR ") for zone in zones)
