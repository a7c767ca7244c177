"""Processes that stand still, so that what they are in the middle of stays so: on however fast a machine, for however slow a test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import psutil

from tests.cluster.running import poll

CHUNK_BY_CHUNK = {"max_batch_size": 1}  # of a recogniser, so that there is a middle of two minutes of speech
STEP_S = 0.05  # of computing: a busy machine takes longer for it
LONGEST_STEP_S = 1.0  # of whatever has nothing to compute
WALKS_S = 180
T = TypeVar("T")


class Suspended:
    """Processes that stand still but for the steps that they are let take."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]

    def stop(self) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # killed meanwhile
                process.suspend()

    def go_on(self) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def walk_until(self, look: Callable[[], T | None]) -> T:
        """
        Let them go on in short steps until `look`, while they stand still again, finds something.

        For one process: of several, the one that works takes the steps, and the others hear nothing.
        """

        def step() -> T | None:
            self._step()
            return look()

        return poll(step, deadline_s=WALKS_S, every_s=0.0)

    def _step(self) -> None:
        enough_s, until_s = self._computed_s() + STEP_S, time.monotonic() + LONGEST_STEP_S
        self.go_on()
        while self._computed_s() < enough_s and time.monotonic() < until_s:
            time.sleep(0.01)
        self.stop()

    def _computed_s(self) -> float:
        total_s = 0.0
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total_s += times.user + times.system
        return total_s


@contextlib.contextmanager
def suspended(pids: Sequence[int]) -> Iterator[Suspended]:
    """
    They stand still while the block runs.

    A recogniser that stands still for twenty seconds without a step is taken for dead.
    """
    assert pids, "there is nobody to stand still"
    processes = Suspended(pids)
    try:
        processes.stop()
        yield processes
    finally:
        processes.go_on()
