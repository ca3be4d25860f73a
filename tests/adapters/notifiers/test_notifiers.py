"""Alerts reach a webhook and a mailbox, and never hold up whoever sends them."""

import json
import time

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.notifiers import Delivery, Limits, NotifierQueue, Outcome, open_notifier
from blofin_cli.adapters.notifiers.messages import body_of, redacted, title_of
from blofin_cli.core.journal import Happening, Level
from blofin_cli.errors import ConfigError, NetworkError
from blofin_cli.ports import Notifier
from tests.adapters.notifiers.sinks import mailbox, until, webhook

QUICK = Limits(attempts=3, pause_first_s=0.01, pause_max_s=0.02, attempt_s=3, closing_s=3)
NAKED = Happening(
    ts_ms=1_767_225_600_000,
    level=Level.EMERGENCY,
    kind="naked",
    symbol="BTC-USDT",
    text="the stop of the long position was canceled by hand",
    protects="nothing; it is closed in 10 s unless a stop is back",
    next_step="blofin protect BTC-USDT --stop PRICE",
)


def numbered(number: int) -> Happening:
    return Happening(ts_ms=0, level=Level.ALERT, kind="fill", text=f"alert {number}")


class Record(list[Delivery]):
    """Outcomes as they are recorded."""

    def of(self, outcome: Outcome) -> list[str]:
        return [each.happening.text for each in self if each.outcome is outcome]


def opened(urls: list[str], record: Record, limits: Limits = QUICK, **given) -> NotifierQueue:
    queue = open_notifier(urls, SystemClock(), on_outcome=record.append, limits=limits, **given)
    assert queue is not None
    return queue


def test_message_names_cause_protection_and_next_command():
    """Whoever is woken at night learns what happened, what holds, and what to type."""
    body = body_of(NAKED)
    assert title_of(NAKED) == "blofin emergency: BTC-USDT naked"
    assert "canceled by hand" in body
    assert "Protects: nothing; it is closed in 10 s unless a stop is back" in body
    assert "Next: blofin protect BTC-USDT --stop PRICE" in body
    assert "2026-01-01 00:00:00 UTC" in body


def test_message_without_a_next_step_names_status():
    """There is always a command to type, and silence about protection is said."""
    bare = Happening(ts_ms=0, level=Level.ALERT, kind="gap", text="x", symbol="BTC-USDT")
    assert "Next: blofin status" in body_of(bare)
    assert "Protects: not told" in body_of(bare)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key k-canary-1 was refused", "key *** was refused"),
        ("https://me:canary@host/x", "https://***@host/x"),
        ("token=canary-token-9 and more", "token=*** and more"),
        ("Authorization: Bearer-canary!", "Authorization: ***"),
        ("api key: 'canary with blanks'", "api key: ***"),
        ("the stop is at 97000.5", "the stop is at 97000.5"),
    ],
)
def test_secrets_are_masked(text, kept):
    """Keys that were given, users in addresses, and what follows a telling word."""
    assert redacted(text, ("k-canary-1",)) == kept
    assert "canary" not in redacted(text, ("k-canary-1",))


async def test_webhook_receives_the_message():
    """A real POST with title, body and kind; the record says sent at the first attempt."""
    record = Record()
    async with webhook() as sink:
        queue = opened([f"json://127.0.0.1:{sink.port}/hook"], record)
        queue.put(NAKED)
        await sink.count(1)
        await queue.aclose()
    told = sink.received[0]
    assert told["title"] == title_of(NAKED)
    assert told["message"].splitlines() == body_of(NAKED).splitlines()
    assert [(each.outcome, each.attempts) for each in record] == [(Outcome.SENT, 1)]


async def test_mail_is_delivered():
    """A real SMTP conversation, to the person named in the address."""
    record = Record()
    async with mailbox() as sink:
        url = f"mailto://blofin@127.0.0.1:{sink.port}/me@example.com?from=bot@example.com"
        queue = opened([url], record)
        queue.put(NAKED)
        await sink.count(1)
        await queue.aclose()
    mail = sink.received[0]
    assert mail["To"] == "me@example.com"
    assert "BTC-USDT" in mail["Subject"]
    assert "Next: blofin protect" in mail.get_body().get_content().replace("=\n", "")
    assert record.of(Outcome.SENT) == [NAKED.text]


async def test_refused_message_is_tried_again():
    """Two server faults, then taken: three attempts, one message in the record."""
    record = Record()
    async with webhook() as sink:
        sink.statuses = [503, 500]
        queue = opened([f"json://127.0.0.1:{sink.port}"], record)
        queue.put(NAKED)
        await sink.count(3)
        await queue.aclose()
    assert [(each.outcome, each.attempts) for each in record] == [(Outcome.SENT, 3)]


async def test_dead_address_delays_no_other_and_its_token_is_not_shown():
    """Every address has its own lane; what fails is recorded with the address masked."""
    record = Record()
    async with webhook() as sink:
        dead = "json://user:canary-pass@127.0.0.1:9/canary-path"
        queue = opened([dead, f"json://127.0.0.1:{sink.port}"], record)
        queue.put(NAKED)
        await sink.count(1)
        await until(lambda: len(record) >= 2)
        await queue.aclose()
    failed = [each for each in record if each.outcome is Outcome.FAILED]
    assert [each.attempts for each in failed] == [3]
    assert "canary" not in json.dumps([(each.address, each.problem) for each in record])


async def test_putting_never_waits_and_the_oldest_goes_first():
    """A silent server: a thousand alerts are taken at once, the oldest are dropped and counted."""
    record = Record()
    async with webhook() as sink:
        sink.stall = True
        limits = Limits(waiting_max=5, attempt_s=0.2, attempts=1, closing_s=0.1)
        queue = opened([f"json://127.0.0.1:{sink.port}"], record, limits)
        queue.put(numbered(0))
        await sink.count(1)
        started = time.perf_counter()
        for number in range(1, 1001):
            queue.put(numbered(number))
        assert time.perf_counter() - started < 0.5
        assert queue.dropped == 995
        assert record.of(Outcome.DROPPED)[:2] == ["alert 1", "alert 2"]
        await queue.aclose()
    assert len(record) == 1001


class Flaky:
    """A target that fails while told to."""

    name = "flaky"

    def __init__(self) -> None:
        self.is_down, self.heard = True, []

    async def send(self, happening: Happening) -> None:
        if self.is_down:
            raise NetworkError("down")
        self.heard.append(happening.text)

    async def aclose(self) -> None:
        """Nothing to let go."""


async def test_next_delivered_message_counts_the_lost_ones():
    """A person learns that there were more."""
    target, record = Flaky(), Record()
    limits = Limits(attempts=2, pause_first_s=0.001, pause_max_s=0.001)
    queue = NotifierQueue([target], SystemClock(), on_outcome=record.append, limits=limits)
    for number in (1, 2):
        queue.put(numbered(number))
    await until(lambda: len(record) >= 2)
    target.is_down = False
    queue.put(numbered(3))
    queue.put(numbered(4))
    await queue.aclose()
    assert target.heard == ["alert 3 (2 earlier alerts were lost)", "alert 4"]
    assert record.of(Outcome.FAILED) == ["alert 1", "alert 2"]


async def test_record_that_fails_costs_no_alert():
    """The callback is somebody else's code."""
    target = Flaky()
    target.is_down = False

    def broken(delivery: Delivery) -> None:
        raise OSError(delivery.address)

    queue = NotifierQueue([target], SystemClock(), on_outcome=broken)
    queue.put(numbered(1))
    queue.put(numbered(2))
    await queue.aclose()
    assert target.heard == ["alert 1", "alert 2"]


async def test_closing_accounts_for_everything():
    """What cannot be delivered in time is recorded as failed; what comes later as dropped."""
    target, record = Flaky(), Record()
    limits = Limits(attempts=5, pause_first_s=5, closing_s=0.05)
    queue = NotifierQueue([target], SystemClock(), on_outcome=record.append, limits=limits)
    for number in range(3):
        queue.put(numbered(number))
    await queue.aclose()
    await queue.aclose()
    assert record.of(Outcome.FAILED) == ["alert 0", "alert 1", "alert 2"]
    assert {each.problem for each in record} == {"the program ended"}


async def test_queue_is_a_notifier():
    """It stands where the port is asked for."""
    async with webhook() as sink:
        port: Notifier = opened([f"json://127.0.0.1:{sink.port}"], Record())
        await port.send(NAKED)
        await sink.count(1)
        await port.aclose()


@pytest.mark.parametrize(
    "url", ["nonsense", "", "xyz://canary", "tgram://canary", "http://[canary"]
)
async def test_unknown_address_is_named_by_its_place(url):
    """A token that was mistyped must not end up on the screen."""
    with pytest.raises(ConfigError) as refusal:
        open_notifier(["json://127.0.0.1:9", url], SystemClock())
    assert "address 2" in refusal.value.message
    assert "canary" not in json.dumps(refusal.value.envelope())


async def test_no_address_is_no_notifier():
    """Without addresses nothing is opened."""
    assert open_notifier([], SystemClock()) is None


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("tgram://123456789:AAcanaryCanaryCanaryCanaryCanary123/12315544/", "Telegram"),
        ("discord://41742162980000/JHMHIcanaryBe7bk2ZwO5U711o3dVjs", "Discord"),
        ("mailto://user:canary-pass@example.com", "E-Mail"),
        ("jsons://user:canary-pass@example.com/hook", "JSON"),
    ],
)
async def test_services_are_known_and_their_tokens_masked(url, service):
    """The four ways the guide names; not asked, only read."""
    queue = open_notifier([url], SystemClock())
    (name,) = queue.addresses
    assert name.startswith(service)
    assert "anary" not in name
    await queue.aclose()
