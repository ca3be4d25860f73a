"""Forms made from a command's options, and what comes back from them as arguments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from blofin_cli.app.spec import CommandSpec, Option
from blofin_cli.faces.web.calls import options_of

ON, OFF = "true", "false"


@dataclass(frozen=True, slots=True)
class Input:
    """One control of a form. `kind` is text, number, choice, switch or lines."""

    field: str
    label: str
    help: str
    kind: str
    value: str
    placeholder: str
    choices: tuple[str, ...]
    is_required: bool


def inputs_of(spec: CommandSpec, values: Mapping[str, Any]) -> list[Input]:
    """The controls for a command's options, holding these values."""
    return [_input(option, values.get(option.field)) for option in options_of(spec)]


def arguments_of(spec: CommandSpec, fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Arguments out of the fields of a form: what was left empty was not given.

    Fields that begin with `_` belong to the page, not to the command.
    """
    several = {item.field for item in spec.options() if item.is_repeatable}
    arguments: dict[str, Any] = {}
    for name, value in fields:
        text = value.strip()
        if name.startswith("_") or not text:
            continue
        if name in several:
            arguments.setdefault(name, []).extend(text.split())
        else:
            arguments[name] = text
    return arguments


def hidden_fields(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Arguments as the fields of a form that asks once more."""
    pairs = []
    for name, value in arguments.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        pairs += [(name, str(item)) for item in values]
    return pairs


def _input(option: Option, value: Any) -> Input:
    joined = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return Input(
        field=option.field,
        label=option.field.replace("_", " ").capitalize(),
        help=option.help,
        kind=_kind(option),
        value="" if joined is None else str(joined),
        placeholder=option.default,
        choices=option.choices,
        is_required=option.is_required,
    )


def _kind(option: Option) -> str:
    if option.is_flag:
        return "switch"
    if option.choices and not option.is_repeatable and not option.kind.endswith(",…"):
        return "choice"
    if option.is_repeatable:
        return "lines"
    return "number" if option.kind in {"INTEGER", "NUMBER"} else "text"
