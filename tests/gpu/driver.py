"""CUDA's driver by ctypes: enough to see which device it uses and to take its memory away."""

from __future__ import annotations

import ctypes

_CAPABILITY = (75, 76)  # attributes: major, minor


class Driver:
    """The first visible device, with a context of its own in this process."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def name(self) -> str:
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, len(name), self._device)
        return name.value.decode()

    def capability(self) -> tuple[int, int]:
        found = [ctypes.c_int() for _ in _CAPABILITY]
        for value, attribute in zip(found, _CAPABILITY, strict=True):
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
        major, minor = found
        return major.value, minor.value

    def take_all_but(self, left_bytes: int) -> None:
        """Hold memory until the process ends."""
        free, total, place = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        self._call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(free.value - left_bytes))

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._cuda, name)(*arguments)
        assert code == 0, f"{name} failed with CUDA error {code}"
