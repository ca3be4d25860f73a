"""The same loop by ccxt.pro: watch a candle, create an order. Runs in `.venv-ccxt`."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SYMBOL = "BTC/USDT:USDT"
ISOLATED = {"marginMode": "isolated"}
Job = Callable[[], dict[str, Any] | None]


def candle_to_order(folder: Path, url: str, samples: str, limiter: str) -> Job:
    """As shipped, or with its rate limiter `off`."""
    del folder
    return lambda: asyncio.run(_loop(url, int(samples), is_limited=limiter != "off"))


async def _loop(url: str, samples: int, *, is_limited: bool) -> dict[str, Any]:
    import ccxt.pro

    stream = url.replace("http", "ws")
    exchange = ccxt.pro.blofin(
        {
            "apiKey": "demo-key-0001",
            "secret": "demo-secret-0001",
            "password": "demo-pass-0001",
            "enableRateLimit": is_limited,
            "urls": {
                "api": {
                    "rest": url,
                    "ws": {
                        "swap": {
                            "public": f"{stream}/ws/public",
                            "private": f"{stream}/ws/private",
                        }
                    },
                }
            },
        }
    )
    try:
        await exchange.load_markets()
        await exchange.set_margin_mode("isolated")
        last = (await exchange.fetch_ticker(SYMBOL))["last"]
        price = float(exchange.price_to_precision(SYMBOL, last * 0.8))
        await exchange.create_order(SYMBOL, "ioc", "buy", 0.1, price, ISOLATED)
        taken = []
        await exchange.watch_ohlcv(SYMBOL, "1m")
        while len(taken) < samples:
            await exchange.watch_ohlcv(SYMBOL, "1m")
            received = time.perf_counter_ns()
            order = await exchange.create_order(SYMBOL, "ioc", "buy", 0.1, price, ISOLATED)
            taken.append(time.perf_counter_ns() - received)
            assert order["id"], order
    finally:
        await exchange.close()
    ordered = sorted(taken)
    return {"p50_us": median(ordered) / 1e3, "p99_us": ordered[int(len(ordered) * 0.99)] / 1e3}
