"""Backtests from the command line: the result's contract, saving, comparing, taking apart."""

import json
import subprocess
import sys

import pytest

from blofin_cli.app.commands.demo import DemoResult
from blofin_cli.app.commands.run import RunResult
from blofin_cli.errors import Exit

RUN = ("backtest", "BTC-USDT", "--synthetic", "7", "--since", "120d", "--quiet", "--json")
METRICS = {
    "trades", "win_rate", "reward_risk", "expectancy_r", "profit_factor", "total_return",
    "max_drawdown", "sharpe", "sortino", "calmar", "exposure", "fees_usdt", "funding_usdt",
    "slippage_usdt", "ambiguous_share", "deflated_sharpe",
}  # fmt: skip
TRADE = {
    "id", "run_id", "mode", "symbol", "side", "quantity", "stop", "target", "confidence",
    "freshness", "tags", "note", "exits", "entry_ms", "entry_price", "exit_ms", "exit_price",
    "exit_reason", "pnl_usdt", "fees_usdt", "funding_usdt", "slippage_usdt", "r_multiple",
    "zone_id", "ambiguous",
}  # fmt: skip


def result(outcome, code=0):
    """The JSON result of a command that ended with this code."""
    assert outcome.code == code, outcome.stderr
    return json.loads(outcome.stdout)


def test_backtest_result_keeps_the_public_names(blofin):
    """The fields scripts parse are there, and the verdict is in words."""
    found = result(blofin(*RUN))
    assert set(found["metrics"]) >= METRICS
    assert set(found["trades"][0]) >= TRADE
    assert set(found["bounds"]) == {"pessimistic", "optimistic"}
    assert set(found["digests"]) >= {"code", "config", "data"}
    assert found["verdict"]["status"] == "no_evidence"
    assert found["verdict"]["failed"]


def test_backtest_equity_is_start_plus_trades(blofin):
    """The last equity is the start plus every trade's net result."""
    found = result(blofin(*RUN))
    made = sum(trade["pnl_usdt"] for trade in found["trades"])
    assert found["equity"][-1][1] == pytest.approx(10_000 + made, rel=1e-12)


def test_backtest_twice_gives_the_same_answer(blofin):
    """Same inputs, same bytes: only the time it took may differ."""
    once, twice = result(blofin(*RUN)), result(blofin(*RUN))
    del once["elapsed_ms"], twice["elapsed_ms"]
    assert once == twice


def test_backtest_with_draws_shows_what_chance_made(blofin):
    """Baselines stand side by side; 200 draws would make a p-value."""
    found = result(blofin(*RUN, "--draws", "2"))
    assert {"buy_and_hold", "random_entries", "shuffled_zones"} <= set(found["baselines"])
    assert found["baselines"]["shuffled_zones"]["draws"] == 2
    assert any("fewer than 200" in item for item in found["verdict"]["failed"])


def test_backtest_of_two_symbols_shares_one_account(blofin):
    """Two symbols trade one equity, in time order."""
    words = ("backtest", "BTC-USDT", "ETH-USDT", *RUN[2:])
    found = result(blofin(*words))
    assert found["symbols"] == ["BTC-USDT", "ETH-USDT"]
    assert {trade["symbol"] for trade in found["trades"]} == {"BTC-USDT", "ETH-USDT"}
    exits = [trade["exit_ms"] for trade in found["trades"]]
    assert exits == sorted(exits)


def test_backtest_report_is_one_file_without_network(blofin, empty_folder):
    """The report opens from disk and fetches nothing."""
    path = empty_folder / "report.html"
    found = result(blofin(*RUN, "--draws", "0", "--report", str(path)))
    text = path.read_text()
    assert found["report"] == str(path)
    assert "No evidence of an edge" in text
    assert 'src="http' not in text


def test_saved_run_is_listed_shown_and_taken_apart(blofin):
    """`--save` keeps the run for `runs` and `analyze`."""
    run_id = result(blofin(*RUN, "--save"))["run_id"]
    assert result(blofin("runs", "--json"))["runs"][0]["run_id"] == run_id
    assert result(blofin("runs", run_id, "--json"))["run"]["run_id"] == run_id
    groups = result(blofin("analyze", "--by", "pattern", "--json"))["groups"]
    assert {row["bucket"] for row in groups} <= {"DBR", "RBR", "RBD", "DBD"}
    assert all(0 <= row["hit_rate"] <= 1 for row in groups)


def test_saved_runs_can_be_compared(blofin):
    """Two ids stand side by side, with the settings in which they differ."""
    one = result(blofin(*RUN, "--save"))["run_id"]
    other = result(blofin(*RUN, "--save", "--set", "target.rr=3"))["run_id"]
    rows = {
        row["measure"]: row for row in result(blofin("runs", one, other, "--json"))["comparison"]
    }
    assert rows["target.rr"][one] == "default"
    assert rows["target.rr"][other] == "3.0"


def test_shortfall_exits_10_with_the_result_on_stdout(blofin):
    """`--fail-below` is for cron: the result is printed all the same."""
    outcome = blofin(*RUN, "--fail-below", "expectancy_r=50")
    assert result(outcome, code=10)["metrics"]["trades"] > 0
    assert "is below 50" in outcome.stderr


def test_first_run_of_a_series_has_nothing_to_compare_with(blofin):
    """`--compare last` passes the first time and reports the comparison the second."""
    assert result(blofin(*RUN, "--save", "--compare", "last"))["compared"] is None
    again = result(blofin(*RUN, "--save", "--compare", "last"))["compared"]
    assert again["same"] == {"code": True, "config": True, "data": True}


def test_last_is_the_newest_run_of_the_same_market(blofin):
    """Another market is no yardstick: `last` passes it by, and its id says that the data differ."""
    other = ("backtest", "BTC-USDT", "--synthetic", "9", "--since", "120d", "--json")
    saved = result(blofin(*other, "--save"))["run_id"]
    loud = tuple(word for word in RUN if word != "--quiet")
    outcome = blofin(*loud, "--compare", "last")
    assert result(outcome)["compared"] is None
    assert "nothing to compare with yet" in outcome.stderr
    named = blofin(*loud, "--compare", saved)
    assert named.code in {0, 10}
    assert f"the data differ: {saved} ran on BTC-USDT 15m from synthetic market" in named.stderr


def test_backtest_on_an_empty_store_says_how_to_fill_it(blofin, monkeypatch):
    """Which exchange's store, by the setting, and the command that fetches."""
    monkeypatch.setenv("BLOFIN_EXCHANGE", "sim")
    error = json.loads(blofin("backtest", "ETH-USDT", "--json").stderr)["error"]
    assert error["message"] == "the candle store of sim is empty"
    assert "blofin candles ETH-USDT --since 1y --exchange sim" in error["hint"]


def test_trials_on_the_same_data_are_counted(blofin):
    """Every setting tried on the same candles deflates the next Sharpe ratio."""
    first = result(blofin(*RUN))["metrics"]["trials"]
    second = result(blofin(*RUN, "--set", "stop.buf=1.0"))["metrics"]["trials"]
    assert (first, second) == (1, 2)


def test_trades_as_csv_have_one_row_each(blofin):
    """CSV is the trade list."""
    trades = result(blofin(*RUN))["trades"]
    lines = blofin(*RUN[:-1], "--output", "csv").stdout.splitlines()
    assert len(lines) == len(trades) + 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fail-below", "expectancy_r"), 2),
        (("--fail-below", "expectancy_r=nan"), 2),
        (("--fail-below", "expectancy_r=-inf"), 2),
        (("--fail-below", "expectancy_r=-1e999"), 2),
        (("--fail-below", "expectancy_r=1_0"), 2),
        (("--fail-below", "wealth=1"), 2),
        (("--report", "report.pdf"), 2),
        (("--compare", "bt-nothing"), 2),
        (("--draws", "-1"), 2),
        (("--set", "risk.per_trade_pct=5"), 2),
        (("--since", "2030-01-01"), 8),
    ],
)
def test_backtest_bad_input_is_refused(blofin, empty_folder, words, code):
    """One clear error, the right code, no file."""
    outcome = blofin(*RUN, *words)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert json.loads(outcome.stderr.strip().splitlines()[-1])["error"]["message"]
    assert not list(empty_folder.iterdir())


def test_analyze_without_a_saved_run_says_what_to_do(blofin):
    """Nothing saved is no defect."""
    outcome = blofin("analyze", "--output", "table")
    assert outcome.code == 2
    assert "--save" in outcome.stderr


@pytest.mark.process
def test_demo_writes_its_pictures(empty_folder):
    """The demo needs no key and no network, and leaves a chart and a report.

    As a program of its own, since here kernels are interpreted: that would take half a minute.
    """
    outcome = subprocess.run(
        [sys.executable, "-m", "blofin_cli", "demo", "--no-loop", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert sorted(path.name for path in (empty_folder / "blofin-demo").iterdir()) == [
        "report.html",
        "zones.html",
    ]
    assert found["backtest"]["verdict"]["status"] == "no_evidence"


@pytest.mark.parametrize(
    ("trades", "same", "code"),
    [(3, True, Exit.OK), (0, True, Exit.COMPARISON), (3, False, Exit.COMPARISON),
     (3, None, Exit.COMPARISON)],
)  # fmt: skip
def test_demo_whose_loop_did_not_do_its_work_is_no_success(trades, same, code):
    """It promises trades, decided as the replay decides; without the loop it promises neither."""
    session = RunResult.model_construct(trades=trades)
    assert DemoResult.model_construct(session=session, same_decisions=same).exit_code() is code
    assert DemoResult.model_construct(session=None, same_decisions=None).exit_code() is Exit.OK
