"""The watchdog: what it does when the session is silent, when it lives, and when it is ignored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import Halt, Happening, IntentState, Level
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    Order,
    OrderRequest,
    OrderState,
    Outcome,
    Position,
    Protection,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Listing
from blofin_cli.engine.guardian import Guardian, Watch, is_bare
from blofin_cli.engine.live import book
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.reducing import Reducer
from blofin_cli.errors import BlofinError, DataError, NetworkError
from tests.adapters.store.samples import WIDE, intent, session, status
from tests.dealing import BTC, ETH, NOW_MS, D, position, quote, resting, stop_order, terms

ACCOUNT = "sim-demo"
YES = Ack(outcome=Outcome.ACCEPTED, order_id="n1")
HELD = position(1, 60_000, BTC)


@dataclass
class Account:
    """An exchange that can only let go: what it holds, what it was asked, what it refuses."""

    held: dict[str, Position] = field(default_factory=dict)
    stops: list[Protection] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    problem: BlofinError | None = None

    async def positions(self, symbol: str | None = None) -> tuple[Position, ...]:
        self._answer()
        return tuple(row for row in self.held.values() if symbol in (None, row.symbol))

    async def protections(self, symbol: str | None = None) -> tuple[Protection, ...]:
        self._answer()
        return tuple(row for row in self.stops if symbol in (None, row.symbol))

    async def open_orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        self._answer()
        return tuple(row for row in self.orders if symbol in (None, row.symbol))

    async def order(self, ref: Any) -> Order | None:
        return next((row for row in self.orders if row.order_id == ref.order_id), None)

    async def instrument(self, symbol: str) -> Listing:
        return Listing(instrument=terms(symbol), is_live=True)

    async def quotes(self, symbols: Sequence[str]) -> tuple[Any, ...]:
        return tuple(quote(self.held[symbol].mark_price, symbol) for symbol in symbols)

    async def protect(self, request: ProtectionRequest) -> Ack:
        self.writes.append(f"protect {request.symbol} {request.stop}")
        if request.symbol in self.refuses:
            return Ack(outcome=Outcome.REFUSED, code=self.refuses[request.symbol])
        row = stop_order(
            self.held[request.symbol], request.stop, size=request.size, protection_id="n1",
            client_id=request.client_id,
        )  # fmt: skip
        self.stops.append(row)
        return replace(YES, client_id=request.client_id)

    async def close_position(self, request: CloseRequest) -> Ack:
        self.writes.append(f"close {request.symbol}")
        if request.symbol in self.refuses:
            raise NetworkError("the line is down")
        del self.held[request.symbol]
        return YES

    async def reduce(self, request: OrderRequest) -> Ack:
        raise AssertionError(f"a close call was enough for {request.symbol}")

    async def cancel_protection(self, ref: Any) -> Ack:
        self.writes.append(f"drop {ref.protection_id}")
        self.stops = [row for row in self.stops if row.protection_id != ref.protection_id]
        return YES

    async def cancel_many(self, refs: Sequence[Any]) -> tuple[Ack, ...]:
        names = {ref.order_id for ref in refs}
        self.writes += [f"cancel {name}" for name in sorted(names)]
        self.orders = [row for row in self.orders if row.order_id not in names]
        return tuple(YES for _ in refs)

    def _answer(self) -> None:
        if self.problem is not None:
            raise self.problem


@dataclass
class Post:
    """A guardian at its post; `age_s` is how long ago the session's heart beat, None: never."""

    folder: Path
    age_s: float | None = 1.0
    watch: Watch = field(default_factory=Watch)
    account: Account = field(default_factory=Account)
    now: int = NOW_MS
    told: list[Happening] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal: Any = open_journal(str(self.folder / "state.db"))
        self.journal.open_session(session("s1", started_ms=NOW_MS - 3_600_000))
        self.guardian = self.fresh()
        if self.age_s is not None:
            self.beat(NOW_MS - int(self.age_s * 1000))

    def fresh(self, journal: Any = None) -> Guardian:
        """Another guardian process at the same post."""
        exchange: Any = self.account

        async def pause(seconds: float) -> None:
            self.now += int(seconds * 1000)

        known: Any = self.journal if journal is None else journal
        reducer = Reducer(
            exchange=exchange, journal=known, clock=self, account=ACCOUNT,
            session_id=f"guard-{ACCOUNT}", face="guard", pause=pause,
        )  # fmt: skip
        return Guardian(
            exchange=exchange, journal=known, clock=self, account=ACCOUNT, reducer=reducer,
            watch=self.watch, notify=self.told.append,
        )  # fmt: skip

    def now_ms(self) -> int:
        return self.now

    def beat(self, ts_ms: int, **words: Any) -> None:
        self.journal.beat(status("s1", ts_ms=ts_ms, **words))

    def knows(self, *holdings: Holding) -> None:
        """What the session's book says."""
        self.journal.remember(ACCOUNT, "book", book.to_record(holdings))

    async def rounds(self, count: int = 1, every_ms: int = 2_000) -> list[str]:
        """Look so often; what it sent meanwhile."""
        before = len(self.account.writes)
        for _ in range(count):
            await self.guardian.round()
            self.now += every_ms
        return self.account.writes[before:]

    @property
    def levels(self) -> list[Level]:
        return [item.level for item in self.told]


def holding(**changes: Any) -> Holding:
    """What the book knows of the long in BTC: its stop is at 59,000."""
    known: dict[str, Any] = {
        "trade_id": "h", "symbol": BTC, "side": Side.BUY, "origin": "session", "opened_ms": 0,
        "stop": D(59_000), "opened": D(1), "opened_value": D(60_000),
    }  # fmt: skip
    return Holding(**(known | changes))


@pytest.fixture
def post(tmp_path) -> Callable[..., Post]:
    """Builds a post with a long in BTC whose stop the book knows and the exchange does not."""

    def make(*, bare: bool = True, **words: Any) -> Post:
        made = Post(tmp_path, **words)
        made.account.held[BTC] = HELD
        made.knows(holding())
        if not bare:
            made.account.stops.append(stop_order(HELD, 59_000))
        return made

    return make


async def test_quiet_account_is_left_alone(post):
    """A living session whose position has its stop: nothing is sent, nobody is woken."""
    there = post(bare=False)
    assert await there.rounds(10) == []
    assert there.told == []


@pytest.mark.parametrize("age_s", [31.0, None])
async def test_silent_session_with_a_bare_position_gets_its_stop_back(post, age_s):
    """No heartbeat for 30 s, or none at all: the book's stop is placed at once, and told."""
    there = post(age_s=age_s)
    assert await there.rounds() == [f"protect {BTC} 59000"]
    assert there.account.stops[0].stop == 59_000
    assert Level.ALERT in there.levels
    assert await there.rounds(5) == []


async def test_living_session_has_fifteen_seconds_to_do_it_itself(post):
    """A bare position is first its session's business; then the guard steps in."""
    there = post()
    for _ in range(7):
        there.beat(there.now)
        assert await there.rounds() == []
    there.beat(there.now)
    there.now += 1_000
    assert await there.rounds() == [f"protect {BTC} 59000"]


async def test_stop_that_comes_back_in_time_ends_the_count(post):
    """Bare, covered, bare again: the fifteen seconds begin anew."""
    there = post()
    for number in range(20):
        there.beat(there.now)
        there.account.stops = [stop_order(HELD, 59_000)] if number % 5 == 4 else []
        assert await there.rounds() == []


async def test_halt_that_the_session_obeys_is_left_to_it(post):
    """An acknowledged halt needs no second hand."""
    there = post(bare=False)
    there.account.orders = [resting("buy", 1, 59_500, BTC)]
    there.journal.set_halt(Halt(ts_ms=NOW_MS, face="cli", cause="enough", flatten=True))
    there.now += 5_000
    there.beat(there.now, halt_seen_ms=NOW_MS)
    assert await there.rounds() == []


async def test_halt_of_a_session_that_died_over_it_is_carried_out(post):
    """It acknowledged and fell silent: nobody else will finish what it began."""
    there = post(bare=False)
    there.account.orders = [resting("buy", 1, 59_500, BTC)]
    there.journal.set_halt(Halt(ts_ms=NOW_MS, face="cli", cause="enough"))
    there.beat(NOW_MS + 500, halt_seen_ms=NOW_MS)
    there.now += 31_000
    assert await there.rounds(2) == [f"cancel o{BTC}"]


async def test_ignored_halt_is_carried_out(post):
    """F61: three seconds without an acknowledgement: resting entries go, stops stay."""
    there = post(bare=False)
    there.account.orders = [
        resting("buy", 1, 59_500, BTC),
        resting("sell", 1, 61_000, ETH, reduce_only=True),
    ]
    there.journal.set_halt(Halt(ts_ms=NOW_MS, face="cli", cause="enough"))
    assert await there.rounds() == []  # the session may still see it
    there.now = NOW_MS + 3_000
    assert await there.rounds(3) == [f"cancel o{BTC}"]
    assert there.account.held
    assert there.account.stops


async def test_ignored_halt_with_flatten_closes_once(post):
    """Everything goes, once for each halt."""
    there = post(bare=False)
    there.journal.set_halt(Halt(ts_ms=NOW_MS, face="cli", cause="enough", flatten=True))
    there.now += 3_000
    sent = await there.rounds(3)
    assert sent[0] == f"close {BTC}"
    assert there.account.held == {}
    there.account.held[BTC] = HELD  # bought anew by somebody else, while the flag is up
    there.account.stops.append(stop_order(HELD, 59_000))
    assert await there.rounds() == []


async def test_halt_with_flatten_is_tried_until_all_is_flat(post):
    """A close that did not get through is no close: the next round sends it again."""
    there = post(bare=False)
    there.journal.set_halt(Halt(ts_ms=NOW_MS, face="cli", cause="enough", flatten=True))
    there.now += 3_000
    there.account.refuses[BTC] = "down"
    await there.rounds()
    assert there.account.held
    assert there.told[-1].text.startswith("0 positions closed")
    there.account.refuses.clear()
    await there.rounds()
    assert there.account.held == {}


async def test_silence_is_told_once_a_minute(post):
    """Its length grows from round to round; the alert does not come with each."""
    there = post(age_s=40, bare=False)
    await there.rounds(5)
    assert len(there.told) == 1
    await there.rounds(30)
    assert len(there.told) == 2


async def test_silent_session_may_be_told_to_flatten(post):
    """With `on_stale` flatten, silence closes everything."""
    there = post(age_s=40, bare=False, watch=Watch(on_stale="flatten"))
    assert (await there.rounds())[0] == f"close {BTC}"
    assert Level.EMERGENCY in there.levels


async def test_unknown_stop_is_told_and_left_to_the_owner(post):
    """Nobody knows where it belongs: a person is told how to set it, once a minute."""
    there = post(age_s=60)
    there.knows()
    assert await there.rounds(10) == []
    wanted = [item for item in there.told if item.level is Level.EMERGENCY]
    assert [(item.symbol, item.next_step) for item in wanted] == [
        (BTC, f"blofin protect {BTC} --stop PRICE")
    ]
    there.now += 60_000
    await there.rounds()
    assert there.levels.count(Level.EMERGENCY) == 2


async def test_stop_of_the_other_side_is_no_stop_of_this_position(post):
    """Somebody turned it round while nobody looked: what the book knows does not fit any more."""
    there = post(age_s=60)
    there.account.held[BTC] = position(-1, 60_000, BTC)
    assert await there.rounds(3) == []
    assert Level.EMERGENCY in there.levels


@pytest.mark.parametrize(("size", "price"), [(1, "57000.0"), (-1, "63000.0")])
async def test_unknown_stop_has_an_emergency_distance_if_so_wished(post, size, price):
    """Five percent from the mark, below a long and above a short."""
    there = post(age_s=60, watch=Watch(stop_pct=5.0))
    there.knows()
    there.account.held[BTC] = position(size, 60_000, BTC)
    assert await there.rounds() == [f"protect {BTC} {price}"]


async def test_price_beyond_the_stop_closes(post):
    """The stop the book knows has been passed: a new one would be refused, so it is closed."""
    there = post(age_s=60)
    there.account.held[BTC] = replace(HELD, mark_price=D(58_900))
    assert await there.rounds() == [f"close {BTC}"]
    assert Level.EMERGENCY in there.levels


async def test_refused_stop_does_not_count_as_placed(post):
    """The exchange refuses the stop: it is not told as in force, and it is tried again."""
    there = post(age_s=60)
    there.account.refuses[BTC] = "103003"
    assert await there.rounds(2) == [f"protect {BTC} 59000"] * 2
    assert not any("in force now" in item.text for item in there.told)
    assert Level.EMERGENCY in there.levels
    there.account.refuses.clear()
    assert await there.rounds() == [f"protect {BTC} 59000"]
    assert there.account.held


async def test_stop_that_is_refused_thrice_leads_to_a_close(post):
    """A position that cannot be protected is not kept."""
    there = post(age_s=60)
    there.account.refuses[BTC] = "103003"
    assert await there.rounds(3) == [f"protect {BTC} 59000"] * 3 + [f"close {BTC}"]


async def test_stop_that_could_not_be_sent_closes_nothing(post):
    """A network that fails for a moment is no reason to leave a position."""
    there = post(age_s=60)
    placing = there.account.protect

    async def lost(request: ProtectionRequest) -> Ack:
        raise NetworkError("no way through")

    there.account.protect = lost
    assert await there.rounds(5) == []
    there.account.protect = placing
    assert await there.rounds() == [f"protect {BTC} 59000"]


async def test_trouble_with_one_symbol_does_not_leave_the_next_bare(post):
    """I24: BTC cannot be mended, ETH is."""
    there = post(age_s=60)
    eth = position(2, 3_000)
    there.account.held[ETH] = eth
    there.knows(holding(), replace(holding(symbol=ETH, stop=D(2_900))))
    there.account.refuses[BTC] = "103003"
    assert f"protect {ETH} 2900" in await there.rounds()


async def test_failing_exchange_ends_no_guard(post):
    """An exchange that does not answer is told of, and looked at again."""
    there = post(age_s=60)
    there.account.problem = NetworkError("no answer")
    looks = there.guardian.exchange.positions

    async def positions(symbol: str | None = None) -> Any:
        if there.guardian.rounds == 3:
            there.account.problem = None
        if there.guardian.rounds == 5:
            there.guardian.stop()
        return await looks(symbol)

    there.account.positions = positions
    await there.guardian.run()
    assert there.guardian.rounds == 5
    assert there.account.writes == [f"protect {BTC} 59000"]
    assert [item.text for item in there.told if item.level is Level.WARNING] == [
        "the guard could not look: no answer"
    ]


async def test_defect_of_its_own_ends_no_guard(post):
    """Whatever goes wrong inside, the next round comes."""
    there = post(age_s=60)

    async def positions(symbol: str | None = None) -> Any:
        if there.guardian.rounds == 2:
            there.guardian.stop()
        raise ZeroDivisionError("a defect")

    there.account.positions = positions
    await there.guardian.run()
    assert there.guardian.rounds == 2
    assert [item.text for item in there.told] == [
        "the guard itself failed: ZeroDivisionError: a defect"
    ]


class Damaged:
    """A journal that nobody can read or write any more."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise DataError("the state file is damaged")

        return fail


async def test_damaged_journal_stops_no_protection(post):
    """F55: without a book the emergency stop still goes out, and it is still told."""
    there = post(age_s=60, watch=Watch(stop_pct=5.0))
    there.guardian = there.fresh(Damaged())
    assert await there.rounds() == [f"protect {BTC} 57000.0"]
    assert there.told


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], True),
        ([{}], False),
        ([{"size": D(1)}], False),
        ([{"size": D("0.4")}, {"size": D("0.6")}], False),
        ([{"size": D("0.9")}], True),
        ([{"side": Side.BUY}], True),
        ([{"symbol": ETH}], True),
        ([{"stop": None, "target": D(70_000)}], True),
    ],
)
def test_bare_means_not_wholly_covered(rows, expected):
    """Stops of the symbol on the closing side, added up."""
    assert is_bare(HELD, tuple(stop_order(HELD, 59_000, **row) for row in rows)) is expected


def test_state_of_a_stop_that_waits_is_open():
    """What the fake here hands out is live."""
    assert stop_order(HELD, 1).state is OrderState.LIVE


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        ({}, "59000"),
        ({"state": IntentState.DONE, "filled": D(1)}, "59000"),
        ({"state": IntentState.REFUSED}, None),
        ({"side": Side.SELL}, None),
        ({"size": D("0.5")}, None),
        ({"state": IntentState.DONE, "filled": D(1), "updated_ms": NOW_MS - 7_200_000}, None),
    ],
)
async def test_position_nobody_booked_gets_the_stop_its_entry_was_planned_with(post, changes, stop):
    """Killed between the fill and its booking: the durable intent knows the stop; others do not."""
    there = post(age_s=None)
    there.knows()
    known = {"symbol": BTC, "size": D(1), "stop": D(59_000), "created_ms": NOW_MS - 1_000,
             "updated_ms": NOW_MS - 1_000, "account": ACCOUNT}  # fmt: skip
    there.journal.reserve(intent("lost", **(known | changes)), WIDE)
    assert await there.rounds() == ([f"protect {BTC} {stop}"] if stop else [])


async def test_stop_a_person_removed_is_not_put_back_from_the_entry(post):
    """The book knows the position and that it has no stop on purpose."""
    there = post(age_s=None)
    there.knows(holding(stop=None))
    there.journal.reserve(
        intent("old", symbol=BTC, size=D(1), stop=D(59_000), account=ACCOUNT), WIDE
    )
    assert await there.rounds() == []
