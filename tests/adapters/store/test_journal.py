"""The contract of the port Journal, run over a state file and over a PostgreSQL server."""

import inspect
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from blofin_cli.core.journal import ErrandState, IntentState, ProposalState, Purpose
from blofin_cli.errors import DataError, HaltedError, RefusedError, UsageError
from blofin_cli.ports import Journal
from tests.adapters.store.samples import (
    ACCOUNT,
    NOW_MS,
    SESSION,
    WIDE,
    decision,
    equity,
    errand,
    fill,
    funding,
    halt,
    happening,
    intent,
    pause,
    proposal,
    room,
    session,
    status,
    trade,
    zone,
)

HOUR_MS = 3_600_000
WRITES = {
    "set_halt", "clear_halt", "set_pause", "clear_pause", "reserve", "settle_intent",
    "open_session", "end_session", "beat", "book_fills", "book_funding", "save_trade", "annotate",
    "save_decision", "add_equity", "tell", "remember", "post_errand", "answer_errand", "propose",
    "decide_proposal", "append_audit", "lock",
}  # fmt: skip


def test_state_that_does_not_exist_is_read_as_empty_and_not_made(journal, path):
    """A command that only looks gets nothing and leaves nothing, whatever it asks."""
    assert journal.halted() is None
    assert (journal.pauses(), journal.sessions(), journal.trades()) == ((), (), ())
    assert (journal.status(), journal.intent("x"), journal.errand("x")) == (None, None, None)
    assert (journal.open_intents(ACCOUNT), journal.intents(ACCOUNT)) == ((), ())
    assert (journal.fills(ACCOUNT), journal.funding_payments(ACCOUNT)) == ((), ())
    assert (journal.decisions(SESSION), journal.equity(ACCOUNT)) == ((), ())
    assert journal.zones_at(SESSION, "BTC-USDT", NOW_MS) == ()
    assert (journal.happenings(), journal.recall(ACCOUNT, "book")) == ((), None)
    assert (journal.take_errands(ACCOUNT, NOW_MS), journal.proposals()) == ((), ())
    assert (journal.audit(), journal.verify_audit()) == ((), (0, None))
    assert journal.is_locked("account-x") is False
    assert not path.parent.exists()


def test_every_method_of_the_port_is_there_and_named_as_in_it():
    """Calls by name mean the same at every place that keeps a journal."""
    from blofin_cli.adapters.store.journal import StateJournal

    wanted = {n: m for n, m in vars(Journal).items() if inspect.isfunction(m) and n[0] != "_"}
    assert len(wanted) > len(WRITES)
    for name, method in wanted.items():
        ours = inspect.signature(getattr(StateJournal, name)).parameters
        assert list(ours) == list(inspect.signature(method).parameters), name


# Halting and pausing.


def test_halt_is_seen_by_everyone_until_it_is_cleared(journal, another, halt_file):
    """The flag is in the database and beside it; taking it down leaves neither."""
    assert journal.set_halt(halt()) == ()
    assert another().halted() == halt()
    assert halt_file.is_file()
    assert another().clear_halt(NOW_MS + 1, "cli") is True
    assert journal.halted() is None
    assert not halt_file.exists()
    assert journal.clear_halt(NOW_MS + 2, "cli") is False


def test_second_halt_keeps_the_first_cause(journal, another):
    """Who halted first is what a person must know; the wish to be flat is added."""
    journal.set_halt(halt(cause="drawdown"))
    journal.set_halt(halt(cause="again", ts_ms=NOW_MS + 5))
    assert journal.halted() == halt(cause="drawdown")
    another().set_halt(halt(cause="flat", flatten=True))
    assert journal.halted() == halt(cause="drawdown", flatten=True)


def test_either_place_halts(journal, another, halt_file):
    """A flag whose file was deleted holds, and so does a file that nobody entered."""
    journal.set_halt(halt())
    halt_file.unlink()
    assert another().halted() == halt()
    journal.clear_halt(NOW_MS, "cli")
    halt_file.touch()
    found = another().halted()
    assert found is not None
    assert str(halt_file) in found.cause


@pytest.mark.parametrize(
    "content", [b"", b"please stop\n", b"\xff\x00", b"[]", b'{"ts_ms": "x"}', b"{" * 70_000]
)
def test_halt_file_in_any_shape_halts(journal, halt_file, content):
    """A person may `touch HALT`; nobody needs to know what belongs into it."""
    halt_file.parent.mkdir()
    halt_file.write_bytes(content)
    assert journal.halted() is not None
    assert journal.set_halt(halt()) == ()
    assert journal.halted() == halt()
    assert journal.clear_halt(NOW_MS, "cli") is True
    assert journal.halted() is None


def test_halt_file_that_cannot_be_read_halts_and_says_how_to_go_on(journal, halt_file):
    """A folder or a link into nowhere called HALT is a halt; a folder must be removed by hand."""
    halt_file.parent.mkdir()
    halt_file.symlink_to(halt_file.parent / "nowhere")
    assert journal.halted() is not None
    assert journal.clear_halt(NOW_MS, "cli") is True
    halt_file.mkdir()
    assert journal.set_halt(halt()) == ()  # it is there, and it halts
    with pytest.raises(DataError, match="stays halted"):
        journal.clear_halt(NOW_MS, "cli")
    assert journal.halted() is not None
    halt_file.rmdir()


def test_pause_is_replaced_and_ended(journal, another):
    """One pause a symbol, and one for all."""
    journal.set_pause(pause())
    journal.set_pause(pause(cause="news", until_ms=NOW_MS + 1))
    journal.set_pause(pause("*"))
    assert set(another().pauses()) == {pause(cause="news", until_ms=NOW_MS + 1), pause("*")}
    assert journal.clear_pause("BTC-USDT") is True
    assert journal.clear_pause("BTC-USDT") is False
    assert another().pauses() == (pause("*"),)


# Intents.


def test_reserved_intent_is_found_by_everyone(journal, another):
    """What reserve has returned from is there for the next process."""
    made = intent()
    assert journal.reserve(made, WIDE) is made
    assert another().intent(made.client_id) == made
    assert another().open_intents(ACCOUNT) == (made,)
    assert another().open_intents("other") == ()


def test_reserving_again_gives_the_first_and_writes_nothing(journal):
    """A repetition is the same intent, even while halted; it never takes room twice."""
    first = intent()
    journal.reserve(first, WIDE)
    journal.settle_intent(replace(first, state=IntentState.UNKNOWN))
    journal.set_halt(halt())
    again = journal.reserve(intent(created_ms=NOW_MS + 9), room(count=0))
    assert again == replace(first, state=IntentState.UNKNOWN)
    assert journal.reserve(first, WIDE) is not first


def test_client_id_of_another_intent_is_refused(journal):
    """Two keys must never share an order."""
    journal.reserve(intent("k1"), WIDE)
    with pytest.raises(RefusedError, match="another intent"):
        journal.reserve(replace(intent("k2"), client_id=intent("k1").client_id), WIDE)


def test_halt_and_pause_stop_entries_and_nothing_else(journal, halt_file):
    """Protection and closing go on; an entry is refused and leaves no row."""
    journal.set_pause(pause(until_ms=NOW_MS + 1))
    with pytest.raises(RefusedError, match="paused"):
        journal.reserve(intent("a"), WIDE)
    journal.reserve(intent("b", symbol="ETH-USDT"), WIDE)
    journal.reserve(intent("c", created_ms=NOW_MS + 1), WIDE)
    journal.set_pause(pause("*"))
    with pytest.raises(RefusedError, match="everything"):
        journal.reserve(intent("d", symbol="SOL-USDT"), WIDE)
    journal.clear_pause("*")
    journal.set_halt(halt())
    for place in ("both", "file"):
        with pytest.raises(HaltedError, match="a test"):
            journal.reserve(intent("e", created_ms=NOW_MS + 1), WIDE)
        journal.reserve(intent(f"f-{place}", purpose=Purpose.CLOSE))
        journal.reserve(intent(f"g-{place}", purpose=Purpose.PROTECT))
        journal.clear_halt(NOW_MS, "cli")
        halt_file.write_text('{"ts_ms": 1, "face": "x", "cause": "a test", "flatten": false}')
    keys = {item.key for item in journal.open_intents(ACCOUNT)}
    assert keys == {"b", "c", "f-both", "g-both", "f-file", "g-file"}


def test_entry_without_room_is_refused(journal):
    """Nobody forgets the limits by leaving them out."""
    with pytest.raises(RefusedError, match="room"):
        journal.reserve(intent())
    assert journal.intent(intent().client_id) is None


@pytest.mark.parametrize(
    ("limits", "gate", "value", "limit"),
    [
        ({"risk_usdt": Decimal("14.99")}, "risk_usdt", "15", "14.99"),
        ({"notional_usdt": Decimal("299.9")}, "notional_usdt", "300", "299.9"),
        ({"count": 2}, "count", "3", "2"),
        ({"count": 3, "held": ("ETH-USDT",)}, "count", "4", "3"),
        ({"count": 2, "held": ("BTC-USDT",)}, None, None, None),
        ({"allows_same_symbol": False}, "same_symbol", "BTC-USDT", "1"),
        ({"face_entries_hour": 2}, "face_entries_hour", "3", "2"),
        ({"face_entries_day": 3}, "face_entries_day", "4", "3"),
        ({"face_risk_day_usdt": Decimal(19)}, "face_risk_day_usdt", "20", "19"),
        ({"face_notional_day_usdt": Decimal(399)}, "face_notional_day_usdt", "400", "399"),
        ({}, None, None, None),
    ],
)
def test_entry_fits_into_the_room_or_is_refused_by_name(journal, limits, gate, value, limit):
    """Open entries of the account count, unknown ones too; the budgets of a face count all of it.

    Two are open, one ended two hours ago; other accounts, faces and closes do not count, nor does
    an entry twice that fills into a position.
    """
    for made in (
        intent("old", state=IntentState.VOID, created_ms=NOW_MS - 2 * HOUR_MS),
        intent("day", state=IntentState.DONE, created_ms=NOW_MS - 24 * HOUR_MS),
        intent("a"),
        intent("b", state=IntentState.UNKNOWN),
        intent("c", purpose=Purpose.CLOSE),
        intent("d", account="other"),
        intent("e", face="mcp", state=IntentState.REFUSED),
    ):
        journal.reserve(made, WIDE)
    if gate is None:
        journal.reserve(intent("new"), room(**limits))
        return
    with pytest.raises(RefusedError) as caught:
        journal.reserve(intent("new"), room(**limits))
    assert caught.value.details == {"gate": gate, "value": value, "limit": limit}
    assert (value in caught.value.message) or gate == "same_symbol"
    assert journal.intent(intent("new").client_id) is None


def test_accounts_are_those_of_sessions_and_intents(journal):
    """Whoever traded there, a session or a person."""
    assert journal.accounts() == ()
    journal.open_session(session())
    journal.reserve(intent("d", account="another"), WIDE)
    assert journal.accounts() == tuple(sorted([ACCOUNT, "another"]))


def test_exact_fit_passes(journal):
    """A limit is what may be reached, in decimals and not in floats."""
    tenth = Decimal("0.1")
    for number in range(3):
        journal.reserve(
            intent(str(number), risk_usdt=tenth),
            room(risk_usdt=Decimal("0.3"), count=3),
        )
    with pytest.raises(RefusedError, match="count"):
        journal.reserve(intent("4", risk_usdt=Decimal(0)), room(risk_usdt=Decimal("0.3")))


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity"), Decimal(-1)])
@pytest.mark.parametrize("name", ["size", "risk_usdt", "notional_usdt"])
def test_amount_that_is_none_is_refused(journal, amount, name, path):
    """A NaN compares with nothing, so it would pass every limit."""
    with pytest.raises(DataError):
        journal.reserve(intent(**{name: amount}), WIDE)
    assert journal.intents(ACCOUNT) == ()


def test_settled_intent_is_replaced_and_never_opened_again(journal, another):
    """What came later is kept, but news from before the end does not undo the end."""
    made = intent()
    journal.reserve(made, WIDE)
    taken = replace(made, state=IntentState.ACCEPTED, order_id="o1", sent_ms=NOW_MS + 3)
    journal.settle_intent(taken)
    assert another().open_intents(ACCOUNT) == (taken,)
    ended = replace(taken, state=IntentState.DONE, filled=made.size)
    journal.settle_intent(ended)
    journal.settle_intent(taken)
    assert another().intent(made.client_id) == ended
    assert another().open_intents(ACCOUNT) == ()
    journal.settle_intent(replace(ended, note="late fee"))
    assert journal.intents(ACCOUNT)[0].note == "late fee"


def test_intent_that_was_never_reserved_cannot_be_settled(journal):
    """An order without its intent is a defect, not a new row."""
    with pytest.raises(DataError, match="never reserved"):
        journal.settle_intent(intent())


def test_intents_are_listed_newest_first_and_open_ones_oldest_first(journal):
    """Those of one moment keep the order they came in."""
    for key, at_ms in (("a", 5), ("b", 9), ("c", 9), ("d", 1)):
        journal.reserve(intent(key, created_ms=at_ms), WIDE)
    assert [item.key for item in journal.intents(ACCOUNT)] == ["c", "b", "a", "d"]
    assert [item.key for item in journal.intents(ACCOUNT, since_ms=5, limit=2)] == ["c", "b"]
    assert [item.key for item in journal.open_intents(ACCOUNT)] == ["d", "a", "b", "c"]


# Facts of a session.


def test_session_begins_and_ends_once(journal, another):
    """The first end stays; a start of the id is enough if only one begins so."""
    journal.open_session(session("se-1"))
    journal.open_session(session("se-12", account="other", started_ms=NOW_MS + 1))
    journal.end_session("se-1", NOW_MS + 5, "asked")
    journal.end_session("se-1", NOW_MS + 9, "crash")
    ended = session("se-1", ended_ms=NOW_MS + 5, end_reason="asked")
    assert another().session("se-1") == ended
    assert [item.session_id for item in journal.sessions()] == ["se-12", "se-1"]
    assert journal.sessions(account=ACCOUNT) == (ended,)
    assert journal.sessions(limit=1)[0].session_id == "se-12"
    assert journal.session("se-12").account == "other"
    for wrong in ("se", "x", "", "se-1%", "\0", "\ud800"):
        with pytest.raises(UsageError):
            journal.session(wrong)


def test_heartbeat_replaces_the_one_before(journal, another):
    """A session has one status; without a name it is that of the newest session."""
    journal.open_session(session("se-1"))
    journal.open_session(session("se-2", started_ms=NOW_MS + 1))
    journal.beat(status("se-2"))
    journal.beat(status("se-1", ts_ms=NOW_MS + 1))
    journal.beat(status("se-1", ts_ms=NOW_MS + 2, equity_usdt=1.5))
    assert another().status("se-1") == status("se-1", ts_ms=NOW_MS + 2, equity_usdt=1.5)
    assert another().status() == status("se-2")
    assert journal.status("se-3") is None


def test_heartbeat_with_a_number_that_is_none_still_beats(journal):
    """A NaN in a figure that people look at must not silence the session."""
    journal.beat(status(equity_usdt=float("nan"), curve=((1, float("inf")),)))
    found = journal.status(SESSION)
    assert (found.equity_usdt, found.curve) == (None, ((1, None),))


def test_fills_are_booked_once(journal, another):
    """The same execution from stream and look-up is one; the caller learns which were new."""
    assert journal.book_fills(ACCOUNT, SESSION, [fill("t1"), fill("t2")]) == [
        fill("t1"),
        fill("t2"),
    ]
    late = fill("t3", ts_ms=NOW_MS - 1, symbol="ETH-USDT")
    assert another().book_fills(ACCOUNT, "se-2", [fill("t2"), late]) == [late]
    assert journal.book_fills("other", SESSION, [fill("t1")]) == [fill("t1")]
    assert journal.book_fills(ACCOUNT, SESSION, []) == []
    assert journal.fills(ACCOUNT) == (late, fill("t1"), fill("t2"))
    assert journal.fills(ACCOUNT, symbol="ETH-USDT") == (late,)
    assert journal.fills(ACCOUNT, since_ms=NOW_MS, limit=1) == (fill("t1"),)


def test_funding_is_booked_once(journal):
    """By symbol and time."""
    assert journal.book_funding(ACCOUNT, SESSION, [funding(2), funding(1)]) == [
        funding(2),
        funding(1),
    ]
    other = funding(2, symbol="ETH-USDT")
    again = funding(2, amount_usdt=Decimal(9))
    assert journal.book_funding(ACCOUNT, SESSION, [again, other]) == [other]
    assert journal.funding_payments(ACCOUNT) == (funding(1), funding(2), other)
    assert journal.funding_payments(ACCOUNT, since_ms=2) == (funding(2), other)


def test_trades_are_found_by_what_they_are(journal):
    """The span holds exits, its end excluded; the newest `limit` come, oldest first."""
    for name, changes in {
        "a": {"exit_ms": 10},
        "b": {"exit_ms": 20, "symbol": "ETH-USDT"},
        "c": {"exit_ms": 30, "run_id": "se-2"},
    }.items():
        journal.save_trade("other" if name == "c" else ACCOUNT, trade(name, **changes))

    def ids(**filters: Any) -> str:
        return "".join(item.id for item in journal.trades(**filters))

    assert (ids(), ids(limit=2), ids(since_ms=20), ids(until_ms=20)) == ("abc", "bc", "bc", "a")
    assert (ids(account="other"), ids(session_id=SESSION), ids(symbol="ETH-USDT")) == (
        "c",
        "ab",
        "b",
    )


def test_trade_saved_again_keeps_what_a_person_wrote(journal, another):
    """A late fee replaces the figures; note and tags are the person's."""
    journal.save_trade(ACCOUNT, trade(tags=["auto"]))
    noted = journal.annotate("tr", note="chased it", tags=["review", "auto"])
    assert (noted.note, noted.tags) == ("chased it", ["auto", "review"])
    journal.save_trade(ACCOUNT, trade(fees_usdt=0.5, tags=["auto"]))
    journal.annotate("tr-1", note=None, tags=["late"])
    assert another().trades() == (
        trade(fees_usdt=0.5, note="chased it", tags=["auto", "review", "late"]),
    )


def test_annotation_needs_one_trade(journal):
    """None, or more than one, is wrong usage; a whole id wins over longer ones."""
    journal.save_trade(ACCOUNT, trade("tr-1"))
    journal.save_trade(ACCOUNT, trade("tr-12"))
    for wrong in ("tr", "x", "", "tr-1%", "\0", "tr_1"):
        with pytest.raises(UsageError):
            journal.annotate(wrong, note="n", tags=())
    assert journal.annotate("tr-1", note="n", tags=()).id == "tr-1"


HOSTILE = "'; drop table trades;-- \0\x1b[31m \ud800 =HYPERLINK(1) \u202e"


def test_hostile_text_is_kept_literally(journal, another):
    """SQL, control characters, NUL and half a pair are only text."""
    journal.save_trade(ACCOUNT, trade())
    journal.annotate("tr-1", note=HOSTILE, tags=[HOSTILE])
    journal.tell(ACCOUNT, SESSION, happening(HOSTILE, details={HOSTILE: HOSTILE}))
    journal.set_pause(pause(cause=HOSTILE))
    journal.set_halt(halt(cause=HOSTILE))
    journal.reserve(intent(HOSTILE, client_id="c1", purpose=Purpose.CLOSE, face=HOSTILE))
    again = another()
    assert (again.trades()[0].note, again.trades()[0].tags) == (HOSTILE, [HOSTILE])
    assert again.happenings()[0].details == {HOSTILE: HOSTILE}
    assert again.pauses()[0].cause == again.halted().cause == HOSTILE
    assert again.open_intents(ACCOUNT)[0].key == HOSTILE
    assert (again.intent(HOSTILE), again.errand(HOSTILE)) == (None, None)
    assert again.trades(symbol=HOSTILE) == ()


def test_decisions_by_bar_and_the_zones_known_then(journal):
    """A bar is decided once, its last word stays; zones are kept when they change."""
    first, second = decision(100), decision(200, note="x")
    journal.save_decision(SESSION, first, [zone("z1")])
    journal.save_decision(SESSION, decision(200), [zone("z1")])
    journal.save_decision(SESSION, second)
    journal.save_decision(SESSION, decision(300, symbol="ETH-USDT"), [])
    journal.save_decision(SESSION, decision(400), [zone("z1"), zone("z2", touches=1)])
    journal.save_decision(SESSION, decision(500), [])
    eth = decision(300, symbol="ETH-USDT")
    assert journal.decisions(SESSION, limit=3) == (eth, decision(400), decision(500))
    assert journal.decisions(SESSION, symbol="BTC-USDT", until_ms=300) == (first, second)
    assert journal.decisions(SESSION, since_ms=200, until_ms=400) == (second, eth)
    known = [journal.zones_at(SESSION, "BTC-USDT", decision(bar).ts_ms) for bar in (200, 400, 500)]
    assert known == [(zone("z1"),), (zone("z1"), zone("z2", touches=1)), ()]
    assert journal.zones_at(SESSION, "BTC-USDT", decision(100).ts_ms - 1) == ()


def test_decision_keeps_a_gate_that_could_not_tell(journal):
    """A NaN is unknown, and the bar's decision is kept all the same."""
    gate = decision().gates[0]
    journal.save_decision(SESSION, decision(gates=(replace(gate, value=float("nan")),)))
    assert journal.decisions(SESSION)[0].gates == (replace(gate, value=None),)


def test_equity_is_a_curve(journal):
    """One point a millisecond, the newest `limit`, oldest first."""
    for ts_ms in (3, 1, 2):
        journal.add_equity(ACCOUNT, SESSION, equity(ts_ms))
    journal.add_equity(ACCOUNT, SESSION, equity(2, equity_usdt=Decimal(7)))
    assert journal.equity(ACCOUNT) == (equity(1), equity(2, equity_usdt=Decimal(7)), equity(3))
    assert journal.equity(ACCOUNT, since_ms=2, limit=1) == (equity(3),)
    assert journal.equity("other") == ()


def test_happenings_come_newest_first(journal):
    """Those of one moment too; of one account or of all."""
    for number, text in enumerate("abc"):
        journal.tell(
            "other" if text == "b" else ACCOUNT, SESSION, happening(text, ts_ms=number // 2)
        )
    assert [item.text for item in journal.happenings()] == ["c", "b", "a"]
    assert [item.text for item in journal.happenings(ACCOUNT, limit=1)] == ["c"]
    assert [item.text for item in journal.happenings(since_ms=1)] == ["c"]


def test_small_documents_are_remembered(journal, another):
    """The last one of a name stays; a number that is none is refused before it is believed."""
    journal.remember(ACCOUNT, "breakers", {"stops": 2})
    journal.remember(ACCOUNT, "breakers", {"stops": 3, "text": HOSTILE})
    assert another().recall(ACCOUNT, "breakers") == {"stops": 3, "text": HOSTILE}
    assert journal.recall("other", "breakers") is None
    with pytest.raises(DataError, match="not finite"):
        journal.remember(ACCOUNT, "breakers", {"stops": float("nan")})
    assert journal.recall(ACCOUNT, "breakers")["stops"] == 3


# What faces ask, and what a person agrees to.


def test_errand_goes_there_and_back(journal, another):
    """Posted once, taken once, answered once."""
    assert journal.post_errand(errand()) == errand()
    assert another().post_errand(errand(kind="flatten")) == errand()
    [taken] = another().take_errands(ACCOUNT, NOW_MS)
    assert taken == errand(state=ErrandState.TAKEN)
    assert journal.take_errands(ACCOUNT, NOW_MS) == ()
    another().answer_errand("e1", ErrandState.DONE, {"closed": True}, NOW_MS + 3)
    journal.answer_errand("e1", ErrandState.FAILED, {}, NOW_MS + 4)
    assert journal.errand("e1") == errand(
        state=ErrandState.DONE, answer={"closed": True}, answered_ms=NOW_MS + 3
    )
    with pytest.raises(UsageError):
        journal.answer_errand("e2", ErrandState.DONE, {}, NOW_MS)


def test_errands_are_taken_in_order_and_late_ones_expire(journal):
    """What came too late is not done; another account's is left to it."""
    for name, changes in {
        "b": {}, "a": {}, "late": {"expires_ms": NOW_MS}, "first": {"created_ms": 1},
        "theirs": {"account": "other"},
    }.items():  # fmt: skip
        journal.post_errand(errand(name, **changes))
    journal.answer_errand("b", ErrandState.EXPIRED, {}, NOW_MS)  # its face gave up waiting
    assert [item.id for item in journal.take_errands(ACCOUNT, NOW_MS)] == ["first", "a"]
    assert journal.errand("late").state is ErrandState.EXPIRED
    assert journal.errand("theirs").state is ErrandState.WAITING


def test_proposal_waits_once_for_its_plan(journal):
    """The same plan is one proposal until its time is over; a taken id gets another."""
    first = journal.propose(proposal())
    assert journal.propose(proposal("cd34", created_ms=NOW_MS + 1)) == first
    later = proposal(created_ms=first.expires_ms, expires_ms=first.expires_ms + 9)
    second = journal.propose(later)
    assert second == replace(later, id=second.id)
    assert second.id != first.id
    assert 4 <= len(second.id) <= 8
    assert journal.proposals() == (second,)
    assert [item.state for item in journal.proposals(open_only=False)] == ["open", "expired"]
    assert journal.proposals("other") == ()
    assert len(journal.proposals(ACCOUNT, open_only=False, limit=1)) == 1


@pytest.mark.parametrize(
    ("path_taken", "last", "passes"),
    [
        ((), "approved", True),
        ((), "rejected", True),
        ((), "expired", True),
        ((), "placed", False),
        (("approved",), "placed", True),
        (("approved",), "approved", False),
        (("approved",), "rejected", True),
        (("approved",), "open", True),
        (("approved", "placed"), "open", False),
        (("approved", "placed"), "placed", False),
        (("approved", "placed"), "rejected", False),
        (("rejected",), "approved", False),
        (("expired",), "approved", False),
        (("rejected",), "open", False),
    ],
)
def test_proposal_is_decided_step_by_step(journal, another, path_taken, last, passes):
    """Each step only from the one before: an approval places one order, or is given back."""
    journal.propose(proposal())
    for step in path_taken:
        journal.decide_proposal("ab12", ProposalState(step), "me", NOW_MS)
    if passes:
        decided = journal.decide_proposal("ab12", ProposalState(last), "you", NOW_MS + 1)
        assert decided == proposal(
            state=ProposalState(last), decided_by="you", decided_ms=NOW_MS + 1
        )
        assert another().proposals(open_only=False) == (decided,)
    else:
        with pytest.raises(RefusedError):
            journal.decide_proposal("ab12", ProposalState(last), "you", NOW_MS + 1)


def test_proposal_past_its_time_cannot_be_approved(journal):
    """Prices have moved on; what was approved in time may still be placed."""
    journal.propose(proposal())
    journal.propose(proposal("cd34", plan_hash="p1"))
    end_ms = proposal().expires_ms
    with pytest.raises(RefusedError, match="expired"):
        journal.decide_proposal("ab12", ProposalState.APPROVED, "me", end_ms)
    journal.decide_proposal("cd34", ProposalState.APPROVED, "me", end_ms - 1)
    assert journal.decide_proposal("cd34", ProposalState.PLACED, "me", end_ms).decided_by == "me"
    with pytest.raises(UsageError):
        journal.decide_proposal("zz", ProposalState.APPROVED, "me", NOW_MS)


# The trail and the locks.


@dataclass(frozen=True)
class Entry:
    """Like the entry that the gate makes."""

    ts_ms: int = NOW_MS
    face: str = "cli"
    command: str = "order"
    effect: str = "trade"
    arguments: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


def test_trail_is_a_chain(journal, another):
    """Equal entries have different hashes; the newest come first."""
    for number in range(3):
        journal.append_audit(Entry(arguments={"note": HOSTILE}, face=HOSTILE, ts_ms=number))
    rows = another().audit()
    assert [row.id for row in rows] == [3, 2, 1]
    assert len({row.hash for row in rows}) == 3
    assert rows[0].arguments == {"note": HOSTILE}
    assert [row.ts_ms for row in journal.audit(since_ms=1, limit=1)] == [2]
    assert journal.verify_audit() == (3, None)


def test_name_is_held_by_one(journal, another):
    """The second is refused at once, and looking does not disturb the holder."""
    with journal.lock("account-sim-demo"):
        assert another().is_locked("account-sim-demo")
        assert journal.is_locked("account-sim-demo")
        assert not another().is_locked("account-other")
        with pytest.raises(RefusedError, match="holds sim"), another().lock("account-sim-demo"):
            pass
        with another().lock("account-other"):
            pass
        journal.reserve(intent(), WIDE)
    assert not journal.is_locked("account-sim-demo")
    with another().lock("account-sim-demo"):
        pass
    with pytest.raises(UsageError), journal.lock("../x"):
        pass
