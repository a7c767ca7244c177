"""Any sequence of verbs, against a model: nothing is lost, nothing ends twice, nobody writes who may not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serve_app.errors import IdempotencyMismatch, JobNotFound, LeaseLost, Superseded
from serve_app.jobs.job import Idempotency, Job, JobError, JobQuery, Lease, Priority, Status
from serve_app.jobs.sql import SqlJobStore, open_store
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock, InMemoryJobStore
from serve_app.transcript.types import TranscriptionFinished
from tests.postgres import Postgres
from tests.service.jobs.stores import ALICE, BOB, empty, new_job
from tests.unit.jobs.examples import chunk

T = TypeVar("T")

LEASE_S = 10.0
END = TranscriptionFinished(60.0, "en", 0.9)
OWNERS = (ALICE, BOB)


@dataclass
class Expected:
    """What the model knows of a job."""

    owner: str
    status: Status = Status.QUEUED
    attempts: int = 0
    token: str | None = None
    begun: bool = False
    got_on: bool = False  # a new chunk came in this attempt
    expires_s: float = 0.0
    not_before_s: float = 0.0
    chunks: set[tuple[int, int]] = field(default_factory=set)
    progress: int = 0
    ended: Job | None = None  # as it was when it ended
    forgotten: bool = False

    def end(self, status: Status) -> None:
        self.status, self.token = status, None

    def requeue(self, *, excused: bool = False) -> None:
        self.attempts -= excused and not self.got_on
        self.status, self.token, self.not_before_s = Status.QUEUED, None, 0.0

    def fall_silent(self) -> None:
        self.requeue(excused=self.token is not None and not self.begun)


class Backend:
    """A store, the loop it lives in, and how to empty it."""

    def __init__(self, runner: asyncio.Runner, clock: FakeClock, store: SqlJobStore | None) -> None:
        self._runner = runner
        self._store = store
        self.clock = clock

    def do(self, verb: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(verb)

    def fresh(self) -> JobStore:
        if self._store is None:
            return InMemoryJobStore(self.clock.utc)
        self.do(empty(self._store))
        return self._store


class JobStoreMachine(RuleBasedStateMachine):
    backend: Backend

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.do = self.backend.clock, self.backend.do
        self.store = self.backend.fresh()
        self.epoch = self.do(self.store.take_over())
        self.old_epoch: int | None = None
        self.jobs: dict[str, Expected] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}  # (owner, key) → (fingerprint, job id)
        self.leases: list[Lease] = []  # all that any runner ever held: the dead ones write, too
        self.submits = 0

    @initialize()
    def begin(self) -> None:
        """With work in the queue and work in hand, or most steps would find nothing to do."""
        for owner in (ALICE, BOB, ALICE):
            self.submit(owner, Priority.INTERACTIVE, "", "", True)
        self.claim()

    # Clients.

    @rule(
        owner=st.sampled_from(OWNERS),
        priority=st.sampled_from(Priority),
        key=st.sampled_from(["", "", "k1", "k2"]),
        fingerprint=st.sampled_from(["f1", "f2"]),
        webhook=st.booleans(),
    )
    def submit(self, owner: str, priority: Priority, key: str, fingerprint: str, webhook: bool) -> None:
        self.submits += 1
        job_id = f"job {self.submits}"
        idempotency = Idempotency(key, fingerprint) if key else None
        hook = "https://example.org/" if webhook else None
        new = new_job(job_id, owner, priority=priority, idempotency=idempotency, webhook_url=hook)
        known = self.keys.get((owner, key))
        if known and known[0] != fingerprint:
            with pytest.raises(IdempotencyMismatch):
                self.do(self.store.submit(new))
            return
        submitted = self.do(self.store.submit(new))
        assert submitted.created == (known is None)
        assert submitted.job.job_id == (known[1] if known else job_id)
        if known is None:
            self.jobs[job_id] = Expected(owner)
            if key:
                self.keys[owner, key] = (fingerprint, job_id)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def cancel(self, data: st.DataObject, owner: str) -> None:
        job_id, job = self._any_job(data)
        if job.owner != owner:
            with pytest.raises(JobNotFound):
                self.do(self.store.cancel(job_id, owner))
            return
        self.do(self.store.cancel(job_id, owner))
        if not job.status.ended:
            job.end(Status.CANCELLED)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        job_id, _ = self._any_job(data)
        self.do(self.store.purge(job_id))
        del self.jobs[job_id]
        self.keys = {key: known for key, known in self.keys.items() if known[1] != job_id}

    @precondition(lambda self: any(job.status.ended for job in self.jobs.values()))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from([i for i, job in self.jobs.items() if job.status.ended]))
        self.do(self.store.forget_text(job_id))
        job = self.jobs[job_id]
        job.forgotten, job.chunks = True, set()
        job.ended = replace(job.ended, forgotten=True) if job.ended else None

    # Coordinators.

    @rule()
    def take_over(self) -> None:
        self.old_epoch, self.epoch = self.epoch, self.do(self.store.take_over())
        for job in self.jobs.values():
            if not job.status.ended:
                job.fall_silent()

    @precondition(lambda self: self.old_epoch is not None)
    @rule()
    def claim_as_an_old_instance(self) -> None:
        assert self.old_epoch is not None
        with pytest.raises(Superseded):
            self.do(self.store.claim(self.old_epoch, lease_s=LEASE_S))

    @rule()
    def requeue_expired(self) -> None:
        expired = [job for job in self.jobs.values() if job.token and job.expires_s <= self.clock.now_s]
        assert len(self.do(self.store.requeue_expired())) == len(expired)
        for job in expired:
            job.fall_silent()

    # Runners.

    @rule()
    def claim(self) -> None:
        due = {
            job_id
            for job_id, job in self.jobs.items()
            if job.status is Status.QUEUED and job.not_before_s <= self.clock.now_s
        }
        claim = self.do(self.store.claim(self.epoch, lease_s=LEASE_S))
        assert (claim is None) == (not due)
        if claim is None:
            return
        assert claim.lease.job_id in due
        job = self.jobs[claim.lease.job_id]
        assert {(c.channel, c.index) for c in claim.known} == job.chunks
        job.attempts += 1
        assert claim.attempt == job.attempts
        job.status, job.token, job.expires_s = Status.RUNNING, claim.lease.token, self.clock.now_s + LEASE_S
        job.begun = job.got_on = False
        self.leases.append(claim.lease)

    @rule(data=st.data(), index=st.integers(0, 6), channel=st.integers(0, 1))
    def record(self, data: st.DataObject, index: int, channel: int) -> None:
        lease = self._any_lease(data)
        if job := self._write(lease, self.store.record(lease, chunk(index, channel=channel))):
            if (channel, index) not in job.chunks:
                job.begun = job.got_on = True
            job.chunks.add((channel, index))

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        lease = self._any_lease(data)
        if job := self._write(lease, self.store.extend(lease, lease_s=LEASE_S)):
            job.expires_s, job.begun = self.clock.now_s + LEASE_S, True

    @rule(data=st.data(), wait_s=st.sampled_from([0, 5]), excused=st.booleans())
    def release(self, data: st.DataObject, wait_s: int, excused: bool) -> None:
        lease = self._any_lease(data)
        not_before_s = self.clock.now_s + wait_s if wait_s else 0.0
        not_before = FakeClock(not_before_s).utc() if wait_s else None
        if job := self._write(lease, self.store.release(lease, not_before=not_before, excused=excused)):
            job.requeue(excused=excused)
            job.not_before_s = not_before_s

    @rule(data=st.data(), works=st.booleans())
    def finish_or_fail(self, data: st.DataObject, works: bool) -> None:
        lease = self._any_lease(data)
        verb = self.store.record(lease, END) if works else self.store.fail(lease, JobError("code", "Why."))
        if job := self._write(lease, verb):
            job.end(Status.DONE if works else Status.FAILED)

    @rule(seconds=st.sampled_from([1, 4, 11, 11, -3]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    def _write(self, lease: Lease, verb: Coroutine[Any, Any, object]) -> Expected | None:
        """The job that was written to; None when the lease is lost, and then the store has to know it."""
        job = self.jobs.get(lease.job_id)
        if job is None or job.token != lease.token or job.expires_s <= self.clock.now_s:
            with pytest.raises(LeaseLost):
                self.do(verb)
            return None
        self.do(verb)
        return job

    def _any_lease(self, data: st.DataObject) -> Lease:
        return data.draw(st.sampled_from(self.leases[-4:]))

    def _any_job(self, data: st.DataObject) -> tuple[str, Expected]:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        return job_id, self.jobs[job_id]

    # What always holds.

    @invariant()
    def nothing_is_lost_and_nothing_comes_back(self) -> None:
        page = self.do(self.store.page(JobQuery(limit=1000)))
        found = {job.job_id: job for job in page.jobs}

        assert {job_id: job.status for job_id, job in found.items()} == {i: job.status for i, job in self.jobs.items()}
        queued = [job.queue_position for job in page.jobs if job.queue_position is not None]
        assert sorted(queued) == list(range(1, len(queued) + 1))
        for job_id, job in found.items():
            self._check_job(job, self.jobs[job_id])

    def _check_job(self, job: Job, expected: Expected) -> None:
        assert job.attempts == expected.attempts
        assert job.progress >= expected.progress
        assert (job.progress == 100) == (job.status is Status.DONE)
        expected.progress = job.progress
        if job.status.ended:
            expected.ended = expected.ended or job
            assert job == expected.ended

    @invariant()
    def events_tell_what_happened_once_and_in_order(self) -> None:
        for job_id, expected in self.jobs.items():
            events = self.do(self.store.events(job_id, after_seq=0, limit=1000))
            stored = self.do(self.store.chunks(job_id))
            segments = [event.data["index"] for event in events if event.kind == "segment"]
            percents = [event.data["percent"] for event in events if event.kind == "progress"]
            ends = [event.kind for event in events if event.kind in set(Status) - {Status.QUEUED}]

            assert sorted((c.channel, c.index) for c in stored) == sorted(expected.chunks)
            assert segments == list(range(sum(len(c.segments) for c in stored)))
            assert percents == sorted(set(percents))
            assert ends == ([expected.status] if expected.status.ended else [])
            if not expected.forgotten:
                assert [event.seq for event in events] == list(range(1, len(events) + 1))

    @invariant()
    def each_end_makes_one_delivery(self) -> None:
        for job_id, expected in self.jobs.items():
            job = self.do(self.store.get(job_id))
            deliveries = self.do(self.store.deliveries(job_id))

            assert len(deliveries) == bool(expected.status.ended and job.webhook_url)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    clock = FakeClock()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        if request.param == "memory":
            yield Backend(runner, clock, None)
            return
        server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
        store = runner.run(open_store(server.url if server else tmp_path / "jobs.sqlite3", clock.utc))
        yield Backend(runner, clock, store)
        runner.run(store.close())


COST = {"memory": 1, "sqlite": 10, "postgres": 10}  # of an example


@pytest.mark.hypothesis
def test_any_sequence_of_verbs_keeps_every_promise(backend: Backend, request: pytest.FixtureRequest) -> None:
    machine = type("Machine", (JobStoreMachine,), {"backend": backend})
    cost = COST[request.node.callspec.params["backend"]]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=settings().max_examples // cost,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
