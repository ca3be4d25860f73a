"""A study put into words, tables and views: what reports, results and `analyze` share."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blofin_cli.app.context import Context
from blofin_cli.app.timespec import day_of
from blofin_cli.core import stats
from blofin_cli.core.market import Timeframe, Trade, Zone
from blofin_cli.core.reading import zones_now
from blofin_cli.core.strategy import Strategy, flatten, to_text
from blofin_cli.pictures import views

if TYPE_CHECKING:
    from blofin_cli.app.commands.research import BacktestResult
    from blofin_cli.engine.study import Study

CONFIDENCE_EDGES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
RISK_PROVEN_PCT = 1.0
FRESHNESS_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5)


def _bucket(name: str, edges: Sequence[float]) -> Callable[[Mapping[str, Any]], str]:
    bounds = (0.0, *edges)

    def label(trade: Mapping[str, Any]) -> str:
        value = trade[name]
        if value is None:
            return "unknown"
        below = [edge for edge in bounds if edge <= value]
        above = [edge for edge in bounds if edge > value]
        return f"{below[-1] if below else 0:g}-{above[0]:g}" if above else f"{bounds[-1]:g}+"

    return label


def _word(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda trade: str(trade[name])


# How trades are grouped, by the name of the grouping.
GROUPS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "symbol": _word("symbol"),
    "side": _word("side"),
    "timeframe": _word("timeframe"),
    "pattern": _word("pattern"),
    "exit_reason": _word("exit_reason"),
    "confidence": _bucket("confidence", CONFIDENCE_EDGES),
    "freshness": _bucket("freshness", FRESHNESS_EDGES),
    "session": _word("session"),
    "regime": _word("regime"),
    "month": lambda trade: str(np.datetime64(int(trade["exit_ms"]), "ms"))[:7],
}


def bucket_rows(name: str, trades: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a bucket of a grouping, with sample sizes and 95 % intervals."""
    if not trades:
        return []
    labels = [GROUPS[name](trade) for trade in trades]
    net_r = np.array([trade["r_multiple"] for trade in trades])
    entry_ms = np.array([trade["entry_ms"] for trade in trades], dtype=np.int64)
    hit = np.array([trade["mfe_r"] >= 1.0 for trade in trades])
    chosen = np.array(labels)
    return [
        {
            "by": name,
            "bucket": row.label,
            "trades": row.trades,
            "hit_rate": float(hit[chosen == row.label].mean()),
            "win_rate": row.win_rate,
            "win_rate_low": row.win_rate_interval.low,
            "win_rate_high": row.win_rate_interval.high,
            "reward_risk": row.reward_risk,
            "expectancy_r": row.expectancy_r,
            "expectancy_r_low": row.expectancy_r_interval.low
            if row.expectancy_r_interval
            else None,
            "expectancy_r_high": row.expectancy_r_interval.high
            if row.expectancy_r_interval
            else None,
        }
        for row in stats.by_bucket(labels, net_r, entry_ms)
    ]


def calibration(context: Context) -> tuple[str | None, list[dict[str, Any]]]:
    """What trades of each score decile did in the newest saved run: its id, one row a decile.

    The textbook score is no probability; this is what it has been worth.
    """
    newest = context.store.runs(kind="backtest", limit=1)
    if not newest:
        return None, []
    saved = json.loads(context.store.run(newest[0].run_id).result_json)
    return newest[0].run_id, bucket_rows("confidence", saved["trades"])


def score_bucket(confidence: float) -> str:
    """The score decile a zone falls into, as `calibration` names it."""
    return GROUPS["confidence"]({"confidence": confidence})


def group_tables(whole: "Study") -> dict[str, list[dict[str, Any]]]:
    """Every grouping of a study's trades."""
    from blofin_cli.app.spec import to_record

    trades = [to_record(trade) for trade in whole.trades("")]
    return {name: bucket_rows(name, trades) for name in GROUPS}


def changed_settings(strategy: Strategy) -> dict[str, str]:
    """Settings that differ from the shipped defaults, as one would type them."""
    shipped = flatten(Strategy())
    return {
        name: to_text(value) for name, value in flatten(strategy).items() if value != shipped[name]
    }


def assumptions(whole: "Study") -> list[str]:
    """What the run took for granted, in sentences."""
    strategy, costs = whole.strategy, whole.strategy.costs
    markets = whole.course.markets
    funded = [m.entry.symbol for m in markets if m.funding is not None]
    marked = [m.entry.symbol for m in markets if m.mark is not None]
    drilled = [f"{m.entry.symbol} {m.fine.timeframe}" for m in markets if m.fine is not None]
    inferred = [m.entry.symbol for m in markets if "inferred" in m.instrument.source]
    lines = [
        f"Decisions fall at the close of a {strategy.timeframe} candle and fill at the next open.",
        f"Fees: maker {costs.maker:.3%}, taker {costs.taker:.3%} of each fill.",
        _slippage_words(strategy),
        f"Funding: history for {_names(funded)}; elsewhere, and before it begins, "
        f"{costs.funding_8h:.3%} per 8 h, {costs.funding_credit:.0%} of that credited to shorts.",
        f"Liquidation is judged on the mark price of {_names(marked)}, else on opens beyond it.",
        f"A candle that touches stop and target is resolved on finer candles ({_names(drilled)}), "
        "else as the stop.",
        f"A market order takes at most {costs.market_share:.0%} of a candle's volume, a limit "
        f"{costs.limit_share:.0%}, and only when traded through by {costs.through_bps:g} bp.",
    ]
    quick = [
        m.entry.symbol
        for m in markets
        if strategy.volatility.adaptive and m.finer(Timeframe.M5) is not None
    ]
    if quick:
        lines.append(
            f"While hourly volatility is high, 5m candles confirm instead ({_names(quick)}, where "
            "there are any)."
        )
    if not strategy.risk.limits:
        lines.append("No account limits: every trade stands alone and positions may overlap.")
    risk = strategy.risk
    if risk.tiers or risk.per_trade_pct > RISK_PROVEN_PCT:
        lines.append(
            "Risk above 1 % a trade, or sized by score, is a what-if here: neither has its proof."
        )
    if inferred:
        lines.append(f"Contract terms of {_names(inferred)} were inferred from their candles.")
    lines.append("The score is the textbook's; on history it did not rank trades.")
    return lines


def _slippage_words(strategy: Strategy) -> str:
    costs = strategy.costs
    majors, others = costs.floor_major_bps, costs.floor_other_bps
    floor = f"at least {majors:g} bp for BTC and ETH, {others:g} bp for others"
    if costs.slippage == "fixed":
        return f"Slippage: {floor}, fixed."
    return (
        f"Slippage: half a spread of {costs.half_spread_bps:g} bp plus square-root impact, {floor}."
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def price_views(whole: "Study", trades: Sequence[Trade]) -> list[views.ChartView]:
    """Candles of each symbol with the zones that were traded and those alive at the end."""
    shown = []
    for market, start in zip(whole.course.markets, whole.course.start_row, strict=True):
        symbol = market.entry.symbol
        timeframe = min(whole.strategy.context, key=lambda item: item.ms)
        own = [trade for trade in trades if trade.symbol == symbol]
        traded = {trade.zone_id for trade in own}
        found: list[Zone] = [
            zone
            for zone in zones_now(market, whole.strategy, dead_too=True)
            if zone.id in traded or zone.ended_ms is None
        ]
        shown.append(
            views.ChartView(
                title=f"{symbol} {timeframe}",
                candles=market.frame(timeframe).between(int(market.entry.ts[start]), None),
                zones=found,
                trades=own,
                subtitle=f"{len(own)} trades, {len(traded)} zones traded",
            )
        )
    return shown


def report_view(whole: "Study", result: "BacktestResult") -> views.ReportView:
    """Everything the HTML report shows."""
    course, metrics = whole.course, result.metrics
    closed_ms = course.tick_ts + course.step_ms
    return views.ReportView(
        title=f"Backtest {', '.join(result.symbols)}",
        verdict_status=str(result.verdict["status"]),
        verdict_failed=result.verdict["failed"],
        metrics={name: value for name, value in metrics.items() if name not in ELSEWHERE},
        intervals={"expectancy_r": (metrics["expectancy_r_low"], metrics["expectancy_r_high"])},
        equity=views.Series(closed_ms, whole.outcome.curve),
        run={
            "run": result.run_id,
            "symbols": ", ".join(result.symbols),
            "timeframe": str(result.timeframe),
            "zones": ", ".join(result.context),
            "from": day_of(result.since_ms),
            "until": day_of(result.until_ms),
            "bars": result.bars,
            "halted": "no" if metrics["halted_ms"] is None else day_of(metrics["halted_ms"]),
            "source": result.data["source"],
        },
        bounds=result.bounds,
        baselines={
            name: {key: value for key, value in row.items() if key not in ELSEWHERE}
            for name, row in result.baselines.items()
        },
        price_series=price_views(whole, result.trades),
        trades=result.trades,
        months=_months(whole, result),
        groups={
            name.replace("_", " "): [group_view(row) for row in rows]
            for name, rows in result.groups.items()
            if name != "month"
        },
        costs=_costs(metrics),
        assumptions=result.data["assumptions"],
        config=[
            views.Setting(name, value, "set", to_text(flatten(Strategy())[name]))
            for name, value in result.settings.items()
        ],
        digests=result.digests,
    )


# Metrics that the report shows in words, in its cost table or beside another.
ELSEWHERE = (
    "expectancy_r_low",
    "expectancy_r_high",
    "expectancy_r_min",
    "expectancy_r_max",
    "fees_r",
    "funding_r",
    "slippage_r",
    "halted_ms",
    "draws",
)


def group_view(row: Mapping[str, Any]) -> views.Group:
    """A bucket's row as the report shows it."""
    return views.Group(
        label=row["bucket"],
        trades=row["trades"],
        win_rate=row["win_rate"],
        reward_risk=row["reward_risk"],
        expectancy_r=row["expectancy_r"],
        expectancy_low_r=row["expectancy_r_low"],
        expectancy_high_r=row["expectancy_r_high"],
        net_r=row["expectancy_r"] * row["trades"],
    )


def _months(whole: "Study", result: "BacktestResult") -> list[views.Month]:
    ends = whole.course.day_ends
    months = (whole.course.tick_ts[ends].astype("datetime64[ms]").astype("datetime64[M]")).astype(
        str
    )
    equity = whole.outcome.curve[ends]
    by_month = {row["bucket"]: row for row in result.groups["month"]}
    rows, before = [], whole.plan.equity
    for month in dict.fromkeys(months):
        after = float(equity[months == month][-1])
        row = by_month.get(month)
        net_r = row["expectancy_r"] * row["trades"] if row else 0.0
        rows.append(views.Month(month, row["trades"] if row else 0, net_r, after / before - 1))
        before = after
    return rows


def _costs(metrics: Mapping[str, Any]) -> list[views.Cost]:
    gross = sum(
        (
            metrics["pnl_usdt"],
            metrics["fees_usdt"],
            metrics["slippage_usdt"],
            -metrics["funding_usdt"],
        )
    )

    def share(usdt: float) -> float | None:
        return usdt / gross if gross > 0 else None

    return [
        views.Cost("fees", metrics["fees_usdt"], metrics["fees_r"], share(metrics["fees_usdt"])),
        views.Cost(
            "slippage",
            metrics["slippage_usdt"],
            metrics["slippage_r"],
            share(metrics["slippage_usdt"]),
        ),
        views.Cost(
            "funding",
            -metrics["funding_usdt"],
            None if metrics["funding_r"] is None else -metrics["funding_r"],
            share(-metrics["funding_usdt"]),
        ),
    ]
