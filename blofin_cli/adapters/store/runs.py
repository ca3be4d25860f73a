"""Saved runs, the trial ledger and the audit trail.

Plain SQL over `Tables`: for a file that is the standard library, whose import costs 8 ms.
"""

import json
import math
import re
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store.database import Database, Row, Tables, Values
from blofin_cli.adapters.store.file import BUSY_SECONDS_MAX, StateFile
from blofin_cli.adapters.store.trail import Trail
from blofin_cli.errors import DataError, UsageError
from blofin_cli.ports import RunKind, RunSummary, SavedRun, Trial

RESULT_BYTES_MAX = 512 * 1_048_576
SHOWN_IDS_MAX = 5
NEAREST_AMONG_MAX = 1_000

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")
_COLUMNS = (
    "run_id", "kind", "series", "created_ms", "symbols", "timeframe", "since_ms", "until_ms",
    "digests", "metrics", "verdict_status", "version",
)  # fmt: skip
_SUMMARY = ", ".join(_COLUMNS)
_INSERT = (
    f"insert into runs ({_SUMMARY}, result)"  # noqa: S608 - constants
    f" values ({', '.join(f':{name}' for name in _COLUMNS)}, :result)"
    " on conflict (run_id) do nothing"
)
_NEWEST_FIRST = "order by created_ms desc, rowid desc"


class StateStore(Trail):
    """The port RunStore over a database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save_run(self, run: SavedRun) -> bool:
        """Keep a run; False, and nothing changed, when its id is already there."""
        row = _row_of(run)
        with self._db.writing() as tables:
            return tables.write(_INSERT, row) > 0

    def run(self, run_id: str) -> SavedRun:
        """The run of this id, or of the only id that begins so."""
        if _RUN_ID.fullmatch(run_id) is None:
            raise UsageError(f"{run_id[:80]!a} is no run id", hint="see: blofin runs")
        with self._db.reading() as tables:
            if tables is None:
                raise _unknown(run_id, [])
            whole = _whole(tables, "run_id = :run_id", {"run_id": run_id})
            if whole is None:
                only = _completed(tables, run_id)
                whole = _whole(tables, "run_id = :run_id", {"run_id": only})
        assert whole is not None
        return whole

    def runs(
        self,
        kind: RunKind | None = None,
        symbols: Sequence[str] | None = None,
        limit: int = 50,
    ) -> list[RunSummary]:
        """The newest runs first; with `symbols`, those that hold at least one of them."""
        # Symbols are kept as a JSON list; one is in it when taking its word out changes the list.
        wanted = {f"word_{place}": json.dumps(name) for place, name in enumerate(symbols or ())}
        held = " or ".join(f"replace(symbols, :{name}, '') <> symbols" for name in wanted)
        with self._db.reading() as tables:
            if tables is None:
                return []
            found = tables.ask(
                f"select {_SUMMARY} from runs"  # noqa: S608 - constants, and names counted off
                " where (cast(:kind as text) is null or kind = :kind)"
                f" and ({held or '1 = 1'}) {_NEWEST_FIRST} limit :limit",
                {"kind": kind, "limit": limit} | wanted,
            )
        return [RunSummary(**_fields(row)) for row in found]

    def last_run(self, kind: RunKind, series: str) -> SavedRun | None:
        """The newest run of a series."""
        with self._db.reading() as tables:
            if tables is None:
                return None
            values = {"kind": kind, "series": series}
            return _whole(tables, "kind = :kind and series = :series", values)

    def record_trial(self, trial: Trial) -> None:
        """Enter a trial; the same configuration on the same data only adds to its count."""
        if not math.isfinite(trial.sharpe):
            raise DataError("a trial's Sharpe ratio must be a finite number")
        with self._db.writing() as tables:
            tables.write(
                "insert into trials"
                " (data_digest, config_digest, sharpe, times, first_ms, last_ms)"
                " values (:data_digest, :config_digest, :sharpe, 1, :at_ms, :at_ms)"
                " on conflict (data_digest, config_digest) do update"
                " set times = trials.times + 1, last_ms = case"
                " when trials.last_ms > excluded.last_ms then trials.last_ms"
                " else excluded.last_ms end",
                {
                    "data_digest": trial.data_digest,
                    "config_digest": trial.config_digest,
                    "sharpe": float(trial.sharpe),
                    "at_ms": trial.created_ms,
                },
            )

    def trial_sharpes(self, data_digest: str) -> list[float]:
        """One daily Sharpe ratio for each configuration tried on these data.

        Invariants: ordered by configuration, so that the order of trying changes no sum's bits.
        """
        with self._db.reading() as tables:
            if tables is None:
                return []
            found = tables.ask(
                "select sharpe from trials where data_digest = :data_digest order by config_digest",
                {"data_digest": data_digest},
            )
        return [float(sharpe) for (sharpe,) in found]

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for as long as a job runs."""
        return self._db.lock(name)


def sqlite_store(path: Path, *, busy_seconds_max: float = BUSY_SECONDS_MAX) -> StateStore:
    """The store in a file, which is opened for each call."""
    return StateStore(StateFile(path, busy_seconds_max=busy_seconds_max))


def _whole(tables: Tables, where: str, values: Values) -> SavedRun | None:
    found = tables.ask(
        f"select {_SUMMARY}, result from runs where {where} {_NEWEST_FIRST} limit 1",  # noqa: S608 - constants
        values,
    )
    if not found:
        return None
    *summary, packed = found[0]
    fields = _fields(tuple(summary))
    return SavedRun(**fields, result_json=inflated(packed, fields["run_id"]))


def _row_of(run: SavedRun) -> dict[str, Any]:
    if _RUN_ID.fullmatch(run.run_id) is None:
        raise UsageError(f"{run.run_id[:80]!a} is no run id")
    if len(run.result_json) > RESULT_BYTES_MAX:
        raise DataError(
            f"the result of run {run.run_id} is larger than {RESULT_BYTES_MAX} bytes",
            hint="shorten the span, or run fewer symbols at once",
        )
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "series": run.series,
        "created_ms": run.created_ms,
        "symbols": json.dumps(list(run.symbols)),
        "timeframe": str(run.timeframe),
        "since_ms": run.since_ms,
        "until_ms": run.until_ms,
        "digests": _canonical(run.digests, run.run_id),
        "metrics": _canonical(run.metrics, run.run_id),
        "verdict_status": run.verdict_status,
        "version": run.version,
        "result": zlib.compress(run.result_json, 6),
    }


def _canonical(value: dict[str, Any], run_id: str) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise DataError(f"run {run_id} holds a number that is not finite") from error


def _fields(row: Row) -> dict[str, Any]:
    fields = dict(zip(_COLUMNS, row, strict=True))
    try:
        fields["symbols"] = tuple(json.loads(fields["symbols"]))
        fields["digests"] = json.loads(fields["digests"])
        fields["metrics"] = json.loads(fields["metrics"])
    except (ValueError, TypeError) as error:
        raise _damaged(fields["run_id"]) from error
    return fields


def inflated(packed: bytes, run_id: str) -> bytes:
    """A run's result as it was saved. Errors: DataError when it does not unpack to its end."""
    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(packed, RESULT_BYTES_MAX + 1)
    except zlib.error as error:
        raise _damaged(run_id) from error
    if not unpacker.eof:
        raise _damaged(run_id)
    return result


def _damaged(run_id: str) -> DataError:
    return DataError(
        f"run {run_id} is damaged in the state file", hint="run it again under another --state PATH"
    )


def _completed(tables: Tables, start: str) -> str:
    """The only id that begins so."""
    found = tables.ask(
        "select run_id from runs where substr(run_id, 1, length(:start)) = :start"  # noqa: S608 - constants
        f" {_NEWEST_FIRST} limit :limit",
        {"start": start, "limit": SHOWN_IDS_MAX + 1},
    )
    ids = [run_id for (run_id,) in found]
    if len(ids) == 1:
        return str(ids[0])
    if ids:
        more = ", and more" if len(ids) > SHOWN_IDS_MAX else ""
        raise UsageError(
            f"more than one run begins with {start}",
            hint=f"type more of it: {', '.join(ids[:SHOWN_IDS_MAX])}{more}",
            details={"run_ids": ids[:SHOWN_IDS_MAX]},
        )
    newest = tables.ask(
        f"select run_id from runs {_NEWEST_FIRST} limit :limit",  # noqa: S608 - constants
        {"limit": NEAREST_AMONG_MAX},
    )
    raise _unknown(start, [run_id for (run_id,) in newest])


def _unknown(run_id: str, known: list[str]) -> UsageError:
    if not known:
        return UsageError(f"no run {run_id}: none is saved yet", hint="blofin backtest --save")
    near = get_close_matches(run_id, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else "see: blofin runs"
    return UsageError(f"no run {run_id}", hint=hint, details={"nearest": near})
