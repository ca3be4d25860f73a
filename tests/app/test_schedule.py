"""`blofin schedule` edits a crontab, here a fake one; `blofin service` writes units."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from blofin_cli.app.context import Context

FAKE = """#!/bin/sh
# A crontab program that keeps its text in a file beside itself.
file="$(dirname "$0")/table"
case "$1" in
    -l) [ -f "$file" ] && exec cat "$file"; echo "no crontab for me" >&2; exit 1 ;;
    -) [ -f "$(dirname "$0")/refuse" ] && { echo "bad minute" >&2; exit 1; }; exec cat > "$file" ;;
esac
exit 2
"""


@pytest.fixture
def table(tmp_path, monkeypatch) -> Path:
    """The file behind a fake crontab that is the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "crontab"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder / "table"


NIGHTLY = ("schedule", "add", "nightly", "--when", "15 2 * * *", "--command")


def test_entry_is_added_listed_replaced_and_removed(blofin, table, empty_folder):
    """One block; what was in the crontab before stays to the byte."""
    table.write_text("MAILTO=me\n")
    added = blofin(*NIGHTLY, "backtest BTC-USDT --synthetic 7 --save", "--json")
    assert added.code == 0, added.stderr
    (entry,) = json.loads(added.stdout)["entries"]
    assert entry["name"] == "nightly"
    assert "T02:15" in entry["next"]
    text = table.read_text()
    assert text.startswith("MAILTO=me\n# blofin-cli begin")
    assert f"{sys.executable} -m blofin_cli backtest BTC-USDT --synthetic 7 --save > " in text
    blofin(*NIGHTLY, "backtest ETH-USDT --save")
    assert table.read_text().count("# name:") == 1
    assert "ETH-USDT" in blofin("schedule", "--json").stdout
    assert blofin("schedule", "remove", "nightly").code == 0
    assert table.read_text() == "MAILTO=me\n"


@pytest.mark.process
def test_scheduled_line_runs_in_a_shell(blofin, table, empty_folder):
    """What cron would hand to sh does the work, and its answer is kept."""
    words = (*NIGHTLY, "guide cli --output json")
    assert blofin(*words).code == 0
    line = next(line for line in table.read_text().splitlines() if line.startswith("15 2"))
    command = line.split(None, 5)[5].replace("\\%", "%")
    outcome = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=100, check=False,
        env={"HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin",
             "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    answer = Path(command.rpartition("> ")[2].strip("'"))
    assert json.loads(answer.read_text())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("order BTC-USDT --risk 1%", "neither"),
        ("resume", "neither"),
        ("run BTC-USDT", "service"),
        ("web", "service"),
        ("rm -rf x", "no command"),
        ("backtest 'BTC", "cannot be read"),
        ("", "no command"),
        ("guide 'cli\nrm x'", "control"),
    ],
)
def test_what_cron_must_not_run_is_refused(blofin, table, empty_folder, command, said):
    """Nothing that trades, lasts, or is no command of ours; the crontab stays as it is."""
    outcome = blofin(*NIGHTLY, command, "--json")
    assert outcome.code == 2
    assert said in outcome.stderr
    assert not table.exists()


def test_shell_words_are_quoted(blofin, table, empty_folder):
    """What looks like shell stays a word."""
    assert blofin(*NIGHTLY, "guide 'cli; rm x' --output json").code == 0
    assert "'cli; rm x'" in table.read_text()


def test_crontab_that_refuses_changes_nothing(blofin, table, empty_folder):
    """Its own words are shown, and the exit code is that of configuration."""
    table.write_text("# old\n")
    (table.parent / "refuse").touch()
    outcome = blofin(*NIGHTLY, "runs")
    assert outcome.code == 4
    assert "bad minute" in outcome.stderr
    assert table.read_text() == "# old\n"


def test_without_crontab_the_alternative_is_named(blofin, monkeypatch, tmp_path, empty_folder):
    """Many containers have none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = blofin("schedule", "--json")
    assert outcome.code == 4
    assert "blofin service" in outcome.stderr


def test_units_keep_a_session_and_its_guard(tmp_path, monkeypatch):
    """The session restarts on failure but not on refusal; the guard always; both as files."""
    from blofin_cli.app.commands.service import ServiceRequest, service
    from blofin_cli.core.quotes import Mode

    folder = tmp_path / "with blank 100%"
    folder.mkdir()
    context = Context(face="cli")
    request = ServiceRequest(
        symbol=("BTC-USDT",), mode=Mode.DEMO, folder=str(folder), write=True, exchange="blofin"
    )
    result = asyncio.run(service(request, context))
    units = {unit.name: unit for unit in result.units}
    assert set(units) == {"blofin-run.service", "blofin-guard.service"}
    run, guard = (units[f"blofin-{name}.service"].content for name in ("run", "guard"))
    assert "run BTC-USDT --exchange blofin --mode demo --yes\n" in run
    assert "Restart=on-failure" in run
    assert "RestartPreventExitStatus=2 3 4 5 9" in run
    assert "Restart=always" in guard
    assert "RestartPrevent" not in guard
    assert "--yes" not in guard
    assert "100%%" in run
    for unit in units.values():
        assert Path(unit.path).read_text() == unit.content
        assert stat.S_ISREG(Path(unit.path).stat().st_mode)
    assert any("enable --now blofin-run.service blofin-guard.service" in x for x in result.next)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.process
def test_systemd_reads_the_units(tmp_path):
    """The program that will read them finds nothing to complain of."""
    from blofin_cli.app.commands.service import ServiceRequest, service

    request = ServiceRequest(symbol=("BTC-USDT",), part=("run", "web"), exchange="sim")
    result = asyncio.run(service(request, Context(face="cli")))
    for unit in result.units:
        path = tmp_path / unit.name
        path.write_text(unit.content)
        outcome = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(path)],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        told = [line for line in outcome.stderr.splitlines() if unit.name in line]
        assert not told, told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("service",), "name the instruments"),
        (("service", "BTC-USDT", "--part", "guard"), "no account to guard"),
        (("service", "BTC-USDT", "--folder", "/nowhere"), "no folder"),
        (("service", "BTC-USDT", "--exchange", "sim", "--mode", "live"), "no live mode"),
    ],
)
def test_units_that_could_not_run_are_refused(blofin, empty_folder, words, said):
    """Before they are written."""
    outcome = blofin(*words, "--json")
    assert outcome.code == 2
    assert said in outcome.stderr
