"""What an agent may read without a tool call: state, zones, the last report, guides, limits."""

import json
from collections.abc import Mapping
from typing import Any

from blofin_cli.app import catalog
from blofin_cli.app.commands.status import StatusRequest, read_status
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.errors import UsageError
from blofin_cli.faces.mcp.calls import Caller
from blofin_cli.faces.mcp.pages import RESULT_URI, columnwise, harmless, page_of, to_json
from blofin_cli.faces.render import json_ready

SCHEME = "blofin://"
POSITIONS, HALT = "blofin://positions", "blofin://halt"
ZONES, REPORT, MANDATE = "blofin://zones", "blofin://report", "blofin://mandate"
GUIDE_URI = "blofin://guide/"
JSON, MARKDOWN = "application/json", "text/markdown"
URI_LENGTH_MAX = 300
# States in which a session does not know what is held, or is not there to tell.
UNTOLD = frozenset({"none", "stopped", "stale", "starting", "reconciling"})
UNTOLD_NOTE = "no running session tells; get_positions and get_orders ask the exchange"

# Address, name and what it holds.
FIXED = (
    (POSITIONS, "positions", "Open positions and working orders, told by the running session"),
    (HALT, "halt", "Whether trading is halted, by whom and why; pauses and proposals"),
    (ZONES, "zones", "Live zones of the default symbol"),
    (REPORT, "report", "The last saved backtest: verdict, metrics, bounds, baselines"),
    (MANDATE, "mandate", "What a person signed: the limits no agent can raise"),
)
TEMPLATES = (
    ("blofin://zones/{symbol}", "zones_of", "Live zones of a symbol"),
    ("blofin://guide/{name}", "guide", "A guide"),
    ("blofin://result/{id}", "result", "The lists of a result that was larger than a page"),
    ("blofin://result/{id}/{list}/{offset}", "result_page", "A page of such a list"),
)


def listed() -> list[dict[str, Any]]:
    """Every resource with an address of its own."""
    fixed = [_record(uri, name, text, JSON) for uri, name, text in FIXED]
    guides = [_record(f"{GUIDE_URI}{name}", name, "Guide", MARKDOWN) for name in guide_names()]
    return fixed + guides


def templates() -> list[dict[str, Any]]:
    """Every family of resources."""
    return [
        {
            "uriTemplate": uri,
            "name": name,
            "description": text,
            "mimeType": MARKDOWN if name == "guide" else JSON,
        }
        for uri, name, text in TEMPLATES
    ]


def _record(uri: str, name: str, text: str, kind: str) -> dict[str, Any]:
    return {"uri": uri, "name": name, "description": text, "mimeType": kind}


def guide_names() -> list[str]:
    """Names of the pages, without reading one."""
    from importlib.resources import files

    folder = files("blofin_cli") / "guides"
    names = (page.name for page in folder.iterdir())
    return sorted(name.removesuffix(".md") for name in names if name.endswith(".md"))


async def read(uri: str, caller: Caller, context: Context) -> tuple[str, str]:
    """Text and media type of a resource.

    Errors: UsageError when there is none at this address; whatever its command raises.
    """
    if len(uri) > URI_LENGTH_MAX or not uri.startswith(SCHEME):
        raise UsageError("no resource has this address")
    if uri.startswith(GUIDE_URI):
        return await _guide(uri.removeprefix(GUIDE_URI), context), MARKDOWN
    return to_json(await _document(uri, caller, context)), JSON


async def _document(uri: str, caller: Caller, context: Context) -> dict[str, Any]:
    if uri == POSITIONS:
        return columnwise_document(positions(context))
    if uri == HALT:
        return columnwise_document(halt(context))
    if uri == ZONES:
        return await _zones(context.settings.default_symbol, caller, context)
    if uri.startswith(f"{ZONES}/"):
        return await _zones(uri.removeprefix(f"{ZONES}/"), caller, context)
    if uri == REPORT:
        return columnwise_document(report(context))
    if uri == MANDATE:
        return await _mandate(context)
    if uri.startswith(RESULT_URI):
        return caller.results.page(uri)
    raise UsageError("no resource has this address")


def columnwise_document(value: Mapping[str, Any]) -> dict[str, Any]:
    """A document as agents read it."""
    return dict(columnwise(harmless(json_ready(value))))


def positions(context: Context) -> dict[str, Any]:
    """Positions and orders as the running session tells them, with their age; needs no network.

    Null where no session tells: that is not known here, and not none.
    """
    found = read_status(StatusRequest(events=0), context)
    told = None if found.state in UNTOLD else found.status
    return {
        "state": found.state,
        "heartbeat_age_ms": found.heartbeat_age_ms,
        "told_by": None if told is None else "session",
        "positions": None if told is None else list(told.positions),
        "orders": None if told is None else list(told.orders),
        "equity_usdt": None if told is None else told.equity_usdt,
        "simulated": None if told is None else told.simulated,
        "note": UNTOLD_NOTE if told is None else "",
    }


def halt(context: Context) -> dict[str, Any]:
    """The halt in force, pauses, and what waits for a person."""
    found = read_status(StatusRequest(events=0), context)
    return {
        "halted": found.halted,
        "halt": found.halt,
        "pauses": found.pauses,
        "proposals": found.proposals,
        "cleared_by": "a person: blofin resume",
    }


def report(context: Context) -> dict[str, Any]:
    """The last saved backtest without its trades."""
    newest = context.store.runs(kind="backtest", limit=1)
    if not newest:
        return {"report": None, "note": "no backtest is saved yet"}
    whole = json.loads(context.store.run(newest[0].run_id).result_json)
    long = {"trades", "equity", "groups", "settings"}
    return {name: value for name, value in whole.items() if name not in long}


async def _zones(symbol: str, caller: Caller, context: Context) -> dict[str, Any]:
    result = await invoke(catalog.load("zones"), {"symbol": (symbol,)}, context)
    return page_of(json_ready(result), caller.results, []).content


async def _mandate(context: Context) -> dict[str, Any]:
    if "mandate" not in catalog.index():
        return columnwise_document(BUILT_IN.record())
    result = await invoke(catalog.load("mandate"), {"action": "show"}, context)
    return columnwise_document(json_ready(result))


async def _guide(name: str, context: Context) -> str:
    result = await invoke(catalog.load("guide"), {"name": name}, context)
    return result.text()
