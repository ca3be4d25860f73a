"""Every reading command against a `blofin sim` process: prices, history, account, doctor."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin as client
from blofin_cli.adapters.exchanges.blofin import transport
from blofin_cli.adapters.exchanges.blofin.wire.signing import fresh_nonce
from blofin_cli.core.orders import (
    CloseRequest,
    MarginMode,
    OrderRequest,
    OrderType,
    Outcome,
    ProtectionRequest,
    Side,
)
from blofin_cli.core.quotes import Environment

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
BTC = "BTC-USDT"
KEY = client.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
SIM = ("--exchange", "sim")


@pytest.fixture(scope="module")
def box_url() -> Iterator[str]:
    """A box as a process, at 20 times the speed of the market."""
    command = [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--speed", "20"]
    process = subprocess.Popen(
        [*command, "--no-limits", "--symbol", BTC, "--synthetic", "7", "--max-seconds", "900"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    url = next(
        (match[1] for line in process.stderr if (match := re.match(r"REST +(http\S+)", line))), ""
    )
    yield url
    process.terminate()
    process.communicate()


@pytest.fixture(autouse=True)
def settings(box_url, empty_folder, monkeypatch) -> None:
    monkeypatch.setenv("BLOFIN_SIM_URL", box_url)
    monkeypatch.setattr(transport, "BACKOFF_FIRST_S", 0.001)


def control(url: str, action: str, **fields: object) -> dict:
    request = urllib.request.Request(f"{url}/control/{action}", data=json.dumps(fields).encode())
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def answer(outcome, code: int = 0) -> dict:
    assert outcome.code == code, outcome.stderr
    return json.loads(outcome.stdout)


def failure(outcome) -> dict:
    assert outcome.stdout == ""
    return json.loads(outcome.stderr.splitlines()[-1])["error"]


def test_price_has_everything_and_says_it_is_simulated(blofin):
    """Last, bid, ask, mark, funding, spread and the age of the quote."""
    found = answer(blofin("price", "btcusdt", *SIM))
    (price,) = found["prices"]
    assert (found["exchange"], found["simulated"], price["symbol"]) == ("sim", True, BTC)
    assert price["bid"] < price["ask"]
    assert price["spread_bps"] == pytest.approx(price["spread"] / price["last"] * 1e4, rel=0.01)
    assert price["spread"] == round(price["spread"], 6)  # no noise of binary fractions
    assert 0 <= price["age_ms"] < 60_000
    assert None not in (price["mark"], price["funding_rate"], price["next_funding"])


def test_unlisted_symbol_is_a_wrong_argument(blofin):
    """Exit 2, whichever command asks."""
    for words in (("price",), ("candles",), ("instruments",), ("zones",), ("signal",)):
        outcome = blofin(*words, "NOPE-USDT", *SIM)
        assert outcome.code == 2, words
        assert "NOPE-USDT" in failure(outcome)["message"]


def test_unlisted_symbol_names_the_exchange_that_was_asked(blofin):
    """What the box does not list, BloFin may."""
    for words in (("price", BTC), ("instruments",)):
        problem = failure(blofin(*words, "DOGE-USDT", *SIM))
        assert problem["message"] == "sim lists no USDT-M perpetual DOGE-USDT"


def test_instruments_come_from_the_exchange(blofin):
    """Terms as listed now; one instrument has the rate of its first tier, a list has none."""
    (one,) = answer(blofin("instruments", BTC, *SIM))["instruments"]
    (listed,) = answer(blofin("instruments", *SIM))["instruments"]
    assert (one["contract_value"], one["maintenance_margin"]) == (0.001, 0.003)
    assert (listed["symbol"], listed["maintenance_margin"], listed["is_live"]) == (BTC, None, True)


def test_candles_are_completed_once_and_say_where_history_begins(blofin, own_home):
    """Three years are asked for; what the box has comes, and the next call asks for nothing."""
    words = ("candles", BTC, *SIM, "--since", "3y", "--timeframe", "1h")
    first = blofin(*words)
    found = answer(first)
    assert found["fetched"] == found["bars"] > 5_000
    assert found["gaps"] == 0
    assert found["begins"] is not None
    assert "history begins" in first.stderr
    again = blofin(*words, "--limit", "10")
    assert (answer(again)["fetched"], answer(again)["bars"]) in {(0, 10), (1, 10)}
    stored = {path.parent.name for path in own_home.rglob("*.parquet")}
    assert stored == {"candles-sim"}


def test_book_and_funding_are_shown(blofin):
    """`--book` is the order book, `--funding` settled rates; neither goes with a file."""
    book = answer(blofin("candles", BTC, *SIM, "--book", "--limit", "5"))["book"]
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert book["bids"][0]["price"] < book["asks"][0]["price"]
    rates = answer(blofin("candles", BTC, *SIM, "--funding", "--since", "60d"))["funding"]
    times = [rate["ts_ms"] for rate in rates]
    assert len(times) > 100
    assert times == sorted(set(times))
    for words in (("--book", "--funding"), ("--book", "--offline"), ("--funding", "--data", "x")):
        assert blofin("candles", BTC, *SIM, *words).code == 2


def test_readings_use_the_completed_store(blofin):
    """zones and signal without --data look at the exchange's candles, and offline at those kept."""
    since = ("--timeframe", "1h", "--context", "4h")
    found = answer(blofin("zones", BTC, *SIM, *since))
    assert (found["source"], found["simulated"]) == ("sim", True)
    assert found["zones"]
    kept = answer(blofin("zones", BTC, *SIM, *since, "--offline"))
    assert (kept["source"], kept["simulated"]) == ("store", True)
    assert [zone["id"] for zone in kept["zones"]] == [zone["id"] for zone in found["zones"]]
    signal = answer(blofin("signal", BTC, *SIM, *since))
    assert (signal["source"], signal["simulated"]) == ("sim", True)
    assert signal["signal"]["symbol"] == BTC


async def _open_position(url: str, folder: Path, *, whole_stop: bool) -> None:
    place = client.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=url
    )
    account = client.connect(place, SystemClock(), KEY)
    await account.set_margin_mode(MarginMode.ISOLATED)
    last = (await account.quote(BTC)).last
    tick = (await account.instrument(BTC)).instrument
    order = OrderRequest(
        symbol=BTC,
        side=Side.SELL,
        type=OrderType.MARKET,
        size=Decimal("0.002"),
        client_id=f"open{fresh_nonce()[:8]}",
    )
    assert (await account.place(order)).outcome is Outcome.ACCEPTED
    stop = ProtectionRequest(
        symbol=BTC, side=Side.BUY, client_id=f"stop{fresh_nonce()[:8]}",
        stop=tick.quantise_price(last * Decimal("1.1"), up=True),
        target=tick.quantise_price(last * Decimal("0.8"), up=True),
        size=None if whole_stop else Decimal("0.001"),
    )  # fmt: skip
    assert (await account.protect(stop)).outcome is Outcome.ACCEPTED
    await account.aclose()


async def _flatten(url: str, folder: Path) -> None:
    place = client.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=url
    )
    account = client.connect_reducing(place, SystemClock(), KEY)
    await account.close_position(CloseRequest(symbol=BTC, client_id=f"close{fresh_nonce()[:8]}"))
    for left in await account.protections(BTC):
        await account.cancel_protection(left.ref)
    await account.aclose()


@pytest.mark.parametrize("whole_stop", [True, False])
def test_position_is_shown_with_its_protection(blofin, box_url, tmp_path, whole_stop):
    """Stop, target, distances; a stop for a part of the position leaves it naked, and says so."""
    asyncio.run(_open_position(box_url, tmp_path, whole_stop=whole_stop))
    try:
        found = answer(blofin("positions", *SIM))
        waiting = answer(blofin("orders", BTC, *SIM))["orders"]
        shown = blofin("positions", *SIM, "--output", "table").stdout
        money = answer(blofin("account", *SIM))
    finally:
        asyncio.run(_flatten(box_url, tmp_path))
    (held,) = found["positions"]
    assert (found["told_by"], found["simulated"]) == ("exchange", True)
    assert (held["side"], held["quantity"], held["naked"]) == ("short", -0.002, not whole_stop)
    assert held["target"] < held["entry_price"] < held["stop"] < held["liquidation_price"]
    assert held["stop_fraction"] == pytest.approx(0.1, abs=0.02)
    assert [(each["kind"], each["side"]) for each in waiting] == [
        ("stop", "buy"),
        ("target", "buy"),
    ]
    assert ("WITHOUT A WHOLE STOP" in shown) is not whole_stop
    assert money["margin_mode"] == "isolated"
    assert 9_000 < money["equity_usdt"] < 11_000


def test_account_tells_rights_and_no_secret(blofin):
    """What the key may do and how old it is; never what it is."""
    outcome = blofin("account", *SIM)
    found = answer(outcome)
    assert (found["key"]["can_trade"], found["key_age_days"]) == (True, 0)
    assert not any(part in outcome.stdout for part in ("demo-key", "demo-secret", "demo-pass"))


def test_doctor_finds_the_box_healthy(blofin):
    """Exit 0 with a line for each thing a trade depends on."""
    found = answer(blofin("doctor", *SIM))
    names = [check["name"] for check in found["checks"]]
    assert found["healthy"]
    assert {"disk", "state", "halt flag", "host and clock", "key", "permissions", "key age",
            "margin mode", "position mode", "balance"} <= set(names)  # fmt: skip
    assert "0 failed" in blofin("doctor", *SIM, "--output", "table").stdout


@pytest.mark.parametrize(("state", "hint"), [("unknown", "demo and live"), ("expired", "90 days")])
def test_refused_key_exits_5_and_doctor_still_shows_the_rest(blofin, box_url, state, hint):
    """The envelope names the cause; doctor prints every check and exits with the same code."""
    control(box_url, "key", state=state)
    try:
        refused = blofin("account", *SIM)
        looked = blofin("doctor", *SIM)
    finally:
        control(box_url, "key", state="ok")
    assert refused.code == 5
    assert hint in failure(refused)["hint"]
    checks = answer(looked, 5)["checks"]
    assert [check["name"] for check in checks if check["verdict"] == "failed"] == ["key"]


def test_key_without_the_right_to_trade_is_a_warning(blofin, box_url):
    """Reading goes on; what cannot be done is said beforehand."""
    control(box_url, "key", permissions="READ")
    try:
        checks = answer(blofin("doctor", *SIM))["checks"]
    finally:
        control(box_url, "key", permissions="READ,TRADE")
    (rights,) = [check for check in checks if check["name"] == "permissions"]
    assert (rights["verdict"], rights["what"]) == ("warning", "the key may only read")


@pytest.mark.parametrize(
    "words",
    [("price", BTC), ("candles", BTC), ("instruments",), ("zones", BTC), ("signal", BTC),
     ("account",), ("positions",), ("orders",)],
)  # fmt: skip
def test_unreachable_exchange_exits_7_with_the_next_step(blofin, monkeypatch, words):
    """Nothing falls back silently."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    outcome = blofin(*words, *SIM)
    error = failure(outcome)
    assert (outcome.code, error["code"], error["retryable"]) == (7, "network", True)
    assert "blofin sim" in error["hint"]


def test_doctor_without_an_exchange_shows_the_checks_and_exits_7(blofin, monkeypatch):
    """A diagnosis that stops at the first failure would be none."""
    monkeypatch.setenv("BLOFIN_SIM_URL", "http://127.0.0.1:9")
    found = answer(blofin("doctor", *SIM), 7)
    verdicts = {check["name"]: check["verdict"] for check in found["checks"]}
    assert (verdicts["disk"], verdicts["host"]) == ("ok", "failed")
    assert all(check["fix"] for check in found["checks"] if check["verdict"] == "failed")
