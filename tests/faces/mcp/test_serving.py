"""The server as clients meet it, in this process and in both eras of the protocol."""

import asyncio
import json
import re

import pytest
from jsonschema import Draft202012Validator
from mcp.shared.exceptions import MCPError
from mcp.types import Implementation

from blofin_cli.adapters.store import open_journal
from blofin_cli.app.context import Context
from blofin_cli.core.journal import Halt
from blofin_cli.faces.mcp.resources import positions
from blofin_cli.faces.mcp.toolset import HIDDEN
from tests.faces.mcp.conftest import ERAS, content, error
from tests.faces.seed import StillClock, seed

EVERY_ERA = pytest.mark.parametrize("era", ERAS)
LOOKS = (
    ("get_ohlcv", {"symbol": "btcusdt", "synthetic": 7, "timeframe": "1h"}),
    ("detect_zones", {"synthetic": 7, "symbol": ["BTC-USDT"]}),
    ("check_signal", {"synthetic": 7}),
    ("explain_signal", {"synthetic": 7, "at": "2024-08-05T06:15"}),
    ("get_status", {}),
    ("get_runs", {}),
    ("get_config", {}),
)


@EVERY_ERA
@pytest.mark.process
async def test_tools_that_look_answer_with_what_their_schema_says(served, era):
    """Structure and text are the same JSON, and it is valid by the listed schema."""
    async with served(era, toolset="all") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name, arguments in LOOKS:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result.content
            Draft202012Validator(tools[name].output_schema).validate(content(result))


@EVERY_ERA
async def test_error_is_the_one_envelope(served, era):
    """Code, message, hint, retryable, details: as the command line prints it."""
    async with served(era) as client:
        envelope = error(await client.call_tool("detect_zones", {"timeframe": "17m"}))
    assert envelope["code"] == "usage"
    assert set(envelope) == {"code", "message", "hint", "retryable", "details"}


@EVERY_ERA
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("detect_zones", {"limit": True}),
        ("detect_zones", {"limit": [1]}),
        ("detect_zones", {"limit": {"a": 1}}),
        ("check_signal", {"equity": None}),
        ("check_signal", {"equity": "NaN"}),
        ("check_signal", {"equity": "1" * 100}),
        ("check_signal", {"confirmed": True}),
        ("get_ohlcv", {"symbol": "B" * 200_000}),
        ("get_ohlcv", {"symbol": {"name": "BTC-USDT"}}),
        ("detect_zones", {"chart": "zones.html"}),
        ("run_backtest", {"report": "report.html"}),
        ("run_backtest", {"strategy": "other.toml"}),
    ],
)
async def test_arguments_of_the_wrong_kind_are_refused(served, era, tool, arguments, empty_folder):
    """Numbers are numbers, names are known, files are not an agent's to write."""
    async with served(era) as client:
        assert error(await client.call_tool(tool, arguments))["code"] == "usage"
    assert not list(empty_folder.glob("*.html"))


async def test_hint_names_only_what_the_tool_takes(served):
    """A slip of the pen is helped, and never towards an argument that is hidden."""
    async with served() as client:
        near = error(await client.call_tool("get_ohlcv", {"limits": 5}))
        assert near["hint"] == "did you mean limit?"
        for word in ("foo", "boook", "chrt", "strategi"):
            told = error(await client.call_tool("get_ohlcv", {word: 1}))
            assert not HIDDEN & set(re.findall(r"\w+", told["hint"]))


@EVERY_ERA
async def test_tool_that_trades_is_refused_by_name_in_a_read_only_server(served, era):
    """What is not listed cannot be called either."""
    async with served(era) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for name in {"close_position", "cancel_orders", "start_run"} - listed:
            assert error(await client.call_tool(name, {}))["code"] == "refused"
        for name in ("resume", "approve", "approve_order", "mandate_sign", "reject"):
            assert error(await client.call_tool(name, {"id": "1"}))["code"] == "usage"


async def test_symbol_left_out_is_the_setting(served, monkeypatch):
    """The same default that a person set."""
    monkeypatch.setenv("BLOFIN_DEFAULT_SYMBOL", "SOL-USDT")
    async with served() as client:
        answer = content(await client.call_tool("get_ohlcv", {"synthetic": 3, "limit": 2}))
    assert answer["symbol"] == "SOL-USDT"
    assert answer["bars"] == 2


@pytest.mark.process
async def test_one_symbol_needs_no_list(served):
    """A word, a word with commas, a list: the same instruments."""
    async with served() as client:
        for symbols in ("BTC-USDT,ETH-USDT", ["BTC-USDT", "ETH-USDT"]):
            arguments = {"synthetic": 7, "symbol": symbols, "limit": 3}
            answer = content(await client.call_tool("detect_zones", arguments))
            assert set(answer["prices"]) == {"BTC-USDT", "ETH-USDT"}


@EVERY_ERA
@pytest.mark.process
async def test_large_result_comes_by_the_page_and_whole(served, era):
    """Summary, totals and cursors beside the first page; the pages together are the result."""
    async with served(era) as client:
        arguments = {"synthetic": 7, "limit": 3000, "timeframe": "15m"}
        result = await client.call_tool("get_ohlcv", arguments)
        first = content(result)
        assert first["bars"] == first["page"]["total"]["candles"] == 3000
        assert first["page"]["summary"]
        ts, cursors = first["candles"]["ts"], first["page"]["next"]
        while cursors:
            page = content(await client.call_tool("get_ohlcv", {"cursor": cursors[0]}))
            ts, cursors = ts + page["candles"]["ts"], page["page"]["next"]
        assert len(ts) == len(set(ts)) == 3000
        link = result.content[1]
        assert '"candles":3000' in (await client.read_resource(link.uri)).contents[0].text
        page = await client.read_resource(f"{link.uri}/candles/2990")
        assert '"shown":10' in page.contents[0].text


async def test_cursor_of_nothing_is_refused(served):
    """A guessed or forgotten result is said to be gone."""
    async with served() as client:
        for cursor in ("deadbeef", "deadbeef/candles/0", "", "../../etc/passwd", "x" * 5000):
            assert error(await client.call_tool("get_ohlcv", {"cursor": cursor}))["code"] == "usage"


@EVERY_ERA
@pytest.mark.process
async def test_backtest_reports_rising_progress(served, era):
    """Each report is larger than the one before, and the last comes before the answer."""
    seen = []

    async def heard(done, total, text):
        seen.append((done, total, text))

    async with served(era) as client:
        arguments = {"synthetic": 7, "since": "60d"}
        result = await client.call_tool("run_backtest", arguments, progress_callback=heard)
        told = len(seen)
    assert content(result)["verdict"]["status"]
    assert told == len(seen) > 0
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


@EVERY_ERA
@pytest.mark.process
async def test_server_answers_while_it_computes_and_when_a_call_is_given_up(served, era):
    """A backtest neither holds up a halt nor outlives the client's interest."""
    async with served(era) as client:
        long = asyncio.create_task(
            client.call_tool("run_backtest", {"synthetic": 7, "draws": 200, "since": "300d"})
        )
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        content(await client.call_tool("get_status", {}))
        assert asyncio.get_running_loop().time() - began < 3
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        content(await client.call_tool("get_status", {}))


@EVERY_ERA
async def test_resources_and_templates_are_listed_and_can_be_read(served, era):
    """State, limits and guides without a tool call; nothing else has an address."""
    async with served(era) as client:
        uris = [str(item.uri) for item in (await client.list_resources()).resources]
        for uri in uris:
            if uri != "blofin://zones":  # reads the market
                assert (await client.read_resource(uri)).contents[0].text
        assert len((await client.list_resource_templates()).resource_templates) == 4
        for uri in ("blofin://nothing", "file:///etc/passwd", "blofin://guide/../x", "x" * 9000):
            with pytest.raises(MCPError):
                await client.read_resource(uri)


async def test_positions_nobody_tells_of_are_not_none(served, state):
    """Absence is not zero: without a living session the resource says so, and whom to ask."""
    async with served() as client:
        for written in (False, True):  # no session ever; one that has been silent for long
            if written:
                seed(state.parent)
            text = (await client.read_resource("blofin://positions")).contents[0].text
            told = json.loads(text)
            assert (told["positions"], told["orders"], told["told_by"]) == (None, None, None)
            assert "get_positions" in told["note"]
    living = positions(Context(face="mcp", state_override=str(state), clock=StillClock()))
    assert (living["told_by"], living["note"]) == ("session", "")
    assert living["positions"]


@EVERY_ERA
async def test_halt_resource_tells_of_the_halt(served, era, state):
    """An agent can see why nothing is traded, and who alone can change it."""
    open_journal(str(state)).set_halt(Halt(ts_ms=1, face="cli", cause="drawdown"))
    async with served(era) as client:
        text = (await client.read_resource("blofin://halt")).contents[0].text
    assert '"halted":true' in text
    assert "drawdown" in text


@EVERY_ERA
async def test_prompts_are_listed_and_filled(served, era):
    """Three prompts; arguments are words in a sentence and nothing more."""
    async with served(era) as client:
        listed = (await client.list_prompts()).prompts
        assert {prompt.name for prompt in listed} == {
            "morning_review", "explain_missed_trade", "tune_honestly",
        }  # fmt: skip
        for prompt in listed:
            filled = await client.get_prompt(prompt.name, {"symbol": "ethusdt"})
            assert "ETH-USDT" in filled.messages[0].content.text
        odd = {"idea": "{0.__class__}\x1b[2J", "symbol": "BTC-USDT"}
        text = (await client.get_prompt("tune_honestly", odd)).messages[0].content.text
        assert "{0.__class__}\\x1b[2J" in text
        for name, arguments in (("none", {}), ("morning_review", {"symbol": "<b>"})):
            with pytest.raises(MCPError):
                await client.get_prompt(name, arguments)


async def test_subscriber_of_the_stateless_era_hears_of_a_halt(served, state):
    """The stream tells that the halt changed, however soon after it was opened."""
    async with served() as client, client.listen(resource_subscriptions=["blofin://halt"]) as news:
        open_journal(str(state)).set_halt(Halt(ts_ms=1, face="cli", cause="test"))
        event = await asyncio.wait_for(anext(aiter(news)), 20)
        assert event.uri == "blofin://halt"


@pytest.mark.filterwarnings("ignore:resources/")  # the SDK calls the older era deprecated
async def test_subscriber_of_the_handshake_era_hears_of_a_halt(served, state):
    """`resources/subscribe` and a notification, as older clients know it."""
    heard = asyncio.Event()

    async def on_message(message):
        if "halt" in str(getattr(getattr(message, "params", None), "uri", "")):
            heard.set()

    async with served("legacy", {"message_handler": on_message}) as client:
        await client.subscribe_resource("blofin://halt")
        with pytest.raises(MCPError):
            await client.subscribe_resource("blofin://guide/zones")
        open_journal(str(state)).set_halt(Halt(ts_ms=1, face="cli", cause="test"))
        await asyncio.wait_for(heard.wait(), 20)
        await client.unsubscribe_resource("blofin://halt")


@EVERY_ERA
async def test_audit_row_says_which_client_asked(served, era, state):
    """Face and the name the client gives itself, made harmless, for what was refused too."""
    who = Implementation(name="Cur\x1bsor", version="9")
    async with served(era, {"client_info": who}) as client:
        await client.call_tool("run_backtest", {"confirmed": True})
        await client.call_tool("no_such_tool", {})
        await client.call_tool("close_position", {})
    rows = open_journal(str(state)).audit()
    assert {row.face for row in rows} == {"mcp:Cur\\x1bsor 9"}
    assert [(row.command, row.outcome) for row in rows] == [
        ("close_position", "refused"), ("backtest", "usage"),
    ]  # fmt: skip
