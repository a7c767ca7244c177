"""The shapes of the answers, for `/openapi.json`; `transcript/render.py` makes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from serve_app.models.types import ModelState


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class ErrorBody(Answer):
    message: str
    type: str
    param: str | None
    """The request field it is about."""
    code: str


class ErrorAnswer(Answer):
    error: ErrorBody


class DurationUsage(Answer):
    type: Literal["duration"]
    seconds: int
    """Seconds of audio, rounded up."""


class Warning(Answer):
    code: str
    message: str
    start: float = 0.0
    end: float = 0.0


class Logprob(Answer):
    token: str
    logprob: float
    bytes: list[int]


class JsonTranscript(Answer):
    text: str
    usage: DurationUsage
    logprobs: list[Logprob] = []
    warnings: list[Warning] = []


class TimedSegment(Answer):
    id: int
    seek: int
    """Start of the chunk it came from, in steps of 10 ms."""
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TimedWord(Answer):
    word: str
    start: float
    end: float


class VerboseTranscript(Answer):
    task: Literal["transcribe", "translate"]
    language: str
    """Lower-case English name."""
    duration: float
    text: str
    segments: list[TimedSegment] = []
    words: list[TimedWord] = []
    usage: DurationUsage
    warnings: list[Warning] = []


class SpokenSegment(Answer):
    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    speaker: str
    text: str


class DiarizedTranscript(Answer):
    task: Literal["transcribe", "translate"]
    duration: float
    text: str
    segments: list[SpokenSegment]
    usage: DurationUsage
    warnings: list[Warning] = []


class ModelAnswer(Answer):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    """Always 0: the catalogue keeps no dates."""
    owned_by: str
    aliases: list[str]
    languages: list[str]
    """ISO codes; empty means all of Whisper's."""
    tasks: list[Literal["transcribe", "translate"]]
    state: ModelState | None = None
    """Absent while it is not known."""


class ModelList(Answer):
    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class DeviceMemory(Answer):
    """Of the device that a replica runs on; other processes count."""

    model_config = ConfigDict(extra="ignore")  # how the driver was asked is nobody's business

    total_bytes: int
    free_bytes: int
    ours_bytes: int


class Gpu(Answer):
    reserved: float
    """What Ray reserves for each replica of the recogniser; 0.5 is half of one."""
    memory: list[DeviceMemory]
    """One for each replica; none at zero replicas, and while it is not known."""


class Health(Answer):
    status: Literal["ok", "degraded"]
    model: str
    """The default model."""
    model_state: ModelState | None
    """The best of its replicas'; null while it is not known."""
    queue_depth: int
    """Requests in progress at this Gateway replica, and the jobs that wait; without these while they cannot be asked."""
    gpu: Gpu | None
    """null where the service uses none."""


class Alive(Answer):
    status: Literal["ok"] = "ok"


class Readiness(Answer):
    status: Literal["ready", "loading", "unavailable", "draining"]
    reason: str | None = None
    """Why it is not ready."""
