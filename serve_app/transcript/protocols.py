"""The seams of the service: parts that do not know one another meet here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.transcript.types import (
    ChunkRequest,
    ChunkTranscribed,
    RecognizedChunk,
    TranscriptEvent,
    TranscriptionOptions,
)


@dataclass(frozen=True, slots=True)
class InlineMedia:
    """A small upload that travels with the request."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """An upload that lies in the media store; the reference travels, not the file."""

    path: str


MediaReference = InlineMedia | StoredMedia


class MediaStore(Protocol):
    """Where uploads lie that are too large to travel with the request."""

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        """Keep the bytes; when `blocks` raises or the call is cancelled, nothing stays behind."""
        ...

    async def delete(self, media: StoredMedia) -> None:
        """Forget the bytes; to delete twice is no error."""
        ...

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        """What has lain there for so long; whoever knows which of it is still needed deletes the rest."""
        ...


class Recognizer(Protocol):
    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        """
        Recognise one chunk. Cancelling the call frees its place in the queue.

        Raises:
            ModelNotFound: The model id is not in the catalogue.
            ModelLoadFailed: The model cannot be loaded here, with what to do about it.
            InsufficientMemory: The device is too small for this chunk.
            UnsupportedLanguage: The model cannot do the language or the task.
            RecognizerUnavailable: The process that worked on it died, and so did its retries.
        """
        ...


class Transcriber(Protocol):
    def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        """
        Transcribe one file as a stream that ends with `TranscriptionFinished`.

        Closing the generator cancels what is in flight.

        Args:
            known: What an earlier run of the same media and options gave; those chunks are given again and not recognised
                again.

        Raises:
            InvalidAudio, AudioTooShort, AudioTooLong: About the media.
            ModelError: As the recogniser's `recognize`.
        """
        ...
