from decimal import Decimal

import numpy as np
import pytest

from blofin_cli.core.candles import Candles
from blofin_cli.core.instruments import (
    INFERRED,
    INSTRUMENTS_AS_OF,
    infer_instrument,
    instrument,
    snapshot,
)
from blofin_cli.core.market import Timeframe


def flat(prices: list[float]) -> Candles:
    column = np.array(prices)
    ts = np.arange(len(prices), dtype=np.int64) * Timeframe.M15.ms
    return Candles("NEW-USDT", Timeframe.M15, ts, column, column, column, column, column)


def test_snapshot_is_dated_and_sane() -> None:
    """Every row names its symbol and date, has positive steps and a tier that fits its leverage."""
    for symbol, terms in snapshot().items():
        assert terms.symbol == symbol
        assert INSTRUMENTS_AS_OF in terms.source
        steps = (terms.contract_value, terms.lot_size, terms.min_size, terms.tick_size)
        assert min(steps) > 0
        assert terms.min_size % terms.lot_size == 0
        assert 0 < terms.market_size_max <= terms.limit_size_max
        assert terms.maintenance_margin * terms.leverage_max < 1


def test_snapshot_of_bitcoin_is_what_was_observed() -> None:
    """The terms that the sizing examples rest on."""
    terms = instrument("BTC-USDT")
    assert terms is not None
    assert (terms.contract_value, terms.lot_size) == (Decimal("0.001"), Decimal("0.1"))
    assert (terms.tick_size, terms.leverage_max) == (Decimal("0.1"), 150)


def test_unknown_symbol_has_no_snapshot() -> None:
    """What is not in the snapshot is None, never a guess."""
    assert instrument("NEW-USDT") is None


@pytest.mark.parametrize(
    ("prices", "tick"),
    [
        ([1.5, 2.0, 2.5], "0.5"),
        ([0.1234, 0.12], "0.0001"),
        ([65_000.1, 64_999.9], "0.1"),
        ([0.00002513, 0.00002511], "0.00000001"),
        ([20.0, 30.0], "10"),
    ],
)
def test_tick_is_inferred_from_the_prices(prices: list[float], tick: str) -> None:
    """The tick is the largest usual step on which every price lies."""
    assert infer_instrument("NEW-USDT", flat(prices)).tick_size == Decimal(tick)


@pytest.mark.parametrize("price", [65_000.1, 1.0, 0.99, 0.00002511, 9.99])
def test_inferred_terms_are_cautious(price: float) -> None:
    """One lot is worth 0.1 to 1 USDT; leverage and maintenance are those of an unknown tier."""
    terms = infer_instrument("NEW-USDT", flat([price]))
    worth = terms.contract_value * terms.min_size * Decimal(repr(price))

    assert Decimal("0.1") <= worth <= 1
    assert (terms.leverage_max, terms.maintenance_margin) == (10, Decimal("0.02"))
    assert terms.source == INFERRED


def test_no_valid_candle_infers_nothing() -> None:
    """Without a price there is nothing to infer from."""
    with pytest.raises(ValueError, match="no valid candle"):
        infer_instrument("NEW-USDT", flat([float("nan")]))
