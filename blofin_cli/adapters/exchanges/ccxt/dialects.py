"""How the exchanges on which orders were tried differ from one another behind ccxt's one interface.

ccxt says much about itself in `has` and `features`, but not all of it holds: BloFin's client, for
one, drops `timeInForce` without a word, so that an immediate order would rest. Orders are therefore
sent only where a dialect is written down here and the contract suite has run over it; any other
exchange is good for prices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from blofin_cli.core.orders import OrderType


class Key(Protocol):
    """An API key; what it holds appears in no message."""

    @property
    def key(self) -> str:
        """The public half."""
        ...

    @property
    def secret(self) -> str:
        """What signs."""
        ...

    @property
    def passphrase(self) -> str:
        """The third part, where an exchange has one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One exchange's own ways.

    `client` is ccxt's class; `options` go to it. `kinds` are the order types it takes, as ccxt's
    type and parameters. `waiting` are the parameters of each further list of waiting orders.
    `protection` cancels a stop, `protects_whole` makes it one for the whole position; `has_pairs`:
    a stop and a target can be one order. `has_order_margin`: each order names its margin mode; else
    the symbol is set to isolated first. `duplicates` are its codes for a client id that was used.
    """

    client: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[OrderType, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    waiting: tuple[Mapping[str, Any], ...] = ()
    protection: Mapping[str, Any] = field(default_factory=dict)
    protects_whole: Mapping[str, Any] = field(default_factory=dict)
    has_order_margin: bool = False
    has_pairs: bool = False
    is_told_by_symbol: bool = False
    duplicates: frozenset[str] = frozenset()
    can_close: bool = False
    stop_entries: bool = False
    is_tried: bool = False


_SWAPS = {
    "defaultType": "swap", "defaultSubType": "linear", "warnOnFetchOpenOrdersWithoutSymbol": False,
}  # fmt: skip
_PLAIN: dict[OrderType, tuple[str, Mapping[str, Any]]] = {
    OrderType.MARKET: ("market", {}),
    OrderType.LIMIT: ("limit", {}),
}

_BINANCE = Dialect(
    client="binanceusdm",
    # Its markets would be read along with currencies and margin pairs, which a key for futures
    # alone may not see.
    options={
        **_SWAPS,
        "fetchMarkets": {"types": ["linear"]},
        "fetchCurrencies": False,
        "fetchMargins": False,
    },
    kinds=_PLAIN
    | {
        OrderType.POST_ONLY: ("limit", {"timeInForce": "PO"}),
        OrderType.IOC: ("limit", {"timeInForce": "IOC"}),
        OrderType.FOK: ("limit", {"timeInForce": "FOK"}),
    },
    waiting=({"trigger": True},),
    protection={"trigger": True},
    protects_whole={"closePosition": True},
    is_told_by_symbol=True,
    duplicates=frozenset({"-4116"}),
    stop_entries=True,
    is_tried=True,
)

_BLOFIN = Dialect(
    client="blofin",
    options=_SWAPS,
    kinds=_PLAIN
    | {
        # Its client drops `timeInForce`, so the type says it.
        OrderType.POST_ONLY: ("post_only", {}),
        OrderType.IOC: ("ioc", {}),
        OrderType.FOK: ("fok", {}),
    },
    waiting=({"trigger": True}, {"tpsl": True}),
    protection={"tpsl": True},
    protects_whole={"size": "-1"},
    has_order_margin=True,
    has_pairs=True,
    can_close=True,
    duplicates=frozenset({"102002", "152030"}),
    stop_entries=True,
    is_tried=True,
)

_DIALECTS = {"binance": _BINANCE, "binanceusdm": _BINANCE, "blofin": _BLOFIN}


def dialect_of(name: str) -> Dialect:
    """The ways of an exchange; prices only where nobody tried more."""
    return _DIALECTS.get(name) or Dialect(client=name, options=_SWAPS)
