"""The box on loopback sockets: REST, both WebSockets and the control endpoint, by uvicorn.

The REST door is plain ASGI, since a router and its middleware would cost as much as the exchange
behind it. Only loopback is ever bound; control requests from a web page are refused.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from blofin_cli.adapters.exchanges.sim.box import Answer, Box, BoxRequest
from blofin_cli.adapters.exchanges.sim.control import Control, ControlError
from blofin_cli.adapters.exchanges.sim.market import MarketClock
from blofin_cli.adapters.exchanges.sim.reading import BODY_BYTES_MAX, Fields, read_json
from blofin_cli.adapters.exchanges.sim.records import VenueError
from blofin_cli.adapters.exchanges.sim.streams import PRIVATE, PUBLIC, Session

HOST = "127.0.0.1"
PUMP_SECONDS = 0.05
CHUNK_MS = 60_000
"""Most market time moved at once, so that requests are answered in between."""

_HOST_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


def system_ms() -> int:
    """The wall's time."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a box listens."""

    port: int

    @property
    def rest(self) -> str:
        """Base URL of REST, and of `/control/`."""
        return f"http://{HOST}:{self.port}"

    @property
    def public(self) -> str:
        """URL of the public WebSocket."""
        return f"ws://{HOST}:{self.port}/ws/public"

    @property
    def private(self) -> str:
        """URL of the private WebSocket."""
        return f"ws://{HOST}:{self.port}/ws/private"


class BoxServer:
    """One box, its clock and its doors."""

    def __init__(self, box: Box, clock: MarketClock | None = None) -> None:
        self.box = box
        self.clock = clock or MarketClock(box.now_ms, 0.0, system_ms)
        self.control = Control(box, self.clock)
        self.app = self._doors()
        self._date = (0, b"")

    def tick(self) -> bool:
        """Move the market towards the clock's moment; False when it lags behind."""
        wall_ms, now_ms = system_ms(), self.clock.now_ms()
        until_ms = min(now_ms, self.box.now_ms + CHUNK_MS)
        self.box.advance(until_ms, wall_ms)
        for session in list(self.box.publisher.sessions):
            if session.is_idle(wall_ms):
                session.close()
        return until_ms == now_ms

    async def pump(self) -> None:
        """Move the market for ever."""
        while True:
            is_there = self.tick()
            await asyncio.sleep(PUMP_SECONDS if is_there else 0)

    def _doors(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/control/{name:path}", self._control, methods=["GET", "POST"]),
                WebSocketRoute("/ws/public", self._public),
                WebSocketRoute("/ws/private", self._private),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """REST goes straight to its door; everything else through the router."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            await self._rest(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        request = BoxRequest(
            method=scope["method"],
            target=target.decode("latin-1"),
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]},
            body=body,
        )
        self.box.advance(min(self.clock.now_ms(), self.box.now_ms + CHUNK_MS), system_ms())
        answer = self.box.request(request, system_ms())
        if answer.delay_ms:
            await asyncio.sleep(answer.delay_ms / 1_000)
        if answer.is_cut:
            await _hang_up(send)
            return
        await self._send(answer, send)

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"date", self._date_header()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _date_header(self) -> bytes:
        """The exchange's clock as HTTP tells it, to the second."""
        seconds = self.box.clocks.wall_ms // 1_000
        if self._date[0] != seconds:
            self._date = seconds, formatdate(seconds, usegmt=True).encode()
        return self._date[1]

    async def _control(self, request: Request) -> Response:
        host = request.headers.get("host", "").rpartition(":")[0]
        if host not in _HOST_NAMES or "origin" in request.headers:
            return JSONResponse({"error": "control is for programs on this machine"}, 403)
        try:
            document = read_json(await request.body() or b"{}")
            fields = Fields(document if isinstance(document, dict) else {})
            answer = self.control.act(request.path_params["name"], fields)
        except (ControlError, VenueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(answer)

    async def _public(self, websocket: WebSocket) -> None:
        await self._converse(websocket, PUBLIC)

    async def _private(self, websocket: WebSocket) -> None:
        await self._converse(websocket, PRIVATE)

    async def _converse(self, websocket: WebSocket, kind: str) -> None:
        """Carry messages between a socket and its session until either ends."""
        if not self.box.limits.may_connect(kind, system_ms()):
            await websocket.close(1008)
            return
        await websocket.accept()
        session = self.box.publisher.connect(kind, system_ms())
        awake = asyncio.Event()
        session.on_output = awake.set
        writer = asyncio.create_task(_write(websocket, session, awake))
        reader = asyncio.create_task(_read(websocket, session))
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.box.publisher.disconnect(session)
            for task in (writer, reader):
                task.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)


async def _read(websocket: WebSocket, session: Session) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            session.receive(text if text is not None else "", system_ms())


async def _write(websocket: WebSocket, session: Session, awake: asyncio.Event) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while not session.is_closed:
            while session.outbox and not session.is_closed:
                text, delay_ms = session.outbox.popleft()
                if delay_ms:
                    await asyncio.sleep(delay_ms / 1_000)
                await websocket.send_text(text)
            awake.clear()
            if not session.outbox and not session.is_closed:
                await awake.wait()
        await websocket.close(1012)


async def _body(receive: Receive) -> bytes:
    """The request's body, cut beyond what any reader accepts."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= BODY_BYTES_MAX + 1:
            parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _hang_up(send: Send) -> None:
    """Close the connection without an answer.

    ASGI has no word for it: the transport behind uvicorn's `send` is cut. A server without one
    gets an answer that promises more than it holds, which closes the connection too.
    """
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
        return
    headers = [(b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 500, "headers": headers})


@contextlib.asynccontextmanager
async def listening(server: BoxServer, port: int = 0) -> AsyncIterator[Address]:
    """Serve on loopback for as long as the block lasts; port 0 takes a free one.

    Errors: OSError when the port is taken.
    """
    # The protocol is named, or asyncio would leave Nagle's algorithm on: 40 ms an answer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        taken: int = listener.getsockname()[1]
        config = uvicorn.Config(
            server,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_ping_interval=None,
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,  # a connection cut between two requests would look like a fault
        )
        web = _Server(config)
        tasks = [
            asyncio.create_task(web.serve(sockets=[listener])),
            asyncio.create_task(server.pump()),
        ]
        try:
            ready = asyncio.create_task(web.ready.wait())
            await asyncio.wait({ready, tasks[0]}, return_when=asyncio.FIRST_COMPLETED)
            yield Address(taken)
        finally:
            web.should_exit = True
            for session in list(server.box.publisher.sessions):
                session.close()
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, without its signal handlers: the caller has Ctrl-C."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
