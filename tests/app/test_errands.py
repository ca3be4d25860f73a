"""Asking a session: who counts as one, and what is known when it does not answer."""

import platform
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from blofin_cli.adapters.store import open_journal
from blofin_cli.app import errands, orders
from blofin_cli.app.context import Context
from blofin_cli.core.journal import ErrandState
from blofin_cli.errors import NetworkError, UnknownOutcomeError
from tests.adapters.store.samples import session

ACCOUNT = "sim-demo"


@pytest.fixture
def context(tmp_path) -> Context:
    return Context(face="cli", state_override=str(tmp_path / "state.db"))


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def test_command_at_work_is_not_taken_for_the_session_that_was_killed(context, gone, tmp_path):
    """kill -9 leaves a session without an end; who holds its lock now is somebody else."""
    journal = context.journal
    journal.open_session(session("s1", account=ACCOUNT, pid=gone, host=platform.node()))
    with open_journal(str(tmp_path / "state.db")).lock(f"account-{ACCOUNT}"):
        assert errands.living_session(context, ACCOUNT) is None
    journal.open_session(session("s2", account=ACCOUNT, pid=gone, host="elsewhere"))
    with open_journal(str(tmp_path / "state.db")).lock(f"account-{ACCOUNT}"):
        assert errands.living_session(context, ACCOUNT).session_id == "s2"


async def test_errand_nobody_took_is_withdrawn(context, monkeypatch):
    """Nothing was done, and nothing will be: whoever asked may ask again."""
    monkeypatch.setattr(errands, "WAIT_S", 0.2)
    with pytest.raises(NetworkError, match="nothing was done"):
        await errands.run_errand(context, ACCOUNT, "close", {"symbol": "BTC-USDT"}, name="e1")
    assert context.journal.errand("e1").state is ErrandState.EXPIRED
    assert context.journal.take_errands(ACCOUNT, 0) == ()


async def test_share_that_a_silent_session_took_is_not_closed_again(context, monkeypatch):
    """F01: half of what is left would go as well. All of it may be closed twice."""
    monkeypatch.setattr(errands, "WAIT_S", 0.3)
    monkeypatch.setattr(orders, "living_session", lambda *_: session("s1"))
    monkeypatch.setattr(orders, "is_answering", lambda *_: True)
    post = context.journal.post_errand

    def taken(errand: Any) -> Any:
        made = post(errand)
        context.journal.take_errands(ACCOUNT, 0)
        return made

    monkeypatch.setattr(context.journal, "post_errand", taken, raising=False)
    request: Any = SimpleNamespace(exchange="sim", mode="demo")
    here: list[Decimal] = []

    async def close(reducer: Any) -> dict[str, Any]:
        here.append(Decimal(1))
        return {}

    share = ("close", {"symbol": "BTC-USDT", "fraction": "0.5"})
    with pytest.raises(UnknownOutcomeError):
        await orders.by_session_or_here(request, context, share, close)
    assert here == []
