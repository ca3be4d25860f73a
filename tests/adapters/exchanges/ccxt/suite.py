"""Runs the contract suite over the ccxt adapter, in the environment that has ccxt.

Called as `suite.py NAME URL SYMBOL SIZE`, NAME being ccxt's exchange and URL a stand-in on this
machine: the exchange in a box for blofin, the player of recorded answers for binance. Prints one
JSON object of verdicts.
"""

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import ccxt
from blofin_cli.adapters.exchanges.ccxt.trading import TradingAccount
from tests.adapters.exchanges import contract


@dataclass(frozen=True)
class Key:
    """The box's key; the player takes any."""

    key: str = "demo-key-0001"
    secret: str = "demo-secret-0001"
    passphrase: str = "demo-pass-0001"


def urls_of(name: str, url: str) -> dict:
    """A stand-in's addresses in ccxt's shape."""
    if name == "blofin":
        return {"api": {"rest": url}}
    fapi = {part: f"{url}/fapi/{version}" for part, version in FAPI.items()}
    return {"api": {**fapi, "sapi": f"{url}/sapi/v1", "public": f"{url}/api/v3"}}


FAPI = {
    "fapiPublic": "v1", "fapiPublicV2": "v2", "fapiPublicV3": "v3", "fapiPrivate": "v1",
    "fapiPrivateV2": "v2", "fapiPrivateV3": "v3", "fapiData": "data",
}  # fmt: skip


def losing(url: str) -> None:
    """The box carries its next order out and cuts the connection."""
    body = json.dumps({"name": "lost_answer", "path": "trade/order", "count": 1}).encode()
    with urllib.request.urlopen(f"{url}/control/fault", body, timeout=20) as answer:
        answer.read()


async def main(name: str, url: str, symbol: str, size: str) -> dict[str, str]:
    """Every check over one exchange."""

    def connect() -> TradingAccount:
        account = ccxt.connect(name, SystemClock(), Key(), urls=urls_of(name, url))
        # Neither stand-in counts requests; one in 5 ms keeps the nonces of ccxt's BloFin apart.
        client = account._library.client
        client.rateLimit, client.tokenBucket = 5, None
        client.init_rest_rate_limiter()
        return account

    lose = (lambda: losing(url)) if name == "blofin" else None
    stage = contract.Stage(symbol=symbol, size=Decimal(size), lose_answer=lose)
    return await contract.run(connect, stage)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
