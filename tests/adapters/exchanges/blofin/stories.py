"""What the native client is asked while a cassette runs: the same when recorded and when replayed.

A story takes an account and a tag that goes into its client order ids, and asserts what it sees. It
asks nothing that depends on the clock, so that a replay asks the same. Together they use every REST
endpoint of the client; `test_cassettes.py` counts.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.core.feed import Channel, Topic
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
    ProtectionRef,
    ProtectionRequest,
    Side,
)

BTC = "BTC-USDT"
Story = Callable[[TradingAccount, str], Awaitable[None]]
TOPICS = (
    Topic(Channel.CANDLES, BTC, Timeframe.M1), Topic(Channel.MARK, BTC, Timeframe.M1),
    Topic(Channel.QUOTES, BTC), Topic(Channel.BOOK, BTC), Topic(Channel.PRINTS, BTC),
    Topic(Channel.FUNDING, BTC),
)  # fmt: skip
PRIVATE_TOPICS = tuple(
    Topic(channel)
    for channel in (Channel.ORDERS, Channel.PROTECTIONS, Channel.POSITIONS, Channel.ACCOUNT)
)


async def market_data(account: TradingAccount, tag: str) -> None:
    """Time, instruments, tiers, prices, candles, book, prints, funding."""
    del tag
    await account.clock_offset()
    listing = await account.instrument(BTC)
    assert listing.instrument.contract_value == Decimal("0.001")
    quote = await account.quote(BTC)
    assert quote.bid is not None
    assert quote.ask is not None
    assert quote.bid < quote.ask
    assert quote.mark is not None
    newest = await account.candles(BTC, Timeframe.M15, limit=10)
    page = await account.candles(BTC, Timeframe.M15, since_ms=newest[2].ts_ms, limit=3)
    assert [bar.ts_ms for bar in page] == [bar.ts_ms for bar in newest[2:5]]
    book = await account.book(BTC, 5)
    assert book.bids[0].price < book.asks[0].price
    assert (await account.prints(BTC, 5))[-1].size > 0
    assert await account.funding_history(BTC, limit=3)


async def account_settings(account: TradingAccount, tag: str) -> None:
    """Key, balance, both modes, leverage, price band; what is set is read back."""
    del tag
    assert (await account.key_info()).can_trade
    balance = (await account.account()).balance()
    assert balance is not None
    assert balance.available > 0
    assert await account.set_position_mode(PositionMode.HEDGE) is PositionMode.HEDGE
    assert await account.set_position_mode(PositionMode.ONE_WAY) is PositionMode.ONE_WAY
    assert await account.set_margin_mode(MarginMode.CROSS) is MarginMode.CROSS
    assert await account.set_margin_mode(MarginMode.ISOLATED) is MarginMode.ISOLATED
    assert [row.leverage for row in await account.set_leverage(BTC, 5)] == [5]
    band = await account.price_range(BTC, Side.BUY)
    assert band.price_min < band.price_max


async def bracket(account: TradingAccount, tag: str) -> None:
    """A market order with stop and target, its fills, its protection, closed again."""
    stop, target = await off_market(account, "0.9"), await off_market(account, "1.1")
    ack = await account.place(order(f"{tag}open", stop=stop, target=target))
    assert ack.outcome is Outcome.ACCEPTED, ack
    (position,) = await account.positions(BTC)
    assert position.size == Decimal("0.001")
    (waiting,) = await account.protections(BTC)
    assert (waiting.stop, waiting.target) == (stop, target)
    fills = await account.fills(BTC, order_id=ack.order_id)
    assert sum(fill.size for fill in fills) == Decimal("0.001")
    found = await account.order(OrderRef(symbol=BTC, client_id=f"{tag}open"))
    assert found is not None
    assert found.state is OrderState.FILLED
    closed = await account.close_position(CloseRequest(symbol=BTC, client_id=f"{tag}close"))
    assert closed.outcome is Outcome.ACCEPTED, closed
    assert await account.positions(BTC) == ()
    assert await account.order_history(BTC, limit=5)
    for left in await account.protections(BTC):
        await account.cancel_protection(left.ref)


async def resting_orders(account: TradingAccount, tag: str) -> None:
    """A batch, a stop entry; listed, canceled one by one and together; a second cancel refused."""
    low, high = await off_market(account, "0.8"), await off_market(account, "1.2")
    resting = [
        order(f"{tag}rest{n}", type=OrderType.LIMIT, price=low - n) for n in (1, 2, 3)
    ]  # fmt: skip
    acks = await account.place_many(resting)
    entry = await account.place(order(f"{tag}entry", type=OrderType.TRIGGER, trigger=high))
    assert {ack.outcome for ack in (*acks, entry)} == {Outcome.ACCEPTED}
    listed = {each.client_id: each for each in await account.open_orders(BTC)}
    assert set(listed) == {f"{tag}rest1", f"{tag}rest2", f"{tag}rest3", f"{tag}entry"}
    one = listed[f"{tag}rest1"].ref
    assert (await account.cancel(one)).outcome is Outcome.ACCEPTED
    assert (await account.cancel(one)).outcome is Outcome.REFUSED
    assert (await account.cancel(listed[f"{tag}entry"].ref)).outcome is Outcome.ACCEPTED
    gone = await account.cancel_many([listed[f"{tag}rest2"].ref, listed[f"{tag}rest3"].ref])
    assert {ack.outcome for ack in gone} == {Outcome.ACCEPTED}
    ended = await account.order(listed[f"{tag}entry"].ref)
    assert ended is not None
    assert ended.state is OrderState.CANCELED
    unknown = OrderRef(symbol=BTC, client_id=f"{tag}nobody")
    assert await account.order(unknown) is None


async def protection(account: TradingAccount, tag: str) -> None:
    """A stop for a bare position, found by its id, removed and still known; then reduced away."""
    assert (await account.place(order(f"{tag}bare"))).outcome is Outcome.ACCEPTED
    stop = await off_market(account, "0.9")
    request = ProtectionRequest(symbol=BTC, side=Side.SELL, client_id=f"{tag}stop", stop=stop)
    ack = await account.protect(request)
    assert ack.outcome is Outcome.ACCEPTED, ack
    ref = ProtectionRef(symbol=BTC, client_id=f"{tag}stop")
    found = await account.protection(ref)
    assert found is not None
    assert (found.stop, found.size, found.state) == (stop, None, OrderState.LIVE)
    assert (await account.cancel_protection(found.ref)).outcome is Outcome.ACCEPTED
    found = await account.protection(ref)
    assert found is not None
    assert found.state is OrderState.CANCELED
    assert await account.protection(ProtectionRef(symbol=BTC, client_id=f"{tag}nobody")) is None
    reduction = order(f"{tag}reduce", side=Side.SELL, reduce_only=True)
    assert (await account.reduce(reduction)).outcome is Outcome.ACCEPTED
    assert await account.positions(BTC) == ()


async def refusals(account: TradingAccount, tag: str) -> None:
    """Too large, nothing to close, an id that was used: each is what it is."""
    price = await off_market(account, "0.8")
    large = order(f"{tag}large", type=OrderType.LIMIT, size=Decimal(900), price=price)
    ack = await account.place(large)
    assert (ack.outcome, bool(ack.code)) == (Outcome.REFUSED, True), ack
    nothing = await account.close_position(CloseRequest(symbol=BTC, client_id=f"{tag}none"))
    assert nothing.outcome is Outcome.REFUSED, nothing
    twice = order(f"{tag}twice", type=OrderType.LIMIT, price=price)
    first, second = await account.place(twice), await account.place(twice)
    assert (second.outcome, second.order_id) == (Outcome.ACCEPTED, first.order_id)
    await account.cancel(OrderRef(symbol=BTC, order_id=first.order_id))


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (market_data, account_settings, bracket, resting_orders, protection, refusals)
}


def order(client_id: str, **changes: Any) -> OrderRequest:
    """A market order to buy one lot or so, changed by what is given."""
    given = {
        "symbol": BTC, "side": Side.BUY, "type": OrderType.MARKET, "size": Decimal("0.001"),
        "client_id": client_id,
    } | changes  # fmt: skip
    return OrderRequest(**given)


async def off_market(account: TradingAccount, factor: str) -> Decimal:
    """A price on the tick grid, some way from the last one."""
    listing, quote = await account.instrument(BTC), await account.quote(BTC)
    return listing.instrument.quantise_price(quote.last * Decimal(factor), up=False)
