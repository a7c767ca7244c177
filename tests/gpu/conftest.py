"""A real CUDA device, and keepers of models on it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import ctranslate2
import pytest

from serve_app.engine.gpu import NvmlGpu, open_gpu
from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.loading import ModelLoader
from serve_app.models.types import ModelSnapshot, ModelState
from serve_app.settings import TINY_EN, ComputeType, Device, ModelSettings
from serve_app.settings.lifecycle import NEVER, LifecycleSettings

ROOT = Path(__file__).resolve().parents[2]
MB = 10**6

Keep = Callable[..., ModelKeeper]


@pytest.fixture(scope="session", autouse=True)
def gpu() -> NvmlGpu:
    """The device; asked once before anything is loaded, so that it knows what others held."""
    if not ctranslate2.get_cuda_device_count():
        pytest.skip("there is no CUDA device")
    gpu = open_gpu("cuda")
    assert gpu is not None, "there is a CUDA device, and no libnvidia-ml.so.1"
    gpu.memory()
    return gpu


@pytest.fixture
async def keep(gpu: NvmlGpu, tmp_path: Path) -> AsyncIterator[Keep]:
    """Makes keepers, which are closed at the end."""
    async with AsyncExitStack() as keepers:

        def keep(models: Mapping[str, ModelSettings] | None = None, **lifecycle: float) -> ModelKeeper:
            loader = ModelLoader(
                models or {"tiny.en": TINY_EN},
                models_dir=tmp_path,
                offline=True,
                device=Device.CUDA,
                compute_type=ComputeType.FLOAT16,
            )
            settings = LifecycleSettings(**{"park_after_s": NEVER, "unload_after_s": NEVER, **lifecycle})
            keeper = ModelKeeper(loader, settings, gpu=gpu)
            keepers.push_async_callback(keeper.close)
            return keeper

        yield keep


def shown(keeper: ModelKeeper, model_id: str = "tiny.en") -> ModelSnapshot:
    return next(model for model in keeper.snapshot() if model.model_id == model_id)


async def until(keeper: ModelKeeper, state: ModelState, model_id: str = "tiny.en", *, deadline_s: float = 60.0) -> None:
    """Wait until a model is shown in a state."""
    end_s = time.monotonic() + deadline_s
    while not any((model.model_id, model.state) == (model_id, state) for model in keeper.snapshot()):
        assert time.monotonic() < end_s, f"{model_id} is not {state}: {keeper.snapshot()}"
        await asyncio.sleep(0.02)


def note(figure: str) -> None:
    """A figure to compare with docs/operations.md; `pytest -rA` shows it."""
    sys.stdout.write(f"{figure}\n")


@asynccontextmanager
async def hog(left_bytes: int) -> AsyncIterator[None]:
    """Another process that holds all but so much of the GPU's memory."""
    command = [sys.executable, "-m", "tests.gpu.hog", str(left_bytes)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        assert await asyncio.wait_for(process.stdout.readline(), timeout=60) == b"holding\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()
