"""What an agent is offered: names, groups, hints, sentences, and what they cost it to read."""

import json
from itertools import chain

import pytest
from jsonschema import Draft202012Validator

from blofin_cli.app import catalog
from blofin_cli.app.spec import Effect
from blofin_cli.errors import UsageError
from blofin_cli.faces.mcp.schemas import tokens, tool_records
from blofin_cli.faces.mcp.toolset import (
    ALWAYS,
    GROUPS,
    HALT_TOOL,
    HIDDEN,
    PLAN_TOOL,
    TOOLS,
    is_listed_read_only,
)
from tests.golden.mcp_tools import GOLDEN, golden

# decisions.md 26: what a server that may not trade lists.
READ_ONLY = {
    *("get_ohlcv", "get_latest_price", "get_instruments", "detect_zones", "check_signal"),
    *("explain_signal", "get_orders", "get_positions", "get_account", "get_trades"),
    *("analyze_zones", "get_runs", "get_status", "diagnose"),
    *("halt_trading", "log_trade", "run_backtest", "place_order"),
}
RESEARCH = {"train_model", "check_parity", "verify_zones", "get_config"}


def existing() -> dict:
    return {spec.tool: spec for spec in catalog.load_all().values() if spec.tool}


def test_every_tool_of_the_registry_stands_in_the_table():
    """A new tool is placed in a group and told what it is not for, or it is no tool."""
    assert set(existing()) <= set(TOOLS)


def test_no_command_of_a_person_is_a_tool():
    """Resuming, approving and signing have no name an agent could call."""
    assert not [s.name for s in catalog.load_all().values() if s.effect is Effect.PERSON and s.tool]


def test_read_only_lists_what_looks_halts_notes_and_plans(offered):
    """The default server offers these and no other."""
    assert set(offered().tools) == READ_ONLY & set(existing())


def test_trading_adds_the_tools_that_trade(offered):
    """--allow-trading is a choice of a person who starts the server."""
    more = set(offered(allow_trading=True).tools) - set(offered().tools)
    assert more == {"cancel_orders", "close_position", "start_run"} & set(existing())


def test_research_comes_only_when_asked_for(offered):
    """The four that few need wait for --toolset."""
    assert not RESEARCH & set(offered(allow_trading=True).tools)
    assert set(offered(toolset="research").tools) >= RESEARCH & set(existing())
    assert set(offered(toolset="all", allow_trading=True).tools) == set(existing())


def test_no_choice_of_groups_removes_the_nine(offered):
    """The names of the brief are always there, and halting above all."""
    few = offered(toolset=",".join(f"-{group}" for group in GROUPS))
    assert set(few.tools) == ALWAYS & set(existing())
    assert HALT_TOOL in ALWAYS


@pytest.mark.parametrize("words", ["reserch", "default,+nothing", "-", "all;research"])
def test_unknown_group_is_refused(words, offered):
    """A misspelt group is not ignored."""
    with pytest.raises(UsageError):
        offered(toolset=words)


@pytest.mark.parametrize("trading", [False, True])
def test_default_set_is_small_enough_to_read(trading, offered):
    """At most 24 tools and 6,000 tokens, characters by four."""
    records = tool_records(offered(allow_trading=trading))
    assert len(records) <= 24
    assert tokens(records) <= 6000


@pytest.mark.parametrize("trading", [False, True])
def test_every_tool_is_described_down_to_its_arguments(trading, offered):
    """Title, what it is not for, a sentence an argument, an answer's schema, four hints."""
    for record in tool_records(offered(toolset="all", allow_trading=trading)):
        assert record["title"]
        assert "Not for " in record["description"]
        arguments = record["inputSchema"]["properties"].values()
        assert all(argument["description"] and argument["type"] for argument in arguments)
        assert record["outputSchema"]["properties"]
        assert len(record["annotations"]) == 4
        for schema in (record["inputSchema"], record["outputSchema"]):
            Draft202012Validator.check_schema(schema)


def test_hints_follow_the_effect(offered):
    """Only what reads is called read-only, and what can end something is called destructive."""
    for trading in (False, True):
        offer = offered(toolset="all", allow_trading=trading)
        for record in tool_records(offer):
            effect, hints = offer.tools[record["name"]].effect, record["annotations"]
            plans = record["name"] == PLAN_TOOL and not trading
            assert hints["readOnlyHint"] == (effect is Effect.READ or plans)
            assert not (hints["readOnlyHint"] and hints["destructiveHint"])
            assert hints["destructiveHint"] or effect is not Effect.TRADE or plans


def test_only_what_does_no_more_the_second_time_is_idempotent(offered):
    """Half of a position closed twice is three quarters of it."""
    records = tool_records(offered(toolset="all", allow_trading=True))
    hints = {record["name"]: record["annotations"]["idempotentHint"] for record in records}
    assert (hints["close_position"], hints["place_order"], hints["start_run"]) == (False,) * 3
    assert (hints["cancel_orders"], hints["halt_trading"], hints["get_status"]) == (True,) * 3


def test_session_of_an_agent_takes_no_strategy_and_no_limit(offered):
    """It trades what is set: neither is an argument, nor how it is approved and who asked."""
    offer = offered(allow_trading=True)
    (record,) = (each for each in tool_records(offer) if each["name"] == "start_run")
    assert set(record["inputSchema"]["properties"]) == {"symbol", "mode", "equity"}


def test_no_tool_takes_a_path_to_write(offered):
    """A tool that looks must not write a page because of an argument."""
    shown = chain.from_iterable(
        record["inputSchema"]["properties"] for record in tool_records(offered(toolset="all"))
    )
    assert not HIDDEN & set(shown)


def test_symbol_may_be_left_out(offered):
    """Then it is the setting default_symbol."""
    for record in tool_records(offered(toolset="all", allow_trading=True)):
        assert "symbol" not in record["inputSchema"].get("required", [])


def test_tool_of_the_trade_group_is_not_listed_read_only():
    """Every tool that acts on an order or position needs the flag, planning aside."""
    for name, spec in existing().items():
        if TOOLS[name].group == "trade":
            assert is_listed_read_only(name, spec) == (name == PLAN_TOOL)


def test_schemas_are_those_last_read_by_a_person():
    """Agents depend on every word: a change is made on purpose and read in the diff."""
    assert golden() == json.loads(GOLDEN.read_text(encoding="utf-8"))
