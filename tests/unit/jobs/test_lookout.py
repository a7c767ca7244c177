from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from serve_app.errors import StoreUnavailable
from serve_app.jobs.hub import ENDED, Bell
from serve_app.jobs.lookout import Lookout
from serve_app.jobs.protocols import Clock
from serve_app.testing.jobs import InMemoryJobStore
from tests.unit.jobs.coordination import House, Shared, settled


class AskedStore(InMemoryJobStore):
    """Knows what it was asked; away when it is told so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked: list[Sequence[str]] = []
        self.away = False

    async def last_seqs(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(job_ids)
        if self.away:
            raise StoreUnavailable("The disk is full.")
        return await super().last_seqs(job_ids)


@pytest.fixture
def house() -> House:
    return House(Shared(AskedStore))


async def test_it_rings_again_only_for_what_has_come_since(house: House) -> None:
    lookout = Lookout(house.store, house.hub)
    changed, same = [await house.submit() for _ in range(2)]
    with house.hub.listen(changed) as one, house.hub.listen(same) as other:
        await lookout.look()
        assert await rang(one)
        assert await rang(other)

        await house.store.cancel(changed)
        await lookout.look()

        assert await rang(one)
        assert not await rang(other)


async def test_one_look_serves_all_who_follow_and_none_is_made_for_nobody(house: House) -> None:
    lookout = Lookout(house.store, house.hub)
    job_id = await house.submit()
    with house.hub.listen(ENDED):
        await lookout.look()
    with house.hub.listen(job_id), house.hub.listen(job_id):
        await lookout.look()

    assert house.store.asked == [[job_id]]


async def test_it_goes_on_when_the_store_is_away_for_a_while(house: House) -> None:
    nap = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        await nap.acquire()

    job_id = await house.submit()
    looking = asyncio.create_task(Lookout(house.store, house.hub, sleep=sleep).run())
    with house.hub.listen(job_id) as bell:
        house.store.away = True
        nap.release()
        await settled()
        assert not await rang(bell)

        house.store.away = False
        nap.release()
        await settled()
        assert await rang(bell)
    looking.cancel()


async def rang(bell: Bell) -> bool:
    """Whether it has rung since the last time."""
    waiting = asyncio.create_task(bell.wait(60))
    await settled()
    heard = waiting.done()
    waiting.cancel()
    return heard
