"""The program under test: a live session as the product builds it, with a strategist that trades.

The real strategy opens once in days; here every few bars bring a market, limit or stop entry, so
that an hour sees many of them. Its choice is a function of seed, symbol and bar alone: a restart
that sees the same bar again wishes the same.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from random import Random

import numpy as np

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Decision
from blofin_cli.core.market import Instrument, Timeframe, Zone
from blofin_cli.core.orders import OrderType, Side
from blofin_cli.core.quotes import Bar
from blofin_cli.core.tickets import Ticket
from blofin_cli.engine.strategist import Judgement, Wish
from tests.storm import records
from tests.storm.storm import Parts

HISTORY_BARS = 400
HOLD_MS = 20 * 60_000


class Scripted:
    """A `Strategist` that signals often."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        world = parts.world
        self._timeframe = world.timeframe
        self._bars: dict[str, list[Bar]] = {}
        self._resting: dict[str, dict[str, int]] = {symbol: {} for symbol in world.symbols}
        self._instruments: dict[str, Instrument] = {}
        for symbol, walk in world.walks.items():
            rows = walk.bars(self._timeframe, world.now_ms)
            self._bars[symbol] = [row for row in rows if row.is_closed][-HISTORY_BARS:]
            self._instruments[symbol] = records.listing(world.terms(symbol)).instrument

    @property
    def timeframe(self) -> Timeframe:
        """The entry timeframe."""
        return self._timeframe

    def next_open_ms(self, symbol: str) -> int:
        """Open time of the bar that must come next."""
        return self._bars[symbol][-1].ts_ms + self._timeframe.ms

    def take(self, symbol: str, bars: Sequence[Bar]) -> None:
        """Add closed bars."""
        self._bars[symbol].extend(bars)

    def judge(self, symbol: str, now_ms: int) -> Judgement:
        """Wish for something now and then."""
        bars = self._bars[symbol]
        parts = self._parts
        parts.steps.on_bar(parts.life.number, symbol, self._timeframe, bars)
        last = bars[-1]
        resting = self._resting[symbol]
        for name in [name for name, until in resting.items() if until <= last.ts_ms]:
            del resting[name]
        if parts.bad_signals:
            parts.bad_signals.clear()
            Ticket(
                symbol=symbol,
                side=Side.BUY,
                type=OrderType.MARKET,
                stop=Decimal(repr(math.nan)),
                risk_fraction=Decimal("0.005"),
            )
        wishes = () if parts.is_silent() else self._wishes(symbol, last)
        decision = Decision(
            symbol=symbol,
            bar_ms=last.ts_ms,
            ts_ms=now_ms,
            action=wishes[0].ticket.side.value if wishes else "hold",
            outcome="hold",
            gates=(),
            digest="storm",
            zone_id=wishes[0].ticket.zone_id if wishes else None,
        )
        return Judgement(decision=decision, wishes=wishes, resting=frozenset(resting))

    def zones(self, symbol: str) -> tuple[Zone, ...]:
        """None."""
        return ()

    def market(self, symbol: str) -> Market:
        """The candles held."""
        rows = self._bars[symbol][-HISTORY_BARS:]
        columns = {n: np.array([getattr(r, n) for r in rows], dtype=np.float64) for n in COLUMNS}
        ts = np.array([row.ts_ms for row in rows], dtype=np.int64)
        candles = Candles(symbol, self._timeframe, ts, **columns)
        return Market(candles, self._instruments[symbol])

    def _wishes(self, symbol: str, bar: Bar) -> tuple[Wish, ...]:
        scene = self._parts.scene
        chance = Random(f"signal {scene.seed} {symbol} {bar.ts_ms}")
        share = 0.8 if self._parts.world.nemesis.calm else scene.signal_share
        if chance.random() >= share:
            return ()
        sign = 1 if chance.random() < 0.5 else -1
        kind = chance.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.TRIGGER))
        close = bar.close
        entry = close
        if kind is OrderType.LIMIT:
            entry = close * (1 - sign * chance.uniform(0.0002, 0.002))
        elif kind is OrderType.TRIGGER:
            entry = close * (1 + sign * chance.uniform(0.0005, 0.002))
        distance = close * chance.uniform(0.004, 0.012)
        name = f"{symbol}:{bar.ts_ms}"
        if kind is not OrderType.MARKET:
            self._resting[symbol][name] = bar.ts_ms + 3 * self._timeframe.ms
        ticket = Ticket(
            symbol=symbol,
            side=Side.BUY if sign > 0 else Side.SELL,
            type=kind,
            price=_money(entry) if kind is OrderType.LIMIT else None,
            trigger=_money(entry) if kind is OrderType.TRIGGER else None,
            stop=_money(entry - sign * distance),
            target=_money(entry + sign * distance * chance.uniform(1.0, 2.0)),
            risk_fraction=Decimal("0.005"),
            confidence=60.0,
            zone_id=name,
            signal_ms=bar.ts_ms + self._timeframe.ms,
        )
        return (Wish(ticket=ticket, hold_ms=HOLD_MS),)


def _money(value: float) -> Decimal:
    return Decimal(repr(value))
