"""Vercel's AI SDK with its OpenAI provider, which asks whisper-1 for verbose_json and other models for json."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.node_runtime import Answers, RunScript


@pytest.fixture(scope="module")
def answers(run_script: RunScript) -> Answers:
    return run_script("ai_sdk.mjs")


def test_whisper_1_gives_segments_language_and_duration(answers: Answers) -> None:
    transcript = answers["whisper-1"]

    assert transcript["text"].strip()
    assert transcript["language"] == "en"
    assert transcript["durationInSeconds"] == pytest.approx(9.66, abs=0.05)
    assert "".join(segment["text"] for segment in transcript["segments"]).strip() == transcript["text"].strip()
    assert transcript["warnings"] == []
    _in_order(transcript["segments"])


def test_the_old_name_of_the_function_gives_the_same(answers: Answers) -> None:
    assert answers["experimental_transcribe"] == answers["whisper-1"]


def test_a_model_by_its_id_gives_text_and_duration(answers: Answers) -> None:
    transcript = answers["by id"]

    assert transcript["text"] == answers["whisper-1"]["text"]
    assert transcript["durationInSeconds"] == 10  # from the usage


def test_word_times_stand_in_for_segments(answers: Answers) -> None:
    words = answers["words"]["segments"]

    assert len(words) == len(answers["words"]["text"].split())
    _in_order(words)


def test_segments_stay_segments_beside_words(answers: Answers) -> None:
    assert answers["words and segments"]["segments"] == answers["whisper-1"]["segments"]


def test_verbose_json_can_be_asked_of_any_model(answers: Answers) -> None:
    assert answers["verbose_json by id"]["segments"] == answers["whisper-1"]["segments"]


@pytest.mark.parametrize("name", ["chunking object", "all options", "audio as base64"])
def test_options_are_taken(answers: Answers, name: str) -> None:
    assert answers[name]["text"].strip()


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("wrong key", 401, "invalid_api_key"),
        ("unknown model", 404, "model_not_found"),
        ("unknown language", 400, ...),
    ],
)
def test_refusals_carry_our_message_and_are_not_retried(answers: Answers, name: str, status: int, code: Any) -> None:
    error = answers.error(name)

    assert (error["status"], error["retryable"]) == (status, False)
    assert code in (..., error["code"])
    assert error["message"]


def _in_order(segments: list[dict[str, Any]]) -> None:
    starts = [segment["startSecond"] for segment in segments]

    assert segments
    assert starts == sorted(starts)
    assert all(segment["startSecond"] <= segment["endSecond"] for segment in segments)
