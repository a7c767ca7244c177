"""What a process keeps of the memory that it has freed: glibc's malloc, unless told otherwise, most of it."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import cache

EVERY_S = 2.0
LEAST_WORK_S = 0.1  # of processor time, without which there is little to give back
LARGE_BYTES = 4 * 1024 * 1024
"""With bounds of 1 MB a process takes a fifth more CPU time, because each batch asks for its pages anew. With 4 MB, and huge pages
as `rayscribe serve` sets them, the difference is lost in the noise."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Trimmer:
    """
    Calls `trim` each time that this process has worked since the last one.

    Args:
        used_s: The process's CPU time.
    """

    def __init__(self, trim: Callable[[], object], used_s: Callable[[], float] = time.process_time) -> None:
        self._trim = trim
        self._used_s = used_s
        self._last_s = used_s()

    def look(self) -> None:
        if self._used_s() - self._last_s >= LEAST_WORK_S:
            self._trim()
            self._last_s = self._used_s()


@cache  # one thread does
def give_back_freed_memory() -> None:
    """
    Have this process hand freed memory to the system every two seconds in which it worked; does nothing where the C library cannot.

    What is freed between blocks in use stays with the process otherwise, and grows with hours of work, as does what is kept of large
    bodies until the answer: over all processes, 100 MB of a file of 40 minutes. The call takes 5 ms in a recogniser.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        threading.Thread(target=_trim_for_ever, args=(Trimmer(lambda: trim(0)),), name="give-back", daemon=True).start()


def give_back_large_blocks() -> None:
    """
    Have this process hand large blocks back to the system as soon as they are free; does nothing where the C library
    cannot.

    glibc learns from the first free blocks of some size that it should keep such for later, up to 64 MB in the arena of each
    thread. Stating the bounds ends the learning.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)


def _trim_for_ever(trimmer: Trimmer) -> None:
    while True:
        time.sleep(EVERY_S)
        trimmer.look()
