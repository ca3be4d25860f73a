"""The gate: validate, authorise, run, audit."""

import dataclasses
import json
import sqlite3
from contextlib import closing
from typing import Annotated, Any

import pytest
from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import (
    CommandSpec,
    Effect,
    Request,
    Result,
    Symbol,
    Time,
    Timeframes,
    invoke,
    validate,
)
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import RefusedError, UsageError


class SampleRequest(Request):
    """One field of every kind."""

    symbol: Annotated[Symbol, Field(description="Instrument")]
    size: Annotated[float | None, Field(gt=0, description="Base units")] = None
    bars: Annotated[int, Field(ge=50, le=5000, description="Bars")] = 500
    timeframe: Annotated[Timeframe, Field(description="Bar size")] = Timeframe.M15
    context: Annotated[Timeframes, Field(description="Zones")] = (Timeframe.H1, Timeframe.H4)
    since: Annotated[Time | None, Field(description="First time")] = None
    set: Annotated[tuple[str, ...], Field(description="Parameters")] = ()
    all: Annotated[bool, Field(description="Everything")] = False


class SampleResult(Result):
    """What was understood."""

    request: SampleRequest


async def sample(request: SampleRequest, context: Context) -> SampleResult:
    """Answer with the request."""
    return SampleResult(request=request)


def spec_of(effect: Effect = Effect.READ, function: Any = sample) -> CommandSpec:
    return CommandSpec(
        "sample",
        function,
        SampleRequest,
        SampleResult,
        effect,
        ("symbol",),
        None,
        "Sample",
        "Help.",
    )


def read(**arguments: Any) -> Any:
    return validate(spec_of(), {"symbol": "BTC-USDT", **arguments})


def test_validate_words_become_typed_values():
    """Text as typed becomes what the field says."""
    request = read(symbol="btcusdt", bars="100", context="30m, 1d", since="90d", all=True)
    assert request.symbol == "BTC-USDT"
    assert request.bars == 100
    assert request.context == (Timeframe.M30, Timeframe.D1)
    assert request.since.back_ms == 90 * 86_400_000


def test_validate_knows_what_was_typed():
    """A default that nobody typed must not win over a setting."""
    assert read(bars="500").model_fields_set == {"symbol", "bars"}


@pytest.mark.parametrize(
    "size",
    [
        "NaN", "nan", "-nan", "inf", "-inf", "Infinity", "-1", "0", "0.0", "-0", "1e400", "1e-400",
        "9" * 5000, "1_000", "1,5", "1.000,00", "", " ", "0x10", "\uff11", "five", True, [1],
        {"a": 1},
        float("nan"), float("inf"), -1, 0,
    ],
)  # fmt: skip
def test_bad_number_is_refused(size):
    """B01-B13: what is no plain positive number is refused by name, briefly."""
    with pytest.raises(UsageError) as caught:
        read(size=size)
    assert caught.value.message.startswith("--size ")
    assert len(caught.value.message) < 200
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bars": "49"}, "--bars must be greater than or equal to 50; got '49'"),
        ({"bars": "1.5"}, "--bars "),
        ({"timeframe": "15min"}, "--timeframe must be"),
        ({"context": "1h,7h"}, "--context must be"),
        ({"since": "25:99"}, "--since must be a UTC date"),
        ({"symbol": "\u0412\u0422\u0421-USDT"}, "symbol '\\u0412\\u0422\\u0421-USDT' is not"),
        ({"symbol": "../../etc/passwd"}, "symbol '../../etc/passwd' is not"),
        ({"symbol": "X" * 10_000}, "symbol 'X"),
        ({"symbol": None}, "SYMBOL must be"),
        ({"tiemframe": "1h"}, "unknown argument 'tiemframe'"),
        ({"all": "perhaps"}, "--all must be"),
        ({"symbol": "\x1b[2J"}, "symbol '\\x1b[2J' is not"),
    ],
)
def test_bad_argument_is_refused_in_one_short_line(arguments, message):
    """An error names the option and the rule, and echoes little."""
    with pytest.raises(UsageError) as caught:
        read(**arguments)
    assert message in caught.value.message
    assert len(caught.value.message) < 250
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


def test_unknown_argument_hints_at_the_nearest():
    """A typo is answered with the name that was meant."""
    with pytest.raises(UsageError) as caught:
        read(tiemframe="1h")
    assert caught.value.hint == "did you mean timeframe?"


def test_missing_argument_is_named():
    """A required argument is asked for by its name."""
    with pytest.raises(UsageError, match="SYMBOL is required"):
        validate(spec_of(), {})


def test_options_describe_every_field():
    """Faces and the reference read one description."""
    options = {option.field: option for option in spec_of().options()}
    assert next(iter(options)) == "symbol"
    assert options["bars"].help == "Bars (at least 50, at most 5000)"
    assert options["bars"].default == "500"
    assert options["timeframe"].choices == tuple(Timeframe)
    assert options["context"].default == "1h,4h"
    assert not options["context"].is_repeatable
    assert options["set"].is_repeatable
    assert options["all"].is_flag
    assert options["symbol"].is_required


def audit_rows(state) -> list[tuple[str, str, str]]:
    """Effect, outcome and arguments of every audit row, in order."""
    if not state.exists():
        return []
    with closing(sqlite3.connect(state)) as connection:
        return connection.execute(
            "select effect, outcome, arguments from audit order by id"
        ).fetchall()


async def test_invoke_read_is_not_audited(tmp_path):
    """What changes nothing leaves no entry and no file."""
    state = tmp_path / "state.db"
    context = Context(face="test", state_override=str(state))
    result = await invoke(spec_of(), {"symbol": "BTC-USDT"}, context)
    assert isinstance(result, SampleResult)
    assert not state.exists()


async def test_invoke_write_is_audited_with_what_was_typed(tmp_path):
    """Whatever can change something leaves an entry, failed or not."""
    state = tmp_path / "state.db"
    context = Context(face="test", state_override=str(state))
    await invoke(spec_of(Effect.WRITE), {"symbol": "btcusdt"}, context)

    async def refuse(request: SampleRequest, context: Context) -> SampleResult:
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        await invoke(spec_of(Effect.SAFE, refuse), {"symbol": "BTC-USDT"}, context)
    rows = audit_rows(state)
    assert [(effect, outcome) for effect, outcome, _ in rows] == [
        ("write", "ok"),
        ("safe", "refused"),
    ]
    assert json.loads(rows[0][2]) == {"symbol": "BTC-USDT"}


async def test_invoke_with_unwritable_audit_still_answers(tmp_path):
    """What was done is not reported as failed because its entry could not be written."""
    said: list[str] = []
    state = tmp_path / "state.db"
    state.write_text("not a database")
    context = Context(face="test", state_override=str(state), say=said.append)
    result = await invoke(spec_of(Effect.SAFE), {"symbol": "BTC-USDT"}, context)
    assert isinstance(result, SampleResult)
    assert "audit" in said[0]


@pytest.mark.parametrize("effect", [Effect.TRADE, Effect.PERSON])
async def test_invoke_without_consent_is_refused(effect):
    """What may raise exposure never runs unasked."""
    with pytest.raises(RefusedError):
        await invoke(spec_of(effect), {"symbol": "BTC-USDT"}, Context(face="cli"))


@pytest.mark.parametrize(("answer", "is_done"), [(True, True), (False, False)])
async def test_invoke_trade_asks_the_person(answer, is_done, tmp_path):
    """Where somebody can answer, the answer decides."""
    context = Context(
        face="cli", state_override=str(tmp_path / "state.db"), ask=lambda question: answer
    )
    if is_done:
        assert await invoke(spec_of(Effect.TRADE), {"symbol": "BTC-USDT"}, context)
        return
    with pytest.raises(RefusedError, match="not confirmed"):
        await invoke(spec_of(Effect.TRADE), {"symbol": "BTC-USDT"}, context)


async def test_invoke_person_is_not_answered_beforehand():
    """An agent or a script with --yes is still no person."""
    context = Context(face="mcp", consent=True)
    with pytest.raises(RefusedError, match="for a person"):
        await invoke(spec_of(Effect.PERSON), {"symbol": "BTC-USDT"}, context)


async def test_invoke_person_wants_the_word_typed(tmp_path):
    """Only the command's own name, typed by the person, lets it pass."""
    spec, state = spec_of(Effect.PERSON), str(tmp_path / "state.db")
    right = Context(face="cli", state_override=state, demand=lambda question: spec.name)
    assert await invoke(spec, {"symbol": "BTC-USDT"}, right)
    wrong = Context(face="cli", state_override=state, demand=lambda question: "y", consent=True)
    with pytest.raises(RefusedError, match="not confirmed"):
        await invoke(spec, {"symbol": "BTC-USDT"}, wrong)


def test_command_spec_is_frozen():
    """A registered command cannot be changed under a face."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec_of().effect = Effect.READ  # type: ignore[misc]
