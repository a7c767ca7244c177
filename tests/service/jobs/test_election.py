"""Several Coordinators on one store, as while a cluster is replaced by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import httpx
import pytest

from serve_app.errors import StoreUnavailable, Superseded
from serve_app.jobs.coordinator import Coordinator, Parts
from serve_app.jobs.job import Claim, Status
from serve_app.jobs.leadership import MOST_UNANSWERED, MOST_UNANSWERED_WANTED, Leadership
from serve_app.jobs.protocols import JobRunner
from serve_app.jobs.store import JobStore
from serve_app.settings import JobSettings, WebhookSettings
from serve_app.testing import InMemoryMediaStore
from serve_app.transcript.types import TranscriptionFinished
from tests.service.jobs.stores import Opened, new_job
from tests.unit.jobs.examples import chunk

END = TranscriptionFinished(60.0, "en", 0.9)
ENOUGH = 2 * MOST_UNANSWERED  # rounds


class TestStore:
    async def test_question_is_kept_until_the_leader_answers_and_is_answered_once(self, store: JobStore) -> None:
        epoch = await store.take_over("old")
        questions = [await store.ask("new", ready=False), await store.ask("new", ready=True)]
        answers = [await store.answer(epoch), await store.answer(epoch)]

        assert questions == [Leadership(1, "old", asked=True), Leadership(1, "old", asked=True, wanted=True)]
        assert answers == 2 * [Leadership(1, "old", answers=1, wanted=True)]

    async def test_who_takes_over_finds_who_led_before(self, store: JobStore) -> None:
        for cluster in ("a", "b", "c", "b"):
            epoch = await store.take_over(cluster)

        assert await store.answer(epoch) == Leadership(4, "b", former=("a", "c"))

    async def test_leader_that_resigns_leads_no_more_and_is_remembered(self, store: JobStore) -> None:
        await store.resign(await store.take_over("old"))

        assert await store.ask("new", ready=True) == Leadership(1, "old", asked=True, wanted=True, vacant=True)

    async def test_leader_that_resigns_for_good_leaves_the_lead_to_anyone_and_is_remembered(
        self, store: JobStore
    ) -> None:
        await store.take_over("older")
        await store.resign(await store.take_over("old"), for_good=True)

        assert await store.ask("new", ready=False) == Leadership(2, None, ("older", "old"), asked=True, vacant=True)

    async def test_of_two_who_would_take_over_at_once_one_does(self, opened: Opened) -> None:
        other = await opened.again()
        known = await opened.store.ask("new", ready=True)
        outcomes = await asyncio.gather(
            *(store.take_over("new", after=known.epoch) for store in (opened.store, other)), return_exceptions=True
        )

        assert [outcome for outcome in outcomes if outcome == 1] == [1]
        assert [type(outcome) for outcome in outcomes if outcome != 1] == [Superseded]

    async def test_older_leader_neither_answers_nor_resigns(self, store: JobStore) -> None:
        old = await store.take_over("old")
        await store.take_over("new")

        with pytest.raises(Superseded):
            await store.answer(old)
        with pytest.raises(Superseded):
            await store.resign(old)


class Work:
    """
    What runners of all clusters do: a chunk, then a wait for the end.

    Attributes:
        began: Job and cluster of each attempt.
        at_work: Jobs that somebody works on now.
    """

    def __init__(self) -> None:
        self.began: list[tuple[str, str]] = []
        self.at_work: set[str] = set()
        self.may_end = asyncio.Event()
        self._changed = asyncio.Condition()

    async def attempt(self, claim: Claim, cluster: str, coordinator: Coordinator) -> None:
        job_id = claim.lease.job_id
        assert job_id not in self.at_work, "run twice at once"
        self.began.append((job_id, cluster))
        self.at_work.add(job_id)
        try:
            await coordinator.jobs.extend(claim.lease)
            if job_id == "with a checkpoint" and not claim.known:
                await coordinator.jobs.record(claim.lease, chunk(0))
            await self._tell()
            await self.may_end.wait()
            await coordinator.jobs.record(claim.lease, END)
        finally:
            self.at_work.discard(job_id)
            await self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Looks:
    """Time as an election sees it: it goes on when the test says so."""

    def __init__(self) -> None:
        self._asleep = asyncio.Event()
        self._woken = asyncio.Event()

    async def sleep(self, _: float) -> None:
        self._asleep.set()
        await self._woken.wait()
        self._woken.clear()

    async def once(self) -> None:
        async with asyncio.timeout(20):
            await self.begun()
            self._asleep.clear()
            self._woken.set()
            await self.begun()

    async def begun(self) -> None:
        await self._asleep.wait()


class Cut:
    """A store whose connection can be cut."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        if self.is_cut and name != "close":
            raise StoreUnavailable("The database is away.")
        return getattr(self._store, name)


class Cluster(JobRunner):
    """A Coordinator, and the runners that it alone gives jobs to."""

    def __init__(self, name: str, store: JobStore, opened: Opened, work: Work, *, ready: bool) -> None:
        self.name, self.ready, self._work = name, ready, work
        self._store, self._looks = Cut(store), Looks()
        self.coordinator = Coordinator(
            Parts(
                open_store=self._open,
                media=InMemoryMediaStore(),
                runner=self,
                settings=JobSettings(),
                webhooks=WebhookSettings(),
                webhook_secret=None,
                client=httpx.AsyncClient(),
                clock=opened.clock.utc,
                cluster=name,
                is_ready=self._is_ready,
                sleep=self._looks.sleep,
            )
        )

    async def start(self) -> None:
        self.coordinator.start()
        await self._looks.begun()

    async def look(self) -> None:
        self.coordinator.check()
        await self._looks.once()

    async def die(self) -> None:
        """As by a power cut: nothing is given back."""
        self._store.is_cut = True
        await self.coordinator.close()

    async def run(self, claim: Claim) -> None:
        await self._work.attempt(claim, self.name, self.coordinator)

    async def _open(self) -> JobStore:
        return cast("JobStore", self._store)

    async def _is_ready(self) -> bool:
        return self.ready


class Upgrade:
    """A cluster with two jobs at work, and another that comes up beside it."""

    JOBS = ("with a checkpoint", "without")

    def __init__(self, opened: Opened, stack: AsyncExitStack) -> None:
        self._opened, self._stack = opened, stack
        self.work = Work()

    async def begin(self) -> None:
        self.old = await self.cluster("old", ready=True)
        for job_id in self.JOBS:
            await self.old.coordinator.jobs.submit(new_job(job_id))
        await self.work.until(lambda: self.work.at_work == set(self.JOBS))
        self.new = await self.cluster("new", ready=False)

    async def cluster(self, name: str, *, ready: bool) -> Cluster:
        cluster = Cluster(name, await self._opened.again(), self._opened, self.work, ready=ready)
        self._stack.push_async_callback(cluster.coordinator.close)
        await cluster.start()
        return cluster

    async def hand_over(self) -> None:
        self.new.ready = True
        await self.rounds(self.old, self.new)
        await self.work.until(lambda: self.attempts("new") == set(self.JOBS))

    async def end(self) -> None:
        self.work.may_end.set()
        await self.work.until(lambda: not self.work.at_work)

    async def rounds(self, *clusters: Cluster, n: int = ENOUGH) -> None:
        for _ in range(n):
            for cluster in clusters:
                await cluster.look()

    def attempts(self, cluster: str) -> set[str]:
        return {job_id for job_id, by in self.work.began if by == cluster}

    async def leaders(self) -> int:
        """How many there were, one after the other."""
        return (await self._opened.store.ask("nobody", ready=False)).epoch


@pytest.fixture
async def upgrade(opened: Opened) -> AsyncIterator[Upgrade]:
    async with AsyncExitStack() as stack:
        upgrade = Upgrade(opened, stack)
        await upgrade.begin()
        yield upgrade


class TestUpgrade:
    async def test_cluster_that_is_not_ready_changes_nothing(self, upgrade: Upgrade) -> None:
        await upgrade.rounds(upgrade.old, upgrade.new)

        assert (await upgrade.leaders(), upgrade.attempts("new")) == (1, set())
        assert upgrade.work.at_work == set(Upgrade.JOBS)

    async def test_lead_changes_hands_once_and_no_job_is_lost_or_run_twice_at_once(self, upgrade: Upgrade) -> None:
        await upgrade.hand_over()
        await upgrade.end()
        jobs = {job_id: (await upgrade.old.coordinator.jobs.get(job_id, None)).job for job_id in Upgrade.JOBS}

        assert await upgrade.leaders() == 2
        assert len(upgrade.work.began) == 4
        assert {job.status for job in jobs.values()} == {Status.DONE}
        assert jobs["without"].attempts == 1, "what is handed over is no failure"

    async def test_older_cluster_never_takes_the_lead_back_and_serves_on(self, upgrade: Upgrade) -> None:
        await upgrade.hand_over()
        again = await upgrade.cluster("old", ready=True)
        await upgrade.rounds(upgrade.old, again, upgrade.new)
        submitted = await upgrade.old.coordinator.jobs.submit(new_job("through the older one"))
        cancelled = await again.coordinator.jobs.cancel("without", None)
        await upgrade.new.coordinator.jobs.submit(new_job("through the newer one"))
        await upgrade.work.until(lambda: submitted.job.job_id in upgrade.attempts("new"))

        assert await upgrade.leaders() == 2
        assert cancelled.job.status is Status.CANCELLED
        assert upgrade.attempts("old") == set(Upgrade.JOBS)

    async def test_lead_comes_back_when_the_new_cluster_dies(self, upgrade: Upgrade) -> None:
        await upgrade.hand_over()
        await upgrade.new.die()
        before = len(upgrade.work.began)
        await upgrade.rounds(upgrade.old)
        await upgrade.work.until(lambda: len(upgrade.work.began) == before + 2)
        revived = await upgrade.cluster("new", ready=True)
        await upgrade.rounds(upgrade.old, revived)
        await upgrade.end()
        jobs = [(await upgrade.old.coordinator.jobs.get(job_id, None)).job for job_id in Upgrade.JOBS]

        assert await upgrade.leaders() == 3
        assert [by for _, by in upgrade.work.began[before:]] == ["old", "old"]
        assert [job.status for job in jobs] == [Status.DONE, Status.DONE]

    async def test_service_that_starts_anew_after_the_last_one_was_killed_goes_on_soon(self, upgrade: Upgrade) -> None:
        await upgrade.old.die()
        upgrade.new.ready = True
        await upgrade.rounds(upgrade.new, n=MOST_UNANSWERED_WANTED)
        await upgrade.work.until(lambda: upgrade.attempts("new") == set(Upgrade.JOBS))

        assert await upgrade.leaders() == 2

    async def test_service_that_was_stopped_in_order_is_followed_at_once_by_one_that_is_not_ready(
        self, upgrade: Upgrade
    ) -> None:
        await upgrade.old.coordinator.close(for_good=True)
        left = set(upgrade.work.at_work)
        await upgrade.rounds(upgrade.new, n=1)
        await upgrade.work.until(lambda: upgrade.attempts("new") == set(Upgrade.JOBS))

        assert (left, await upgrade.leaders()) == (set(), 2)

    async def test_coordinator_that_is_replaced_leaves_the_lead_to_its_own_cluster(self, upgrade: Upgrade) -> None:
        await upgrade.old.coordinator.close()
        await upgrade.rounds(upgrade.new)
        await upgrade.cluster("old", ready=False)
        await upgrade.work.until(lambda: len(upgrade.work.began) == 4)

        assert (upgrade.attempts("new"), await upgrade.leaders()) == (set(), 2)

    async def test_database_that_is_away_for_long_makes_nobody_take_over(self, upgrade: Upgrade) -> None:
        upgrade.old._store.is_cut = upgrade.new._store.is_cut = True
        await upgrade.rounds(upgrade.new)
        upgrade.old._store.is_cut = upgrade.new._store.is_cut = False
        await upgrade.rounds(upgrade.new, upgrade.old)

        assert await upgrade.leaders() == 1
