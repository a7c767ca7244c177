import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api import memory
from serve_app.api.memory import LARGE_BYTES, GiveBackMemory


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass


async def calls_after(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(memory, "AFTER_S", 0.0)
    messages = [
        {"type": "http.request", "body": bytes(size), "more_body": n < len(sizes)} for n, size in enumerate(sizes, 1)
    ]
    calls: list[None] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await GiveBackMemory(read_all, lambda: calls.append(None))({"type": "http"}, receive, send)
    for _ in range(3):  # turns of the loop, in which a timer of no delay fires
        await asyncio.sleep(0)
    return len(calls)


async def test_a_large_body_is_followed_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await calls_after([LARGE_BYTES // 2, LARGE_BYTES // 2], monkeypatch) == 1


async def test_small_bodies_are_left_to_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await calls_after([1000, 1000], monkeypatch) == 0


def test_the_c_library_can_be_asked() -> None:
    memory.give_back()
