from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serve_app.jobs.sql.grouping import MOST, Grouped


class Disk:
    """Answers with what it was asked, once it may."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.busy = asyncio.Event()
        self.free = asyncio.Event()

    async def write(self, group: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(group))
        self.busy.set()
        await self.free.wait()
        return [ValueError(str(n)) if n < 0 else n for n in group]


async def test_those_who_come_meanwhile_are_written_together_and_in_order() -> None:
    disk = Disk()
    grouped = Grouped(disk.write)
    asked = [asyncio.create_task(grouped(n)) for n in range(4)]
    await asyncio.sleep(0)
    late = asyncio.create_task(grouped(4))
    disk.free.set()
    answers = await asyncio.gather(*asked, late)

    assert answers == [0, 1, 2, 3, 4]
    assert disk.groups in ([[0], [1, 2, 3, 4]], [[0, 1, 2, 3], [4]])


async def test_group_is_no_larger_than_others_can_wait_for() -> None:
    disk = Disk()
    disk.free.set()
    grouped = Grouped(disk.write)
    await asyncio.gather(*(grouped(n) for n in range(3 * MOST)))

    assert max(map(len, disk.groups)) <= MOST


async def test_mistake_of_one_is_told_to_that_one_alone() -> None:
    disk = Disk()
    disk.free.set()
    grouped = Grouped(disk.write)
    answers = await asyncio.gather(grouped(1), grouped(-2), grouped(3), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["1", "-2", "3"]


async def test_failure_of_the_write_is_told_to_all_of_the_group() -> None:
    async def fail(_: Sequence[int]) -> list[int | Exception]:
        raise OSError("full")

    grouped = Grouped(fail)
    answers = await asyncio.gather(grouped(1), grouped(2), return_exceptions=True)

    assert [type(answer) for answer in answers] == [OSError, OSError]


@pytest.mark.parametrize("who", [0, 1, 2])
async def test_who_gives_up_takes_nobody_along(who: int) -> None:
    disk = Disk()
    grouped = Grouped(disk.write)
    asked = [asyncio.create_task(grouped(n)) for n in range(3)]
    await disk.busy.wait()
    asked[who].cancel()
    await asyncio.sleep(0)
    disk.free.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert [n for n in answers if isinstance(n, int)] == [n for n in range(3) if n != who]
    assert isinstance(answers[who], asyncio.CancelledError)
