"""Every address of the dashboard, and the application behind its guard."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from blofin_cli.errors import BlofinError
from blofin_cli.faces.web import acts, api, entrance, live, looks, pages
from blofin_cli.faces.web.calls import load_served
from blofin_cli.faces.web.guard import MACHINE_PATHS, Guard, policy
from blofin_cli.faces.web.site import Site

FOR_EVER = "public, max-age=31536000, immutable"
Handler = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger(__name__)


def application(site: Site) -> Guard:
    """The dashboard as an ASGI application; nothing is reached without passing the guard."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        loading = asyncio.create_task(asyncio.to_thread(load_served))
        yield
        await loading
        await site.jobs.close()

    app = Starlette(
        routes=_routes(),
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_served, Exception: _defect},
    )
    app.state.site = site
    app.router.redirect_slashes = False
    return Guard(
        app,
        doorway=site.doorway,
        passwords=site.passwords,
        sessions=site.sessions,
        content_policy=policy(looks.style_digests()),
    )


def _routes() -> list[Route]:
    looks_at: dict[str, Handler] = {
        "/": pages.dashboard,
        "/map": pages.zone_map,
        "/trades": pages.trades,
        "/trades.csv": pages.trades_csv,
        "/trades/{id}": pages.trade,
        "/signals": pages.signals,
        "/research": pages.research,
        "/runs/{id}": pages.run,
        "/compare": pages.compare,
        "/jobs/{id}": pages.job,
        "/settings": pages.settings,
        "/logs": pages.logs,
        "/commands": pages.commands,
        "/commands/{name}": pages.command,
        "/result": pages.result,
        "/guide": pages.guide,
        "/guide/{name}": pages.guide,
        "/login": entrance.show,
        "/live": live.stream,
        "/data/chart": live.chart,
        "/data/trades/{id}": live.trade_chart,
        "/data/equity": live.equity,
        "/health": _health,
        "/static/{tag}/{name}": _static,
        "/api/openapi.json": api.openapi,
    }
    changes: dict[str, Handler] = {
        "/login": entrance.sign_in,
        "/logout": entrance.sign_out,
        "/do/{name}": acts.act,
        "/jobs/{id}/cancel": acts.cancel,
    }
    return [
        *(Route(path, handler, methods=["GET"]) for path, handler in looks_at.items()),
        *(Route(path, handler, methods=["POST"]) for path, handler in changes.items()),
        Route("/api/jobs/{id}", api.job, methods=["GET", "DELETE"]),
        Route("/api/{name}", api.command, methods=["GET", "POST"]),
    ]


async def _static(request: Request) -> Response:
    found = looks.static_files().get(request.path_params["name"])
    if found is None or found.tag != request.path_params["tag"]:
        raise HTTPException(404)
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["content-encoding"] = "gzip"
    content = found.packed if packed else found.content
    return Response(content, media_type=found.kind, headers=headers)


async def _health(request: Request) -> Response:
    """For the proxy or systemd: the server answers. It says nothing about trading."""
    del request
    return PlainTextResponse("ok\n")


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing at this address", 405: "this method is not served here"}
    text = words.get(error.status_code, error.detail)
    return _told(request, error.status_code, "usage", text, dict(error.headers or {}))


async def _defect(request: Request, error: Exception) -> Response:
    _log.error("defect at %s", request.url.path, exc_info=error)
    what = BlofinError(f"a defect in blofin-cli: {type(error).__name__}")
    return _told(request, 500, "bug", what.message, {})


def _told(request: Request, status: int, code: str, text: str, headers: dict[str, str]) -> Response:
    if not request.url.path.startswith(MACHINE_PATHS):
        return PlainTextResponse(text + "\n", status, headers=headers)
    error = {"code": code, "message": text, "hint": "", "retryable": False, "details": {}}
    return JSONResponse({"error": error}, status, headers=headers)
