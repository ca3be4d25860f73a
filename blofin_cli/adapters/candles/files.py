"""Candles, funding and mark prices from a file or a folder that the user names.

A folder holds `SYMBOL_TIMEFRAME.parquet` or `.csv`; other names are listed and ignored. A single
file may have any name: its timeframe is read from its spacing, and its symbol from the start of
its name where one stands there. Funding and mark prices lie in `funding/` and `mark/`, in or
beside the data folder or beside its parent, with or without a folder of the venue's name:
`SYMBOL_funding.parquet`, `SYMBOL_mark_TIMEFRAME.parquet`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from blofin_cli.adapters.candles.rules import clean, spacing_ms
from blofin_cli.adapters.candles.served import Served, gap_notes
from blofin_cli.adapters.candles.tables import SUFFIXES, Table, read_table, refuse
from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.market import Timeframe, normalise_symbol
from blofin_cli.errors import DataError, UsageError

FOLDER_FILES_MAX = 10_000
IGNORED_SHOWN_MAX = 8

_PRICES = COLUMNS[:4]
_LEADING_SYMBOL = re.compile(r"([A-Z0-9]{1,20}?)[-_]?USDT(?![A-Z0-9])", re.IGNORECASE)


def read_candles(
    path: Path, symbol: str, timeframe: Timeframe | None = None, *, repair: bool = False
) -> tuple[Candles, list[str]]:
    """The candles of one file, and what was repaired.

    Without a `timeframe` it is read from the spacing of the rows.
    Errors: DataError naming file, row and column of the first defect; UsageError for no file.
    """
    table = read_table(path, COLUMNS)
    return _judged(table, symbol, timeframe, repair=repair)


def read_mark(path: Path, symbol: str, *, repair: bool = False) -> tuple[Candles, list[str]]:
    """The mark price bars of one file, with volume 0; otherwise as `read_candles`."""
    table = read_table(path, _PRICES)
    name = _mark_name(path)
    return _judged(table, symbol, name[1] if name else None, repair=repair)


def read_funding(
    path: Path, symbol: str, *, repair: bool = False
) -> tuple[FundingHistory, list[str]]:
    """The funding history of one file with columns `ts` and `funding_rate`."""
    table, notes = clean(read_table(path, ("funding_rate",)), None, repair=repair)
    return FundingHistory(symbol, table.ts, table.columns["funding_rate"]), notes


@dataclass(frozen=True, slots=True)
class Listing:
    """Candle files of a folder by symbol and timeframe, and the names that tell neither."""

    files: dict[tuple[str, Timeframe], Path]
    ignored: list[str]


def list_folder(folder: Path) -> Listing:
    """Sort a folder's files by what their names say; hidden names and folders are passed over."""
    files: dict[tuple[str, Timeframe], Path] = {}
    ignored: list[str] = []
    for path in _entries(folder):
        key = _candle_name(path)
        if key is None:
            if not path.is_dir():
                ignored.append(path.name)
        elif key in files:
            ignored.append(f"{path.name} (beside {files[key].name})")
        else:
            files[key] = path
    return Listing(files, ignored)


@dataclass
class FileSource:
    """Candle source over one file or one folder; see the port for its methods.

    Errors: on opening, UsageError when the path does not exist and DataError when a folder holds
    no candle file.
    """

    path: Path
    funding_path: Path | None = None
    mark_path: Path | None = None
    repair: bool = False
    _served: Served = field(default_factory=Served, repr=False)
    _single: Candles | None = field(default=None, repr=False)
    _files: dict[tuple[str, Timeframe], Path] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for path in (self.path, self.funding_path, self.mark_path):
            if path is not None and not path.exists():
                raise UsageError(f"no such file or folder: {path}", hint="check the path")
        if self.path.is_dir():
            self._open_folder()

    @property
    def name(self) -> str:
        """How a result names this source."""
        return f"{'folder' if self.path.is_dir() else 'file'} {self.path.resolve().name}"

    def symbols(self) -> list[str]:
        """Symbols known to be here; empty for a single file whose name tells none."""
        if self._files:
            return sorted({symbol for symbol, _ in self._files})
        named = _leading_symbol(self.path)
        return [named] if named else []

    def timeframes(self, symbol: str) -> list[Timeframe]:
        """Bar sizes that have a file, finest first."""
        if not self._files:
            return [self._single_file(symbol).timeframe]
        found = [timeframe for owner, timeframe in self._files if owner == symbol]
        return sorted(found, key=lambda timeframe: timeframe.ms)

    def candles(self, symbol: str, timeframe: Timeframe) -> Candles:
        """The closed candles of one file, read once."""
        if (symbol, timeframe) not in self._served:
            candles = self._read(symbol, timeframe)
            self._served.note(*gap_notes(candles, f"{symbol} {timeframe}"))
            self._served.keep(symbol, timeframe, candles)
        kept = self._served.get(symbol, timeframe)
        assert isinstance(kept, Candles)
        return kept

    def funding(self, symbol: str) -> FundingHistory | None:
        """Funding from `funding_path`, else from a `funding/` folder nearby."""
        if (symbol, "funding") not in self._served:
            self._served.keep(symbol, "funding", self._find_funding(symbol))
        kept = self._served.get(symbol, "funding")
        return kept if isinstance(kept, FundingHistory) else None

    def mark(self, symbol: str) -> Candles | None:
        """Mark prices from `mark_path`, else from a `mark/` folder nearby."""
        if (symbol, "mark") not in self._served:
            self._served.keep(symbol, "mark", self._find_mark(symbol))
        kept = self._served.get(symbol, "mark")
        return kept if isinstance(kept, Candles) else None

    def notes(self) -> list[str]:
        """What a person should be told about the data handed out so far."""
        return self._served.notes()

    def digest(self, symbol: str) -> str:
        """SHA-256 over everything of this symbol handed out so far."""
        return self._served.digest(symbol)

    def _open_folder(self) -> None:
        listing = list_folder(self.path)
        if not listing.files:
            raise DataError(
                f"{self.path.name}: no candle files in this folder",
                hint="name them SYMBOL_TIMEFRAME.parquet or .csv; " + _inside(self.path),
            )
        self._files = listing.files
        if listing.ignored:
            shown = ", ".join(listing.ignored[:IGNORED_SHOWN_MAX])
            more = len(listing.ignored) - IGNORED_SHOWN_MAX
            self._served.note(f"ignored: {shown}" + (f" and {more} more" if more > 0 else ""))

    def _read(self, symbol: str, timeframe: Timeframe) -> Candles:
        if not self._files:
            candles = self._single_file(symbol)
            if candles.timeframe != timeframe:
                raise DataError(
                    f"{self.path.name} holds {candles.timeframe} bars, not {timeframe}",
                    hint=f"resample from {candles.timeframe}, or give a folder that has both",
                )
            return candles
        path = self._files.get((symbol, timeframe))
        if path is None:
            raise DataError(
                f"no {timeframe} candles of {symbol} here", hint=self._what_exists(symbol)
            )
        candles, repairs = read_candles(path, symbol, timeframe, repair=self.repair)
        self._served.note(*repairs)
        return candles

    def _what_exists(self, symbol: str) -> str:
        own = ", ".join(self.timeframes(symbol))
        others = ", ".join(self.symbols()[:IGNORED_SHOWN_MAX])
        return f"{symbol} has {own}" if own else f"symbols here: {others}"

    def _single_file(self, symbol: str) -> Candles:
        named = _leading_symbol(self.path)
        if named and named != symbol:
            raise UsageError(
                f"{self.path.name} is a file of {named}, not of {symbol}",
                hint=f"ask for {named}, or give a file or folder that holds {symbol}",
            )
        if self._single is None or self._single.symbol != symbol:
            self._single, repairs = read_candles(self.path, symbol, repair=self.repair)
            self._served.note(*repairs, *self._name_against_spacing(self._single))
        return self._single

    def _name_against_spacing(self, candles: Candles) -> list[str]:
        named = _candle_name(self.path)
        if named is None or named[1] == candles.timeframe:
            return []
        return [f"{self.path.name}: read as {candles.timeframe} bars, which is their spacing"]

    def _find_funding(self, symbol: str) -> FundingHistory | None:
        for path, shown in self._nearby("funding", self.funding_path):
            if self._funding_of(path, symbol):
                funding, repairs = read_funding(path, symbol, repair=self.repair)
                self._served.note(f"{symbol} funding: {shown}, {len(funding)} rates", *repairs)
                return funding
        self._served.note(f"{symbol} funding: none found")
        return None

    def _funding_of(self, path: Path, symbol: str) -> bool:
        if path == self.funding_path:
            return _leading_symbol(path) in (symbol, None)
        head, _, tail = path.stem.rpartition("_")
        return tail.lower() == "funding" and _symbol_or_none(head) == symbol

    def _find_mark(self, symbol: str) -> Candles | None:
        found: list[tuple[int, str, Path]] = []
        for path, shown in self._nearby("mark", self.mark_path):
            named = _mark_name(path)
            if path == self.mark_path and _leading_symbol(path) in (symbol, None):
                found.append((0, shown, path))
            elif named and named[0] == symbol:
                found.append((named[1].ms, shown, path))
        if not found:
            self._served.note(f"{symbol} mark price: none found")
            return None
        _, shown, path = min(found)
        mark, repairs = read_mark(path, symbol, repair=self.repair)
        self._served.note(f"{symbol} mark price: {shown}, {mark.timeframe}, {len(mark)} bars")
        self._served.note(*repairs, *gap_notes(mark, f"{symbol} mark price"))
        return mark

    def _nearby(self, kind: str, explicit: Path | None) -> Iterator[tuple[Path, str]]:
        """Files of the first folder that has any, with the name shown for each."""
        if explicit is not None and not explicit.is_dir():
            yield explicit, explicit.name
            return
        for folder in [explicit] if explicit is not None else self._folders(kind):
            if folder.is_dir():
                paths = [path for path in _entries(folder) if path.suffix.lower() in SUFFIXES]
                label = folder.name if folder.name == kind else f"{kind}/{folder.name}"
                yield from ((path, f"{label}/{path.name}") for path in paths)
                if paths:
                    return

    def _folders(self, kind: str) -> list[Path]:
        data = self.path.resolve()
        data = data if data.is_dir() else data.parent
        roots = list(dict.fromkeys([data, data.parent, data.parent.parent]))
        return [folder for root in roots for folder in (root / kind / data.name, root / kind)]


def _judged(
    table: Table, symbol: str, timeframe: Timeframe | None, *, repair: bool
) -> tuple[Candles, list[str]]:
    timeframe = timeframe or _timeframe_of(table)
    table, repairs = clean(table, timeframe, repair=repair)
    open_, high, low, close = (table.columns[name] for name in _PRICES)
    volume = table.columns.get("volume", np.zeros(len(table)))
    return Candles(symbol, timeframe, table.ts, open_, high, low, close, volume), repairs


def _timeframe_of(table: Table) -> Timeframe:
    """The timeframe that the rows' spacing shows, or that the name says when it shows none."""
    step_ms = spacing_ms(table.ts)
    if step_ms is None:
        named = _candle_name(Path(table.file))
        if named:
            return named[1]
        refuse(table.file, "spacing", "too few rows to tell the timeframe", column="ts")
    try:
        return Timeframe.of_ms(step_ms)
    except UsageError:
        # In another unit of time the spacing fits; `clean` says so. Minutes are a grid for all.
        clean(table, Timeframe.M1, repair=False)
        refuse(table.file, "spacing", f"rows are {step_ms} ms apart", column="ts", value=step_ms)


def _entries(folder: Path) -> list[Path]:
    """Names in order, parquet before CSV of the same name, hidden ones left out."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        refuse(folder.name, "readable", f"cannot be listed ({error.strerror})")
    if len(paths) > FOLDER_FILES_MAX:
        refuse(folder.name, "size", f"holds more than {FOLDER_FILES_MAX} files", value=len(paths))
    return sorted(paths, key=lambda path: (path.stem, path.suffix == ".csv", path.name))


def _inside(folder: Path) -> str:
    folders = [path.name for path in _entries(folder) if path.is_dir()][:IGNORED_SHOWN_MAX]
    return f"its folders: {', '.join(folders)}" if folders else "it is not the folder you meant?"


def _candle_name(path: Path) -> tuple[str, Timeframe] | None:
    head, separator, tail = path.stem.rpartition("_")
    symbol = _symbol_or_none(head)
    if not separator or symbol is None or path.suffix.lower() not in SUFFIXES:
        return None
    return (symbol, Timeframe(tail)) if tail in list(Timeframe) else None


def _mark_name(path: Path) -> tuple[str, Timeframe] | None:
    head, _, tail = path.stem.rpartition("_")
    if not head.lower().endswith("_mark"):
        return None
    return _candle_name(path.with_name(f"{head[: -len('_mark')]}_{tail}{path.suffix}"))


def _leading_symbol(path: Path) -> str | None:
    match = _LEADING_SYMBOL.match(path.stem)
    return _symbol_or_none(match[1] + "USDT") if match else None


def _symbol_or_none(text: str) -> str | None:
    try:
        return normalise_symbol(text)
    except UsageError:
        return None
