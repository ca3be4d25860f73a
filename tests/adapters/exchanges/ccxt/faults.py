"""Failures of an exchange behind ccxt, each told in our own errors; runs where ccxt is installed.

Every function whose name begins with `case_` is one rule. Prints one JSON object of verdicts.
"""

import asyncio
import importlib
import json
import socket
import traceback
from decimal import Decimal

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import ccxt
from blofin_cli.adapters.exchanges.ccxt import library, trading
from blofin_cli.adapters.exchanges.ccxt.library import Library
from blofin_cli.core.orders import OrderRef, OrderRequest, OrderType, Outcome, Side
from blofin_cli.core.quotes import Capability
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    NetworkError,
    RateLimitError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
)
from tests.adapters.exchanges.ccxt.player import Player
from tests.adapters.exchanges.ccxt.suite import Key, urls_of

BTC = "BTC-USDT"
CANARY = Key("key-canary-1", "secret-canary-2", "pass-canary-3")
LIMIT = OrderRequest(
    symbol=BTC, side=Side.BUY, type=OrderType.LIMIT, size=Decimal("0.004"),
    client_id="contractlimit1", price=Decimal("87300.0"),
)  # fmt: skip


def account_at(url: str, key: Key = CANARY) -> trading.TradingAccount:
    """Binance's client at a stand-in, in haste."""
    account = ccxt.connect("binance", SystemClock(), key, urls=urls_of("binance", url))
    client = account._library.client
    client.rateLimit, client.tokenBucket = 1, None
    client.init_rest_rate_limiter()
    return account


def said(method: str, path: str, status: int, body: object) -> dict:
    """An answer that comes before all others."""
    return {"method": method, "path": f"/fapi/v1/{path}", "status": status, "body": body}


async def case_every_kind_of_ccxt_is_translated(player: Player) -> None:
    """No exception of the library passes; a write that left and has no verdict is unknown."""
    kinds = importlib.import_module("ccxt.base.errors")

    told = Library("binance", SystemClock(), urls=urls_of("binance", player.url))
    known = [each for each in vars(kinds).values() if isinstance(each, type)]
    failures = [each for each in known if issubclass(each, kinds.BaseError)]
    assert len(failures) > 30
    sure = (kinds.RateLimitExceeded, kinds.DDoSProtection, kinds.InvalidNonce)
    for kind in failures:
        problem = kind('binance {"code":-1,"msg":"words"}')
        assert type(told._of_read(problem)) is not BlofinError, kind
        sent = told._of_write(problem, is_sent=True)
        if issubclass(kind, kinds.OperationFailed) and not issubclass(kind, sure):
            assert isinstance(sent, UnknownOutcomeError), kind
            unsent = told._of_write(problem, is_sent=False)
            assert isinstance(unsent, NetworkError), kind
    for defect in (KeyError("x"), TypeError("x"), ZeroDivisionError("x")):
        assert isinstance(told._of_read(defect), BadAnswerError)
        assert isinstance(told._of_write(defect, is_sent=True), UnknownOutcomeError)
    await told.aclose()


async def case_refusal_carries_the_exchanges_code(player: Player) -> None:
    """Words and code of the exchange, an Ack and no exception."""
    refusal = {"code": -2019, "msg": "Margin is insufficient."}
    player.answers.insert(0, said("POST", "order", 400, refusal))
    account = account_at(player.url)
    ack = await account.place(LIMIT)
    assert (ack.outcome, ack.code) == (Outcome.REFUSED, "-2019"), ack
    assert "Margin is insufficient." in ack.message
    await account.aclose()


async def case_server_fault_after_sending_is_unknown(player: Player) -> None:
    """503 for an order nobody finds afterwards: UNKNOWN, and sent once."""
    player.answers.insert(0, said("POST", "order", 503, {"msg": "Unknown error"}))
    account = account_at(player.url)
    ack = await account.place(LIMIT)
    assert ack.outcome is Outcome.UNKNOWN, ack
    sent = [asked for asked in player.asked if asked[:2] == ("POST", "/fapi/v1/order")]
    assert len(sent) == 1
    await account.aclose()


async def case_order_behind_a_server_fault_is_found(player: Player) -> None:
    """503, but the order is there: ACCEPTED by its client id."""
    fault = said("POST", "order", 503, {"msg": "x"}) | {"set": ["open:contractlimit1"]}
    player.answers.insert(0, fault)
    account = account_at(player.url)
    ack = await account.place(LIMIT)
    assert (ack.outcome, ack.resolved) == (Outcome.ACCEPTED, True), ack
    assert ack.order_id == "8886774"
    await account.aclose()


async def case_answer_nobody_can_read_is_unknown(player: Player) -> None:
    """An order answered by an empty list is neither taken nor refused."""
    player.answers.insert(0, said("POST", "order", 200, []))
    account = account_at(player.url)
    assert (await account.place(LIMIT)).outcome is Outcome.UNKNOWN
    await account.aclose()


async def case_nobody_there_is_no_unknown(player: Player) -> None:
    """A closed port: nothing was sent, and it is said so."""
    account = account_at(player.url)
    await account.instruments()
    await account.leverage(BTC)
    player.flags.add("isolated")
    await account.place(LIMIT)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    account._library.client.urls = urls_of("binance", f"http://127.0.0.1:{port}")
    await must(NetworkError, account.place(LIMIT))
    await must(NetworkError, account.positions())
    await account.aclose()


async def case_rate_limit_is_told_as_one(player: Player) -> None:
    """429 and 418: retryable, with a time to come back."""
    account = account_at(player.url)
    await account.instruments()
    for status in (429, 418):
        player.answers.insert(0, said("GET", "depth", status, {"code": -1003, "msg": "Too many"}))
        problem = await must(RateLimitError, account.book(BTC))
        assert problem.until_ms > 0
    await account.aclose()


async def case_key_is_refused_by_name_and_shown_nowhere(player: Player) -> None:
    """AuthError; no part of the key and no signature in any text."""
    told = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    player.answers.insert(0, said("GET", "openOrders", 401, told))
    player.answers.insert(0, said("GET", "openAlgoOrders", 500, "signature=abc"))
    account = account_at(player.url)
    refused = await must(AuthError, account.open_orders(BTC))
    silent = await must(NetworkError, account.protections(BTC))
    for problem in (refused, silent):
        text = json.dumps(problem.envelope()) + repr(account) + repr(vars(problem))
        assert "canary" not in text
        assert "signature" not in text.replace("signature=abc", "")
    await account.aclose()


async def case_clock_is_blamed_for_what_it_did(player: Player) -> None:
    """-1021 names the clock, after one more try."""
    told = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
    player.answers.insert(0, said("DELETE", "order", 400, told))
    account = account_at(player.url)
    problem = await must(AuthError, account.cancel(OrderRef(symbol=BTC, order_id="1")))
    assert "clock" in problem.hint
    await account.aclose()


async def case_half_a_list_is_refused(player: Player) -> None:
    """A list that fills its page could hide orders."""
    rows = [{"symbol": "ETHUSDT", "orderId": n, "status": "NEW"} for n in range(500)]
    player.answers.insert(0, said("GET", "openOrders", 200, rows))
    account = account_at(player.url)
    await must(BadAnswerError, account.open_orders())
    await account.aclose()


async def case_what_is_missing_is_said_before_sending(player: Player) -> None:
    """A pair of stop and target as one order, tiers, price range, key: refused, nothing written."""
    account = account_at(player.url)
    pair = trading.ProtectionRequest(
        symbol=BTC, side=Side.SELL, client_id="pair1", stop=Decimal(90000), target=Decimal(99000)
    )
    for call in (
        account.protect(pair), account.position_tiers(BTC), account.key_info(),
        account.price_range(BTC, Side.BUY), account.order_history(),
    ):  # fmt: skip
        await must(RefusedError, call)
    assert {asked[0] for asked in player.asked} <= {"GET"}
    assert Capability.ATTACHED_STOP not in account.venue.capabilities
    await account.aclose()


async def case_untried_exchanges_are_good_for_prices(player: Player) -> None:
    """Bybit's swaps may be read; its orders are refused; a misspelt name is a wrong argument."""
    del player
    data = ccxt.connect_public("bybit", SystemClock())
    assert Capability.TRADING not in data.venue.capabilities
    assert data.venue.timeframes
    await data.aclose()
    for kind, name in ((RefusedError, "bybit"), (UsageError, "binanse")):
        try:
            ccxt.connect(name, SystemClock(), CANARY)
        except kind:
            continue
        raise AssertionError(name)


async def must(kind: type[BlofinError], call):
    """The call ends in this error, which is handed back."""
    try:
        result = await call
    except kind as problem:
        return problem
    raise AssertionError(f"{kind.__name__} was expected, not {result!r}")


async def main() -> dict[str, str]:
    """Every case over a player of its own."""
    library.PAUSE_S, trading.LOOK_UPS_S = 0.01, (0.01, 0.01, 0.01)
    verdicts = {}
    for name, case in list(globals().items()):
        if name.startswith("case_"):
            try:
                with Player("binance") as player:
                    async with asyncio.timeout(60):
                        await case(player)
                verdicts[name[5:]] = "ok"
            except Exception:  # noqa: BLE001 - one case must not hide the others
                verdicts[name[5:]] = traceback.format_exc(limit=-3)
    return verdicts


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
