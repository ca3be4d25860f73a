"""The web dashboard: the pages and acts of the terminal for a browser, and a JSON API."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blofin_cli.app.commands.web import WebRequest
    from blofin_cli.app.context import Context


def open_face(request: "WebRequest", context: "Context") -> int:
    """Serve until Ctrl-C, or choose the password; returns the exit code.

    Errors: UsageError, ConfigError.
    """
    from blofin_cli.faces.web.opening import serve, set_password

    return set_password(context) if request.set_password else serve(request, context)
