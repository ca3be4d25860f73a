"""Ways to reach a person: Telegram, Discord, e-mail, webhooks and what else apprise can address.

Trading never waits for one: alerts go into a queue that always has room, and a worker for each
address delivers them. Importing this loads nothing of apprise; `open_notifier` does.
"""

from collections.abc import Sequence

from blofin_cli.adapters.notifiers.lanes import (
    Delivery,
    Limits,
    NotifierQueue,
    OnOutcome,
    Outcome,
    unrecorded,
)
from blofin_cli.adapters.notifiers.messages import redacted
from blofin_cli.ports import Clock

__all__ = ["Delivery", "Limits", "NotifierQueue", "Outcome", "open_notifier", "redacted"]


def open_notifier(
    urls: Sequence[str],
    clock: Clock,
    *,
    secrets: Sequence[str] = (),
    on_outcome: OnOutcome = unrecorded,
    limits: Limits | None = None,
) -> NotifierQueue | None:
    """A queue before every address; None when there is none. Call inside a running event loop.

    `secrets` are masked in every message, whatever brought them there; so are the addresses.
    Errors: ConfigError when apprise is not installed or does not know one of the addresses, which
    is then named by its place in the list and not shown.
    """
    if not urls:
        return None
    from blofin_cli.adapters.notifiers.addressed import addressed

    hidden = (*secrets, *urls)
    targets = [addressed(url, place, hidden) for place, url in enumerate(urls, start=1)]
    return NotifierQueue(targets, clock, on_outcome=on_outcome, limits=limits)
