"""Every parameter of the strategy, with its default, range and the word it is set by.

`--set zones.out_move_atr=2` and the strategy file name these fields by dotted path. The defaults
are those of the specification; a preset changes several at once and explicit words win over it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from blofin_cli.core.market import Timeframe
from blofin_cli.errors import UsageError

Mode = Literal["off", "required", "score"]


def ranged(default: Any, low: float, high: float, text: str) -> Any:
    """A numeric parameter with its inclusive range and its sentence for the reference page."""
    return field(default=default, metadata={"low": low, "high": high, "text": text})


def worded(default: Any, text: str) -> Any:
    """A parameter that is a word, a flag or a list, with its sentence."""
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True)
class Zones:
    """Detection (2.2) and life (3) of zones; `_atr` in ATR(14) before the candle under test."""

    preset: Literal["broad", "classic"] = worded(
        "broad", "which column of thresholds to start from"
    )
    base_min: int = ranged(1, 1, 3, "fewest candles in the base")
    base_max: int = ranged(6, 2, 10, "most candles in the base")
    base_body_max: float = ranged(0.5, 0.3, 0.6, "body share of a base candle")
    base_range_atr: float = ranged(1.2, 0.6, 1.5, "range of a base candle")
    base_small_atr: float = ranged(0.5, 0.3, 0.7, "a candle this small is base whatever its body")
    base_height_atr: float = ranged(1.8, 0.8, 2.5, "whole base, high to low")
    in_max_bars: int = ranged(3, 1, 5, "leg-in look-back")
    in_move_atr: float = ranged(0.7, 0.5, 2.0, "net leg-in move")
    out_body_min: float = ranged(0.5, 0.4, 0.8, "body share of the first leg-out candle")
    out_bar_atr: float = ranged(0.8, 0.6, 2.0, "range of the first leg-out candle")
    out_move_atr: float = ranged(1.25, 1.0, 4.0, "close-to-proximal distance that confirms")
    out_max_bars: int = ranged(3, 1, 5, "candles allowed to get there")
    zone_min_atr: float = ranged(0.2, 0.0, 0.5, "lowest zone; a thinner one is widened")
    zone_max_atr: float = ranged(2.5, 1.0, 4.0, "highest zone")
    proximal: Literal["body", "wick"] = worded("body", "which edge of the base is proximal")
    rearm_atr: float = ranged(0.25, 0.0, 1.0, "distance that ends a touch")
    max_touches: int = ranged(2, 1, 5, "touches before a zone is spent")
    max_age_bars: int = ranged(200, 50, 1000, "own-timeframe bars before a zone expires")
    break_mode: Literal["close", "wick"] = worded("close", "what breaks a zone")
    overlap_frac: float = ranged(0.5, 0.3, 1.0, "overlap that supersedes the older zone")
    half_life_bars: int = ranged(200, 10, 2000, "own-timeframe bars that halve freshness")


CLASSIC: dict[str, Any] = {
    "base_range_atr": 1.0,
    "base_height_atr": 1.5,
    "in_move_atr": 1.0,
    "out_body_min": 0.6,
    "out_bar_atr": 1.0,
    "out_move_atr": 2.0,
    "zone_max_atr": 2.0,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """How a touch of a zone becomes an entry (6.1)."""

    mode: Literal["confirm", "limit", "refined"] = worded("confirm", "confirm, limit or refined")
    conf_win: int = ranged(6, 3, 24, "entry candles in which a touch may confirm")
    conf_body: float = ranged(0.5, 0.3, 0.7, "body share of the confirming candle")
    depth: float = ranged(0.0, 0.0, 0.5, "limit price inside the zone, share of its height")
    refine_bars: int = ranged(12, 1, 48, "4h bars in which a 15m zone may refine a 4h touch")


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the stop goes (6.2); `_pct` in percent of the entry price."""

    buf: float = ranged(1.5, 0.25, 3.0, "zone ATRs beyond the worse of distal and extreme")
    min_stop_pct: float = ranged(0.8, 0.0, 2.0, "nearer stops are refused: costs eat them")
    max_stop_pct: float = ranged(8.0, 1.0, 20.0, "wider stops are refused")


@dataclass(frozen=True, slots=True)
class Target:
    """Where profit is taken (6.3), in multiples of R."""

    mode: Literal["fixed", "opposing"] = worded("fixed", "a multiple of R, or the opposing zone")
    rr: float = ranged(4.0, 0.5, 20.0, "reward:risk of a fixed target")
    min_rr: float = ranged(2.0, 1.5, 4.0, "least reward:risk of an opposing target")
    min_net_rr: float = ranged(1.5, 0.0, 10.0, "least reward:risk after costs")
    order: Literal["trigger_market", "limit"] = worded(
        "trigger_market", "what rests at the target: BloFin's attached trigger, or a maker limit"
    )
    parts: tuple[tuple[float, float], ...] = worded(
        (), "partial targets as rr:fraction, e.g. 2:50%,4:50%; empty is one target at rr"
    )


@dataclass(frozen=True, slots=True)
class Manage:
    """What happens to an open position (6.4)."""

    tstop: int = ranged(100, 1, 1000, "own-timeframe bars before a time stop")
    be_at: float = ranged(0.0, 0.0, 10.0, "R at which the stop goes to entry; 0 is off")
    trail: float = ranged(0.0, 0.0, 10.0, "R the stop follows behind the best price; 0 is off")
    exit_on_opposite: bool = worded(False, "leave when a signal of the other side appears")


@dataclass(frozen=True, slots=True)
class RsiExtreme:
    """RSI of the entry timeframe at an extreme in favour of the trade."""

    mode: Mode = worded("off", "evidence: -0.26 R with it on in 2022-24")
    low: float = ranged(30.0, 1.0, 50.0, "highest RSI for a long; a short mirrors it")


@dataclass(frozen=True, slots=True)
class RsiDivergence:
    """Price beyond the last confirmed fractal, RSI not."""

    mode: Mode = worded("off", "evidence: -0.05 R in both periods")
    lookback_bars: int = ranged(40, 5, 200, "how old the fractal may be")


@dataclass(frozen=True, slots=True)
class VolumeSpike:
    """Volume of the signal candle against the 20 before it."""

    mode: Mode = worded("off", "evidence: +0.03 and -0.13 R")
    ratio: float = ranged(1.5, 1.0, 10.0, "least volume over its average")


@dataclass(frozen=True, slots=True)
class MomentumShift:
    """The last two bodies together, in the trade's direction."""

    mode: Mode = worded("off", "evidence: +0.05 and +0.08 R; already part of confirm entries")
    move_atr: float = ranged(0.5, 0.0, 5.0, "least sum of the two bodies, in ATR")


@dataclass(frozen=True, slots=True)
class VolumeProfile:
    """Seven days' volume inside the zone against the zone's share of their range."""

    mode: Mode = worded("off", "evidence: -0.05 and -0.03 R")
    ratio: float = ranged(0.7, 0.1, 2.0, "highest ratio: a low-volume node")


@dataclass(frozen=True, slots=True)
class HtfZone:
    """Inside a live same-side zone of a higher timeframe."""

    mode: Mode = worded("off", "evidence: -0.04 and +0.14 R")


@dataclass(frozen=True, slots=True)
class Trend4h:
    """Close on the trade's side of the 4h EMA50."""

    mode: Mode = worded("off", "evidence: -0.04 and +0.37 R")


@dataclass(frozen=True, slots=True)
class RangeOnly:
    """4h ADX below a limit: no trend to run over the zone."""

    mode: Mode = worded("off", "evidence: +0.19 and +0.06 R")
    adx_max: float = ranged(25.0, 5.0, 60.0, "highest ADX14 of 4h")


@dataclass(frozen=True, slots=True)
class SessionHours:
    """Hours of the day, UTC, in which a signal may trade."""

    mode: Mode = worded("off", "evidence: -0.01 and +0.02 R")
    hours: tuple[tuple[int, int], ...] = worded(((13, 17),), "UTC hour ranges, e.g. 13-17,20-24")


@dataclass(frozen=True, slots=True)
class CandlePattern:
    """An engulfing or pin-bar candle in the trade's direction (TA-Lib CDL functions)."""

    mode: Mode = worded("off", "not part of the reference study")


@dataclass(frozen=True, slots=True)
class BookImbalance:
    """Bid against ask quantity near mid; needs a recorded or live book, never guessed."""

    mode: Mode = worded("off", "not testable on candles")
    imbalance: float = ranged(0.2, 0.0, 1.0, "least imbalance in the trade's direction")


@dataclass(frozen=True, slots=True)
class Filters:
    """Confirmations (6.5): each off, required, or score."""

    rsi_extreme: RsiExtreme = RsiExtreme()
    rsi_divergence: RsiDivergence = RsiDivergence()
    volume_spike: VolumeSpike = VolumeSpike()
    momentum_shift: MomentumShift = MomentumShift()
    volume_profile: VolumeProfile = VolumeProfile()
    htf_zone: HtfZone = HtfZone()
    trend_4h: Trend4h = Trend4h()
    range_only: RangeOnly = RangeOnly()
    session: SessionHours = SessionHours()
    candle_pattern: CandlePattern = CandlePattern()
    book_imbalance: BookImbalance = BookImbalance()
    weight: float = ranged(10.0, 0.0, 50.0, "weight of a filter in score mode")


@dataclass(frozen=True, slots=True)
class Trend:
    """Trend and regime of the context (4, 5)."""

    timeframes: tuple[Timeframe, ...] = worded(
        (Timeframe.H4, Timeframe.D1), "whose EMA50 is scored"
    )
    adx_min: float = ranged(20.0, 5.0, 60.0, "ADX14 of 4h below this is a range")


@dataclass(frozen=True, slots=True)
class Volatility:
    """When the market is too wild to trade, and how size shrinks before that (5)."""

    rank_max: float = ranged(0.975, 0.5, 1.0, "highest 90-day rank of 1h ATR/close")
    atr_max_pct: float = ranged(4.0, 0.5, 100.0, "highest 1h ATR/close, percent")
    extreme_range_atr: float = ranged(8.0, 2.0, 1000.0, "a 15m range this wide blocks entries")
    extreme_bars: int = ranged(4, 0, 96, "for this many closed 15m bars")
    size_cap: bool = worded(True, "shrink the notional cap by median over present ATR")
    adaptive: bool = worded(True, "confirm on 5m while volatility is high, when 5m candles exist")
    adaptive_enter: float = ranged(0.80, 0.5, 1.0, "1h rank at which 5m takes over")
    adaptive_leave: float = ranged(0.70, 0.0, 1.0, "1h rank at which 15m returns")


@dataclass(frozen=True, slots=True)
class Costs:
    """Fees, slippage and what of a candle an order may fill (7); rates are fractions."""

    maker: float = ranged(0.0002, -0.001, 0.01, "maker fee rate")
    taker: float = ranged(0.0006, 0.0, 0.01, "taker fee rate")
    slippage: Literal["impact", "fixed"] = worded(
        "impact", "square-root impact, or the floor alone"
    )
    impact: float = ranged(1.0, 0.5, 1.5, "Y of the square-root law")
    half_spread_bps: float = ranged(0.5, 0.0, 50.0, "half the spread")
    floor_major_bps: float = ranged(2.0, 0.0, 100.0, "least slippage of BTC and ETH")
    floor_other_bps: float = ranged(4.0, 0.0, 100.0, "least slippage of the others")
    through_bps: float = ranged(1.0, 0.0, 50.0, "trade-through that fills a limit order")
    market_share: float = ranged(0.05, 0.01, 1.0, "share of a candle's volume a market order takes")
    limit_share: float = ranged(0.20, 0.01, 1.0, "share of a candle's volume a limit order takes")
    funding_8h: float = ranged(
        0.0001, 0.0, 0.01, "funding where no history is given, paid by longs"
    )
    funding_credit: float = ranged(0.5, 0.0, 1.0, "share of that credited to shorts")
    scale: float = ranged(1.0, 0.0, 10.0, "multiplies fees and slippage, for stress")


@dataclass(frozen=True, slots=True)
class Risk:
    """Size, exposure and breakers (9); `_pct` in percent of equity."""

    per_trade_pct: float = ranged(0.5, 0.05, 2.0, "risk of a trade; above 1 needs proof")
    tiers: bool = worded(False, "size by confidence: off until its own proof")
    weak_pct: float = ranged(0.5, 0.05, 2.0, "risk at confidence 40-59")
    fair_pct: float = ranged(1.0, 0.05, 2.0, "risk at confidence 60-79")
    strong_pct: float = ranged(1.5, 0.05, 2.0, "risk at confidence 80 and more")
    range_scale: float = ranged(1.0, 0.0, 1.0, "risk multiplier in a range regime")
    high_volatility_scale: float = ranged(1.0, 0.0, 1.0, "risk multiplier in high volatility")
    max_leverage: float = ranged(
        3.0, 1.0, 20.0, "highest notional over equity, and margin leverage"
    )
    liquidation_stops: float = ranged(2.0, 1.0, 10.0, "stop distances kept before liquidation")
    volume_share_pct: float = ranged(1.0, 0.01, 10.0, "notional as share of 24 h quote volume")
    portfolio_pct: float = ranged(2.5, 0.1, 20.0, "correlated risk at the stops")
    total_pct: float = ranged(4.0, 0.1, 20.0, "sum of risks")
    direction_pct: float = ranged(3.0, 0.1, 20.0, "sum of risks of one direction")
    positions_max: int = ranged(6, 1, 50, "open positions and resting entries")
    scale_min: float = ranged(0.5, 0.0, 1.0, "a trade scaled below this share is skipped")
    day_loss_pct: float = ranged(3.0, 0.1, 100.0, "loss of the day that stops entries")
    week_loss_pct: float = ranged(6.0, 0.1, 100.0, "loss of the week that stops entries")
    drawdown_pct: float = ranged(15.0, 0.1, 100.0, "drawdown that closes all and halts")
    cooldown_h: float = ranged(4.0, 0.0, 168.0, "pause of a symbol after a stop-out")
    win_cooldown_h: float = ranged(0.0, 0.0, 168.0, "pause of a symbol after a win")
    stops_symbol: int = ranged(3, 1, 50, "stop-outs in a row that pause a symbol")
    stops_account: int = ranged(5, 1, 50, "stop-outs in a row that pause the account")
    pause_h: float = ranged(24.0, 0.0, 720.0, "length of those pauses")
    entries_per_day: int = ranged(8, 1, 1000, "entries a UTC day, all symbols")
    limits: bool = worded(True, "account limits, rounding and one position a symbol")


@dataclass(frozen=True, slots=True)
class Strategy:
    """The whole strategy; the two presets of it are `default` and `reference`."""

    preset: Literal["default", "reference"] = worded("default", "what ships, or the event study")
    timeframe: Timeframe = worded(Timeframe.M15, "entry timeframe")
    context: tuple[Timeframe, ...] = worded((Timeframe.H1, Timeframe.H4), "zone timeframes")
    zones: Zones = Zones()
    entry: Entry = Entry()
    stop: Stop = Stop()
    target: Target = Target()
    manage: Manage = Manage()
    filters: Filters = Filters()
    trend: Trend = Trend()
    volatility: Volatility = Volatility()
    costs: Costs = Costs()
    risk: Risk = Risk()


# The event study of the specification, section 13.7: every trade stands alone.
REFERENCE = {
    "context": "1h",
    "stop.min_stop_pct": "0",
    "target.min_net_rr": "0",
    "target.order": "limit",
    "volatility.rank_max": "1",
    "volatility.atr_max_pct": "100",
    "volatility.extreme_bars": "0",
    "volatility.size_cap": "false",
    "volatility.adaptive": "false",
    "costs.slippage": "fixed",
    "costs.market_share": "1",
    "costs.limit_share": "1",
    "risk.limits": "false",
}


def build_strategy(settings: Mapping[str, Any]) -> Strategy:
    """The strategy with these dotted settings over its presets.

    Values may be text, as typed, or typed already, as read from TOML.
    Errors: UsageError for an unknown name (with the nearest known one), a value that is no number
    or word of the field, or one outside its range.
    """
    strategy = Strategy()
    if str(settings.get("preset", "default")) == "reference":
        strategy = _apply(strategy, REFERENCE)
    if str(settings.get("zones.preset", "broad")) == "classic":
        strategy = replace(strategy, zones=replace(strategy.zones, **CLASSIC))
    strategy = _apply(strategy, settings)
    _check_together(strategy)
    return strategy


def path_of(name: str, known: Mapping[str, Any]) -> str:
    """The dotted name of a parameter, where a filter's own name stands for its mode.

    `known` is what `flatten` gives. Errors: UsageError for an unknown name, with the nearest one.
    """
    path = f"{name}.mode" if f"{name}.mode" in known else name
    if path not in known:
        near = get_close_matches(name, [*known, *_filter_names(known)], 1, 0.5)
        raise UsageError(
            f"unknown strategy setting {name[:80]!a}",
            hint=f"did you mean {near[0]}?" if near else "see `blofin guide strategy`",
        )
    return path


def flatten(strategy: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value of every parameter, in order of declaration."""
    flat: dict[str, Any] = {}
    for item in fields(strategy):
        value = getattr(strategy, item.name)
        name = f"{prefix}{item.name}"
        flat |= flatten(value, f"{name}.") if is_dataclass(value) else {name: value}
    return flat


def to_text(value: Any) -> str:
    """A parameter's value as one would type it after `--set name=`."""
    if isinstance(value, tuple):
        return ",".join(
            _pair_text(item) if isinstance(item, tuple) else str(item) for item in value
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache(4096)
def rules(section: Any) -> Any:
    """A section as a named tuple of numbers, the form that kernels take.

    Words become their position among the allowed ones; tuples and sub-sections are left out.
    """
    form = _RULES[type(section)]
    hints = _hints(type(section))  # type: ignore[arg-type]
    return form(*(_as_number(hints[name], getattr(section, name)) for name in form._fields))


def _as_number(kind: Any, value: Any) -> float | int:
    words = _words(kind)
    if words:
        return words.index(value)
    return float(value) if kind is float else int(value)


def _rules_form(section: type) -> Any:
    # A compiled kernel is cached under the class of its rules, found again by module and name.
    numeric = [
        (item.name, float if kind is float else int)
        for item in fields(section)
        if (kind := _hints(section)[item.name]) in (int, float, bool) or _words(kind)
    ]
    form: Any = NamedTuple(f"{section.__name__}Rules", numeric)  # type: ignore[misc]
    form.__module__ = __name__
    return form


@cache
def _hints(section: Any) -> dict[str, Any]:
    return get_type_hints(section)


def _apply(strategy: Strategy, settings: Mapping[str, Any]) -> Strategy:
    known = flatten(strategy)
    for name, value in settings.items():
        path = path_of(name, known)
        strategy = _set(strategy, path.split("."), value, path)
    return strategy


def _filter_names(known: Iterable[str]) -> list[str]:
    return [name.removesuffix(".mode") for name in known if name.endswith(".mode")]


def _set(section: Any, path: list[str], value: Any, name: str) -> Any:
    head, *rest = path
    if rest:
        return replace(section, **{head: _set(getattr(section, head), rest, value, name)})
    item = next(item for item in fields(section) if item.name == head)
    parsed = _parse(_hints(type(section))[head], value, name)  # type: ignore[arg-type]
    low, high = item.metadata.get("low"), item.metadata.get("high")
    if low is not None and not low <= parsed <= high:
        raise UsageError(f"{name} must be from {low:g} to {high:g}, not {to_text(parsed)[:80]}")
    return replace(section, **{head: parsed})


def _parse(kind: Any, value: Any, name: str) -> Any:
    words = _words(kind)
    if words:
        if value not in words:
            raise UsageError(f"{name} must be one of {', '.join(words)}, not {ascii(value)[:80]}")
        return value
    if kind is bool:
        return _flag(value, name)
    if kind in (int, float):
        return _number(kind, value, name)
    if kind is Timeframe:
        return _timeframe(value, name)
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(_element(kind, part, name) for part in parts if part != "")


def _words(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _flag(value: Any, name: str) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise UsageError(f"{name} must be true or false, not {ascii(value)[:80]}")
    return str(value).lower() == "true"


def _number(kind: type, value: Any, name: str) -> Any:
    text = str(value)
    try:
        if isinstance(value, bool) or len(text) > 32 or "_" in text:
            raise ValueError
        number = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} must be {wanted}, not {ascii(value)[:80]}") from None
    if not math.isfinite(number):
        raise UsageError(f"{name} must be finite, not {text}")
    return number


def _timeframe(value: Any, name: str) -> Timeframe:
    try:
        return Timeframe(value)
    except ValueError:
        raise UsageError(
            f"{name}: {ascii(value)[:80]} is no timeframe",
            hint="use one of " + ", ".join(Timeframe),
        ) from None


def _element(kind: Any, part: Any, name: str) -> Any:
    inner = get_args(kind)[0]
    if inner is Timeframe:
        return _timeframe(part.strip() if isinstance(part, str) else part, name)
    separator = ":" if get_args(inner)[0] is float else "-"
    pair = part.split(separator) if isinstance(part, str) else list(part)
    if len(pair) != 2:
        raise UsageError(f"{name}: write each part as a{separator}b, not {ascii(part)[:80]}")
    return tuple(_share(get_args(inner)[0], item, name) for item in pair)


def _share(kind: type, value: Any, name: str) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        return _number(kind, value.strip()[:-1], name) / 100
    return _number(kind, value.strip() if isinstance(value, str) else value, name)


def _pair_text(pair: tuple[Any, ...]) -> str:
    separator = ":" if isinstance(pair[0], float) else "-"
    return separator.join(f"{item:g}" if isinstance(item, float) else str(item) for item in pair)


def _check_together(strategy: Strategy) -> None:
    entry_ms = strategy.timeframe.ms
    if not strategy.context:
        raise UsageError("context names no timeframe", hint="--context 1h,4h")
    for timeframe in strategy.context:
        if timeframe.ms <= entry_ms or timeframe.ms % entry_ms:
            raise UsageError(
                f"context {timeframe} is no multiple of the entry timeframe {strategy.timeframe}",
                hint="zones live on higher timeframes, e.g. --context 1h,4h",
            )
    parts = strategy.target.parts
    if len(parts) > TARGET_PARTS_MAX:
        raise UsageError(f"target.parts takes at most {TARGET_PARTS_MAX} parts")
    if parts and (
        abs(sum(share for _, share in parts) - 1) > 1e-9 or min(min(p) for p in parts) <= 0
    ):
        raise UsageError("target.parts: every number must be positive and the fractions sum to 1")
    if list(parts) != sorted(parts):
        raise UsageError("target.parts must go from the nearest target to the farthest")
    for start, end in strategy.filters.session.hours:
        if not 0 <= start < end <= 24:
            raise UsageError(
                "filters.session.hours: hours go from 0 to 24, the first below the second",
                hint="past midnight takes two ranges: 22-24,0-4",
            )
    if strategy.zones.base_min > strategy.zones.base_max:
        raise UsageError("zones.base_min is above zones.base_max")


TARGET_PARTS_MAX = 4

ZonesRules = _rules_form(Zones)
EntryRules = _rules_form(Entry)
TargetRules = _rules_form(Target)
ManageRules = _rules_form(Manage)
CostsRules = _rules_form(Costs)
RiskRules = _rules_form(Risk)

_RULES: dict[type, Any] = {
    Zones: ZonesRules,
    Entry: EntryRules,
    Target: TargetRules,
    Manage: ManageRules,
    Costs: CostsRules,
    Risk: RiskRules,
}
