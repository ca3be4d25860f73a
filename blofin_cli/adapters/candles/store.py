"""The candle store: one parquet file per symbol and timeframe, completed a page at a time.

Every change happens under the file's lock: read, merge, write beside, sync, replace. A reader needs
no lock, since it sees either the old file or the new one. The folder can be read through `--data`.

Spans that were asked for and hold no candle (an exchange's outage, the time before a listing) are
remembered in the file itself, so that completing twice does not ask for them twice. Completing goes
from the newest bar to the oldest: what was fetched is useful at once, and two empty answers in a
row before the first known bar are where history ends.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blofin_cli.adapters.candles.files import FileSource, list_folder, read_candles
from blofin_cli.adapters.candles.rules import clean
from blofin_cli.adapters.candles.tables import Table
from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError

LOCK_SECONDS_MAX = 60.0
PAGE_BARS = 1_000
PAGES_PER_SAVE = 20

_ABSENT = b"blofin.absent"

Span = tuple[int, int]
"""Open times in [first, last), UTC ms."""

Fetch = Callable[[int | None, int], Awaitable[Candles]]
"""The closed candles that open in [since_ms, until_ms), from wherever they come; without `since_ms`
the newest of those that open before `until_ms`."""

Progress = Callable[[int, int], None]
"""Told (bars settled, bars wanted) after each page."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the store holds of one symbol and timeframe; open times of the first and last bar."""

    symbol: str
    timeframe: Timeframe
    first_ms: int | None
    last_ms: int | None
    rows: int
    gaps: int
    missing_bars: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What one merge changed: bars that were new, and bars whose values a newer one replaced."""

    added: int
    replaced: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What completing a span did; `absent` bars do not exist where the candles come from."""

    wanted: int
    added: int
    replaced: int
    absent: int


class CandleStore:
    """The store as a candle source, and the only way to write it.

    Errors: DataError when a stored file is broken (it is never taken for empty) or when another
    process holds its lock for longer than a minute.
    """

    name = "store"

    def __init__(
        self,
        folder: Path,
        *,
        exchange: str = "blofin",
        lock_seconds_max: float = LOCK_SECONDS_MAX,
    ) -> None:
        self._folder = folder
        self._exchange = exchange
        self._lock_seconds_max = lock_seconds_max
        self._source: FileSource | None = None

    def symbols(self) -> list[str]:
        """Symbols that have a file."""
        return sorted({symbol for symbol, _ in self._listed()})

    def timeframes(self, symbol: str) -> list[Timeframe]:
        """Bar sizes that have a file, finest first."""
        found = [timeframe for owner, timeframe in self._listed() if owner == symbol]
        return sorted(found, key=lambda timeframe: timeframe.ms)

    def candles(self, symbol: str, timeframe: Timeframe) -> Candles:
        """The whole stored history of one symbol and timeframe."""
        source = self._files()
        if source is None:
            fetch = f"blofin candles {symbol} --since 1y"
            fetch += "" if self._exchange == "blofin" else f" --exchange {self._exchange}"
            raise DataError(
                f"the candle store of {self._exchange} is empty",
                hint=f"fill it with {fetch}; or give --data PATH or --synthetic SEED",
            )
        return source.candles(symbol, timeframe)

    def funding(self, symbol: str) -> FundingHistory | None:
        """Funding kept in the store's folder `funding`, if any."""
        source = self._files()
        return source.funding(symbol) if source else None

    def mark(self, symbol: str) -> Candles | None:
        """Mark prices kept in the store's folder `mark`, if any."""
        source = self._files()
        return source.mark(symbol) if source else None

    def notes(self) -> list[str]:
        """What a person should be told about the data handed out since the last change."""
        return self._source.notes() if self._source else []

    def digest(self, symbol: str) -> str:
        """SHA-256 over everything of this symbol handed out since the last change."""
        source = self._files()
        return source.digest(symbol) if source else ""

    def coverage(self, symbol: str, timeframe: Timeframe) -> Coverage:
        """How much history there is, and how much is missing inside it."""
        held = self.held(symbol, timeframe)
        first, last = (int(held.ts[0]), int(held.ts[-1])) if len(held) else (None, None)
        return Coverage(symbol, timeframe, first, last, len(held), held.gaps, held.missing_bars)

    def held(self, symbol: str, timeframe: Timeframe) -> Candles:
        """What is stored of one symbol and timeframe; no rows when nothing is."""
        return self._read(self._path(symbol, timeframe), symbol, timeframe)

    def merge(self, candles: Candles, *, absent: tuple[Span, ...] = ()) -> Merged:
        """Add closed candles durably; a bar already held is replaced by the newer one.

        Errors: DataError when a candle breaks a rule; then nothing is written.
        """
        _refuse_broken(candles)
        path = self._path(candles.symbol, candles.timeframe)
        with self._locked(path):
            held = self._read(path, candles.symbol, candles.timeframe)
            known = _absent_spans(path)
            both, merged = _merged(held, candles)
            spans = _joined([*known, *absent])
            if len(both) and (merged.added or merged.replaced or spans != known):
                _replace_file(path, both, spans)
        self._source = None
        return merged

    async def complete(
        self,
        symbol: str,
        timeframe: Timeframe,
        since_ms: int,
        until_ms: int,
        fetch: Fetch,
        *,
        progress: Progress | None = None,
        page_bars: int = PAGE_BARS,
        retry_absent: bool = False,
    ) -> Completion:
        """Fetch the bars that are missing in [since, until) and keep them, a few pages at a time.

        What was fetched before a failure stays, so that the next call goes on from there.
        Errors: whatever `fetch` raises; DataError when it returns another symbol or timeframe.
        """
        step_ms = timeframe.ms
        span = (-(-since_ms // step_ms) * step_ms, until_ms // step_ms * step_ms)
        path = self._path(symbol, timeframe)
        held = await asyncio.to_thread(self._read, path, symbol, timeframe)
        known = [] if retry_absent else _absent_spans(path)
        holes = _without(_holes(held.ts, span, step_ms), known)
        work = _Work(self, fetch, held[:0], sum(b - a for a, b in holes) // step_ms, progress)
        first_ms = int(held.ts[0]) if len(held) else span[1]
        try:
            for hole in sorted(holes, reverse=True):
                await work.fill(hole, page_bars, is_leading=hole[1] <= first_ms)
        finally:
            # Not awaited in a thread: an interrupted download keeps what it has before it ends.
            work.save()
        return Completion(work.wanted, work.added, work.replaced, work.absent_bars)

    def forget(self, symbol: str, timeframe: Timeframe) -> None:
        """Drop what is held of one symbol and timeframe."""
        path = self._path(symbol, timeframe)
        with self._locked(path):
            path.unlink(missing_ok=True)
        self._source = None

    def _listed(self) -> list[tuple[str, Timeframe]]:
        return list(list_folder(self._folder).files) if self._folder.is_dir() else []

    def _files(self) -> FileSource | None:
        if self._source is None and self._listed():
            self._source = FileSource(self._folder)
        return self._source

    def _path(self, symbol: str, timeframe: Timeframe) -> Path:
        return self._folder / f"{symbol}_{timeframe}.parquet"

    def _read(self, path: Path, symbol: str, timeframe: Timeframe) -> Candles:
        if not path.exists():
            none = np.empty(0)
            return Candles(symbol, timeframe, np.empty(0, np.int64), none, none, none, none, none)
        try:
            return read_candles(path, symbol, timeframe)[0]
        except DataError as error:
            hint = (
                "move the file away and fetch again; the store never overwrites what it cannot read"
            )
            raise DataError(error.message, hint=hint, details=error.details) from error

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        from filelock import FileLock, Timeout

        locks = self._folder / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            with FileLock(locks / f"{path.name}.lock", timeout=self._lock_seconds_max):
                yield
        except Timeout as error:
            message = f"{path.name} is being written by another process"
            hint = "try again when it is done"
            raise DataError(message, hint=hint, is_retryable=True) from error
        except OSError as error:
            raise DataError(
                f"the candle store {self._folder} cannot be written: {error.strerror or error}",
                hint="check the folder, or set BLOFIN_CACHE",
            ) from error


class _Work:
    """Pages fetched and not yet saved, and the count of what has been done."""

    def __init__(
        self,
        store: CandleStore,
        fetch: Fetch,
        nothing: Candles,
        wanted: int,
        progress: Progress | None,
    ) -> None:
        self.wanted = wanted
        self.added = self.replaced = self.absent_bars = 0
        self._store, self._fetch, self._nothing = store, fetch, nothing
        self._progress = progress
        self._settled = self._unsaved = 0
        self._pages: list[Candles] = []
        self._absent: list[Span] = []

    async def fill(self, hole: Span, page_bars: int, *, is_leading: bool) -> None:
        """Fetch one hole page by page, the newest first; saves every few pages."""
        page_ms = page_bars * self._nothing.timeframe.ms
        end = hole[1]
        while end > hole[0]:
            start = max(hole[0], end - page_ms)
            is_empty = await self._fetch_page((start, end))
            if is_empty and is_leading and start > hole[0]:
                start = await self._next_older((hole[0], start))
            self._settled += (end - start) // self._nothing.timeframe.ms
            if self._progress:
                self._progress(self._settled, self.wanted)
            self._unsaved += 1
            if self._unsaved == PAGES_PER_SAVE:
                await asyncio.to_thread(self.save)
            end = start

    async def _next_older(self, rest: Span) -> int:
        """Where to go on after an empty page before all known bars; `rest[0]` at history's end."""
        found = await self._ask(None, rest[1])
        older = found.between(rest[0], rest[1])
        end = int(older.ts[-1]) + self._nothing.timeframe.ms if len(older) else rest[0]
        if end < rest[1]:
            self._absent.append((end, rest[1]))
        return end

    async def _fetch_page(self, page: Span) -> bool:
        """Fetch one span, and say whether it was empty; what an answer leaves out at its ends is
        asked for again.

        A server may cut a long answer short at either end. Only what a later, narrower question
        does not bring either counts as absent.
        """
        step_ms = self._nothing.timeframe.ms
        open_spans, empty = [page], []
        while open_spans:
            span = open_spans.pop()
            found = (await self._ask(*span)).between(*span)
            if len(found) == 0:
                empty.append(span)
                continue
            self._pages.append(found)
            first, last = int(found.ts[0]), int(found.ts[-1]) + step_ms
            inner = _holes(found.ts, (first, last), step_ms)
            empty += inner
            open_spans += [s for s in ((span[0], first), (last, span[1])) if s[0] < s[1]]
        self._absent += empty
        return empty == [page]

    def save(self) -> None:
        """Merge what has been fetched into the store."""
        fetched = _joined_candles(self._nothing, self._pages)
        last_ms = self._last_known_ms(fetched)
        # Later than the last bar seen, a bar may only be late, not absent.
        absent = tuple((a, min(b, last_ms)) for a, b in self._absent if a < last_ms)
        self._pages, self._unsaved = [], 0
        self._absent = [(max(a, last_ms), b) for a, b in self._absent if b > last_ms]
        if len(fetched) or absent:
            merged = self._store.merge(fetched, absent=absent)
            self.added += merged.added
            self.replaced += merged.replaced
            self.absent_bars += sum(b - a for a, b in absent) // self._nothing.timeframe.ms

    def _last_known_ms(self, fetched: Candles) -> int:
        held = self._store.coverage(self._nothing.symbol, self._nothing.timeframe).last_ms or 0
        return max(held, int(fetched.ts[-1]) if len(fetched) else 0)

    async def _ask(self, since_ms: int | None, until_ms: int) -> Candles:
        found = await self._fetch(since_ms, until_ms)
        expected = (self._nothing.symbol, self._nothing.timeframe)
        if (found.symbol, found.timeframe) != expected:
            raise DataError(
                f"asked for {expected[0]} {expected[1]}, got {found.symbol} {found.timeframe}"
            )
        _refuse_broken(found)
        return found


def _refuse_broken(candles: Candles) -> None:
    columns = {name: getattr(candles, name) for name in COLUMNS}
    label = f"{candles.symbol} {candles.timeframe} candles"
    table = Table(label, candles.ts, columns, np.arange(1, len(candles) + 1))
    clean(table, candles.timeframe, repair=False)


def _merged(held: Candles, newer: Candles) -> tuple[Candles, Merged]:
    """Both together, the newer winning, and what changed."""
    known = np.isin(newer.ts, held.ts, assume_unique=True)
    at = np.searchsorted(held.ts, newer.ts[known])
    changed = np.zeros(len(at), dtype=np.bool_)
    for name in COLUMNS:
        changed |= getattr(held, name)[at] != getattr(newer, name)[known]
    kept = np.ones(len(held), dtype=np.bool_)
    kept[at] = False
    both = _sorted_rows(held, newer, kept)
    return both, Merged(int((~known).sum()), int(changed.sum()))


def _sorted_rows(held: Candles, newer: Candles, kept: NDArray[np.bool_]) -> Candles:
    ts = np.concatenate([held.ts[kept], newer.ts])
    order = np.argsort(ts, kind="stable")
    columns = {
        name: np.concatenate([getattr(held, name)[kept], getattr(newer, name)])[order]
        for name in COLUMNS
    }
    return Candles(held.symbol, held.timeframe, ts[order], **columns, partial=None)


def _joined_candles(nothing: Candles, pages: list[Candles]) -> Candles:
    if not pages:
        return nothing
    ts = np.concatenate([page.ts for page in pages])
    order = np.argsort(ts, kind="stable")
    columns = {
        name: np.concatenate([getattr(page, name) for page in pages])[order] for name in COLUMNS
    }
    return Candles(nothing.symbol, nothing.timeframe, ts[order], **columns, partial=None)


def _holes(ts: NDArray[np.int64], span: Span, step_ms: int) -> list[Span]:
    """The spans of [span) in which no bar of `ts` opens."""
    inside = ts[np.searchsorted(ts, span[0]) : np.searchsorted(ts, span[1])]
    edges = np.r_[span[0] - step_ms, inside, span[1]]
    wide = np.flatnonzero(np.diff(edges) > step_ms)
    return [(int(edges[at]) + step_ms, int(edges[at + 1])) for at in wide]


def _without(spans: list[Span], known: list[Span]) -> list[Span]:
    for start, end in known:
        cut = [((a, min(b, start)), (max(a, end), b)) for a, b in spans]
        spans = [(a, b) for pair in cut for a, b in pair if a < b]
    return spans


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _absent_spans(path: Path) -> list[Span]:
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    metadata = pq.read_schema(path).metadata or {}
    return [(int(a), int(b)) for a, b in json.loads(metadata.get(_ABSENT, b"[]"))]


def _replace_file(path: Path, candles: Candles, absent: list[Span]) -> None:
    """Write beside, sync, replace, sync the folder: a crash leaves the old file or the new."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for stale in path.parent.glob(f".{path.name}.*.part"):
        stale.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    columns = {name: np.ascontiguousarray(getattr(candles, name)) for name in ("ts", *COLUMNS)}
    # `pa.array` would load pandas; the buffers are the same bytes.
    arrays = [
        pa.Array.from_buffers(
            pa.int64() if name == "ts" else pa.float64(),
            len(column),
            [None, pa.py_buffer(column.data)],
        )
        for name, column in columns.items()
    ]
    table = pa.Table.from_arrays(arrays, names=list(columns))
    table = table.replace_schema_metadata({_ABSENT: json.dumps(absent).encode()})
    try:
        with part.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
