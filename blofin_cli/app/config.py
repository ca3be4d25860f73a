"""Where settings, state and candles live, and the raw layers they are read from.

The only module that reads the environment. It imports no pydantic: a command that needs nothing
but the state path must not pay 0.2 s for the settings machinery. `settings` types these same
layers, and a test proves that both give the same answer.
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from blofin_cli.errors import ConfigError

# Packages that hook into pydantic cannot be trusted near orders, and looking for them costs 12 ms.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

NAME = "blofin-cli"
PREFIX = "BLOFIN_"
NESTING = "__"
PROJECT_FILE = Path("blofin.toml")
FILE_BYTES_MAX = 1_048_576
KEY_PARTS = ("key", "secret", "passphrase")

# Keys stand apart from the settings: BLOFIN_API__KEY, BLOFIN_DEMO_API__SECRET and their like.
_KEY_VARIABLE = re.compile(r"BLOFIN_((?:DEMO_|CCXT_[A-Z0-9_]{1,32}_)?API)__(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings: its name for people and its raw values."""

    origin: str
    values: dict[str, Any]


def layers() -> tuple[Layer, ...]:
    """Every source of settings, nearest first: environment, project file, user file."""
    user_file = user_config_folder() / PROJECT_FILE.name
    return (
        Layer("environment", environment()),
        Layer(str(PROJECT_FILE), _read_toml(PROJECT_FILE)),
        Layer(str(user_file), _read_toml(user_file)),
    )


def environment() -> dict[str, Any]:
    """The BLOFIN_* variables as nested values, names in lower case; keys are not among them.

    Errors: ConfigError for a variable that looks like a part of a key and is none.
    """
    values: dict[str, Any] = {}
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and os.environ[variable] != "":
            if (match := _KEY_VARIABLE.fullmatch(variable)) is not None:
                _check_key_part(variable, match[2])
                continue
            path = variable.removeprefix(PREFIX).lower().split(NESTING)
            _plant(values, path, os.environ[variable], variable)
    return values


def key_variables(account: str) -> dict[str, str]:
    """The parts of an account's key that the environment holds, by `key`, `secret`, `passphrase`.

    `account` is `live`, `demo` or `ccxt-NAME`.
    """
    parts = {part: os.environ.get(key_variable(account, part), "") for part in KEY_PARTS}
    return {part: text for part, text in parts.items() if text}


def key_variable(account: str, part: str) -> str:
    """The variable that holds a part of a key."""
    middle = "" if account == "live" else account.upper().replace("-", "_") + "_"
    return f"{PREFIX}{middle}API{NESTING}{part.upper()}"


def nearest_file() -> Path:
    """The settings file that a change goes into: the project's if there is one, else the user's."""
    return PROJECT_FILE if PROJECT_FILE.exists() else user_config_folder() / PROJECT_FILE.name


def state_location(override: str | None = None) -> str:
    """Where the state is: the path of the SQLite file, or a postgresql:// address."""
    return _located("state", override, lambda: str(_folders().user_state_path / "state.db"))


def cache_folder(override: str | None = None) -> Path:
    """The folder that holds downloaded candles and compiled code."""
    return Path(_located("cache", override, lambda: str(_folders().user_cache_path)))


def user_config_folder() -> Path:
    """The platform's folder for this user's settings."""
    return Path(_folders().user_config_path)


def state_folder(state: str) -> Path:
    """The folder of the state file; the user's own when the state is a database server."""
    if state.startswith(("postgresql://", "postgres://")):
        return Path(_folders().user_state_path)
    return Path(state).parent


def open_log(path: Path) -> IO[bytes]:
    """A log to append to; made for its owner alone, since it names what is held and asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def shared_folder(state: str) -> Path:
    """The folder that all processes of this user share, whatever state each goes by.

    The state's own where the user's cannot be made.
    """
    folder = Path(_folders().user_state_path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return state_folder(state)
    return folder


def completion_requested() -> bool:
    """Whether a shell is asking for completions instead of running a command."""
    return "_BLOFIN_COMPLETE" in os.environ


def located(text: str) -> str:
    """A location as typed with `~` opened; an address of a server stays as it is."""
    return text if "://" in text else str(Path(text).expanduser())


def _located(key: str, override: str | None, default: Any) -> str:
    if override is not None:
        return located(override)
    for layer in layers():
        if key in layer.values:
            value = layer.values[key]
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{key} in {layer.origin} must be a path in quotes")
            return located(value)
    return str(default())


@cache
def _folders() -> Any:
    from platformdirs import PlatformDirs

    return PlatformDirs(NAME, appauthor=False)


def _check_key_part(variable: str, part: str) -> None:
    if part.lower() not in KEY_PARTS:
        stem = variable[: len(variable) - len(part)]
        raise ConfigError(
            f"unknown variable {ascii(variable[:80])[1:-1][:80]}",
            hint="known: " + ", ".join(stem + known.upper() for known in KEY_PARTS),
        )


def _plant(values: dict[str, Any], path: list[str], value: str, variable: str) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{variable} sets a part of a value that another variable sets whole")
    values[path[-1]] = value


def _read_toml(path: Path) -> dict[str, Any]:
    """The file's values, empty when it is absent."""
    try:
        return tomllib.loads(read_small_file(path).decode("utf-8"))
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigError(f"{path} is a link to a file that does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError) as defect:
        raise ConfigError(f"{path} cannot be read: {defect}") from None
    except tomllib.TOMLDecodeError as defect:
        raise ConfigError(
            f"{path} is not valid TOML: {defect}", hint="mend the file or move it away"
        ) from None


def read_small_file(path: Path, check: Callable[[os.stat_result], None] | None = None) -> bytes:
    """The bytes of a regular file of at most a megabyte.

    Kind and size are those of the opened file, so that a pipe cannot hang us, a huge file is not
    read and nothing is exchanged in between; `check` sees the same status and may refuse.
    Errors: ConfigError for the wrong kind or size; OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a regular file")
        if status.st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
        if check is not None:
            check(status)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(FILE_BYTES_MAX + 1)
    finally:
        os.close(handle)
