"""Funding rates as columns: what a perpetual's holders paid each other, and when."""

from dataclasses import dataclass

from blofin_cli.core.candles import Prices, Times


@dataclass(frozen=True, eq=False)
class FundingHistory:
    """Settled funding of one symbol, ascending and unique in time.

    Shapes: `ts` (n,) int64 settlement times in UTC ms; `rate` (n,) float64.
    Units: fraction of the position's value at each settlement; positive means longs pay.
    Invariants: intervals may differ and may have holes; none is invented.
    """

    symbol: str
    ts: Times
    rate: Prices

    def __len__(self) -> int:
        return len(self.ts)
