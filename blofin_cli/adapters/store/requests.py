"""What faces ask of a running session, and what waits for a person's word."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blofin_cli.adapters.store.database import Database, Row, Tables
from blofin_cli.adapters.store.records import packed, unpacked
from blofin_cli.core.journal import Errand, ErrandState, Proposal, ProposalState
from blofin_cli.errors import RefusedError, UsageError

PROPOSAL_ID_DIGITS = 8

_BEFORE = {
    ProposalState.APPROVED: {ProposalState.OPEN},
    ProposalState.REJECTED: {ProposalState.OPEN, ProposalState.APPROVED},
    ProposalState.EXPIRED: {ProposalState.OPEN, ProposalState.APPROVED},
    ProposalState.PLACED: {ProposalState.APPROVED},
    ProposalState.OPEN: {ProposalState.APPROVED},
}
"""From which states each decision may be made; an approval that came to nothing is given back."""


class Requests:
    """Errands and proposals."""

    _db: Database

    def post_errand(self, errand: Errand) -> Errand:
        """Enter an errand; the one of the same id when it exists."""
        with self._db.writing(is_durable=True) as tables:
            known = _errand(tables, errand.id)
            if known is None:
                tables.write(
                    "insert into errands (errand_id, account, state, created_ms, document)"
                    " values (:errand_id, :account, :state, :created_ms, :document)",
                    {
                        "errand_id": errand.id,
                        "account": errand.account,
                        "state": str(errand.state),
                        "created_ms": errand.created_ms,
                        "document": packed(errand),
                    },
                )
            return known or errand

    def take_errands(self, account: str, now_ms: int) -> tuple[Errand, ...]:
        """Waiting errands, oldest first, marked taken; those past their time are marked expired.

        A session asks many times a second, so the write lock is only taken when one waits.
        """
        with self._db.reading() as tables:
            if tables is None or not _waiting(tables, account):
                return ()
        with self._db.writing(is_durable=True) as tables:
            taken = []
            for errand in _errands(_waiting(tables, account)):
                is_late = errand.expires_ms <= now_ms
                state = ErrandState.EXPIRED if is_late else ErrandState.TAKEN
                taken.append(_keep_errand(tables, replace(errand, state=state)))
        return tuple(errand for errand in taken if errand.state is ErrandState.TAKEN)

    def answer_errand(
        self, errand_id: str, state: ErrandState, answer: dict[str, Any], ts_ms: int
    ) -> None:
        """Enter what became of an errand; its first end stays.

        Errors: UsageError when there is no such errand.
        """
        with self._db.writing(is_durable=True) as tables:
            errand = _errand(tables, errand_id)
            if errand is None:
                raise UsageError(f"no errand {errand_id[:80]!a}")
            if errand.state in {ErrandState.WAITING, ErrandState.TAKEN}:
                _keep_errand(tables, replace(errand, state=state, answer=answer, answered_ms=ts_ms))

    def withdraw_errand(self, errand_id: str) -> Errand | None:
        """Mark an errand that nobody took as expired; what became of it, None if there is none."""
        with self._db.writing(is_durable=True) as tables:
            errand = _errand(tables, errand_id)
            if errand is None or errand.state is not ErrandState.WAITING:
                return errand
            return _keep_errand(tables, replace(errand, state=ErrandState.EXPIRED))

    def errand(self, errand_id: str) -> Errand | None:
        """The errand of this id."""
        with self._db.reading() as tables:
            return None if tables is None else _errand(tables, errand_id)

    def propose(self, proposal: Proposal) -> Proposal:
        """Enter a proposal; the open one of the same plan hash when it exists.

        What comes back bears another id when the one asked for is taken.
        """
        with self._db.writing(is_durable=True) as tables:
            for known in _open_ones(tables, proposal):
                if known.expires_ms > proposal.created_ms:
                    return known
                _keep_proposal(tables, replace(known, state=ProposalState.EXPIRED))
            whole = replace(proposal, id=_free_id(tables, proposal))
            tables.write(
                "insert into proposals"
                " (proposal_id, account, plan_hash, state, created_ms, document)"
                " values (:proposal_id, :account, :plan_hash, :state, :created_ms, :document)",
                {
                    "proposal_id": whole.id,
                    "account": whole.account,
                    "plan_hash": whole.plan_hash,
                    "state": str(whole.state),
                    "created_ms": whole.created_ms,
                    "document": packed(whole),
                },
            )
            return whole

    def decide_proposal(
        self, proposal_id: str, state: ProposalState, by: str, ts_ms: int
    ) -> Proposal:
        """Approve, reject, expire, mark placed or give back, each only from the state before it."""
        with self._db.writing(is_durable=True) as tables:
            known = _proposal(tables, proposal_id)
            if known is None:
                raise UsageError(
                    f"no proposal {proposal_id[:80]!a}", hint="blofin status lists those that wait"
                )
            if known.state not in _BEFORE.get(state, set()):
                raise RefusedError(
                    f"proposal {known.id} is {known.state}"
                    + (f" by {known.decided_by}" if known.decided_by else ""),
                    hint="a proposal is decided once",
                    details={"gate": "proposal", "value": str(known.state), "limit": str(state)},
                )
            is_word = state in {ProposalState.APPROVED, ProposalState.REJECTED}
            if is_word and known.expires_ms <= ts_ms:
                raise RefusedError(
                    f"proposal {known.id} has expired",
                    hint="plan it anew: prices have moved on",
                    details={"gate": "proposal_age", "value": ts_ms, "limit": known.expires_ms},
                )
            return _keep_proposal(
                tables, replace(known, state=state, decided_by=by, decided_ms=ts_ms)
            )

    def proposals(
        self, account: str | None = None, *, open_only: bool = True, limit: int = 100
    ) -> tuple[Proposal, ...]:
        """Proposals, newest first."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            found = tables.ask(
                "select proposal_id, document from proposals"
                " where (cast(:account as text) is null or account = :account)"
                " and (cast(:state as text) is null or state = :state)"
                " order by created_ms desc, rowid desc limit :limit",
                {"account": account, "state": "open" if open_only else None, "limit": limit},
            )
        return tuple(unpacked(Proposal, text, key) for key, text in found)


def _waiting(tables: Tables, account: str) -> list[Row]:
    return tables.ask(
        "select errand_id, document from errands where account = :account and state = 'waiting'"
        " order by created_ms, rowid",
        {"account": account},
    )


def _errands(rows: Sequence[Row]) -> list[Errand]:
    return [unpacked(Errand, text, key) for key, text in rows]


def _errand(tables: Tables, errand_id: str) -> Errand | None:
    found = tables.ask(
        "select errand_id, document from errands where errand_id = :errand_id",
        {"errand_id": errand_id},
    )
    return _errands(found)[0] if found else None


def _keep_errand(tables: Tables, errand: Errand) -> Errand:
    tables.write(
        "update errands set state = :state, document = :document where errand_id = :errand_id",
        {"state": str(errand.state), "document": packed(errand), "errand_id": errand.id},
    )
    return errand


def _proposal(tables: Tables, proposal_id: str) -> Proposal | None:
    found = tables.ask(
        "select document from proposals where proposal_id = :proposal_id",
        {"proposal_id": proposal_id},
    )
    return unpacked(Proposal, found[0][0], proposal_id) if found else None


def _open_ones(tables: Tables, proposal: Proposal) -> list[Proposal]:
    found = tables.ask(
        "select proposal_id, document from proposals where account = :account"
        " and plan_hash = :plan_hash and state = 'open'",
        {"account": proposal.account, "plan_hash": proposal.plan_hash},
    )
    return [unpacked(Proposal, text, key) for key, text in found]


def _keep_proposal(tables: Tables, proposal: Proposal) -> Proposal:
    tables.write(
        "update proposals set state = :state, document = :document"
        " where proposal_id = :proposal_id",
        {"state": str(proposal.state), "document": packed(proposal), "proposal_id": proposal.id},
    )
    return proposal


def _free_id(tables: Tables, proposal: Proposal) -> str:
    """The id asked for, or the first free one that follows from plan and time."""
    wanted, number = proposal.id, 0
    while _proposal(tables, wanted) is not None:
        seed = f"{proposal.plan_hash}\0{proposal.created_ms}\0{number}"
        wanted = hashlib.sha256(seed.encode()).hexdigest()[:PROPOSAL_ID_DIGITS]
        number += 1
    return wanted
