"""What the engine and the commands need from the world, as protocols that adapters fulfil.

Records that cross a port stand beside it. Nothing here loads numpy: listing saved runs must not.
"""

from blofin_cli.ports.exchange import AccountReader, Exchange, MarketData, ReduceOnly, Stream
from blofin_cli.ports.journal import Journal
from blofin_cli.ports.runs import AuditRecord, RunKind, RunStore, RunSummary, SavedRun, Trial
from blofin_cli.ports.world import CandleSource, Clock, Notifier

__all__ = [
    "AccountReader", "AuditRecord", "CandleSource", "Clock", "Exchange", "Journal", "MarketData",
    "Notifier", "ReduceOnly", "RunKind", "RunStore", "RunSummary", "SavedRun", "Stream", "Trial",
]  # fmt: skip
