"""The specification's zone examples, Appendix A, and what a candle that is none does to a zone."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blofin_cli.core import zones
from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from blofin_cli.core.strategy import Zones, build_strategy
from tests.fakes import BTC

FILE = Path(__file__).parents[1] / "golden" / "zone_cases.json"
BOOK = json.loads(FILE.read_text())
CASES = {case["id"]: case for case in BOOK["cases"]}
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def parameters_of(case: dict[str, Any]) -> Zones:
    named = case["params"]
    base = replace(build_strategy({"zones.preset": "classic"}).zones, **BOOK["classic"])
    return replace(base, **named) if isinstance(named, dict) else base


def candles_of_case(rows: list[list[Any]]) -> Candles:
    table = np.array([[math.nan if cell is None else cell for cell in row] for row in rows], float)
    table = table.reshape(-1, 5)
    ts, columns = table[:, 0].astype(np.int64), table[:, 1:].T
    return Candles(BTC, Timeframe.H1, ts, *columns, np.ones(len(ts)))


def found_in(candles: Candles, parameters: Zones) -> np.ndarray:
    return zones.detect(candles, parameters, atr=np.ones(len(candles)))


def followed(candles: Candles, parameters: Zones) -> zones.ZoneBook:
    """Zones and their lives, on the zone's own candles."""
    found = found_in(candles, parameters)
    paths = zones.path_of(candles, 1), zones.path_of(candles, -1)
    return zones.follow([(candles, found)], candles, paths, parameters)


def told(found: np.ndarray) -> list[dict[str, Any]]:
    """Zones in the words of the appendix."""
    return [
        {
            "side": "demand" if zone["side"] > 0 else "supply",
            "pattern": str(zones.PATTERNS[zone["pattern"]]).upper(),
            "base": [int(zone["base_start"]), int(zone["base_end"])],
            "leg_out_start": int(zone["leg_out"]),
            "confirmed_at": int(zone["born"]),
            "proximal": pytest.approx(float(zone["proximal"]), abs=1e-9),
            "distal": pytest.approx(float(zone["distal"]), abs=1e-9),
        }
        for zone in found
    ]


def test_case_file_holds_the_appendix() -> None:
    """All thirteen examples of the appendix are here."""
    assert len(CASES) == 13


@EVERY_CASE
def test_zones_of_a_case_are_those_expected(case: dict[str, Any]) -> None:
    """The detector finds exactly the stated zones, in order of confirmation."""
    candles = candles_of_case(case["candles"])
    assert case["expect_zones"] == told(found_in(candles, parameters_of(case)))


@EVERY_CASE
def test_prefix_of_a_case_gives_the_prefix_of_its_zones(case: dict[str, Any]) -> None:
    """A zone is found once the candle that confirms it has closed, and never before."""
    parameters, rows = parameters_of(case), case["candles"]
    for length in range(len(rows) + 1):
        expected = [zone for zone in case["expect_zones"] if zone["confirmed_at"] < length]
        assert expected == told(found_in(candles_of_case(rows[:length]), parameters))


@EVERY_CASE
def test_states_of_a_case_after_each_stated_candle(case: dict[str, Any]) -> None:
    """After each stated candle the first zone has the stated state and number of touches."""
    for last, expected in case["expect_state_of_first_zone"].items():
        candles = candles_of_case(case["candles"][: int(last) + 1])
        life = followed(candles, parameters_of(case)).lives[0]
        state = str(zones.STATES[life["state"]]).upper()
        assert {"state": state, "touches": int(life["touches"])} == expected, f"candle {last}"


@EVERY_CASE
def test_mirrored_case_gives_the_mirrored_zones(case: dict[str, Any]) -> None:
    """Supply is demand upside down: mirrored candles give mirrored zones."""
    rows = [
        [row[0], *(None if c is None else 256.0 - c for c in row[1:])] for row in case["candles"]
    ]
    upside_down = [[ts, o, low, high, c] for ts, o, high, low, c in rows]
    found = told(found_in(candles_of_case(upside_down), parameters_of(case)))
    mirror = {"DBR": "RBD", "RBR": "DBD", "RBD": "DBR", "DBD": "RBR"}
    expected = [
        zone
        | {
            "side": {"demand": "supply", "supply": "demand"}[zone["side"]],
            "pattern": mirror[zone["pattern"]],
            "proximal": 256.0 - zone["proximal"],
            "distal": 256.0 - zone["distal"],
        }
        for zone in case["expect_zones"]
    ]
    assert expected == found


BOOK_RULES = parameters_of({"params": "classic"})


def life_rows() -> list[list[Any]]:
    return [list(row) for row in CASES["life_touch_exact_and_break"]["candles"]]


def test_invalid_candle_in_a_base_resets_the_pattern() -> None:
    """A candle that is none (null) between base and leg-out leaves no zone."""
    rows = [list(row) for row in CASES["dbr_clean"]["candles"]]
    rows[3] = [rows[3][0], None, None, None, None]
    assert not len(found_in(candles_of_case(rows), BOOK_RULES))


def test_invalid_candle_inside_a_touch_changes_nothing_in_a_life() -> None:
    """A candle that is none neither ends a touch, nor breaks a zone, nor counts as one."""
    rows = life_rows()
    plain = followed(candles_of_case(rows[:9]), BOOK_RULES).lives[0]
    spoilt = [*rows[:7], [rows[7][0], None, None, None, None], *rows[8:9]]
    life = followed(candles_of_case(spoilt), BOOK_RULES).lives[0]
    assert life["touches"] == plain["touches"] == 1
    assert life["state"] == plain["state"] == zones.TESTED
    assert life["window_end"] == plain["window_end"] == 8


def test_candle_that_opens_outside_its_range_still_ends_a_touch() -> None:
    """The appendix's own candle 8 (open 100.8, low 100.9) is not valid, yet ends the touch."""
    candles = candles_of_case(life_rows())
    assert not candles.valid[8]
    assert followed(candles, BOOK_RULES).lives[0]["window_end"] == 8


def test_touches_beyond_the_limit_spend_a_zone() -> None:
    """One touch more than max_touches and the zone is spent."""
    rows = life_rows()[:10]
    life = followed(candles_of_case(rows), replace(BOOK_RULES, max_touches=1)).lives[0]
    assert (life["state"], life["touches"], life["end"]) == (zones.SPENT, 2, 9)


def test_close_beyond_distal_wins_over_the_touch_that_spends() -> None:
    """Broken wins over spent when one candle does both."""
    rows = life_rows()[:10]
    rows[9][4] = 100.1
    life = followed(candles_of_case(rows), replace(BOOK_RULES, max_touches=1)).lives[0]
    assert life["state"] == zones.BROKEN


def test_wick_breaks_a_zone_where_wicks_count() -> None:
    """With break_mode wick the extreme beyond distal breaks, equality still does not."""
    rows = life_rows()[:10]
    rules = replace(BOOK_RULES, break_mode="wick")
    assert followed(candles_of_case(rows), rules).lives[0]["state"] == zones.BROKEN
    rows[9][3] = 100.2
    assert followed(candles_of_case(rows), rules).lives[0]["state"] == zones.TESTED


def test_age_expires_a_zone_at_the_stated_bar() -> None:
    """A zone expires at the close of the bar that brings its age to max_age_bars."""
    rows = life_rows()[:5]
    for place in range(60):
        rows.append([rows[4][0] + (place + 1) * 3_600_000, 103.0, 103.2, 102.8, 103.0])
    rules = replace(BOOK_RULES, max_age_bars=50)
    before = followed(candles_of_case(rows[:54]), rules)
    after = followed(candles_of_case(rows), rules)
    assert before.lives[0]["state"] == zones.FRESH
    assert (after.lives[0]["state"], after.lives[0]["end"]) == (zones.EXPIRED, 54)


def test_newer_zone_over_an_older_one_supersedes_it_untouched_before() -> None:
    """A newer zone that covers half of an older one ends it at its own birth and is named by it."""
    first = [[0, 103, 103.2, 101.8, 102.0], [0, 102.0, 102.1, 100.4, 100.5]]
    base = [[0, 100.5, 100.8, 100.2, 100.6]]
    out = [[0, 100.6, 103.2, 100.5, 103.0]]
    back = [[0, 103.0, 103.1, 100.9, 101.0]]
    rows = [*first, *base, *out, *back, [0, 101.0, 101.1, 100.5, 100.6], *base, *out]
    rows = [[place * 3_600_000, *row[1:]] for place, row in enumerate(rows)]
    book = followed(candles_of_case(rows), BOOK_RULES)
    assert len(book) == 2
    assert list(book.successor) == [1, -1]
    assert zones.STATES[book.lives["state"][0]] == "superseded"
    assert book.ended_ms[0] == book.born_ms[1]
