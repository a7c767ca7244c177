"""What a connection may hold before it is a request, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.api.connections import BoundedConnection, bound_connections

BLOCK = b"a" * 64 * 1024
ENOUGH = 64  # blocks; 4 MiB
START = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Hurried(BoundedConnection):
    head_s = 0.2


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    size = 0
    while (message := await receive()).get("more_body"):
        size += len(message["body"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size + len(message.get("body", b""))).encode()})


@contextlib.asynccontextmanager
async def served(folder: Path, protocol: type[BoundedConnection]) -> AsyncIterator[str]:
    path = str(folder / "s")
    server = uvicorn.Server(uvicorn.Config(application, http=protocol, uds=path, log_level="error", lifespan="off"))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    try:
        yield path
    finally:
        await server.shutdown()


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path, BoundedConnection) as path:
        yield path


async def answer(path: str, start: bytes, block: bytes = b"", blocks: int = 0) -> tuple[bytes, int]:
    """What comes until the server hangs up, and how many blocks it took before."""
    reader, writer = await asyncio.open_unix_connection(path)
    taken = 0
    with contextlib.suppress(ConnectionError):
        writer.write(start)
        for _ in range(blocks):
            writer.write(block)
            await writer.drain()
            taken += 1
    came = b""
    with contextlib.suppress(ConnectionError):
        came = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return came, taken


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        START + b"X-A: ",
        START + b"X",
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: ",
    ],
    ids=["line", "value", "name", "trailer"],
)
async def test_endless_head_is_hung_up_on(path: str, start: bytes) -> None:
    _, taken = await answer(path, start, BLOCK, ENOUGH)

    assert taken < ENOUGH


async def test_endless_headers_are_hung_up_on(path: str) -> None:
    _, taken = await answer(path, START, b"X-A: b\r\n" * 8192, ENOUGH)

    assert taken < ENOUGH


@pytest.mark.parametrize("start", [b"", b"G", START + b"X-Slow: "], ids=["silence", "letter", "header"])
async def test_head_that_does_not_come_is_hung_up_on(tmp_path: Path, start: bytes) -> None:
    async with served(tmp_path, Hurried) as path:
        came, _ = await answer(path, start)

    assert came == b""


async def test_later_head_that_does_not_come_is_hung_up_on(tmp_path: Path) -> None:
    async with served(tmp_path, Hurried) as path:
        came, _ = await answer(path, START + b"Content-Length: 1\r\n\r\nx" + START)

    assert came.count(b"200 OK") == 1


async def test_bodies_and_requests_that_follow_one_another_are_taken(path: str) -> None:
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        plain = await client.post("/", content=BLOCK * ENOUGH, headers={"x-long": "a" * 30_000})
        chunked = await client.post("/", content=_blocks())

    assert (plain.text, chunked.text) == (str(len(BLOCK) * ENOUGH),) * 2


async def _blocks() -> AsyncIterator[bytes]:
    for _ in range(ENOUGH):
        yield BLOCK


def test_servers_take_it_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "AutoHTTPProtocol", HttpToolsProtocol)
    bound_connections()
    config = uvicorn.Config(application, log_level="error")
    config.load()

    assert config.http_protocol_class is BoundedConnection
