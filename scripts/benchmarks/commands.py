"""Whole processes, timed from their start to their end, taking turns."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.table import Goal, Row

BIN = Path(sys.executable).parent
MEMORY = "under 200 MB"

# Name, command line; the first two are what Python itself takes.
BARE, TYPER = "python -c pass", "python -c 'import typer'"
START_UP = {
    BARE: (str(BIN / "python"), "-c", "pass"),
    TYPER: (str(BIN / "python"), "-c", "import typer"),
    "blofin --help": (str(BIN / "blofin"), "--help"),
    "blofin --version": (str(BIN / "blofin"), "--version"),
    "blofin runs": (str(BIN / "blofin"), "runs"),
    "blofin guide": (str(BIN / "blofin"), "guide"),
    "blofin instruments": (str(BIN / "blofin"), "instruments", "--offline"),
}


def timed(words: tuple[str, ...], home: Path) -> tuple[float, float]:
    """Milliseconds and peak MB of a process that must succeed."""
    kept = {"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    environment |= {"HOME": str(home)}
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    started = time.perf_counter()
    process = os.posix_spawn(words[0], words, environment, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    ms = (time.perf_counter() - started) * 1e3
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise SystemExit(f"bench: {' '.join(words)} ended with {code}")
    return ms, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def race(contenders: dict[str, tuple[str, ...]], rounds: int, home: Path) -> dict[str, list[float]]:
    """Median milliseconds and peak MB of each, one unmeasured round before."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, words in contenders.items():
            result = timed(words, home)
            if turn:
                seen[name].append(result)
    return {
        name: [median(column) for column in zip(*pairs, strict=True)]
        for name, pairs in seen.items()
    }


def start_up(rounds: int, home: Path) -> list[Row]:
    """Rows of the commands that only read state."""
    found = race(START_UP, rounds, home)
    rows = []
    for name, (ms, peak) in found.items():
        goals = () if name in (BARE, TYPER) else (Goal("< 250 ms, aim 110", ms, most=250),)
        ratio = None if name == BARE else ms / found[BARE][0]
        rows.append(
            Row(
                f"start-up, process to process, median of {rounds}",
                name,
                ms,
                ratio=ratio,
                versus="bare python" if ratio else "",
                peak_mb=peak,
                goals=goals,
            )
        )
    return rows


def tools_list(rounds: int, home: Path) -> list[Row]:
    """The row of an agent's first look: process start to the tools, over stdio."""
    tools_ms = []
    bare_ms = []
    for _ in range(rounds):
        bare_ms.append(timed(START_UP[BARE], home)[0])
        tools_ms.append(_first_tools_ms(home))
    ms = median(tools_ms)
    return [
        Row(
            f"start to first tools/list, median of {rounds}",
            "blofin mcp",
            ms,
            ratio=ms / median(bare_ms),
            versus="bare python",
            goals=(Goal("< 1500 ms, aim 800", ms, most=1500),),
        )
    ]


def _first_tools_ms(home: Path) -> float:
    """Milliseconds from the start of a server to its answer."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    }
    said = (
        {"id": 0, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 1, "method": "tools/list"},
    )
    lines = "".join(json.dumps({"jsonrpc": "2.0", **each}) + "\n" for each in said)
    started = time.perf_counter()
    with subprocess.Popen(
        [str(BIN / "blofin"), "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={"HOME": str(home), "PATH": os.environ["PATH"]},
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(lines)
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        ms = (time.perf_counter() - started) * 1e3
    if not answers[1].get("result", {}).get("tools"):
        raise SystemExit("bench: blofin mcp listed no tools")
    return ms


def one_year(rounds: int, home: Path, data: Path, note: str) -> list[Row]:
    """The row of one year of 15m with 1h and 4h, from process start to JSON."""
    source = ("--data", str(data), "--since", "2022-01-01", "--until", "2023-01-01")
    if not data.exists():
        source = ("--synthetic", "7")
    words = (str(BIN / "blofin"), "backtest", "BTC-USDT", *source, "--context", "1h,4h", "--json")
    contenders = {BARE: START_UP[BARE], "year": words}
    found = race(contenders, rounds, home)
    ms, peak = found["year"]
    return [
        Row(
            f"one year of 15m with 1h and 4h, process start to JSON, warm, median of {rounds}",
            "blofin backtest --json",
            ms,
            ratio=ms / found[BARE][0],
            versus="bare python",
            peak_mb=peak,
            goals=(Goal("< 1000 ms, aim 400", ms, most=1000), Goal(MEMORY, peak, most=200)),
            note=note,
        )
    ]
