"""Finds the commands: the folder `commands/` is the registry.

Loading a command module costs pydantic and more (0.1 s), so names and help lines are read from
the source text: the help of the whole program and the start of one command load none of the
others. A test proves that the reading and the loaded registry agree.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # building the help of the program must not load pydantic
    from blofin_cli.app.spec import CommandSpec

_FOLDER = Path(__file__).parent / "commands"
_COMMAND = re.compile(
    r'^@command\(.*?^async def (\w+)\(.*?\) -> [^\n]*:\n\s+"""([^\n]+?)(?:"""|\n)',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that has not been loaded: its name, first help line and module."""

    name: str
    help: str
    module: str


@cache
def index() -> dict[str, Entry]:
    """Every command by name, in order of the names, without loading any."""
    entries = [entry for path in sorted(_FOLDER.glob("[a-z]*.py")) for entry in _read(path)]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def load(name: str) -> "CommandSpec":
    """The command with everything it needs; KeyError when there is none of that name."""
    module = index()[name].module
    import_module(module)
    from blofin_cli.app.spec import registered

    return registered()[name]


def load_all() -> "dict[str, CommandSpec]":
    """Every command, loaded, in order of the names."""
    return {name: load(name) for name in index()}


def _read(path: Path) -> list[Entry]:
    module = f"{__package__}.commands.{path.stem}"
    source = path.read_text(encoding="utf-8")
    return [
        Entry(match[1].replace("_", "-"), match[2], module) for match in _COMMAND.finditer(source)
    ]
