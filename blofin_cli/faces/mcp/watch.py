"""Tells subscribers when positions or the halt changed; looks only while somebody listens."""

import hashlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread

from blofin_cli.app.context import Context
from blofin_cli.errors import BlofinError
from blofin_cli.faces.mcp import resources
from blofin_cli.faces.mcp.pages import to_json

LOOK_SECONDS = 1.0
WATCHED = (resources.POSITIONS, resources.HALT)
# Moves with every heartbeat and is no news.
UNNEWS = frozenset(
    {
        *("heartbeat_age_ms", "equity_usdt", "mark_price", "unrealized_usdt", "r_multiple"),
        *("notional_usdt", "margin_usdt", "naked_s"),
    }
)


class Watch:
    """Fingerprints of what can be subscribed to, and who is told when one changes."""

    def __init__(
        self,
        open_context: Callable[[], Context],
        is_heard: Callable[[], bool],
        tell: Callable[[str], Awaitable[None]],
    ) -> None:
        self._open_context = open_context
        self._is_heard = is_heard
        self._tell = tell
        self._seen: dict[str, str] = {}

    async def run(self) -> None:
        """Look once a second, for as long as the server lives."""
        while True:
            if self._is_heard():
                for uri in await self.changes():
                    await self._tell(uri)
            else:
                self._seen = {}
            await anyio.sleep(LOOK_SECONDS)

    async def begin(self) -> None:
        """Remember what is there, unless that is known: what changes from now on is news."""
        if not self._seen:
            self._seen = await anyio.to_thread.run_sync(self._look)

    async def changes(self) -> list[str]:
        """What changed since the last look; the first look only remembers."""
        found = await anyio.to_thread.run_sync(self._look)
        changed = [
            uri for uri, mark in found.items() if uri in self._seen and self._seen[uri] != mark
        ]
        self._seen |= found
        return changed

    def _look(self) -> dict[str, str]:
        try:
            context = self._open_context()
            documents = {
                resources.POSITIONS: resources.positions(context),
                resources.HALT: resources.halt(context),
            }
        except BlofinError as error:
            sys.stderr.write(f"subscriptions: {error.message}\n")
            return {}
        return {uri: _mark(document) for uri, document in documents.items()}


def _mark(document: dict[str, Any]) -> str:
    text = to_json(_news(resources.columnwise_document(document)))
    return hashlib.sha256(text.encode()).hexdigest()


def _news(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _news(item) for key, item in value.items() if key not in UNNEWS}
    return [_news(item) for item in value] if isinstance(value, list) else value
