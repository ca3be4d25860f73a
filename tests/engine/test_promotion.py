"""What promotion reads from a real journal and real saved runs."""

from decimal import Decimal

from blofin_cli.adapters.store import open_journal, open_store
from blofin_cli.core.journal import EquityPoint, Session
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.quotes import Mode
from blofin_cli.core.status import NakedView, SessionStatus
from blofin_cli.engine.promotion import promotion

DAY_MS = 86_400_000
NOW_MS = 1_795_000_000_000


def session(name: str, mode: Mode, days: int, **changes) -> Session:
    given = {
        "session_id": name, "account": f"blofin-{mode}", "exchange": "blofin", "mode": mode,
        "simulated": False, "symbols": ("BTC-USDT",), "timeframe": "15m", "config": {},
        "digests": {}, "version": "0", "pid": 1, "host": "h",
        "started_ms": NOW_MS - days * DAY_MS, "history_start_ms": {},
        "equity_start_usdt": Decimal(1_000),
    }  # fmt: skip
    return Session(**(given | changes))


def test_empty_state_promotes_nothing(tmp_path):
    """Nothing was measured, so everything but the first step of capital fails."""
    path = str(tmp_path / "state.db")
    gates = promotion(open_journal(path), open_store(path), BUILT_IN, NOW_MS)
    assert not gates[-1].passed
    assert {gate.name: gate.value for gate in gates}["demo_days"] == 0


def test_sessions_on_the_box_count_for_nothing(tmp_path):
    """The box proves a program, not a strategy."""
    path = str(tmp_path / "state.db")
    journal = open_journal(path)
    journal.open_session(session("a", Mode.DEMO, 30, exchange="sim", simulated=True))
    values = values_of(path)
    assert values["demo_days"] == 0


def test_days_stops_parity_and_drawdown_are_read(tmp_path):
    """Days on which a session ran; the worst p99; the last parity; equity below its peak."""
    path = str(tmp_path / "state.db")
    journal = open_journal(path)
    for name, mode, days in (("d", Mode.DRY_RUN, 3), ("a", Mode.DEMO, 25), ("l", Mode.LIVE, 1)):
        journal.open_session(session(name, mode, days))
    journal.end_session("a", NOW_MS - 10 * DAY_MS, "stopped")
    for name, p99 in (("a", 2.5), ("d", 9.0)):
        journal.beat(
            SessionStatus(
                ts_ms=NOW_MS, session_id=name, phase="trading", mode="demo", exchange="blofin",
                simulated=False, symbols=(), timeframe="15m", naked=NakedView(p99_s=p99),
            )
        )  # fmt: skip
    journal.remember("blofin-demo", "parity", {"clean": True})
    for ts_ms, equity in ((1, 1_000), (2, 1_200), (3, 900)):
        journal.add_equity(
            "blofin-live", "l",
            EquityPoint(
                ts_ms=ts_ms, equity_usdt=Decimal(equity), available_usdt=Decimal(equity),
                open_profit_usdt=Decimal(0),
            ),
        )  # fmt: skip
    values = values_of(path)
    assert values["dry_run_days"] == 4
    assert values["demo_days"] == 16
    assert values["naked_p99_s"] == 2.5
    assert values["parity"] == "clean"
    gates = promotion(journal, open_store(path), BUILT_IN, NOW_MS)
    capital = next(gate for gate in gates if gate.name == "capital")
    assert (capital.passed, capital.threshold) == (False, 0.1)


def values_of(path: str) -> dict:
    gates = promotion(open_journal(path), open_store(path), BUILT_IN, NOW_MS)
    return {gate.name: gate.value for gate in gates}
