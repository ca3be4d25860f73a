"""The candles and signals of the bench, as plain arrays that every environment can load.

Real ones from `../shared/data` where that folder is, else the synthetic market of seed 7. Made by
a process of its own, so that reading files is in nobody's peak memory.
"""

import json
import sys
from pathlib import Path

import numpy as np

from blofin_cli.adapters.candles import open_source
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core import indicators
from blofin_cli.core.candles import COLUMNS, Candles, resample
from blofin_cli.core.market import Timeframe

ROOT = Path(__file__).parent.parent.parent
CANDLES = ROOT.parent / "shared" / "data" / "candles"
FIFTEEN = CANDLES / "binance_perp" / "BTCUSDT_15m.parquet"
MINUTES = CANDLES / "bitfinex_spot" / "BTCUSD_1m_2018_2019.parquet"

SEED = 7
YEAR_BARS = 35_040
FOUR_YEARS_BARS = 140_256
MINUTE_BARS = 1_033_226
RSI_LOW, RSI_HIGH = 30.0, 70.0


def candles_of(path: Path) -> Candles:
    """The one series of a file."""
    source = open_source(data=path)
    symbol = "BTC-USDT"
    return source.candles(symbol, source.timeframes(symbol)[0])


def save(folder: Path, name: str, candles: Candles) -> None:
    """One array of times, one of prices."""
    np.save(folder / f"{name}.ts.npy", candles.ts)
    np.save(folder / f"{name}.npy", np.array([getattr(candles, word) for word in COLUMNS]))


def load(folder: Path, name: str, timeframe: Timeframe, bars: int | None = None) -> Candles:
    """The first bars of a series, as fresh candles that remember nothing."""
    ts = np.array(np.load(folder / f"{name}.ts.npy", mmap_mode="r")[:bars])
    table = np.load(folder / f"{name}.npy", mmap_mode="r")
    columns = [np.array(row[:bars]) for row in table]
    return Candles("BTC-USDT", timeframe, ts, *columns)


def main(target: str, size: str) -> None:
    """Write the series a run of this size needs, and say where they come from."""
    folder = Path(target)
    years = SyntheticMarket(SEED, bars=FOUR_YEARS_BARS if size == "full" else 3 * YEAR_BARS)
    invented = years.candles("BTC-USDT", Timeframe.M15)
    fifteen = candles_of(FIFTEEN) if FIFTEEN.exists() else invented[: 3 * YEAR_BARS]
    save(folder, "15m", fifteen)
    crosses(folder, fifteen[:YEAR_BARS])
    origin = {"15m": FIFTEEN.name if FIFTEEN.exists() else f"synthetic seed {SEED}"}
    if size == "full":
        is_real = MINUTES.exists()
        invented_1m = years.candles("BTC-USDT", Timeframe.M1)[:MINUTE_BARS]
        save(folder, "1m", candles_of(MINUTES) if is_real else invented_1m)
        origin["1m"] = MINUTES.name if is_real else f"synthetic seed {SEED}"
    for timeframe in (Timeframe.M15, Timeframe.H1, Timeframe.H4):
        save(folder, f"zones_{timeframe}", resample(invented, timeframe))
    origin["zones"] = f"synthetic seed {SEED}"
    print(json.dumps(origin))


def crosses(folder: Path, candles: Candles) -> None:
    """Signals of the bracket job: +1 where RSI(14) crosses up through 30, -1 down through 70."""
    rsi = indicators.rsi(candles)
    side = np.zeros(len(candles), dtype=np.int64)
    side[1:][(rsi[:-1] <= RSI_LOW) & (rsi[1:] > RSI_LOW)] = 1
    side[1:][(rsi[:-1] >= RSI_HIGH) & (rsi[1:] < RSI_HIGH)] = -1
    np.save(folder / "crosses.npy", side)


if __name__ == "__main__":
    main(*sys.argv[1:])
