"""What must be shown before real money is traded: a backtest, a dry run, and weeks of play money.

Figures that were not measured fail their gate; a signed override in the mandate lets trading go on
all the same, and is then shown wherever the account is.
"""

from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.core.mandate import CAPITAL_STEPS
from blofin_cli.core.market import Gate

DRY_RUN_DAYS_MIN = 2
DEMO_DAYS_MIN = 21
DEMO_TRADES_MIN = 30
DEMO_REGIMES_MIN = 2
NAKED_P99_S_MAX = 5.0
COST_RATIO_MAX = 1.5
STEP_DAYS = (14, 30)
STEP_TRADES = (20, 60)
STEP_DRAWDOWN_MAX = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the journal and the saved runs hold; None means that it was not measured.

    Units: `_days` UTC days on which a session ran; `naked_p99_s` seconds without a live stop;
    `cost_ratio` slippage of the demo's fills over what the model takes for them; the `live_`
    figures are those of real money so far.
    """

    backtest: str | None = None
    backtest_verdict: str | None = None
    dry_run_days: int = 0
    demo_days: int = 0
    demo_trades: int = 0
    demo_regimes: int = 0
    parity_clean: bool | None = None
    naked_p99_s: float | None = None
    cost_ratio: float | None = None
    live_days: int = 0
    live_trades: int = 0
    live_drawdown_fraction: float = 0.0


def judge(evidence: Evidence, override: str, capital: Decimal = CAPITAL_STEPS[0]) -> list[Gate]:
    """Every gate with its value, and last `promotion`: whether real money may be traded.

    `capital` is the share of equity the mandate wants to trade with.
    """
    naked, cost = evidence.naked_p99_s, evidence.cost_ratio
    step = capital_step(evidence.live_days, evidence.live_trades, evidence.live_drawdown_fraction)
    gates = [
        _gate("backtest", evidence.backtest is not None, evidence.backtest, "a saved one",
              "blofin backtest --save"),
        _gate("backtest_verdict", evidence.backtest_verdict == "validated",
              evidence.backtest_verdict, "validated", "section 11.7: evidence of an edge"),
        _gate("dry_run_days", evidence.dry_run_days >= DRY_RUN_DAYS_MIN,
              float(evidence.dry_run_days), float(DRY_RUN_DAYS_MIN), "days of blofin run"),
        _gate("demo_days", evidence.demo_days >= DEMO_DAYS_MIN, float(evidence.demo_days),
              float(DEMO_DAYS_MIN), "days of blofin run --mode demo"),
        _gate("demo_trades", evidence.demo_trades >= DEMO_TRADES_MIN,
              float(evidence.demo_trades), float(DEMO_TRADES_MIN), "finished trades in demo"),
        _gate("demo_regimes", evidence.demo_regimes >= DEMO_REGIMES_MIN,
              float(evidence.demo_regimes), float(DEMO_REGIMES_MIN), "market regimes among them"),
        _gate("parity", evidence.parity_clean is True, _word(evidence.parity_clean), "clean",
              "blofin parity on the last demo session"),
        _gate("naked_p99_s", naked is not None and naked <= NAKED_P99_S_MAX, naked,
              NAKED_P99_S_MAX, "seconds without a live stop in demo"),
        _gate("capital", capital <= step, float(capital), float(step),
              "share of equity to trade with; it grows with days and trades of real money"),
        _gate("cost_ratio", cost is not None and cost <= COST_RATIO_MAX, cost, COST_RATIO_MAX,
              "slippage in demo over the model's"),
    ]  # fmt: skip
    failed = [gate.name for gate in gates if not gate.passed]
    note = "real money may be traded"
    if failed:
        note = f"signed override: {override}" if override else "failed: " + ", ".join(failed)
    passed = not failed or bool(override)
    return [*gates, _gate("promotion", passed, float(len(failed)), 0.0, note)]


def capital_step(live_days: int, live_trades: int, drawdown_fraction: float) -> Decimal:
    """Share of live equity that may be traded with by now: a tenth, a quarter, all of it.

    Both time and trades are asked for, and a drawdown above a tenth goes back to the first step.
    """
    if drawdown_fraction > STEP_DRAWDOWN_MAX:
        return CAPITAL_STEPS[0]
    reached = sum(
        live_days >= days and live_trades >= trades
        for days, trades in zip(STEP_DAYS, STEP_TRADES, strict=True)
    )
    return CAPITAL_STEPS[reached]


def _gate(
    name: str, passed: bool, value: float | str | None, threshold: float | str | None, note: str
) -> Gate:
    return Gate(name, passed, value, threshold, note)


def _word(clean: bool | None) -> str | None:
    return None if clean is None else "clean" if clean else "differs"
