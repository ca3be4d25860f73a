"""The terminal dashboard: reads the state, hands intents to the session, holds no key."""

import sys
from typing import TYPE_CHECKING

from blofin_cli.errors import UsageError

if TYPE_CHECKING:
    from blofin_cli.app.commands.dash import DashRequest
    from blofin_cli.app.context import Context


def open_face(request: "DashRequest", context: "Context") -> int:
    """Run the dashboard until the person leaves it; returns the exit code.

    Errors: UsageError when there is no terminal to draw on.
    """
    if not _is_terminal():
        raise UsageError("dash needs a terminal", hint="for programs: blofin status --json")

    from blofin_cli.faces.tui.app import Desk

    Desk(request, state_override=context.state_override).run()
    return 0


def _is_terminal() -> bool:
    try:
        return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    except ValueError:  # closed
        return False
