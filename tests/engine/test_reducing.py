"""Closing, cancelling and protecting against a real server: what fails, and what never does."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin.trading import TradingAccount
from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import IntentState, Purpose
from blofin_cli.core.orders import (
    MarginMode,
    OrderRequest,
    OrderType,
    Outcome,
    PositionMode,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Environment
from blofin_cli.engine.reducing import Reducer, is_wider
from blofin_cli.errors import DataError, NetworkError, RefusedError
from tests.boxed import BTC, ETH, Boxed, box_running
from tests.dealing import D, position

pytestmark = pytest.mark.process
CREDENTIALS = blofin.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
ACCOUNT = "sim-demo"


@pytest.fixture
def box() -> Iterator[Boxed]:
    with box_running() as running:
        yield running


@dataclass
class Hands:
    """An account that can open, for the arrangement, and the reducer under test."""

    account: TradingAccount
    reducer: Reducer
    box: Boxed

    async def opened(self, size: str = "0.1", symbol: str = BTC, **words) -> None:
        """A long position, with what is attached to it."""
        request = OrderRequest(
            symbol=symbol, side=Side.BUY, type=OrderType.MARKET, size=D(size),
            client_id=f"open{self.box.control('state')['counts'].get('requests', 0)}", **words,
        )  # fmt: skip
        assert (await self.account.place(request)).outcome is Outcome.ACCEPTED

    def stops(self) -> list[tuple[str, str]]:
        """Stop and size of every live protection, as the box has them."""
        return [(row["slTriggerPrice"], row["size"]) for row in self.box.truth["tpsl"]]

    def intents(self, purpose: Purpose) -> list[IntentState]:
        return [
            intent.state
            for intent in self.reducer.journal.intents(ACCOUNT)
            if intent.purpose is purpose
        ]


@pytest.fixture
async def hands(box, tmp_path) -> AsyncIterator[Hands]:
    settings = blofin.Settings(
        state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=box.url
    )
    account = blofin.connect(settings, SystemClock(), CREDENTIALS)
    await account.set_position_mode(PositionMode.ONE_WAY)
    await account.set_margin_mode(MarginMode.ISOLATED)
    reducer = Reducer(
        exchange=account,
        journal=open_journal(str(tmp_path / "state.db")),
        clock=SystemClock(),
        account=ACCOUNT,
        session_id=f"manual-{ACCOUNT}",
        face="cli",
    )
    yield Hands(account, reducer, box)
    await account.aclose()


async def test_close_ends_flat_and_leaves_no_stop_behind(hands):
    """F25: the position goes, then what protected it."""
    await hands.opened(stop=D(57_000), target=D(66_000))
    done = await hands.reducer.close(BTC)
    assert (done.status, done.before, done.after) == ("closed", D("0.1"), 0)
    assert hands.box.held() == 0
    assert hands.stops() == []
    assert hands.intents(Purpose.CLOSE) == [IntentState.DONE]


async def test_close_twice_is_fine(hands):
    """B60: the second finds nothing and says so."""
    await hands.opened(stop=D(57_000))
    await hands.reducer.close(BTC)
    assert (await hands.reducer.close(BTC)).status == "flat"


async def test_close_without_a_position_drops_what_was_left(hands):
    """An orphan of an earlier life goes; nothing is sent that could open."""
    await hands.opened(stop=D(57_000))
    closing = OrderRequest(
        symbol=BTC, side=Side.SELL, type=OrderType.MARKET, size=D("0.1"), client_id="byhand1",
        reduce_only=True,
    )  # fmt: skip
    await hands.account.reduce(closing)
    assert (await hands.reducer.close(BTC)).status == "flat"
    assert hands.stops() == []


async def test_part_is_closed_and_the_stop_follows(hands):
    """Half goes; the stop is replaced by one of the size that is left."""
    await hands.opened("0.1", stop=D(57_000), target=D(66_000))
    done = await hands.reducer.close(BTC, D("0.5"))
    assert (done.status, done.after) == ("reduced", D("0.05"))
    assert hands.box.held() == 50
    assert [(float(stop), float(size)) for stop, size in hands.stops()] == [(57_000, 50)]


async def test_part_below_the_smallest_order_is_refused(hands):
    """The rule is named, and nothing is rounded up."""
    await hands.opened("0.0001", stop=D(57_000))
    with pytest.raises(RefusedError, match="smallest order"):
        await hands.reducer.close(BTC, D("0.5"))


@pytest.mark.parametrize("fault", ["lost_answer", "internal_error", "html", "server_error"])
async def test_lost_answer_of_a_close_is_found_out(hands, fault):
    """F01, F03: whatever came back, the position itself tells."""
    await hands.opened(stop=D(57_000))
    hands.box.fault(fault, "trade/close-position")
    done = await hands.reducer.close(BTC)
    assert (done.status, hands.box.held()) == ("closed", 0)


async def test_close_goes_on_when_its_call_is_refused(hands):
    """F27: by a reduce-only order, once no target reserves the size; the stop goes last."""
    await hands.opened(stop=D(57_000), target=D(66_000))

    async def refused(request):
        from blofin_cli.core.orders import Ack

        return Ack(outcome=Outcome.REFUSED, client_id=request.client_id, code="102022")

    hands.account.close_position = refused
    done = await hands.reducer.close(BTC)
    assert (done.status, hands.box.held(), hands.stops()) == ("closed", 0, [])
    actions = [deed.action for deed in done.deeds]
    assert actions[:4] == ["close", "stop", "cancel target", "close"]


async def test_close_works_while_the_journal_does_not(hands):
    """F54: closing goes on when nothing can be written, and says that it was not written."""
    await hands.opened(stop=D(57_000))

    class Broken:
        def reserve(self, intent, room=None):
            raise DataError("the disk is full")

        def settle_intent(self, intent):
            raise DataError("the disk is full")

    hands.reducer.journal = Broken()
    assert (await hands.reducer.close(BTC)).status == "closed"
    assert hands.reducer.notes == ["the disk is full"]


async def test_unreachable_exchange_is_an_error_not_flat(hands):
    """F46: absence of an answer is not absence of a position."""
    await hands.opened(stop=D(57_000))
    hands.box.fault("unavailable", "account/positions", count=None)
    with pytest.raises(NetworkError):
        await hands.reducer.close(BTC)


async def test_cancel_takes_entries_and_leaves_stops(hands):
    """Entries go; a stop only when somebody says so."""
    await hands.opened(stop=D(57_000))
    low = OrderRequest(
        symbol=ETH, side=Side.BUY, type=OrderType.LIMIT, size=D("0.1"), price=D(2_900),
        client_id="rest1",
    )  # fmt: skip
    wait = OrderRequest(
        symbol=ETH, side=Side.BUY, type=OrderType.TRIGGER, size=D("0.1"), trigger=D(3_100),
        client_id="wait1",
    )  # fmt: skip
    first = await hands.account.place(low)
    await hands.account.place(wait)
    deeds = await hands.reducer.cancel([str(first.order_id), "wait1", "nobody"])
    assert [(deed.outcome, deed.ref != "") for deed in deeds] == [
        ("accepted", True), ("accepted", True), ("gone", True),
    ]  # fmt: skip
    (guard,) = await hands.account.protections(BTC)
    with pytest.raises(RefusedError, match="protects a position"):
        await hands.reducer.cancel([guard.protection_id])
    assert len(hands.stops()) == 1
    removed = await hands.reducer.cancel([guard.protection_id], protection_too=True)
    assert [deed.outcome for deed in removed] == ["accepted"]
    assert hands.stops() == []


async def test_cancel_of_what_filled_tells_its_state(hands):
    """F08: refused means look; the order's own state is the answer."""
    low = OrderRequest(
        symbol=BTC, side=Side.BUY, type=OrderType.LIMIT, size=D("0.01"), price=D(59_900),
        client_id="rest2",
    )  # fmt: skip
    await hands.account.place(low)
    (order,) = await hands.account.open_orders(BTC)
    hands.box.price(59_000)
    (deed,) = await hands.reducer._cancel_orders([order])
    assert (deed.outcome, deed.message) == ("gone", "filled, 0.01 filled")


async def test_protect_replaces_the_stop_and_keeps_the_target(hands):
    """F23: new first, then the old; one order is left, with the target it had."""
    await hands.opened(stop=D(57_000), target=D(66_000))
    done = await hands.reducer.protect(BTC, D(58_000), None)
    assert (done.stop, done.target) == (58_000, 66_000)
    (row,) = hands.box.truth["tpsl"]
    assert (float(row["slTriggerPrice"]), float(row["tpTriggerPrice"])) == (58_000, 66_000)
    assert hands.intents(Purpose.PROTECT) == [IntentState.DONE]


async def test_protect_without_a_session_is_written_into_the_book(hands):
    """The next session goes by the book: what a person set meanwhile must hold. While a session
    holds the account, the book is its own."""
    journal = hands.reducer.journal
    journal.remember(ACCOUNT, "book", {BTC: {"stop": "57000", "target": "66000", "origin": "x"}})
    await hands.opened(stop=D(57_000), target=D(66_000))
    with journal.lock(f"account-{ACCOUNT}"):
        await hands.reducer.protect(BTC, D(57_500), None)
        assert journal.recall(ACCOUNT, "book")[BTC]["stop"] == "57000"
    await hands.reducer.protect(BTC, D(56_000), D(65_000), wider=True)
    kept = journal.recall(ACCOUNT, "book")[BTC]
    assert kept == {"stop": "56000", "target": "65000", "origin": "x"}


async def test_protect_that_widens_needs_the_word(hands):
    """A wider stop risks more; the one in force stays."""
    await hands.opened(stop=D(57_000))
    with pytest.raises(RefusedError, match="further away"):
        await hands.reducer.protect(BTC, D(56_000), None)
    assert len(hands.stops()) == 1
    assert (await hands.reducer.protect(BTC, D(56_000), None, wider=True)).stop == 56_000


async def test_protect_with_the_whole_slot_taken(hands):
    """F22: 102114 is answered with a stop of the position's size, then the old one goes."""
    await hands.opened()
    await hands.account.protect(
        ProtectionRequest(symbol=BTC, side=Side.SELL, client_id="byhand2", stop=D(57_000))
    )
    done = await hands.reducer.protect(BTC, D(58_000), None)
    assert done.stop == 58_000
    assert [(float(stop), float(size)) for stop, size in hands.stops()] == [(58_000, 100)]


async def test_old_stop_stays_while_the_new_one_is_unknown(hands):
    """The safer stop lives until another does, and what is said to be in force is the truth."""
    await hands.opened(stop=D(57_000))
    hands.box.fault("unavailable", "trade/order-tpsl", count=1)
    done = await hands.reducer.protect(BTC, D(58_000), None)
    assert (done.stop, done.deeds[0].outcome) == (57_000, "unknown")
    assert [float(stop) for stop, _ in hands.stops()] == [57_000]
    assert hands.intents(Purpose.PROTECT) == [IntentState.UNKNOWN]


async def test_lost_answer_of_a_new_stop_ends_with_one_stop(hands):
    """The new one is found by its id; never two, never none."""
    await hands.opened(stop=D(57_000))
    hands.box.fault("lost_answer", "trade/order-tpsl")
    done = await hands.reducer.protect(BTC, D(58_000), None)
    assert done.stop == 58_000
    assert [float(stop) for stop, _ in hands.stops()] == [58_000]


async def test_bare_position_whose_stop_is_passed_is_closed(hands):
    """F20: the price is past the stop before it lives: out at market."""
    await hands.opened()
    send = hands.account.protect

    async def overtaken(request):
        hands.box.price(57_900)
        return await send(request)

    hands.account.protect = overtaken
    done = await hands.reducer.protect(BTC, D(58_000), None)
    assert done.stop is None
    assert hands.box.held() == 0


@pytest.mark.parametrize(("stop", "target"), [(61_000, None), (None, 59_000), (None, None)])
async def test_prices_on_the_wrong_side_are_refused(hands, stop, target):
    """A stop above the price would close at once."""
    await hands.opened()
    with pytest.raises(RefusedError):
        await hands.reducer.protect(BTC, _decimal(stop), _decimal(target))


def _decimal(value: int | None) -> Decimal | None:
    return None if value is None else D(value)


async def test_protect_without_a_position_is_refused(hands):
    """F24: no protective order without a position."""
    with pytest.raises(RefusedError, match="no position"):
        await hands.reducer.protect(BTC, D(58_000), None)


async def test_flatten_closes_all_and_cancels_entries(hands):
    """One symbol's trouble stops no other."""
    await hands.opened(stop=D(57_000))
    await hands.opened("1", ETH, stop=D(2_900))
    low = OrderRequest(
        symbol=ETH, side=Side.BUY, type=OrderType.LIMIT, size=D("0.1"), price=D(2_950),
        client_id="rest3",
    )  # fmt: skip
    await hands.account.place(low)
    hands.box.control("instrument", instId=BTC, state="suspend")
    done = await hands.reducer.flatten()
    assert hands.box.truth["orders"] == []
    assert (hands.box.held(BTC), hands.box.held(ETH)) == (100, 0)
    assert {item.symbol: getattr(item, "status", "") for item in done if hasattr(item, "status")}[
        ETH
    ] == "closed"
    assert len(hands.stops()) == 1


@pytest.mark.parametrize(
    ("size", "stop", "in_force", "wider"),
    [(1, 90, 95, True), (1, 96, 95, False), (1, 90, None, False), (-1, 110, 105, True),
     (-1, 104, 105, False)],
)  # fmt: skip
def test_wider_is_further_from_the_market(size, stop, in_force, wider):
    """Known answers for both sides."""
    assert is_wider(position(size, 100), D(stop), _decimal(in_force)) is wider
