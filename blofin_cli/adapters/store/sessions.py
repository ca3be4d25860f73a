"""Sessions, their heartbeats, and the small documents that must survive a restart."""

from dataclasses import replace
from typing import Any

from blofin_cli.adapters.store.database import Database, Row, Tables
from blofin_cli.adapters.store.records import canonical, document, packed, unpacked
from blofin_cli.core.journal import Session
from blofin_cli.core.status import SessionStatus, status_of
from blofin_cli.errors import DataError, UsageError

SHOWN_IDS_MAX = 5
_SESSION = "select session_id, document, ended_ms, end_reason from sessions"
_NEWEST_FIRST = "order by started_ms desc, rowid desc"


class Sessions:
    """Runs of the trading loop."""

    _db: Database

    def open_session(self, session: Session) -> None:
        """Enter a session that begins; the same id again replaces what it said before."""
        with self._db.writing() as tables:
            tables.write(
                "insert into sessions"
                " (session_id, account, started_ms, ended_ms, end_reason, document)"
                " values (:session_id, :account, :started_ms, :ended_ms, :end_reason, :document)"
                " on conflict (session_id) do update set account = excluded.account,"
                " started_ms = excluded.started_ms, ended_ms = excluded.ended_ms,"
                " end_reason = excluded.end_reason, document = excluded.document",
                {
                    "session_id": session.session_id,
                    "account": session.account,
                    "started_ms": session.started_ms,
                    "ended_ms": session.ended_ms,
                    "end_reason": session.end_reason,
                    "document": packed(replace(session, ended_ms=None, end_reason="")),
                },
            )

    def end_session(self, session_id: str, ts_ms: int, reason: str) -> None:
        """Enter its end; the first end stays."""
        with self._db.writing() as tables:
            tables.write(
                "update sessions set ended_ms = :ts_ms, end_reason = :reason"
                " where session_id = :session_id and ended_ms is null",
                {"ts_ms": ts_ms, "reason": reason, "session_id": session_id},
            )

    def session(self, session_id: str) -> Session:
        """The session of this id, or of the only one that begins so."""
        with self._db.reading() as tables:
            found = [] if tables is None else _beginning_with(tables, session_id)
        exact = [row for row in found if row[0] == session_id]
        if len(found) == 1 or exact:
            return _session((exact or found)[0])
        return _session(only_one(found, "session", session_id))

    def accounts(self) -> tuple[str, ...]:
        """Accounts of which there is a session or an intent."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            found = tables.ask(
                "select account from sessions union select account from intents order by 1", {}
            )
        return tuple(str(row[0]) for row in found)

    def sessions(self, account: str | None = None, limit: int = 50) -> tuple[Session, ...]:
        """Sessions, newest first."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            found = tables.ask(
                f"{_SESSION} where (cast(:account as text) is null or account = :account)"
                f" {_NEWEST_FIRST} limit :limit",
                {"account": account, "limit": limit},
            )
        return tuple(_session(row) for row in found)

    def beat(self, status: SessionStatus) -> None:
        """Heartbeat: replace the session's status document."""
        with self._db.writing() as tables:
            tables.write(
                "insert into beats (session_id, ts_ms, document)"
                " values (:session_id, :ts_ms, :document)"
                " on conflict (session_id) do update"
                " set ts_ms = excluded.ts_ms, document = excluded.document",
                {
                    "session_id": status.session_id,
                    "ts_ms": status.ts_ms,
                    "document": packed(status, is_shown=True),
                },
            )

    def status(self, session_id: str | None = None) -> SessionStatus | None:
        """The last heartbeat of a session, of the newest one when none is named."""
        with self._db.reading() as tables:
            if tables is None:
                return None
            found = tables.ask(
                "select beats.document, beats.session_id from beats"
                " left join sessions on sessions.session_id = beats.session_id"
                " where (cast(:session_id as text) is null or beats.session_id = :session_id)"
                " order by coalesce(sessions.started_ms, beats.ts_ms) desc, beats.ts_ms desc"
                " limit 1",
                {"session_id": session_id},
            )
        if not found:
            return None
        try:
            return status_of(document(*found[0]))
        except TypeError as error:
            raise DataError(f"the status of session {found[0][1]} is damaged") from error

    def remember(self, account: str, name: str, value: dict[str, Any]) -> None:
        """Keep a small JSON document that must survive a restart."""
        try:
            text = canonical(value)
        except ValueError as error:
            raise DataError(f"{name} holds a number that is not finite; it was not kept") from error
        with self._db.writing() as tables:
            tables.write(
                "insert into documents (account, name, document)"
                " values (:account, :name, :document)"
                " on conflict (account, name) do update set document = excluded.document",
                {"account": account, "name": name, "document": text},
            )

    def recall(self, account: str, name: str) -> dict[str, Any] | None:
        """The document kept under this name."""
        with self._db.reading() as tables:
            if tables is None:
                return None
            found = tables.ask(
                "select document from documents where account = :account and name = :name",
                {"account": account, "name": name},
            )
        return document(found[0][0], f"{account} {name}") if found else None


def only_one(found: list[Row], what: str, start: str) -> Row:
    """The only row; its first column is the id. Errors: UsageError for none or more."""
    if not found:
        raise UsageError(f"no {what} {start[:80]!a}", hint="see: blofin status, blofin trades")
    if len(found) > 1:
        ids = [str(row[0]) for row in found[:SHOWN_IDS_MAX]]
        more = ", and more" if len(found) > SHOWN_IDS_MAX else ""
        raise UsageError(
            f"more than one {what} begins with {start[:80]!a}",
            hint=f"type more of it: {', '.join(ids)}{more}",
            details={"ids": ids},
        )
    return found[0]


def _beginning_with(tables: Tables, start: str) -> list[Row]:
    if not start.isascii() or "\0" in start:
        return []
    return tables.ask(
        f"{_SESSION} where substr(session_id, 1, length(:start)) = :start and :start <> ''"
        f" {_NEWEST_FIRST} limit :limit",
        {"start": start, "limit": SHOWN_IDS_MAX + 1},
    )


def _session(row: Row) -> Session:
    session_id, text, ended_ms, reason = row
    whole = unpacked(Session, text, session_id)
    return replace(whole, ended_ms=ended_ms, end_reason=reason)
