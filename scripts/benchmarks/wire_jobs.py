"""Our side of the live path: reading a push, signing an order, a candle to an order."""

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.adapters.exchanges.blofin.wire import calls, frames
from blofin_cli.adapters.exchanges.blofin.wire.signing import fresh_nonce, signed_headers
from blofin_cli.core.feed import CandleEvent, Channel, Topic
from blofin_cli.core.instruments import instrument
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import MarginMode, OrderRequest, OrderType, PositionMode, Side
from blofin_cli.core.quotes import Environment

BTC = "BTC-USDT"
KEY = blofin.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
VALUES = {BTC: Decimal("0.001")}
REPEATS = 3000
ORDERS_A_BUDGET = 10  # our rate budget is not what is measured here
Job = Callable[[], dict[str, Any] | None]

ORDERS_PUSH = json.dumps({
    "action": "snapshot", "arg": {"channel": "orders"}, "data": [{
        "instType": "SWAP", "instId": BTC, "orderId": "28334314", "clientOrderId": "ab12cd34",
        "price": "28000.000000000000000000", "size": "10", "orderType": "limit", "side": "sell",
        "positionSide": "net", "marginMode": "isolated", "filledSize": "0", "filledAmount": "0.0",
        "averagePrice": "0.000000000000000000", "state": "live", "leverage": "20",
        "tpTriggerPrice": "27000.000000000000000000", "tpTriggerPriceType": "last",
        "tpOrderPrice": "-1", "slTriggerPrice": "29000.000000000000000000",
        "slTriggerPriceType": "last", "slOrderPrice": "-1", "fee": "0.000000000000000000",
        "pnl": "0.000000000000000000", "cancelSource": "not_canceled", "orderCategory": "normal",
        "createTime": "1696760245931", "updateTime": "1696760245973", "reduceOnly": "false",
        "brokerId": "",
    }],
})  # fmt: skip
CANDLE_PUSH = json.dumps({
    "arg": {"channel": "candle15m", "instId": BTC},
    "data": [["1696636800000", "27491.5", "27495", "27483", "27489.5", "95359", "95.359",
              "2621407.651", "0"]],
})  # fmt: skip


def spread(ns: list[int]) -> dict[str, float]:
    """Median and 99th percentile in microseconds."""
    ordered = sorted(ns)
    return {"p50_us": median(ordered) / 1e3, "p99_us": ordered[int(len(ordered) * 0.99)] / 1e3}


def repeated(work: Callable[[], object]) -> dict[str, float]:
    """Each repetition timed by itself."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter_ns()
        work()
        taken.append(time.perf_counter_ns() - started)
    return spread(taken)


def parse_push(folder: Path, kind: str) -> Job:
    """One push of the orders or the candle channel, from text to events."""
    del folder
    text = ORDERS_PUSH if kind == "orders" else CANDLE_PUSH
    parsed = frames.parse(text, VALUES, 1_696_760_246_000)
    assert len(parsed.events) == 1, parsed

    return lambda: repeated(lambda: frames.parse(text, VALUES, 1_696_760_246_000))


def sign_order(folder: Path) -> Job:
    """A bracket order from our record to signed headers and bytes."""
    del folder
    terms = instrument(BTC)
    assert terms is not None
    request = OrderRequest(
        symbol=BTC, side=Side.BUY, type=OrderType.LIMIT, size=Decimal("0.001"),
        client_id="ab12cd34ab12cd34", price=Decimal(97000), stop=Decimal(96000),
        target=Decimal(99000),
    )  # fmt: skip

    def once() -> object:
        call = calls.order(request, terms)
        return signed_headers(
            KEY, call.method, call.target, call.body, ts_ms=1_696_760_246_000, nonce=fresh_nonce()
        ), call.body.encode()

    return lambda: repeated(once)


def json_loads(folder: Path) -> Job:
    """What reading the same orders push costs the standard library alone."""
    del folder
    return lambda: repeated(lambda: json.loads(ORDERS_PUSH))


def candle_to_order(folder: Path, url: str, samples: str) -> Job:
    """A candle event of the native feed to an order acknowledged, one after the other."""
    del folder
    return lambda: asyncio.run(_candles_to_orders(url, int(samples)))


async def _candles_to_orders(url: str, samples: int) -> dict[str, Any]:
    acks: list[int] = []
    sent: list[int] = []
    while len(acks) < samples:
        async with _connected(url) as (account, feed, price):
            count = 0
            async for event in feed.events():
                if not isinstance(event, CandleEvent):
                    continue
                received = time.perf_counter_ns()
                left: list[int] = []
                order = _order(fresh_nonce(), price)
                ack = await account.place(
                    order, fence=lambda left=left: left.append(time.perf_counter_ns())
                )
                acks.append(time.perf_counter_ns() - received)
                sent.append(left[-1] - received)
                assert ack.order_id, ack
                count += 1
                if count == ORDERS_A_BUDGET or len(acks) == samples:
                    break
    told = spread(acks)
    return told | {f"sent_{name}": value for name, value in spread(sent).items()}


def _order(client_id: str, price: Decimal) -> OrderRequest:
    """An immediate order far from the market: it ends at once."""
    return OrderRequest(
        symbol=BTC, side=Side.BUY, type=OrderType.IOC, size=Decimal("0.0001"),
        client_id=client_id, price=price,
    )  # fmt: skip


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[TradingAccount, Any, Decimal]]:
    """A warm account and a feed of candles, with a fresh rate budget."""
    with tempfile.TemporaryDirectory() as folder:
        settings = blofin.Settings(
            state_folder=Path(folder), environment=Environment.SIMULATED, simulator_url=url
        )
        account = blofin.connect(settings, SystemClock(), KEY)
        feed = blofin.connect_stream(settings, account)
        try:
            await account.set_position_mode(PositionMode.ONE_WAY)
            await account.set_margin_mode(MarginMode.ISOLATED)
            terms = (await account.instrument(BTC)).instrument
            last = (await account.quote(BTC)).last
            price = terms.quantise_price(last * Decimal("0.8"), up=False)
            await account.warm()
            await account.place(_order(fresh_nonce(), price))
            await feed.subscribe(Topic(Channel.CANDLES, BTC, Timeframe.M1))
            yield account, feed, price
        finally:
            await feed.aclose()
            await account.aclose()


def throughput(folder: Path, url: str, kind: str, seconds: str) -> Job:
    """Signed requests a second that the box answers, over eight connections."""
    del folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.adapters.exchanges.sim import throughput as hammering

    port = int(url.rpartition(":")[2])
    hammering.SECONDS = float(seconds)
    # The box remembers the nonces of an earlier job.
    hammering._NONCES = itertools.count(time.time_ns())  # noqa: SLF001
    return lambda: {"a_second": asyncio.run(hammering.measure(port, kind))}
