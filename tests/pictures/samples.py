"""Random but seeded markets, zones and trades to draw."""

from dataclasses import replace

import numpy as np

from blofin_cli.core.candles import Candles
from blofin_cli.core.market import (
    ExitReason,
    Kind,
    PartExit,
    Pattern,
    Timeframe,
    Trade,
    Zone,
    ZoneState,
)
from blofin_cli.pictures.views import (
    ChartView,
    Cost,
    Group,
    Level,
    Month,
    ReportView,
    Role,
    Series,
    Setting,
)

START_MS = 1_704_067_200_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e&'\"\x00"

GROUPS = [
    Group("BTC-USDT", 250, 0.33, 2.1, -0.04, -0.15, 0.08, -10.2),
    Group("XRP-USDT", 18, 0.41, 1.9, 0.21, -0.3, 0.7, 3.8),
]
EXITS = [
    Group("stop", 320, 0.0, None, -1.04, -1.06, -1.01, -333.1),
    Group("target", 180, 1.0, None, 2.21, 2.15, 2.25, 398.0),
]
NUMBERS = {"expectancy_r": -0.041, "win_rate": 0.331, "reward_risk": 2.11}
METRICS = {
    **NUMBERS,
    "profit_factor": 0.94,
    "total_return": -0.083,
    "max_drawdown": 0.142,
    "sharpe": -0.35,
    "sortino": -0.48,
    "calmar": float("nan"),
    "exposure": 0.21,
    "ambiguous_share": 0.021,
    "deflated_sharpe": 0.02,
}


def candles(
    bars: int = 400, seed: int = 7, symbol: str = "BTC-USDT", price: float = 60_000.0
) -> Candles:
    """A random walk with volume that follows the range."""
    source = np.random.default_rng(seed)
    calm = 0.004 * np.exp(0.4 * np.sin(np.arange(bars) / 40))
    close = price * np.exp(np.cumsum(source.normal(0, calm)))
    opened = np.r_[price, close[:-1]]
    high = np.maximum(opened, close) * (1 + np.abs(source.normal(0, calm / 2)))
    low = np.minimum(opened, close) * (1 - np.abs(source.normal(0, calm / 2)))
    volume = 900 * (1 + 200 * (high / low - 1)) * source.uniform(0.5, 1.5, bars)
    step = 0.1 if price > 100 else 0.00001
    ts = START_MS + np.arange(bars, dtype=np.int64) * Timeframe.H1.ms
    opened, high, low, close = (
        np.round(column / step) * step for column in (opened, high, low, close)
    )
    return Candles(symbol, Timeframe.H1, ts, opened, high, low, close, volume)


def zones(market: Candles, count: int = 14, seed: int = 3) -> list[Zone]:
    """Zones at swing lows and highs, in every state."""
    source = np.random.default_rng(seed)
    made = []
    ended = [ZoneState.BROKEN, ZoneState.SPENT]
    states = [ZoneState.FRESH, ZoneState.TESTED, *ended * max(1, count // 14)]
    for index in range(count):
        bar = int(source.integers(0, max(1, len(market) - 12)))
        state = states[index % len(states)]
        alive = state in (ZoneState.FRESH, ZoneState.TESTED)
        last = float(market.close[-1])
        is_demand = (float(market.close[bar]) < last) if alive else bool(index % 2)
        edge = float(market.low[bar] if is_demand else market.high[bar])
        high = edge * (0.004 + 0.004 * source.random())
        end_ms = None if alive else int(market.ts[min(bar + 60, len(market) - 1)])
        made.append(
            Zone(
                id=f"z{index}",
                symbol=market.symbol,
                timeframe=Timeframe.H4 if index % 3 == 0 else Timeframe.H1,
                kind=Kind.DEMAND if is_demand else Kind.SUPPLY,
                pattern=Pattern.DBR if is_demand else Pattern.RBD,
                proximal=edge + high if is_demand else edge - high,
                distal=edge,
                base_start_ms=int(market.ts[bar]),
                base_end_ms=int(market.ts[bar]) + 7_200_000,
                born_ms=int(market.ts[bar]) + 10_800_000,
                state=state,
                touches=int(state != ZoneState.FRESH),
                freshness=1.0 if state == ZoneState.FRESH else 0.55 if alive else 0.0,
                strength=70.0,
                confidence=float(30 + source.integers(0, 60)),
                score={"departure": 0.7},
                ended_ms=end_ms,
                atr=high,
                departure_atr=2.0,
                penetration=0.1,
                distance_atr=1.2,
            )
        )
    return made


def trades(market: Candles, count: int = 30, seed: int = 5, note: str = "") -> list[Trade]:
    """Trades that win 2.2 R about a third of the time."""
    source = np.random.default_rng(seed)
    made = []
    starts = np.sort(source.integers(5, len(market) - 15, count))
    for index, bar in enumerate(starts.tolist()):
        is_long, wins = bool(source.integers(0, 2)), source.random() < 0.34
        way = 1 if is_long else -1
        entry = float(market.open[bar])
        risk = entry * 0.008
        multiple = (2.2 if wins else -1.0) + float(source.normal(0, 0.12))
        leave = bar + int(source.integers(1, 14))
        reason = ExitReason.TARGET if wins else ExitReason.STOP
        exit_ms = int(market.ts[leave]) + 900_000
        price = entry + way * risk * multiple
        made.append(
            Trade(
                id=f"t{index}",
                run_id="run1",
                mode="backtest",
                symbol=market.symbol,
                side="long" if is_long else "short",
                entry_ms=int(market.ts[bar]),
                entry_price=entry,
                quantity=0.12,
                stop=entry - way * risk,
                target=entry + way * risk * 2.25,
                exit_ms=exit_ms,
                exit_price=price,
                exit_reason=reason,
                exits=[PartExit(exit_ms, price, 0.12, reason)],
                pnl_usdt=50 * multiple,
                fees_usdt=4.2,
                funding_usdt=-0.3,
                slippage_usdt=1.1,
                r_multiple=multiple,
                mfe_r=max(multiple, 0.4),
                mae_r=min(multiple, -0.3),
                zone_id="z1",
                timeframe="1h",
                pattern="DBR" if is_long else "RBD",
                regime="with trend, low vol",
                session=("Asia", "Europe", "US")[index % 3],
                confidence=float(40 + index % 50),
                freshness=1.0,
                strength=66.0,
                resolution="5m",
                ambiguous=index % 17 == 0,
                tags=["first touch"] if index % 5 == 0 else [],
                note=note,
            )
        )
    return made


def chart_view(bars: int = 400, title: str = "BTC-USDT 1h zones") -> ChartView:
    """A chart with everything on it."""
    market = candles(bars)
    last = float(market.close[-1])
    return ChartView(
        title=title,
        candles=market,
        zones=zones(market),
        trades=trades(market, max(2, bars // 25)),
        levels=[
            Level(last * 1.003, Role.ENTRY),
            Level(last * 0.99, Role.STOP),
            Level(last * 1.03, Role.TARGET),
        ],
        subtitle="15m entries on 1h and 4h zones · closed candles · as of 2024-01-17 15:00 UTC",
        footer=["Zones as known at the last closed bar; the score is no probability."],
    )


def report_view(
    bars: int = 3_000, note: str = "", title: str = "Backtest of two symbols"
) -> ReportView:
    """A report with every section filled."""
    markets = [candles(bars), candles(bars, seed=11, symbol="XRP-USDT", price=0.52)]
    done = sorted(
        [trade for market in markets for trade in trades(market, bars // 12, note=note)],
        key=lambda trade: trade.exit_ms,
    )
    done = [replace(trade, id=f"t{index}") for index, trade in enumerate(done)]
    equity = 10_000 + np.cumsum([trade.pnl_usdt for trade in done])
    hold = 10_000 * markets[0].close / markets[0].close[0]
    months = [
        Month(f"{2022 + index // 12}-{index % 12 + 1:02d}", 20, float(r), float(r) / 150)
        for index, r in enumerate(np.random.default_rng(2).normal(-0.4, 4, 34))
    ]
    numbers = {"trades": len(done), **NUMBERS}
    return ReportView(
        title=title,
        verdict_status="no_evidence",
        verdict_failed=[
            "lower 95 % bound of mean net R is -0.12, not above 0",
            "deflated Sharpe 0.02 is below 0.95",
            "placebo p 0.48 is above 0.05: shuffled zones did as well",
            "mean net R with costs x1.5 is -0.09, not above 0",
        ],
        metrics={**METRICS, "trades": len(done)},
        equity=Series(np.array([trade.exit_ms for trade in done], dtype=np.int64), equity),
        run={
            "run_id": "bt_4f2a91c07d",
            "symbols": ["BTC-USDT", "XRP-USDT"],
            "timeframe": "15m",
            "context": "1h, 4h",
            "since": "2022-01-01",
            "until": "2025-01-01",
            "bars": 210_432,
        },
        intervals={"expectancy_r": (-0.12, 0.04)},
        bounds={
            "pessimistic": {**numbers, "expectancy_r": -0.055},
            "optimistic": {**numbers, "expectancy_r": -0.02},
        },
        baselines={
            "buy_and_hold": {"total_return": 1.02, "max_drawdown": 0.31, "sharpe": 1.1},
            "random_entries": {**numbers, "expectancy_r": -0.05, "p_value": 0.44},
            "shuffled_zones": {**numbers, "expectancy_r": -0.03, "p_value": 0.48},
            "ema_50_200": {"total_return": 0.31, "max_drawdown": 0.4, "sharpe": 0.5},
        },
        equity_lines={"Buy and hold": Series(markets[0].ts, hold)},
        price_series=[ChartView(market.symbol, market, zones(market, 60)) for market in markets],
        trades=done,
        months=months,
        groups={"symbol": GROUPS, "exit_reason": EXITS, "session": GROUPS, "confidence": GROUPS},
        costs=[
            Cost("Fees", 2_100.0, 42.0, 0.31),
            Cost("Slippage", 610.2, 12.1, 0.09),
            Cost("Funding", -80.4, -1.6, -0.01),
        ],
        assumptions=[
            "Orders decided at a bar's close fill at the next open.",
            "When one bar touches stop and target and no finer data tells, the stop counts.",
            "Taker 0.06 %, maker 0.02 %; slippage is half the spread plus impact.",
        ],
        config=[
            Setting("zones.preset", "classic", "flag", "default"),
            Setting("target.rr", "3", "blofin.toml", "2.25"),
        ],
        digests={"code": "a" * 64, "config": "b" * 64, "data": "c" * 64},
    )
