"""What a user sees of a market: candles, instruments, zones, the signal, its reasons, the proof."""

import json

import pytest

from blofin_cli.core.instruments import INSTRUMENTS_AS_OF
from blofin_cli.faces.render import moment_text

MARKET = ("--synthetic", "7")


def answer(outcome):
    """The JSON a command wrote, once it has succeeded."""
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_candles_since_a_span_counts_back_from_the_end_of_the_data(blofin):
    """`--since 3d` is three days of closed candles, in columns, with their gaps counted."""
    found = answer(blofin("candles", "btcusdt", *MARKET, "--timeframe", "1h", "--since", "3d"))
    assert (found["symbol"], found["bars"], found["gaps"]) == ("BTC-USDT", 72, 0)
    assert set(map(len, found["candles"].values())) == {72}


def test_candles_as_csv_can_be_read_back_as_data(blofin, empty_folder):
    """What `candles` writes is a candle file."""
    text = blofin("candles", "BTC-USDT", *MARKET, "--since", "10d", "--output", "csv").stdout
    (empty_folder / "BTC-USDT_15m.csv").write_text(text)
    words = ("candles", "BTC-USDT", "--data", str(empty_folder), "--timeframe", "15m")
    assert answer(blofin(*words))["bars"] == 960


def test_candles_kept_in_the_store_can_be_read_without_an_exchange(blofin):
    """`--keep` fills the store, which `--offline` reads as it is."""
    assert blofin("candles", "BTC-USDT", *MARKET, "--since", "20d", "--keep").code == 0
    found = answer(blofin("zones", "BTC-USDT", "--all", "--offline"))
    assert found["prices"]["BTC-USDT"] > 0
    assert (found["source"], found["simulated"]) == ("store", False)
    assert answer(blofin("candles", "BTC-USDT", "--offline", "--limit", "7"))["bars"] == 7


def test_empty_store_says_where_candles_may_come_from(blofin):
    """A fresh install has no candles: exit 8 and the next step."""
    outcome = blofin("zones", "BTC-USDT", "--offline", "--output", "table")
    assert (outcome.code, outcome.stdout) == (8, "")
    assert "--synthetic" in outcome.stderr


def test_zones_are_sorted_by_distance_and_alive(blofin):
    """Several symbols give one list, nearest to price first, dead zones left out."""
    found = answer(blofin("zones", "BTC-USDT", "ETH-USDT", *MARKET))
    away = [zone["distance_atr"] for zone in found["zones"]]
    assert away == sorted(away)
    assert {zone["state"] for zone in found["zones"]} <= {"fresh", "tested"}


def test_zones_of_the_past_are_those_known_then(blofin):
    """`--as-of` shows no zone born later and no end that had not come."""
    as_of = "2024-06-01T00:00"
    found = answer(blofin("zones", "BTC-USDT", *MARKET, "--all", "--as-of", as_of))
    assert found["as_of"] == "2024-06-01T00:00:00Z"
    for zone in found["zones"]:
        assert zone["born_ms"] <= found["as_of_ms"]
        assert zone["ended_ms"] is None or zone["ended_ms"] <= found["as_of_ms"]


@pytest.mark.parametrize("suffix", ["html", "svg"])
def test_zones_chart_is_written(blofin, empty_folder, suffix):
    """`--chart` draws the zones into a file of the named kind."""
    path = empty_folder / f"zones.{suffix}"
    assert blofin("zones", "BTC-USDT", *MARKET, "--chart", str(path)).code == 0
    assert "demand" in path.read_text() or "supply" in path.read_text()


def test_zones_chart_of_several_symbols_is_refused(blofin, empty_folder):
    """One picture holds one instrument."""
    outcome = blofin("zones", "BTC-USDT", "ETH-USDT", *MARKET, "--chart", "x.html")
    assert outcome.code == 2
    assert not list(empty_folder.iterdir())


def test_signal_holds_exactly_when_a_gate_refuses(blofin):
    """Buy or sell needs every gate; each gate carries value, threshold and verdict."""
    signal = answer(blofin("signal", "BTC-USDT", *MARKET))["signal"]
    gates = signal["gates"]
    assert (signal["action"] == "hold") == (not all(gate["passed"] for gate in gates))
    assert {"name", "passed", "value", "threshold", "note"} <= set(gates[0])


def decisions(blofin):
    """Entry times of the trades a backtest took, which `signal` must agree with."""
    found = answer(blofin("backtest", "BTC-USDT", *MARKET, "--since", "120d"))
    return [(trade["entry"], trade["side"], trade["zone_id"]) for trade in found["trades"]]


def test_why_at_a_traded_moment_says_so(blofin):
    """At the close a trade was decided on, `why` names the same side and zone."""
    entered, side, zone_id = decisions(blofin)[0]
    found = answer(blofin("why", "BTC-USDT", *MARKET, "--at", entered))
    assert found["signal"]["action"] == ("buy" if side == "long" else "sell")
    assert found["signal"]["zone_id"] == zone_id
    assert found["refused_by"] == []


def test_why_names_a_change_that_would_have_traded(blofin):
    """Raise a bar above what a real trade had, and `why` finds the way back, tried out."""
    trades = answer(blofin("backtest", "BTC-USDT", *MARKET, "--since", "120d"))["trades"]
    widths = [(abs(t["entry_price"] - t["stop"]) / t["entry_price"] * 100, t) for t in trades]
    width, trade = min(widths, key=lambda pair: pair[0])
    bar = f"stop.min_stop_pct={width + 0.2:.4f}"
    found = answer(blofin("why", "BTC-USDT", *MARKET, "--at", trade["entry"], "--set", bar))
    assert found["refused_by"] == ["stop_distance_min"]
    assert found["smallest_change"]["would_trade"] is True
    assert "stop.min_stop_pct=" in found["explanation"]


@pytest.mark.parametrize("path", ["nope/x.png", "x.pdf", "folder.png"])
def test_picture_nobody_can_write_is_wrong_usage_before_the_work(blofin, empty_folder, path):
    """The store is empty, which would be told too, if it had been asked first."""
    (empty_folder / "folder.png").mkdir()
    outcome = blofin("zones", "BTC-USDT", "--offline", "--chart", path, "--json")
    assert outcome.code == 2
    assert json.loads(outcome.stderr)["error"]["message"].startswith("--chart")


def test_verify_finds_nothing_rewritten(blofin):
    """No reading of the past changes when more candles are known."""
    found = answer(blofin("verify", "BTC-USDT", *MARKET, "--points", "4"))
    assert found["rewritten"] == 0
    assert found["readings"] > found["zones"] > 0


def test_instruments_carry_the_date_of_their_snapshot(blofin):
    """Contract terms offline are those of a day, and say which."""
    found = answer(blofin("instruments", "BTC-USDT", "--offline"))
    assert found["exchange"] == "snapshot"
    assert found["as_of"] == f"{INSTRUMENTS_AS_OF}T00:00:00Z" == moment_text(found["as_of_ms"])
    assert found["instruments"][0]["contract_value"] == 0.001


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("zones", "BTC-USDT", *MARKET, "--set", "zones.out_move=2"), 2, "zones.out_move_atr"),
        (("zones", "BTC-USDT", *MARKET, "--set", "stop.buf"), 2, "has no ="),
        (("zones", "BTC-USDT", *MARKET, "--set", "stop.buf=nan"), 2, "finite"),
        (("zones", "BTC-USDT", *MARKET, "--context", "7m"), 2, "--context"),
        (("zones", "BTC-USDT", *MARKET, "--context", "5m"), 2, "context"),
        (("zones", "BTC-USDT", "--data", "nowhere"), 2, "nowhere"),
        (("zones", "\u0412TC-USDT", *MARKET), 2, "\\u0412"),
        (("candles", "BTC-USDT", *MARKET, "--since", "2026-02-30"), 2, "--since"),
        (("signal", "BTC-USDT", *MARKET, "--equity", "-1"), 2, "--equity"),
        (("why", "BTC-USDT", *MARKET, "--at", "2019-01-01"), 8, "no candle"),
        (("zones", "BTC-USDT", *MARKET, "--strategy", "missing.toml"), 4, "missing.toml"),
    ],
)
def test_bad_input_gets_one_line_and_its_exit_code(blofin, empty_folder, words, code, said):
    """Bad input: one clear line, the right code, nothing on stdout."""
    outcome = blofin(*words, "--output", "table")
    last = outcome.stderr.strip().splitlines()[-1]
    assert (outcome.code, outcome.stdout) == (code, "")
    assert said in last
    assert "Traceback" not in outcome.stderr
