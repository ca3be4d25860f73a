"""Alerts to a person: which events are sent, where to, and what became of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from blofin_cli.app import keys
from blofin_cli.app.context import Context
from blofin_cli.core.journal import Happening, Level

if TYPE_CHECKING:
    from blofin_cli.adapters.notifiers import Delivery, Limits, NotifierQueue


@asynccontextmanager
async def sending(
    context: Context, on_outcome: "Callable[[Delivery], None] | None" = None
) -> AsyncIterator[Callable[[Happening], None]]:
    """A function that takes every event and sends on those of the levels in the settings.

    It never waits and never raises. What could not be delivered is narrated, and every delivery is
    given to `on_outcome`. At the end what waits gets a few seconds more. Without addresses the
    function does nothing.
    Errors: ConfigError when an address is none, or apprise is not installed.
    """
    levels = frozenset(context.settings.notify.levels)

    def told(delivery: "Delivery") -> None:
        if delivery.problem:
            context.say(f"alert {delivery.outcome}: {delivery.address}: {delivery.problem}")
        if on_outcome is not None:
            on_outcome(delivery)

    queue = opened(context, told)

    def notify(happening: Happening) -> None:
        if queue is not None and Level(happening.level) in levels:
            queue.put(happening)

    try:
        yield notify
    finally:
        if queue is not None:
            await queue.aclose()


def opened(
    context: Context,
    on_outcome: "Callable[[Delivery], None]",
    limits: "Limits | None" = None,
) -> "NotifierQueue | None":
    """The queue before every configured address; None when there is none.

    The parts of both BloFin keys are masked in whatever is sent. Errors: as `sending`.
    """
    urls = [url.get_secret_value() for url in keys.notify_urls(context.settings)]
    if not urls:
        return None
    from blofin_cli.adapters.notifiers import open_notifier

    return open_notifier(
        urls, context.clock, secrets=_secrets(), on_outcome=on_outcome, limits=limits
    )


def _secrets() -> list[str]:
    """Every part of the keys at hand."""
    found: list[str] = []
    for account in ("live", "demo"):
        if keys.has_key(account):
            key = keys.credentials(account)
            found += [key.key, key.secret, key.passphrase]
    return found
