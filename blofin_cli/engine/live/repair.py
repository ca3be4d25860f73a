"""What one symbol needs next: the exchange's word against the book's, and nothing else.

Pure: the same view gives the same answer, and when what it asks for has been done it asks for
nothing more. The order is that of danger: a bare position first, tidiness last.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from blofin_cli.core.orders import Order, Position, Protection, Side
from blofin_cli.engine.live.book import Holding

ZERO = Decimal(0)
CONFIRM_MS = 700
"""An attached stop may take so long to show before it is asked for, and then placed."""
LOOKS_MAX, UNSEEN_MAX = 4, 2
"""After so many looks in vain a stop is placed unseen, and so many at most: two stops of one
position harm less than none."""
CLOSE_AFTER_MS = 9_000
"""A position that is still bare after this is closed."""
SETTLED_MS = 2_000
"""What is merely untidy (targets, sizes) waits until nothing has moved for so long."""
ORPHAN_MS = 3_000
AWAITED_MS = 30_000
"""A stop may be seen before its position; one the book expects is waited for so long."""
ATTEMPTS_MAX = 3


class Act(StrEnum):
    """What may have to be done for a symbol."""

    LOOK = "look"
    CLOSE = "close"
    STOP = "stop"
    TARGET = "target"
    DROP = "drop"
    CANCEL_ENTRY = "cancel_entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing to do, and why. `size` None means the whole position; `ref` names what to drop."""

    act: Act
    why: str
    size: Decimal | None = None
    price: Decimal | None = None
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One symbol at one moment. Units: `quiet_ms` since anything about it last changed.

    `bare_ms` is how long the position has lacked a wanted stop while the exchange could be reached,
    None while it has one; `looked` whether the exchange told of stops since it became bare,
    `is_blind` that it did not though asked often enough, and few stops have been placed unseen;
    `refused` counts stops it refused definitely; `flat_ms` is None while a position may be on its
    way; `entries_unwanted` whether resting entries must go.
    """

    position: Position | None
    holding: Holding | None
    protections: tuple[Protection, ...]
    entries: tuple[Order, ...]
    last: Decimal | None
    quiet_ms: int
    flat_ms: int | None
    bare_ms: int | None
    looked: bool
    is_blind: bool
    refused: int
    protects_external: bool
    entries_unwanted: bool
    flatten: bool


def need(view: View) -> Need | None:
    """The next thing to do, None when all is well."""
    if view.position is None:
        return _flat(view)
    return (
        _leave(view)
        or _bare(view, view.position)
        or _unwanted(view)
        or _tidy(view)
        or _stray(view, view.position)
    )


def _flat(view: View) -> Need | None:
    if (unwanted := _unwanted(view)) is not None:
        return unwanted
    is_over = view.flat_ms is not None and min(view.flat_ms, view.quiet_ms) >= ORPHAN_MS
    if view.protections and is_over and not view.entries:
        orphan = view.protections[0]
        return Need(act=Act.DROP, why="nothing is left to protect", ref=orphan.protection_id)
    return None


def _unwanted(view: View) -> Need | None:
    if view.entries_unwanted and view.entries:
        return Need(act=Act.CANCEL_ENTRY, why="no entries are wanted", ref=view.entries[0].order_id)
    return None


def _leave(view: View) -> Need | None:
    holding = view.holding
    if view.flatten:
        return Need(act=Act.CLOSE, why="halt")
    if holding is not None and holding.leaving:
        return Need(act=Act.CLOSE, why=holding.leaving)
    return None


def _bare(view: View, position: Position) -> Need | None:
    """What a position without enough of a stop needs; external ones only if so wished."""
    if view.bare_ms is None:
        return None
    holding = view.holding
    if holding is None or holding.stop is None:
        return None
    if holding.origin == "external" and not view.protects_external:
        return None
    sign = 1 if position.size > 0 else -1
    if not view.looked and not view.is_blind:
        return Need(act=Act.LOOK, why="no stop is seen") if view.bare_ms >= CONFIRM_MS else None
    price = position.mark_price if view.last is None else view.last
    if (price - holding.stop) * sign <= 0:
        return Need(act=Act.CLOSE, why="stop")
    if view.bare_ms >= CLOSE_AFTER_MS or view.refused >= ATTEMPTS_MAX:
        return Need(act=Act.CLOSE, why="naked")
    size = None if _may_be_whole(view) else abs(position.size) - _covered(view, position)
    return Need(act=Act.STOP, why="the stop is missing", price=holding.stop, size=size)


def _may_be_whole(view: View) -> bool:
    """Whether one stop of the whole position, which grows with it, serves a working entry.

    Else each of its fills would ask for one more. An exchange takes a single one of them.
    """
    is_taken = view.refused or any(row.size is None for row in view.protections)
    return bool(view.entries) and not is_taken


def _tidy(view: View) -> Need | None:
    """Stops at the wrong price or of the wrong size, a missing target, doubles."""
    position, holding = view.position, view.holding
    if position is None or holding is None or holding.stop is None or view.bare_ms is not None:
        return None  # a stop that has just triggered is doing its work: only bareness places one
    if holding.origin == "external" and not view.protects_external:
        return None
    side = position.closing_side
    stops = [row for row in view.protections if row.side is side and row.stop is not None]
    right = [row for row in stops if row.stop == holding.stop]
    held = abs(position.size)
    is_settled = view.quiet_ms >= SETTLED_MS and not view.entries
    if _sum(right, held) < held:
        if all(_is_tighter(row, holding.stop, side) for row in stops):
            # the exchange holds a tighter stop than the book wants: leave it
            return _tidy_target(view, holding, side, held) if is_settled else None
        return Need(act=Act.STOP, why="the stop has moved", price=holding.stop, size=held)
    wrong = [row for row in stops if row.stop != holding.stop and row.target is None]
    if wrong:
        return Need(act=Act.DROP, why="another stop took its place", ref=wrong[0].protection_id)
    if not is_settled:
        return None
    return _tidy_sizes(right, held) or _tidy_target(view, holding, side, held)


def _stray(view: View, position: Position) -> Need | None:
    """What protected a position of the other side, once fills and exchange agree on this one."""
    holding = view.holding
    if holding is None or holding.side.sign * holding.quantity != position.size:
        return None
    if view.quiet_ms < AWAITED_MS or view.entries:
        return None
    for row in view.protections:
        if row.side is not position.closing_side:
            return Need(act=Act.DROP, why="it protects the other side", ref=row.protection_id)
    return None


def _tidy_sizes(right: list[Protection], held: Decimal) -> Need | None:
    """More stops than position: drop one the rest can do without, else make one that fits."""
    sized = sorted(
        (row for row in right if row.size is not None),
        key=lambda row: row.size or ZERO,
        reverse=True,
    )
    has_whole = len(sized) < len(right)
    total = _sum(list(sized), held)
    for row in sized:
        if has_whole or total - (row.size or ZERO) >= held:
            return Need(act=Act.DROP, why="one stop too many", ref=row.protection_id)
    if not has_whole and total > held:
        why = "the stop is larger than the position"
        return Need(act=Act.STOP, why=why, price=right[0].stop, size=held)
    return None


def _tidy_target(view: View, holding: Holding, side: Side, held: Decimal) -> Need | None:
    if holding.target is None:
        return None
    targets = [row for row in view.protections if row.side is side and row.target is not None]
    if _sum(targets, held) >= held:
        return None
    sign = -side.sign
    if view.last is not None and (view.last - holding.target) * sign >= 0:
        return Need(act=Act.CLOSE, why="target")
    return Need(
        act=Act.TARGET,
        why="the target is missing",
        price=holding.target,
        size=held - _sum(targets, held),
    )


def _covered(view: View, position: Position) -> Decimal:
    side, held = position.closing_side, abs(position.size)
    stops = [row for row in view.protections if row.side is side and row.stop is not None]
    return min(_sum(stops, held), held)


def _sum(rows: list[Protection], whole: Decimal) -> Decimal:
    return sum((whole if row.size is None else row.size for row in rows), ZERO)


def _is_tighter(row: Protection, stop: Decimal, closing: Side) -> bool:
    """Whether an existing stop lies nearer to the market than the wanted one."""
    assert row.stop is not None
    return (row.stop - stop) * -closing.sign > 0
