"""Research: backtests judged honestly, saved runs, and what they say when taken apart."""

import hashlib
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.selection import (
    StrategyRequest,
    market_of,
    source_of,
    span_of,
    strategy_of,
    tell,
)
from blofin_cli.app.spec import Effect, Name, Result, Symbol, command, plain_number
from blofin_cli.app.timespec import day_of, minute_of
from blofin_cli.core.market import Timeframe, Trade
from blofin_cli.errors import ComparisonError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.context import Market
    from blofin_cli.engine.study import Study

TOLERANCE_R = 0.05
DRAWS = 20
LONG_RUN_BARS = 100_000


class BacktestRequest(StrategyRequest):
    """What to run and what to do with the result."""

    symbol: Annotated[
        tuple[Symbol, ...], Field(description="Instruments, sharing one account", min_length=1)
    ]
    equity: Annotated[float, Field(description="Starting equity, USDT", gt=0, le=1e12)] = 10_000.0
    draws: Annotated[
        int | None,
        Field(
            description="Runs of each chance baseline; 200 give a placebo p-value. "
            "Default 20 for long runs and reports, else 0",
            ge=0,
            le=10_000,
        ),
    ] = None
    seed: Annotated[int, Field(description="Seed of the resampling", ge=0, le=2**32)] = 1
    report: Annotated[str | None, Field(description="Write a self-contained HTML report")] = None
    chart: Annotated[
        str | None, Field(description="Draw trades and zones: .html, .svg or .png")
    ] = None
    save: Annotated[bool, Field(description="Keep the run for `runs`, `analyze` and --compare")] = (
        False
    )
    compare: Annotated[
        Name | None, Field(description="Hold against a saved run: last, or its id")
    ] = None
    fail_below: Annotated[
        tuple[str, ...], Field(description="Exit 10 when a metric is lower, e.g. expectancy_r=0.05")
    ] = ()
    quiet: Annotated[bool, Field(description="Say nothing but the result")] = False


class BacktestResult(Result):
    """One run: metrics, bounds, baselines, trades, and the verdict in words."""

    run_id: str
    symbols: list[str]
    timeframe: Timeframe
    context: list[Timeframe]
    since_ms: int
    until_ms: int
    history_start_ms: int
    bars: int
    verdict: dict[str, Any]
    metrics: dict[str, Any]
    bounds: dict[str, Any]
    baselines: dict[str, Any]
    refusals: dict[str, int]
    groups: dict[str, list[dict[str, Any]]]
    trades: list[Trade]
    equity: list[tuple[int, float]]
    draws: int
    digests: dict[str, str]
    data: dict[str, Any]
    settings: dict[str, str]
    compared: dict[str, Any] | None = None
    saved: bool = False
    report: str | None = None
    elapsed_ms: int

    def rows(self) -> list[dict[str, Any]]:
        """Trades, one record each."""
        return [trade_record(trade) for trade in self.trades]

    def table(self) -> list[dict[str, Any]]:
        """The strategy beside what chance, holding and a moving average made."""
        return side_by_side(self)

    def summary(self) -> list[tuple[str, object]]:
        """The verdict first, then the run."""
        return backtest_summary(self)


def trade_record(trade: Trade) -> dict[str, Any]:
    """A trade as one flat record."""
    names = (
        "id",
        "symbol",
        "side",
        "entry_ms",
        "entry_price",
        "stop",
        "target",
        "exit_ms",
        "exit_price",
        "exit_reason",
        "quantity",
        "r_multiple",
        "pnl_usdt",
        "fees_usdt",
        "funding_usdt",
        "slippage_usdt",
        "zone_id",
        "timeframe",
        "pattern",
        "regime",
        "session",
        "confidence",
        "ambiguous",
    )
    return {name: getattr(trade, name) for name in names}


def backtest_summary(result: BacktestResult) -> list[tuple[str, object]]:
    """Label and value, the verdict and its reasons first."""
    metrics, verdict = result.metrics, result.verdict
    low, high = metrics["expectancy_r_low"], metrics["expectancy_r_high"]
    interval = f", 95 % interval {low:+.3f} to {high:+.3f} R" if low is not None else ""
    lines: list[tuple[str, object]] = [("verdict", verdict["text"].upper())]
    lines += [("  because", item) for item in verdict["failed"]]
    lines += [
        ("run", f"{result.run_id}, {', '.join(result.symbols)} {result.timeframe}"),
        ("expectancy", f"{figure_text(metrics['expectancy_r'], '+.3f')} R a trade{interval}"),
        (
            "costs",
            f"fees {metrics['fees_usdt']:.2f}, slippage {metrics['slippage_usdt']:.2f}, "
            f"funding {metrics['funding_usdt']:+.2f} USDT",
        ),
        ("undecidable", f"{figure_text(metrics['ambiguous_share'], '.1%')} of trades"),
    ]
    if metrics["halted_ms"] is not None:
        lines.append(("halted", f"by the drawdown breaker at {minute_of(metrics['halted_ms'])}"))
    lines.append(("hold, trend", "buy and hold; always in, by EMA 50/200 of 1h"))
    if result.draws:
        lines.append(
            (
                "the others",
                f"without account limits, {result.draws} draws: EMA 20/50 crosses, the strategy "
                "alone, random entries and shuffled levels with the same brackets",
            )
        )
    else:
        lines.append(("chance", "not asked; --draws 200 runs shuffled zones and random entries"))
    return lines


# Measures of the side-by-side table: name in `metrics` and baselines, and how it reads.
MEASURES = {
    "trades": ("trades", "d"),
    "expectancy_r": ("mean R", "+.3f"),
    "win_rate": ("win rate", ".1%"),
    "reward_risk": ("payoff", ".2f"),
    "profit_factor": ("PF", ".2f"),
    "total_return": ("return", "+.1%"),
    "max_drawdown": ("drawdown", ".1%"),
    "sharpe": ("sharpe", ".2f"),
    "sortino": ("sortino", ".2f"),
    "calmar": ("calmar", ".2f"),
    "exposure": ("exposure", ".1%"),
}


def side_by_side(result: BacktestResult) -> list[dict[str, Any]]:
    """One row a measure, one column a contender; the words short enough for a terminal."""
    columns: dict[str, dict[str, Any]] = {"strategy": result.metrics} | result.baselines
    rows = []
    for name, (words, form) in MEASURES.items():
        row: dict[str, Any] = {"measure": words}
        for column, figures in columns.items():
            row[SHORT.get(column, column)] = figure_text(figures.get(name), form)
        rows.append(row)
    return rows


# Metrics a threshold can be put on.
COMPARABLE = (*MEASURES, "expectancy_r_low", "deflated_sharpe", "cagr")

SHORT = {
    "buy_and_hold": "hold",
    "ema_50_200": "trend",
    "ema_20_50_bracket": "cross",
    "strategy_alone": "alone",
    "random_entries": "random",
    "shuffled_zones": "shuffled",
}


def figure_text(value: float | None, form: str) -> str:
    """A figure in a format, or a dash where it is undefined."""
    return "-" if value is None else format(value, form)


@command(effect=Effect.WRITE, positional=("symbol",), tool="run_backtest")
async def backtest(request: BacktestRequest, context: Context) -> BacktestResult:
    """Run the strategy over history with fees, funding, slippage and partial fills, and judge it.

    Example: blofin backtest BTC-USDT --synthetic 7 --since 60d
    """
    limits = _limits(request.fail_below)
    _check_files(request)
    _named_run(request, context)
    with context.store.lock("backtest") if request.save else nullcontext():
        started_ms = context.clock.now_ms()
        whole, result = _run(request, context)
        result = result.model_copy(update={"elapsed_ms": context.clock.now_ms() - started_ms})
        if request.report is not None:
            result = _write_report(whole, result, request.report)
        if request.chart is not None:
            _write_chart(whole, result, request.chart)
        earlier = _earlier(request, result, context)
        other = _other_data(request, earlier, result)
        complaints = [*_shortfalls(limits, result.metrics), *_regressions(earlier, result, other)]
        if request.save:
            run = saved_run(result, context.clock.now_ms(), is_short=bool(complaints))
            context.store.save_run(run)
            result = result.model_copy(update={"saved": True})
    if earlier is not None:
        result = result.model_copy(update={"compared": _comparison(earlier, result)})
    if complaints:
        raise ComparisonError(
            "; ".join(complaints), hint="blofin runs lists what is saved", result=result
        )
    if other and not request.quiet:
        context.say(other)
    return result


def _run(request: BacktestRequest, context: Context) -> "tuple[Study, BacktestResult]":
    from blofin_cli.core.compiled import prepare
    from blofin_cli.engine.study import StudyPlan, study

    strategy = strategy_of(request, context)
    symbols = list(dict.fromkeys(request.symbol))
    exchange = context.settings.exchange
    source = source_of(request, symbols, context, exchange=exchange)
    is_other_store = source.name == "store" and exchange != "blofin"
    name = f"store of {exchange}" if is_other_store else source.name
    markets = [market_of(request, symbol, source, strategy) for symbol in symbols]
    if not request.quiet:
        tell(context, source.notes())
    since_ms = span_of(request, markets[0].entry)[0]
    plan = StudyPlan(request.equity, _draws(request, markets), request.seed, since_ms)
    job_bars = sum(len(market.entry) for market in markets) * (1 + plan.draws)
    if prepare(job_bars) and not request.quiet:
        context.say("compiling the kernels once: about half a minute")
    whole = study(markets, strategy, plan, context.progress)
    digests = _digests(whole, {symbol: source.digest(symbol) for symbol in symbols})
    sharpes = _count_trial(whole, digests, context)
    return whole, _result(whole, digests, sharpes, name, source.notes())


def _draws(request: BacktestRequest, markets: "list[Market]") -> int:
    """How often chance is asked unless told: when the job is long enough to be compiled anyway."""
    if request.draws is not None:
        return request.draws
    bars = sum(len(market.entry) for market in markets)
    return DRAWS if bars >= LONG_RUN_BARS or request.report is not None else 0


def _digests(whole: "Study", data: dict[str, str]) -> dict[str, str]:
    from blofin_cli.core.compiled import source_digest
    from blofin_cli.core.strategy import flatten, to_text

    config = {name: to_text(value) for name, value in flatten(whole.strategy).items()}
    course, plan = whole.course, whole.plan
    span = [int(course.tick_ts[0]), int(course.tick_ts[-1]), len(course.bars.ts)]
    return {
        "code": source_digest(),
        "config": _sha256([config, plan.equity]),
        "data": _sha256([data, span]),
        "run": _sha256([source_digest(), config, plan.equity, plan.draws, plan.seed, data, span]),
    }


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _count_trial(whole: "Study", digests: dict[str, str], context: Context) -> list[float]:
    """Enter this trial in the ledger; the daily Sharpe ratios of all trials on these data."""
    from blofin_cli.ports import Trial

    sharpe = whole.daily_sharpe
    if sharpe is None:
        return []
    context.store.record_trial(
        Trial(
            config_digest=digests["config"],
            data_digest=digests["data"],
            sharpe=sharpe,
            created_ms=context.clock.now_ms(),
        )
    )
    return context.store.trial_sharpes(digests["data"])


def _result(
    whole: "Study", digests: dict[str, str], sharpes: list[float], source: str, notes: list[str]
) -> BacktestResult:
    from blofin_cli.app.reporting import assumptions, changed_settings, group_tables

    course, strategy = whole.course, whole.strategy
    run_id = f"bt-{digests['run'][:12]}"
    found = whole.verdict(sharpes)
    metrics = whole.metrics | {
        "deflated_sharpe": whole.deflated_sharpe(sharpes),
        "trials": max(1, len(sharpes)),
        "placebo_p": whole.placebo_p,
        "halted_ms": int(whole.outcome.account["halted_ms"]) or None,
    }
    ends = course.day_ends
    return BacktestResult(
        run_id=run_id,
        symbols=[market.entry.symbol for market in course.markets],
        timeframe=strategy.timeframe,
        context=list(strategy.context),
        since_ms=int(course.tick_ts[0]),
        until_ms=int(course.tick_ts[-1]) + course.step_ms,
        history_start_ms=min(int(market.entry.ts[0]) for market in course.markets),
        bars=len(course.bars.ts),
        verdict={
            "status": found.status,
            "text": "validated" if not found.failed else "no evidence of an edge",
            "failed": found.failed,
        },
        metrics=metrics,
        bounds=whole.bounds,
        baselines=whole.baselines,
        refusals=whole.refusals(),
        groups=group_tables(whole),
        trades=whole.trades(run_id),
        equity=[
            (int(course.tick_ts[i]) + course.step_ms, float(whole.outcome.curve[i])) for i in ends
        ],
        draws=whole.plan.draws,
        digests=digests,
        data={
            "source": source,
            "notes": notes,
            "instruments": {m.entry.symbol: m.instrument.source for m in course.markets},
            "gaps": {m.entry.symbol: m.entry.gaps for m in course.markets},
            "missing_bars": {m.entry.symbol: m.entry.missing_bars for m in course.markets},
            "assumptions": assumptions(whole),
        },
        settings=changed_settings(strategy),
        elapsed_ms=0,
    )


def _write_report(whole: "Study", result: BacktestResult, path: str) -> BacktestResult:
    from pathlib import Path

    from blofin_cli.app.reporting import report_view
    from blofin_cli.pictures.files import save
    from blofin_cli.pictures.report import report_html

    save(Path(path), report_html(report_view(whole, result)))
    return result.model_copy(update={"report": path})


def _write_chart(whole: "Study", result: BacktestResult, path: str) -> None:
    from pathlib import Path

    from blofin_cli.app.reporting import price_views
    from blofin_cli.pictures.files import save_chart

    save_chart(Path(path), price_views(whole, result.trades)[0])


def _check_files(request: BacktestRequest) -> None:
    if request.report is not None or request.chart is not None:
        from blofin_cli.pictures.files import check_file

        check_file("--report", request.report, (".html", ".htm"))
        check_file("--chart", request.chart)
    if request.chart is not None and len(set(request.symbol)) > 1:
        raise UsageError("--chart draws one instrument", hint="use --report for several")


def _named_run(request: BacktestRequest, context: Context) -> None:
    if request.compare not in (None, "last"):
        context.store.run(str(request.compare))


def _limits(words: tuple[str, ...]) -> dict[str, float]:
    limits = {}
    for word in words:
        name, _, value = word.partition("=")
        name = name.strip()
        if name not in COMPARABLE:
            raise UsageError(
                f"no metric is called {ascii(name)[:80]}", hint="one of " + ", ".join(COMPARABLE)
            )
        try:
            limits[name] = float(plain_number(value))
        except ValueError:
            raise UsageError(
                f"--fail-below {ascii(word)[:80]} is no metric=number",
                hint="e.g. expectancy_r=0.05",
            ) from None
    return limits


def _shortfalls(limits: dict[str, float], metrics: dict[str, Any]) -> list[str]:
    complaints = []
    for name, limit in limits.items():
        value = metrics[name]
        if value is None or value < limit:
            complaints.append(f"{name} {figure_text(value, '.4g')} is below {limit:g}")
    return complaints


def series_of(result: BacktestResult) -> str:
    """What makes two runs comparable: the same symbols of one source by the same strategy."""
    market = f"{','.join(result.symbols)}|{result.timeframe}|{result.data['source']}"
    return f"{market}|{result.digests['config'][:16]}"


def _earlier(
    request: BacktestRequest, result: BacktestResult, context: Context
) -> dict[str, Any] | None:
    if request.compare is None:
        return None
    if request.compare != "last":
        return json.loads(context.store.run(request.compare).result_json)  # type: ignore[no-any-return]
    found = context.store.last_run("backtest", series_of(result))
    if found is None:
        if not request.quiet:
            context.say(f"nothing to compare with yet: no run of {_market(dict(result))} is saved")
        return None
    return json.loads(found.result_json)  # type: ignore[no-any-return]


def _market(run: dict[str, Any]) -> str:
    source = run.get("data", {}).get("source", "a session")
    return f"{', '.join(run['symbols'])} {run['timeframe']} from {source}"


def _other_data(
    request: BacktestRequest, earlier: dict[str, Any] | None, result: BacktestResult
) -> str:
    """That a run compared with by its id saw other data; those of `last` only go on."""
    if earlier is None or request.compare == "last":
        return ""
    if earlier["digests"].get("data") == result.digests["data"]:
        return ""
    before, now = (
        f"{_market(run)}, {day_of(run['since_ms'])} to {day_of(run['until_ms'])}"
        for run in (earlier, dict(result))
    )
    return f"the data differ: {earlier['run_id']} ran on {before}; this run on {now}"


def _regressions(
    earlier: dict[str, Any] | None, result: BacktestResult, other_data: str
) -> list[str]:
    if earlier is None:
        return []
    before, now = earlier["metrics"]["expectancy_r"], result.metrics["expectancy_r"]
    if before is None or now is None or now >= before - TOLERANCE_R:
        return []
    fell = f"expectancy_r fell from {before:+.3f} to {now:+.3f} since {earlier['run_id']}"
    return [fell, other_data] if other_data else [fell]


def _comparison(earlier: dict[str, Any], result: BacktestResult) -> dict[str, Any]:
    names = ("trades", "win_rate", "reward_risk", "expectancy_r", "total_return", "max_drawdown")
    return {
        "run_id": earlier["run_id"],
        "same": {
            name: earlier["digests"].get(name) == result.digests[name]
            for name in ("code", "config", "data")
        },
        "before": {name: earlier["metrics"][name] for name in names},
        "now": {name: result.metrics[name] for name in names},
    }


def saved_run(result: BacktestResult, now_ms: int, *, is_short: bool) -> Any:
    """The run as the store keeps it: what depends on the clock or this machine is left out.

    A run that fell short is kept but is no later run's `last`: tomorrow must not pass by being
    no worse than a failure.
    """
    from blofin_cli import __version__
    from blofin_cli.ports import SavedRun

    kept = result.model_dump(mode="json", exclude={"elapsed_ms", "saved", "report", "compared"})
    return SavedRun(
        run_id=result.run_id,
        kind="backtest",
        series=series_of(result) + ("|fell short" if is_short else ""),
        created_ms=now_ms,
        symbols=tuple(result.symbols),
        timeframe=str(result.timeframe),
        since_ms=result.since_ms,
        until_ms=result.until_ms,
        digests=result.digests,
        metrics=kept["metrics"],
        verdict_status=str(result.verdict["status"]),
        result_json=json.dumps(kept, sort_keys=True, separators=(",", ":")).encode(),
        version=__version__,
    )
