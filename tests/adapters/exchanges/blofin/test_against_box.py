"""The native client trades on the exchange in a box: two readings of one protocol agree.

The box decodes and verifies with its own code, so a mistake would have to be made twice.
"""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.adapters.exchanges.blofin.wire.signing import fresh_nonce
from blofin_cli.core.feed import (
    CandleEvent,
    Channel,
    Connected,
    OrderEvent,
    PositionsEvent,
    QuoteEvent,
    ReconcileNeeded,
    Topic,
)
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    CloseRequest,
    MarginMode,
    OrderRef,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    PositionMode,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Environment
from blofin_cli.errors import AuthError

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[4]
BTC = "BTC-USDT"
CREDENTIALS = blofin.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")


@pytest.fixture(scope="module")
def box_url() -> Iterator[str]:
    """A box as a process, at 20 times the speed of the market."""
    command = [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--speed", "20"]
    process = subprocess.Popen(
        [*command, "--no-limits", "--symbol", BTC, "--max-seconds", "900"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    url = next(
        (match[1] for line in process.stderr if (match := re.match(r"REST +(http\S+)", line))), ""
    )
    yield url
    process.terminate()
    process.communicate()


def control(url: str, action: str, **fields: object) -> dict:
    """Ask the box for the truth, or for a fault."""
    body = json.dumps(fields).encode()
    request = urllib.request.Request(f"{url}/control/{action}", data=body)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


@pytest.fixture
def settings(box_url: str, tmp_path: Path) -> blofin.Settings:
    return blofin.Settings(
        state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=box_url
    )


@pytest.fixture
async def account(settings: blofin.Settings) -> AsyncIterator[TradingAccount]:
    """An account in isolated, one-way mode at 5x, flat before and after."""
    connected = blofin.connect(settings, SystemClock(), CREDENTIALS)
    await connected.set_position_mode(PositionMode.ONE_WAY)
    await connected.set_margin_mode(MarginMode.ISOLATED)
    await connected.set_leverage(BTC, 5)
    yield connected
    closed = await connected.close_position(
        CloseRequest(symbol=BTC, client_id=f"cleanup{fresh_nonce()[:8]}")
    )
    assert closed.outcome is Outcome.ACCEPTED or closed.code == "102005", closed
    await connected.aclose()


def request(client_id: str, **changes) -> OrderRequest:
    values = {
        "symbol": BTC, "side": Side.BUY, "type": OrderType.MARKET, "size": Decimal("0.001"),
        "client_id": client_id,
    } | changes  # fmt: skip
    return OrderRequest(**values)


async def off_market(account: TradingAccount, factor: str) -> Decimal:
    """A price on the tick grid, some way from the last one."""
    listing, quote = await account.instrument(BTC), await account.quote(BTC)
    return listing.instrument.quantise_price(quote.last * Decimal(factor), up=False)


async def test_public_data_of_the_box(settings):
    """Instruments, tiers, prices, book, candles and funding without a key."""
    data = blofin.connect_public(settings, SystemClock())
    listing, quote = await data.instrument(BTC), await data.quote(BTC)
    assert listing.is_live
    assert listing.instrument.contract_value == Decimal("0.001")
    assert quote.bid < quote.ask
    assert quote.mark > 0
    book = await data.book(BTC, 10)
    assert book.bids[0].price < book.asks[0].price
    newest = await data.candles(BTC, Timeframe.M15, limit=50)
    assert len(newest) >= 49
    first_ms = newest[0].ts_ms
    page = await data.candles(BTC, Timeframe.M15, since_ms=first_ms, limit=10)
    assert [bar.ts_ms for bar in page] == [first_ms + n * Timeframe.M15.ms for n in range(10)]
    assert all(bar.is_closed for bar in page)
    assert (await data.clock_offset()).uncertainty_ms < 2000
    assert await data.prints(BTC) is not None
    await data.aclose()


async def test_market_order_with_stop_and_target_becomes_a_protected_position(account, box_url):
    """Open, find the stop at the exchange, close, and nothing is left."""
    stop, target = await off_market(account, "0.9"), await off_market(account, "1.1")
    ack = await account.place(request("open1", stop=stop, target=target))
    assert ack.outcome is Outcome.ACCEPTED, ack
    (position,) = await account.positions(BTC)
    assert position.size == Decimal("0.001")
    assert (position.leverage, position.margin_mode) == (5, MarginMode.ISOLATED)
    (protection,) = await account.protections(BTC)
    assert (protection.stop, protection.target) == (stop, target)
    assert protection.side is Side.SELL
    fills = await account.fills(BTC, order_id=ack.order_id)
    assert sum(fill.size for fill in fills) == Decimal("0.001")
    order = await account.order(ref_of("open1"))
    assert (order.order_id, order.state) == (ack.order_id, OrderState.FILLED)
    closed = await account.close_position(CloseRequest(symbol=BTC, client_id="close1"))
    assert closed.outcome is Outcome.ACCEPTED
    assert await account.positions(BTC) == ()
    for left in await account.protections(BTC):
        assert (await account.cancel_protection(left.ref)).outcome is Outcome.ACCEPTED


def ref_of(client_id: str) -> OrderRef:
    return OrderRef(symbol=BTC, client_id=client_id)


async def test_resting_orders_are_listed_and_canceled(account):
    """Limit, post-only and stop entry; batch placed, batch canceled."""
    low, high = await off_market(account, "0.8"), await off_market(account, "1.2")
    resting = [
        request("rest1", type=OrderType.LIMIT, price=low),
        request("rest2", type=OrderType.POST_ONLY, price=low),
    ]
    acks = await account.place_many(resting)
    entry = await account.place(request("entry1", type=OrderType.TRIGGER, trigger=high))
    assert {ack.outcome for ack in (*acks, entry)} == {Outcome.ACCEPTED}
    listed = {order.client_id: order for order in await account.open_orders(BTC)}
    assert set(listed) == {"rest1", "rest2", "entry1"}
    assert listed["entry1"].trigger == high
    assert listed["rest1"].price == low
    told = await account.cancel_many([order.ref for order in listed.values()])
    assert {ack.outcome for ack in told} == {Outcome.ACCEPTED}
    assert await account.open_orders(BTC) == ()
    again = await account.cancel(listed["rest1"].ref)
    assert again.outcome is Outcome.REFUSED


async def test_ioc_and_fok_off_the_market_end_canceled(account):
    """Nothing rests."""
    low = await off_market(account, "0.8")
    for kind in (OrderType.IOC, OrderType.FOK):
        ack = await account.place(request(f"now{kind.value}", type=kind, price=low))
        if ack.outcome is Outcome.ACCEPTED:
            order = await account.order(ref_of(f"now{kind.value}"))
            assert order.state is OrderState.CANCELED
    assert await account.open_orders(BTC) == ()


async def test_stop_of_its_own_and_reduction(account):
    """Protect a bare position, halve it reduce-only, replace the stop."""
    assert (await account.place(request("bare1", size=Decimal("0.002")))).outcome == "accepted"
    stop = await off_market(account, "0.9")
    protect = ProtectionRequest(symbol=BTC, side=Side.SELL, client_id="stop1", stop=stop)
    assert (await account.protect(protect)).outcome is Outcome.ACCEPTED
    (live,) = await account.protections(BTC)
    assert (live.stop, live.size) == (stop, None)
    half = request("half1", side=Side.SELL, reduce_only=True)
    assert (await account.reduce(half)).outcome is Outcome.ACCEPTED
    (position,) = await account.positions(BTC)
    assert position.size == Decimal("0.001")
    assert (await account.cancel_protection(live.ref)).outcome is Outcome.ACCEPTED
    assert await account.protections(BTC) == ()


async def test_duplicate_client_id_is_found_not_repeated(account, box_url):
    """The same intent sent twice is one order."""
    low = await off_market(account, "0.8")
    intent = request("twice1", type=OrderType.LIMIT, price=low)
    first, second = await account.place(intent), await account.place(intent)
    assert first.order_id == second.order_id
    assert (second.outcome, second.resolved) == (Outcome.ACCEPTED, True)
    assert len(await account.open_orders(BTC)) == 1
    await account.cancel(ref_of("twice1"))


async def test_lost_answer_on_the_box_is_resolved(account, box_url):
    """F01 against a real server: carried out, connection cut, found by client id."""
    low = await off_market(account, "0.8")
    control(box_url, "fault", name="lost_answer", path="trade/order", count=1)
    ack = await account.place(request("lost1", type=OrderType.LIMIT, price=low))
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True)
    assert len(await account.open_orders(BTC)) == 1
    await account.cancel(ref_of("lost1"))


async def test_key_and_account_are_told(account):
    """Permissions, balance, modes, leverage, price band."""
    key = await account.key_info()
    assert key.can_trade
    balance = (await account.account()).balance()
    assert balance.available > 0
    assert await account.position_mode() is PositionMode.ONE_WAY
    assert [row.leverage for row in await account.leverage(BTC)] == [5]
    band = await account.price_range(BTC, Side.BUY)
    assert band.price_min < band.price_max


async def test_wrong_secret_is_refused_by_name(settings):
    """152409, before anything is done."""
    stranger = blofin.Credentials("demo-key-0001", "another-secret", "demo-pass-0001")
    account = blofin.connect(settings, SystemClock(), stranger)
    with pytest.raises(AuthError) as refusal:
        await account.account()
    assert refusal.value.details["venue_code"] == "152409"
    await account.aclose()


async def test_live_feed_of_the_box(account, settings):
    """Candles, quotes and the account's own events over both WebSockets."""
    feed = blofin.connect_stream(settings, account, CREDENTIALS)
    await feed.subscribe(
        Topic(Channel.CANDLES, BTC, Timeframe.M1), Topic(Channel.QUOTES, BTC),
        Topic(Channel.BOOK, BTC), Topic(Channel.ORDERS), Topic(Channel.POSITIONS),
        Topic(Channel.PROTECTIONS), Topic(Channel.ACCOUNT),
    )  # fmt: skip
    wanted = {Connected, ReconcileNeeded, CandleEvent, QuoteEvent, OrderEvent, PositionsEvent}
    seen: set[type] = set()
    is_placed = False
    async with asyncio.timeout(60):
        async for event in feed.events():
            seen.add(type(event))
            if feed.health().private_connected and not is_placed:
                is_placed = True
                assert (await account.place(request("live1"))).outcome is Outcome.ACCEPTED
            if wanted <= seen:
                break
    assert feed.health().public_connected
    await feed.aclose()
