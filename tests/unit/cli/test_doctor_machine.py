"""What `rayscribe doctor` finds of a machine, and what it says to do."""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serve_app.cli.doctor_findings import Finding, Level, guarded
from serve_app.cli.doctor_machine import (
    LIBRARIES,
    PYTHONS,
    check_clock,
    check_data_dir,
    check_gpu,
    check_libraries,
    check_port,
    check_python,
    check_ray,
)
from serve_app.settings import Device
from serve_app.testing.gpu import GIB, FakeGpu

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def one(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    assert bool(finding.fix) == (finding.level is not Level.OK)
    return finding


def missing(*names: str) -> Callable[[str], object]:
    """A linker that finds all libraries but these."""

    def load(name: str) -> object:
        if name in names:
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    return load


def test_pythons_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (_, oldest), (_, newest) = PYTHONS

    assert project["requires-python"] == f">=3.{oldest},<3.{newest + 1}"


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 10), Level.PROBLEM), ((3, 11), Level.OK), ((3, 13), Level.OK), ((3, 14), Level.PROBLEM)],
)
def test_another_python_is_a_problem(version: tuple[int, int], level: Level) -> None:
    finding = one(check_python(version))

    assert finding.level is level
    assert level is Level.OK or "Python 3.11 to 3.13" in finding.fix


def test_ray_as_locked_is_fine() -> None:
    assert one(check_ray()).level is Level.OK


def test_another_ray_than_was_tested_is_a_warning() -> None:
    finding = one(check_ray(lambda: "2.0.0"))

    assert finding.level is Level.WARNING
    assert "pip install 'ray[serve]==2." in finding.fix


def test_a_ray_that_cannot_be_imported_is_a_problem() -> None:
    def version() -> str:
        raise ImportError("No module named 'ray'")

    finding = one(check_ray(version))

    assert finding.level is Level.PROBLEM
    assert "No module named 'ray'" in finding.said


@pytest.mark.parametrize(("device", "has_driver"), [(Device.CPU, True), (Device.AUTO, False)])
def test_on_the_cpu_no_cuda_library_is_needed(device: Device, has_driver: bool) -> None:
    finding = one(check_libraries(device, 0, load=missing(*LIBRARIES), has_driver=has_driver))

    assert finding.level is Level.OK
    assert finding.said == "not needed: models run on the CPU"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_with_the_package_that_has_it(name: str) -> None:
    finding = one(check_libraries(Device.AUTO, 1, load=missing(name), has_driver=True))

    assert finding.level is Level.PROBLEM
    assert name in finding.said
    assert finding.fix == LIBRARIES[name]


@pytest.mark.parametrize(("device", "level"), [(Device.CUDA, Level.PROBLEM), (Device.AUTO, Level.WARNING)])
def test_a_container_without_its_gpu_is_told_how_to_get_it(device: Device, level: Level) -> None:
    finding = one(check_libraries(device, 0, load=missing("libcuda.so.1"), has_driver=True))

    assert finding.level is level
    assert "--gpus all" in finding.fix


def test_with_all_libraries_all_is_well() -> None:
    assert one(check_libraries(Device.AUTO, 1, load=missing(), has_driver=True)).level is Level.OK


def test_a_gpu_with_room_is_described() -> None:
    finding = one(check_gpu(FakeGpu(others_bytes=2 * GIB), 3 * GIB, "large-v3"))

    assert finding.level is Level.OK
    assert finding.said == "Stand-in, capability 8.6, driver 580.1: 6.4 of 8.6 GB free"


def test_a_gpu_whose_memory_others_hold_is_a_warning() -> None:
    finding = one(check_gpu(FakeGpu(others_bytes=6 * GIB), 3 * GIB, "large-v3"))

    assert finding.level is Level.WARNING
    assert finding.said.endswith("large-v3 needs 3.2")
    assert "nvidia-smi" in finding.fix


def test_a_gpu_that_is_too_small_is_a_problem() -> None:
    finding = one(check_gpu(FakeGpu(2 * GIB), 3 * GIB, "large-v3"))

    assert finding.level is Level.PROBLEM
    assert "int8_float16" in finding.fix


def test_a_gpu_that_does_not_answer_is_a_problem() -> None:
    gpu = FakeGpu()
    gpu.lost = True

    assert one(check_gpu(gpu, 0, "tiny.en")) == Finding(
        "gpu", Level.PROBLEM, "the driver does not answer", "The GPU does not answer."
    )


def test_a_gpu_without_nvml_is_a_warning() -> None:
    assert one(check_gpu(None, 0, "tiny.en")).level is Level.WARNING


def test_a_port_that_is_taken_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        finding = one(check_port("127.0.0.1", port))

    assert finding.level is Level.PROBLEM
    assert f"ss -ltnp 'sport = :{port}'" in finding.fix
    assert one(check_port("127.0.0.1", port)).level is Level.OK


@pytest.mark.parametrize(("free_bytes", "level"), [(10**7, Level.PROBLEM), (10**9, Level.WARNING), (10**10, Level.OK)])
def test_a_disk_that_fills_up_is_told_before_it_is_full(tmp_path: Path, free_bytes: int, level: Level) -> None:
    assert one(check_data_dir(tmp_path, 10**8, free_bytes=lambda _: free_bytes)).level is level


def test_a_directory_that_is_not_there_yet_is_judged_by_the_one_above_and_not_made(tmp_path: Path) -> None:
    assert one(check_data_dir(tmp_path / "a" / "b", 0, free_bytes=lambda _: 10**10)).level is Level.OK
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_a_problem() -> None:
    finding = one(check_data_dir(Path("/proc/rayscribe"), 0))

    assert finding.level is Level.PROBLEM
    assert "DATA_DIR" in finding.fix


def test_a_clock_that_was_never_set_is_a_problem(tmp_path: Path) -> None:
    assert one(check_clock(tmp_path, datetime(1970, 1, 1, tzinfo=UTC))).level is Level.PROBLEM
    assert one(check_clock(tmp_path, NOW)).level is Level.OK


@pytest.mark.parametrize(("ahead", "level"), [(timedelta(minutes=1), Level.OK), (timedelta(days=2), Level.PROBLEM)])
def test_a_clock_that_went_back_behind_the_jobs_is_a_problem(tmp_path: Path, ahead: timedelta, level: Level) -> None:
    store = tmp_path / "jobs.sqlite3"
    store.touch()
    os.utime(store, times=((NOW + ahead).timestamp(),) * 2)

    assert one(check_clock(tmp_path, NOW)).level is level


def test_a_check_that_breaks_is_a_finding_and_keeps_what_it_found() -> None:
    def check() -> Iterable[Finding]:
        yield Finding("disk", Level.OK, "good")
        raise RuntimeError("unheard of")

    good, broken = guarded("disk", check)

    assert good.level is Level.OK
    assert (broken.check, broken.level) == ("disk", Level.PROBLEM)
    assert "RuntimeError: unheard of" in broken.said
