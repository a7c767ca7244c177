"""The memory of a tree of processes."""

from __future__ import annotations

import os
import threading

from benchmarks.memory import PeakMemory, process_bytes, pss_bytes, tree_bytes

SMAPS = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  2000 kB\nPss:  1500 kB\nPss_Anon:  900 kB\nSwapPss:  7 kB\n"


def test_only_the_proportional_size_counts() -> None:
    assert pss_bytes(SMAPS) == 1500 * 1024


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert process_bytes(2**22 + 1) == 0
    assert tree_bytes(2**22 + 1) == 0


def test_this_process_holds_something() -> None:
    assert tree_bytes(os.getpid()) > 1024 * 1024


def test_the_peak_outlives_its_fall() -> None:
    fallen = threading.Event()
    sizes = iter([5, 9])

    def size(_: int) -> int:
        found = next(sizes, None)
        if found is None:
            fallen.set()
        return found or 3

    with PeakMemory(0, size, every_s=0.001) as memory:
        fallen.wait(timeout=60)

    assert memory.peak_bytes == 9
