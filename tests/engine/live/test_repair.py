"""What a symbol needs next, as a table of views; and that what was done is not asked for again."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.core.orders import Order, Position, Protection, Side
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.repair import Act, Need, View, need
from tests.dealing import ETH, D, position, resting, stop_order

LONG = position(2, 3_000)
SHORT = position(-2, 3_000)
STOP = stop_order(LONG, 2_900)
TARGET = stop_order(LONG, 2_900, protection_id="t2", stop=None, target=D(3_200), size=D(2))
BRACKET = stop_order(LONG, 2_900, protection_id="b", target=D(3_200), size=D(2))
ENTRY = resting("buy", 1, 2_950)


def holding(**changes: Any) -> Holding:
    """Two ETH bought at 3,000 with a stop at 2,900."""
    known: dict[str, Any] = {
        "trade_id": "h1", "symbol": ETH, "side": Side.BUY, "origin": "session", "opened_ms": 0,
        "stop": D(2_900), "opened": D(2), "opened_value": D(6_000),
    }  # fmt: skip
    return Holding(**(known | changes))


def view(**changes: Any) -> View:
    """A long that is well: its stop covers all of it and nothing has moved for a while."""
    known: dict[str, Any] = {
        "position": LONG, "holding": holding(), "protections": (STOP,), "entries": (),
        "last": D(3_000), "quiet_ms": 5_000, "flat_ms": None, "bare_ms": None, "looked": True,
        "is_blind": False, "refused": 0, "protects_external": False, "entries_unwanted": False,
        "flatten": False,
    }  # fmt: skip
    return View(**(known | changes))


def bare(bare_ms: int = 1_000, **changes: Any) -> View:
    """The same without any stop, looked for and not found."""
    return view(**({"protections": (), "bare_ms": bare_ms} | changes))


def flat(**changes: Any) -> View:
    """Nothing is held any more."""
    return view(**({"position": None, "holding": None, "flat_ms": 5_000} | changes))


EXTERNAL = holding(origin="external")
TABLE: dict[str, tuple[View, Act | None]] = {
    "all is well": (view(), None),
    "a stop of the whole position by size": (
        view(protections=(replace(STOP, size=D(2)),)), None,
    ),
    # A bare position.
    "just opened: the attached stop is on its way": (bare(300, looked=False), None),
    "no stop to be seen for a while: look first": (bare(700, looked=False), Act.LOOK),
    "looked, and there is none": (bare(), Act.STOP),
    "stops cannot be read": (bare(8_000, looked=False), Act.LOOK),
    "stops could not be read again and again": (bare(looked=False, is_blind=True), Act.STOP),
    "half of it is covered": (bare(protections=(replace(STOP, size=D(1)),)), Act.STOP),
    "bare for too long": (bare(9_000), Act.CLOSE),
    "its stop was refused too often": (bare(refused=3), Act.CLOSE),
    "the price is beyond the stop": (bare(last=D(2_899)), Act.CLOSE),
    "a short, and the price is beyond": (
        bare(position=SHORT, holding=holding(side=Side.SELL, stop=D(3_100)), last=D(3_101)),
        Act.CLOSE,
    ),
    "no good price: the mark decides": (bare(last=None), Act.STOP),
    "the mark is beyond the stop": (
        bare(last=None, position=replace(LONG, mark_price=D(2_850))), Act.CLOSE,
    ),
    "a person took the stop away": (bare(60_000, holding=holding(stop=None)), None),
    "nobody knows what it is yet": (bare(60_000, holding=None), None),
    "somebody else's": (bare(60_000, holding=EXTERNAL), None),
    "somebody else's, and we protect them": (
        bare(holding=EXTERNAL, protects_external=True), Act.STOP,
    ),
    # Somebody else turned it round.
    "a stop of the other side": (
        view(protections=(STOP, stop_order(SHORT, 3_100, protection_id="s")), quiet_ms=30_000),
        Act.DROP,
    ),
    "a stop of the other side, just seen": (
        view(protections=(STOP, stop_order(SHORT, 3_100, protection_id="s")), quiet_ms=29_000),
        None,
    ),
    "a stop of the other side, and fills that are not known yet": (
        view(
            holding=holding(opened=D(1), opened_value=D(3_000)), quiet_ms=30_000,
            protections=(STOP, stop_order(SHORT, 3_100, protection_id="s")),
        ),
        None,
    ),
    # Leaving.
    "its time is over": (view(holding=holding(leaving="time")), Act.CLOSE),
    "halt and flatten": (view(flatten=True), Act.CLOSE),
    "halt and flatten closes what is external too": (
        view(flatten=True, holding=EXTERNAL), Act.CLOSE,
    ),
    "leaving comes before a missing stop": (bare(holding=holding(leaving="signal")), Act.CLOSE),
    # Entries.
    "an entry that nobody wants": (view(entries=(ENTRY,), entries_unwanted=True), Act.CANCEL_ENTRY),
    "an entry that is wanted": (view(entries=(ENTRY,)), None),
    "a missing stop comes before an unwanted entry": (
        bare(entries=(ENTRY,), entries_unwanted=True), Act.STOP,
    ),
    "flat, and an entry that nobody wants": (
        flat(protections=(), entries=(ENTRY,), entries_unwanted=True), Act.CANCEL_ENTRY,
    ),
    # Stops that differ from the book.
    "the book's stop has moved up": (view(holding=holding(stop=D(2_950))), Act.STOP),
    "another stop is left beside the right one": (
        view(protections=(STOP, replace(STOP, protection_id="old", stop=D(2_800)))), Act.DROP,
    ),
    "the exchange holds a tighter stop": (view(protections=(replace(STOP, stop=D(2_950)),)), None),
    "a stop twice": (view(protections=(STOP, replace(STOP, protection_id="twin"))), None),
    "a sized stop beside one for the whole": (
        view(protections=(STOP, replace(STOP, protection_id="sized", size=D(2)))), Act.DROP,
    ),
    "two sized stops where one is enough": (
        view(
            protections=(
                replace(STOP, size=D(2)), replace(STOP, protection_id="twin", size=D(2)),
            )
        ),
        Act.DROP,
    ),
    "a stop larger than the position": (view(protections=(replace(STOP, size=D(3)),)), Act.STOP),
    "a stop larger, but it has just moved": (
        view(protections=(replace(STOP, size=D(3)),), quiet_ms=500), None,
    ),
    "a stop larger, while an entry may fill": (
        view(protections=(replace(STOP, size=D(3)),), entries=(ENTRY,)), None,
    ),
    "a tighter stop at the exchange, and no target": (
        view(holding=holding(target=D(3_200)), protections=(replace(STOP, stop=D(2_950)),)),
        Act.TARGET,
    ),
    # Targets.
    "its target is missing": (view(holding=holding(target=D(3_200))), Act.TARGET),
    "its target is there": (
        view(holding=holding(target=D(3_200)), protections=(STOP, TARGET)), None,
    ),
    "stop and target in one order": (
        view(holding=holding(target=D(3_200)), protections=(BRACKET,)), None,
    ),
    "a target at another price, set by a person there": (
        view(holding=holding(target=D(3_300)), protections=(STOP, TARGET)), None,
    ),
    "the price is beyond the missing target": (
        view(holding=holding(target=D(3_200)), last=D(3_201)), Act.CLOSE,
    ),
    # Orphans.
    "flat, and a stop is left": (flat(), Act.DROP),
    "flat for a moment only: perhaps a list is older": (flat(flat_ms=500), None),
    "long flat, but the stop has just come: its position may follow": (flat(quiet_ms=0), None),
    "flat, and the stop belongs to a resting entry": (flat(entries=(ENTRY,)), None),
    "flat and clean": (flat(protections=()), None),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_need_by_the_table(case):
    """Each state of a symbol asks for one thing, the most dangerous first."""
    seen, wanted = TABLE[case]
    found = need(seen)
    assert (found.act if found else None) is wanted


def test_missing_stop_is_asked_for_at_the_price_of_the_book_and_the_size_not_covered():
    """What is there already is not doubled."""
    found = need(bare(protections=(replace(STOP, size=D("0.5")),)))
    assert found == Need(act=Act.STOP, why="the stop is missing", size=D("1.5"), price=D(2_900))


def test_missing_stop_of_a_working_entry_is_asked_for_the_whole_position():
    """It grows with each fill; where there is one already, or none is taken, by size."""
    part = replace(STOP, size=D("0.5"))
    whole = Need(act=Act.STOP, why="the stop is missing", size=None, price=D(2_900))
    assert need(bare(protections=(part,), entries=(ENTRY,))) == whole
    for found in (
        need(bare(protections=(part,), entries=(ENTRY,), refused=1)),
        need(bare(protections=(part, replace(TARGET, size=None)), entries=(ENTRY,))),
    ):
        assert found == replace(whole, size=D("1.5"))


def test_stop_of_another_symbols_side_covers_nothing():
    """A stop on the opening side protects nothing."""
    wrong = replace(STOP, side=Side.BUY)
    found = need(bare(protections=(wrong,)))
    assert found is not None
    assert (found.act, found.size) == (Act.STOP, D(2))


def test_missing_target_is_asked_for_the_part_it_does_not_cover():
    """Half a target leaves half to be placed."""
    half = replace(TARGET, size=D(1))
    found = need(view(holding=holding(target=D(3_200)), protections=(STOP, half)))
    assert found is not None
    assert (found.act, found.size, found.price) == (Act.TARGET, D(1), D(3_200))


def met(seen: View, wanted: Need) -> View:
    """The view after an exchange has done what was asked, and everything is quiet again."""
    held, rows = seen.position, seen.protections
    fresh: dict[str, Any] = {}
    if wanted.act is Act.CLOSE:
        fresh = {"position": None, "holding": None, "flat_ms": 10_000, "bare_ms": None}
    elif wanted.act is Act.CANCEL_ENTRY:
        fresh = {"entries": tuple(o for o in seen.entries if o.order_id != wanted.ref)}
    elif wanted.act is Act.DROP:
        fresh = {"protections": tuple(row for row in rows if row.protection_id != wanted.ref)}
    elif wanted.act is Act.LOOK:
        fresh = {"looked": True}
    else:
        assert held is not None
        is_stop = wanted.act is Act.STOP
        placed = stop_order(
            held, 1, protection_id=f"n{len(rows)}{wanted.price}", size=wanted.size,
            stop=wanted.price if is_stop else None, target=None if is_stop else wanted.price,
        )  # fmt: skip
        fresh = {"protections": (*rows, placed)}
    after = replace(seen, **fresh)
    return replace(after, bare_ms=_bare_ms(after), quiet_ms=10_000)


def _bare_ms(seen: View) -> int | None:
    if seen.position is None:
        return None
    held, side = abs(seen.position.size), seen.position.closing_side
    stops = [row for row in seen.protections if row.side is side and row.stop is not None]
    covered = sum((held if row.size is None else row.size for row in stops), D(0))
    return None if covered >= held else seen.bare_ms or 1_000


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any symbol that may be met: with stops, targets and entries of any price and size."""
    held: Position | None = draw(st.sampled_from([LONG, None]))
    prices = st.sampled_from([D(2_800), D(2_900), D(2_950)])
    sizes = st.sampled_from([None, D(1), D(2), D(3)])
    aims = st.sampled_from([None, D(3_200), D(3_300)])
    rows: list[Protection] = []
    for number in range(draw(st.integers(0, 4))):
        stop, target = draw(st.one_of(st.none(), prices)), draw(aims)
        if stop is None and target is None:
            continue
        rows.append(
            stop_order(LONG, 1, protection_id=f"p{number}", size=draw(sizes), stop=stop,
                       target=target)
        )  # fmt: skip
    entries: tuple[Order, ...] = draw(st.sampled_from([(), (ENTRY,)]))
    known = None
    if held is not None:
        known = holding(
            stop=draw(st.one_of(st.none(), prices)), target=draw(aims),
            origin=draw(st.sampled_from(["session", "external"])),
            leaving=draw(st.sampled_from(["", "", "time"])),
        )  # fmt: skip
    seen = view(
        position=held, holding=known, protections=tuple(rows), entries=entries,
        entries_unwanted=draw(st.booleans()), flatten=draw(st.sampled_from([False, False, True])),
        protects_external=draw(st.booleans()), quiet_ms=10_000, flat_ms=10_000,
    )  # fmt: skip
    return replace(seen, bare_ms=_bare_ms(seen))


@given(views())
@settings(max_examples=150, deadline=None)
def test_needs_that_are_met_come_to_an_end(seen):
    """Doing what is asked leads, in the steps one round allows, to a view that asks for nothing."""
    done: list[str] = []
    for _ in range(12):
        wanted = need(seen)
        if wanted is None:
            break
        done.append(f"{wanted.act} {wanted.why} {wanted.price} {wanted.size} {wanted.ref}")
        seen = met(seen, wanted)
    assert need(seen) is None, done
    stop = None if seen.holding is None else seen.holding.stop
    is_ours = seen.holding is not None and (
        seen.holding.origin != "external" or seen.protects_external
    )
    if seen.position is not None and stop is not None and is_ours:
        assert _bare_ms(seen) is None
        assert all(row.stop is None or row.stop >= stop or row.target is not None
                   for row in seen.protections)  # fmt: skip


@given(views())
@settings(max_examples=100, deadline=None)
def test_no_step_uncovers_what_was_covered(seen):
    """A stop goes only when what stays covers the whole position."""
    for _ in range(12):
        wanted = need(seen)
        if wanted is None or wanted.act is Act.CLOSE:
            return
        was_bare = _bare_ms(seen) is not None
        seen = met(seen, wanted)
        assert was_bare or _bare_ms(seen) is None
