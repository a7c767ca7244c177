"""The checks of the machine: Python, Ray, CUDA, the GPU, port, disk, clock."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from serve_app.cli.doctor_findings import Finding, Level, fine
from serve_app.engine.gpu import GpuFacts
from serve_app.errors import ConfigError, GpuLost
from serve_app.models.types import GpuMemory
from serve_app.settings import Device

PYTHONS = ((3, 11), (3, 13))
"""The oldest and the newest that rayscribe runs on."""
LIBRARIES = {
    "libcuda.so.1": "Install the NVIDIA driver (`apt install nvidia-driver-580-server`); start a container with `--gpus all` and"
    " the NVIDIA container toolkit on its host.",
    "libcublas.so.12": "Run `pip install nvidia-cublas-cu12` and put its `nvidia/cublas/lib` folder on LD_LIBRARY_PATH, or"
    " `apt install libcublas-12-8` from NVIDIA's repository.",
    "libcublasLt.so.12": "It comes with libcublas.so.12: mend that.",
}
"""What CTranslate2 opens by name on a GPU, and how to get each."""

_NVIDIA = Path("/proc/driver/nvidia")  # the kernel module is loaded
_GB = 10**9
_LITTLE_BYTES = 2 * _GB
_RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
_SKEW = timedelta(hours=1)


class DescribedGpu(Protocol):
    """A GPU that can be asked who it is."""

    def memory(self) -> GpuMemory: ...

    def facts(self) -> GpuFacts: ...


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    oldest, newest = PYTHONS
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if oldest <= version <= newest:
        yield fine("python", said)
        return
    need = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    yield Finding("python", Level.PROBLEM, said, f"Make the virtual environment with Python {need}.")


def ray_version() -> str:
    """
    Raises:
        ImportError: Ray or its Serve is not there.
    """
    importlib.import_module("ray.serve")
    return str(importlib.import_module("ray").__version__)


def check_ray(version: Callable[[], str] = ray_version) -> Iterator[Finding]:
    wanted = _wanted("ray")
    fix = f"Run `pip install 'ray[serve]=={wanted}'`, or `make run`, which installs what is locked."
    try:
        found = version()
    except ImportError as error:
        yield Finding("ray", Level.PROBLEM, f"it cannot be imported: {error}", fix)
        return
    if found != wanted:
        yield Finding("ray", Level.WARNING, f"{found}; {wanted} is what rayscribe was tested with", fix)
        return
    yield fine("ray", found)


def check_libraries(
    device: Device, gpus: int, *, load: Callable[[str], object] = ctypes.CDLL, has_driver: bool | None = None
) -> Iterator[Finding]:
    """
    Args:
        device: The setting.
        gpus: So many CTranslate2 sees.
        load: Opens a library; raises OSError.
        has_driver: The kernel has NVIDIA's module.
    """
    if has_driver is None:
        has_driver = _NVIDIA.exists()
    if device is Device.CPU or not (gpus or has_driver or device is Device.CUDA):
        yield fine("cuda libraries", "not needed: models run on the CPU")
        return
    missing = [name for name in LIBRARIES if not _loads(name, load)]
    level = Level.PROBLEM if gpus or device is Device.CUDA else Level.WARNING
    for name in missing:
        yield Finding("cuda libraries", level, f"{name} cannot be opened", LIBRARIES[name])
    if not missing:
        yield fine("cuda libraries", ", ".join(LIBRARIES))


def check_gpu(gpu: DescribedGpu | None, need_bytes: int, model_id: str) -> Iterator[Finding]:
    """
    Args:
        need_bytes: Of the default model, with what is to be left free.
        model_id: The default model.
    """
    if gpu is None:
        yield Finding(
            "gpu", Level.WARNING, "its memory is not known: there is no libnvidia-ml.so.1", LIBRARIES["libcuda.so.1"]
        )
        return
    try:
        memory, facts = gpu.memory(), gpu.facts()
    except GpuLost as error:
        yield Finding("gpu", Level.PROBLEM, "the driver does not answer", error.message)
        return
    capability = ".".join(map(str, facts.capability))
    said = (
        f"{facts.name}, capability {capability}, driver {facts.driver}: {memory.free_bytes / _GB:.1f} of"
        f" {memory.total_bytes / _GB:.1f} GB free"
    )
    yield _room(memory, need_bytes, model_id, said)


def _room(memory: GpuMemory, need_bytes: int, model_id: str, said: str) -> Finding:
    if need_bytes <= memory.free_bytes:
        return fine("gpu", said)
    said = f"{said}; {model_id} needs {need_bytes / _GB:.1f}"
    if need_bytes > memory.total_bytes:
        fix = (
            "Choose a smaller default_model (medium takes half of large-v3), or recognizer.compute_type: int8_float16."
        )
        return Finding("gpu", Level.PROBLEM, said, fix)
    fix = "See in `nvidia-smi` who holds the memory and end it; until then the model waits for it, and so do jobs."
    return Finding("gpu", Level.WARNING, said, fix)


def check_port(host: str, port: int) -> Iterator[Finding]:
    from serve_app.cli.service import check_port as probe

    try:
        probe(host, port)
    except ConfigError as error:
        fix = f"If it is this service that runs there, all is well; else see `ss -ltnp 'sport = :{port}'`, or set PORT."
        yield Finding("port", Level.PROBLEM, error.message, fix)
        return
    yield fine("port", f"{host}:{port} is free")


def check_data_dir(
    directory: Path, upload_bytes: int, *, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> Iterator[Finding]:
    """
    Args:
        upload_bytes: The largest upload that is accepted: with less room the next one may fail.
    """
    there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        fix = f"Give this user the right to write there (`chown -R $(id -u) {directory}`), or set DATA_DIR."
        yield Finding("data_dir", Level.PROBLEM, f"{directory} cannot be written: {error.strerror}", fix)
        return
    free = free_bytes(there)
    said = f"{directory}: {free / _GB:.1f} GB free"
    fix = "Make room on the disk, shorten jobs.keep_jobs_s and jobs.keep_audio_s, or move DATA_DIR to a larger one."
    if free < upload_bytes:
        yield Finding("data_dir", Level.PROBLEM, said, fix)
    elif free < _LITTLE_BYTES:
        yield Finding("data_dir", Level.WARNING, said, fix)
    else:
        yield fine("data_dir", said)


def check_clock(directory: Path, now: datetime) -> Iterator[Finding]:
    """Against this release and what lies in the data directory: leases, expiries and signatures go by the clock."""
    newest = max((_changed_at(path) for path in directory.glob("jobs.sqlite3*")), default=_RELEASED)
    fix = "Set it, and keep it with NTP (`timedatectl set-ntp true`)."
    if now < _RELEASED:
        yield Finding("clock", Level.PROBLEM, f"{now:%Y-%m-%d %H:%M} is before this release was made", fix)
    elif newest > now + _SKEW:
        said = f"{now:%Y-%m-%d %H:%M} is before the jobs in {directory} were last changed, {newest:%Y-%m-%d %H:%M}"
        yield Finding("clock", Level.PROBLEM, said, fix)
    else:
        yield fine("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def _changed_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _loads(name: str, load: Callable[[str], object]) -> bool:
    try:
        load(name)
    except OSError:
        return False
    return True


def _wanted(package: str) -> str:
    """The version that our own metadata pins."""
    pinned = re.compile(rf"{package}(\[\w+\])?==([\w.]+)")
    found = (pinned.match(requirement) for requirement in importlib.metadata.requires("rayscribe") or ())
    return next(match[2] for match in found if match)
