"""Segments begin and end where the speech does, on clips that are joined with known silences."""

import io
import wave
from itertools import pairwise

import numpy as np
import pytest

from serve_app.pipeline.run import Pipeline
from serve_app.transcript.collect import collect
from serve_app.transcript.protocols import InlineMedia
from serve_app.transcript.types import DecodingOptions, Samples, Transcript, TranscriptionOptions
from tests.recordings import DATA

pytestmark = pytest.mark.model

RATE_HZ = 22_050
CLIPS = ("LJ001-0001.wav", "LJ001-0002.wav", "LJ001-0004.wav")
OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en", language="en", temperatures=(0.0,), word_times=True))
TOLERANCE_S = 0.2


def clip(name: str) -> Samples:
    """Without the quiet before and after it."""
    with wave.open(str(DATA / name)) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE_HZ, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 0.03 * np.abs(samples.astype(int)).max())
    return samples[loud[0] : loud[-1]]


def join(silence_s: float) -> tuple[InlineMedia, list[tuple[float, float]]]:
    """The clips with that silence before, between and after them, and where each begins and ends, in seconds."""
    silence = np.zeros(round(silence_s * RATE_HZ), dtype=np.int16)
    parts, edges, now = [silence], [], silence_s
    for samples in map(clip, CLIPS):
        parts += [samples, silence]
        edges.append((now, now + len(samples) / RATE_HZ))
        now = edges[-1][1] + silence_s
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        writer.writeframes(np.concatenate(parts).tobytes())
    return InlineMedia(file.getvalue()), edges


async def transcribe(pipeline: Pipeline, media: InlineMedia) -> Transcript:
    return await collect(pipeline.run(media, OPTIONS), OPTIONS)


@pytest.mark.parametrize("silence_s", [0.8, 1.5, 3.0])
async def test_each_clip_begins_and_ends_with_a_segment(pipeline: Pipeline, silence_s: float) -> None:
    media, clips = join(silence_s)
    segments = (await transcribe(pipeline, media)).segments

    for start, end in clips:
        assert min(abs(segment.start - start) for segment in segments) <= TOLERANCE_S
        assert min(abs(segment.end - end) for segment in segments) <= TOLERANCE_S


@pytest.mark.parametrize("silence_s", [0.8, 3.0])
async def test_no_segment_or_word_reaches_into_a_silence(pipeline: Pipeline, silence_s: float) -> None:
    media, clips = join(silence_s)
    transcript = await transcribe(pipeline, media)

    silences = [(end + TOLERANCE_S, start - TOLERANCE_S) for (_, end), (start, _) in pairwise(clips)]
    timed = [*transcript.segments, *(word for segment in transcript.segments for word in segment.words)]
    assert len(timed) > 40
    for silence_start, silence_end in silences:
        assert all(part.end <= silence_start or part.start >= silence_end for part in timed)


async def test_words_are_inside_their_segments_in_order(pipeline: Pipeline) -> None:
    media, _ = join(1.5)
    transcript = await transcribe(pipeline, media)

    words = [word for segment in transcript.segments for word in segment.words]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    for segment in transcript.segments:
        assert segment.start <= segment.words[0].start
        assert segment.words[-1].end <= segment.end
        assert "".join(word.text for word in segment.words) == segment.text
