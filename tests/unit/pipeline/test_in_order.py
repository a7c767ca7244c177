import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from serve_app.pipeline.in_order import in_order


class Items:
    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            while self.taken < self.count:
                self.taken += 1
                yield self.taken
        finally:
            self.closed = True


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(item: int) -> int:
        await turns(20 - 3 * item)  # later items end first
        return item * item

    results = [result async for result in in_order(Items(5)(), work, lambda: 3)]

    assert results == [(1, 1), (2, 4), (3, 9), (4, 16), (5, 25)]


async def test_no_more_items_are_taken_than_allowed_at_once() -> None:
    items, go = Items(100), asyncio.Event()

    async def work(item: int) -> None:
        await go.wait()

    async with aclosing(in_order(items(), work, lambda: 4)) as results:
        first = asyncio.create_task(anext(results))
        await turns(50)
        taken = items.taken
        go.set()
        await first

    assert taken == 4


async def test_closing_cancels_the_work_and_closes_the_items() -> None:
    items, started, cancelled = Items(100), [], []

    async def work(item: int) -> None:
        if item == 1:
            await turns(5)
            return
        started.append(item)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(item)

    before = asyncio.all_tasks()
    results = in_order(items(), work, lambda: 3)
    await anext(results)
    await turns(20)
    await results.aclose()

    assert cancelled == started == [2, 3]
    assert items.closed
    assert asyncio.all_tasks() <= before


async def test_an_error_comes_before_the_results_of_slower_items() -> None:
    items, before = Items(100), asyncio.all_tasks()

    async def work(item: int) -> None:
        if item == 2:
            raise ValueError("bad item")
        await asyncio.Event().wait()

    with pytest.raises(ValueError, match="bad item"):
        await anext(in_order(items(), work, lambda: 3))
    assert items.closed
    assert asyncio.all_tasks() <= before


async def test_an_error_of_the_items_ends_the_work() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("no more")

    async def work(item: int) -> None:
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match="no more"):
        await anext(in_order(items(), work, lambda: 3))
    assert asyncio.all_tasks() <= before


async def test_the_limit_is_asked_again_for_each_item() -> None:
    limit, working, most = 1, 0, []

    async def work(item: int) -> None:
        nonlocal working, limit
        working += 1
        most.append(working)
        await turns(5)
        limit = 4
        working -= 1

    assert len([result async for result in in_order(Items(10)(), work, lambda: limit)]) == 10
    assert most[:2] == [1, 1]
    assert max(most) > 1
