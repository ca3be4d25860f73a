"""Commands that open another face: found by the table in `__main__`, judged like every other."""

import json
from types import ModuleType

import pytest

from blofin_cli.__main__ import FACES
from blofin_cli.faces.cli import run


@pytest.fixture
def opened(monkeypatch) -> list:
    """What a face was opened with; the face is a module of the test's own."""
    import sys

    seen: list = []
    module = ModuleType("face_of_the_test")
    module.open_face = lambda request, context: seen.append((request, context)) or 7
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


def test_face_gets_the_validated_request_and_its_code_is_the_exit_code(opened, capsys):
    """A face is handed what `invoke` would have been handed, and nothing is printed for it."""
    code = run(["dash", "btcusdt", "--state", "x.db"], {"dash": "face_of_the_test"})
    request, context = opened[0]
    assert (code, request.symbol, context.state_override) == (7, "BTC-USDT", "x.db")
    assert capsys.readouterr() == ("", "")


def test_wrong_option_of_a_face_is_refused_before_it_opens(opened, capsys):
    """The same rule and envelope as for every command."""
    code = run(["dash", "--refresh-ms", "5", "--json"], {"dash": "face_of_the_test"})
    assert (code, opened) == (2, [])
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage"


def test_help_of_a_face_opens_nothing(opened, capsys):
    """Help is help."""
    assert run(["dash", "--help"], {"dash": "face_of_the_test"}) == 0
    assert not opened
    assert "Usage: blofin dash" in capsys.readouterr().out


def test_dash_without_a_terminal_says_so(capsys):
    """A pipe gets an error and the command that answers it, never escape sequences."""
    assert run(["dash"], FACES) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "needs a terminal" in err
