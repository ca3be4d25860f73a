"""How long positions lacked a stop, whose lack counts, and what is done before all is known."""

from typing import Any, cast

import pytest

from blofin_cli.core.journal import Happening
from blofin_cli.core.orders import Position, Protection, Side
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.breakers import Breakers, Memory
from blofin_cli.engine.live.clerk import Clerk
from blofin_cli.engine.live.keeper import Keeper
from blofin_cli.engine.live.repair import CONFIRM_MS
from blofin_cli.engine.live.state import LiveState
from blofin_cli.errors import NetworkError
from tests.adapters.store.samples import session
from tests.dealing import BTC, NOW_MS, D, intent, position, stop_order


class Still:
    """A clock that stands still, and a journal that takes everything."""

    def now_ms(self) -> int:
        return NOW_MS

    def tell(self, *words: object) -> None:
        del words


def held(
    origin: str, *, protects_external: bool = False, is_ready: bool = True
) -> tuple[LiveState, Keeper, list[Happening]]:
    """A long in BTC without a stop."""
    still: Any = Still()
    told: list[Happening] = []
    state = LiveState(
        exchange=still, journal=still, clock=still, wall=still,
        session=session("s1", symbols=(BTC,)),
        breakers=Breakers(build_strategy({}).risk, Memory.fresh(10_000.0, NOW_MS)),
        notify=told.append,
    )  # fmt: skip
    state.mirror.positions[BTC] = position(1, 60_000, BTC)
    state.holdings[BTC] = Holding(
        trade_id="h", symbol=BTC, side=Side.BUY, origin=origin, opened_ms=0, opened=D(1),
        opened_value=D(60_000), stop=D(59_000),
    )  # fmt: skip
    keeper = Keeper(
        state, pause=still.tell, is_ready=lambda: is_ready, entries_unwanted=lambda _: False,
        flatten=lambda: False, protects_external=protects_external,
    )  # fmt: skip
    return state, keeper, told


@pytest.mark.parametrize(
    ("origin", "protects_external", "counts"),
    [("session", False, True), ("external", True, True), ("external", False, False)],
)
async def test_only_what_we_protect_counts_as_naked(origin, protects_external, counts):
    """A position that its owner keeps without our stops neither pauses entries when it goes nor
    spoils the figures that promotion reads; while it is there it is shown."""
    state, keeper, told = held(origin, protects_external=protects_external)
    keeper.watch(BTC, 0)
    keeper.watch(BTC, 20_000)
    assert state.naked_view().now_s == 20
    (row,) = [row for row in state.breakers.views(NOW_MS) if row.name == "naked"]
    assert (row.value, row.tripped) == ((20, True) if counts else (0, False))
    del state.mirror.positions[BTC]
    keeper.watch(BTC, 0)
    assert state.naked_view().count == counts
    assert [item.kind for item in told] == (["breaker"] if counts else [])


async def test_known_position_is_protected_before_the_books_agree():
    """After a start or a sleep: what the exchange told, and the book and a working entry explain,
    gets its stop."""
    state, keeper, _ = held("session", is_ready=False)
    keeper.watch(BTC, 0)
    keeper.watch(BTC, 1_000)
    assert keeper.needs_work(BTC)
    state.mirror.doubt_positions()
    assert not keeper.needs_work(BTC)  # it was told before a sleep
    state.mirror.hear_position(position(2, 60_000, BTC), 0)
    assert not keeper.needs_work(BTC)  # fills are missing, or it is somebody else's
    entry = intent(symbol=BTC, size=D(1))
    state.intents[entry.client_id] = entry
    assert keeper.needs_work(BTC)  # the entry fills


async def test_nothing_is_tidied_before_the_books_agree():
    """A stop of a position that is not seen yet would look left over."""
    for is_ready in (True, False):
        state, keeper, _ = held("session", is_ready=is_ready)
        row = stop_order(position(1, 60_000, BTC), 59_000)
        state.mirror.protections[row.protection_id] = row
        del state.mirror.positions[BTC], state.holdings[BTC]
        state.flat_since_ms[BTC] = state.mono_ms() - 60_000
        assert keeper.needs_work(BTC) is is_ready


class NoStops(Still):
    """An exchange that tells of no stops, and of no positions."""

    async def protections(self) -> tuple[Protection, ...]:
        return ()

    async def positions(self) -> tuple[Position, ...]:
        raise NetworkError("positions do not come")


async def test_list_of_all_stops_is_a_look_at_each_bare_position():
    """Whoever was bare long enough when it was asked for need not be asked about again."""
    state, keeper, _ = held("session")
    state.exchange = cast(Any, NoStops())
    keeper.watch(BTC, 0)
    clerk = Clerk(state, "15m")
    for since_ms, looked in ((500, False), (CONFIRM_MS, True)):
        state.bare[BTC].since_ms = state.mono_ms() - since_ms
        with pytest.raises(NetworkError):
            await clerk.look()
        assert state.bare[BTC].looked == looked
