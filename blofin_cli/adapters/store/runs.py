"""Saved runs, the trial ledger and the audit trail.

Every backtest enters a trial and an audit row, and `runs` only reads: these go through the
standard library, whose import costs 8 ms. Saving a run goes through sqlite-utils, as migrations do.
"""

import json
import math
import re
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store import schema
from blofin_cli.adapters.store.file import BUSY_SECONDS_MAX, StateFile
from blofin_cli.errors import DataError, UsageError
from blofin_cli.ports import AuditRecord, RunKind, RunSummary, SavedRun, Trial

RESULT_BYTES_MAX = 512 * 1_048_576
ARGUMENTS_LENGTH_MAX = 16_384
SHOWN_IDS_MAX = 5
NEAREST_AMONG_MAX = 1_000

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,79}")
_SUMMARY = (
    "run_id, kind, series, created_ms, symbols, timeframe, since_ms, until_ms, digests, metrics, "
    "verdict_status, version"
)
_NEWEST_FIRST = "order by created_ms desc, rowid desc"


class SqliteStore:
    """The port RunStore over one SQLite file."""

    def __init__(self, path: Path, *, busy_seconds_max: float = BUSY_SECONDS_MAX) -> None:
        self._file = StateFile(path, busy_seconds_max=busy_seconds_max)

    def save_run(self, run: SavedRun) -> bool:
        """Keep a run; False, and nothing changed, when its id is already there."""
        row = _row_of(run)
        with self._file.writing() as connection:
            held = connection.execute("select 1 from runs where run_id = ?", (run.run_id,))
            if held.fetchone() is not None:
                return False
            schema.wrapped(connection).table("runs").insert(row)
        return True

    def run(self, run_id: str) -> SavedRun:
        """The run of this id, or of the only id that begins so."""
        if _RUN_ID.fullmatch(run_id) is None:
            raise UsageError(f"{run_id[:80]!a} is no run id", hint="see: blofin runs")
        with self._file.reading() as connection:
            if connection is None:
                raise _unknown(run_id, [])
            whole = self._whole(connection, "run_id = ?", run_id)
            if whole is None:
                whole = self._whole(connection, "run_id = ?", _completed(connection, run_id))
        assert whole is not None
        return whole

    def runs(
        self,
        kind: RunKind | None = None,
        symbols: Sequence[str] | None = None,
        limit: int = 50,
    ) -> list[RunSummary]:
        """The newest runs first; with `symbols`, those that hold at least one of them."""
        wanted = json.dumps(list(symbols)) if symbols else None
        with self._file.reading() as connection:
            if connection is None:
                return []
            found = connection.execute(
                f"select {_SUMMARY} from runs where (:kind is null or kind = :kind)"  # noqa: S608 - constants
                " and (:symbols is null or exists (select 1 from json_each(runs.symbols)"
                " where value in (select value from json_each(:symbols))))"
                f" {_NEWEST_FIRST} limit :limit",
                {"kind": kind, "symbols": wanted, "limit": limit},
            )
            return [RunSummary(**_fields(row)) for row in _named(found)]

    def last_run(self, kind: RunKind, series: str) -> SavedRun | None:
        """The newest run of a series."""
        with self._file.reading() as connection:
            if connection is None:
                return None
            return self._whole(connection, "kind = ? and series = ?", kind, series)

    def record_trial(self, trial: Trial) -> None:
        """Enter a trial; the same configuration on the same data only adds to its count."""
        if not math.isfinite(trial.sharpe):
            raise DataError("a trial's Sharpe ratio must be a finite number")
        with self._file.writing() as connection:
            connection.execute(
                "insert into trials"
                " (data_digest, config_digest, sharpe, times, first_ms, last_ms)"
                " values (?, ?, ?, 1, ?, ?) on conflict (data_digest, config_digest)"
                " do update set times = times + 1, last_ms = max(last_ms, excluded.last_ms)",
                (
                    trial.data_digest,
                    trial.config_digest,
                    float(trial.sharpe),
                    trial.created_ms,
                    trial.created_ms,
                ),
            )

    def trial_sharpes(self, data_digest: str) -> list[float]:
        """One daily Sharpe ratio for each configuration tried on these data.

        Invariants: ordered by configuration, so that the order of trying changes no sum's bits.
        """
        with self._file.reading() as connection:
            if connection is None:
                return []
            found = connection.execute(
                "select sharpe from trials where data_digest = ? order by config_digest",
                (data_digest,),
            )
            return [float(sharpe) for (sharpe,) in found]

    def append_audit(self, entry: AuditRecord) -> None:
        """Enter one passage through the gate; long arguments are counted, not kept."""
        arguments = json.dumps(entry.arguments, sort_keys=True, default=str)
        if len(arguments) > ARGUMENTS_LENGTH_MAX:
            arguments = json.dumps({"omitted_characters": len(arguments)})
        with self._file.writing() as connection:
            connection.execute(
                "insert into audit (ts_ms, face, command, effect, arguments, outcome)"
                " values (?, ?, ?, ?, ?, ?)",
                (entry.ts_ms, entry.face, entry.command, entry.effect, arguments, entry.outcome),
            )

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for as long as a job runs."""
        return self._file.lock(name)

    def _whole(self, connection: sqlite3.Connection, where: str, *values: str) -> SavedRun | None:
        found = _named(
            connection.execute(
                f"select {_SUMMARY}, result from runs where {where} {_NEWEST_FIRST} limit 1",  # noqa: S608 - constants
                values,
            )
        )
        if not found:
            return None
        fields = _fields(found[0])
        return SavedRun(**fields, result_json=_inflated(found[0]["result"], fields["run_id"]))


def _named(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


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


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in row.items() if name != "result"}
    try:
        fields["symbols"] = tuple(json.loads(row["symbols"]))
        fields["digests"] = json.loads(row["digests"])
        fields["metrics"] = json.loads(row["metrics"])
    except (ValueError, TypeError) as error:
        raise _damaged(row["run_id"]) from error
    return fields


def _inflated(packed: bytes, run_id: str) -> bytes:
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


def _completed(connection: sqlite3.Connection, start: str) -> str:
    """The only id that begins so."""
    begins = "substr(run_id, 1, length(?1)) = ?1"
    found = connection.execute(
        f"select run_id from runs where {begins} {_NEWEST_FIRST} limit ?2",  # noqa: S608 - constants
        (start, SHOWN_IDS_MAX + 1),
    ).fetchall()
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
    newest = connection.execute(
        f"select run_id from runs {_NEWEST_FIRST} limit ?",  # noqa: S608 - constants
        (NEAREST_AMONG_MAX,),
    )
    raise _unknown(start, [run_id for (run_id,) in newest])


def _unknown(run_id: str, known: list[str]) -> UsageError:
    if not known:
        return UsageError(f"no run {run_id}: none is saved yet", hint="blofin backtest --save")
    near = get_close_matches(run_id, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else "see: blofin runs"
    return UsageError(f"no run {run_id}", hint=hint, details={"nearest": near})
