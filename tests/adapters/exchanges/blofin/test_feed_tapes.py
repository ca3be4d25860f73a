"""WebSocket tapes, played by a local server to the native feed; the feed does not know."""

import asyncio
import json
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.hosts import Host
from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed
from blofin_cli.adapters.exchanges.blofin.wire import frames
from blofin_cli.adapters.exchanges.blofin.wire.frames import Notice, Push
from blofin_cli.core.feed import (
    AccountEvent,
    BookEvent,
    CandleEvent,
    Channel,
    Connected,
    FundingEvent,
    MarkEvent,
    Oddity,
    OrderEvent,
    PositionsEvent,
    PrintEvent,
    ProtectionEvent,
    QuoteEvent,
    ReconcileNeeded,
    TopicConfirmed,
)
from blofin_cli.core.quotes import Environment, Listing
from tests import tapes
from tests.adapters.exchanges.blofin import stories
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.examples import CONTRACT_VALUES, instrument

FOLDER = tapes.FOLDER / "test_feed_tapes"
SPOKEN = {
    Channel.CANDLES: CandleEvent, Channel.MARK: MarkEvent, Channel.QUOTES: QuoteEvent,
    Channel.BOOK: BookEvent, Channel.PRINTS: PrintEvent, Channel.FUNDING: FundingEvent,
    Channel.ORDERS: OrderEvent, Channel.PROTECTIONS: ProtectionEvent,
    Channel.POSITIONS: PositionsEvent, Channel.ACCOUNT: AccountEvent,
}  # fmt: skip
RECORDED = sorted(path for path in FOLDER.glob("*.jsonl") if path.stem != "documented")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_feed_replays_a_recorded_connection(path, tmp_path):
    """Login and subscriptions go out as recorded; every channel speaks; nothing is odd."""
    is_private = path.stem.startswith("private")
    topics = stories.PRIVATE_TOPICS if is_private else stories.TOPICS
    wanted = {SPOKEN[topic.channel] for topic in topics} | {Connected, TopicConfirmed}
    wanted |= {ReconcileNeeded} if is_private else set()
    seen: set[type] = set()
    async with tapes.replaying(path) as (address, complaints), asyncio.timeout(4):
        feed = _feed(address, tmp_path)
        await feed.subscribe(*topics)
        async for event in feed.events():
            assert not isinstance(event, Oddity), event
            seen.add(type(event))
            if wanted <= seen:
                break
        await feed.aclose()
    assert complaints() == []


def _feed(address: str, folder: Path) -> LiveFeed:
    settings = blofin.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=tapes.BOX
    )
    data = blofin.connect_public(settings, SystemClock())
    for symbol, value in CONTRACT_VALUES.items():
        terms = instrument(symbol, contract_value=str(value))
        data._listings[symbol] = Listing(instrument=terms, is_live=True)
        data._contract_values[symbol] = value
    data._listed_ms = SystemClock().now_ms()

    async def known() -> int:
        return SystemClock().now_ms()

    data.server_time_ms = known  # a replay has no REST to ask for the time
    host = Host(Environment.SIMULATED, tapes.BOX, address, address)
    return LiveFeed(host, data, Governor(folder / "rate"), credentials=CREDENTIALS)


def test_published_frames_are_read():
    """One frame of each channel, and the login's answer, as documented."""
    head, *rows = tapes.frames_of(FOLDER / "documented.jsonl")
    assert head["source"].startswith("transcribed from documentation")
    told = [frames.parse(row["m"], CONTRACT_VALUES, 1788599376000) for row in rows]
    assert next(each for each in told if isinstance(each, Notice)).kind == "login"
    pushes = [each for each in told if isinstance(each, Push)]
    events = {type(event) for push in pushes for event in push.events}
    assert events == set(SPOKEN.values())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_tape_names_its_source_and_holds_no_secret(path):
    """Where it came from stands on top; a login shows no key."""
    text = path.read_text(encoding="utf-8")
    head = json.loads(text.splitlines()[0])
    assert head["source"].startswith(("recorded against", "transcribed from"))
    for word in ("canary", "demo-key-0001", "demo-secret", "demo-pass"):
        assert word not in text
    for row in tapes.frames_of(path)[1:]:
        if '"login"' in row["m"] and row["d"] == ">":
            (argument,) = json.loads(row["m"])["args"]
            assert set(argument.values()) == {tapes.HIDDEN}
