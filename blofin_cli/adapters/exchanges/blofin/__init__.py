"""BloFin itself: REST, WebSocket and the rate budget they share.

Importing this opens nothing and loads no network library; the `connect` functions do, and each
gives no more than its caller needs: prices without a key, an account that can only shrink, and an
account that can open for the one holder of the account lock.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blofin_cli.adapters.exchanges.blofin.hosts import host_of
from blofin_cli.adapters.exchanges.blofin.wire.signing import Credentials
from blofin_cli.core.quotes import Environment
from blofin_cli.ports import Clock

if TYPE_CHECKING:  # they load httpx and websockets
    from blofin_cli.adapters.exchanges.blofin.governor import Governor
    from blofin_cli.adapters.exchanges.blofin.public import PublicData
    from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed
    from blofin_cli.adapters.exchanges.blofin.trading import ReducingAccount, TradingAccount
    from blofin_cli.adapters.exchanges.blofin.transport import Sender

__all__ = [
    "Credentials", "Settings", "connect", "connect_public", "connect_reducing", "connect_stream",
]  # fmt: skip

RATE_FILE = "blofin-rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which host, and where the budget shared by all processes lies.

    `simulator_url` belongs to the environment `simulated` and must be on this machine.
    Errors: ConfigError when the two contradict.
    """

    state_folder: Path
    environment: Environment = Environment.LIVE
    simulator_url: str | None = None

    def __post_init__(self) -> None:
        host_of(self.environment, self.simulator_url)


def connect_public(settings: Settings, clock: Clock) -> "PublicData":
    """Market data without a key."""
    from blofin_cli.adapters.exchanges.blofin.public import PublicData

    return PublicData(_sender(settings, clock, None), clock)


def connect_reducing(
    settings: Settings, clock: Clock, credentials: Credentials
) -> "ReducingAccount":
    """An account that can be read, protected and reduced, but not enlarged."""
    from blofin_cli.adapters.exchanges.blofin.trading import ReducingAccount

    return ReducingAccount(_sender(settings, clock, credentials), clock)


def connect(settings: Settings, clock: Clock, credentials: Credentials) -> "TradingAccount":
    """An account that can open; for the holder of the account lock alone."""
    from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount

    return TradingAccount(_sender(settings, clock, credentials), clock)


def connect_stream(
    settings: Settings, data: "PublicData", credentials: Credentials | None = None
) -> "LiveFeed":
    """A live feed beside `data`, which lends its instruments and its clock offset."""
    from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed

    host = host_of(settings.environment, settings.simulator_url)
    return LiveFeed(host, data, _governor(settings), credentials=credentials)


def _sender(settings: Settings, clock: Clock, credentials: Credentials | None) -> "Sender":
    from blofin_cli.adapters.exchanges.blofin.transport import Sender

    host = host_of(settings.environment, settings.simulator_url)
    return Sender(host, _governor(settings), clock, credentials=credentials)


def _governor(settings: Settings) -> "Governor":
    """The shared budget; a box has one of its own, since its refusals say nothing of BloFin."""
    from blofin_cli.adapters.exchanges.blofin.governor import Governor

    name = RATE_FILE if settings.simulator_url is None else f"{RATE_FILE}-simulated"
    return Governor(settings.state_folder / name)
