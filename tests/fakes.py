"""Hand-made markets for tests: candles as rows, signals as words, and the step run over them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from blofin_cli.adapters.candles.files import read_candles
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core.candles import Candles
from blofin_cli.core.context import Market
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.instruments import infer_instrument, instrument
from blofin_cli.core.ledger import REASONS, SignalRow, Verdict
from blofin_cli.core.market import Instrument, Timeframe
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.engine.backtest import Course, Outcome, lay_course, trade_signals

START_MS = 1_704_067_200_000  # Monday 2024-01-01
M15_MS = Timeframe.M15.ms
BTC = "BTC-USDT"
SEVEN = ("BTC", "ETH", "SOL", "XRP", "BNB", "ADA", "DOGE")
PERP = Path(__file__).resolve().parents[1] / "../shared/data/candles/binance_perp"
needs_data = pytest.mark.skipif(not PERP.is_dir(), reason="../shared/data is not here")

# No cost, no funding, no participation cap: what is left is the rule a table is about.
FREE_OF_COST = {
    "costs.maker": 0,
    "costs.taker": 0,
    "costs.slippage": "fixed",
    "costs.floor_major_bps": 0,
    "costs.floor_other_bps": 0,
    "costs.funding_8h": 0,
    "costs.market_share": 1,
    "costs.limit_share": 1,
    "target.rr": 2,
    "risk.max_leverage": 20,
    "risk.entries_per_day": 1000,
}


def candles_of(
    rows: Sequence[Sequence[float]],
    timeframe: Timeframe = Timeframe.M15,
    start_ms: int = START_MS,
    symbol: str = BTC,
) -> Candles:
    """Candles from rows of open, high, low, close and, if given, volume; None leaves a gap."""
    places = [place for place, row in enumerate(rows) if row is not None]
    full = [(*rows[place][:4], rows[place][4] if len(rows[place]) > 4 else 1e6) for place in places]
    columns = np.array(full, dtype=np.float64).reshape(-1, 5).T
    ts = start_ms + np.array(places, dtype=np.int64) * timeframe.ms
    return Candles(symbol, timeframe, ts, *columns)


def contract(symbol: str = BTC, **terms: Any) -> Instrument:
    """A contract of one unit, dealt in tenths, priced in tenths."""
    known: dict[str, Any] = {
        "symbol": symbol,
        "contract_value": Decimal(1),
        "lot_size": Decimal("0.1"),
        "min_size": Decimal("0.1"),
        "tick_size": Decimal("0.1"),
        "leverage_max": 20,
        "maintenance_margin": Decimal("0.005"),
        "market_size_max": Decimal(1_000_000),
        "limit_size_max": Decimal(1_000_000),
        "source": "made for a test",
    }
    return Instrument(**(known | terms))


def signal(tick: int = 0, **words: Any) -> dict[str, Any]:
    """A long decided at the close of bar `tick`: entry near 100, stop 95, risk 0.5 %."""
    known: dict[str, Any] = {
        "tick": tick,
        "symbol": 0,
        "side": 1,
        "until": 10_000,
        "hold_ms": 10_000 * M15_MS,
        "zone_ms": Timeframe.H1.ms,
        "entry": 100.0,
        "stop": 95.0,
        "risk_fraction": 0.005,
        "notional_scale": 1.0,
        "verdict": int(Verdict.UNSEEN),
    }
    return known | words


def signal_rows(signals: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Signals as rows for the step, numbered by `zone`."""
    rows = SignalRow.rows(len(signals))
    for index, (row, words) in enumerate(zip(rows, signals, strict=True)):
        row["zone"] = index
        for name, value in words.items():
            row[name] = value
    return rows


class Fill(NamedTuple):
    """A closing fill as a table tells it; `bar` counts from the first candle."""

    bar: int
    reason: str
    price: float
    quantity: float


class Played(NamedTuple):
    """What became of a table."""

    outcome: Outcome
    course: Course

    @property
    def fills(self) -> list[Fill]:
        """Closing fills in order."""
        return [
            Fill(
                int(row["ms"] - START_MS) // M15_MS,
                str(REASONS[row["reason"]]),
                round(float(row["price"]), 6),
                round(float(row["quantity"]), 6),
            )
            for row in self.outcome.exits
        ]

    @property
    def entries(self) -> list[tuple[int, float, float]]:
        """Bar, price and quantity of each finished trade's entry, in order of its exit."""
        return [
            (
                int(row["entry_ms"] - START_MS) // M15_MS,
                round(float(row["entry"]), 6),
                round(float(row["quantity"]), 6),
            )
            for row in self.outcome.trades
        ]

    @property
    def verdicts(self) -> list[str]:
        """The account's word on each signal."""
        return [Verdict(int(code)).name.lower() for code in self.outcome.signals["verdict"]]

    @property
    def curve(self) -> list[float]:
        """Equity at each close."""
        return [round(float(value), 6) for value in self.outcome.curve]


def play(
    rows: Sequence[Any],
    signals: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
    *,
    fine: Candles | None = None,
    mark: Candles | None = None,
    funding: Mapping[int, float] | None = None,
    terms: Instrument | None = None,
    others: Sequence[Sequence[Any]] = (),
    optimistic: bool = False,
    equity: float = 10_000.0,
) -> Played:
    """Run the step over a table of 15m candles; `others` are more symbols' tables.

    `funding` maps a time to its rate.
    """
    history = None
    if funding is not None:
        times, rates = np.array(list(funding)), np.array(list(funding.values()))
        history = FundingHistory(BTC, times.astype(np.int64), rates.astype(np.float64))
    markets = [Market(candles_of(rows), terms or contract(), fine=fine, mark=mark, funding=history)]
    for index, table in enumerate(others):
        symbol = f"OTHER{index}-USDT"
        markets.append(Market(candles_of(table, symbol=symbol), contract(symbol)))
    strategy = build_strategy(FREE_OF_COST | dict(settings or {}))
    return play_markets(markets, signals, strategy, optimistic=optimistic, equity=equity)


def play_markets(
    markets: Sequence[Market],
    signals: Sequence[Mapping[str, Any]],
    strategy: Strategy,
    *,
    optimistic: bool = False,
    equity: float = 10_000.0,
) -> Played:
    """Run the step over these markets with these signals."""
    course = lay_course(markets, strategy.costs)
    outcome = trade_signals(course, signal_rows(signals), strategy, equity, optimistic)
    return Played(outcome, course)


@cache
def real_market(coin: str) -> Market:
    """One of the seven bundled 15m files."""
    symbol = f"{coin}-USDT"
    candles, _ = read_candles(PERP / f"{coin}USDT_15m.parquet", symbol)
    return Market(candles, instrument(symbol) or infer_instrument(symbol, candles))


@cache
def invented_market(seed: int, bars: int = 4_000, symbol: str = BTC) -> Market:
    """A synthetic market with funding and mark prices."""
    source = SyntheticMarket(seed, bars=bars)
    candles = source.candles(symbol, Timeframe.M15)
    terms = instrument(symbol) or infer_instrument(symbol, candles)
    return Market(candles, terms, mark=source.mark(symbol), funding=source.funding(symbol))
