"""The shapes of answers about jobs, for `/openapi.json`; `jobs/rendering.py` makes them. And how a result is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from serve_app.api.answers import Answer, Warning
from serve_app.api.forms import Fields
from serve_app.jobs.job import Delivery, DeliveryStatus, Priority, Status, WaitingFor
from serve_app.jobs.rendering import timestamp
from serve_app.transcript.render import Format, Layout
from serve_app.transcript.subtitles import Lines


class JobWord(Answer):
    word: str
    start: float
    end: float
    probability: float


class JobSegment(Answer):
    index: int
    start: float
    """Seconds from the start of the file."""
    end: float
    text: str
    """With its leading space."""
    words: list[JobWord]
    """Empty unless the job was submitted with `timestamp_granularities[]=word`."""
    channel: int


class JobErrorAnswer(Answer):
    code: str
    message: str


class JobInList(Answer):
    id: str
    status: Status
    language: str | None
    """ISO code, as soon as it is known."""
    task: Literal["transcribe", "translate"]
    duration_secs: float | None
    progress: Annotated[int, Field(ge=0, le=100)]
    error: JobErrorAnswer | None
    """Why it failed."""
    created_at: str
    completed_at: str | None
    model: str
    attempts: int
    queue_position: int | None
    """From 1, while it is queued."""
    eta_secs: float | None
    """Until it ends, from the speed measured so far."""
    waiting_for: WaitingFor | None
    priority: Priority
    started_at: str | None
    webhook_url: str | None
    size_bytes: int
    last_error: JobErrorAnswer | None
    """What the last attempt died of, while there will be another."""
    forgotten: bool
    """The text was deleted: zero retention."""
    warnings: list[Warning]


class JobAnswer(JobInList):
    segments: list[JobSegment]
    """So far."""
    provenance: dict[str, Any] | None
    """How it was transcribed."""


class JobList(Answer):
    object: Literal["list"] = "list"
    data: list[JobInList]
    next_cursor: str | None
    """`cursor` of the next page; null on the last."""


class SubmittedAnswer(JobAnswer):
    job_id: str


class DeliveryAnswer(Answer):
    id: str
    """The `webhook-id` of every attempt."""
    event: str
    url: str
    status: DeliveryStatus
    attempts: int
    created_at: str
    next_attempt_at: str | None
    delivered_at: str | None
    response_status: int | None
    """What the address answered last."""
    error: str | None


class DeliveryList(Answer):
    object: Literal["list"] = "list"
    data: list[DeliveryAnswer]


class ResultQuery(Fields):
    """How `GET /jobs/{id}` shows the result."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    format: Format | None = None
    """One of OpenAI's formats; the job object if absent."""
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """With `verbose_json`. `segment` if absent."""
    max_line_width: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Characters in a line of a subtitle."""
    max_line_count: Annotated[int, Field(ge=1, le=100)] | None = None
    """Lines in a subtitle."""

    def layout(self, *, logprobs: bool) -> Layout:
        wanted = self.timestamp_granularities or ("segment",)
        lines = Lines(self.max_line_width, self.max_line_count)
        return Layout(segments="segment" in wanted, words="word" in wanted, logprobs=logprobs, lines=lines)


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.delivery_id,
        "event": delivery.kind,
        "url": delivery.url,
        "status": delivery.status.value,
        "attempts": delivery.attempts,
        "created_at": timestamp(delivery.created_at),
        "next_attempt_at": timestamp(delivery.next_attempt_at),
        "delivered_at": timestamp(delivery.delivered_at),
        "response_status": delivery.response_status,
        "error": delivery.error,
    }
