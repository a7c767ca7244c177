"""Batches fill by themselves, answer everyone once, and starve nobody."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.engine.batcher import LATELY_S, LONGEST_DELAY_S, Batcher
from serve_app.errors import RecognizerUnavailable


class Worker:
    """Answers `key:item`, one batch each time it is let go on; an item that starts with "bad" fails its batch."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.running: list[str] = []
        self._gate = asyncio.Semaphore(0)
        self._held = held

    def finish(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._gate.release()

    async def __call__(self, key: str, items: Sequence[str]) -> Sequence[str]:
        self.batches.append((key, list(items)))
        self.running.append(key)
        if self._held:
            await self._gate.acquire()
        self.running.remove(key)
        if any(item.startswith("bad") for item in items):
            raise ValueError(f"cannot do {items}")
        return [f"{key}:{item}" for item in items]


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_s + seconds, sleeper))
        await sleeper

    async def advance(self, seconds: float) -> None:
        self.now_s += seconds
        for at, sleeper in self._sleepers:
            if at <= self.now_s and not sleeper.done():
                sleeper.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def in_background(key: str) -> bool:
    return key.startswith("job")


def batcher(
    worker: Worker, clock: Clock | None = None, *, size: int = 4, wait_s: float = 0.0, concurrency: int = 1
) -> Batcher[str, str, str]:
    clock = clock or Clock()
    return Batcher(
        worker,
        largest=lambda _: size,
        in_background=in_background,
        wait_s=wait_s,
        concurrency=concurrency,
        now=clock.now,
        sleep=clock.sleep,
    )


async def submit(
    batches: Batcher[str, str, str], items: Sequence[str], key: str = "k", *, index: int = 0
) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(batches.submit(item, key, index=index)) for item in items]
    await settle()
    return tasks


async def test_items_that_arrive_during_a_batch_share_the_next_one() -> None:
    worker = Worker(held=True)
    batches = batcher(worker)
    first = await submit(batches, ["a"])
    others = await submit(batches, ["b", "c", "d"])

    worker.finish(2)

    assert await asyncio.gather(*first, *others) == ["k:a", "k:b", "k:c", "k:d"]
    assert worker.batches == [("k", ["a"]), ("k", ["b", "c", "d"])]


async def test_an_idle_batcher_waits_for_company() -> None:
    worker, clock = Worker(), Clock()
    batches = batcher(worker, clock, wait_s=0.003)
    tasks = await submit(batches, ["a"])
    tasks += await submit(batches, ["b"])
    before = list(worker.batches)

    await clock.advance(0.003)

    assert before == []
    assert worker.batches == [("k", ["a", "b"])]
    assert await asyncio.gather(*tasks) == ["k:a", "k:b"]


async def test_a_full_batch_does_not_wait() -> None:
    worker = Worker()
    batches = batcher(worker, wait_s=60, size=2)

    tasks = await submit(batches, ["a", "b"])

    assert await asyncio.gather(*tasks) == ["k:a", "k:b"]
    await batches.close()


async def test_first_chunks_of_others_go_before_the_later_chunks_of_a_long_file() -> None:
    worker = Worker(held=True)
    batches = batcher(worker, size=1)
    tasks = await submit(batches, ["running"])
    for index in range(1, 4):
        tasks += await submit(batches, [f"long {index}"], index=index)
    tasks += await submit(batches, ["short"])

    worker.finish(5)
    await asyncio.gather(*tasks)

    assert [items for _, items in worker.batches] == [["running"], ["short"], ["long 1"], ["long 2"], ["long 3"]]


async def test_what_somebody_waits_for_starts_at_once_although_the_background_has_all_places() -> None:
    worker = Worker(held=True)
    batches = batcher(worker, size=1, concurrency=2)
    jobs = await submit(batches, ["a", "b", "c"], "job")
    requests = await submit(batches, ["d", "e", "f"])
    started = list(worker.batches)

    worker.finish(6)
    await asyncio.gather(*jobs, *requests)

    assert started == [("job", ["a"]), ("job", ["b"]), ("k", ["d"]), ("k", ["e"])]


async def test_the_background_leaves_a_place_free_for_a_while_after_somebody_waited() -> None:
    worker, clock = Worker(held=True), Clock()
    batches = batcher(worker, clock, size=1, concurrency=2)
    tasks = await submit(batches, ["a"])
    tasks += await submit(batches, ["b", "c", "d", "e"], "job")
    worker.finish()
    await settle()
    while_lately = list(worker.running)

    await clock.advance(LATELY_S)
    worker.finish()
    await settle()
    later = list(worker.running)
    worker.finish(5)
    await asyncio.gather(*tasks)

    assert (while_lately, later) == (["job"], ["job", "job"])


async def test_the_background_gets_its_place_back_also_when_nothing_comes_or_ends() -> None:
    worker, clock = Worker(held=True), Clock()
    batches = batcher(worker, clock, size=1, concurrency=2)
    tasks = await submit(batches, ["a"])
    tasks += await submit(batches, ["b", "c"], "job")
    worker.finish()
    await settle()
    while_lately = list(worker.running)

    await clock.advance(LATELY_S)
    later = list(worker.running)
    worker.finish(2)
    await asyncio.gather(*tasks)

    assert (while_lately, later) == (["job"], ["job", "job"])


async def test_a_batch_runs_in_the_context_of_its_first_caller() -> None:
    caller = contextvars.ContextVar("caller", default="nobody")
    seen = []

    async def work(_: str, items: Sequence[str]) -> Sequence[str]:
        seen.append(caller.get())
        await asyncio.sleep(0)
        return items

    async def call(name: str) -> None:
        caller.set(name)
        await batches.submit(name, "k")

    batches: Batcher[str, str, str] = Batcher(work, largest=lambda _: 1)
    await asyncio.gather(*(call(name) for name in "abc"))

    assert seen == ["a", "b", "c"]


async def test_what_cannot_work_any_more_is_not_tried_with_each_item_of_a_batch() -> None:
    tried = []

    async def work(_: str, items: Sequence[str]) -> Sequence[str]:
        tried.append(len(items))
        raise RecognizerUnavailable("The GPU failed.")

    batches: Batcher[str, str, str] = Batcher(work, largest=lambda _: 4, wait_s=0.001)
    answers = await asyncio.gather(*(batches.submit(item, "k") for item in "abcd"), return_exceptions=True)

    assert [type(answer) for answer in answers] == [RecognizerUnavailable] * 4
    assert tried == [4]


async def test_the_background_has_a_place_although_somebody_waits_for_each_of_the_others() -> None:
    worker = Worker(held=True)
    batches = batcher(worker, size=1, concurrency=2)
    requests = await submit(batches, ["a", "b", "c"])
    jobs = await submit(batches, ["d", "e"], "job")
    started = list(worker.batches)

    worker.finish(5)
    await asyncio.gather(*requests, *jobs)

    assert started == [("k", ["a"]), ("k", ["b"]), ("job", ["d"])]


async def test_the_last_chunk_of_a_long_file_is_not_starved_by_newcomers() -> None:
    worker, clock = Worker(held=True), Clock()
    batches = batcher(worker, clock, size=1)
    tasks = await submit(batches, ["running"])
    tasks += await submit(batches, ["late"], index=1000)
    for n in range(20):
        tasks += await submit(batches, [f"newcomer {n}"])
        await clock.advance(1.0)
        worker.finish()
        await settle()

    place = [items for _, items in worker.batches].index(["late"])
    worker.finish(3)
    await asyncio.gather(*tasks)

    assert place <= LONGEST_DELAY_S + 2


async def test_the_fuller_batch_goes_first_among_equals() -> None:
    worker = Worker(held=True)
    batches = batcher(worker)
    tasks = await submit(batches, ["running"])
    tasks += await submit(batches, ["lonely"], "short")
    tasks += await submit(batches, ["a", "b", "c"], "long")

    worker.finish(3)
    await asyncio.gather(*tasks)

    assert [key for key, _ in worker.batches] == ["k", "long", "short"]


async def test_a_cancelled_item_leaves_the_queue() -> None:
    worker = Worker(held=True)
    batches = batcher(worker)
    running = await submit(batches, ["a"])
    queued = await submit(batches, ["b", "c"])

    queued[0].cancel()
    worker.finish(2)
    await settle()

    assert worker.batches == [("k", ["a"]), ("k", ["c"])]
    assert queued[0].cancelled()
    assert await asyncio.gather(*running, queued[1]) == ["k:a", "k:c"]


async def test_cancelling_a_running_item_leaves_its_companions_alone() -> None:
    worker = Worker(held=True)
    batches = batcher(worker, wait_s=1, size=2)
    gone, kept = await submit(batches, ["a", "b"])

    gone.cancel()
    worker.finish()

    assert await kept == "k:b"
    assert batches.queued == 0


async def test_a_bad_item_does_not_fail_its_companions() -> None:
    worker = Worker()
    batches = batcher(worker, wait_s=1, size=3)

    good, bad, fine = await asyncio.gather(*await submit(batches, ["a", "bad", "c"]), return_exceptions=True)

    assert (good, fine) == ("k:a", "k:c")
    assert isinstance(bad, ValueError)


async def test_closing_refuses_the_queue_and_waits_for_the_running_batch() -> None:
    worker = Worker(held=True)
    batches = batcher(worker)
    running, queued = *await submit(batches, ["a"]), *await submit(batches, ["b"])
    closing = asyncio.create_task(batches.close())
    await settle()

    with pytest.raises(RecognizerUnavailable):
        await queued
    assert not closing.done()
    worker.finish()
    await closing
    assert await running == "k:a"
    with pytest.raises(RecognizerUnavailable):
        await batches.submit("c", "k")


Submission = tuple[str, int, bool]  # key, index, cancelled while queued


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", "job"]), st.integers(0, 50), st.booleans()), max_size=30),
    st.integers(1, 5),
)
async def test_everyone_gets_their_own_answer_exactly_once(submissions: list[Submission], size: int) -> None:
    worker = Worker(held=True)
    batches = batcher(worker, size=size)
    head = [*await submit(batches, ["head"], "head"), *await submit(batches, ["head"], "job head")]
    tasks = [
        asyncio.create_task(batches.submit(str(n), key, index=index)) for n, (key, index, _) in enumerate(submissions)
    ]
    await settle()
    for task, (_, _, cancelled) in zip(tasks, submissions, strict=True):
        if cancelled:
            task.cancel()
    await settle()

    worker.finish(2 + len(submissions))
    answers = await asyncio.gather(*head, *tasks, return_exceptions=True)

    kept = [(str(n), key) for n, (key, _, cancelled) in enumerate(submissions) if not cancelled]
    ran = [(item, key) for key, items in worker.batches[2:] for item in items]
    assert sorted(ran) == sorted(kept)
    assert all(len(items) <= size for _, items in worker.batches)
    for answer, (n, (key, _, cancelled)) in zip(answers[2:], enumerate(submissions), strict=True):
        assert isinstance(answer, asyncio.CancelledError) if cancelled else answer == f"{key}:{n}"


Step = str | None  # a key that somebody submits an item with; None: a batch ends


@given(st.lists(st.sampled_from(["x", "y", "job 1", "job 2", None]), max_size=60), st.integers(1, 3))
async def test_at_any_time_places_are_taken_and_only_by_whom_they_are_for(steps: list[Step], concurrency: int) -> None:
    worker = Worker(held=True)
    batches = batcher(worker, size=2, concurrency=concurrency)
    tasks: list[asyncio.Task[str]] = []
    asked: Counter[bool] = Counter()  # by whether it is in the background
    for step in steps:
        if step is not None:
            asked[in_background(step)] += 1
            tasks += await submit(batches, [step], step)
        elif worker.running:
            worker.finish()
            await settle()
        running = Counter(map(in_background, worker.running))
        started = Counter(in_background(key) for key, items in worker.batches for _ in items)
        places = {False: concurrency, True: max(1, concurrency - (asked[False] > 0))}

        assert all(running[kind] <= concurrency for kind in places)
        assert all(running[kind] >= places[kind] or started[kind] == asked[kind] for kind in places)

    worker.finish(len(tasks))
    assert len(await asyncio.gather(*tasks)) == len(tasks)
