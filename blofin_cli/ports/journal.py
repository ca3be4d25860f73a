"""The memory of trading, and how faces reach a session that runs in another process."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from blofin_cli.ports.runs import AuditRecord

if TYPE_CHECKING:  # arrays, and names that only signatures need
    from collections.abc import Sequence

    from blofin_cli.core.journal import (
        AuditRow,
        Decision,
        EquityPoint,
        Errand,
        ErrandState,
        FundingPayment,
        Halt,
        Happening,
        Intent,
        Pause,
        Proposal,
        ProposalState,
        Room,
        Session,
    )
    from blofin_cli.core.market import Trade, Zone
    from blofin_cli.core.orders import (
        Fill,
    )
    from blofin_cli.core.status import SessionStatus


class Journal(Protocol):
    """The durable memory of trading: halts, intents, facts, and what faces ask of a session.

    Invariants: each call is one transaction; what a write has returned from is durable against a
    power cut for halts, pauses, intents, errands and proposals, and against a crash of the process
    for the rest; facts are booked once by their own key; a reader never waits for a writer.
    Errors: DataError when the state is damaged, busy, full or unwritable. Whoever cannot read
    `halted` must take it as halted.
    """

    # Halting and pausing.

    def halted(self) -> "Halt | None":
        """The halt in force: from the database or the file HALT beside it, either suffices.

        A file that is there but unreadable is a halt. Never waits: a locked database raises
        DataError after at most 50 ms.
        """
        ...

    def set_halt(self, halt: "Halt") -> tuple[str, ...]:
        """Raise the flag in both places; what could not be written, in words (empty: all).

        Errors: DataError only when neither place took it. A second halt keeps the first's cause.
        """
        ...

    def clear_halt(self, ts_ms: int, face: str) -> bool:
        """Take the flag down in both places; False when there was none."""
        ...

    def pauses(self) -> "tuple[Pause, ...]":
        """Pauses in force; a reader compares `until_ms` with its own clock."""
        ...

    def set_pause(self, pause: "Pause") -> None:
        """Pause a symbol, or all as `*`; replaces the one it had."""
        ...

    def clear_pause(self, symbol: str) -> bool:
        """End a pause; False when there was none."""
        ...

    # Intents.

    def reserve(self, intent: "Intent", room: "Room | None" = None) -> "Intent":
        """Make an intent durable before it is sent; the one of the same client id when it exists.

        An entry is checked against `room`, the halt flag and the pauses in the same transaction.
        Errors: HaltedError; RefusedError naming the limit, with nothing written.
        """
        ...

    def settle_intent(self, intent: "Intent") -> None:
        """Replace what is known of an intent; an ended one is never opened again."""
        ...

    def intent(self, client_id: str) -> "Intent | None":
        """The intent of this client id."""
        ...

    def open_intents(self, account: str) -> "tuple[Intent, ...]":
        """Intents whose end is not proven, oldest first."""
        ...

    def intents(
        self, account: str, *, since_ms: int = 0, limit: int = 1000
    ) -> "tuple[Intent, ...]":
        """Intents created since a time, newest first."""
        ...

    # Facts of a session.

    def open_session(self, session: "Session") -> None:
        """Enter a session that begins."""
        ...

    def end_session(self, session_id: str, ts_ms: int, reason: str) -> None:
        """Enter its end; the first end stays."""
        ...

    def session(self, session_id: str) -> "Session":
        """The session of this id, or of the only one that begins so. Errors: UsageError."""
        ...

    def sessions(self, account: str | None = None, limit: int = 50) -> "tuple[Session, ...]":
        """Sessions, newest first."""
        ...

    def accounts(self) -> tuple[str, ...]:
        """Names of the accounts that were ever traded on."""
        ...

    def beat(self, status: "SessionStatus") -> None:
        """Heartbeat: replace the session's status document."""
        ...

    def status(self, session_id: str | None = None) -> "SessionStatus | None":
        """The last heartbeat of a session, of the newest one when none is named."""
        ...

    def book_fills(self, account: str, session_id: str, fills: "Sequence[Fill]") -> "list[Fill]":
        """Enter executions; returns those that were not known by their trade id."""
        ...

    def fills(
        self, account: str, *, symbol: str | None = None, since_ms: int = 0, limit: int = 10_000
    ) -> "tuple[Fill, ...]":
        """Executions since a time, oldest first."""
        ...

    def book_funding(
        self, account: str, session_id: str, payments: "Sequence[FundingPayment]"
    ) -> "list[FundingPayment]":
        """Enter settlements; returns those not known by symbol and time."""
        ...

    def funding_payments(self, account: str, *, since_ms: int = 0) -> "tuple[FundingPayment, ...]":
        """Settlements since a time, oldest first."""
        ...

    def save_trade(self, account: str, trade: "Trade") -> None:
        """Enter a finished trade, or replace it by id (a late fee, a note)."""
        ...

    def trades(
        self,
        *,
        account: str | None = None,
        session_id: str | None = None,
        symbol: str | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> "tuple[Trade, ...]":
        """Finished trades whose exit lies in the span, oldest first."""
        ...

    def annotate(self, trade_id: str, *, note: str | None, tags: "Sequence[str]") -> "Trade":
        """Set a trade's note and add tags; the id may be the only one that begins so.

        Errors: UsageError when there is none or more than one.
        """
        ...

    def save_decision(
        self, session_id: str, decision: "Decision", zones: "Sequence[Zone] | None" = None
    ) -> None:
        """Enter a bar's decision, and the zones as they were known when they differ from the last
        ones kept for the symbol; None leaves them as they were."""
        ...

    def decisions(
        self,
        session_id: str,
        *,
        symbol: str | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> "tuple[Decision, ...]":
        """Decisions by bar time, oldest first; the newest `limit` of them."""
        ...

    def zones_at(self, session_id: str, symbol: str, ts_ms: int) -> "tuple[Zone, ...]":
        """The zones the session knew at a time."""
        ...

    def add_equity(self, account: str, session_id: str, point: "EquityPoint") -> None:
        """Enter the account's equity."""
        ...

    def equity(
        self, account: str, *, since_ms: int = 0, limit: int = 100_000
    ) -> "tuple[EquityPoint, ...]":
        """Equity since a time, oldest first; the newest `limit`."""
        ...

    def tell(self, account: str, session_id: str, happening: "Happening") -> None:
        """Enter an event."""
        ...

    def happenings(
        self, account: str | None = None, *, since_ms: int = 0, limit: int = 200
    ) -> "tuple[Happening, ...]":
        """Events since a time, newest first."""
        ...

    def remember(self, account: str, name: str, value: "dict[str, Any]") -> None:
        """Keep a small JSON document that must survive a restart (breaker state, the book)."""
        ...

    def recall(self, account: str, name: str) -> "dict[str, Any] | None":
        """The document kept under this name."""
        ...

    # What faces ask of the session, and what a person agrees to.

    def post_errand(self, errand: "Errand") -> "Errand":
        """Enter an errand; the one of the same id when it exists."""
        ...

    def take_errands(self, account: str, now_ms: int) -> "tuple[Errand, ...]":
        """Waiting errands, oldest first, marked taken; those past their time are marked expired."""
        ...

    def answer_errand(
        self, errand_id: str, state: "ErrandState", answer: "dict[str, Any]", ts_ms: int
    ) -> None:
        """Enter what became of an errand."""
        ...

    def withdraw_errand(self, errand_id: str) -> "Errand | None":
        """Mark an errand that nobody took as expired; what became of it, None if there is none."""
        ...

    def errand(self, errand_id: str) -> "Errand | None":
        """The errand of this id."""
        ...

    def propose(self, proposal: "Proposal") -> "Proposal":
        """Enter a proposal; the open one of the same plan hash when it exists."""
        ...

    def decide_proposal(
        self, proposal_id: str, state: "ProposalState", by: str, ts_ms: int
    ) -> "Proposal":
        """Approve, reject, expire or mark placed, each once and only from the state before it.

        Errors: UsageError when there is no such id; RefusedError when it is past its time or has
        been decided otherwise.
        """
        ...

    def proposals(
        self, account: str | None = None, *, open_only: bool = True, limit: int = 100
    ) -> "tuple[Proposal, ...]":
        """Proposals, newest first."""
        ...

    # The trail.

    def append_audit(self, entry: AuditRecord) -> None:
        """Enter one passage through the gate, chained to the row before it by its hash."""
        ...

    def audit(self, *, since_ms: int = 0, limit: int = 1000) -> "tuple[AuditRow, ...]":
        """The trail, newest first."""
        ...

    def verify_audit(self) -> "tuple[int, int | None]":
        """Rows of the trail, and the id of the first whose hash does not follow; None: intact."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a name for as long as a process lives. Errors: RefusedError when it is held."""
        ...

    def is_locked(self, name: str) -> bool:
        """Whether some process holds the name."""
        ...
