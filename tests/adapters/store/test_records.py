"""Records go into the state and come back equal, whatever they hold."""

import json
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_cli.adapters.store.records import canonical, document, packed, unpacked, word
from blofin_cli.core.journal import (
    Decision,
    EquityPoint,
    Errand,
    FundingPayment,
    Halt,
    Happening,
    Intent,
    Pause,
    Proposal,
    Purpose,
    Session,
)
from blofin_cli.core.market import Trade, Zone
from blofin_cli.core.orders import Fill
from blofin_cli.core.status import SessionStatus, status_of
from blofin_cli.errors import DataError
from tests.adapters.store.samples import (
    ACCOUNT,
    JSON,
    MONEY,
    SESSION,
    TEXT,
    any_of,
    errand,
    intent,
    optional_names,
    proposal,
    status,
    trade,
)

KINDS = (
    Decision, EquityPoint, Errand, Fill, FundingPayment, Halt, Happening, Intent, Pause, Proposal,
    Session, Trade, Zone,
)  # fmt: skip
QUICK = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_record_comes_back_equal(kind, data):
    """Every digit, every sign, every character; equal records make equal text."""
    record = data.draw(any_of(kind))
    text = packed(record)
    again = unpacked(kind, text, "k")
    assert again == record
    assert text.isascii()
    assert packed(again) == text
    for item in fields(kind):
        assert type(getattr(again, item.name)) is type(getattr(record, item.name))


@given(record=any_of(SessionStatus))
@settings(max_examples=40, deadline=None)
def test_status_comes_back_equal(record):
    """The heartbeat document is what the faces draw."""
    assert status_of(document(packed(record, is_shown=True), "k")) == record


@given(value=JSON)
def test_json_values_are_canonical(value):
    """The same values make the same bytes, in whatever order their names came."""
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(text=TEXT)
def test_word_fits_a_column_and_plain_text_stays(text):
    """Nothing that a database would choke on is left, and nothing else is touched."""
    assert word(text).isprintable()
    assert word(text) == text or not text.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "1", '"x"', "{}", "\x00",
        packed(intent()).replace('"0.010"', "0.010"),
        packed(intent()).replace('"0.010"', '"NaN"'),
        packed(intent()).replace('"0.010"', '"a lot"'),
        packed(intent()).replace('"reserved"', '"wished"'),
        packed(intent()).replace('"BTC-USDT"', "7"),
        packed(intent()).replace('"key":"k1",', ""),
    ],
)  # fmt: skip
def test_text_that_is_no_such_record_is_damage(text):
    """It is named by its key, and never taken for an empty one."""
    with pytest.raises(DataError, match="damaged") as caught:
        unpacked(Intent, text, "key-7")
    assert caught.value.details["key"] == "key-7"
    assert "verify" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_record_of_another_build_is_read(kind, data):
    """A name that was added later passes by; one that was not there yet has its default."""
    record = data.draw(any_of(kind))
    known = json.loads(packed(record))
    assert unpacked(kind, canonical(known | {"from_the_future": 1}), "k") == record
    for name in optional_names(kind):
        unpacked(kind, canonical({n: v for n, v in known.items() if n != name}), "k")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_number_that_is_none_is_refused_where_it_counts(number):
    """A figure that is looked at may be unknown; a trade's result may not."""
    with pytest.raises(DataError, match="trade"):
        packed(trade(pnl_usdt=number))
    shown = json.loads(packed(status(equity_usdt=number), is_shown=True))
    assert shown["equity_usdt"] is None


def test_record_without_end_is_refused():
    """A mistake must not fill the disk."""
    with pytest.raises(DataError, match="too long"):
        packed(trade(note="x" * 20_000_000))


@pytest.mark.process
@given(
    drawn=st.tuples(
        any_of(Intent, size=MONEY.map(abs), risk_usdt=MONEY.map(abs), notional_usdt=MONEY.map(abs)),
        any_of(Trade), any_of(Happening), any_of(Pause), TEXT,
    )
)  # fmt: skip
@QUICK
def test_journal_gives_back_what_it_was_given(journal, another, drawn):
    """Through the database as well, with hostile text in every column."""
    order, deal, event, rest, note = drawn
    if order.purpose is not Purpose.ENTRY and journal.intent(order.client_id) is None:
        journal.reserve(order)
        assert another().intent(order.client_id) == order
    journal.save_trade(ACCOUNT, deal)
    assert deal in another().trades(session_id=deal.run_id)
    journal.tell(ACCOUNT, SESSION, event)
    assert event in another().happenings()
    journal.set_pause(rest)
    assert rest in another().pauses()
    journal.remember(ACCOUNT, note, {"note": note})
    assert another().recall(ACCOUNT, note) == {"note": note}


@pytest.mark.process
@given(arguments=st.dictionaries(TEXT, JSON, max_size=3))
@QUICK
def test_what_faces_ask_comes_back_equal(journal, another, arguments):
    """Arguments, answers and plans are JSON values of any kind."""
    number = len(journal.proposals(open_only=False, limit=1000))
    asked = journal.post_errand(errand(f"e{number}", arguments=arguments))
    assert another().errand(asked.id) == asked
    wanted = journal.propose(proposal(f"{number:04x}", plan=arguments, plan_hash=str(number)))
    assert wanted in another().proposals(limit=1000)
