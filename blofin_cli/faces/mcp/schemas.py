"""Schemas short enough for a model to read, made straight from the request and result models.

pydantic's own schemas say everything three times (`title`, `anyOf` with null, `$defs`) and cost a
second to build for all commands; the tools of all groups would be 15,000 tokens. What is left here
is what an agent acts on: type, bounds, words to choose from, one sentence. `invoke` judges.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from blofin_cli.app.spec import CommandSpec, Effect, Option
from blofin_cli.app.timespec import TimeSpec
from blofin_cli.faces.mcp.toolset import HIDDEN, PLAN_TOOL, Offer

TOKEN_CHARACTERS = 4
CURSOR = {"type": "string", "description": "A page.next"}
CURSOR_FIELD, PAGE_FIELD = "cursor", "page"
ANSWERS_MAX = 12  # names an output schema lists; the rest of an answer is no less there
# The same field of many tools, in fewer words than a person needs once.
SHORT = {
    "symbol": "Instrument, e.g. BTC-USDT",
    "mode": "Account; default from settings",
    "timeframe": "Bar size, default 15m",
    "context": "Zone timeframes, e.g. 1h, 4h",
    "set": "name=value, e.g. stop.buf=1.0",
    "data": "Candle file or folder",
    "synthetic": "Seed of an invented market",
}
BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
BOUNDS_OF_LISTS = {"min_length": "minItems", "max_length": "maxItems"}
BOUNDS_OF_TEXT = {"min_length": "minLength", "max_length": "maxLength"}
SYMBOL_FIELD = "symbol"


def description(spec: CommandSpec, offer: Offer) -> str:
    """What the tool does, and what it is not for."""
    assert spec.tool is not None
    first = spec.help.partition("\n")[0].rstrip(".")
    if spec.tool == PLAN_TOOL and not offer.allow_trading:
        first += ". This server plans only"
    return f"{first}. Not for {offer.words(spec.tool).not_for}."


def annotations(spec: CommandSpec, offer: Offer) -> dict[str, bool]:
    """The four hints, from the effect."""
    assert spec.tool is not None
    plans_only = spec.tool == PLAN_TOOL and not offer.allow_trading
    reads = spec.effect is Effect.READ or plans_only
    ends = offer.words(spec.tool).group == "trade" and not plans_only
    lowers = spec.effect is Effect.SAFE and not offer.words(spec.tool).adds_up
    return {
        "readOnlyHint": reads,
        "destructiveHint": ends or (spec.effect is Effect.TRADE and not plans_only),
        "idempotentHint": reads or lowers,
        "openWorldHint": offer.words(spec.tool).reaches_out,
    }


def input_schema(spec: CommandSpec, offer: Offer) -> dict[str, Any]:
    """JSON Schema of a tool's arguments."""
    assert spec.tool is not None
    hidden = offer.hidden(spec.tool)
    shown = {option.field: option for option in spec.options() if option.field not in hidden}
    fields = spec.request.model_fields
    properties = {
        name: argument(fields[name], option, default=offer.words(spec.tool).defaults.get(name))
        for name, option in shown.items()
    }
    if offer.words(spec.tool).is_long:
        properties[CURSOR_FIELD] = CURSOR
    required = [name for name, option in shown.items() if is_asked_for(option)]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema | {"additionalProperties": False}


def is_asked_for(option: Option) -> bool:
    """Whether the agent must pass it: a symbol left out means the setting `default_symbol`."""
    return option.is_required and option.field != SYMBOL_FIELD


def argument(field: FieldInfo, option: Option, default: Any = None) -> dict[str, Any]:
    """Schema of one argument: type, choices, bounds and its sentence."""
    schema = _type_of(field.annotation)
    is_list = "items" in schema  # one instrument alone needs no list, says `calls`
    names = BOUNDS | (BOUNDS_OF_LISTS if is_list else BOUNDS_OF_TEXT)
    schema |= _bounds(field.metadata, names)
    text = SHORT.get(option.field, (field.description or "").strip())
    if option.field == SYMBOL_FIELD:
        text += "; default from settings" if option.is_required else "; default all"
        schema.pop("minItems", None)
    schema["description"] = text
    shown = default if default is not None else _plain_default(field)
    if shown is not None:
        schema["default"] = shown
    return schema


def output_schema(spec: CommandSpec, offer: Offer) -> dict[str, Any]:
    """JSON Schema of what a tool answers: its names and their types, one level deep."""
    assert spec.tool is not None
    fields = {
        name: field
        for name, field in spec.result.model_fields.items()
        if not field.exclude and name not in HIDDEN
    }
    properties = {
        name: _answer_type(fields[name].annotation) for name in list(fields)[:ANSWERS_MAX]
    }
    if offer.words(spec.tool).is_long:
        properties[PAGE_FIELD] = {"type": "object"}
    return {"type": "object", "properties": properties}


def tool_record(spec: CommandSpec, offer: Offer) -> dict[str, Any]:
    """The tool as `tools/list` sends it."""
    return {
        "name": spec.tool,
        "title": spec.name.replace("-", " ").capitalize(),
        "description": description(spec, offer),
        "inputSchema": input_schema(spec, offer),
        "outputSchema": output_schema(spec, offer),
        "annotations": annotations(spec, offer),
    }


def tool_records(offer: Offer) -> list[dict[str, Any]]:
    """Every tool of an offer as `tools/list` sends it."""
    return [tool_record(spec, offer) for spec in offer.tools.values()]


def tokens(records: Iterable[Mapping[str, Any]]) -> int:
    """What these tools cost a model: characters of their JSON, by four, rounded up."""
    characters = sum(len(json.dumps(record, separators=(",", ":"))) for record in records)
    return -(-characters // TOKEN_CHARACTERS)


def _type_of(annotation: Any) -> dict[str, Any]:
    """Schema of an argument's type; what may be None is simply left out of a call."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_of(args[0]) | _bounds(args[1:], BOUNDS)
    if origin in {Union, UnionType}:
        kinds = [_type_of(part) for part in args if part is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"type": [kind["type"] for kind in kinds]}
    if origin is Literal:
        return {"type": "string", "enum": list(args)}
    if origin in {list, tuple}:
        items = _type_of(args[0])
        return {"type": "array", "items": {"type": items["type"]}}  # its sentence says the words
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    return {"type": _PLAIN.get(annotation, "string")}


_PLAIN: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    Decimal: "number",
    str: "string",
    TimeSpec: "string",
}


def _bounds(markers: Iterable[Any], names: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for marker in markers:
        inner = getattr(marker, "metadata", None) if isinstance(marker, FieldInfo) else [marker]
        for item in inner or ():
            for key, name in names.items():
                value = getattr(item, key, None)
                if value is not None:
                    found[name] = value if isinstance(value, (int, str)) else _short(value)
    return found


def _short(number: float | Decimal) -> float | int:
    return int(number) if number == int(number) else float(number)


def _plain_default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    if field.is_required() or default in (None, (), [], "", False):
        return None
    if isinstance(default, float):
        return _short(default)
    return default.value if isinstance(default, Enum) else json.loads(json.dumps(default))


def _answer_type(annotation: Any) -> dict[str, Any]:
    kinds = list(dict.fromkeys(_answer_kinds(annotation)))
    if not kinds:
        return {}
    return {"type": kinds[0] if len(kinds) == 1 else kinds}


def _answer_kinds(annotation: Any) -> list[str]:
    """JSON types a value may have. A list of records may come column-wise, as an object."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return []
    if annotation is None or annotation is type(None):
        return ["null"]
    if origin is Annotated:
        return _answer_kinds(args[0])
    if origin in {Union, UnionType}:
        return [kind for part in args for kind in _answer_kinds(part)]
    if origin is Literal:
        return ["string"]
    if origin in {list, tuple, set, frozenset} or annotation in {list, tuple}:
        return ["array", "object"] if args and _is_record(args[0]) else ["array"]
    if origin is not None or annotation is dict:
        return ["object"]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ["string"]
    if annotation in (float, Decimal):
        return ["number", "null"]  # what is not finite is null
    return [_PLAIN[annotation]] if annotation in _PLAIN else ["object"]


def _is_record(kind: Any) -> bool:
    if get_origin(kind) is dict or kind is dict:
        return True
    if not isinstance(kind, type):
        return False
    return issubclass(kind, BaseModel) or is_dataclass(kind)
