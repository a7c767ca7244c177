"""Which device a model runs on, in which number type, on how many threads."""

from __future__ import annotations

import math
import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import ctranslate2

from serve_app.errors import ModelLoadFailed
from serve_app.settings import ComputeType, Device

_CGROUP = Path("/sys/fs/cgroup")
_FASTEST = {
    # CTranslate2 lists float16 from capability 7.0 on, int8 from 6.1 on: that is the rule of "auto".
    "cuda": (ComputeType.FLOAT16, ComputeType.INT8, ComputeType.FLOAT32),
    "cpu": (ComputeType.INT8, ComputeType.FLOAT32),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model runs."""

    device: str  # "cpu" or "cuda"
    compute_type: str
    threads: int  # of one batch; no meaning on a GPU


def choose_placement(
    device: Device = Device.AUTO, compute_type: ComputeType = ComputeType.AUTO, threads: int = 0
) -> Placement:
    """
    Turn settings into what this machine offers; an explicit value wins.

    Raises:
        ModelLoadFailed: The device is not here, or cannot do the number type.
    """
    name = choose_device(device, ctranslate2.get_cuda_device_count())
    supported = ctranslate2.get_supported_compute_types(name)
    # The number is passed on explicitly, because Ray sets OMP_NUM_THREADS to the replica's logical CPUs.
    return Placement(name, choose_compute_type(compute_type, name, supported), thread_count(threads))


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


def choose_compute_type(compute_type: ComputeType, device: str, supported: Set[str]) -> str:
    """
    A number type that the device supports.

    Raises:
        ModelLoadFailed: An explicit one that it does not support.
    """
    if compute_type is ComputeType.AUTO:
        return next((c.value for c in _FASTEST[device] if c in supported), ComputeType.FLOAT32.value)
    if compute_type not in supported:
        raise ModelLoadFailed(
            f"recognizer.compute_type is {compute_type}, which this {device} device does not support:"
            f" choose auto or one of {', '.join(sorted(supported))}."
        )
    return compute_type.value


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
