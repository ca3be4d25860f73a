"""Settings, hosts, ports and what importing costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin import hosts
from blofin_cli.adapters.exchanges.blofin.hosts import Host, host_of
from blofin_cli.core.quotes import Capability, Environment
from blofin_cli.errors import AuthError, ConfigError
from tests.adapters.exchanges.blofin.conftest import CREDENTIALS
from tests.adapters.exchanges.blofin.fake_venue import FakeVenue, error, ok

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("environment", "rest"),
    [
        (Environment.LIVE, "https://openapi.blofin.com"),
        (Environment.DEMO, "https://demo-trading-openapi.blofin.com"),
    ],
)
def test_hosts_are_fixed(environment, rest):
    """Settings choose a host, they do not name one."""
    assert host_of(environment).rest == rest
    with pytest.raises(ConfigError):
        host_of(environment, "http://127.0.0.1:8787")


@pytest.mark.parametrize(
    "url",
    [
        None, "http://example.com:80", "https://127.0.0.1:1", "http://127.0.0.1", "ws://127.0.0.1:1",
        "http://127.0.0.1:1/x", "http://a:b@127.0.0.1:1", "http://127.0.0.1.example.com:1",
        "http://127.0.0.1:99999", "http://[::1", "http://127.0.0.1:1?x=1", "", "127.0.0.1:8787",
        "http://0.0.0.0:8787", "http://127.0.0.1@example.com:80",
    ],
)  # fmt: skip
def test_simulator_is_plain_http_on_this_machine(url, tmp_path):
    """B38: a box that pretends to be BloFin must not be elsewhere."""
    with pytest.raises(ConfigError):
        blofin.Settings(state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8787", "http://localhost:1/", "http://[::1]:9"])
def test_simulator_addresses(url):
    """REST and both WebSockets of one box."""
    host = host_of(Environment.SIMULATED, url)
    assert host.private_stream == f"ws{host.rest[4:]}/ws/private"


async def test_key_of_the_other_host_is_named(venue, account, tmp_path, monkeypatch):
    """A demo key on the live host: not a riddle but a sentence."""
    refused = error("152401", "Access key does not exist")
    async with FakeVenue() as demo:
        demo.routes["user/query-apikey"] = ok({})
        monkeypatch.setattr(
            hosts,
            "HOSTS",
            {
                Environment.LIVE: Host(Environment.LIVE, venue.url, "", ""),
                Environment.DEMO: Host(Environment.DEMO, demo.url, "", ""),
            },
        )
        settings = blofin.Settings(state_folder=tmp_path, environment=Environment.LIVE)
        venue.routes["user/query-apikey"] = refused
        live = blofin.connect(settings, SystemClock(), CREDENTIALS)
        with pytest.raises(AuthError) as refusal:
            await live.key_info()
        assert "demo and live keys differ" in refusal.value.hint
        assert await live.key_belongs_to() is Environment.DEMO
        demo.routes["user/query-apikey"] = refused
        assert await live.key_belongs_to() is None
        assert await account.key_belongs_to() is None
        await live.aclose()


async def test_venue_says_what_it_can(settings):
    """Without a key it trades nothing; a box says that it is one."""
    data = blofin.connect_public(settings, SystemClock())
    account = blofin.connect_reducing(settings, SystemClock(), CREDENTIALS)
    assert data.venue.is_simulated
    assert Capability.TRADING not in data.venue.capabilities
    assert Capability.TRADING in account.venue.capabilities
    await data.aclose()
    await account.aclose()


PORTS = """
from blofin_cli.adapters.exchanges.blofin.public import PublicData
from blofin_cli.adapters.exchanges.blofin.stream import LiveFeed
from blofin_cli.adapters.exchanges.blofin.trading import ReducingAccount, TradingAccount
from blofin_cli.ports import Exchange, MarketData, ReduceOnly, Stream

def data(given: PublicData) -> MarketData: return given
def reducing(given: ReducingAccount) -> ReduceOnly: return given
def exchange(given: TradingAccount) -> Exchange: return given
def stream(given: LiveFeed) -> Stream: return given
"""


@pytest.mark.process
def test_classes_fulfil_the_ports(tmp_path):
    """The type checker compares every signature."""
    program = tmp_path / "ports.py"
    program.write_text(PORTS)
    outcome = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(program)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.process
def test_importing_opens_nothing_and_loads_no_network():
    """Settings and types are free; `connect` pays."""
    code = (
        "import sys, blofin_cli.adapters.exchanges.blofin, blofin_cli.ports\n"
        "import blofin_cli.adapters.exchanges.blofin.wire.frames\n"
        "heavy = {'httpx', 'websockets', 'numpy', 'pandas', 'asyncio', 'ssl', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
