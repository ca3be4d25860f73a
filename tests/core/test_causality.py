"""Prefix in, prefix out: every indicator, filter, zone, signal and trade is causal.

Each kind of look-ahead that the specification's section 14 names is planted here too, and caught by
the same checker.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.core import filters, indicators, signals, zones
from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.filters import FILTERS, Decisions, GateColumn
from blofin_cli.core.ledger import SignalRow
from blofin_cli.core.market import Timeframe
from blofin_cli.core.signals import Plane, evaluate
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.core.verify import compare_readings
from blofin_cli.engine.backtest import lay_course, trade, trade_signals
from tests.causality import bytes_of, changed, cut, perturbed, rewritten, said_by
from tests.fakes import BTC, invented_market, needs_data, real_market
from tests.strategies import walks

INDICATORS = {
    name: function
    for name, function in inspect.getmembers(indicators, inspect.isfunction)
    if not name.startswith("_")
    and next(iter(inspect.signature(function).parameters), "") == "candles"
}
BEFORE_THE_CANDLE = ("yardstick", "volume_mean_before")
SCORED = {
    f"filters.{item.name}": "score"
    for item in fields(build_strategy({}).filters)
    if item.name != "weight"
}
STRATEGIES = {
    "default": {},
    "reference": {"preset": "reference"},
    "limit": {"entry.mode": "limit", "entry.depth": 0.2, "risk.tiers": "true"},
    "refined": {"entry.mode": "refined"},
    "opposing": {"target.mode": "opposing"},
    "scored": SCORED | {"risk.tiers": "true", "risk.range_scale": 0.5},
    "required": dict.fromkeys(SCORED, "required"),
}
EVERY_STRATEGY = pytest.mark.parametrize("words", STRATEGIES.values(), ids=STRATEGIES.keys())
SEEDS = st.integers(1, 4)
CUTS = st.integers(300, 2_900)


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def spoilt(candles: Candles) -> Candles:
    """The candles with a few that are none."""
    columns = {name: getattr(candles, name).copy() for name in COLUMNS}
    columns["close"][::17] = np.nan
    return Candles(candles.symbol, candles.timeframe, candles.ts, **columns)


def with_holes(market: Market, seed: int) -> Market:
    """The market with every fiftieth candle or so missing."""
    kept = np.random.default_rng(seed).random(len(market.entry)) > 0.02
    columns = {name: getattr(market.entry, name)[kept] for name in ("ts", *COLUMNS)}
    return Market(Candles(BTC, Timeframe.M15, **columns), market.instrument)


def test_indicators_are_all_found() -> None:
    """A new indicator is tested because it is there."""
    assert {"atr", "yardstick", "ema", "rsi", "adx", "volume_mean_before"} <= INDICATORS.keys()


@pytest.mark.parametrize("name", INDICATORS)
@given(candles=walks(min_bars=2, max_bars=150), is_spoilt=st.booleans(), data=st.data())
@settings(max_examples=25)
def test_indicator_of_a_prefix_is_the_prefix_of_the_indicator(
    name: str, candles: Candles, is_spoilt: bool, data: st.DataObject
) -> None:
    """No value changes when more candles come, candles that are none included."""
    candles = spoilt(candles) if is_spoilt else candles
    bars = data.draw(st.lists(st.integers(0, len(candles) - 1), min_size=1, max_size=4))
    assert rewritten(INDICATORS[name], candles, bars) == []


@pytest.mark.parametrize("name", BEFORE_THE_CANDLE)
@given(candles=walks(min_bars=30, max_bars=100))
@settings(max_examples=25)
def test_yardsticks_do_not_see_the_candle_they_measure(name: str, candles: Candles) -> None:
    """ATR and mean volume before a candle do not depend on that candle."""
    assert rewritten(INDICATORS[name], candles, [25, len(candles) - 1], strictly=True) == []


def decisions_at(market: Market, bars: np.ndarray) -> Decisions:
    """A decision at each of these bars, of alternating side, beside a zone just under price."""
    side = np.where(np.arange(len(bars)) % 2 == 0, 1, -1)
    close = market.entry.close[bars]
    never = np.zeros(len(bars), dtype=bool)
    return Decisions(
        market, bars, market.entry.close_ts[bars], side, close * (1 - side * 0.002),
        close * (1 - side * 0.006), never, never,
    )  # fmt: skip


Filter = Callable[[Decisions, Any], GateColumn]


def filter_rewrites(apply: Filter, parameters: Any, market: Market, bar: int, seed: int) -> bool:
    """Whether a filter's verdicts up to a bar change with the candles after it."""
    bars = np.arange(max(0, bar - 60), bar)
    told = []
    for known in (market, cut(market, bar), perturbed(market, bar, seed)):
        column = apply(decisions_at(known, bars), parameters)
        told.append(bytes_of(column.passed, column.value))
    return len(set(told)) > 1


@pytest.mark.parametrize("name", FILTERS)
@given(seed=SEEDS, bar=CUTS)
@settings(max_examples=8, deadline=None)
def test_filter_of_a_prefix_is_the_prefix_of_the_filter(name: str, seed: int, bar: int) -> None:
    """No filter's value or verdict depends on a candle after its decision."""
    parameters = getattr(build_strategy({}).filters, name)
    assert not filter_rewrites(FILTERS[name], parameters, invented_market(seed), bar, seed)


def test_every_filter_has_parameters_and_every_parameter_a_filter() -> None:
    """A filter is a function and a dataclass of one name."""
    named = {item.name for item in fields(build_strategy({}).filters)} - {"weight"}
    assert named == set(FILTERS)


@EVERY_STRATEGY
@pytest.mark.timeout(30)
def test_readings_of_a_prefix_stand(words: dict[str, Any]) -> None:
    """Zones, ends of lives and decisions read at a moment still stand when all is known."""
    compared = compare_readings(invented_market(1), build_strategy(words), 12, silent)
    assert compared.zones > 20
    assert (compared.rewritten, compared.first_rewritten) == (0, None)


@EVERY_STRATEGY
@pytest.mark.timeout(30)
def test_readings_of_a_prefix_stand_where_candles_are_missing(words: dict[str, Any]) -> None:
    """Gaps in time change nothing about it."""
    market = with_holes(invented_market(2), 7)
    compared = compare_readings(market, build_strategy(words), 40, silent)
    assert (compared.rewritten, compared.first_rewritten) == (0, None)


def test_readings_confirmed_on_5m_stand() -> None:
    """Confirmation on 5m while volatility is high rewrites nothing either."""
    source, plain = SyntheticMarket(3, bars=4_000), invented_market(3)
    market = Market(plain.entry, plain.instrument, fine=source.candles(BTC, Timeframe.M5))
    often = {"volatility.adaptive_enter": 0.5, "volatility.adaptive_leave": 0.4}
    strategy = build_strategy(often)
    assert Timeframe.M5.ms in evaluate(market, strategy).entries["step_ms"]
    compared = compare_readings(market, strategy, 40, silent)
    assert (compared.rewritten, compared.first_rewritten) == (0, None)


@EVERY_STRATEGY
@pytest.mark.timeout(30)
@given(seed=SEEDS, bar=CUTS)
@settings(max_examples=6, deadline=None)
def test_decisions_by_a_moment_do_not_depend_on_candles_after_it(
    words: dict[str, Any], seed: int, bar: int
) -> None:
    """All candles after a moment replaced at random: everything said by then is identical."""
    strategy, market = build_strategy(words), invented_market(seed)
    now_ms = int(market.entry.close_ts[bar - 1])
    told = [
        said_by(evaluate(known, strategy), now_ms)
        for known in (market, cut(market, bar), perturbed(market, bar, seed))
    ]
    assert changed(told[0], told[1]) == []
    assert changed(told[0], told[2]) == []


@needs_data
@pytest.mark.process
@EVERY_STRATEGY
def test_readings_of_real_candles_stand(words: dict[str, Any]) -> None:
    """The same on a year of BTC."""
    whole = real_market("BTC")
    market = Market(whole.entry[-20_000:], whole.instrument)
    compared = compare_readings(market, build_strategy(words), 4, silent)
    assert compared.decisions > 0
    assert (compared.rewritten, compared.first_rewritten) == (0, None)


@EVERY_STRATEGY
@pytest.mark.timeout(30)
@given(seed=SEEDS, bar=CUTS)
@settings(max_examples=4, deadline=None)
def test_equity_by_a_moment_does_not_depend_on_candles_after_it(
    words: dict[str, Any], seed: int, bar: int
) -> None:
    """Trades too: two futures of one past have the same equity up to the moment they part."""
    strategy = build_strategy(words)
    plain = Market(invented_market(seed).entry, invented_market(seed).instrument)
    curves = []
    for market in (plain, perturbed(plain, bar, seed)):
        course = lay_course([market], strategy.costs)
        curves.append(trade(course, [evaluate(market, strategy)], strategy, 1e4).curve[:bar])
    assert bytes_of(curves[0]) == bytes_of(curves[1])


# Planted look-ahead, one for each trap of section 14.


def planted_next_bar(at: Decisions, parameters: Any) -> GateColumn:
    """Reads the candle after the decision."""
    del parameters
    close = np.r_[at.market.entry.close, at.market.entry.close[-1:]]
    rises = at.side * (close[at.bar + 1] - close[at.bar])
    return GateColumn("next_bar", rises > 0, rises, np.zeros(len(rises)))


def planted_fractal(at: Decisions, parameters: Any) -> GateColumn:
    """Knows a swing before the two bars that confirm it, as shift(-2) does."""
    del parameters
    low = at.market.entry.low
    padded = np.r_[[np.inf] * 2, low, [np.inf] * 2]
    around = np.min([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]], axis=0)
    is_swing = (low < around)[at.bar]
    return GateColumn("fractal", is_swing, is_swing.astype(float), np.ones(len(is_swing)))


def planted_open_frame(at: Decisions, parameters: Any) -> GateColumn:
    """Reads the close of the 4h candle that is still open."""
    del parameters
    frame = at.market.frame(Timeframe.H4)
    inside = np.searchsorted(frame.ts, at.now_ms, side="right") - 1
    values = at.side * (frame.close[inside] - at.on_entry(at.market.entry.close))
    return GateColumn("open_frame", values > 0, values, np.zeros(len(values)))


def planted_scaling(at: Decisions, parameters: Any) -> GateColumn:
    """Scales by mean and deviation of the whole history, as a fit outside its fold does."""
    del parameters
    close = at.market.entry.close
    values = (close[at.bar] - close.mean()) / close.std()
    return GateColumn("scaling", values > 0, values, np.zeros(len(values)))


@pytest.mark.parametrize(
    "planted", [planted_next_bar, planted_fractal, planted_open_frame, planted_scaling]
)
def test_planted_filter_is_caught(planted: Filter) -> None:
    """The checker of filters finds each planted one within a few cuts."""
    market = invented_market(1)
    caught = [filter_rewrites(planted, None, market, bar, 1) for bar in (701, 1_403, 2_207)]
    assert any(caught)


def test_fractal_filter_waits_for_its_two_bars() -> None:
    """A pivot at bar j is known once bar j + 2 has closed, and not before."""
    low = np.array([5.0, 4.0, 3.0, 4.0, 5.0, 6.0])
    known = [filters.last_fractal(low[: bar + 1], bar, 40) for bar in range(len(low))]
    assert known == [-1, -1, -1, -1, 2, 2]


def test_planted_atr_of_the_candle_itself_is_caught() -> None:
    """An ATR that holds the candle it measures is no yardstick."""
    candles = invented_market(1).entry
    assert rewritten(indicators.atr, candles, [100, 200], strictly=True) == [100, 200]


def test_planted_volume_mean_of_the_bar_itself_is_caught() -> None:
    """A volume average that holds the bar it is compared with is caught."""

    def mean(candles: Candles) -> np.ndarray:
        return np.convolve(candles.volume, np.ones(20) / 20)[: len(candles)]

    assert rewritten(mean, invented_market(1).entry, [100], strictly=True) == [100]


def detects_differently(detect: Callable[[Candles], np.ndarray], candles: Candles) -> bool:
    """Whether some prefix finds other zones than the full run says were born in it."""
    full = detect(candles)
    for bars in range(40, len(candles), 23):
        if bytes_of(detect(candles[:bars])) != bytes_of(full[full["born"] < bars]):
            return True
    return False


BROAD = build_strategy({}).zones


def test_detector_of_a_prefix_finds_the_prefix() -> None:
    """The detector's zones of a prefix are those born in it."""
    candles = invented_market(3).frame(Timeframe.H1)
    assert len(zones.detect(candles, BROAD)) > 10
    assert not detects_differently(lambda c: zones.detect(c, BROAD), candles)


def test_planted_detector_that_stamps_zones_at_their_base_is_caught() -> None:
    """A zone stored at its base was known nowhere near it."""

    def stamped_early(candles: Candles) -> np.ndarray:
        found = zones.detect(candles, BROAD)
        found["born"] = found["base_start"]
        return found

    assert detects_differently(stamped_early, invented_market(3).frame(Timeframe.H1))


def test_planted_survivorship_is_caught() -> None:
    """A detector that forgets zones which later broke rewrites its own record."""

    def survivors(candles: Candles) -> np.ndarray:
        found = zones.detect(candles, BROAD)
        paths = zones.path_of(candles, 1), zones.path_of(candles, -1)
        book = zones.follow([(candles, found)], candles, paths, BROAD)
        return found[book.lives["state"] != zones.BROKEN]

    assert detects_differently(survivors, invented_market(3).frame(Timeframe.H1))


def test_planted_centred_yardstick_is_caught() -> None:
    """A detector given a yardstick that looks two bars ahead rewrites its zones."""

    def centred(candles: Candles) -> np.ndarray:
        ahead = np.r_[indicators.atr(candles)[2:], np.full(2, np.nan)]
        return zones.detect(candles, BROAD, atr=ahead)

    assert detects_differently(centred, invented_market(3).frame(Timeframe.H1))


def test_planted_filter_inside_the_strategy_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """`blofin verify` itself finds a filter that reads the next bar."""
    monkeypatch.setitem(FILTERS, "session", planted_next_bar)
    strategy = build_strategy({"filters.session": "required"})
    compared = compare_readings(invented_market(1), strategy, 60, silent)
    assert compared.rewritten > 0


def filled_too_early(plane: Plane, strategy: Strategy, shift: int) -> int:
    """How many trades begin before the close that decided them, signals moved by `shift` bars."""
    course = lay_course([plane.market], strategy.costs)
    rows = plane.signals()
    rows["tick"] += shift
    rows["until"] = np.maximum(rows["until"], rows["tick"])
    outcome = trade_signals(course, rows.astype(SignalRow._dtype), strategy, 1e4)
    decided = plane.at.now_ms[outcome.signals["zone"][outcome.trades["signal"]]]
    return int((outcome.trades["entry_ms"] < decided).sum())


@pytest.mark.parametrize("mode", ["confirm", "limit"])
def test_candle_that_confirms_cannot_also_fill(mode: str) -> None:
    """No trade begins before the close that decided it; a planted one that does is caught."""
    strategy = build_strategy({"preset": "reference", "entry.mode": mode})
    plane = evaluate(invented_market(1), strategy)
    assert filled_too_early(plane, strategy, 0) == 0
    assert filled_too_early(plane, strategy, -1) > 0


def trades_before(markets: list[Market], strategy: Strategy, now_ms: int) -> bytes:
    course = lay_course(markets, strategy.costs)
    outcome = trade(course, [evaluate(market, strategy) for market in markets], strategy, 1e4)
    done = outcome.trades[outcome.trades["exit_ms"] < now_ms]
    return bytes_of(np.sort(done["entry_ms"]), np.sort(done["pnl"]))


def test_delisted_symbol_keeps_the_trades_it_made() -> None:
    """The universe of a period holds symbols that end in it; leaving them out is caught."""
    strategy = build_strategy({"preset": "reference"})
    first, second = invented_market(1), invented_market(1, symbol="SOL-USDT")
    end_ms = int(second.entry.close_ts[1_999])
    delisted = Market(second.entry[:2_000], second.instrument)
    then = trades_before([cut(first, 2_000), delisted], strategy, end_ms - Timeframe.M15.ms)
    whole = trades_before([first, delisted], strategy, end_ms - Timeframe.M15.ms)
    survivors = trades_before([first], strategy, end_ms - Timeframe.M15.ms)
    assert then == whole
    assert survivors != then


def test_limit_score_does_not_know_the_margin_to_come() -> None:
    """An entry that rests from a zone's birth is scored without the move it has yet to make."""
    plane = evaluate(invented_market(1), build_strategy({"entry.mode": "limit"}))
    assert plane.score["margin"].max() == 0.0


def test_signals_come_in_time_order() -> None:
    """The step reads signals in the order of the bars that made them."""
    rows = evaluate(invented_market(1), build_strategy({})).signals()
    assert len(rows) > 5
    assert (np.diff(rows["tick"]) >= 0).all()


def test_score_weights_are_the_specified_ones() -> None:
    """The weights of section 4, a hundred together."""
    assert list(signals.WEIGHTS.values()) == [20.0, 15.0, 15.0, 15.0, 10.0, 10.0, 10.0, 5.0]
