"""A pin outlives the Coordinator that gave it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from serve_app.lifecycle.pin_file import COARSE_S, KeptPin, PinFile
from serve_app.models.types import FOREVER, ModelState
from serve_app.testing import FakeClock
from tests.unit.lifecycle.world import A, B, World, settled

NOW = FakeClock().utc()
LONG_S = 10**6  # however often a test looks whether a thread has written


class Written(PinFile):
    """Lets a test wait for threads to have done their work."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.loop = asyncio.get_running_loop()
        self.was_read = asyncio.Event()
        self.writes: asyncio.Queue[dict[str, KeptPin]] = asyncio.Queue()

    def read(self) -> dict[str, KeptPin]:
        kept = super().read()
        self.loop.call_soon_threadsafe(self.was_read.set)
        return kept

    def write(self, pins: dict[str, KeptPin]) -> None:  # type: ignore[override]
        super().write(pins)
        self.loop.call_soon_threadsafe(self.writes.put_nowait, pins)


async def begun(path: Path, clock: FakeClock) -> tuple[World, Written]:
    file = Written(path)
    return World(clock, pin_file=file), file


async def next_write(world: World, file: Written) -> dict[str, KeptPin]:
    """Seconds go by until a thread has written."""
    while file.writes.empty():
        await world.advance(1)
    return file.writes.get_nowait()


async def test_pin_outlives_its_coordinator(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "data" / "pins.json"
    first, file = await begun(path, clock)
    async with first.running():
        await file.was_read.wait()
        await first.registry.load(A, ttl_s=LONG_S)
        await first.registry.load(B, ttl_s=-1)
        while set(await next_write(first, file)) != {A, B}:
            await settled()
    clock.advance(30)

    second, file = await begun(path, clock)
    async with second.running():
        while len(second.holder.calls) < 2:  # a thread reads
            await settled()
        found = await second.registry.overview(A), await second.registry.overview(B)

        assert [call.model_id for call in second.holder.calls] == [A, B]
        assert [model.state for model in found] == [ModelState.LOADING] * 2
        assert [model.pinned_until for model in found] == [clock.utc() + timedelta(seconds=LONG_S), FOREVER]


async def test_pin_that_has_ended_or_was_taken_back_is_not_given_again(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "pins.json"
    PinFile(path).write({A: KeptPin(60, NOW), B: KeptPin(-1, FOREVER), "of no catalogue": KeptPin(-1, FOREVER)})
    world, file = await begun(path, clock)
    async with world.running():
        while not world.holder.calls:
            await settled()
        held = [call.model_id for call in world.holder.calls]
        await world.registry.unload(B)

        assert held == [B]
        assert await next_write(world, file) == {}


async def test_pin_of_a_model_that_is_used_is_not_written_each_second(tmp_path: Path) -> None:
    world, file = await begun(tmp_path / "pins.json", FakeClock())
    async with world.running():
        await file.was_read.wait()
        await world.registry.load(A, ttl_s=LONG_S)
        first = await next_write(world, file)  # before that the registry may not have heard from the thread that read
        for _ in range(COARSE_S):
            await world.report(world.snapshot(A, ModelState.BUSY, in_flight=1))
            await world.advance(1)
        await world.registry.unload(A)
        count = 0
        while await next_write(world, file):
            count += 1

    assert first.keys() == {A}
    assert count <= 2  # the first use after a while, and the end of ten seconds


async def test_what_was_answered_outlives_a_coordinator_that_dies_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    PinFile(path).write({B: KeptPin(-1, FOREVER)})
    world, _ = await begun(path, FakeClock())
    async with world.running():
        while not world.holder.calls:
            await settled()
        await world.registry.load(A, ttl_s=-1)
        after_load = PinFile(path).read()
        await world.registry.unload(B)
        after_unload = PinFile(path).read()

    assert (after_load.keys(), after_unload.keys()) == ({A, B}, {A})


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"ttl_s": 1, "until": "soon"}}'])
def test_damaged_file_is_no_pin_and_no_hindrance(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pins.json"
    path.write_text(text)

    assert PinFile(path).read() == {}


def test_disk_that_fails_is_no_hindrance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")

    PinFile(tmp_path / "file" / "pins.json").write({A: KeptPin(1, NOW)})

    assert "pins cannot be kept" in caplog.text
