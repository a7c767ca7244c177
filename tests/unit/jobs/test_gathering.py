"""Nothing is lost, reordered or taken too far ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.jobs.gathering import gathered

HOUR_S = 3600.0


class Source:
    """Counts up to its end as it is let go on."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.taken = 0
        self.closed = False
        self._count = count
        self._error = error

    async def items(self, pauses: frozenset[int] = frozenset()) -> AsyncGenerator[int, None]:
        try:
            while self.taken < self._count:
                if self.taken in pauses:
                    await settled()
                self.taken += 1
                yield self.taken
            if self._error:
                raise self._error
        finally:
            self.closed = True


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@given(st.integers(0, 12), st.frozensets(st.integers(0, 12)), st.frozensets(st.integers(0, 12)), st.integers(1, 4))
async def test_all_items_come_in_their_order_in_groups_that_are_not_too_large(
    count: int, pauses: frozenset[int], slow: frozenset[int], most: int
) -> None:
    groups = []
    async for group in gathered(Source(count).items(pauses), most=most, linger_s=0):
        groups.append(group)
        if len(groups) in slow:
            await settled()

    assert [item for group in groups for item in group] == list(range(1, count + 1))
    assert all(1 <= len(group) <= most for group in groups)


async def test_what_comes_together_is_one_group() -> None:
    assert [group async for group in gathered(Source(3).items(), most=9, linger_s=HOUR_S)] == [[1, 2, 3]]


async def test_no_more_is_taken_ahead_than_one_group_may_have() -> None:
    source = Source(9)
    async with aclosing(gathered(source.items(), most=2, linger_s=0)) as groups:
        first = await anext(groups)
        await settled()

        assert first == [1, 2]
        assert source.taken == 4


async def test_an_error_comes_after_what_came_before_it() -> None:
    groups = gathered(Source(2, ValueError("broken")).items(), most=9, linger_s=HOUR_S)

    assert await anext(groups) == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        await anext(groups)


async def test_who_stops_early_ends_the_items_too() -> None:
    async def endless() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    ended = asyncio.Event()
    async with aclosing(gathered(endless(), most=9, linger_s=0)) as groups:
        await anext(groups)

    assert ended.is_set()
