"""One transcription, from media to ordered events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime

from serve_app.pipeline.hearing import Decoders, Hearing
from serve_app.pipeline.in_order import in_order
from serve_app.pipeline.requests import RequestMaker
from serve_app.pipeline.stitch import stitch
from serve_app.pipeline.summary import Summary
from serve_app.telemetry.tracing import span
from serve_app.transcript.protocols import MediaReference, Recognizer, Transcriber
from serve_app.transcript.types import (
    Chunk,
    ChunkTranscribed,
    RecognizedChunk,
    TranscriptEvent,
    TranscriptionOptions,
)

FEWEST_IN_FLIGHT = 2  # of one transcription: the next chunk is cut while the last one is recognised


class Pipeline(Transcriber):
    """
    The `Transcriber` that puts the parts together.

    Args:
        recognizer: Where chunks are recognised.
        decoders: Where media are decoded, a `DecoderPool`.
        chunks_in_flight: Chunk calls that one transcription keeps in flight.
        together: And all that run at the same time, each an equal share but two at least; None: as many as they like. What is
            decoded far ahead of the recogniser takes memory, and processor time from whoever is waited for.
    """

    def __init__(
        self, recognizer: Recognizer, decoders: Decoders, *, chunks_in_flight: int = 16, together: int | None = None
    ) -> None:
        self._recognizer = recognizer
        self._decoders = decoders
        self._chunks_in_flight = chunks_in_flight
        self._together = together
        self._runs = 0

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        """
        Transcribe one file as a stream that ends with `TranscriptionFinished`.

        Closing the generator kills the decoder and cancels the calls in flight.

        Args:
            known: What an earlier run of the same media and options gave. The file is decoded and cut again, which gives the
                same chunks; only what is not known is recognised.

        Raises:
            InvalidAudio, AudioTooShort, AudioTooLong: About the media.
            ModelError: As the recogniser's `recognize`.
        """
        hearing, summary = Hearing(self._decoders, media, options), Summary(options)
        with self._counted():
            async with aclosing(self._recognized(hearing, options, known)) as results:
                async for chunk, recognized in results:
                    summary.add(chunk, recognized)
                    yield _event(chunk, recognized, hearing.declared_s, knows_speech=options.speech.vad_filter)
        yield summary.finish(hearing.end, hearing.channels)

    def _recognized(
        self, hearing: Hearing, options: TranscriptionOptions, known: Sequence[ChunkTranscribed]
    ) -> AsyncGenerator[tuple[Chunk, RecognizedChunk], None]:
        requests = RequestMaker(options, began_at=datetime.now(UTC))
        heard = {(chunk.channel, chunk.index): chunk.recognized for chunk in known}

        async def recognize(chunk: Chunk) -> RecognizedChunk:
            recognized = heard.get((chunk.channel, chunk.index))
            if recognized is None:
                with span("chunk", index=chunk.index, channel=chunk.channel, seconds=chunk.duration_s):
                    recognized = await self._recognizer.recognize(requests.request(chunk))
            requests.learn(chunk, recognized)
            return recognized

        def at_once() -> int:
            return 1 if requests.needs_the_one_before else self._share

        return in_order(hearing.chunks(), recognize, at_once)

    @property
    def _share(self) -> int:
        """Chunk calls that each of those that run may keep in flight now."""
        if self._together is None:
            return self._chunks_in_flight
        return min(self._chunks_in_flight, max(FEWEST_IN_FLIGHT, self._together // self._runs))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1


def _event(
    chunk: Chunk, recognized: RecognizedChunk, declared_s: float | None, *, knows_speech: bool
) -> ChunkTranscribed:
    return ChunkTranscribed(
        index=chunk.index,
        channel=chunk.channel,
        start=chunk.start,
        end=chunk.end,
        text=recognized.text,
        segments=stitch(chunk, recognized, knows_speech=knows_speech),
        recognized=recognized,
        declared_s=declared_s,
    )
