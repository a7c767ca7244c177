"""Media without a disk."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterable, Sequence

import numpy as np

from serve_app.errors import AudioTooShort, InvalidAudio
from serve_app.transcript.protocols import MediaStore, StoredMedia
from serve_app.transcript.types import SAMPLE_RATE_HZ


class InMemoryMediaStore(MediaStore):
    """
    Keeps uploads in memory.

    Attributes:
        files: What lies there now.
        saved: How many uploads ever came.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.saved = 0

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        data = b"".join([block async for block in blocks])
        self.saved += 1
        media = StoredMedia(f"memory/{self.saved}")
        self.files[media.path] = data
        return media

    async def delete(self, media: StoredMedia) -> None:
        self.files.pop(media.path, None)

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        """All of it: nothing is known of ages here."""
        return [StoredMedia(path) for path in self.files]

    def read(self, media: StoredMedia) -> bytes:
        return self.files[media.path]


def silent_wav(duration_s: float, *, channels: int = 1) -> bytes:
    """A WAV file of digital silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(channels)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE_HZ)
        wav.writeframes(np.zeros(round(duration_s * SAMPLE_RATE_HZ) * channels, np.int16).tobytes())
    return file.getvalue()


def wav_duration_s(data: bytes) -> float:
    """
    How long a WAV file is.

    Raises:
        InvalidAudio: It is none.
        AudioTooShort: Less than 0.1 s.
    """
    try:
        with wave.open(io.BytesIO(data)) as wav:
            duration_s: float = wav.getnframes() / wav.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise InvalidAudio("The file is no audio that can be decoded.", param="file") from error
    if duration_s < 0.1:
        raise AudioTooShort(f"The audio is {duration_s:.3f} s long; the shortest is 0.1 s.", param="file")
    return duration_s
