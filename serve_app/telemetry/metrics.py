"""Everything that is counted or shown at `/metrics`, by its name there."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.telemetry.tally import Counter, Histogram

LATENCY_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LOAD_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0)
BATCH_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
KINDS = ("request", "job")


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that goes up and down; read when it is asked for."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


# Counted by Gateways.
HTTP_REQUESTS = Counter(
    "rayscribe_http_requests_total",
    "Requests answered, by template of the route ('other' for pages and unknown paths) and status; 499: the client went away.",
    ("method", "route", "status"),
)
HTTP_SECONDS = Histogram(
    "rayscribe_http_request_duration_seconds",
    "From a request to the beginning of its answer, so that streams count as the rest.",
    LATENCY_S,
    ("method", "route"),
)

# Counted by Pipelines.
TRANSCRIPTIONS = Counter(
    "rayscribe_transcriptions_total",
    "Transcriptions that ended, of requests and attempts at jobs: done, failed, or cancelled.",
    ("kind", "outcome"),
    (KINDS, ("done", "failed", "cancelled")),
)
AUDIO_SECONDS = Counter(
    "rayscribe_audio_seconds_total",
    "Seconds of audio that were worked through, silence included.",
    ("kind",),
    (KINDS,),
)
REAL_TIME_FACTOR = Histogram(
    "rayscribe_real_time_factor",
    "Seconds of work for each second of audio, of each transcription that was done from its beginning.",
    (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
    ("kind",),
)
MEDIA_FAILURES = Counter(
    "rayscribe_media_failures_total", "Media that could not be transcribed, by code of the error.", ("kind", "code")
)

# Counted by Recognizers.
CHUNKS = Counter("rayscribe_chunks_total", "Chunks recognised.", ("model",))
RECOGNIZED_SECONDS = Counter(
    "rayscribe_recognized_audio_seconds_total", "Seconds of audio in chunks recognised: mostly speech.", ("model",)
)
FALLBACKS = Counter(
    "rayscribe_fallbacks_total",
    "Further decodings of chunks, whose first one failed a quality rule.",
    ("model",),
)
BATCH_SIZE = Histogram("rayscribe_batch_size", "Chunks decoded together.", (1, 2, 3, 4, 6, 8, 16, 32, 64), ("model",))
BATCH_FILL = Histogram(
    "rayscribe_batch_fill",
    "Chunks decoded together, as a share of those that fit.",
    (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0),
    ("model",),
)
BATCH_SECONDS = Histogram("rayscribe_batch_duration_seconds", "How long decoding a batch took.", BATCH_S, ("model",))
MODEL_LOADS = Histogram(
    "rayscribe_model_load_seconds",
    "Cold starts: how long each load took, from `disk`, or from `host_memory` of a model that was parked.",
    LOAD_S,
    ("model", "source"),
)
MODEL_LOAD_FAILURES = Counter(
    "rayscribe_model_load_failures_total", "Loads that failed for another reason than too little memory.", ("model",)
)

# Counted by the Coordinator.
JOBS_SUBMITTED = Counter("rayscribe_jobs_submitted_total", "Jobs accepted.")
JOBS_ENDED = Counter(
    "rayscribe_jobs_ended_total",
    "Jobs that ended: done, failed, or cancelled.",
    ("state",),
    (("done", "failed", "cancelled"),),
)
WEBHOOK_ATTEMPTS = Counter(
    "rayscribe_webhook_attempts_total",
    "Attempts at webhooks: `delivered`, `retried` later, or the last of those, `exhausted`.",
    ("outcome",),
    (("delivered", "retried", "exhausted"),),
)

# Asked of the Coordinator.
BUILD = Gauge("rayscribe_build_info", "1; the version is a label.", ("version",))
COORDINATOR_UP = Gauge(
    "rayscribe_coordinator_up", "Whether the Coordinator answered. While it does not, all else is as it was last known."
)
STORE_UP = Gauge("rayscribe_job_store_up", "Whether the job store can be read and written.")
JOBS = Gauge("rayscribe_jobs", "Jobs that are queued or running.", ("state",))
OLDEST_JOB_SECONDS = Gauge(
    "rayscribe_oldest_queued_job_age_seconds", "Age of the oldest job in the queue; 0 of an empty one."
)
MODEL_STATE = Gauge(
    "rayscribe_model_state", "1 for the state of a model: the best of its replicas'.", ("model", "state")
)
REPLICA_MODEL_STATE = Gauge(
    "rayscribe_replica_model_state", "1 for the state of a model in a replica.", ("model", "replica", "state")
)
MODEL_CHUNKS = Gauge(
    "rayscribe_model_chunks",
    "Chunks of a model that are `in_flight`, or `queued` until it is loaded.",
    ("model", "state"),
)
MODEL_VRAM = Gauge(
    "rayscribe_model_vram_bytes",
    "GPU memory of a replica's process while the model was last loaded.",
    ("model", "replica"),
)
GPU_MEMORY = Gauge(
    "rayscribe_gpu_memory_bytes",
    "Memory of a replica's GPU: `total`, `free`, and `ours` of its process.",
    ("replica", "kind"),
)

COUNTED: tuple[Counter | Histogram, ...] = (
    HTTP_REQUESTS,
    HTTP_SECONDS,
    TRANSCRIPTIONS,
    AUDIO_SECONDS,
    REAL_TIME_FACTOR,
    MEDIA_FAILURES,
    CHUNKS,
    RECOGNIZED_SECONDS,
    FALLBACKS,
    BATCH_SIZE,
    BATCH_FILL,
    BATCH_SECONDS,
    MODEL_LOADS,
    MODEL_LOAD_FAILURES,
    JOBS_SUBMITTED,
    JOBS_ENDED,
    WEBHOOK_ATTEMPTS,
)
ASKED: tuple[Gauge, ...] = (
    BUILD,
    COORDINATOR_UP,
    STORE_UP,
    JOBS,
    OLDEST_JOB_SECONDS,
    MODEL_STATE,
    REPLICA_MODEL_STATE,
    MODEL_CHUNKS,
    MODEL_VRAM,
    GPU_MEMORY,
)
