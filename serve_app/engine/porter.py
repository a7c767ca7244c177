"""Carries weights to where the machine wants them, in threads, and tells it how that ended."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from serve_app.engine.meter import Meter
from serve_app.engine.resident import AskMemory, Free, Load, Park, Weigh
from serve_app.engine.residents import Residents
from serve_app.engine.weights import Loaded, Weights
from serve_app.errors import GpuLost, ModelLoadFailed, OutOfMemory, RayscribeError, RecognizerUnavailable
from serve_app.models.types import GpuMemory
from serve_app.telemetry.metrics import MODEL_LOAD_FAILURES, MODEL_LOADS
from serve_app.telemetry.tally import Tally

T = TypeVar("T")

UNKNOWN = GpuMemory(sys.maxsize, sys.maxsize, 0)
"""Of a GPU that cannot be asked: each load is tried."""

logger = logging.getLogger(__name__)


class Porter:
    """
    What blocks, done in threads.

    Args:
        residents: Is told.
        weights: What is carried.
        executor: Where.
        meter: None: there is no GPU, or it cannot be asked.
        on_gpu: Models run on one.
        residue_bytes: So much may stay on it when the last model was freed.
        now: A clock in seconds.
        ended: Called after each end, with the memory that was asked for.
        tally: Where loads are counted.

    Attributes:
        must_recycle: More stayed, or the GPU has failed: the process is to be replaced.
    """

    def __init__(
        self,
        residents: Residents,
        weights: Weights,
        executor: Executor,
        *,
        meter: Meter | None,
        on_gpu: bool,
        residue_bytes: int,
        now: Callable[[], float],
        ended: Callable[[GpuMemory | None], None],
        tally: Tally,
    ) -> None:
        self._residents = residents
        self._weights = weights
        self._executor = executor
        self._meter = meter
        self._questions: set[asyncio.Task[GpuMemory]] = set()
        self._on_gpu = on_gpu
        self._residue_bytes = residue_bytes
        self._now = now
        self._ended = ended
        self._tally = tally
        self._is_closed = False
        self.must_recycle = False

    def start(self, action: Weigh | Load | Park | Free | AskMemory) -> None:
        """Begin what is to be done."""
        match action:
            case AskMemory():
                self._ask_memory()
            case Weigh(model_id):
                self._start(partial(self._weights.weigh, model_id), partial(self._weighed, model_id))
            case Load(model_id, parked, on_cpu):
                work = partial(self._weights.load, model_id, parked=parked, on_cpu=on_cpu)
                self._start(work, partial(self._loaded, action, self._now()))
            case Park(model_id):
                self._start(partial(self._weights.park, model_id), partial(self._parked, model_id))
            case Free(model_id):
                self._start(partial(self._weights.free, model_id), partial(self._freed, model_id))

    def give_up(self, why: str) -> None:
        """Have the process replaced."""
        logger.error("this process is to be replaced: %s", why)
        self.must_recycle = True

    async def memory_if_known(self) -> GpuMemory | None:
        """None without a GPU, and while it does not answer."""
        return None if self._meter is None else await self._meter.memory_if_known()

    def close(self) -> None:
        """Start nothing more; of what runs, nobody hears."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        for question in self._questions:
            question.cancel()
        if self._meter is not None:
            self._meter.close()

    def _ask_memory(self) -> None:
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        question = asyncio.create_task(self._memory(), context=contextvars.Context())
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)
        question.add_done_callback(partial(self._finish, self._answered))

    async def _memory(self) -> GpuMemory:
        return UNKNOWN if self._meter is None else await self._meter.memory()

    def _start(self, work: Callable[[], T], tell: Callable[[asyncio.Future[T]], GpuMemory | None]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        future.add_done_callback(partial(self._finish, tell))

    def _finish(self, tell: Callable[[asyncio.Future[Any]], GpuMemory | None], future: asyncio.Future[Any]) -> None:
        if future.cancelled() or (self._is_closed and future.exception() is not None):
            return
        if not self._is_closed:
            self._ended(tell(future))

    def _answered(self, future: asyncio.Future[GpuMemory]) -> GpuMemory | None:
        error = future.exception()
        if error is None:
            return future.result()
        why = error.message if isinstance(error, GpuLost) else str(error)
        logger.warning("the GPU does not answer: %s", why)
        self._residents.gpu_lost(why, self._now())
        return None

    def _weighed(self, model_id: str, future: asyncio.Future[int]) -> None:
        if (error := future.exception()) is not None:
            self._residents.failed(model_id, _as_ours(model_id, error), self._now())
        else:
            self._residents.weighed(model_id, future.result(), self._now())

    def _loaded(self, load: Load, began_s: float, future: asyncio.Future[Loaded]) -> None:
        error = future.exception()
        if error is None:
            load_s = self._now() - began_s
            self._tally.observe(MODEL_LOADS, load_s, load.model_id, "host_memory" if load.parked else "disk")
            self._is_loaded(load.model_id, load_s, future.result())
        elif isinstance(error, OutOfMemory) and self._on_gpu and not load.on_cpu:
            logger.warning("%s waits for GPU memory: %s", load.model_id, error.message)
            self._residents.found_no_room(load.model_id, error.message, self._now())
        else:
            self._tally.count(MODEL_LOAD_FAILURES, load.model_id)
            if isinstance(error, RecognizerUnavailable):
                self.give_up(error.message)
            self._residents.failed(load.model_id, _as_ours(load.model_id, error), self._now())

    def _is_loaded(self, model_id: str, load_s: float, found: Loaded) -> None:
        self._residents.loaded(
            model_id,
            self._now(),
            load_s=load_s,
            choice=self._weights[model_id].choice,
            before_bytes=found.before_bytes,
            loaded_bytes=found.loaded_bytes,
            need_bytes=found.need_bytes,
        )

    def _parked(self, model_id: str, future: asyncio.Future[None]) -> None:
        if (error := future.exception()) is not None:
            logger.warning("%s cannot be parked in host memory: %s", model_id, error)
        self._residents.parked(model_id, self._now(), well=error is None)

    def _freed(self, model_id: str, future: asyncio.Future[GpuMemory | None]) -> None:
        error = future.exception()
        after = future.result() if error is None else None
        self._residents.unloaded(model_id, self._now(), after_bytes=after.ours_bytes if after else None)
        residue_bytes = self._weights.residue_bytes(after)
        if error is not None:
            self._has_residue(model_id, f"{model_id} could not be unloaded: {error}")
        elif residue_bytes > self._residue_bytes:
            self._has_residue(model_id, f"{residue_bytes} bytes did not come back when {model_id} was unloaded")

    def _has_residue(self, model_id: str, why: str) -> None:
        self._residents.has_residue(model_id, self._now())
        self.give_up(why)


def _as_ours(model_id: str, error: BaseException) -> RayscribeError:
    if isinstance(error, OutOfMemory):  # of the machine: unlike a GPU's, nobody says when there is more
        return ModelLoadFailed(f"{error.message} Give the machine more memory, or choose a smaller model.")
    if isinstance(error, RayscribeError):
        return error
    return ModelLoadFailed(f"{model_id} cannot be loaded: {error}")
