"""Bodies of all clients together are bounded, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from serve_app.api.body_budget import BodyBudget
from tests.loopback import serving

BODY = b"x" * 1000


class Application:
    """Answers, or breaks, once as many requests as `crowd` are held at once."""

    def __init__(self) -> None:
        self.crowd = 1
        self.breaks = False
        self.held = 0
        self.full = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.held += 1
        while (await receive()).get("more_body"):
            pass
        if self.held >= self.crowd:
            self.full.set()
        await self.full.wait()
        if self.breaks:
            raise ConnectionError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def url(application: Application) -> Iterator[str]:
    with serving(BodyBudget(application, total_bytes=4000, max_bytes=2000)) as address:
        yield address


async def posted(url: str, clients: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(timeout=30) as client:
        return await asyncio.gather(*(client.post(url, content=BODY) for _ in range(clients)))


async def chunks() -> AsyncIterator[bytes]:
    yield BODY


@pytest.mark.parametrize(("chunked", "room"), [(False, 4), (True, 2)])  # one of unknown length counts as the largest
async def test_of_many_large_bodies_only_those_that_fit_are_read(
    url: str, application: Application, chunked: bool, room: int
) -> None:
    application.crowd = room + 1
    async with httpx.AsyncClient(timeout=30) as client:
        posts = [asyncio.create_task(client.post(url, content=chunks() if chunked else BODY)) for _ in range(32)]
        ended = asyncio.as_completed(posts)
        refused = [await next(ended) for _ in range(32 - room)]
        probe = await client.get(url)  # has no body, so it is let in, and sets the others free
        taken = [await response for response in ended]

    assert probe.status_code == 200
    assert [response.status_code for response in taken] == [200] * room
    assert {response.status_code for response in refused} == {503}
    assert {response.json()["error"]["code"] for response in refused} == {"overloaded"}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)


@pytest.mark.parametrize("breaks", [False, True])
async def test_bytes_come_back_however_a_request_ends(url: str, application: Application, breaks: bool) -> None:
    application.breaks = breaks
    for _ in range(9):
        (response,) = await posted(url, 1)

        assert response.status_code == (500 if breaks else 200)
    application.breaks, application.crowd = False, application.held + 4
    application.full.clear()

    assert [response.status_code for response in await posted(url, 4)] == [200] * 4
