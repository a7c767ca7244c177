"""A model over all replicas, from what each of them told: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from serve_app.lifecycle.pins import Pin, ends_at
from serve_app.models.types import (
    BEST_FIRST,
    SERVING,
    ModelOverview,
    ModelSnapshot,
    ModelState,
    Reason,
    ReplicaModel,
)

LOAD_S = 10.0  # until a load was measured
START_S = 10.0  # of a replica, of which most is Ray's
SOONEST_S = 1.0
NOT_BEGUN = frozenset({ModelState.UNLOADED, ModelState.FAILED})


@dataclass(frozen=True, slots=True)
class Past:
    """
    What is known of a model when no replica has it any more.

    Attributes:
        since: When it became unloaded in the last replica that had it.
    """

    since: datetime
    reason: Reason = Reason.NEVER_LOADED
    last_used_at: datetime | None = None
    load_s: float | None = None
    last_error: str | None = None
    error_passes: bool = False

    def with_report(self, model: ModelSnapshot) -> Self:
        """With what one of its replicas knows by now."""
        uses = [at for at in (self.last_used_at, model.last_used_at) if at]
        load_s = self.load_s if model.load_s is None else model.load_s
        return replace(self, last_used_at=max(uses, default=None), load_s=load_s)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    Somebody wants the model, and a replica is being asked for it.

    Attributes:
        at: Since when.
        reason: LOAD or REQUEST.
    """

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Facts:
    """
    All that is known of a model now.

    Attributes:
        is_anyone_up: There is a replica, whether it ever had the model or not.
    """

    model_id: str
    replicas: tuple[ReplicaModel, ...]
    is_anyone_up: bool
    past: Past
    wish: Wish | None
    pin: Pin | None


def overview(facts: Facts, now: datetime, *, unloads_after_s: float, gpu_poll_interval_s: float) -> ModelOverview:
    """
    Args:
        unloads_after_s: What idleness waits, for pins that say nothing else.
        gpu_poll_interval_s: How often a model that waits for memory looks for it.
    """
    state, since, reason, error, passes = _state(facts)
    models = [its.model for its in facts.replicas]
    known = ModelOverview(
        facts.model_id,
        state,
        since,
        reason,
        in_flight=sum(model.in_flight for model in models),
        queued=sum(model.queued for model in models),
        last_used_at=facts.past.last_used_at,
        retry_after_s=_retry_after_s(state, since, now, facts, gpu_poll_interval_s),
        last_error=error,
        error_passes=passes,
        replicas=facts.replicas,
    )
    if facts.pin is None:
        return known
    return replace(known, pinned_until=_pinned_until(known, facts.pin, now, unloads_after_s))


def _state(facts: Facts) -> tuple[ModelState, datetime, Reason, str | None, bool]:
    past = facts.past
    best = min((its.model for its in facts.replicas), key=lambda model: BEST_FIRST.index(model.state), default=None)
    if facts.wish and (best is None or best.state in NOT_BEGUN):
        since = max(facts.wish.at, past.since)
        return ModelState.LOADING, since, facts.wish.reason, past.last_error, past.error_passes
    if best is None or (best.state is ModelState.UNLOADED and best.since < past.since):
        return ModelState.UNLOADED, past.since, past.reason, past.last_error, past.error_passes
    return best.state, best.since, best.reason, best.last_error, best.error_passes


def _retry_after_s(
    state: ModelState, since: datetime, now: datetime, facts: Facts, gpu_poll_interval_s: float
) -> float:
    if state in SERVING:
        return 0.0
    if state is ModelState.WAITING_FOR_GPU:
        return gpu_poll_interval_s
    takes_s = (facts.past.load_s or LOAD_S) + (0.0 if facts.is_anyone_up else START_S)
    if state is ModelState.LOADING:
        takes_s -= (now - since).total_seconds()
    return max(takes_s, SOONEST_S)


def _pinned_until(model: ModelOverview, pin: Pin, now: datetime, unloads_after_s: float) -> datetime:
    if pin.ready_at is None or model.in_flight:  # its time has not begun, or begins anew
        return ends_at(now, pin.ttl_s, unloads_after_s=unloads_after_s)
    # Not from the last load: pins with too little room for all load their models in turns, and none would ever end.
    last_sign = max(at for at in (pin.ready_at, model.last_used_at) if at)
    return ends_at(last_sign, pin.ttl_s, unloads_after_s=unloads_after_s)
