"""Documentation under test: what it promises exists, and what exists is in it."""

import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from blofin_cli.app import catalog
from blofin_cli.app.settings import Settings
from blofin_cli.core.strategy import Filters, Strategy, flatten
from blofin_cli.errors import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = ROOT / "blofin_cli" / "guides"
PAGES = {path.name: path for path in [ROOT / "README.md", *sorted(GUIDES.glob("*.md"))]}
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_shows_what_the_program_says_today(name):
    """Generated pages, tables and every `console` block are fresh; scripts/fix remakes them."""
    outcome = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check", name],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_links_to_what_exists(name):
    """A link in a guide leads to a page, and to a heading on it."""
    for target in LINK.findall(PAGES[name].read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            page = (PAGES[name].parent / path) if path else PAGES[name]
            assert page.is_file(), target
            assert not heading or heading in _headings(page), target


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", sorted({*PAGES} - {"README.md"}))
def test_guide_opens_with_a_title_and_a_paragraph(name):
    """`blofin guide` lists the title; the first paragraph says who needs the page."""
    title, blank, first, *_ = PAGES[name].read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert (blank, first[:1].isalpha()) == ("", True)


def test_readme_links_every_guide():
    """Nothing is written that nobody finds."""
    linked = set(LINK.findall(README))
    assert {f"blofin_cli/guides/{path.name}" for path in GUIDES.glob("*.md")} <= linked


def test_strategy_guide_names_every_parameter():
    """Each parameter stands in the guide by the name that --set takes."""
    guide = (GUIDES / "strategy.md").read_text(encoding="utf-8")
    named = {
        name.removesuffix(".mode") if _is_switch(name) else name for name in flatten(Strategy())
    }
    missing = [name for name in named if f"`{name}`" not in guide and f"--set {name}=" not in guide]
    assert not missing


def _is_switch(name: str) -> bool:
    head, _, rest = name.partition(".")
    owner = getattr(Filters(), rest.removesuffix(".mode"), None)
    return head == "filters" and rest.endswith(".mode") and is_dataclass(owner)


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
