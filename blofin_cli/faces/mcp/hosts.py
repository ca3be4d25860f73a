"""Configuration of the programs that start this server: Cursor, Claude, VS Code."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blofin_cli.errors import ConfigError

NAME = "blofin"
FILE_BYTES_MAX = 4_194_304


@dataclass(frozen=True, slots=True)
class Host:
    """Where a program keeps its servers, and under which word."""

    path: Path
    section: str


def host_of(client: str) -> Host:
    """The configuration file of a client on this system."""
    home = Path.home()
    if client == "cursor":
        return Host(home / ".cursor" / "mcp.json", "mcpServers")
    if client == "vscode":
        return Host(Path.cwd() / ".vscode" / "mcp.json", "servers")
    if sys.platform == "darwin":
        folder = home / "Library" / "Application Support" / "Claude"
    elif sys.platform == "win32":
        folder = home / "AppData" / "Roaming" / "Claude"
    else:
        folder = home / ".config" / "Claude"
    return Host(folder / "claude_desktop_config.json", "mcpServers")


def entry(client: str, options: list[str]) -> dict[str, Any]:
    """How the client starts this server: absolute, for hosts have a bare environment."""
    command = {"command": sys.executable, "args": ["-m", "blofin_cli", "mcp", *options]}
    return {"type": "stdio"} | command if client == "vscode" else command


def merged(host: Host, server: dict[str, Any]) -> dict[str, Any]:
    """The file as it would be with this server in it; every other entry stays.

    Errors: ConfigError when the file is there and is not such a configuration.
    """
    whole = _read(host.path)
    servers = whole.get(host.section, {})
    if not isinstance(servers, dict):
        raise ConfigError(f"{host.section} in {host.path} is not a table of servers")
    return whole | {host.section: servers | {NAME: server}}


def write(host: Host, whole: dict[str, Any]) -> None:
    """Replace the file in one step, so that a crash leaves the old one; a link stays a link."""
    text = json.dumps(whole, indent=2) + "\n"
    path = Path(os.path.realpath(host.path))
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        if path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{host.path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = json.loads(text) if text.strip() else {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}",
            hint="add the entry by hand: blofin mcp install … --print",
        ) from None
    if not isinstance(whole, dict):
        raise ConfigError(f"{path} is not a configuration")
    return whole
