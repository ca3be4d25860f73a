"""What `run` needs before it starts: by the mode in force, whoever wrote it where."""

import pytest

from blofin_cli.app.commands.run import RunRequest
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect


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
