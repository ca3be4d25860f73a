"""Every tool there is, called for real: against a `blofin sim` process, as an agent would."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from time import sleep
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from blofin_cli.adapters.store import open_journal
from blofin_cli.app.context import Context
from blofin_cli.app.venues import AccountRequest, open_trading
from blofin_cli.core.orders import MarginMode
from tests.faces.mcp.conftest import content, error

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
BTC = "BTC-USDT"
INVENTED = {"synthetic": 7}


@pytest.fixture
def box_process(monkeypatch, own_home) -> Iterator[None]:
    """A box as a process; the settings' exchange, in its demo mode."""
    log = own_home / "box.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--no-limits",
             "--symbol", BTC, "--synthetic", "7"],
            stdout=subprocess.DEVNULL, stderr=out,
        )  # fmt: skip
    while not (found := re.search(r"REST +(http\S+)", log.read_text())):
        assert process.poll() is None, log.read_text()
        sleep(0.05)
    monkeypatch.setenv("BLOFIN_SIM_URL", found[1])
    monkeypatch.setenv("BLOFIN_EXCHANGE", "sim")
    monkeypatch.setenv("BLOFIN_MODE", "demo")
    yield
    assert process.poll() is None, log.read_text()
    process.terminate()
    process.wait()


class Checked:
    """Calls tools, and holds each answer against the schema that was listed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.tools: dict[str, Any] = {}
        self.called: set[str] = set()

    async def learn(self) -> None:
        self.tools = {tool.name: tool for tool in (await self.client.list_tools()).tools}

    async def __call__(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.called.add(name)
        result = await self.client.call_tool(name, arguments)
        answer = content(result)
        assert not result.is_error, (name, answer)
        Draft202012Validator(self.tools[name].output_schema).validate(answer)
        return answer


async def test_every_tool_answers_with_what_its_schema_says(state, box_process):
    """No tool is left out; each answer is valid by the schema that was listed."""
    context = Context(face="cli", state_override=str(state))
    async with open_trading(AccountRequest(), context) as exchange:
        await exchange.set_margin_mode(MarginMode.ISOLATED)
    words = [
        "-m",
        "blofin_cli",
        "mcp",
        "--toolset",
        "all",
        "--allow-trading",
        "--state",
        str(state),
    ]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))
    async with Client(stdio_client(server)) as client:
        call = Checked(client)
        await call.learn()
        await look(call)
        await try_an_idea(call)
        await trade(call)
        try:
            await run_a_session(call)
        finally:
            for session in open_journal(str(state)).sessions():
                with suppress(ProcessLookupError):
                    os.kill(session.pid, signal.SIGTERM)
    assert call.called == set(call.tools)


async def look(call: Checked) -> None:
    """The market and the account, as they are."""
    assert (await call("get_ohlcv", limit=5))["bars"]
    assert (await call("get_instruments", symbol="btcusdt"))["instruments"]
    assert (await call("detect_zones", **INVENTED))["zones"]
    await call("detect_zones")
    await call("check_signal")
    assert (await call("explain_signal", **INVENTED))["explanation"]
    assert (await call("get_account"))["margin_mode"] == "isolated"
    await call("diagnose")
    await call("get_config")


async def try_an_idea(call: Checked) -> None:
    """Backtests, and what is kept of them."""
    run = await call("run_backtest", **INVENTED, since="60d", save=True)
    assert (await call("get_runs"))["runs"][0]["run_id"] == run["run_id"]
    await call("analyze_zones")
    await call("verify_zones", **INVENTED, points=2)


async def trade(call: Checked) -> None:
    """A plan; nobody signed a mandate with a budget for agents, so it waits for a person."""
    last = (await call("get_latest_price"))["prices"][0]["last"]
    plan = await call("place_order", side="buy", stop=round(last * 0.985), risk="0.1%")
    assert plan["status"] == "planned", plan["message"]
    told = await call("place_order", symbol=BTC, apply=plan["hash"])
    assert told["status"] == "proposed"
    assert (await call("get_status"))["proposals"]
    assert (await call("get_orders"))["orders"] == []
    assert (await call("get_positions"))["positions"] == []
    assert (await call("close_position"))["status"] == "flat"
    await call("cancel_orders", id=["1"])


async def run_a_session(call: Checked) -> None:
    """A dry run on its own, halted after a second; then the journal."""
    session = await call("start_run", mode="dry-run")
    assert session["state"] == "running"
    assert (await call("get_status"))["session_id"] == session["session_id"]
    parity = await call.client.call_tool("check_parity", {"session": session["session_id"]})
    assert "saw no closed bar" in error(parity)["hint"]
    call.called.add("check_parity")
    assert (await call("halt_trading", reason="the test is over"))["state"] == "halted"
    await call("get_trades")
    await call("log_trade", what="list")
