"""The selectors many commands share: which market, from where, between when, by which strategy."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Request, Symbol, Time, Timeframes
from blofin_cli.app.timespec import day_of
from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.candles import Candles
    from blofin_cli.core.context import Market
    from blofin_cli.ports import CandleSource

STRATEGY_FILE_BYTES_MAX = 1_000_000


class SourceRequest(Request):
    """Where candles come from."""

    data: Annotated[str | None, Field(description="Parquet or CSV file, or a folder of them")] = (
        None
    )
    synthetic: Annotated[
        int | None,
        Field(description="Seed of a synthetic market instead of real data", ge=0, le=2**32),
    ] = None
    funding: Annotated[str | None, Field(description="Funding rates: a file or a folder")] = None
    mark: Annotated[str | None, Field(description="Mark price candles: a file or a folder")] = None
    since: Annotated[Time | None, Field(description="First time, e.g. 2022-01-01 or 90d")] = None
    until: Annotated[Time | None, Field(description="Time before which to stop")] = None
    repair: Annotated[
        bool, Field(description="Mend defects of the files where that is safe, and say which")
    ] = False


class StrategyRequest(SourceRequest):
    """By which strategy, on which timeframes."""

    timeframe: Annotated[Timeframe | None, Field(description="Entry timeframe, default 15m")] = None
    context: Annotated[Timeframes | None, Field(description="Zone timeframes, default 1h,4h")] = (
        None
    )
    preset: Annotated[
        Literal["default", "reference"] | None,
        Field(description="Where to start from; in the reference study every trade stands alone"),
    ] = None
    set: Annotated[
        tuple[str, ...], Field(description="Strategy parameter as name=value, e.g. stop.buf=1.0")
    ] = ()
    strategy: Annotated[str | None, Field(description="Strategy file (TOML)")] = None


class OneSymbol(StrategyRequest):
    """One instrument."""

    symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]


def strategy_of(request: StrategyRequest, context: Context) -> Strategy:
    """The strategy of a request: settings, then the file, then what was typed."""
    return build_strategy(strategy_settings(request, context))


def strategy_settings(request: StrategyRequest, context: Context) -> dict[str, Any]:
    """Dotted strategy settings of a request, the nearest source winning key by key."""
    settings = context.strategy_settings
    if request.strategy is not None:
        settings |= _strategy_file(Path(request.strategy))
    if request.preset is not None:
        settings["preset"] = request.preset
    if request.timeframe is not None:
        settings["timeframe"] = str(request.timeframe)
    if request.context is not None:
        settings["context"] = ",".join(request.context)
    for item in request.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {ascii(item)[:80]} has no =", hint="write --set stop.buf=1.0")
        settings[name.strip()] = value.strip()
    return settings


def _strategy_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"no strategy file at {ascii(str(path))[:200]}")
    if path.stat().st_size > STRATEGY_FILE_BYTES_MAX:
        raise ConfigError(f"strategy file {path.name} is larger than 1 MB")
    try:
        nested = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"strategy file {path.name}: {error}") from None
    return dict(_leaves(nested, ""))


def _leaves(nested: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves = []
    for key, value in nested.items():
        name = f"{prefix}{key}"
        leaves += _leaves(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return leaves


def source_of(
    request: SourceRequest, symbols: Sequence[str], context: Context, *, exchange: str = "blofin"
) -> "CandleSource":
    """Open the source that a request selects; the store is the one of the exchange."""
    from blofin_cli.adapters.candles import open_source

    return open_source(
        data=None if request.data is None else Path(request.data),
        synthetic=request.synthetic,
        store=store_folder(context, exchange),
        exchange=exchange,
        funding=None if request.funding is None else Path(request.funding),
        mark=None if request.mark is None else Path(request.mark),
        repair=request.repair,
        symbols=tuple(symbols),
    )


def store_folder(context: Context, exchange: str = "blofin") -> Path:
    """Where the candles of an exchange are; BloFin's are read when none is named."""
    name = "candles" if exchange == "blofin" else f"candles-{exchange.replace(':', '-')}"
    return context.cache_folder / name


def market_of(
    request: SourceRequest,
    symbol: str,
    source: "CandleSource",
    strategy: Strategy,
    *,
    terms: "Instrument | None" = None,
    start_ms: int | None = None,
) -> "Market":
    """One symbol's market up to `until`: entry candles, finer ones, funding, mark, terms.

    All history before `since` is kept: indicators and zones run from one recorded start, as in a
    live session, and only the trading begins at `since`. That start is `start_ms` where it is
    given, else the first candle; `terms` are those of the exchange, else of the snapshot.
    Errors: DataError when no candle lies between the times asked for.
    """
    from blofin_cli.core.context import Market
    from blofin_cli.core.instruments import infer_instrument, instrument

    entry, raw = entry_candles(source, symbol, strategy.timeframe)
    entry = entry.between(start_ms, None)
    since_ms, until_ms = span_of(request, entry)
    cut = entry if until_ms is None else entry.until(until_ms)
    if len(cut) == 0 or (since_ms is not None and cut.ts[-1] < since_ms):
        span = (
            f"{source.name} goes from {day_of(raw.ts[0])} to {day_of(raw.ts[-1])}"
            if len(raw)
            else ""
        )
        raise DataError(
            f"{symbol} has no closed {strategy.timeframe} candles between the times asked for",
            hint=span,
        )
    return Market(
        cut,
        terms or instrument(symbol) or infer_instrument(symbol, entry),
        fine=_fine_of(source, symbol, strategy.timeframe),
        mark=source.mark(symbol),
        funding=source.funding(symbol),
    )


def entry_candles(
    source: "CandleSource", symbol: str, timeframe: Timeframe
) -> tuple["Candles", "Candles"]:
    """Candles of a timeframe, folded from the next finer ones where the source has none itself.

    Returns them, and the candles they were made from.
    Errors: UsageError when everything the source has is coarser.
    """
    from blofin_cli.core.candles import resample

    native = source.timeframes(symbol)
    finer = [item for item in native if timeframe.ms % item.ms == 0]
    if native and not finer:
        raise UsageError(
            f"{source.name} has {symbol} only as {', '.join(native)}, not {timeframe} or finer",
            hint=f"pass --timeframe {min(native, key=lambda item: item.ms)} and a higher --context",
        )
    chosen = max(finer, key=lambda item: item.ms) if finer else timeframe
    candles = source.candles(symbol, chosen)
    return resample(candles, timeframe), candles


def _fine_of(source: "CandleSource", symbol: str, timeframe: Timeframe) -> "Candles | None":
    finer = [item for item in source.timeframes(symbol) if item.ms < timeframe.ms]
    finer = [item for item in finer if timeframe.ms % item.ms == 0]
    return source.candles(symbol, min(finer, key=lambda item: item.ms)) if finer else None


def span_of(request: SourceRequest, candles: "Candles") -> tuple[int | None, int | None]:
    """First and end time of a request in ms; a span such as 90d counts back from the data's end."""
    end_ms = int(candles.close_ts[-1]) if len(candles) else 0
    until_ms = None if request.until is None else request.until.resolve(end_ms)
    anchor_ms = end_ms if until_ms is None else until_ms
    since_ms = None if request.since is None else request.since.resolve(anchor_ms)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise UsageError("--since is not before --until")
    return since_ms, until_ms


def tell(context: Context, notes: Sequence[str]) -> None:
    """Say each note once, on the way to the person."""
    for note in notes:
        context.say(note)
