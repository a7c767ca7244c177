"""Recordings in several languages, alone and joined."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper import decode_audio

from serve_app.transcript.protocols import InlineMedia, StoredMedia
from serve_app.transcript.types import SAMPLE_RATE_HZ

PAUSE_S = 3.0  # so long a silence ends a chunk


@dataclass(frozen=True)
class Clip:
    path: Path
    language: str
    reference: str  # empty if nobody wrote it down

    @property
    def media(self) -> StoredMedia:
        return StoredMedia(str(self.path))


def joined(*clips: Clip) -> InlineMedia:
    """One WAV file of clips, with a pause after each."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ))
    sound = np.concatenate([part for clip in clips for part in (decode_audio(str(clip.path), SAMPLE_RATE_HZ), pause)])
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        writer.writeframes(np.round(sound * 32767).astype(np.int16).tobytes())
    return InlineMedia(file.getvalue())
