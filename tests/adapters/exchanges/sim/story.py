"""One seeded story of a box, told as a digest: run in two processes, it must be the same.

`python story.py SEED` prints the trace of the venue and a digest of every answer and push.
"""

import hashlib
import json
import sys

from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.adapters.exchanges.sim.box import box_of_feeds
from blofin_cli.adapters.exchanges.sim.faults import chaos
from blofin_cli.adapters.exchanges.sim.keys import RateLimits
from blofin_cli.adapters.exchanges.sim.margin import terms_of
from blofin_cli.adapters.exchanges.sim.market import CandleFeed, Span
from blofin_cli.core.instruments import instrument
from blofin_cli.core.market import Timeframe
from tests.adapters.exchanges.sim.driver import Caller, subscribe

SYMBOLS = ("BTC-USDT", "ETH-USDT")
HOURS = 2


def tell(seed: int) -> dict[str, str]:
    """Two hours of two markets with orders every few minutes, in a storm."""
    market = SyntheticMarket(seed, SYMBOLS, bars=96 * 2)
    feeds = []
    for symbol in SYMBOLS:
        candles = market.candles(symbol, Timeframe.M1)
        feeds.append(
            CandleFeed(terms_of(instrument(symbol)), candles, Span(int(candles.ts[1_440])))
        )
    box = box_of_feeds(feeds, faults=chaos(seed), limits=RateLimits(enabled=False))
    caller = Caller(box)
    digest = hashlib.sha256()
    sessions = [box.publisher.connect("public", box.now_ms) for _ in range(2)]
    for symbol, session in zip(SYMBOLS, sessions, strict=True):
        session.receive(
            subscribe("trades", "tickers", "books5", "candle1m", inst_id=symbol), box.now_ms
        )
    for step in range(HOURS * 12):
        box.advance(box.now_ms + 300_000)
        caller.wall_ms = box.now_ms
        for answer in moves(caller, step):
            digest.update(answer.body)
        for session in sessions:
            digest.update(json.dumps(list(session.outbox)).encode())
            session.outbox.clear()
    account = box.venue.account
    return {
        "trace": f"{box.trace:08x}",
        "digest": digest.hexdigest(),
        "balance": str(account.balance),
        "fills": str(len(account.fills)),
        "fired": json.dumps(dict(sorted(box.faults.fired.items()))),
    }


def moves(caller: Caller, step: int):
    """What the story's trader does at one step."""
    symbol = SYMBOLS[step % 2]
    last = caller.box.venue.markets[symbol].tick.price
    tick = caller.box.venue.terms[symbol].tick_size
    side = "buy" if step % 3 else "sell"
    sign = 1 if side == "buy" else -1
    stop = (last * (1000 - 8 * sign) / 1000) // tick * tick
    price = (last * (10_000 - 5 * sign) / 10_000) // tick * tick
    order = {
        "instId": symbol, "marginMode": "isolated", "side": side, "size": "3",
        "orderType": "limit" if step % 2 else "market", "price": str(price),
        "slTriggerPrice": str(stop), "slOrderPrice": "-1", "clientOrderId": f"s{step}",
    }  # fmt: skip
    yield caller.send("POST", "trade/order", body=json.dumps(order).encode())
    yield caller.send("GET", "account/positions")
    yield caller.send("GET", "account/balance")
    if step % 10 == 9:
        closing = json.dumps({"instId": symbol, "marginMode": "isolated"}).encode()
        yield caller.send("POST", "trade/close-position", body=closing)


if __name__ == "__main__":
    print(json.dumps(tell(int(sys.argv[1])), sort_keys=True))
