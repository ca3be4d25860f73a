"""Strategy settings: defaults, ranges, words, presets and what comes first."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core.market import Timeframe
from blofin_cli.core.strategy import (
    CLASSIC,
    REFERENCE,
    Strategy,
    build_strategy,
    flatten,
    rules,
    to_text,
)
from blofin_cli.errors import UsageError

# The tables of sections 2.2, 3 and 6 and the sentences of 7 and 9, as dotted names.
SPECIFIED = {
    "zones.base_min": (1, 1, 3), "zones.base_max": (6, 2, 10),
    "zones.base_body_max": (0.50, 0.3, 0.6), "zones.base_range_atr": (1.2, 0.6, 1.5),
    "zones.base_small_atr": (0.5, 0.3, 0.7), "zones.base_height_atr": (1.8, 0.8, 2.5),
    "zones.in_max_bars": (3, 1, 5), "zones.in_move_atr": (0.7, 0.5, 2.0),
    "zones.out_body_min": (0.50, 0.4, 0.8), "zones.out_bar_atr": (0.8, 0.6, 2.0),
    "zones.out_move_atr": (1.25, 1.0, 4.0), "zones.out_max_bars": (3, 1, 5),
    "zones.zone_min_atr": (0.2, 0.0, 0.5), "zones.zone_max_atr": (2.5, 1.0, 4.0),
    "zones.rearm_atr": (0.25, 0.0, 1.0), "zones.max_touches": (2, 1, 5),
    "zones.max_age_bars": (200, 50, 1000), "zones.overlap_frac": (0.5, 0.3, 1.0),
    "entry.conf_win": (6, 3, 24), "entry.conf_body": (0.5, 0.3, 0.7), "entry.depth": (0, 0, 0.5),
    "stop.buf": (1.5, 0.25, 3.0), "stop.min_stop_pct": (0.8, 0.0, 2.0),
    "target.min_rr": (2.0, 1.5, 4.0), "costs.impact": (1.0, 0.5, 1.5),
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "zones.preset": "broad", "zones.proximal": "body", "zones.break_mode": "close",
    "zones.half_life_bars": 200, "entry.mode": "confirm", "stop.max_stop_pct": 8.0,
    "target.mode": "fixed", "target.rr": 4.0, "target.min_net_rr": 1.5,
    "target.order": "trigger_market", "target.parts": (), "manage.tstop": 100, "manage.be_at": 0.0,
    "manage.trail": 0.0, "costs.maker": 0.0002, "costs.taker": 0.0006, "costs.through_bps": 1.0,
    "costs.funding_8h": 0.0001, "costs.funding_credit": 0.5, "costs.floor_major_bps": 2.0,
    "costs.floor_other_bps": 4.0, "costs.market_share": 0.05, "costs.limit_share": 0.20,
    "risk.per_trade_pct": 0.5, "risk.tiers": False, "risk.weak_pct": 0.5, "risk.fair_pct": 1.0,
    "risk.strong_pct": 1.5, "risk.liquidation_stops": 2.0, "risk.volume_share_pct": 1.0,
    "risk.portfolio_pct": 2.5, "risk.total_pct": 4.0, "risk.direction_pct": 3.0,
    "risk.positions_max": 6, "risk.scale_min": 0.5, "risk.day_loss_pct": 3.0,
    "risk.week_loss_pct": 6.0, "risk.drawdown_pct": 15.0, "risk.cooldown_h": 4.0,
    "risk.stops_symbol": 3, "risk.stops_account": 5, "risk.pause_h": 24.0,
    "volatility.rank_max": 0.975, "volatility.atr_max_pct": 4.0,
    "volatility.extreme_range_atr": 8.0, "volatility.extreme_bars": 4,
    "volatility.adaptive_enter": 0.80, "volatility.adaptive_leave": 0.70, "trend.adx_min": 20.0,
    "filters.weight": 10.0, "timeframe": Timeframe.M15, "context": (Timeframe.H1, Timeframe.H4),
}  # fmt: skip


def items_of(section: Any, prefix: str = "") -> list[tuple[str, Any, Any, Any]]:
    """Dotted name, field, type and value of every parameter."""
    found = []
    hints = get_type_hints(type(section))
    for item in fields(section):
        value, name = getattr(section, item.name), f"{prefix}{item.name}"
        if is_dataclass(value):
            found += items_of(value, f"{name}.")
        else:
            found.append((name, item, hints[item.name], value))
    return found


ITEMS = items_of(Strategy())
NUMBERS = {name: (item, value) for name, item, _, value in ITEMS if "low" in item.metadata}
WORDS = {name: get_args(hint) for name, _, hint, _ in ITEMS if get_origin(hint) is not None
         and all(isinstance(word, str) for word in get_args(hint)) and get_args(hint)}  # fmt: skip


@pytest.mark.parametrize("name", SPECIFIED)
def test_default_and_range_are_the_specified_ones(name: str) -> None:
    """Defaults and ranges are those of the specification's tables."""
    item, value = NUMBERS[name]
    assert (value, item.metadata["low"], item.metadata["high"]) == SPECIFIED[name]


def test_defaults_are_the_specified_ones() -> None:
    """What the specification fixes without a range is the default."""
    flat = flatten(build_strategy({}))
    assert {name: flat[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", NUMBERS)
def test_default_lies_in_its_range(name: str) -> None:
    """Every number's default lies in its range, and its kind is the declared one."""
    item, value = NUMBERS[name]
    assert item.metadata["low"] <= value <= item.metadata["high"]


def test_every_parameter_has_a_sentence() -> None:
    """The reference page has something to say about each."""
    assert [name for name, item, _, _ in ITEMS if not item.metadata.get("text")] == []


@pytest.mark.parametrize("name", NUMBERS)
def test_number_outside_its_range_is_refused(name: str) -> None:
    """One step outside either end is refused, and the sentence names both ends."""
    item, _ = NUMBERS[name]
    for value in (item.metadata["low"] - 1, item.metadata["high"] + 1):
        with pytest.raises(UsageError, match=f"{name} must be from"):
            build_strategy({name: value})


@pytest.mark.parametrize("name", WORDS)
def test_unknown_word_is_refused_with_the_known_ones(name: str) -> None:
    """A word outside the list is refused, and the list is named."""
    with pytest.raises(UsageError, match="must be one of " + ", ".join(WORDS[name])):
        build_strategy({name: "sideways"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("zones.out_move", "zones.out_move_atr"),
        ("filters.rsi_extrem", "filters.rsi_extreme"),
        ("risk.per_trade", "risk.per_trade_pct"),
        ("qqqqqqqqq", "guide strategy"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    """A misspelt name brings the nearest known one."""
    with pytest.raises(UsageError, match="unknown strategy setting") as refused:
        build_strategy({name: 1})
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop.buf", "1,5"), ("stop.buf", "nan"), ("stop.buf", "inf"), ("stop.buf", "1_0"),
        ("stop.buf", True), ("stop.buf", ""), ("stop.buf", "9" * 40), ("zones.base_max", "2.5"),
        ("zones.base_max", "0x4"), ("risk.limits", "yes"), ("timeframe", "7m"), ("context", "7h"),
        ("context", ""), ("context", "15m"), ("timeframe", "4h"), ("target.parts", "2"),
        ("target.parts", "2:50%,4:40%"), ("target.parts", "4:50%,2:50%"),
        ("target.parts", "1:-50%,2:150%"), ("target.parts", "1:20%,2:20%,3:20%,4:20%,5:20%"),
        ("filters.session.hours", "17-13"), ("filters.session.hours", "20-25"),
        ("filters.session.hours", "13"),
    ],
)  # fmt: skip
def test_value_that_means_nothing_is_refused(name: str, value: Any) -> None:
    """A value that is no number, word or list of the field is refused by name."""
    with pytest.raises(UsageError, match=name.split(".", maxsplit=1)[0]):
        build_strategy({name: value})


def test_base_limits_that_cross_are_refused() -> None:
    """The fewest base candles cannot be more than the most."""
    with pytest.raises(UsageError, match="base_min is above"):
        build_strategy({"zones.base_min": 3, "zones.base_max": 2})


def test_classic_preset_is_the_specified_column() -> None:
    """The classic preset changes exactly the specified thresholds."""
    flat, broad = flatten(build_strategy({"zones.preset": "classic"})), flatten(build_strategy({}))
    changed = {name: flat[name] for name in flat if flat[name] != broad[name]}
    assert changed == {f"zones.{name}": value for name, value in CLASSIC.items()} | {
        "zones.preset": "classic"
    }


def test_reference_preset_is_the_event_study() -> None:
    """The reference preset trades 1h zones alone, without limits, at fixed slippage, as maker."""
    strategy = build_strategy({"preset": "reference"})
    assert strategy.context == (Timeframe.H1,)
    assert (strategy.risk.limits, strategy.stop.min_stop_pct) == (False, 0.0)
    assert (strategy.costs.slippage, strategy.target.order) == ("fixed", "limit")
    for name, text in REFERENCE.items():
        assert build_strategy({name: text})


def test_explicit_setting_wins_over_its_preset() -> None:
    """What is said wins over the preset, whichever was said first."""
    for words in (
        {"preset": "reference", "context": "4h", "zones.preset": "classic", "zones.in_move_atr": 2},
        {"zones.in_move_atr": 2, "zones.preset": "classic", "context": "4h", "preset": "reference"},
    ):
        strategy = build_strategy(words)
        assert strategy.context == (Timeframe.H4,)
        assert (strategy.zones.in_move_atr, strategy.zones.out_move_atr) == (2.0, 2.0)


def test_filter_name_alone_sets_its_mode() -> None:
    """`filters.rsi_extreme=required` is short for its mode; all are off by default."""
    assert (
        build_strategy({"filters.rsi_extreme": "required"}).filters.rsi_extreme.mode == "required"
    )
    modes = {name: v for name, v in flatten(build_strategy({})).items() if name.endswith(".mode")}
    filters = {name: mode for name, mode in modes.items() if name.startswith("filters.")}
    assert set(filters.values()) == {"off"}


def test_lists_read_as_typed_and_as_toml() -> None:
    """Parts and hours read the same from a command line and from a file."""
    typed = build_strategy({"target.parts": "2:50%, 4:50%", "filters.session.hours": "0-4,20-24"})
    read = build_strategy(
        {"target.parts": [[2, 0.5], [4, 0.5]], "filters.session.hours": [[0, 4], [20, 24]]}
    )
    assert typed.target.parts == read.target.parts == ((2.0, 0.5), (4.0, 0.5))
    assert typed.filters.session.hours == read.filters.session.hours == ((0, 4), (20, 24))


@given(st.data())
def test_every_setting_survives_being_written_and_read(data: st.DataObject) -> None:
    """Text of a value reads back as the value: parse(build(x)) = x."""
    words: dict[str, Any] = {}
    for name in data.draw(st.lists(st.sampled_from(sorted(NUMBERS)), max_size=5, unique=True)):
        item, value = NUMBERS[name]
        low, high = item.metadata["low"], item.metadata["high"]
        kind = st.integers(int(low), int(high)) if isinstance(value, int) else st.floats(low, high)
        words[name] = data.draw(kind)
    words.pop("zones.base_min", None)
    strategy = build_strategy(words)
    texts = {name: to_text(value) for name, value in flatten(strategy).items()}
    assert build_strategy(texts) == strategy


def test_rules_are_the_numbers_of_a_section() -> None:
    """Kernels see numbers: words by their place, flags as 0 and 1, lists left out."""
    numbers = rules(build_strategy({"target.mode": "opposing", "target.order": "limit"}).target)
    assert (numbers.mode, numbers.order, numbers.rr) == (1, 1, 4.0)
    assert "parts" not in numbers._fields
    assert rules(build_strategy({"zones.proximal": "wick"}).zones).proximal == 1
    assert rules(build_strategy({}).risk).limits == 1
    assert all(type(value) in (int, float) for value in rules(build_strategy({}).costs))
