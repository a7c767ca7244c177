from __future__ import annotations

import asyncio

from serve_app.jobs.hub import ENDED, Bell, Hub

LONG_S = 60.0


async def test_ring_wakes_every_listener_of_its_topic() -> None:
    hub = Hub()
    with hub.listen("a") as one, hub.listen("a") as two:
        waiting = asyncio.gather(one.wait(LONG_S), two.wait(LONG_S))
        await asyncio.sleep(0)

        hub.ring("a")

        await asyncio.wait_for(waiting, LONG_S / 2)


async def test_ring_while_the_listener_was_busy_is_heard() -> None:
    hub = Hub()
    with hub.listen("a") as bell:
        hub.ring("a")
        hub.ring("a")

        await asyncio.wait_for(bell.wait(LONG_S), LONG_S / 2)


async def test_two_rings_are_heard_as_one() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()

    await bell.wait(LONG_S)
    began_s = asyncio.get_running_loop().time()
    await bell.wait(0.01)

    assert asyncio.get_running_loop().time() - began_s >= 0.009


async def test_ring_of_another_topic_wakes_nobody() -> None:
    hub = Hub()
    with hub.listen("a") as bell:
        waiting = asyncio.create_task(bell.wait(LONG_S))
        await asyncio.sleep(0)

        hub.ring("b")
        await asyncio.sleep(0)

        assert not waiting.done()
        waiting.cancel()


async def test_end_of_a_job_wakes_those_who_wait_for_any_end() -> None:
    hub = Hub()
    with hub.listen(ENDED) as bell:
        hub.ring_end("a")

        await asyncio.wait_for(bell.wait(LONG_S), LONG_S / 2)


async def test_topic_without_listeners_leaves_nothing_behind() -> None:
    hub = Hub()
    with hub.listen("a"):
        pass
    hub.ring("a")

    assert not hub._bells
