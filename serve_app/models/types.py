"""
States of models, and what is told about them: small, frozen, picklable.

    unloaded → loading → ready ⇄ busy → draining → unloaded
                 │  ▲                └▶ parked (weights in host RAM) → loading | unloaded
                 ▼  │ every gpu_poll_interval_s
            waiting_for_gpu                       loading → failed (with the cause)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

FOREVER = datetime.max.replace(tzinfo=UTC)


class ModelState(StrEnum):
    """What a model does in one replica."""

    UNLOADED = "unloaded"  # no memory of any kind
    LOADING = "loading"  # weights on their way to the device, until the warm-up decode has ended
    WAITING_FOR_GPU = "waiting_for_gpu"  # others hold the memory it needs; asked again without end
    READY = "ready"  # nobody uses it
    BUSY = "busy"  # somebody does
    PARKED = "parked"  # weights in host RAM, none on the device
    DRAINING = "draining"  # is to be freed as soon as nobody uses it
    FAILED = "failed"  # cannot load here; the next request tries again


class Reason(StrEnum):
    """Why a state changed."""

    REQUEST = "request"  # a chunk came for it
    LOAD = "load"  # POST /model/load
    PRELOAD = "preload"
    UNLOAD = "unload"  # POST /model/unload
    IDLE = "idle"  # a step of the idle ladder
    EVICTED = "evicted"  # made room for another model
    OUT_OF_MEMORY = "out_of_memory"
    LOADED = "loaded"  # the load has ended well
    ERROR = "error"
    RESIDUE = "unload_incomplete"  # memory did not come back; the process is replaced
    STOPPED = "stopped"  # its replica was taken away: scale to zero, or an update
    DIED = "died"  # its replica fell silent
    NEVER_LOADED = "never_loaded"  # nothing has happened to it yet


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """
    Memory of the device that a replica runs on, in bytes, as NVML tells it: other processes count.

    Attributes:
        ours_bytes: Used by the process that asks.
        is_ours_listed: The driver says so; if not, it is a guess that others' use is part of.
    """

    total_bytes: int
    free_bytes: int
    ours_bytes: int
    is_ours_listed: bool = True


@dataclass(frozen=True, slots=True)
class VramUse:
    """
    Memory that a model takes, in bytes.

    Attributes:
        need_bytes: What a load is checked against: estimated, or measured once it was loaded.
        before_bytes, loaded_bytes, after_bytes: What the process held before the last load, while loaded, and after the last
            unload; None until then.
    """

    need_bytes: int
    before_bytes: int | None = None
    loaded_bytes: int | None = None
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PlacementChoice:
    """Where and how a model runs, and why."""

    device: str
    compute_type: str
    why: str  # a sentence for the log and /model/status


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """
    One model in one replica.

    Attributes:
        since: When it came into this state.
        in_flight: Chunks at work.
        queued: Chunks that wait for it to become ready.
        pinned: A load was asked for, so idleness does nothing to it.
        last_used_at: When its last chunk ended; None if there was none.
        unloads_at: When idleness frees it, if nothing happens; None if never.
        vram: None on a CPU.
        choice: None until it was first loaded.
        load_s: How long the last load took, in seconds.
        last_error: Why the last load failed, or what it waits for.
        error_passes: It may not be so the next time, as when the hub was away.
    """

    model_id: str
    state: ModelState
    since: datetime
    reason: Reason
    in_flight: int = 0
    queued: int = 0
    pinned: bool = False
    last_used_at: datetime | None = None
    unloads_at: datetime | None = None
    vram: VramUse | None = None
    choice: PlacementChoice | None = None
    load_s: float | None = None
    last_error: str | None = None
    error_passes: bool = False


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A change of state in one replica; flips between ready and busy are none."""

    model_id: str
    state: ModelState
    reason: Reason
    at: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """
    What a replica tells of itself.

    Attributes:
        replica_id: Ray's, or anything else that is unique.
        number: Counts up; an older report than the last one is stale.
        models: All that it ever had.
        changes: What happened since the last report that was taken, in order.
        gpu: None on a CPU, or while NVML does not answer.
        stopping: The last report: the replica goes away.
    """

    replica_id: str
    number: int
    models: tuple[ModelSnapshot, ...]
    changes: tuple[ModelChange, ...] = ()
    gpu: GpuMemory | None = None
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class UnloadOrder:
    """
    Replicas are to free a model, and to load it no more for what had begun before, except to let that end.

    Attributes:
        number: Counts up over all orders.
        at: When it was given. What began later has the model loaded again.
        force: Do not wait for what runs: its callers get ModelNotReady.
    """

    number: int
    model_id: str
    at: datetime
    force: bool = False


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """
    A change that subscribers see.

    Attributes:
        seq: Counts up over all events; a Coordinator that starts anew goes on above those of the last one.
        replica_id: None when it is about the model as a whole, as in the state that a subscriber gets first.
    """

    seq: int
    at: datetime
    model_id: str
    state: ModelState
    reason: Reason
    replica_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """A model in a replica, as /model/status lists it."""

    replica_id: str
    model: ModelSnapshot


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """
    A model over all replicas.

    Attributes:
        state: The best of its replicas': whoever is nearest to an answer; LOADING also while a replica is started for it.
        error_passes: As `ModelSnapshot`.
        reason: Why it came into this state.
        retry_after_s: When it is worth asking again, in seconds, if it is not ready: from what its last load took.
        pinned_until: When the pin of the last explicit load ends, if it is not used meanwhile; None without one, `FOREVER` if
            it does not end.
    """

    model_id: str
    state: ModelState
    since: datetime
    reason: Reason
    in_flight: int
    queued: int
    last_used_at: datetime | None
    retry_after_s: float
    pinned_until: datetime | None = None
    last_error: str | None = None
    error_passes: bool = False
    replicas: tuple[ReplicaModel, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterModels:
    """Everything that /model/status and /health show of models."""

    models: tuple[ModelOverview, ...]  # of the catalogue
    gpus: tuple[tuple[str, GpuMemory], ...] = ()  # (replica id, its device)
    at: datetime | None = None


BEST_FIRST = (
    ModelState.READY,
    ModelState.BUSY,
    ModelState.PARKED,
    ModelState.DRAINING,
    ModelState.LOADING,
    ModelState.WAITING_FOR_GPU,
    ModelState.FAILED,
    ModelState.UNLOADED,
)
"""Nearest to an answer first: what a model's state is when its replicas differ."""

SERVING = frozenset({ModelState.READY, ModelState.BUSY, ModelState.PARKED})
"""A request that comes now is answered without a load."""
