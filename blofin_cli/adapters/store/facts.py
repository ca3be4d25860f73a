"""What happened: fills, funding, trades, decisions with their zones, equity, events.

Facts are booked once by their own key, kept for ever and given back whole.
"""

from collections.abc import Sequence
from dataclasses import replace

from blofin_cli.adapters.store.database import Database, Row, Tables, Values
from blofin_cli.adapters.store.records import canonical, packed, unpacked
from blofin_cli.adapters.store.sessions import SHOWN_IDS_MAX, only_one
from blofin_cli.core.journal import Decision, EquityPoint, FundingPayment, Happening
from blofin_cli.core.market import Trade, Zone
from blofin_cli.core.orders import Fill

_TRADE = "select trade_id, document, note, tags from trades"


class Facts:
    """The memory of what was done and seen."""

    _db: Database

    def book_fills(self, account: str, session_id: str, fills: Sequence[Fill]) -> list[Fill]:
        """Enter executions; returns those that were not known by symbol and trade id."""
        if not fills:
            return []
        with self._db.writing() as tables:
            return [
                fill
                for fill in fills
                if tables.write(
                    "insert into fills (account, symbol, trade_id, session_id, ts_ms, document)"
                    " values (:account, :symbol, :trade_id, :session_id, :ts_ms, :document)"
                    " on conflict (account, symbol, trade_id) do nothing",
                    {
                        "account": account,
                        "symbol": fill.symbol,
                        "trade_id": fill.trade_id,
                        "session_id": session_id,
                        "ts_ms": fill.ts_ms,
                        "document": packed(fill),
                    },
                )
            ]

    def fills(
        self, account: str, *, symbol: str | None = None, since_ms: int = 0, limit: int = 10_000
    ) -> tuple[Fill, ...]:
        """The first `limit` executions since a time, oldest first."""
        found = self._found(
            "select trade_id, document from fills where account = :account"
            " and (cast(:symbol as text) is null or symbol = :symbol) and ts_ms >= :since_ms"
            " order by ts_ms, rowid limit :limit",
            {"account": account, "symbol": symbol, "since_ms": since_ms, "limit": limit},
        )
        return tuple(unpacked(Fill, text, key) for key, text in found)

    def book_funding(
        self, account: str, session_id: str, payments: Sequence[FundingPayment]
    ) -> list[FundingPayment]:
        """Enter settlements; returns those not known by symbol and time."""
        if not payments:
            return []
        with self._db.writing() as tables:
            return [
                payment
                for payment in payments
                if tables.write(
                    "insert into funding (account, symbol, ts_ms, session_id, document)"
                    " values (:account, :symbol, :ts_ms, :session_id, :document)"
                    " on conflict (account, symbol, ts_ms) do nothing",
                    {
                        "account": account,
                        "symbol": payment.symbol,
                        "ts_ms": payment.ts_ms,
                        "session_id": session_id,
                        "document": packed(payment),
                    },
                )
            ]

    def funding_payments(self, account: str, *, since_ms: int = 0) -> tuple[FundingPayment, ...]:
        """Settlements since a time, oldest first."""
        found = self._found(
            "select symbol, document from funding where account = :account"
            " and ts_ms >= :since_ms order by ts_ms, symbol",
            {"account": account, "since_ms": since_ms},
        )
        return tuple(unpacked(FundingPayment, text, key) for key, text in found)

    def save_trade(self, account: str, trade: Trade) -> None:
        """Enter a finished trade, or replace it by id; a person's note and tags stay."""
        with self._db.writing() as tables:
            tables.write(
                "insert into trades (trade_id, account, session_id, symbol, exit_ms, document)"
                " values (:trade_id, :account, :session_id, :symbol, :exit_ms, :document)"
                " on conflict (trade_id) do update set account = excluded.account,"
                " session_id = excluded.session_id, symbol = excluded.symbol,"
                " exit_ms = excluded.exit_ms, document = excluded.document",
                {
                    "trade_id": trade.id,
                    "account": account,
                    "session_id": trade.run_id,
                    "symbol": trade.symbol,
                    "exit_ms": trade.exit_ms,
                    "document": packed(trade),
                },
            )

    def trades(
        self,
        *,
        account: str | None = None,
        session_id: str | None = None,
        symbol: str | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> tuple[Trade, ...]:
        """Finished trades whose exit lies in the span, oldest first; the newest `limit`."""
        found = self._found(
            f"{_TRADE} where (cast(:account as text) is null or account = :account)"
            " and (cast(:session_id as text) is null or session_id = :session_id)"
            " and (cast(:symbol as text) is null or symbol = :symbol) and exit_ms >= :since_ms"
            " and (cast(:until_ms as bigint) is null or exit_ms < :until_ms)"
            " order by exit_ms desc, rowid desc limit :limit",
            {
                "account": account,
                "session_id": session_id,
                "symbol": symbol,
                "since_ms": since_ms,
                "until_ms": until_ms,
                "limit": limit,
            },
        )
        return tuple(_trade(row) for row in reversed(found))

    def annotate(self, trade_id: str, *, note: str | None, tags: Sequence[str]) -> Trade:
        """Set a trade's note and add tags; the id may be the only one that begins so."""
        with self._db.writing() as tables:
            row = _trade_beginning_with(tables, trade_id)
            trade = _trade(row)
            kept = trade.note if note is None else note
            added = tuple(dict.fromkeys([*trade.tags, *tags]))
            tables.write(
                "update trades set note = :note, tags = :tags where trade_id = :trade_id",
                {
                    "note": row[2] if note is None else canonical(note),
                    "tags": canonical(added),
                    "trade_id": trade.id,
                },
            )
            return replace(trade, note=kept, tags=list(added))

    def save_decision(
        self, session_id: str, decision: Decision, zones: Sequence[Zone] | None = None
    ) -> None:
        """Enter a bar's decision, and the zones as they were known when they differ from the last
        ones kept for the symbol; None leaves them as they were."""
        values = {"session_id": session_id, "symbol": decision.symbol, "ts_ms": decision.ts_ms}
        with self._db.writing() as tables:
            tables.write(
                "insert into decisions (session_id, symbol, bar_ms, document)"
                " values (:session_id, :symbol, :bar_ms, :document)"
                " on conflict (session_id, symbol, bar_ms) do update"
                " set document = excluded.document",
                {
                    "session_id": session_id,
                    "symbol": decision.symbol,
                    "bar_ms": decision.bar_ms,
                    "document": packed(decision, is_shown=True),
                },
            )
            if zones is None:
                return
            known = packed(list(zones), is_shown=True)
            if known != _zones_text(tables, values):
                tables.write(
                    "insert into zones (session_id, symbol, ts_ms, document)"
                    " values (:session_id, :symbol, :ts_ms, :document)"
                    " on conflict (session_id, symbol, ts_ms) do update"
                    " set document = excluded.document",
                    values | {"document": known},
                )

    def decisions(
        self,
        session_id: str,
        *,
        symbol: str | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> tuple[Decision, ...]:
        """Decisions by bar time, oldest first; the newest `limit` of them."""
        found = self._found(
            "select symbol, document from decisions where session_id = :session_id"
            " and (cast(:symbol as text) is null or symbol = :symbol) and bar_ms >= :since_ms"
            " and (cast(:until_ms as bigint) is null or bar_ms < :until_ms)"
            " order by bar_ms desc, symbol desc limit :limit",
            {
                "session_id": session_id,
                "symbol": symbol,
                "since_ms": since_ms,
                "until_ms": until_ms,
                "limit": limit,
            },
        )
        return tuple(unpacked(Decision, text, key) for key, text in reversed(found))

    def zones_at(self, session_id: str, symbol: str, ts_ms: int) -> tuple[Zone, ...]:
        """The zones the session knew at a time."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            values = {"session_id": session_id, "symbol": symbol, "ts_ms": ts_ms}
            text = _zones_text(tables, values)
        return () if text is None else unpacked(tuple[Zone, ...], text, f"zones of {symbol}")

    def add_equity(self, account: str, session_id: str, point: EquityPoint) -> None:
        """Enter the account's equity; the last one of a millisecond stays."""
        with self._db.writing() as tables:
            tables.write(
                "insert into equity (account, ts_ms, session_id, document)"
                " values (:account, :ts_ms, :session_id, :document)"
                " on conflict (account, ts_ms) do update"
                " set session_id = excluded.session_id, document = excluded.document",
                {
                    "account": account,
                    "ts_ms": point.ts_ms,
                    "session_id": session_id,
                    "document": packed(point),
                },
            )

    def equity(
        self, account: str, *, since_ms: int = 0, limit: int = 100_000
    ) -> tuple[EquityPoint, ...]:
        """Equity since a time, oldest first; the newest `limit`."""
        found = self._found(
            "select ts_ms, document from equity where account = :account and ts_ms >= :since_ms"
            " order by ts_ms desc limit :limit",
            {"account": account, "since_ms": since_ms, "limit": limit},
        )
        return tuple(unpacked(EquityPoint, text, str(key)) for key, text in reversed(found))

    def tell(self, account: str, session_id: str, happening: Happening) -> None:
        """Enter an event."""
        with self._db.writing() as tables:
            tables.write(
                "insert into happenings (account, session_id, ts_ms, level, document)"
                " values (:account, :session_id, :ts_ms, :level, :document)",
                {
                    "account": account,
                    "session_id": session_id,
                    "ts_ms": happening.ts_ms,
                    "level": str(happening.level),
                    "document": packed(happening, is_shown=True),
                },
            )

    def happenings(
        self, account: str | None = None, *, since_ms: int = 0, limit: int = 200
    ) -> tuple[Happening, ...]:
        """Events since a time, newest first."""
        found = self._found(
            "select id, document from happenings"
            " where (cast(:account as text) is null or account = :account)"
            " and ts_ms >= :since_ms order by ts_ms desc, id desc limit :limit",
            {"account": account, "since_ms": since_ms, "limit": limit},
        )
        return tuple(unpacked(Happening, text, str(key)) for key, text in found)

    def _found(self, sql: str, values: Values) -> list[Row]:
        with self._db.reading() as tables:
            return [] if tables is None else tables.ask(sql, values)


def _trade(row: Row) -> Trade:
    trade_id, text, note, tags = row
    trade = unpacked(Trade, text, trade_id)
    if note is not None:
        trade = replace(trade, note=unpacked(str, note, trade_id))
    if tags is not None:
        added = unpacked(tuple[str, ...], tags, trade_id)
        trade = replace(trade, tags=list(dict.fromkeys([*trade.tags, *added])))
    return trade


def _trade_beginning_with(tables: Tables, start: str) -> Row:
    """The trade of this id, or the only one that begins so."""
    is_word = start.isascii() and start.isprintable() and start != ""
    found = (
        tables.ask(
            f"{_TRADE} where substr(trade_id, 1, length(:start)) = :start"
            " order by length(trade_id), exit_ms desc limit :limit",
            {"start": start, "limit": SHOWN_IDS_MAX + 1},
        )
        if is_word
        else []
    )
    exact = [row for row in found if row[0] == start]
    return exact[0] if exact else only_one(found, "trade", start)


def _zones_text(tables: Tables, values: Values) -> str | None:
    """The zones of a symbol as last kept at a time."""
    found = tables.ask(
        "select document from zones where session_id = :session_id and symbol = :symbol"
        " and ts_ms <= :ts_ms order by ts_ms desc limit 1",
        values,
    )
    return str(found[0][0]) if found else None
