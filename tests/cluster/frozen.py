"""Threads of another process that stand still, as one that waits for a driver which never answers."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import psutil

ATTACH, DETACH = 16, 17  # of ptrace(2)
BUSY = 0.15  # of what the process computes, however long that takes; the thread of the event loop takes far less

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def at_work(pid: int) -> Iterator[list[int]]:
    """Ids of the threads that compute while the block runs, told at its end."""
    busy: list[int] = []
    before = _times(pid)
    yield busy
    took_s = {thread: its_s - before.get(thread, 0.0) for thread, its_s in _times(pid).items()}
    busy += [thread for thread, its_s in took_s.items() if its_s > BUSY * sum(took_s.values())]
    assert busy


def _times(pid: int) -> dict[int, float]:
    """What each thread has computed, in seconds."""
    return {thread.id: thread.user_time for thread in psutil.Process(pid).threads()}


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
