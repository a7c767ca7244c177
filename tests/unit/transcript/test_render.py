"""The formats, byte for byte."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from serve_app.api.answers import DiarizedTranscript, JsonTranscript, VerboseTranscript
from serve_app.transcript.render import MEDIA_TYPES, RENDERERS, Format, Layout, render, speaker, token_usage
from serve_app.transcript.types import Task, TokenLogprob, Transcript, TranscriptWarning, WarningCode
from tests.unit.transcript.examples import spoken, transcript

HELLO = transcript(spoken(" Hello there.", 0.0, 1.2, chunk_start=0.0))
PLAIN = Layout()
NOTHING = transcript(language="", duration_s=0.5, warnings=(TranscriptWarning(WarningCode.NO_SPEECH, "Silence."),))


def parsed(shown: Transcript, format: Format, layout: Layout = PLAIN) -> Any:
    return json.loads(render(shown, format, layout), parse_constant=pytest.fail)


def test_every_format_has_a_renderer_and_a_media_type() -> None:
    assert set(RENDERERS) == set(MEDIA_TYPES) == set(Format)


def test_json_is_text_and_usage() -> None:
    assert render(HELLO, Format.JSON) == '{"text":"Hello there.","usage":{"type":"duration","seconds":3}}'


def test_json_shows_logprobs_only_when_asked() -> None:
    heard = transcript(spoken(" Hé"), logprobs=(TokenLogprob(" Hé", -0.5, (32, 72, 195, 169)),))

    assert "logprobs" not in parsed(heard, Format.JSON)
    assert parsed(heard, Format.JSON, Layout(logprobs=True))["logprobs"] == [
        {"token": " Hé", "logprob": -0.5, "bytes": [32, 72, 195, 169]}
    ]


def test_text_is_one_line() -> None:
    assert render(HELLO, Format.TEXT) == "Hello there.\n"


def test_verbose_json_has_openai_s_fields_in_order() -> None:
    shown = parsed(HELLO, Format.VERBOSE_JSON)

    assert list(shown) == ["task", "language", "duration", "text", "segments", "usage"]
    assert shown["segments"] == [
        {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": 1.2,
            "text": " Hello there.",
            "tokens": [5, 6],
            "temperature": 0.0,
            "avg_logprob": -0.2,
            "compression_ratio": 1.0,
            "no_speech_prob": 0.01,
        }
    ]


def test_seek_is_where_the_chunk_began_in_steps_of_10_ms() -> None:
    shown = transcript(spoken(" a", 31.0, 32.0, chunk_start=29.87), spoken(" b", 33.0, 34.0, chunk_start=29.87))

    assert [s["seek"] for s in parsed(shown, Format.VERBOSE_JSON)["segments"]] == [2987, 2987]


def test_words_have_no_space_and_segments_do() -> None:
    shown = parsed(HELLO, Format.VERBOSE_JSON, Layout(words=True))

    assert shown["words"] == [
        {"word": "Hello", "start": 0.0, "end": 0.6},
        {"word": "there.", "start": 0.6, "end": 1.2},
    ]
    assert shown["segments"][0]["text"] == " Hello there."


def test_times_are_rounded_to_milliseconds() -> None:
    shown = parsed(transcript(spoken(" x", 0.12345, 2.00999)), Format.VERBOSE_JSON)["segments"][0]

    assert (shown["start"], shown["end"]) == (0.123, 2.01)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_numbers_are_always_numbers(odd: float) -> None:
    shown = transcript(spoken(" x", avg_logprob=odd, compression_ratio=odd, no_speech_prob=odd))

    assert parsed(shown, Format.VERBOSE_JSON)["segments"][0]["avg_logprob"] == 0.0


@pytest.mark.parametrize(
    ("language", "task", "name"),
    [("en", "transcribe", "english"), ("yue", "transcribe", "cantonese"), ("de", "translate", "english")],
)
def test_language_is_the_name_of_what_the_text_is_in(language: str, task: str, name: str) -> None:
    shown = transcript(spoken(" x"), language=language, task=Task(task))

    assert parsed(shown, Format.VERBOSE_JSON)["language"] == name


@pytest.mark.parametrize(
    ("duration_s", "seconds"), [(0.1, 1), (2.0, 2), (2.0000001, 2), (2.001, 3), (3600.0, 3600), (0.0, 0)]
)
def test_usage_is_rounded_up(duration_s: float, seconds: int) -> None:
    assert parsed(transcript(duration_s=duration_s), Format.JSON)["usage"]["seconds"] == seconds


def test_end_of_a_stream_counts_encoder_positions_and_tokens() -> None:
    usage = token_usage(2.5, 7)

    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (125, 7, 132)
    assert usage["seconds"] == 3


def test_channels_are_speakers() -> None:
    shown = transcript(spoken(" Hi."), spoken(" Ho.", 1.0, 2.0, channel=1))

    assert [s["speaker"] for s in parsed(shown, Format.DIARIZED_JSON)["segments"]] == ["A", "B"]
    assert [s["id"] for s in parsed(shown, Format.DIARIZED_JSON)["segments"]] == ["seg_0", "seg_1"]


@pytest.mark.parametrize(("channel", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (27, "AB"), (702, "AAA")])
def test_speakers_never_run_out(channel: int, name: str) -> None:
    assert speaker(channel) == name


@pytest.mark.parametrize(
    ("format", "shown"),
    [(Format.TEXT, "\n"), (Format.SRT, ""), (Format.VTT, "WEBVTT\n\n")],
)
def test_silence_is_empty_text(format: Format, shown: str) -> None:
    assert render(NOTHING, format) == shown


@pytest.mark.parametrize("format", [Format.JSON, Format.VERBOSE_JSON, Format.DIARIZED_JSON])
def test_silence_is_told_as_a_warning_without_nulls(format: Format) -> None:
    shown = parsed(NOTHING, format)

    assert shown["text"] == ""
    assert shown["warnings"] == [{"code": "no_speech", "message": "Silence."}]
    assert "null" not in render(NOTHING, format)


def test_answers_are_of_the_shape_that_the_document_shows() -> None:
    JsonTranscript.model_validate_json(render(HELLO, Format.JSON), strict=True)
    VerboseTranscript.model_validate_json(render(HELLO, Format.VERBOSE_JSON, Layout(words=True)), strict=True)
    DiarizedTranscript.model_validate_json(render(HELLO, Format.DIARIZED_JSON), strict=True)
