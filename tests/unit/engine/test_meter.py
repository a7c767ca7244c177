"""Questions to a GPU whose driver may never answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from serve_app.engine.meter import Meter
from serve_app.errors import GpuLost
from serve_app.models.types import GpuMemory
from serve_app.testing.gpu import FakeGpu


class HangingGpu(FakeGpu):
    """Answers while it is `well`."""

    def __init__(self) -> None:
        super().__init__()
        self.well = threading.Event()
        self.well.set()
        self.asked = 0

    def memory(self) -> GpuMemory:
        self.asked += 1
        self.well.wait()
        return super().memory()


@pytest.fixture
def gpu() -> Iterator[HangingGpu]:
    gpu = HangingGpu()
    yield gpu
    gpu.well.set()


async def test_of_a_driver_that_hangs_the_last_answer_is_shown(gpu: HangingGpu) -> None:
    meter = Meter(gpu, answer_s=0.05)
    # The first may take long on a busy machine, and is not what this is about.
    while (known := await meter.memory_if_known()) is None:
        pass
    gpu.well.clear()
    gpu.ours_bytes = 1

    assert await meter.memory_if_known() == known
    meter.close()


async def test_for_a_load_a_driver_that_hangs_is_a_lost_gpu(gpu: HangingGpu) -> None:
    meter = Meter(gpu, answer_s=0.05)
    gpu.well.clear()

    with pytest.raises(GpuLost, match=r"has not answered for 0\.05 s"):
        await meter.memory()
    meter.close()


async def test_a_driver_that_hangs_is_asked_again_only_when_it_has_answered(gpu: HangingGpu) -> None:
    meter = Meter(gpu, answer_s=0.05)
    gpu.well.clear()
    for _ in range(3):
        await meter.memory_if_known()
    assert gpu.asked <= 1

    gpu.well.set()
    gpu.ours_bytes = 5
    async with asyncio.timeout(30):
        while (memory := await meter.memory_if_known()) is None:
            pass

    assert memory.ours_bytes == 5
    meter.close()


async def test_a_gpu_that_says_it_is_lost_is_not_shown_as_it_was(gpu: HangingGpu) -> None:
    meter = Meter(gpu, answer_s=30)
    await meter.memory()
    gpu.lost = True

    assert await meter.memory_if_known() is None
    with pytest.raises(GpuLost):
        await meter.memory()
    meter.close()
