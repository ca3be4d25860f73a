"""Saved runs, the trial ledger and the audit trail, with the records that cross this port."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # arrays, and names that only signatures need
    from collections.abc import Sequence


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
