"""What `/metrics` shows of jobs and models now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from serve_app.jobs.job import QueueStats
from serve_app.models.types import ClusterModels, ModelOverview, ModelState, ReplicaModel
from serve_app.telemetry import metrics
from serve_app.telemetry.exposition import Readings
from serve_app.telemetry.metrics import Gauge

Reading = tuple[Gauge, tuple[str, ...], float]


def readings(found: list[Reading]) -> Readings:
    """Readings by gauge."""
    by_gauge: dict[Gauge, dict[tuple[str, ...], float]] = {}
    for gauge, labels, value in found:
        by_gauge.setdefault(gauge, {})[labels] = value
    return by_gauge


def of_jobs(stats: QueueStats, now: datetime) -> Iterator[Reading]:
    yield metrics.JOBS, ("queued",), stats.queued
    yield metrics.JOBS, ("running",), stats.running
    age_s = (now - stats.oldest_queued_at).total_seconds() if stats.oldest_queued_at else 0.0
    yield metrics.OLDEST_JOB_SECONDS, (), max(0.0, age_s)


def of_models(cluster: ClusterModels) -> Iterator[Reading]:
    for model in cluster.models:
        yield from _of_model(model)
        for its in model.replicas:
            yield from _of_replica(its)
    for replica_id, gpu in cluster.gpus:
        yield metrics.GPU_MEMORY, (replica_id, "total"), gpu.total_bytes
        yield metrics.GPU_MEMORY, (replica_id, "free"), gpu.free_bytes
        yield metrics.GPU_MEMORY, (replica_id, "ours"), gpu.ours_bytes


def _of_model(model: ModelOverview) -> Iterator[Reading]:
    for state in ModelState:
        yield metrics.MODEL_STATE, (model.model_id, state), model.state is state
    yield metrics.MODEL_CHUNKS, (model.model_id, "in_flight"), model.in_flight
    yield metrics.MODEL_CHUNKS, (model.model_id, "queued"), model.queued


def _of_replica(its: ReplicaModel) -> Iterator[Reading]:
    for state in ModelState:
        labels = (its.model.model_id, its.replica_id, state)
        yield metrics.REPLICA_MODEL_STATE, labels, its.model.state is state
    if its.model.vram and its.model.vram.loaded_bytes is not None:
        yield metrics.MODEL_VRAM, (its.model.model_id, its.replica_id), its.model.vram.loaded_bytes
