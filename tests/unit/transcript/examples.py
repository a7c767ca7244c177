"""Transcripts to render."""

from __future__ import annotations

import dataclasses
from typing import Any

from serve_app.testing import recognized, segment
from serve_app.transcript.types import (
    DecodingOptions,
    Provenance,
    Segment,
    Task,
    Transcript,
    TranscriptionOptions,
    Word,
)

OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en", word_times=True))
PROVENANCE = Provenance(None, OPTIONS, fallbacks=0, sampled=False, version="0")


def spoken(text: str, start: float = 0.0, end: float = 1.0, **changes: Any) -> Segment:
    heard = recognized(text, end - start, OPTIONS.decoding)
    return dataclasses.replace(segment(heard, start, end - start), end=end, **changes)


def transcript(*segments: Segment, **changes: Any) -> Transcript:
    plain = Transcript(
        text="".join(s.text for s in segments).strip(),
        language="en",
        language_probability=0.9,
        duration_s=2.5,
        task=Task.TRANSCRIBE,
        provenance=PROVENANCE,
        segments=segments,
    )
    return dataclasses.replace(plain, **changes)


def word(text: str, start: float, end: float) -> Word:
    return Word(start, end, text, 0.9)
