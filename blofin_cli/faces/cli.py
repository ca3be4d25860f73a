"""The command line: a Typer app made from the registry.

Typer finds the words and draws help and completion; it judges no value. Text goes to `invoke` as
it was typed, so that the same input meets the same rule in every face. Only the module of the
command that was named is loaded; the others stand in the help with their first line.

stdout is data and nothing else; whatever is said to a person goes to stderr.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, Signature
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.exceptions import Abort, TyperException

from blofin_cli.app import catalog, config
from blofin_cli.errors import BlofinError, DataError, Exit, UsageError
from blofin_cli.faces.contents import Contents
from blofin_cli.faces.render import Format, error_text, to_text

if TYPE_CHECKING:  # pydantic loads with the first command, not with the help
    from blofin_cli.app.spec import CommandSpec, Option, Result

Answer = TypeVar("Answer")

MESSAGE_LENGTH_MAX = 300
READER_GONE = 141  # what a shell says of a program that SIGPIPE ended
HELP = "Supply and demand zones on BloFin USDT-M perpetuals: find, test honestly, trade protected."
EPILOG = "Guides: blofin guide. Formats, exit codes and selectors: blofin guide cli."
# Options every command has, beside its own: field, spelling, metavar, help.
EVERYWHERE = (
    (
        "output",
        "--output",
        "table|json|ndjson|csv",
        "Format of stdout; default: table on a terminal, else json",
    ),
    ("state", "--state", "PATH", "State file"),
)
JSON_HELP = "Short for --output json"
MINUS_HINT = "write -- before a word that begins with -, and options before it: NAME -- -3"
YES_HELP = "Answer yes to the question this command may ask"


@dataclass(frozen=True, slots=True)
class Call:
    """What a command line asks for, before anything has judged it."""

    spec: "CommandSpec"
    arguments: dict[str, object]
    output: Format
    state: str | None
    consent: bool


def run(words: Sequence[str], faces: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run one command line and return the exit code; never raises.

    `faces` says which module each command opens that is itself a face (`dash`, `web`, `mcp`): it
    is imported only then, and its `open_face` gets the validated request.
    """
    output = _guessed_format(words)
    try:
        return _run(list(words), output, faces)
    except BrokenPipeError:  # the reader left (`| head`)
        _let_go_of_stdout()
        return READER_GONE
    except (KeyboardInterrupt, Abort):
        _say("interrupted")
        return Exit.INTERRUPTED


def _run(words: list[str], output: Format, faces: Mapping[str, str]) -> int:
    try:
        outcome = _parse(words)
        if isinstance(outcome, int):
            return outcome
        output = outcome.output
        if outcome.spec.name in faces:
            return _open(outcome, faces[outcome.spec.name])
        return _execute(outcome)
    except BlofinError as error:
        _write_error(error_text(error, output))
        return error.exit
    except (BrokenPipeError, Abort):
        raise
    except Exception as defect:  # noqa: BLE001  # boundary: a defect ends in the log, not on screen
        _write_error(error_text(_logged(defect, words), output))
        return Exit.BUG


def _parse(words: list[str]) -> "Call | int":
    """The call these words make, or the exit code when Typer has answered (help, completion)."""
    name = next((word for word in words if not word.startswith("-")), "")
    known = catalog.index()
    if words and not words[0].startswith("-") and name not in known:
        raise _unknown_command(name)
    wanted = set(known) if config.completion_requested() else {name} & set(known)
    try:
        outcome = application(wanted)(
            args=words or ["--help"], prog_name="blofin", standalone_mode=False
        )
    except TyperException as error:
        raise _usage_error(error) from None
    except OSError:
        _write("")  # tells when it is stdout that takes no more
        raise
    return outcome if isinstance(outcome, Call) else int(outcome or 0)


def application(wanted: "set[str]") -> typer.Typer:
    """The Typer app: the wanted commands in full; when none is wanted, all by their help line."""
    app = typer.Typer(
        name="blofin",
        cls=Contents,
        help=HELP,
        epilog=EPILOG,
        rich_markup_mode=None,  # rich costs 0.1 s and nothing is drawn here
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in sorted(wanted):
        spec = catalog.load(name)
        app.command(name, help=spec.help)(_bound(spec))
    for entry in () if wanted else catalog.index().values():
        app.command(entry.name, help=entry.help)(_unloaded)
    return app


def _root(
    version: bool = typer.Option(False, "--version", "-V", help="Show the version and exit"),
) -> None:
    if version:
        from blofin_cli import __version__

        typer.echo(f"blofin {__version__}")
        raise typer.Exit


def _unloaded() -> None:
    """Stands in the help for a command that this call does not run."""


def _bound(spec: "CommandSpec") -> Callable[..., Call]:
    """A function whose signature is the command's options, as Typer wants to see it."""

    def call(**typed: Any) -> Call:
        output = _format(typed.pop("output"), typed.pop("json"))
        state, consent = typed.pop("state"), bool(typed.pop("yes", False))
        given = {name: value for name, value in typed.items() if value not in (None, [])}
        return Call(spec, given, output, state, consent)

    parameters = [_parameter(option) for option in spec.options()]
    parameters += _shared_parameters(asks=spec.effect.value != "read")
    call.__signature__ = Signature(parameters, return_annotation=Call)  # type: ignore[attr-defined]
    call.__annotations__ = {item.name: item.annotation for item in parameters}
    return call


def _parameter(option: "Option") -> Parameter:
    shared: dict[str, Any] = {"help": option.help, "show_default": option.default or False}
    if option.choices:
        shared["autocompletion"] = _completer(option.choices)
    if option.is_positional:
        required = option.is_required
        info = typer.Argument(... if required else None, metavar=option.name, **shared)
    elif option.is_flag:
        spelling = (
            option.name if option.default != "True" else f"{option.name}/--no-{option.name[2:]}"
        )
        info = typer.Option(None, spelling, **shared)
    else:
        info = typer.Option(None, option.name, metavar=option.kind, **shared)
    return _keyword(option.field, _annotation(option), info)


def _annotation(option: "Option") -> Any:
    if option.is_flag:
        return bool | None
    return list[str] if option.is_repeatable else str | None


def _keyword(name: str, annotation: Any, info: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


def _shared_parameters(*, asks: bool) -> list[Parameter]:
    text = str | None
    shared = [
        _keyword(
            field, text, typer.Option(None, name, metavar=kind, help=about, show_default=False)
        )
        for field, name, kind, about in EVERYWHERE
    ]
    flags = [("json", "--json", JSON_HELP)] + ([("yes", "--yes", YES_HELP)] if asks else [])
    return shared + [
        _keyword(field, bool, typer.Option(False, name, help=about, show_default=False))
        for field, name, about in flags
    ]


def _completer(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in choices if word.startswith(incomplete)]

    return complete


def _format(output: str | None, as_json: bool) -> Format:
    if output is None:
        return Format.JSON if as_json or not _is_terminal(sys.stdout) else Format.TABLE
    if output not in set(Format):
        raise UsageError(
            f"--output must be one of {', '.join(Format)}; got {ascii(output)[:80]}",
            hint=_nearest(output, tuple(Format)),
        )
    if as_json and output != Format.JSON:
        raise UsageError(f"--json and --output {output} contradict each other")
    return Format(output)


def _guessed_format(words: Sequence[str]) -> Format:
    """The format an error should have when the words themselves may be wrong."""
    asked = [word.removeprefix("--output=") for word in words if word.startswith("--output=")]
    asked += [after for word, after in pairwise(words) if word == "--output"]
    if asked and asked[-1] in set(Format):
        return Format(asked[-1])
    return Format.JSON if "--json" in words or not _is_terminal(sys.stdout) else Format.TABLE


def _unknown_command(name: str) -> UsageError:
    hint = _nearest(name, tuple(catalog.index())) or "blofin --help lists the commands"
    return UsageError(f"no command is called {ascii(name[:80])[:80]}", hint=hint)


def _usage_error(error: TyperException) -> UsageError:
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and isinstance(option, str):
        near = getattr(error, "possibilities", None) or ()
        is_number = option[1:2].isdecimal() or option[1:2] == "."
        return UsageError(
            f"no option is called {ascii(option[:80])[1:-1][:80]}",
            hint=MINUS_HINT if is_number else _nearest(option, tuple(near)),
        )
    message = ascii(error.format_message())[1:-1].rstrip(".")
    return UsageError(message[:MESSAGE_LENGTH_MAX], hint="--help lists the options")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word[:80], known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else ""


def _execute(call: Call) -> int:
    import asyncio

    from blofin_cli.app.context import Context
    from blofin_cli.app.spec import invoke

    with _progress() as progress:
        context = Context(
            face="cli",
            state_override=call.state,
            consent=call.consent,
            ask=_cleared(_ask, progress) if _is_attended() else None,
            demand=_cleared(_demand, progress) if _is_attended() else None,
            secret=_cleared(_secret, progress) if _is_attended() else None,
            progress=progress,
            say=_say,
            show=_show if call.output in {Format.JSON, Format.NDJSON} else None,
        )
        gc.freeze()  # modules are never garbage; see __main__
        gc.enable()
        try:
            result = asyncio.run(invoke(call.spec, call.arguments, context))
        except BlofinError as error:
            if error.result is not None:
                _write(to_text(error.result, call.output, indent=_indent()))
            raise
    _write(to_text(result, call.output, indent=_indent()))
    return result.exit_code()


def _open(call: Call, module: str) -> int:
    """Hand over to the face this command names, until the person leaves it."""
    from blofin_cli.app.context import Context
    from blofin_cli.app.spec import validate

    request = validate(call.spec, call.arguments)
    context = Context(face="cli", state_override=call.state, consent=call.consent, say=_say)
    face = import_module(module)
    gc.freeze()  # see _execute
    gc.enable()
    outcome = face.open_face(request, context)
    if isinstance(outcome, int):
        return outcome
    _write(to_text(outcome, call.output, indent=_indent()))  # a face may answer instead of opening
    return Exit.OK


def _progress() -> "AbstractContextManager[Callable[[int, int, str], None]]":
    if not _is_terminal(sys.stderr):
        return nullcontext(_unwatched)
    from blofin_cli.faces.progress import ProgressBar

    return ProgressBar()


def _unwatched(done: int, total: int, text: str) -> None:
    """Nobody is watching: cron and pipes get no bar."""


def _logged(defect: Exception, words: list[str]) -> BlofinError:
    """The defect as an error for the screen, its traceback written to the log file."""
    import traceback

    text = f"blofin {' '.join(words[:1])}\n" + "".join(traceback.format_exception(defect))
    what = f"{type(defect).__name__}: {ascii(str(defect))[1:-1][:200]}"
    try:
        log = config.state_folder(config.state_location()) / "blofin.log"
        with config.open_log(log) as out:
            out.write(f"{text}\n".encode(errors="backslashreplace"))
    except (OSError, BlofinError):
        return BlofinError(f"a defect in blofin-cli: {what}", hint="no log file could be written")
    return BlofinError(f"a defect in blofin-cli: {what}", hint=f"the traceback is in {log}")


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream is not None and stream.isatty())
    except ValueError:  # closed
        return False


def _write(text: str) -> None:
    """Put data on stdout, at once, so that what cannot be written is told.

    Errors: DataError when stdout takes no more, as a file on a full disk does.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        _let_go_of_stdout()
        raise DataError(
            f"stdout cannot be written: {problem.strerror or problem}",
            hint="what the command did is done; its answer is incomplete",
        ) from problem


def _show(result: "Result") -> None:
    """One of many results: JSON on a line of its own."""
    _write(to_text(result, Format.JSON))


def _indent() -> int | None:
    return 2 if _is_terminal(sys.stdout) else None


def _is_attended() -> bool:
    """Whether somebody at a terminal can read a question and answer it."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def _cleared(
    put: Callable[[str], Answer], progress: Callable[[int, int, str], None]
) -> Callable[[str], Answer]:
    """A question on a screen without the bar, which Ctrl-C ends at once.

    The loop's own handler would only note the first Ctrl-C, and wait for an answer still.
    """

    def asked(question: str) -> Answer:
        clear = getattr(progress, "clear", None)
        if clear is not None:
            clear()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return put(question)
        finally:
            signal.signal(signal.SIGINT, before)

    return asked


def _ask(question: str) -> bool:
    return typer.confirm(question, default=False, err=True)


def _demand(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False, err=True))


def _secret(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False, hide_input=True, err=True))


def _say(text: str) -> None:
    from blofin_cli.faces.render import printable

    _write_error(printable(text) + "\n")


def _write_error(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads stderr; the exit code still tells


def _let_go_of_stdout() -> None:
    """Point stdout at nothing, so that the exit does not try again and write an error."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
