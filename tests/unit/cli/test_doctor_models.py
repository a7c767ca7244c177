"""What `rayscribe doctor` finds of models, and what it says to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from serve_app.cli.doctor_findings import Finding, Level
from serve_app.cli.doctor_models import check_decode, check_device, check_model, placed, room_for
from serve_app.errors import OutOfMemory, RayscribeError
from serve_app.models.catalogue import Catalogue
from serve_app.models.manifest import MANIFEST, Manifest, sum_of
from serve_app.settings import TINY_EN, Device, ModelSettings, RecognizerSettings, Settings
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing.gpu import GIB, FakeGpu


def one(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    assert bool(finding.fix) == (finding.level is not Level.OK)
    return finding


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The directory of a model, with its manifest."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("model.bin", "tokenizer.json"):
        (folder / name).write_text(name)
    sums = tuple(sum_of(folder / name) for name in ("model.bin", "tokenizer.json"))
    manifest = Manifest(id="mine", source="Systran/mine", revision="1", files=sums)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def catalogue(folder: Path, source: str, **others: Any) -> Catalogue:
    models = {"mine": ModelSettings(source=source), "tiny.en": TINY_EN}
    return Catalogue(Settings(models=models, data_dir=str(folder / "data"), **others))


@pytest.mark.parametrize("deep", [False, True])
def test_whole_weights_are_fine(tmp_path: Path, weights: Path, deep: bool) -> None:
    finding = one(check_model(catalogue(tmp_path, str(weights)), "mine", deep=deep))

    assert finding.level is Level.OK
    assert finding.said.endswith("checksums right") == deep


def test_a_file_of_another_size_is_damaged(tmp_path: Path, weights: Path) -> None:
    (weights / "model.bin").write_text("short")

    finding = one(check_model(catalogue(tmp_path, str(weights)), "mine", deep=False))

    assert finding.level is Level.PROBLEM
    assert "model.bin" in finding.said
    assert "tokenizer.json" not in finding.said
    assert "rayscribe models pull mine" in finding.fix


@pytest.mark.parametrize(("deep", "level"), [(False, Level.OK), (True, Level.PROBLEM)])
def test_a_changed_byte_is_seen_when_all_are_read(tmp_path: Path, weights: Path, deep: bool, level: Level) -> None:
    (weights / "model.bin").write_text("Model.bin")

    assert one(check_model(catalogue(tmp_path, str(weights)), "mine", deep=deep)).level is level


@pytest.mark.parametrize("source", ["package:no_such_package/model", "/no/such/directory"])
def test_weights_that_nobody_can_pull_are_a_problem(tmp_path: Path, source: str) -> None:
    assert one(check_model(catalogue(tmp_path, source), "mine", deep=False)).level is Level.PROBLEM


@pytest.mark.parametrize(
    ("settings", "level", "fix"),
    [
        ({}, Level.WARNING, "Run `rayscribe models pull mine`."),
        ({"offline": True}, Level.WARNING, "rayscribe models import"),
        ({"offline": True, "default_model": "mine"}, Level.PROBLEM, "rayscribe models import"),
        ({"offline": True, "preload": ("mine",)}, Level.PROBLEM, "rayscribe models import"),
    ],
    ids=["can be pulled", "another", "default", "preloaded"],
)
def test_weights_that_are_not_here_are_pulled_or_brought(
    tmp_path: Path, settings: dict[str, Any], level: Level, fix: str
) -> None:
    finding = one(check_model(catalogue(tmp_path, "Systran/mine", **settings), "mine", deep=False))

    assert finding.level is level
    assert fix in finding.fix


def test_a_device_that_is_not_here_is_a_problem() -> None:
    finding = one(check_device(placed(RecognizerSettings(device=Device.CUDA))))

    assert finding.level is Level.PROBLEM
    assert "set recognizer.device: auto" in finding.fix


def test_the_choice_of_the_device_says_why() -> None:
    finding = one(check_device(placed(RecognizerSettings(device=Device.CPU, threads=3))))

    assert finding.said == (
        "cpu, int8, 3 threads: recognizer.device is cpu; int8 is the fastest that the device does well"
    )


def test_the_room_on_the_gpu_is_that_for_the_default_model(tmp_path: Path) -> None:
    room = room_for(catalogue(tmp_path, "Systran/mine"), "tiny.en", FakeGpu(others_bytes=GIB))

    assert room is not None
    assert room.free_bytes == 7 * GIB - LifecycleSettings().vram_margin_bytes
    assert 0 < room.need("int8_float16") < room.need("float16") < GIB


@pytest.mark.parametrize(("model_id", "lost"), [("mine", False), ("tiny.en", True)], ids=["no weights", "no answer"])
def test_a_room_that_is_not_known_is_none(tmp_path: Path, model_id: str, lost: bool) -> None:
    gpu = FakeGpu()
    gpu.lost = lost

    assert room_for(catalogue(tmp_path, "Systran/mine"), model_id, gpu) is None


def hears(text: str) -> Callable[[Settings], Any]:
    async def transcribe(_: Settings) -> str:
        return text

    return transcribe


def test_a_model_that_hears_the_recording_is_fine(tmp_path: Path) -> None:
    finding = one(check_decode(Settings(data_dir=str(tmp_path)), hears("what you can do for your country")))

    assert finding.level is Level.OK


def test_a_model_that_hears_something_else_is_a_problem(tmp_path: Path) -> None:
    finding = one(check_decode(Settings(data_dir=str(tmp_path)), hears("!!!!!")))

    assert finding.level is Level.PROBLEM
    assert "recognizer.device: cpu" in finding.fix


def test_a_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    async def transcribe(_: Settings) -> str:
        raise OutOfMemory("There is no room for tiny.en.")

    finding = one(check_decode(Settings(data_dir=str(tmp_path)), transcribe))

    assert (finding.level, finding.fix) == (Level.PROBLEM, "There is no room for tiny.en.")


def test_nothing_is_pulled_for_the_self_test(tmp_path: Path) -> None:
    async def transcribe(_: Settings) -> str:
        raise RayscribeError("it was tried")

    settings = catalogue(tmp_path, "Systran/mine", default_model="mine").settings

    assert one(check_decode(settings, transcribe)).level is Level.WARNING


def test_a_self_test_that_waits_for_memory_ends(tmp_path: Path) -> None:
    async def transcribe(_: Settings) -> str:
        await asyncio.Event().wait()
        return ""

    finding = one(check_decode(Settings(data_dir=str(tmp_path)), transcribe, timeout_s=0.0))

    assert finding.level is Level.PROBLEM
    assert "nvidia-smi" in finding.fix
