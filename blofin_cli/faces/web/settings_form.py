"""The settings as a form: each typed setting and strategy parameter, with its rule and origin."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from blofin_cli.app import catalog
from blofin_cli.app.context import Context
from blofin_cli.app.settings import (
    DEFAULT,
    Settings,
    every_setting,
    holds_secret,
    known_fields,
)
from blofin_cli.core.strategy import Strategy, build_strategy, flatten, to_text
from blofin_cli.faces.web.calls import is_fixed

FIRST = ("general", "risk", "stop", "target", "entry", "manage")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: dotted path, value in force, where from, rule and choices."""

    key: str
    value: str
    default: str
    origin: str
    help: str
    rule: str
    choices: tuple[str, ...]
    is_fixed: bool

    @property
    def is_changed(self) -> bool:
        """Whether it differs from what is shipped."""
        return self.origin != DEFAULT


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together."""

    name: str
    about: str
    rows: list[Row]


def groups(context: Context) -> list[Group]:
    """Every setting, general ones and risk first. Errors: ConfigError, UsageError."""
    strategy = build_strategy(context.settings.strategy)
    origins = context.loaded.origins
    found = _general(context)
    plain: list[Row] = []
    hints = get_type_hints(Strategy)
    for item in fields(Strategy):
        section = getattr(strategy, item.name)
        if is_dataclass(section):
            about = (type(section).__doc__ or "").partition("\n")[0]
            found.append(Group(item.name, about, list(_rows(section, f"{item.name}.", origins))))
        else:
            plain.append(_row(item, hints[item.name], strategy, "", origins))
    found.insert(1, Group("strategy", "Which candles are traded.", plain))
    order = {name: place for place, name in enumerate(FIRST)}
    return sorted(found, key=lambda group: order.get(group.name, len(order)))


def can_write() -> bool:
    """Whether the settings can be changed from here."""
    return "value" in catalog.load("config").request.model_fields


def _general(context: Context) -> list[Group]:
    """What is no parameter of the strategy, by section; secrets are hidden by who lists them."""
    known = known_fields()
    sections: dict[str, list[Row]] = {}
    for path, value, origin, about in every_setting(context.loaded):
        if path not in known:
            continue
        field = known[path]
        row = Row(
            key=path,
            value=_text(value),
            default=_text(field.get_default(call_default_factory=True)),
            origin=origin,
            help=about,
            rule="",
            choices=_choices(field.annotation),
            is_fixed=is_fixed(path) or holds_secret(path),
        )
        sections.setdefault(path.rpartition(".")[0] or "general", []).append(row)
    abouts = {name: field.description or "" for name, field in Settings.model_fields.items()}
    general = "Where things are and which market is meant"
    return [Group(name, f"{abouts.get(name, general)}.", rows) for name, rows in sections.items()]


def _rows(section: Any, prefix: str, origins: Any) -> Any:
    hints = get_type_hints(type(section))
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            yield from _rows(value, f"{prefix}{item.name}.", origins)
        else:
            yield _row(item, hints[item.name], section, prefix, origins)


def _row(item: Any, hint: Any, section: Any, prefix: str, origins: Any) -> Row:
    key = f"{prefix}{item.name}"
    low, high = item.metadata.get("low"), item.metadata.get("high")
    return Row(
        key=f"strategy.{key}",
        value=to_text(getattr(section, item.name)),
        default=to_text(flatten(Strategy()).get(key)),
        origin=origins.get(f"strategy.{key}", DEFAULT),
        help=item.metadata.get("text", ""),
        rule="" if low is None else f"{low:g} to {high:g}",
        choices=_choices(hint),
        is_fixed=False,
    )


def _choices(hint: Any) -> tuple[str, ...]:
    if hint is bool:
        return ("true", "false")
    if get_origin(hint) is Literal:
        return tuple(str(word) for word in get_args(hint))
    members = getattr(hint, "__members__", None)
    return tuple(str(member.value) for member in members.values()) if members else ()


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(_text(item) for item in value)
    return "" if value is None else str(getattr(value, "value", value))
