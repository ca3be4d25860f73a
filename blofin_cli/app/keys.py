"""API keys: where they are looked for and how they are refused; their values appear nowhere.

In this order: the environment, the keyring of the system where the extra is installed, and the file
`keys.toml` in the user's config folder, which nobody else may read. An account is `live`, `demo` or
`ccxt-NAME`. A key counts only when it is whole: a part from here and a part from there is a mix-up.
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from blofin_cli.app import config
from blofin_cli.errors import ConfigError

if TYPE_CHECKING:
    from blofin_cli.app.settings import Settings

FILE_NAME = "keys.toml"
SERVICE = "blofin-cli"
ACCOUNT = re.compile(r"live|demo|ccxt-[a-z0-9_]{1,32}")
HINT = "store one with blofin config key {account}, or see blofin guide exchange"
PART_LENGTH_MAX = 512


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The parts of a key. Their values appear in no text of this object."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A key and the place it came from, which may be named."""

    credentials: ApiKey
    source: str


def credentials(account: str) -> ApiKey:
    """The key of an account: `live`, `demo` or `ccxt-NAME`.

    Errors: ConfigError when there is none, it is not whole, or the place it lies in is not safe.
    """
    return find(account).credentials


def find(account: str) -> Found:
    """The key of an account with its source. Errors: as `credentials`."""
    sources: tuple[tuple[str, Callable[[str], dict[str, str]]], ...] = (
        ("environment", config.key_variables),
        ("keyring", _from_keyring),
        (FILE_NAME, _from_file),
    )
    for source, parts_of in sources:
        if parts := parts_of(account):
            return Found(_whole(parts, account, source), source)
    raise ConfigError(f"no API key for {account}", hint=HINT.format(account=account))


def has_key(account: str) -> bool:
    """Whether a whole key of the account is at hand. Errors: ConfigError when one is broken."""
    try:
        find(account)
    except ConfigError as error:
        if error.message.startswith("no API key"):
            return False
        raise
    return True


def store(account: str, parts: Mapping[str, str]) -> str:
    """Keep a key in the keyring, else in the file; the place it went to.

    Errors: ConfigError when a part is missing or is no key, or the file cannot be written.
    """
    _whole(dict(parts), account, "what was typed")
    clean = {part: text for part in config.KEY_PARTS if (text := _trimmed(parts.get(part, "")))}
    if _to_keyring(account, clean):
        return "keyring"
    _to_file(account, clean)
    return str(file_path())


def notify_urls(settings: "Settings") -> tuple[SecretStr, ...]:
    """Where alerts go: BLOFIN_NOTIFY__URLS, else `urls` under [notify] in the key file.

    Errors: ConfigError when the file is not safe or the list is none.
    """
    if settings.notify.urls:
        return settings.notify.urls
    urls = _tables().get("notify", {}).get("urls", [])
    if not isinstance(urls, list) or not all(isinstance(url, str) and url for url in urls):
        raise ConfigError(f"{FILE_NAME}: urls under [notify] must be a list of addresses in quotes")
    return tuple(SecretStr(url) for url in urls)


def file_path() -> Path:
    """The file of keys."""
    return config.user_config_folder() / FILE_NAME


def _whole(parts: Mapping[str, str], account: str, source: str) -> ApiKey:
    """The key these parts make; which part is wrong is said, what it holds is not.

    Other exchanges mostly know no passphrase.
    """
    needed = config.KEY_PARTS if account in {"live", "demo"} else config.KEY_PARTS[:2]
    missing = [part for part in needed if not _trimmed(parts.get(part, ""))]
    if missing:
        raise ConfigError(
            f"the {account} key in {source} has no {' and no '.join(missing)}",
            hint=f"a key has {len(needed)} parts: {', '.join(needed)}",
        )
    clean = {part: _trimmed(parts.get(part, "")) for part in config.KEY_PARTS}
    for part, text in clean.items():
        if text and (problem := _defect(text)):
            raise ConfigError(f"the {part} of the {account} key in {source} {problem}")
    if clean["key"] == clean["secret"]:
        raise ConfigError(f"the {account} key in {source} has the same key and secret")
    if _look_swapped(clean):
        raise ConfigError(
            f"key and secret of the {account} key in {source} look swapped",
            hint="the key is what the exchange shows in its list; the secret it shows once",
        )
    return ApiKey(clean["key"], clean["secret"], clean["passphrase"])


def _trimmed(text: str) -> str:
    """Without the blanks and the line end that copying leaves around."""
    return text.strip()


def _defect(text: str) -> str:
    if len(text) > PART_LENGTH_MAX:
        return f"is longer than {PART_LENGTH_MAX} characters"
    if not text.isascii() or not text.isprintable():
        return "holds characters that no key has"
    if text[0] in "\"'`" or text[-1] in "\"'`":
        return "is in quotes; take them away"
    if any(mark.isspace() for mark in text):
        return "holds a blank"
    return ""


def _look_swapped(parts: Mapping[str, str]) -> bool:
    """Only words tell: BloFin's keys and secrets look alike, and then the exchange finds out."""
    key, secret = parts["key"], parts["secret"]
    return "secret" in key.lower() and "secret" not in secret.lower()


# The keyring.


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _from_keyring(account: str) -> dict[str, str]:
    """The parts the keyring holds; none without the extra or on a machine that has no keyring."""
    keyring = _keyring()
    if keyring is None:
        return {}
    try:
        found = {
            part: keyring.get_password(SERVICE, f"{account}.{part}") for part in config.KEY_PARTS
        }
    except keyring.errors.KeyringError:
        return {}
    return {part: text for part, text in found.items() if text}


def _to_keyring(account: str, parts: Mapping[str, str]) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        for part, text in parts.items():
            keyring.set_password(SERVICE, f"{account}.{part}", text)
    except keyring.errors.KeyringError:
        return False
    return True


# The file.


def _from_file(account: str) -> dict[str, str]:
    table = _tables().get(account, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{FILE_NAME}: {account} must be a table, [{account}]")
    for name, value in table.items():
        if name not in config.KEY_PARTS:
            known = ", ".join(config.KEY_PARTS)
            raise ConfigError(
                f"{FILE_NAME}: [{account}] has an unknown {ascii(name[:40])[1:-1]}",
                hint=f"known: {known}",
            )
        if not isinstance(value, str):
            raise ConfigError(f"{FILE_NAME}: {name} under [{account}] must be text in quotes")
    return dict(table)


def _tables() -> dict[str, Any]:
    """The key file, empty when there is none; refused unless it is its owner's alone."""
    path = file_path()
    try:
        data = config.read_small_file(path, lambda status: _check_private(path, status))
        tables = tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigError(f"{path} is a link to a file that does not exist") from None
        return {}
    except OSError as defect:
        raise ConfigError(f"{path} cannot be read: {defect.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text") from None
    except tomllib.TOMLDecodeError as defect:
        where = re.search(r"\(at [^)]*\)$", str(defect))  # the rest may quote a secret
        raise ConfigError(f"{path} is not valid TOML {where[0] if where else ''}".strip()) from None
    for name in tables:
        if name != "notify" and ACCOUNT.fullmatch(name) is None:
            raise ConfigError(
                f"{FILE_NAME} has an unknown table {ascii(name[:40])[1:-1]}",
                hint="known: live, demo, ccxt-NAME, notify",
            )
    return tables


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a key file that others can read, or that would be committed."""
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to another user", hint=f"sudo chown {os.geteuid()} {path}"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(f"{path} can be read by others", hint=f"chmod 600 {path}")
    tree = next((parent for parent in path.resolve().parents if (parent / ".git").exists()), None)
    if tree is not None:
        raise ConfigError(
            f"{path} lies inside the git work tree {tree}",
            hint="move it out of there; what was committed once stays readable",
        )


def _to_file(account: str, parts: Mapping[str, str]) -> None:
    import tomlkit

    from blofin_cli.app.settings import replace_file

    path = file_path()
    _tables()  # refuses a file that is not safe or not ours to change
    document = (
        tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    )
    table = tomlkit.table()
    for part, text in parts.items():
        table[part] = text
    document[account] = table
    replace_file(path, tomlkit.dumps(document))
    _tables()
