"""Every command as JSON over HTTP, under `/api/`: looks by GET, everything else by POST."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blofin_cli.app.spec import CommandSpec, Effect, validate
from blofin_cli.errors import BlofinError, RefusedError, UsageError
from blofin_cli.faces.render import json_ready
from blofin_cli.faces.web.calls import (
    LONG,
    Typed,
    check_call,
    expected_word,
    is_typed,
    may_write,
    needs_word,
    served,
    status_of,
)
from blofin_cli.faces.web.guard import admitted
from blofin_cli.faces.web.site import Site, site_of

WORD_HEADER, PASSPHRASE_HEADER, EXIT_HEADER = "x-confirm", "x-passphrase", "x-exit-code"


async def openapi(request: Request) -> Response:
    """The description of all of this."""
    import anyio.to_thread

    from blofin_cli.faces.web.openapi import description

    del request
    return JSONResponse(await anyio.to_thread.run_sync(description))


async def command(request: Request) -> Response:
    """One command; the method must suit its effect."""
    site = site_of(request)
    try:
        spec = served(request.path_params["name"])
        methods = methods_of(spec)
        if request.method not in methods:
            return _wrong_method(spec, methods)
        arguments = _arguments(spec, request)
        effect = check_call(spec, arguments)
        if request.method == "GET" and effect is not Effect.READ:
            return _wrong_method(spec, ("POST",))
        if needs_word(spec, effect):
            await _check_word(site, spec, arguments, request)
        if spec.name in LONG:
            return await _started(site, spec, arguments, request)
        result = await site.calls.call(
            spec.name, arguments, typed=typed_in(request), client=admitted(request).visitor
        )
    except BlofinError as error:
        site.forget_status()
        return envelope(error)
    if effect is not Effect.READ:
        site.forget_status()
    return JSONResponse(json_ready(result), headers={EXIT_HEADER: str(int(result.exit_code()))})


def methods_of(spec: CommandSpec) -> tuple[str, ...]:
    """GET where a call can be a look, POST where one can be more."""
    looks = ("GET",) if spec.effect is Effect.READ and spec.name not in LONG else ()
    return (*looks, "POST") if may_write(spec) or not looks else looks


def _wrong_method(spec: CommandSpec, methods: tuple[str, ...]) -> JSONResponse:
    answer = envelope(UsageError(f"this call of {spec.name} takes {' or '.join(methods)}"), 405)
    answer.headers["allow"] = ", ".join(methods)
    return answer


async def job(request: Request) -> Response:
    """A long command: how far it is, then its result; DELETE ends it."""
    jobs = site_of(request).jobs
    try:
        if request.method == "DELETE":
            return JSONResponse(json_ready(jobs.cancel(request.path_params["id"]).record()))
        return JSONResponse(json_ready(jobs.find(request.path_params["id"]).record()))
    except BlofinError as error:
        return envelope(error)


def envelope(error: BlofinError, status: int | None = None) -> JSONResponse:
    """A failure as every face tells it."""
    return JSONResponse(json_ready(error.envelope()), status or status_of(error))


def typed_in(request: Request) -> Typed:
    """The word and passphrase of a call, which come as headers and are kept nowhere."""
    return Typed(
        word=request.headers.get(WORD_HEADER, ""),
        passphrase=request.headers.get(PASSPHRASE_HEADER, ""),
    )


async def _check_word(
    site: Site, spec: CommandSpec, arguments: Mapping[str, Any], request: Request
) -> None:
    """Errors: RefusedError without the word a person types, naming it."""
    asked = validate(spec, arguments)
    word = await site.calls.read(lambda context: expected_word(spec, asked, context))
    if not is_typed(word, typed_in(request)):
        raise RefusedError("this needs a person's word", hint=f"send {word} as {WORD_HEADER}")


async def _started(
    site: Site, spec: CommandSpec, arguments: Mapping[str, Any], request: Request
) -> Response:
    client = admitted(request).visitor
    made = await site.jobs.start(spec.name, arguments, consent=False, client=client)
    where = {"location": f"/api/jobs/{made.id}"}
    return JSONResponse(json_ready(made.record()), 202, headers=where)


def _arguments(spec: CommandSpec, request: Request) -> dict[str, Any]:
    if request.method not in ("GET", "HEAD"):
        return dict(admitted(request).body.document or {})
    several = {item.field for item in spec.options() if item.is_repeatable}
    query = request.query_params
    return {name: query.getlist(name) if name in several else query[name] for name in query}
