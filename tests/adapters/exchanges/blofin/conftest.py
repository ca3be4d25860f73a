"""A broken exchange on loopback, and accounts connected to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin
from blofin_cli.adapters.exchanges.blofin import trading, transport
from blofin_cli.core.quotes import Environment
from tests.adapters.exchanges.blofin.fake_venue import FakeVenue

CREDENTIALS = blofin.Credentials("k-canary-1", "s-canary-2", "p-canary-3")


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with FakeVenue() as served:
        yield served


@pytest.fixture
def settings(venue: FakeVenue, tmp_path: Path) -> blofin.Settings:
    return blofin.Settings(
        state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=venue.url
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a test are short; their number is what counts."""
    monkeypatch.setattr(transport, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(trading, "LOOK_UPS_S", (0.001, 0.001, 0.001))


@pytest.fixture
async def account(settings: blofin.Settings) -> AsyncIterator[trading.TradingAccount]:
    connected = blofin.connect(settings, SystemClock(), CREDENTIALS)
    yield connected
    await connected.aclose()
