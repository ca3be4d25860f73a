"""A mandate's words: every limit named, none permissive, nothing read that was not meant."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_cli.core.mandate import BUILT_IN, mandate_of, percent_of, percent_text
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import ConfigError, UsageError

D = Decimal
WORDS = {
    "name": "mine", "modes": ["demo", "live"], "symbols": ["btcusdt"], "risk_per_trade": "0.5%",
    "risk_per_day": "2%", "leverage_max": 3, "notional_max_usdt": 5000, "entries_per_hour": 6,
    "entries_per_day": 12, "capital": "10%", "allows_no_stop": False, "expires": "2026-12-31",
    "override": "",
    "agent": {"entries_per_hour": 1, "entries_per_day": 2, "risk_per_day": "1%",
              "notional_per_day_usdt": 1000},
}  # fmt: skip


def test_words_become_limits_and_come_back():
    """What is signed is what is read, in both directions."""
    mandate = mandate_of(WORDS)
    assert mandate.modes == {Mode.DEMO, Mode.LIVE}
    assert mandate.symbols == {"BTC-USDT"}
    assert (mandate.risk_fraction_max, mandate.capital_fraction) == (D("0.005"), D("0.1"))
    assert mandate.agent.risk_day_fraction == D("0.01")
    assert mandate_of(mandate.record()) == mandate


@pytest.mark.parametrize("key", [key for key in WORDS if key not in ("agent", "override")])
def test_missing_limit_is_an_error(key):
    """B34: a limit nobody named is not unlimited."""
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        mandate_of({name: value for name, value in WORDS.items() if name != key})


@pytest.mark.parametrize("key", ["leverage_maxx", "Name", "name ", "risk"])
def test_unknown_key_is_an_error(key):
    """F70: a misspelt limit is no limit."""
    with pytest.raises(ConfigError, match="unknown key"):
        mandate_of(WORDS | {key: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("leverage_max", "10"), ("leverage_max", True), ("leverage_max", [10]),
        ("leverage_max", 0), ("leverage_max", 21), ("leverage_max", 1.5),
        ("notional_max_usdt", float("nan")), ("notional_max_usdt", float("inf")),
        ("notional_max_usdt", -1), ("notional_max_usdt", 0), ("notional_max_usdt", 10**12),
        ("notional_max_usdt", True), ("notional_max_usdt", None), ("notional_max_usdt", "9" * 50),
        ("risk_per_trade", 1), ("risk_per_trade", "1"), ("risk_per_trade", "2.1%"),
        ("risk_per_trade", "0%"), ("risk_per_trade", "-1%"), ("risk_per_trade", "1%%"),
        ("risk_per_trade", "\u0663%"), ("risk_per_day", "0.1%"), ("capital", "50%"),
        ("entries_per_day", 0), ("allows_no_stop", "false"), ("allows_no_stop", 0),
        ("modes", []), ("modes", ["paper"]), ("modes", "live"), ("symbols", []),
        ("symbols", ["\u0412\u0422\u0421-USDT"]), ("symbols", [1]), ("expires", "never"),
        ("expires", "2026-12-31T00:00"), ("expires", None), ("agent", []), ("agent", {}),
        ("name", ""), ("name", "\x1b[2J"), ("override", "x" * 201),
    ],
)  # fmt: skip
def test_bad_value_is_an_error(key, value):
    """B33, B34: wrong type, not finite, negative, absurd."""
    with pytest.raises(ConfigError):
        mandate_of(WORDS | {key: value})


def test_risk_above_one_percent_needs_an_override():
    """Section 9.2: the reason is signed with it and shown."""
    with pytest.raises(ConfigError, match="override"):
        mandate_of(WORDS | {"risk_per_trade": "1.5%"})
    allowed = mandate_of(WORDS | {"risk_per_trade": "1.5%", "override": "I know"})
    assert allowed.risk_fraction_max == D("0.015")


def test_built_in_is_play_money():
    """Decision 25: no mandate equals dry-run and demo."""
    assert Mode.LIVE not in BUILT_IN.modes
    assert not BUILT_IN.allows_no_stop
    assert BUILT_IN.agent is None


@given(st.decimals("0.0001", "1", places=6).filter(bool))
def test_percent_text_reads_back(share):
    """A share survives being written for a person."""
    assert percent_of(percent_text(share), "x") == share


@pytest.mark.parametrize("text", ["1", "150%", "0%", "-1%", "%", "1,5%", "1e1%", "nan%", "1 1%", 1])
def test_ambiguous_percentage_is_refused(text):
    """B12: a bare number could mean two things."""
    with pytest.raises(UsageError):
        percent_of(text, "--risk")
