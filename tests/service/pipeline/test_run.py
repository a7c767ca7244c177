"""The whole path with real decoders and real speech detection; only the recogniser is a stand-in."""

import asyncio
import io
import wave
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serve_app.errors import InvalidAudio, InvalidRequest, RecognizerUnavailable
from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.run import Pipeline
from serve_app.testing import FakeRecognizer
from serve_app.transcript.protocols import InlineMedia
from serve_app.transcript.types import (
    SAMPLE_RATE_HZ,
    Channels,
    ChunkRequest,
    ChunkTranscribed,
    DecodingOptions,
    RecognizedChunk,
    Samples,
    SpeechOptions,
    TranscriptEvent,
    TranscriptionFinished,
    TranscriptionOptions,
    WarningCode,
    Word,
)
from tests.recordings import DATA
from tests.service.pipeline.decoding import HOSTILE, decode, stored

ENGLISH = TranscriptionOptions(DecodingOptions("tiny.en", language="en"))
DETECT = TranscriptionOptions(DecodingOptions("base"))


class Controlled(FakeRecognizer):
    """Waits, or fails, as it is told for each request; `busy` is set when as many as `expected` wait."""

    def __init__(self, before: Callable[[ChunkRequest], asyncio.Future[Any] | None], expected: int = 1) -> None:
        super().__init__()
        self.before = before
        self.expected = expected
        self.busy = asyncio.Event()
        self.working = self.most = self.cancelled = 0

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        self.working += 1
        self.most = max(self.most, self.working)
        if self.working == self.expected:
            self.busy.set()
        try:
            if (waiting := self.before(request)) is not None:
                await waiting
            return await super().recognize(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1


class Greeting(FakeRecognizer):
    """Hears one word, a third of a second after the beginning of a chunk."""

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        return replace(await super().recognize(request), text=" Hello.", words=(Word(0.3, 0.6, " Hello.", 0.9),))


def endless(_: ChunkRequest) -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def wav(*channels: Samples) -> InlineMedia:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((len(channels), 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        writer.writeframes(np.stack(channels, axis=1).tobytes())
    return InlineMedia(file.getvalue())


@pytest.fixture(scope="module")
async def speech(decoders: DecoderPool) -> Samples:
    """About 5 s of somebody speaking."""
    return (await decode(decoders, stored(DATA / "LJ001-0004.wav"))).samples[:, 0]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), dtype=np.int16)


@pytest.fixture(scope="module")
def parts(speech: Samples) -> InlineMedia:
    """Six pieces of speech with long silences: six chunks."""
    return wav(np.concatenate([part for _ in range(6) for part in (speech, silence(4))]))


async def transcribe(
    pipeline: Pipeline, media: InlineMedia, options: TranscriptionOptions = ENGLISH
) -> tuple[list[ChunkTranscribed], TranscriptionFinished]:
    events: list[TranscriptEvent] = [event async for event in pipeline.run(media, options)]
    chunks = [event for event in events if isinstance(event, ChunkTranscribed)]
    end = events[-1]
    assert isinstance(end, TranscriptionFinished)
    assert len(chunks) == len(events) - 1
    return chunks, end


async def test_chunks_come_in_order_with_their_places_in_the_file(
    decoders: DecoderPool, parts: InlineMedia, speech: Samples
) -> None:
    chunks, end = await transcribe(Pipeline(FakeRecognizer(), decoders), parts)

    period = len(speech) / SAMPLE_RATE_HZ + 4
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4, 5]
    assert [segment.start for chunk in chunks for segment in chunk.segments] == pytest.approx(
        [n * period for n in range(6)], abs=0.2
    )
    assert end.duration_s == pytest.approx(6 * period, abs=0.01)
    assert end.speech_s == pytest.approx(6 * len(speech) / SAMPLE_RATE_HZ, rel=0.2)
    assert end.warnings == ()


async def test_what_an_earlier_run_gave_is_given_again_and_not_recognised_again(
    decoders: DecoderPool, parts: InlineMedia
) -> None:
    whole, end = await transcribe(Pipeline(FakeRecognizer(), decoders), parts)
    recognizer = FakeRecognizer()
    resumed = [event async for event in Pipeline(recognizer, decoders).run(parts, ENGLISH, whole[:4])]

    assert resumed == [*whole, end]
    assert sorted(request.index for request in recognizer.requests) == [4, 5]
    assert whole[0].declared_s == pytest.approx(end.duration_s)


async def test_silence_reaches_no_recogniser_and_is_warned_of(decoders: DecoderPool) -> None:
    recognizer = FakeRecognizer()
    chunks, end = await transcribe(Pipeline(recognizer, decoders), wav(silence(5)))

    assert recognizer.requests == []
    assert chunks == []
    assert [warning.code for warning in end.warnings] == [WarningCode.NO_SPEECH]


async def test_without_the_filter_silence_is_recognised_too(decoders: DecoderPool) -> None:
    recognizer = FakeRecognizer()
    options = replace(ENGLISH, speech=SpeechOptions(vad_filter=False))
    await transcribe(Pipeline(recognizer, decoders), wav(silence(40)), options)

    assert sum(len(request.samples) for request in recognizer.requests) == 40 * SAMPLE_RATE_HZ


async def test_without_the_filter_segments_have_the_times_of_their_words_and_not_of_the_file(
    decoders: DecoderPool,
) -> None:
    options = replace(ENGLISH, speech=SpeechOptions(vad_filter=False))
    (chunk,), _ = await transcribe(Pipeline(Greeting(), decoders), wav(silence(1)), options)

    assert [(segment.start, segment.end) for segment in chunk.segments] == [(0.3, 0.6)]


async def test_no_more_chunks_are_in_flight_than_allowed(decoders: DecoderPool, parts: InlineMedia) -> None:
    recognizer = Controlled(lambda request: asyncio.ensure_future(recognizer.busy.wait()), expected=2)
    await transcribe(Pipeline(recognizer, decoders, chunks_in_flight=2), parts)

    assert recognizer.most == 2


async def test_all_that_run_share_the_chunks_that_may_be_in_flight_together(
    decoders: DecoderPool, parts: InlineMedia
) -> None:
    recognizer = Controlled(lambda request: asyncio.ensure_future(recognizer.busy.wait()), expected=6)
    pipeline = Pipeline(recognizer, decoders, chunks_in_flight=4, together=6)
    await asyncio.gather(*(transcribe(pipeline, parts) for _ in range(3)))
    three = recognizer.most
    recognizer.most, recognizer.expected = 0, 4
    recognizer.busy.clear()
    await transcribe(pipeline, parts)

    assert (three, recognizer.most) == (6, 4)


async def test_the_first_chunk_goes_alone_to_tell_the_language(decoders: DecoderPool, parts: InlineMedia) -> None:
    recognizer = Controlled(lambda request: asyncio.ensure_future(asyncio.sleep(0)))
    await transcribe(Pipeline(recognizer, decoders), parts, DETECT)

    assert [request.options.language for request in recognizer.requests] == [None] + ["en"] * 5


async def test_multilingual_tells_the_language_of_each_chunk(decoders: DecoderPool, parts: InlineMedia) -> None:
    recognizer = FakeRecognizer()
    await transcribe(Pipeline(recognizer, decoders), parts, replace(DETECT, multilingual=True))

    assert [request.options.language for request in recognizer.requests] == [None] * 6


async def test_conditioned_chunks_go_one_at_a_time_with_the_text_before_them(
    decoders: DecoderPool, parts: InlineMedia
) -> None:
    recognizer = Controlled(lambda request: asyncio.ensure_future(asyncio.sleep(0)))
    options = replace(ENGLISH, condition_on_previous_text=True)
    chunks, _ = await transcribe(Pipeline(recognizer, decoders), parts, options)

    assert recognizer.most == 1
    assert [request.previous_text for request in recognizer.requests] == [
        "".join(chunk.text for chunk in chunks[:n]) for n in range(6)
    ]


async def test_separate_channels_are_heard_apart_and_come_in_time_order(decoders: DecoderPool, speech: Samples) -> None:
    quiet = silence(len(speech) / SAMPLE_RATE_HZ + 3)
    left = np.concatenate([speech, quiet, speech])
    right = np.concatenate([quiet, speech, silence((len(left) - len(quiet) - len(speech)) / SAMPLE_RATE_HZ)])
    options = replace(ENGLISH, channels=Channels.SEPARATE)
    chunks, end = await transcribe(Pipeline(FakeRecognizer(), decoders), wav(left, right), options)

    assert [chunk.channel for chunk in chunks] == [0, 1, 0]
    assert [segment.channel for chunk in chunks for segment in chunk.segments] == [0, 1, 0]
    assert end.channels == 2


async def test_a_truncated_file_is_transcribed_and_warned_of(decoders: DecoderPool) -> None:
    media = InlineMedia((HOSTILE / "truncated.flac").read_bytes())
    chunks, end = await transcribe(Pipeline(FakeRecognizer(), decoders), media)

    assert len(chunks) == 1
    assert [warning.code for warning in end.warnings] == [WarningCode.TRUNCATED_MEDIA]


async def test_bad_media_raises(decoders: DecoderPool) -> None:
    with pytest.raises(InvalidAudio):
        await transcribe(Pipeline(FakeRecognizer(), decoders), InlineMedia(b"<html>"))


async def test_the_first_event_comes_long_before_the_end_of_the_file(decoders: DecoderPool, parts: InlineMedia) -> None:
    recognizer = Controlled(lambda request: endless(request) if request.index else None)
    async with aclosing(Pipeline(recognizer, decoders).run(parts, ENGLISH)) as events:
        first = await anext(events)

    assert isinstance(first, ChunkTranscribed)


async def test_closing_cancels_every_call_and_leaves_no_task(decoders: DecoderPool, parts: InlineMedia) -> None:
    before = asyncio.all_tasks()
    recognizer = Controlled(lambda request: endless(request) if request.index else None, expected=5)
    events = Pipeline(recognizer, decoders).run(parts, ENGLISH)
    await anext(events)
    reading = asyncio.create_task(_read(events))
    await recognizer.busy.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await events.aclose()

    assert recognizer.cancelled == 5
    assert asyncio.all_tasks() <= before


async def test_an_error_of_the_recogniser_cancels_the_rest_and_is_raised(
    decoders: DecoderPool, parts: InlineMedia
) -> None:
    def fail_third(request: ChunkRequest) -> asyncio.Future[None]:
        waiting = endless(request)
        if request.index == 2:
            waiting.set_exception(RecognizerUnavailable("it died"))
        return waiting

    before = asyncio.all_tasks()
    recognizer = Controlled(fail_third)
    with pytest.raises(RecognizerUnavailable):
        await transcribe(Pipeline(recognizer, decoders), parts)

    assert recognizer.working == 0
    assert asyncio.all_tasks() <= before


async def _read(events: object) -> None:
    async for _ in events:  # type: ignore[attr-defined]
        pass


async def test_a_file_of_one_channel_is_refused_before_anything_is_recognised(
    decoders: DecoderPool, parts: InlineMedia
) -> None:
    recognizer = Controlled(lambda _: None)
    options = replace(ENGLISH, channels=Channels.SEPARATE, needs_channels=True)
    with pytest.raises(InvalidRequest, match="one speaker on each of several channels") as refused:
        await transcribe(Pipeline(recognizer, decoders), parts, options)

    assert refused.value.param == "response_format"
    assert recognizer.most == 0
