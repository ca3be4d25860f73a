"""What every exchange adapter owes the ports, as checks that know no exchange.

Runs over accounts that can open: `await run(connect, stage)` gives each check's verdict, "ok",
"skipped: ..." or a traceback. Needs neither pytest nor any library of an exchange, so that it runs
in whatever environment an adapter lives in.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    CloseRequest,
    MarginMode,
    Order,
    OrderRef,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    PositionMode,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Capability
from blofin_cli.errors import RefusedError, UsageError
from blofin_cli.ports import Exchange

D = Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the checks play: one symbol, a size in base units of at least two lots, an even one.

    `lose_answer` makes the exchange carry out its next order and lose the answer.
    """

    symbol: str
    size: Decimal
    leverage: int = 5
    lose_answer: Callable[[], None] | None = None


class SkippedError(Exception):
    """A check that does not apply here, and why."""


class StopHereError(Exception):
    """What the fence raises."""


Check = Callable[[Exchange, Stage], Awaitable[None]]


async def check_instruments(account: Exchange, stage: Stage) -> None:
    """Sorted, of positive terms; an unknown symbol is a wrong argument."""
    listings = await account.instruments()
    symbols = [each.instrument.symbol for each in listings]
    assert stage.symbol in symbols
    assert symbols == sorted(symbols)
    for terms in (each.instrument for each in listings):
        assert terms.symbol.endswith("-USDT")
        assert min(terms.tick_size, terms.lot_size, terms.contract_value) > 0
        assert terms.min_size >= terms.lot_size
        assert terms.leverage_max >= 1
        assert terms.source
    await raises(UsageError, account.instrument("NOSUCHCOIN-USDT"))
    await raises(UsageError, account.quote("NOSUCHCOIN-USDT"))


async def check_quotes(account: Exchange, stage: Stage) -> None:
    """Best prices do not cross; one quote adds mark and funding; all are asked with none named."""
    (plain,) = await account.quotes((stage.symbol,))
    assert plain.symbol == stage.symbol
    assert plain.bid is not None
    assert plain.ask is not None
    assert 0 < plain.bid < plain.ask
    assert plain.received_ms > 0
    full = await account.quote(stage.symbol)
    assert full.funding_rate is not None
    assert abs(full.funding_rate) < 1
    assert full.mark is None or full.mark > 0
    assert stage.symbol in {quote.symbol for quote in await account.quotes()}


async def check_candles(account: Exchange, stage: Stage) -> None:
    """Ascending on the grid; bounds are kept; only the bar still open is not closed."""
    timeframe = Timeframe.M15
    newest = await account.candles(stage.symbol, timeframe, limit=20)
    opens = [bar.ts_ms for bar in newest]
    assert opens == sorted(set(opens))
    assert len(opens) >= 10
    assert all(ts_ms % timeframe.ms == 0 for ts_ms in opens)
    assert all(isinstance(bar.close, float) for bar in newest)
    assert all(bar.is_closed for bar in newest[:-1])
    assert all(bar.low <= min(bar.open, bar.close) <= bar.high for bar in newest)
    first_ms = opens[2]
    page = await account.candles(stage.symbol, timeframe, since_ms=first_ms, limit=4)
    assert [bar.ts_ms for bar in page] == [first_ms + n * timeframe.ms for n in range(4)]
    early = await account.candles(stage.symbol, timeframe, until_ms=first_ms, limit=2)
    assert all(bar.ts_ms < first_ms for bar in early)
    window = await account.candles(
        stage.symbol, timeframe, since_ms=first_ms, until_ms=first_ms + 2 * timeframe.ms
    )
    assert [bar.ts_ms for bar in window] == [first_ms, first_ms + timeframe.ms]


async def check_book_and_prints(account: Exchange, stage: Stage) -> None:
    """Bids fall, asks rise, neither is empty; prints ascend."""
    book = await account.book(stage.symbol, 5)
    bids, asks = [each.price for each in book.bids], [each.price for each in book.asks]
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    assert 0 < len(bids) <= 5
    prints = await account.prints(stage.symbol, 10)
    assert [each.ts_ms for each in prints] == sorted(each.ts_ms for each in prints)
    assert all(each.size > 0 and each.price > 0 for each in prints)


async def check_funding_history(account: Exchange, stage: Stage) -> None:
    """Settled rates ascend and stay within their bounds."""
    rates = await account.funding_history(stage.symbol, limit=3)
    assert 0 < len(rates) <= 3
    assert [rate.ts_ms for rate in rates] == sorted(rate.ts_ms for rate in rates)
    until_ms = rates[-1].ts_ms
    earlier = await account.funding_history(stage.symbol, until_ms=until_ms, limit=3)
    assert all(rate.ts_ms < until_ms for rate in earlier)


async def check_clock(account: Exchange, stage: Stage) -> None:
    """The offset is known to a second or so, and the exchange's time follows it."""
    offset = await account.clock_offset()
    assert offset.uncertainty_ms < 3000
    assert await account.server_time_ms() > 0


async def check_account_and_modes(account: Exchange, stage: Stage) -> None:
    """Balance, one-way mode, isolated margin, leverage set and read back."""
    balance = (await account.account()).balance()
    assert balance is not None
    assert balance.available >= 0
    assert balance.equity > 0
    assert await account.set_position_mode(PositionMode.ONE_WAY) is PositionMode.ONE_WAY
    assert await account.set_margin_mode(MarginMode.ISOLATED) is MarginMode.ISOLATED
    rows = await account.set_leverage(stage.symbol, stage.leverage)
    assert {(row.leverage, row.margin_mode) for row in rows} == {
        (stage.leverage, MarginMode.ISOLATED)
    }
    await raises(UsageError, account.set_leverage(stage.symbol, 100_000))


async def check_limit_order_lives_and_ends(account: Exchange, stage: Stage) -> None:
    """Placed, listed in base units, found by either id, canceled, gone, canceled no more."""
    price = await off_market(account, stage, "0.9")
    request = order(stage, "contractlimit1", type=OrderType.LIMIT, price=price)
    ack = await account.place(request)
    assert ack.outcome is Outcome.ACCEPTED, ack
    assert ack.order_id
    (listed,) = [o for o in await account.open_orders(stage.symbol) if o.client_id == ack.client_id]
    assert (listed.size, listed.price, listed.side) == (stage.size, price, Side.BUY)
    assert (listed.state, listed.filled, listed.type) == (OrderState.LIVE, 0, OrderType.LIMIT)
    assert listed.remaining == stage.size
    for ref in (listed.ref, OrderRef(symbol=stage.symbol, client_id=request.client_id)):
        found = await account.order(ref)
        assert found is not None
        assert found.order_id == ack.order_id
    done = await account.cancel(listed.ref)
    assert done.outcome is Outcome.ACCEPTED, done
    assert await find(account, stage, request.client_id) is None
    again = await account.cancel(listed.ref)
    assert again.outcome is Outcome.REFUSED, again


async def check_unknown_order_is_none(account: Exchange, stage: Stage) -> None:
    """An id nobody used finds nothing and raises nothing."""
    ref = OrderRef(symbol=stage.symbol, client_id="contractnobody1")
    assert await account.order(ref) is None


async def check_steps_are_not_rounded(account: Exchange, stage: Stage) -> None:
    """A price between ticks and a size between lots are refused, never rounded."""
    terms = (await account.instrument(stage.symbol)).instrument
    price = await off_market(account, stage, "0.9")
    half_tick, half_lot = terms.tick_size / 2, terms.lot_size * terms.contract_value / 2
    for changes in ({"price": price + half_tick}, {"price": price, "size": stage.size + half_lot}):
        request = order(stage, "contractodd1", **{"type": OrderType.LIMIT, **changes})
        await raises(UsageError, account.place(request))
    assert await find(account, stage, "contractodd1") is None


async def check_fence_stops_an_order(account: Exchange, stage: Stage) -> None:
    """What the fence raises ends the call with nothing sent."""
    price = await off_market(account, stage, "0.9")

    def fence() -> None:
        raise StopHereError

    request = order(stage, "contractfence1", type=OrderType.LIMIT, price=price)
    await raises(StopHereError, account.place(request, fence=fence))
    assert await find(account, stage, request.client_id) is None


async def check_position_opens_reduces_and_closes(account: Exchange, stage: Stage) -> None:
    """Signed base units; fills with fees; half off reduce-only; closed; nothing left to close."""
    request = order(stage, "contractopen1")
    ack = await account.place(request)
    assert ack.outcome is Outcome.ACCEPTED, ack
    (held,) = await account.positions(stage.symbol)
    assert held.size == stage.size
    assert held.closing_side is Side.SELL
    assert held.margin_mode is MarginMode.ISOLATED
    assert held.leverage == stage.leverage
    assert held.entry_price > 0
    fills = await account.fills(stage.symbol, order_id=ack.order_id)
    assert sum(fill.size for fill in fills) == stage.size
    assert all(fill.fee_usdt > 0 for fill in fills)
    half = order(
        stage, "contracthalf1", side=Side.SELL, size=stage.size / 2, reduce_only=True
    )  # fmt: skip
    await raises(UsageError, account.reduce(order(stage, "contractwrong1")))
    assert (await account.reduce(half)).outcome is Outcome.ACCEPTED
    (held,) = await account.positions(stage.symbol)
    assert held.size == stage.size / 2
    closed = await account.close_position(
        CloseRequest(symbol=stage.symbol, client_id="contractclose1")
    )
    assert closed.outcome is Outcome.ACCEPTED, closed
    assert await account.positions(stage.symbol) == ()
    again = await account.close_position(
        CloseRequest(symbol=stage.symbol, client_id="contractclose2")
    )
    assert again.outcome is Outcome.REFUSED, again


async def check_protection_waits_and_goes(account: Exchange, stage: Stage) -> None:
    """A stop for the whole position waits at the exchange and is removed by its name."""
    assert (await account.place(order(stage, "contractbare1"))).outcome is Outcome.ACCEPTED
    stop = await off_market(account, stage, "0.95")
    request = ProtectionRequest(
        symbol=stage.symbol, side=Side.SELL, client_id="contractstop1", stop=stop
    )
    ack = await account.protect(request)
    assert ack.outcome is Outcome.ACCEPTED, ack
    (waiting,) = await account.protections(stage.symbol)
    assert (waiting.stop, waiting.size, waiting.side) == (stop, None, Side.SELL)
    assert waiting.state is OrderState.LIVE
    assert waiting.reduce_only
    assert await find(account, stage, "contractstop1") is None
    done = await account.cancel_protection(waiting.ref)
    assert done.outcome is Outcome.ACCEPTED, done
    assert await account.protections(stage.symbol) == ()
    await flat(account, stage)


async def check_attached_stop_and_target(account: Exchange, stage: Stage) -> None:
    """They wait once the order filled; an exchange without them refuses before sending."""
    stop = await off_market(account, stage, "0.95")
    target = await off_market(account, stage, "1.05")
    request = order(stage, "contractbracket1", stop=stop, target=target)
    if Capability.ATTACHED_STOP not in account.venue.capabilities:
        await raises(RefusedError, account.place(request))
        assert await account.positions(stage.symbol) == ()
        return
    assert (await account.place(request)).outcome is Outcome.ACCEPTED
    (waiting,) = await account.protections(stage.symbol)
    assert (waiting.stop, waiting.target) == (request.stop, request.target)
    await flat(account, stage)
    for left in await account.protections(stage.symbol):
        await account.cancel_protection(left.ref)


async def check_stop_entry_waits_in_its_own_list(account: Exchange, stage: Stage) -> None:
    """It is listed with its trigger, named as one, and canceled as one."""
    if Capability.STOP_ENTRY not in account.venue.capabilities:
        raise SkippedError("no stop entries")
    trigger = await off_market(account, stage, "1.1")
    ack = await account.place(
        order(stage, "contractentry1", type=OrderType.TRIGGER, trigger=trigger)
    )
    assert ack.outcome is Outcome.ACCEPTED, ack
    listed = await find(account, stage, "contractentry1")
    assert listed is not None
    assert (listed.type, listed.trigger, listed.size) == (OrderType.TRIGGER, trigger, stage.size)
    assert listed.ref.is_trigger
    assert await account.protections(stage.symbol) == ()
    assert (await account.cancel(listed.ref)).outcome is Outcome.ACCEPTED
    assert await find(account, stage, "contractentry1") is None


async def check_passing_orders_do_not_rest(account: Exchange, stage: Stage) -> None:
    """IOC and FOK away from the market end at once; post-only rests and says so."""
    price = await off_market(account, stage, "0.9")
    can = account.venue.capabilities
    for kind, capability in ((OrderType.IOC, Capability.IOC), (OrderType.FOK, Capability.FOK)):
        if capability in can:
            await account.place(order(stage, f"contract{kind}1", type=kind, price=price))
            assert await find(account, stage, f"contract{kind}1") is None, kind
    if Capability.POST_ONLY not in can:
        raise SkippedError("no post-only orders")
    resting = order(stage, "contractpost1", type=OrderType.POST_ONLY, price=price)
    assert (await account.place(resting)).outcome is Outcome.ACCEPTED
    listed = await find(account, stage, resting.client_id)
    assert listed is not None
    assert listed.type is OrderType.POST_ONLY
    (ack,) = await account.cancel_many([listed.ref])
    assert ack.outcome is Outcome.ACCEPTED


async def check_lost_answer_is_looked_up(account: Exchange, stage: Stage) -> None:
    """Carried out, connection cut: one order, found by its client id."""
    if stage.lose_answer is None:
        raise SkippedError("this exchange cannot be made to lose an answer")
    price = await off_market(account, stage, "0.9")
    stage.lose_answer()
    ack = await account.place(order(stage, "contractlost1", type=OrderType.LIMIT, price=price))
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True), ack
    listed = [o for o in await account.open_orders(stage.symbol) if o.client_id == ack.client_id]
    assert len(listed) == 1
    await account.cancel(listed[0].ref)


async def check_used_id_is_found_not_repeated(account: Exchange, stage: Stage) -> None:
    """The same order under the same id is one order."""
    price = await off_market(account, stage, "0.9")
    request = order(stage, "contracttwice1", type=OrderType.LIMIT, price=price)
    first, second = await account.place(request), await account.place(request)
    assert (second.outcome, second.resolved) == (Outcome.ACCEPTED, True), second
    assert second.order_id == first.order_id
    listed = await find(account, stage, request.client_id)
    assert listed is not None
    await account.cancel(listed.ref)


CHECKS: dict[str, Check] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


async def run(
    connect: Callable[[], Exchange], stage: Stage, *, seconds: float = 40
) -> dict[str, str]:
    """Every check's verdict, one after the other, each over a connection of its own."""
    verdicts = {}
    for name, check in CHECKS.items():
        account = connect()
        try:
            async with asyncio.timeout(seconds):
                await check(account, stage)
            verdicts[name] = "ok"
        except SkippedError as reason:
            verdicts[name] = f"skipped: {reason}"
        except Exception:  # noqa: BLE001 - one check must not hide the others
            verdicts[name] = traceback.format_exc(limit=-4)
            await _sweep(account, stage)
        finally:
            await account.aclose()
    return verdicts


async def _sweep(account: Exchange, stage: Stage) -> None:
    """After a failed check: nothing of it may disturb the next."""
    try:
        await flat(account, stage)
        await account.cancel_many([each.ref for each in await account.open_orders(stage.symbol)])
        for left in await account.protections(stage.symbol):
            await account.cancel_protection(left.ref)
    except Exception:  # noqa: BLE001 - the next checks will tell
        return


def order(stage: Stage, client_id: str, **changes: Any) -> OrderRequest:
    """A market order to buy the stage's size, changed by what is given."""
    given = {
        "symbol": stage.symbol, "side": Side.BUY, "type": OrderType.MARKET, "size": stage.size,
        "client_id": client_id,
    } | changes  # fmt: skip
    return OrderRequest(**given)


async def off_market(account: Exchange, stage: Stage, factor: str) -> Decimal:
    """A price on the tick grid, some way from the last one."""
    terms = (await account.instrument(stage.symbol)).instrument
    (quote,) = await account.quotes((stage.symbol,))
    return terms.quantise_price(quote.last * D(factor), up=False)


async def find(account: Exchange, stage: Stage, client_id: str) -> Order | None:
    """An open order by its client id, from the list."""
    listed = await account.open_orders(stage.symbol)
    return next((each for each in listed if each.client_id == client_id), None)


async def flat(account: Exchange, stage: Stage) -> None:
    """Close what is open."""
    if await account.positions(stage.symbol):
        request = CloseRequest(
            symbol=stage.symbol, client_id=f"contractflat{await account.server_time_ms()}"
        )
        await account.close_position(request)


async def raises(kind: type[BaseException], call: Awaitable[object]) -> None:
    """The call must end in this."""
    try:
        result = await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected, not {result!r}")
