"""`blofin mcp install` and `inspect`: the words a person types before an agent ever connects."""

import json
import sys

import pytest

from blofin_cli.__main__ import FACES
from blofin_cli.faces.cli import run

PATHS = {
    "cursor": ".cursor/mcp.json",
    "claude": ".config/Claude/claude_desktop_config.json",
}


@pytest.fixture
def blofin(capsys):
    """A command line with the faces of the program: code, stdout, stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = run(list(words), FACES)
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return call


@pytest.mark.skipif(sys.platform != "linux", reason="the paths of Linux")
@pytest.mark.parametrize("client", sorted(PATHS))
def test_install_adds_one_entry_and_keeps_the_others(client, blofin, own_home):
    """Absolute command, no secret; what was in the file stays."""
    path = own_home / PATHS[client]
    path.parent.mkdir(parents=True)
    path.write_text('{"mcpServers": {"other": {"command": "x"}}, "theme": "dark"}')
    code, out, _ = blofin("mcp", "install", client, "--json")
    whole = json.loads(path.read_text())
    assert (code, json.loads(out)["written"]) == (0, True)
    assert whole["theme"] == "dark"
    assert whole["mcpServers"]["other"] == {"command": "x"}
    assert whole["mcpServers"]["blofin"] == {
        "command": sys.executable, "args": ["-m", "blofin_cli", "mcp"],
    }  # fmt: skip
    assert blofin("mcp", "install", client)[0] == 0  # a second time changes nothing
    assert json.loads(path.read_text()) == whole


def test_install_for_vscode_writes_into_the_project(blofin, empty_folder):
    """`.vscode/mcp.json` of the folder, under the word VS Code uses, with the options chosen."""
    blofin("mcp", "install", "vscode", "--allow-trading", "--toolset", "research")
    server = json.loads((empty_folder / ".vscode" / "mcp.json").read_text())["servers"]["blofin"]
    assert server["type"] == "stdio"
    assert server["args"][-3:] == ["--toolset", "research", "--allow-trading"]


def test_entry_starts_the_server_on_the_state_that_was_named(blofin, empty_folder):
    """From any folder, since the client starts it in one of its own."""
    code, out, _ = blofin("mcp", "install", "cursor", "--state", "mine.db", "--json")
    server = json.loads(out)["configuration"]["mcpServers"]["blofin"]
    assert (code, server["args"][-2:]) == (0, ["--state", str(empty_folder / "mine.db")])


@pytest.mark.parametrize("words", [["--http"], ["--port", "8790"], ["--token-file", "t"]])
def test_options_of_another_transport_are_refused_by_name(words, blofin, own_home):
    """A client speaks stdio with what it starts, so such an entry would never answer."""
    code, _, err = blofin("mcp", "install", "cursor", *words, "--json")
    assert (code, words[0] in json.loads(err)["error"]["message"]) == (2, True)
    assert not (own_home / ".cursor").exists()


def test_linked_configuration_stays_a_link(blofin, own_home, tmp_path):
    """Who keeps the file elsewhere finds the entry there."""
    real, link = tmp_path / "dotfiles.json", own_home / PATHS["cursor"]
    real.write_text("{}")
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert blofin("mcp", "install", "cursor")[0] == 0
    assert link.is_symlink()
    assert "blofin" in json.loads(real.read_text())["mcpServers"]


def test_print_writes_nothing(blofin, own_home):
    """For whoever keeps the file by hand."""
    code, out, _ = blofin("mcp", "install", "cursor", "--print", "--json")
    assert code == 0
    assert json.loads(out)["configuration"]["mcpServers"]["blofin"]["command"]
    assert not (own_home / ".cursor").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}', "\x00"])
def test_file_that_is_no_configuration_is_left_alone(text, blofin, own_home):
    """Somebody else's file is never overwritten because we cannot read it."""
    path = own_home / PATHS["cursor"]
    path.parent.mkdir(parents=True)
    path.write_text(text)
    code, _, err = blofin("mcp", "install", "cursor", "--json")
    assert (code, path.read_text()) == (4, text)
    assert json.loads(err)["error"]["code"] == "config"


@pytest.mark.parametrize(
    "words", [["install"], ["inspect", "cursor"], ["serve", "cursor"], ["install", "emacs"]]
)
def test_client_belongs_to_install(words, blofin):
    """A client without install, or install without one, is a wrong command line."""
    assert blofin("mcp", *words, "--json")[0] == 2


def test_inspect_lists_the_tools_with_their_cost(blofin):
    """One row a tool; the sum is what an agent pays before it does anything."""
    code, out, _ = blofin("mcp", "inspect", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["tokens"] <= 6000
    assert {"detect_zones", "run_backtest"} <= {row["tool"] for row in found["tools"]}
    assert abs(sum(row["tokens"] for row in found["tools"]) - found["tokens"]) <= len(
        found["tools"]
    )
    assert blofin("mcp", "inspect", "--output", "csv")[1].startswith("tool,")


def test_settings_choose_what_is_offered(blofin, monkeypatch):
    """`mcp.toolset` and `mcp.allow_trading` hold when nothing is typed."""
    monkeypatch.setenv("BLOFIN_MCP__TOOLSET", "research")
    tools = {row["tool"] for row in json.loads(blofin("mcp", "inspect", "--json")[1])["tools"]}
    assert "get_config" in tools
    typed = blofin("mcp", "inspect", "--toolset", "default", "--json")[1]
    assert "get_config" not in {row["tool"] for row in json.loads(typed)["tools"]}
