"""What one running dashboard holds, for the handlers of its pages."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request

from blofin_cli.app.context import Context
from blofin_cli.faces.web.calls import Calls
from blofin_cli.faces.web.doorway import Doorway
from blofin_cli.faces.web.jobs import Jobs
from blofin_cli.faces.web.passwords import PasswordFile
from blofin_cli.faces.web.sessions import Attempts, Sessions

if TYPE_CHECKING:
    from blofin_cli.app.commands.status import StatusResult
    from blofin_cli.ports import Clock

STATUS_FRESH_S, EVENTS = 0.4, 60


@dataclass
class Site:
    """The dashboard at work: who may come in, who is in, what runs."""

    doorway: Doorway
    passwords: PasswordFile
    calls: Calls
    jobs: Jobs
    sessions: Sessions
    attempts: Attempts
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    streams: int = 0
    _status: "tuple[float, Any] | None" = None

    async def status(self) -> "StatusResult":
        """The session's state, at most 0.4 s old however many tabs ask.

        Errors: DataError when the state cannot be read.
        """
        async with self.looking:
            now = time.monotonic()
            if self._status is None or now - self._status[0] > STATUS_FRESH_S:
                self._status = (now, await self.calls.call("status", {"events": EVENTS}))
            return cast("StatusResult", self._status[1])

    def forget_status(self) -> None:
        """After an act the next look must see what it did."""
        self._status = None


def make_site(
    doorway: Doorway,
    passwords: PasswordFile,
    state: str | None,
    *,
    clock: "Clock | None" = None,
    seconds: Callable[[], float] = time.monotonic,
) -> Site:
    """A dashboard over one state file."""

    def make_context(**more: Any) -> Context:
        if clock is not None:
            more["clock"] = clock
        return Context(face="web", state_override=state, **more)

    return Site(
        doorway=doorway,
        passwords=passwords,
        calls=Calls(make_context),
        jobs=Jobs(state),
        sessions=Sessions(seconds),
        attempts=Attempts(seconds),
    )


def site_of(request: Request) -> Site:
    """The dashboard that serves this request."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site
