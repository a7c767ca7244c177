"""What is told about models: the shapes, and how they are filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer

from serve_app.api.answers import Answer, DeviceMemory
from serve_app.jobs.rendering import timestamp
from serve_app.models.pull import PullProgress
from serve_app.models.types import (
    BEST_FIRST,
    FOREVER,
    ClusterModels,
    ModelEvent,
    ModelOverview,
    ModelSnapshot,
    ModelState,
    Reason,
    ReplicaModel,
    VramUse,
)

Instant = Annotated[datetime, PlainSerializer(timestamp, return_type=str)]


class VramAnswer(Answer):
    """Bytes that a model takes, as NVML measured them; null until they were."""

    need_bytes: int
    """What a load is checked against: computed, or measured once it was loaded."""
    before_bytes: int | None
    """What the process held before the last load."""
    loaded_bytes: int | None
    after_bytes: int | None
    """What it held after the last unload."""


class PlacementAnswer(Answer):
    device: str
    compute_type: str
    why: str


class ReplicaDevice(DeviceMemory):
    replica: str


class ModelInReplica(Answer):
    replica: str
    state: ModelState
    since: Instant
    reason: Reason
    in_flight: int
    queued: int
    idle_seconds: float
    unloads_in_seconds: float | None
    """Until idleness frees it, if nothing happens; null: it does not."""
    pinned: bool
    vram: VramAnswer | None
    """null on a CPU."""
    placement: PlacementAnswer | None
    """null until it was first loaded."""
    load_seconds: float | None
    """What the last load took."""
    last_error: str | None


class ModelStatus(Answer):
    model: str
    state: ModelState
    """The best of its replicas'."""
    since: Instant
    reason: Reason
    """Why it came into this state."""
    in_flight: int
    """Chunks at work."""
    queued: int
    """Chunks that wait for it."""
    idle_seconds: float
    """Since its last use, or since it came into this state if it was never used; 0 while it is used."""
    pinned: bool
    """Somebody asked for it, so idleness leaves it alone."""
    pinned_until: Instant | None
    """If it is not used meanwhile; null also if that never ends."""
    retry_after_seconds: float
    """When it is worth asking again; 0 if it can answer now."""
    last_error: str | None
    replicas: list[ModelInReplica]


class ClusterStatus(Answer):
    model: str
    """The default model, which the rest of these keys are about."""
    state: ModelState
    vram: VramAnswer | None
    in_flight: int
    queued: int
    idle_seconds: float
    safe_to_stop: bool
    """Nothing runs or waits here that a stop would cut."""
    models: list[ModelStatus]
    gpus: list[ReplicaDevice]


class PullAnswer(Answer):
    """A pull that goes on."""

    id: str
    object: Literal["model"] = "model"
    state: Literal["pulling"] = "pulling"
    done_bytes: int
    total_bytes: int
    """0 until the hub has told."""


class Deleted(Answer):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


def status_of(default_model: str, cluster: ClusterModels, now: datetime, *, safe_to_stop: bool) -> ClusterStatus:
    shown = [model_status(overview, now) for overview in cluster.models]
    default = next(model for model in shown if model.model == default_model)
    return ClusterStatus(
        model=default.model,
        state=default.state,
        vram=_best_vram(default.replicas),
        in_flight=default.in_flight,
        queued=default.queued,
        idle_seconds=default.idle_seconds,
        safe_to_stop=safe_to_stop,
        models=shown,
        gpus=[ReplicaDevice(replica=replica_id, **asdict(gpu)) for replica_id, gpu in cluster.gpus],
    )


def model_status(model: ModelOverview, now: datetime) -> ModelStatus:
    until = model.pinned_until
    return ModelStatus(
        model=model.model_id,
        state=model.state,
        since=model.since,
        reason=model.reason,
        in_flight=model.in_flight,
        queued=model.queued,
        idle_seconds=_idle_s(model, now),
        pinned=until is not None,
        pinned_until=None if until == FOREVER else until,
        retry_after_seconds=round(model.retry_after_s, 3),
        last_error=model.last_error,
        replicas=[_in_replica(its, now) for its in model.replicas],
    )


def event_data(event: ModelEvent) -> dict[str, Any]:
    return {
        "type": event.state,
        "model": event.model_id,
        "state": event.state,
        "reason": event.reason,
        "at": timestamp(event.at),
        "replica": event.replica_id,
        "error": event.error,
    }


def pull_answer(model_id: str, progress: PullProgress) -> PullAnswer:
    return PullAnswer(id=model_id, done_bytes=progress.done_bytes, total_bytes=progress.total_bytes)


def _in_replica(its: ReplicaModel, now: datetime) -> ModelInReplica:
    model = its.model
    return ModelInReplica(
        replica=its.replica_id,
        state=model.state,
        since=model.since,
        reason=model.reason,
        in_flight=model.in_flight,
        queued=model.queued,
        idle_seconds=_idle_s(model, now),
        unloads_in_seconds=None if model.unloads_at is None else _seconds(now, model.unloads_at),
        pinned=model.pinned,
        vram=_vram(model.vram),
        placement=PlacementAnswer(**asdict(model.choice)) if model.choice else None,
        load_seconds=model.load_s,
        last_error=model.last_error,
    )


def _vram(use: VramUse | None) -> VramAnswer | None:
    return VramAnswer(**asdict(use)) if use else None


def _best_vram(replicas: Sequence[ModelInReplica]) -> VramAnswer | None:
    best = min(replicas, key=lambda its: BEST_FIRST.index(its.state), default=None)
    return best.vram if best else None


def _idle_s(model: ModelOverview | ModelSnapshot, now: datetime) -> float:
    return 0.0 if model.in_flight else _seconds(model.last_used_at or model.since, now)


def _seconds(start: datetime, end: datetime) -> float:
    return round(max(0.0, (end - start).total_seconds()), 3)
