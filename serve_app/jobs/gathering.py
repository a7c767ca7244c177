"""What comes one by one, taken together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def gathered(items: AsyncGenerator[T, None], *, most: int, linger_s: float) -> AsyncGenerator[list[T], None]:
    """
    Items in groups: what came within `linger_s` after a first one, and all that came while the last group was worked on.

    An error of the items is raised after the group of what came before it.

    Args:
        most: How many are taken before a group is asked for; the items are held back then.
        linger_s: The end of the items cuts it short.
    """
    waiting: list[T] = []
    changed, room = asyncio.Event(), asyncio.Event()

    async def take() -> None:
        try:
            async for item in items:
                waiting.append(item)
                changed.set()
                if len(waiting) >= most:
                    room.clear()
                    await room.wait()
        finally:
            changed.set()

    taking = asyncio.create_task(take())
    try:
        while not taking.done() or waiting:
            await changed.wait()
            await asyncio.wait({taking}, timeout=linger_s)
            changed.clear()
            group = waiting.copy()
            waiting.clear()
            room.set()
            if group:
                yield group
        taking.result()
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
