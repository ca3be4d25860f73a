"""A webhook server and a mail server on loopback that keep what they are sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from tests.hanging_up import hang_up


async def until(is_so: Callable[[], bool], seconds: float = 4) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in other people's code
            await asyncio.sleep(0.01)


@dataclass
class Sink:
    """What arrived, and how the next requests are answered."""

    port: int = 0
    received: list[Any] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    stall: bool = False
    paths: list[str] = field(default_factory=list)

    async def count(self, wanted: int, seconds: float = 4) -> None:
        """Wait until so many have arrived."""
        await until(lambda: len(self.received) >= wanted, seconds)


@asynccontextmanager
async def webhook() -> AsyncIterator[Sink]:
    """Takes JSON posts; answers the next of `statuses`, else 200; keeps silent while `stall`."""
    sink = Sink()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line for line in head.lower().splitlines() if line.startswith("content-length")]
        body = await reader.readexactly(int(lengths[0].partition(":")[2]))
        sink.paths.append(head.split()[1])
        sink.received.append(json.loads(body))
        if not sink.stall:
            status = sink.statuses.pop(0) if sink.statuses else 200
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        await hang_up(server, writers)


@asynccontextmanager
async def mailbox() -> AsyncIterator[Sink]:
    """Speaks enough SMTP to be sent a message without encryption or login."""
    sink = Sink()
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)

        def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        say("220 sink")
        while line := (await reader.readline()).decode().strip():
            word = line.upper().split()[0]
            if word == "DATA":
                say("354 go on")
                text = await reader.readuntil(b"\r\n.\r\n")
                parsed: EmailMessage = message_from_bytes(text[:-5], policy=policy.default)
                sink.received.append(parsed)
                say("250 kept")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("250 fine")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        await hang_up(server, writers)
