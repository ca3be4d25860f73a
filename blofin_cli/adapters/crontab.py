"""The user's crontab, through the `crontab` program."""

import shutil
import subprocess

from blofin_cli.errors import ConfigError

SECONDS_MAX = 10


def read_crontab() -> str:
    """The text of the crontab, empty when there is none.

    Errors: ConfigError when there is no such program or it will not answer.
    """
    outcome = _run(["-l"], None)
    if outcome.returncode == 0:
        return outcome.stdout
    if "no crontab" in outcome.stderr.lower():
        return ""
    raise ConfigError(f"crontab -l: {outcome.stderr.strip()[:200] or 'it failed'}")


def write_crontab(text: str) -> None:
    """Replace the crontab. Errors: as `read_crontab`; the old one is then still there."""
    outcome = _run(["-"], text)
    if outcome.returncode != 0:
        raise ConfigError(
            f"crontab refused the new text: {outcome.stderr.strip()[:200]}",
            hint="the old one is unchanged",
        )


def _run(words: list[str], text: str | None) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("crontab")
    if program is None:
        raise ConfigError(
            "there is no crontab program here", hint="install cron, or use blofin service"
        )
    try:
        return subprocess.run(
            [program, *words], input=text, capture_output=True, text=True, timeout=SECONDS_MAX,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ConfigError(f"crontab did not answer: {type(problem).__name__}") from problem
