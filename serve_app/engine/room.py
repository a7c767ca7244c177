"""Who has to go so that another model finds room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serve_app.engine.resident import Drain, Phase, Resident
from serve_app.models.types import GpuMemory
from serve_app.settings.lifecycle import LifecycleSettings


@dataclass(frozen=True, slots=True)
class Shortage:
    """What a load lacks."""

    places: int
    bytes: int

    def __bool__(self) -> bool:
        return self.places > 0 or self.bytes > 0

    def without(self, resident: Resident) -> Shortage:
        """What it lacks still when another model is gone."""
        return Shortage(self.places - 1, self.bytes - resident.device_bytes)

    def is_eased_by(self, resident: Resident) -> bool:
        return self.places > 0 or (self.bytes > 0 and resident.device_bytes > 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How a model finds room.

    Attributes:
        free: Idle models that go at once.
        drain: Models in use that go first if the wish is old enough.
        is_enough: There will be room when these and those that leave already are gone; if not, others hold the memory.
    """

    free: tuple[Resident, ...] = ()
    drain: tuple[Resident, ...] = ()
    is_enough: bool = True


def shortage(
    wished: Resident, others: Sequence[Resident], memory: GpuMemory | None, settings: LifecycleSettings
) -> Shortage:
    """
    What one more model lacks.

    Args:
        wished: Absent or parked.
        others: All other models of the replica.
        memory: None where it takes none.
    """
    places = 0 if wished.is_resident else sum(r.is_resident for r in others) + 1 - settings.max_models
    if memory is None:
        return Shortage(places, 0)
    need = wished.need_bytes or 0
    # A running load counts whole, whatever it has taken already: it ends in seconds, and then it is looked again.
    loading = sum(r.device_bytes for r in others if r.phase is Phase.LOADING)
    lacking = need + settings.vram_margin_bytes + loading - memory.free_bytes
    if settings.vram_budget_bytes:
        lacking = max(lacking, need + sum(r.device_bytes for r in others) - settings.vram_budget_bytes)
    return Shortage(places, lacking)


def make_room(short: Shortage, others: Sequence[Resident]) -> Plan:
    """The least recently used ones, idle before used, unpinned before pinned, that make up for what is short."""
    for leaving in filter(_leaves, others):
        short = short.without(leaving)
    if not short:
        return Plan()
    idle = sorted((r for r in others if r.is_idle), key=_least_used)
    free, rest = _choose(idle, short)
    if not rest:
        return Plan(free=free)
    used = [r for r in others if r.is_resident and not r.is_idle and not r.is_leaving]
    chosen, rest = _choose([*idle, *sorted(used, key=_last_to_drain)], short)
    return Plan(drain=tuple(r for r in chosen if not r.is_idle), is_enough=not rest)


def _choose(candidates: Iterable[Resident], short: Shortage) -> tuple[tuple[Resident, ...], Shortage]:
    chosen: list[Resident] = []
    for candidate in candidates:
        if short.is_eased_by(candidate):
            chosen.append(candidate)
            short = short.without(candidate)
    return tuple(chosen), short


def _leaves(resident: Resident) -> bool:
    return resident.is_leaving


def _least_used(resident: Resident) -> tuple[bool, float]:
    return resident.is_pinned, resident.idle_since


def _last_to_drain(resident: Resident) -> tuple[bool, bool, bool, float]:
    is_about_to_be_ready = resident.phase is not Phase.READY
    return (
        is_about_to_be_ready,
        resident.is_pinned,
        resident.drain is not Drain.AFTER_TRANSCRIPTIONS,
        resident.idle_since,
    )


def never_fits(wished: Resident, memory: GpuMemory, settings: LifecycleSettings) -> str | None:
    """Why there can never be room for a model, with what to do about it; None if there can."""
    need, budget, margin = wished.need_bytes or 0, settings.vram_budget_bytes, settings.vram_margin_bytes
    if budget and need > budget:
        return (
            f"{wished.model_id} needs {_mib(need)} of GPU memory, and lifecycle.vram_budget_bytes allows {_mib(budget)}:"
            " raise it, or choose a smaller model or compute_type."
        )
    if need + margin > memory.total_bytes:
        return (
            f"{wished.model_id} needs {_mib(need)} of GPU memory and the GPU has {_mib(memory.total_bytes)}, of which"
            f" lifecycle.vram_margin_bytes keeps {_mib(margin)} free: choose a smaller model or compute_type."
        )
    return None


def too_little(wished: Resident, memory: GpuMemory | None) -> str:
    """What a model waits for."""
    free = _mib(memory.free_bytes) if memory else "too little"
    return f"{wished.model_id} needs {_mib(wished.need_bytes or 0)} of GPU memory, and {free} are free."


def _mib(number: int) -> str:
    return f"{number / 1024**2:,.0f} MiB"
