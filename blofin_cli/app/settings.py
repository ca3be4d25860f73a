"""The typed settings, key by key from the nearest layer, each with its origin.

Loading this module costs 0.2 s (pydantic-settings); `config` finds the state and cache without.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from blofin_cli.app import config
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import ConfigError, UsageError

DEFAULT = "default"


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
    default_symbol: str = Field("BTC-USDT", description="Instrument when none is named")
    exchange: str = Field(
        "blofin",
        description="Where prices and orders come from: blofin, sim or ccxt:NAME",
        pattern=r"^(blofin|sim|ccxt:[a-z0-9_]{1,32})$",
    )
    mode: Mode = Field(Mode.DRY_RUN, description="How orders are executed")
    sim_url: str = Field(
        "http://127.0.0.1:8787", description="Address of the exchange in a box, on this machine"
    )
    strategy: dict[str, Any] = Field(
        default_factory=dict,
        description="Strategy parameters by dotted path, as for --set",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe entry the log file keeps"
    )

    @field_validator("state", "cache")
    @classmethod
    def _open_home(cls, text: str) -> str:
        return config.located(text)

    @field_validator("default_symbol")
    @classmethod
    def _normalise(cls, text: str) -> str:
        from blofin_cli.core.market import normalise_symbol

        try:
            return normalise_symbol(text)
        except UsageError as error:
            raise ValueError(error.message) from None

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
        """The same layers that the light path reads, so that the two cannot disagree."""
        files = tuple(InitSettingsSource(settings_cls, layer.values) for layer in config.layers())
        return (init_settings, *files)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where every value came from, by dotted path."""

    settings: Settings
    origins: Mapping[str, str]


def load(overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Read all layers under what was typed on the command line.

    Errors: ConfigError for an unknown key (with the nearest known one) or a bad value, naming the
    file or variable it stands in.
    """
    typed = dict(overrides or {})
    sources = (config.Layer("command line", typed), *config.layers())
    _refuse_unknown(sources)
    try:
        settings = Settings(**typed)
    except ValidationError as error:
        raise _explained(error, sources) from None
    return Loaded(settings, dict(_origins(settings, sources)))


def _refuse_unknown(sources: tuple[config.Layer, ...]) -> None:
    for layer in sources:
        for key in layer.values:
            if key not in Settings.model_fields:
                near = get_close_matches(key, Settings.model_fields, 1, 0.5)
                hint = f"did you mean {near[0]}?" if near else _known_keys()
                raise ConfigError(
                    f"unknown setting {_spelt(key, layer)} in {layer.origin}", hint=hint
                )


def _known_keys() -> str:
    return "known: " + ", ".join(Settings.model_fields)


def _spelt(key: str, layer: config.Layer) -> str:
    name = config.PREFIX + key.upper() if layer.origin == "environment" else key
    return ascii(name)[1:81].rstrip("'")


def _explained(error: ValidationError, sources: tuple[config.Layer, ...]) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    origin = next((layer.origin for layer in sources if key in layer.values), DEFAULT)
    rule = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return ConfigError(
        f"setting {key} in {origin}: {rule}; got {ascii(first['input'])[:80]}",
        details={"setting": key, "origin": origin},
    )


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
