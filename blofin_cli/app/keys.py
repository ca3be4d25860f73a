"""API keys: where they are looked for and how they are refused; their values appear nowhere."""

from typing import TYPE_CHECKING

from blofin_cli.errors import ConfigError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.blofin import Credentials


def credentials(account: str) -> "Credentials":
    """The key of an account: `live`, `demo`, or the name of another exchange.

    Errors: ConfigError when there is none or the place it lies in is not safe.
    """
    raise ConfigError(f"no API key for {account}")
