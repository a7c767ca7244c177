"""A job as the world sees it: the object that HTTP answers, streams and webhooks carry, and its transcript."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from serve_app.jobs.job import Announcement, Job, JobDetails, JobError, Status
from serve_app.transcript.collect import TranscriptCollector
from serve_app.transcript.render import warnings_list
from serve_app.transcript.types import (
    ChunkTranscribed,
    Engine,
    Provenance,
    Segment,
    Transcript,
    TranscriptionFinished,
    Word,
)


def job_object(details: JobDetails, *, with_segments: bool = True) -> dict[str, Any]:
    """
    The job as JSON.

    Args:
        with_segments: False leaves `segments` and `provenance` out, as in a list of jobs.
    """
    if not with_segments:
        return _head(details) | _ending(details.job) | _ours(details.job)
    transcript = transcript_of(details)
    shows_words = details.job.shows_words
    segments = [segment_object(n, segment, shows_words=shows_words) for n, segment in enumerate(transcript.segments)]
    return (
        _head(details)
        | {"segments": segments}
        | _ending(details.job)
        | _ours(details.job)
        | {"provenance": _provenance(transcript.provenance) if details.chunks else None}
    )


def segment_object(index: int, segment: Segment, *, shows_words: bool) -> dict[str, Any]:
    """A segment as JSON; `words` is always there, and empty unless they are to be shown."""
    return {
        "index": index,
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "words": [_word(word) for word in segment.words] if shows_words else [],
        "channel": segment.channel,
    }


def announcement_object(announcement: Announcement) -> dict[str, Any]:
    """What a webhook tells of a model, as JSON."""
    return {
        "type": announcement.news.value,
        "model": announcement.model_id,
        "state": announcement.state,
        "reason": announcement.reason,
        "at": timestamp(announcement.at),
    }


def transcript_of(details: JobDetails) -> Transcript:
    """What was transcribed so far; all of it once the job is done."""
    collector = TranscriptCollector(details.job.options)
    for chunk in details.chunks:
        collector.add(chunk)
    return collector.finish(details.job.end or _end_so_far(details))


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _head(details: JobDetails) -> dict[str, Any]:
    job = details.job
    return {
        "id": job.job_id,
        "status": job.status.value,
        "language": _language(details) or None,
        "task": job.options.decoding.task.value,
        "duration_secs": _rounded(job.end.duration_s if job.end else job.duration_s),
        "progress": job.progress,
    }


def _ending(job: Job) -> dict[str, Any]:
    return {
        "error": _error(job.error) if job.status is Status.FAILED else None,
        "created_at": timestamp(job.created_at),
        "completed_at": timestamp(job.completed_at),
    }


def _ours(job: Job) -> dict[str, Any]:
    return {
        "model": job.options.decoding.model_id,
        "attempts": job.attempts,
        "queue_position": job.queue_position,
        "eta_secs": _rounded(job.eta_s),
        "waiting_for": job.waiting_for.value if job.waiting_for else None,
        "priority": job.priority.value,
        "started_at": timestamp(job.started_at),
        "webhook_url": job.webhook_url,
        "size_bytes": job.size_bytes,
        "last_error": None if job.status.ended else _error(job.error),
        "forgotten": job.forgotten,
        "warnings": warnings_list(job.end.warnings) if job.end else [],
    }


def _end_so_far(details: JobDetails) -> TranscriptionFinished:
    chunks = details.chunks
    return TranscriptionFinished(
        duration_s=max((chunk.end for chunk in chunks), default=0.0),
        language=_language(details),
        language_probability=0.0,
        channels=1 + max((chunk.channel for chunk in chunks), default=0),
    )


def _language(details: JobDetails) -> str:
    if details.job.end:
        return details.job.end.language
    return details.job.options.decoding.language or _first_heard(details.chunks)


def _first_heard(chunks: Sequence[ChunkTranscribed]) -> str:
    return next((chunk.recognized.language for chunk in chunks if chunk.text.strip()), "")


def _provenance(provenance: Provenance) -> dict[str, Any]:
    return {
        "engine": _engine(provenance.engine) if provenance.engine else None,
        "options": dataclasses.asdict(provenance.options),
        "fallbacks": provenance.fallbacks,
        "sampled": provenance.sampled,
        "version": provenance.version,
    }


def _engine(engine: Engine) -> dict[str, Any]:
    return {
        "model": engine.model_id,
        "revision": engine.revision,
        "compute_type": engine.compute_type,
        "device": engine.device,
        "versions": dict(engine.versions),
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text.strip(),
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "probability": round(word.probability, 4),
    }


def _error(error: JobError | None) -> dict[str, str] | None:
    return {"code": error.code, "message": error.message} if error else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else _seconds(seconds)


def _seconds(seconds: float) -> float:
    return round(seconds * 1000) / 1000
