"""One rate budget for every process of the user, kept in a small memory-mapped file.

BloFin counts 30 trading calls in 10 s a user and 500 requests a minute (1,500 in five) an address,
and punishes an excess with minutes of suspension; a bot, a watchdog and a person at a terminal
share those counts. A token bucket would let through twice its size in one window, so each limit is
a ring of the times of its last calls instead: a call may go when the oldest of them has left the
window. That is exact in every window, never waits while there is room, and refills by elapsed time
alone.

The file is locked for the microseconds of one decision; the system frees the lock when a process
dies. Times are those of the system's monotonic clock, which all processes share and which no
change of date moves. A file that makes no sense (another version, a torn write, times from before a
restart) is begun anew with the openings used up: protection goes on, openings wait ten seconds.
"""

import asyncio
import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blofin_cli.adapters.exchanges.blofin.wire.calls import Purpose
from blofin_cli.errors import RateLimitError

WAIT_MAX_S = 20.0
SUSPENSION_TRADING_S = 10.0
SUSPENSION_FIRST_S = 60.0
SUSPENSION_MAX_S = 3600.0
PROBE_EVERY_S = 5.0
_FORGIVEN_AFTER_S = 600.0
_MAGIC = 0x424C4F46494E0003


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` in any `window_s` seconds; the window is wider than BloFin's by a margin,
    because requests may arrive closer together than they were sent."""

    name: str
    calls: int
    window_s: float


OPENING = Limit("opening", 14, 10.5)
ORDINARY = Limit("ordinary trading", 18, 10.5)
TRADING = Limit("trading", 24, 10.5)
ADDRESS_ORDINARY = Limit("address, without the reserve", 340, 61.0)
ADDRESS = Limit("address", 400, 61.0)
ADDRESS_LONG_ORDINARY = Limit("address over five minutes, without the reserve", 1080, 303.0)
ADDRESS_LONG = Limit("address over five minutes", 1200, 303.0)
CONNECTIONS = Limit("new connections", 1, 1.1)
_LIMITS = (
    OPENING, ORDINARY, TRADING, ADDRESS_ORDINARY, ADDRESS, ADDRESS_LONG_ORDINARY, ADDRESS_LONG,
    CONNECTIONS,
)  # fmt: skip
_ANY = (ADDRESS, ADDRESS_LONG)
_LESS_RESERVE = (*_ANY, ADDRESS_ORDINARY, ADDRESS_LONG_ORDINARY)
_BY_PURPOSE = {
    Purpose.READ: _LESS_RESERVE,
    Purpose.INQUIRE: (TRADING, ORDINARY, *_LESS_RESERVE),
    Purpose.OPEN: (TRADING, ORDINARY, OPENING, *_LESS_RESERVE),
    Purpose.PROTECT: (TRADING, *_ANY),
}

# Header: magic, suspended until, last suspension begun, its length, last probe. Then each limit's
# ring: the place of its oldest time, and its times.
_HEADER = struct.Struct("<Qdddd")
_PLACE = struct.Struct("<Q")
_TIME = struct.Struct("<d")


def _places() -> tuple[dict[Limit, int], int]:
    places, at = {}, _HEADER.size
    for limit in _LIMITS:
        places[limit] = at
        at += _PLACE.size + limit.calls * _TIME.size
    return places, at


_PLACES, FILE_BYTES = _places()


class Governor:
    """The budget in one file. Cheap to ask (a few microseconds), safe between processes.

    `seconds` is the shared monotonic clock; `wall_ms` is only used to tell a person when a
    suspension ends. Where the file cannot be made (a full disk, a folder that is not ours) the
    budget is this process's own: protection must not fail for it; `is_shared` tells.
    """

    def __init__(
        self,
        path: Path,
        *,
        seconds: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ):
        self._seconds, self._wall_ms = seconds, wall_ms
        self._thread_lock = threading.Lock()
        self._file: int | None = None
        try:
            self._file = _opened(path)
            self._memory = mmap.mmap(self._file, FILE_BYTES)
        except OSError:
            self._memory = mmap.mmap(-1, FILE_BYTES)

    @property
    def is_shared(self) -> bool:
        """Other processes see this budget. Not so where its file cannot be made."""
        return self._file is not None

    def try_acquire(self, purpose: Purpose) -> float:
        """Take one call; 0 when it may go now, else the seconds until there is room.

        Errors: RateLimitError while BloFin has us suspended; protection may probe now and then.
        """
        with self._locked():
            now = self._seconds()
            self._check_suspension(now, purpose)
            return self._take(_BY_PURPOSE[purpose], now)

    def try_connect(self) -> float:
        """Take one new WebSocket connection; 0 or the seconds to wait."""
        with self._locked():
            now = self._seconds()
            self._header(now)
            return self._take((CONNECTIONS,), now)

    async def acquire(self, purpose: Purpose, wait_max_s: float = WAIT_MAX_S) -> float:
        """Take one call, waiting for room if there is none; the seconds waited.

        Errors: RateLimitError when that would take longer than `wait_max_s`, or while suspended.
        """
        waited = 0.0
        while (wait_s := self.try_acquire(purpose)) > 0:
            if waited + wait_s > wait_max_s:
                until_ms = self._wall_ms() + int(wait_s * 1000)
                raise RateLimitError(
                    f"our own rate limit leaves no room for {wait_s:.0f} s", until_ms=until_ms
                )
            await asyncio.sleep(wait_s)
            waited += wait_s
        return waited

    async def acquire_connection(self) -> None:
        """Wait until one more WebSocket connection may be made."""
        while True:
            wait_s = self.try_connect()
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    def suspend(self, *, is_trading: bool, retry_after_s: float | None = None) -> RateLimitError:
        """BloFin said 429: no process sends until the end; the error that tells when that is.

        A first refusal of a trading call means its window of 10 s, another a minute; each further
        one within ten minutes doubles the last, up to an hour. A refusal while suspended (of a
        probe, or of a call that was on its way) changes nothing. `retry_after_s` wins.
        """
        with self._locked():
            now = self._seconds()
            until, begun, length, probed = self._header(now)
            if now >= until:
                first = SUSPENSION_TRADING_S if is_trading else SUSPENSION_FIRST_S
                is_repeated = begun > 0 and now - until < _FORGIVEN_AFTER_S
                length = max(2 * length, first) if is_repeated else first
                begun, probed = now, now
            if retry_after_s is not None:
                length = max(retry_after_s, 1.0)
            length = min(length, SUSPENSION_MAX_S)
            until = max(until, begun + length)
            self._write_header(until, begun, length, probed)
        return self._suspended(until - now)

    def suspended_s(self) -> float:
        """Seconds until a suspension ends; 0 when there is none."""
        with self._locked():
            now = self._seconds()
            return max(self._header(now)[0] - now, 0.0)

    def close(self) -> None:
        """Let go of the file; harmless when repeated."""
        with self._thread_lock:
            if not self._memory.closed:
                self._memory.close()
                if self._file is not None:
                    os.close(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes for the time of one decision."""
        with self._thread_lock:
            if self._file is None:
                yield
                return
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _check_suspension(self, now: float, purpose: Purpose) -> None:
        until, begun, length, probed = self._header(now)
        if now >= until:
            return
        if purpose is Purpose.PROTECT and now - probed >= PROBE_EVERY_S:
            self._write_header(until, begun, length, now)
            return
        raise self._suspended(until - now)

    def _suspended(self, left_s: float) -> RateLimitError:
        return RateLimitError(
            f"BloFin has suspended this address or key for {left_s:.0f} s more",
            until_ms=self._wall_ms() + int(left_s * 1000),
            hint="nothing is sent until then, but for attempts to protect",
            venue_code="429",
        )

    def _header(self, now: float) -> tuple[float, float, float, float]:
        """Suspension's end, begin, length and last probe; a file that makes no sense is reset."""
        magic, until, begun, length, probed = _HEADER.unpack_from(self._memory, 0)
        if magic == _MAGIC and begun <= now and until <= now + SUSPENSION_MAX_S + 1 <= 1e12:
            return until, begun, length, probed
        self._memory[:] = bytes(FILE_BYTES)
        if magic != 0:  # a new file is empty; a damaged one has forgotten its last ten seconds
            for limit in (OPENING, ORDINARY):
                first = _PLACES[limit] + _PLACE.size
                struct.pack_into(f"<{limit.calls}d", self._memory, first, *[now] * limit.calls)
        self._write_header(0.0, 0.0, 0.0, 0.0)
        return 0.0, 0.0, 0.0, 0.0

    def _write_header(self, until: float, begun: float, length: float, probed: float) -> None:
        _HEADER.pack_into(self._memory, 0, _MAGIC, until, begun, length, probed)

    def _take(self, limits: tuple[Limit, ...], now: float) -> float:
        """Enter one call into every ring, or none of them and the seconds until all have room."""
        memory, slots, wait_s = self._memory, [], 0.0
        for limit in limits:
            place = _PLACES[limit]
            oldest = int(_PLACE.unpack_from(memory, place)[0]) % limit.calls
            at = place + _PLACE.size + oldest * _TIME.size
            called = _TIME.unpack_from(memory, at)[0]
            if 0.0 < called <= now:  # 0 is a free slot; a time to come is from before a restart
                wait_s = max(wait_s, called + limit.window_s - now)
            slots.append((place, (oldest + 1) % limit.calls, at))
        if wait_s > 0.0:
            return wait_s
        for place, following, at in slots:
            _TIME.pack_into(memory, at, now)
            _PLACE.pack_into(memory, place, following)
        return 0.0


def _opened(path: Path) -> int:
    """The file, with all its bytes on disk: a hole in it would kill the process on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        while size < FILE_BYTES:  # never shorter: others have it mapped
            size += os.pwrite(file, bytes(FILE_BYTES - size), size)  # a full disk takes a part
        fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        os.close(file)
        raise
    return file
