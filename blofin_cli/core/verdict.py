"""The gate: what a strategy must show before it may be called validated.

Every item must hold, on the test trades of a walk-forward. A figure that was not computed fails
its item and says what would compute it; absence is not a pass. This module loads no numpy, so
that a report can be read and shown in milliseconds.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

TRADES_MIN = 200
REWARD_RISK_MIN = 1.5
DEFLATED_SHARPE_MIN = 0.95
PBO_MAX = 0.2
P_VALUE_MAX = 0.05
PLACEBO_DRAWS_MIN = 200
REGIME_TRADES_MIN = 30
AMBIGUOUS_SHARE_MAX = 0.05


class Status(StrEnum):
    """The verdict in one word."""

    VALIDATED = "validated"
    NO_EVIDENCE = "no_evidence"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the gate asks for; None means that it was not computed.

    Units: `mean_r_low` lower end of the 95 % week-bootstrap interval of mean net R;
    `mean_r_stressed` mean net R with all costs times 1.5; `regimes_counted` regimes with at least
    30 trades and `regimes_positive` those of them with a mean net R above 0.
    """

    is_walk_forward: bool = False
    trades: int | None = None
    reward_risk: float | None = None
    mean_r_low: float | None = None
    deflated_sharpe: float | None = None
    pbo: float | None = None
    spa_p: float | None = None
    placebo_p: float | None = None
    placebo_draws: int | None = None
    mean_r_stressed: float | None = None
    regimes_positive: int | None = None
    regimes_counted: int | None = None
    ambiguous_share: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Validated or not, and each item that failed as one plain sentence."""

    status: Status
    failed: list[str]


class RegimeRow(Protocol):
    """What `count_regimes` reads of a table row; `stats.Bucket` has it."""

    @property
    def trades(self) -> int: ...

    @property
    def expectancy_r(self) -> float: ...


def verdict(evidence: Evidence) -> Verdict:
    """Judge the evidence by every item of the gate.

    Invariants: validated only if all items hold; failed items come in a fixed order; NaN counts
    as not computed.
    Source: specification, section 11.7.
    """
    items = (
        None if evidence.is_walk_forward else "trades are in-sample, not walk-forward",
        _trades(evidence.trades),
        _reward_risk(evidence.reward_risk),
        _above_zero(
            "mean net R lower bound",
            evidence.mean_r_low,
            "the trades fall into fewer than two weeks",
        ),
        _at_least(
            "deflated Sharpe ratio",
            evidence.deflated_sharpe,
            DEFLATED_SHARPE_MIN,
            "it needs weekly returns and the number of all trials",
        ),
        _at_most("PBO", evidence.pbo, PBO_MAX, "one configuration, it needs many"),
        _at_most("SPA p-value", evidence.spa_p, P_VALUE_MAX, "it needs weekly returns that vary"),
        _placebo(evidence.placebo_p, evidence.placebo_draws),
        _above_zero(
            "mean net R with costs x1.5", evidence.mean_r_stressed, "the stressed run is missing"
        ),
        _regimes(evidence.regimes_positive, evidence.regimes_counted),
        _at_most(
            "ambiguous share",
            evidence.ambiguous_share,
            AMBIGUOUS_SHARE_MAX,
            "there are no trades to share",
        ),
    )
    failed = [item for item in items if item is not None]
    return Verdict(Status.NO_EVIDENCE if failed else Status.VALIDATED, failed)


def count_regimes(rows: Iterable[RegimeRow]) -> tuple[int, int]:
    """How many regimes with at least 30 trades are positive, and how many there are."""
    counted = [row for row in rows if row.trades >= REGIME_TRADES_MIN]
    return sum(row.expectancy_r > 0 for row in counted), len(counted)


def _trades(trades: int | None) -> str | None:
    if trades is None:
        return "number of trades was not computed"
    return None if trades >= TRADES_MIN else f"{trades} trades are fewer than {TRADES_MIN}"


def _reward_risk(value: float | None) -> str | None:
    missing = "it needs at least one winning and one losing trade"
    return _at_least("realised reward:risk", value, REWARD_RISK_MIN, missing)


def _placebo(p_value: float | None, draws: int | None) -> str | None:
    if p_value is not None and (draws is None or draws < PLACEBO_DRAWS_MIN):
        return f"placebo p-value rests on {draws or 0} draws, fewer than {PLACEBO_DRAWS_MIN}"
    missing = f"it needs at least {PLACEBO_DRAWS_MIN} runs at shuffled levels"
    return _at_most("placebo p-value", p_value, P_VALUE_MAX, missing)


def _regimes(positive: int | None, counted: int | None) -> str | None:
    if positive is None or counted is None:
        return "results by regime were not computed"
    if counted == 0:
        return f"no regime has {REGIME_TRADES_MIN} trades"
    if positive * 3 >= counted * 2:
        return None
    return f"positive in {positive} of {counted} regimes, fewer than two thirds"


def _at_least(name: str, value: float | None, minimum: float, missing: str) -> str | None:
    if value is None or math.isnan(value):
        return f"{name} was not computed: {missing}"
    return None if value >= minimum else f"{name} {_figure(value, minimum)} is below {minimum:g}"


def _at_most(name: str, value: float | None, maximum: float, missing: str) -> str | None:
    if value is None or math.isnan(value):
        return f"{name} was not computed: {missing}"
    return None if value <= maximum else f"{name} {_figure(value, maximum)} is above {maximum:g}"


def _above_zero(name: str, value: float | None, missing: str) -> str | None:
    if value is None or math.isnan(value):
        return f"{name} was not computed: {missing}"
    return None if value > 0 else f"{name} {_figure(value, 0.0)} is not above 0"


def _figure(value: float, threshold: float) -> str:
    """Two decimals, or more where two would read as the threshold itself."""
    for digits in (2, 3, 4, 6):
        text = f"{value:.{digits}f}"
        if float(text) != threshold:
            return text
    return f"{value:.15g}"
