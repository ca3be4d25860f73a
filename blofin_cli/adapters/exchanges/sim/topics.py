"""What candle and book channels remember between two messages."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.books import LEVELS_MAX
from blofin_cli.adapters.exchanges.sim.records import ZERO

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box

Sides = dict[str, dict[Decimal, Decimal]]


class CandleTopic:
    """Candles of one instrument and size: the forming one again and again, then closed, once."""

    def __init__(self, box: "Box", inst_id: str, bar: str) -> None:
        self._box = box
        self._inst_id = inst_id
        self._bar = bar
        series, _ = box.bars[inst_id].series(bar, box.now_ms)
        self._closed_told = len(series.closed)

    def rows(self, *, has_moved: bool) -> list[list[str]]:
        """Rows to push now, oldest first."""
        box = self._box
        series, forming = box.bars[self._inst_id].series(self._bar, box.now_ms)
        value = float(box.venue.terms[self._inst_id].contract_value)
        fresh = series.closed[self._closed_told :]
        self._closed_told = len(series.closed)
        found = [rows.candle_row(bar, value, closed=True) for bar in fresh]
        if forming is not None and has_moved:
            found.append(rows.candle_row(forming, value, closed=False))
        return found


class DepthTopic:
    """The book of one instrument as it was last told; `books5` is told whole each time."""

    def __init__(self, box: "Box", inst_id: str, channel: str) -> None:
        self._box = box
        self._inst_id = inst_id
        self._is_short = channel == "books5"
        self._sequence = 1_000
        self._told = self._levels()

    def snapshot(self) -> dict[str, Any]:
        """The whole book as last told. Sizes are text on `books5`, JSON numbers on `books`."""
        if self._is_short:
            return self._shape(self._told) | {"ts": str(self._box.stamp_ms)}
        sequence = {"prevSeqId": "0", "seqId": str(self._sequence)}
        return self._shape(self._told) | {"ts": str(self._box.stamp_ms)} | sequence

    def change(self) -> dict[str, Any] | None:
        """The frame that leads from the last told book to the present one; None if they agree."""
        before, self._told = self._told, self._levels()
        if before == self._told:
            return None
        if self._is_short:
            return {"action": "snapshot", "data": self.snapshot()}
        changed: Sides = {}
        for side, levels in self._told.items():
            old = before[side]
            changed[side] = {p: size for p, size in levels.items() if old.get(p) != size}
            changed[side] |= {price: ZERO for price in old if price not in levels}
        previous, self._sequence = self._sequence, self._sequence + 1
        data = self._shape(changed) | {
            "ts": str(self._box.stamp_ms),
            "prevSeqId": str(previous),
            "seqId": str(self._sequence),
        }
        return {"action": "update", "data": data}

    def _levels(self) -> Sides:
        state = self._box.venue.markets[self._inst_id]
        if state.tick is None:
            return {"asks": {}, "bids": {}}
        count = 5 if self._is_short else LEVELS_MAX
        return {side: dict(state.book.levels(side, count)) for side in ("asks", "bids")}

    def _shape(self, sides: Sides) -> dict[str, list[list[Any]]]:
        if self._is_short:
            return {
                side: [[rows.plain(price), rows.plain(size)] for price, size in levels.items()]
                for side, levels in sides.items()
            }
        return {
            side: [[float(price), float(size)] for price, size in levels.items()]
            for side, levels in sides.items()
        }
