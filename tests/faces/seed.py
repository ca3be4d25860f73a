"""A state database and a candle store as a session of some hours leaves them, for the dashboards.

Everything goes through the ports, with a clock that stands still, so that two runs give the same
pictures. `HOSTILE` is text that terminals, browsers and markup would obey if anybody let them.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from blofin_cli.adapters.candles.store import CandleStore
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.adapters.store import open_journal, open_store
from blofin_cli.core.context import Market
from blofin_cli.core.instruments import infer_instrument
from blofin_cli.core.journal import (
    Decision,
    EquityPoint,
    Halt,
    Happening,
    Level,
    Pause,
    Proposal,
    Session,
)
from blofin_cli.core.market import ExitReason, Gate, PartExit, Timeframe, Trade, Zone
from blofin_cli.core.orders import OrderState, Protection, Side
from blofin_cli.core.quotes import Mode
from blofin_cli.core.reading import zones_now
from blofin_cli.core.status import (
    BreakerView,
    HealthView,
    NakedView,
    OrderView,
    PositionView,
    QuoteView,
    Result,
    SessionStatus,
)
from blofin_cli.core.strategy import Strategy
from blofin_cli.engine.live.reporting import _protection
from blofin_cli.ports import SavedRun

NOW_MS = int(datetime(2024, 3, 15, 14, 5, 33, tzinfo=UTC).timestamp() * 1000)
M15, HOUR, DAY = 900_000, 3_600_000, 86_400_000
SESSION, ACCOUNT = "20240315-0612-4f2a", "blofin-demo"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
BARS = 900
HOSTILE = "\x1b[2J\x1b]52;c;aGk=\x07[/red][link=x]\u202e<script>alert(1)</script>[/\n=1+1"


@dataclass(frozen=True)
class StillClock:
    """A clock that shows one moment; `Clock` as far as readers use it."""

    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass(frozen=True)
class Seed:
    """What was written, for a test to look for."""

    state: Path
    cache: Path
    status: SessionStatus
    trades: tuple[Trade, ...]
    decisions: tuple[Decision, ...]
    proposals: tuple[Proposal, ...]
    text: str = ""
    prices: dict[str, float] = field(default_factory=dict)


def seed(folder: Path, *, hostile: bool = False, symbols: int = 3, halted: bool = False) -> Seed:
    """Write a session into `folder/state.db` and candles into `folder/cache/candles`.

    `symbols` above three adds invented ones to the status only; `hostile` puts `HOSTILE` wherever
    the records take text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, cache = folder / "state.db", folder / "cache"
    text = HOSTILE if hostile else ""
    markets = {symbol: _market(symbol) for symbol in SYMBOLS}
    store = CandleStore(cache / "candles")
    for market in markets.values():
        store.merge(market.entry)
    prices = {symbol: float(market.entry.close[-1]) for symbol, market in markets.items()}
    journal = open_journal(str(state))
    journal.open_session(_session(text))
    status = _status(prices, text, symbols)
    journal.beat(status)
    trades = tuple(_trade(number, markets, text) for number in range(36))
    for trade in trades:
        journal.save_trade(ACCOUNT, trade)
    decisions = tuple(_decisions(journal, markets, text))
    for point in _equity():
        journal.add_equity(ACCOUNT, SESSION, point)
    for happening in _happenings(text):
        journal.tell(ACCOUNT, SESSION, happening)
    proposals = tuple(journal.propose(item) for item in _proposals(prices, text))
    journal.set_pause(
        Pause(symbol="SOL-USDT", ts_ms=NOW_MS - HOUR, face="cli", cause=text or "fed")
    )
    if halted:
        journal.set_halt(Halt(ts_ms=NOW_MS - 60_000, face="cli", cause=text or "drawdown"))
    for number in (1, 2):
        open_store(str(state)).save_run(_saved_run(number, trades, text))
    return Seed(state, cache, status, trades, decisions, proposals, text, prices)


def _market(symbol: str) -> Market:
    entry = SyntheticMarket(7).candles(symbol, Timeframe.M15).until(NOW_MS)[-BARS:]
    return Market(entry, infer_instrument(symbol, entry))


def _session(text: str) -> Session:
    return Session(
        session_id=SESSION,
        account=ACCOUNT,
        exchange="blofin",
        mode=Mode.DEMO,
        simulated=False,
        symbols=SYMBOLS,
        timeframe="15m",
        config={"risk.per_trade_pct": "0.5", "zones.out_move_atr": "2.0"}
        | ({"note": text} if text else {}),
        digests={"code": "c0de", "config": "c0ffee"},
        version="0.1.0",
        pid=4242,
        host=text or "host",
        started_ms=NOW_MS - 8 * HOUR,
        history_start_ms={"15m": NOW_MS - BARS * M15},
        equity_start_usdt=Decimal("10000"),
    )


def _status(prices: dict[str, float], text: str, symbols: int) -> SessionStatus:
    btc, eth = prices["BTC-USDT"], prices["ETH-USDT"]
    names = (*SYMBOLS, *(f"C{number:02d}-USDT" for number in range(symbols - len(SYMBOLS))))
    quotes = {
        name: QuoteView(
            last=prices.get(name, 10.0 + number),
            bid=None,
            ask=None,
            mark=prices.get(name, 10.0 + number),
            ts_ms=NOW_MS - 300,
        )
        for number, name in enumerate(names)
    }
    positions = [
        _position("BTC-USDT", "long", 0.12, btc * 0.988, btc, 84.2, text),
        _position("ETH-USDT", "short", -1.5, eth * 0.995, eth, -12.4, text),
    ]
    if symbols > 3:
        positions += [
            _position(name, "long", 30.0, 9.9 + number, 10.0 + number, 5.11 - number, text)
            for number, name in enumerate(names[3:])
        ]
    return SessionStatus(
        ts_ms=NOW_MS - 400,
        session_id=SESSION,
        phase="trading",
        mode="demo",
        exchange=text or "blofin",
        simulated=False,
        symbols=names,
        timeframe="15m",
        equity_usdt=10_482.11,
        available_usdt=8_911.40,
        drawdown_fraction=0.018,
        override=text,
        health=_health(names, text),
        positions=tuple(positions),
        orders=_orders(prices, text),
        breakers=_breakers(text),
        naked=NakedView(now_s=0.0, p50_s=0.2, p99_s=1.1, max_s=1.4, count=9),
        today=Result(trades=4, wins=2, pnl_usdt=62.4, r=1.3, fees_usdt=6.1, funding_usdt=-0.8),
        week=Result(trades=17, wins=8, pnl_usdt=214.0, r=4.2, fees_usdt=31.0, funding_usdt=-2.2),
        quotes=quotes,
        bars=32,
        last_bar_ms=NOW_MS // M15 * M15,
        curve=tuple((int(p.ts_ms), float(p.equity_usdt)) for p in _equity()),
    )


def _health(names: tuple[str, ...], text: str) -> HealthView:
    return HealthView(
        clock_offset_ms=-42,
        public_connected=True,
        private_connected=True,
        reconnects=1,
        feed_age_ms={name: 180 + 35 * number for number, name in enumerate(names)},
        reconciled_ms=NOW_MS - 21_000,
        margin_mode="isolated",
        position_mode="net",
        note=text,
    )


def _position(
    symbol: str, side: str, quantity: float, entry: float, mark: float, *rest: Any
) -> PositionView:
    profit, text = rest
    sign = 1 if quantity > 0 else -1
    return PositionView(
        symbol=symbol,
        side=side,
        quantity=quantity,
        entry_price=round(entry, 2),
        mark_price=round(mark, 2),
        stop=round(entry * (1 - 0.012 * sign), 2),
        target=round(entry * (1 + 0.03 * sign), 2),
        liquidation_price=round(entry * (1 - 0.31 * sign), 2),
        leverage=3,
        margin_usdt=abs(quantity) * entry / 3,
        notional_usdt=abs(quantity) * mark,
        unrealized_usdt=profit,
        r_multiple=round(profit / 52.0, 2),
        risk_usdt=52.0,
        naked_s=0.0 if symbol != "ETH-USDT" else 2.4,
        origin=text or "session",
        opened_ms=NOW_MS - 3 * HOUR,
        due_ms=NOW_MS + 20 * HOUR,
        zone_id=text or "BTC-USDT-1h-demand-1",
        trade_id="t-open-1",
    )


def _orders(prices: dict[str, float], text: str) -> tuple[OrderView, ...]:
    btc = prices["BTC-USDT"]
    rows = (("stop", "sell", "trigger", btc * 0.976), ("target", "sell", "trigger", btc * 1.018))
    return tuple(
        OrderView(
            id=f"10000{number}",
            client_id="ab" * 16,
            symbol="BTC-USDT",
            kind=kind,
            side=side,
            type=type_,
            size=0.12,
            filled=0.0,
            price=None,
            trigger=round(price, 1),
            state=text or "live",
            created_ms=NOW_MS - 3 * HOUR,
        )
        for number, (kind, side, type_, price) in enumerate(rows)
    )


def _breakers(text: str) -> tuple[BreakerView, ...]:
    rows = (
        ("day loss", 0.4, 3.0, "%", "pause", False),
        ("week loss", 1.1, 6.0, "%", "pause", False),
        ("drawdown", 1.8, 15.0, "%", "halt", False),
        ("stops in a row", 2.0, 5.0, "stops", "pause", False),
        ("correlated risk", 2.6, 2.5, "%", "approve", True),
    )
    return tuple(
        BreakerView(
            name=name,
            value=value,
            limit=limit,
            unit=unit,
            distance=max(0.0, 1 - value / limit),
            action=action,
            tripped=tripped,
            note=text,
        )
        for name, value, limit, unit, action, tripped in rows
    )


def _trade(number: int, markets: dict[str, Market], text: str) -> Trade:
    symbol = SYMBOLS[number % 3]
    side = "long" if number % 2 else "short"
    sign = 1 if side == "long" else -1
    r = (2.4, -1.02, -1.05, 0.35, 2.1)[number % 5]
    reason = (
        ExitReason.TARGET, ExitReason.STOP, ExitReason.STOP, ExitReason.TIME, ExitReason.TARGET,
    )[number % 5]  # fmt: skip
    entry_ms = NOW_MS // M15 * M15 - (40 - number) * 4 * HOUR
    entry = round(float(markets[symbol].entry.until(entry_ms).close[-1]), 4)
    stop = round(entry * (1 - 0.01 * sign), 2)
    exit_price = round(entry + (entry - stop) * r, 2)
    exit_ms = entry_ms + 3 * HOUR + number % 4 * M15
    return Trade(
        id=f"t-{number:03d}",
        run_id=SESSION,
        mode="demo",
        symbol=symbol,
        side=side,
        quantity=0.1 + number / 100,
        entry_ms=entry_ms,
        entry_price=entry,
        stop=stop,
        target=round(entry * (1 + 0.025 * sign), 2),
        exit_ms=exit_ms,
        exit_price=exit_price,
        exit_reason=reason,
        exits=[PartExit(exit_ms, exit_price, 0.1 + number / 100, reason)],
        pnl_usdt=round(52 * r, 2),
        fees_usdt=1.2,
        funding_usdt=-0.1,
        slippage_usdt=0.4,
        r_multiple=r,
        mfe_r=max(r, 0.6),
        mae_r=min(r, -0.3),
        zone_id=text or f"{symbol}-1h-{'demand' if sign > 0 else 'supply'}-{number}",
        timeframe="15m",
        pattern="DBR" if sign > 0 else "RBD",
        regime="range",
        session="london",
        confidence=40.0 + number,
        freshness=0.8,
        strength=60.0,
        resolution="15m",
        ambiguous=False,
        tags=[text or "seed"],
        note=text,
    )


def _saved_run(number: int, trades: tuple[Trade, ...], text: str) -> SavedRun:
    """A backtest with these trades, as the command keeps it."""
    run_id = f"bt-{number:012d}"
    metrics = {
        "trades": len(trades), "win_rate": 0.61, "reward_risk": 1.2 + number, "expectancy_r": 0.3,
        "profit_factor": 1.4, "total_return": 0.12 * number, "max_drawdown": 0.08, "sharpe": 1.1,
        "fees_usdt": 43.2, "funding_usdt": -3.1, "ambiguous_share": 0.02, "calmar": None,
    }  # fmt: skip
    whole = {
        "run_id": run_id,
        "metrics": metrics,
        "verdict": {
            "status": "no_evidence",
            "text": "no evidence of an edge",
            "failed": [text or "fewer than 200 trades"],
        },
        "baselines": {"buy_and_hold": {"total_return": 0.2, "max_drawdown": 0.3}},
        "settings": {"target.rr": text or str(number)},
        "trades": [asdict(trade) for trade in trades],
        "equity": [[p.ts_ms, float(p.equity_usdt)] for p in _equity()],
    }
    return SavedRun(
        run_id=run_id,
        kind="backtest",
        series=f"series-{number}",
        created_ms=NOW_MS - number * DAY,
        symbols=SYMBOLS,
        timeframe="15m",
        since_ms=NOW_MS - 180 * DAY,
        until_ms=NOW_MS,
        digests={"code": "c", "config": f"c{number}", "data": "d", "run": f"r{number}"},
        metrics=metrics,
        verdict_status="no_evidence",
        result_json=json.dumps(whole, sort_keys=True).encode(),
        version="0.1.0",
    )


def _gates(held: bool, text: str) -> tuple[Gate, ...]:
    return (
        Gate("touch", True, 1.0, 1.0, "the zone was touched"),
        Gate("confirmation", not held, 0.41, 0.5, text or "body share", "entry.conf_body=0.41"),
        Gate("trend", True, 0.62, 0.4, ""),
        Gate("reward_risk", True, 2.4, 1.5, "net of costs"),
    )


def _decisions(journal: Any, markets: dict[str, Market], text: str) -> list[Decision]:
    found: list[Decision] = []
    for symbol, market in markets.items():
        zones: tuple[Zone, ...] = ()
        for back in range(11, -1, -1):
            bar_ms = NOW_MS // M15 * M15 - back * M15
            held = back % 4 != 1
            decision = Decision(
                symbol=symbol,
                bar_ms=bar_ms,
                ts_ms=bar_ms + 120,
                action="hold" if held else "buy",
                outcome="hold" if held else "placed",
                gates=_gates(held, text),
                digest="d" * 16,
                zone_id=text or f"{symbol}-zone",
                confidence=55.0,
                note=text,
            )
            if back in {11, 4}:  # what was known first, and what was known later
                zones = tuple(zones_now(market.until(bar_ms), Strategy()))
            journal.save_decision(SESSION, decision, zones)
            found.append(decision)
    return found


def _equity() -> list[EquityPoint]:
    points = []
    level = Decimal("10000")
    for number in range(96):
        level += Decimal((number * 7919) % 61 - 24) * Decimal("0.8")
        points.append(
            EquityPoint(
                ts_ms=NOW_MS - (96 - number) * M15,
                equity_usdt=level,
                available_usdt=level - 1500,
                open_profit_usdt=Decimal("71.8"),
            )
        )
    return [*points[:-1], replace(points[-1], equity_usdt=Decimal("10482.11"))]


def _happenings(text: str) -> list[Happening]:
    rows = (
        (Level.INFO, "session", None, "session started on 3 symbols"),
        (Level.INFO, "fill", "BTC-USDT", "bought 0.12, entry filled"),
        (Level.INFO, "stop", "BTC-USDT", "stop and target live at the exchange"),
        (Level.WARNING, "reconnect", None, "public stream came back after 3 s"),
        (Level.ALERT, "naked", "ETH-USDT", "position without a live stop for 2.4 s"),
        (Level.WARNING, "breaker", None, "correlated risk above its limit"),
    )
    return [
        Happening(
            ts_ms=NOW_MS - (len(rows) - number) * 11 * 60_000,
            level=level,
            kind=kind,
            symbol=symbol,
            text=text or words,
            protects=text,
            next_step=text,
        )
        for number, (level, kind, symbol, words) in enumerate(rows)
    ]


def _proposals(prices: dict[str, float], text: str) -> list[Proposal]:
    return [
        Proposal(
            id=word,
            account=ACCOUNT,
            plan_hash=word * 2,
            plan=_plan(symbol, prices[symbol], side, text),
            reason=text or "correlated risk asks for a person",
            face=text or "mcp",
            created_ms=NOW_MS - 60_000,
            expires_ms=NOW_MS + 240_000 + 60_000 * number,
        )
        for number, (word, symbol, side) in enumerate(
            (("7f3a21", "SOL-USDT", "buy"), ("90bc44", "BTC-USDT", "sell"))
        )
    ]


def _plan(symbol: str, price: float, side: str, text: str) -> dict[str, Any]:
    sign = 1 if side == "buy" else -1
    return {
        "exchange": "blofin", "mode": "demo", "simulated": False, "symbol": symbol, "side": side,
        "type": "limit", "size": "1.5", "contracts": "15", "notional_usdt": "1500",
        "entry": f"{price:.2f}", "price": f"{price:.2f}", "trigger": None,
        "stop": f"{price * (1 - 0.012 * sign):.2f}",
        "target": f"{price * (1 + 0.03 * sign):.2f}", "target_limit": None, "leverage": 3,
        "margin_usdt": "500", "price_min": f"{price * 0.99:.2f}",
        "price_max": f"{price * 1.01:.2f}", "equity_usdt": "10482.11", "risk_usdt": "52.41",
        "risk_fraction": "0.005", "fees_usdt": "1.8", "slippage_usdt": "0.6", "reward_risk": 2.4,
        "liquidation_price": None, "liquidation_stops": None, "open_risk_fraction": 0.01,
        "portfolio_risk_fraction": 0.014, "scale": 1.0, "confidence": 71.0,
        "zone_id": text or f"{symbol}-1h-demand-9", "signal_ms": NOW_MS - 60_000,
        "quote_ms": NOW_MS - 60_300, "created_ms": NOW_MS - 60_000,
        "expires_ms": NOW_MS + 240_000, "mandate": "built-in",
        "gates": [
            {"name": "correlated risk", "passed": False, "value": 2.6, "threshold": 2.5,
             "note": text or "asks for a person", "setting": "risk.portfolio_pct=2.6"},
        ],
    }  # fmt: skip


def bracket() -> OrderView:
    """A stop at 36,000 and a target at 38,500 in one order, as a session shows it."""
    return _protection(
        Protection(
            symbol="BTC-USDT", protection_id="7", client_id="c", side=Side.SELL,
            state=OrderState.LIVE, size=Decimal("0.12"), stop=Decimal(36000), target=Decimal(38500),
        )
    )  # fmt: skip
