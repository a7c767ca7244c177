from __future__ import annotations

import asyncio

import pytest

from serve_app.api.last_known import FRESH_S, KEPT_S, LastKnown
from serve_app.testing import FakeClock


class Slow:
    """Says how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.asked = 0

    async def __call__(self) -> int:
        self.asked += 1
        said = self.asked
        await self.may_answer.wait()
        return said


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def known(slow: Slow, clock: FakeClock) -> LastKnown[int]:
    return LastKnown(slow, clock)


async def test_first_who_asks_waits_and_the_others_with_them(known: LastKnown[int], slow: Slow) -> None:
    both = asyncio.gather(known(), known())
    slow.may_answer.set()

    assert await both == [1, 1]
    assert await known() == 1
    assert slow.asked == 1


async def test_what_is_no_longer_fresh_is_given_at_once_and_asked_for_again(
    known: LastKnown[int], slow: Slow, clock: FakeClock
) -> None:
    slow.may_answer.set()
    await known()
    slow.may_answer.clear()
    clock.advance(FRESH_S)

    assert [await known(), await known()] == [1, 1]
    slow.may_answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await known() == 2


async def test_what_is_old_is_waited_for(known: LastKnown[int], slow: Slow, clock: FakeClock) -> None:
    slow.may_answer.set()
    await known()
    clock.advance(KEPT_S)

    assert await known() == 2


async def test_who_goes_away_takes_the_answer_from_nobody(known: LastKnown[int], slow: Slow) -> None:
    gone = asyncio.create_task(known())
    other = asyncio.create_task(known())
    await asyncio.sleep(0)
    gone.cancel()
    slow.may_answer.set()

    assert await other == 1
