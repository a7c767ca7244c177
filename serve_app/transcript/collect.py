"""From the stream of events to a whole `Transcript`: the stream is the truth, and this only adds up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from serve_app import __version__
from serve_app.transcript.types import (
    ChunkTranscribed,
    Provenance,
    Transcript,
    TranscriptEvent,
    TranscriptionFinished,
    TranscriptionOptions,
)


class TranscriptCollector:
    """
    Collects the events of one transcription.

    The text of the transcript is exactly the deltas that `add` gave, joined.
    """

    def __init__(self, options: TranscriptionOptions) -> None:
        self._options = options
        self._chunks: list[ChunkTranscribed] = []
        self._deltas: list[str] = []

    def add(self, chunk: ChunkTranscribed) -> str:
        """Take one chunk, and give what it adds to the text: empty when nothing was said in it."""
        text = chunk.text.rstrip()
        delta = text if self._deltas else text.lstrip()
        self._chunks.append(chunk)
        if delta:
            self._deltas.append(delta)
        return delta

    @property
    def tokens(self) -> int:
        return sum(len(chunk.recognized.tokens) for chunk in self._chunks)

    def finish(self, end: TranscriptEvent | None) -> Transcript:
        if not isinstance(end, TranscriptionFinished):
            raise TypeError("a transcription ended without saying so")
        segments = sorted((s for chunk in self._chunks for s in chunk.segments), key=lambda s: s.start)
        return Transcript(
            text="".join(self._deltas),
            language=end.language,
            language_probability=end.language_probability,
            duration_s=end.duration_s,
            task=self._options.decoding.task,
            provenance=self._provenance(),
            segments=tuple(segments),
            logprobs=tuple(logprob for chunk in self._chunks for logprob in chunk.recognized.logprobs),
            warnings=end.warnings,
            channels=end.channels,
        )

    def _provenance(self) -> Provenance:
        recognized = [chunk.recognized for chunk in self._chunks]
        return Provenance(
            engine=recognized[0].engine if recognized else None,
            options=self._options,
            fallbacks=sum(r.attempts > 1 for r in recognized),
            sampled=any(r.temperature > 0 for r in recognized),
            version=__version__,
        )


async def collect(events: AsyncGenerator[TranscriptEvent, None], options: TranscriptionOptions) -> Transcript:
    """Read a transcription to its end."""
    collector = TranscriptCollector(options)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ChunkTranscribed):
                collector.add(event)
            else:
                return collector.finish(event)
    return collector.finish(None)
