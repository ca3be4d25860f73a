"""Gathers what promotion to real money is judged on, from the journal and the saved runs."""

from blofin_cli.core.journal import Session
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.market import Gate, Trade
from blofin_cli.core.promotion import Evidence, judge
from blofin_cli.core.quotes import Mode
from blofin_cli.core.risk import DAY_MS
from blofin_cli.core.signals import slip_floor
from blofin_cli.core.strategy import Strategy
from blofin_cli.ports import Journal, RunStore

SESSIONS_READ = 1_000
TRADES_FOR_COST = 10


def promotion(
    journal: Journal,
    store: RunStore,
    mandate: Mandate,
    now_ms: int,
    *,
    exchange: str = "blofin",
) -> list[Gate]:
    """Every gate with its value; the last one, `promotion`, decides.

    Errors: DataError when the state cannot be read: then nothing is promoted.
    """
    sessions = [
        session
        for session in journal.sessions(limit=SESSIONS_READ)
        if session.exchange == exchange and not session.simulated
    ]
    demo = [session for session in sessions if session.mode is Mode.DEMO]
    live = [session for session in sessions if session.mode is Mode.LIVE]
    trades = _trades(journal, demo)
    newest = next(iter(store.runs(kind="backtest", limit=1)), None)
    validated = [run for run in store.runs(kind="backtest") if run.verdict_status == "validated"]
    backtest = validated[0] if validated else newest
    evidence = Evidence(
        backtest=None if backtest is None else backtest.run_id,
        backtest_verdict=None if backtest is None else backtest.verdict_status,
        dry_run_days=_days([s for s in sessions if s.mode is Mode.DRY_RUN], now_ms),
        demo_days=_days(demo, now_ms),
        demo_trades=len(trades),
        demo_regimes=len({trade.regime for trade in trades if trade.regime}),
        parity_clean=_parity(journal, demo),
        naked_p99_s=_naked(journal, demo),
        cost_ratio=_cost_ratio(trades),
        live_days=_days(live, now_ms),
        live_trades=len(_trades(journal, live)),
        live_drawdown_fraction=_drawdown(journal, live),
    )
    return judge(evidence, mandate.override, mandate.capital_fraction)


def _trades(journal: Journal, sessions: list[Session]) -> list[Trade]:
    """Finished trades of the accounts these sessions traded."""
    return [
        trade
        for account in dict.fromkeys(session.account for session in sessions)
        for trade in journal.trades(account=account)
    ]


def _drawdown(journal: Journal, sessions: list[Session]) -> float:
    """How far below its peak equity stands now, transfers apart; the worst account's."""
    worst = 0.0
    for account in dict.fromkeys(session.account for session in sessions):
        points = [float(p.equity_usdt - p.transfers_usdt) for p in journal.equity(account)]
        if points and max(points) > 0:
            worst = max(worst, 1.0 - points[-1] / max(points))
    return worst


def _days(sessions: list[Session], now_ms: int) -> int:
    """UTC days on which at least one of them ran."""
    days: set[int] = set()
    for session in sessions:
        end_ms = now_ms if session.ended_ms is None else session.ended_ms
        days.update(range(session.started_ms // DAY_MS, end_ms // DAY_MS + 1))
    return len(days)


def _parity(journal: Journal, demo: list[Session]) -> bool | None:
    """What `blofin parity` found last on a demo session; None when it was never asked."""
    for account in dict.fromkeys(session.account for session in demo):
        found = journal.recall(account, "parity")
        if found is not None:
            return bool(found.get("clean"))
    return None


def _naked(journal: Journal, demo: list[Session]) -> float | None:
    """The worst session's p99 of seconds without a stop."""
    told = [journal.status(session.session_id) for session in demo]
    return max((status.naked.p99_s for status in told if status is not None), default=None)


def _cost_ratio(trades: list[Trade]) -> float | None:
    """Slippage paid over the least the model takes, both sides; None for too few trades."""
    if len(trades) < TRADES_FOR_COST:
        return None
    strategy = Strategy()
    modelled = sum(
        slip_floor(trade.symbol, strategy) * (trade.entry_price + trade.exit_price) * trade.quantity
        for trade in trades
    )
    paid = sum(trade.slippage_usdt for trade in trades)
    return paid / modelled if modelled > 0 else None
