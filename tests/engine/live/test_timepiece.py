"""A clock that is set is noticed; a market's clock, whose pace is its own, is left alone."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from blofin_cli.engine.live.timepiece import Timepiece


@dataclass
class Clocks:
    """A wall clock and one that only goes forward, as the state of a session shows them."""

    wall_ms: int = 1_000_000
    mono_at_ms: int = 0
    offset_ms: int = 0

    @property
    def wall(self) -> Any:
        return SimpleNamespace(now_ms=lambda: self.wall_ms)

    def mono_ms(self) -> int:
        return self.mono_at_ms

    def passes(self, ms: int, *, set_by_ms: int = 0) -> None:
        self.mono_at_ms += ms
        self.wall_ms += ms + set_by_ms


def timepiece(clocks: Any, *, is_paced: bool = False) -> Timepiece:
    made = Timepiece(clocks, is_paced=is_paced)
    made.start()
    return made


@pytest.mark.parametrize("set_by_ms", [-2_500, 2_500])
def test_clock_that_is_set_blocks_until_the_time_is_read(set_by_ms):
    """In the gate at once, also before the next tick has looked."""
    clocks = Clocks()
    watched = timepiece(clocks)
    clocks.passes(500)
    assert (watched.look(), watched.doubt()) == (0, "")
    clocks.passes(100, set_by_ms=set_by_ms)
    assert "was set" in watched.doubt()
    assert watched.look() == set_by_ms
    assert "was set" in watched.doubt()
    assert watched.is_due()


def test_market_with_a_pace_of_its_own_is_no_clock_that_is_set():
    """Sixty times as fast: each tick would look like a step of fifteen seconds."""
    clocks = Clocks()
    watched = timepiece(clocks, is_paced=True)
    clocks.passes(250, set_by_ms=15_000)
    assert (watched.look(), watched.doubt()) == (0, "")
