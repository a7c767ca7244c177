"""tiny.en comes and goes: loaded when it is asked for, freed when nobody uses it, and the memory is back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from serve_app.engine.keeper import ModelKeeper
from serve_app.engine.loading import ModelLoader
from serve_app.engine.recognizer import BatchingRecognizer
from serve_app.models.types import ModelState, UnloadOrder
from serve_app.settings import TINY_EN
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.settings.memory import give_back_large_blocks
from serve_app.testing import FakeClock, FakeSleep
from serve_app.transcript.types import ChunkRequest, DecodingOptions, Samples

pytestmark = pytest.mark.model

CATALOGUE = {"tiny.en": TINY_EN, "other": TINY_EN}
CYCLES = 20
LONGEST_S = 60  # for loads and chunks on a busy machine
GROWTH_MIB = 15
"""What the process may have more after 20 loads: the model takes 55 MiB, and runs differ by 5."""


class Service:
    """A recogniser whose clock stands still, and the states that its models went through."""

    def __init__(self, tmp_path: Path, **rules: float) -> None:
        self.clock = clock = FakeClock()
        self.sleep = FakeSleep(clock)
        loader = ModelLoader(CATALOGUE, models_dir=tmp_path, offline=True)
        settings = LifecycleSettings.model_validate(rules)
        self.keeper = ModelKeeper(loader, settings, now=clock, utc=clock.utc, sleep=self.sleep)
        self.recognizer = BatchingRecognizer(CATALOGUE, self.keeper)
        self.history: list[tuple[str, str]] = []
        self._number = 0

    def order(self, model_id: str = "tiny.en") -> UnloadOrder:
        return UnloadOrder(1, model_id, self.clock.utc())

    async def hear(self, samples: Samples, model_id: str = "tiny.en", began_at: datetime | None = None) -> str:
        request = ChunkRequest(samples, DecodingOptions(model_id), began_at=began_at)
        return (await self.recognizer.recognize(request)).text

    async def until(self, state: ModelState, model_id: str = "tiny.en") -> None:
        async with asyncio.timeout(LONGEST_S):
            while self._state(model_id) is not state:
                await self.keeper.changed.wait()
                await self.read()

    async def read(self) -> None:
        self._number += 1
        report = await self.keeper.report(self._number)
        self.history += [(change.model_id, change.state.value) for change in report.changes]
        self.keeper.taken(self._number)

    def _state(self, model_id: str) -> ModelState:
        return next(shot.state for shot in self.keeper.snapshot() if shot.model_id == model_id)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(tmp_path, max_models=1, unload_after_s=300)
    yield service
    await service.recognizer.close()


async def test_an_idle_model_goes_and_comes_back_with_the_next_chunk(
    service: Service, recordings: dict[str, Samples]
) -> None:
    first = await service.hear(recordings["LJ001-0002.wav"])

    service.sleep.advance(300)
    await service.until(ModelState.UNLOADED)
    again = await service.hear(recordings["LJ001-0002.wav"])

    assert first == again != ""
    await service.read()
    assert [state for _, state in service.history] == ["loading", "ready", "draining", "unloaded", "loading", "ready"]


async def test_two_models_with_room_for_one_serve_by_turns(service: Service, recordings: dict[str, Samples]) -> None:
    async def let_time_pass() -> None:
        while True:
            await service.keeper.changed.wait()
            await service.read()
            service.sleep.advance(5)

    passing = asyncio.create_task(let_time_pass())
    async with asyncio.timeout(LONGEST_S):
        chunk = recordings["LJ001-0002.wav"]
        texts = await asyncio.gather(*(service.hear(chunk, model_id) for model_id in CATALOGUE for _ in range(4)))
    passing.cancel()

    assert len(set(texts)) == 1
    await service.read()
    comings = [entry for entry in service.history if entry[1] in ("ready", "unloaded")]
    first = comings[0][0]  # whichever was weighed first: each is weighed in a thread of its own
    (second,) = CATALOGUE.keys() - {first}
    assert comings == [(first, "ready"), (first, "unloaded"), (second, "ready")]


async def test_an_unload_in_use_lets_the_transcription_end_and_then_frees(
    service: Service, recordings: dict[str, Samples]
) -> None:
    began_at = service.clock.utc()
    async with service.keeper.lease("tiny.en", began_at):
        service.sleep.advance(0.5)
        service.keeper.unload(service.order())
        await service.until(ModelState.DRAINING)
        heard = await service.hear(recordings["jfk.flac"], began_at=began_at)

    assert "ask not what your country can do for you" in heard.lower()
    service.sleep.advance(1)
    await service.until(ModelState.UNLOADED)


async def test_a_model_that_comes_and_goes_takes_no_more_memory_each_time(service: Service) -> None:
    give_back_large_blocks()  # as the service does

    async def cycle() -> float:
        async with service.keeper.lease("tiny.en"):
            pass
        service.sleep.advance(0.5)
        service.keeper.unload(service.order())
        await service.until(ModelState.UNLOADED)
        return _resident_mib()

    await cycle()
    before, *_, after = [await cycle() for _ in range(CYCLES)]

    assert after - before < GROWTH_MIB


def _resident_mib() -> float:
    """What this process holds when the allocator keeps nothing back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    statm = Path("/proc/self/statm")
    if trim is None or not statm.exists():
        pytest.skip("only Linux with glibc tells")
    trim(0)
    return int(statm.read_text().split()[1]) * 4096 / 2**20
