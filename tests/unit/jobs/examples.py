"""Values that the tests of jobs share."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from serve_app.jobs.job import Claim, JobSource, Lease
from serve_app.testing import recognized as heard
from serve_app.testing import segment
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed, DecodingOptions, TranscriptionOptions

OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en"))
NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)
MEDIA = StoredMedia("memory/1")


def chunk(index: int, text: str = " Hello.", *, channel: int = 0) -> ChunkTranscribed:
    start, length_s = 10.0 * index, 10.0
    recognized = heard(text, length_s, OPTIONS.decoding)
    segments = (segment(recognized, start, length_s, channel),)
    return ChunkTranscribed(index, channel, start, start + length_s, text, segments, recognized, declared_s=60.0)


def claim(*known: ChunkTranscribed, job_id: str | None = None, source: JobSource = MEDIA) -> Claim:
    lease = Lease(job_id or str(uuid.uuid4()), "token", NOON + timedelta(seconds=30))
    return Claim(lease, attempt=1, source=source, options=OPTIONS, known=known)
