"""A dry run over some candles is the backtest over the same candles, to the last bit."""

from typing import Any

import pytest

from blofin_cli.core.context import Market
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.backtest import lay_course, trade
from blofin_cli.engine.paper import PaperAccount
from blofin_cli.engine.study import StudyPlan, study
from tests.fakes import invented_market

EAGER = {
    "stop.min_stop_pct": 0.2,
    "target.rr": 2,
    "target.min_net_rr": 0,
    "volatility.rank_max": 1,
    "volatility.atr_max_pct": 100,
    "volatility.extreme_bars": 0,
    "risk.cooldown_h": 0,
    "risk.entries_per_day": 100,
    "manage.be_at": 1,
}


def played(settings: dict[str, Any], seeds: tuple[int, ...], bars: int, start: int) -> Any:
    """The paper account driven bar by bar, and the backtest of the same span."""
    strategy = build_strategy(settings)
    symbols = ("BTC-USDT", "ETH-USDT")
    whole = [
        invented_market(seed, bars, symbol) for seed, symbol in zip(seeds, symbols, strict=False)
    ]
    markets = [
        Market(item.entry, item.instrument, mark=item.mark, funding=item.funding) for item in whole
    ]
    since_ms = int(markets[0].entry.ts[start])
    account = PaperAccount(strategy, 10_000.0, since_ms, run_id="s", mode="dry-run")
    trades = []
    for bar in range(start, bars):
        upto = [
            Market(m.entry[: bar + 1], m.instrument, mark=m.mark, funding=m.funding)
            for m in markets
        ]
        account.on_tick(upto, [evaluate(m, strategy) for m in upto])
        trades += account.new_trades()
    return account, trades, markets, strategy, since_ms


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize(("mode", "seeds"), [("confirm", (3, 23)), ("limit", (1, 21))])
def test_paper_account_equals_backtest_to_the_bit(mode, seeds):
    """Same candles, same trades, same equity at each close."""
    settings = EAGER | {"entry.mode": mode, "context": "1h"}
    account, trades, markets, strategy, since_ms = played(settings, seeds, 620, 420)
    course = lay_course(markets, strategy.costs, since_ms)
    outcome = trade(course, [evaluate(m, strategy) for m in markets], strategy, 10_000.0)
    plan = StudyPlan(equity=10_000.0, draws=0, seed=0, since_ms=since_ms)
    expected = study(markets, strategy, plan, lambda *_: None).trades("s")
    finished = [t for t in expected if t.exit_reason != "end"]
    assert len(finished) >= 3
    assert [_facts(t) for t in trades] == [_facts(t) for t in finished]
    curve = [equity for _, equity in account.curve[:-1]]
    assert curve == pytest.approx(outcome.curve[:-1].tolist(), abs=1e-9)


def _facts(trade: Any) -> tuple[Any, ...]:
    return (
        trade.symbol, trade.side, trade.entry_ms, trade.exit_ms, trade.exit_reason, trade.quantity,
        trade.entry_price, trade.exit_price, trade.pnl_usdt, trade.zone_id,
    )  # fmt: skip


@pytest.mark.process
def test_one_waiting_entry_is_given_up_by_its_number():
    """The others go on waiting; a number that nothing carries gives up none."""
    settings = EAGER | {"entry.mode": "limit", "context": "1h"}
    account, _, _, _, _ = played(settings, (10, 30), 490, 420)
    numbers = [int(row["number"]) for _, row, _ in account.waiting()]
    assert len(numbers) > 1
    assert account.cancel_entries(max(numbers) + 1) == 0
    assert account.cancel_entries(numbers[0]) == 1
    assert [int(row["number"]) for _, row, _ in account.waiting()] == numbers[1:]
    assert account.cancel_entries() == len(numbers) - 1


@pytest.mark.process
def test_close_now_books_the_trade_at_the_price_given():
    """A manual close ends the position at once, with costs, and frees its slot."""
    settings = EAGER | {"context": "1h"}
    account, _, _, _, _ = played(settings, (10, 30), 620, 560)
    symbol, row = next((s, row) for s, row, _ in account.held() if row["quantity"] > 0)
    closed = account.close(symbol, {symbol: float(row["entry"])})
    assert closed == 1
    assert account.new_trades()[-1].exit_reason == "manual"
    assert symbol not in [name for name, _, _ in account.held()]
