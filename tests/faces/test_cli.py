"""The command line: exit code, stdout and stderr together."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from blofin_cli import __version__
from blofin_cli.app import catalog
from blofin_cli.app.commands import status, system
from blofin_cli.errors import ComparisonError, DataError, RefusedError
from blofin_cli.faces import cli, contents

END_OF_INPUT = "\x04"
PROGRAM = [sys.executable, "-m", "blofin_cli"]


def test_json_result_is_the_whole_of_stdout(blofin):
    """stdout is one JSON document, stderr is silent."""
    outcome = blofin("guide", "--json")
    assert (outcome.code, outcome.stderr) == (0, "")
    assert "cli" in [page["name"] for page in json.loads(outcome.stdout)["guides"]]


def test_piped_stdout_gets_json_unasked(blofin):
    """A table only when stdout is a terminal."""
    assert json.loads(blofin("guide").stdout)


def test_table_shows_the_chosen_columns(blofin):
    """A table is for people: header, rule, rows."""
    outcome = blofin("guide", "--output", "table")
    assert outcome.stdout.splitlines()[0].split() == ["name", "title"]
    assert "The command line" in outcome.stdout


def test_guide_page_is_shown_as_it_is(blofin):
    """Prose is no table."""
    assert blofin("guide", "cli", "--output", "table").stdout.startswith("# The command line\n")


def test_config_show_names_every_origin(blofin, empty_folder, monkeypatch):
    """Every setting comes with its source."""
    monkeypatch.setenv("BLOFIN_MODE", "demo")
    rows = json.loads(blofin("config", "show").stdout)["settings"]
    (row,) = [row for row in rows if row["key"] == "mode"]
    assert (row["value"], row["origin"]) == ("demo", "environment")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(blofin, words):
    """A bare `blofin` is a question."""
    outcome = blofin(*words)
    assert outcome.code == 0
    for entry in catalog.index().values():
        assert entry.name in outcome.stdout


def test_help_puts_every_command_under_one_heading_in_one_line(blofin):
    """Nothing is left under More, nothing stands twice, and every line fits 80 columns."""
    placed = [name for names in contents.SECTIONS.values() for name in names]
    assert len(placed) == len(set(placed))
    assert set(catalog.index()) <= set(placed)
    lines = blofin("--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in catalog.index():
        assert sum(line.split()[:1] == [name] for line in lines) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Cancel resting orders. A stop only by name.", "Cancel resting orders"),
        ("Show balance, equity, margin and position mode, and more.",
         "Show balance, equity, margin and position mode"),
        ("Run an exchange that speaks BloFin's protocol on this machine.",
         "Run an exchange that speaks BloFin's protocol..."),
    ],
)  # fmt: skip
def test_long_help_line_ends_where_its_sense_allows(text, shown):
    """A clause, not half a word."""
    assert contents.brief(text, 50) == shown


@pytest.mark.parametrize("key", ["\x03", END_OF_INPUT])
@pytest.mark.process
def test_question_ends_with_one_key(key, tmp_path):
    """B59: Ctrl-C or Ctrl-D at a question interrupts at once, and is no defect."""
    master, slave = os.openpty()
    at_terminal = (
        "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
    )
    words = [*PROGRAM, "config", "key", "demo", "--state", str(tmp_path / "s.db")]
    program = subprocess.Popen(
        [sys.executable, "-c", at_terminal, str(slave), *words], pass_fds=[slave]
    )
    os.close(slave)
    seen = b""
    while b"key:" not in seen:
        seen += os.read(master, 4096)
    os.write(master, key.encode())
    while program.poll() is None and key == END_OF_INPUT:
        time.sleep(0.1)  # what is typed before the terminal hides it is thrown away
        os.write(master, key.encode())
    assert program.wait(timeout=60) == 130
    with contextlib.suppress(OSError):  # a terminal whose program is gone
        seen += os.read(master, 4096)
    assert b"interrupted" in seen
    assert b"defect" not in seen
    os.close(master)


def test_command_help_shows_its_options(blofin):
    """-h and --help say the same."""
    outcome = blofin("guide", "-h")
    assert outcome.code == 0
    assert "--output" in outcome.stdout
    assert outcome.stdout == blofin("guide", "--help").stdout


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("confg",), "no command is called 'confg'", "did you mean config?"),
        (("x" * 10_000,), "no command is called 'xxx", "blofin --help"),
        (("\x1b[2J",), "no command is called '\\x1b[2J'", ""),
        (("guide", "--outptu", "csv"), "no option is called --outptu", "did you mean --output?"),
        (("guide", "--" + "y" * 10_000), "no option is called --yyy", ""),
        (("guide", "--output"), "--output", ""),
        (("guide", "--output", "xml"), "--output must be one of", ""),
        (("guide", "--output", "jsn"), "--output must be one of", "did you mean json?"),
        (("guide", "--json", "--output", "csv"), "contradict", ""),
        (("guide", "a", "b"), "unexpected extra argument", ""),
        (("guide", "../../etc/passwd"), "NAME cannot be", ""),
        (("guide", "nothing"), "no guide is called nothing", "cli"),
        (("config", "set", "web.port", "-3"), "no option is called -3", "write -- before"),
        (("config", "shw"), "ACTION must be 'show', 'set',", "did you mean show?"),
    ],
)
def test_bad_usage_exits_2_with_one_envelope(blofin, words, message, hint):
    """Wrong words: stdout empty, one JSON object on stderr, exit 2."""
    outcome = blofin(*words)
    assert (outcome.code, outcome.stdout) == (2, "")
    error = json.loads(outcome.stderr)["error"]
    assert error["code"] == "usage"
    assert message in error["message"]
    assert hint in error["hint"]
    assert len(error["message"]) < 330
    assert outcome.stderr.count("\n") == 1


def test_error_for_a_person_is_one_line(blofin):
    """Where a table would be shown, the error is a sentence."""
    outcome = blofin("guide", "nothing", "--output", "table")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("error: no guide is called nothing (one of ")
    assert outcome.stderr.count("\n") == 1


@pytest.fixture
def guide_that(monkeypatch):
    """Makes the command `guide` do something else."""

    def replace(act):
        async def guide(request, context):
            return act(request, context)

        spec = catalog.load("guide")
        object.__setattr__(spec, "function", guide)

    spec, function = catalog.load("guide"), catalog.load("guide").function
    yield replace
    object.__setattr__(spec, "function", function)


def raising(error):
    def act(request, context):
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"), [(DataError("rotten"), 8), (RefusedError("no"), 3)], ids=["data", "refused"]
)
def test_error_of_a_command_sets_the_exit_code(blofin, guide_that, error, code):
    """The error tree decides the exit code."""
    guide_that(raising(error))
    outcome = blofin("guide")
    assert (outcome.code, outcome.stdout) == (code, "")
    assert json.loads(outcome.stderr) == error.envelope()


def test_comparison_that_fell_short_still_prints_its_result(blofin, guide_that):
    """Exit 10 comes with the numbers that explain it."""
    guide_that(raising(ComparisonError("short", result=system.GuideResult(guides=[]))))
    outcome = blofin("guide", "--json")
    assert outcome.code == 10
    assert json.loads(outcome.stdout) == {"guides": []}
    assert json.loads(outcome.stderr)["error"]["code"] == "comparison"


def test_defect_goes_to_the_log_not_the_screen(blofin, guide_that, tmp_path, monkeypatch):
    """A traceback belongs into the log file beside the state."""
    monkeypatch.setenv("BLOFIN_STATE", str(tmp_path / "state.db"))
    guide_that(raising(ZeroDivisionError("by\x1b zero")))
    outcome = blofin("guide", "--output", "table")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "Traceback" not in outcome.stderr
    assert "\\x1b" in outcome.stderr
    log = tmp_path / "blofin.log"
    assert "ZeroDivisionError" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize(("output", "looks"), [("ndjson", 2), ("json", 2), ("table", 0)])
def test_watched_status_is_a_line_of_json_a_look(blofin, monkeypatch, output, looks):
    """What is piped can be read line by line; a person's words stay on stderr."""
    found = [raising(KeyboardInterrupt()), status.read_status, status.read_status]

    def look(request, context):
        return found.pop()(request, context)

    monkeypatch.setattr(status, "read_status", look)
    monkeypatch.setattr(status, "WATCH_S", 0)
    outcome = blofin("status", "--watch", "--output", output)
    assert outcome.code == 130
    assert [json.loads(line)["state"] for line in outcome.stdout.splitlines()] == ["none"] * looks
    assert len(outcome.stderr.splitlines()) == 3 - looks


def test_interrupt_exits_130(blofin, guide_that):
    """Ctrl-C is no defect."""
    guide_that(raising(KeyboardInterrupt()))
    outcome = blofin("guide")
    assert (outcome.code, outcome.stdout) == (130, "")
    assert outcome.stderr == "interrupted\n"


def test_narration_never_reaches_stdout(blofin, guide_that):
    """What is said to a person is on stderr, escapes shown."""

    def act(request, context):
        context.say("careful \x1b[31m")
        context.progress(1, 2, "reading")
        return system.GuideResult(guides=[])

    guide_that(act)
    outcome = blofin("guide", "--json")
    assert json.loads(outcome.stdout) == {"guides": []}
    assert outcome.stderr == "careful \\x1b[31m\n"


def test_typer_app_of_all_commands_builds():
    """Completion needs every command in full."""
    result = CliRunner().invoke(cli.application(set(catalog.index())), ["config", "--help"])
    assert result.exit_code == 0
    assert "ACTION" in result.stdout


@pytest.mark.process
def test_version_is_printed():
    """The version is the package's."""
    outcome = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert outcome.stdout == f"blofin {__version__}\n"


@pytest.mark.process
def test_closed_pipe_leaves_no_traceback():
    """B58: `| head -0` is no error worth words."""
    command = f"{sys.executable} -m blofin_cli guide reference --json | head -c 0"
    outcome = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert outcome.stderr == ""


@pytest.mark.process
@pytest.mark.parametrize("words", ["status", "guide reference", "--help"])
def test_full_disk_behind_stdout_is_no_defect(words):
    """Whether the answer fits a buffer or not: one line, and no success."""
    command = f"{sys.executable} -m blofin_cli {words} > /dev/full"
    outcome = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert outcome.returncode == 8
    assert "stdout cannot be written: No space left on device" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_do_no_harm(closed):
    """B58: a missing stream is no defect."""
    command = f"{sys.executable} -m blofin_cli guide {closed}"
    outcome = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0
    assert "Traceback" not in outcome.stderr


@pytest.mark.process
def test_completion_offers_commands_and_choices():
    """A shell that asks gets the words it can use."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "_BLOFIN_COMPLETE": "complete_bash",
        "COMP_WORDS": "blofin config ",
        "COMP_CWORD": "2",
    }
    code = "from blofin_cli.faces.cli import run; import sys; sys.exit(run([]))"
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert outcome.stdout.split() == ["show", "set", "unset", "init", "key"]
