"""Cassettes: how they are matched, scrubbed and headed, and tapes of WebSocket frames.

REST goes through vcrpy. It matches method, path, query and body, and no header: key, signature,
time and nonce differ on every call. What is secret is taken out on writing. A WebSocket tape is
JSON lines: a heading, then one frame a line with its direction. Every file names its source.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import vcr
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

FOLDER = Path(__file__).resolve().parents[1] / "cassettes"
HIDDEN = "***"
BOX = "http://127.0.0.1:8787"
_SECRET_HEADERS = (
    "ACCESS-KEY", "ACCESS-SIGN", "ACCESS-TIMESTAMP", "ACCESS-NONCE", "ACCESS-PASSPHRASE",
    "BROKER-ID", "Cookie", "Authorization",
)  # fmt: skip
_KEPT_HEADERS = frozenset({"content-type", "date"})
_SECRET_FIELDS = frozenset({
    "apiKey", "passphrase", "secret", "sign", "timestamp", "nonce", "uid", "parentUid", "ips",
    "apiName",
})  # fmt: skip


def tape(
    path: Path,
    *,
    mode: str = "none",
    match_on: tuple[str, ...] = ("method", "path", "query", "body"),
) -> AbstractContextManager[Any]:
    """A cassette to play, or with `mode="all"` to record; `once` and such are never needed."""
    recorder = vcr.VCR(
        record_mode=mode,
        match_on=list(match_on),
        filter_headers=[(name, HIDDEN) for name in _SECRET_HEADERS],
        before_record_request=_scrubbed_request,
        before_record_response=_scrubbed_response,
        decode_compressed_response=True,
    )
    opened: AbstractContextManager[Any] = recorder.use_cassette(str(path))
    return opened


def put_heading(path: Path, **fields: str) -> None:
    """Say on top of a cassette where it came from: `# name: value`, one a line."""
    lines = [f"# {name}: {value}\n" for name, value in fields.items()]
    path.write_text("".join(lines) + path.read_text(encoding="utf-8"), encoding="utf-8")


def heading(path: Path) -> dict[str, str]:
    """What a cassette says of itself."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    return {name: value for name, _, value in pairs}


def scrubbed(value: Any) -> Any:
    """JSON without what is secret or names a person."""
    if isinstance(value, dict):
        return {
            name: _hidden(inner) if name in _SECRET_FIELDS else scrubbed(inner)
            for name, inner in value.items()
        }
    return [scrubbed(inner) for inner in value] if isinstance(value, list) else value


def _hidden(value: Any) -> Any:
    """The same shape with nothing in it, so that it still parses."""
    return [] if isinstance(value, list) else HIDDEN


def _scrubbed_request(request: Any) -> Any:
    """A box has another port every time; the tape names its usual one."""
    parts = urlsplit(request.uri)
    if parts.hostname == "127.0.0.1":
        request.uri = urlunsplit((*urlsplit(BOX)[:2], parts.path, parts.query, ""))
    return request


def _scrubbed_response(response: dict[str, Any]) -> dict[str, Any]:
    """Few headers, and a body without names and keys."""
    headers = response["headers"]
    response["headers"] = {k: v for k, v in headers.items() if k.lower() in _KEPT_HEADERS}
    body = response["body"]["string"]
    try:
        text = json.dumps(scrubbed(json.loads(body)), separators=(",", ":"))
    except ValueError:
        return response
    response["body"]["string"] = text.encode()
    return response


# WebSocket tapes.


@asynccontextmanager
async def recording(upstream: str, path: Path, **head: str) -> AsyncIterator[str]:
    """A proxy before a server that writes every frame down; its address."""
    rows: list[dict[str, Any]] = [head]

    async def handle(down: ServerConnection) -> None:
        async with connect(upstream, proxy=None) as up:

            async def pump(source: Any, sink: Any, way: str) -> None:
                try:
                    async for message in source:
                        rows.append({"d": way, "m": _scrubbed_frame(message)})
                        await sink.send(message)
                except ConnectionClosed:
                    pass
                await sink.close()

            await asyncio.gather(pump(down, up, ">"), pump(up, down, "<"))

    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    put_frames(path, rows)


def put_frames(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a tape of frames: its heading, then a frame a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def frames_of(path: Path) -> list[dict[str, Any]]:
    """A tape's heading and frames."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@asynccontextmanager
async def replaying(path: Path) -> AsyncIterator[tuple[str, Callable[[], list[str]]]]:
    """A server that says what a tape holds, and what went otherwise than on the tape.

    A client's frame is compared without what differs on every call. After the last frame it waits.
    """
    rows = frames_of(path)[1:]
    complaints: list[str] = []

    async def handle(client: ServerConnection) -> None:
        for row in rows:
            if row["d"] == "<":
                await client.send(row["m"])
                continue
            said = await asyncio.wait_for(client.recv(), 5)
            if _scrubbed_frame(str(said)) != row["m"]:
                complaints.append(f"{said!r} where the tape has {row['m']!r}")
        await client.wait_closed()

    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: complaints


def _scrubbed_frame(message: str | bytes) -> str:
    text = message if isinstance(message, str) else message.decode()
    try:
        return json.dumps(scrubbed(json.loads(text)), separators=(",", ":"))
    except ValueError:
        return text
