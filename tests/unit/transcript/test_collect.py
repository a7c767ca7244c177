"""The stream is the truth; a transcript only adds it up."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.testing import FakeTranscriber, recognized, segment, silent_wav
from serve_app.transcript.collect import TranscriptCollector, collect
from serve_app.transcript.protocols import InlineMedia
from serve_app.transcript.types import (
    ChunkTranscribed,
    DecodingOptions,
    TranscriptEvent,
    TranscriptionFinished,
    TranscriptionOptions,
)

OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en", logprobs=True))
END = TranscriptionFinished(duration_s=3.0, language="en", language_probability=0.9, channels=2)


def chunk(text: str, start: float = 0.0, channel: int = 0, **changes: object) -> ChunkTranscribed:
    heard = dataclasses.replace(recognized(text, 1.0, OPTIONS.decoding), **changes)  # type: ignore[arg-type]
    return ChunkTranscribed(0, channel, start, start + 1, text, (segment(heard, start, 1.0, channel),), heard)


@given(st.lists(st.text(" a\n春")))
def test_text_is_the_joined_deltas(texts: Sequence[str]) -> None:
    collector = TranscriptCollector(OPTIONS)
    deltas = [collector.add(chunk(text)) for text in texts]

    assert collector.finish(END).text == "".join(deltas)
    assert collector.finish(END).text == "".join(deltas).strip()


def test_segments_of_all_channels_are_in_order_of_time() -> None:
    collector = TranscriptCollector(OPTIONS)
    for event in (chunk(" late", 2.0), chunk(" early", 0.5, channel=1)):
        collector.add(event)
    whole = collector.finish(END)

    assert [s.text for s in whole.segments] == [" early", " late"]
    assert whole.channels == 2


def test_provenance_says_what_was_done() -> None:
    collector = TranscriptCollector(OPTIONS)
    collector.add(chunk(" a"))
    collector.add(chunk(" b", attempts=3, temperature=0.4))
    provenance = collector.finish(END).provenance

    assert (provenance.fallbacks, provenance.sampled) == (1, True)
    assert provenance.engine is not None
    assert provenance.options == OPTIONS


async def test_whole_transcription_is_read_to_its_end() -> None:
    whole = await collect(FakeTranscriber([" A b.", " C."]).run(InlineMedia(silent_wav(1.0)), OPTIONS), OPTIONS)

    assert whole.text == "A b. C."
    assert [p.token for p in whole.logprobs] == [" A", " b.", " C."]


async def test_transcription_that_stops_without_an_end_is_a_fault() -> None:
    async def broken() -> AsyncGenerator[TranscriptEvent, None]:
        yield chunk(" a")

    with pytest.raises(TypeError):
        await collect(broken(), OPTIONS)
