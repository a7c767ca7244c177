"""The official openai SDK for Node."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import srt
import webvtt

from tests.sdk.node_runtime import Answers, RunScript

SEGMENT_NUMBERS = ("id", "seek", "start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")


@pytest.fixture(scope="module")
def answers(run_script: RunScript) -> Answers:
    return run_script("openai_sdk.mjs")


def test_models_are_listed_and_each_can_be_retrieved(answers: Answers) -> None:
    models = answers["models"]

    assert models
    for model in models:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert answers[f"model {model['id']}"]["id"] == model["id"]


def test_an_alias_can_be_retrieved(answers: Answers) -> None:
    assert answers["model of an alias"]["object"] == "model"


def test_json_is_the_default_format(answers: Answers) -> None:
    default = answers["default"]

    assert default["text"].strip()
    assert default["usage"]["type"] == "duration"
    assert default["usage"]["seconds"] == 10  # 9.66 s, rounded up
    assert answers["json"] == default


def test_text_is_plain(answers: Answers) -> None:
    assert answers["text"] == answers["json"]["text"].strip() + "\n"


def test_srt_reads_strictly(answers: Answers) -> None:
    cues = list(srt.parse(answers["srt"]))

    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    _same_times_and_text([(cue.start, cue.end, cue.content) for cue in cues], answers["verbose_json"]["segments"])


def test_vtt_reads_strictly(answers: Answers) -> None:
    cues = webvtt.from_buffer(StringIO(answers["vtt"])).captions

    assert answers["vtt"].startswith("WEBVTT\n\n")
    _same_times_and_text(
        [(timedelta(seconds=cue.start_in_seconds), timedelta(seconds=cue.end_in_seconds), cue.text) for cue in cues],
        answers["verbose_json"]["segments"],
        tolerance_s=1,  # webvtt-py rounds down to whole seconds
    )


def _same_times_and_text(
    cues: list[tuple[timedelta, timedelta, str]], segments: list[dict[str, Any]], tolerance_s: float = 0.001
) -> None:
    assert [text for _, _, text in cues] == [segment["text"].strip() for segment in segments]
    for (start, end, _), segment in zip(cues, segments, strict=True):
        assert start.total_seconds() == pytest.approx(segment["start"], abs=tolerance_s)
        assert end.total_seconds() == pytest.approx(segment["end"], abs=tolerance_s)


def test_verbose_json_has_all_fields_of_a_segment(answers: Answers) -> None:
    verbose = answers["verbose_json"]

    assert verbose["task"] == "transcribe"
    assert verbose["language"] == "english"
    assert verbose["duration"] == pytest.approx(9.66, abs=0.05)
    assert verbose["text"] == answers["json"]["text"]
    assert "words" not in verbose
    for segment in verbose["segments"]:
        assert all(isinstance(segment[name], int | float) for name in SEGMENT_NUMBERS)
        assert all(isinstance(token, int) for token in segment["tokens"])
        assert 0 <= segment["start"] < segment["end"] <= verbose["duration"]


@pytest.mark.parametrize(
    ("granularities", "words", "segments"),
    [("word", True, False), ("segment", False, True), ("word+segment", True, True)],
)
def test_granularities_choose_words_and_segments(
    answers: Answers, granularities: str, words: bool, segments: bool
) -> None:
    verbose = answers[f"verbose_json {granularities}"]

    assert ("words" in verbose, "segments" in verbose) == (words, segments)
    for word in verbose.get("words", []):
        assert word["word"] == word["word"].strip() != ""
        assert 0 <= word["start"] <= word["end"] <= verbose["duration"]


@pytest.mark.parametrize(
    ("response_format", "content_type"),
    [
        ("json", "application/json"),
        ("verbose_json", "application/json"),
        ("text", "text/plain"),
        ("vtt", "text/vtt"),
    ],
)
def test_each_format_has_its_content_type_and_a_request_id(
    answers: Answers, response_format: str, content_type: str
) -> None:
    headers = answers[f"{response_format} headers"]

    assert headers["type"].split(";")[0] == content_type
    assert headers["requestId"]


def test_srt_is_not_called_json(answers: Answers) -> None:
    assert "json" not in answers["srt headers"]["type"]


def test_logprobs_come_with_json(answers: Answers) -> None:
    logprobs = answers["logprobs"]["logprobs"]

    assert logprobs
    for token in logprobs:
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode(errors="replace") == token["token"]


def test_logprobs_come_with_a_stream(answers: Answers) -> None:
    *deltas, done = answers["stream with logprobs"]

    assert all(delta["logprobs"] for delta in deltas)
    assert done["logprobs"] == [token for delta in deltas for token in delta["logprobs"]]


@pytest.mark.parametrize("name", ["chunking auto", "chunking object", "all options"])
def test_options_are_taken(answers: Answers, name: str) -> None:
    assert answers[name]["text"].strip()


@pytest.mark.parametrize("name", ["file from bytes", "file without a name", "file of the web"])
def test_a_file_is_read_however_it_is_handed_over(answers: Answers, name: str) -> None:
    assert answers[name] == answers["default"]


@pytest.mark.parametrize("name", ["stream", "stream as text"])
def test_a_stream_is_deltas_and_one_done(answers: Answers, name: str) -> None:
    *deltas, done = answers[name]

    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert done["text"] == "".join(event["delta"] for event in deltas)
    assert done["text"].strip() == answers["json"]["text"].strip()
    assert done["usage"]["type"] == "tokens"  # the only kind that the SDK's types know in a stream
    assert done["usage"]["seconds"] == answers["json"]["usage"]["seconds"]


def test_a_stream_can_be_given_up(answers: Answers) -> None:
    assert answers["stream given up"] == "transcript.text.delta"


def test_a_request_can_be_given_up(answers: Answers) -> None:
    assert answers.error("request given up")["name"] == "APIUserAbortError"


def test_translations_come_from_the_models_that_can(answers: Answers) -> None:
    for model in answers["models"]:
        if "translate" in model.get("tasks", []):
            assert answers[f"translation {model['id']} json"]["text"].strip()
            assert answers[f"translation {model['id']} text"].endswith("\n")
            assert list(srt.parse(answers[f"translation {model['id']} srt"]))
            assert answers[f"translation {model['id']} vtt"].startswith("WEBVTT\n")
            assert answers[f"translation {model['id']} verbose_json"]["task"] == "translate"


def test_a_model_that_cannot_translate_refuses(answers: Answers) -> None:
    error = answers.error("translation tiny.en json")

    assert (error["name"], error["status"], error["param"]) == ("BadRequestError", 400, "model")
    assert error["code"] == "unsupported_language"


@pytest.mark.parametrize(
    ("name", "raised", "status", "param", "code"),
    [
        ("wrong key", "AuthenticationError", 401, None, "invalid_api_key"),
        ("unknown model", "NotFoundError", 404, "model", "model_not_found"),
        ("transcription by an unknown model", "NotFoundError", 404, "model", "model_not_found"),
        ("no audio", "BadRequestError", 400, "file", "invalid_audio"),
        ("unknown language", "BadRequestError", 400, "language", ...),
        ("no file", "BadRequestError", 400, "file", ...),
        ("no model", "BadRequestError", 400, "model", ...),
        ("unknown format", "BadRequestError", 400, "response_format", ...),
        ("diarized", "BadRequestError", 400, "response_format", ...),
        ("words in json", "BadRequestError", 400, ..., ...),
        ("logprobs in srt", "BadRequestError", 400, ..., ...),
        ("stream of srt", "BadRequestError", 400, "response_format", ...),
        ("known speakers", "BadRequestError", 400, ..., ...),
    ],
)
def test_refusals_raise_the_error_that_the_sdk_has_for_them(
    answers: Answers, name: str, raised: str, status: int, param: Any, code: Any
) -> None:
    error = answers.error(name)

    assert (error["name"], error["status"], error["type"]) == (raised, status, "invalid_request_error")
    assert param in (..., error["param"])
    assert code in (..., error["code"])
    assert error["requestId"]
    assert error["message"]
