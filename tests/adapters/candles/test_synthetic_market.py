import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core.candles import resample
from blofin_cli.core.market import Timeframe
from blofin_cli.errors import DataError, UsageError

BTC = "BTC-USDT"
DIGEST_SEED_7 = "9883c742d75a74b0dc36c65ca646aedd38512ced8ccf46e85b3fff0f6db7830f"


def everything(seed: int) -> str:
    market = SyntheticMarket(seed, bars=4_000)
    market.candles(BTC, Timeframe.M1)
    market.candles(BTC, Timeframe.M15)
    market.funding(BTC)
    market.mark(BTC)
    return market.digest(BTC)


def test_seed_gives_the_stored_bytes() -> None:
    """Seed 7 gives the same bytes on every machine, for every version of numpy."""
    assert everything(7) == DIGEST_SEED_7


@pytest.mark.process
def test_seed_gives_the_same_bytes_in_another_process() -> None:
    """Nothing of the process (hash seed, vector instructions in use) reaches the bytes."""
    program = (
        "from blofin_cli.adapters.candles.synthetic import SyntheticMarket\n"
        "m = SyntheticMarket(7, bars=4000)\n"
        "from blofin_cli.core.market import Timeframe as T\n"
        "m.candles('BTC-USDT', T.M1); m.candles('BTC-USDT', T.M15)\n"
        "m.funding('BTC-USDT'); m.mark('BTC-USDT'); print(m.digest('BTC-USDT'))\n"
    )
    plain = {"PYTHONHASHSEED": "3", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=plain,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.stdout.strip() == everything(7)


def test_seeds_and_symbols_differ() -> None:
    """Another seed is another market, another symbol another series."""
    assert everything(7) != everything(8)
    market = SyntheticMarket(7, bars=500)
    btc, eth = (market.candles(symbol, Timeframe.M15) for symbol in (BTC, "ETH-USDT"))
    assert not np.array_equal(btc.volume, eth.volume)


def test_longer_market_starts_with_the_shorter_one() -> None:
    """More bars, or more symbols, never change the bars that were there."""
    short = SyntheticMarket(7, bars=700).candles(BTC, Timeframe.M1)
    long = SyntheticMarket(7, ["TON-USDT"], bars=1_500).candles(BTC, Timeframe.M1)

    for name in ("ts", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[: len(short)])


@pytest.mark.parametrize("symbol", [BTC, "DOGE-USDT", "NEW-USDT"])
def test_candles_are_valid_whole_and_on_the_tick(symbol: str) -> None:
    """Every bar is valid, none is missing, and prices equal their decimals."""
    candles = SyntheticMarket(11, ["NEW-USDT"], bars=4_000).candles(symbol, Timeframe.M1)
    decimals = {BTC: 1, "DOGE-USDT": 5, "NEW-USDT": 3}[symbol]

    assert candles.valid.all()
    assert candles.gaps == 0
    for column in (candles.open, candles.high, candles.low, candles.close):
        assert all(price == round(price, decimals) for price in column[:2_000].tolist())


def test_timeframes_agree_by_resampling() -> None:
    """A higher timeframe is the fold of a lower one, whichever it is."""
    market = SyntheticMarket(3, bars=2_000)
    hours = market.candles(BTC, Timeframe.H1)
    folded = resample(market.candles(BTC, Timeframe.M5), Timeframe.H1)

    assert np.array_equal(hours.high, folded.high)
    assert np.array_equal(hours.close, folded.close)
    assert np.allclose(hours.volume, folded.volume, rtol=1e-12)


def test_market_has_the_habits_of_a_market() -> None:
    """Fat tails, clustered volatility, volume with moves, symbols together, no easy momentum."""
    market = SyntheticMarket(7)
    btc, eth = (market.candles(symbol, Timeframe.M15) for symbol in (BTC, "ETH-USDT"))
    moves = np.diff(np.log(btc.close))
    size = np.abs(moves)

    def with_lag(series: np.ndarray, bars: int) -> float:
        return float(np.corrcoef(series[:-bars], series[bars:])[0, 1])

    assert 0.2 < moves.std() * np.sqrt(35_040) < 1.0
    assert ((moves - moves.mean()) ** 4).mean() / moves.var() ** 2 > 6
    assert with_lag(size, 1) > 0.2
    assert with_lag(size, 16) > 0.04
    assert abs(with_lag(moves, 1)) < 0.05
    assert np.corrcoef(size, btc.volume[1:])[0, 1] > 0.3
    assert np.corrcoef(moves, np.diff(np.log(eth.close)))[0, 1] > 0.5


def test_funding_and_mark_go_with_the_price() -> None:
    """Funding comes every 8 hours within its bounds; the mark price stays near the last price."""
    market = SyntheticMarket(7, bars=10_000)
    funding, mark = market.funding(BTC), market.mark(BTC)
    candles = market.candles(BTC, Timeframe.M15)

    assert funding is not None
    assert set(np.diff(funding.ts).tolist()) == {8 * 3_600_000}
    assert np.abs(funding.rate).max() <= 0.00375
    assert mark is not None
    assert np.array_equal(mark.ts, candles.ts)
    assert mark.valid.all()
    assert np.abs(mark.close / candles.close - 1).max() < 0.05


def test_market_shows_quiet_bases_and_visible_impulses() -> None:
    """Hours with a body of twice the usual range follow hours of half of it, many times a year."""
    hours = SyntheticMarket(7).candles(BTC, Timeframe.H1)
    reach = hours.high - hours.low
    usual = np.convolve(reach, np.ones(24) / 24)[: len(reach)]
    quiet = reach < 0.6 * usual
    impulse = np.abs(hours.close - hours.open) > 1.2 * usual

    assert int((quiet[:-1] & impulse[1:]).sum()) > 40


def test_absent_symbol_and_bad_lengths_are_refused() -> None:
    """A symbol that is not here names those that are; a length must be possible."""
    with pytest.raises(DataError, match="ZZZ-USDT"):
        SyntheticMarket(7, bars=10).candles("ZZZ-USDT", Timeframe.M15)
    for bars, start_ms in ((0, 0), (10**9, 0), (10, 1)):
        with pytest.raises(UsageError):
            SyntheticMarket(7, bars=bars, start_ms=start_ms)
