"""A finished session as a saved run, and as a page: beside backtests, in the same words."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blofin_cli.app.context import Context
from blofin_cli.app.spec import to_record
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blofin_cli.core.journal import EquityPoint, Session
    from blofin_cli.core.market import Trade

VERDICT = "a session is one path: it shows that the loop works, not that the strategy does"


def save_session(session: "Session", context: Context) -> None:
    """Keep a session beside the saved backtests, so that `runs` and `analyze` take it."""
    from blofin_cli.ports import SavedRun

    whole = summary_of(session, context)
    context.store.save_run(
        SavedRun(
            run_id=session.session_id,
            kind="session",
            series=f"{session.account}|{','.join(session.symbols)}|{session.digests['config']}",
            created_ms=context.clock.now_ms(),
            symbols=session.symbols,
            timeframe=session.timeframe,
            since_ms=session.started_ms,
            until_ms=whole["until_ms"],
            digests=session.digests,
            metrics=whole["metrics"],
            verdict_status="no_evidence",
            version=session.version,
            result_json=json.dumps(whole, sort_keys=True, separators=(",", ":")).encode(),
        )
    )


def summary_of(session: "Session", context: Context) -> dict[str, Any]:
    """A session as the JSON of a run. Units as a backtest's result."""
    journal = context.journal
    trades = journal.trades(session_id=session.session_id)
    points = _points(session, context)
    until_ms = session.ended_ms or context.clock.now_ms()
    return {
        "run_id": session.session_id,
        "kind": "session",
        "mode": session.mode.value,
        "exchange": session.exchange,
        "simulated": session.simulated,
        "symbols": list(session.symbols),
        "timeframe": session.timeframe,
        "since_ms": session.started_ms,
        "until_ms": until_ms,
        "settings": session.config,
        "digests": session.digests,
        "verdict": {"status": "no_evidence", "text": "no evidence of an edge", "failed": [VERDICT]},
        "metrics": metrics_of(trades, points, float(session.equity_start_usdt)),
        "trades": [_trade_row(trade) for trade in trades],
        "equity": [(point.ts_ms, float(point.equity_usdt)) for point in points],
    }


def metrics_of(
    trades: "Sequence[Trade]", points: "Sequence[EquityPoint]", start_usdt: float
) -> dict[str, Any]:
    """The metrics a session can be measured by; None where undefined."""
    import numpy as np

    from blofin_cli.core.stats import max_drawdown, trade_metrics

    net_r = np.array([trade.r_multiple for trade in trades])
    pnl = np.array([trade.pnl_usdt for trade in trades])
    found = trade_metrics(net_r, pnl)
    curve = np.array([start_usdt, *(float(point.equity_usdt) for point in points)])
    return {
        "trades": len(trades),
        "win_rate": found.win_rate,
        "reward_risk": found.reward_risk,
        "expectancy_r": found.expectancy_r,
        "profit_factor": found.profit_factor,
        "total_return": float(curve[-1] / start_usdt - 1),
        "max_drawdown": float(max_drawdown(curve)),
        "pnl_usdt": float(pnl.sum()) if len(pnl) else 0.0,
        "fees_usdt": sum(trade.fees_usdt for trade in trades),
        "funding_usdt": sum(trade.funding_usdt for trade in trades),
        "slippage_usdt": sum(trade.slippage_usdt for trade in trades),
    }


def write_report(session: "Session", path: str, context: Context) -> None:
    """One self-contained page of a session: equity, trades on candles, costs, breakdowns."""
    from blofin_cli.pictures.files import save
    from blofin_cli.pictures.report import report_html

    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report writes .html, not {ascii(path)[:80]}")
    save(Path(path), report_html(_view(session, context)))
    context.say(f"report written to {Path(path).name}")


def _view(session: "Session", context: Context) -> Any:
    import numpy as np

    from blofin_cli.app.reporting import GROUPS, bucket_rows, group_view
    from blofin_cli.app.timespec import minute_of
    from blofin_cli.pictures import views

    whole = summary_of(session, context)
    trades = context.journal.trades(session_id=session.session_id)
    points = _points(session, context)
    first = (session.started_ms, float(session.equity_start_usdt))
    curve = [first, *((p.ts_ms, float(p.equity_usdt)) for p in points if p.ts_ms > first[0])]
    metrics = whole["metrics"]
    return views.ReportView(
        title=f"Session {session.session_id}, {session.mode.value} at {session.exchange}",
        verdict_status="no_evidence",
        verdict_failed=[VERDICT],
        metrics=metrics,
        equity=views.Series(
            np.array([at for at, _ in curve], dtype=np.int64),
            np.array([value for _, value in curve], dtype=np.float64),
        ),
        run={
            "session": session.session_id,
            "symbols": ", ".join(session.symbols),
            "timeframe": session.timeframe,
            "from": minute_of(whole["since_ms"]),
            "until": minute_of(whole["until_ms"]),
            "ended": session.end_reason,
            "simulated": str(session.simulated).lower(),
        },
        price_series=[_chart(session, symbol, trades, context) for symbol in session.symbols],
        trades=trades,
        groups={
            name.replace("_", " "): [group_view(row) for row in bucket_rows(name, whole["trades"])]
            for name in GROUPS
            if name != "month"
        },
        costs=[
            views.Cost("fees", metrics["fees_usdt"]),
            views.Cost("slippage", metrics["slippage_usdt"]),
            views.Cost("funding", -metrics["funding_usdt"]),
        ],
        assumptions=[VERDICT.capitalize() + "."],
        digests=session.digests,
    )


def _chart(session: "Session", symbol: str, trades: "Sequence[Trade]", context: Context) -> Any:
    """A symbol's candles around the session, with the zones it knew and its trades."""
    from blofin_cli.app.history import open_store
    from blofin_cli.pictures import views

    until_ms = session.ended_ms or context.clock.now_ms()
    step_ms = Timeframe(session.timeframe).ms
    candles = open_store(context, session.exchange).held(symbol, Timeframe(session.timeframe))
    shown = candles.between(session.started_ms - 100 * step_ms, until_ms + step_ms)
    own = [trade for trade in trades if trade.symbol == symbol]
    return views.ChartView(
        title=f"{symbol} {session.timeframe}",
        candles=shown,
        zones=context.journal.zones_at(session.session_id, symbol, until_ms),
        trades=own,
        subtitle=f"{len(own)} trades",
    )


def _points(session: "Session", context: Context) -> "list[EquityPoint]":
    until_ms = session.ended_ms or context.clock.now_ms()
    points = context.journal.equity(session.account, since_ms=session.started_ms)
    return [point for point in points if point.ts_ms <= until_ms + 1]


def _trade_row(trade: "Trade") -> dict[str, Any]:
    """A trade as JSON values."""
    row = to_record(trade)
    row["exits"] = [to_record(part) for part in trade.exits]
    return row
