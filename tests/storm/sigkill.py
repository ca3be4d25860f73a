"""Real SIGKILLs: the packaged program against the exchange in a box, over sockets, on a real file.

A person asks the running session to open and close; it is killed in the middle of that, started
again, and at the end the exchange, asked by a client of our own, and the state file must agree.
"""

import itertools
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.instruments import instrument
from blofin_cli.core.journal import Errand, Purpose
from blofin_cli.core.orders import OrderType, Side
from blofin_cli.core.quotes import Mode
from blofin_cli.core.tickets import Plan
from tests.adapters.exchanges.sim.driver import KEY, PASSPHRASE, SECRET, sign

SYMBOLS = ("BTC-USDT", "ETH-USDT")
"""Two, as an entry that nobody knows of blocks its symbol for two minutes; each costs requests."""
NOTIONAL_USDT = Decimal(700)
ACCOUNT = "sim-demo"
START_S_MAX = 330.0
"""Forty lives in five minutes use up the address's budget of requests, and the next one waits."""
ROOT = Path(__file__).resolve().parents[2]


class Client:
    """A client of the box that shares no code with the program."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._nonces = itertools.count()

    def get(self, path: str, **query: Any) -> Any:
        """The data of a signed GET."""
        target = f"/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        stamp, nonce = str(time.time_ns() // 1_000_000), f"k{os.getpid()}n{next(self._nonces)}"
        headers = {
            "ACCESS-KEY": KEY,
            "ACCESS-PASSPHRASE": PASSPHRASE,
            "ACCESS-TIMESTAMP": stamp,
            "ACCESS-NONCE": nonce,
            "ACCESS-SIGN": sign(f"{target}GET{stamp}{nonce}".encode(), SECRET),
        }
        request = urllib.request.Request(self.url + target, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as refusal:
            if refusal.code != 429:
                raise
        time.sleep(5.0)  # the program's questions count against the same budget
        return self.get(path, **query)


class Theatre:
    """A box, a state file, and a program that is started and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.client = Client(self.port)
        self.path = folder / "state.db"
        self.journal = open_journal(str(self.path))
        self.environment = os.environ | {
            "HOME": str(folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "BLOFIN_STATE": str(self.path),
            "BLOFIN_SIM_URL": self.client.url,
        }
        self.lives = 0
        self.program: subprocess.Popen[bytes] | None = None
        listed = [word for symbol in SYMBOLS for word in ("--symbol", symbol)]
        self.words = ("sim", "--synthetic", "7", *listed, "--port", str(self.port))
        self.box = self._popen(*self.words, log=folder / "box.log")
        self._wait(lambda: self.client.get("market/tickers", instId=SYMBOLS[0]), "the box")

    def _popen(self, *words: str, log: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "blofin_cli", *words],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=log.open("ab"),
            start_new_session=True,
        )

    @staticmethod
    def _wait(look: Callable[[], Any], what: str, seconds: float = START_S_MAX) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if look():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come within {seconds:.0f} s")

    def start(self) -> None:
        """Start the program and wait until it has reconciled."""
        self.lives += 1
        log = self.folder / f"life{self.lives}.log"
        self.program = self._popen(
            "run", *SYMBOLS, "--exchange", "sim", "--mode", "demo", "--yes", log=log
        )

        def is_ready() -> bool:
            assert self.program is not None
            text = log.read_text(errors="replace") if log.exists() else ""
            assert self.program.poll() is None, f"life {self.lives} ended: {text[-800:]}"
            return bool(re.search(r"reconciled: \d+ position", text))

        self._wait(is_ready, "reconciliation")
        self._wait(self._may_open, "a heartbeat that says that trading may begin")

    def _may_open(self) -> bool:
        status = self.journal.status()
        return status is not None and len(status.quotes) == len(SYMBOLS) and not status.health.note

    def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        self.program.send_signal(signal.SIGKILL)
        self.program.wait()

    def ask(self, chance: random.Random) -> None:
        """Ask for something in one symbol: an entry while flat, else a close, all of it or half."""
        symbol = chance.choice(SYMBOLS)
        held = self.client.get("account/positions", instId=symbol)
        now = time.time_ns() // 1_000_000
        name = f"k{self.lives}n{now}"
        if not held:
            kind, arguments = "place", {"plan": self._plan(symbol, now).record(), "key": name}
        else:
            fraction = chance.choice(("1", "0.5"))
            kind, arguments = "close", {"symbol": symbol, "fraction": fraction}
        self.journal.post_errand(
            Errand(
                id=name,
                account=ACCOUNT,
                kind=kind,
                arguments=arguments,
                face="cli",
                created_ms=now,
                expires_ms=now + 20_000,
            )
        )

    def _plan(self, symbol: str, now: int) -> Plan:
        last = Decimal(self.client.get("market/tickers", instId=symbol)[0]["last"])
        terms = instrument(symbol)
        assert terms is not None

        def near(share: str) -> Decimal:
            return last * Decimal(share) // terms.tick_size * terms.tick_size

        size = terms.quantise_size(NOTIONAL_USDT / last)
        return Plan(
            exchange="sim",
            mode=Mode.DEMO,
            simulated=True,
            symbol=symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            size=size,
            contracts=size / terms.contract_value,
            notional_usdt=size * last,
            entry=last,
            price=None,
            trigger=None,
            stop=near("0.95"),
            target=near("1.05"),
            target_limit=None,
            leverage=3,
            margin_usdt=size * last / 3,
            price_min=near("0.97"),
            price_max=near("1.03"),
            equity_usdt=Decimal(10_000),
            risk_usdt=size * last * Decimal("0.052"),
            risk_fraction=Decimal("0.009"),
            fees_usdt=Decimal(1),
            slippage_usdt=Decimal(1),
            reward_risk=1.0,
            liquidation_price=None,
            liquidation_stops=None,
            open_risk_fraction=0.0,
            portfolio_risk_fraction=0.0,
            scale=1.0,
            confidence=None,
            zone_id=None,
            signal_ms=None,
            quote_ms=now,
            created_ms=now,
            expires_ms=now + 60_000,
            mandate="built-in",
            gates=(),
        )

    def problems(self) -> list[str]:
        """Whatever the exchange and the state file do not agree on."""
        found: list[str] = []
        held = self.client.get("account/positions")
        stops = [
            row
            for symbol in SYMBOLS
            for row in self.client.get("trade/orders-tpsl-pending", instId=symbol)
        ]
        for row in held:
            name, size = row["instId"], Decimal(row["positions"])
            guards = [stop for stop in stops if stop["instId"] == name and stop["slTriggerPrice"]]
            covered = sum(Decimal(stop["size"]) for stop in guards)
            if size < 0:
                found.append(f"a short position of {size} {name}")
            if covered < abs(size):
                found.append(f"I01: {size} {name} held, {covered} covered")
        orphans = {row["instId"] for row in stops} - {row["instId"] for row in held}
        if orphans:
            found.append(f"I22: orphans in {', '.join(sorted(orphans))}")
        told = self.client.get("trade/fills-history", limit=100)
        booked = {fill.trade_id: fill for fill in self.journal.fills(ACCOUNT)}
        missing = {row["tradeId"] for row in told} - booked.keys()
        if missing:
            found.append(f"I09: {len(missing)} fills not booked")
        ours = {i.client_id for i in self.journal.intents(ACCOUNT, limit=10_000)}
        names = {r["clientOrderId"] for r in self.client.get("trade/orders-history", limit=100)}
        strangers = {name for name in names if name} - ours
        if strangers:
            found.append(f"I03: {len(strangers)} orders have no intent")
        with sqlite3.connect(self.path) as plain:
            if plain.execute("pragma integrity_check").fetchone() != ("ok",):
                found.append("the state file is damaged")
        if self.journal.verify_audit()[1] is not None:
            found.append("the trail is broken")
        return found

    def close(self) -> None:
        """End what still runs."""
        for process in (self.program, self.box):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


@contextmanager
def theatre() -> Iterator[Theatre]:
    """A theatre in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="sigkill-") as name:
        stage = Theatre(Path(name))
        try:
            yield stage
        finally:
            stage.close()


def kill_often(stage: Theatre, kills: int, progress: Callable[..., None]) -> dict[str, int]:
    """Start, ask, kill, so many times; then start once more and wait for peace."""
    chance = random.Random("sigkill")
    for number in range(kills):
        stage.start()
        stage.ask(chance)
        time.sleep(chance.uniform(0.0, 1.0))
        stage.kill()
        progress(f"SIGKILL {number + 1}/{kills}")
    stage.start()
    assert stage.program is not None
    second = subprocess.run(
        [sys.executable, "-m", "blofin_cli", "run", SYMBOLS[0], "--exchange", "sim", "--mode",
         "demo", "--yes", "--max-seconds", "1"],
        cwd=ROOT, env=stage.environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 3, "I25: a second daemon started"
    end = time.monotonic() + 45.0
    while stage.problems() and time.monotonic() < end:
        time.sleep(3.0)
    entries = [
        i for i in stage.journal.intents(ACCOUNT, limit=10_000) if i.purpose is Purpose.ENTRY
    ]
    return {
        "kills": kills,
        "entries": len(entries),
        "fills": len(stage.journal.fills(ACCOUNT)),
    }


def campaign(kills: int, progress: Callable[..., None]) -> tuple[str, bool]:
    """What the table says, and whether anything broke."""
    with theatre() as stage:
        try:
            counts = kill_often(stage, kills, progress)
            problems = stage.problems()
        except AssertionError as failure:
            return f"broke: {str(failure)[:200]}", True
    progress("", end="\n")
    text = f"{counts['kills']}, {counts['entries']} entries, {counts['fills']} fills"
    return f"{text}; {'; '.join(problems) or 'nothing lost'}", bool(problems)


__all__ = ["Purpose", "Theatre", "campaign", "kill_often", "theatre"]
