"""Acts: forms that change something, each sent with the session's token and entered in the trail.

What may raise exposure, or is a person's alone, is asked about on a page of its own first: it
shows what would be done and takes the word, and the passphrase where there is a mandate. `halt`
never asks.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from blofin_cli.app.spec import CommandSpec, Effect, Result, validate
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import BlofinError, Exit
from blofin_cli.faces.web import looks, pages
from blofin_cli.faces.web.calls import (
    LONG,
    Typed,
    check_call,
    expected_word,
    is_typed,
    needs_word,
    served,
)
from blofin_cli.faces.web.entrance import local_path
from blofin_cli.faces.web.forms import arguments_of, hidden_fields
from blofin_cli.faces.web.guard import admitted, session_of
from blofin_cli.faces.web.sessions import WebSession
from blofin_cli.faces.web.site import site_of

NOTE_LENGTH_MAX = 300


async def act(request: Request) -> Response:
    """Do what a form says, or ask for the word first."""
    site, found = site_of(request), admitted(request)
    back = found.body.one("_back")
    try:
        spec = served(request.path_params["name"])
        arguments = arguments_of(spec, found.body.fields)
        effect = check_call(spec, arguments)
        typed = Typed(found.body.one("_word") or "", found.body.one("_passphrase") or "")
        if needs_word(spec, effect):
            asked = validate(spec, arguments)
            word = await site.calls.read(lambda context: expected_word(spec, asked, context))
            if not is_typed(word, typed):
                return await _ask(request, spec, arguments, back, (word, bool(typed.word)))
        if spec.name in LONG:
            consent = needs_word(spec, effect)
            job = await site.jobs.start(spec.name, arguments, consent=consent, client=found.visitor)
            return RedirectResponse(f"/jobs/{job.id}", 303)
        result = await site.calls.call(spec.name, arguments, typed=typed, client=found.visitor)
    except BlofinError as error:
        site.forget_status()
        return await pages.failure(request, error)
    site.forget_status()
    return _told(session_of(request), spec, arguments, result, back)


def _told(
    session: WebSession,
    spec: CommandSpec,
    arguments: dict[str, Any],
    result: Result,
    back: str | None,
) -> Response:
    """Back to where the act came from with a message, or on to the whole answer."""
    answer, is_bad = pages.table_of(result), result.exit_code() is not Exit.OK
    if back is not None:
        session.note(_note(spec, answer["summary"]), is_bad=is_bad)
        return RedirectResponse(local_path(back), 303)
    gates = getattr(getattr(result, "plan", None), "gates", ())
    session.answer = {
        "title": spec.name.capitalize(),
        "gates": gates if answer["rows"] else (),
        "is_bad": is_bad,
        "following": _following(spec, arguments, result),
        **answer,
    }
    return RedirectResponse("/result", 303)


def _following(
    spec: CommandSpec, arguments: dict[str, Any], result: Result
) -> list[tuple[str, str]]:
    """A plan that may be placed is placed by its hash: the fields of the form that does."""
    if spec.name != "order" or getattr(result, "status", "") != "planned":
        return []
    plan: Any = getattr(result, "plan", None)
    if plan is None or plan.mode is Mode.DRY_RUN:
        return []
    kept: dict[str, Any] = {
        name: arguments[name] for name in ("symbol", "exchange", "mode") if name in arguments
    }
    return hidden_fields({**kept, "apply": plan.hash})


async def cancel(request: Request) -> Response:
    """End a long command."""
    try:
        job = site_of(request).jobs.cancel(request.path_params["id"])
    except BlofinError as error:
        return await pages.failure(request, error, "research")
    await site_of(request).calls.enter(f"cancel {job.name}", "ok", admitted(request).visitor)
    return RedirectResponse(f"/jobs/{job.id}", 303)


async def _ask(
    request: Request,
    spec: CommandSpec,
    arguments: dict[str, Any],
    back: str | None,
    asked: tuple[str, bool],
) -> Response:
    """The page that shows what would be done and takes the word for it; `asked` is the word, and
    whether another one was typed."""
    word, wrong = asked
    values = await pages.shell(
        request,
        "commands",
        spec=spec,
        word=word,
        asks_passphrase=spec.effect is Effect.PERSON or word == "LIVE",
        shown=list(arguments.items()),
        lines=await _what_goes(request, arguments) if spec.name == "cancel" else [],
        hidden=hidden_fields(arguments),
        back=back,
        wrong=wrong,
    )
    return HTMLResponse(looks.draw("confirm.html", **values))


async def _what_goes(request: Request, arguments: dict[str, Any]) -> list[str]:
    """What a cancelling takes away, as far as the session knows, and who is bare then."""
    try:
        now = (await site_of(request).status()).status
    except BlofinError:  # the page says by itself that the state cannot be read
        now = None
    if now is None or any(
        arguments.get(name, value) != value
        for name, value in (("exchange", now.exchange), ("mode", now.mode))
    ):
        return []
    ids = set(arguments.get("id", ()))
    going = [order for order in now.orders if ids & {order.id, order.client_id}]
    lines = [f"{order.symbol}: {looks.going(order)}" for order in going]
    for held in now.positions:
        stops = [item for item in now.orders if item.symbol == held.symbol and item.kind == "stop"]
        if stops and all(item in going for item in stops):
            words = f"{held.side} {looks.quantity(abs(held.quantity))} {held.symbol}"
            entry = f"from {looks.price(held.entry_price)}"
            lines.append(f"The position {words} {entry} is then without a stop.")
    return lines


def _note(spec: CommandSpec, summary: list[tuple[str, str]]) -> str:
    told = "; ".join(f"{label.strip()}: {value}" for label, value in summary)
    text = f"{spec.name}: {told}" if told else f"{spec.name}: done"
    return text if len(text) <= NOTE_LENGTH_MAX else text[: NOTE_LENGTH_MAX - 1] + "…"
