"""Clocks: the system's, and one that runs with an exchange in a box."""

import time

from blofin_cli.ports import Clock


class SystemClock:
    """Wall clock in UTC milliseconds."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000


class PacedClock:
    """The time of a market that runs `speed` times as fast as `wall`, met at `market_ms`."""

    def __init__(self, wall: Clock, market_ms: int, speed: float) -> None:
        self._wall, self._speed = wall, speed
        self._wall_ms, self._market_ms = wall.now_ms(), market_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC, by the market."""
        return self._market_ms + int((self._wall.now_ms() - self._wall_ms) * self._speed)
