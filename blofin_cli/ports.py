"""What the engine and the commands need from the world, as protocols that adapters fulfil.

Records that cross a port stand beside it. Nothing here loads numpy: listing saved runs must not.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from blofin_cli.core.market import Timeframe

if TYPE_CHECKING:  # arrays
    from collections.abc import Sequence

    from blofin_cli.core.candles import Candles
    from blofin_cli.core.funding import FundingHistory


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


RunKind = Literal["backtest", "session", "study"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A saved run as a list shows it.

    `series` is whatever makes two runs comparable, in the caller's words: the same symbols,
    timeframe and settings on another day or another build. `digests` and `metrics` hold JSON
    values only; a metric that is undefined is None.
    """

    run_id: str
    kind: RunKind
    series: str
    created_ms: int
    symbols: tuple[str, ...]
    timeframe: str
    since_ms: int
    until_ms: int
    digests: dict[str, str]
    metrics: dict[str, Any]
    verdict_status: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun(RunSummary):
    """A saved run in full; `result_json` comes back byte for byte."""

    result_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One look at the data with one configuration, for the count that deflates a Sharpe ratio.

    Units: `sharpe` per day.
    """

    config_digest: str
    data_digest: str
    sharpe: float
    created_ms: int


class AuditRecord(Protocol):
    """One passage through the gate that could change something."""

    @property
    def ts_ms(self) -> int: ...
    @property
    def face(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def effect(self) -> str: ...
    @property
    def arguments(self) -> dict[str, Any]: ...
    @property
    def outcome(self) -> str: ...


class RunStore(Protocol):
    """Saved runs, the trial ledger and the audit trail, in the state database.

    Invariants: what a method has returned from is durable against a crash of the process; reading
    a state that does not exist yet gives nothing and creates nothing.
    Errors: DataError when the state is damaged, busy, full, unwritable, newer than this build or
    somebody else's; such a state is never overwritten.
    """

    def save_run(self, run: SavedRun) -> bool:
        """Keep a run; False, and nothing changed, when its id is already there."""
        ...

    def run(self, run_id: str) -> SavedRun:
        """The run of this id, or of the only id that begins so.

        Errors: UsageError when there is none or more than one; the hint names the nearest.
        """
        ...

    def runs(
        self,
        kind: RunKind | None = None,
        symbols: "Sequence[str] | None" = None,
        limit: int = 50,
    ) -> list[RunSummary]:
        """The newest runs first; with `symbols`, those that hold at least one of them."""
        ...

    def last_run(self, kind: RunKind, series: str) -> SavedRun | None:
        """The newest run of a series; ask before saving the one to be compared with it."""
        ...

    def record_trial(self, trial: Trial) -> None:
        """Enter a trial; the same configuration on the same data only adds to its count."""
        ...

    def trial_sharpes(self, data_digest: str) -> list[float]:
        """One daily Sharpe ratio for each configuration tried on these data, in a fixed order."""
        ...

    def append_audit(self, entry: AuditRecord) -> None:
        """Enter one passage through the gate."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for as long as a job runs; the system frees it when the process dies.

        Errors: RefusedError at once when another process holds it.
        """
        ...
