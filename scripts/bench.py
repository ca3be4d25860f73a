"""Speed and memory in one table: medians, ratios inside the same rounds, peak memory, targets.

`scripts/bench` is the full run, `--quick` a short one for CI without peers, `--peers` sets up the
others' environment first. Machines drift; compare ratios, and only inside one table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import commands
from benchmarks.child import Child, race, start
from benchmarks.live import live
from benchmarks.table import Goal, Row, render

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = ("backtesting==0.6.6", "vectorbt[rust]==1.2.0", "smartmoneyconcepts==0.0.27")
FIFTEEN = ROOT.parent / "shared" / "data" / "candles" / "binance_perp" / "BTCUSDT_15m.parquet"

MEMORY_MB = 200
BARS_A_SECOND = 10e6
MINUTES = (35_000, 140_000, 525_000, 1_033_226)


def main() -> None:
    """Measure, then print one table or one JSON object."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for CI: fewer rounds, no peers")
    parser.add_argument("--peers", action="store_true", help="install the peers first")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = parser.parse_args()
    if chosen.peers:
        install_peers()
    with tempfile.TemporaryDirectory(prefix="blofin-bench-") as name:
        folder = Path(name)
        rows, origin = measure(folder, quick=chosen.quick)
    if chosen.json:
        about = {"quick": chosen.quick, "data": origin, "machine": machine()}
        print(json.dumps(about | {"rows": [row.record() for row in rows]}, indent=1))
        return
    print(render(rows))
    print(f"\n  data: {origin}\n  machine: {machine()}")


def machine() -> str:
    """What this ran on, without a name."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def install_peers() -> None:
    """A venv of their own, so that they never meet our packages."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run([python, "-m", "pip", "install", *quiet, *PEER_PACKAGES], check=True, stdout=2)


def measure(folder: Path, *, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Every row, in the order of the table."""
    say("preparing candles")
    size = "quick" if quick else "full"
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", str(folder), size],
        cwd=Path(__file__).parent, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    home = folder / "home"
    home.mkdir()
    rounds = 1 if quick else 7
    rows = []
    for title, part in (
        ("start-up", lambda: commands.start_up(1 if quick else 15, home)),
        ("first tools/list", lambda: commands.tools_list(rounds, home)),
        ("one year", lambda: one_year(folder, rounds, home)),
        ("equality", lambda: equality(folder)),
        ("pipeline", lambda: pipeline(folder, rounds, quick=quick)),
        ("sweeps", lambda: sweeps(folder, 1 if quick else 5, quick=quick)),
        ("bracket", lambda: bracket(folder, rounds, with_peers=not quick)),
        ("zones", lambda: zones(folder, 1 if quick else 5, with_peers=not quick)),
        ("live path", lambda: live(folder, quick=quick)),
        ("dashboard", lambda: [] if quick else dashboard(folder)),
    ):
        say(title)
        rows += part()
    return rows, json.loads(made.stdout)


def dashboard(folder: Path) -> list[Row]:
    """A refresh of the terminal dashboard, and its rest."""
    busy, idle = start("dash_jobs:refreshing", folder), start("dash_jobs:idling", folder)
    race([busy, idle], 1)
    group = "blofin dash, fifty positions on 200x60"
    p50_ms, p95_ms = busy.facts["p50_ms"], busy.facts["p95_ms"]
    share = idle.facts["idle_pct"]
    return [
        Row(
            group, "a refresh that changes them all", p50_ms, figure=f"p95 {p95_ms:.0f} ms",
            peak_mb=busy.peak_mb, goals=(Goal("p95 < 100 ms", p95_ms, most=100),),
        ),
        Row(
            group, "nothing changes", None, figure=f"{share:.1f} % of a core",
            peak_mb=idle.peak_mb, goals=(Goal("< 3 %", share, most=3),),
        ),
    ]  # fmt: skip


def say(what: str) -> None:
    """Progress, to stderr."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)


def one_year(folder: Path, rounds: int, home: Path) -> list[Row]:
    """The command, with where its time goes."""
    child = start("jobs:year_stages", folder, str(FIFTEEN))
    race([child], 1)
    parts = ", ".join(f"{name} {ms:.0f}" for name, ms in child.facts["stages_ms"].items())
    return commands.one_year(rounds, home, FIFTEEN, f"ms of one process: {parts}")


def equality(folder: Path) -> list[Row]:
    """Interpreted and compiled give the same bits."""
    child = start("jobs:equality", folder)
    race([child], 1)
    equal = child.facts["equal"]
    return [
        Row(
            "interpreted against compiled, one year of 15m",
            "trades, fills, signals, curve, metrics",
            None,
            figure="equal to the bit" if equal else "DIFFERENT",
            goals=(Goal("equal", float(equal), least=1),),
            note=f"{child.facts['trades']} trades",
        )
    ]


def pipeline(folder: Path, rounds: int, *, quick: bool) -> list[Row]:
    """Candles in memory to trades and metrics, compiled."""
    sizes = [("15m", 35_040), ("15m", 105_120)]
    sizes += [] if quick else [("1m", bars) for bars in MINUTES]
    return [pipeline_row(folder, rounds, name, bars) for name, bars in sizes]


def pipeline_row(folder: Path, rounds: int, name: str, bars: int) -> Row:
    """One length of one series."""
    ours = start("jobs:pipeline", folder, name, str(bars))
    bare = start("jobs:numpy_pass", folder, name, str(bars))
    race([ours, bare], rounds)
    parts = start("jobs:stages", folder, name, str(bars))
    race([parts], 1)
    count = ours.facts["bars"]
    speed = count / ours.median_ms * 1e3
    context = "1h,4h" if name == "15m" else "15m,1h"
    return Row(
        "whole pipeline compiled, candles in memory to trades and metrics",
        f"{count:,} bars of {name}, zones of {context}",
        ours.median_ms,
        figure=f"{speed / 1e6:.1f} M bars/s, {ours.median_ms * 1e6 / count:.0f} ns/bar",
        ratio=ours.median_ms / bare.median_ms,
        versus="numpy cumsum of 5 columns",
        peak_mb=ours.peak_mb,
        goals=(
            Goal(">= 10 M bars/s", speed, least=BARS_A_SECOND),
            Goal(commands.MEMORY, ours.peak_mb, most=MEMORY_MB),
        ),
        note=f"{ours.facts['trades']} trades; "
        + ", ".join(f"{part} {ms} ms" for part, ms in parts.facts["stages_ms"].items()),
    )


def sweeps(folder: Path, rounds: int, *, quick: bool) -> list[Row]:
    """A thousand parameter sets over one year; twenty of them when short of time."""
    sets = 20 if quick else 1000
    single = start("jobs:pipeline", folder, "15m", "35040")
    children = [start("jobs:sweeping", folder, name, str(sets)) for name in ("zones", "exits")]
    race([single, *children], rounds)
    texts = (("zones differ", 5.0, "2.5"), ("only exits and risk differ", 0.5, "-"))
    rows = []
    for child, (text, limit, aim) in zip(children, texts, strict=True):
        seconds = child.median_ms / 1e3 * 1000 / sets
        growth = child.facts["growth_mb"]
        rows.append(
            Row(
                f"1,000 parameter sets x one year of 15m, one core ({sets} run)",
                text,
                seconds * 1e3,
                figure=f"{seconds:.2f} ms a set",
                ratio=seconds * 1e3 / single.median_ms,
                versus="single runs",
                peak_mb=child.peak_mb,
                goals=(
                    Goal(f"< {limit:g} s, aim {aim}".removesuffix(", aim -"), seconds, most=limit),
                    Goal(commands.MEMORY, child.peak_mb, most=MEMORY_MB),
                    Goal("no growth", growth, most=5),
                ),
                note=f"memory grew {growth:.1f} MB from the first tenth of the sets to the last",
            )
        )
    return rows


def bracket(folder: Path, rounds: int, *, with_peers: bool) -> list[Row]:
    """Signals given, brackets only."""
    ours = start("jobs:bracket", folder)
    peers: dict[str, tuple[Child, float]] = {}
    if with_peers and (PEERS / "bin" / "python").exists():
        for name, job, least in (
            ("vectorbt 1.2, rust", "vectorbt_rust", 2.0),
            ("vectorbt 1.2, numba", "vectorbt_numba", 0.0),
            ("backtesting.py", "backtesting_py", 30.0),
        ):
            peers[name] = (peer(f"peers:{job}", folder), least)
    race([ours, *(child for child, _ in peers.values())], rounds)
    group = f"bracket job, signals given, one year of 15m, {ours.facts['trades']} trades"
    rows = [
        Row(
            group,
            "blofin-cli, the step with fees, funding and equity",
            ours.median_ms,
            figure=f"{ours.median_ms * 1e6 / 35_040:.0f} ns/bar",
            peak_mb=ours.peak_mb,
            goals=(Goal(commands.MEMORY, ours.peak_mb, most=MEMORY_MB),),
        )
    ]
    for name, (child, least) in peers.items():
        ratio = child.median_ms / ours.median_ms
        goals = (Goal(f"ours >= {least:g}x faster", ratio, least=least),) if least else ()
        rows.append(
            Row(
                group,
                name,
                child.median_ms,
                ratio=ratio,
                versus="ours",
                peak_mb=child.peak_mb,
                goals=(*goals, Goal("same trades", same_trades(ours, child), least=0.99)),
                note=difference(ours, child),
            )
        )
    return rows


def trades_of(child: Child) -> set[tuple[int, int]]:
    """A job's trades as bars of entry and exit."""
    return set(zip(child.facts["entry_bars"], child.facts["exit_bars"], strict=True))


def same_trades(ours: Child, other: Child) -> float:
    """Share of our trades that the other has too, but for what its fill rules leave out.

    vectorbt looks at no stop on the bar of the entry; trades that we ended there are compared by
    their entry alone.
    """
    mine, theirs = trades_of(ours), trades_of(other)
    entered = {entry for entry, _ in theirs}
    agreed = [t for t in mine if t in theirs or (t[0] == t[1] and t[0] in entered)]
    return len(agreed) / max(len(mine), len(theirs), 1)


def difference(ours: Child, other: Child) -> str:
    """In words, how far the trades agree."""
    mine, theirs = trades_of(ours), trades_of(other)
    early = sum(entry == end for entry, end in mine - theirs)
    words = f"{len(theirs)} trades, {len(mine & theirs)} with our entry and exit bar"
    if early:
        words += f"; {early} that we stopped on the bar of their entry, where it looks at no stop"
    return words


def zones(folder: Path, rounds: int, *, with_peers: bool) -> list[Row]:
    """Zones of four years (three in a quick run) on 15m, 1h and 4h."""
    found = start("jobs:zones", folder, "detect")
    lived = start("jobs:zones", folder, "lives")
    plain = start("plain_pandas:pandas_zones", folder)
    children = [found, lived, plain]
    smart = None
    if with_peers and (PEERS / "bin" / "python").exists():
        smart = peer("peers:smart_money", folder)
        children.append(smart)
    race(children, rounds)
    group = "zones on 15m, 1h and 4h, synthetic seed 7, " + ("4 years" if with_peers else "3 years")
    equal = found.facts["zones"] == plain.facts["zones"]
    rows = [
        Row(
            group, "blofin-cli, found", found.median_ms, peak_mb=found.peak_mb,
            figure=f"{sum(found.facts['zones']):,} zones",
        ),
        Row(
            group, "blofin-cli, found and followed to their end", lived.median_ms,
            peak_mb=lived.peak_mb, goals=(Goal(commands.MEMORY, lived.peak_mb, most=MEMORY_MB),),
        ),
        Row(
            group, "plain pandas, found", plain.median_ms, peak_mb=plain.peak_mb,
            ratio=plain.median_ms / found.median_ms, versus="ours found",
            goals=(
                Goal("ours >= 10x faster", plain.median_ms / found.median_ms, least=10),
                Goal("same zones", float(equal), least=1),
            ),
        ),
    ]  # fmt: skip
    if smart is not None:
        ratio = smart.median_ms / found.median_ms
        rows.append(
            Row(
                group, "smartmoneyconcepts, swings and order blocks", smart.median_ms,
                peak_mb=smart.peak_mb, ratio=ratio, versus="ours found",
                figure=f"{sum(smart.facts['zones']):,} blocks",
                goals=(Goal("ours >= 200x faster", ratio, least=200),),
                note=f"{smart.median_ms / lived.median_ms:.0f}x ours with following; its blocks "
                "come with the bar of their mitigation",
            )
        )  # fmt: skip
    return rows


def peer(job: str, folder: Path) -> Child:
    """A job in the peers' environment."""
    return start(job, folder, python=str(PEERS / "bin" / "python"))


if __name__ == "__main__":
    main()
