"""What the allocator keeps of the memory that a batch has used."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h

LARGE_BYTES = 4 * 1024 * 1024
"""With bounds of 1 MB a process takes a fifth more CPU time, because each batch asks for its pages anew. With 4 MB, and huge pages
as `rayscribe serve` sets them, the difference is lost in the noise."""


def give_back_large_blocks() -> None:
    """
    Have this process hand large blocks back to the system as soon as they are free; does nothing where the C library
    cannot.

    glibc learns from the first free blocks of some size that it should keep such for later, up to 64 MB in the arena of each
    thread; the arenas of all that decode came to some 250 MB that nothing used. Stating the bounds ends the learning, and half of
    it comes back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)
