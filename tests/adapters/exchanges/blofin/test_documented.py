"""BloFin's published answers, played to the native client through its ports.

The cassettes were transcribed; `scripts/record --documentation FOLDER` makes them anew. They match
by method and path: the published requests ask for other things than this client would.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin import transport
from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.adapters.exchanges.blofin.wire import answers, calls, market
from blofin_cli.adapters.exchanges.blofin.wire.fields import rows_of
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
from blofin_cli.core.quotes import Environment, Listing
from blofin_cli.errors import AuthError, BadAnswerError, RateLimitError, VenueError
from tests import tapes
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.documented import ANSWERS
from tests.adapters.exchanges.blofin.examples import CONTRACT_VALUES, instrument

FOLDER = tapes.FOLDER / "test_documented"
BTC, ETH = "BTC-USDT", "ETH-USDT"
D = Decimal
Ask = Callable[[TradingAccount], Awaitable[Any]]


def order(client_id: str, **changes: Any) -> OrderRequest:
    given = {
        "symbol": BTC, "side": Side.BUY, "type": OrderType.MARKET, "size": D("0.001"),
        "client_id": client_id,
    } | changes  # fmt: skip
    return OrderRequest(**given)


def stop_of(client_id: str) -> ProtectionRequest:
    return ProtectionRequest(symbol=BTC, side=Side.SELL, client_id=client_id, stop=D(20000))


async def mark_price(account: TradingAccount) -> Any:
    answer = await account._sender.read(calls.public("market/mark-price", instId=ETH))
    return [market.mark_price(row) for row in rows_of(answers.data_of(answer), "mark")]


async def funding_rate(account: TradingAccount) -> Any:
    answer = await account._sender.read(calls.public("market/funding-rate", instId=BTC))
    return market.funding_rates(answers.data_of(answer))


async def cancel_protections(account: TradingAccount) -> Any:
    call = calls.cancel_protection(ProtectionRef(symbol=BTC, protection_id="1009"))
    answer = await account._sender.write(call)
    return answers.acks(answer, [None, None], shape="array", id_name="tpslId")


REF = OrderRef(symbol=ETH, order_id="29531103")
ASKED: dict[str, tuple[Ask, Callable[[Any], object]]] = {
    "instruments": (lambda a: a.instruments(), lambda r: r[0].instrument.tick_size == D("0.5")),
    "instruments_observed": (lambda a: a.instruments(), lambda r: r[0].instrument.symbol),
    "position_tiers": (
        lambda a: a.position_tiers(BTC),
        lambda r: (r[0].size_max, r[0].leverage_max) == (D("0.150"), 125),
    ),
    "quotes": (
        lambda a: a.quotes((BTC,)),
        lambda r: (r[0].last, r[0].ask, r[0].bid_size) == (27187, D("27187.5"), D("0.002")),
    ),
    "quotes_observed": (lambda a: a.quotes((BTC,)), lambda r: r[0].bid == D("80032.7")),
    "mark_price": (mark_price, lambda r: r[0][:2] == (D("1620.58"), D("1620.78"))),
    "funding_rate": (funding_rate, lambda r: r[0].rate == D("0.000332")),
    "funding_rate_observed": (funding_rate, lambda r: r[0].interval_ms == 4 * 3_600_000),
    "funding_history": (lambda a: a.funding_history(BTC), lambda r: r[0].ts_ms == 1703462400000),
    "book": (
        lambda a: a.book(ETH),
        lambda r: (r.bids[0].price, r.asks[0].size) == (D("1619.99"), D("7.2")),
    ),
    "book_observed": (lambda a: a.book(BTC), lambda r: r.bids[0].price < r.asks[0].price),
    "prints": (lambda a: a.prints(ETH), lambda r: (r[0].side, r[0].size) == (Side.SELL, D("3.4"))),
    "candles": (
        lambda a: a.candles(ETH, Timeframe.M1),
        lambda r: (r[0].ts_ms, r[0].close, r[0].volume) == (1703484240000, 2282.8, 8.35),
    ),
    "account": (lambda a: a.account(), lambda r: r.balance().equity > 10_000_000),
    "positions": (
        lambda a: a.positions(),
        lambda r: (r[0].size, r[0].margin_mode) == (D("0.1"), MarginMode.ISOLATED),
    ),
    "margin_mode": (lambda a: a.margin_mode(), lambda r: r is MarginMode.ISOLATED),
    "position_mode": (lambda a: a.position_mode(), lambda r: r is PositionMode.ONE_WAY),
    "key_info": (lambda a: a.key_info(), lambda r: r.can_trade and r.expires_ms == 1597026383085),
    "price_range": (
        lambda a: a.price_range(ETH, Side.BUY),
        lambda r: (r.price_min, r.price_max) == (1187, D("1587.8")),
    ),
    "open_orders": (
        lambda a: a.open_orders(),
        lambda r: {each.type for each in r} == {OrderType.LIMIT, OrderType.TRIGGER},
    ),
    "protections": (
        lambda a: a.protections(),
        lambda r: (r[0].stop, r[0].target, r[0].size) == (1222, 1666, D("0.1")),
    ),
    "protections_observed": (lambda a: a.protections(), lambda r: r[0].state is OrderState.LIVE),
    "order": (lambda a: a.order(REF), lambda r: (r.price, r.size) == (D("1514.15"), D("0.1"))),
    "protection": (
        lambda a: a.protection(ProtectionRef(symbol=ETH, protection_id="2411")),
        lambda r: (r.client_id, r.stop) == ("aabbc", 1222),
    ),
    "order_history": (lambda a: a.order_history(), lambda r: r[0].state is OrderState.CANCELED),
    "order_history_recorded": (
        lambda a: a.order_history(),
        lambda r: all(each.state is OrderState.FILLED for each in r),
    ),
    "trigger_history": (
        lambda a: a.order(OrderRef(symbol=ETH, order_id="2101", is_trigger=True)),
        lambda r: (r.type, r.trigger) == (OrderType.TRIGGER, D("1661.1")),
    ),
    "protection_history": (
        lambda a: a.protection(ProtectionRef(symbol=ETH, protection_id="2101")),
        lambda r: (r.state, r.target) == (OrderState.CANCELED, D("1661.1")),
    ),
    "fills": (
        lambda a: a.fills(),
        lambda r: {(fill.price, fill.size) for fill in r} >= {(D("1587.8"), D("0.2"))},
    ),
    "place": (
        lambda a: a.place(order("test1597321")),
        lambda r: (r.outcome, r.order_id) == (Outcome.ACCEPTED, "28150801"),
    ),
    "place_trigger": (
        lambda a: a.place(order("any1", type=OrderType.TRIGGER, trigger=D(30000))),
        lambda r: (r.outcome, r.order_id) == (Outcome.ACCEPTED, "1012"),
    ),
    "protect": (
        lambda a: a.protect(stop_of("any1")),
        lambda r: (r.outcome, r.order_id) == (Outcome.ACCEPTED, "1012"),
    ),
    "place_many": (
        lambda a: a.place_many([order("eeeeee11223112"), order("eeeeee1122321")]),
        lambda r: [ack.order_id for ack in r] == ["22617453", "22617454"],
    ),
    "cancel": (
        lambda a: a.cancel(OrderRef(symbol=BTC, order_id="1012")),
        lambda r: r.outcome is Outcome.ACCEPTED,
    ),
    "cancel_observed": (
        lambda a: a.cancel(OrderRef(symbol=BTC, order_id="1000128754245")),
        lambda r: r.outcome is Outcome.ACCEPTED,
    ),
    "cancel_trigger": (
        lambda a: a.cancel(OrderRef(symbol=BTC, order_id="1009", is_trigger=True)),
        lambda r: (r.outcome, r.code) == (Outcome.REFUSED, "500"),
    ),
    "cancel_protections": (
        cancel_protections,
        lambda r: [ack.outcome for ack in r] == [Outcome.REFUSED] * 2,
    ),
    "cancel_protection_observed": (
        lambda a: a.cancel_protection(ProtectionRef(symbol=BTC, protection_id="10001386047")),
        lambda r: r.outcome is Outcome.ACCEPTED,
    ),
    "cancel_many": (
        lambda a: a.cancel_many(
            [OrderRef(symbol=BTC, order_id=i) for i in ("22619976", "22619977", "22619977111")]
        ),
        lambda r: [ack.outcome for ack in r] == ["accepted", "accepted", "refused"],
    ),
    "close_position": (
        lambda a: a.close_position(CloseRequest(symbol=ETH, client_id="any1")),
        lambda r: (r.outcome, r.order_id) == (Outcome.ACCEPTED, None),
    ),
    "set_leverage": (lambda a: a._set(calls.set_leverage(BTC, 100)), lambda r: r is None),
    "set_margin_mode": (
        lambda a: a._set(calls.set_margin_mode(MarginMode.ISOLATED)), lambda r: r is None,
    ),
    "set_position_mode": (
        lambda a: a._set(calls.set_position_mode(PositionMode.ONE_WAY)), lambda r: r is None,
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[Ask, type[Exception]]] = {
    "leverage": (lambda a: a.leverage(BTC), BadAnswerError),  # published: cross, we are isolated
    "parameter_refused": (lambda a: a.quotes((BTC,)), VenueError),
    "rate_limit_inside_success": (lambda a: a.quotes((BTC,)), RateLimitError),
    "unknown_route": (lambda a: a.quotes((BTC,)), AuthError),
}
PLACED = {
    "place_observed": lambda a: a.place(order("sig0001")),
    "protect_observed": lambda a: a.protect(stop_of("any1")),
}


@pytest.fixture
async def live(tmp_path, monkeypatch):
    """A client of the live host that knows its instruments; it opens no socket here."""
    monkeypatch.setattr(transport, "READ_ATTEMPTS", 1)
    settings = blofin.Settings(state_folder=tmp_path, environment=Environment.LIVE)
    account = blofin.connect(settings, SystemClock(), CREDENTIALS)
    for symbol, value in CONTRACT_VALUES.items():
        terms = instrument(symbol, contract_value=str(value))
        account._listings[symbol] = Listing(instrument=terms, is_live=True)
        account._contract_values[symbol] = value
    account._listed_ms = SystemClock().now_ms()
    yield account
    await account.aclose()


def played(name: str):
    return tapes.tape(FOLDER / f"{name}.yaml", match_on=("method", "path"))


@pytest.mark.parametrize("name", sorted(ASKED))
async def test_published_answer_is_read(name, live):
    """What the documentation answers comes out of the port in our units."""
    ask, expected = ASKED[name]
    if name.startswith("instruments"):
        live._listed_ms = None
    with played(name):
        told = await ask(live)
    assert expected(told), told


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_published_refusal_is_told_as_one(name, live):
    """Codes inside HTTP 200 are refusals, and a mode that is not ours is not read as ours."""
    ask, error = REFUSED[name]
    with played(name), pytest.raises(error):
        await ask(live)


@pytest.mark.parametrize("name", sorted(PLACED))
async def test_captured_acknowledgement_is_taken(name, live):
    """Captures show ids this project masks; an id that came back is an order that was taken."""
    with played(name):
        ack = await PLACED[name](live)
    assert ack.outcome is Outcome.ACCEPTED, ack
    assert ack.order_id


def test_every_transcription_is_played():
    """No cassette without a test, no test without a cassette."""
    stored = {path.stem for path in FOLDER.glob("*.yaml")}
    assert stored == set(ANSWERS) == {*ASKED, *REFUSED, *PLACED}
