"""Whoever wants a model waits for it, cancelled or not, and what nobody wants goes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from typing import Any

import pytest

from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.models import LoadedModel, Loader
from serve_app.errors import (
    InsufficientMemory,
    ModelLoadFailed,
    ModelNotReady,
    OutOfMemory,
    PullFailed,
    RecognizerLeaving,
    RecognizerUnavailable,
)
from serve_app.models.types import ModelState, Reason, UnloadOrder, VramUse
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing import FakeClock, FakeSleep
from serve_app.testing.gpu import GIB, FakeGpu

from .conftest import StandInWhisper

NEED = 3 * GIB


class Whisper(StandInWhisper):
    """Takes memory of a GPU, and gives back all but `residue`."""

    def __init__(self, gpu: FakeGpu | None, residue: int = 0) -> None:
        self._gpu = gpu
        self._residue = residue
        self.unloaded = []
        self.fails_to_unload = False

    def take(self) -> None:
        if self._gpu is not None:
            self._gpu.ours_bytes += NEED

    def unload_model(self, to_cpu: bool = False) -> None:
        super().unload_model(to_cpu)
        if self.fails_to_unload:
            raise RuntimeError("CUDA failed with error unspecified launch failure")
        if self._gpu is not None:
            self._gpu.ours_bytes -= NEED - self._residue


class Loads(Loader):
    """Gives a new model at each load, or raises what comes next."""

    def __init__(self, like: LoadedModel, gpu: FakeGpu | None) -> None:
        self._like = like
        self._gpu = gpu
        self.residue = 0
        self.asked: list[str] = []
        self.errors: deque[Exception] = deque()

    def weigh(self, model_id: str) -> int:
        return NEED if self._gpu is not None else 0

    def load(self, model_id: str, *, on_cpu: bool = False) -> LoadedModel:
        self.asked.append(model_id)
        if self.errors:
            raise self.errors.popleft()
        whisper = Whisper(None if on_cpu else self._gpu, self.residue)
        whisper.take()
        return LoadedModel(whisper, self._like.vocabulary, self._like.extractor, self._like.engine)

    def measured(self, model_id: str, taken_bytes: int) -> int:
        return taken_bytes + 1


class Steps(Executor):
    """Does what it is given when a test says so."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def step() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        self._waiting.append(step)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._waiting.clear()

    async def run(self) -> None:
        """Do all that was given, and all that follows from it."""
        await settle()
        while self._waiting:
            self._waiting.popleft()()
            await settle()


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


class Replica:
    """A keeper with everything that it needs, in the hands of a test."""

    def __init__(self, model: LoadedModel, *, gpu: FakeGpu | None = None, **rules: Any) -> None:
        self.gpu = gpu
        self.loads = Loads(model, gpu)
        self.steps = Steps()
        self._instants = 0
        self._clock = FakeClock()
        self._sleeps = FakeSleep(self._clock)
        self.keeper = ModelKeeper(
            self.loads,
            LifecycleSettings(**rules),
            gpu=gpu,
            replica_id="replica",
            executor=self.steps,
            now=self._clock,
            utc=self.utc,
            sleep=self._sleeps,
        )

    async def advance(self, seconds: float) -> None:
        self._sleeps.advance(seconds)
        await self.steps.run()

    def utc(self) -> datetime:
        """Never the same twice."""
        self._instants += 1
        return self._clock.utc() + timedelta(microseconds=self._instants)

    def ask(self, model_id: str = "a", began_at: datetime | None = None) -> Caller:
        return Caller(self.keeper, model_id, began_at)

    async def state(self, model_id: str = "a") -> ModelState:
        await self.steps.run()
        return next(shot.state for shot in self.keeper.snapshot() if shot.model_id == model_id)

    async def load(self, model_id: str = "a") -> str:
        """Have it in memory, unused."""
        caller = self.ask(model_id)
        await self.steps.run()
        await caller.stop()
        return model_id

    async def unload(self, model_id: str = "a", *, force: bool = False) -> None:
        self.keeper.unload(UnloadOrder(1, model_id, self.utc(), force))
        await self.steps.run()


class Caller:
    """Somebody who uses a model until told to stop."""

    def __init__(self, keeper: ModelKeeper, model_id: str, began_at: datetime | None) -> None:
        self.model: LoadedModel | None = None
        self._enough = asyncio.Event()
        self.task = asyncio.create_task(self._use(keeper, model_id, began_at))

    async def _use(self, keeper: ModelKeeper, model_id: str, began_at: datetime | None) -> None:
        async with keeper.lease(model_id, began_at) as self.model:
            await self._enough.wait()

    async def stop(self) -> None:
        self._enough.set()
        await self.task


@pytest.fixture
async def replica(model: LoadedModel) -> AsyncIterator[Replica]:
    replica = Replica(model)
    yield replica
    await replica.keeper.close()


@pytest.fixture
async def gpu_replica(model: LoadedModel) -> AsyncIterator[Replica]:
    replica = Replica(model, gpu=FakeGpu(), unload_residue_bytes=GIB)
    yield replica
    await replica.keeper.close()


async def test_callers_who_want_the_same_model_share_one_load(replica: Replica) -> None:
    callers = [replica.ask() for _ in range(3)]

    await replica.steps.run()

    assert replica.loads.asked == ["a"]
    assert len({id(caller.model) for caller in callers}) == 1
    for caller in callers:
        await caller.stop()


async def test_a_caller_who_goes_away_does_not_stop_the_load(replica: Replica) -> None:
    gone, stays = replica.ask(), replica.ask()
    await settle()

    gone.task.cancel()
    await replica.steps.run()

    assert gone.task.cancelled()
    assert stays.model is not None
    await stays.stop()


async def test_a_caller_who_is_cancelled_at_the_moment_of_its_turn_gives_the_model_back(replica: Replica) -> None:
    first = replica.ask()
    await replica.steps.run()
    await first.stop()
    second = replica.ask()
    asyncio.get_running_loop().call_soon(second.task.cancel)

    await replica.steps.run()

    assert await replica.state() == ModelState.READY


async def test_a_failed_load_is_told_and_tried_again_by_the_next_caller(replica: Replica) -> None:
    replica.loads.errors.append(ModelLoadFailed("no such file"))
    caller = replica.ask()
    await replica.steps.run()
    with pytest.raises(ModelLoadFailed, match="no such file"):
        await caller.task
    assert await replica.state() == ModelState.FAILED

    again = replica.ask()
    await replica.steps.run()

    assert again.model is not None
    await again.stop()


@pytest.mark.parametrize(("error", "passes"), [(PullFailed("away"), True), (ModelLoadFailed("damaged"), False)])
async def test_a_failed_load_is_told_with_whether_the_next_may_do_better(
    replica: Replica, error: Exception, passes: bool
) -> None:
    replica.loads.errors.append(error)
    caller = replica.ask()
    await replica.steps.run()
    await asyncio.gather(caller.task, return_exceptions=True)

    [told] = replica.keeper.snapshot()

    assert (told.state, told.error_passes) == (ModelState.FAILED, passes)


async def test_a_loaders_own_accident_is_a_failed_load(replica: Replica) -> None:
    replica.loads.errors.append(KeyError("vocabulary"))
    caller = replica.ask()
    await replica.steps.run()

    with pytest.raises(ModelLoadFailed, match="a cannot be loaded"):
        await caller.task


async def test_idleness_frees_a_model_and_use_loads_it_again(replica: Replica) -> None:
    caller = replica.ask()
    await replica.steps.run()
    whisper = caller.model and caller.model.whisper
    await replica.advance(1000)
    assert await replica.state() == ModelState.BUSY
    await caller.stop()

    await replica.advance(299)
    assert await replica.state() == ModelState.READY
    await replica.advance(1)
    assert (await replica.state(), whisper.unloaded) == (ModelState.UNLOADED, [False])
    again = replica.ask()
    await replica.steps.run()

    assert replica.loads.asked == ["a", "a"]
    await again.stop()


async def test_who_holds_a_model_keeps_idleness_away(replica: Replica) -> None:
    async with asyncio.timeout(10):
        hold = replica.keeper.hold("a")
        entering = asyncio.create_task(hold.__aenter__())
        await replica.steps.run()
        await entering
        await replica.advance(1000)
        assert await replica.state() == ModelState.READY

        await hold.__aexit__(None, None, None)
        assert await replica.state() == ModelState.UNLOADED


async def test_preloading_says_why_a_model_is_there(replica: Replica) -> None:
    preload = asyncio.create_task(replica.keeper.preload(["a", "b"]))
    await replica.steps.run()
    await preload

    report = await asyncio.gather(replica.keeper.report(1), replica.steps.run())

    assert [(c.model_id, c.state, c.reason) for c in report[0].changes if c.state is ModelState.LOADING] == [
        ("a", ModelState.LOADING, Reason.PRELOAD),
        ("b", ModelState.LOADING, Reason.PRELOAD),
    ]


async def test_force_takes_a_model_from_who_uses_it_and_from_who_waits(replica: Replica) -> None:
    user = replica.ask()
    await replica.steps.run()
    await replica.unload()
    waiter = replica.ask()
    await replica.steps.run()

    await replica.unload(force=True)

    for caller in (user, waiter):
        with pytest.raises(ModelNotReady):
            await caller.task
    assert await replica.state() == ModelState.UNLOADED


async def test_an_order_of_a_clock_that_is_ahead_is_not_about_what_comes_later(replica: Replica) -> None:
    replica.keeper.unload(UnloadOrder(1, "a", replica.utc() + timedelta(hours=1), force=True))

    later = replica.ask()
    await replica.steps.run()

    assert later.model
    await later.stop()


async def test_a_batch_that_runs_keeps_the_weights_when_force_took_the_model_from_all(replica: Replica) -> None:
    user = replica.ask()
    await replica.steps.run()

    with replica.keeper.at_work("a"):
        await replica.unload(force=True)
        with pytest.raises(ModelNotReady):
            await user.task
        assert await replica.state() == ModelState.DRAINING

    assert await replica.state() == ModelState.UNLOADED


async def test_who_was_cancelled_when_force_came_is_cancelled(replica: Replica) -> None:
    user = replica.ask()
    await replica.steps.run()

    user.task.cancel()
    await replica.unload(force=True)

    assert user.task.cancelled()


async def test_work_that_runs_out_of_memory_is_done_when_there_is_more(gpu_replica: Replica) -> None:
    tries: list[LoadedModel] = []

    async def work(model: LoadedModel) -> str:
        tries.append(model)
        if len(tries) == 1:
            raise OutOfMemory("CUDA failed with error out of memory")
        return "heard"

    working = asyncio.create_task(gpu_replica.keeper.use("a", work))
    assert await gpu_replica.state() == ModelState.WAITING_FOR_GPU
    await gpu_replica.advance(30)

    assert await working == "heard"
    assert tries[0].whisper.unloaded == [False]
    assert tries[1] is not tries[0]


async def fit_nowhere(model: LoadedModel) -> None:
    """A chunk that is too large for any memory."""
    raise OutOfMemory("no memory")


async def test_work_that_runs_out_of_memory_whenever_its_model_was_loaded_ends(gpu_replica: Replica) -> None:
    working = asyncio.create_task(gpu_replica.keeper.use("a", fit_nowhere))
    await gpu_replica.steps.run()
    for _ in range(2):
        assert not working.done()
        await gpu_replica.advance(30)

    with pytest.raises(InsufficientMemory, match="smaller beam_size, or for a smaller model"):
        await working
    assert gpu_replica.loads.asked == ["a"] * 3
    assert await gpu_replica.state() == ModelState.READY


async def test_without_a_gpu_work_that_runs_out_of_memory_fails(replica: Replica) -> None:
    working = asyncio.create_task(replica.keeper.use("a", fit_nowhere))
    await replica.steps.run()

    with pytest.raises(InsufficientMemory):
        await working
    assert replica.loads.asked == ["a"]


async def test_without_a_gpu_a_load_that_finds_no_memory_has_failed(replica: Replica) -> None:
    replica.loads.errors.append(OutOfMemory("There is no room for a."))
    caller = replica.ask()
    await replica.steps.run()

    with pytest.raises(ModelLoadFailed, match=r"no room for a\. Give the machine more memory"):
        await caller.task


async def test_a_model_that_cannot_be_freed_is_gone_and_the_process_replaced(replica: Replica) -> None:
    caller = replica.ask()
    await replica.steps.run()
    assert caller.model is not None
    caller.model.whisper.fails_to_unload = True
    await caller.stop()

    await replica.unload()

    assert await replica.state() == ModelState.UNLOADED
    assert replica.keeper.must_recycle


async def test_a_process_that_is_to_be_replaced_takes_nothing_more(replica: Replica) -> None:
    with pytest.raises(RecognizerUnavailable), replica.keeper.at_work(await replica.load()):
        raise RuntimeError("CUDA failed with error unspecified launch failure")

    late = replica.ask()

    with pytest.raises(RecognizerLeaving):
        await late.task


async def test_who_comes_and_who_goes_gives_reason_to_report(replica: Replica) -> None:
    await replica.load()
    await replica.keeper.report(1)
    at_rest = replica.keeper.stirred.is_set()

    user = replica.ask()
    await settle()
    in_use = replica.keeper.stirred.is_set()
    await replica.keeper.report(2)
    await user.stop()

    assert (at_rest, in_use) == (False, True)
    assert replica.keeper.stirred.is_set()


async def test_a_device_that_fails_in_a_load_has_the_process_replaced(replica: Replica) -> None:
    replica.loads.errors.append(RecognizerUnavailable("The GPU failed while a was loaded."))
    caller = replica.ask()
    await replica.steps.run()

    with pytest.raises(RecognizerUnavailable, match="The GPU failed"):
        await caller.task
    assert replica.keeper.must_recycle


async def test_a_load_that_finds_no_room_is_tried_again_until_it_does(gpu_replica: Replica) -> None:
    gpu_replica.loads.errors.extend([OutOfMemory("no room")] * 2)
    caller = gpu_replica.ask()

    states = [await gpu_replica.state()]
    for _ in range(2):
        await gpu_replica.advance(30)
        states.append(await gpu_replica.state())

    assert states == [ModelState.WAITING_FOR_GPU, ModelState.WAITING_FOR_GPU, ModelState.BUSY]
    await caller.stop()


async def test_a_gpu_that_cannot_be_asked_is_tried(model: LoadedModel) -> None:
    replica = Replica(model)
    keeper = ModelKeeper(replica.loads, on_gpu=True, executor=replica.steps)
    async with asyncio.timeout(10):
        preload = asyncio.create_task(keeper.preload(["a"]))
        await replica.steps.run()
        await preload
    await keeper.close()

    assert replica.loads.asked == ["a"]


async def test_memory_is_measured_before_while_and_after_a_model_is_there(gpu_replica: Replica) -> None:
    caller = gpu_replica.ask()
    await gpu_replica.steps.run()
    await caller.stop()
    await gpu_replica.unload()

    [shot] = gpu_replica.keeper.snapshot()

    assert shot.vram == VramUse(NEED + 1, before_bytes=0, loaded_bytes=NEED, after_bytes=0)
    assert not gpu_replica.keeper.must_recycle


async def test_parked_weights_come_back_without_a_load(gpu_replica: Replica) -> None:
    caller = gpu_replica.ask()
    await gpu_replica.steps.run()
    first = caller.model
    await caller.stop()
    await gpu_replica.advance(60)
    assert await gpu_replica.state() == ModelState.PARKED
    assert first is not None
    assert first.whisper.unloaded == [True]


async def test_memory_that_does_not_come_back_has_the_process_replaced(gpu_replica: Replica) -> None:
    gpu_replica.loads.residue = 2 * GIB
    caller = gpu_replica.ask()
    await gpu_replica.steps.run()
    await caller.stop()

    await gpu_replica.unload()

    [report, _] = await asyncio.gather(gpu_replica.keeper.report(1), gpu_replica.steps.run())
    assert gpu_replica.keeper.must_recycle
    assert report.changes[-1].reason is Reason.RESIDUE


async def test_what_the_driver_does_not_list_as_ours_is_shown_and_decides_nothing(gpu_replica: Replica) -> None:
    assert gpu_replica.gpu is not None
    gpu_replica.gpu.lists_us = False
    caller = gpu_replica.ask()
    await gpu_replica.steps.run()
    await caller.stop()
    gpu_replica.gpu.others_bytes = 2 * GIB

    await gpu_replica.unload()

    [shot] = gpu_replica.keeper.snapshot()
    assert shot.vram == VramUse(NEED, before_bytes=0, loaded_bytes=NEED, after_bytes=2 * GIB)
    assert not gpu_replica.keeper.must_recycle


async def test_a_process_that_is_listed_from_its_first_load_on_held_nothing_before(gpu_replica: Replica) -> None:
    gpu = gpu_replica.gpu
    assert gpu is not None
    gpu.lists_us, gpu.others_bytes = False, GIB
    load = gpu_replica.loads.load

    def load_and_be_listed(model_id: str, *, on_cpu: bool = False) -> LoadedModel:
        gpu.lists_us = True
        return load(model_id, on_cpu=on_cpu)

    gpu_replica.loads.load = load_and_be_listed  # type: ignore[method-assign]
    caller = gpu_replica.ask()
    await gpu_replica.steps.run()
    await caller.stop()

    [shot] = gpu_replica.keeper.snapshot()
    assert shot.vram == VramUse(NEED + 1, before_bytes=0, loaded_bytes=NEED)


async def test_reports_go_on_while_loads_block_all_their_threads(model: LoadedModel) -> None:
    come = threading.Event()

    class Downloads(Loads):
        def weigh(self, model_id: str) -> int:
            come.wait()
            return 0

    gpu = FakeGpu()
    keeper = ModelKeeper(Downloads(model, gpu), LifecycleSettings(), gpu=gpu)
    wishes = [asyncio.create_task(keeper.preload([model_id])) for model_id in "abcdefgh"]
    await settle()
    try:
        async with asyncio.timeout(30):
            report = await keeper.report(1)
    finally:
        come.set()
        await keeper.close()
        await asyncio.gather(*wishes, return_exceptions=True)

    assert report.gpu == gpu.memory()


async def test_changes_are_told_until_a_report_was_taken(replica: Replica) -> None:
    caller = replica.ask()
    await replica.steps.run()

    first = await replica.keeper.report(1)
    await caller.stop()
    await replica.unload()
    second = await replica.keeper.report(2)
    replica.keeper.taken(1)
    third = await replica.keeper.report(3)

    assert [change.state for change in first.changes] == [ModelState.LOADING, ModelState.READY]
    assert second.changes[:2] == first.changes
    assert third.changes == second.changes[2:]
    assert replica.keeper.changed.is_set()
    replica.keeper.taken(3)
    assert not replica.keeper.changed.is_set()


async def test_a_snapshot_says_what_is_in_flight_and_when_idleness_comes(replica: Replica) -> None:
    caller = replica.ask()
    await replica.steps.run()
    [used] = replica.keeper.snapshot()
    await caller.stop()
    [idle] = replica.keeper.snapshot()

    assert (used.state, used.in_flight, used.unloads_at) == (ModelState.BUSY, 1, None)
    assert idle.last_used_at is not None
    assert idle.unloads_at is not None
    assert (idle.unloads_at - idle.last_used_at).total_seconds() == 300


async def test_who_waits_is_sent_away_when_the_keeper_closes(replica: Replica) -> None:
    waiting = replica.ask()
    await settle()

    await replica.keeper.close()

    with pytest.raises(RecognizerUnavailable):
        await waiting.task
    with pytest.raises(RecognizerUnavailable):
        await replica.ask().task


class TickingClock(FakeClock):
    """Time goes on while things are done: by a millisecond from one look to the next."""

    def __call__(self) -> float:
        self.advance(0.001)
        return super().__call__()


async def test_an_alarm_that_rings_early_while_time_goes_on_loses_no_instant(model: LoadedModel) -> None:
    clock, steps = TickingClock(), Steps()

    async def sleep(seconds: float) -> None:
        clock.advance(max(0.0, seconds - 0.0015))  # uvloop counts in whole milliseconds
        await asyncio.sleep(0)

    keeper = ModelKeeper(
        Loads(model, None), LifecycleSettings(unload_after_s=5), executor=steps, now=clock, utc=clock.utc, sleep=sleep
    )
    loaded = asyncio.create_task(keeper.preload(["a"]))

    await steps.run()
    await loaded
    await steps.run()

    assert [shot.state for shot in keeper.snapshot()] == [ModelState.UNLOADED]
    assert [change.state for change in (await keeper.report(1)).changes][-1] is ModelState.UNLOADED
    await keeper.close()


async def test_changed_rules_hold_for_what_is_idle_already(model: LoadedModel) -> None:
    clock, steps = FakeClock(), Steps()
    never = LifecycleSettings(unload_after_s=-1)
    keeper = ModelKeeper(Loads(model, None), never, executor=steps, now=clock, utc=clock.utc)
    loaded = asyncio.create_task(keeper.preload(["a"]))
    await steps.run()
    await loaded
    clock.advance(100)

    keeper.change_rules(LifecycleSettings(unload_after_s=50))
    await steps.run()

    assert [shot.state for shot in keeper.snapshot()] == [ModelState.UNLOADED]
    await keeper.close()
