"""A test of the way alerts take, before one is needed."""

from dataclasses import dataclass
from typing import ClassVar

from blofin_cli.app import alerts
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.core.journal import Happening, Level
from blofin_cli.errors import ConfigError, Exit


class AlertRequest(Request):
    """Nothing to choose: every configured address is tried."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One address, without its token, and what became of the test alert there."""

    address: str
    outcome: str
    attempts: int
    problem: str


class AlertResult(Result):
    """Every configured address and whether it took the alert."""

    columns: ClassVar[tuple[str, ...]] = ("address", "outcome", "attempts", "problem")

    levels: list[str]
    addresses: list[Tried]

    def exit_code(self) -> Exit:
        """Network when an address did not take it."""
        is_sent = all(tried.outcome == "sent" for tried in self.addresses)
        return Exit.OK if is_sent else Exit.NETWORK


@command(effect=Effect.WRITE)
async def alert(request: AlertRequest, context: Context) -> AlertResult:
    """Send a test alert to every configured address and say what became of it.

    Addresses come from BLOFIN_NOTIFY__URLS or `keys.toml`; see the guide `alerts`. Exit code 7 when
    one of them did not take it.

    Example: blofin alert
    """
    from blofin_cli.adapters.notifiers import Delivery, Limits

    deliveries: list[Delivery] = []
    queue = alerts.opened(context, deliveries.append, Limits(attempts=2, closing_s=60))
    if queue is None:
        raise ConfigError(
            "no address for alerts is configured",
            hint="set BLOFIN_NOTIFY__URLS, or urls in keys.toml: blofin guide alerts",
        )
    queue.put(
        Happening(
            ts_ms=context.clock.now_ms(),
            level=Level.INFO,
            kind="test",
            text="this is a test: alerts of blofin-cli arrive here",
            next_step="blofin status shows the session, blofin halt stops it",
        )
    )
    await queue.aclose()
    return AlertResult(
        levels=[level.value for level in context.settings.notify.levels],
        addresses=[
            Tried(each.address, each.outcome.value, each.attempts, each.problem)
            for each in deliveries
        ],
    )
