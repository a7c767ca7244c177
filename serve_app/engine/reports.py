"""What a replica tells of its models."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from serve_app.engine.resident import Resident
from serve_app.engine.residents import Residents
from serve_app.engine.roster import Change
from serve_app.models.types import GpuMemory, ModelChange, ModelSnapshot, ReplicaReport, VramUse

MOST_CHANGES = 1000
"""So many are kept for a Coordinator that is away; the oldest go first."""


class Reports:
    """
    Changes that wait to be told, and pictures of how things are.

    Args:
        replica_id: In every report.
        began_at: The instant that `began_s` of the machine's clock is.

    Attributes:
        changed: Set while there are changes that no report took along.
        stirred: Set when a model was asked for or left, or anything else may be otherwise than in the last report.
    """

    def __init__(self, replica_id: str, began_at: datetime, began_s: float) -> None:
        self._replica_id = replica_id
        self._began_at = began_at
        self._began_s = began_s
        self._waiting: list[ModelChange] = []
        self._dropped = 0
        self._ends: dict[int, int] = {}  # of reports: number → changes ever, as far as it tells
        self.changed = asyncio.Event()
        self.stirred = asyncio.Event()

    def add(self, changes: Iterable[Change]) -> None:
        """Keep changes until they are told."""
        for change in changes:
            at = self._instant(change.at)
            self._waiting.append(ModelChange(change.model_id, change.state, change.reason, at, change.error))
            self.changed.set()
        self._drop(len(self._waiting) - MOST_CHANGES)

    def report(
        self, number: int, residents: Residents, gpu: GpuMemory | None, *, stopping: bool = False
    ) -> ReplicaReport:
        """How things are, with the changes that no taken report told."""
        self.stirred.clear()
        self._ends[number] = self._dropped + len(self._waiting)
        return ReplicaReport(
            self._replica_id, number, self.snapshot(residents), tuple(self._waiting), gpu=gpu, stopping=stopping
        )

    def taken(self, number: int) -> None:
        """A report has arrived: its changes need not be told again."""
        self._drop(self._ends.get(number, 0) - self._dropped)
        self._ends = {later: end for later, end in self._ends.items() if later > number}
        if not self._waiting:
            self.changed.clear()

    def snapshot(self, residents: Residents) -> tuple[ModelSnapshot, ...]:
        return tuple(self._shot(resident, residents.unloads_at(resident)) for resident in residents)

    def _shot(self, resident: Resident, unloads_at: float) -> ModelSnapshot:
        return ModelSnapshot(
            model_id=resident.model_id,
            state=resident.shown,
            since=self._instant(resident.shown_since),
            reason=resident.shown_reason,
            in_flight=len(resident.leases),
            queued=sum(not ticket.holds for ticket in resident.waiters),
            pinned=resident.is_pinned,
            last_used_at=None if resident.used_at is None else self._instant(resident.used_at),
            unloads_at=None if math.isinf(unloads_at) else self._instant(unloads_at),
            vram=_vram(resident),
            choice=resident.choice,
            load_s=resident.load_s,
            last_error=resident.failure,
            error_passes=resident.has_failed and resident.failure_passes,
        )

    def _instant(self, at_s: float) -> datetime:
        return self._began_at + timedelta(seconds=at_s - self._began_s)

    def _drop(self, count: int) -> None:
        if count > 0:
            del self._waiting[:count]
            self._dropped += count


def _vram(resident: Resident) -> VramUse | None:
    if not resident.need_bytes or resident.on_cpu:
        return None
    return VramUse(resident.need_bytes, resident.before_bytes, resident.loaded_bytes, resident.after_bytes)
