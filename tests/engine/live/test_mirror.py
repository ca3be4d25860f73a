"""The mirror: a stream tells of rows, a snapshot of everything, and the younger word counts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from blofin_cli.core.orders import AccountInfo, Balance, OrderState, Side
from blofin_cli.engine.live.mirror import Mirror, Snapshot, take_snapshot
from blofin_cli.errors import NetworkError
from tests.dealing import BTC, ETH, D, position, resting, stop_order

HELD = position(2, 3_000)
STOP = stop_order(HELD, 2_900)
ORDER = resting("buy", 2, 2_950, updated_ms=100)


def account(equity: int = 10_000, ts_ms: int = 50) -> AccountInfo:
    money = D(equity)
    row = Balance(currency="USDT", equity=money, balance=money, available=money)
    return AccountInfo(total_equity_usd=money, balances=(row,), ts_ms=ts_ms)


def snapshot(asked_ms: int, **changes: Any) -> Snapshot:
    """A look that found nothing, unless it says what."""
    known: dict[str, Any] = {
        "asked_ms": asked_ms, "positions": (), "orders": (), "protections": (),
        "account": account(),
    }  # fmt: skip
    return Snapshot(**(known | changes))


FULL = {"positions": (HELD,), "orders": (ORDER,), "protections": (STOP,)}


def full() -> Mirror:
    """A mirror that has read everything at 1,000."""
    mirror = Mirror()
    mirror.replace(snapshot(1_000, **FULL))
    return mirror


def content(mirror: Mirror) -> tuple[Any, ...]:
    return dict(mirror.positions), dict(mirror.orders), dict(mirror.protections)


def test_snapshot_replaces_everything():
    """What a complete later look does not show is gone."""
    mirror = full()
    assert content(mirror) == ({ETH: HELD}, {"oETH-USDT": ORDER}, {"tETH-USDT": STOP})
    mirror.replace(snapshot(2_000))
    assert content(mirror) == ({}, {}, {})


def test_position_of_before_a_sleep_is_stale_until_it_is_told_again():
    """By the stream or by a complete list; an old message tells nothing."""
    for tell in (
        lambda mirror: mirror.hear_position(HELD, 1_500),
        lambda mirror: mirror.replace_positions((HELD,), 1_500),
    ):
        mirror = full()
        assert not mirror.stale
        mirror.doubt_positions()
        mirror.hear_position(replace(HELD, updated_ms=HELD.updated_ms - 1), 1_400)
        assert mirror.stale == {ETH}
        tell(mirror)
        assert not mirror.stale


def test_stream_after_the_question_outlives_the_answer():
    """A row the stream told while a snapshot was being read stays: it is the younger."""
    mirror = Mirror()
    mirror.hear_position(HELD, 1_001)
    mirror.hear_order(ORDER, 1_001)
    mirror.hear_protection(STOP, 1_001)
    mirror.replace(snapshot(1_000))
    assert content(mirror) == ({ETH: HELD}, {"oETH-USDT": ORDER}, {"tETH-USDT": STOP})
    mirror.replace(snapshot(2_000))
    assert content(mirror) == ({}, {}, {})


def test_end_told_meanwhile_is_not_undone_by_an_older_answer():
    """Closed, filled, cancelled by the stream while an older look was under way: it stays gone."""
    mirror = full()
    mirror.hear_position(replace(HELD, size=D(0)), 2_001)
    mirror.hear_order(replace(ORDER, state=OrderState.FILLED, filled=D(2)), 2_001)
    mirror.hear_protection(replace(STOP, state=OrderState.CANCELED), 2_001)
    mirror.replace(snapshot(2_000, **FULL))
    assert content(mirror) == ({}, {}, {})


def test_ended_order_and_stop_never_return():
    """An id that has ended is dead, whatever a late page or message says."""
    mirror = full()
    mirror.hear_order(replace(ORDER, state=OrderState.CANCELED), 2_000)
    mirror.hear_protection(replace(STOP, state=OrderState.TRIGGERED), 2_000)
    assert not mirror.hear_order(ORDER, 3_000)
    mirror.hear_protection(STOP, 3_000)
    mirror.replace(snapshot(4_000, orders=(ORDER,), protections=(STOP,)))
    assert content(mirror)[1:] == ({}, {})


def test_position_may_come_again():
    """A symbol has no id that ends: flat, then open anew."""
    mirror = full()
    mirror.hear_position(replace(HELD, size=D(0)), 2_000)
    mirror.hear_position(replace(HELD, size=D(1), updated_ms=9), 3_000)
    assert mirror.size(ETH) == 1


def test_older_messages_change_nothing():
    """By the exchange's own time; equal times by what is further on."""
    mirror = Mirror()
    mirror.hear_position(replace(HELD, updated_ms=200), 1)
    mirror.hear_position(replace(HELD, size=D(1), updated_ms=199), 2)
    assert mirror.size(ETH) == 2
    half = replace(ORDER, filled=D(1), state=OrderState.PARTIALLY_FILLED)
    assert mirror.hear_order(half, 1)
    for late in (
        replace(half, updated_ms=99),
        replace(half, filled=D("0.5")),
        replace(half, state=OrderState.LIVE),
    ):
        assert not mirror.hear_order(late, 2)
    assert mirror.orders == {"oETH-USDT": half}
    mirror.hear_account(account(10_000, 50))
    mirror.hear_account(account(9_000, 49))
    assert mirror.account == account(10_000, 50)


def test_late_flat_message_does_not_close_a_younger_position():
    """A flat that is older than what is held is a message that was overtaken."""
    mirror = Mirror()
    mirror.hear_position(replace(HELD, updated_ms=200), 1)
    mirror.hear_position(replace(HELD, size=D(0), updated_ms=150), 2)
    assert mirror.size(ETH) == 2


def test_order_says_whether_more_was_filled():
    """Fills are read when there are any."""
    mirror = Mirror()
    assert not mirror.hear_order(ORDER, 1)
    half = replace(ORDER, filled=D(1), state=OrderState.PARTIALLY_FILLED)
    assert mirror.hear_order(half, 2)
    assert not mirror.hear_order(replace(half, updated_ms=101), 3)
    assert mirror.hear_order(replace(half, filled=D(2), state=OrderState.FILLED, updated_ms=102), 4)


def test_unknown_word_counts_as_open():
    """An order in a state nobody knows can still fill; a stop in one may still protect."""
    mirror = Mirror()
    mirror.hear_order(replace(ORDER, state=OrderState.UNKNOWN), 1)
    mirror.hear_protection(replace(STOP, state=OrderState.UNKNOWN), 1)
    assert content(mirror)[1:] != ({}, {})


def test_partial_lists_replace_their_kind_alone():
    """A look at stops leaves orders and positions alone, and the other way round."""
    mirror = full()
    mirror.replace_protections((), 2_000)
    assert content(mirror) == ({ETH: HELD}, {"oETH-USDT": ORDER}, {})
    mirror.replace_positions((), 2_000)
    assert content(mirror) == ({}, {"oETH-USDT": ORDER}, {})


def test_confirmed_cancel_outlives_an_older_list():
    """What we removed ourselves does not come back by an answer that was under way."""
    mirror = full()
    mirror.forget_protection("tETH-USDT", 2_001)
    mirror.replace_protections((STOP,), 2_000)
    mirror.replace_protections((STOP,), 3_000)
    assert mirror.protections == {}


def test_cover_counts_stops_of_the_closing_side_and_no_more_than_is_held():
    """Sizes add up to the position at most; the other side and targets protect nothing."""
    mirror = full()
    assert mirror.covered(ETH) == 2
    for row, covered in (
        (replace(STOP, size=D("0.5")), D("0.5")),
        (replace(STOP, size=D(9)), D(2)),
        (replace(STOP, side=Side.BUY), D(0)),
        (replace(STOP, stop=None, target=D(3_200)), D(0)),
    ):
        mirror.protections = {row.protection_id: row}
        assert mirror.covered(ETH) == covered
    assert mirror.covered(BTC) == 0


def test_reduce_only_orders_are_no_entries():
    """Only what can open counts as an entry."""
    mirror = full()
    closing = replace(ORDER, order_id="c", reduce_only=True)
    mirror.hear_order(closing, 1_500)
    assert mirror.entries(ETH) == (ORDER,)
    assert mirror.entries(BTC) == ()


class Reader:
    """An account that answers, but for one question."""

    def __init__(self, fails: str) -> None:
        self.fails = fails
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def answer() -> Any:
            self.asked.append(name)
            if name == self.fails:
                raise NetworkError("no answer")
            return account() if name == "account" else ()

        return answer


@pytest.mark.parametrize("question", ["open_orders", "protections", "positions", "account"])
async def test_absence_is_concluded_from_complete_answers_only(question):
    """F46: when one question fails there is no snapshot at all, so nothing can read as flat."""
    reader: Any = Reader(question)
    with pytest.raises(NetworkError):
        await take_snapshot(reader, 1_000)


async def test_stops_are_read_before_positions():
    """A stop that is seen is older than the position it covers, never the other way round."""
    reader: Any = Reader("nothing")
    told = await take_snapshot(reader, 1_000)
    assert reader.asked.index("protections") < reader.asked.index("positions")
    assert told.asked_ms == 1_000


def test_memory_of_ended_ids_is_bounded():
    """I28: thousands of ended orders leave a bounded trace."""
    mirror = Mirror()
    for number in range(2_500):
        ended = replace(ORDER, order_id=f"o{number}", state=OrderState.FILLED)
        mirror.hear_order(ended, number)
    mirror.replace(snapshot(9_000))
    assert len(mirror._ended) == 2_000
    assert mirror._heard_ms == {}
