"""What really loads: a static graph cannot see it, so processes are started and asked."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "numpy", "numba", "pandas", "rich", "textual", "mcp", "httpx", "pydantic_settings", "talib",
    "pyarrow", "sqlite_utils", "scipy",
}  # fmt: skip

pytestmark = pytest.mark.process


def loaded_after(code: str) -> set[str]:
    """Top-level packages a fresh interpreter has loaded after running this code."""
    probe = f"{code}\nimport json, sys\nsys.stderr.write(json.dumps(list(sys.modules)))"
    outcome = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(outcome.stderr)}


def test_building_the_whole_command_line_loads_nothing_heavy():
    """Every command in full, and none of the heavy packages."""
    loaded = loaded_after(
        "from blofin_cli.faces.cli import application\n"
        "from blofin_cli.app import catalog\n"
        "application(set(catalog.index()))"
    )
    assert loaded.isdisjoint(HEAVY)


def test_help_loads_no_pydantic():
    """The help of the program is read, not built."""
    loaded = loaded_after("from blofin_cli.faces.cli import run\nassert run(['--help']) == 0")
    assert loaded.isdisjoint({*HEAVY, "pydantic", "asyncio"})


@pytest.mark.parametrize("words", [["guide"], ["guide", "--help"]])
def test_light_command_loads_nothing_heavy(words):
    """A command pays for what it uses."""
    loaded = loaded_after(f"from blofin_cli.faces.cli import run\nassert run({words}) == 0")
    assert loaded.isdisjoint(HEAVY)


@pytest.fixture
def state_file(own_home) -> None:
    """A state file that is there: the first to write makes it with sqlite-utils, and only once."""
    loaded_after("from blofin_cli.faces.cli import run\nassert run(['pause']) == 0")


@pytest.mark.usefixtures("state_file")
@pytest.mark.parametrize("words", [["status"], ["trades"], ["log"], ["runs"], ["pause"]])
def test_command_on_the_state_loads_no_settings(words):
    """Where the state lies is found without them; pandas, httpx and numba have no part in it."""
    loaded = loaded_after(f"from blofin_cli.faces.cli import run\nassert run({words}) == 0")
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.usefixtures("state_file")
@pytest.mark.parametrize("words", [["halt"], ["positions"], ["orders"], ["account"], ["config"]])
def test_command_of_a_dry_run_loads_settings_and_nothing_heavier(words):
    """No exchange is asked, so nothing that asks one is loaded."""
    loaded = loaded_after(f"from blofin_cli.faces.cli import run\nassert run({words}) == 0")
    assert loaded.isdisjoint(HEAVY - {"pydantic_settings"})


@pytest.mark.parametrize("module", ["blofin_cli", "blofin_cli.errors", "blofin_cli.core.market"])
def test_light_modules_stay_light(module):
    """The nouns load neither numpy nor pydantic."""
    assert loaded_after(f"import {module}").isdisjoint({*HEAVY, "pydantic", "typer"})
