"""
Batches of work from many callers: equal keys together, the most overdue first.

While a batch runs the queue grows, so under load batches fill by themselves; only an idle batcher waits for company.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from bisect import insort
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serve_app.engine.alarm import Alarm
from serve_app.errors import RecognizerUnavailable

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

STEP_S = 0.5
"""How much later each further item of one caller is due than its first."""
LONGEST_DELAY_S = 10.0
"""So nothing starves, an item yields for no longer than this to what came after it."""
LATELY_S = 2.0
"""Who came not longer ago will soon come again; the model's own threads should not all be in the middle of something then. Short,
because a file alone takes longer in one place than in two."""
COMPANION_S = 0.25
"""How much sooner a key is due for each companion that it would fill a batch with."""


@dataclass(slots=True, order=True)
class _Entry(Generic[Item, Result]):
    due: float  # clock seconds
    place: int  # order of arrival, breaks ties
    item: Item = field(compare=False)
    answer: asyncio.Future[Result] = field(compare=False)
    context: contextvars.Context = field(compare=False)  # of its caller


class Batcher(Generic[Key, Item, Result]):
    """
    Runs `work(key, items)` on batches of items that were submitted with equal keys.

    Each item has a due time: its arrival plus `STEP_S` for each item of the same caller before it (its index), at most
    `LONGEST_DELAY_S`. The next batch is of the key whose first item is due first, where each companion in the queue makes a key
    due `COMPANION_S` sooner: full batches are cheaper for everyone. A batch runs in the context of the first of its callers.

    Items in the background, where nobody waits, have places of their own, so neither side takes one from the other: `work` is to
    see to it that a batch of theirs gives way to others that run. For `LATELY_S` after one of these they have one place less, unless
    there is but one.

    Args:
        work: Gets a key and items, gives one result for each, in order.
        largest: Most items of a batch of this key.
        in_background: Whether items of this key have the places in the background.
        wait_s: How long an idle batcher waits for a batch to fill.
        concurrency: Batches that run at the same time; and as many in the background.
        now: A clock in seconds.
        sleep: Waits for seconds of that clock.
    """

    def __init__(
        self,
        work: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        largest: Callable[[Key], int],
        in_background: Callable[[Key], bool] = lambda key: False,
        wait_s: float = 0.0,
        concurrency: int = 1,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._work = work
        self._largest = largest
        self._in_background = in_background
        self._wait_s = wait_s
        self._concurrency = concurrency
        self._now = now
        self._sleep = sleep
        self._queues: dict[Key, list[_Entry[Item, Result]]] = {}
        self._running: dict[asyncio.Task[None], Key] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._arrivals = 0
        self._free_again = Alarm(self._fill, now, sleep)
        self._last_s = -math.inf  # when there was something outside the background
        self._closed = False

    @property
    def queued(self) -> int:
        """Items that no batch has taken yet."""
        return sum(map(len, self._queues.values()))

    async def submit(self, item: Item, key: Key, *, index: int = 0) -> Result:
        """
        Queue an item and wait for its result. Cancelling takes it out of the queue.

        Args:
            item: What to work on.
            key: Only items of an equal key share its batch.
            index: Its place among the items of its caller; later ones yield to other callers' first ones.

        Raises:
            RecognizerUnavailable: The batcher is closed.
            Exception: Whatever `work` raised for this item when it was alone in its batch.
        """
        if self._closed:
            raise RecognizerUnavailable("The recogniser is stopping.")
        self._note(key)
        entry = self._entry(item, min(index * STEP_S, LONGEST_DELAY_S))
        insort(self._queues.setdefault(key, []), entry)
        self._start()
        try:
            return await entry.answer
        finally:
            self._remove(key, entry)

    async def close(self) -> None:
        """Refuse what is queued and wait for the batches that run."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        self._free_again.stop()
        for entry in [entry for queue in self._queues.values() for entry in queue]:
            _settle(entry, RecognizerUnavailable("The recogniser is stopping."))
        self._queues.clear()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _note(self, key: Key) -> None:
        if not self._in_background(key):
            self._last_s = self._now()

    def _entry(self, item: Item, delay_s: float) -> _Entry[Item, Result]:
        self._arrivals += 1
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        return _Entry(self._now() + delay_s, self._arrivals, item, answer, contextvars.copy_context())

    def _remove(self, key: Key, entry: _Entry[Item, Result]) -> None:
        queue = self._queues.get(key, [])
        if entry in queue:
            queue.remove(entry)
        if not queue:
            self._queues.pop(key, None)

    def _start(self) -> None:
        idle = not self._running
        if idle and self._wait_s > 0 and not self._has_full_batch():
            if self._waiting is None:
                self._waiting = asyncio.create_task(self._wait_for_company())
            return
        self._fill()

    def _has_full_batch(self) -> bool:
        return any(len(queue) >= self._largest(key) for key, queue in self._queues.items())

    async def _wait_for_company(self) -> None:
        await self._sleep(self._wait_s)
        self._waiting = None
        self._fill()

    def _fill(self) -> None:
        while startable := list(filter(self._has_place, self._queues)):
            key = min(startable, key=self._due)
            batch = self._take(key)
            task = asyncio.create_task(self._run(key, batch), context=batch[0].context)
            self._running[task] = key
            task.add_done_callback(self._finished)
        if self._leaves_a_place and any(map(self._in_background, self._queues)):
            self._free_again.set(self._last_s + LATELY_S)

    @property
    def _leaves_a_place(self) -> bool:
        return self._now() < self._last_s + LATELY_S

    def _has_place(self, key: Key) -> bool:
        in_background = self._in_background(key)
        running = sum(self._in_background(other) == in_background for other in self._running.values())
        leaves_one = in_background and self._leaves_a_place
        return running < max(1, self._concurrency - leaves_one)

    def _due(self, key: Key) -> tuple[float, int]:
        queue = self._queues[key]
        companions = min(len(queue), self._largest(key)) - 1
        return queue[0].due - companions * COMPANION_S, queue[0].place

    def _take(self, key: Key) -> list[_Entry[Item, Result]]:
        queue = self._queues[key]
        batch = queue[: self._largest(key)]
        del queue[: len(batch)]
        if not queue:
            del self._queues[key]
        return batch

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._note(self._running.pop(task))
        self._fill()

    async def _run(self, key: Key, batch: list[_Entry[Item, Result]]) -> None:
        try:
            results = await self._work(key, [entry.item for entry in batch])
            answers = list(zip(batch, results, strict=True))
        except RecognizerUnavailable as error:  # nothing works here any more, alone or together
            for entry in batch:
                _settle(entry, error)
            return
        except Exception as error:
            await self._run_singly(key, batch, error)
            return
        for entry, result in answers:
            _settle(entry, result)

    async def _run_singly(self, key: Key, batch: list[_Entry[Item, Result]], error: Exception) -> None:
        # One item that cannot be worked on must not take its companions down with it.
        if len(batch) == 1:
            _settle(batch[0], error)
            return
        for entry in batch:
            if not entry.answer.done():
                await self._run(key, [entry])


def _settle(entry: _Entry[Item, Result], outcome: Result | Exception) -> None:
    if entry.answer.done():  # its caller has gone away
        return
    if isinstance(outcome, Exception):
        entry.answer.set_exception(outcome)
    else:
        entry.answer.set_result(outcome)
