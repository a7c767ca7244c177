"""A GPU whose memory is a number."""

from __future__ import annotations

from serve_app.engine.gpu import GpuFacts
from serve_app.errors import GpuLost
from serve_app.models.protocols import Gpu
from serve_app.models.types import GpuMemory

GIB = 1024**3


class FakeGpu(Gpu):
    """
    Memory that this process and others take and give back.

    Attributes:
        ours_bytes: Taken by this process.
        others_bytes: Taken by others.
        lost: It does not answer.
        lists_us: It says what this process has taken; if not, what all have taken counts as ours.
    """

    def __init__(self, total_bytes: int = 8 * GIB, *, others_bytes: int = 0) -> None:
        self.total_bytes = total_bytes
        self.others_bytes = others_bytes
        self.ours_bytes = 0
        self.lost = False
        self.lists_us = True

    def memory(self) -> GpuMemory:
        if self.lost:
            raise GpuLost("The GPU does not answer.")
        free = self.total_bytes - self.others_bytes - self.ours_bytes
        ours = self.ours_bytes if self.lists_us else self.ours_bytes + self.others_bytes
        return GpuMemory(self.total_bytes, max(0, free), ours, is_ours_listed=self.lists_us)

    def facts(self) -> GpuFacts:
        return GpuFacts("Stand-in", "580.1", (8, 6))
