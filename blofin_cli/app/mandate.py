"""The mandate on disk: made once, signed by a person, verified at every load.

In the user's config folder lie `mandate.toml` (the draft a person edits), `mandate.json` (its words
and their Ed25519 signature), `mandate.key` (the private key, encrypted with the passphrase) and
`mandate.pub`. The public key is also pinned in the state, so that a new key and a mandate signed
with it are not taken for the owner's. Without a mandate the built-in one holds: play money only.
"""

import hashlib
import json
import os
import stat
import tomllib
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blofin_cli.app import config
from blofin_cli.core.mandate import (
    BUILT_IN,
    DAY_MS,
    LIFE_DAYS_MAX,
    AgentBudget,
    Mandate,
    mandate_of,
)
from blofin_cli.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from blofin_cli.app.context import Context

PLACE, PIN, GUESSES = "mandate", "public_key", "guesses"
PASSPHRASE_LENGTH_MIN, PASSPHRASE_LENGTH_MAX = 10, 1_000
SCRYPT_COST = 2**16  # 64 MB and a fifth of a second a guess
GUESSES_MAX, GUESSES_WINDOW_MS = 5, 60_000
FILE_BYTES_MAX = 65_536
VERSION = 1

TEMPLATE = """\
# What this account may do at most. Edit it, then sign it: blofin mandate sign
# A limit that is missing allows nothing; nothing outside this file can raise one.
name = "mine"
modes = ["dry-run", "demo"]          # add "live" for real money
symbols = ["BTC-USDT", "ETH-USDT"]   # or ["*"]
risk_per_trade = "0.5%"              # of equity, costs included; above 1% needs an override
risk_per_day = "2%"                  # of all entries of a UTC day together
leverage_max = 3
notional_max_usdt = 5000             # of one order
entries_per_hour = 6
entries_per_day = 12
capital = "10%"                      # share of live equity traded with: 10%, 25% or 100%
allows_no_stop = false
expires = "{expires}"
override = ""                        # why to trade live although a gate of promotion failed

# What an agent may open without asking. Without this table it proposes and you approve.
# [agent]
# entries_per_hour = 2
# entries_per_day = 4
# risk_per_day = "1%"
# notional_per_day_usdt = 1000
"""


@dataclass(frozen=True, slots=True)
class Signed:
    """A mandate in force and when it was signed; the built-in one was signed by nobody."""

    mandate: Mandate
    signed_ms: int | None


def folder() -> Path:
    """Where the mandate's files lie."""
    return config.user_config_folder()


def exists(context: "Context") -> bool:
    """Whether a person made a key; from then on a person's word is the passphrase, and taking the
    files away does not change that."""
    is_there = any(_is_there(folder() / name) for name in ("mandate.key", "mandate.json"))
    return is_there or context.journal.recall(PLACE, PIN) is not None


def load(context: "Context") -> Signed:
    """The mandate in force, verified; the built-in one when nobody ever signed any.

    Errors: ConfigError when the signed one is altered, unreadable or of another key: nothing is
    traded then, since nobody can tell what the owner allows.
    """
    path = folder() / "mandate.json"
    if not _is_there(path):
        if context.journal.recall(PLACE, "signed") is not None:
            raise ConfigError(
                "the signed mandate is gone from the config folder",
                hint="sign it again: blofin mandate sign",
            )
        return Signed(BUILT_IN, None)
    document = _json(path)
    text, signature = document.get("text"), document.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        raise _altered()
    _verify(text, signature, _public_key(context))
    words = json.loads(text)
    if words.get("version") != VERSION:
        raise ConfigError("the mandate was signed by another version of this program")
    return Signed(_narrowed(mandate_of(words["mandate"]), context), int(words["signed_ms"]))


def _narrowed(mandate: Mandate, context: "Context") -> Mandate:
    """The mandate with its agents' budget no larger than the settings allow."""
    signed, chosen = mandate.agent, context.settings.mcp
    if signed is None:
        return mandate
    budget = AgentBudget(
        entries_hour=min(signed.entries_hour, chosen.entries_hour),
        entries_day=min(signed.entries_day, chosen.entries_day),
        risk_day_fraction=min(signed.risk_day_fraction, Decimal(repr(chosen.risk_day_pct)) / 100),
        notional_day_usdt=min(signed.notional_day_usdt, Decimal(repr(chosen.notional_day_usdt))),
    )
    return replace(mandate, agent=budget)


def create(context: "Context", passphrase: str) -> None:
    """Make the owner's key and a draft to edit.

    Errors: ConfigError when there is one, or the passphrase is too short.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if exists(context):
        raise ConfigError(
            "there is a mandate key already",
            hint="blofin mandate sign signs with it; its files are in the config folder",
        )
    if not PASSPHRASE_LENGTH_MIN <= len(passphrase) <= PASSPHRASE_LENGTH_MAX:
        raise ConfigError(f"a passphrase has at least {PASSPHRASE_LENGTH_MIN} characters")
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder() / "mandate.key", _sealed(key.private_bytes_raw(), passphrase))
    _write(folder() / "mandate.pub", f"{public}\n".encode())
    context.journal.remember(PLACE, PIN, {"public_key": public})
    draft = folder() / "mandate.toml"
    if not draft.exists():
        expires = _day(context.clock.now_ms() + 90 * DAY_MS)
        _write(draft, TEMPLATE.replace("{expires}", expires).encode())


def draft(context: "Context") -> Mandate:
    """The mandate of the draft file.

    Errors: ConfigError when it is absent, malformed, expired or lives too long.
    """
    path = folder() / "mandate.toml"
    try:
        words = tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as defect:
        raise ConfigError(f"mandate.toml is not valid TOML: {defect}") from None
    mandate = mandate_of(words)
    now_ms = context.clock.now_ms()
    assert mandate.expires_ms is not None
    if not now_ms < mandate.expires_ms <= now_ms + LIFE_DAYS_MAX * DAY_MS:
        raise ConfigError(f"mandate: expires must lie within the next {LIFE_DAYS_MAX} days")
    return mandate


def sign(context: "Context", mandate: Mandate, passphrase: str) -> None:
    """Put a mandate into force. Errors: as `unlock`."""
    key = unlock(context, passphrase)
    words = {
        "version": VERSION,
        "signed_ms": context.clock.now_ms(),
        "mandate": mandate.record(),
    }
    text = json.dumps(words, sort_keys=True, separators=(",", ":"))
    document = {"text": text, "signature": key.sign(text.encode()).hex()}
    _write(folder() / "mandate.json", json.dumps(document, indent=1).encode() + b"\n")
    context.journal.remember(PLACE, "signed", {"signed_ms": words["signed_ms"]})


def agree(name: str, context: "Context") -> None:
    """Have a person say yes to something only a person may do.

    Where there is a mandate, with its passphrase; else with the command's own word.
    Errors: RefusedError.
    """
    if context.demand is None:
        raise RefusedError(
            f"{name} is for a person at a terminal", hint="--yes does not answer it; type it there"
        )
    if exists(context):
        unlock(context, ask_passphrase(context, f"passphrase of the mandate, to {name}"))
        return
    if context.demand(f"type {name} to go on").strip() != name:
        raise RefusedError(f"{name} was not confirmed", hint="nothing was changed")


def ask_passphrase(context: "Context", question: str) -> str:
    """Have a person type a passphrase. Errors: RefusedError where no person is."""
    ask = context.secret or context.demand
    if ask is None:
        raise RefusedError("a passphrase is typed by a person at a terminal")
    return ask(question)


def unlock(context: "Context", passphrase: str) -> "Ed25519PrivateKey":
    """The owner's key; at most five wrong guesses a minute.

    Errors: RefusedError for a wrong passphrase or too many; ConfigError when the key is not there
    or is not the pinned one.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    refuse_guessing(context)
    document = _json(folder() / "mandate.key")
    try:
        key = Ed25519PrivateKey.from_private_bytes(_opened(document, passphrase))
    except InvalidTag:
        note_wrong_guess(context)
        raise RefusedError("wrong passphrase", hint="nothing was changed") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError("mandate.key is not a key this program made") from None
    if key.public_key().public_bytes_raw().hex() != _public_key(context):
        raise ConfigError("mandate.key is not the key that was pinned")
    return key


def _sealed(secret: bytes, passphrase: str) -> bytes:
    """A secret under a passphrase: scrypt stretches it, AES-GCM encrypts and authenticates."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(16), os.urandom(12)
    stretched = _stretched(passphrase, salt, SCRYPT_COST)
    sealed = AESGCM(stretched).encrypt(nonce, secret, None)
    document = {
        "cipher": "scrypt-aes256gcm",
        "cost": SCRYPT_COST,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "sealed": sealed.hex(),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _opened(document: dict[str, Any], passphrase: str) -> bytes:
    """What `_sealed` closed. Errors: InvalidTag for another passphrase."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if document["cipher"] != "scrypt-aes256gcm" or not 2 <= document["cost"] <= 2**20:
        raise ValueError("another cipher")
    stretched = _stretched(passphrase, bytes.fromhex(document["salt"]), document["cost"])
    return AESGCM(stretched).decrypt(
        bytes.fromhex(document["nonce"]), bytes.fromhex(document["sealed"]), None
    )


def _stretched(passphrase: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        passphrase.encode(), salt=salt, n=cost, r=8, p=1, maxmem=256 * 8 * cost, dklen=32
    )


def refuse_guessing(context: "Context") -> None:
    """Errors: RefusedError when there were too many wrong guesses within a minute."""
    now_ms = context.clock.now_ms()
    recent = _guesses(context, now_ms)
    if len(recent) >= GUESSES_MAX:
        wait_s = (min(recent) + GUESSES_WINDOW_MS - now_ms) // 1000 + 1
        raise RefusedError(f"{GUESSES_MAX} wrong guesses within a minute", hint=f"wait {wait_s} s")


def note_wrong_guess(context: "Context") -> None:
    """Count a wrong passphrase or a wrong id."""
    now_ms = context.clock.now_ms()
    at = [*_guesses(context, now_ms), now_ms][-GUESSES_MAX:]
    context.journal.remember(PLACE, GUESSES, {"at_ms": at})


def _guesses(context: "Context", now_ms: int) -> list[int]:
    kept = (context.journal.recall(PLACE, GUESSES) or {}).get("at_ms", [])
    return [at for at in kept if now_ms - GUESSES_WINDOW_MS < at <= now_ms]


def _public_key(context: "Context") -> str:
    """The owner's public key: of the file and of the state, which must agree.

    A state that knows none takes the file's: it is a new state, and has no history to go live on.
    """
    told = _read(folder() / "mandate.pub").decode("ascii", "replace").strip()
    pinned = context.journal.recall(PLACE, PIN)
    if pinned is None:
        context.journal.remember(PLACE, PIN, {"public_key": told})
        return told
    if pinned.get("public_key") != told:
        raise ConfigError(
            "the mandate's key is not the one this state has pinned",
            hint="somebody replaced it; nothing is traded until the old files are back",
        )
    return told


def _verify(text: str, signature: str, public: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), text.encode())
    except (InvalidSignature, ValueError):
        raise _altered() from None


def _altered() -> ConfigError:
    return ConfigError(
        "the mandate does not match its signature; nothing is traded with it",
        hint="sign the draft again: blofin mandate sign",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError:
        raise _altered() from None
    if not isinstance(document, dict):
        raise _altered()
    return document


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read(path: Path) -> bytes:
    """A small private file of one's own. Errors: ConfigError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path.name} is not a regular file")
        if status.st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path.name} is larger than {FILE_BYTES_MAX} bytes")
        if status.st_mode & 0o022 or (path.suffix == ".key" and status.st_mode & 0o077):
            raise ConfigError(f"others may change or read {path.name}", hint=f"chmod 600 {path}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path.name} is missing", hint="blofin mandate init makes one") from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    """Put a file there whole, for its owner alone. Errors: ConfigError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be written: {error.strerror}") from None


def _day(at_ms: int) -> str:
    from blofin_cli.app.timespec import day_of

    return day_of(at_ms)
