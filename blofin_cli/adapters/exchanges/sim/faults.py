"""What goes wrong on purpose: faults by name, each with its probability, from one seed.

Every fault has a stream of chances of its own, so that switching one on does not move the others.
Each firing is counted: a fault that never fired tested nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

FAULTS = {
    "lost_request": "a request never arrives; the connection is cut after `ms`",
    "lost_answer": "a request is carried out and the connection cut after `ms` without an answer",
    "delay": "an answer comes `ms` late",
    "rate_limit": "code 429 with HTTP 429",
    "suspended": "the address is suspended for `ms`",
    "server_error": "HTTP 500 or 502 with JSON after the request was carried out",
    "internal_error": "code 103013 after the request was carried out",
    "unavailable": "HTTP 503 before anything was done",
    "html": "an HTML body, with status 200, 502 or 503, after the request was carried out",
    "null_fields": "fields of an answer are null",
    "invisible": "an accepted order cannot be found for `ms`",
    "dropped_stop": "an attached stop is left out without a word",
    "partial_fill": "an order takes 30 to 80 % of what it would get from the book",
    "ignored_leverage": "set-leverage answers ok and keeps the old value",
    "dropped_target": "an attached target is left out without a word",
    "clock_skew": "the exchange's clock is `ms` ahead; fires always",
    "duplicate": "a pushed message comes twice",
    "reorder": "a pushed message comes after the next one",
    "push_delay": "a pushed message comes `ms` late",
    "stall": "no pushes for `ms` while the connection lives",
    "disconnect": "the connection is closed without a word",
    "lost_ack": "a subscription is not confirmed",
    "lost_pong": "a ping is not answered",
    "login_refused": "a WebSocket login fails",
    "frozen_time": "the times in market pushes stand still; fires always",
}
"""Name -> what happens. The probability is per request, message or order."""

_CHAOS_MS = {
    "delay": 800, "suspended": 5_000, "invisible": 8_000, "push_delay": 500, "stall": 15_000,
    "clock_skew": 1_500,
}  # fmt: skip
# Rare, as each strike lasts: a client rests for up to a minute after a rate limit.
_CHAOS_RARE = frozenset(
    {"suspended", "rate_limit", "disconnect", "stall", "login_refused", "clock_skew"}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that is switched on.

    `path` narrows requests to those whose path contains it, pushes to a channel; `count` ends it
    after so many firings; `ms` is a duration, or an offset.
    """

    name: str
    probability: float = 1.0
    path: str = ""
    count: int | None = None
    ms: int = 0

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"no fault is called {self.name[:40]!a}")
        if not 0 <= self.probability <= 1:
            raise ValueError("a probability lies between 0 and 1")


class FaultPlan:
    """Which faults are on, and what each chance says."""

    def __init__(self, seed: int = 0, faults: Iterable[Fault] = ()) -> None:
        self.seed = seed
        self.fired: Counter[str] = Counter()
        self._faults: dict[tuple[str, str], Fault] = {}
        self._draws: Counter[str] = Counter()
        for fault in faults:
            self.switch_on(fault)

    @property
    def active(self) -> list[Fault]:
        """Everything switched on."""
        return list(self._faults.values())

    def switch_on(self, fault: Fault) -> None:
        """Add a fault; one of the same name and path is replaced."""
        self._faults[fault.name, fault.path] = fault

    def switch_off(self, name: str | None = None) -> None:
        """Take away the faults of a name, or all."""
        kept = {} if name is None else {k: f for k, f in self._faults.items() if k[0] != name}
        self._faults = kept

    def strikes(self, name: str, path: str = "") -> Fault | None:
        """The fault that happens now, if its chance says so."""
        if not self._faults:
            return None
        for place, fault in self._faults.items():
            if fault.name == name and fault.path in path and self._chance(fault):
                self.fired[name] += 1
                if fault.count is not None:
                    self._count_down(place, fault)
                return fault
        return None

    def is_on(self, name: str) -> bool:
        """Whether a fault that acts always is on."""
        if self._find(name) is None:
            return False
        self.fired[name] += 1
        return True

    def offset_ms(self, name: str) -> int:
        """The `ms` of a fault that acts always; 0 when it is off."""
        found = self._find(name)
        if found is None:
            return 0
        self.fired[name] += 1
        return found.ms

    def draw(self, purpose: str, count: int) -> int:
        """A number below `count` from a stream of its own."""
        return int(self._uniform(purpose) * count)

    def _find(self, name: str) -> Fault | None:
        return next((f for f in self._faults.values() if f.name == name), None)

    def _chance(self, fault: Fault) -> bool:
        return fault.probability >= 1 or self._uniform(fault.name) < fault.probability

    def _uniform(self, purpose: str) -> float:
        """The next number in [0, 1) of a stream, out of a hash: the same on every machine."""
        self._draws[purpose] += 1
        text = f"{self.seed}/{purpose}/{self._draws[purpose]}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / (1 << 56)

    def _count_down(self, place: tuple[str, str], fault: Fault) -> None:
        assert fault.count is not None
        if fault.count <= 1:
            del self._faults[place]
        else:
            self._faults[place] = replace(fault, count=fault.count - 1)


def chaos(seed: int) -> FaultPlan:
    """A storm: the seed draws which faults exist and how often. None is on in every storm."""
    plan = FaultPlan(seed)
    for name in sorted(FAULTS.keys() - {"frozen_time"}):
        if plan.draw("chaos exists", 2) == 0:
            continue
        ceiling = 0.002 if name in _CHAOS_RARE else 0.05
        probability = ceiling * (1 + plan.draw("chaos how often", 1_000)) / 1_000
        plan.switch_on(Fault(name, probability, ms=_CHAOS_MS.get(name, 0)))
    return plan
