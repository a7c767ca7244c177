"""What replicas have told of themselves."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from serve_app.models.types import (
    GpuMemory,
    ModelChange,
    ModelSnapshot,
    ModelState,
    Reason,
    ReplicaModel,
    ReplicaReport,
)

SILENT_FOR = timedelta(seconds=20)  # four signs of life missed
GONE_KEPT = 256  # replicas whose late reports are still known to be late


@dataclass(frozen=True, slots=True)
class Told:
    """A change in a replica that nobody was told of yet."""

    replica_id: str
    change: ModelChange


@dataclass(slots=True)
class _Replica:
    heard_s: float
    models: dict[str, ModelSnapshot] = field(default_factory=dict)
    gpu: GpuMemory | None = None
    told: dict[str, ModelState] = field(default_factory=dict)  # the last that subscribers heard
    told_until: datetime | None = None  # changes up to here they heard


class Fleet:
    """
    Replicas and their models.

    Reports may come late, twice, in another order, or not at all: what is told of each replica always ends in the states of its
    latest report.

    Args:
        monotonic_s: Measures for how long they are silent: a wall clock that is set ahead must not take all of them away.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._replicas: dict[str, _Replica] = {}
        self._numbers: OrderedDict[str, int] = OrderedDict()  # of the latest report, also of those that are gone

    def fold(self, report: ReplicaReport, now: datetime) -> Sequence[Told]:
        """Take a report in; gives what is new in it, in order."""
        if report.number <= self._numbers.get(report.replica_id, report.number - 1):
            return ()
        self._remember_number(report)
        replica = self._replicas.setdefault(report.replica_id, _Replica(0.0))
        replica.heard_s, replica.gpu = self._monotonic_s(), report.gpu
        replica.models = {model.model_id: model for model in report.models}
        told = [Told(report.replica_id, change) for change in _news(replica, report)]
        return [*told, *self._forget(report.replica_id, Reason.STOPPED, now)] if report.stopping else told

    def forget_silent(self, now: datetime) -> Sequence[Told]:
        """Give up the replicas that have not been heard for too long; gives what that changes."""
        since_s = self._monotonic_s() - SILENT_FOR.total_seconds()
        silent = [its_id for its_id, replica in self._replicas.items() if replica.heard_s < since_s]
        return [told for its_id in silent for told in self._forget(its_id, Reason.DIED, now)]

    def __bool__(self) -> bool:
        """Whether any replica is up."""
        return bool(self._replicas)

    @property
    def gpus(self) -> tuple[tuple[str, GpuMemory], ...]:
        """Devices by replica id."""
        return tuple((its_id, replica.gpu) for its_id, replica in sorted(self._replicas.items()) if replica.gpu)

    def of(self, model_id: str) -> tuple[ReplicaModel, ...]:
        """A model in each replica that ever had it."""
        return tuple(
            ReplicaModel(its_id, replica.models[model_id])
            for its_id, replica in sorted(self._replicas.items())
            if model_id in replica.models
        )

    def _forget(self, replica_id: str, reason: Reason, now: datetime) -> Sequence[Told]:
        replica = self._replicas.pop(replica_id)
        return [
            Told(replica_id, ModelChange(model_id, ModelState.UNLOADED, reason, now))
            for model_id, state in replica.told.items()
            if state is not ModelState.UNLOADED
        ]

    def _remember_number(self, report: ReplicaReport) -> None:
        self._numbers[report.replica_id] = report.number
        self._numbers.move_to_end(report.replica_id)
        while len(self._numbers) > GONE_KEPT + len(self._replicas):
            self._numbers.popitem(last=False)


def _news(replica: _Replica, report: ReplicaReport) -> Iterator[ModelChange]:
    """What subscribers have not heard, from its changes first, then from its states."""
    until = replica.told_until
    for change in report.changes:
        # A report whose answer got lost is followed by one with the same changes.
        if until is None or change.at > until:
            yield _tell(replica, change)
    # Changes are lost with a Coordinator; states are not.
    for model in report.models:
        if replica.told.get(model.model_id, ModelState.UNLOADED) is not settled(model.state):
            yield _tell(
                replica,
                ModelChange(model.model_id, model.state, model.reason, model.since, model.last_error),
                late=True,
            )


def _tell(replica: _Replica, change: ModelChange, *, late: bool = False) -> ModelChange:
    replica.told[change.model_id] = settled(change.state)
    if not late:
        replica.told_until = max(replica.told_until or change.at, change.at)
    return change


def settled(state: ModelState) -> ModelState:
    """Busy is ready: subscribers do not hear of each chunk."""
    return ModelState.READY if state is ModelState.BUSY else state
