"""The default preset on BTC 2022-2024 against its golden, and the verdict on both presets."""

import json
from functools import cache
from typing import Any

import pytest

from blofin_cli.core.strategy import build_strategy
from blofin_cli.core.verdict import Status
from blofin_cli.engine.study import Study, StudyPlan, study
from tests.fakes import SEVEN, needs_data, real_market
from tests.golden.remake import GOLDEN, btc_with_costs, golden

pytestmark = [needs_data, pytest.mark.process]
PLAN = StudyPlan(equity=10_000.0, draws=0, seed=7)


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


@cache
def stored() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


@cache
def remade() -> dict[str, Any]:
    return golden()


@pytest.mark.parametrize("name", sorted(json.loads(GOLDEN.read_text())))
def test_default_preset_gives_its_golden(name: str) -> None:
    """Counts, metrics and trades of the default preset are the stored ones.

    `python -m tests.golden.remake` makes them anew; read why they changed.
    """
    assert json.loads(json.dumps(remade()[name])) == near(stored()[name])


def near(value: Any) -> Any:
    """The stored value, its numbers to nine digits."""
    if isinstance(value, dict):
        return {name: near(item) for name, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


@cache
def judged(preset: str) -> Study:
    markets = [btc_with_costs()] if preset == "default" else [real_market(c) for c in SEVEN]
    return study(markets, build_strategy({"preset": preset}), PLAN, silent)


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_verdict_on_both_presets_is_no_evidence_of_an_edge(preset: str) -> None:
    """A build that finds an edge in these zones has a bug."""
    verdict = judged(preset).verdict([])
    assert verdict.status is Status.NO_EVIDENCE
    assert any("lower bound" in item and "not above 0" in item for item in verdict.failed)
    assert any("in-sample" in item for item in verdict.failed)


def test_reference_reward_risk_is_easy_and_says_nothing() -> None:
    """The payoff passes 1.5 while the interval of the mean holds 0: fact 1 of the specification."""
    metrics = judged("reference").metrics
    assert metrics["trades"] == 2390
    assert metrics["reward_risk"] > 1.5
    assert metrics["expectancy_r_low"] < 0 < metrics["expectancy_r_high"]


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_ambiguous_share_is_reported_with_both_bounds(preset: str) -> None:
    """The band's pessimistic end is the run itself, and the optimistic one is no worse."""
    whole = judged(preset)
    worst, best = whole.bounds["pessimistic"], whole.bounds["optimistic"]
    assert worst["expectancy_r"] == pytest.approx(whole.metrics["expectancy_r"])
    assert best["expectancy_r"] is not None
    assert worst["expectancy_r"] is not None
    if preset == "reference":  # every trade stands alone, so a better end cannot cost another trade
        assert best["expectancy_r"] >= worst["expectancy_r"]
    assert 0 <= whole.metrics["ambiguous_share"] <= 0.05
