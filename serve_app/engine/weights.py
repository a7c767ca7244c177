"""The weights in memory, and the blocking work on them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serve_app.engine.loading import from_host_memory, to_host_memory
from serve_app.engine.models import LoadedModel, Loader
from serve_app.errors import GpuLost
from serve_app.models.protocols import Gpu
from serve_app.models.types import GpuMemory


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known after a load; bytes are None where the GPU was not asked, or other loads came between."""

    before_bytes: int | None = None
    loaded_bytes: int | None = None
    need_bytes: int | None = None


class Weights:
    """
    Models by id. Every method blocks, and may run beside those of other models in another thread.

    Args:
        loader: Where models come from.
        gpu: What memory is measured by; None: it is not.
    """

    def __init__(self, loader: Loader, gpu: Gpu | None) -> None:
        self._loader = loader
        self._gpu = gpu
        self._models: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()
        self._running = 0
        self._begun = 0
        self._at_first: GpuMemory | None = None

    def __getitem__(self, model_id: str) -> LoadedModel:
        return self._models[model_id]

    def __len__(self) -> int:
        return len(self._models)

    def weigh(self, model_id: str) -> int:
        """As `Loader.weigh`."""
        return self._loader.weigh(model_id)

    def load(self, model_id: str, *, parked: bool, on_cpu: bool) -> Loaded:
        """
        Bring a model to the device, from host memory if it is parked there.

        Raises:
            ModelLoadFailed, OutOfMemory, RecognizerUnavailable: As `Loader.load`; the model is then gone.
        """
        with self._measuring() as alone:
            before = self._memory()
            if self._at_first is None:
                self._at_first = before
            known = self._models.pop(model_id, None)
            if known is not None and parked:
                from_host_memory(model_id, known)
            else:
                del known  # parked weights, if the GPU has no room to take them back
                known = self._loader.load(model_id, on_cpu=on_cpu)
            self._models[model_id] = known
            held = self._memory()
        if on_cpu or before is None or held is None or not alone:
            return Loaded()
        taken_bytes = held.ours_bytes - _held_before(before, held)
        is_measured = held.is_ours_listed and taken_bytes > 0 and not parked
        need = self._loader.measured(model_id, taken_bytes) if is_measured else None
        return Loaded(_held_before(before, held), held.ours_bytes, need)

    def park(self, model_id: str) -> None:
        """Take a model to host memory."""
        to_host_memory(self._models[model_id])

    def free(self, model_id: str) -> GpuMemory | None:
        """Drop a model; gives the GPU's memory afterwards, if it is known."""
        with self._measuring():
            # At once, whoever still has a reference.
            self._models.pop(model_id).whisper.unload_model()
            return self._memory()

    def clear(self) -> None:
        """Drop all."""
        while self._models:
            self._models.popitem()[1].whisper.unload_model()

    def residue_bytes(self, after: GpuMemory | None) -> int:
        """What stayed behind of all models, if none is left and the driver says so; `after` as `free` gave it."""
        if self._models or after is None or self._at_first is None or not after.is_ours_listed:
            return 0
        return after.ours_bytes - _held_before(self._at_first, after)

    @contextmanager
    def _measuring(self) -> Iterator[list[bool]]:
        """Gives a list that holds something afterwards if nothing else was loaded or freed meanwhile."""
        alone: list[bool] = []
        with self._lock:
            self._running += 1
            self._begun += 1
            mine, is_alone = self._begun, self._running == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._running -= 1
                if is_alone and mine == self._begun:
                    alone.append(True)

    def _memory(self) -> GpuMemory | None:
        if self._gpu is None:
            return None
        try:
            return self._gpu.memory()
        except GpuLost:
            return None


def _held_before(before: GpuMemory, after: GpuMemory) -> int:
    """What the process held in bytes; a process that the driver lists only later has used no GPU until then."""
    return before.ours_bytes if before.is_ours_listed or not after.is_ours_listed else 0
