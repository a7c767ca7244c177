"""Many things at once, and their results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: AsyncGenerator[T, None], work: Callable[[T], Coroutine[Any, Any, R]], at_once: Callable[[], int]
) -> AsyncGenerator[tuple[T, R], None]:
    """
    Work on some items at once, and give each with its result, in their order.

    The first error of an item or of the work is raised at once, before earlier results. However this ends, the rest is
    cancelled and has ended before it does.

    Args:
        at_once: How many may be at work or wait to be given; asked before each item is taken.
    """
    pending: deque[tuple[T, asyncio.Task[R]]] = deque()
    arriving: asyncio.Task[tuple[T] | None] | None = None
    exhausted = False
    try:
        while True:
            if arriving is None and not exhausted and len(pending) < at_once():
                arriving = asyncio.create_task(_next(items))
            working = {task for _, task in pending if not task.done()}
            if arriving is None and not working:
                return
            done, _ = await asyncio.wait(working | ({arriving} if arriving else set()), return_when="FIRST_COMPLETED")
            if arriving in done and arriving is not None:
                arrived, arriving = arriving.result(), None
                exhausted = arrived is None
                if arrived is not None:
                    pending.append((arrived[0], asyncio.create_task(work(arrived[0]))))
            for _, task in pending:
                if task.done():
                    task.result()
            while pending and pending[0][1].done():
                item, task = pending.popleft()
                yield item, task.result()
    finally:
        await _end([task for _, task in pending] + ([arriving] if arriving else []))
        await items.aclose()


async def _next(items: AsyncGenerator[T, None]) -> tuple[T] | None:
    async for item in items:
        return (item,)
    return None


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
