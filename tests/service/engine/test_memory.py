"""What a process with a recogniser keeps of freed memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# In a process of its own: these bounds hold for the whole process, and other tests' memory would be counted too.
KEPT_BYTES = """
import ctypes, mmap, pathlib
from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.settings import load_settings

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def use(count, size):
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

BatchingRecognizer.from_settings(load_settings({}, env={}))
use(1, 30 << 20)  # from here on the allocator would keep blocks of this size, and twice as much of smaller ones
before = resident()
use(6, 12 << 20)
print(resident() - before)
"""


@pytest.mark.server
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="glibc's allocator is meant",
)
def test_large_blocks_that_are_free_go_back_to_the_system() -> None:
    ended = subprocess.run([sys.executable, "-c", KEPT_BYTES], capture_output=True, text=True, check=True)

    assert int(ended.stdout) < 4 << 20
