"""The typed command and the one gate it passes.

How to write a command: put one file per subject into `app/commands/`. It is found by itself.

    class PriceRequest(Request):
        symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]
        bars: Annotated[int, Field(description="Closed bars to look back", ge=50, le=5000)] = 500
        since: Annotated[Time | None, Field(description="First time, e.g. 90d")] = None
        context: Annotated[Timeframes, Field(description="Zone timeframes")] = (Timeframe.H1,)
        all: Annotated[bool, Field(description="Dead zones too")] = False

    class PriceResult(Result):
        zones: list[Zone]                      # a core dataclass as it is, or an array

    @command(effect=Effect.READ, positional=("symbol",), tool="get_price")
    async def price(request: PriceRequest, context: Context) -> PriceResult:
        \"\"\"Show the price of an instrument.\"\"\"

The function's name is the command's (`_` becomes `-`), the first docstring line its help, the
fields its options: a bool is a flag, a `list` or `tuple` field may be repeated, a `Timeframes` or
other `split_words` field takes `1h,4h`. What was typed and nothing else is in
`request.model_fields_set`. Heavy packages are imported inside the function. Failures are raised
as `errors.BlofinError`; a face prints them.

The start of every command is found by reading the file, so keep `@command(` and the `async def`
at the left margin and the help line on the line below the signature.
"""

import dataclasses
import math
import re
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum, StrEnum
from inspect import cleandoc
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.fields import FieldInfo

from blofin_cli.app.context import AuditEntry, Context
from blofin_cli.app.timespec import TimeSpec, parse_time
from blofin_cli.core.market import Timeframe, normalise_symbol
from blofin_cli.errors import BlofinError, Exit, RefusedError, UsageError

NUMBER_LENGTH_MAX = 32
TEXT_LENGTH_MAX = 10_000
SHOWN_MAX = 80
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class Effect(StrEnum):
    """What a command may do, which decides who must agree to it."""

    READ = "read"
    SAFE = "safe"
    WRITE = "write"
    TRADE = "trade"
    PERSON = "person"


def split_words(value: object) -> object:
    """`1h,4h` as the words between the commas; anything but text passes as it is."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


Symbol = Annotated[str, AfterValidator(normalise_symbol)]
Time = Annotated[
    TimeSpec, BeforeValidator(parse_time), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
Timeframes = Annotated[tuple[Timeframe, ...], BeforeValidator(split_words)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


class Request(BaseModel):
    """Arguments of a command: frozen, no unknown names, numbers written plainly."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        str_max_length=TEXT_LENGTH_MAX,
        defer_build=True,  # only the models of the command that runs are worth building
    )

    def effect(self, declared: Effect) -> Effect:
        """What this call may do; a request may lower what its command declares, or raise it."""
        return declared

    def effect_in(self, declared: Effect, context: Context) -> Effect:
        """The same where settings are read: they may say what the request leaves open."""
        del context
        return self.effect(declared)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_number(cls, value: object, info: ValidationInfo) -> object:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if value is None or not kinds & {int, float, Decimal} or str in kinds:
            return value
        return plain_number(value)


class Result(BaseModel):
    """What a command answers. Core records are held as they are; JSON takes every field.

    For tables and CSV a result says its own `rows()`, `table()`, `summary()` and `columns`; the
    defaults take the only list of records it holds, and its plain values. Prose goes into `text()`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True
    )

    columns: ClassVar[tuple[str, ...]] = ()

    def rows(self) -> list[dict[str, Any]]:
        """The records of a table, NDJSON or CSV, in reading order."""
        tables = [
            value
            for value in self._values().values()
            if isinstance(value, (list, tuple))
            and value
            and all(_is_record(item) for item in value)
        ]
        return [to_record(item) for item in tables[0]] if len(tables) == 1 else []

    def table(self) -> list[dict[str, Any]]:
        """The rows a person sees in a terminal; the records themselves unless there are better."""
        return self.rows()

    def summary(self) -> list[tuple[str, object]]:
        """Label and value of what stands above the table."""
        plain = (str, int, float, Decimal, Enum)
        return [(name, value) for name, value in self._values().items() if isinstance(value, plain)]

    def exit_code(self) -> Exit:
        """What a script is told; a result that is not a plain success says so and is shown."""
        return Exit.OK

    def text(self) -> str:
        """Markdown to show instead of a table; empty when there is a table."""
        return ""

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}


def to_record(item: Any) -> dict[str, Any]:
    """Field name -> value of a model, dataclass, named tuple or mapping, one level deep."""
    if isinstance(item, BaseModel):
        return {name: getattr(item, name) for name in type(item).model_fields}
    if dataclasses.is_dataclass(item):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    if hasattr(item, "_asdict"):
        return dict(item._asdict())
    return dict(item)


def _is_record(item: object) -> bool:
    return isinstance(item, (BaseModel, Mapping)) or dataclasses.is_dataclass(item)


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One field of a request as a person meets it: every face and the reference read this."""

    field: str
    name: str
    help: str
    kind: str
    default: str
    is_required: bool
    is_flag: bool
    is_repeatable: bool
    is_positional: bool
    choices: tuple[str, ...]


CommandFunction = Callable[[Any, Context], Awaitable[Result]]


@dataclasses.dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command as every face sees it."""

    name: str
    function: CommandFunction
    request: type[Request]
    result: type[Result]
    effect: Effect
    positional: tuple[str, ...]
    tool: str | None
    title: str
    help: str

    def options(self) -> tuple[Option, ...]:
        """Every option, the positional ones first and in their order."""
        fields = self.request.model_fields
        order = [*self.positional, *(name for name in fields if name not in self.positional)]
        return tuple(_option(name, fields[name], name in self.positional) for name in order)


Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])

_COMMANDS: dict[str, CommandSpec] = {}


def command(
    *,
    effect: Effect,
    positional: tuple[str, ...] = (),
    tool: str | None = None,
    title: str = "",
) -> Callable[[Function], Function]:
    """Register an async function as a command of every face; the function stays callable."""

    def register(function: Function) -> Function:
        hints = get_type_hints(function)
        name = function.__name__.replace("_", "-")
        help_text = cleandoc(function.__doc__ or "")
        assert help_text, f"command {name} has no docstring"
        known = _COMMANDS.get(name)
        assert known is None or known.function.__module__ == function.__module__, f"two {name}"
        assert set(positional) <= set(hints["request"].model_fields), f"{name}: positional"
        _COMMANDS[name] = CommandSpec(
            name=name,
            function=cast("CommandFunction", function),
            request=hints["request"],
            result=hints["return"],
            effect=effect,
            positional=positional,
            tool=tool,
            title=title or help_text.splitlines()[0].rstrip("."),
            help=help_text,
        )
        return function

    return register


def registered() -> Mapping[str, CommandSpec]:
    """The commands of every module loaded so far; `catalog` does the loading."""
    return types.MappingProxyType(_COMMANDS)


async def invoke(spec: CommandSpec, arguments: Mapping[str, object], context: Context) -> Result:
    """The only way in: validate, authorise, run, audit, return.

    Errors: UsageError for arguments, RefusedError without the consent the effect needs, and
    whatever the command raises.
    """
    request = validate(spec, arguments)
    effect = request.effect_in(spec.effect, context)
    outcome = "defect"
    try:
        authorise(spec.name, effect, context)
        result = await spec.function(request, context)
        outcome = result.exit_code().name.lower()
    except BlofinError as error:
        outcome = error.code
        raise
    finally:
        if effect is not Effect.READ:
            _audit(_audit_entry(spec, request, context, outcome), context)
    return result


def _audit(entry: AuditEntry, context: Context) -> None:
    """Enter what was done; by now it is done, so a full disk must not report it as failed."""
    try:
        context.audit(entry)
    except BlofinError as error:
        context.say(f"the audit trail could not be written: {error.message}")


def validate(spec: CommandSpec, arguments: Mapping[str, object]) -> Request:
    """The request these arguments make.

    Errors: UsageError naming the first wrong option and its rule; `details.errors` holds all.
    """
    try:
        return spec.request.model_validate(dict(arguments))
    except ValidationError as error:
        raise _usage_error(spec, error) from None


def authorise(name: str, effect: Effect, context: Context) -> None:
    """Let the call pass if its effect allows this face and the consent is there.

    A person's word is typed by the person, and where there is a mandate it is the passphrase:
    nothing given beforehand answers for it.
    Errors: RefusedError.
    """
    if effect is Effect.TRADE:
        require_consent(f"{name} may raise exposure or remove protection. Go on?", context)
    if effect is Effect.PERSON:
        from blofin_cli.app import mandate

        mandate.agree(name, context)


def require_consent(question: str, context: Context) -> None:
    """Go on with a yes given beforehand or by the person now.

    Errors: RefusedError when there is neither.
    """
    if context.consent or (context.ask is not None and context.ask(question)):
        return
    if context.ask is None:
        raise RefusedError("this needs consent", hint="pass --yes, or run it in a terminal")
    raise RefusedError("not confirmed", hint="nothing was sent")


def _audit_entry(spec: CommandSpec, request: Request, context: Context, outcome: str) -> AuditEntry:
    return AuditEntry(
        ts_ms=context.clock.now_ms(),
        face=f"{context.face}:{context.client}" if context.client else context.face,
        command=spec.name,
        effect=spec.effect.value,
        arguments=request.model_dump(mode="json", exclude_unset=True),
        outcome=outcome,
    )


def _usage_error(spec: CommandSpec, error: ValidationError) -> UsageError:
    problems = error.errors(include_url=False, include_context=True)
    first = problems[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    details = {"errors": [{"field": _dotted(p["loc"]), "rule": _rule(p)} for p in problems[:20]]}
    if first["type"] == "extra_forbidden":
        near = get_close_matches(field, spec.request.model_fields, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"see blofin {spec.name} --help"
        return UsageError(f"unknown argument {shown(field)}", hint=hint, details=details)
    name = _option_name(field, field in spec.positional) if field else spec.name
    if first["type"] == "missing":
        return UsageError(
            f"{name} is required", hint=f"see blofin {spec.name} --help", details=details
        )
    if not field:  # a rule over several fields names them itself
        return UsageError(_rule(first), details=details)
    if first["type"] == "string_pattern_mismatch" and field in spec.request.model_fields:
        about = spec.request.model_fields[field].description or f"see blofin {spec.name} --help"
        return UsageError(f"{name} cannot be {shown(first['input'])}", hint=about, details=details)
    message = f"{name} {_rule(first)}; got {shown(first['input'])}"
    return UsageError(message, hint=_nearest_choice(spec, field, first["input"]), details=details)


def _nearest_choice(spec: CommandSpec, field: str, value: object) -> str:
    choices = _choices(spec.request.model_fields[field].annotation)
    near = get_close_matches(str(value)[:SHOWN_MAX].strip().lower(), choices, 1, 0.5)
    return f"did you mean {near[0]}?" if near else ""


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _rule(problem: Mapping[str, Any]) -> str:
    """The rule as the end of a sentence that begins with the option."""
    message = str(problem["msg"])
    for before, after in (
        ("Value error, ", ""),
        ("Input should be", "must be"),
        ("String should", "must"),
        ("Input should", "must"),
        ("List should", "must"),
        ("Tuple should", "must"),
        ("valid integer, unable to parse string as an integer", "whole number"),
        ("valid integer, got a number with a fractional part", "whole number"),
    ):
        message = message.replace(before, after, 1)
    return message[:1].lower() + message[1:]


def shown(value: object) -> str:
    """A bad value as it may be echoed: one line of at most 80 escaped ASCII characters."""
    text = value if isinstance(value, str) else repr(value)
    escaped = ascii(text[: SHOWN_MAX + 1])
    return escaped if len(escaped) <= SHOWN_MAX else escaped[: SHOWN_MAX - 4] + "...'"


def plain_number(value: object) -> str | float | Decimal:
    """A finite number or the text of one, refused before anything long is parsed.

    Errors: ValueError with the rule.
    """
    if isinstance(value, str):
        word = value.strip()
        if len(word) > NUMBER_LENGTH_MAX:
            raise ValueError(f"must be a number of at most {NUMBER_LENGTH_MAX} characters")
        if _NUMBER.fullmatch(word) is None or not math.isfinite(float(word)):
            raise ValueError("must be a plain number like 0.05")
        return word
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError("must be a number")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _option(name: str, field: FieldInfo, is_positional: bool) -> Option:
    kinds = _kinds(field.annotation)
    choices = _choices(field.annotation)
    is_sequence = bool(kinds & {list, tuple})
    takes_commas = is_sequence and _has_splitter(field)
    return Option(
        field=name,
        name=_option_name(name, is_positional),
        help=(field.description or "") + _bounds(field),
        kind=("|".join(choices) or _kind_word(kinds)) + (",…" if takes_commas else ""),
        default=_default_text(field),
        is_required=field.is_required(),
        is_flag=bool in kinds,
        is_repeatable=is_sequence and not takes_commas,
        is_positional=is_positional,
        choices=choices,
    )


def _option_name(field: str, is_positional: bool) -> str:
    return field.upper() if is_positional else "--" + field.replace("_", "-")


def _kind_word(kinds: set[Any]) -> str:
    words = {bool: "", int: "INTEGER", float: "NUMBER", Decimal: "NUMBER", TimeSpec: "TIME"}
    return next((word for kind, word in words.items() if kind in kinds), "TEXT")


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if field.is_required() or default in (None, False, (), []):
        return ""
    if isinstance(default, (tuple, list)):
        return ",".join(str(item) for item in default)
    return str(default)


def _bounds(field: FieldInfo) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    limits = [
        f"{word} {getattr(item, key)}"
        for key, word in words.items()
        for item in field.metadata
        if getattr(item, key, None) is not None
    ]
    return f" ({', '.join(limits)})" if limits else ""


def _layers(annotation: Any) -> Iterator[Any]:
    """Every type and marker inside an annotation, outermost first."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *markers = get_args(annotation)
        yield from markers
        yield from _layers(inner)
    elif origin in {Union, types.UnionType}:
        for part in get_args(annotation):
            yield from _layers(part)
    elif origin is Literal:
        yield annotation
    elif origin in {list, tuple}:
        yield origin
        for part in get_args(annotation):
            yield from _layers(part)
    else:
        yield annotation


def _kinds(annotation: Any) -> set[Any]:
    return {part for part in _layers(annotation) if isinstance(part, type)}


def _choices(annotation: Any) -> tuple[str, ...]:
    for part in _layers(annotation):
        if get_origin(part) is Literal:
            return tuple(str(word) for word in get_args(part))
        if isinstance(part, type) and issubclass(part, Enum):
            return tuple(str(member.value) for member in part)
    return ()


def _has_splitter(field: FieldInfo) -> bool:
    markers = [*field.metadata, *_layers(field.annotation)]
    return any(getattr(marker, "func", None) is split_words for marker in markers)
