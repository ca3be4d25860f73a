"""The typed settings, key by key from the nearest layer, each with its origin.

A value from a file has the type TOML gave it and must be what its field asks for (`"10"` is no
number there); a variable is text and is read as the field's type. Loading this module costs 0.2 s
(pydantic-settings); `config` finds the state and cache without.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from blofin_cli.app import config
from blofin_cli.app.sections import Guard, Mcp, Notify, Session, Web
from blofin_cli.core.quotes import Environment, Mode
from blofin_cli.core.strategy import Strategy, build_strategy, flatten, path_of
from blofin_cli.errors import BlofinError, ConfigError, UsageError

DEFAULT = "default"
COMMAND_LINE = "command line"
ENVIRONMENT = "environment"
ARGUMENT = "the argument"
HIDDEN = "****"
WHERE_SECRETS_GO = "keep keys in the environment, the keyring or keys.toml: blofin guide exchange"
# Words that name a secret wherever they stand, and sections people expect keys in.
_SECRET_WORDS = frozenset(
    {"key", "secret", "passphrase", "api_key", "api_secret", "apikey", "token", "password"}
)
_SECRET_SECTIONS = frozenset({"api", "demo_api", "keys", "live", "demo"})
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
NUMBER_LENGTH_MAX = 32


def _symbol(text: str) -> str:
    from blofin_cli.core.market import normalise_symbol

    try:
        return normalise_symbol(text)
    except UsageError as error:
        raise ValueError(error.message) from None


def _box_address(text: str) -> str:
    from blofin_cli.adapters.exchanges.blofin.hosts import host_of

    try:
        host_of(Environment.SIMULATED, text)
    except ConfigError as error:
        raise ValueError(error.message) from None
    return text


class Settings(BaseSettings):
    """What a user can set once instead of typing it every time."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    state: str = Field(
        default_factory=config.state_location,
        description="State file (SQLite), or postgresql://…",
        min_length=1,
    )
    cache: str = Field(
        default_factory=lambda: str(config.cache_folder()),
        description="Folder for candles and compiled code",
        min_length=1,
    )
    default_symbol: Annotated[str, AfterValidator(_symbol)] = Field(
        "BTC-USDT", description="Instrument when none is named"
    )
    exchange: str = Field(
        "blofin",
        description="Where prices and orders come from: blofin, sim or ccxt:NAME",
        pattern=r"^(blofin|sim|ccxt:[a-z0-9_]{1,32})$",
    )
    mode: Mode = Field(Mode.DRY_RUN, description="How orders are executed")
    sim_url: Annotated[str, AfterValidator(_box_address)] = Field(
        "http://127.0.0.1:8787", description="Address of the exchange in a box, on this machine"
    )
    strategy: dict[str, Any] = Field(
        default_factory=dict,
        description="Strategy parameters by dotted path, as for --set",
    )
    session: Session = Field(default=Session(), description="How the real-time loop behaves")
    guard: Guard = Field(default=Guard(), description="What the watchdog does")
    notify: Notify = Field(default=Notify(), description="Who hears about what happens")
    web: Web = Field(default=Web(), description="The web dashboard")
    mcp: Mcp = Field(default=Mcp(), description="What agents may do")

    @field_validator("state", "cache")
    @classmethod
    def _open_home(cls, text: str) -> str:
        return config.located(text)

    @field_validator("strategy")
    @classmethod
    def _by_dotted_path(cls, nested: dict[str, Any]) -> dict[str, Any]:
        return dict(_leaves(nested))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers that `load` has read and typed, nearest first."""
        layers = tuple(InitSettingsSource(settings_cls, layer.values) for layer in _READ.get())
        return (init_settings, *layers)


_READ: ContextVar[tuple[config.Layer, ...]] = ContextVar("layers", default=())


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where every value came from, by dotted path."""

    settings: Settings
    origins: Mapping[str, str]


def load(overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Read all layers under what was typed on the command line.

    Errors: ConfigError for an unknown key (with the nearest known one), a value of the wrong type
    or out of bounds, or a secret, naming the file or variable it stands in.
    """
    loaded = resolve((config.Layer(COMMAND_LINE, dict(overrides or {})), *config.layers()))
    _check_strategy(loaded)
    return loaded


def _check_strategy(loaded: Loaded) -> None:
    """Parameters of the strategy are as strict as any setting. Errors: ConfigError."""
    if not loaded.settings.strategy:
        return
    try:
        build_strategy(loaded.settings.strategy)
    except UsageError as problem:
        sources = {
            origin for path, origin in loaded.origins.items() if path.startswith("strategy.")
        }
        where = ", ".join(sorted(sources - {DEFAULT}))
        message = f"[strategy] in {where}: {problem.message}"
        raise ConfigError(message, hint=problem.hint) from None


def resolve(sources: tuple[config.Layer, ...]) -> Loaded:
    """The settings these layers make, the nearest first. Errors: as `load`."""
    typed = tuple(
        config.Layer(layer.origin, _section(Settings, layer.values, layer)) for layer in sources
    )
    token = _READ.set(typed)
    try:
        settings = Settings()
    except ValidationError as error:
        raise _explained(error, typed) from None
    finally:
        _READ.reset(token)
    return Loaded(settings, dict(_origins(settings, typed)))


def known_fields(model: type[BaseModel] | None = None, prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting by dotted path; `strategy` stands for all parameters of the strategy."""
    known: dict[str, FieldInfo] = {}
    for name, field in (model or Settings).model_fields.items():
        inner = _section_of(field)
        if inner is None:
            known[prefix + name] = field
        else:
            known |= known_fields(inner, f"{prefix}{name}.")
    return known


def read_value(path: str, value: Any, origin: str) -> Any:
    """A value as the field of this path takes it; text from a person or variable is parsed.

    Errors: ConfigError with the rule, UsageError for an argument; a secret is not shown.
    """
    field = known_fields()[path]
    is_text = origin in {ENVIRONMENT, COMMAND_LINE, ARGUMENT} and isinstance(value, str)
    try:
        return _from_text(field, value) if is_text else _from_file(field, value)
    except (ValidationError, ValueError) as error:
        raise _refused(path, origin, value, error) from None


def every_setting(loaded: Loaded) -> Iterator[tuple[str, Any, str, str]]:
    """Path, value as it may be shown, origin and sentence of every setting in force."""
    values = dict(_leaves(loaded.settings.model_dump()))
    for path, field in known_fields().items():
        if path != "strategy":
            origin = loaded.origins.get(path, DEFAULT)
            yield path, shown(path, values[path]), origin, field.description or ""
    for name, value in loaded.settings.strategy.items():
        path = f"strategy.{name}"
        yield path, value, loaded.origins.get(path, DEFAULT), "Strategy parameter"


def write_setting(path: str, value: Any, *, file: Path | None = None) -> Path:
    """Set one value in a settings file, keeping its comments; None takes it out.

    Text is read as the field's type. The file is replaced whole and only by one that loads; without
    `file` it is the project's if there is one, else the user's. Returns the file.
    Errors: UsageError for an unknown setting or a bad value; ConfigError for a secret or a file
    that would not load or cannot be written. Nothing is written then.
    """
    import tomlkit

    target = (file or config.nearest_file()).resolve()
    layer = config.Layer(str(target), {})
    _refuse_secret(path, layer)
    typed = None if value is None else _writable(path, value)
    with _alone_in(target.parent):
        text = _read_text(target)
        try:
            document = tomlkit.parse(text)
            _plant(document, path.split("."), typed)
        except (tomlkit.exceptions.TOMLKitError, TypeError, AttributeError) as defect:
            raise ConfigError(f"{target} cannot be changed: {defect}") from None
        before, text = text, tomlkit.dumps(document)
        if value is None and text == before:
            _check_known(path)
        others = [each for each in config.layers() if Path(each.origin).resolve() != target]
        loaded = resolve((config.Layer(str(target), tomllib.loads(text)), *others))
        if path.startswith("strategy."):
            build_strategy(loaded.settings.strategy)
        replace_file(target, text)
    return target


def template() -> str:
    """A settings file with every setting in it as a comment, with its sentence and its default."""
    lines = ["# Settings of blofin-cli. Take the # away from a line to change its value."]
    lines += [
        "# Nearer sources win: the command line, BLOFIN_* variables, ./blofin.toml, this.",
        "",
    ]
    section = ""
    for path, field in known_fields().items():
        if path in {"strategy", "notify.urls"}:
            continue
        stem, _, name = path.rpartition(".")
        if stem != section:
            section = stem
            about = Settings.model_fields[stem].description
            lines += [f"[{stem}]  # {about}", ""]
        lines += [f"# {field.description}", f"# {name} = {_toml(_example(field))}", ""]
    lines += ["[strategy]  # Parameters by name: blofin guide strategy", "", "# stop.buf = 1.0", ""]
    return "\n".join(lines)


def replace_file(path: Path, text: str) -> None:
    """Write a file beside and put it in place, so that a reader sees the old one or the new.

    A new file is for its owner alone. Errors: ConfigError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.touch(mode=0o600)
            part.write_text(text, encoding="utf-8")
            part.chmod(mode)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as defect:
        raise ConfigError(f"{path} cannot be written: {defect.strerror}") from None


def is_secret(path: str) -> bool:
    """Whether the value of a setting must not be shown."""
    field = known_fields().get(path)
    return field is not None and SecretStr in _parts(field.annotation)


def shown(path: str, value: Any) -> Any:
    """A setting's value as it may be shown."""
    if not is_secret(path):
        return value
    return [HIDDEN] * len(value) if isinstance(value, tuple) else HIDDEN if value else None


def _writable(path: str, value: Any) -> Any:
    """A value as TOML holds it, checked by its own field."""
    if path.startswith("strategy."):
        return _strategy_value(value)
    _check_known(path)
    read = read_value(path, value, ARGUMENT)
    if isinstance(read, SecretStr):
        read = read.get_secret_value()
    return json.loads(json.dumps(read))  # enums as their words, tuples as lists


def _check_known(path: str) -> None:
    """Errors: UsageError for a name that is no single setting, with the nearest one."""
    if path.startswith("strategy."):
        path_of(path.removeprefix("strategy."), flatten(Strategy()))
    elif path not in known_fields() or path == "strategy":
        field = Settings.model_fields.get(path.rpartition(".")[0])
        model = (_section_of(field) if field else None) or Settings
        raise _unknown(path, model, config.Layer(ARGUMENT, {}))


def _strategy_value(value: Any) -> Any:
    """What was typed as the number or flag it spells, else as text."""
    if not isinstance(value, str):
        return value
    if value in {"true", "false"}:
        return value == "true"
    if len(value) > NUMBER_LENGTH_MAX or _NUMBER.fullmatch(value.strip()) is None:
        return value
    number = float(value)
    return int(number) if number.is_integer() and "." not in value else number


def _plant(document: Any, path: list[str], value: Any) -> None:
    """Put a value into a document, making the tables on its way; None takes it out."""
    import tomlkit

    table = document
    for name in path[:-1]:
        if name not in table:
            if value is None:
                return
            table[name] = tomlkit.table()
        table = table[name]
    if value is None:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Alone among the writers of settings in a folder."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as defect:
        raise ConfigError(f"{folder} cannot be used: {defect.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read_text(path: Path) -> str:
    try:
        return config.read_small_file(path).decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as defect:
        raise ConfigError(f"{path} cannot be read: {defect}") from None


def _example(field: FieldInfo) -> Any:
    """What a commented line shows: the default, or an example where there is none."""
    if field.examples:
        return field.examples[0]
    return json.loads(json.dumps(field.get_default(call_default_factory=True)))


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings, numbers, flags and lists look alike


def _section(model: type[BaseModel], values: Any, layer: config.Layer, at: str = "") -> Any:
    """One table of a layer with its values typed."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{_spelt(at.rstrip('.'), layer)} in {layer.origin} must be a section")
    read: dict[str, Any] = {}
    for key, value in values.items():
        path = at + key
        _refuse_secret(path, layer)
        field = model.model_fields.get(key)
        if field is None:
            raise _unknown(path, model, layer)
        inner = _section_of(field)
        if inner is not None:
            read[key] = _section(inner, value, layer, f"{path}.")
        elif path == "strategy":
            if not isinstance(value, Mapping):
                raise ConfigError(f"setting strategy in {layer.origin} must be a section")
            read[key] = value
        else:
            read[key] = read_value(path, value, layer.origin)
    return read


def holds_secret(path: str) -> bool:
    """Whether a value of this name must not be typed as an argument or written to a log."""
    return is_secret(path) or _sounds_secret(path)


def _sounds_secret(path: str) -> bool:
    words = path.lower().split(".")
    return words[-1] in _SECRET_WORDS or words[0] in _SECRET_SECTIONS


def _refuse_secret(path: str, layer: config.Layer) -> None:
    """Keys and alert addresses have places of their own; a settings file is copied and shared."""
    if layer.origin in {ENVIRONMENT, COMMAND_LINE}:
        return
    if path == "notify.urls" or _sounds_secret(path):
        raise ConfigError(
            f"{layer.origin} holds a secret: {ascii(path[:80])[1:-1][:80]}", hint=WHERE_SECRETS_GO
        )


def _unknown(path: str, model: type[BaseModel], layer: config.Layer) -> BlofinError:
    stem, _, key = path.rpartition(".")
    near = get_close_matches(key, model.model_fields, 1, 0.5)
    if not near and not stem:
        near = get_close_matches(key, known_fields(), 1, 0.7)
    known = ", ".join(model.model_fields)
    hint = f"did you mean {f'{stem}.' if stem else ''}{near[0]}?" if near else f"known: {known}"
    words = f"unknown setting {_spelt(path, layer)} in {layer.origin}"
    return _error_of(layer.origin)(words, hint=hint)


def _error_of(origin: str) -> type[BlofinError]:
    """A setting that is being changed is an argument; one that is in force is configuration.

    A halt goes on with broken settings of the second kind, whatever source they come from.
    """
    return UsageError if origin == ARGUMENT else ConfigError


def _spelt(path: str, layer: config.Layer) -> str:
    name = path
    if layer.origin == ENVIRONMENT:
        name = config.PREFIX + path.upper().replace(".", config.NESTING)
    return ascii(name[:80])[1:-1][:80]


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    bounds = tuple(field.metadata)
    kind: Any = field.annotation
    return TypeAdapter(Annotated[kind, *bounds] if bounds else kind)


def _from_file(field: FieldInfo, value: Any) -> Any:
    """A value as TOML gave it, of exactly the field's type."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    try:
        text = json.dumps(value)
    except TypeError:
        raise ValueError("must not be a date") from None
    return _adapter(field).validate_json(text, strict=True)


def _from_text(field: FieldInfo, text: str) -> Any:
    """What a person or a variable says, read as the field's type."""
    parts = _parts(field.annotation)
    if tuple in parts:
        words = text.split() if SecretStr in parts else text.replace(",", " ").split()
        return _adapter(field).validate_python(words)
    if {int, float} & parts:
        if len(text) > NUMBER_LENGTH_MAX or _NUMBER.fullmatch(text.strip()) is None:
            kind = "plain number like 0.05" if float in parts else "whole number"
            raise ValueError(f"must be a {kind}")
        text = text.strip()
    return _adapter(field).validate_python(text)


def _parts(annotation: Any) -> set[Any]:
    """Every type inside an annotation."""
    inner = getattr(annotation, "__args__", None)
    origin = getattr(annotation, "__origin__", None)
    found = {annotation if origin is None or isinstance(origin, str) else origin}
    for part in inner or ():
        found |= _parts(part)
    return {part for part in found if isinstance(part, type)}


def _refused(path: str, origin: str, value: Any, error: Exception) -> BlofinError:
    if isinstance(error, ValidationError):
        rule = error.errors(include_url=False)[0]["msg"]
    else:
        rule = str(error)
    rule = rule.removeprefix("Value error, ")
    for before, after in (
        ("Input should", "must"),
        ("String should", "must"),
        ("be a valid integer", "be a whole number"),
    ):
        rule = rule.replace(before, after, 1)
    if "match pattern" in rule:
        rule = f"is no such thing ({known_fields()[path].description})"
    what = "" if is_secret(path) else f"; got {ascii(value)[:80]}"
    return _error_of(origin)(
        f"setting {path} in {origin}: {rule}{what}", details={"setting": path, "origin": origin}
    )


def _explained(error: ValidationError, sources: tuple[config.Layer, ...]) -> BlofinError:
    """A rule that only the whole of the settings could check."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    origin = next(
        (layer.origin for layer in sources if path in dict(_leaves(layer.values))), DEFAULT
    )
    return _refused(path, origin, first["input"], ValueError(first["msg"]))


def _origins(settings: Settings, sources: tuple[config.Layer, ...]) -> Iterator[tuple[str, str]]:
    given = [(layer.origin, dict(_leaves(layer.values))) for layer in sources]
    for path in dict(_leaves(settings.model_dump())):
        yield path, next((origin for origin, leaves in given if path in leaves), DEFAULT)


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            yield prefix + key, value
