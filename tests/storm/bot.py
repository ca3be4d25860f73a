"""The program under test: a live session as the product builds it, with a strategist that trades.

The real strategy opens once in days; here every few bars bring a market, limit or stop entry, so
that an hour sees many of them. Its choice is a function of seed, symbol and bar alone: a restart
that sees the same bar again wishes the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import numpy as np

from blofin_cli.core.candles import COLUMNS, Candles
from blofin_cli.core.context import Market
from blofin_cli.core.journal import Decision, Session
from blofin_cli.core.mandate import BUILT_IN
from blofin_cli.core.market import Instrument, Timeframe, Zone
from blofin_cli.core.orders import OrderType, Side
from blofin_cli.core.quotes import Bar, Mode
from blofin_cli.core.strategy import build_strategy
from blofin_cli.core.tickets import Ticket
from blofin_cli.engine.live import LiveSession
from blofin_cli.engine.live import session as session_module
from blofin_cli.engine.live.breakers import ExecutionRules
from blofin_cli.engine.strategist import Judgement, Wish
from tests.storm import records
from tests.storm.checkers import ACCOUNT
from tests.storm.storm import Parts
from tests.storm.world import BALANCE, START_MS

HISTORY_BARS = 400
MANDATE = replace(
    BUILT_IN, risk_day_fraction_max=Decimal(5), entries_hour_max=10_000, entries_day_max=10_000
)
HOLD_MS = 3 * 60_000
TICK_S, BEAT_MS = 0.5, 4_000
STORY_TICK_S, STORY_BEAT_MS = session_module.TICK_S, session_module.BEAT_MS


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
        if parts.is_silent():
            resting.clear()
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
        if scene.script:
            return self._told(symbol, bar)
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
        distance = close * chance.uniform(0.003, 0.006)
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

    def _told(self, symbol: str, bar: Bar) -> tuple[Wish, ...]:
        """The one wish of a story: long at the first bar, unless the script says `every`."""
        script = self._parts.scene.script
        name = f"{symbol}:{bar.ts_ms}"
        if "none" in script or (bar.ts_ms != START_MS and "every" not in script):
            return ()
        kind, entry = OrderType.MARKET, bar.close
        if "limit" in script:
            kind, entry = OrderType.LIMIT, bar.close * 0.9999
        elif "trigger" in script:
            kind, entry = OrderType.TRIGGER, bar.close * 1.0005
        if kind is not OrderType.MARKET:
            self._resting[symbol][name] = bar.ts_ms + 60 * self._timeframe.ms
        ticket = Ticket(
            symbol=symbol,
            side=Side.BUY,
            type=kind,
            price=_money(entry) if kind is OrderType.LIMIT else None,
            trigger=_money(entry) if kind is OrderType.TRIGGER else None,
            stop=_money(bar.close * 0.99),
            target=_money(bar.close * 1.02),
            risk_fraction=Decimal("0.005"),
            confidence=60.0,
            zone_id=name,
            signal_ms=bar.ts_ms + self._timeframe.ms,
        )
        return (Wish(ticket=ticket, hold_ms=HOLD_MS),)


async def live(parts: Parts) -> str:
    """One life of the product's own session."""
    world, scene = parts.world, parts.scene
    now = parts.clock.now_ms()
    session = Session(
        session_id=f"storm{scene.seed}x{parts.life.number}",
        account=ACCOUNT,
        exchange="sim",
        mode=Mode.DEMO,
        simulated=True,
        symbols=world.symbols,
        timeframe=str(world.timeframe),
        config={},
        digests={},
        version="storm",
        pid=parts.life.number,
        host="storm",
        started_ms=now,
        history_start_ms={},
        equity_start_usdt=BALANCE,
    )
    parts.journal.open_session(session)
    # A calm hour is made of ticks and heartbeats: half as many ticks, a quarter of the beats.
    # Stories keep the product's own.
    is_story = bool(scene.script)
    session_module.TICK_S = STORY_TICK_S if is_story else TICK_S
    session_module.BEAT_MS = STORY_BEAT_MS if is_story else BEAT_MS
    running = LiveSession(
        parts.exchange,
        parts.stream,
        parts.journal,
        parts.clock,
        session=session,
        strategy=build_strategy(settings_of(parts)),
        strategist=Scripted(parts),
        mandate=lambda: MANDATE,
        execution=ExecutionRules(
            rejects_max=1_000, slippage_bps_max=10_000.0, naked_s_max=10_000.0
        ),
    )
    return await running.run()


def settings_of(parts: Parts) -> dict[str, object]:
    """Limits as the scene draws them, and no pauses that would end the trading of an hour."""
    scene = parts.scene
    return {
        "risk.total_pct": scene.total_pct,
        "risk.portfolio_pct": 20,
        "risk.direction_pct": 20,
        "risk.positions_max": scene.positions_max,
        "risk.scale_min": 0.1,
        "risk.day_loss_pct": 100,
        "risk.week_loss_pct": 100,
        "risk.drawdown_pct": 100,
        "risk.cooldown_h": 0,
        "risk.stops_symbol": 50,
        "risk.stops_account": 50,
        "risk.pause_h": 0,
        "risk.entries_per_day": 1000,
        "risk.volume_share_pct": 10,
    }


def _money(value: float) -> Decimal:
    return Decimal(repr(value))
