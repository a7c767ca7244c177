"""Where a model runs."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import pytest

import serve_app.engine.devices as devices
from serve_app.engine.devices import (
    Room,
    choose_compute_type,
    choose_device,
    choose_flash_attention,
    choose_placement,
    cpus_within,
    has_flash_attention,
)
from serve_app.errors import ModelLoadFailed
from serve_app.models.types import PlacementChoice
from serve_app.settings import ComputeType, Device

VOLTA = {"float32", "float16", "int8", "int8_float16", "int8_float32"}
PASCAL = {"float32", "int8", "int8_float32"}
AMPERE = VOLTA | {"bfloat16", "int8_bfloat16"}
GB = 10**9


def room(free_gb: float) -> Room:
    """For a model of 3 GB in float16 and half as much in int8."""
    return Room(round(free_gb * GB), lambda compute_type: {"float16": 3 * GB}.get(compute_type, 3 * GB // 2))


def test_auto_takes_the_gpu_if_there_is_one() -> None:
    assert choose_device(Device.AUTO, 1) == "cuda"
    assert choose_device(Device.AUTO, 0) == "cpu"
    assert choose_device(Device.CPU, 1) == "cpu"


def test_cuda_without_a_cuda_device_says_what_to_do() -> None:
    with pytest.raises(ModelLoadFailed, match="CTranslate2 sees no CUDA device"):
        choose_device(Device.CUDA, 0)


@pytest.mark.parametrize(
    ("device", "supported", "expected"),
    [
        ("cuda", AMPERE, "float16"),
        ("cuda", VOLTA, "float16"),
        ("cuda", PASCAL, "int8"),
        ("cuda", {"float32"}, "float32"),
        ("cpu", PASCAL, "int8"),
        ("cpu", {"float32"}, "float32"),
    ],
)
def test_auto_takes_the_fastest_type_that_the_device_does_well(device: str, supported: set[str], expected: str) -> None:
    assert choose_compute_type(ComputeType.AUTO, device, supported) == expected


def test_an_explicit_type_wins_or_is_refused() -> None:
    assert choose_compute_type(ComputeType.FLOAT32, "cuda", AMPERE) == "float32"
    with pytest.raises(ModelLoadFailed, match="choose auto or one of float32, int8, int8_float32"):
        choose_compute_type(ComputeType.BFLOAT16, "cuda", PASCAL)


def test_this_machine_can_run_models_on_its_processor() -> None:
    placement = choose_placement(Device.CPU, ComputeType.AUTO, threads=3)

    assert placement.device == "cpu"
    assert placement.threads == 3
    assert choose_placement(Device.CPU).threads >= 1


@pytest.mark.parametrize(
    ("allowed", "cpu_max", "expected"),
    [
        (64, "200000 100000\n", 2),
        (64, "150000 100000\n", 2),
        (64, "10000 100000\n", 1),
        (2, "800000 100000\n", 2),
        (64, "max 100000\n", 64),
        (64, "-1\n 100000\n", 64),
    ],
    ids=["quota", "part of a CPU", "less than a CPU", "pinned to fewer", "no quota", "no quota in cgroup v1"],
)
def test_a_container_gets_as_many_threads_as_it_may_use_cpus(allowed: int, cpu_max: str, expected: int) -> None:
    assert cpus_within(allowed, cpu_max) == expected


@pytest.mark.parametrize(
    ("supported", "free_gb", "expected"),
    [
        (AMPERE, 3.0, "float16"),
        (VOLTA, 2.9, "int8_float16"),
        (AMPERE, 0.1, "int8_float16"),
        (VOLTA - {"int8_float16"}, 2.9, "float16"),
        (PASCAL, 0.1, "int8"),
    ],
    ids=["fits", "too large", "nothing fits", "no smaller type", "no float16"],
)
def test_auto_takes_the_smaller_type_where_float16_does_not_fit(
    supported: set[str], free_gb: float, expected: str
) -> None:
    assert choose_compute_type(ComputeType.AUTO, "cuda", supported, room(free_gb)) == expected


@pytest.mark.parametrize("wanted", [ComputeType.FLOAT16, ComputeType.BFLOAT16])
def test_an_explicit_type_wins_also_where_it_does_not_fit(wanted: ComputeType) -> None:
    assert choose_compute_type(wanted, "cuda", AMPERE, room(0.1)) == wanted


@pytest.mark.parametrize("supported", [VOLTA, AMPERE], ids=["before capability 8.0", "since"])
@pytest.mark.parametrize("free_gb", [0.1, 10])
def test_auto_never_takes_bfloat16(supported: set[str], free_gb: float) -> None:
    assert "bfloat16" not in choose_compute_type(ComputeType.AUTO, "cuda", supported, room(free_gb))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTranslate2 sees a GPU."""
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: AMPERE)


@pytest.mark.usefixtures("gpu")
def test_the_choice_says_why() -> None:
    assert choose_placement(room=room(2.0)).choice == PlacementChoice(
        "cuda", "int8_float16", "there is a GPU; float16 would take 3.0 GB, and 2.0 GB are free"
    )


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("device", "compute_type", "why"),
    [
        (Device.AUTO, ComputeType.AUTO, "there is a GPU; float16 is the fastest that the device does well"),
        (Device.CUDA, ComputeType.FLOAT32, "recognizer.device is cuda; recognizer.compute_type is float32"),
        (Device.CPU, ComputeType.INT8, "recognizer.device is cpu; recognizer.compute_type is int8"),
    ],
)
def test_settings_are_reasons(device: Device, compute_type: ComputeType, why: str) -> None:
    assert choose_placement(device, compute_type).why == why


def test_without_a_gpu_the_reason_says_so() -> None:
    assert choose_placement().why == "CTranslate2 sees no GPU; int8 is the fastest that the device does well"


@pytest.mark.parametrize(
    ("compute_type", "device", "supported", "is_built_with_it", "expected"),
    [
        ("float16", "cuda", AMPERE, True, True),
        ("bfloat16", "cuda", AMPERE, True, True),
        ("float16", "cuda", AMPERE, False, False),
        ("float16", "cuda", VOLTA, True, False),
        ("int8_float16", "cuda", AMPERE, True, False),
        ("int8", "cpu", AMPERE, True, False),
    ],
    ids=["float16", "bfloat16", "not built with it", "before capability 8.0", "int8", "CPU"],
)
def test_flash_attention_is_used_where_all_of_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
    compute_type: str,
    device: str,
    supported: set[str],
    is_built_with_it: bool,
    expected: bool,
) -> None:
    monkeypatch.setattr(devices, "has_flash_attention", lambda: is_built_with_it)

    assert choose_flash_attention(compute_type, device, supported) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"kernels", True), (b"kernels, Flash attention 2 is not supported, others", False)],
)
def test_a_build_without_flash_attention_is_known_by_its_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, expected: bool
) -> None:
    library = tmp_path / "libctranslate2-1.so"
    library.write_bytes(content)
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 00:01 5   /lib/libc.so\n7f02-7f03 r-xp 00000000 00:01 6   {library}\n")
    monkeypatch.setattr(devices, "_MAPS", maps)

    assert has_flash_attention.__wrapped__() is expected


def test_the_wheel_that_is_installed_has_no_flash_attention() -> None:
    assert devices._mapped_library() is not None
    assert not has_flash_attention.__wrapped__()
