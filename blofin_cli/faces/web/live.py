"""What moves: an event stream a tab, and the data that the charts fetch.

The server draws each panel with the same template as the page and sends those that changed; the
browser folds them into what is shown. One stream carries everything a page needs.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blofin_cli.app import desk
from blofin_cli.errors import BlofinError, UsageError
from blofin_cli.faces.render import json_ready
from blofin_cli.faces.web import charts, looks, pages
from blofin_cli.faces.web.api import envelope
from blofin_cli.faces.web.guard import admitted, session_of
from blofin_cli.faces.web.site import Site, site_of

STEP_S, PING_S, SEND_S_MAX = 1.0, 15, 10
STREAMS_MAX = 24
FEED_MS_MAX = 10_000
TIME_MS_MAX = 253_402_300_799_999
# Panels of each page, beside the ones in its head.
PANELS = {
    "dashboard": ("tiles", "positions", "orders", "breakers", "health", "events", "control"),
    "map": (),
    "signals": ("proposals",),
    "logs": ("alerts",),
}


async def stream(request: Request) -> Response:
    """The events of one tab, until it closes or its session ends."""
    site = site_of(request)
    if site.streams >= STREAMS_MAX:
        return envelope(UsageError("too many tabs are open"), 429)
    name = request.query_params.get("page", "")
    if name not in PANELS and not name.startswith("job-"):
        return envelope(UsageError("no such page"))
    return EventSourceResponse(_events(request, site, name), ping=PING_S, send_timeout=SEND_S_MAX)


async def chart(request: Request) -> Response:
    """Candles, zones, levels and fills of a symbol, now or as known at `at`."""
    site, query = site_of(request), request.query_params
    try:
        symbol, timeframe = await pages.chosen_chart(site, query)
        at_ms = _moment(query.get("at"))
        found = await site.calls.read(
            charts.chart_document, symbol, timeframe, at_ms, all_zones=query.get("all") == "true"
        )
    except BlofinError as error:
        return envelope(error)
    return JSONResponse(json_ready(found))


async def trade_chart(request: Request) -> Response:
    """The chart of one finished trade."""
    try:
        found = await site_of(request).calls.read(pages.chart_of_trade, request.path_params["id"])
    except BlofinError as error:
        return envelope(error)
    return JSONResponse(json_ready(found))


async def equity(request: Request) -> Response:
    """Equity and drawdown of the session's account, or of a saved run."""
    calls, run_id = site_of(request).calls, request.query_params.get("run")
    try:
        if run_id is None:
            points = await calls.read(desk.equity_curve)
        else:
            found: Any = await calls.call("runs", {"run": (run_id,)})
            points = found.run["equity"]
    except BlofinError as error:
        return envelope(error)
    return JSONResponse(json_ready(charts.equity_document(points)))


async def _events(request: Request, site: Site, name: str) -> AsyncIterator[ServerSentEvent]:
    sent: dict[str, str] = {}
    count = _last_seen(request.headers.get("last-event-id", ""))
    site.streams += 1
    try:
        while await _is_signed_in(request, site):
            panels, figures = await _look(request, site, name)
            marks = {key: hashlib.sha256(html.encode()).hexdigest() for key, html in panels.items()}
            changed = {key: html for key, html in panels.items() if sent.get(key) != marks[key]}
            sent |= marks
            count += 1
            yield ServerSentEvent(
                json.dumps(json_ready({"panels": changed, **figures})),
                event="look",
                id=str(count),
            )
            if name.startswith("job-") and figures.get("ended"):
                break
            await asyncio.sleep(STEP_S)
        else:
            yield ServerSentEvent("{}", event="over")
    finally:
        site.streams -= 1


async def _is_signed_in(request: Request, site: Site) -> bool:
    """Asked at every step: a stream must not outlive its session. It does not keep it alive."""
    session = session_of(request)
    return site.sessions.holds(admitted(request).cookie, session)


async def _look(request: Request, site: Site, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The panels of a page as they are now, and figures for its charts."""
    problem, status = "", None
    try:
        status = await site.status()
    except BlofinError as error:
        problem = error.message
    values = {
        "s": status,
        "problem": problem,
        "csrf": session_of(request).csrf,
        "here": _path_of(name),
        "known": pages.known(),
    }
    panels = {"state": looks.draw("panels/state.html", **values)}
    figures: dict[str, Any] = _figures(status)
    if name.startswith("job-"):
        try:
            job = site.jobs.find(name.removeprefix("job-"))
        except BlofinError:
            return panels, {"ended": True}
        panels["job"] = looks.draw("panels/job.html", job=job, **values)
        figures["ended"] = job.state != "running"
    for panel in PANELS.get(name, ()):
        panels[panel] = looks.draw(f"panels/{panel}.html", **values)
    return panels, figures


def _figures(status: Any) -> dict[str, Any]:
    """Last prices and levels, which the chart draws itself; no price that is not of now."""
    now = None if status is None else status.status
    if now is None:
        return {"quotes": {}, "levels": {}}
    levels: dict[str, list[dict[str, Any]]] = {}
    for position in now.positions:
        levels.setdefault(position.symbol, []).extend(
            {"role": role, "price": price, "label": ""}
            for role, price in (
                ("entry", position.entry_price),
                ("stop", position.stop),
                ("target", position.target),
            )
            if price is not None
        )
    is_over = status.state in {"stale", "stopped"}
    ages = now.health.feed_age_ms
    quotes = {
        symbol: {"last": quote.last, "ts_ms": quote.ts_ms}
        for symbol, quote in now.quotes.items()
        if not is_over and (ages.get(symbol) or 0) <= FEED_MS_MAX
    }
    return {"quotes": quotes, "levels": levels, "equity": [now.ts_ms // 1000, now.equity_usdt]}


def _last_seen(text: str) -> int:
    """The number of the last event a tab has seen before its line broke."""
    return int(text) if text.isdecimal() and len(text) <= 9 else 0


def _path_of(name: str) -> str:
    paths = {page: path for page, path, _ in pages.NAVIGATION}
    return paths.get(name, "/")


def _moment(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text[:16]) > TIME_MS_MAX:
        raise UsageError("at must be a time in milliseconds")
    return int(text[:16])
