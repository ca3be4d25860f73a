"""`blofin config`: what is in force, and every way to change it."""

import asyncio
import json
from pathlib import Path

import pytest

from blofin_cli.app import catalog, config, keys
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.errors import RefusedError


@pytest.fixture(autouse=True)
def own_folders(empty_folder):
    config._folders.cache_clear()
    yield
    config._folders.cache_clear()


def answer(outcome):
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def rows(blofin, *words) -> dict:
    return {row["key"]: row for row in answer(blofin("config", "show", *words))["settings"]}


def test_show_names_value_origin_and_meaning(blofin, monkeypatch):
    """Every setting in force, where it came from, and what it is for."""
    Path("blofin.toml").write_text("[strategy.stop]\nbuf = 1.0\n[web]\nport = 9000\n")
    monkeypatch.setenv("BLOFIN_MCP__ENTRIES_DAY", "3")
    found = rows(blofin)
    assert (found["web.port"]["value"], found["web.port"]["origin"]) == (9000, "blofin.toml")
    assert (found["mcp.entries_day"]["value"], found["mcp.entries_day"]["origin"]) == (
        3,
        "environment",
    )
    assert found["strategy.stop.buf"]["value"] == 1.0
    assert found["guard.on_stale"]["origin"] == "default"
    assert all(row["about"] for row in found.values())
    assert set(rows(blofin, "web")) == {key for key in found if key.startswith("web.")}


def test_show_hides_secrets(blofin, monkeypatch):
    """A secret setting is stars in every format."""
    monkeypatch.setenv("BLOFIN_NOTIFY__URLS", "tgram://canary")
    monkeypatch.setenv("BLOFIN_WEB__PASSWORD_HASH", "canary")
    monkeypatch.setenv("BLOFIN_API__SECRET", "canary")
    for form in ("json", "table", "csv", "ndjson"):
        outcome = blofin("config", "show", "--output", form)
        assert "canary" not in outcome.stdout + outcome.stderr
        assert "****" in outcome.stdout


def test_set_and_unset_change_one_line(blofin):
    """`config set` is validated, kept, and said; `unset` takes it back."""
    Path("blofin.toml").write_text("# mine\n")
    found = answer(blofin("config", "set", "web.port", "9000"))
    assert found["settings"][0]["value"] == 9000
    assert found["file"] == str(Path("blofin.toml").resolve())
    assert rows(blofin)["web.port"]["origin"] == "blofin.toml"
    answer(blofin("config", "unset", "web.port"))
    assert rows(blofin)["web.port"]["origin"] == "default"


def test_unset_takes_out_a_name_that_is_not_known(blofin):
    """What stops a file from loading can be taken out; a known name that is not there is fine."""
    Path("blofin.toml").write_text("[web]\nprot = 1\n")
    assert blofin("config", "show").code == 4
    answer(blofin("config", "unset", "web.prot"))
    answer(blofin("config", "unset", "web.port"))
    assert rows(blofin)["web.port"]["origin"] == "default"


def test_status_works_with_broken_settings_and_says_so(blofin, monkeypatch):
    """Whoever looks after a session is told what is wrong, and sees it all the same."""
    monkeypatch.setenv("BLOFIN_WEB__PRT", "1")
    outcome = blofin("status")
    assert answer(outcome)["state"] == "none"
    assert "unknown setting BLOFIN_WEB__PRT in environment" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_set_says_when_a_nearer_source_decides(blofin, monkeypatch):
    """A change that has no effect is told as such."""
    monkeypatch.setenv("BLOFIN_WEB__PORT", "7000")
    found = answer(blofin("config", "set", "web.port", "9000"))
    assert "environment is nearer" in found["note"]
    assert found["settings"][0]["value"] == 7000


def test_init_writes_a_commented_file_once(blofin):
    """What it writes loads; what is there is left as it is."""
    found = answer(blofin("config", "init"))
    assert found["file"] == str(config.user_config_folder() / "blofin.toml")
    assert rows(blofin)["web.port"]["origin"] == "default"
    again = blofin("config", "init")
    assert (again.code, "there already" in again.stderr) == (4, True)
    assert answer(blofin("config", "init", "--project"))["file"] == "blofin.toml"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set", "web.port"), 2, "config set NAME VALUE"),
        (("set",), 2, "config set NAME VALUE"),
        (("show", "web", "1"), 2, "config set NAME VALUE"),
        (("show", "wbe"), 2, "no setting is called"),
        (("set", "web.prot", "1"), 2, "did you mean web.port?"),
        (("set", "web.port", "70000"), 2, "65535"),
        (("set", "web.port", "abc"), 2, "must be a whole number"),
        (("set", "mcp.risk_day_pct", "nan"), 2, "must be a plain number like 0.05"),
        (("set", "strategy.stop.buf", "nan"), 2, "stop.buf"),
        (("set", "strategy.stop.buf", "--", "-3"), 2, "stop.buf must be from"),
        (("set", "sim_url", "http://evil.example:80"), 2, "must be http://127.0.0.1:PORT"),
        (("unset", "nosuch"), 2, "unknown setting nosuch"),
        (("unset", "web.prot"), 2, "did you mean web.port?"),
        (("unset", "strategy.stop.buff"), 2, "did you mean stop.buf?"),
        (("key", "dmo"), 2, "no account is called"),
        (("key", "demo"), 3, "keys.toml"),
        (("key", "demo", "canary"), 2, "never typed as an argument"),
        (("set", "api.secret", "canary"), 2, "never typed as an argument"),
        (("set", "notify.urls", "canary"), 2, "never typed as an argument"),
        (("set", "web.password_hash", "canary"), 2, "never typed as an argument"),
    ],
)
def test_bad_change_is_refused(blofin, own_home, words, code, said):
    """One line, the right code, nothing written, and no secret kept anywhere."""
    outcome = blofin("config", *words)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert said in outcome.stderr
    assert "canary" not in outcome.stderr
    kept = [path.read_bytes() for path in own_home.rglob("*") if path.is_file()]
    assert not any(b"canary" in data for data in kept)
    assert not Path("blofin.toml").exists()


def test_key_is_asked_for_unseen_and_stored():
    """In a terminal the three parts are asked for one by one; only the place is told."""
    asked = []

    def secret(question: str) -> str:
        asked.append(question)
        return f"canary-{len(asked)}"

    context = Context(face="cli", secret=secret)
    result = asyncio.run(invoke(catalog.load("config"), {"action": "key", "name": "demo"}, context))
    assert asked == ["demo key", "demo secret", "demo passphrase"]
    assert keys.credentials("demo").secret == "canary-2"
    assert "canary" not in str(result)


@pytest.mark.parametrize("action", ["set", "unset", "init", "key"])
def test_agent_cannot_change_settings(action):
    """Over MCP the settings can be read and nothing else."""
    words = {"action": action, "name": None if action == "init" else "mcp.allow_trading"}
    words |= {"value": "true"} if action == "set" else {}
    context = Context(face="mcp", consent=True)
    with pytest.raises(RefusedError, match="agent"):
        asyncio.run(invoke(catalog.load("config"), words, context))
