"""The trade journal and the care for the state, as a person types them."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.app.commands.journal import LogLine, LogResult
from blofin_cli.faces.render import Format, to_text
from tests.adapters.store.samples import (
    ACCOUNT,
    NOW_MS,
    SESSION,
    WIDE,
    fill,
    intent,
    session,
    trade,
)


@pytest.fixture
def state(tmp_path):
    """A state of three trades: two R won in BTC, one R lost and nothing in ETH."""
    path = tmp_path / "state.db"
    journal = open_journal(str(path))
    journal.open_session(session())
    journal.reserve(intent(), WIDE)
    journal.book_fills(ACCOUNT, SESSION, [fill()])
    eth = {"symbol": "ETH-USDT", "zone_id": "z2", "run_id": "se-2"}
    lost = {"pnl_usdt": -5.0, "r_multiple": -1.0, "exit_reason": "stop", "exit_ms": NOW_MS + 1}
    for made in (
        trade("tr-won"),
        trade("tr-lost", **eth, **lost),
        trade("tr-even", **eth, pnl_usdt=0.0, r_multiple=0.0, exit_ms=NOW_MS + 60_000),
    ):
        journal.save_trade(ACCOUNT, made)
    return str(path)


@pytest.fixture
def answer(blofin, state):
    """The JSON of a command on that state, which ends with this code."""

    def ask(*words: str, code: int = 0):
        outcome = blofin(*words, "--state", state, "--json")
        assert outcome.code == code, outcome.stderr
        return json.loads(outcome.stdout) if code in {0, 10} else json.loads(outcome.stderr)

    return ask


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), "even lost won"),
        (("--symbol", "ethusdt"), "even lost"),
        (("--outcome", "win"), "won"),
        (("--outcome", "loss"), "even lost"),
        (("--min-r", "0"), "even won"),
        (("--max-r", "-0.5"), "lost"),
        (("--zone", "z2"), "even lost"),
        (("--reason", "stop"), "lost"),
        (("--session", "se-1"), "won"),
        (("--until", "2023-11-14T22:14"), "lost won"),
        (("--since", "2023-11-14T22:14"), "even"),
        (("--limit", "1"), "even"),
        (("--tag", "x"), ""),
    ],
)
def test_trades_are_filtered(answer, words, ids):
    """Newest first; nothing won is no win; the sums are those of what is shown."""
    found = answer("trades", *words)
    assert [item["id"].removeprefix("tr-") for item in found["trades"]] == ids.split()
    assert found["count"] == len(ids.split())
    assert found["net_r"] == sum(item["r_multiple"] for item in found["trades"])


def test_span_the_wrong_way_round_is_wrong_usage(answer):
    """Nothing is after two days ago and before five days ago; that is said."""
    error = answer("trades", "--since", "2d", "--until", "5d", code=2)["error"]
    assert error["message"] == "--since is not before --until"


def test_note_is_seen_at_eighty_columns():
    """The id of a live trade is 32 digits; a start of it is shown, and the note beside it."""
    line = LogLine(
        ts_ms=NOW_MS,
        symbol="1000PEPE-USDT",
        trade="9a9df02047fa4c91eed52cde925b2865",
        r_multiple=-1.0,
        tags=("review", "late"),
        note="chased the entry after three losses, see https://example.org/journal/2026-11",
    )
    table = to_text(LogResult(notes=[line]), Format.TABLE, width=80)
    assert "chased the entry" in table
    assert "9a9df020" in table
    assert "9a9df0204" not in table


def test_trades_of_an_unknown_session_are_wrong_usage(answer):
    """A misspelt id is not an empty answer."""
    assert answer("trades", "--session", "nope", code=2)["error"]["code"] == "usage"


def test_note_is_kept_and_listed(answer):
    """A start of the id is enough; the note and its tag come back with the trade."""
    answer("log", "note", "tr-w", "chased the entry", "--tag", "review", "--tag", "late")
    [found] = answer("log")["notes"]
    assert (found["trade"], found["note"], found["tags"]) == (
        "tr-won",
        "chased the entry",
        ["review", "late"],
    )
    assert [item["id"] for item in answer("trades", "--tag", "late")["trades"]] == ["tr-won"]


@pytest.mark.parametrize(
    "words",
    [
        ("note",),
        ("note", "tr-won"),
        ("note", "tr", "x"),
        ("audit", "tr-won"),
        ("list", "x"),
        ("add",),
        ("add", "a", "b"),
        ("add", ""),
        ("add", " "),
        ("note", "tr-won", "x", "--symbol", "BTC-USDT"),
    ],
)
def test_note_needs_a_trade_and_a_text(answer, words):
    """Half a note, or one where none belongs, changes nothing."""
    assert answer("log", *words, code=2)["error"]["code"] == "usage"
    assert answer("log")["notes"] == []


def test_entry_of_its_own_is_the_text(answer):
    """The only word of `add` is kept as its text and judged as that."""
    answer("log", "add", "news at 14:30")
    assert [line["note"] for line in answer("log")["notes"]] == ["news at 14:30"]
    assert "TEXT must have at most" in answer("log", "add", "x" * 5000, code=2)["error"]["message"]


@pytest.mark.parametrize(
    "note", ["=HYPERLINK(1)", "@SUM(A1)", "-1+1", "+1", "'; drop table trades"]
)
def test_csv_of_a_note_is_no_formula(blofin, answer, state, note):
    """What a spreadsheet would run is escaped in CSV and literal in JSON."""
    assert blofin("log", "--state", state, "note", "tr-won", "--", note).code == 0
    out = blofin("log", "--state", state, "--output", "csv").stdout
    cell = out.splitlines()[1].rpartition(",")[2]
    assert cell == (note if note.startswith("'") else "'" + note)
    assert answer("log")["notes"][0]["note"] == note


def test_audit_trail_names_who_did_what(answer):
    """A note leaves a row; looking leaves none; the chain is whole."""
    answer("log", "note", "tr-won", "x")
    answer("trades")
    [row] = answer("log", "audit")["audit"]
    assert (row["face"], row["command"], row["effect"], row["outcome"]) == (
        "cli",
        "log",
        "write",
        "ok",
    )
    verified = answer("log", "verify")
    assert (verified["audit_rows"], verified["broken_at"]) == (1, None)
    assert verified["audit_hash"] == row["hash"]


@pytest.mark.parametrize(
    "change",
    ["update audit set outcome = 'x' where id = 2", "delete from audit where id = 2"],
)
def test_trail_that_was_changed_is_told(answer, state, change):
    """Whoever gets past the triggers breaks the chain: exit 10, and from which row on."""
    for number in range(3):
        answer("log", "note", "tr-won", str(number))
    with closing(sqlite3.connect(state)) as connection, connection:
        for name in ("rows", "words"):
            connection.execute(f"drop trigger audit_keeps_{name}")
        connection.execute(change)
    assert answer("log", "verify", code=10)["broken_at"] in {2, 3}
    assert "audit trail" in answer("state", "verify", code=10)["problems"][0]


def test_state_that_is_whole_is_told_with_its_counts(answer):
    """Every kind of record is counted, and nothing is wrong."""
    found = answer("state")
    assert found["problems"] == []
    assert {name: found["counts"][name] for name in ("trades", "intents", "fills", "halts")} == {
        "trades": 3, "intents": 1, "fills": 1, "halts": 0,
    }  # fmt: skip


def test_state_that_is_not_there_is_told(blofin, empty_folder, monkeypatch):
    """One that was named is a wrong path; the default one has only not begun."""
    found = json.loads(blofin("state", "verify").stdout)
    assert (found["problems"], found["note"]) == ([], "nothing is there yet")
    named = blofin("state", "verify", "--state", "nosuch.db")
    assert (named.code, "no state at nosuch.db" in named.stderr) == (2, True)
    assert blofin("state", "export", "--state", "nosuch.db").code == 2
    monkeypatch.setenv("BLOFIN_STATE", "nosuch.db")
    assert blofin("state", "verify").code == 2
    assert not list(empty_folder.iterdir())


def test_record_that_cannot_be_read_is_named(answer, state):
    """A whole database may hold a row that nobody can read."""
    with closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("update trades set document = '{}' where trade_id = 'tr-lost'")
        connection.execute("update intents set document = replace(document, 'entry', 'wish')")
    problems = answer("state", "verify", code=10)["problems"]
    assert len(problems) == 2
    assert any("tr-lost" in problem for problem in problems)
    assert "tr-lost" in answer("trades", code=8)["error"]["message"]


def test_export_holds_every_record(answer, state, tmp_path):
    """One line of JSON each, to a private file or to stdout; a file is never replaced."""
    target = tmp_path / "all.jsonl"
    answer("state", "export", str(target))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert sorted(line["table"] for line in lines) == [
        "fills", "intents", "sessions", "trades", "trades", "trades",
    ]  # fmt: skip
    assert {line["record"]["id"] for line in lines if line["table"] == "trades"} == {
        "tr-won", "tr-lost", "tr-even",
    }  # fmt: skip
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    answer("state", "export", str(target), code=3)
    shown = answer("state", "export")["records"]
    assert len(shown) == len(lines) + 2  # the two exports to a file left audit rows


def test_backup_is_a_state_of_its_own(blofin, answer, tmp_path):
    """A copy of everything, in one private file, that opens in place of the state."""
    target = tmp_path / "copy.db"
    answer("state", "backup", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(item.name for item in tmp_path.glob("*copy*")) == ["copy.db"]
    found = json.loads(blofin("trades", "--state", str(target), "--json").stdout)
    assert found["count"] == 3
    before = target.read_bytes()
    answer("state", "backup", str(target), code=3)
    assert target.read_bytes() == before


def test_backup_into_a_folder_that_is_not_there_is_told(answer, tmp_path):
    """The folder is named by mistake, not made."""
    answer("state", "backup", str(tmp_path / "none" / "copy.db"), code=8)
    assert not (tmp_path / "none").exists()


def test_backup_of_nothing_is_refused(blofin, tmp_path):
    """An empty copy would look like a safe one."""
    outcome = blofin("state", "backup", str(tmp_path / "b.db"), "--state", str(tmp_path / "s.db"))
    assert outcome.code == 3
    assert list(tmp_path.glob("*b.db*")) == []


def test_damaged_state_names_the_way_out(blofin, state):
    """Whoever opens a damaged state is told what to do with it, and it stays as it is."""
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    with Path(state).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (Path(state).stat().st_size - 4096))
    for words in (("trades",), ("log",), ("state", "verify")):
        outcome = blofin(*words, "--state", state, "--json")
        assert outcome.code in {8, 10}
        assert "backup" in outcome.stderr
        assert "exchange" in outcome.stderr
