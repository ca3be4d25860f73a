"""Prices for a storm: seeded walks with jumps and crashes, printed and gathered into minutes."""

import math
import random
from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.adapters.exchanges.sim.records import Terms, Tick, Tier
from blofin_cli.core.market import Timeframe
from blofin_cli.core.quotes import Bar

MINUTE_MS = 60_000
HISTORY_MINUTES = 600
D = Decimal


@dataclass(frozen=True)
class Contract:
    """What trades, at which price it begins and how much it moves in a second."""

    terms: Terms
    price: float
    sigma: float


def _terms(name: str, *sizes: str, leverage: int = 50) -> Terms:
    value, lot, tick, market_max = (D(word) for word in sizes)
    tiers = (
        Tier(D(0), market_max, D("0.005"), leverage),
        Tier(market_max, market_max * 100, D("0.01"), leverage // 2),
    )
    return Terms(
        inst_id=name,
        contract_value=value,
        lot_size=lot,
        min_size=lot,
        tick_size=tick,
        leverage_max=leverage,
        market_size_max=market_max,
        limit_size_max=market_max * 10,
        tiers=tiers,
    )


CONTRACTS = (
    Contract(_terms("BTC-USDT", "0.001", "0.1", "0.1", "100000"), 64_000.0, 0.0002),
    Contract(_terms("ETH-USDT", "0.01", "0.1", "0.01", "200000"), 3_100.0, 0.0003),
    Contract(_terms("MEM-USDT", "1000", "1", "0.0000001", "90000", leverage=20), 0.0123, 0.0005),
)


class Walk:
    """The market of one contract. `print` makes the next print; `force` bends the path."""

    def __init__(self, contract: Contract, chance: random.Random, start_ms: int) -> None:
        self.contract = contract
        self.terms = contract.terms
        self.chance = chance
        self.price = contract.price
        self.minutes: list[Bar] = []
        self._forming: list[float] | None = None
        self._forming_ms = 0
        first = start_ms // MINUTE_MS * MINUTE_MS - HISTORY_MINUTES * MINUTE_MS
        for minute in range(HISTORY_MINUTES):
            for second in (0, 15, 30, 45):
                self._gather(first + minute * MINUTE_MS + second * 1000, self._move(15.0), 4.0)
        self._close_before(start_ms)

    def print(self, at_ms: int, step_s: float) -> Tick:
        """The next print of the market."""
        return self.tick(at_ms, self._move(step_s))

    def tick(self, at_ms: int, price: Decimal) -> Tick:
        """A print at a price, gathered into the minutes."""
        size = D(1 + int(self.chance.random() * 400)) * self.terms.lot_size
        self._gather(at_ms, price, float(size * self.terms.contract_value))
        side = "buy" if self.chance.random() < 0.5 else "sell"
        return Tick(inst_id=self.terms.inst_id, ts_ms=at_ms, price=price, size=size, side=side)

    def force(self, fraction: float) -> None:
        """Move at once: the next print lies there."""
        self.price *= 1.0 + fraction

    def bars(self, timeframe: Timeframe, now_ms: int) -> list[Bar]:
        """Every candle of a size up to now, the forming one last, folded from minutes."""
        self._close_before(now_ms)
        rows = list(self.minutes)
        if self._forming is not None:
            rows.append(self._forming_bar())
        if timeframe is Timeframe.M1:
            return rows
        return _folded(rows, timeframe.ms, now_ms)

    def bar_now(self, timeframe: Timeframe, now_ms: int) -> tuple[Bar | None, Bar | None]:
        """The last closed candle of a size, and the forming one."""
        self._close_before(now_ms)
        count = 2 * timeframe.ms // MINUTE_MS + 1
        rows = self.minutes[-count:]
        if self._forming is not None:
            rows.append(self._forming_bar())
        if timeframe is not Timeframe.M1:
            rows = _folded(rows, timeframe.ms, now_ms)
        forming = rows[-1] if rows and not rows[-1].is_closed else None
        closed = next((row for row in reversed(rows) if row.is_closed), None)
        return closed, forming

    def _close_before(self, now_ms: int) -> None:
        if self._forming is not None and self._forming_ms + MINUTE_MS <= now_ms:
            open_, high, low, close, volume = self._forming
            self.minutes.append(Bar(self._forming_ms, open_, high, low, close, volume, True))
            self._forming = None

    def _forming_bar(self) -> Bar:
        assert self._forming is not None
        open_, high, low, close, volume = self._forming
        return Bar(self._forming_ms, open_, high, low, close, volume, False)

    def _gather(self, at_ms: int, price: Decimal, volume: float) -> None:
        self._close_before(at_ms)
        value = float(price)
        if self._forming is None:
            self._forming_ms = at_ms // MINUTE_MS * MINUTE_MS
            self._forming = [value, value, value, value, volume]
            return
        row = self._forming
        row[1], row[2], row[3] = max(row[1], value), min(row[2], value), value
        row[4] += volume

    def _move(self, step_s: float) -> Decimal:
        pull = 0.00002 * math.log(self.contract.price / self.price)
        shock = self.chance.gauss(0.0, self.contract.sigma) * math.sqrt(step_s)
        self.price *= math.exp(pull * step_s + shock)
        tick = self.terms.tick_size
        return tick * max(1, round(self.price / float(tick)))


def _folded(rows: list[Bar], step_ms: int, now_ms: int) -> list[Bar]:
    """Larger candles out of minutes; one that began before the first minute is left out."""
    folded: list[Bar] = []
    skip_before = -(-rows[0].ts_ms // step_ms) * step_ms
    for row in rows:
        if row.ts_ms < skip_before:
            continue
        start = row.ts_ms // step_ms * step_ms
        is_closed = start + step_ms <= now_ms
        if folded and folded[-1].ts_ms == start:
            last = folded[-1]
            high, low = max(last.high, row.high), min(last.low, row.low)
            total = last.volume + row.volume
            folded[-1] = Bar(start, last.open, high, low, row.close, total, is_closed)
        else:
            folded.append(Bar(start, row.open, row.high, row.low, row.close, row.volume, is_closed))
    return folded
