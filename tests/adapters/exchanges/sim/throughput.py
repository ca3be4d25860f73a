"""How many signed REST requests a second the box answers on one core; `python throughput.py`.

The box runs as a process of its own, so that the client's work is not counted against it. Market
time stands still. Not a test: a figure.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[4]
CONNECTIONS, SECONDS = 8, 4.0
_NONCES = itertools.count()


def start_box(*words: str) -> tuple[subprocess.Popen, int]:
    """A box as a process, and its port."""
    command = [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.match(r"REST +http://127\.0\.0\.1:(\d+)", line):
            return process, int(match[1])
    raise RuntimeError("the box did not start")


def signed(method: str, target: str, body: bytes = b"") -> bytes:
    """One request as bytes, signed with the demo key."""
    timestamp, nonce = str(time.time_ns() // 1_000_000), f"n{next(_NONCES)}"
    prehash = f"{target}{method}{timestamp}{nonce}".encode() + body
    digest = hmac.new(b"demo-secret-0001", prehash, hashlib.sha256).hexdigest()
    sign = base64.b64encode(digest.encode()).decode()
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nACCESS-KEY: demo-key-0001\r\n"
        f"ACCESS-PASSPHRASE: demo-pass-0001\r\nACCESS-TIMESTAMP: {timestamp}\r\n"
        f"ACCESS-NONCE: {nonce}\r\nACCESS-SIGN: {sign}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def order_body() -> bytes:
    """A resting order far from the market, never filled; its size is the minimum."""
    order = {
        "instId": "BTC-USDT", "marginMode": "isolated", "side": "buy", "orderType": "ioc",
        "price": "1000", "size": "0.1",
    }  # fmt: skip
    return json.dumps(order, separators=(",", ":")).encode()


REQUESTS = {
    "account/positions": lambda: signed("GET", "/api/v1/account/positions?instId=BTC-USDT"),
    "account/balance": lambda: signed("GET", "/api/v1/account/balance"),
    "market/tickers": lambda: signed("GET", "/api/v1/market/tickers?instId=BTC-USDT"),
    "trade/order": lambda: signed("POST", "/api/v1/trade/order", order_body()),
}


async def hammer(port: int, make, until: float) -> int:
    """Requests answered on one connection until a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.perf_counter() < until:
        writer.write(make())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        body = await reader.readexactly(length)
        assert b'"code":"0"' in body[:40], body[:200]
        done += 1
    writer.close()
    return done


async def measure(port: int, name: str) -> float:
    """Requests a second of one kind."""
    until = time.perf_counter() + SECONDS
    counts = await asyncio.gather(
        *(hammer(port, REQUESTS[name], until) for _ in range(CONNECTIONS))
    )
    return sum(counts) / SECONDS


def processor_seconds(pid: int) -> float:
    """What a process has used of a core so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_throughput() -> dict[str, float]:
    """Requests a second by endpoint, printed as it goes.

    The second figure is per second of the box's own processor time: what one core could do when
    nobody else wants it.
    """
    process, port = start_box(
        "--synthetic", "7", "--speed", "0", "--no-limits", "--symbol", "BTC-USDT"
    )
    found = {}
    try:
        for name in REQUESTS:
            before = processor_seconds(process.pid)
            found[name] = asyncio.run(measure(port, name))
            used = processor_seconds(process.pid) - before
            a_core = f"{found[name] * SECONDS / used:8,.0f} a core" if used else ""
            print(f"{name:20} {found[name]:8,.0f} requests/s {a_core}")
    finally:
        process.terminate()
        process.wait(10)
    return found


if __name__ == "__main__":
    bench_throughput()
