"""
Memory of a tree of processes.

The sum of proportional set sizes: a page that several processes share is divided among them, so that Ray's shared memory
and the code of libraries count once, which a sum of resident sizes would count per process.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

EVERY_S = 0.25
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def tree_bytes(root: int) -> int:
    """Memory of a process and all that came from it."""
    try:
        pids = [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(process_bytes, pids))


def process_bytes(pid: int) -> int:
    """Memory of one process; 0 when it has ended."""
    try:
        return pss_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0


def pss_bytes(smaps: str) -> int:
    return sum(int(kib) * 1024 for kib in _PSS.findall(smaps))


class PeakMemory:
    """The most that a tree of processes holds while this context is open."""

    def __init__(self, root: int, measure: Callable[[int], int] = tree_bytes, *, every_s: float = EVERY_S) -> None:
        self._root = root
        self._measure = measure
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._measure(self._root))
            if self._ended.wait(self._every_s):
                return
