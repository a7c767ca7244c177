"""Which GPU a process runs on."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pynvml
import pytest

from serve_app.engine.gpu import open_gpu, visible_device

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "2"}, "2"),
        ({"CUDA_VISIBLE_DEVICES": " GPU-8932 , 1"}, "GPU-8932"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1f2e"}, "MIG-1f2e"),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
    ],
)
def test_the_first_visible_device_is_ours(env: dict[str, str], expected: str | None) -> None:
    assert visible_device(env) == expected


def test_on_the_cpu_there_is_no_gpu_to_ask() -> None:
    assert open_gpu("cpu", {}) is None


def test_without_nvml_loads_are_tried_unasked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def init() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", init)
    with caplog.at_level(logging.WARNING):
        gpu = open_gpu("cuda", {})

    assert gpu is None
    assert "libnvidia-ml.so.1 is not found" in caplog.text


def test_the_acceptance_run_is_documented_test_by_test() -> None:
    listed = re.findall(r"^\| `(test_\w+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    written = [
        name
        for module in ("test_cuda.py", "test_service.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", (ROOT / "tests/gpu" / module).read_text(), re.MULTILINE)
    ]

    assert listed == written
