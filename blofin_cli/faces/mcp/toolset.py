"""Which commands an agent gets as tools, in which group, and what each is not for.

The registry says that a command is a tool and by what name; this table says only what the other
faces have no use for. A command that only a person may give has no tool name and never gets one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from blofin_cli.app.spec import CommandSpec, Effect
from blofin_cli.errors import UsageError

# What no agent may pass. A tool that looks must not write a picture, a page or the candle store
# because of an argument; none takes protection away or goes without; the rest steers how people
# are shown things, or is not worth its tokens.
HIDDEN = frozenset(
    {
        *("chart", "report", "keep", "strategy", "funding", "mark", "repair"),
        *("protection", "no_stop", "drill", "leverage", "detach", "standby", "max_seconds"),
        *("watch", "quiet", "exchange", "compare", "fail_below", "offline", "refetch", "book"),
        *("approval_only", "asked_by"),
    }
)
PLAN_TOOL = "place_order"
HALT_TOOL = "halt_trading"
APPLYING = frozenset({"apply"})  # how a plan is placed
# The tools of the product brief: no choice of groups takes them away.
ALWAYS = frozenset(
    {
        "get_ohlcv",
        "get_latest_price",
        "detect_zones",
        "check_signal",
        PLAN_TOOL,
        "get_positions",
        "log_trade",
        "analyze_zones",
        HALT_TOOL,
    }
)


# Shown where an agent tests an idea; on the tools that only look, they would crowd the schema.
_TESTS = frozenset({"preset", "until", "since"})
_FROM_FILES = frozenset({"data", "synthetic"})
# An agent's session trades what is set: each of these could loosen a limit. `run` refuses them.
_CHOICES = frozenset({"timeframe", "context", "set"})


@dataclass(frozen=True, slots=True)
class ToolWords:
    """What is said of a tool beside its command: group, what it is not for, what is left out.

    `defaults` are arguments the tool assumes when an agent names none, `forced` what it always
    passes; `is_long` tools answer more than a page and take a cursor. A tool whose second call
    with the same arguments does more `adds_up`.
    """

    group: str
    not_for: str
    hidden: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    forced: Mapping[str, Any] = field(default_factory=dict)
    is_long: bool = False
    reaches_out: bool = True
    adds_up: bool = False


TOOLS: dict[str, ToolWords] = {
    "get_ohlcv": ToolWords(
        "market", "the price now", frozenset({"until"}), defaults={"limit": 100}, is_long=True
    ),
    "get_latest_price": ToolWords("market", "history or a decision to trade"),
    "get_instruments": ToolWords("market", "prices", is_long=True),
    "detect_zones": ToolWords(
        "analysis", "forecasting; a score is no probability", _TESTS, is_long=True
    ),
    "check_signal": ToolWords("analysis", "placing an order", _TESTS),
    "explain_signal": ToolWords(
        "analysis", "loosening settings until something trades", _TESTS | {"equity"}
    ),
    "get_account": ToolWords("account", "open positions"),
    "get_positions": ToolWords("account", "finished trades"),
    "get_orders": ToolWords("account", "finished trades", is_long=True),
    "get_status": ToolWords("account", "prices", reaches_out=False),
    "diagnose": ToolWords("account", "repairing what it finds"),
    "get_trades": ToolWords(
        "journal",
        "open positions",
        frozenset({"min_r", "max_r", "until"}),
        is_long=True,
        reaches_out=False,
    ),
    "log_trade": ToolWords(
        "journal", "placing an order", defaults={"what": "note"}, reaches_out=False
    ),
    "analyze_zones": ToolWords(
        "journal", "proof of an edge in small buckets", is_long=True, reaches_out=False
    ),
    "get_runs": ToolWords("journal", "live results", is_long=True, reaches_out=False),
    "run_backtest": ToolWords(
        "test", "repeating until a figure pleases; trials are counted", is_long=True
    ),
    "tune_strategy": ToolWords("test", "picking the best trial by hand", is_long=True),
    PLAN_TOOL: ToolWords("trade", "raising a limit or approving: only a person can"),
    "cancel_orders": ToolWords("trade", "closing a position, or removing its stop"),
    "close_position": ToolWords("trade", "opening or reversing", adds_up=True),
    "start_run": ToolWords(
        "trade", "a single order", _TESTS | _FROM_FILES | _CHOICES, forced={"detach": True}
    ),
    HALT_TOOL: ToolWords("safety", "a pause; only a person can resume"),
    "train_model": ToolWords("research", "live decisions"),
    "check_parity": ToolWords("research", "profit", is_long=True, reaches_out=False),
    "verify_zones": ToolWords("research", "profit"),
    "get_config": ToolWords("research", "changing settings", is_long=True, reaches_out=False),
}
GROUPS = tuple(dict.fromkeys(words.group for words in TOOLS.values()))
DEFAULT_GROUPS = frozenset(GROUPS) - {"research"}


@dataclass(frozen=True, slots=True)
class Offer:
    """What this server offers: its tools by name, and whether those that trade may act."""

    tools: Mapping[str, CommandSpec]
    allow_trading: bool = False

    def words(self, tool: str) -> ToolWords:
        """What the table says of a tool of this offer."""
        return TOOLS[tool]

    def hidden(self, tool: str) -> frozenset[str]:
        """Fields of the command's request that an agent may not pass."""
        plans_only = tool == PLAN_TOOL and not self.allow_trading
        return HIDDEN | TOOLS[tool].hidden | (APPLYING if plans_only else frozenset())


def offer_of(
    specs: Iterable[CommandSpec], *, toolset: str = "default", allow_trading: bool = False
) -> Offer:
    """The tools of the groups chosen, in the order of the table.

    Errors: UsageError for a group that does not exist.
    """
    groups = chosen_groups(toolset)
    known = {spec.tool: spec for spec in specs if spec.tool is not None}
    assert not [spec.name for spec in known.values() if spec.effect is Effect.PERSON]
    tools = {
        name: known[name]
        for name, words in TOOLS.items()
        if name in known
        and (name in ALWAYS or words.group in groups)
        and (allow_trading or is_listed_read_only(name, known[name]))
    }
    return Offer(tools, allow_trading)


def is_listed_read_only(tool: str, spec: CommandSpec) -> bool:
    """Whether a server that may not trade lists this tool: what looks, halts, notes and plans."""
    if TOOLS[tool].group == "trade":
        return tool == PLAN_TOOL
    return spec.effect is not Effect.TRADE


def chosen_groups(toolset: str) -> frozenset[str]:
    """The groups that words like `default,research,-journal` choose.

    A name adds its group to the default ones, a minus removes it, `all` is every group.
    """
    groups = set(DEFAULT_GROUPS)
    for word in (part.strip().lower() for part in toolset.split(",")):
        name = word.lstrip("+-")
        if word in {"", "default"}:
            continue
        if word == "all":
            groups |= set(GROUPS)
        elif name not in GROUPS:
            near = get_close_matches(name, GROUPS, 1, 0.5)
            raise UsageError(
                f"no group of tools is called {ascii(name)[:80]}",
                hint=f"did you mean {near[0]}?" if near else "one of " + ", ".join(GROUPS),
            )
        elif word.startswith("-"):
            groups.discard(name)
        else:
            groups.add(name)
    return frozenset(groups)
