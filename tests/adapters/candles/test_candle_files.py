import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blofin_cli.adapters.candles import open_source, tables
from blofin_cli.adapters.candles.files import FileSource, read_candles
from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError, UsageError

START = 1_704_067_200_000
STEP = Timeframe.M15.ms
ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")

HEADER = "ts,open,high,low,close,volume\n"


def bars(count: int = 6) -> dict[str, list[Any]]:
    return {
        "ts": [START + at * STEP for at in range(count)],
        "open": [10.0 + at for at in range(count)],
        "high": [12.0 + at for at in range(count)],
        "low": [9.0 + at for at in range(count)],
        "close": [11.0 + at for at in range(count)],
        "volume": [5.0] * count,
    }


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*columns.values(), strict=True)
        lines = [",".join(str(cell) for cell in row) for row in rows]
        path.write_text(",".join(columns) + "\n" + "\n".join(lines) + "\n")
    return path


def with_cell(column: str, row: int, value: object) -> dict[str, list[Any]]:
    columns = bars()
    columns[column][row - 1] = value
    return columns


def refusal(path: Path, **options: bool) -> DataError:
    before = sorted(path.parent.iterdir())
    with pytest.raises(DataError) as caught:
        read_candles(path, "BTC-USDT", Timeframe.M15, **options)
    assert int(caught.value.exit) == 8
    assert sorted(path.parent.iterdir()) == before
    json.dumps(caught.value.envelope(), allow_nan=False)
    return caught.value


BROKEN_CELLS = [
    ("ts", 3, START + STEP, "duplicate"),
    ("ts", 3, START, "disorder"),
    ("ts", 3, START + 2 * STEP + 1, "off_grid"),
    ("open", 3, float("nan"), "finite"),
    ("volume", 2, float("inf"), "finite"),
    ("high", 4, 9.5, "high"),
    ("high", 4, 13.5, "high"),
    ("low", 2, 11.5, "low"),
    ("low", 1, 0.0, "positive"),
    ("low", 6, -1.0, "positive"),
    ("volume", 5, -0.1, "negative"),
]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("broken", BROKEN_CELLS, ids=lambda broken: f"{broken[3]}-{broken[0]}")
def test_file_with_a_broken_cell_is_refused_by_file_row_and_column(
    tmp_path: Path, suffix: str, broken: tuple[str, int, float, str]
) -> None:
    """The first broken cell is named by file, row from 1 without the header, column and rule."""
    column, row, value, rule = broken
    path = write(tmp_path / f"BTCUSDT_15m{suffix}", with_cell(column, row, value))

    error = refusal(path)

    found = {key: error.details[key] for key in ("file", "row", "column", "rule")}
    assert found == {"file": path.name, "row": row, "column": column, "rule": rule}
    assert error.message.startswith(f"{path.name}: row {row}, column {column}: ")


@pytest.mark.parametrize(
    ("lines", "row", "column", "rule"),
    [
        ("1704067200000,1,2,1,1,abc\n", 1, "volume", "number"),
        ("1704067200000,1,2,1,1,\n", 1, "volume", "number"),
        ("1704067200000,1,2,1,True,1\n", 1, "close", "number"),
        ("1704067200000.0,1,2,1,1,1\n", 1, "ts", "integer"),
        ("99999999999999999999,1,2,1,1,1\n", 1, "ts", "integer"),
        ("2024-01-01,1,2,1,1,1\n", 1, "ts", "integer"),
        ("1704067200000,1,2,1,1,1\n\n1704068100000,1,2,1,1,x\n", 3, "volume", "number"),
        ("1704067200000,1,2,1,1,1,7\n", 1, None, "fields"),
        ("1704067200000,1,2\n", 1, None, "fields"),
    ],
)
def test_csv_with_a_cell_that_is_no_number_is_refused_at_its_line(
    tmp_path: Path, lines: str, row: int, column: str | None, rule: str
) -> None:
    """Text among numbers is named by its line below the header; blank lines count as lines."""
    path = tmp_path / "BTCUSDT_15m.csv"
    path.write_text(HEADER + lines)

    details = refusal(path).details

    assert (details["row"], details["column"], details["rule"]) == (row, column, rule)


@pytest.mark.parametrize(("unit", "factor"), [("seconds", 1e-3), ("microseconds", 1e3)])
def test_times_in_another_unit_are_refused_by_name(
    tmp_path: Path, unit: str, factor: float
) -> None:
    """Times in seconds or microseconds are recognised, however the file is opened."""
    columns = bars()
    columns["ts"] = [int(ts * factor) for ts in columns["ts"]]
    path = write(tmp_path / "BTCUSDT_15m.parquet", columns)

    assert unit in refusal(path).message
    with pytest.raises(DataError, match=unit):
        FileSource(path).timeframes("BTC-USDT")
    assert unit in refusal(path, repair=True).message


def test_parquet_of_the_wrong_types_is_refused(tmp_path: Path) -> None:
    """Text in a price column and floats in ts are refused as types, not converted."""
    texts = bars() | {"close": ["11"] * 6}
    floats = bars() | {"ts": [float(ts) for ts in bars()["ts"]]}

    text = refusal(write(tmp_path / "a.parquet", texts)).details
    number = refusal(write(tmp_path / "b.parquet", floats)).details

    assert (text["rule"], text["row"], text["column"]) == ("type", 1, "close")
    assert (number["rule"], number["row"], number["column"]) == ("type", 1, "ts")


def test_parquet_with_nulls_is_refused_at_the_null(tmp_path: Path) -> None:
    """A missing value is a defect like any other, in ts too."""
    price = refusal(write(tmp_path / "a.parquet", with_cell("close", 2, None))).details
    time = refusal(write(tmp_path / "b.parquet", with_cell("ts", 5, None))).details

    assert (price["row"], price["column"], price["rule"]) == (2, "close", "finite")
    assert (time["row"], time["column"], time["rule"]) == (5, "ts", "integer")


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_file_that_lacks_a_column_is_refused(tmp_path: Path, suffix: str) -> None:
    """A missing column is named, with those that were found."""
    columns = bars()
    del columns["low"]
    error = refusal(write(tmp_path / f"BTCUSDT_15m{suffix}", columns))

    assert (error.details["column"], error.details["rule"]) == ("low", "missing_column")
    assert "volume" in error.message


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    """Empty files, header alone, noise, folders, pipes and other suffixes end in bad data."""
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "noise.parquet").write_bytes(b"PAR1" + os.urandom(500) + b"PAR1")
    (tmp_path / "header.csv").write_text(HEADER)
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"\xff\xfe,1,1,1,1,1\n")
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "text.txt").write_text(HEADER)
    os.mkfifo(tmp_path / "pipe.csv")
    write(tmp_path / "norows.parquet", {name: [] for name in bars()})

    for path in sorted(tmp_path.iterdir()):
        assert refusal(path).details["file"] == path.name


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    """A file cut short or with flipped bytes in its pages is refused, not half read."""
    path = write(tmp_path / "BTCUSDT_15m.parquet", bars(5_000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    assert refusal(path).details["rule"] == "parquet"


def test_file_of_unbearable_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A file above the limit is refused by its size alone."""
    path = tmp_path / "BTCUSDT_15m.csv"
    with path.open("wb") as file:
        file.truncate(tables.FILE_BYTES_MAX + 1)

    assert refusal(path).details["rule"] == "size"


def test_missing_path_is_a_wrong_argument(tmp_path: Path) -> None:
    """A path that does not exist is the caller's slip: exit 2."""
    with pytest.raises(UsageError):
        open_source(data=tmp_path / "nowhere")


def test_further_defects_are_counted(tmp_path: Path) -> None:
    """The message names the first defect and counts the other broken rows."""
    columns = with_cell("low", 2, -1.0)
    columns["volume"][4] = -1.0
    columns["close"][5] = float("nan")
    error = refusal(write(tmp_path / "BTCUSDT_15m.parquet", columns))

    assert (error.details["row"], error.details["more"]) == (2, 2)
    assert "2 more rows" in error.message


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_repair_drops_and_sorts_and_reports(tmp_path: Path, suffix: str) -> None:
    """Repair leaves valid, ascending, unique rows, says what it did, and leaves the file alone."""
    columns = bars(8)
    columns["ts"] = [columns["ts"][at] for at in (0, 1, 1, 3, 2, 5, 6, 6)]
    for name in ("open", "high", "low", "close"):
        columns[name][2] = columns[name][1]
    columns["low"][5] = -1.0
    path = write(tmp_path / f"BTCUSDT_15m{suffix}", columns)
    before = path.read_bytes()

    candles, notes = read_candles(path, "BTC-USDT", Timeframe.M15, repair=True)

    assert [(ts - START) // STEP for ts in candles.ts] == [0, 1, 2, 3, 6]
    assert candles.close[-1] == columns["close"][7]
    assert candles.valid.all()
    assert len([note for note in notes if "repaired: 1 " in note]) == 3
    assert "2 rows moved into order" in " ".join(notes)
    assert path.read_bytes() == before


def test_repair_of_text_drops_the_row(tmp_path: Path) -> None:
    """A row with an unreadable cell is dropped by repair and counted."""
    path = tmp_path / "BTCUSDT_15m.csv"
    path.write_text(HEADER + f"{START},1,2,1,1,1\n{START + STEP},1,2,1,x,1\nzz,1,2,1,1,1\n")

    candles, notes = read_candles(path, "BTC-USDT", Timeframe.M15, repair=True)

    assert len(candles) == 1
    assert notes == ["BTCUSDT_15m.csv: repaired: 2 rows with unreadable cells dropped"]


def test_repair_of_nothing_usable_is_refused(tmp_path: Path) -> None:
    """Repair does not turn a broken file into an empty one."""
    columns = bars() | {"low": [-1.0] * 6}
    assert refusal(write(tmp_path / "a.parquet", columns), repair=True).details["rule"] == "empty"


def test_csv_and_parquet_read_the_same_bits(tmp_path: Path) -> None:
    """A number reads to the same bits from either format; extra columns and order do not matter."""
    columns = bars()
    columns["close"] = [10.1, 11.000000000000002, 12.3, 13.7, 14.9, 15.1]
    shuffled: dict[str, list[Any]] = {"note": ["x"] * 6} | dict(reversed(columns.items()))
    one, _ = read_candles(write(tmp_path / "a.parquet", columns), "BTC-USDT")
    other, _ = read_candles(write(tmp_path / "a.csv", shuffled), "BTC-USDT")

    assert one.close.tobytes() == other.close.tobytes()
    assert one.ts.tobytes() == other.ts.tobytes()


def test_single_file_has_the_timeframe_of_its_spacing(tmp_path: Path) -> None:
    """The spacing decides, gaps do not disturb it, and a name that disagrees is noted."""
    columns = {name: column[:2] + column[4:] for name, column in bars(9).items()}
    source = FileSource(write(tmp_path / "BTCUSDT_5m.csv", columns))

    assert source.timeframes("BTC-USDT") == [Timeframe.M15]
    candles = source.candles("BTC-USDT", Timeframe.M15)
    assert (candles.gaps, candles.missing_bars) == (1, 2)
    assert any("1 gaps, 2 bars missing" in note for note in source.notes())
    assert any("read as 15m" in note for note in source.notes())


@pytest.mark.parametrize("step_ms", [7 * 60_000, 1_000])
def test_single_file_of_no_known_timeframe_is_refused(tmp_path: Path, step_ms: int) -> None:
    """A spacing that is no timeframe is bad data."""
    columns = bars()
    columns["ts"] = [START + at * step_ms for at in range(6)]
    with pytest.raises(DataError, match="ts"):
        FileSource(write(tmp_path / "bars.parquet", columns)).timeframes("BTC-USDT")


def test_single_row_takes_the_timeframe_of_its_name(tmp_path: Path) -> None:
    """One row has no spacing; then the name decides, and without a name the file is refused."""
    named = FileSource(write(tmp_path / "BTCUSDT_15m.parquet", bars(1)))
    nameless = FileSource(write(tmp_path / "bars.parquet", bars(1)))

    assert named.timeframes("BTC-USDT") == [Timeframe.M15]
    with pytest.raises(DataError, match="too few rows"):
        nameless.timeframes("BTC-USDT")


def test_single_file_must_match_the_symbol_it_names(tmp_path: Path) -> None:
    """A file named for one symbol is not another's; a file that names none is anyone's."""
    for name in ("ETHUSDT_15m.csv", "ETH-USDT_5m_2019.csv", "ETH_USDT_USDT-15m-futures.csv"):
        source = FileSource(write(tmp_path / name, bars()))
        assert source.symbols() == ["ETH-USDT"]
        with pytest.raises(UsageError, match="ETH-USDT"):
            source.candles("BTC-USDT", Timeframe.M15)
    nameless = FileSource(write(tmp_path / "prices.csv", bars()))
    assert nameless.symbols() == []
    assert len(nameless.candles("BTC-USDT", Timeframe.M15)) == 6


def test_single_file_of_another_timeframe_says_what_it_has(tmp_path: Path) -> None:
    """Asking a file for a timeframe it does not hold is bad data, with the way out."""
    source = FileSource(write(tmp_path / "BTCUSDT_15m.csv", bars()))
    with pytest.raises(DataError, match="holds 15m bars, not 1h"):
        source.candles("BTC-USDT", Timeframe.H1)


def test_folder_lists_what_its_names_say(tmp_path: Path) -> None:
    """Both spellings of a name count; what does not parse is noted; hidden names are not."""
    write(tmp_path / "BTCUSDT_15m.parquet", bars())
    write(tmp_path / "BTC-USDT_15m.csv", bars())
    write(tmp_path / "ETH-USDT_15m.csv", bars())
    (tmp_path / "BTCUSDT_5m_2019.parquet").touch()
    (tmp_path / "BTCUSD_1h.parquet").touch()
    (tmp_path / ".hidden").touch()
    source = FileSource(tmp_path)

    assert source.symbols() == ["BTC-USDT", "ETH-USDT"]
    assert source.timeframes("BTC-USDT") == [Timeframe.M15]
    (note,) = source.notes()
    assert "BTCUSDT_5m_2019.parquet" in note
    assert "BTCUSD_1h.parquet" in note
    assert ".hidden" not in note
    with pytest.raises(DataError) as caught:
        source.candles("ETH-USDT", Timeframe.H1)
    assert "ETH-USDT has 15m" in caught.value.hint


def test_folder_file_off_the_grid_of_its_name_is_refused(tmp_path: Path) -> None:
    """In a folder the name decides, so 15m bars in a 1h file are off its grid."""
    write(tmp_path / "BTCUSDT_1h.parquet", bars())
    with pytest.raises(DataError) as caught:
        FileSource(tmp_path).candles("BTC-USDT", Timeframe.H1)
    assert (caught.value.details["row"], caught.value.details["rule"]) == (2, "off_grid")


def test_folder_without_candles_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """A folder of folders says which folders it holds."""
    (tmp_path / "binance_perp").mkdir()
    with pytest.raises(DataError) as caught:
        FileSource(tmp_path)
    assert "binance_perp" in caught.value.hint


@pytest.mark.parametrize("venue", ["", "venue"])
@pytest.mark.parametrize("levels", [0, 1, 2])
def test_funding_and_mark_are_found_nearby(tmp_path: Path, venue: str, levels: int) -> None:
    """`funding/` and `mark/` are found in, beside and above the data folder, and reported."""
    data = tmp_path / "root" / "candles" / "venue"
    near = [data, data.parent, data.parent.parent][levels]
    for kind in ("funding", "mark"):
        (near / kind / venue).mkdir(parents=True)
    data.mkdir(parents=True, exist_ok=True)
    write(data / "BTCUSDT_15m.parquet", bars())
    rates: dict[str, list[Any]] = {
        "ts": [START, START + 8 * 3_600_000],
        "funding_rate": [0.0001, -0.0002],
    }
    write(near / "funding" / venue / "BTCUSDT_funding.parquet", rates)
    mark = {name: column for name, column in bars().items() if name != "volume"}
    write(near / "mark" / venue / "BTC-USDT_mark_15m.csv", mark)
    source = FileSource(data / "BTCUSDT_15m.parquet")

    funding, prices = source.funding("BTC-USDT"), source.mark("BTC-USDT")

    assert funding is not None
    assert funding.rate.tolist() == [0.0001, -0.0002]
    assert prices is not None
    assert prices.timeframe == Timeframe.M15
    assert prices.volume.tolist() == [0.0] * 6
    assert source.funding("ETH-USDT") is None
    assert "ETH-USDT funding: none found" in source.notes()
    assert any("BTCUSDT_funding.parquet, 2 rates" in note for note in source.notes())


def test_explicit_funding_wins_and_is_validated(tmp_path: Path) -> None:
    """`--funding FILE` is used instead of a folder nearby, and refused by row when broken."""
    (tmp_path / "funding").mkdir()
    data = write(tmp_path / "BTCUSDT_15m.parquet", bars())
    write(tmp_path / "funding" / "BTCUSDT_funding.csv", {"ts": [START], "funding_rate": [0.5]})
    good = write(tmp_path / "rates.csv", {"ts": [START], "funding_rate": [0.25]})
    bad = write(tmp_path / "bad.csv", {"ts": [START, START], "funding_rate": [0.1, 2.0]})

    funding = FileSource(data, funding_path=good).funding("BTC-USDT")
    assert funding is not None
    assert funding.rate.tolist() == [0.25]
    with pytest.raises(DataError) as caught:
        FileSource(data, funding_path=bad).funding("BTC-USDT")
    assert (caught.value.details["row"], caught.value.details["rule"]) == (2, "duplicate")


def test_digest_follows_values_and_not_formats(tmp_path: Path) -> None:
    """The digest is of what was handed out: equal for equal numbers, whatever file held them."""
    digests = set()
    for name in ("BTCUSDT_15m.parquet", "BTC-USDT_15m.csv", "prices.csv"):
        source = FileSource(write(tmp_path / name, bars()))
        source.candles("BTC-USDT", Timeframe.M15)
        digests.add(source.digest("BTC-USDT"))
    other = FileSource(write(tmp_path / "other.csv", with_cell("close", 3, 13.0000001)))
    other.candles("BTC-USDT", Timeframe.M15)

    assert len(digests) == 1
    assert other.digest("BTC-USDT") not in digests


def test_open_source_refuses_contradictions(tmp_path: Path) -> None:
    """Two sources, none, or file options without a file are wrong usage."""
    data = write(tmp_path / "a.csv", bars())
    for options in ({"data": data, "synthetic": 1}, {}, {"synthetic": 1, "repair": True}):
        with pytest.raises(UsageError):
            open_source(**options)


@pytest.mark.process
def test_reading_and_storing_parquet_loads_no_pandas(tmp_path: Path) -> None:
    """The common path never pays for loading pandas."""
    write(tmp_path / "BTCUSDT_15m.parquet", bars())
    write(tmp_path / "ETHUSDT_15m.csv", bars())
    program = (
        "import sys; from pathlib import Path\n"
        "from blofin_cli.adapters.candles import open_source\n"
        "from blofin_cli.adapters.candles.store import CandleStore\n"
        "s = open_source(data=Path(sys.argv[1]))\n"
        "from blofin_cli.core.market import Timeframe\n"
        "c = [s.candles(y, Timeframe.M15) for y in s.symbols()]\n"
        "CandleStore(Path(sys.argv[1]) / 'store').merge(c[0])\n"
        "raise SystemExit('pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, cwd=ROOT)
    assert done.returncode == 0


@needs_data
@pytest.mark.parametrize(
    ("file", "rows", "gaps", "missing"),
    [
        ("binance_spot/BTCUSDT_15m_2020", 27_277, 9, 8_021),
        ("binance_spot/BTCUSDT_5m_2021", 65_740, 6, 177),
        ("binance_spot/SOLUSDT_5m_2021", 65_743, 6, 177),
        ("binance_spot/ETHUSDT_1h", 17_430, 12, 90),
        ("ftx_spot/BTCUSD_15m_2021", 35_120, 1, 1),
        ("bitfinex_spot/BTCUSD_15m_2017_2019", 105_039, 29, 81),
        ("bitfinex_spot/BTCUSD_1m_2018_2019", 1_033_226, 13_947, 17_974),
        ("binance_perp/BTCUSDT_15m", 105_216, 0, 0),
    ],
)
def test_real_files_have_the_gaps_their_list_says(
    file: str, rows: int, gaps: int, missing: int
) -> None:
    """Gaps are counted as the data's own list counts them, and nothing is filled."""
    source = FileSource(DATA / f"candles/{file}.parquet")
    symbol = (source.symbols() or ["BTC-USDT"])[0]
    candles: Candles = source.candles(symbol, source.timeframes(symbol)[0])

    assert (len(candles), candles.gaps, candles.missing_bars) == (rows, gaps, missing)
    assert np.all(candles.valid)


@needs_data
def test_real_folder_finds_its_funding_and_mark() -> None:
    """The bundled folder's funding and mark prices are found two levels up, under the venue."""
    source = FileSource(DATA / "candles/binance_perp")
    funding, mark = source.funding("BTC-USDT"), source.mark("SOL-USDT")

    assert funding is not None
    assert len(funding) == 5_819
    assert mark is not None
    assert (mark.timeframe, len(mark)) == (Timeframe.H8, 3_288)
    assert "ignored: BTCUSDT_5m_2019.parquet" in source.notes()
    assert source.mark("ADA-USDT") is None
