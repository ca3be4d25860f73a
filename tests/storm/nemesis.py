"""What goes wrong in a storm: each seed draws which faults exist, how often, and where they strike.

Every fault has chances of its own, so that the draws of one do not move another's. Each firing is
counted: a fault that never fired tested nothing.
"""

import random
from collections import Counter
from dataclasses import dataclass

REQUEST_FAULTS = {
    "lost_request": 0.04,
    "lost_answer": 0.05,
    "late_request": 0.03,
    "not_sent": 0.04,
    "delay": 0.10,
    "long_wait": 0.04,
    "rate_limit": 0.02,
    "server_error": 0.05,
    "html": 0.03,
    "refused": 0.01,
    "lost_place": 0.40,
    "long_place_wait": 0.30,
    "look_up_in_vain": 0.60,
}
"""Name -> highest probability a request."""

ORDER_FAULTS = {
    "invisible": 0.30,
    "dropped_stop": 0.25,
    "dropped_target": 0.25,
    "partial_fill": 0.40,
    "ignored_leverage": 0.25,
    "stop_refused": 0.30,
    "no_liquidity": 0.05,
    "cancel_race": 0.40,
    "close_refused": 0.10,
}
"""Name -> highest probability an order, stop, cancel or setting."""

PUSH_FAULTS = {
    "duplicate": 0.30,
    "reorder": 0.15,
    "push_delay": 0.15,
    "lost_candle": 0.15,
    "repeated_candle": 0.15,
    "old_candle": 0.10,
    "merged": 0.10,
}
"""Name -> highest probability a pushed message."""

WINDOW_FAULTS = {
    "outage": (4, 10.0, 120.0),
    "suspension": (2, 10.0, 90.0),
    "private_down": (6, 1.0, 90.0),
    "public_down": (5, 1.0, 90.0),
    "stall": (4, 20.0, 180.0),
    "deaf": (4, 20.0, 180.0),
    "frozen_time": (3, 20.0, 120.0),
    "skew": (3, 60.0, 300.0),
    "suspended_symbol": (2, 30.0, 200.0),
    "key_expired": (2, 20.0, 120.0),
    "storage_locked": (4, 0.1, 60.0),
    "storage_full": (3, 1.0, 60.0),
    "halt_unreadable": (6, 5.0, 90.0),
    "positions_fail": (3, 20.0, 120.0),
    "orders_fail": (3, 20.0, 120.0),
    "protections_fail": (3, 20.0, 120.0),
    "lookups_fail": (3, 20.0, 300.0),
    "stops_fail": (3, 10.0, 40.0),
    "subscribe_refused": (2, 20.0, 120.0),
    "halted": (3, 20.0, 240.0),
}
"""Name -> how often an hour at most, and seconds it lasts."""

MOMENT_FAULTS = {
    "kill": 10,
    "sleep": 3,
    "jump": 16,
    "crash": 2,
    "nonsense_tick": 12,
    "external_open": 4,
    "external_enlarge": 4,
    "external_reduce": 6,
    "external_close": 6,
    "external_flip": 3,
    "external_cancel_stop": 8,
    "external_cancel_entry": 4,
    "external_whole_stop": 4,
    "leverage_changed": 3,
    "mode_changed": 2,
    "margin_changed": 2,
    "close_errand": 6,
    "burst": 2,
    "bad_signal": 4,
}
"""Name -> how often an hour at most."""

POINT_STRIKES = (
    "kill", "kill", "kill", "halted", "jump", "jump", "private_down", "outage", "storage_locked",
    "storage_full", "external_close", "external_cancel_stop", "external_reduce", "sleep",
    "halt_unreadable", "halt_unreadable", "stops_fail",
)  # fmt: skip
ORDER_POINTS = {"intent": 8, "send": 8, "ack": 8, "decide": 4, "stop-place": 3, "close": 3}
"""How much likelier a strike is where an order is on its way."""
ALWAYS = frozenset({"kill", "jump", "halted"})
"""Drawn in three seeds of four; the others in half of them."""

EVERY_FAULT = (
    *REQUEST_FAULTS, *ORDER_FAULTS, *PUSH_FAULTS, *WINDOW_FAULTS, *MOMENT_FAULTS, "point_strike",
)  # fmt: skip


@dataclass(frozen=True)
class Window:
    """A fault that lasts."""

    name: str
    begin_s: float
    end_s: float
    word: str = ""


class Chances:
    """Named streams of chances out of one seed, the same in every process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, random.Random] = {}

    def of(self, name: str) -> random.Random:
        """The stream of a name."""
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self.seed}/{name}")
        return self._streams[name]


class Nemesis:
    """The faults of one seed. `fired` counts what happened; `calm` ends it all."""

    def __init__(
        self, seed: int, span_s: float, *, intensity: float = 1.0, density: float = 1.0
    ) -> None:
        self.chances = Chances(seed)
        self.fired: Counter[str] = Counter()
        self.calm = False
        self._by_name: dict[str, list[Window]] = {}
        self.moments: list[tuple[float, str]] = []
        self.probability: dict[str, float] = {}
        self.point_probability = 0.0
        self.forced: dict[str, list[str]] = {}
        if intensity > 0:
            self._draw(span_s, intensity, span_s / 3600.0 * density)

    def _draw(self, span_s: float, intensity: float, hours: float) -> None:
        swarm = self.chances.of("swarm")
        for table in (REQUEST_FAULTS, ORDER_FAULTS, PUSH_FAULTS):
            for name, most in table.items():
                exists, share = swarm.random() < 0.5, swarm.random()
                self.probability[name] = most * share * intensity if exists else 0.0
        for name, (most, shortest, longest) in WINDOW_FAULTS.items():
            often = most * swarm.random() * hours * intensity
            exists = swarm.random() < (0.75 if name in ALWAYS else 0.4)
            for _ in range(self._count(swarm, often) if exists else 0):
                begin = swarm.uniform(30.0, span_s)
                length = shortest * (longest / shortest) ** swarm.random()
                self.open_window(name, begin, min(length, span_s - begin))
        for name, most in MOMENT_FAULTS.items():
            often = most * swarm.random() * hours * intensity
            exists = swarm.random() < (0.75 if name in ALWAYS else 0.5)
            for _ in range(self._count(swarm, often) if exists else 0):
                self.moments.append((swarm.uniform(20.0, span_s), name))
        self.point_probability = swarm.random() * 0.03 if swarm.random() < 0.7 else 0.0
        self.moments.sort()

    @staticmethod
    def _count(swarm: random.Random, mean: float) -> int:
        return int(mean) + (swarm.random() < mean % 1.0)

    def strikes(self, name: str) -> bool:
        """Whether a fault with a probability happens now."""
        if self.calm or not self.probability.get(name):
            return False
        if self.chances.of(name).random() >= self.probability[name]:
            return False
        self.fired[name] += 1
        return True

    def force(self, name: str, *fates: str) -> None:
        """Let the next requests of a name meet these fates, one after the other."""
        self.forced.setdefault(name, []).extend(fates)

    def forced_fate(self, name: str) -> str:
        """What was forced upon the next request of a name; empty when nothing was."""
        waiting = self.forced.get(name)
        return waiting.pop(0) if waiting else ""

    def strikes_at(self, point: str) -> str | None:
        """What happens at a named point, if anything."""
        if self.calm or not self.point_probability:
            return None
        stream = self.chances.of(f"point {point}")
        if stream.random() >= self.point_probability * ORDER_POINTS.get(point, 1):
            return None
        self.fired["point_strike"] += 1
        return stream.choice(POINT_STRIKES)

    def open_window(self, name: str, now_s: float, seconds: float, word: str = "") -> None:
        """Let a fault last from now on."""
        self._by_name.setdefault(name, []).append(Window(name, now_s, now_s + seconds, word))

    def is_on(self, name: str, now_s: float) -> bool:
        """Whether a fault that lasts is on now."""
        return self.window(name, now_s) is not None

    def window(self, name: str, now_s: float) -> Window | None:
        """The fault of this name that lasts now."""
        if self.calm:
            return None
        for window in self._by_name.get(name, ()):
            if window.begin_s <= now_s < window.end_s:
                self.fired[name] += 1
                return window
        return None

    def lasted(self, name: str, from_s: float, to_s: float) -> bool:
        """Whether a fault that lasts was on at any moment of a span."""
        return any(
            each.begin_s <= to_s and from_s < each.end_s for each in self._by_name.get(name, ())
        )

    def uniform(self, name: str, low: float, high: float) -> float:
        """A number of a fault's own stream."""
        return self.chances.of(f"{name} value").uniform(low, high)
