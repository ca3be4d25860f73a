import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from blofin_cli.adapters.candles.files import FileSource
from blofin_cli.adapters.candles.store import CandleStore, Completion, Merged
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
STEP = Timeframe.M15.ms
BTC = "BTC-USDT"


@pytest.fixture(scope="module")
def market() -> Candles:
    return SyntheticMarket(5, bars=3_000).candles(BTC, Timeframe.M15)


def same(one: Candles, other: Candles) -> bool:
    names = ("ts", "open", "high", "low", "close", "volume")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def rows(candles: Candles, picked: np.ndarray, close: np.ndarray | None = None) -> Candles:
    return Candles(
        candles.symbol,
        candles.timeframe,
        candles.ts[picked],
        candles.open[picked],
        candles.high[picked],
        candles.low[picked],
        candles.close[picked] if close is None else close,
        candles.volume[picked],
    )


def served(candles: Candles, cut: slice = slice(None)):
    """An exchange that answers from these candles, each answer cut short."""

    async def fetch(since_ms: int | None, until_ms: int) -> Candles:
        return candles.between(since_ms, until_ms)[cut]

    return fetch


def test_merge_adds_and_newer_wins_and_reports(tmp_path: Path, market: Candles) -> None:
    """Overlapping bars are kept once, the newer values win, and both counts are told."""
    store = CandleStore(tmp_path)
    older = rows(market, np.arange(60), close=market.open[:60])
    changed = int((older.close[40:] != market.close[40:60]).sum())

    assert store.merge(older) == Merged(added=60, replaced=0)
    assert store.merge(market[40:100]) == Merged(added=40, replaced=changed)
    assert store.merge(market[40:100]) == Merged(added=0, replaced=0)
    held = store.candles(BTC, Timeframe.M15)
    assert np.array_equal(held.close, np.r_[market.open[:40], market.close[40:100]])


def test_store_is_readable_as_data(tmp_path: Path, market: Candles) -> None:
    """The store's folder is a candle folder like any other, with nothing ignored in it."""
    CandleStore(tmp_path).merge(market)
    source = FileSource(tmp_path)

    assert same(source.candles(BTC, Timeframe.M15), market)
    assert source.notes() == []


def test_coverage_counts_gaps(tmp_path: Path, market: Candles) -> None:
    """Coverage tells first, last, rows, holes and missing bars; of nothing, zeros."""
    store = CandleStore(tmp_path)
    empty = store.coverage(BTC, Timeframe.M15)
    store.merge(rows(market, np.r_[0:10, 13:20, 21:30]))
    coverage = store.coverage(BTC, Timeframe.M15)

    assert (empty.rows, empty.first_ms, empty.gaps) == (0, None, 0)
    assert (coverage.rows, coverage.gaps, coverage.missing_bars) == (26, 2, 4)
    assert (coverage.first_ms, coverage.last_ms) == (market.ts[0], market.ts[29])


def test_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    """Nothing stored is bad data with the command that helps, not an empty answer."""
    store = CandleStore(tmp_path / "none")
    assert store.symbols() == []
    assert store.funding(BTC) is None
    with pytest.raises(DataError) as caught:
        store.candles(BTC, Timeframe.M15)
    assert "--data" in caught.value.hint


def test_merge_of_broken_candles_writes_nothing(tmp_path: Path, market: Candles) -> None:
    """Candles that break a rule are refused whole."""
    store = CandleStore(tmp_path)
    broken = rows(market, np.arange(5), close=np.array([1.0, np.nan, 1, 1, 1]))
    with pytest.raises(DataError):
        store.merge(broken)
    assert list(tmp_path.iterdir()) == []


async def test_broken_store_file_is_never_taken_for_empty(tmp_path: Path, market: Candles) -> None:
    """A file that cannot be read stops every change, and stays as it is."""
    path = tmp_path / "BTC-USDT_15m.parquet"
    path.write_bytes(b"not parquet")
    store = CandleStore(tmp_path)
    with pytest.raises(DataError):
        store.merge(market)
    with pytest.raises(DataError):
        await store.complete(BTC, Timeframe.M15, 0, STEP, served(market))
    assert path.read_bytes() == b"not parquet"


async def test_complete_fetches_only_what_is_missing(tmp_path: Path, market: Candles) -> None:
    """What is held is not asked for again; a second call asks nothing."""
    store = CandleStore(tmp_path)
    store.merge(market[1_000:2_000])
    asked: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []

    async def fetch(since_ms: int | None, until_ms: int) -> Candles:
        asked.append((since_ms, until_ms))
        return market.between(since_ms, until_ms)

    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    done = await store.complete(
        BTC, Timeframe.M15, first, end, fetch, progress=lambda *at: told.append(at), page_bars=300
    )
    again = await store.complete(BTC, Timeframe.M15, first, end, fetch)

    assert done == Completion(wanted=2_000, added=2_000, replaced=0, absent=0)
    assert again.wanted == 0
    held = range(first + 1_000 * STEP, first + 2_000 * STEP)
    assert not any(since in held for since, _ in asked)
    assert told[-1] == (2_000, 2_000)
    assert same(store.candles(BTC, Timeframe.M15), market)


async def test_complete_keeps_what_came_before_a_failure(tmp_path: Path, market: Candles) -> None:
    """A broken download is gone on with, from where it broke."""
    store = CandleStore(tmp_path)
    pages = 0

    async def failing(since_ms: int | None, until_ms: int) -> Candles:
        nonlocal pages
        pages += 1
        if pages == 4:
            raise TimeoutError
        return market.between(since_ms, until_ms)

    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    with pytest.raises(TimeoutError):
        await store.complete(BTC, Timeframe.M15, first, end, failing, page_bars=500)
    assert store.coverage(BTC, Timeframe.M15).rows == 1_500
    rest = await store.complete(BTC, Timeframe.M15, first, end, served(market), page_bars=500)
    assert rest.wanted == rest.added == 1_500


async def test_complete_survives_short_answers(tmp_path: Path, market: Candles) -> None:
    """An answer cut short at either end is asked for again, so nothing is taken for absent."""
    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    cuts = {"newest": slice(-100, None), "oldest": slice(0, 100)}
    for name, cut in cuts.items():
        fetch = served(market, cut)
        store = CandleStore(tmp_path / name)
        done = await store.complete(BTC, Timeframe.M15, first, end, fetch, page_bars=1_000)
        assert done.absent == 0
        assert same(store.candles(BTC, Timeframe.M15), market)


async def test_absent_bars_are_asked_for_once(tmp_path: Path, market: Candles) -> None:
    """Holes of the source are remembered over restarts, but the newest end never is."""
    holed = rows(market, np.r_[0:50, 60:2_000, 2_900:2_950])
    first, end = int(market.ts[0]) - 40 * STEP, int(market.ts[-1]) + STEP
    done = await CandleStore(tmp_path).complete(
        BTC, Timeframe.M15, first, end, served(holed), page_bars=100
    )
    again = await CandleStore(tmp_path).complete(BTC, Timeframe.M15, first, end, served(holed))
    retried = await CandleStore(tmp_path).complete(
        BTC, Timeframe.M15, first, end, served(market), retry_absent=True
    )

    assert done.absent == 40 + 10 + 900
    assert again.wanted == 50
    assert retried.added == 10 + 900 + 50


async def test_complete_goes_backward_and_stops_where_history_begins(
    tmp_path: Path, market: Candles
) -> None:
    """Newest first; two empty answers end the search, and nobody asks for that time again."""
    asked: list[tuple[int | None, int]] = []

    async def fetch(since_ms: int | None, until_ms: int) -> Candles:
        asked.append((since_ms, until_ms))
        return market.between(since_ms, until_ms)[-1_000:]

    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    since = first - 100_000 * STEP
    store = CandleStore(tmp_path)
    done = await store.complete(BTC, Timeframe.M15, since, end, fetch, page_bars=1_000)
    count = len(asked)
    again = await store.complete(BTC, Timeframe.M15, since, end, fetch, page_bars=1_000)

    assert (done.wanted, done.added, done.absent) == (103_000, 3_000, 100_000)
    assert [until for _, until in asked[:3]] == [end, end - 1_000 * STEP, end - 2_000 * STEP]
    assert count == 5
    assert (again.wanted, len(asked)) == (0, count)
    assert same(store.held(BTC, Timeframe.M15), market)


async def test_complete_crosses_a_long_outage_in_one_question(
    tmp_path: Path, market: Candles
) -> None:
    """A page without candles is not the end of history when older ones are there."""
    holed = rows(market, np.r_[0:500, 2_500:3_000])
    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    store = CandleStore(tmp_path)
    done = await store.complete(BTC, Timeframe.M15, first, end, served(holed), page_bars=100)

    assert (done.added, done.absent) == (1_000, 2_000)
    assert same(store.held(BTC, Timeframe.M15), holed)


async def test_interrupted_completion_keeps_what_it_has(tmp_path: Path, market: Candles) -> None:
    """Ctrl-C in a download loses nothing that had arrived."""
    store, pages, stuck = CandleStore(tmp_path), 0, asyncio.Event()

    async def fetch(since_ms: int | None, until_ms: int) -> Candles:
        nonlocal pages
        pages += 1
        if pages == 3:
            stuck.set()
            await asyncio.Event().wait()
        return market.between(since_ms, until_ms)

    first, end = int(market.ts[0]), int(market.ts[-1]) + STEP
    task = asyncio.create_task(store.complete(BTC, Timeframe.M15, first, end, fetch, page_bars=500))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert same(store.held(BTC, Timeframe.M15), market[-1_000:])


async def test_fetch_of_another_symbol_is_refused(tmp_path: Path, market: Candles) -> None:
    """An answer that is not what was asked for never reaches the store."""
    other = SyntheticMarket(5, bars=100).candles("ETH-USDT", Timeframe.M15)
    first = int(market.ts[0])
    with pytest.raises(DataError, match="asked for BTC-USDT"):
        await CandleStore(tmp_path).complete(
            BTC, Timeframe.M15, first, first + 50 * STEP, served(other)
        )


@pytest.mark.process
def test_two_processes_writing_at_once_lose_nothing(tmp_path: Path, market: Candles) -> None:
    """Writers that interleave bars of one file end with all of them, and no leftovers."""
    program = (
        "import sys; from pathlib import Path\n"
        "from blofin_cli.adapters.candles.store import CandleStore\n"
        "from blofin_cli.adapters.candles.synthetic import SyntheticMarket\n"
        "from blofin_cli.core.market import Timeframe\n"
        "c = SyntheticMarket(5, bars=3000).candles('BTC-USDT', Timeframe.M15)\n"
        "store, mine = CandleStore(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for at in range(mine, 30, 2):\n"
        "    store.merge(c[at * 100 : at * 100 + 100])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)], cwd=ROOT)
        for number in (0, 1)
    ]
    codes = [writer.wait(timeout=50) for writer in writers]

    assert codes == [0, 0]
    assert same(CandleStore(tmp_path).candles(BTC, Timeframe.M15), market)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", "BTC-USDT_15m.parquet"]


@pytest.mark.process
def test_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path, market: Candles) -> None:
    """A killed writer leaves the old file or the new one, and the next writer cleans up."""
    program = (
        "import sys; from pathlib import Path\n"
        "from blofin_cli.adapters.candles.store import CandleStore\n"
        "from blofin_cli.adapters.candles.synthetic import SyntheticMarket\n"
        "from blofin_cli.core.market import Timeframe\n"
        "c = SyntheticMarket(5, bars=3000).candles('BTC-USDT', Timeframe.M15)\n"
        "store = CandleStore(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for at in range(3000):\n"
        "    store.merge(c[at : at + 1])\n"
    )
    for wait_ms in (5, 23, 61):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(timeout=wait_ms / 1_000)
            writer.kill()
        rows_held = CandleStore(tmp_path).coverage(BTC, Timeframe.M15).rows
        assert (
            rows_held == 0
            or pq.read_metadata(tmp_path / "BTC-USDT_15m.parquet").num_rows == rows_held
        )
    CandleStore(tmp_path).merge(market)
    assert not list(tmp_path.glob(".*.part"))
    assert same(CandleStore(tmp_path).candles(BTC, Timeframe.M15), market)


def test_another_writer_that_never_ends_is_reported(tmp_path: Path, market: Candles) -> None:
    """A lock held too long ends in an error that says so, not in waiting for ever."""
    from filelock import FileLock

    (tmp_path / ".locks").mkdir()
    with (
        FileLock(tmp_path / ".locks" / "BTC-USDT_15m.parquet.lock"),
        pytest.raises(DataError, match="another process") as caught,
    ):
        CandleStore(tmp_path, lock_seconds_max=0.05).merge(market)
    assert caught.value.envelope()["error"]["retryable"]


def test_folder_that_cannot_be_written_is_named_with_the_remedy(
    tmp_path: Path, market: Candles
) -> None:
    """A file where the folder should be is bad data of this machine, not a defect."""
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="cannot be written") as caught:
        CandleStore(tmp_path / "cache" / "candles").merge(market)
    assert "BLOFIN_CACHE" in caught.value.hint
