"""The watchdog as a process."""

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Result, command
from blofin_cli.app.venues import (
    AccountRequest,
    account_name,
    exchange_of,
    held_mode_of,
    open_account,
)
from blofin_cli.core.journal import Happening

if TYPE_CHECKING:
    from blofin_cli.engine.guardian import Guardian


class GuardRequest(AccountRequest):
    """Which account to watch, and when to act."""

    stale: Annotated[
        float | None,
        Field(description="Silence after which the session counts as gone, seconds", ge=2, le=3600),
    ] = None
    on_stale: Annotated[
        Literal["repair", "flatten"] | None,
        Field(description="Put missing stops back, or close every position"),
    ] = None
    emergency_stop: Annotated[
        float | None,
        Field(description="Stop for positions whose stop nobody knows, % of price", gt=0, le=50),
    ] = None
    max_seconds: Annotated[
        float | None, Field(description="Stop after this time instead of at Ctrl-C", gt=0)
    ] = None


class GuardResult(Result):
    """What the watchdog did."""

    account: str
    rounds: int
    acts: list[str]


@command(effect=Effect.SAFE)
async def guard(request: GuardRequest, context: Context) -> GuardResult:
    """Watch an account from a process of its own: repair stops, obey a halt, when nobody else does.

    It cannot open anything. Run it beside `blofin run --mode demo` or live, best as a service.

    Example: blofin guard --exchange sim --mode demo --max-seconds 1
    """
    from blofin_cli.app.alerts import sending
    from blofin_cli.engine.guardian import Guardian, Watch
    from blofin_cli.engine.reducing import Reducer

    account = account_name(exchange_of(request, context), held_mode_of(request, context))
    settings = context.settings.guard
    acts: list[str] = []
    with context.journal.lock(f"guard-{account}"):
        async with open_account(request, context) as exchange, sending(context) as send:

            def notify(happening: Happening) -> None:
                acts.append(happening.text)
                del acts[:-1000]
                context.say(happening.text)
                send(happening)

            guardian = Guardian(
                exchange=exchange,
                journal=context.journal,
                clock=context.clock,
                account=account,
                reducer=Reducer(
                    exchange=exchange,
                    journal=context.journal,
                    clock=context.clock,
                    account=account,
                    session_id=f"guard-{account}",
                    face="guard",
                ),
                watch=Watch(
                    heartbeat_stale_s=request.stale or settings.heartbeat_stale_s,
                    on_stale=request.on_stale or settings.on_stale,
                    stop_pct=request.emergency_stop,
                ),
                notify=notify,
            )
            context.say(f"guarding {account}; Ctrl-C ends it")
            await _watched(guardian, request.max_seconds)
    return GuardResult(account=account, rounds=guardian.rounds, acts=acts)


async def _watched(guardian: "Guardian", max_seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, guardian.stop)
    if max_seconds is not None:
        loop.call_later(max_seconds, guardian.stop)
    await guardian.run()
