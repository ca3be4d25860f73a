"""Settings: layers, origins, refusals; and the light path beside the full one."""

import os
from pathlib import Path

import pytest

from blofin_cli.app import config
from blofin_cli.app.context import Context
from blofin_cli.app.settings import Settings, known_fields, load, template, write_setting
from blofin_cli.errors import ConfigError, UsageError


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
    write('default_symbol = "SOL-USDT"\nmode = "demo"\ncache = "u"', user_folder)
    write('default_symbol = "ETH-USDT"\nmode = "dry-run"\n')
    monkeypatch.setenv("BLOFIN_DEFAULT_SYMBOL", "btcusdt")
    loaded = load()
    assert loaded.settings.default_symbol == "BTC-USDT"
    assert loaded.settings.mode == "dry-run"
    assert loaded.settings.cache == "u"
    assert loaded.origins["default_symbol"] == "environment"
    assert loaded.origins["mode"] == "blofin.toml"
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
        ('mode = "loud"', "setting mode in blofin.toml: must be", ""),
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
    assert load().settings.mode == "dry-run"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[strategy]\nrisk.nope = 1", "[strategy] in blofin.toml: unknown strategy setting"),
        ("[strategy]\nrisk.per_trade_pct = -1", "risk.per_trade_pct must be from 0.05 to 2"),
        ('exchange = "binance"', "is no such thing (Where prices and orders come from: blofin"),
        ('sim_url = "http://evil.example:80"', "sim_url in blofin.toml: the simulator's address"),
        ('[web]\nport = "8788"', "setting web.port in blofin.toml: must be a whole number"),
        ("[web]\nport = true", "setting web.port"),
        ("[web]\nport = [10]", "setting web.port"),
        ("[web]\nport = 70000", "setting web.port in blofin.toml: must be less than"),
        (
            "[guard]\nheartbeat_stale_s = nan",
            "setting guard.heartbeat_stale_s in blofin.toml: must be a finite",
        ),
        ("[mcp]\nrisk_day_pct = inf", "setting mcp.risk_day_pct"),
        ("[mcp]\nrisk_day_pct = -1", "setting mcp.risk_day_pct"),
        ("[mcp]\nnotional_day_usdt = 1000000000000", "setting mcp.notional_day_usdt"),
        ("[guard]\nheartbeat_stale_s = 2026-01-01", "setting guard.heartbeat_stale_s"),
        ("[session]\napproval_only = 1", "setting session.approval_only"),
        ('[notify]\nlevels = ["loud"]', "setting notify.levels"),
        ("web = 5", "web in blofin.toml must be a section"),
        ("[web]\nhost = 'evil.example'", "setting web.host"),
        ("[state]\npath = 'x'", "setting state"),
    ],
)
def test_value_of_the_wrong_type_is_refused(empty_folder, text, said):
    """B33, B34: text is no number, a flag is no number, and no limit is infinite or absurd."""
    write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[web]\nprot = 1", "did you mean web.port?"),
        ('[web]\n"port " = 1', "did you mean web.port?"),
        ("[mcp]\nallow_tradin = true", "did you mean mcp.allow_trading?"),
        ("[weeb]\nport = 1", "did you mean web?"),
        ("[guard]\nxyz = 1", "known: on_stale, heartbeat_stale_s"),
    ],
)
def test_unknown_nested_key_names_the_nearest(empty_folder, text, hint):
    """B32: a typo inside a section is an error as well."""
    write(text)
    with pytest.raises(ConfigError, match="unknown setting") as caught:
        load()
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BLOFIN_WEB__PROT", "1", "unknown setting BLOFIN_WEB__PROT in environment"),
        ("BLOFIN_WEB__PORT", "1_000", "must be a whole number"),
        ("BLOFIN_WEB__PORT", "9" * 5000, "must be a whole number"),
        ("BLOFIN_SIM_URL", "http://127.0.0.1", "setting sim_url in environment"),
        ("BLOFIN_MCP__RISK_DAY_PCT", "nan", "must be a plain number"),
        ("BLOFIN_MCP__ALLOW_TRADING", "perhaps", "setting mcp.allow_trading in environment"),
        ("BLOFIN_API__KYE", "canary", "unknown variable BLOFIN_API__KYE"),
    ],
)
def test_bad_variable_is_named(empty_folder, monkeypatch, name, value, said):
    """Variables follow the same rules, and a bad key's value is not shown."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert said in caught.value.message
    assert "canary" not in str(caught.value.envelope())


def test_variables_are_read_as_their_fields_type(empty_folder, monkeypatch):
    """A variable is text: lists by commas or blanks, numbers and flags as they are spelt."""
    monkeypatch.setenv("BLOFIN_WEB__PORT", "9000")
    monkeypatch.setenv("BLOFIN_MCP__ALLOW_TRADING", "true")
    monkeypatch.setenv("BLOFIN_WEB__ALLOW", "10.0.0.1, 10.1.0.0/16")
    monkeypatch.setenv("BLOFIN_NOTIFY__URLS", "tgram://canary/1,2 json://host")
    settings = load().settings
    assert (settings.web.port, settings.mcp.allow_trading) == (9000, True)
    assert settings.web.allow == ("10.0.0.1", "10.1.0.0/16")
    assert settings.notify.urls[0].get_secret_value() == "tgram://canary/1,2"
    assert "canary" not in repr(settings) + str(settings.model_dump())


@pytest.mark.parametrize(
    "text",
    ['[api]\nkey = "canary"', '[demo]\nsecret = "canary"', '[web]\npassword = "canary"',
     '[notify]\nurls = ["canary"]', 'passphrase = "canary"'],
)  # fmt: skip
def test_secret_in_a_settings_file_is_refused_and_not_shown(empty_folder, text):
    """Settings files are copied and shared; keys have places of their own."""
    write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    told = str(caught.value.envelope())
    assert "holds a secret" in told
    assert "canary" not in told


@pytest.mark.parametrize("path", sorted(known_fields()))
def test_every_setting_is_described(path):
    """The sentence of a field is its documentation."""
    assert known_fields()[path].description


def test_template_loads_with_every_line_taken_in(empty_folder, monkeypatch):
    """What `config init` writes is valid as it is, and with each example uncommented."""
    write(template())
    assert load().settings == Settings()
    lines = [
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in template().splitlines()
    ]
    write("\n".join(line for line in lines if not line.startswith("Take")))
    loaded = load()
    unset = {"notify.urls"}
    named = {path for path, origin in loaded.origins.items() if origin == "blofin.toml"}
    assert {*known_fields()} - unset - {"strategy"} <= named


def test_written_setting_keeps_comments_and_is_read_back(user_folder):
    """A change touches one line; the rest of the file is as it was."""
    write('# mine\n[web]  # the page\nport = 1 # old\n\n[mcp]\ntoolset = "all"\n')
    assert write_setting("web.port", "9000") == Path("blofin.toml").resolve()
    write_setting("mcp.allow_trading", True)
    write_setting("strategy.stop.buf", "1.25")
    write_setting("mcp.toolset", None)
    text = Path("blofin.toml").read_text()
    assert text.startswith("# mine\n[web]  # the page\nport = 9000 # old\n")
    loaded = load()
    assert loaded.settings.web.port == 9000
    assert loaded.settings.mcp.allow_trading is True
    assert loaded.settings.mcp.toolset == "default"
    assert loaded.settings.strategy == {"stop.buf": 1.25}
    assert list(Path().glob(".blofin*")) == []


def test_setting_goes_to_the_users_file_without_a_project(user_folder):
    """No blofin.toml is left behind in folders by accident; a new file is its owner's alone."""
    file = write_setting("web.allow", ["10.0.0.1"])
    assert file == (user_folder / "blofin.toml").resolve()
    assert file.stat().st_mode & 0o777 == 0o600
    assert load().settings.web.allow == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("web.prot", "1", "unknown setting web.prot"),
        ("nothing", "1", "unknown setting nothing"),
        ("web", "1", "unknown setting web"),
        ("strategy", "1", "unknown setting strategy"),
        ("web.port", "70000", "less than or equal to 65535"),
        ("web.port", "1.5", "web.port"),
        ("api.key", "canary", "holds a secret"),
        ("notify.urls", "canary", "holds a secret"),
        ("strategy.stop.bufff", "1", "stop.buf"),
        ("strategy.stop.buf", "nan", "stop.buf"),
        ("default_symbol", "BTC-EUR", "default_symbol"),
    ],
)
def test_bad_change_is_refused_before_the_file_is_touched(user_folder, path, value, said):
    """A file that would not load is never put in place."""
    write("[web]\nport = 1\n")
    with pytest.raises((ConfigError, UsageError)) as caught:
        write_setting(path, value)
    told = str(caught.value.envelope())
    assert said in told
    assert "canary" not in told
    assert Path("blofin.toml").read_text() == "[web]\nport = 1\n"


def test_change_of_a_linked_file_changes_its_target(user_folder):
    """A settings file kept elsewhere by a link stays a link."""
    Path("real.toml").write_text("")
    Path("blofin.toml").symlink_to("real.toml")
    write_setting("web.port", 9000)
    assert Path("blofin.toml").is_symlink()
    assert "9000" in Path("real.toml").read_text()
