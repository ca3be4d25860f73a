"""The same jobs by others. Runs in `.venv-peers`, on the candles and signals that ours run on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

YEAR_BARS = 35_040
STOP_FRACTION, TARGET_FRACTION, RISK_FRACTION = 0.015, 0.03, 0.01
TAKER, SLIPPAGE = 0.0006, 0.0002
# backtesting.py trades whole units, so its account is large enough for them not to matter.
CASH = 10_000.0
CASH_OF_WHOLE_UNITS = 1e10
Job = Callable[[], dict[str, Any] | None]


def frame(folder: Path, name: str, bars: int | None = None) -> pd.DataFrame:
    """A series as the frame a user of pandas would hold."""
    columns = np.load(folder / f"{name}.npy")[:, :bars]
    times = pd.to_datetime(np.load(folder / f"{name}.ts.npy")[:bars], unit="ms")
    return pd.DataFrame(columns.T.copy(), times, ["open", "high", "low", "close", "volume"])


def vectorbt_rust(folder: Path) -> Job:
    """Portfolio.from_signals with its Rust engine."""
    return _vectorbt(folder, "rust")


def vectorbt_numba(folder: Path) -> Job:
    """Portfolio.from_signals with its numba engine."""
    return _vectorbt(folder, "numba")


def _vectorbt(folder: Path, engine: str) -> Job:
    """A signal at a close fills at the next open, so it moves one bar to the right.

    Brackets hang on the signal's close, as ours do: it is the value price of the fill's bar. What
    differs: a stop is not looked at on the bar of the entry.
    """
    import vectorbt

    candles = frame(folder, "15m", YEAR_BARS)
    side = pd.Series(np.load(folder / "crosses.npy"), candles.index).shift(1, fill_value=0)
    signal_close = candles["close"].shift(1).bfill()
    longs, shorts = side > 0, side < 0

    def run() -> dict[str, Any]:
        portfolio = vectorbt.Portfolio.from_signals(
            candles["close"],
            entries=longs,
            short_entries=shorts,
            price=candles["open"],
            val_price=signal_close,
            open=candles["open"],
            high=candles["high"],
            low=candles["low"],
            size=RISK_FRACTION / STOP_FRACTION,
            size_type="percent",
            fees=TAKER,
            slippage=SLIPPAGE,
            sl_stop=STOP_FRACTION,
            tp_stop=TARGET_FRACTION,
            stop_entry_price="valprice",
            stop_exit_price="stopmarket",
            upon_opposite_entry="ignore",
            init_cash=CASH,
            freq="15min",
            engine=engine,
        )
        records = portfolio.trades.records_arr
        return {
            "trades": len(records),
            "entry_bars": records["entry_idx"].tolist(),
            "exit_bars": records["exit_idx"].tolist(),
        }

    return run


def backtesting_py(folder: Path) -> Job:
    """Backtest.run with the brackets in `buy` and `sell`.

    What differs: the spread is paid on entries only, stops and targets fill at their price.
    """
    import warnings

    from backtesting import Backtest, Strategy

    warnings.simplefilter("ignore")
    candles = frame(folder, "15m", YEAR_BARS)
    candles.columns = [name.capitalize() for name in candles.columns]
    side = np.load(folder / "crosses.npy")

    class Bracket(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            turn = side[len(self.data) - 1]
            if turn == 0 or self.position:
                return
            close = self.data.Close[-1]
            act = self.buy if turn > 0 else self.sell
            act(
                size=RISK_FRACTION / STOP_FRACTION,
                sl=close * (1 - turn * STOP_FRACTION),
                tp=close * (1 + turn * TARGET_FRACTION),
            )

    test = Backtest(
        candles,
        Bracket,
        cash=CASH_OF_WHOLE_UNITS,
        spread=SLIPPAGE,
        commission=TAKER,
        finalize_trades=True,
    )

    def run() -> dict[str, Any]:
        trades = test.run()["_trades"]
        return {
            "trades": len(trades),
            "entry_bars": trades["EntryBar"].tolist(),
            "exit_bars": trades["ExitBar"].tolist(),
        }

    return run


def smart_money(folder: Path) -> Job:
    """smartmoneyconcepts: swings, and order blocks with their mitigation."""
    from smartmoneyconcepts import smc

    frames = [frame(folder, f"zones_{name}") for name in ("15m", "1h", "4h")]

    def run() -> dict[str, Any]:
        found = [smc.ob(one, smc.swing_highs_lows(one, swing_length=50)) for one in frames]
        return {"zones": [int(one["OB"].notna().sum()) for one in found]}

    return run
