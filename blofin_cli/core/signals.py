"""From zones to decisions: which touches confirm, what each would risk, and every gate's verdict.

`evaluate` is vectorised and causal: a row uses candles closed by its own moment. The backtest
reads all rows of it, a live session the last one; there is no incremental twin to keep in step.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blofin_cli.core.candles import Candles, Flags, Prices, Times
from blofin_cli.core.context import Market
from blofin_cli.core.entries import MOMENTS, Moments, find_entries, round_prices, traded
from blofin_cli.core.filters import FILTERS, Decisions, GateColumn
from blofin_cli.core.ledger import SignalRow, Verdict
from blofin_cli.core.market import Timeframe
from blofin_cli.core.strategy import Strategy, rules
from blofin_cli.core.zones import ZoneBook, detect_in, follow, freshness_of

NEUTRAL = 0.5
MAJORS = ("BTC-USDT", "ETH-USDT")


@dataclass(frozen=True, eq=False)
class Plane:
    """Every decision of one symbol, with its plan, its gates and its score.

    Shapes: (m,) each unless said. `zone` indexes the book; `bar` is the entry candle at whose
    close the decision is made; `limit` is 0 for a market entry.
    """

    market: Market
    strategy: Strategy
    book: ZoneBook
    entries: NDArray[Any]
    zone: NDArray[np.int64]
    at: Decisions
    entry: Prices
    limit: Prices
    stop: Prices
    target: Prices
    until: NDArray[np.int64]
    gates: list[GateColumn]
    score: dict[str, Prices]
    strength: Prices
    freshness: Prices
    regime: NDArray[Any]

    @cached_property
    def allowed(self) -> Flags:
        """Which decisions pass every gate of the strategy."""
        return np.logical_and.reduce([gate.passed for gate in self.gates])

    @property
    def confidence(self) -> Prices:
        """Textbook score times freshness, 0-100."""
        return self.strength * self.freshness

    def risk_fraction(self) -> Prices:
        """Share of equity each decision would risk. Source: 9.2, 9.3; decision 14."""
        risk = self.strategy.risk
        percent = np.full(len(self.zone), risk.per_trade_pct)
        if risk.tiers:
            tiers = [self.confidence >= 80, self.confidence >= 60]
            percent = np.select(tiers, [risk.strong_pct, risk.fair_pct], risk.weak_pct)
        regime = self.regime.astype(str)
        percent = percent * np.where(np.char.startswith(regime, "range/"), risk.range_scale, 1.0)
        wild = np.char.endswith(regime, "/high")
        percent = percent * np.where(wild, risk.high_volatility_scale, 1.0)
        return percent * 0.01

    def notional_scale(self) -> Prices:
        """Share of the notional cap left by present volatility. Source: decision 13."""
        if not self.strategy.volatility.size_cap:
            return np.ones(len(self.zone))
        ratio = self.market.volatility_ratio(Timeframe.H4, self.at.now_ms)
        return np.clip(np.nan_to_num(ratio, nan=1.0), 0.0, 1.0)

    def signals(self) -> NDArray[Any]:
        """The allowed decisions as rows for the step, in time order, higher timeframes first."""
        chosen = np.flatnonzero(self.allowed)
        order = np.lexsort((-self.book.step_ms[self.zone[chosen]], self.at.bar[chosen]))
        return self.signal_rows(chosen[order])

    def signal_rows(self, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """These decisions as rows for the step, whatever their gates say."""
        zone = self.zone[chosen]
        rows = SignalRow.rows(len(chosen))
        rows["tick"] = self.at.bar[chosen]
        rows["side"] = self.at.side[chosen]
        rows["until"] = self.until[chosen]
        rows["zone"] = chosen
        rows["hold_ms"] = self.strategy.manage.tstop * self.book.step_ms[zone]
        rows["zone_ms"] = self.book.step_ms[zone]
        rows["entry"] = self.entry[chosen]
        rows["limit"] = self.limit[chosen]
        rows["stop"] = self.stop[chosen]
        if self.strategy.target.mode == "opposing":
            rows["target"] = self.target[chosen]
        rows["risk_fraction"] = self.risk_fraction()[chosen]
        rows["notional_scale"] = self.notional_scale()[chosen]
        rows["verdict"] = int(Verdict.UNSEEN)
        return rows


def zone_timeframes(strategy: Strategy) -> list[Timeframe]:
    """Timeframes whose zones are detected: those traded, and the trend's as higher context."""
    wanted = {*strategy.context, *strategy.trend.timeframes}
    if strategy.entry.mode == "refined":
        wanted.add(strategy.timeframe)
    lowest = (
        strategy.timeframe
        if strategy.entry.mode == "refined"
        else min(strategy.context, key=lambda item: item.ms)
    )
    return sorted((item for item in wanted if item.ms >= lowest.ms), key=lambda item: item.ms)


def find_zones_of(market: Market, strategy: Strategy) -> list[tuple[Candles, NDArray[Any]]]:
    """Zones of every timeframe in use, each with the candles it was found in."""
    zone_rules = rules(strategy.zones)
    return [
        (market.frame(timeframe), detect_in(market.columns(timeframe), zone_rules))
        for timeframe in zone_timeframes(strategy)
    ]


def evaluate(
    market: Market, strategy: Strategy, found: list[tuple[Candles, NDArray[Any]]] | None = None
) -> Plane:
    """Detect, follow, confirm and judge: every decision the strategy would consider.

    `found` replaces the detected zones, as the level placebo does.
    Invariants: causal: a prefix of the candles gives the decisions that lie in the prefix.
    """
    paths = market.path(1), market.path(-1)
    zones = find_zones_of(market, strategy) if found is None else found
    book = follow(zones, market.entry, paths, strategy.zones)
    entries = find_entries(market, strategy, book)
    moments = MOMENTS[strategy.entry.mode](market, strategy, book, entries)
    return judge(market, strategy, book, entries, moments)


def judge(
    market: Market, strategy: Strategy, book: ZoneBook, entries: Any, moments: Moments
) -> Plane:
    zone, side = moments.zone, book.rows["side"][moments.zone]
    now_ms = market.entry.close_ts[moments.bar]
    tick = float(market.instrument.tick_size) if strategy.risk.limits else 0.0
    stop = moments.worst - side * strategy.stop.buf * book.rows["atr"][zone]
    stop = round_prices(stop, tick, side < 0)
    same, opposing = inside_higher(book, zone, now_ms, market.entry.close[moments.bar])
    at = Decisions(
        market,
        moments.bar,
        now_ms,
        side,
        book.rows["proximal"][zone],
        book.rows["distal"][zone],
        same,
        opposing,
    )
    target = _targets(strategy, book, at, moments.entry, stop)
    score = score_components(strategy, book, at, zone, moments.margin)
    filters = [
        (getattr(strategy.filters, item.name).mode, FILTERS[item.name], item.name)
        for item in fields(strategy.filters)
        if item.name in FILTERS and getattr(strategy.filters, item.name).mode != "off"
    ]
    columns = {
        name: (mode, apply(at, getattr(strategy.filters, name))) for mode, apply, name in filters
    }
    scored = {name: column.passed for name, (mode, column) in columns.items() if mode == "score"}
    strength = strength_of(score | {k: v.astype(float) for k, v in scored.items()}, strategy)
    freshness = _freshness(strategy, book, zone, now_ms, moments)
    gates = [
        *_plan_gates(strategy, at, moments.entry, stop, target),
        *_market_gates(strategy, at),
        _overlap_gate(strategy, book, entries, at, zone),
        *(column for mode, column in columns.values() if mode == "required"),
    ]
    if strategy.risk.tiers:
        gates.append(_confidence_gate(strength * freshness))
    return Plane(
        market=market,
        strategy=strategy,
        book=book,
        entries=entries,
        zone=zone,
        at=at,
        entry=moments.entry,
        limit=moments.limit,
        stop=stop,
        target=target,
        until=moments.until,
        gates=gates,
        score=score | {k: v.astype(float) for k, v in scored.items()},
        strength=strength,
        freshness=freshness,
        regime=regimes(strategy, at),
    )


def retarget(plane: Plane, strategy: Strategy) -> Plane:
    """The same decisions under a strategy that differs in its target, time stop or risk only.

    Invariants: equals `evaluate` under that strategy to the bit.
    """
    target = _targets(strategy, plane.book, plane.at, plane.entry, plane.stop)
    planned = _plan_gates(strategy, plane.at, plane.entry, plane.stop, target)
    others = [gate for gate in plane.gates if gate.name not in PLAN_GATES]
    return replace(plane, strategy=strategy, target=target, gates=[*planned, *others])


def inside_higher(
    book: ZoneBook, zone: NDArray[np.int64], now_ms: Times, price: Prices
) -> tuple[Flags, Flags]:
    """Whether each price lies in a live zone of a higher timeframe: same side, opposing side."""
    higher = np.flatnonzero(book.step_ms > book.step_ms[zone].min(initial=0))
    inside = book.alive(now_ms, higher) & book.containing(price, higher)
    inside &= book.step_ms[higher] > book.step_ms[zone][:, None]
    same = book.rows["side"][higher] == book.rows["side"][zone][:, None]
    return (inside & same).any(axis=1), (inside & ~same).any(axis=1)


def _targets(
    strategy: Strategy, book: ZoneBook, at: Decisions, entry: Prices, stop: Prices
) -> Prices:
    """Planned target price: a multiple of R, or short of the nearest opposing zone ahead."""
    distance = np.abs(entry - stop)
    if strategy.target.mode == "fixed":
        reward = strategy.target.parts[-1][0] if strategy.target.parts else strategy.target.rr
        return entry + at.side * reward * distance
    ahead = at.side[:, None] * (book.rows["proximal"][None, :] - entry[:, None])
    opposing = book.rows["side"][None, :] == -at.side[:, None]
    may_trade = traded(strategy, book)[None, :]
    ahead = np.where(
        book.alive(at.now_ms, np.arange(len(book))) & opposing & may_trade & (ahead > 0),
        ahead,
        np.inf,
    )
    if ahead.shape[1] == 0:
        return np.zeros(len(entry))
    nearest = np.argmin(ahead, axis=1)
    reach = ahead[np.arange(len(entry)), nearest]
    reach = np.minimum(
        reach - OPPOSING_BUFFER_ATR * book.rows["atr"][nearest], OPPOSING_MAX_R * distance
    )
    return np.where(np.isfinite(reach) & (reach > 0), entry + at.side * reach, 0.0)


OPPOSING_BUFFER_ATR = 0.1
OPPOSING_MAX_R = 10.0


def clip01(values: Prices) -> Prices:
    """Values cut to 0-1; unknown stays unknown."""
    return np.clip(values, 0.0, 1.0)


# Weight of each score component. Source: the specification, section 4.
WEIGHTS = {
    "departure": 20.0,
    "margin": 15.0,
    "higher_zone": 15.0,
    "trend": 15.0,
    "tightness": 10.0,
    "base_time": 10.0,
    "out_volume": 10.0,
    "out_body": 5.0,
}


def score_components(
    strategy: Strategy,
    book: ZoneBook,
    at: Decisions,
    zone: NDArray[np.int64],
    margin: Prices | None = None,
) -> dict[str, Prices]:
    """Components of the textbook score, each 0-1, known at the decision. Source: 4."""
    row = book.rows[zone]
    margin = book.first["margin"][zone] if margin is None else margin
    n_base = row["base_end"] - row["base_start"] + 1
    higher = np.where(at.inside_same, 1.0, np.where(at.inside_opposing, 0.0, NEUTRAL))
    components = {
        "departure": clip01((row["departure_atr"] - 1.25) / 1.75),
        "margin": clip01((margin - 1.0) / 5.0),
        "higher_zone": higher,
        "trend": trend_score(strategy, at),
        "tightness": 1.0 - clip01((row["base_height_atr"] - 0.4) / 1.4),
        "base_time": 1.0 - clip01((n_base - 1.0) / max(1.0, strategy.zones.base_max - 1.0)),
        "out_volume": clip01((row["out_volume"] - 1.0) / 2.0),
        "out_body": clip01((row["out_body"] - 0.5) / 0.5),
    }
    return {name: np.where(np.isfinite(v), v, NEUTRAL) for name, v in components.items()}


def trend_score(strategy: Strategy, at: Decisions) -> Prices:
    """Agreement of price with the EMA50 of each trend timeframe, 0-1; 0.5 until they are warm."""
    close = at.on_entry(at.market.entry.close)
    agreement = np.zeros(len(close))
    timeframes = strategy.trend.timeframes
    for timeframe in timeframes:
        average = at.market.at(at.market.ema(timeframe), timeframe, at.now_ms)
        agreement += np.nan_to_num(np.sign(close - average)) * at.side
    return (agreement / max(1, len(timeframes)) + 1.0) / 2.0


def strength_of(score: dict[str, Prices], strategy: Strategy) -> Prices:
    weights = {name: WEIGHTS.get(name, strategy.filters.weight) for name in score}
    total = sum(weights.values())
    return np.asarray(sum(score[name] * weight for name, weight in weights.items()) / total * 100.0)


def _freshness(
    strategy: Strategy, book: ZoneBook, zone: NDArray[np.int64], now_ms: Times, moments: Moments
) -> Prices:
    age_bars = (now_ms - book.born_ms[zone]) // book.step_ms[zone]
    half_life = strategy.zones.half_life_bars
    return np.asarray(freshness_of(moments.touches, age_bars, moments.penetration, half_life))


def slip_floor(symbol: str, strategy: Strategy) -> float:
    """Least slippage of a symbol, as a fraction of price."""
    costs = strategy.costs
    return (costs.floor_major_bps if symbol in MAJORS else costs.floor_other_bps) * 1e-4


def plan_costs(strategy: Strategy, symbol: str, is_limit: bool) -> tuple[float, float, float]:
    """Costs of entering, of the stop and of the target, each as a fraction of price."""
    costs = strategy.costs
    taker = (costs.taker + slip_floor(symbol, strategy)) * costs.scale
    maker = costs.maker * max(1.0, costs.scale)
    target = maker if strategy.target.order == "limit" else taker
    return (maker if is_limit else taker), taker, target


PLAN_GATES = ("stop_distance_min", "stop_distance_max", "net_reward_risk", "opposing_reward_risk")


def _plan_gates(
    strategy: Strategy, at: Decisions, entry: Prices, stop: Prices, target: Prices
) -> list[GateColumn]:
    rows = len(entry)
    distance = np.abs(entry - stop)
    percent = distance / entry * 100.0
    low, high = strategy.stop.min_stop_pct, strategy.stop.max_stop_pct
    is_limit = strategy.entry.mode == "limit"
    enter, stopped, paid = plan_costs(strategy, at.market.entry.symbol, is_limit)
    gain = np.abs(target - entry) - entry * enter - target * paid
    loss = distance + entry * enter + stop * stopped
    net = np.where(target > 0, gain / loss, np.nan)
    least = strategy.target.min_net_rr
    gates = [
        GateColumn(
            "stop_distance_min",
            (percent >= low) & (at.side * (entry - stop) > 0),
            percent,
            np.full(rows, low),
            "stop distance, percent of entry",
            "stop.min_stop_pct={value}",
        ),
        GateColumn(
            "stop_distance_max",
            percent <= high,
            percent,
            np.full(rows, high),
            "stop distance, percent of entry",
            "stop.max_stop_pct={above}",
        ),
        GateColumn(
            "net_reward_risk",
            np.isfinite(net) & (net >= least) if least > 0 else target > 0,
            net,
            np.full(rows, least),
            "reward over risk after costs",
            "target.min_net_rr={value}",
        ),
    ]
    if strategy.target.mode == "opposing":
        reward = np.where(target > 0, np.abs(target - entry) / distance, 0.0)
        gates.append(
            GateColumn(
                "opposing_reward_risk",
                reward >= strategy.target.min_rr,
                reward,
                np.full(rows, strategy.target.min_rr),
                "reward:risk to the nearest opposing zone",
                "target.min_rr={value}",
            )
        )
    return gates


def _market_gates(strategy: Strategy, at: Decisions) -> list[GateColumn]:
    limits, rows = strategy.volatility, len(at.bar)
    gates = []
    if limits.rank_max < 1.0:
        rank = at.market.volatility_rank(Timeframe.H1, at.now_ms)
        gates.append(
            GateColumn(
                "volatility_rank",
                rank <= limits.rank_max,
                rank,
                np.full(rows, limits.rank_max),
                "90-day rank of 1h ATR/close; unknown refuses",
                "volatility.rank_max={above}",
            )
        )
    if limits.atr_max_pct < 100.0:
        volatility = at.market.volatility(Timeframe.H1)
        level = at.market.at(volatility, Timeframe.H1, at.now_ms) * 100.0
        gates.append(
            GateColumn(
                "volatility_level",
                level <= limits.atr_max_pct,
                level,
                np.full(rows, limits.atr_max_pct),
                "1h ATR14 in percent of price",
                "volatility.atr_max_pct={above}",
            )
        )
    if limits.extreme_bars > 0:
        widest = _widest_recent(strategy, at)
        gates.append(
            GateColumn(
                "extreme_bar",
                widest <= limits.extreme_range_atr,
                widest,
                np.full(rows, limits.extreme_range_atr),
                "widest of the last 15m ranges, in ATR",
                "volatility.extreme_range_atr={above}",
            )
        )
    return gates


def _widest_recent(strategy: Strategy, at: Decisions) -> Prices:
    """Widest 15m range of the last closed bars, in the ATR that stood before each."""
    guarded = max(strategy.timeframe, Timeframe.M15, key=lambda item: item.ms)
    candles, yardstick = at.market.frame(guarded), at.market.yardstick(guarded)
    rows = at.market.frame_row(guarded, at.now_ms)
    widest = np.zeros(len(rows))
    for back in range(strategy.volatility.extreme_bars):
        row = np.maximum(rows - back, 0)
        with np.errstate(invalid="ignore"):
            ratio = (candles.high[row] - candles.low[row]) / yardstick[row]
        widest = np.maximum(widest, np.nan_to_num(ratio))
    return widest


def _overlap_gate(
    strategy: Strategy, book: ZoneBook, entries: Any, at: Decisions, zone: NDArray[np.int64]
) -> GateColumn:
    """The higher timeframe wins: a lower zone waits while an overlapping one may still trade."""
    top_ms = max(timeframe.ms for timeframe in strategy.context)
    rival = np.flatnonzero(
        (book.step_ms > book.step_ms[zone].min(initial=top_ms)) & (book.step_ms <= top_ms)
    )
    rows, own = book.rows[rival], book.rows[zone]
    touched = book.first["first_touch"][rival]
    decided = np.where(
        entries["signal"][rival] >= 0,
        entries["signal"][rival],
        touched + strategy.entry.conf_win - 1,
    )
    rivals = (touched >= 0) & (touched <= at.bar[:, None]) & (decided >= at.bar[:, None])
    rivals &= (book.step_ms[rival] > book.step_ms[zone][:, None]) & traded(strategy, book)[rival]
    rivals &= rows["side"] == own["side"][:, None]
    rivals &= _lows(rows) <= _highs(own)[:, None]
    rivals &= _highs(rows) >= _lows(own)[:, None]
    rivals &= book.alive(at.now_ms, rival)
    count = rivals.sum(axis=1).astype(float)
    return GateColumn(
        "higher_zone_first",
        count == 0,
        count,
        np.zeros(len(zone)),
        "overlapping zones of a higher timeframe whose own touch is being decided",
    )


def _lows(rows: Any) -> Prices:
    return np.minimum(rows["proximal"], rows["distal"])


def _highs(rows: Any) -> Prices:
    return np.maximum(rows["proximal"], rows["distal"])


def _confidence_gate(confidence: Prices) -> GateColumn:
    return GateColumn(
        "confidence",
        confidence >= 40.0,
        confidence,
        np.full(len(confidence), 40.0),
        "textbook score times freshness; below the weak tier nothing is risked",
        "risk.tiers=false",
    )


def regimes(strategy: Strategy, at: Decisions) -> NDArray[Any]:
    """Regime of each decision: trend relative to its side, and volatility. Source: 5."""
    market, now_ms = at.market, at.now_ms
    close = market.at(market.frame(Timeframe.H4).close, Timeframe.H4, now_ms)
    average = market.at(market.ema(Timeframe.H4), Timeframe.H4, now_ms)
    adx = market.at(market.adx(Timeframe.H4), Timeframe.H4, now_ms)
    rank = market.volatility_rank(Timeframe.H4, now_ms)
    with np.errstate(invalid="ignore"):
        agrees = np.sign(close - average) * at.side
        trend = np.select(
            [~np.isfinite(average + adx), adx < strategy.trend.adx_min, agrees > 0],
            ["unknown", "range", "with"],
            "against",
        )
        volatility = np.select(
            [~np.isfinite(rank), rank < 1 / 3, rank > 2 / 3], ["unknown", "low", "high"], "mid"
        )
    return np.char.add(np.char.add(trend, "/"), volatility)
