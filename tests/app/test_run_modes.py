"""What `run` needs before it starts: by the mode in force, whoever wrote it where."""

import asyncio

import pytest

from blofin_cli.app import catalog, running, venues
from blofin_cli.app.commands.run import RunRequest
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, invoke
from blofin_cli.app.venues import AccountRequest
from blofin_cli.errors import RateLimitError, RefusedError


@pytest.mark.parametrize(
    ("typed", "set_to", "effect"),
    [
        (None, None, Effect.WRITE),
        (None, "demo", Effect.TRADE),
        ("dry-run", "demo", Effect.WRITE),
        ("demo", None, Effect.TRADE),
    ],
)
def test_run_asks_only_where_it_can_send_orders(tmp_path, monkeypatch, typed, set_to, effect):
    """A dry run, also by default, starts from cron; an account wants consent, however named."""
    if set_to is not None:
        monkeypatch.setenv("BLOFIN_MODE", set_to)
    request = RunRequest.model_validate({"symbol": ("BTC-USDT",), "mode": typed})
    context = Context(face="cli", state_override=str(tmp_path / "state.db"))
    assert request.effect_in(Effect.TRADE, context) is effect


@pytest.mark.parametrize("mode", ["dry-run", "demo", "live"])
@pytest.mark.parametrize(
    "choice",
    [
        {"set": ("risk.day_loss_pct=90",)},
        {"strategy": "loose.toml"},
        {"preset": "reference"},
        {"timeframe": "1m"},
        {"context": "5m"},
    ],
    ids=lambda choice: next(iter(choice)),
)
def test_agent_trades_what_is_set(tmp_path, mode, choice):
    """Limits and strategy are the settings': no argument of an agent's can loosen one."""
    agent = Context(
        face="mcp", client="probe", consent=True, state_override=str(tmp_path / "state.db")
    )
    wish = {"symbol": ("BTC-USDT",), "mode": mode, "detach": True, **choice}
    with pytest.raises(RefusedError, match="an agent does not choose"):
        asyncio.run(invoke(catalog.load("run"), wish, agent))
    assert agent.journal.sessions() == ()


@pytest.mark.parametrize(("until_ms", "waits"), [(30, True), (600_000, False)])
async def test_start_waits_for_the_window_of_requests(monkeypatch, until_ms, waits):
    """A budget used up by many restarts is free again within a minute; a suspension is told."""
    starts, context = [], Context(face="cli")

    async def tries(*words):
        starts.append(words)
        if len(starts) == 1:
            raise RateLimitError("no room", until_ms=context.clock.now_ms() + until_ms)
        return "ended"

    monkeypatch.setattr(running, "_trade", tries)
    trading = running.trade(AccountRequest(), None, context)
    if waits:
        assert await trading == "ended"
    else:
        with pytest.raises(RateLimitError):
            await trading
    assert len(starts) == 1 + waits


def test_one_key_is_traded_by_one_state_alone(tmp_path):
    """I25: a second state shares neither halt nor reservations, so its session cannot start."""
    one, two = (
        Context(face="cli", state_override=str(tmp_path / name / "state.db")) for name in "ab"
    )
    with venues._sole("the key", one):
        with pytest.raises(RefusedError, match="by another state"), venues._sole("the key", two):
            pass
        with venues._sole("another key", two):
            pass
    with venues._sole("the key", two):
        pass
