"""A recogniser and a transcriber that never listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

from serve_app.testing.media import wav_duration_s
from serve_app.transcript.protocols import InlineMedia, MediaReference, Recognizer, StoredMedia, Transcriber
from serve_app.transcript.types import (
    SAMPLE_RATE_HZ,
    ChunkRequest,
    ChunkTranscribed,
    DecodingOptions,
    Engine,
    RecognizedChunk,
    Segment,
    TokenLogprob,
    TranscriptEvent,
    TranscriptionFinished,
    TranscriptionOptions,
    TranscriptWarning,
    WarningCode,
    Word,
)

SENTENCES = (" A stand-in never listens.", " It says the same to everyone;", " that makes it easy to test.")
PROBABILITY = 0.9
LOGPROB = -0.2


def told_length(request: ChunkRequest) -> str:
    return f" Chunk {request.index} lasts {len(request.samples) / SAMPLE_RATE_HZ:.2f} seconds."


class FakeRecognizer(Recognizer):
    """
    Hears in each chunk what `text` says.

    Attributes:
        requests: What it was asked, in order.
    """

    def __init__(self, text: Callable[[ChunkRequest], str] = told_length) -> None:
        self._text = text
        self.requests: list[ChunkRequest] = []

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        self.requests.append(request)
        return recognized(self._text(request), len(request.samples) / SAMPLE_RATE_HZ, request.options)


async def at_once(_: int) -> None:
    """No reason to wait."""


def read_file(media: StoredMedia) -> bytes:
    return Path(media.path).read_bytes()


class FakeTranscriber(Transcriber):
    """
    Finds the sentences it was made with in every WAV file, spread over its length, one a chunk.

    Attributes:
        calls: What it was asked, in order.
        cancelled: How many transcriptions were given up before their end.
    """

    def __init__(
        self,
        sentences: Sequence[str] = SENTENCES,
        *,
        before_chunk: Callable[[int], Awaitable[None]] = at_once,
        warnings: Sequence[TranscriptWarning] = (),
        channels: int = 1,
        read: Callable[[StoredMedia], bytes] = read_file,
    ) -> None:
        """
        Args:
            before_chunk: Awaited with the number of each chunk that is not known, and once more before the end; may wait or
                raise.
            channels: The sentences go to these in turn.
            read: How to get at stored media.
        """
        self.sentences = tuple(sentences)
        self._before_chunk = before_chunk
        self._warnings = tuple(warnings)
        self.channels = channels
        self._read = read
        self.calls: list[tuple[MediaReference, TranscriptionOptions]] = []
        self.cancelled = 0

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        self.calls.append((media, options))
        duration_s = wav_duration_s(media.data if isinstance(media, InlineMedia) else self._read(media))
        try:
            for index in range(len(self.sentences)):
                if (index % self.channels, index // self.channels) not in {(c.channel, c.index) for c in known}:
                    await self._before_chunk(index)
                yield self._chunk(index, duration_s, options.decoding)
            await self._before_chunk(len(self.sentences))
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        yield self._end(duration_s, options.decoding)

    def _chunk(self, index: int, duration_s: float, options: DecodingOptions) -> ChunkTranscribed:
        length_s = duration_s / len(self.sentences)
        start, channel = index * length_s, index % self.channels
        heard = recognized(self.sentences[index], length_s, options)
        return ChunkTranscribed(
            index=index // self.channels,
            channel=channel,
            start=start,
            end=start + length_s,
            text=heard.text,
            segments=(segment(heard, start, length_s, channel),) if heard.text else (),
            recognized=heard,
            declared_s=duration_s,
        )

    def _end(self, duration_s: float, options: DecodingOptions) -> TranscriptionFinished:
        silent = () if any(self.sentences) else (TranscriptWarning(WarningCode.NO_SPEECH, "Nothing was said."),)
        return TranscriptionFinished(
            duration_s=duration_s,
            language=options.language or ("" if silent else "en"),
            language_probability=PROBABILITY,
            warnings=(*self._warnings, *silent),
            speech_s=0.0 if silent else duration_s,
            channels=self.channels,
        )


def recognized(text: str, duration_s: float, options: DecodingOptions) -> RecognizedChunk:
    """What a recogniser would give for this text, words spread evenly over the chunk."""
    words = text.split()
    return RecognizedChunk(
        text=text,
        tokens=tuple(map(len, words)),
        language=options.language or "en",
        language_probability=PROBABILITY,
        temperature=0.0,
        avg_logprob=LOGPROB,
        compression_ratio=1.0,
        no_speech_prob=0.01,
        engine=Engine(options.model_id, revision="fake", compute_type="float32", device="cpu"),
        words=_words(words, duration_s) if options.word_times else (),
        logprobs=tuple(TokenLogprob(f" {w}", LOGPROB, tuple(f" {w}".encode())) for w in words)
        if options.logprobs
        else (),
    )


def segment(heard: RecognizedChunk, start: float, duration_s: float, channel: int = 0) -> Segment:
    """The whole of a chunk as one segment."""
    return Segment(
        start=start,
        end=start + duration_s,
        text=heard.text,
        language=heard.language,
        tokens=heard.tokens,
        temperature=heard.temperature,
        avg_logprob=heard.avg_logprob,
        compression_ratio=heard.compression_ratio,
        no_speech_prob=heard.no_speech_prob,
        chunk_start=start,
        channel=channel,
        words=tuple(word.shifted(start) for word in heard.words),
    )


def _words(texts: Sequence[str], duration_s: float) -> tuple[Word, ...]:
    length_s = duration_s / max(1, len(texts))
    return tuple(
        Word(n * length_s, (n + 1) * length_s, f" {text}", PROBABILITY, (len(text),)) for n, text in enumerate(texts)
    )
