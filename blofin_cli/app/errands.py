"""What a command asks of the session that holds an account, and how it waits for the answer."""

import asyncio
import os
import platform
from typing import TYPE_CHECKING, Any

from blofin_cli.app.context import Context
from blofin_cli.core.journal import Errand, ErrandState, client_id_of
from blofin_cli.errors import (
    AuthError,
    BlofinError,
    ConfigError,
    DataError,
    HaltedError,
    NetworkError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.core.journal import Session

WAIT_S = 15.0
LOOK_S = 0.05
HEARTBEAT_FRESH_MS = 5_000
_KINDS: dict[str, type[BlofinError]] = {
    kind.code: kind
    for kind in (
        UsageError, RefusedError, HaltedError, ConfigError, DataError, AuthError, VenueError,
        NetworkError, UnknownOutcomeError,
    )
}  # fmt: skip


def living_session(context: Context, account: str) -> "Session | None":
    """The session that holds the account now; a command that holds it for a moment is none."""
    journal = context.journal
    if not journal.is_locked(f"account-{account}"):
        return None
    newest = journal.sessions(account, limit=1)
    is_there = newest and newest[0].ended_ms is None and has_process(newest[0])
    return newest[0] if is_there else None


def has_process(session: "Session") -> bool:
    """Whether a session's process may be there; only one of this machine is known to be gone."""
    if session.host != platform.node() or os.name != "posix":
        return True  # elsewhere signal 0 is no question
    try:
        os.kill(session.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True


def is_answering(context: Context, session: "Session") -> bool:
    """Whether a session's heart has beaten within five seconds."""
    status = context.journal.status(session.session_id)
    return status is not None and context.clock.now_ms() - status.ts_ms <= HEARTBEAT_FRESH_MS


async def run_errand(
    context: Context, account: str, kind: str, arguments: dict[str, Any], *, name: str = ""
) -> dict[str, Any]:
    """Ask the session to do something and wait for its answer.

    Errors: what the session met; NetworkError when it has not taken it within 15 s, and then never
    will; UnknownOutcomeError when it has taken it and not answered.
    """
    journal, now_ms = context.journal, context.clock.now_ms()
    errand_id = name or client_id_of(account, f"{kind}:{now_ms}:{sorted(arguments.items())}")
    posted = journal.post_errand(
        Errand(
            id=errand_id,
            account=account,
            kind=kind,
            arguments=arguments,
            face=context.face,
            created_ms=now_ms,
            expires_ms=now_ms + int(WAIT_S * 1000),
        )
    )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_S
    while True:
        found = journal.errand(posted.id)
        if found is not None and found.answer is not None:
            if found.state is ErrandState.DONE:
                return found.answer
            raise error_of(found.answer)
        if found is not None and found.state is ErrandState.EXPIRED:
            raise NetworkError("the session did not take it in time; nothing was done")
        if loop.time() >= deadline:
            found = journal.withdraw_errand(posted.id)
            if found is not None and found.state is not ErrandState.TAKEN:
                continue  # answered at the last moment, or withdrawn: the next look tells
            state = "gone" if found is None else found.state.value
            raise UnknownOutcomeError(
                f"the session has not answered within {WAIT_S:.0f} s (the errand is {state})",
                hint="blofin status shows whether it is alive",
                details={"errand": posted.id, "state": state},
            )
        await asyncio.sleep(LOOK_S)


def error_of(answer: dict[str, Any]) -> BlofinError:
    """The error that a session's answer carries."""
    told = answer.get("error", {})
    kind = _KINDS.get(str(told.get("code")), RefusedError)
    error = kind(
        str(told.get("message", "the session refused")),
        hint=str(told.get("hint", "")),
        details=dict(told.get("details", {})),
    )
    error.retryable = bool(told.get("retryable", error.retryable))
    return error
