"""What people ask of a running session: closing, protecting, cancelling, each answered once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import Errand, ErrandState, Halt
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    Order,
    OrderRequest,
    Outcome,
    Position,
    Protection,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Listing
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.breakers import Breakers, Memory
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.errands import Errands
from blofin_cli.engine.live.keeper import Keeper
from blofin_cli.engine.live.mirror import Snapshot
from blofin_cli.engine.live.state import LiveState
from tests.adapters.store.samples import ACCOUNT, errand, session
from tests.dealing import BTC, NOW_MS, D, position, quote, resting, stop_order, terms
from tests.engine.live.test_mirror import account as balances

HELD = position(1, 60_000, BTC)
BRACKET = stop_order(HELD, 59_000, target=D(63_000))
YES = Ack(outcome=Outcome.ACCEPTED, order_id="n")


@dataclass
class Venue:
    """An exchange that does what it is told, and remembers in which order."""

    held: dict[str, Position] = field(default_factory=lambda: {BTC: HELD})
    guards: list[Protection] = field(default_factory=lambda: [BRACKET])
    orders: list[Order] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    refuses: bool = False

    async def positions(self, symbol: str) -> tuple[Position, ...]:
        return tuple(row for row in self.held.values() if row.symbol == symbol)

    async def protections(self, symbol: str) -> tuple[Protection, ...]:
        return tuple(row for row in self.guards if row.symbol == symbol)

    async def instrument(self, symbol: str) -> Listing:
        return Listing(instrument=terms(symbol), is_live=True)

    async def order(self, ref: Any) -> Order | None:
        return None

    async def protect(self, request: ProtectionRequest) -> Ack:
        if self.refuses:
            return Ack(outcome=Outcome.REFUSED, code="103003")
        word = f"stop {request.stop}" if request.stop is not None else f"target {request.target}"
        self.writes.append(word)
        self.guards.append(
            stop_order(
                HELD, 1, protection_id=f"n{len(self.writes)}", stop=request.stop,
                target=request.target, size=request.size,
            )
        )  # fmt: skip
        return YES

    async def cancel_protection(self, ref: Any) -> Ack:
        self.writes.append(f"drop {ref.protection_id}")
        self.guards = [row for row in self.guards if row.protection_id != ref.protection_id]
        return YES

    async def cancel(self, ref: Any) -> Ack:
        self.writes.append(f"cancel {ref.order_id}")
        return YES

    async def close_position(self, request: CloseRequest) -> Ack:
        self.writes.append("close")
        del self.held[request.symbol]
        return YES

    async def reduce(self, request: OrderRequest) -> Ack:
        raise AssertionError(f"{request.symbol} was to be closed whole")


@dataclass
class Counter:
    """A session's errand counter over that exchange; the mirror has seen everything."""

    journal: Any
    venue: Venue = field(default_factory=Venue)
    number: int = 0

    def __post_init__(self) -> None:
        exchange: Any = self.venue
        clock: Any = self
        nobody: Any = None
        self.state = LiveState(
            exchange=exchange, journal=self.journal, clock=clock, wall=clock,
            session=session("s1"), notify=lambda _: None,
            breakers=Breakers(build_strategy({}).risk, Memory.fresh(10_000.0, NOW_MS)),
        )  # fmt: skip
        self.state.hear_quote(quote(60_000, BTC))
        self.state.set_holding(
            Holding(
                trade_id="h", symbol=BTC, side=Side.BUY, origin="session", opened_ms=0,
                stop=D(59_000), target=D(63_000), opened=D(1), opened_value=D(60_000),
            )
        )  # fmt: skip
        self.crew = Crew(lambda name, problem: pytest.fail(f"{name}: {problem!r}"))
        self.keeper = Keeper(
            self.state, pause=asyncio.sleep, is_ready=lambda: True,
            entries_unwanted=lambda _: False, flatten=lambda: False,
        )  # fmt: skip
        self.errands = Errands(self.state, nobody, self.keeper, self.crew, beat=lambda: None)

    def now_ms(self) -> int:
        return NOW_MS

    def look(self) -> None:
        """Let the mirror see what is there."""
        self.state.reconciled_ms = NOW_MS
        self.state.mirror.replace(
            Snapshot(
                asked_ms=self.state.mono_ms(), positions=tuple(self.venue.held.values()),
                orders=tuple(self.venue.orders), protections=tuple(self.venue.guards),
                account=balances(),
            )
        )  # fmt: skip

    async def ask(self, kind: str, **arguments: Any) -> Errand:
        """Post an errand and wait for its answer."""
        self.look()
        self.number += 1
        made = errand(f"e{self.number}", kind=kind, arguments=arguments,
                      created_ms=NOW_MS, expires_ms=NOW_MS + 10_000)  # fmt: skip
        self.journal.post_errand(made)
        self.errands._looked_ms = -1_000
        self.errands.tick()
        assert await self.crew.settled(4.0)
        found = self.journal.errand(made.id)
        assert found.state in (ErrandState.DONE, ErrandState.FAILED)
        return found

    @property
    def prices(self) -> dict[str, Sequence[Any]]:
        """Stops and targets at the exchange."""
        return {
            "stops": [row.stop for row in self.venue.guards if row.stop is not None],
            "targets": [row.target for row in self.venue.guards if row.target is not None],
        }


@pytest.fixture
def counter(tmp_path) -> Counter:
    journal = open_journal(str(tmp_path / "state.db"))
    journal.open_session(session("s1"))
    return Counter(journal)


async def test_nearer_stop_leaves_the_target_where_it_is(counter):
    """The new stop is placed beside the attached bracket, whose target stays."""
    done = await counter.ask("protect", symbol=BTC, stop="59500")
    assert done.state is ErrandState.DONE
    assert counter.venue.writes == ["stop 59500"]
    assert D(63_000) in counter.prices["targets"]


async def test_moved_target_replaces_the_bracket_without_a_bare_moment(counter):
    """A stop of its own is live before the bracket that carried the old target goes."""
    done = await counter.ask("protect", symbol=BTC, target="62000")
    assert done.state is ErrandState.DONE
    assert counter.venue.writes == ["stop 59000", f"drop t{BTC}", "target 62000"]
    assert counter.prices == {"stops": [59_000], "targets": [62_000]}


async def test_wider_stop_replaces_the_nearer_one(counter):
    """Whoever asked for more room gets it: the nearer stop goes once the wider one is live."""
    done = await counter.ask("protect", symbol=BTC, stop="58000")
    assert done.state is ErrandState.DONE
    assert counter.venue.writes[:2] == ["stop 58000", f"drop t{BTC}"]
    assert counter.prices == {"stops": [58_000], "targets": [63_000]}


async def test_stop_that_could_not_be_placed_keeps_the_old_one(counter, monkeypatch):
    """The wider stop is refused: nothing of what protects goes."""
    counter.venue.refuses = True
    monkeypatch.setattr("blofin_cli.engine.live.errands.PROTECT_S_MAX", 0.2)
    done = await counter.ask("protect", symbol=BTC, stop="58000")
    assert done.state is ErrandState.FAILED
    assert counter.prices == {"stops": [59_000], "targets": [63_000]}


@pytest.mark.parametrize(
    "words", [{"stop": "60500"}, {"target": "59000"}, {"stop": "-1"}, {"stop": "word"}]
)
async def test_price_on_the_wrong_side_changes_nothing(counter, words):
    """A target below the price of a long must not close it, nor a stop above."""
    before = counter.state.holdings[BTC]
    done = await counter.ask("protect", symbol=BTC, **words)
    assert done.state is ErrandState.FAILED
    assert counter.venue.writes == []
    assert counter.state.holdings[BTC] == before


async def test_close_closes_and_clears(counter):
    """The position goes first; the reason is a person's."""
    done = await counter.ask("close", symbol=BTC)
    assert (done.state, done.answer["remaining"]) == (ErrandState.DONE, "0")
    assert counter.venue.writes[0] == "close"
    assert counter.state.holdings[BTC].leaving == "manual"


async def test_close_of_nothing_is_done(counter):
    """Flat already: harmless."""
    done = await counter.ask("close", symbol="ETH-USDT")
    assert done.answer == {"symbol": "ETH-USDT", "closed": "0", "remaining": "0"}
    assert counter.venue.writes == []


async def test_nothing_is_answered_before_the_account_was_read(counter):
    """A session that has just started holds nothing yet: "closed 0, remaining 0" would be a lie."""
    waiting = errand("early", kind="close", arguments={"symbol": BTC}, created_ms=NOW_MS,
                     expires_ms=NOW_MS + 10_000)  # fmt: skip
    counter.journal.post_errand(waiting)
    counter.errands.tick()
    await counter.crew.settled(0.2)
    assert counter.journal.errand("early").state is ErrandState.WAITING
    counter.look()
    counter.errands._looked_ms = -1_000
    counter.errands.tick()
    await counter.crew.settled(4.0)
    assert counter.journal.errand("early").answer["closed"] == "1"


@pytest.mark.parametrize(("kind", "words"), [("close", {}), ("protect", {"stop": "2900"})])
async def test_position_the_session_has_not_seen_yet_is_not_called_flat(counter, kind, words):
    """The exchange is asked before anybody hears that nothing is held."""
    counter.look()
    counter.look = lambda: None
    counter.venue.held["ETH-USDT"] = position(1, 3_000, "ETH-USDT")
    done = await counter.ask(kind, symbol="ETH-USDT", **words)
    assert done.state is ErrandState.FAILED
    assert "has just been opened" in done.answer["error"]["message"]
    assert counter.venue.writes == []


async def test_flatten_closes_everything(counter):
    """All positions, by name."""
    done = await counter.ask("flatten")
    assert done.answer == {"closed": [BTC], "remaining": []}


async def test_stop_a_person_removes_stays_away(counter):
    """The session neither argues nor puts it back, and it says what that means."""
    done = await counter.ask("cancel", ids=[f"t{BTC}", "nobody"])
    assert [row["outcome"] for row in done.answer["cancelled"]] == ["accepted", "gone"]
    counter.look()
    counter.keeper.watch(BTC, 60_000)
    counter.keeper.watch(BTC, 60_000)
    assert not counter.keeper.needs_work(BTC)
    told = [item for item in counter.journal.happenings(ACCOUNT) if item.kind == "naked"]
    assert [item.protects for item in told] == ["nothing"]


async def test_stop_a_person_puts_back_is_placed_however_long_there_was_none(counter):
    """Bare by a person's wish is no emergency: the new stop is placed, nothing is closed."""
    await counter.ask("cancel", ids=[f"t{BTC}"])
    counter.look()
    counter.keeper.watch(BTC, 0)
    counter.keeper.watch(BTC, 60_000)
    counter.venue.writes.clear()
    done = await counter.ask("protect", symbol=BTC, stop="58500")
    assert done.state is ErrandState.DONE
    assert counter.venue.writes[0] == "stop 58500"
    assert BTC in counter.venue.held
    assert counter.state.naked_view().now_s == 0


async def test_position_that_closes_meanwhile_is_not_called_protected(counter, monkeypatch):
    """Flat is no protection: whoever asked for a stop is told."""
    counter.venue.guards.clear()
    place = counter.venue.protect

    async def too_late(request):
        counter.venue.held.clear()
        return await place(request)

    monkeypatch.setattr(counter.venue, "protect", too_late)
    done = await counter.ask("protect", symbol=BTC, stop="58500")
    assert done.state is ErrandState.FAILED
    assert "was closed meanwhile" in done.answer["error"]["message"]


async def test_position_opened_elsewhere_gets_the_stop_a_person_asks_for(counter):
    """Its owner's business otherwise: placed at once, and not looked after from then on."""
    counter.venue.guards.clear()
    given = replace(counter.state.holdings[BTC], origin="external", stop=None, target=None)
    counter.state.set_holding(given)
    done = await counter.ask("protect", symbol=BTC, stop="58500", target="64000")
    assert done.state is ErrandState.DONE
    assert counter.venue.writes == ["stop 58500", "target 64000"]


async def test_close_that_somebody_else_was_quicker_with_is_no_failure(counter, monkeypatch):
    """The exchange refuses because there is nothing left: no alert asks to close again."""

    async def gone(request):
        counter.venue.held.clear()
        return Ack(outcome=Outcome.REFUSED, code="102005", message="Position had been closed")

    monkeypatch.setattr(counter.venue, "close_position", gone)
    await counter.ask("close", symbol=BTC)
    told = [item.text for item in counter.journal.happenings(ACCOUNT)]
    assert not [text for text in told if "102005" in text]


async def test_entry_is_cancelled_by_its_id(counter):
    """An order at the exchange, by the name a person sees."""
    counter.venue.orders = [resting("buy", 1, 59_500, BTC)]
    done = await counter.ask("cancel", ids=[f"o{BTC}"])
    assert done.answer["cancelled"][0]["outcome"] == "accepted"
    assert counter.venue.writes == [f"cancel o{BTC}"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("sing", {}), ("close", {}), ("protect", {"symbol": "ETH-USDT", "stop": "1"}),
     ("place", {"plan": {}, "key": "k"})],
)  # fmt: skip
async def test_nonsense_is_answered_too(counter, kind, words):
    """Unknown kinds, missing words, nothing to protect: a failure with its reason, nothing sent."""
    done = await counter.ask(kind, **words)
    assert done.state is ErrandState.FAILED
    assert done.answer["error"]["message"]
    assert counter.venue.writes == []


async def test_expired_errand_is_not_carried_out(counter):
    """Nobody waits for it any more."""
    counter.look()
    counter.journal.set_halt(Halt(ts_ms=0, face="cli", cause="a test"))  # closing is always allowed
    late = errand("late", kind="close", created_ms=0, expires_ms=NOW_MS - 1)
    counter.journal.post_errand(late)
    counter.errands.tick()
    await counter.crew.settled(1.0)
    assert counter.journal.errand("late").state is ErrandState.EXPIRED
    assert counter.venue.writes == []
