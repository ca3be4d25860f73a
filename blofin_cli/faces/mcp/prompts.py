"""Prompts a person starts from the client's menu: what to look at, in which order, how honestly."""

from collections.abc import Mapping
from dataclasses import dataclass

from blofin_cli.core.market import normalise_symbol
from blofin_cli.errors import UsageError
from blofin_cli.faces.mcp.pages import safe_text

VALUE_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: name, title, what it is for, its arguments (all may be left out), its words."""

    name: str
    title: str
    description: str
    arguments: Mapping[str, str]
    text: str


PROMPTS = (
    Prompt(
        "morning_review",
        "Morning review",
        "What happened overnight, what is at risk now, what to watch today.",
        {"symbol": "Instrument, default the setting"},
        "Review the state of trading. Read only; place, close and change nothing.\n"
        "1. get_status: mode, halt, breakers, protection, age of the heartbeat. Say first whether "
        "any position has no stop.\n"
        "2. get_positions and get_trades since 1d: results in R, fees and funding apart.\n"
        "3. detect_zones for {symbol}: the nearest zones, their state and distance.\n"
        "4. check_signal for {symbol}: the decision and the gates that hold.\n"
        "End with what a person must decide, or that nothing needs deciding. A score is no "
        "probability; say how old each number is.",
    ),
    Prompt(
        "explain_missed_trade",
        "Explain a missed trade",
        "Why no trade was taken at a moment, gate by gate.",
        {"symbol": "Instrument, default the setting", "at": "Time in UTC, e.g. 2026-01-05T06:15"},
        "Explain why {symbol} was not traded{at}. Use explain_signal with that time.\n"
        "Name each gate that refused, its value against its threshold, and what it protects from. "
        "Give the smallest change that would have traded, and say that one missed trade is no "
        "reason for it: run_backtest with the change and compare expectancy with its interval. "
        "Change no setting yourself.",
    ),
    Prompt(
        "tune_honestly",
        "Tune honestly",
        "Test an idea without fooling yourself.",
        {"symbol": "Instrument, default the setting", "idea": "What to test"},
        "Test this idea on {symbol}: {idea}.\n"
        "1. Write down before any run what result would make you drop the idea.\n"
        "2. run_backtest with the defaults, draws 200 and save true; then once with the change.\n"
        "3. Compare expectancy with its interval, the deflated Sharpe ratio, the bounds and the "
        "chance baselines, not the total return. Every run counts as a trial.\n"
        "4. If the verdict is no evidence of an edge, say so and stop. Do not search on until "
        "a figure pleases.",
    ),
)
_UNSAID = {"symbol": "the default symbol", "at": "", "idea": "(ask which)"}


def rendered(name: str, arguments: Mapping[str, str]) -> tuple[Prompt, str]:
    """A prompt and its words with the arguments in them.

    Errors: UsageError for an unknown prompt, argument or symbol.
    """
    prompt = next((prompt for prompt in PROMPTS if prompt.name == name), None)
    if prompt is None:
        raise UsageError("no prompt has this name", hint=", ".join(p.name for p in PROMPTS))
    unknown = sorted(set(arguments) - set(prompt.arguments))
    if unknown:
        raise UsageError(f"{name} takes no {safe_text(unknown[0], 40)}")
    words = dict(_UNSAID)
    for key, value in arguments.items():
        text = normalise_symbol(value) if key == "symbol" else safe_text(value, VALUE_LENGTH_MAX)
        words[key] = f" at {text}" if key == "at" and text else text
    return prompt, prompt.text.format(**words)
