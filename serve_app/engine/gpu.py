"""The GPU that this process runs on, asked through NVML."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml  # type: ignore[import-untyped]

from serve_app.errors import GpuLost
from serve_app.models.protocols import Gpu
from serve_app.models.types import GpuMemory
from serve_app.settings.environment import environment

VISIBLE = "CUDA_VISIBLE_DEVICES"
_NONE = ("", "-1", "NoDevFiles")

T = TypeVar("T")

logger = logging.getLogger(__name__)

_REMEDIES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 is not found: install the NVIDIA driver, and start a container"
    " with --gpus all",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: `nvidia-smi` must work on the host first",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated while it was loaded: restart the machine",
    pynvml.NVML_ERROR_NO_PERMISSION: "this user may not use the GPU: start the container with --gpus all, or mend the rights"
    " of /dev/nvidia*",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU fell off the bus: look for Xid in `dmesg`, and restart the machine if `nvidia-smi`"
    " does not show it",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU wants a reset: stop what uses it and run `nvidia-smi --gpu-reset`",
}
_NO_SUCH_DEVICE = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT)
_TELLS_NOTHING = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
)


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What a person wants to know of a device."""

    name: str
    driver: str
    capability: tuple[int, int]


class NvmlGpu(Gpu):
    """
    One device, through NVML. Safe to ask from several threads.

    `ours_bytes` is what the driver lists for this process. Where it lists no process of ours (a container has process numbers
    of its own) it is by how much the used memory of the device has grown since it was first asked: then what others take
    or give back meanwhile counts as ours, and `is_ours_listed` is false.

    After an error NVML is opened anew at the next question, so a GPU or driver that comes back is found again.

    Args:
        device: As in CUDA_VISIBLE_DEVICES: an index, or the UUID of a GPU (its beginning is enough) or of a MIG instance.
    """

    def __init__(self, device: str = "0") -> None:
        self._name = device
        self._lock = threading.Lock()
        self._handle: Any = None  # of the binding, which has no types
        self._opened = False
        self._listed = False
        self._used_at_first: int | None = None

    def memory(self) -> GpuMemory:
        return self._ask(self._memory)

    def facts(self) -> GpuFacts:
        """
        Raises:
            GpuLost: As `memory`.
        """
        return self._ask(_facts)

    def close(self) -> None:
        """Let NVML go; the next question opens it again."""
        with self._lock:
            self._shut()

    def _ask(self, question: Callable[[Any], T]) -> T:
        with self._lock:
            try:
                return question(self._open())
            except pynvml.NVMLError as error:
                self._shut()
                raise self._lost(error) from error

    def _open(self) -> Any:
        if not self._opened:
            pynvml.nvmlInit()
            self._opened = True
        if self._handle is None:
            self._handle = _find(self._name)
        return self._handle

    def _shut(self) -> None:
        self._handle = None
        if self._opened:
            self._opened = False
            with suppress(pynvml.NVMLError):  # a lost GPU cannot say goodbye
                pynvml.nvmlShutdown()

    def _memory(self, handle: Any) -> GpuMemory:
        info = pynvml.nvmlDeviceGetMemoryInfo(handle)
        ours_bytes = self._ours(handle, info.used)
        return GpuMemory(info.total, info.free, ours_bytes, is_ours_listed=self._listed)

    def _ours(self, handle: Any, used_bytes: int) -> int:
        if self._used_at_first is None:
            self._used_at_first = used_bytes
        listed = _listed_bytes(handle, os.getpid())
        if listed is not None:
            self._listed = True
            return listed
        return 0 if self._listed else max(0, used_bytes - self._used_at_first)

    def _lost(self, error: pynvml.NVMLError) -> GpuLost:
        if error.value in _NO_SUCH_DEVICE:
            return GpuLost(
                f"{VISIBLE} names {self._name}, and there is no such GPU: `nvidia-smi -L` lists those there are."
            )
        remedy = _REMEDIES.get(error.value, "see whether `nvidia-smi` works on the host")
        return GpuLost(f"The GPU does not answer ({error}): {remedy}.")


def open_gpu(device: str, env: Mapping[str, str] | None = None) -> NvmlGpu | None:
    """
    The GPU of this process; None where models run on the CPU, no GPU is visible, or there is no NVML to ask (as on Jetson).

    Args:
        device: As CTranslate2 names it, "cuda" or "cpu".
        env: Instead of this process's environment.
    """
    name = visible_device(environment(env))
    if device != "cuda" or name is None:
        return None
    if not _has_nvml():
        logger.warning("free GPU memory is not known, because libnvidia-ml.so.1 is not found: loads are tried unasked")
        return None
    return NvmlGpu(name)


def visible_device(env: Mapping[str, str]) -> str | None:
    """
    The first device that CUDA shows to a process with such an environment: an index or a UUID; None if it shows none.

    CUDA numbers the fastest first and NVML goes by the bus, so on a machine with GPUs of different kinds an index is only
    right with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    first = env.get(VISIBLE, "0").split(",")[0].strip()
    return None if first in _NONE else first


def _has_nvml() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return bool(error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    pynvml.nvmlShutdown()
    return True


def _facts(handle: Any) -> GpuFacts:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return GpuFacts(pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion(), (major, minor))


def _find(name: str) -> Any:
    if name.isdecimal():
        return _first_instance(pynvml.nvmlDeviceGetHandleByIndex(int(name)))
    if name.startswith("MIG-"):
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        if pynvml.nvmlDeviceGetUUID(handle).startswith(name):
            return _first_instance(handle)
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)


def _first_instance(handle: Any) -> Any:
    """Of a GPU that is split, CUDA uses the first MIG instance; the memory of the whole would promise too much."""
    try:
        split, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError as error:
        if error.value in _TELLS_NOTHING:
            return handle
        raise
    return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0) if split else handle


def _listed_bytes(handle: Any, pid: int) -> int | None:
    """What the driver says that a process holds; None if it does not say."""
    try:
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError as error:
        if error.value in _TELLS_NOTHING:
            return None
        raise
    return next((process.usedGpuMemory for process in processes if process.pid == pid), None)
