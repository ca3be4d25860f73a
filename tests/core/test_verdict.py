"""The gate: every item holds its line, and what was not computed does not pass."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core.verdict import Evidence, Status, count_regimes, verdict

# Every figure exactly on the passing side of its threshold.
PASSING = Evidence(
    is_walk_forward=True,
    trades=200,
    reward_risk=1.5,
    mean_r_low=1e-9,
    deflated_sharpe=0.95,
    pbo=0.2,
    spa_p=0.05,
    placebo_p=0.05,
    placebo_draws=200,
    mean_r_stressed=1e-9,
    regimes_positive=2,
    regimes_counted=3,
    ambiguous_share=0.05,
)


def test_evidence_on_every_threshold_is_validated() -> None:
    """A figure that meets its threshold exactly passes."""
    found = verdict(PASSING)
    assert (found.status, found.failed) == (Status.VALIDATED, [])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"is_walk_forward": False}, "trades are in-sample, not walk-forward"),
        ({"trades": 199}, "199 trades are fewer than 200"),
        ({"reward_risk": 1.49}, "realised reward:risk 1.49 is below 1.5"),
        ({"reward_risk": 1.4999}, "realised reward:risk 1.4999 is below 1.5"),
        ({"mean_r_low": -0.12}, "mean net R lower bound -0.12 is not above 0"),
        ({"mean_r_low": 0.0}, "mean net R lower bound 0 is not above 0"),
        ({"mean_r_low": -0.001}, "mean net R lower bound -0.001 is not above 0"),
        ({"deflated_sharpe": 0.41}, "deflated Sharpe ratio 0.41 is below 0.95"),
        ({"pbo": 0.35}, "PBO 0.35 is above 0.2"),
        ({"spa_p": 0.71}, "SPA p-value 0.71 is above 0.05"),
        ({"placebo_p": 0.5}, "placebo p-value 0.50 is above 0.05"),
        ({"placebo_draws": 40}, "placebo p-value rests on 40 draws, fewer than 200"),
        ({"placebo_draws": None}, "placebo p-value rests on 0 draws, fewer than 200"),
        ({"mean_r_stressed": -0.02}, "mean net R with costs x1.5 -0.02 is not above 0"),
        ({"regimes_positive": 1}, "positive in 1 of 3 regimes, fewer than two thirds"),
        ({"regimes_positive": 0, "regimes_counted": 0}, "no regime has 30 trades"),
        ({"ambiguous_share": 0.08}, "ambiguous share 0.08 is above 0.05"),
    ],
)
def test_one_failed_item_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    """A single figure below its line fails alone, with value and threshold in words."""
    found = verdict(replace(PASSING, **change))
    assert (found.status, found.failed) == (Status.NO_EVIDENCE, [sentence])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("trades", "number of trades was not computed"),
        ("reward_risk", "realised reward:risk was not computed: "),
        ("mean_r_low", "mean net R lower bound was not computed: "),
        ("deflated_sharpe", "deflated Sharpe ratio was not computed: "),
        ("pbo", "PBO was not computed: one configuration, it needs many"),
        ("spa_p", "SPA p-value was not computed: "),
        ("placebo_p", "placebo p-value was not computed: "),
        ("mean_r_stressed", "mean net R with costs x1.5 was not computed: "),
        ("regimes_positive", "results by regime were not computed"),
        ("regimes_counted", "results by regime were not computed"),
        ("ambiguous_share", "ambiguous share was not computed: "),
    ],
)
def test_what_was_not_computed_fails_and_says_so(name: str, sentence: str) -> None:
    """Absence is not a pass: each missing figure fails its own item."""
    change: dict[str, Any] = {name: None}
    (failed,) = verdict(replace(PASSING, **change)).failed
    assert failed.startswith(sentence)


def test_nothing_computed_fails_every_item() -> None:
    """No evidence at all fails all eleven items, in the order of the specification."""
    found = verdict(Evidence())
    assert found.status is Status.NO_EVIDENCE
    assert len(found.failed) == 11
    assert found.failed[0] == "trades are in-sample, not walk-forward"
    assert found.failed[-1].startswith("ambiguous share")


FLOATS = [field.name for field in fields(Evidence) if field.type == float | None]


@pytest.mark.parametrize("name", FLOATS)
def test_nan_never_passes(name: str) -> None:
    """A figure that is no number counts as not computed."""
    assert len(FLOATS) == 8
    change: dict[str, Any] = {name: math.nan}
    (failed,) = verdict(replace(PASSING, **change)).failed
    assert "was not computed" in failed


@given(
    st.builds(
        Evidence,
        is_walk_forward=st.just(False),
        trades=st.none() | st.integers(0, 10_000),
        reward_risk=st.none() | st.floats(0, 10),
        pbo=st.none() | st.floats(0, 1),
        mean_r_low=st.none() | st.floats(-3, 3),
    )
)
def test_a_plain_backtest_is_never_validated(evidence: Evidence) -> None:
    """In-sample trades cannot pass, however good they look."""
    assert verdict(evidence).status is Status.NO_EVIDENCE


@dataclass(frozen=True)
class Row:
    trades: int
    expectancy_r: float


def test_regimes_count_only_with_thirty_trades() -> None:
    """A regime with fewer than 30 trades neither helps nor hurts; 0 is not positive."""
    rows = [Row(30, 0.1), Row(29, 5.0), Row(300, 0.0), Row(31, -0.2)]
    assert count_regimes(rows) == (1, 3)
