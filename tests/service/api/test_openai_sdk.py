"""The official SDK for Python, which refuses any answer that is not of the shape it knows."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from io import StringIO
from typing import Any

import openai
import pytest
import srt
import webvtt

from serve_app.testing import SENTENCES, FakeTranscriber
from serve_app.transcript.types import Task
from tests.service.api.conftest import LONG_WAV, SETTINGS, WAV

FILE = ("speech.wav", WAV)
TEXT = "".join(SENTENCES).strip()

translations_are_deprecated = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


async def test_json_is_the_text_and_the_seconds_rounded_up(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1")

    assert answer.text == TEXT
    assert answer.usage is not None
    assert answer.usage.model_dump() == {"type": "duration", "seconds": 3}
    assert answer.logprobs is None


async def test_text_is_not_quoted(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.with_raw_response.create(
        file=FILE, model="whisper-1", response_format="text"
    )

    assert answer.http_response.text == f"{TEXT}\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_srt_reads_strictly(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1", response_format="srt")
    cues = list(srt.parse(answer, ignore_errors=False))

    assert [cue.content for cue in cues] == [sentence.strip() for sentence in SENTENCES]
    assert cues[-1].end == timedelta(seconds=2.5)


async def test_vtt_reads_strictly(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1", response_format="vtt")
    cues = list(webvtt.from_buffer(StringIO(answer)))

    assert [cue.text for cue in cues] == [sentence.strip() for sentence in SENTENCES]
    assert cues[-1].end == "00:00:02.500"


@pytest.mark.parametrize(
    ("granularities", "segments", "words"),
    [([], True, False), (["segment"], True, False), (["word"], False, True), (["word", "segment"], True, True)],
)
async def test_granularities_choose_what_verbose_json_holds(
    sdk: openai.AsyncOpenAI, granularities: Any, segments: bool, words: bool
) -> None:
    answer = await sdk.audio.transcriptions.create(
        file=FILE, model="whisper-1", response_format="verbose_json", timestamp_granularities=granularities
    )

    assert (answer.language, answer.duration, answer.text) == ("english", 2.5, TEXT)
    assert (answer.segments is not None, answer.words is not None) == (segments, words)
    assert [s.text for s in answer.segments or []] == list(SENTENCES if segments else ())
    assert " ".join(w.word for w in answer.words or []) == (TEXT if words else "")


async def test_verbose_json_has_no_nulls(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.with_raw_response.create(
        file=FILE, model="whisper-1", response_format="verbose_json"
    )

    assert "null" not in answer.http_response.text


async def test_logprobs_come_with_json(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1", include=["logprobs"])

    assert answer.logprobs is not None
    assert "".join(p.token or "" for p in answer.logprobs).strip() == TEXT


async def test_channels_are_speakers_in_diarized_json(sdk: openai.AsyncOpenAI, transcriber: FakeTranscriber) -> None:
    transcriber.channels = 2
    answer = await sdk.audio.transcriptions.create(
        file=FILE, model="whisper-1", response_format="diarized_json", extra_body={"channels": "separate"}
    )

    assert [s.speaker for s in answer.segments] == ["A", "B", "A"]
    assert answer.text == TEXT


async def test_diarized_json_has_a_file_of_one_channel_refused_before_work(
    sdk: openai.AsyncOpenAI, transcriber: FakeTranscriber
) -> None:
    for wanted in ("diarized_json", "json"):
        with contextlib.suppress(openai.BadRequestError):
            await sdk.audio.transcriptions.create(
                file=FILE, model="whisper-1", response_format=wanted, extra_body={"channels": "separate"}
            )

    assert [options.needs_channels for _, options in transcriber.calls] == [True, False]


@pytest.mark.parametrize("extra", [{}, {"channels": "separate"}])
async def test_diarized_json_of_a_mono_file_is_refused(sdk: openai.AsyncOpenAI, extra: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.audio.transcriptions.create(
            file=FILE, model="whisper-1", response_format="diarized_json", extra_body=extra
        )

    assert caught.value.param == "response_format"


@pytest.mark.parametrize("response_format", ["json", "text"])
async def test_stream_is_deltas_and_one_done(sdk: openai.AsyncOpenAI, response_format: Any) -> None:
    stream = await sdk.audio.transcriptions.create(
        file=FILE, model="whisper-1", response_format=response_format, stream=True
    )
    *deltas, done = [event async for event in stream]

    assert [event.type for event in deltas] == ["transcript.text.delta"] * len(SENTENCES)
    assert done.type == "transcript.text.done"
    assert done.text == "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == TEXT
    assert done.usage is not None
    assert done.usage.output_tokens == len(TEXT.split())


async def test_stream_carries_logprobs_when_asked(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1", stream=True, include=["logprobs"])
    *deltas, done = [event async for event in stream]

    assert done.type == "transcript.text.done"
    assert done.logprobs
    assert sum(len(event.logprobs or []) for event in deltas if event.type == "transcript.text.delta") == len(
        done.logprobs
    )


@translations_are_deprecated
@pytest.mark.parametrize("response_format", ["json", "verbose_json", "text", "srt", "vtt"])
async def test_translations_come_in_every_format(
    sdk: openai.AsyncOpenAI, transcriber: FakeTranscriber, response_format: Any
) -> None:
    answer: Any = await sdk.audio.translations.create(file=FILE, model="acme/large", response_format=response_format)

    assert SENTENCES[0].strip() in (answer if isinstance(answer, str) else answer.text)
    assert transcriber.calls[0][1].decoding.task is Task.TRANSLATE


@translations_are_deprecated
async def test_translation_says_that_it_is_english(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.audio.translations.create(
        file=FILE, model="acme/large", response_format="verbose_json", extra_body={"language": "German"}
    )

    assert answer.language == "english"


async def test_every_option_of_the_sdk_arrives(sdk: openai.AsyncOpenAI, transcriber: FakeTranscriber) -> None:
    await sdk.audio.transcriptions.create(
        file=FILE,
        model="acme/large",
        chunking_strategy={
            "type": "server_vad",
            "threshold": 0.6,
            "silence_duration_ms": 300,
            "prefix_padding_ms": 100,
        },
        keywords=["Kubernetes", "Ray"],
        languages=["de", "fr"],
        prompt="A talk.",
        temperature=0.4,
    )
    options = transcriber.calls[0][1]

    assert (options.speech.threshold, options.speech.min_silence_s, options.speech.padding_s) == (0.6, 0.3, 0.1)
    assert options.decoding.hotwords == "Kubernetes, Ray"
    assert options.decoding.languages == ("de", "fr")
    assert options.decoding.prompt == "A talk."
    assert options.decoding.temperatures == (0.4,)


@pytest.mark.parametrize("strategy", ["auto", {"type": "server_vad"}])
async def test_both_forms_of_chunking_strategy_are_taken(sdk: openai.AsyncOpenAI, strategy: Any) -> None:
    answer = await sdk.audio.transcriptions.create(file=FILE, model="whisper-1", chunking_strategy=strategy)

    assert answer.text == TEXT


async def test_models_are_listed_and_each_can_be_retrieved(sdk: openai.AsyncOpenAI) -> None:
    ids = [model.id async for model in sdk.models.list()]

    assert ids == list(SETTINGS.models)
    for model_id in ids:
        assert (await sdk.models.retrieve(model_id)).id == model_id


async def test_an_alias_is_retrieved_as_what_it_stands_for(sdk: openai.AsyncOpenAI) -> None:
    assert (await sdk.models.retrieve("whisper-1")).id == "tiny.en"


async def test_large_upload_is_the_same_to_the_client(sdk: openai.AsyncOpenAI, transcriber: FakeTranscriber) -> None:
    answer = await sdk.audio.transcriptions.create(file=("long.wav", LONG_WAV), model="whisper-1")

    assert answer.text == TEXT
