from __future__ import annotations

from datetime import datetime, timedelta

from serve_app.jobs.forecast import Forecast
from serve_app.jobs.job import Job, Priority, Status, WaitingFor
from tests.unit.jobs.examples import NOON, OPTIONS


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def job(status: Status, job_id: str = "a", **more: object) -> Job:
    return Job(job_id, "", status, OPTIONS, Priority.BATCH, NOON, **more)  # type: ignore[arg-type]


def done(took_s: float) -> Job:
    return job(Status.DONE, "done", started_at=NOON, completed_at=NOON + timedelta(seconds=took_s))


def test_nothing_is_said_before_anything_was_measured() -> None:
    forecast = Forecast(Clock(), places=1)

    assert forecast.eta_s(job(Status.QUEUED, queue_position=1)) is None
    assert forecast.eta_s(job(Status.RUNNING, duration_s=100.0)) is None


def test_jobs_whose_end_nobody_told_are_forgotten_in_time() -> None:
    clock = Clock()
    forecast = Forecast(clock, places=1)
    for end_s in (10, 20):
        forecast.heard("a", end_s)
        clock.advance(1)
    known = forecast.eta_s(job(Status.RUNNING, duration_s=100.0))
    for n in range(100):
        forecast.heard(f"{n}", 10)

    assert known is not None
    assert forecast.eta_s(job(Status.RUNNING, duration_s=100.0)) is None


def test_running_job_goes_on_at_its_own_speed() -> None:
    clock = Clock()
    forecast = Forecast(clock, places=1)
    forecast.heard("a", 10)
    clock.advance(2)
    forecast.heard("a", 50)

    eta_s = forecast.eta_s(job(Status.RUNNING, duration_s=100.0))

    assert eta_s == 2.5  # 50 s are left, at 20 s in a second


def test_time_since_the_last_chunk_counts_and_never_makes_it_negative() -> None:
    clock = Clock()
    forecast = Forecast(clock, places=1)
    forecast.heard("a", 10)
    clock.advance(2)
    forecast.heard("a", 50)

    clock.advance(1)
    soon = forecast.eta_s(job(Status.RUNNING, duration_s=100.0))
    clock.advance(60)
    late = forecast.eta_s(job(Status.RUNNING, duration_s=100.0))

    assert (soon, late) == (1.5, 0.0)


def test_running_job_that_has_said_nothing_yet_takes_as_long_as_others_did() -> None:
    forecast = Forecast(Clock(), places=1)
    forecast.ended(done(10))
    forecast.ended(done(20))

    assert forecast.eta_s(job(Status.RUNNING)) == 15


def test_queued_job_waits_for_those_before_it_and_then_takes_as_long_as_others() -> None:
    forecast = Forecast(Clock(), places=4)
    forecast.ended(done(10))

    first = forecast.eta_s(job(Status.QUEUED, queue_position=1))
    ninth = forecast.eta_s(job(Status.QUEUED, queue_position=9))

    assert (first, ninth) == (10, 30)


def test_nothing_is_said_of_a_job_that_waits_for_a_model_or_has_ended() -> None:
    forecast = Forecast(Clock(), places=4)
    forecast.ended(done(10))

    assert forecast.eta_s(job(Status.QUEUED, queue_position=1, waiting_for=WaitingFor.MODEL)) is None
    assert forecast.eta_s(done(10)) is None
