"""Record the cassettes anew.

Without options it starts an exchange in a box and records what the native client and it say to one
another. With --demo it records BloFin's demo host instead, for whoever has a key for it (the
variables BLOFIN_DEMO_API__KEY, __SECRET and __PASSPHRASE, or any other place a key may lie in);
that places minimum orders of play money and closes them. With --documentation FOLDER it transcribes
published example answers, which needs no network.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blofin_cli.adapters.clock import SystemClock  # noqa: E402 - the path comes first
from blofin_cli.adapters.exchanges import blofin  # noqa: E402
from blofin_cli.adapters.exchanges.blofin.governor import Governor  # noqa: E402
from blofin_cli.adapters.exchanges.blofin.hosts import Host, host_of  # noqa: E402
from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed  # noqa: E402
from blofin_cli.app import keys  # noqa: E402
from blofin_cli.core.feed import Topic  # noqa: E402
from blofin_cli.core.orders import MarginMode, PositionMode  # noqa: E402
from blofin_cli.core.quotes import Environment  # noqa: E402
from blofin_cli.errors import BlofinError  # noqa: E402
from tests import tapes  # noqa: E402
from tests.adapters.exchanges.blofin import stories  # noqa: E402
from tests.adapters.exchanges.blofin.documented import ANSWERS  # noqa: E402
from tests.adapters.exchanges.boxes import running_box  # noqa: E402

BOX_KEY = blofin.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
FROM_BOX = "recorded against the exchange in a box (blofin sim); no BloFin host took part"
FROM_DEMO = "recorded against BloFin's demo host; play money"
FROM_PAPER = "transcribed from documentation"
LIVE = "https://openapi.blofin.com"
PUSHES = (
    "candle", "mark-price-candle", "tickers", "books5", "trades", "funding-rate",
    "orders", "orders-algo", "positions", "account",
)  # fmt: skip


def main() -> None:
    """Read the command line, record, say where."""
    parser = argparse.ArgumentParser(
        prog="scripts/record", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--demo", action="store_true", help="BloFin's demo host, with your key")
    chosen.add_argument("--documentation", metavar="FOLDER", type=Path, help="published examples")
    parser.add_argument("--into", type=Path, default=tapes.FOLDER, help="folder of the cassettes")
    given = parser.parse_args()
    if given.documentation is not None:
        transcribe(given.documentation, given.into)
    elif given.demo:
        try:
            key = keys.credentials("demo")
        except BlofinError as error:
            raise SystemExit(f"record: {error.message}; {error.hint}") from error
        credentials = blofin.Credentials(key.key, key.secret, key.passphrase)
        asyncio.run(record(Environment.DEMO, None, credentials, given.into))
    else:
        with running_box("--symbol", stories.BTC) as url:
            asyncio.run(record(Environment.SIMULATED, url, BOX_KEY, given.into))


async def record(
    environment: Environment, url: str | None, credentials: blofin.Credentials, into: Path
) -> None:
    """Every story over REST and both feeds, at one host."""
    origin = FROM_BOX if url else FROM_DEMO
    tag = "box" if url else f"t{secrets.token_hex(3)}"
    today = datetime.now(UTC).date().isoformat()
    ending = "" if url else "_demo"
    await _prepare(environment, url, credentials)
    for name, story in stories.STORIES.items():
        path = into / "test_cassettes" / f"{name}{ending}.yaml"
        path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            account = blofin.connect(
                _settings(folder, environment, url), SystemClock(), credentials
            )
            with tapes.tape(path, mode="all"):
                await story(account, tag)
            await account.aclose()
        tapes.put_heading(path, source=origin, tag=tag, host=environment.value, recorded=today)
        say(path)
    for is_private, topics in ((False, stories.TOPICS), (True, stories.PRIVATE_TOPICS)):
        name = "private" if is_private else "public"
        path = into / "test_feed_tapes" / f"{name}{ending}.jsonl"
        await _record_feed(environment, url, credentials, topics, path, origin)
        say(path)


async def _prepare(
    environment: Environment, url: str | None, credentials: blofin.Credentials
) -> None:
    """The account as the stories find it: one-way, isolated, 5x. Not on tape."""
    with tempfile.TemporaryDirectory() as folder:
        account = blofin.connect(_settings(folder, environment, url), SystemClock(), credentials)
        await account.set_position_mode(PositionMode.ONE_WAY)
        await account.set_margin_mode(MarginMode.ISOLATED)
        await account.set_leverage(stories.BTC, 5)
        await account.aclose()


async def _record_feed(
    environment: Environment,
    url: str | None,
    credentials: blofin.Credentials,
    topics: tuple[Topic, ...],
    path: Path,
    origin: str,
) -> None:
    """One connection until every topic has spoken; an order makes the private ones speak."""
    host = host_of(environment, url)
    is_private = topics[0].channel.is_private
    upstream = host.private_stream if is_private else host.public_stream
    with tempfile.TemporaryDirectory() as folder:
        account = blofin.connect(_settings(folder, environment, url), SystemClock(), credentials)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(account.aclose)
            proxy = await stack.enter_async_context(
                tapes.recording(
                    upstream, path, source=origin, topics=" ".join(t.channel for t in topics)
                )
            )
            through = Host(environment, host.rest, proxy, proxy)
            governor = Governor(Path(folder) / "feed-rate")
            feed = LiveFeed(through, account, governor, credentials=credentials)
            stack.push_async_callback(feed.aclose)
            await feed.subscribe(*topics)
            await _until_all_spoke(feed, account, is_private=is_private, count=len(topics))


async def _until_all_spoke(feed: LiveFeed, account: Any, *, is_private: bool, count: int) -> None:
    spoke: set[str] = set()
    is_placed = False
    async with asyncio.timeout(30):
        async for event in feed.events():
            spoke.add(type(event).__name__)
            if is_private and not is_placed and feed.health().private_connected:
                is_placed = True
                await stories.bracket(account, "feed")
            told = spoke & {
                "CandleEvent", "MarkEvent", "QuoteEvent", "BookEvent", "PrintEvent",
                "FundingEvent", "OrderEvent", "ProtectionEvent", "PositionsEvent", "AccountEvent",
            }  # fmt: skip
            if len(told) == count:
                return


def transcribe(folder: Path, into: Path) -> None:
    """Cassettes and a tape of frames out of a folder of published examples."""
    for name, answers in ANSWERS.items():
        interactions = []
        for method, path, example in answers:
            body = tapes.scrubbed(json.loads((folder / f"{example}.json").read_text("utf-8")))
            interactions.append(_interaction(method, path, body))
        target = into / "test_documented" / f"{name}.yaml"
        _put_yaml(target, {"interactions": interactions, "version": 1})
        examples = " ".join(f"{example}.json" for _, _, example in answers)
        tapes.put_heading(
            target,
            source=f"{FROM_PAPER}: BloFin API documentation of 2026-03-21, or a public capture "
            "where the name says observed; never recorded by this project",
            examples=examples,
        )
        say(target)
    path = into / "test_feed_tapes" / "documented.jsonl"
    _transcribe_frames(folder, path)
    say(path)


def _interaction(method: str, path: str, body: Any) -> dict[str, Any]:
    text = json.dumps(body, separators=(",", ":"))
    return {
        "request": {"method": method, "uri": f"{LIVE}/api/v1/{path}", "body": "", "headers": {}},
        "response": {
            "status": {"code": 200, "message": "OK"},
            "headers": {"Content-Type": ["application/json"]},
            "body": {"string": text},
        },
    }


def _put_yaml(path: Path, value: Any) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False, width=4096), encoding="utf-8")


def _transcribe_frames(folder: Path, path: Path) -> None:
    """One frame of each channel, and the login's answer, as published."""
    rows: list[dict[str, Any]] = [
        {
            "source": f"{FROM_PAPER}: BloFin API documentation of 2026-03-21; books5 from a public "
            "capture; never recorded by this project",
            "topics": " ".join(PUSHES),
        }
    ]
    for name in ("login.ok", *(f"{push}.push" for push in PUSHES)):
        frame = tapes.scrubbed(json.loads((folder / f"ws.{name}.json").read_text("utf-8")))
        rows.append({"d": "<", "m": json.dumps(frame, separators=(",", ":"))})
    tapes.put_frames(path, rows)


def _settings(folder: str, environment: Environment, url: str | None) -> blofin.Settings:
    return blofin.Settings(state_folder=Path(folder), environment=environment, simulator_url=url)


def say(path: Path) -> None:
    """Progress, to stderr."""
    print(f"record: {path.parent.name}/{path.name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
