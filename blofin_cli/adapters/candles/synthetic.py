"""A seeded market that behaves enough like a real one to show zones, and is never one.

One hidden factor drives all symbols: bull, bear and range regimes, and inside them quiet stretches,
ordinary ones and bursts that run one way (so that bases and impulses exist). Each symbol adds its
own noise and jumps. Volume follows the size of the move and the hour of the day.

The same seed gives the same bytes everywhere. Random bits come raw from PCG64 and are turned into
numbers here; only + - * / and square roots touch them, and running sums and products, which every
processor rounds alike (`exp`, `log` and pairwise sums differ in the last bit between versions of
numpy). Prices are whole ticks divided by a power of ten, so that they equal their decimals.

A longer market starts with the shorter one, and a symbol's candles do not depend on which others
are there.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blofin_cli.adapters.candles.served import Served
from blofin_cli.core.candles import Candles, Prices, resample
from blofin_cli.core.funding import FundingHistory
from blofin_cli.core.market import Timeframe, normalise_symbol
from blofin_cli.errors import DataError, UsageError

SYNTHETIC_START_MS = 1_704_067_200_000  # 2024-01-01
BARS_DEFAULT = 35_040  # a year of 15m bars
BARS_MAX = 10 * BARS_DEFAULT

_MINUTES = 15  # in one block; the hidden factor changes its mood once a block
_FUNDING_MS = 8 * 3_600_000

# First price, decimals of the tick, and how strongly the factor moves it.
_MARKETS = {
    "BTC-USDT": (42_000.0, 1, 0.9),
    "ETH-USDT": (2_300.0, 2, 1.1),
    "SOL-USDT": (100.0, 2, 1.4),
    "BNB-USDT": (310.0, 2, 0.9),
    "XRP-USDT": (0.62, 4, 1.1),
    "DOGE-USDT": (0.09, 5, 1.4),
    "ADA-USDT": (0.6, 4, 1.2),
}
_OTHER_MARKET = (10.0, 3, 1.2)

# Share of the day's activity by UTC hour: Asia quiet, Europe rising, America's open the peak.
_HOURS = np.array(
    [9, 9, 8, 8, 7, 7, 7, 8, 9, 9, 9, 9, 11, 14, 16, 16, 15, 13, 11, 10, 10, 10, 9, 9], dtype=float
)

# Moods of the factor, a block each: chance to leave it, where to, minute volatility, minute drift.
_QUIET, _ORDINARY, _BURST = range(3)
_LEAVE = (0.07, 0.06, 0.28)
_TO_BURST = (0.62, 0.22)  # from quiet and from ordinary, once they are left
_VOLATILITY = (0.00026, 0.00058, 0.00125)
_BURST_DRIFT = 0.00011
_REGIME_DRIFT = (0.0000022, -0.0000022, 0.0)  # bull, bear, range
_REGIME_LEAVE = 1 / 700  # blocks: about a week
_BURST_UP = (0.62, 0.38, 0.5)
_JUMP_CHANCE = 1 / 5_000  # a minute: about two a week


@dataclass(frozen=True)
class _Factor:
    """The hidden market: (n,) minute returns and (n,) volatility factor of each minute."""

    returns: Prices
    mood: Prices


class SyntheticMarket:
    """Candle source over an invented market; every timeframe folds the same 1m candles.

    Errors: UsageError for a length that is not positive or too long, or a start off the day's grid.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str] = (),
        *,
        start_ms: int = SYNTHETIC_START_MS,
        bars: int = BARS_DEFAULT,
    ) -> None:
        if not 0 < bars <= BARS_MAX:
            raise UsageError(f"a synthetic market has 1 to {BARS_MAX} bars of 15m, not {bars}")
        if start_ms < 0 or start_ms % Timeframe.D1.ms:
            raise UsageError("a synthetic market starts at midnight UTC")
        self._seed = seed
        self._symbols = sorted({*_MARKETS, *(normalise_symbol(symbol) for symbol in symbols)})
        self._start_ms = start_ms
        self._minutes = bars * _MINUTES
        self._served = Served()
        self._minute_candles: dict[str, Candles] = {}

    @property
    def name(self) -> str:
        """How a result names this source."""
        return f"synthetic market, seed {self._seed}"

    def symbols(self) -> list[str]:
        """The usual seven and those asked for."""
        return list(self._symbols)

    def timeframes(self, symbol: str) -> list[Timeframe]:
        """Every timeframe, for every symbol here."""
        return list(Timeframe) if symbol in self._symbols else []

    def candles(self, symbol: str, timeframe: Timeframe) -> Candles:
        """The whole market of one symbol."""
        if (symbol, timeframe) not in self._served:
            self._served.note(f"{self.name}: invented prices, no evidence about any market")
            self._served.keep(symbol, timeframe, resample(self._one_minute(symbol), timeframe))
        kept = self._served.get(symbol, timeframe)
        assert isinstance(kept, Candles)
        return kept

    def funding(self, symbol: str) -> FundingHistory | None:
        """Funding each 8 hours: a base rate that leans with the last 8 hours' move."""
        if (symbol, "funding") not in self._served:
            self._served.keep(symbol, "funding", _funding(self._one_minute(symbol)))
        kept = self._served.get(symbol, "funding")
        return kept if isinstance(kept, FundingHistory) else None

    def mark(self, symbol: str) -> Candles | None:
        """Mark price in 15m bars: the last price with its wicks cut and a little noise."""
        if (symbol, "mark") not in self._served:
            minute = self._one_minute(symbol)
            noise = _normal(self._seed, f"mark {symbol}", self._minutes)
            mark = _mark(minute, noise, _market(symbol)[1])
            self._served.keep(symbol, "mark", resample(mark, Timeframe.M15))
        kept = self._served.get(symbol, "mark")
        return kept if isinstance(kept, Candles) else None

    def notes(self) -> list[str]:
        """That all of it is invented."""
        return self._served.notes()

    def digest(self, symbol: str) -> str:
        """SHA-256 over everything of this symbol handed out so far."""
        return self._served.digest(symbol)

    @cached_property
    def _factor(self) -> _Factor:
        return _factor(self._seed, self._minutes)

    def _one_minute(self, symbol: str) -> Candles:
        if symbol not in self._symbols:
            raise DataError(
                f"no {symbol} in this synthetic market",
                hint="symbols here: " + ", ".join(self._symbols),
            )
        if symbol not in self._minute_candles:
            self._minute_candles[symbol] = _candles(
                self._seed, symbol, self._start_ms, self._factor
            )
        return self._minute_candles[symbol]


def _raw(seed: int, purpose: str, count: int) -> NDArray[np.uint64]:
    """Random bits of one purpose; a longer draw starts with the shorter one."""
    key = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return np.random.PCG64(int.from_bytes(key, "little")).random_raw(count)


def _uniform(seed: int, purpose: str, count: int) -> Prices:
    """Numbers in [0, 1) with 53 random bits each."""
    uniform: Prices = (_raw(seed, purpose, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def _normal(seed: int, purpose: str, count: int) -> Prices:
    """Nearly normal numbers: eight 16-bit uniforms summed exactly, mean 0, variance 1."""
    pieces = _raw(seed, purpose, 2 * count).astype("<u8", copy=False).view("<u2")
    total = pieces.reshape(count, 8)
    # A sum of integers is exact in whatever order it is taken.
    summed = np.add.reduce(total, axis=1, dtype=np.int32)
    variance = 8 * (2.0**32 - 1) / 12
    normal: Prices = (summed - 4 * 65_535.0) / math.sqrt(variance)
    return normal


def _factor(seed: int, minutes: int) -> _Factor:
    blocks = -(-minutes // _MINUTES)
    volatility, drift = _moods(seed, blocks)
    volatility *= _slow_volatility(seed, blocks)
    by_minute = np.repeat(volatility, _MINUTES)[:minutes]
    returns = by_minute * _normal(seed, "factor", minutes)
    returns += np.repeat(drift, _MINUTES)[:minutes]
    returns += _jumps(seed, "factor jumps", by_minute)
    return _Factor(returns, by_minute)


def _moods(seed: int, blocks: int) -> tuple[Prices, Prices]:
    """Volatility and drift of each block, from the regime and the mood it is in."""
    leave = _uniform(seed, "leave", blocks).tolist()
    where = _uniform(seed, "where", blocks).tolist()
    turn = _uniform(seed, "regime", blocks).tolist()
    mood, regime, way = _QUIET, 2, 1.0
    volatility, drift = np.empty(blocks), np.empty(blocks)
    for block in range(blocks):
        if turn[block] < _REGIME_LEAVE:
            regime = (regime + 1 + int(turn[block] * 2 / _REGIME_LEAVE)) % 3
        if leave[block] < _LEAVE[mood]:
            mood, way = _next_mood(mood, where[block], leave[block] / _LEAVE[mood], regime)
        volatility[block] = _VOLATILITY[mood]
        drift[block] = _REGIME_DRIFT[regime] + (way * _BURST_DRIFT if mood == _BURST else 0.0)
    return volatility, drift


def _next_mood(mood: int, where: float, again: float, regime: int) -> tuple[int, float]:
    way = 1.0 if again < _BURST_UP[regime] else -1.0
    if mood == _BURST:
        return (_ORDINARY if where < 0.45 else _QUIET), way
    if where < _TO_BURST[mood]:
        return _BURST, way
    return (_ORDINARY if mood == _QUIET else _QUIET), way


def _slow_volatility(seed: int, blocks: int) -> Prices:
    """A factor between 0.4 and 2.5 that wanders over days: volatility clusters at every scale."""
    shocks = _normal(seed, "volatility", blocks).tolist()
    level, levels = 0.0, np.empty(blocks)
    for block, shock in enumerate(shocks):
        level = 0.998 * level + 0.03 * shock
        levels[block] = level
    wandering: Prices = np.clip(1.0 + levels, 0.4, 2.5)
    return wandering


def _jumps(seed: int, purpose: str, volatility: Prices) -> Prices:
    """A rare minute's move of 6 to 20 times its volatility, either way."""
    draw = _uniform(seed, purpose, 2 * len(volatility)).reshape(-1, 2)
    strength = 6 + 14 * draw[:, 1]
    sign = np.where(draw[:, 0] < _JUMP_CHANCE / 2, 1.0, -1.0)
    return np.where(draw[:, 0] < _JUMP_CHANCE, sign * strength * volatility, 0.0)


def _market(symbol: str) -> tuple[float, int, float]:
    return _MARKETS.get(symbol, _OTHER_MARKET)


def _candles(seed: int, symbol: str, start_ms: int, factor: _Factor) -> Candles:
    first_price, decimals, beta = _market(symbol)
    minutes = len(factor.returns)
    scale = 10.0**decimals
    own = 0.55 * beta * factor.mood * _normal(seed, f"own {symbol}", minutes)
    returns = beta * factor.returns + own + _jumps(seed, f"jumps {symbol}", factor.mood)
    np.clip(returns, -0.2, 0.2, out=returns)
    # The floor of ten ticks keeps even a hopeless coin a valid candle.
    close = np.maximum(np.rint(np.cumprod(1.0 + returns) * first_price * scale), 10.0)
    open_ = np.empty(minutes)
    open_[0], open_[1:] = max(10.0, round(first_price * scale)), close[:-1]
    high, low = _wicks(seed, symbol, open_, close, beta * factor.mood)
    ts = start_ms + np.arange(minutes, dtype=np.int64) * Timeframe.M1.ms
    volume = _volume(seed, symbol, ts, returns / (beta * _VOLATILITY[_ORDINARY]), first_price)
    prices = (column / scale for column in (open_, high, low, close))
    return _of_columns(symbol, ts, *prices, volume)


def _of_columns(symbol: str, ts: NDArray[np.int64], *columns: Prices) -> Candles:
    open_, high, low, close, volume = columns
    return Candles(symbol, Timeframe.M1, ts, open_, high, low, close, volume)


def _wicks(
    seed: int, symbol: str, open_: Prices, close: Prices, volatility: Prices
) -> tuple[Prices, Prices]:
    draw = _raw(seed, f"wicks {symbol}", len(open_)).astype("<u8", copy=False).view("<u4")
    pair = draw.reshape(-1, 2) * 2.0**-32
    reach = (0.9 * volatility) * open_
    high = np.maximum(open_, close) + np.rint(reach * pair[:, 0] * pair[:, 0])
    low = np.minimum(open_, close) - np.rint(reach * pair[:, 1] * pair[:, 1])
    return high, np.maximum(low, 1.0)


def _volume(
    seed: int, symbol: str, ts: NDArray[np.int64], move: Prices, first_price: float
) -> Prices:
    """Base units with three decimals: the hour's share, times the move, times chance."""
    hours = np.repeat(_HOURS[(ts[::60] // 3_600_000) % 24], 60)[: len(ts)]
    chance = 0.4 + 1.2 * _uniform(seed, f"volume {symbol}", len(ts))
    usual = 200_000.0 / first_price  # USDT a minute
    return np.rint(usual * hours / 10 * (0.5 + 0.6 * np.abs(move)) * chance * 1_000) / 1_000


def _mark(minute: Candles, noise: Prices, decimals: int) -> Candles:
    """Mark bars of a minute: the mean of neighbouring closes with a noise of half a point."""
    scale = 10.0**decimals
    before = np.r_[minute.open[0], minute.close[:-1]]
    path = np.rint((before + minute.close) / 2 * (1 + 0.00005 * noise) * scale)
    close = np.maximum(path, 1.0) / scale
    open_ = np.r_[close[0], close[:-1]]
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return _of_columns(minute.symbol, minute.ts, open_, high, low, close, np.zeros(len(close)))


def _funding(minute: Candles) -> FundingHistory:
    """Rates at 00, 08 and 16 UTC, each known from what came before it."""
    step = _FUNDING_MS // Timeframe.M1.ms
    at = np.arange(step, len(minute), step)
    move = minute.open[at] / minute.open[at - step] - 1.0
    rate = np.clip(0.0001 + 0.01 * move, -0.00375, 0.00375)
    return FundingHistory(minute.symbol, minute.ts[at], np.rint(rate * 1e8) / 1e8)
