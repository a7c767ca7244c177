"""Jobs, counted as they come and end."""

from __future__ import annotations

from serve_app.errors import InvalidAudio
from serve_app.jobs.job import Idempotency
from serve_app.telemetry.tally import Counts
from tests.unit.jobs.coordination import House, ScriptedRunner, settled


def ended(counts: Counts) -> dict[str, float]:
    return {labels[0]: vector[0] for (name, labels), vector in counts.items() if name == "rayscribe_jobs_ended_total"}


async def test_each_job_is_counted_once_as_it_comes_and_once_as_it_ends() -> None:
    house = House()
    async with house.dispatching():
        done = await house.submit()
        await house.follow(done)

    counts = house.tally.take()
    assert counts["rayscribe_jobs_submitted_total", ()] == (1.0,)
    assert ended(counts) == {"done": 1}


async def test_a_job_that_is_submitted_again_under_its_key_is_no_second_one() -> None:
    house = House()
    new = await house.new_job(idempotency=Idempotency("k", "f"))

    await house.service.submit(new)
    await house.service.submit(new)

    assert house.tally.take()["rayscribe_jobs_submitted_total", ()] == (1.0,)


async def test_a_job_that_will_never_work_is_counted_as_failed() -> None:
    house = House()
    job_id = await house.submit()
    async with house.dispatching(ScriptedRunner(InvalidAudio("no audio"))):
        await settled()

    assert (await house.job(job_id)).error is not None
    assert ended(house.tally.take()) == {"failed": 1}


async def test_a_job_is_cancelled_once_however_often_somebody_asks() -> None:
    house = House()
    job_id = await house.submit()

    for _ in range(3):
        await house.service.cancel(job_id, "")

    assert ended(house.tally.take()) == {"cancelled": 1}
