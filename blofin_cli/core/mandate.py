"""What the owner of an account allows: modes, symbols, limits, and what an agent may do unasked.

Without a mandate signed by a person the built-in one holds: play money only. Every limit must be
named in a signed one; none has a permissive default, and nothing outside it can raise it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

from blofin_cli.core.quotes import Mode
from blofin_cli.errors import ConfigError, UsageError

RISK_FRACTION_HARD_MAX = Decimal("0.02")
RISK_FRACTION_PROVEN_MAX = Decimal("0.01")
LEVERAGE_HARD_MAX = 20
LIFE_DAYS_MAX = 366
CAPITAL_STEPS = (Decimal("0.10"), Decimal("0.25"), Decimal(1))
DAY_MS = 86_400_000
_USDT_MAX = Decimal(10) ** 9
_COUNT_MAX = 10_000
_TEXT_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBudget:
    """What an agent may open without asking anybody; beyond it, entries become proposals.

    Units: `risk_day_fraction` share of equity lost if every entry of the UTC day were stopped out.
    """

    entries_hour: int
    entries_day: int
    risk_day_fraction: Decimal
    notional_day_usdt: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """Limits that no command, agent or setting can raise; only a person signs another.

    Units: `risk_fraction_max` share of equity one trade may lose, costs included;
    `risk_day_fraction_max` the same for all entries of a UTC day together; `capital_fraction` share
    of the account's equity that is traded with. `symbols` and `notional_usdt_max` None: only the
    account's own limits hold. `agent` None: an agent proposes and a person approves.
    """

    name: str
    modes: frozenset[Mode]
    risk_fraction_max: Decimal
    risk_day_fraction_max: Decimal = Decimal("0.06")
    symbols: frozenset[str] | None = None
    leverage_max: int = LEVERAGE_HARD_MAX
    notional_usdt_max: Decimal | None = None
    entries_hour_max: int = 20
    entries_day_max: int = 50
    capital_fraction: Decimal = Decimal(1)
    allows_no_stop: bool = False
    agent: AgentBudget | None = None
    expires_ms: int | None = None
    override: str = ""

    def allows_symbol(self, symbol: str) -> bool:
        """Whether it may be traded at all."""
        return self.symbols is None or symbol in self.symbols

    def is_expired(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def record(self) -> dict[str, Any]:
        """The mandate as JSON values, in the words a person signs."""
        return {
            "name": self.name,
            "modes": sorted(self.modes),
            "symbols": ["*"] if self.symbols is None else sorted(self.symbols),
            "risk_per_trade": percent_text(self.risk_fraction_max),
            "risk_per_day": percent_text(self.risk_day_fraction_max),
            "leverage_max": self.leverage_max,
            "notional_max_usdt": None
            if self.notional_usdt_max is None
            else f"{self.notional_usdt_max:f}",
            "entries_per_hour": self.entries_hour_max,
            "entries_per_day": self.entries_day_max,
            "capital": percent_text(self.capital_fraction),
            "allows_no_stop": self.allows_no_stop,
            "agent": None if self.agent is None else _agent_record(self.agent),
            "expires": None if self.expires_ms is None else _day_text(self.expires_ms),
            "override": self.override,
        }


BUILT_IN = Mandate(
    name="built-in",
    modes=frozenset({Mode.DRY_RUN, Mode.DEMO}),
    risk_fraction_max=RISK_FRACTION_PROVEN_MAX,
)

_REQUIRED = (
    "name", "modes", "symbols", "risk_per_trade", "risk_per_day", "leverage_max",
    "notional_max_usdt", "entries_per_hour", "entries_per_day", "capital", "allows_no_stop",
    "expires",
)  # fmt: skip
_KNOWN = (*_REQUIRED, "agent", "override")
_AGENT = ("entries_per_hour", "entries_per_day", "risk_per_day", "notional_per_day_usdt")


def mandate_of(record: Mapping[str, Any]) -> Mandate:
    """The mandate these words make.

    Errors: ConfigError naming the first key that is unknown, missing or out of bounds.
    """
    _check_keys(record, _REQUIRED, _KNOWN, "")
    override = _text(record, "override") if "override" in record else ""
    mandate = Mandate(
        name=_text(record, "name", least=1),
        modes=_modes(record["modes"]),
        symbols=_symbols(record["symbols"]),
        risk_fraction_max=_percent(record, "risk_per_trade", RISK_FRACTION_HARD_MAX),
        risk_day_fraction_max=_percent(record, "risk_per_day", Decimal(1)),
        leverage_max=_whole(record, "leverage_max", LEVERAGE_HARD_MAX),
        notional_usdt_max=_usdt(record, "notional_max_usdt"),
        entries_hour_max=_whole(record, "entries_per_hour", _COUNT_MAX),
        entries_day_max=_whole(record, "entries_per_day", _COUNT_MAX),
        capital_fraction=_percent(record, "capital", Decimal(1)),
        allows_no_stop=_flag(record, "allows_no_stop"),
        agent=_agent(record.get("agent")),
        expires_ms=_day_ms(record, "expires"),
        override=override,
    )
    if mandate.capital_fraction not in CAPITAL_STEPS:
        raise ConfigError("mandate: capital must be 10%, 25% or 100%")
    if mandate.risk_fraction_max > RISK_FRACTION_PROVEN_MAX and not override:
        raise ConfigError(
            "mandate: risk_per_trade above 1% needs an override that says why",
            hint='add override = "..." in your own words; every report will show it',
        )
    if mandate.risk_day_fraction_max < mandate.risk_fraction_max:
        raise ConfigError("mandate: risk_per_day is below risk_per_trade")
    return mandate


def percent_of(text: object, name: str, most: Decimal = Decimal(1)) -> Decimal:
    """A share from text such as `1%` or `0.5 %`; a bare number could mean two things.

    Errors: UsageError.
    """
    rule = f"{name} must be a percentage above 0% and at most {percent_text(most)}, like 1%"
    words = text.strip() if isinstance(text, str) else ""
    if len(words) > 32 or not words.endswith("%"):
        raise UsageError(f"{rule}; got {ascii(text)[:40]}")
    digits = words[:-1].strip()
    if not digits.replace(".", "", 1).isdigit() or not digits.isascii():
        raise UsageError(f"{rule}; got {ascii(text)[:40]}")
    share = Decimal(digits) / 100
    if not 0 < share <= most:
        raise UsageError(f"{rule}; got {ascii(text)[:40]}")
    return share


def percent_text(share: Decimal) -> str:
    """A share as a person writes it: 0.005 is `0.5%`."""
    text = f"{share * 100:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def _check_keys(
    record: Mapping[str, Any], required: tuple[str, ...], known: tuple[str, ...], place: str
) -> None:
    for key in record:
        if key not in known:
            near = get_close_matches(str(key), known, 1, 0.5)
            raise ConfigError(
                f"mandate: unknown key {place}{ascii(str(key))[1:81].rstrip(chr(39))}",
                hint=f"did you mean {near[0]}?" if near else "known: " + ", ".join(known),
            )
    for key in required:
        if key not in record:
            raise ConfigError(
                f"mandate: {place}{key} is missing", hint="a limit that is missing allows nothing"
            )


def _text(record: Mapping[str, Any], key: str, least: int = 0) -> str:
    value = record[key]
    if (
        not isinstance(value, str)
        or not least <= len(value) <= _TEXT_MAX
        or not value.isprintable()
    ):
        raise ConfigError(f"mandate: {key} must be {least} to {_TEXT_MAX} printable characters")
    return value


def _modes(value: object) -> frozenset[Mode]:
    words = value if isinstance(value, list) else []
    if not words or any(word not in set(Mode) for word in words):
        raise ConfigError("mandate: modes must list some of " + ", ".join(Mode))
    return frozenset(Mode(word) for word in words)


def _symbols(value: object) -> frozenset[str] | None:
    from blofin_cli.core.market import normalise_symbol

    words = value if isinstance(value, list) else []
    if words == ["*"]:
        return None
    if not words or not all(isinstance(word, str) for word in words):
        raise ConfigError('mandate: symbols must list instruments, or be ["*"] for all')
    try:
        return frozenset(normalise_symbol(word) for word in words)
    except UsageError as problem:
        raise ConfigError(f"mandate: {problem.message}", hint=problem.hint) from None


def _percent(record: Mapping[str, Any], key: str, most: Decimal) -> Decimal:
    try:
        return percent_of(record[key], key, most)
    except UsageError as problem:
        raise ConfigError(f"mandate: {problem.message}") from None


def _whole(record: Mapping[str, Any], key: str, most: int) -> int:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ConfigError(f"mandate: {key} must be a whole number from 1 to {most}")
    return value


def _usdt(record: Mapping[str, Any], key: str) -> Decimal:
    value = record[key]
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        amount = Decimal(str(value)) if len(str(value)) <= 32 else Decimal("nan")
    except (ValueError, InvalidOperation):
        amount = Decimal("nan")
    if not amount.is_finite() or not 0 < amount <= _USDT_MAX:
        raise ConfigError(f"mandate: {key} must be an amount above 0 and at most {_USDT_MAX:f}")
    return amount


def _flag(record: Mapping[str, Any], key: str) -> bool:
    value = record[key]
    if not isinstance(value, bool):
        raise ConfigError(f"mandate: {key} must be true or false")
    return value


def _day_ms(record: Mapping[str, Any], key: str) -> int:
    value = record[key]
    try:
        day = datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
        if len(str(value)) != len("2026-01-31"):
            raise ValueError
    except ValueError:
        raise ConfigError(f"mandate: {key} must be a day like 2026-12-31") from None
    return int(day.timestamp() * 1000)


def _agent(value: object) -> AgentBudget | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError("mandate: agent must be a table")
    _check_keys(value, _AGENT, _AGENT, "agent.")
    return AgentBudget(
        entries_hour=_whole(value, "entries_per_hour", _COUNT_MAX),
        entries_day=_whole(value, "entries_per_day", _COUNT_MAX),
        risk_day_fraction=_percent(value, "risk_per_day", Decimal(1)),
        notional_day_usdt=_usdt(value, "notional_per_day_usdt"),
    )


def _agent_record(agent: AgentBudget) -> dict[str, Any]:
    return {
        "entries_per_hour": agent.entries_hour,
        "entries_per_day": agent.entries_day,
        "risk_per_day": percent_text(agent.risk_day_fraction),
        "notional_per_day_usdt": f"{agent.notional_day_usdt:f}",
    }


def _day_text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
