"""What goes wrong between a model's files and its first batch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ctranslate2
import pytest

from serve_app.engine.devices import Placement
from serve_app.engine.loading import ModelLoader, load_model
from serve_app.engine.vram import VramNeeds
from serve_app.errors import ModelLoadFailed, OutOfMemory, RecognizerUnavailable
from serve_app.models.sources import find_model
from serve_app.settings import TINY_EN, Device
from serve_app.testing.gpu import GIB, FakeGpu

MIB = 1024**2


class FailingWhisper:
    """Looks like CTranslate2's `Whisper` on a machine where weights can be read and nothing can be computed."""

    is_multilingual = False
    n_mels = 80
    device = "cuda"
    compute_type = "float16"

    def __init__(self, error: str) -> None:
        self._error = error

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        raise RuntimeError(self._error)


def load(error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ctranslate2.models, "Whisper", lambda *_, **__: FailingWhisper(error))
    load_model("tiny.en", find_model(TINY_EN, models_dir=tmp_path, offline=True), Placement("cuda", "float16", 1))


def test_a_missing_library_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ModelLoadFailed, match=r"libcublas\.so\.12 is not found: `rayscribe doctor` .* or set .*device: cpu"
    ):
        load("Library libcublas.so.12 is not found or cannot be loaded", monkeypatch, tmp_path)


def test_a_device_without_room_for_the_first_batch_is_out_of_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(OutOfMemory, match=r"no room for tiny\.en"):
        load("CUDA failed with error out of memory", monkeypatch, tmp_path)


def test_another_failure_of_the_first_batch_is_a_failed_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="invalid device function"):
        load("CUDA failed with error invalid device function", monkeypatch, tmp_path)


def test_a_device_that_fails_in_a_load_is_no_failure_of_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RecognizerUnavailable, match="illegal memory access"):
        load("CUDA failed with error an illegal memory access was encountered", monkeypatch, tmp_path)


@pytest.mark.parametrize(("gpu", "level"), [(FakeGpu(), "INFO"), (None, "DEBUG")])
def test_where_a_model_runs_is_logged_with_the_reason_aloud_only_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    gpu: FakeGpu | None,
    level: str,
) -> None:
    monkeypatch.setattr(ctranslate2.models, "Whisper", lambda *_, **__: FailingWhisper("unheard of"))
    loader = ModelLoader({"tiny.en": TINY_EN}, models_dir=tmp_path, offline=True, device=Device.CPU, gpu=gpu)
    loader.weigh("tiny.en")

    with caplog.at_level(logging.DEBUG), pytest.raises(ModelLoadFailed):
        loader.load("tiny.en")

    [record] = [record for record in caplog.records if "runs on" in record.message]
    assert record.message.startswith("tiny.en runs on cpu in int8: recognizer.device is cpu; int8 is the fastest")
    assert record.levelname == level


@pytest.mark.parametrize(
    ("lifecycle", "expected"),
    [({}, "float16"), ({"margin_bytes": 500 * MIB}, "int8_float16"), ({"budget_bytes": 520 * MIB}, "int8_float16")],
    ids=["room", "a margin", "a budget"],
)
def test_the_number_type_is_chosen_by_what_the_model_may_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lifecycle: dict[str, int], expected: str
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: {"float16", "int8_float16", "float32"})
    gpu = FakeGpu(GIB)
    loader = ModelLoader({"tiny.en": TINY_EN}, models_dir=tmp_path, offline=True, gpu=gpu, **lifecycle)
    directory = find_model(TINY_EN, models_dir=tmp_path, offline=True).directory

    assert loader.weigh("tiny.en") == VramNeeds().need_bytes("tiny.en", directory, expected)
