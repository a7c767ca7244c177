"""Where a model runs."""

from __future__ import annotations

import pytest

from serve_app.engine.devices import choose_compute_type, choose_device, choose_placement, cpus_within
from serve_app.errors import ModelLoadFailed
from serve_app.settings import ComputeType, Device

VOLTA = {"float32", "float16", "int8", "int8_float16", "int8_float32"}
PASCAL = {"float32", "int8", "int8_float32"}
AMPERE = VOLTA | {"bfloat16", "int8_bfloat16"}


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
