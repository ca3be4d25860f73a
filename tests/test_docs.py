"""Documentation under test: what it promises exists, and what exists is in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blofin_cli.app import catalog
from blofin_cli.app.settings import Settings
from blofin_cli.errors import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = ROOT / "blofin_cli" / "guides"


@pytest.mark.process
def test_reference_is_fresh():
    """The page is made from the registry; scripts/fix remakes it."""
    outcome = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr


def test_reference_names_every_command_and_option():
    """Nothing a user can type is undocumented."""
    page = (GUIDES / "reference.md").read_text(encoding="utf-8")
    for spec in catalog.load_all().values():
        section = page.partition(f"\n## {spec.name}\n")[2].partition("\n## ")[0]
        for option in spec.options():
            assert f"`{option.name}" in section, f"{spec.name} {option.name}"


def test_guide_names_every_exit_code():
    """A script can rely on what the guide says."""
    guide = (GUIDES / "cli.md").read_text(encoding="utf-8")
    assert all(f"| {code.value} |" in guide for code in Exit)


def test_readme_names_the_scripts():
    """The first two commands of a newcomer."""
    assert "scripts/demo" in README
    assert "scripts/test" in README


def test_readme_names_its_departures_and_its_verdict():
    """Where we differ from the brief, and what the numbers say, stands on the first page."""
    assert "## Departures" in README
    assert "no evidence of an edge" in README


@pytest.mark.parametrize("name", ["setup", "demo", "test", "check", "fix", "bench"])
def test_script_can_be_run(name):
    """Each script is there and executable."""
    assert os.access(ROOT / "scripts" / name, os.X_OK)


def test_ci_runs_what_the_readme_says():
    """One way to test, for people and machines."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("exec scripts/test")


def test_changelog_has_an_unreleased_section():
    """Keep a Changelog."""
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_readme_commands_exist():
    """Every `blofin NAME` in the README's code is a command."""
    code = "\n".join(re.findall(r"```\w*\n(.*?)```", README, re.DOTALL))
    named = set(re.findall(r"^\$? ?blofin ([a-z]\w*)", code, re.MULTILINE))
    assert named <= set(catalog.index())


def test_every_setting_is_described():
    """A setting is a typed field with its sentence."""
    assert all(field.description for field in Settings.model_fields.values())
