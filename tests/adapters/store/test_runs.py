import json
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from blofin_cli.adapters.store import open_store
from blofin_cli.adapters.store.trail import ARGUMENTS_LENGTH_MAX
from blofin_cli.errors import ConfigError, DataError, UsageError
from blofin_cli.ports import RunSummary, Trial


def trial(config: str = "c1", data: str = "d0", sharpe: float = 0.05, at_ms: int = 1) -> Trial:
    return Trial(config_digest=config, data_digest=data, sharpe=sharpe, created_ms=at_ms)


def asked(path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_run_comes_back_as_it_was_saved(any_store, a_run):
    """Every field and every byte, whatever the bytes are."""
    run = a_run(result_json=bytes(range(256)) * 100, symbols=("BTC-USDT", "ETH-USDT"))
    assert any_store.save_run(run) is True
    assert any_store.run(run.run_id) == run


def test_result_is_stored_packed(store, a_run, path):
    """A backtest's JSON repeats itself; the file holds a fraction of it."""
    result = json.dumps([{"entry_price": 1.5, "exit_price": 2.5}] * 1_000).encode()
    store.save_run(a_run(result_json=result))
    [(size,)] = asked(path, "select length(result) from runs")
    assert size < len(result) / 20


def test_saving_twice_keeps_the_first(any_store, a_run):
    """The same inputs have the same id: the second time nothing changes, and the answer says so."""
    first = a_run()
    assert any_store.save_run(first) is True
    assert any_store.save_run(replace(first, created_ms=9, result_json=b"{}")) is False
    assert any_store.run(first.run_id) == first


def test_metric_that_is_not_finite_is_refused(store, a_run, path):
    """NaN never reaches the state file."""
    with pytest.raises(DataError, match="not finite"):
        store.save_run(a_run(metrics={"sharpe": float("nan")}))
    assert not path.exists()


def test_list_is_newest_first_and_bounded(any_store, a_run):
    """Newest first; among runs of one moment the one saved last comes first."""
    for number, at_ms in enumerate((5, 9, 9, 1)):
        any_store.save_run(a_run(f"bt-{number}", created_ms=at_ms))
    assert [run.run_id for run in any_store.runs()] == ["bt-2", "bt-1", "bt-0", "bt-3"]
    assert [run.run_id for run in any_store.runs(limit=2)] == ["bt-2", "bt-1"]
    assert type(any_store.runs()[0]) is RunSummary


def test_list_filters_by_kind_and_any_symbol(any_store, a_run):
    """A run is listed when it holds at least one of the symbols; kinds do not mix."""
    any_store.save_run(a_run("bt-a", symbols=("BTC-USDT", "ETH-USDT")))
    any_store.save_run(a_run("bt-b", symbols=("SOL-USDT",)))
    any_store.save_run(a_run("se-c", kind="session", symbols=("ETH-USDT",)))

    def ids(**filters: Any) -> set[str]:
        return {run.run_id for run in any_store.runs(**filters)}

    assert ids(symbols=["ETH-USDT"]) == {"bt-a", "se-c"}
    assert ids(symbols=["ETH-USDT", "SOL-USDT"], kind="backtest") == {"bt-a", "bt-b"}
    assert ids(symbols=["ETH"]) == set()
    assert ids(kind="study") == set()
    assert ids(symbols=[]) == {"bt-a", "bt-b", "se-c"}


def test_last_run_is_the_newest_of_its_series(any_store, a_run):
    """Only runs of the same kind and series are comparable."""
    any_store.save_run(a_run("bt-old", created_ms=1))
    any_store.save_run(a_run("bt-new", created_ms=2))
    any_store.save_run(a_run("bt-other", created_ms=3, series="another"))
    any_store.save_run(a_run("se-same", created_ms=4, kind="session"))
    found = any_store.last_run("backtest", a_run().series)
    assert found is not None
    assert found.run_id == "bt-new"
    assert any_store.last_run("study", a_run().series) is None


def test_start_of_an_id_is_enough_if_only_one_begins_so(any_store, a_run):
    """A whole id wins over the longer ids that begin with it."""
    for run_id in ("bt-1", "bt-12", "bt-2f"):
        any_store.save_run(a_run(run_id))
    assert any_store.run("bt-2").run_id == "bt-2f"
    assert any_store.run("bt-1").run_id == "bt-1"
    with pytest.raises(UsageError, match="more than one") as caught:
        any_store.run("bt")
    assert "bt-12" in caught.value.hint


@pytest.mark.parametrize("run_id", ["bt-2%", "bt_2f", "", "bt-2f' or 1=1", "bt-\udcff", "x" * 200])
def test_odd_id_is_wrong_usage(any_store, a_run, run_id):
    """No wildcard, no code and no bytes of a terminal in an id."""
    any_store.save_run(a_run("bt-2f"))
    with pytest.raises(UsageError):
        any_store.run(run_id)


def test_unknown_id_names_the_nearest(any_store, a_run):
    """A misspelt id is answered with the one that was meant."""
    with pytest.raises(UsageError, match="none is saved"):
        any_store.run("bt-1f00")
    any_store.save_run(a_run("bt-1f00"))
    with pytest.raises(UsageError) as caught:
        any_store.run("bt-1e00")
    assert caught.value.hint == "did you mean bt-1f00?"


def test_trials_are_counted_on_a_server_too(any_store):
    """Whatever keeps them, a repeat is no new trial."""
    any_store.record_trial(trial("c2", sharpe=0.2, at_ms=5))
    any_store.record_trial(trial("c1", sharpe=-0.1))
    any_store.record_trial(trial("c2", sharpe=0.9, at_ms=7))
    assert any_store.trial_sharpes("d0") == [-0.1, 0.2]


def test_trial_is_counted_once_for_each_configuration_and_data(store, path):
    """A repeat is no new trial; the first Sharpe ratio stays."""
    store.record_trial(trial("c2", sharpe=0.2, at_ms=5))
    store.record_trial(trial("c1", sharpe=-0.1))
    store.record_trial(trial("c2", sharpe=0.9, at_ms=7))
    store.record_trial(trial("c1", data="d1", sharpe=0.4))
    assert store.trial_sharpes("d0") == [-0.1, 0.2]
    assert store.trial_sharpes("none") == []
    assert asked(path, "select times, first_ms, last_ms from trials where sharpe = 0.2") == [
        (2, 5, 7)
    ]


@pytest.mark.parametrize("sharpe", [float("nan"), float("inf")])
def test_trial_without_a_number_is_refused(store, sharpe, path):
    """Unknown is not a trial's result."""
    with pytest.raises(DataError):
        store.record_trial(trial(sharpe=sharpe))
    assert not path.exists()


@dataclass(frozen=True)
class Entry:
    """Like the entry that the gate makes."""

    ts_ms: int = 1
    face: str = "cli"
    command: str = "backtest"
    effect: str = "write"
    arguments: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


def test_audit_rows_are_appended_and_bounded(store, path):
    """Equal entries are two rows; arguments of megabytes are counted, not kept."""
    store.append_audit(Entry(arguments={"symbol": ["BTC-USDT"]}))
    store.append_audit(Entry(arguments={"symbol": ["BTC-USDT"]}))
    store.append_audit(Entry(arguments={"note": "x" * ARGUMENTS_LENGTH_MAX}))
    rows = asked(path, "select command, arguments, outcome from audit order by id")
    assert rows[0] == rows[1] == ("backtest", '{"symbol": ["BTC-USDT"]}', "ok")
    assert list(json.loads(rows[2][1])) == ["omitted_characters"]


@pytest.mark.parametrize("packed", [b"not packed", zlib.compress(b"{}" * 999)[:-6]])
def test_damaged_result_is_bad_data(store, a_run, path, packed):
    """A result that does not unpack to its end is never handed out."""
    store.save_run(a_run())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update runs set result = ?", (packed,))
    with pytest.raises(DataError, match="damaged"):
        store.run("bt-1f00")
    assert len(store.runs()) == 1


def test_damaged_metrics_are_bad_data(store, a_run, path):
    """A row that is not JSON is not taken for an empty one."""
    store.save_run(a_run())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update runs set metrics = '{'")
    with pytest.raises(DataError, match="damaged"):
        store.runs()


def test_reading_nothing_creates_nothing(store, path):
    """A command that only looks leaves no file and no folder."""
    assert store.runs() == []
    assert store.trial_sharpes("d0") == []
    assert store.last_run("backtest", "any") is None
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "location", ["mysql://me:secret@host/db", "postgresql://h:secret@x y/?z", "sqlite:///x.db", ""]
)
def test_location_that_is_no_file_is_a_matter_of_configuration(location):
    """Neither a path nor a server that could be reached; its password is not repeated."""
    with pytest.raises(ConfigError) as caught:
        open_store(location)
    assert "secret" not in str(caught.value.envelope())


LISTING = """
import sys
from blofin_cli.adapters.store import open_store
from blofin_cli.ports import Trial
store = open_store(sys.argv[1])
assert [run.run_id for run in store.runs()] == ["bt-1f00"]
assert store.run("bt").result_json and store.last_run("backtest", "none") is None
store.record_trial(Trial(config_digest="c", data_digest="d", sharpe=0.1, created_ms=2))
heavy = {"numpy", "pandas", "sqlite_utils", "pydantic", "filelock", "asyncio"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""

SAVING = """
import sys
from blofin_cli.adapters.store.schema import wrapped
import sqlite3
wrapped(sqlite3.connect(":memory:"))
assert "sqlite_utils" in sys.modules
assert "pandas" not in sys.modules
import pandas
"""


@pytest.mark.process
def test_reading_and_entering_a_trial_load_nothing_heavy(store, a_run, path):
    """`runs` must start in a quarter of a second, and a trial may not slow a backtest."""
    store.save_run(a_run())
    command = [sys.executable, "-c", LISTING, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.process
def test_saving_loads_no_pandas_and_leaves_it_loadable():
    """sqlite-utils would bring pandas along, 0.7 s for one column type."""
    subprocess.run([sys.executable, "-c", SAVING], check=True)
