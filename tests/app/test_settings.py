"""Settings: layers, origins, refusals; and the light path beside the full one."""

import os
from pathlib import Path

import pytest

from blofin_cli.app import config
from blofin_cli.app.context import Context
from blofin_cli.app.settings import load
from blofin_cli.errors import ConfigError


def write(text: str, folder: Path = Path()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blofin.toml").write_text(text)


@pytest.fixture
def user_folder(empty_folder, monkeypatch):
    config._folders.cache_clear()
    yield Path(config.user_config_folder())
    config._folders.cache_clear()


def test_nearest_layer_wins_key_by_key(user_folder, monkeypatch):
    """Environment over project over user, each key alone."""
    write('default_symbol = "SOL-USDT"\nlog_level = "error"\ncache = "u"', user_folder)
    write('default_symbol = "ETH-USDT"\nlog_level = "debug"\n')
    monkeypatch.setenv("BLOFIN_DEFAULT_SYMBOL", "btcusdt")
    loaded = load()
    assert loaded.settings.default_symbol == "BTC-USDT"
    assert loaded.settings.log_level == "debug"
    assert loaded.settings.cache == "u"
    assert loaded.origins["default_symbol"] == "environment"
    assert loaded.origins["log_level"] == "blofin.toml"
    assert loaded.origins["cache"] == str(user_folder / "blofin.toml")
    assert loaded.origins["state"] == "default"


def test_strategy_is_flattened_to_dotted_paths(empty_folder, monkeypatch):
    """A section of the file and a variable name the same parameter."""
    write('[strategy.zones]\npreset = "classic"\n')
    monkeypatch.setenv("BLOFIN_STRATEGY__STOP__BUF", "1.0")
    loaded = load()
    assert loaded.settings.strategy == {"zones.preset": "classic", "stop.buf": "1.0"}
    assert loaded.origins["strategy.zones.preset"] == "blofin.toml"
    assert loaded.origins["strategy.stop.buf"] == "environment"


@pytest.mark.parametrize(
    ("state", "cache"),
    [(None, None), ("~/here.db", "~/there"), ("postgresql://host/db", "cache"), ("a.db", "b")],
)
@pytest.mark.parametrize("place", ["environment", "project", "user"])
def test_light_path_agrees_with_settings(user_folder, monkeypatch, state, cache, place):
    """The state and cache found without pydantic are those of the settings."""
    if state is not None and place == "environment":
        monkeypatch.setenv("BLOFIN_STATE", state)
        monkeypatch.setenv("BLOFIN_CACHE", cache)
    elif state is not None:
        folder = user_folder if place == "user" else Path()
        write(f'state = "{state}"\ncache = "{cache}"\n', folder)
    context = Context(face="test")
    assert context.state == context.settings.state
    assert str(context.cache_folder) == context.settings.cache


def test_state_typed_on_the_command_line_wins(empty_folder, monkeypatch):
    """--state is nearer than everything."""
    monkeypatch.setenv("BLOFIN_STATE", "far.db")
    context = Context(face="test", state_override="near.db")
    assert context.state == context.settings.state == "near.db"
    assert context.loaded.origins["state"] == "command line"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('default_symbl = "x"', "unknown setting default_symbl in blofin.toml", "default_symbol"),
        ('log_level = "loud"', "setting log_level in blofin.toml: must be", ""),
        ("state = 5", "setting state in blofin.toml", ""),
        ('default_symbol = "BTC-EUR"', "setting default_symbol in blofin.toml", ""),
        ("state = ", "blofin.toml is not valid TOML", ""),
        ('cache = "a"\ncache = "b"', "not valid TOML", ""),
        ("strategy = 5", "setting strategy in blofin.toml", ""),
    ],
)
def test_bad_file_is_refused_with_its_place(empty_folder, text, message, hint):
    """B31-B33: wrong keys and values name the file, the key and the nearest name."""
    write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_unknown_variable_is_refused(empty_folder, monkeypatch):
    """A typo in the environment is as wrong as one in a file."""
    monkeypatch.setenv("BLOFIN_STATEE", "x")
    with pytest.raises(ConfigError, match="BLOFIN_STATEE") as caught:
        load()
    assert caught.value.hint == "did you mean state?"


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop", "huge", "bytes"])
def test_file_of_the_wrong_kind_is_refused_without_hanging(empty_folder, kind):
    """B35: kind and size are looked at before anything is read."""
    path = Path("blofin.toml")
    make = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to("blofin.toml"),
        "huge": lambda: path.write_text("#" * 2_000_000),
        "bytes": lambda: path.write_bytes(b"\xff\xfe"),
    }
    make[kind]()
    with pytest.raises(ConfigError, match=r"blofin\.toml"):
        load()


def test_empty_file_is_fine(empty_folder):
    """Nothing set is nothing wrong."""
    write("")
    assert load().settings.log_level == "info"
