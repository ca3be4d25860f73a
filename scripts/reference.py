"""Remakes what documentation takes from the program; `--check` only says what is stale.

Three kinds: `guides/reference.md` from the command registry, the tables between markers in
`guides/strategy.md` from the strategy's dataclasses, and the output shown in every `console` block
of the README and the guides, which is what the commands say today.
"""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from blofin_cli.app import catalog
from blofin_cli.app.spec import CommandSpec, Effect, Option
from blofin_cli.core.strategy import CLASSIC, REFERENCE, Filters, Strategy, to_text
from blofin_cli.errors import Exit
from blofin_cli.faces.cli import EVERYWHERE, JSON_HELP, YES_HELP

ROOT = Path(__file__).parent.parent
GUIDES = ROOT / "blofin_cli" / "guides"
PAGE = GUIDES / "reference.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WIDTH = 100
SECONDS_MAX = 60
SOURCE = re.compile(r" \(\d[\d., ]*\)")  # a section of the specification, of no use to a reader
CUT = "…"
# Words that differ from one state of the source to the next, and what stands for them.
CHANGING = ((re.compile(r"\bbt-[0-9a-f]{12}\b"), "bt-…"),)
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
    """The whole reference page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "For whoever knows the command and wants the option: all on one page. Made from the"
    yield "commands by `scripts/fix`; do not edit."
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


def with_tables(text: str) -> str:
    """A page with every table between `<!-- NAME: begin -->` and `<!-- NAME: end -->` remade."""
    for name, table in (("parameters", parameters_table), ("filters", filters_table)):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin in text:
            before, rest = text.split(begin)
            text = f"{before}{begin}\n{table()}{end}{rest.split(end)[1]}"
    return text


def parameters_table() -> str:
    """Every parameter outside the filters, a table a section."""
    strategy = Strategy()
    parts = [_section("top", strategy, "")]
    parts += [
        _section(item.name, getattr(strategy, item.name), f"{item.name}.")
        for item in fields(strategy)
        if is_dataclass(getattr(strategy, item.name)) and item.name != "filters"
    ]
    return "".join(parts)


def _section(name: str, section: Any, prefix: str) -> str:
    hints = get_type_hints(type(section))
    title = "### The whole" if name == "top" else f"### {name}"
    about = "" if name == "top" else SOURCE.sub("", type(section).__doc__ or "") + "\n\n"
    rows = "".join(
        f"| `{prefix}{item.name}` | {_default(getattr(section, item.name))} "
        f"| {_range(hints[item.name], item.metadata)} | {item.metadata['text']}"
        f"{_presets(prefix + item.name)} |\n"
        for item in fields(section)
        if not is_dataclass(getattr(section, item.name))
    )
    return f"\n{title}\n\n{about}| name | default | range | meaning |\n|---|---|---|---|\n{rows}"


def _default(value: Any) -> str:
    return f"`{to_text(value)}`" if to_text(value) else "none"


def _range(kind: Any, metadata: Any) -> str:
    if "low" in metadata:
        return f"{metadata['low']:g} to {metadata['high']:g}"
    if get_origin(kind) is not None and not isinstance(get_args(kind)[0], str):
        return "list"
    return ", ".join(get_args(kind)) or {"bool": "true, false"}.get(kind.__name__, "timeframe")


def _presets(name: str) -> str:
    words = []
    if name.removeprefix("zones.") in CLASSIC and name.startswith("zones."):
        words.append(f"classic `{CLASSIC[name.removeprefix('zones.')]:g}`")
    if name in REFERENCE:
        words.append(f"reference `{REFERENCE[name]}`")
    return f" ({', '.join(words)})" if words else ""


def filters_table() -> str:
    """Every filter with its rule, its evidence, its switch and its own parameters."""
    filters = Filters()
    lines = ["", "| filter | passes when | evidence | one line turns it on |", "|---|---|---|---|"]
    own = []
    for item in fields(filters):
        value = getattr(filters, item.name)
        if not is_dataclass(value):
            own.append(_parameter_row(f"filters.{item.name}", item, value, Filters))
            continue
        mode, *rest = fields(value)
        rule = (type(value).__doc__ or "").rstrip(".")
        evidence = mode.metadata["text"].removeprefix("evidence: ")
        lines.append(
            f"| `{item.name}` | {rule} | {evidence} | `--set filters.{item.name}=required` |"
        )
        own += [
            _parameter_row(f"filters.{item.name}.{part.name}", part, value, type(value))
            for part in rest
        ]
    lines += ["", "| name | default | range | meaning |", "|---|---|---|---|", *own]
    return "\n".join(lines) + "\n"


def _parameter_row(name: str, item: Any, owner: Any, section: type) -> str:
    value = getattr(owner, item.name) if is_dataclass(owner) else owner
    shown = _range(get_type_hints(section)[item.name], item.metadata)
    return f"| `{name}` | {_default(value)} | {shown} | {item.metadata['text']} |"


def with_output(text: str) -> str:
    """A page with the output in its console blocks remade."""
    return CONSOLE.sub(lambda block: f"```console\n{replayed(block[1])}```", text)


def replayed(block: str) -> str:
    """One block with its commands run in order, in an empty folder and an empty home.

    An output keeps the cut it has: as many lines before and after a line `…` as there were.
    """
    shown: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        for entry in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
            if entry:
                command, _, before = entry.partition("\n")
                lines = _output(command.removeprefix("$ "), Path(home))
                shown += [command, *_cut(lines, before.splitlines())]
    return "\n".join(shown) + "\n"


def _cut(lines: list[str], before: list[str]) -> list[str]:
    if CUT not in before:
        return lines
    head = before.index(CUT)
    tail = len(before) - head - 1
    if head + tail >= len(lines):
        return lines
    return [*lines[:head], CUT, *lines[len(lines) - tail :]]


def _output(command: str, home: Path) -> list[str]:
    """What a terminal of fixed width shows: stderr, then stdout."""
    work = home / "work"
    work.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with contextlib.ExitStack() as stack:
        screen, terminal = os.openpty()
        stack.callback(os.close, screen)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=work, stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE,
            env=kept | {"PATH": path, "HOME": str(home), "TERM": "dumb", "COLUMNS": str(WIDTH)},
        )  # fmt: skip
        os.close(terminal)
        shown = b"".join(_read(screen))
        _, said = process.communicate(timeout=SECONDS_MAX)
    text = (said + shown).decode().replace("\r\n", "\n")
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.splitlines()]


def _read(screen: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the terminal is gone once the program has ended
        while chunk := os.read(screen, 65_536):
            yield chunk


def remade(path: Path) -> str:
    """What a page should say."""
    if path == PAGE:
        return page()
    return with_output(with_tables(path.read_text(encoding="utf-8")))


def pages() -> list[Path]:
    """The README and the guides."""
    return [ROOT / "README.md", *sorted({PAGE, *GUIDES.glob("*.md")})]


def main() -> int:
    """Write the pages, or compare them; 1 when one was stale."""
    wanted = [path for path in pages() if not (named := _named()) or path.name in named]
    stale = []
    for path in wanted:
        text = remade(path)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        names = ", ".join(path.name for path in stale)
        sys.stderr.write(f"stale: {names}; run scripts/fix\n")
        return 1
    return 0


def _named() -> list[str]:
    return [word for word in sys.argv[1:] if not word.startswith("-")]


if __name__ == "__main__":
    sys.exit(main())
