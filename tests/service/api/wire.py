"""An application on a real port in the test's own event loop, and a bad connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

BLOCK_BYTES = 1024


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Yields the URL without a trailing slash."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await server.up.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@contextlib.asynccontextmanager
async def cut_connections(
    url: str,
    *,
    sent: Sequence[int | None] = (),
    received: Sequence[int | None] = (),
    after_s: float | None = None,
) -> AsyncIterator[str]:
    """
    A way to a server on which connections break.

    Args:
        sent: After how many bytes to the server each connection ends; None, and those after the last, do not.
        received: The same for bytes from the server.
        after_s: How long each connection lasts at most, in seconds of real time.
    """
    host, port = url.removeprefix("http://").split(":")
    ends = iter(sent), iter(received)

    async def relay(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(host, int(port))
        ways = [
            asyncio.create_task(_relay(client_in, server_out, next(ends[0], None))),
            asyncio.create_task(_relay(server_in, client_out, next(ends[1], None))),
        ]
        await asyncio.wait(ways, timeout=after_s, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for out in (server_out, client_out):
            out.close()
            with contextlib.suppress(OSError):
                await out.wait_closed()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int | None) -> None:
    with contextlib.suppress(OSError):
        while left is None or left > 0:
            block = await source.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
            if not block:
                return
            sink.write(block)
            await sink.drain()
            left = None if left is None else left - len(block)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are pytest's

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()
