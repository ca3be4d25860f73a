"""Saved runs: listed, shown, compared, and taken apart by bucket."""

import json
from typing import Annotated, Any

from pydantic import Field

from blofin_cli.app.commands.research import figure_text
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Name, Request, Result, command
from blofin_cli.app.timespec import day_of, minute_of
from blofin_cli.errors import UsageError


class RunsRequest(Request):
    """Which saved runs."""

    run: Annotated[
        tuple[Name, ...],
        Field(description="One id to show, two to compare; without, the list", max_length=2),
    ] = ()
    limit: Annotated[int, Field(description="Newest ones only", ge=1, le=1000)] = 20


class RunsResult(Result):
    """Saved runs: the list, one whole, or two side by side."""

    runs: list[dict[str, Any]]
    run: dict[str, Any] | None = None
    comparison: list[dict[str, Any]] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The comparison if two were named, else the list."""
        return self.comparison if self.comparison is not None else self.runs

    def table(self) -> list[dict[str, Any]]:
        """The comparison, one run's metrics, or one short line a run."""
        if self.run is not None:
            return [
                _metric_line({"measure": k, "value": v}) for k, v in self.run["metrics"].items()
            ]
        if self.comparison is not None:
            return [_metric_line(row) for row in self.comparison]
        return [_run_line(row) for row in self.runs]

    def summary(self) -> list[tuple[str, object]]:
        """What a shown run is about."""
        return [] if self.run is None else [("verdict", self.run["verdict"]["text"])]


@command(effect=Effect.READ, positional=("run",), tool="get_runs")
async def runs(request: RunsRequest, context: Context) -> RunsResult:
    """List saved runs, show one, or compare two.

    Example: blofin runs
    """
    if not request.run:
        return RunsResult(runs=[_listed(item) for item in context.store.runs(limit=request.limit)])
    found = [context.store.run(run_id) for run_id in request.run]
    wholes = [json.loads(item.result_json) for item in found]
    comparison = _side_by_side(*wholes) if len(wholes) == 2 else None
    return RunsResult(
        runs=[_listed(item) for item in found],
        run=wholes[0] if len(wholes) == 1 else None,
        comparison=comparison,
    )


def _few(symbols: list[str]) -> str:
    return symbols[0] if len(symbols) == 1 else f"{symbols[0]} +{len(symbols) - 1}"


def _metric_line(row: dict[str, Any]) -> dict[str, Any]:
    if not str(row["measure"]).endswith("_ms"):
        return row
    return {
        name: minute_of(value) if isinstance(value, int) else value for name, value in row.items()
    }


def _run_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": row["run_id"],
        "symbols": _few(row["symbols"].split(",")),
        "from": day_of(row["since_ms"]),
        "until": day_of(row["until_ms"]),
        "trades": row["trades"],
        "mean R": figure_text(row["expectancy_r"], "+.3f"),
        "return": figure_text(row["total_return"], "+.1%"),
    }


def _listed(item: Any) -> dict[str, Any]:
    metrics = item.metrics
    return {
        "run_id": item.run_id,
        "kind": item.kind,
        "created_ms": item.created_ms,
        "symbols": ",".join(item.symbols),
        "timeframe": item.timeframe,
        "since_ms": item.since_ms,
        "until_ms": item.until_ms,
        "trades": metrics.get("trades"),
        "expectancy_r": metrics.get("expectancy_r"),
        "total_return": metrics.get("total_return"),
        "verdict": item.verdict_status,
    }


def _side_by_side(one: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    names = [*dict.fromkeys([*one["metrics"], *other["metrics"]])]
    rows = [
        {
            "measure": name,
            one["run_id"]: one["metrics"].get(name),
            other["run_id"]: other["metrics"].get(name),
        }
        for name in names
    ]
    changed = sorted(set(one["settings"].items()) ^ set(other["settings"].items()))
    rows += [
        {
            "measure": name,
            one["run_id"]: one["settings"].get(name, "default"),
            other["run_id"]: other["settings"].get(name, "default"),
        }
        for name in dict.fromkeys(name for name, _ in changed)
    ]
    return rows


class AnalyzeRequest(Request):
    """Which runs to take apart, and how."""

    run: Annotated[tuple[Name, ...], Field(description="Saved runs; without, the newest one")] = ()
    by: Annotated[
        str | None,
        Field(description="One table only, e.g. pattern, confidence, session or regime"),
    ] = None
    report: Annotated[
        str | None, Field(description="Write a page about one recorded session: FILE.html")
    ] = None


class AnalyzeRow(Result):
    """One bucket of trades."""

    by: str
    bucket: str
    trades: int
    hit_rate: float
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    reward_risk: float | None
    expectancy_r: float
    expectancy_r_low: float | None
    expectancy_r_high: float | None


class AnalyzeResult(Result):
    """Zone hit rate, realised reward:risk and expectancy by bucket, with sizes and intervals."""

    runs: list[str]
    trades: int
    note: str
    groups: list[AnalyzeRow]

    def table(self) -> list[dict[str, Any]]:
        """One short line a bucket, intervals beside their figures."""
        return [_bucket_line(row) for row in self.groups]


def _bucket_line(row: AnalyzeRow) -> dict[str, Any]:
    low, high = row.expectancy_r_low, row.expectancy_r_high
    return {
        "by": row.by,
        "bucket": row.bucket,
        "n": row.trades,
        "hit": f"{row.hit_rate:.0%}",
        "win": f"{row.win_rate:.0%} ({row.win_rate_low:.0%}-{row.win_rate_high:.0%})",
        "mean R": f"{row.expectancy_r:+.2f}"
        + ("" if low is None or high is None else f" ({low:+.2f} {high:+.2f})"),
    }


@command(effect=Effect.READ, positional=("run",), tool="analyze_zones")
async def analyze(request: AnalyzeRequest, context: Context) -> AnalyzeResult:
    """Show zone hit rate, reward:risk and expectancy by symbol, timeframe, score, session, regime.

    Example: blofin analyze
    """
    from blofin_cli.app.reporting import GROUPS, bucket_rows

    if request.by is not None and request.by not in GROUPS:
        raise UsageError(
            f"no grouping is called {ascii(request.by)[:80]}", hint="one of " + ", ".join(GROUPS)
        )
    ids = list(request.run) or [item.run_id for item in context.store.runs(limit=1)]
    if not ids:
        raise UsageError("no run is saved yet", hint="blofin backtest … --save")
    if request.report is not None:
        _report(ids, request.report, context)
    wholes = [json.loads(context.store.run(run_id).result_json) for run_id in ids]
    trades = [trade for whole in wholes for trade in whole["trades"]]
    wanted = [request.by] if request.by is not None else list(GROUPS)
    return AnalyzeResult(
        runs=[whole["run_id"] for whole in wholes],
        trades=len(trades),
        note="hit: price went one R in favour; buckets of fewer than 30 trades say little",
        groups=[AnalyzeRow(**row) for name in wanted for row in bucket_rows(name, trades)],
    )


def _report(ids: list[str], path: str, context: Context) -> None:
    from blofin_cli.app.sessions import write_report

    if len(ids) != 1 or context.store.run(ids[0]).kind != "session":
        raise UsageError(
            "--report draws one session; a backtest draws its own",
            hint="blofin backtest … --report FILE.html",
        )
    write_report(context.journal.session(ids[0]), path, context)
