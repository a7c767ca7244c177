from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from serve_app.errors import (
    InsufficientMemory,
    InvalidAudio,
    InvalidRequest,
    MediaUnavailable,
    ModelLoadFailed,
    ModelNotFound,
    ModelNotReady,
    OutOfMemory,
    PullFailed,
    RecognizerUnavailable,
    RemoteUnavailable,
    StoreUnavailable,
)
from serve_app.jobs.job import Claim, JobError, JobSource, Lease, Priority, RemoteMedia, Status, WaitingFor
from serve_app.testing.jobs import InMemoryJobStore
from tests.unit.jobs.coordination import House, ScriptedRunner, Shared, settled
from tests.unit.jobs.examples import MEDIA, chunk

AWAY = "The recogniser died."


async def test_job_is_given_to_a_runner_when_it_is_submitted() -> None:
    house, runner = House(), ScriptedRunner()

    async with house.dispatching(runner):
        await settled()
        job_id = await house.submit()
        await settled()

        assert runner.jobs == [job_id]


async def test_no_more_jobs_run_than_there_are_places() -> None:
    house, runner = House(max_running=2, kept_for_interactive=0), ScriptedRunner()
    jobs = [await house.submit() for _ in range(3)]

    async with house.dispatching(runner):
        await settled()
        before = runner.jobs
        await house.service.cancel(jobs[0], None)
        await settled()

        assert before == jobs[:2]
        assert runner.jobs == jobs


async def test_interactive_job_comes_before_batch_jobs_that_are_older() -> None:
    house, runner = House(max_running=1), ScriptedRunner()
    await house.submit(priority=Priority.BATCH)
    urgent = await house.submit()

    async with house.dispatching(runner):
        await settled()

        assert runner.jobs == [urgent]


async def test_batch_jobs_leave_places_free_for_interactive_ones() -> None:
    house, runner = House(max_running=3, kept_for_interactive=1), ScriptedRunner()
    batch = [await house.submit(priority=Priority.BATCH) for _ in range(5)]

    async with house.dispatching(runner):
        await settled()
        before = runner.jobs
        urgent = await house.submit()
        await settled()

        assert before == batch[:2]
        assert runner.jobs == [*batch[:2], urgent]


async def test_batch_jobs_run_even_where_every_place_is_kept_for_others() -> None:
    house, runner = House(max_running=2, kept_for_interactive=5), ScriptedRunner()
    job_id = await house.submit(priority=Priority.BATCH)

    async with house.dispatching(runner):
        await settled()

        assert runner.jobs == [job_id]


async def test_one_owners_many_jobs_do_not_starve_anothers_one() -> None:
    house, runner = House(max_running=2), ScriptedRunner()
    for _ in range(100):
        await house.submit(owner="many")
    one = await house.submit(owner="one")

    async with house.dispatching(runner):
        await settled()

        assert one in runner.jobs


@pytest.mark.parametrize(
    "error",
    [
        InvalidAudio("No audio."),
        InvalidRequest("No."),
        ModelNotFound("No such model."),
        ModelLoadFailed("It cannot load."),
        InsufficientMemory("It does not fit."),
    ],
)
async def test_what_will_never_work_fails_at_once_with_its_reason(error: InvalidAudio) -> None:
    house = House()
    job_id = await house.submit()

    async with house.dispatching(ScriptedRunner(error)):
        events = await house.follow(job_id)

    job = await house.job(job_id)
    assert (job.status, job.attempts) == (Status.FAILED, 1)
    assert job.error == JobError(error.code, error.message)
    assert events[-1].kind == "failed"


@pytest.mark.parametrize(
    ("error", "waiting_for"),
    [
        (ModelNotReady("Loading."), WaitingFor.MODEL),
        (PullFailed("The hub is away."), WaitingFor.MODEL),
        (OutOfMemory("Full."), WaitingFor.GPU),
    ],
)
async def test_job_that_is_early_waits_and_never_fails(error: Exception, waiting_for: WaitingFor) -> None:
    house, runner = House(max_failures=1, wait_poll_s=30), ScriptedRunner(*[error] * 50)
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        waiting = await house.job(job_id)
        for _ in range(50):
            await house.pass_time(30)

        assert (waiting.status, waiting.waiting_for) == (Status.QUEUED, waiting_for)
        job = await house.job(job_id)
        assert len(runner.claims) == 51
        assert (job.status, job.attempts) == (Status.RUNNING, 1)


async def test_early_job_is_not_tried_before_its_time() -> None:
    house, runner = House(wait_poll_s=30), ScriptedRunner(ModelNotReady("Loading."))
    await house.submit()

    async with house.dispatching(runner):
        await settled()
        await house.pass_time(29)
        early = len(runner.claims)
        await house.pass_time(1)

        assert (early, len(runner.claims)) == (1, 2)


async def test_attempt_that_died_is_repeated_after_a_wait_that_doubles() -> None:
    house, runner = House(backoff_s=2), ScriptedRunner(*[RecognizerUnavailable(AWAY)] * 2)
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        tried = [len(runner.claims)]
        for seconds in (1, 1, 3, 1):
            await house.pass_time(seconds)
            tried.append(len(runner.claims))

        assert tried == [1, 1, 2, 2, 3]
        assert (await house.job(job_id)).error == JobError("recognizer_unavailable", AWAY)


async def test_job_whose_attempts_die_without_progress_fails_in_the_end() -> None:
    house, runner = House(max_failures=3), ScriptedRunner(*[RuntimeError("what was said")] * 3)
    job_id = await house.submit()

    async with house.dispatching(runner):
        for _ in range(5):
            await house.pass_time(60)

    job = await house.job(job_id)
    assert (job.status, job.attempts) == (Status.FAILED, 3)
    assert job.error is not None
    assert job.error.code == "internal_error"
    assert "what was said" not in job.error.message


async def test_attempts_that_fall_silent_are_repeated_and_count_too() -> None:
    house, runner = House(lease_s=30, max_failures=2), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        for _ in range(2):
            house.clock.advance(1)
            await house.service.extend(runner.claims[-1].lease)
            await house.pass_time(31)

        assert runner.cancelled == [job_id, job_id]
        assert (await house.job(job_id)).status is Status.FAILED


async def test_attempts_that_no_runner_took_do_not_count() -> None:
    house, runner = House(lease_s=30, max_failures=1), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        for _ in range(20):
            await house.pass_time(31)

        job = await house.job(job_id)
        assert len(runner.claims) == 20
        assert (job.status, job.attempts) == (Status.RUNNING, 1)


async def test_audio_that_takes_each_coordinator_along_fails_in_the_end() -> None:
    shared, runner = Shared(), ScriptedRunner()
    job_id = await House(shared).submit()

    for _ in range(4):
        house = House(shared, max_failures=3)
        dispatching = house.dispatching(runner)
        await dispatching.__aenter__()
        await settled()
        if (await house.job(job_id)).status is Status.RUNNING:
            await house.service.extend(runner.claims[-1].lease)
            await shared.store.take_over()  # the process is gone: nobody gave its lease back
        await dispatching.__aexit__(None, None, None)

    job = await house.job(job_id)
    assert (job.status, job.attempts, len(runner.claims)) == (Status.FAILED, 3, 3)
    assert job.error is not None
    assert "after 3 attempts without progress" in job.error.message


async def test_restarts_in_good_order_cost_no_job() -> None:
    shared, runner = Shared(), ScriptedRunner()
    job_id = await House(shared).submit()

    for _ in range(5):
        house = House(shared, max_failures=1)
        async with house.dispatching(runner):
            await settled()
            await house.service.extend(runner.claims[-1].lease)

    assert (await house.job(job_id)).status is Status.QUEUED


async def test_attempt_that_dies_after_progress_is_not_the_last() -> None:
    house = House(max_failures=1)

    class Dies(ScriptedRunner):
        async def run(self, claim: Claim) -> None:
            self.claims.append(claim)
            if len(self.claims) < 5:
                await house.service.record(claim.lease, chunk(len(self.claims)))
            raise RuntimeError

    job_id, runner = await house.submit(), Dies()

    async with house.dispatching(runner):
        await settled()

    assert (await house.job(job_id)).status is Status.FAILED
    assert len(runner.claims) == 5


async def test_attempt_that_hangs_holds_no_place() -> None:
    house, runner = House(lease_s=30, max_running=1), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        await house.pass_time(31)

        assert runner.jobs == [job_id, job_id]
        assert runner.cancelled == [job_id]
        assert house.dispatcher.running == 1


async def test_job_that_is_cancelled_when_it_is_to_fail_does_no_harm() -> None:
    class CancelledMeanwhile(InMemoryJobStore):
        async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
            await super().cancel(lease.job_id)
            await super().fail(lease, error, excused=excused)

    house, runner = House(Shared(CancelledMeanwhile), lease_s=30, max_failures=1), ScriptedRunner(None)
    await house.submit()

    async with house.dispatching(runner):
        await settled()
        await house.pass_time(31)
        job_id = await house.submit()
        await settled()

        assert runner.jobs[-1] == job_id


@pytest.mark.parametrize("source", [MEDIA, RemoteMedia("https://example.org/a.wav")])
@pytest.mark.parametrize("error", [MediaUnavailable("Our disk is full."), RecognizerUnavailable("None runs.")])
async def test_outage_of_ours_costs_no_job(error: Exception, source: JobSource) -> None:
    house, runner = House(max_failures=1), ScriptedRunner(*[error] * 20)
    new = replace(await house.new_job(), source=source)
    await house.service.submit(new)

    async with house.dispatching(runner):
        for _ in range(21):
            await house.pass_time(60)

        job = await house.job(new.job_id)
        assert len(runner.claims) == 21
        assert (job.status, job.attempts) == (Status.RUNNING, 1)


async def test_outage_of_ours_is_waited_for_ever_longer() -> None:
    house, runner = House(backoff_s=2), ScriptedRunner(*[MediaUnavailable("Our disk is full.")] * 3)
    await house.submit()

    async with house.dispatching(runner):
        await settled()
        tried = [len(runner.claims)]
        for seconds in (2, 3, 1, 7, 1):
            await house.pass_time(seconds)
            tried.append(len(runner.claims))

    assert tried == [1, 2, 2, 3, 3, 4]


async def test_outage_of_the_clients_server_counts() -> None:
    house, runner = House(max_failures=2), ScriptedRunner(*[RemoteUnavailable("Your server is away.")] * 2)
    new = replace(await house.new_job(), source=RemoteMedia("https://example.org/a.wav"))
    await house.service.submit(new)

    async with house.dispatching(runner):
        for _ in range(3):
            await house.pass_time(60)

    assert (await house.job(new.job_id)).status is Status.FAILED


async def test_death_of_a_process_that_had_begun_counts() -> None:
    house = House(max_failures=1)

    class Dies(ScriptedRunner):
        async def run(self, claim: Claim) -> None:
            house.clock.advance(1)
            await house.service.extend(claim.lease)
            raise RecognizerUnavailable(AWAY)

    job_id = await house.submit()

    async with house.dispatching(Dies()):
        await settled()

    assert (await house.job(job_id)).status is Status.FAILED


async def test_attempt_that_lost_its_lease_changes_nothing() -> None:
    house, runner = House(lease_s=30), ScriptedRunner(None)
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()

        assert (await house.job(job_id)).status is Status.RUNNING


async def test_cancel_ends_the_attempt_at_once() -> None:
    house, runner = House(), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        await house.service.cancel(job_id, None)
        await settled()

        assert runner.cancelled == [job_id]
        assert house.dispatcher.running == 0
        assert (await house.job(job_id)).status is Status.CANCELLED


async def test_dispatcher_that_is_stopped_queues_again_what_ran() -> None:
    house, runner = House(), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()

    assert runner.cancelled == [job_id]
    assert (await house.job(job_id)).status is Status.QUEUED


async def test_dispatcher_that_was_superseded_stops_its_attempts_and_claims_no_more() -> None:
    house, runner = House(), ScriptedRunner()
    first = await house.submit()
    running = asyncio.create_task(house.dispatcher.run(await house.store.take_over(), runner))
    await settled()

    await house.store.take_over()
    await house.submit()
    await asyncio.wait_for(running, 30)

    assert runner.jobs == [first]
    assert runner.cancelled == [first]


async def test_store_that_is_away_for_a_moment_costs_no_job() -> None:
    class Flaky(InMemoryJobStore):
        away = 3

        async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
            self.away -= 1
            if self.away >= 0:
                raise StoreUnavailable("The disk is full.")
            return await super().claim(epoch, lease_s=lease_s, only=only)

    house, runner = House(Shared(Flaky)), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        for _ in range(5):
            await house.pass_time(1)

    assert runner.jobs == [job_id]


async def test_attempt_that_could_not_record_does_not_count_as_dead() -> None:
    house, runner = House(max_failures=1), ScriptedRunner(*[StoreUnavailable("The disk is full.")] * 5)
    job_id = await house.submit()

    async with house.dispatching(runner):
        for _ in range(6):
            await house.pass_time(60)

        assert len(runner.claims) == 6
        assert (await house.job(job_id)).status is Status.RUNNING
