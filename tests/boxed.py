"""An exchange in a box on a thread of its own: calm prices, moved and broken by the test."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from blofin_cli.adapters.exchanges.sim.box import Box
from blofin_cli.adapters.exchanges.sim.keys import RateLimits
from blofin_cli.adapters.exchanges.sim.margin import terms_of
from blofin_cli.adapters.exchanges.sim.market import CandleFeed, MarketClock, Span
from blofin_cli.adapters.exchanges.sim.records import Tick, VenueRules
from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms
from blofin_cli.core.candles import Candles
from blofin_cli.core.instruments import instrument
from blofin_cli.core.market import Timeframe

BTC, ETH = "BTC-USDT", "ETH-USDT"
PRICES = {BTC: 60_000.0, ETH: 3_000.0}
BARS = 200


@dataclass(frozen=True)
class Boxed:
    """A running box by its address."""

    url: str

    def control(self, action: str, **fields: object) -> dict[str, Any]:
        """Ask the box for the truth, or for a fault."""
        request = urllib.request.Request(
            f"{self.url}/control/{action}", data=json.dumps(fields).encode()
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def fault(self, name: str, path: str = "", count: int | None = 1, ms: int = 0) -> None:
        """Switch a fault on."""
        self.control("fault", name=name, path=path, count=count, ms=ms)

    def price(self, price: float, symbol: str = BTC) -> None:
        """One print by hand."""
        self.control("price", instId=symbol, price=price)

    @property
    def truth(self) -> dict[str, Any]:
        """The account as it is."""
        return self.control("account")

    def held(self, symbol: str = BTC) -> float:
        """Signed contracts of a position, 0 when there is none."""
        rows = [row for row in self.truth["positions"] if row["instId"] == symbol]
        return sum(float(row["positions"]) for row in rows)


@contextmanager
def box_running(balance: float = 10_000.0) -> Iterator[Boxed]:
    """A box with BTC at 60,000 and ETH at 3,000 that stand still, without rate limits."""
    now_ms = system_ms()
    feeds = [_feed(symbol, price, now_ms) for symbol, price in PRICES.items()]
    box = Box(
        [feed.terms for feed in feeds],
        VenueRules(balance=Decimal(repr(balance))),
        feeds=feeds,
        limits=RateLimits(enabled=False),
        now_ms=now_ms,
    )
    for symbol, price in PRICES.items():
        box.print(Tick(inst_id=symbol, ts_ms=now_ms, price=Decimal(str(price)), size=Decimal(1)))
    server = BoxServer(box, MarketClock(now_ms, 1.0, system_ms))
    started, addresses = threading.Event(), []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with listening(server) as address:
            addresses.append(address.rest)
            started.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(5)
    try:
        yield Boxed(addresses[0])
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()


def _feed(symbol: str, price: float, now_ms: int) -> CandleFeed:
    step = Timeframe.M15.ms
    last = now_ms // step * step
    ts = np.arange(last - BARS * step, last, step, dtype=np.int64)
    wave = price * (1 + 1e-4 * np.sin(np.arange(BARS)))
    columns = (wave, wave * 1.0002, wave * 0.9998, wave, np.full(BARS, 1e8 / price))
    terms = instrument(symbol)
    assert terms is not None
    candles = Candles(symbol, Timeframe.M15, ts, *columns)
    return CandleFeed(terms_of(terms), candles, Span(start_ms=last))
