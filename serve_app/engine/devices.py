"""Which device a model runs on, in which number type, on how many threads, and why."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ctranslate2

from serve_app.errors import ModelLoadFailed
from serve_app.models.types import PlacementChoice
from serve_app.settings import ComputeType, Device

_CGROUP = Path("/sys/fs/cgroup")
_MAPS = Path("/proc/self/maps")
_LIBRARY = "libctranslate2"
_NO_FLASH_ATTENTION = b"Flash attention 2 is not supported"
_FASTEST = {
    # CTranslate2 lists float16 from capability 7.0 on, int8 from 6.1 on: that is the rule of "auto". bfloat16, which it lists
    # from 8.0 on, is no faster than float16 and less precise, so nothing but an explicit setting chooses it.
    "cuda": (ComputeType.FLOAT16, ComputeType.INT8, ComputeType.FLOAT32),
    "cpu": (ComputeType.INT8, ComputeType.FLOAT32),
}
_FLASH_TYPES = (ComputeType.FLOAT16, ComputeType.BFLOAT16)
_GB = 10**9

Need = Callable[[str], int]
"""What a model needs in a compute type, in bytes of GPU memory."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model runs."""

    device: str  # "cpu" or "cuda"
    compute_type: str
    threads: int  # of one batch; no meaning on a GPU
    flash_attention: bool = False
    why: str = ""

    @property
    def choice(self) -> PlacementChoice:
        """As others are told of it."""
        return PlacementChoice(self.device, self.compute_type, self.why)


@dataclass(frozen=True, slots=True)
class Room:
    """
    GPU memory for one model.

    Attributes:
        free_bytes: What it may take: what others of this process would give back for it counts as free.
        need: What it would take.
    """

    free_bytes: int
    need: Need


def choose_placement(
    device: Device = Device.AUTO,
    compute_type: ComputeType = ComputeType.AUTO,
    threads: int = 0,
    *,
    room: Room | None = None,
) -> Placement:
    """
    Turn settings into what this machine offers; an explicit value wins.

    Args:
        room: On a GPU, so that a model that is too large in float16 is loaded in int8_float16; None: it is not asked.

    Raises:
        ModelLoadFailed: The device is not here, or cannot do the number type.
    """
    name = choose_device(device, ctranslate2.get_cuda_device_count())
    supported = ctranslate2.get_supported_compute_types(name)
    chosen = choose_compute_type(compute_type, name, supported, room)
    why = f"{_why_device(device, name)}; {_why_type(compute_type, chosen, room)}"
    # The number is passed on explicitly, because Ray sets OMP_NUM_THREADS to the replica's logical CPUs.
    return Placement(name, chosen, thread_count(threads), choose_flash_attention(chosen, name, supported), why)


def choose_device(device: Device, cuda_devices: int) -> str:
    """
    "cpu" or "cuda".

    Raises:
        ModelLoadFailed: CUDA is wanted and CTranslate2 sees no such device.
    """
    if device is Device.AUTO:
        return "cuda" if cuda_devices else "cpu"
    if device is Device.CUDA and not cuda_devices:
        raise ModelLoadFailed(
            "recognizer.device is cuda, but CTranslate2 sees no CUDA device: install the NVIDIA driver and give this"
            " process the GPU, or set recognizer.device: auto (or cpu) to run on the CPU."
        )
    return device.value


def choose_compute_type(compute_type: ComputeType, device: str, supported: Set[str], room: Room | None = None) -> str:
    """
    A number type that the device supports.

    Raises:
        ModelLoadFailed: An explicit one that it does not support.
    """
    if compute_type is ComputeType.AUTO:
        fastest = next((c for c in _FASTEST[device] if c in supported), ComputeType.FLOAT32)
        return (_smaller(supported, room) if fastest is ComputeType.FLOAT16 and room else fastest).value
    if compute_type not in supported:
        raise ModelLoadFailed(
            f"recognizer.compute_type is {compute_type}, which this {device} device does not support:"
            f" choose auto or one of {', '.join(sorted(supported))}."
        )
    return compute_type.value


def choose_flash_attention(compute_type: str, device: str, supported: Set[str]) -> bool:
    """Whether CTranslate2 can use it: from capability 8.0 on, which it tells by bfloat16, if it was built with it."""
    is_ampere = device == "cuda" and ComputeType.BFLOAT16 in supported
    return is_ampere and compute_type in _FLASH_TYPES and has_flash_attention()


@cache
def has_flash_attention() -> bool:
    """
    Whether this CTranslate2 was built with flash attention; the wheels since 4.4 are not.

    It has no function that tells. A build without it holds the message with which it would end the first batch; looking for
    that takes a tenth of a second, and trying it out a load.
    """
    library = _mapped_library()
    if library is None:
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_NO_FLASH_ATTENTION) < 0


def _mapped_library() -> Path | None:
    if not _MAPS.exists():  # no Linux, so no CUDA either
        return None
    paths = (Path(line.split()[-1]) for line in _MAPS.read_text(encoding="utf-8").splitlines() if _LIBRARY in line)
    return next((path for path in paths if path.name.startswith(_LIBRARY) and path.is_file()), None)


def _smaller(supported: Set[str], room: Room) -> ComputeType:
    fits = room.need(ComputeType.FLOAT16) <= room.free_bytes
    return ComputeType.FLOAT16 if fits or ComputeType.INT8_FLOAT16 not in supported else ComputeType.INT8_FLOAT16


def _why_device(device: Device, chosen: str) -> str:
    if device is not Device.AUTO:
        return f"recognizer.device is {device}"
    return "there is a GPU" if chosen == "cuda" else "CTranslate2 sees no GPU"


def _why_type(compute_type: ComputeType, chosen: str, room: Room | None) -> str:
    if compute_type is not ComputeType.AUTO:
        return f"recognizer.compute_type is {compute_type}"
    if room and chosen == ComputeType.INT8_FLOAT16:
        needed, free = room.need(ComputeType.FLOAT16) / _GB, room.free_bytes / _GB
        return f"float16 would take {needed:.1f} GB, and {free:.1f} GB are free"
    return f"{chosen} is the fastest that the device does well"


def thread_count(threads: int) -> int:
    """So many threads as are wanted; 0 means one for each CPU that this process may use."""
    return threads or _usable_cpus()


def cpus_within(allowed: int, cpu_max: str) -> int:
    """
    CPUs that a process can keep busy: a container sees all those of its host, and more threads than this are throttled.

    Args:
        allowed: CPUs that the scheduler may put it on.
        cpu_max: The cgroup's quota and period in µs, as in cgroup v2's `cpu.max`; "max" or "-1" is no quota.
    """
    quota_us, period_us = cpu_max.split()
    if quota_us in ("max", "-1"):
        return allowed
    return min(allowed, math.ceil(int(quota_us) / int(period_us)))


def _usable_cpus() -> int:
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpus_within(allowed, _cpu_max())


def _cpu_max() -> str:
    v2 = _CGROUP / "cpu.max"
    v1 = (_CGROUP / "cpu" / "cpu.cfs_quota_us", _CGROUP / "cpu" / "cpu.cfs_period_us")
    try:
        return v2.read_text() if v2.exists() else " ".join(part.read_text() for part in v1)
    except OSError:
        return "max 100000"
