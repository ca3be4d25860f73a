"""The event study of the specification, section 13.7, on the seven bundled perpetuals.

Zones, default trades and textbook trades of 2022-2024. Counts are exact, R to 1e-4. One figure
differs on purpose: two of the 4495 limit entries open beyond the limit and fill at that open, so
BTC's textbook trades sum to -147.60 R, where the specification, filling at the limit, has -147.68.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pytest

from blofin_cli.core import stats, zones
from blofin_cli.core.ledger import REASONS
from blofin_cli.core.market import Timeframe
from blofin_cli.core.signals import evaluate
from blofin_cli.core.strategy import build_strategy
from blofin_cli.engine.backtest import Outcome, lay_course, trade
from tests.fakes import SEVEN, needs_data, real_market

pytestmark = [needs_data, pytest.mark.process]

ZONES = {
    ("broad", "1h"): (700, 740, 847, 704, 859, 815, 713),
    ("broad", "4h"): (215, 214, 212, 170, 199, 207, 201),
    ("broad", "15m"): (2926, 3029, 3542, 3124, 3634, 3570, 3161),
    ("classic", "1h"): (109, 145, 116, 99, 158, 117, 113),
    ("classic", "4h"): (47, 39, 30, 22, 28, 24, 27),
    ("classic", "15m"): (466, 464, 516, 472, 559, 555, 493),
}
PATTERNS = {"DBR": 146, "RBR": 222, "RBD": 168, "DBD": 164}
FIRST_ZONES = [
    ("RBR", "2022-01-01 16:00", "2022-01-01 16:00", "2022-01-01 17:00", "2022-01-01 18:00",
     47249.99, 47157.59),
    ("DBD", "2022-01-03 17:00", "2022-01-03 19:00", "2022-01-03 20:00", "2022-01-03 21:00",
     46364.55, 46800.00),
    ("DBD", "2022-01-04 17:00", "2022-01-04 17:00", "2022-01-04 18:00", "2022-01-04 19:00",
     46564.00, 46986.54),
    ("RBD", "2022-01-05 10:00", "2022-01-05 10:00", "2022-01-05 11:00", "2022-01-05 12:00",
     46809.40, 47075.29),
    ("RBD", "2022-01-05 15:00", "2022-01-05 15:00", "2022-01-05 16:00", "2022-01-05 18:00",
     46611.46, 46820.83),
]  # fmt: skip
TRADES = dict(zip(SEVEN, (310, 308, 360, 318, 395, 380, 319), strict=True))
FIRST_TRADES = [
    (1, "2022-01-01 21:15", 47505.17, 46592.5948, 51202.9758,
     "stop", "2022-01-03 15:45", -1.10225),
    (-1, "2022-01-05 04:45", 46366.76, 47597.2270, 41398.5252,
     "target", "2022-01-07 04:15", 3.98210),
    (-1, "2022-01-05 15:45", 46540.83, 47636.8227, 42110.3183,
     "target", "2022-01-07 03:15", 3.97765),
]  # fmt: skip
TEXTBOOK = {"preset": "reference", "entry.mode": "limit", "stop.buf": 0.25, "target.rr": 2}
BTC_TEXTBOOK_SUM_R = -147.60


def utc(ms: int) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M")


@cache
def study_of(coin: str, is_textbook: bool = False) -> Outcome:
    market = real_market(coin)
    strategy = build_strategy(TEXTBOOK if is_textbook else {"preset": "reference"})
    course = lay_course([market], strategy.costs)
    return trade(course, [evaluate(market, strategy)], strategy, 10_000.0)


def found_zones(coin: str, timeframe: str, preset: str) -> np.ndarray:
    parameters = build_strategy({"zones.preset": preset}).zones
    return zones.detect(real_market(coin).frame(Timeframe(timeframe)), parameters)


def together(*, is_textbook: bool) -> np.ndarray:
    return np.concatenate([study_of(coin, is_textbook).trades["net_r"] for coin in SEVEN])


@pytest.mark.parametrize("coin", SEVEN)
def test_zones_of_each_coin_number_as_specified(coin: str) -> None:
    """Both presets find exactly the specified number of zones on 1h, 4h and 15m."""
    expected = {key: counts[SEVEN.index(coin)] for key, counts in ZONES.items()}
    found = {key: len(found_zones(coin, key[1], key[0])) for key in ZONES}
    assert found == expected


def test_btc_patterns_number_as_specified() -> None:
    """BTC's 1h zones split into the four patterns as specified."""
    codes = found_zones("BTC", "1h", "broad")["pattern"]
    counts = {str(p).upper(): int((codes == i).sum()) for i, p in enumerate(zones.PATTERNS)}
    assert counts == PATTERNS


def test_btc_first_zones_are_those_specified() -> None:
    """BTC's first five zones have the specified times and lines, the first its yardstick too."""
    frame, found = real_market("BTC").frame(Timeframe.H1), found_zones("BTC", "1h", "broad")
    told = [
        (
            str(zones.PATTERNS[zone["pattern"]]).upper(),
            utc(frame.ts[zone["base_start"]]),
            utc(frame.ts[zone["base_end"]]),
            utc(frame.ts[zone["leg_out"]]),
            utc(frame.close_ts[zone["born"]]),
            round(float(zone["proximal"]), 2),
            round(float(zone["distal"]), 2),
        )
        for zone in found[:5]
    ]
    assert told == FIRST_ZONES
    assert found["atr"][0] == pytest.approx(376.663437, abs=1e-6)
    assert found["departure_atr"][0] == pytest.approx(1.2828, abs=1e-4)


@pytest.mark.parametrize("coin", SEVEN)
def test_default_trades_of_each_coin_number_as_specified(coin: str) -> None:
    """The event study makes exactly the specified number of trades of each coin."""
    assert len(study_of(coin).trades) == TRADES[coin]


def test_default_trades_together_perform_as_specified() -> None:
    """2390 trades win 31.8 % at a payoff of 2.25 and sum to 84.3 R."""
    metrics = stats.trade_metrics(together(is_textbook=False))
    assert metrics.trades == 2390
    assert metrics.win_rate == pytest.approx(0.318, abs=5e-4)
    assert metrics.reward_risk == pytest.approx(2.25, abs=5e-3)
    assert metrics.sum_r == pytest.approx(84.3, abs=0.05)
    assert metrics.expectancy_r == pytest.approx(0.035, abs=5e-4)


def test_btc_default_trades_leave_as_specified() -> None:
    """BTC's 310 trades sum to -9.769 R: 203 stops, 31 targets, 74 out of time, 2 cut by the end."""
    trades = study_of("BTC").trades
    reasons = [str(REASONS[code]) for code in trades["reason"]]
    assert {name: reasons.count(name) for name in set(reasons)} == {
        "stop": 203, "target": 31, "time": 74, "end": 2,
    }  # fmt: skip
    assert trades["net_r"].sum() == pytest.approx(-9.769, abs=5e-4)


def test_btc_first_default_trades_are_those_specified() -> None:
    """BTC's first three trades have the specified prices and times, and R to 1e-4."""
    trades = np.sort(study_of("BTC").trades, order="entry_ms")[:3]
    for row, expected in zip(trades, FIRST_TRADES, strict=True):
        assert_trade(row, expected, open_price=True)


def assert_trade(row: Any, expected: tuple[Any, ...], *, open_price: bool) -> None:
    side, entry_at, entry, stop, target, reason, exit_at, net_r = expected
    slip = 0.0002 * side if open_price else 0.0
    assert (row["side"], utc(row["entry_ms"])) == (side, entry_at)
    assert (str(REASONS[row["reason"]]), utc(row["exit_ms"])) == (reason, exit_at)
    assert row["entry"] == pytest.approx(entry * (1 + slip), abs=0.006)
    assert row["stop"] == pytest.approx(stop, abs=1e-4)
    assert row["target"] == pytest.approx(target, abs=1e-4)
    assert row["net_r"] == pytest.approx(net_r, abs=1e-4)


@pytest.mark.parametrize("coin", SEVEN)
def test_textbook_trades_of_each_coin_were_signalled_before_they_filled(coin: str) -> None:
    """A limit entry rests from the zone's birth and fills at the limit, or better at an open."""
    outcome = study_of(coin, is_textbook=True)
    signals = outcome.signals[outcome.trades["signal"]]
    better = outcome.trades["side"] * (signals["limit"] - outcome.trades["entry"])
    assert (better > -1e-9).all()
    assert (better > 1e-9).sum() <= 2


def test_textbook_trades_together_perform_as_specified() -> None:
    """4495 textbook trades win 31.9 % at a payoff of 1.69 and lose 0.164 R each."""
    metrics = stats.trade_metrics(together(is_textbook=True))
    assert metrics.trades == 4495
    assert metrics.win_rate == pytest.approx(0.319, abs=5e-4)
    assert metrics.reward_risk == pytest.approx(1.69, abs=5e-3)
    assert metrics.expectancy_r == pytest.approx(-0.164, abs=5e-4)


def test_btc_textbook_trades_are_those_specified() -> None:
    """BTC makes 588 of them; the first has the specified prices and times, and R to 1e-4."""
    trades = study_of("BTC", is_textbook=True).trades
    assert len(trades) == 588
    assert trades["net_r"].sum() == pytest.approx(BTC_TEXTBOOK_SUM_R, abs=5e-3)
    expected = (
        1, "2022-01-01 20:15", 47249.99, 47063.4241, 47623.1217,
        "target", "2022-01-01 23:45", 1.87297,
    )  # fmt: skip
    assert_trade(np.sort(trades, order="entry_ms")[0], expected, open_price=False)
