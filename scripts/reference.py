"""Writes guides/reference.md from the command registry; `--check` only says whether it is stale."""

import sys
from collections.abc import Iterator
from pathlib import Path

from blofin_cli.app import catalog
from blofin_cli.app.spec import CommandSpec, Effect, Option
from blofin_cli.errors import Exit
from blofin_cli.faces.cli import EVERYWHERE, JSON_HELP, YES_HELP

PAGE = Path(__file__).parent.parent / "blofin_cli" / "guides" / "reference.md"
EXITS = {
    Exit.OK: "done",
    Exit.BUG: "a defect in blofin-cli; the traceback is in the log file",
    Exit.USAGE: "wrong usage or argument",
    Exit.REFUSED: "refused by risk, mandate, approval or mode",
    Exit.CONFIG: "configuration",
    Exit.AUTH: "authentication or permission at the exchange",
    Exit.VENUE: "the exchange refused",
    Exit.NETWORK: "network or time-out; the outcome may be unknown",
    Exit.DATA: "bad data",
    Exit.HALTED: "refused because trading is halted",
    Exit.COMPARISON: "a comparison fell short",
    Exit.INTERRUPTED: "interrupted",
}


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Made from the commands themselves by `scripts/fix`; do not edit."
    yield ""
    yield "Every command also takes:"
    yield ""
    for _, name, kind, about in EVERYWHERE:
        yield f"- `{name} {kind}`: {about}"
    yield f"- `--json`: {JSON_HELP}"
    yield f"- `--yes`, where a command may change something: {YES_HELP}"
    for spec in catalog.load_all().values():
        yield from _command_lines(spec)
    yield ""
    yield "## Exit codes"
    yield ""
    yield "| exit | meaning |"
    yield "|---|---|"
    yield from (f"| {code.value} | {EXITS[code]} |" for code in Exit)


def _command_lines(spec: CommandSpec) -> Iterator[str]:
    words = " ".join(_usage_word(option) for option in spec.options() if option.is_positional)
    yield ""
    yield f"## {spec.name}"
    yield ""
    yield f"`blofin {spec.name} {words}".rstrip() + f"` ({_effect_word(spec)})"
    yield ""
    yield spec.help
    options = spec.options()
    if options:
        yield ""
        yield from (_option_line(option) for option in options)


def _effect_word(spec: CommandSpec) -> str:
    tool = f", tool `{spec.tool}`" if spec.tool else ""
    return ("reads only" if spec.effect is Effect.READ else spec.effect.value) + tool


def _usage_word(option: Option) -> str:
    word = option.name + ("..." if option.is_repeatable else "")
    return word if option.is_required else f"[{word}]"


def _option_line(option: Option) -> str:
    kind = "" if option.is_flag or option.is_positional else f" {option.kind}"
    default = f"; default {option.default}" if option.default else ""
    repeat = "; may be repeated" if option.is_repeatable else ""
    return f"- `{option.name}{kind}`: {option.help}{default}{repeat}"


def main() -> int:
    """Write the page, or compare it; 1 when it was stale."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    is_fresh = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
    if not is_fresh:
        sys.stderr.write("guides/reference.md is stale: run scripts/fix\n")
    return 0 if is_fresh else 1


if __name__ == "__main__":
    sys.exit(main())
