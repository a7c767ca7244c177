"""Who gives way to whom, with real threads and a clock that only waits move."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.engine.batcher import Batcher
from serve_app.engine.decoding import PassKey, Utterance
from serve_app.engine.models import LoadedModel
from serve_app.engine.right_of_way import MOST_FIRST, RightOfWay, Turns, decode_in_turn
from serve_app.transcript.types import Task

from .conftest import StandInWhisper

PATIENCE_S = 60.0
STANDS_S = 0.2


class Walker:
    """Calls something in a thread of its own."""

    def __init__(self, walk: Any) -> None:
        self.arrived = threading.Event()
        self._thread = threading.Thread(target=self._go, args=(walk,))
        self._thread.start()

    def _go(self, walk: Any) -> None:
        walk()
        self.arrived.set()

    def arrives(self) -> bool:
        return self.arrived.wait(PATIENCE_S)

    def stays_away(self) -> bool:
        """Who does not stand still arrives within this."""
        return not self.arrived.wait(STANDS_S)


def test_the_background_goes_on_at_once_where_nothing_else_works() -> None:
    assert Walker(RightOfWay().giving(1)).arrives()


def test_the_background_stands_still_until_all_others_have_ended() -> None:
    way = RightOfWay()
    with way.taken(1):
        with way.taken(1):
            walker = Walker(way.giving(1))
        stood_still = walker.stays_away()

    assert stood_still
    assert walker.arrives()


def test_the_background_goes_on_when_it_has_waited_long_enough_in_all() -> None:
    now_s = iter([0.0, 10.0, 10.0, 10.0])
    way = RightOfWay(longest_s=0.001, now=lambda: next(now_s))
    with way.taken(1):
        give_way = way.giving(1)
        give_way()
        walker = Walker(give_way)

        assert walker.arrives()


def test_the_background_has_its_turn_although_others_never_cease() -> None:
    way = RightOfWay(longest_s=3600)
    with ExitStack() as others:
        others.enter_context(way.taken(1))
        give_way = way.giving(1)
        walker = Walker(give_way)
        for _ in range(MOST_FIRST):
            others.enter_context(way.taken(1))

        assert walker.arrives()
        assert Walker(give_way).arrives()


def test_a_batch_in_the_background_makes_no_step_while_another_one_works(
    model: LoadedModel, whisper: StandInWhisper
) -> None:
    whisper.says = [(" Ask not.", -0.1, 0.01)] * 2
    way = RightOfWay()
    with way.taken(1):
        walker = Walker(lambda: decode_in_turn(way, PassKey(model, 1000, 0, 5, 0.0, background=True), [utterance()]))
        decode_in_turn(way, PassKey(model, 1000, 0, 5, 0.0), [utterance()])
        stood_still = walker.stays_away()
        calls = len(whisper.calls)

    assert walker.arrives()
    assert (stood_still, calls, len(whisper.calls)) == (True, 1, 2)


def utterance() -> Utterance:
    return Utterance(np.zeros((80, 100), np.float32), (), Task.TRANSCRIBE, ("en",), False, False)


Change = int | Literal["end"]  # frames of a batch that somebody waits for and that begins, or one's end
CHANGES: st.SearchStrategy[list[Change]] = st.lists(st.integers(1, 9) | st.just("end"), max_size=100)


def changed(turns: Turns, change: Change, at_work: int) -> int:
    """How many are at work then."""
    if change != "end":
        turns.begin(change)
        return at_work + 1
    if at_work:
        turns.end()
    return max(0, at_work - 1)


def frames_of(change: Change) -> int:
    return 0 if change == "end" else change


@given(CHANGES, CHANGES, st.integers(1, 3))
def test_a_piece_may_go_when_nothing_else_works_and_after_eight_times_its_frames_without_a_pause(
    before: list[Change], after: list[Change], frames: int
) -> None:
    turns, at_work, passed, in_turn = Turns(), 0, 0, False
    for change in before:
        at_work = changed(turns, change, at_work)
    piece = turns.piece(frames)
    for change in after:
        at_work = changed(turns, change, at_work)
        passed = passed + frames_of(change) if at_work else 0
        in_turn = in_turn or passed >= MOST_FIRST * frames

        assert turns.may_go(piece) == (at_work == 0 or in_turn)


@given(CHANGES, st.integers(1, 4), st.integers(1, 3))
def test_beside_others_goes_no_more_than_a_ninth(changes: list[Change], together: int, frames: int) -> None:
    turns, at_work, gone = Turns(), 0, 0
    pieces = [turns.piece(frames) for _ in range(together)]
    for n, change in enumerate(changes, start=1):
        at_work = changed(turns, change, at_work)
        if at_work:
            going = [piece for piece in pieces if turns.may_go(piece)]
            gone += len(going) * frames
            pieces = [piece if piece not in going else turns.piece(frames) for piece in pieces]

        assert gone * MOST_FIRST <= sum(map(frames_of, changes[:n]))


class Device:
    """Batches that somebody waits for end when told to; one in the background ends at once, when it may go."""

    def __init__(self) -> None:
        self.begun = 0  # of those that somebody waits for
        self.waits: list[int] = []  # of each batch in the background, how many of the others began meanwhile
        self._turns = Turns()
        self._changed = asyncio.Condition()
        self._gate = asyncio.Semaphore(0)

    async def finish(self) -> None:
        self._gate.release()
        await settle()

    async def __call__(self, key: str, items: Sequence[int]) -> Sequence[int]:
        if key == "job":
            await self._wait(items[0])
            return items
        self.begun += 1
        await self._tell(lambda: self._turns.begin(1))
        await self._gate.acquire()
        await self._tell(self._turns.end)
        return items

    async def _wait(self, since: int) -> None:
        piece = self._turns.piece(1)
        async with self._changed:
            await self._changed.wait_for(lambda: self._turns.may_go(piece))
        self.waits.append(self.begun - since)

    async def _tell(self, change: Callable[[], None]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@example(["request"] * 12 + ["job"] + [None] * 10, 2)
@given(st.lists(st.sampled_from(["request", "another", "job", None]), max_size=80), st.integers(1, 3))
async def test_a_chunk_of_a_job_waits_for_eight_batches_of_requests_at_most(
    steps: list[str | None], concurrency: int
) -> None:
    device, jobs = Device(), 0
    batches: Batcher[str, int, int] = Batcher(
        device, largest=lambda _: 1, in_background=lambda key: key == "job", concurrency=concurrency
    )
    calls: list[asyncio.Task[int]] = []
    for step in steps:
        if step is None:
            await device.finish()
        elif step != "job" or len(device.waits) == jobs:  # the one before has been reached
            jobs += step == "job"
            calls.append(asyncio.create_task(batches.submit(device.begun, step)))
            await settle()
    for _ in steps:
        await device.finish()
    await asyncio.gather(*calls)
    await batches.close()

    assert len(device.waits) == jobs
    assert all(wait <= MOST_FIRST for wait in device.waits)
