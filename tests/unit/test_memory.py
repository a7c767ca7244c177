"""What processes give back of the memory that they have freed."""

from __future__ import annotations

import ctypes
import threading

import pytest

from serve_app.api.edge import proxy_middlewares
from serve_app.settings.memory import LEAST_WORK_S, Trimmer


class World:
    """A process, and how often it gave back."""

    def __init__(self) -> None:
        self.used_s = 100.0
        self.times = 0
        self.trimmer = Trimmer(self._trim, lambda: self.used_s)

    def _trim(self) -> None:
        self.times += 1
        self.used_s += LEAST_WORK_S  # which is no work of the process's own

    def works(self, seconds: float) -> None:
        self.used_s += seconds
        self.trimmer.look()


@pytest.mark.parametrize(("seconds", "times"), [([5.0], 1), ([5.0, 5.0], 2), ([], 0), ([0.0, 0.0], 0), ([0.09] * 4, 2)])
def test_process_gives_back_after_work_and_not_when_it_is_idle(seconds: list[float], times: int) -> None:
    world = World()
    for some in seconds:
        world.works(some)

    assert world.times == times


def test_the_proxy_has_one_thread_that_gives_back() -> None:
    for _ in range(2):
        proxy_middlewares()

    assert [thread.name for thread in threading.enumerate()].count("give-back") == 1


def test_c_library_can_be_asked() -> None:
    assert ctypes.CDLL(None).malloc_trim(0) in (0, 1)
