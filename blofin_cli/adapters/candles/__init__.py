"""Market history behind one port: files, the store, a synthetic market."""

from collections.abc import Sequence
from pathlib import Path

from blofin_cli.errors import UsageError
from blofin_cli.ports import CandleSource


def open_source(
    *,
    data: Path | None = None,
    synthetic: int | None = None,
    store: Path | None = None,
    exchange: str = "blofin",
    funding: Path | None = None,
    mark: Path | None = None,
    repair: bool = False,
    symbols: Sequence[str] = (),
) -> CandleSource:
    """The source that the selectors ask for: `data`, else `synthetic`, else the store's folder.

    `exchange` is whose candles the store holds; `symbols` are added to what a synthetic market
    invents.
    Errors: UsageError when selectors contradict each other or a path does not exist; DataError when
    a folder holds no candle file.
    """
    if data is not None and synthetic is not None:
        raise UsageError("--data and --synthetic exclude each other", hint="give one of them")
    if data is None and (funding or mark or repair):
        raise UsageError("--funding, --mark and --repair belong to --data")
    if data is not None:
        from blofin_cli.adapters.candles.files import FileSource

        return FileSource(data, funding_path=funding, mark_path=mark, repair=repair)
    if synthetic is not None:
        from blofin_cli.adapters.candles.synthetic import SyntheticMarket

        return SyntheticMarket(synthetic, symbols)
    if store is not None:
        from blofin_cli.adapters.candles.store import CandleStore

        return CandleStore(store, exchange=exchange)
    raise UsageError("no candle source", hint="give --data PATH or --synthetic SEED")
