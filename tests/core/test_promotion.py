"""Promotion: what is missing fails, what is overridden says so, capital comes in steps."""

from dataclasses import replace
from decimal import Decimal

import pytest

from blofin_cli.core.promotion import Evidence, capital_step, judge

PROVEN = Evidence(
    backtest="b1", backtest_verdict="validated", dry_run_days=2, demo_days=21, demo_trades=30,
    demo_regimes=2, parity_clean=True, naked_p99_s=5.0, cost_ratio=1.5,
)  # fmt: skip


def failed(evidence: Evidence, override: str = "") -> list[str]:
    return [gate.name for gate in judge(evidence, override) if not gate.passed]


def test_proven_is_promoted():
    """Exactly at every limit is enough."""
    assert failed(PROVEN) == []


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("backtest", {"backtest": None}),
        ("backtest_verdict", {"backtest_verdict": "no_evidence"}),
        ("dry_run_days", {"dry_run_days": 1}),
        ("demo_days", {"demo_days": 20}),
        ("demo_trades", {"demo_trades": 29}),
        ("demo_regimes", {"demo_regimes": 1}),
        ("parity", {"parity_clean": False}),
        ("parity", {"parity_clean": None}),
        ("naked_p99_s", {"naked_p99_s": 5.01}),
        ("naked_p99_s", {"naked_p99_s": None}),
        ("cost_ratio", {"cost_ratio": 1.51}),
        ("cost_ratio", {"cost_ratio": None}),
    ],
)
def test_each_item_alone_stops_it(gate, changes):
    """What falls short or was not measured fails its own gate and the last one."""
    assert failed(replace(PROVEN, **changes)) == [gate, "promotion"]


def test_capital_above_its_step_is_refused():
    """The mandate may ask for all of it; the record so far decides."""
    assert [g.name for g in judge(PROVEN, "", Decimal(1)) if not g.passed] == [
        "capital", "promotion",
    ]  # fmt: skip
    seasoned = replace(PROVEN, live_days=30, live_trades=60)
    assert judge(seasoned, "", Decimal(1))[-1].passed


def test_override_lets_pass_and_is_shown():
    """The gates stay failed; only the last one passes, with the owner's words."""
    gates = judge(Evidence(), "small money, my risk")
    assert gates[-1].passed
    assert "small money" in gates[-1].note
    assert [gate.name for gate in gates[:-1] if gate.passed] == ["capital"]


@pytest.mark.parametrize(
    ("days", "trades", "drawdown", "share"),
    [
        (0, 0, 0.0, "0.10"), (13, 100, 0.0, "0.10"), (100, 19, 0.0, "0.10"),
        (14, 20, 0.0, "0.25"), (30, 59, 0.0, "0.25"), (30, 60, 0.1, "1"), (30, 60, 0.11, "0.10"),
    ],
)  # fmt: skip
def test_capital_comes_in_steps(days, trades, drawdown, share):
    """Time and trades both, and back to the first step after a drawdown."""
    assert capital_step(days, trades, drawdown) == Decimal(share)
