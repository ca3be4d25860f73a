"""Ends a stream server of a test so that nothing of it is left for a later test to collect."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress


async def hang_up(server: asyncio.Server, writers: Iterable[asyncio.StreamWriter]) -> None:
    """Take no more connections and cut those there are, also the ones accepted just now."""
    server.close()
    await asyncio.sleep(0.01)  # a connection that was accepted reaches its handler
    for writer in list(writers):
        writer.transport.abort()
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)
