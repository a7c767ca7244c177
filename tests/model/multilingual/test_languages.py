"""Languages and translation, with the real multilingual base model."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import jiwer
import pytest

from serve_app.errors import UnsupportedLanguage
from serve_app.pipeline.run import Pipeline
from serve_app.transcript.collect import collect
from serve_app.transcript.protocols import MediaReference
from serve_app.transcript.types import DecodingOptions, Task, Transcript, TranscriptionOptions
from tests.model.multilingual.clips import Clip, joined

pytestmark = pytest.mark.model


async def transcribe(
    pipeline: Pipeline, media: MediaReference, model_id: str = "base", *, multilingual: bool = False, **decoding: Any
) -> Transcript:
    options = TranscriptionOptions(
        DecodingOptions(model_id, temperatures=(0.0,), **decoding), multilingual=multilingual
    )
    return await collect(pipeline.run(media, options), options)


def words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def languages(transcript: Transcript) -> list[str]:
    """Of the segments, each as often as it comes up anew."""
    found = [segment.language for segment in transcript.segments]
    return [language for before, language in zip([None, *found], found, strict=False) if language != before]


@pytest.fixture(scope="session")
async def transcripts(pipeline: Pipeline, clips: list[Clip]) -> dict[Clip, Transcript]:
    return dict(zip(clips, await asyncio.gather(*(transcribe(pipeline, clip.media) for clip in clips)), strict=True))


async def test_each_clip_is_heard_in_its_own_language(transcripts: dict[Clip, Transcript]) -> None:
    wrong = {clip.path.name: heard.language for clip, heard in transcripts.items() if heard.language != clip.language}

    assert {clip.language for clip in transcripts} == {"de", "es", "fr", "pt", "sv", "zh"}
    assert wrong == {}


async def test_text_is_what_was_said(transcripts: dict[Clip, Transcript]) -> None:
    pairs = [
        (words(clip.reference), words(heard.text))
        for clip, heard in transcripts.items()
        if clip.reference and clip.language != "zh"  # whose words have no spaces between
    ]
    references, texts = map(list, zip(*pairs, strict=True))

    assert len(pairs) > 20
    assert jiwer.wer(references, texts) < 0.25


async def test_multilingual_gives_each_segment_its_own_language(
    pipeline: Pipeline, german: Clip, spanish: Clip
) -> None:
    transcript = await transcribe(pipeline, joined(german, spanish, german), multilingual=True)

    assert languages(transcript) == ["de", "es", "de"]
    assert transcript.language == "de"
    assert "Wasser" in transcript.segments[0].text
    assert "movimiento" in transcript.text


async def test_otherwise_the_first_language_is_that_of_the_file(
    pipeline: Pipeline, german: Clip, spanish: Clip
) -> None:
    transcript = await transcribe(pipeline, joined(spanish, german))

    assert languages(transcript) == ["es"]


async def test_translation_is_english_and_names_the_language_that_was_spoken(pipeline: Pipeline, spanish: Clip) -> None:
    transcript = await transcribe(pipeline, spanish.media, task=Task.TRANSLATE)

    assert {"earth", "movement"} <= set(words(transcript.text).split())
    assert (transcript.task, transcript.language) == (Task.TRANSLATE, "es")


async def test_language_given_by_hand_is_used_and_not_detected(pipeline: Pipeline, spanish: Clip) -> None:
    right = await transcribe(pipeline, spanish.media, language="es")
    wrong = await transcribe(pipeline, spanish.media, language="en")

    assert (right.language, wrong.language) == ("es", "en")
    assert right.language_probability == wrong.language_probability == 1.0
    assert "tierra" in words(right.text)
    assert "tierra" not in words(wrong.text)


async def test_detection_chooses_among_the_candidates(pipeline: Pipeline, spanish: Clip) -> None:
    one_of_two = await transcribe(pipeline, spanish.media, languages=("es", "sv"))
    the_nearer = await transcribe(pipeline, spanish.media, languages=("sv", "pt"))

    assert (one_of_two.language, the_nearer.language) == ("es", "pt")


async def test_detection_chooses_among_what_the_catalogue_allows(pipeline: Pipeline, spanish: Clip) -> None:
    transcript = await transcribe(pipeline, spanish.media, "continental")

    assert transcript.language in {"de", "fr"}


@pytest.mark.parametrize("asked", [{"language": "es"}, {"languages": ("es", "pt")}], ids=["language", "candidates"])
async def test_language_that_the_catalogue_does_not_allow_is_refused(
    pipeline: Pipeline, spanish: Clip, asked: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedLanguage, match=r"continental cannot do the language es.*; it can do de, fr\."):
        await transcribe(pipeline, spanish.media, "continental", **asked)
