"""Signing in and out."""

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from blofin_cli.faces.web import looks
from blofin_cli.faces.web.guard import admitted, cookie_name
from blofin_cli.faces.web.sessions import AGE_S_MAX
from blofin_cli.faces.web.site import site_of


async def show(request: Request) -> Response:
    """The form that asks for the password."""
    if admitted(request).session is not None:
        return RedirectResponse(local_path(request.query_params.get("next")), 303)
    return _form(request.query_params.get("next"))


async def sign_in(request: Request) -> Response:
    """Open a session for the right password; each wrong one makes the next wait longer."""
    site, found = site_of(request), admitted(request)
    following = found.body.one("next")
    async with site.entering:  # one guess at a time: many at once would pass the brake together
        wait_s = site.attempts.wait_s(found.visitor)
        if wait_s > 0:
            text = f"Too many wrong passwords. Try again in {looks.span(wait_s * 1000)}."
            answer = _form(following, text, 429)
            answer.headers["retry-after"] = str(int(wait_s) + 1)
            return answer
        password = found.body.one("password") or ""
        is_right = await anyio.to_thread.run_sync(site.passwords.matches, password)
        if not is_right:
            site.attempts.failed(found.visitor)
    if not is_right:
        await site.calls.enter("sign-in", "refused", found.visitor)
        return _form(following, "That is not the password.", 403)
    site.attempts.succeeded(found.visitor)
    site.sessions.end(found.cookie)
    cookie = site.sessions.begin(site.passwords.fingerprint())
    await site.calls.enter("sign-in", "ok", found.visitor)
    onward = RedirectResponse(local_path(following), 303)
    onward.set_cookie(
        cookie_name(site.doorway),
        cookie,
        max_age=int(AGE_S_MAX),
        httponly=True,
        samesite="strict",
        secure=site.doorway.is_secure,
        path="/",
    )
    return onward


async def sign_out(request: Request) -> Response:
    """End the session."""
    site, found = site_of(request), admitted(request)
    site.sessions.end(found.cookie)
    await site.calls.enter("sign-out", "ok", found.visitor)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(
        cookie_name(site.doorway), path="/", httponly=True, secure=site.doorway.is_secure
    )
    return answer


def local_path(text: str | None) -> str:
    """A path of this server to go on to; the start page for anything else."""
    is_ours = text is not None and text.startswith("/") and not text.startswith(("//", "/\\"))
    is_plain = is_ours and text is not None and text.isascii() and text.isprintable()
    return text if is_plain and text is not None and "\\" not in text else "/"


def _form(following: str | None, complaint: str = "", status: int = 200) -> HTMLResponse:
    page = looks.draw("login.html", following=local_path(following), complaint=complaint)
    return HTMLResponse(page, status)
