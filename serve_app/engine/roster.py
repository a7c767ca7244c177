"""The models of a replica, and the moves that each can make: what was moved is on record, what is to be done is noted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from serve_app.engine.resident import (
    DRAIN_QUIET_S,
    Action,
    Drain,
    Free,
    Grant,
    Load,
    Park,
    Phase,
    Refuse,
    Resident,
    Ticket,
)
from serve_app.errors import PASSING, RayscribeError
from serve_app.models.types import ModelState, Reason, UnloadOrder
from serve_app.settings.lifecycle import LifecycleSettings


@dataclass(frozen=True, slots=True)
class Change:
    """As `ModelChange`; `at` is in seconds of the machine's clock."""

    model_id: str
    state: ModelState
    reason: Reason
    at: float
    error: str | None = None


class Roster:
    """
    All models that a replica ever had.

    Args:
        settings: The rules.
        on_gpu: Idle models can be parked.

    Attributes:
        actions: What is to be done; whoever does it clears it.
        changes: What happened; whoever reads it clears it.
    """

    def __init__(self, settings: LifecycleSettings, *, on_gpu: bool) -> None:
        self.settings = settings
        self.on_gpu = on_gpu
        self.actions: list[Action] = []
        self.changes: list[Change] = []
        self._residents: dict[str, Resident] = {}
        self._orders: dict[str, UnloadOrder] = {}  # the last of each model, also of those that were never here

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._residents.values())

    def __getitem__(self, model_id: str) -> Resident:
        return self._residents[model_id]

    def get(self, model_id: str) -> Resident | None:
        return self._residents.get(model_id)

    def enter(self, model_id: str, now: float) -> Resident:
        """A model, new or known."""
        new = Resident(model_id, shown_since=now, order=self._orders.get(model_id))
        return self._residents.setdefault(model_id, new)

    def remember(self, order: UnloadOrder) -> None:
        """Orders may come late, and again."""
        known = self._orders.get(order.model_id)
        if known is None or known.at < order.at:
            self._orders[order.model_id] = order
            if resident := self.get(order.model_id):
                resident.order = order

    def others(self, resident: Resident) -> list[Resident]:
        return [other for other in self if other is not resident]

    def parks_at(self, resident: Resident) -> float:
        """When idleness takes a model off the GPU; infinite: never."""
        if not self.on_gpu or resident.on_cpu or resident.phase is not Phase.READY or not _may_idle(resident):
            return math.inf
        return resident.idle_since + max(self.settings.parks_after_s, DRAIN_QUIET_S)

    def unloads_at(self, resident: Resident) -> float:
        """When idleness frees a model; infinite: never."""
        if not _may_idle(resident):
            return math.inf
        # Between two chunks of one transcription nobody has the model.
        return resident.idle_since + max(self.settings.unloads_after_s, DRAIN_QUIET_S)

    def grant(self, ticket: Ticket, now: float) -> None:
        resident = self[ticket.model_id]
        resident.waiters.remove(ticket)
        if ticket.holds:
            resident.holds.add(ticket)
        else:
            resident.leases.add(ticket)
            resident.used_at = now
        self.actions.append(Grant(ticket))
        self.show(resident, ticket.cause, now)

    def refuse(self, resident: Resident, error: RayscribeError, tickets: Iterable[Ticket] | None = None) -> None:
        """Send away who waits and who uses the model: some, or all."""
        for ticket in list([*resident.waiters, *resident.leases] if tickets is None else tickets):
            if ticket in resident.waiters:
                resident.waiters.remove(ticket)
            resident.leases.discard(ticket)
            self.actions.append(Refuse(ticket, error))

    def load(self, resident: Resident, now: float) -> None:
        is_parked = resident.phase is Phase.PARKED and not resident.on_cpu
        self.actions.append(Load(resident.model_id, is_parked, resident.on_cpu))
        resident.phase, resident.wanted = Phase.LOADING, True
        resident.retry_at, resident.has_failed, resident.failure = None, False, None
        self.show(resident, resident.cause, now)

    def park(self, resident: Resident) -> None:
        resident.phase = Phase.PARKING
        self.actions.append(Park(resident.model_id))

    def drain(self, resident: Resident, drain: Drain, reason: Reason, now: float) -> None:
        resident.drain, resident.leaves_for = drain, reason
        self.show(resident, reason, now)

    def free(self, resident: Resident, reason: Reason, now: float) -> None:
        resident.phase, resident.leaves_for = Phase.FREEING, reason
        self.actions.append(Free(resident.model_id))
        self.show(resident, reason, now)

    def wait(self, resident: Resident, why: str | None, now: float) -> None:
        """Have a model wait for GPU memory, or go to the CPU instead."""
        resident.wanted, resident.failure = True, why
        if self.settings.cpu_fallback:
            resident.on_cpu = True
            return
        resident.retry_at = now + self.settings.gpu_poll_interval_s
        self.show(resident, Reason.OUT_OF_MEMORY, now)

    def fail(self, resident: Resident, error: RayscribeError, now: float) -> None:
        resident.wanted, resident.retry_at = False, None
        resident.has_failed, resident.failure = True, error.message
        resident.failure_passes = isinstance(error, PASSING)
        self.refuse(resident, error, resident.waiters)
        self.show(resident, Reason.ERROR, now)

    def evict_one_for(self, resident: Resident, now: float, *, spares_pinned: bool = False) -> None:
        """Make room for a model that ran out of memory, as it seems because its need was estimated too low."""
        idle = [other for other in self.others(resident) if other.is_idle and other.device_bytes]
        if spares_pinned:
            idle = [other for other in idle if not other.is_pinned]
        if idle and not self.settings.cpu_fallback:
            self.free(min(idle, key=lambda other: (other.is_pinned, other.idle_since)), Reason.EVICTED, now)

    def show(self, resident: Resident, reason: Reason, now: float) -> None:
        """Put a change of state on record, if it is one."""
        state = resident.state
        if {state, resident.shown} == {ModelState.READY, ModelState.BUSY}:
            resident.shown, resident.shown_since = state, now
        elif state != resident.shown:
            self.note(resident, state, reason, now)

    def note(self, resident: Resident, state: ModelState, reason: Reason, now: float) -> None:
        """Put on record what happened."""
        resident.shown, resident.shown_since, resident.shown_reason = state, now, reason
        error = resident.failure if state in (ModelState.FAILED, ModelState.WAITING_FOR_GPU) else None
        self.changes.append(Change(resident.model_id, state, reason, now, error))


def _may_idle(resident: Resident) -> bool:
    return resident.is_idle and not resident.is_pinned
