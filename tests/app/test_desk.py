"""What charts show, read from a state that a session left."""

import pytest

from blofin_cli.adapters.candles.store import CandleStore
from blofin_cli.app.context import Context
from blofin_cli.app.desk import (
    chart_data,
    equity_curve,
    gates_of_last_bars,
    log_tail,
    stored_candles,
    trade_chart,
)
from blofin_cli.core.market import Timeframe
from tests.faces.seed import NOW_MS, Seed, StillClock, seed


@pytest.fixture
def sown(tmp_path, own_home, monkeypatch) -> tuple[Context, Seed]:
    monkeypatch.setenv("BLOFIN_CACHE", str(tmp_path / "cache"))
    found = seed(tmp_path)
    return Context(face="test", state_override=str(found.state), clock=StillClock()), found


@pytest.mark.process
def test_chart_at_a_moment_holds_nothing_later(sown):
    """Candles closed, zones known, the decision made and fills done by then."""
    context, _ = sown
    at_ms = NOW_MS - 4 * 900_000
    found = chart_data(context, "BTC-USDT", Timeframe.M15, at_ms=at_ms)
    assert found.zones_from == "session"
    assert found.decision is not None
    assert found.candles.close_ts[-1] <= at_ms
    assert found.decision.bar_ms <= at_ms
    assert all(mark.ms <= at_ms for mark in found.marks)
    now = chart_data(context, "BTC-USDT", Timeframe.M15)
    assert {level.kind for level in now.levels} == {"entry", "stop", "target", "liquidation"}
    assert len(now.candles) <= 500


@pytest.mark.process
def test_zones_before_the_session_are_worked_out_and_say_so(sown):
    """Nobody knew them then; the chart does not claim so."""
    context, _ = sown
    found = chart_data(context, "BTC-USDT", Timeframe.H1, at_ms=NOW_MS - 24 * 3_600_000)
    assert found.zones_from == "candles"
    assert all(zone.born_ms <= NOW_MS - 24 * 3_600_000 for zone in found.zones)


@pytest.mark.process
def test_candles_come_from_the_exchange_the_session_trades_at(sown, tmp_path):
    """Prices of a simulated exchange never stand in for real ones, nor the other way."""
    context, _ = sown
    real, _ = stored_candles(context, "BTC-USDT", Timeframe.M15)
    none, note = stored_candles(context, "BTC-USDT", Timeframe.M15, exchange="sim")
    assert (len(real) > 0, len(none), bool(note)) == (True, 0, True)
    CandleStore(tmp_path / "cache" / "candles-sim").merge(real[-5:])
    assert len(stored_candles(context, "BTC-USDT", Timeframe.M15, exchange="sim")[0]) == 5


@pytest.mark.process
def test_trade_is_charted_with_its_fills_and_levels(sown):
    """Entry and exit, each where it happened."""
    context, written = sown
    trade = written.trades[-1]
    found = trade_chart(context, trade)
    assert [mark.kind for mark in found.marks] == ["entry", "exit"]
    assert [level.price for level in found.levels] == [trade.entry_price, trade.stop, trade.target]
    assert found.candles.ts[0] <= trade.entry_ms <= trade.exit_ms <= found.candles.close_ts[-1]


@pytest.mark.process
def test_lists_are_bounded_and_in_order(sown):
    """Decisions newest first, equity thinned and oldest first, the log's tail."""
    context, written = sown
    bars = [item.bar_ms for item in gates_of_last_bars(context, symbol="BTC-USDT", limit=5)]
    assert bars == sorted(bars, reverse=True)
    assert len(bars) == 5
    curve = equity_curve(context, points_max=10)
    assert len(curve) <= 10
    assert [ms for ms, _ in curve] == sorted(ms for ms, _ in curve)
    assert curve[-1][1] == written.status.equity_usdt
    assert log_tail(context) == ()
    (context.state_folder / "blofin.log").write_bytes(b"a\n" * 2000 + b"\xff last\n")
    assert log_tail(context, 3)[-1].endswith("last")
    assert len(log_tail(context, 3)) == 3
