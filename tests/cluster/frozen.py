"""Threads of another process that stand still, as one that waits for a driver which never answers."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import psutil

ATTACH, DETACH = 16, 17  # of ptrace(2)
BUSY = 0.15  # of what the process computes, however little a busy machine lets it; the thread of the event loop takes far less
WORKS_S = 0.2  # what a process computes in `LOOK_S` that does more than wait
LOOK_S = 1.0

libc = ctypes.CDLL(None, use_errno=True)


def busy_threads(pid: int) -> list[int]:
    """Ids of the threads that compute."""
    before = {thread.id: thread.user_time for thread in psutil.Process(pid).threads()}
    psutil.Process(pid).cpu_percent(LOOK_S)  # waits so long
    took_s = {thread.id: thread.user_time - before.get(thread.id, 0.0) for thread in psutil.Process(pid).threads()}
    whole_s = sum(took_s.values())
    return [] if whole_s < WORKS_S else [thread for thread, its_s in took_s.items() if its_s > BUSY * whole_s]


@contextlib.contextmanager
def frozen(threads: list[int]) -> Iterator[None]:
    """They stand still while the block runs; those whose process dies meanwhile are buried."""
    for thread in threads:
        _ptrace(ATTACH, thread)
        os.waitpid(thread, 0x40000000)  # __WALL: a thread and no process
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(OSError):
                _ptrace(DETACH, thread)
            with contextlib.suppress(OSError):
                os.waitpid(thread, 0x40000000 | os.WNOHANG)


def _ptrace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
