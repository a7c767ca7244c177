"""Who goes first where there is more work than processors."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

STEP = 5  # of niceness: beside a thread that has not taken it, one that has gets a third

# The proxy and the Gateways take no step, so that all who wait hear at once how things stand. The replicas behind them take
# one, and what computes for these another one.


def give_way() -> None:
    """
    Have this thread, and what it starts from now on, yield to those that answer.

    These need a processor for a moment, and at once. With equal rights they wait behind batches and decoders, as many as there
    are, and so does each of the four processes that an answer passes. Does nothing where niceness is of whole processes.
    """
    if sys.platform == "linux":
        os.nice(STEP)


def give_way_as_a_whole() -> None:
    """Have this process yield to those that take requests: each of its threads, and what they start from now on."""
    if sys.platform == "linux":
        aim = os.getpriority(os.PRIO_PROCESS, 0) + STEP
        done: set[int] = set()
        while new := _threads() - done:  # one that has not given way yet may have started another one
            for thread in new:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.setpriority(os.PRIO_PROCESS, thread, max(aim, os.getpriority(os.PRIO_PROCESS, thread)))
            done |= new


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
