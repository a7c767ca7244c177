"""The real binding of NVML against a library that answers as a GPU would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
GIB = 1024**3
LOST, NOT_SUPPORTED, DRIVER_NOT_LOADED = 15, 3, 9  # NVML's codes


class Machine:
    """A machine with one GPU, and a process on it that asks for its memory."""

    def __init__(self, directory: Path, process: subprocess.Popen[str]) -> None:
        self._state = directory / "state"
        self._process = process
        self._told: dict[str, int] = {"total": 8 * GIB, "instance": 2 * GIB}
        self.now()

    def now(self, **told: int) -> None:
        """Change what the library answers from now on."""
        self._told |= told
        self._state.write_text("".join(f"{name} {value}\n" for name, value in self._told.items()))

    def ask(self, question: str = "memory") -> dict[str, Any] | None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] | None = json.loads(self._process.stdout.readline())
        return answer


Start = Callable[..., Machine]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the library, under the name that the binding asks the linker for."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, HERE / "fake_nvml.c"], check=True, timeout=60)
    return folder


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as processes:

        def start(visible: str = "0") -> Machine:
            env = {
                **os.environ,
                "LD_LIBRARY_PATH": str(library),
                "FAKE_NVML": str(tmp_path / "state"),
                "CUDA_VISIBLE_DEVICES": visible,
            }
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.service.engine.ask_gpu"],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            return Machine(tmp_path, process)

        yield start


def test_memory_is_that_of_the_device_and_of_our_process(start: Start) -> None:
    machine = start()
    machine.now(used=3 * GIB, ours=GIB)

    assert machine.ask() == {"total_bytes": 8 * GIB, "free_bytes": 5 * GIB, "ours_bytes": GIB, "is_ours_listed": True}


def test_a_process_that_is_no_longer_listed_holds_nothing(start: Start) -> None:
    machine = start()
    machine.now(used=3 * GIB, ours=GIB)
    machine.ask()

    machine.now(used=5 * GIB, ours=0)

    assert machine.ask() == {"total_bytes": 8 * GIB, "free_bytes": 3 * GIB, "ours_bytes": 0, "is_ours_listed": True}


@pytest.mark.parametrize("processes", [0, NOT_SUPPORTED], ids=["others are listed", "none is told"])
def test_where_our_process_is_not_listed_ours_is_the_growth_since_the_first_question(
    start: Start, processes: int
) -> None:
    machine = start()
    machine.now(used=GIB, processes=processes)
    first = machine.ask()

    machine.now(used=4 * GIB)

    assert first == {"total_bytes": 8 * GIB, "free_bytes": 7 * GIB, "ours_bytes": 0, "is_ours_listed": False}
    assert machine.ask() == {
        "total_bytes": 8 * GIB,
        "free_bytes": 4 * GIB,
        "ours_bytes": 3 * GIB,
        "is_ours_listed": False,
    }


def test_a_lost_gpu_is_told_with_what_to_do_and_found_again_when_it_is_back(start: Start) -> None:
    machine = start()
    machine.ask()

    machine.now(memory=LOST)
    lost = machine.ask()
    machine.now(memory=0)

    assert lost
    assert "fell off the bus: look for Xid in `dmesg`" in lost["lost"]
    assert machine.ask() == {"total_bytes": 8 * GIB, "free_bytes": 8 * GIB, "ours_bytes": 0, "is_ours_listed": False}


def test_a_driver_that_is_loaded_later_is_found_then(start: Start) -> None:
    machine = start()
    machine.now(init=DRIVER_NOT_LOADED)
    lost = machine.ask()

    machine.now(init=0)

    assert lost
    assert "`nvidia-smi` must work on the host first" in lost["lost"]
    assert machine.ask() == {"total_bytes": 8 * GIB, "free_bytes": 8 * GIB, "ours_bytes": 0, "is_ours_listed": False}


@pytest.mark.parametrize(
    ("visible", "total_bytes"),
    [("0,3", 8 * GIB), ("GPU-11112222", 8 * GIB), ("MIG-aaaa-bbbb", 2 * GIB)],
    ids=["index", "beginning of a UUID", "MIG instance"],
)
def test_the_device_is_the_first_visible_one(start: Start, visible: str, total_bytes: int) -> None:
    answer = start(visible).ask()

    assert answer
    assert answer["total_bytes"] == total_bytes


def test_of_a_split_gpu_the_first_instance_counts(start: Start) -> None:
    machine = start()
    machine.now(mig=1)

    answer = machine.ask()

    assert answer
    assert answer["total_bytes"] == 2 * GIB


def test_a_gpu_that_cannot_be_split_counts_whole(start: Start) -> None:
    machine = start()
    machine.now(mig=-1)

    answer = machine.ask()

    assert answer
    assert answer["total_bytes"] == 8 * GIB


@pytest.mark.parametrize("visible", ["7", "GPU-9", "MIG-cccc"])
def test_a_device_that_is_not_there_is_named(start: Start, visible: str) -> None:
    answer = start(visible).ask()

    assert answer
    assert f"CUDA_VISIBLE_DEVICES names {visible}, and there is no such GPU" in answer["lost"]


def test_no_visible_device_is_no_gpu(start: Start) -> None:
    assert start("-1").ask() is None


def test_name_driver_and_capability_are_told(start: Start) -> None:
    assert start().ask("facts") == {"name": "Stand-in", "driver": "580.1", "capability": [8, 6]}
