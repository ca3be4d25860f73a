"""The native client replays what was recorded: against the box, and BloFin's demo host if it was.

`scripts/record` makes the cassettes. A replay opens no socket.
"""

import re
from pathlib import Path

import httpx
import pytest
import yaml
from vcr.errors import CannotOverwriteExistingCassetteException

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.core.quotes import Environment
from tests import tapes
from tests.adapters.exchanges.blofin import stories
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.fake_venue import FakeVenue, Reply, ok

RECORDED = sorted((tapes.FOLDER / "test_cassettes").glob("*.yaml"))
EVERYTHING = sorted(tapes.FOLDER.rglob("*.yaml"))
SOURCES = Path(blofin.__file__).parent.rglob("*.py")
_PATH = re.compile(r'"((?:market|account|trade|user|public)/[a-z/-]+)"')


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_story_replays_to_its_last_request(path, tmp_path):
    """The client asks what it asked when recorded, reads every answer, and leaves none over."""
    head = tapes.heading(path)
    environment = Environment(head["host"])
    url = tapes.BOX if environment is Environment.SIMULATED else None
    settings = blofin.Settings(state_folder=tmp_path, environment=environment, simulator_url=url)
    account = blofin.connect(settings, SystemClock(), CREDENTIALS)
    with tapes.tape(path) as played:
        await stories.STORIES[path.stem.removesuffix("_demo")](account, head["tag"])
        assert played.play_count == len(played)
    await account.aclose()


def test_every_story_has_a_cassette():
    """A story nobody recorded proves nothing."""
    assert {path.stem for path in RECORDED} >= set(stories.STORIES)


def test_every_endpoint_of_the_client_was_recorded():
    """Whatever REST path the client names is asked on some cassette of a recorded story."""
    used = {found for path in SOURCES for found in _PATH.findall(path.read_text(encoding="utf-8"))}
    asked = {
        row["request"]["uri"].partition("/api/v1/")[2].partition("?")[0]
        for path in RECORDED
        for row in yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
    }
    assert len(used) > 25
    assert used <= asked, used - asked


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_cassette_names_its_source_and_holds_no_secret(path):
    """Where it came from stands on top; signed headers and names of persons are masked."""
    text = path.read_text(encoding="utf-8")
    assert tapes.heading(path)["source"].startswith(("recorded against", "transcribed from"))
    for word in ("canary", "demo-key-0001", "demo-secret", "demo-pass", "Set-Cookie", "YOUR_"):
        assert word not in text
    for row in yaml.safe_load(text)["interactions"]:
        shown = {
            value
            for name, values in row["request"]["headers"].items()
            if name.upper().startswith("ACCESS")
            for value in values
        }
        assert shown <= {tapes.HIDDEN}


async def test_recording_takes_secrets_out(venue: FakeVenue, account, tmp_path):
    """A key, a cookie and a user's number that went over the wire are not on the cassette."""
    key = {
        "uid": "uid-canary-4", "apiName": "name-canary-5", "apiKey": "k-canary-1", "readOnly": 0,
        "ips": ["10.0.0.99"], "type": 1, "expireTime": "1697026383085",
        "createTime": "1597026383085",
    }  # fmt: skip
    answer = ok(key)
    venue.routes["user/query-apikey"] = Reply(
        answer.body, headers={"Set-Cookie": "sess=cookie-canary-6"}
    )
    path = tmp_path / "tape.yaml"
    with tapes.tape(path, mode="all"):
        await account.key_info()
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{venue.url}/x", headers={"Cookie": "cookie-canary-7"})
    text = path.read_text(encoding="utf-8")
    assert "user/query-apikey" in text
    assert "canary" not in text
    assert "10.0.0.99" not in text


async def test_request_nobody_recorded_is_refused(tmp_path):
    """By default a cassette plays and never records: no test reaches a network by accident."""
    settings = blofin.Settings(
        state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=tapes.BOX
    )
    account = blofin.connect(settings, SystemClock(), CREDENTIALS)
    with (
        tapes.tape(tapes.FOLDER / "test_cassettes" / "market_data.yaml") as played,
        pytest.raises(CannotOverwriteExistingCassetteException),
    ):
        await account.account()
    assert not played.dirty
    await account.aclose()
