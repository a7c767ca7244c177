from __future__ import annotations

from dataclasses import replace

from serve_app.jobs.job import JobError
from serve_app.jobs.patience import Patience
from tests.unit.jobs.examples import chunk, claim

DIED = JobError("recognizer_unavailable", "It died.")


def test_job_is_given_up_after_so_many_attempts_without_progress() -> None:
    patience, work = Patience(2, 1.0), claim()

    outcomes = []
    for _ in range(2):
        assert patience.begin(work) is None
        outcomes.append(patience.died(work, DIED))

    assert outcomes[0] is None
    assert outcomes[1] == JobError(DIED.code, "Given up after 2 attempts without progress. The last: It died.")


def test_attempts_that_fell_silent_count_as_dead() -> None:
    patience, work = Patience(2, 1.0), claim()
    patience.begin(work)
    patience.begin(work)

    given_up = patience.begin(work)

    assert given_up is not None
    assert given_up.message.endswith("The attempt fell silent.")


def test_progress_begins_the_count_anew() -> None:
    patience, work = Patience(2, 1.0), claim()

    for n in range(10):
        work = replace(work, known=tuple(chunk(i) for i in range(n)))
        assert patience.begin(work) is None
        assert patience.died(work, DIED) is None


def test_excused_attempt_does_not_count() -> None:
    patience, work = Patience(1, 1.0), claim()

    for _ in range(10):
        assert patience.begin(work) is None
        patience.excuse(work)


def test_wait_doubles_up_to_a_minute() -> None:
    patience, work = Patience(100, 2.0), claim()

    waits = []
    for _ in range(8):
        patience.begin(work)
        waits.append(patience.wait_s(work))

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_job_that_ended_leaves_nothing_behind() -> None:
    patience, work = Patience(1, 1.0), claim()
    patience.begin(work)

    patience.forget(work.lease.job_id)

    assert patience.begin(work) is None
