"""What a job waits for, as its readers see it."""

from __future__ import annotations

from serve_app.jobs.job import JobQuery, WaitingFor
from tests.unit.jobs.coordination import House
from tests.unit.jobs.examples import OPTIONS

MODEL = OPTIONS.decoding.model_id


async def test_job_whose_model_is_not_there_says_so() -> None:
    house = House()
    house.lacking[MODEL] = WaitingFor.MODEL
    job_id = await house.submit()

    [listed] = (await house.service.page(JobQuery(), None)).jobs

    assert listed.waiting_for is WaitingFor.MODEL
    assert (await house.service.get(job_id, None)).job.waiting_for is WaitingFor.MODEL


async def test_job_no_longer_waits_when_its_model_is_there() -> None:
    house = House()
    house.lacking[MODEL] = WaitingFor.GPU
    job_id = await house.submit()
    house.lacking.clear()

    assert (await house.service.get(job_id, None)).job.waiting_for is None


async def test_job_that_has_ended_waits_for_nothing() -> None:
    house = House()
    house.lacking[MODEL] = WaitingFor.MODEL
    job_id = await house.submit()

    ended = await house.service.cancel(job_id, None)

    assert ended.job.waiting_for is None
