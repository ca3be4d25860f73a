"""systemd units for what lasts: the session, the guard beside it, the web dashboard."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from blofin_cli.app import config
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Result, Symbol, command
from blofin_cli.app.venues import AccountRequest, environment_of, exchange_of, mode_of
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import ConfigError, UsageError

Part = Literal["run", "guard", "web"]

_BODY = """\
[Unit]
Description=blofin-cli: {about}
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec={window}
StartLimitBurst=5

[Service]
Type=exec
WorkingDirectory={folder}
EnvironmentFile=-{environment}
ExecStart={line}
{restart}
SuccessExitStatus=130
# It ends its loops in good order and leaves every stop at the exchange.
KillSignal=SIGTERM
TimeoutStopSec=90
NoNewPrivileges=yes
UMask=0077
# A core dump would hold the API key.
LimitCORE=0

[Install]
WantedBy=default.target
"""


_ON_FAILURE = """\
Restart=on-failure
RestartSec=10
# Usage, refusal, configuration, key and halt do not get better by trying again.
RestartPreventExitStatus=2 3 4 5 9"""
_ALWAYS = """\
# It watches over money: whatever ended it, it comes back.
Restart=always
RestartSec=5"""


class ServiceRequest(AccountRequest):
    """Which services, for which account."""

    symbol: Annotated[
        tuple[Symbol, ...], Field(description="Instruments of the session", max_length=50)
    ] = ()
    part: Annotated[
        tuple[Part, ...], Field(description="Which units; default: run and, with an account, guard")
    ] = ()
    folder: Annotated[
        str | None, Field(description="Working folder, where blofin.toml lies; default: this one")
    ] = None
    write: Annotated[
        bool, Field(description="Write them into the user's systemd folder instead of showing them")
    ] = False

    def effect(self, declared: Effect) -> Effect:
        """Showing changes nothing."""
        return declared if self.write else Effect.READ


class Unit(Result):
    """One unit: its file name, where it was written, and its text."""

    name: str
    path: str | None
    content: str


class ServiceResult(Result):
    """The units and what to type next."""

    units: list[Unit]
    next: list[str]

    def text(self) -> str:
        """The units as files, or where they are."""
        if any(unit.path for unit in self.units):
            told = [f"- {unit.path}" for unit in self.units]
        else:
            told = [f"`{unit.name}`\n\n```\n{unit.content}```\n" for unit in self.units]
        return "\n".join([*told, "", "Next:", "", *(f"    {line}" for line in self.next)])


@command(effect=Effect.WRITE, positional=("symbol",))
async def service(request: ServiceRequest, context: Context) -> ServiceResult:
    """Show or write systemd units that keep the session, the guard and the web dashboard running.

    They belong to your user and need no root. Nothing is started: the last lines say what to type.
    The guard is a process of its own, so that it lives when the session does not.

    Example: blofin service BTC-USDT --mode dry-run
    """
    exchange, mode = exchange_of(request, context), mode_of(request, context)
    environment_of(exchange, mode)
    parts = request.part or (("run",) if mode is Mode.DRY_RUN else ("run", "guard"))
    if "guard" in parts and mode is Mode.DRY_RUN:
        raise UsageError("a dry run has no account to guard", hint="--mode demo, or --part run")
    if "run" in parts and not request.symbol:
        raise UsageError("name the instruments of the session", hint="blofin service BTC-USDT")
    account = ["--exchange", exchange, "--mode", mode.value]
    consent = [] if mode is Mode.DRY_RUN else ["--yes"]
    words: dict[str, list[str]] = {
        "run": ["run", *request.symbol, *account, *consent],
        "guard": ["guard", *account],
        "web": ["web"],
    }
    units = [
        Unit(
            name=f"blofin-{part}.service",
            path=None,
            content=_content(part, words[part], request, context),
        )
        for part in dict.fromkeys(parts)
    ]
    if request.write:
        units = [_written(unit) for unit in units]
    names = " ".join(unit.name for unit in units)
    following = [
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {names}",
        "loginctl enable-linger",
        f"journalctl --user -f -u {units[0].name}",
    ]
    return ServiceResult(units=units, next=following)


def _content(part: str, words: list[str], request: ServiceRequest, context: Context) -> str:
    folder = Path(request.folder or ".").resolve()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)[-60:]!a}")
    if context.state_override is not None:
        words = [*words, "--state", context.state_override]
    is_guard = part == "guard"
    about = {"run": f"session of {' '.join(request.symbol)}", "guard": "guard", "web": "dashboard"}
    return _BODY.format(
        about=about[part],
        folder=str(folder).replace("%", "%%"),
        environment=str(config.user_config_folder() / "environment").replace("%", "%%"),
        line=" ".join(_quoted(word) for word in (sys.executable, "-m", "blofin_cli", *words)),
        # A session that fails five times in ten minutes needs a person.
        restart=_ALWAYS if is_guard else _ON_FAILURE,
        window=0 if is_guard else 600,
    )


def _quoted(word: str) -> str:
    """A word of ExecStart. Errors: UsageError for line ends, which no quoting survives."""
    if not word.isprintable():
        raise UsageError(f"{word[:40]!a} cannot stand in a unit")
    escaped = word.replace("%", "%%").replace("$", "$$")
    if all(letter.isalnum() or letter in "-_./:=%$@+," for letter in escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(unit: Unit) -> Unit:
    """The unit as a file of the user's. Errors: ConfigError when it cannot be written."""
    folder = config.user_config_folder().parent / "systemd" / "user"
    path = folder / unit.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{unit.name}.part")
        part.write_text(unit.content, encoding="utf-8")
        part.replace(path)
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}") from problem
    return Unit(name=unit.name, path=str(path), content=unit.content)
