"""The pages: each gathers what its template shows; none decides anything."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from blofin_cli.app import catalog, desk
from blofin_cli.app.spec import Effect, Result
from blofin_cli.core.market import Timeframe, Trade
from blofin_cli.errors import BlofinError, UsageError
from blofin_cli.faces.render import Format, summary_text, to_text
from blofin_cli.faces.web import charts, looks, settings_form
from blofin_cli.faces.web.calls import (
    LONG,
    NotThereError,
    check_call,
    served,
    served_names,
    status_of,
)
from blofin_cli.faces.web.forms import arguments_of, inputs_of
from blofin_cli.faces.web.guard import session_of
from blofin_cli.faces.web.site import Site, site_of

NAVIGATION = (
    ("dashboard", "/", "Dashboard"),
    ("map", "/map", "Zone map"),
    ("trades", "/trades", "Trade log"),
    ("signals", "/signals", "Signals"),
    ("research", "/research", "Backtests"),
    ("settings", "/settings", "Settings"),
    ("logs", "/logs", "Logs"),
    ("commands", "/commands", "Commands"),
)
PAGE_ROWS = 100


async def shell(request: Request, page: str, **more: Any) -> dict[str, Any]:
    """What every page needs around its own content: state, navigation, messages, the token."""
    site, session = site_of(request), session_of(request)
    problem, status = "", None
    try:
        status = await site.status()
    except BlofinError as error:
        problem = error.message
    return {
        "page": page,
        "navigation": NAVIGATION,
        "known": known(),
        "s": status,
        "problem": problem,
        "csrf": session.csrf,
        "notes": session.take_notes(),
        "here": request.url.path,
        **more,
    }


def known() -> frozenset[str]:
    """The commands there are: a page offers nothing that is not there."""
    return frozenset(catalog.index())


async def page(request: Request, name: str, template: str, **more: Any) -> Response:
    """A whole page; a failure to gather its content is shown in its place."""
    return HTMLResponse(looks.draw(template, **await shell(request, name, **more)))


async def failure(request: Request, error: BlofinError, name: str = "") -> Response:
    """A page that says what went wrong and what to do."""
    text = looks.draw("error.html", **await shell(request, name, error=error))
    return HTMLResponse(text, status_of(error))


def _of_address(error: BlofinError) -> BlofinError:
    """The failure of a command whose only argument is the address: a wrong one is not there."""
    if isinstance(error, UsageError):
        return NotThereError(error.message, hint=error.hint, details=error.details)
    return error


async def dashboard(request: Request) -> Response:
    """State, money, positions, protection, breakers and events at a glance."""
    symbol, timeframe = await chosen_chart(site_of(request), {})
    return await page(
        request, "dashboard", "dashboard.html", symbol=symbol, timeframe=timeframe,
        live="dashboard",
    )  # fmt: skip


async def zone_map(request: Request) -> Response:
    """Candles with zones, now or replayed."""
    try:
        symbol, timeframe = await chosen_chart(site_of(request), request.query_params)
    except BlofinError as error:
        return await failure(request, error, "map")
    return await page(
        request, "map", "map.html", symbol=symbol, timeframe=timeframe,
        timeframes=[str(item) for item in Timeframe], live="map",
    )  # fmt: skip


async def trades(request: Request) -> Response:
    """The trade log with its filters."""
    return await command_table(request, "trades", "trades", "trades.html")


async def trades_csv(request: Request) -> Response:
    """The filtered trade log as a file."""
    try:
        result = await _asked(request, "trades")
    except BlofinError as error:
        return await failure(request, error, "trades")
    headers = {"content-disposition": 'attachment; filename="trades.csv"'}
    head = ",".join(field.name for field in fields(Trade)) + "\n"
    text = to_text(result, Format.CSV) if result.rows() else head
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


async def trade(request: Request) -> Response:
    """One trade whole: its plan, its costs, its exits and the decision behind it."""
    site = site_of(request)
    try:
        found = await site.calls.read(_trade_of, request.path_params["id"])
        decision = await site.calls.read(desk.decision_of, found)
    except BlofinError as error:
        return await failure(request, error, "trades")
    return await page(request, "trades", "trade.html", trade=found, decision=decision)


async def signals(request: Request) -> Response:
    """Proposals that wait for a person, and every gate of the last bars."""
    symbol = request.query_params.get("symbol") or None
    try:
        decisions = await site_of(request).calls.read(
            desk.gates_of_last_bars, symbol=symbol, limit=40
        )
    except BlofinError as error:
        return await failure(request, error, "signals")
    return await page(request, "signals", "signals.html", decisions=decisions, live="signals")


async def research(request: Request) -> Response:
    """Start a backtest, watch it, and look at those that were saved."""
    site = site_of(request)
    try:
        listed = await site.calls.call("runs", {"limit": 50})
        default = await site.calls.read(lambda context: context.settings.default_symbol)
    except BlofinError as error:
        return await failure(request, error, "research")
    return await page(
        request,
        "research",
        "research.html",
        runs=listed.rows(),
        jobs=site.jobs.newest(),
        inputs=inputs_of(served("backtest"), {"symbol": default}),
    )


async def run(request: Request) -> Response:
    """One saved run: verdict, metrics, equity, trades."""
    calls = site_of(request).calls
    try:
        whole = (await calls.call("runs", {"run": (request.path_params["id"],)})).run  # type: ignore[attr-defined]
        assert whole is not None
    except BlofinError as error:
        return await failure(request, _of_address(error), "research")
    return await page(request, "research", "run.html", run=whole)


async def compare(request: Request) -> Response:
    """Two saved runs side by side."""
    names = request.query_params.getlist("run")
    try:
        if len(names) != 2:
            raise UsageError("choose two runs to compare")
        found = await site_of(request).calls.call("runs", {"run": tuple(names)})
    except BlofinError as error:
        return await failure(request, error, "research")
    return await page(request, "research", "compare.html", names=names, **_table(found))


async def job(request: Request) -> Response:
    """A long command at work, or what became of it."""
    try:
        found = site_of(request).jobs.find(request.path_params["id"])
    except BlofinError as error:
        return await failure(request, error, "research")
    return await page(request, "research", "job.html", job=found, live=f"job-{found.id}")


async def settings(request: Request) -> Response:
    """Every setting with its rule, its value and where that came from."""
    try:
        groups = await site_of(request).calls.read(settings_form.groups)
    except BlofinError as error:
        return await failure(request, error, "settings")
    can_write = settings_form.can_write()
    return await page(request, "settings", "settings.html", groups=groups, can_write=can_write)


async def logs(request: Request) -> Response:
    """Events and alerts, the audit trail, and the end of the log file."""
    calls = site_of(request).calls
    try:
        lines = await calls.read(desk.log_tail, 300)
        trail = await calls.read(lambda context: context.journal.audit(limit=100))
    except BlofinError as error:
        return await failure(request, error, "logs")
    return await page(request, "logs", "logs.html", lines=lines, trail=trail, live="logs")


async def commands(request: Request) -> Response:
    """Every command that a browser may call."""
    listed = [catalog.index()[name] for name in served_names()]
    return await page(request, "commands", "commands.html", entries=listed)


async def command(request: Request) -> Response:
    """The form of one command and, for a look that was asked for, its answer."""
    name = request.path_params["name"]
    try:
        spec = served(name)
    except BlofinError as error:
        return await failure(request, error, "commands")
    is_look = spec.effect is Effect.READ and name not in LONG
    asked = "_go" in request.query_params
    values = arguments_of(spec, request.query_params.multi_items())
    answer: dict[str, Any] = {"summary": [], "rows": [], "columns": [], "text": ""}
    complaint = None
    if is_look and asked:
        try:
            answer = _table(await _asked(request, name))
        except BlofinError as error:
            complaint = error
    return await page(
        request, "commands", "command.html", spec=spec, inputs=inputs_of(spec, values),
        is_look=is_look, asked=asked, complaint=complaint, **answer,
    )  # fmt: skip


async def result(request: Request) -> Response:
    """What the last act of this browser answered."""
    found = session_of(request).answer
    if found is None:
        return await failure(request, UsageError("there is no answer to show"), "commands")
    return await page(request, "commands", "result.html", **found)


async def guide(request: Request) -> Response:
    """One of the guides."""
    arguments = {key: value for key, value in request.path_params.items() if value}
    try:
        found = await site_of(request).calls.call("guide", arguments)
    except BlofinError as error:
        return await failure(request, _of_address(error), "guide")
    drawn = _drawn(found.text())
    return await page(request, "guide", "guide.html", body=drawn, pages=found.rows())


def _drawn(text: str) -> Markup:
    """One of our own pages as HTML; whatever HTML stands in it stays text."""
    from markdown_it import MarkdownIt

    drawer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = drawer.parse(text)
    for token in tokens:
        if token.type == "th_open":
            token.attrSet("scope", "col")
    drawn = drawer.renderer.render(tokens, drawer.options, {})
    return Markup(drawn.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704


async def command_table(request: Request, name: str, page_name: str, template: str) -> Response:
    """A page that is one look with its options as filters."""
    if name not in catalog.index():
        return await failure(request, UsageError(f"there is no command {name} yet"), page_name)
    spec = served(name)
    values = arguments_of(spec, request.query_params.multi_items())
    answer: dict[str, Any] = {"summary": [], "rows": [], "columns": [], "text": ""}
    complaint = None
    try:
        answer = _table(await _asked(request, name))
    except BlofinError as error:
        complaint = error
    drawn = await page(
        request, page_name, template, inputs=inputs_of(spec, values), complaint=complaint,
        query=request.url.query, values=values, **answer,
    )  # fmt: skip
    if complaint is not None:
        drawn.status_code = status_of(complaint)
    return drawn


async def chosen_chart(site: Site, query: Mapping[str, str]) -> tuple[str, Timeframe]:
    """Symbol and timeframe of a chart: asked for, else the session's, else from the settings.

    Errors: UsageError.
    """
    from blofin_cli.core.market import normalise_symbol

    try:
        now = (await site.status()).status
    except BlofinError:  # the page itself says that the state cannot be read
        now = None
    word = query.get("timeframe") or ("15m" if now is None else now.timeframe)
    if word not in set(Timeframe):
        raise UsageError(f"no timeframe is called {word[:20]!a}")
    symbol = query.get("symbol") or (now.symbols[0] if now is not None and now.symbols else "")
    if not symbol:
        symbol = await site.calls.read(lambda context: context.settings.default_symbol)
    return normalise_symbol(symbol), Timeframe(word)


def table_of(found: Result) -> dict[str, Any]:
    """A result as a template shows it: summary, table or prose."""
    rows = found.table()
    columns = list(found.columns or (rows[0] if rows else ()))
    return {
        "summary": [(label, summary_text(label, value)) for label, value in found.summary()],
        "rows": rows,
        "columns": columns,
        "text": found.text(),
    }


_table = table_of


async def _asked(request: Request, name: str) -> Result:
    spec = served(name)
    arguments = arguments_of(spec, request.query_params.multi_items())
    if check_call(spec, arguments) is not Effect.READ:
        raise UsageError(f"this call of {name} changes something", hint="use its form")
    return await site_of(request).calls.call(name, arguments)


def _trade_of(context: Any, trade_id: str) -> Any:
    found = [item for item in context.journal.trades() if item.id == trade_id]
    if not found:
        raise NotThereError(f"no trade is called {trade_id[:80]!a}")
    return found[-1]


def chart_of_trade(context: Any, trade_id: str) -> dict[str, Any]:
    """The chart of a trade by its id. Errors: NotThereError."""
    return charts.trade_document(context, _trade_of(context, trade_id))
