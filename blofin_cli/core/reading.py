"""What a person reads: the zones as they stand, and the signal with every gate's reason.

Everything is as of the last closed entry candle of the market given; cut the candles to read an
earlier moment.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from blofin_cli.core import signals
from blofin_cli.core.context import Market
from blofin_cli.core.entries import CONFIRMED, WAITING, Moments
from blofin_cli.core.filters import Decisions, GateColumn
from blofin_cli.core.market import Action, Gate, Kind, Signal, Timeframe, Zone
from blofin_cli.core.signals import Plane, judge
from blofin_cli.core.strategy import Strategy
from blofin_cli.core.zones import FRESH, PATTERNS, STATES, TESTED, ZoneBook, freshness_of, zone_id

CONF_WIN_MAX = 24
CONF_BODY_MIN = 0.3


@dataclass(frozen=True, eq=False)
class Reading:
    """The last closed candle: the plane of decisions, and the one that is nearest to a trade.

    `judged` is a plane of that one decision, None where no zone of the context is alive; `setup`
    are the gates that come before a plan: a zone, a touch, a confirmation.
    """

    plane: Plane
    judged: Plane | None
    setup: list[Gate]

    def gates(self) -> list[Gate]:
        """Every gate in the order it is asked."""
        if self.judged is None:
            return self.setup
        return [*self.setup, *(gate_of(column, 0) for column in self.judged.gates)]


def read(market: Market, strategy: Strategy) -> Reading:
    """Find the decision of the last closed candle, or the zone that is nearest to one."""
    plane = signals.evaluate(market, strategy)
    last = len(market.entry) - 1
    zone = _nearest(plane, strategy, last)
    if zone < 0:
        note = "no zone of the context timeframes is alive"
        return Reading(plane, None, [Gate("zone", False, None, None, note)])
    setup, worst = _setup(plane, strategy, zone, last)
    moments = _hypothesis(plane, strategy, zone, last, worst)
    judged = judge(market, strategy, plane.book, plane.entries, moments)
    return Reading(plane, judged, setup)


def signal_of(reading: Reading, quantity: float | None, account: list[Gate]) -> Signal:
    """The public signal: buy or sell when all gates pass, those of the account included."""
    market, gates = reading.plane.market, [*reading.gates(), *account]
    ts_ms = int(market.entry.close_ts[-1])
    symbol = market.entry.symbol
    judged = reading.judged
    if judged is None:
        empty = dict.fromkeys(
            ("confidence", "zone_id", "entry", "stop", "target", "reward_risk", "cost_r")
        )
        return Signal(
            symbol=symbol,
            ts_ms=ts_ms,
            action=Action.HOLD,
            **empty,
            risk_fraction=None,
            quantity=None,
            gates=gates,
        )
    side = int(judged.at.side[0])
    go = all(gate.passed for gate in gates)
    entry, stop, target = (
        float(column[0]) for column in (judged.entry, judged.stop, judged.target)
    )
    distance = abs(entry - stop)
    return Signal(
        symbol=symbol,
        ts_ms=ts_ms,
        action=(Action.BUY if side > 0 else Action.SELL) if go else Action.HOLD,
        confidence=float(judged.confidence[0]),
        zone_id=name_of(judged.book, symbol, int(judged.zone[0])),
        entry=entry,
        stop=stop,
        target=target or None,
        reward_risk=abs(target - entry) / distance if target and distance else None,
        cost_r=cost_r(judged.strategy, symbol, entry, stop, judged.limit[0] > 0),
        risk_fraction=float(judged.risk_fraction()[0]),
        quantity=quantity if go else None,
        gates=gates,
    )


def cost_r(
    strategy: Strategy, symbol: str, entry: float, stop: float, is_limit: bool
) -> float | None:
    """Fees and slippage of getting in and being stopped out, in R, before the trade is taken."""
    if entry == stop:
        return None
    enter, stopped, _ = signals.plan_costs(strategy, symbol, is_limit)
    return float((entry * enter + stop * stopped) / abs(entry - stop))


def gate_of(column: GateColumn, row: int) -> Gate:
    """One row of a gate's column as a public gate, with the setting that would have passed it."""
    value, threshold = float(column.value[row]), float(column.threshold[row])
    passed = bool(column.passed[row])
    setting = "" if passed or not np.isfinite(value) else _setting(column.setting, value)
    return Gate(
        column.name,
        passed,
        value if np.isfinite(value) else None,
        threshold if np.isfinite(threshold) else None,
        column.note,
        setting,
    )


def zones_now(market: Market, strategy: Strategy, dead_too: bool = False) -> list[Zone]:
    """Zones of the context timeframes, scored as they stand, nearest to price first.

    `dead_too` adds those that ended; a dead zone's score is what it would be today.
    """
    plane = signals.evaluate(market, strategy)
    book, entry = plane.book, market.entry
    if len(entry) == 0 or len(book) == 0:
        return []
    shown = np.isin(book.step_ms, [timeframe.ms for timeframe in strategy.context])
    if not dead_too:
        shown &= book.lives["state"] <= TESTED
    zone = np.flatnonzero(shown)
    price, now_ms = float(entry.close[-1]), int(entry.close_ts[-1])
    row, life = book.rows[zone], book.lives[zone]
    moment = np.full(len(zone), now_ms, dtype=np.int64)
    at = Decisions(
        market,
        np.full(len(zone), len(entry) - 1),
        moment,
        row["side"],
        row["proximal"],
        row["distal"],
        *signals.inside_higher(book, zone, moment, row["proximal"]),
    )
    score = signals.score_components(strategy, book, at, zone)
    strength = signals.strength_of(score, strategy)
    age_bars = (now_ms - book.born_ms[zone]) // book.step_ms[zone]
    freshness = freshness_of(
        life["touches"], age_bars, life["penetration"], strategy.zones.half_life_bars
    )
    crossed = _opposite_overlaps(book, zone)
    low = np.minimum(row["proximal"], row["distal"])
    high = np.maximum(row["proximal"], row["distal"])
    away = np.maximum(0.0, np.maximum(low - price, price - high)) / row["atr"]
    zones = [
        _public_zone(
            plane,
            int(z),
            {
                "score": {name: float(column[i]) for name, column in score.items()},
                "strength": float(strength[i]),
                "freshness": float(freshness[i]),
                "confidence": float(strength[i] * freshness[i]),
                "distance_atr": float(away[i]),
                "overlaps_opposite": bool(crossed[i]),
            },
        )
        for i, z in enumerate(zone)
    ]
    return sorted(zones, key=lambda item: item.distance_atr)


def name_of(book: ZoneBook, symbol: str, zone: int) -> str:
    """Public name of a zone of the book."""
    timeframe = Timeframe.of_ms(int(book.step_ms[zone]))
    return zone_id(symbol, timeframe, int(book.rows["side"][zone]), int(book.leg_out_ms[zone]))


def _public_zone(plane: Plane, zone: int, measured: dict[str, Any]) -> Zone:
    book, symbol = plane.book, plane.market.entry.symbol
    row, life = book.rows[zone], book.lives[zone]
    successor = int(book.successor[zone])
    return Zone(
        id=name_of(book, symbol, zone),
        symbol=symbol,
        timeframe=Timeframe.of_ms(int(book.step_ms[zone])),
        kind=Kind.DEMAND if row["side"] > 0 else Kind.SUPPLY,
        pattern=PATTERNS[row["pattern"]],
        proximal=float(row["proximal"]),
        distal=float(row["distal"]),
        base_start_ms=int(book.base_start_ms[zone]),
        base_end_ms=int(book.base_end_ms[zone] + book.step_ms[zone]),
        born_ms=int(book.born_ms[zone]),
        state=STATES[life["state"]],
        touches=int(life["touches"]),
        ended_ms=int(book.ended_ms[zone]) or None,
        atr=float(row["atr"]),
        departure_atr=float(row["departure_atr"]),
        penetration=float(life["penetration"]),
        superseded_by=name_of(book, symbol, successor) if successor >= 0 else None,
        **measured,
    )


def _opposite_overlaps(book: ZoneBook, zone: Any) -> Any:
    rows = book.rows[zone]
    low = np.minimum(rows["proximal"], rows["distal"])
    high = np.maximum(rows["proximal"], rows["distal"])
    crosses = (low[:, None] <= high) & (high[:, None] >= low)
    return (crosses & (rows["side"][:, None] != rows["side"])).any(axis=1)


def _nearest(plane: Plane, strategy: Strategy, last: int) -> int:
    """The zone to explain: one deciding now, else one whose touch is open, else the nearest."""
    book, entries = plane.book, plane.entries
    traded = np.isin(book.step_ms, [timeframe.ms for timeframe in strategy.context])
    if not len(book):
        return -1
    if strategy.entry.mode == "confirm":
        now = traded & (entries["outcome"] == CONFIRMED) & (entries["signal"] == last)
        waiting = traded & (entries["outcome"] == WAITING)
        for wanted in (now, waiting):
            if wanted.any():
                chosen = np.flatnonzero(wanted)
                return int(chosen[np.argmax(book.step_ms[chosen])])
    elif strategy.entry.mode == "refined":
        now_rows = np.flatnonzero(plane.at.bar == last)
        if len(now_rows):
            return int(plane.zone[now_rows[0]])
    alive = traded & (book.lives["state"] == FRESH)
    if not alive.any():
        alive = traded & (book.lives["state"] == TESTED)
    if not alive.any():
        return -1
    chosen = np.flatnonzero(alive)
    price = plane.market.entry.close[-1]
    away = book.rows["side"][chosen] * (price - book.rows["proximal"][chosen])
    return int(chosen[np.argmin(np.abs(away) / book.rows["atr"][chosen])])


def _setup(plane: Plane, strategy: Strategy, zone: int, last: int) -> tuple[list[Gate], float]:
    """Gates before the plan, and the worst price the stop is measured from."""
    book, candles = plane.book, plane.market.entry
    row, life = book.rows[zone], book.first[zone]
    side, proximal, distal = int(row["side"]), float(row["proximal"]), float(row["distal"])
    name = name_of(book, candles.symbol, zone)
    away = side * (float(candles.close[last]) - proximal) / float(row["atr"])
    alive = int(book.lives["state"][zone]) <= TESTED
    gates = [
        Gate("zone", alive, away, None, f"{name}: distance of the close from proximal, in zone ATR")
    ]
    touch = int(life["first_touch"])
    if strategy.entry.mode == "limit":
        fresh = touch < 0
        gates.append(
            Gate("first_touch", fresh, float(life["touches"]), 0.0, "a resting entry waits for it")
        )
        return gates, distal
    extreme = candles.low if side > 0 else candles.high
    since = slice(max(touch, 0) if touch >= 0 else last, last + 1)
    worst = float(
        min(distal, extreme[since].min()) if side > 0 else max(distal, extreme[since].max())
    )
    gates += _touch_gates(plane, strategy, zone, last)
    return gates, worst


def _touch_gates(plane: Plane, strategy: Strategy, zone: int, last: int) -> list[Gate]:
    book, candles, rules = plane.book, plane.market.entry, strategy.entry
    row, touch = book.rows[zone], int(book.first["first_touch"][zone])
    side = int(row["side"])
    if strategy.entry.mode == "refined":
        now = bool((plane.zone[plane.at.bar == last] == zone).any())
        note = f"a same-side {strategy.timeframe} zone confirmed beside it after its first touch"
        return [Gate("refined_entry", now, float(now), 1.0, note)]
    waited = float(last - touch + 1) if touch >= 0 else None
    touched = touch >= 0 and last - touch < rules.conf_win
    wider = f"entry.conf_win={last - touch + 1}" if touch >= 0 and not touched else ""
    if touch >= 0 and last - touch + 1 > CONF_WIN_MAX:
        wider = ""
    size = float(candles.high[last] - candles.low[last])
    body = side * float(candles.close[last] - candles.open[last]) / size if size > 0 else 0.0
    back = side * (float(candles.close[last]) - float(row["proximal"])) / float(row["atr"])
    softer = body < rules.conf_body and body >= CONF_BODY_MIN
    signal = int(plane.entries["signal"][zone])
    outcome = int(plane.entries["outcome"][zone])
    first = outcome == WAITING or signal == last or touch < 0
    if int(plane.entries["step_ms"][zone]) != candles.timeframe.ms:
        finer = Timeframe.of_ms(int(plane.entries["step_ms"][zone]))
        note = f"volatility is high: a {finer} candle closed back out with a strong body"
        return [
            Gate("first_touch", touched or signal == last, waited, float(rules.conf_win)),
            Gate(f"confirmed_on_{finer}", signal == last, float(signal == last), 1.0, note),
        ]
    note = "candles since the first touch, the touching one included; none is not yet touched"
    return [
        Gate("first_touch", touched, waited, float(rules.conf_win), note, wider),
        Gate("undecided", first, float(first), 1.0, "the touch was not broken or traded before"),
        Gate(
            "close_beyond_proximal", back > 0, back, 0.0, "close back out of the zone, in zone ATR"
        ),
        Gate(
            "confirming_body",
            body >= rules.conf_body,
            body,
            rules.conf_body,
            "body in the trade's direction over range",
            f"entry.conf_body={_down(body)}" if softer else "",
        ),
    ]


def _hypothesis(plane: Plane, strategy: Strategy, zone: int, last: int, worst: float) -> Moments:
    """The plan a trade would have if it were made at the last close."""
    candles, row = plane.market.entry, plane.book.rows[zone]
    life, is_limit = plane.book.first[zone], strategy.entry.mode == "limit"
    proximal, distal = float(row["proximal"]), float(row["distal"])
    close = float(candles.close[last])
    price = proximal - strategy.entry.depth * (proximal - distal) if is_limit else close
    height = abs(proximal - distal)
    deep = max(0.0, int(row["side"]) * (proximal - worst) / height) if height else 0.0
    return Moments(
        zone=np.array([zone]),
        bar=np.array([last]),
        entry=np.array([price]),
        limit=np.array([price if is_limit else 0.0]),
        worst=np.array([worst]),
        until=np.array([last]),
        penetration=np.array([deep if life["touches"] else 0.0]),
        touches=np.array([max(int(life["touches"]), 0 if is_limit else 1)]),
    )


def _setting(template: str, value: float) -> str:
    """The setting that would just have let this value pass, written short."""
    return template.format(value=_down(value), above=_up(value), mirrored=_up(value))


def _down(value: float) -> str:
    return f"{np.floor(value * 1e4) / 1e4:.10g}"


def _up(value: float) -> str:
    return f"{np.ceil(value * 1e4 + 1) / 1e4:.10g}"
