"""The terminal dashboard, as a word on the command line."""

from typing import Annotated, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, Symbol, command
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import UsageError


class DashRequest(Request):
    """What to show first."""

    symbol: Annotated[
        Symbol | None, Field(description="Instrument of the zone map; default the session's first")
    ] = None
    timeframe: Annotated[
        Timeframe | None, Field(description="Bar size of the zone map; default the session's")
    ] = None
    screen: Annotated[
        Literal["dashboard", "map", "trades", "signals", "research", "settings", "logs"],
        Field(description="Screen to open"),
    ] = "dashboard"
    theme: Annotated[Literal["dark", "light"], Field(description="Colours to begin with")] = "dark"
    refresh_ms: Annotated[
        int, Field(description="Time between two looks at the state", ge=200, le=60_000)
    ] = 1000


class DashResult(Result):
    """Nothing is left on stdout when the dashboard closes."""


@command(effect=Effect.READ, positional=("symbol",))
async def dash(request: DashRequest, context: Context) -> DashResult:
    """Watch and steer the session from a terminal: zone map, trades, signals, settings.

    Example: blofin dash
    """
    del request, context
    raise UsageError("dash opens a terminal of its own", hint="run blofin dash in a terminal")
