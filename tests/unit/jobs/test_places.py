from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from serve_app.jobs.places import FairPlaces
from tests.unit.jobs.coordination import settled

ALL = "abcdefghijklmnop"  # as many hosts as there are places


class Guests:
    """Who asks for places and stays."""

    def __init__(self, places: FairPlaces) -> None:
        self._places = places
        self.inside: list[str] = []
        self.tasks: list[tuple[str, asyncio.Task[None]]] = []

    async def come(self, hosts: Iterable[str]) -> None:
        self.tasks += [(host, asyncio.create_task(self._stay(host))) for host in hosts]
        await settled()

    async def leave(self, host: str) -> None:
        """One of them, inside or still waiting: who came first."""
        task = next(task for name, task in self.tasks if name == host and not task.done())
        task.cancel()
        await settled()

    async def _stay(self, host: str) -> None:
        async with self._places.of(host):
            self.inside.append(host)
            try:
                await asyncio.Event().wait()
            finally:
                self.inside.remove(host)


@pytest.fixture
async def guests() -> AsyncIterator[Guests]:
    guests = Guests(FairPlaces(total=16, per_host=3))
    yield guests
    tasks = [task for _, task in guests.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_host_gets_no_more_than_its_own(guests: Guests) -> None:
    await guests.come(["a"] * 5)

    assert guests.inside == ["a"] * 3


async def test_few_hosts_that_stay_leave_places_for_the_next(guests: Guests) -> None:
    await guests.come(host for host in "abcd" for _ in range(10))
    held = len(guests.inside)
    await guests.come("z")

    assert held < 16
    assert "z" in guests.inside


async def test_free_place_goes_to_the_host_that_has_the_fewest(guests: Guests) -> None:
    await guests.come(ALL)
    await guests.come(["a", "a", "z"])
    await guests.leave("b")

    assert "z" in guests.inside


async def test_hosts_take_turns_when_there_are_more_of_them_than_places(guests: Guests) -> None:
    await guests.come((ALL + "z") * 3)
    assert sorted(guests.inside) == list(ALL)
    await guests.leave("a")

    assert sorted(guests.inside) == list(ALL[1:] + "z")


async def test_who_stops_waiting_takes_nobodys_place(guests: Guests) -> None:
    await guests.come(ALL)
    await guests.come("yz")
    await guests.leave("y")
    await guests.leave("a")

    assert "z" in guests.inside
    for host in ALL[1:] + "z":
        await guests.leave(host)
    await guests.come("aaa")
    assert guests.inside == ["a"] * 3
