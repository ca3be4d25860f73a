"""Rows of the live path: what reading, signing and sending cost, and the box that answers."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.child import Child, race, start
from benchmarks.table import Goal, Row

ROOT = Path(__file__).resolve().parents[2]
CCXT = ROOT / ".venv-ccxt" / "bin" / "python"
MICROSECONDS_MAX = 60.0
HASTE = "20"  # market seconds a second, so that candles come often


@contextmanager
def box(*words: str) -> Iterator[str]:
    """The address of a box in a process of its own."""
    command = [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--synthetic", "7"]
    process = subprocess.Popen(
        [*command, "--no-limits", "--symbol", "BTC-USDT", "--max-seconds", "600", *words],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    found = (re.match(r"REST +(http\S+)", line) for line in process.stderr)
    try:
        yield next(match[1] for match in found if match)
    finally:
        process.terminate()
        process.communicate()


def live(folder: Path, *, quick: bool) -> list[Row]:
    """Every row of the live path; ccxt's only where its environment is there and time is too."""
    rows = wire(folder, rounds=1 if quick else 7)
    with box("--speed", "0") as url:
        rows += throughput(folder, url, "0.5" if quick else "1.5")
    with box("--speed", HASTE) as url:
        rows += latency(folder, url, quick=quick)
    return rows


def medians(children: list[Child], rounds: int) -> list[dict[str, float]]:
    """Each contender's figures, the median of each over rounds in which they took turns."""
    seen: list[dict[str, list[float]]] = [{} for _ in children]
    for _ in range(rounds):
        for child, figures in zip(children, seen, strict=True):
            child.round()
            for name, value in child.facts.items():
                if name.endswith("_us"):
                    figures.setdefault(name, []).append(value)
    for child in children:
        child.end()
    return [{name: median(values) for name, values in figures.items()} for figures in seen]


def wire(folder: Path, rounds: int) -> list[Row]:
    """Parsing and signing, without a socket."""
    children = {
        "one orders push, text to events": start("wire_jobs:parse_push", folder, "orders"),
        "one candle push, text to events": start("wire_jobs:parse_push", folder, "candle"),
        "one bracket order, built and signed": start("wire_jobs:sign_order", folder),
    }
    plain = start("wire_jobs:json_loads", folder)
    *found, bare = medians([*children.values(), plain], rounds)
    return [
        Row(
            f"the wire, {rounds} rounds of 3,000",
            name,
            us["p50_us"] / 1e3,
            figure=_microseconds(us),
            ratio=us["p50_us"] / bare["p50_us"],
            versus="json.loads of the orders push",
            goals=(Goal("p50 < 60 us", us["p50_us"], most=MICROSECONDS_MAX),),
        )
        for name, us in zip(children, found, strict=True)
    ]


def throughput(folder: Path, url: str, seconds: str) -> list[Row]:
    """What the box answers, a client of its own machine hammering it."""
    rows = []
    for kind in ("account/positions", "trade/order"):
        child = start("wire_jobs:throughput", folder, url, kind, seconds)
        race([child], 1)
        a_second = child.facts["a_second"]
        rows.append(
            Row(
                "the exchange in a box, signed REST over 8 connections",
                kind,
                1e3 / a_second,
                figure=f"{a_second:,.0f} requests/s",
                note="client and box share the cores",
            )
        )
    return rows


def latency(folder: Path, url: str, *, quick: bool) -> list[Row]:
    """A candle that arrived to an order that was acknowledged, through the box."""
    group = "candle received to order acknowledged by the box, loopback, no TLS"
    names = ["blofin-cli, native client"]
    children = [start("wire_jobs:candle_to_order", folder, url, "5" if quick else "20")]
    if not quick and CCXT.exists():
        names += ["ccxt.pro, limiter off", "ccxt.pro, as shipped"]
        children += [
            start("ccxt_loop:candle_to_order", folder, url, samples, limiter, python=str(CCXT))
            for samples, limiter in (("20", "off"), ("8", "on"))
        ]
    found = medians(children, 1 if quick else 5)
    ours = found[0]
    rows = [
        Row(
            group, names[0], ours["p50_us"] / 1e3, figure=_microseconds(ours),
            goals=(Goal("order left < 1.5 ms", ours["sent_p50_us"] / 1e3, most=1.5),),
            note=f"the order left {ours['sent_p50_us']:.0f} us after the candle at the median, "
            f"{ours['sent_p99_us']:.0f} us at p99; the durable commit before an order is not in it",
        )
    ]  # fmt: skip
    for name, us in zip(names[1:], found[1:], strict=True):
        ratio = us["p50_us"] / ours["p50_us"]
        is_shipped = name.endswith("shipped")
        rows.append(
            Row(
                group, name, us["p50_us"] / 1e3, figure=_microseconds(us),
                ratio=ratio, versus="ours",
                goals=(Goal("ours >= 10x faster", ratio, least=10),) if is_shipped else (),
            )
        )  # fmt: skip
    return rows


def _microseconds(us: dict[str, float]) -> str:
    return f"p50 {us['p50_us']:.0f} us, p99 {us['p99_us']:.0f} us"
