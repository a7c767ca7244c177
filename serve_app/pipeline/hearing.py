"""Media to chunks of speech, as a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import numpy as np

from serve_app.pipeline.chunks import Chunker
from serve_app.pipeline.records import EndOfSound, StartOfSound
from serve_app.pipeline.speech import SpeechDetector
from serve_app.telemetry.tracing import stream_span
from serve_app.transcript.protocols import MediaReference
from serve_app.transcript.render import no_diarizer
from serve_app.transcript.types import Channels, Chunk, Samples, SpeechOptions, TranscriptionOptions


class Decoders(Protocol):
    def decode(
        self, media: MediaReference, channels: Channels
    ) -> AsyncGenerator[StartOfSound | Samples | EndOfSound, None]:
        """How it starts, blocks of shape (n, channels), then how it ended."""
        ...


class Hearing:
    """
    Listens to one file once.

    Attributes:
        channels: How many are heard apart; known from the first chunk on.
        declared_s: Length of the file as its header says; likewise.
        end: How the file ended, once `chunks` has.
    """

    def __init__(self, decoders: Decoders, media: MediaReference, options: TranscriptionOptions) -> None:
        self._decoders = decoders
        self._media = media
        self._options = options
        self._ears: list[_Ear] = []
        self.declared_s: float | None = None
        self._listened_s = 0.0
        self.end = EndOfSound(0.0)

    @property
    def channels(self) -> int:
        return max(1, len(self._ears))

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """
        The chunks of each channel in order.

        Raises:
            MediaError: As `DecoderPool.decode`.
            InvalidRequest: The file has one channel, and the options need several.
        """
        with stream_span("decode") as decoding, stream_span("vad") as detecting:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            decoding.set_attribute("audio_seconds", self.end.duration_s)
            detecting.set_attribute("busy_seconds", self._listened_s)

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        async with aclosing(self._decoders.decode(self._media, self._options.channels)) as blocks:
            async for block in blocks:
                if isinstance(block, StartOfSound):
                    self._start(block)
                    continue
                for chunk in await asyncio.to_thread(self._listen, block):
                    yield chunk

    def _start(self, start: StartOfSound) -> None:
        if self._options.needs_channels and start.channels < 2:
            raise no_diarizer()
        self.declared_s = start.declared_s
        self._ears = [_Ear(self._options.speech, channel) for channel in range(start.channels)]

    def _listen(self, block: Samples | EndOfSound) -> list[Chunk]:
        began_s = time.monotonic()
        try:
            return self._heard(block)
        finally:
            self._listened_s += time.monotonic() - began_s

    def _heard(self, block: Samples | EndOfSound) -> list[Chunk]:
        if isinstance(block, EndOfSound):
            self.end = block
            chunks = [chunk for ear in self._ears for chunk in ear.finish()]
        else:
            chunks = [chunk for ear, sound in zip(self._ears, block.T, strict=True) for chunk in ear.listen(sound)]
        return sorted(chunks, key=lambda chunk: chunk.start)


class _Ear:
    """Speech detection and packing of one channel."""

    def __init__(self, options: SpeechOptions, channel: int) -> None:
        self._detector = SpeechDetector()
        self._chunker = Chunker(options, channel)

    def listen(self, samples: Samples) -> list[Chunk]:
        return self._chunker.feed(samples, self._detector.feed(samples))

    def finish(self) -> list[Chunk]:
        nothing = np.zeros(0, dtype=np.int16)
        return self._chunker.feed(nothing, self._detector.finish()) + self._chunker.finish()
