"""Other exchanges through ccxt's unified interface: prices of any, orders where it was tried.

USDT-margined linear swaps on isolated margin only. Importing this loads nothing of ccxt; the
`connect` functions do, and say how to install it where it is missing. What a venue cannot do is in
its capabilities and is refused before anything is sent. ccxt's live feeds are not used: a caller
that needs one finds no `STREAM` among the capabilities and asks again instead.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.ccxt.dialects import Key
from blofin_cli.ports import Clock

if TYPE_CHECKING:  # they load ccxt
    from blofin_cli.adapters.exchanges.ccxt.public import PublicData
    from blofin_cli.adapters.exchanges.ccxt.trading import ReducingAccount, TradingAccount

__all__ = ["Key", "connect", "connect_public", "connect_reducing"]

Urls = Mapping[str, Any]
"""Addresses in ccxt's own shape, for a server on this machine that stands in for an exchange."""


def connect_public(name: str, clock: Clock, *, urls: Urls | None = None) -> "PublicData":
    """Market data without a key.

    Errors: ConfigError when ccxt is not installed; UsageError when it knows no such exchange.
    """
    from blofin_cli.adapters.exchanges.ccxt.library import Library
    from blofin_cli.adapters.exchanges.ccxt.public import PublicData

    return PublicData(Library(name, clock, urls=urls), clock)


def connect_reducing(
    name: str, clock: Clock, credentials: Key, *, urls: Urls | None = None
) -> "ReducingAccount":
    """An account that can be read, protected and reduced, but not enlarged.

    Errors: as `connect_public`; RefusedError where orders were never tried.
    """
    from blofin_cli.adapters.exchanges.ccxt.library import Library
    from blofin_cli.adapters.exchanges.ccxt.trading import ReducingAccount

    return ReducingAccount(Library(name, clock, key=credentials, urls=urls), clock)


def connect(
    name: str, clock: Clock, credentials: Key, *, urls: Urls | None = None
) -> "TradingAccount":
    """An account that can open; for the holder of the account lock alone.

    Errors: as `connect_reducing`.
    """
    from blofin_cli.adapters.exchanges.ccxt.library import Library
    from blofin_cli.adapters.exchanges.ccxt.trading import TradingAccount

    return TradingAccount(Library(name, clock, key=credentials, urls=urls), clock)
