"""One address through apprise: the `Notifier` port. The only module that knows apprise."""

import importlib
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any

from blofin_cli.adapters.notifiers.messages import body_of, title_of
from blofin_cli.core.journal import Happening, Level
from blofin_cli.errors import ConfigError, NetworkError

URL_LENGTH_MAX = 2000
# Apprise asks no further than this; ours stands above it and abandons the thread.
_TIMES = {"cto": "5", "rto": "8"}
_KINDS = {Level.INFO: "info", Level.WARNING: "warning", Level.ALERT: "failure"}


class Addressed:
    """One person's address. Its name masks every token of it."""

    def __init__(self, target: Any, secrets: Sequence[str]):
        self._target, self._secrets = target, tuple(secrets)

    @property
    def name(self) -> str:
        """The service and the address as it may be logged: no path, which may be a token too."""
        scheme, _, rest = str(self._target.url(privacy=True)).partition("://")
        return f"{self._target.service_name} {scheme}://{re.split('[/?]', rest)[0]}"

    async def send(self, happening: Happening) -> None:
        """Deliver one event. Errors: NetworkError when it was not delivered."""
        is_sent = await self._target.async_notify(
            body=body_of(happening, self._secrets),
            title=title_of(happening),
            notify_type=_KINDS.get(happening.level, "failure"),
            body_format="text",
        )
        if not is_sent:
            raise NetworkError("the message was not taken")

    async def aclose(self) -> None:
        """Nothing is kept open between messages."""


def addressed(url: str, place: int, secrets: Sequence[str]) -> Addressed:
    """The address at this place of the list, checked but not asked.

    Errors: ConfigError when apprise is missing or cannot read it; the address itself is not shown.
    """
    library = _apprise()
    known = url.strip()
    target = None
    if known and len(known) <= URL_LENGTH_MAX and "://" in known:
        mark = "&" if "?" in known else "?"
        times = "&".join(f"{name}={value}" for name, value in _TIMES.items())
        with warnings.catch_warnings():
            # The first address loads every service of apprise, some of them on old modules.
            warnings.simplefilter("ignore", DeprecationWarning)
            target = library.Apprise.instantiate(f"{known}{mark}{times}", suppress_exceptions=True)
    if target is None:
        raise ConfigError(
            f"address {place} for alerts is none that apprise knows",
            hint="see blofin guide alerts for how they are written",
        )
    return Addressed(target, secrets)


def _apprise() -> Any:
    """The library, kept from logging: its warnings may quote an address."""
    try:
        library = importlib.import_module("apprise")
    except ImportError as problem:
        raise ConfigError(
            "alerts need apprise, which is not installed", hint="pip install 'blofin-cli[notify]'"
        ) from problem
    quiet = logging.getLogger("apprise")
    quiet.propagate = False
    if not quiet.handlers:
        quiet.addHandler(logging.NullHandler())
    return library
