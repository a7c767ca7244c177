"""Orders to unload models, and who is let go on."""

from __future__ import annotations

from serve_app.engine.resident import Drain, Phase, Resident, Ticket
from serve_app.engine.roster import Roster
from serve_app.errors import ModelNotReady
from serve_app.models.types import Reason, UnloadOrder


class Orders:
    """Frees models as soon as they are unused, and loads none to stay for what had begun before."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def admit(self, ticket: Ticket, resident: Resident) -> bool:
        """Whether somebody may wait for a model; who comes too late is refused."""
        if not self._is_too_late(ticket, resident):
            return True
        self._roster.refuse(resident, _unloaded(resident.model_id), [ticket])
        return False

    def carry_out(self, order: UnloadOrder, now: float) -> None:
        """As `Residents.unload`."""
        self._roster.remember(order)
        resident = self._roster.get(order.model_id)
        if resident is None:
            return
        known = [*resident.waiters, *resident.leases]
        late = [ticket for ticket in known if self._is_too_late(ticket, resident)]
        self._roster.refuse(resident, _unloaded(order.model_id), late)
        if resident.is_wished_anew:  # the order came later than what was asked for after it
            return
        resident.holds.clear()
        resident.wanted, resident.retry_at, resident.has_failed, resident.failure = False, None, False, None
        self._begin(resident, now, force=order.force)
        self._roster.show(resident, Reason.UNLOAD, now)

    def loaded(self, resident: Resident, now: float) -> None:
        """A load has ended: if it was only for what is to end, the model goes with that."""
        if resident.drain is None and not resident.is_wished_anew:
            self._roster.drain(resident, Drain.AFTER_TRANSCRIPTIONS, Reason.UNLOAD, now)

    def _is_too_late(self, ticket: Ticket, resident: Resident) -> bool:
        if resident.order is None or not resident.is_late(ticket):
            return False
        return ticket.holds or resident.order.force or resident.retry_at is not None

    def _begin(self, resident: Resident, now: float, *, force: bool) -> None:
        match resident.phase:
            case Phase.ABSENT | Phase.WEIGHING:
                return
            case Phase.FREEING:
                resident.leaves_for = Reason.UNLOAD
            case Phase.PARKED:
                self._roster.free(resident, Reason.UNLOAD, now)
            case Phase.READY if not resident.in_use:
                self._roster.free(resident, Reason.UNLOAD, now)
            case Phase.READY if not force and resident.drain is not Drain.AFTER_CHUNKS:
                self._roster.drain(resident, Drain.AFTER_TRANSCRIPTIONS, Reason.UNLOAD, now)
            case Phase.LOADING if resident.waiters:
                self._roster.drain(resident, Drain.AFTER_TRANSCRIPTIONS, Reason.UNLOAD, now)
            case _:
                self._roster.drain(resident, Drain.AFTER_CHUNKS, Reason.UNLOAD, now)


def _unloaded(model_id: str) -> ModelNotReady:
    return ModelNotReady(f"{model_id} was unloaded while this used it or waited for it: ask again to load it.")
