"""Models that are wished for, and how they come to the device."""

from __future__ import annotations

import math

from serve_app.engine.resident import AskMemory, Drain, Phase, Resident, Weigh
from serve_app.engine.room import Plan, make_room, never_fits, shortage, too_little
from serve_app.engine.roster import Roster
from serve_app.errors import ModelLoadFailed
from serve_app.models.types import GpuMemory, Reason


class Wishes:
    """
    Loads what is wished for, oldest wish first, and makes room for it.

    Attributes:
        switch_at: When a model in use is drained for one that waits, if nothing happens; infinite: never.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._asking = False
        self._is_stale = False
        self.switch_at = math.inf

    def device_changed(self) -> None:
        """What the device has free is another number now, so an answer that is under way is worth nothing."""
        self._is_stale = self._asking

    def answer(self, memory: GpuMemory) -> GpuMemory | None:
        """The answer to AskMemory, if it still holds."""
        is_stale = self._is_stale
        self._asking = self._is_stale = False
        return None if is_stale else memory

    def no_answer(self, why: str, now: float) -> None:
        """The GPU does not answer."""
        self._asking = self._is_stale = False
        for resident in self._due(now):
            self._roster.wait(resident, why, now)

    def fulfil(self, now: float, memory: GpuMemory | None) -> None:
        """
        Begin the loads that there is room for.

        Args:
            memory: None: not asked yet, or there is no GPU.
        """
        self.switch_at = math.inf
        due = self._due(now)
        for resident in due:
            if not resident.is_weighed:
                resident.phase, resident.wanted, resident.retry_at = Phase.WEIGHING, True, None
                self._roster.actions.append(Weigh(resident.model_id))
        for resident in due:
            if not resident.is_weighed:
                continue
            if self._is_on_gpu(resident) and memory is None:
                self._ask_memory()
                return
            if not self._find_room(resident, now, memory):
                return  # what comes after it must not take the room that is made for it

    def _due(self, now: float) -> list[Resident]:
        wished = [r for r in self._roster if r.phase in (Phase.ABSENT, Phase.PARKED) and r.is_wished]
        due = [r for r in wished if r.retry_at is None or r.retry_at <= now]
        # Who only keeps a model never has another drained, and so must not be in the way of chunks.
        return sorted(due, key=lambda r: (not r.has_chunks_waiting, r.asked_since))

    def _is_on_gpu(self, resident: Resident) -> bool:
        return self._roster.on_gpu and not resident.on_cpu

    def _ask_memory(self) -> None:
        if not self._asking:
            self._asking = True
            self._roster.actions.append(AskMemory())

    def _find_room(self, resident: Resident, now: float, memory: GpuMemory | None) -> bool:
        """False: others of ours have to go first."""
        if not self._is_on_gpu(resident):
            memory = None
        elif memory is not None and (never := never_fits(resident, memory, self._roster.settings)):
            self._roster.fail(resident, ModelLoadFailed(never), now)
            return True
        others = self._roster.others(resident)
        short = shortage(resident, others, memory, self._roster.settings)
        if not short:
            self._roster.load(resident, now)
            return True
        plan = make_room(short, others)
        if not resident.has_chunks_waiting and any(other.is_pinned for other in plan.free):
            return True  # two that only keep a model would take the place from each other for ever
        if plan.is_enough:
            self._carry_out(plan, resident, now)
            return False
        self._roster.wait(resident, too_little(resident, memory), now)
        return self._find_room(resident, now, None) if resident.on_cpu else True

    def _carry_out(self, plan: Plan, wished: Resident, now: float) -> None:
        for resident in plan.free:
            self._roster.free(resident, Reason.EVICTED, now)
        if not wished.has_chunks_waiting:
            return
        for resident in plan.drain:
            # Each model has its turn: without it, two would spend their time loading.
            at = max(wished.asked_since, resident.ready_at) + self._roster.settings.switch_after_s
            if resident.phase is Phase.READY and at <= now:
                self._roster.drain(resident, Drain.AFTER_CHUNKS, Reason.EVICTED, now)
                if not resident.in_use:
                    self._roster.free(resident, Reason.EVICTED, now)
            elif resident.phase is Phase.READY:
                self.switch_at = min(self.switch_at, at)
