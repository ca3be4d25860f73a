"""The audit trail: each row carries the hash of itself and of the row before it.

A row that is changed, taken out or slipped in breaks every hash after it. What the chain cannot
tell is that the newest rows are gone: for that, compare with a backup or a hash written down.
"""

import json
from collections.abc import Iterator

from blofin_cli.adapters.store.chain import AUDIT_COLUMNS, FIRST_HASH, chained
from blofin_cli.adapters.store.database import Database, Row, Tables
from blofin_cli.adapters.store.records import document, word
from blofin_cli.core.journal import AuditRow
from blofin_cli.ports import AuditRecord

ARGUMENTS_LENGTH_MAX = 16_384
PAGE_ROWS = 1_000
_COLUMNS = ", ".join(AUDIT_COLUMNS)


class Trail:
    """Who did what, when, through which face, and what came of it."""

    _db: Database

    def append_audit(self, entry: AuditRecord) -> None:
        """Enter one passage through the gate; long arguments are counted, not kept."""
        arguments = json.dumps(entry.arguments, sort_keys=True, default=str)
        if len(arguments) > ARGUMENTS_LENGTH_MAX:
            arguments = json.dumps({"omitted_characters": len(arguments)})
        with self._db.writing() as tables:
            last = tables.ask("select id, hash from audit order by id desc limit 1")
            number, hash_before = last[0] if last else (0, FIRST_HASH)
            words = (entry.face, entry.command, entry.effect, arguments, entry.outcome)
            row = (number + 1, entry.ts_ms, *map(word, words))
            values = dict(zip(AUDIT_COLUMNS, row, strict=True))
            tables.write(
                f"insert into audit ({_COLUMNS}, hash) values (:id, :ts_ms, :face, :command,"  # noqa: S608 - constants
                " :effect, :arguments, :outcome, :hash)",
                values | {"hash": chained(hash_before, row)},
            )

    def audit(self, *, since_ms: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        """The trail, newest first."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            found = tables.ask(
                f"select {_COLUMNS}, hash from audit where ts_ms >= :since_ms"  # noqa: S608 - constants
                " order by id desc limit :limit",
                {"since_ms": since_ms, "limit": limit},
            )
        return tuple(_audit_row(row) for row in found)

    def verify_audit(self) -> tuple[int, int | None]:
        """Rows of the trail, and the id of the first whose hash does not follow; None: intact."""
        with self._db.reading() as tables:
            if tables is None:
                return 0, None
            rows, hash_before, broken = 0, FIRST_HASH, None
            for *row, kept in _paged(tables):
                rows += 1
                if broken is None and kept != chained(hash_before, tuple(row)):
                    broken = int(row[0])
                hash_before = kept
            return rows, broken


def _paged(tables: Tables) -> Iterator[Row]:
    """Every row with its hash, oldest first, without holding them all."""
    last = 0
    while page := tables.ask(
        f"select {_COLUMNS}, hash from audit where id > :last order by id limit :limit",  # noqa: S608 - constants
        {"last": last, "limit": PAGE_ROWS},
    ):
        yield from page
        last = page[-1][0]


def _audit_row(row: Row) -> AuditRow:
    number, ts_ms, face, command, effect, arguments, outcome, kept = row
    return AuditRow(
        id=number, ts_ms=ts_ms, face=face, command=command, effect=effect,
        arguments=document(arguments, f"audit {number}"), outcome=outcome, hash=kept,
    )  # fmt: skip
