"""
The models of one replica as a state machine: what to load, park and free, and who gets what when.

It does nothing itself, knows no clock, and is told everything: `decide` says what is to be done, and whoever does it tells how
that ended. All times are seconds of one clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

from serve_app.engine.orders import Orders
from serve_app.engine.resident import DRAIN_QUIET_S, Action, Drain, Phase, Resident, Ticket
from serve_app.engine.roster import Change, Roster
from serve_app.engine.wishes import Wishes
from serve_app.errors import RayscribeError, RecognizerLeaving
from serve_app.models.types import GpuMemory, ModelState, PlacementChoice, Reason, UnloadOrder
from serve_app.settings.lifecycle import LifecycleSettings


class Residents:
    """
    What models one replica has, and who uses them.

    Args:
        settings: The rules.
        on_gpu: Loads are checked against the GPU's memory, and idle models parked.
    """

    def __init__(self, settings: LifecycleSettings, *, on_gpu: bool) -> None:
        self._roster = Roster(settings, on_gpu=on_gpu)
        self._wishes = Wishes(self._roster)
        self._orders = Orders(self._roster)

    def change_rules(self, settings: LifecycleSettings) -> None:
        """From now on, also for what is idle already."""
        self._roster.settings = settings

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._roster)

    def __getitem__(self, model_id: str) -> Resident:
        return self._roster[model_id]

    def ask(
        self,
        model_id: str,
        now: float,
        began_at: datetime,
        *,
        cause: Reason = Reason.REQUEST,
        holds: bool = False,
    ) -> Ticket:
        """
        Wish for a model; a Grant or a Refuse follows, unless the caller leaves before.

        Args:
            began_at: As `Ticket`. An unload by force that was ordered later is this one's end too.
            holds: To have it loaded and kept, not to use it.
        """
        ticket = Ticket(model_id, cause, now, began_at, holds)
        resident = self._roster.enter(model_id, now)
        if not resident.is_wished:
            resident.cause = cause
        if self._orders.admit(ticket, resident):
            resident.wish(ticket)
        return ticket

    def leave(self, ticket: Ticket, now: float) -> None:
        """The caller has done, or waits no longer."""
        resident = self._roster[ticket.model_id]
        if ticket in resident.waiters:
            resident.waiters.remove(ticket)
        elif ticket in resident.leases:
            resident.leases.remove(ticket)
            resident.used_at = now
        resident.holds.discard(ticket)
        self._roster.show(resident, ticket.cause, now)

    def begin_work(self, model_id: str) -> None:
        """A batch runs, which cannot be interrupted: the weights stay until `end_work`, also when all leases are gone."""
        self._roster[model_id].at_work += 1

    def end_work(self, model_id: str, now: float) -> None:
        resident = self._roster[model_id]
        resident.at_work -= 1
        self._roster.show(resident, resident.cause, now)

    def unload(self, order: UnloadOrder, now: float) -> None:
        """
        Free a model as soon as it is unused, and no longer keep it for anybody.

        Transcriptions that had begun go on, here or where their next chunks come to; what began later waits, and then loads it
        again. By force, all that had begun get ModelNotReady, also if they come only now, and it is freed when the batches
        that run have ended.
        """
        self._orders.carry_out(order, now)

    def weighed(self, model_id: str, need_bytes: int, now: float) -> None:
        """A Weigh has ended."""
        resident = self._roster[model_id]
        resident.phase, resident.need_bytes, resident.is_weighed = Phase.ABSENT, need_bytes, True
        self._roster.show(resident, Reason.UNLOAD, now)  # which it is only if an unload came between

    def loaded(
        self,
        model_id: str,
        now: float,
        *,
        load_s: float = 0.0,
        choice: PlacementChoice | None = None,
        before_bytes: int | None = None,
        loaded_bytes: int | None = None,
        need_bytes: int | None = None,
    ) -> None:
        """
        A Load has ended well.

        Args:
            load_s: How long it took.
            before_bytes, loaded_bytes: What the process held before and after it; None if not known, or not its doing alone.
            need_bytes: What it needs as is known now; None: as was known before.
        """
        resident = self._roster[model_id]
        self._wishes.device_changed()
        resident.phase, resident.ready_at, resident.wanted = Phase.READY, now, False
        resident.load_s, resident.choice = load_s, choice
        if before_bytes is not None and loaded_bytes is not None:
            resident.before_bytes, resident.loaded_bytes = before_bytes, loaded_bytes
        if need_bytes is not None:
            resident.need_bytes = need_bytes
        self._orders.loaded(resident, now)
        self._roster.show(resident, Reason.LOADED, now)

    def failed(self, model_id: str, error: RayscribeError, now: float) -> None:
        """A Weigh or a Load has failed; the next who asks tries again."""
        resident = self._roster[model_id]
        self._wishes.device_changed()
        resident.forget_load()
        resident.is_weighed = False  # its files may be others by then
        self._roster.fail(resident, error, now)

    def found_no_room(self, model_id: str, why: str, now: float) -> None:
        """A Load ran out of GPU memory: it waits, unless nobody wants it any more."""
        resident = self._roster[model_id]
        self._wishes.device_changed()
        resident.forget_load()
        if not resident.is_wished:
            self._roster.show(resident, resident.leaves_for, now)
            return
        self._roster.wait(resident, why, now)
        self._roster.evict_one_for(resident, now, spares_pinned=not resident.has_chunks_waiting)

    def ran_out_of_memory(self, ticket: Ticket, why: str, now: float) -> None:
        """A batch of one chunk ran out of GPU memory: its model is freed, and loaded again when there is more."""
        resident = self._roster[ticket.model_id]
        is_lease = ticket in resident.leases
        self.leave(ticket, now)
        if not is_lease or resident.drain is Drain.AFTER_CHUNKS:
            return
        resident.wanted, resident.failure = True, why
        self._roster.drain(resident, Drain.AFTER_CHUNKS, Reason.OUT_OF_MEMORY, now)
        self._roster.evict_one_for(resident, now)

    def parked(self, model_id: str, now: float, *, well: bool = True) -> None:
        """A Park has ended; if not well, the model is freed."""
        resident = self._roster[model_id]
        self._wishes.device_changed()
        resident.phase = Phase.PARKED if well else Phase.READY
        if not well:
            self._roster.free(resident, Reason.ERROR, now)
        elif resident.drain:
            self._roster.free(resident, resident.leaves_for, now)
        self._roster.show(resident, Reason.IDLE, now)

    def unloaded(self, model_id: str, now: float, *, after_bytes: int | None = None) -> None:
        """A Free has ended."""
        resident = self._roster[model_id]
        self._wishes.device_changed()
        resident.forget_load()
        resident.is_weighed = False  # the next load chooses the number type by the memory of then
        resident.after_bytes = after_bytes
        for other in self._roster.others(resident):
            if other.retry_at is not None:
                other.retry_at = now
        if resident.leaves_for is Reason.OUT_OF_MEMORY and resident.wanted:
            self._roster.wait(resident, resident.failure, now)
        else:
            self._roster.note(resident, ModelState.UNLOADED, resident.leaves_for, now)

    def gpu_lost(self, why: str, now: float) -> None:
        """An AskMemory had no answer: what is to be loaded waits."""
        self._wishes.no_answer(why, now)

    def has_residue(self, model_id: str, now: float) -> None:
        """The memory of the last model did not come back."""
        self._roster.note(self._roster[model_id], ModelState.UNLOADED, Reason.RESIDUE, now)

    def stop(self, now: float) -> None:
        """The replica goes away: nobody gets anything more."""
        error = RecognizerLeaving("The recogniser is stopping.")
        for resident in self._roster:
            self._roster.refuse(resident, error)
            resident.forget_load()
            resident.wanted, resident.retry_at, resident.has_failed = False, None, False
            self._roster.show(resident, Reason.STOPPED, now)

    def decide(self, now: float, memory: GpuMemory | None = None) -> list[Action]:
        """
        What is to be done now.

        Args:
            memory: The answer to an AskMemory.
        """
        answer = None if memory is None else self._wishes.answer(memory)
        for resident in self._roster:
            for ticket in [ticket for ticket in resident.waiters if resident.admits(ticket)]:
                self._roster.grant(ticket, now)
            self._step_down(resident, now)
        self._wishes.fulfil(now, answer)
        for resident in self._roster:
            self._roster.show(resident, resident.cause, now)
        actions, self._roster.actions = self._roster.actions, []
        return actions

    def due(self, now: float) -> float | None:
        """When `decide` has something new to say, if nothing is told before; None if never."""
        instants = [self._wishes.switch_at, *(i for resident in self._roster for i in self._instants(resident))]
        return min((instant for instant in instants if now < instant < math.inf), default=None)

    def unloads_at(self, resident: Resident) -> float:
        """When idleness frees a model; infinite: never."""
        return self._roster.unloads_at(resident)

    def take_changes(self) -> list[Change]:
        """What happened since this was last asked."""
        changes, self._roster.changes = self._roster.changes, []
        return changes

    def _instants(self, resident: Resident) -> Iterator[float]:
        yield self._roster.parks_at(resident)
        yield self._roster.unloads_at(resident)
        if resident.retry_at is not None:
            yield resident.retry_at
        if resident.drain is Drain.AFTER_TRANSCRIPTIONS and not resident.in_use:
            yield resident.idle_since + DRAIN_QUIET_S

    def _step_down(self, resident: Resident, now: float) -> None:
        if resident.drain and resident.phase is Phase.READY and not resident.in_use:
            if resident.drain is Drain.AFTER_CHUNKS or resident.idle_since + DRAIN_QUIET_S <= now:
                self._roster.free(resident, resident.leaves_for, now)
        elif self._roster.unloads_at(resident) <= now:
            self._roster.free(resident, Reason.IDLE, now)
        elif self._roster.parks_at(resident) <= now:
            self._roster.park(resident)
