"""Work that ends with its client, and generators that several tasks may step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from serve_app.api.streams import Relay, unless_gone
from serve_app.errors import RecognizerUnavailable


async def stays() -> Message:
    return await asyncio.get_running_loop().create_future()


async def leaves() -> Message:
    return {"type": "http.disconnect"}


async def test_work_is_done_while_the_client_stays() -> None:
    async def work() -> int:
        return 7

    assert await unless_gone(stays, work()) == 7


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await unless_gone(stays, work())


async def test_client_that_leaves_cancels_the_work_and_waits_for_its_end() -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await stays()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    with pytest.raises(ClientDisconnect):
        await unless_gone(leaves, work())

    assert cleaned


async def test_work_that_somebody_else_cancelled_is_no_cancellation_of_the_request() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RecognizerUnavailable):
        await unless_gone(stays, work())


async def test_generator_with_a_task_group_can_be_taken_from_by_many_tasks() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        async with asyncio.TaskGroup() as group:
            yield await group.create_task(_one())
            yield await group.create_task(_one())

    async with Relay(numbers()) as relay:
        taken = [await asyncio.create_task(relay.take()) for _ in range(3)]

    assert taken == [1, 1, None]


async def test_relay_passes_on_what_the_generator_raises() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise KeyError

    async with Relay(broken()) as relay:
        assert await relay.take() == 1
        with pytest.raises(KeyError):
            await relay.take()


async def test_relay_of_a_cancelled_generator_ends() -> None:
    async def cancelled() -> AsyncGenerator[int, None]:
        yield 1
        raise asyncio.CancelledError

    async with Relay(cancelled()) as relay:
        assert await relay.take() == 1
        with pytest.raises(RecognizerUnavailable):
            await relay.take()


async def test_relay_that_is_left_closes_its_generator() -> None:
    closed = False

    async def endless() -> AsyncGenerator[int, None]:
        nonlocal closed
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            closed = True

    async with Relay(endless()) as relay:
        await relay.take()

    assert closed


async def _one() -> int:
    return 1
