"""API keys: where they are found, and what is refused without a word of them being shown."""

import os
from pathlib import Path

import pytest

from blofin_cli.app import config, keys
from blofin_cli.app.settings import load
from blofin_cli.errors import ConfigError

KEY, SECRET, PHRASE = "canary-key", "canary-secret", "canary-phrase"
WHOLE = f'key = "{KEY}"\nsecret = "{SECRET}"\npassphrase = "{PHRASE}"\n'


@pytest.fixture
def folder(own_home, empty_folder):
    config._folders.cache_clear()
    place = config.user_config_folder()
    place.mkdir(parents=True)
    yield place
    config._folders.cache_clear()


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def parts(found) -> tuple[str, str, str]:
    return (found.key, found.secret, found.passphrase)


def refusal(account: str = "demo") -> ConfigError:
    """What is said about the account's key, which shows nothing of it."""
    with pytest.raises(ConfigError) as caught:
        keys.credentials(account)
    assert "canary" not in str(caught.value.envelope())
    return caught.value


def test_no_key_says_how_to_store_one(folder):
    """A fresh install has none, and the next step is named."""
    error = refusal()
    assert error.message == "no API key for demo"
    assert "blofin config key demo" in error.hint
    assert not keys.has_key("demo")


@pytest.mark.parametrize(
    ("account", "stem"),
    [("live", "BLOFIN_API"), ("demo", "BLOFIN_DEMO_API"), ("ccxt-okx", "BLOFIN_CCXT_OKX_API")],
)
def test_key_of_the_environment_comes_first(folder, monkeypatch, account, stem):
    """Variables are nearer than the file, and each account has names of its own."""
    write(folder, f"[{account}]\n" + WHOLE)
    for part in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"{stem}__{part}", f"near-{part.lower()} \n")
    found = keys.find(account)
    assert found.source == "environment"
    assert parts(found.credentials) == ("near-key", "near-secret", "near-passphrase")
    assert load().settings.mode == "dry-run"  # no variable of a key is taken for a setting


def test_key_of_the_file_is_used(folder):
    """A 0600 file in the user's config folder, a table an account."""
    write(folder, "[live]\n" + WHOLE + "[ccxt-okx]\n" + WHOLE.replace("canary", "other"))
    assert keys.find("live").source == "keys.toml"
    assert parts(keys.credentials("live")) == (KEY, SECRET, PHRASE)
    assert keys.credentials("ccxt-okx").key == "other-key"
    assert "canary" not in repr(keys.find("live"))
    assert refusal("demo").message == "no API key for demo"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_file_that_others_can_read_is_refused_with_the_command(folder, mode):
    """B36: the way out is a chmod, and there is no option around it."""
    path = write(folder, "[demo]\n" + WHOLE, mode)
    assert refusal().hint == f"chmod 600 {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(folder):
    """B36: a key file put there by somebody else is not ours."""
    path = write(folder, "[demo]\n" + WHOLE)
    os.chown(path, 12345, 12345)
    assert "belongs to another user" in refusal().message


def test_file_inside_a_git_work_tree_is_refused(folder):
    """B36: sooner or later it would be committed."""
    write(folder, "[demo]\n" + WHOLE)
    (folder.parent / ".git").mkdir()
    assert "git work tree" in refusal().message


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop", "huge", "bytes"])
def test_file_of_the_wrong_kind_is_refused_without_hanging(folder, kind):
    """B35: kind and size are looked at before anything is read."""
    path = folder / "keys.toml"
    make = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to("keys.toml"),
        "huge": lambda: path.write_text("#" * 2_000_000),
        "bytes": lambda: path.write_bytes(b"\xff\xfe"),
    }
    make[kind]()
    if path.is_file():
        path.chmod(0o600)
    assert "keys.toml" in refusal().message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'key = "{KEY}"\nsecret = "{SECRET}"', "has no passphrase"),
        (f'key = "{KEY}"\npassphrase = " "', "has no secret and no passphrase"),
        (WHOLE.replace(KEY, "canary key"), "the key of the demo key in keys.toml holds a blank"),
        (WHOLE.replace(SECRET, "'canary'"), "the secret of the demo key in keys.toml is in quotes"),
        (WHOLE.replace(PHRASE, "canary\\u00e9"), "the passphrase of the demo key"),
        (WHOLE.replace(PHRASE, "canary\\u001b[2J"), "the passphrase of the demo key"),
        (WHOLE.replace(KEY, "c" * 1000), "longer than"),
        (WHOLE.replace(SECRET, KEY), "the same key and secret"),
        (WHOLE.replace(KEY, "a-secret").replace(SECRET, "a-kee"), "look swapped"),
        ("key = 5", "key under [demo] must be text in quotes"),
        (WHOLE + 'password = "canary"', "unknown password"),
        ('key = "canary', "is not valid TOML (at end"),
        (WHOLE + WHOLE, "is not valid TOML (at line"),
    ],
)
def test_bad_key_is_refused_before_any_request(folder, text, said):
    """B37: which part is wrong is said, what it holds is not."""
    write(folder, "[demo]\n" + text)
    assert said in refusal().message


def test_parts_from_two_places_are_not_mixed(folder, monkeypatch):
    """A key from here with a secret from there is a mistake that is named."""
    write(folder, "[demo]\n" + WHOLE)
    monkeypatch.setenv("BLOFIN_DEMO_API__KEY", KEY)
    assert "the demo key in environment has no secret" in refusal().message


def test_blanks_around_a_key_are_trimmed(folder):
    """B37: the line end that copying leaves is no part of it."""
    write(folder, "[demo]\n" + WHOLE.replace(KEY, f"  {KEY}\\n"))
    assert keys.credentials("demo").key == KEY


def test_unknown_table_is_named(folder):
    """A typo in a table's name is no missing key."""
    write(folder, "[dmo]\n" + WHOLE)
    assert "unknown table dmo" in refusal().message


def test_stored_key_is_found_and_private(folder):
    """Without a keyring a key goes into the file, which keeps the others."""
    write(folder, "# mine\n[live]\n" + WHOLE)
    stored = keys.store("demo", {"key": " k1\n", "secret": "s1", "passphrase": "p1"})
    path = folder / "keys.toml"
    assert stored == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("# mine\n[live]\n")
    assert parts(keys.credentials("demo")) == ("k1", "s1", "p1")
    assert keys.credentials("live").key == KEY


def test_broken_key_is_not_stored(folder):
    """What would be refused later is refused now."""
    with pytest.raises(ConfigError):
        keys.store("demo", {"key": "k1", "secret": "", "passphrase": "p1"})
    assert not (folder / "keys.toml").exists()


def test_alert_addresses_come_from_the_key_file(folder, monkeypatch):
    """They carry tokens: a file nobody else reads, or the environment, which is nearer."""
    write(folder, '[notify]\nurls = ["tgram://canary"]\n')
    (url,) = keys.notify_urls(load().settings)
    assert (url.get_secret_value(), str(url)) == ("tgram://canary", "**********")
    monkeypatch.setenv("BLOFIN_NOTIFY__URLS", "json://near")
    (url,) = keys.notify_urls(load().settings)
    assert url.get_secret_value() == "json://near"


# A stand-in for the package keyring, as its documentation describes it.
KEYRING = """
from keyring import errors
held = {}
broken = False

def get_password(service, name):
    if broken:
        raise errors.NoKeyringError("no backend")
    return held.get((service, name))

def set_password(service, name, text):
    if broken:
        raise errors.NoKeyringError("no backend")
    held[service, name] = text
"""
ERRORS = """
class KeyringError(Exception): ...
class NoKeyringError(KeyringError, RuntimeError): ...
"""


@pytest.fixture
def keyring(folder, tmp_path, monkeypatch):
    """A keyring of the system, made for a test."""
    import importlib
    import sys

    package = tmp_path / "site" / "keyring"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(KEYRING)
    (package / "errors.py").write_text(ERRORS)
    monkeypatch.syspath_prepend(str(package.parent))
    for name in ("keyring", "keyring.errors"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("keyring")
    for name in ("keyring", "keyring.errors"):
        sys.modules.pop(name, None)


def test_key_goes_into_the_keyring_and_comes_back(folder, keyring):
    """With the extra installed nothing is written into a file."""
    assert keys.store("demo", {"key": "k", "secret": "s", "passphrase": "p"}) == "keyring"
    assert keys.find("demo").source == "keyring"
    assert parts(keys.credentials("demo")) == ("k", "s", "p")
    assert not (folder / "keys.toml").exists()


def test_machine_without_a_keyring_falls_through_to_the_file(folder, keyring):
    """A server has no keyring; that is no error."""
    keyring.broken = True
    write(folder, "[demo]\n" + WHOLE)
    assert keys.find("demo").source == "keys.toml"
    keys.store("live", {"key": "k", "secret": "s", "passphrase": "p"})
    assert keys.find("live").source == "keys.toml"
