"""A server on loopback that says what a test wrote down, and breaks the way a test asks."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.hanging_up import hang_up

INSTRUMENTS = [
    {
        "instId": symbol, "baseCurrency": symbol[:3], "quoteCurrency": "USDT",
        "contractValue": value, "listTime": "1638333031000", "expireTime": "4102444800000",
        "maxLeverage": "125", "minSize": "0.1", "lotSize": "0.1", "tickSize": "0.1",
        "instType": "SWAP", "contractType": "linear", "maxLimitSize": "1000000",
        "maxMarketSize": "100000", "state": "live", "settleCurrency": "USDT",
    }
    for symbol, value in (("BTC-USDT", "0.001"), ("ETH-USDT", "0.01"))
]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0].removeprefix("/api/v1/")


@dataclass(frozen=True)
class Reply:
    """One answer; `fault` breaks it: `close` (no answer), `stall`, `truncate`."""

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def ok(data: Any) -> Reply:
    return Reply(json.dumps({"code": "0", "msg": "success", "data": data}))


def error(code: str, message: str = "no", data: Any = None) -> Reply:
    return Reply(json.dumps({"code": code, "msg": message, "data": data}))


CLOSE = Reply(fault="close")
STALL = Reply(fault="stall")
HTML = Reply("<html><body>502 Bad Gateway</body></html>", 502)
Script = Reply | list[Reply] | Callable[[Seen], Reply]


class FakeVenue:
    """Routes by path; a list is used up to its last item, which stays."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.routes: dict[str, Script] = {"market/instruments": ok(INSTRUMENTS)}
        self.connections = 0

    async def __aenter__(self) -> "FakeVenue":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await hang_up(self._server, self._writers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def to(self, path: str) -> list[Seen]:
        """Requests of one path."""
        return [seen for seen in self.seen if seen.path == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value
            for name, value in (line.split(": ", 1) for line in head[1:] if ": " in line)
        }
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        seen = Seen(method, target, headers, body)
        self.seen.append(seen)
        reply = self._reply(seen)
        if reply.fault == "close":
            return False
        if reply.fault == "stall":
            await asyncio.sleep(30)
        content = reply.body.encode()
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.fault == "truncate":
            content = content[: len(content) // 2]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await writer.drain()
        return reply.fault != "truncate"

    def _reply(self, seen: Seen) -> Reply:
        script = self.routes.get(seen.path, error("152404", "This operation is not supported"))
        if isinstance(script, list):
            return script.pop(0) if len(script) > 1 else script[0]
        return script(seen) if callable(script) else script
