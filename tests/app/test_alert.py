"""`blofin alert` and the way from an event to an address."""

import json

import pytest

from blofin_cli.adapters.notifiers import Delivery
from blofin_cli.app import alerts
from blofin_cli.app.context import Context
from blofin_cli.core.journal import Happening, Level
from blofin_cli.errors import ConfigError
from tests.adapters.notifiers.sinks import webhook


def event(level: Level, text: str) -> Happening:
    return Happening(ts_ms=0, level=level, kind="halt", text=text)


async def test_alert_command_reaches_every_address(monkeypatch, tmp_path):
    """One address takes the test, another does not: both are named, masked, and the exit tells."""
    from blofin_cli.app.commands.alert import AlertRequest, alert

    async with webhook() as sink:
        monkeypatch.setenv(
            "BLOFIN_NOTIFY__URLS",
            f"json://127.0.0.1:{sink.port}/hook json://me:canary-pass@127.0.0.1:9/x",
        )
        context = Context(face="cli", state_override=str(tmp_path / "state.db"))
        result = await alert(AlertRequest(), context)
    assert [tried.outcome for tried in result.addresses] == ["sent", "failed"]
    assert result.exit_code() == 7
    assert "Next: blofin status" in sink.received[0]["message"]
    assert "canary" not in json.dumps([tried.address for tried in result.addresses])


async def test_alert_command_without_an_address_names_the_setting(tmp_path):
    """Nothing configured is a matter of configuration."""
    from blofin_cli.app.commands.alert import AlertRequest, alert

    context = Context(face="cli", state_override=str(tmp_path / "state.db"))
    with pytest.raises(ConfigError) as refusal:
        await alert(AlertRequest(), context)
    assert "BLOFIN_NOTIFY__URLS" in refusal.value.hint


async def test_events_below_the_levels_are_not_sent(monkeypatch, tmp_path):
    """Info stays at home; alert and emergency go out; what became of them is recorded."""
    deliveries: list[Delivery] = []
    said: list[str] = []
    async with webhook() as sink:
        monkeypatch.setenv("BLOFIN_NOTIFY__URLS", f"json://127.0.0.1:{sink.port}")
        monkeypatch.setenv("BLOFIN_DEMO_API__KEY", "canary-key-0001")
        monkeypatch.setenv("BLOFIN_DEMO_API__SECRET", "canary-secret-0002")
        monkeypatch.setenv("BLOFIN_DEMO_API__PASSPHRASE", "canary-pass-0003")
        state = str(tmp_path / "state.db")
        context = Context(face="cli", state_override=state, say=said.append)
        async with alerts.sending(context, deliveries.append) as notify:
            notify(event(Level.INFO, "quiet"))
            notify(event(Level.ALERT, "loud canary-key-0001 canary-secret-0002"))
            notify(event(Level.EMERGENCY, "louder"))
    texts = [told["message"].splitlines()[0] for told in sink.received]
    assert texts == ["loud *** ***", "louder"]
    assert [each.outcome.value for each in deliveries] == ["sent", "sent"]
    assert said == []


async def test_without_addresses_events_go_nowhere(tmp_path):
    """A session without addresses runs as ever."""
    context = Context(face="cli", state_override=str(tmp_path / "state.db"))
    async with alerts.sending(context) as notify:
        notify(event(Level.EMERGENCY, "nobody hears"))
