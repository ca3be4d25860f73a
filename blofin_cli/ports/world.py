"""Time, candles on disk, and a way to reach a person."""

from typing import TYPE_CHECKING, Protocol

from blofin_cli.core.market import Timeframe

if TYPE_CHECKING:  # arrays, and names that only signatures need
    from blofin_cli.core.candles import Candles
    from blofin_cli.core.funding import FundingHistory
    from blofin_cli.core.journal import (
        Happening,
    )


class Clock(Protocol):
    """The only place that knows what time it is."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


class CandleSource(Protocol):
    """Market history from one place: files, the store or a synthetic market.

    Invariants: the same call gives the same rows for the life of the source; candles are closed,
    ascending and unique; gaps are kept.
    Errors: DataError when the data is absent or broken; UsageError when the source is of another
    symbol than the one asked for.
    """

    @property
    def name(self) -> str:
        """How a result names this source, without folders of the machine."""
        ...

    def symbols(self) -> list[str]:
        """Symbols known to be here, sorted; empty when a file's name tells none."""
        ...

    def timeframes(self, symbol: str) -> list[Timeframe]:
        """Bar sizes this source has itself, finest first; the caller resamples the others."""
        ...

    def candles(self, symbol: str, timeframe: Timeframe) -> "Candles":
        """The whole history of closed candles."""
        ...

    def funding(self, symbol: str) -> "FundingHistory | None":
        """Settled funding rates, or None when there are none."""
        ...

    def mark(self, symbol: str) -> "Candles | None":
        """Mark price bars (volume 0), or None when there are none."""
        ...

    def notes(self) -> list[str]:
        """What a person should be told about the data handed out so far, each once."""
        ...

    def digest(self, symbol: str) -> str:
        """SHA-256 over everything of this symbol handed out so far, the same on every machine."""
        ...


class Notifier(Protocol):
    """A way to reach a person. Trading never waits on it: a worker behind a bounded queue calls."""

    async def send(self, happening: "Happening") -> None:
        """Deliver one event. Errors: NetworkError when it could not be delivered."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; harmless when repeated."""
        ...
