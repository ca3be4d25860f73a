"""This machine's clock beside the exchange's: how far off it is, and whether it was set."""

from blofin_cli.core.journal import Level
from blofin_cli.engine.gate import CLOCK_OFFSET_MS_MAX
from blofin_cli.engine.live.state import LiveState

SLEPT_MS = 5_000  # a leap longer than this: the machine was suspended, everything known is old
STEP_MS = 250  # what a clock is set by at once; what is slewed is less between two ticks
EVERY_MS, AGAIN_MS = 60_000, 1_000
WARN_MS = 2_000


class Timepiece:
    """Keeps `state.offset_ms`, and says when exchange time is not known well enough to trade by.

    `is_paced`: the clock is a market's, with a pace of its own: nothing can be told from it.
    """

    def __init__(self, state: LiveState, *, is_paced: bool) -> None:
        self._state, self._is_paced = state, is_paced
        self._wall_ahead_ms = 0
        self._is_old = False
        self._measured_ms: int | None = None

    def start(self) -> None:
        """Note how the wall's clock and the one that only goes forward stand to each other."""
        self._wall_ahead_ms = self._state.wall.now_ms() - self._state.mono_ms()

    def hurry(self) -> None:
        """Measure at the next chance."""
        self._measured_ms = None

    def look(self) -> int:
        """By how many milliseconds the wall's clock was set since the last look; mostly 0."""
        stepped_ms = self._stepped_ms()
        if abs(stepped_ms) < STEP_MS:
            return 0
        self._wall_ahead_ms += stepped_ms
        self._is_old = True
        self.hurry()
        return stepped_ms

    def doubt(self) -> str:
        """Why exchange time is not known well enough; empty when it is."""
        if self._is_old or abs(self._stepped_ms()) >= STEP_MS:
            return "this clock was set: the exchange's time is being read"
        if abs(self._state.offset_ms) > CLOCK_OFFSET_MS_MAX:
            return f"this clock is {self._state.offset_ms / 1000:.0f} s off"
        return ""

    def is_due(self) -> bool:
        """Whether it is time to measure."""
        wait_ms = AGAIN_MS if self._is_old else EVERY_MS
        last_ms = self._measured_ms
        return last_ms is None or self._state.mono_ms() - last_ms >= wait_ms

    async def measure(self) -> None:
        """Ask the exchange for its time. Errors: as the port's."""
        state, ahead_ms = self._state, self._wall_ahead_ms
        self._measured_ms = state.mono_ms()
        offset = await state.exchange.clock_offset()
        state.answered()
        if ahead_ms != self._wall_ahead_ms:
            return  # the clock was set meanwhile
        state.offset_ms, self._is_old = offset.offset_ms, False
        if abs(offset.offset_ms) > WARN_MS:
            way = "behind" if offset.offset_ms > 0 else "ahead of"
            state.tell_once(
                Level.ALERT, "skew",
                f"this clock is {abs(offset.offset_ms) / 1000:.1f} s {way} the exchange's",
                next_step="set the clock; beyond 30 s nothing opens",
            )  # fmt: skip

    def _stepped_ms(self) -> int:
        """By how much the wall's clock went its own way since the last look."""
        if self._is_paced:
            return 0
        return self._state.wall.now_ms() - self._state.mono_ms() - self._wall_ahead_ms
