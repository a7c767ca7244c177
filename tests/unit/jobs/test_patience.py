from __future__ import annotations

from dataclasses import replace

from serve_app.jobs.job import JobError
from serve_app.jobs.patience import given_up, wait_s
from tests.unit.jobs.examples import claim

DIED = JobError("recognizer_unavailable", "It died.")


def test_job_is_given_up_after_so_many_attempts_without_progress() -> None:
    outcomes = [given_up(replace(claim(), failures=n, last_error=DIED), 2) for n in range(4)]

    why = JobError(DIED.code, "Given up after 2 attempts without progress. The last: It died.")
    assert outcomes == [None, None, why, why]


def test_attempts_that_fell_silent_leave_that_as_the_reason() -> None:
    why = given_up(replace(claim(), failures=2), 2)

    assert why is not None
    assert why.message.endswith("The attempt fell silent.")


def test_wait_doubles_up_to_a_minute() -> None:
    waits = [wait_s(replace(claim(), waits=n), 2.0) for n in (*range(7), 10_000)]

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
