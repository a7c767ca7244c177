"""Every refusal and failure, as a client sees it."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import httpx
import pytest

from serve_app import errors
from serve_app.api.application import Services
from serve_app.settings import LimitSettings, Settings
from serve_app.testing import FakeTranscriber, InMemoryMediaStore, silent_wav
from tests.service.api.conftest import SETTINGS, WAV, client_of

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
FILES = {"file": ("speech.wav", WAV)}


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": "whisper-1", "response_format": "docx"}, "response_format"),
        ({"model": "whisper-1", "language": "klingonese"}, "language"),
        ({"model": "whisper-1", "languages[]": "klingonese"}, "languages"),
        ({"model": "whisper-1", "temperature": "2"}, "temperature"),
        ({"model": "whisper-1", "temperature": "nan"}, "temperature"),
        ({"model": "whisper-1", "temperature": "[]"}, "temperature"),
        ({"model": "whisper-1", "timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"model": "whisper-1", "timestamp_granularities": "letter"}, "timestamp_granularities"),
        ({"model": "whisper-1", "include[]": "logprobs", "response_format": "text"}, "include"),
        ({"model": "whisper-1", "include[]": "everything"}, "include"),
        ({"model": "whisper-1", "stream": "true", "response_format": "srt"}, "response_format"),
        ({"model": "whisper-1", "stream": "maybe"}, "stream"),
        ({"model": "whisper-1", "response_format": "diarized_json"}, "response_format"),
        ({"model": "whisper-1", "response_format": "diarized_json", "channels": "mix"}, "response_format"),
        ({"model": "whisper-1", "known_speaker_names[]": "Ada"}, "known_speaker_names"),
        ({"model": "whisper-1", "known_speaker_references": "data:audio/wav;base64,"}, "known_speaker_references"),
        ({"model": "whisper-1", "chunking_strategy": "sometimes"}, "chunking_strategy"),
        ({"model": "whisper-1", "chunking_strategy[type]": "server_dad"}, "chunking_strategy"),
        ({"model": "whisper-1", "chunking_strategy": '{"type": "server_vad", "speed": 2}'}, "chunking_strategy"),
        ({"model": "whisper-1", "chunking_strategy": "auto", "chunking_strategy[type]": "x"}, "chunking_strategy"),
        ({"model": "whisper-1", "beam_size": "0"}, "beam_size"),
        ({"model": "whisper-1", "channels": "both"}, "channels"),
        ({"model": "whisper-1", "max_line_width": "-1"}, "max_line_width"),
        ({"model": ["whisper-1", "tiny.en"]}, "model"),
    ],
)
async def test_wrong_field_is_a_400_that_names_it(
    http: httpx.AsyncClient, transcriber: FakeTranscriber, fields: dict[str, Any], param: str
) -> None:
    response = await http.post(TRANSCRIPTIONS, files=FILES, data=fields)

    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, "invalid_value")
    assert error["message"]
    assert not transcriber.calls


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", "true"),
        ("timestamp_granularities[]", "word"),
        ("include[]", "logprobs"),
        ("keywords[]", "Ada"),
        ("languages", "de"),
    ],
)
async def test_field_that_only_transcriptions_have_is_a_400_for_translations(
    http: httpx.AsyncClient, transcriber: FakeTranscriber, field: str, value: str
) -> None:
    response = await http.post(TRANSLATIONS, files=FILES, data={"model": "acme/large", field: value})

    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", field.removesuffix("[]"))
    assert "not supported here" in error["message"]
    assert not transcriber.calls


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"model": "whisper-1"}},
        {"json": {"model": "whisper-1"}},
        {"files": {"audio": ("speech.wav", WAV)}, "data": {"model": "whisper-1"}},
        {"files": [("file", ("a.wav", WAV)), ("file", ("b.wav", WAV))], "data": {"model": "whisper-1"}},
        {},
    ],
)
async def test_without_one_file_it_is_a_400_about_the_file(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    response = await http.post(TRANSCRIPTIONS, **body)

    assert response.status_code == 400
    assert error_of(response)["param"] == "file"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b; charset=undefined",
        "multipart/form-data; boundary=b; charset=hex",
        "multipart/form-data; boundary=c",
        "nonsense",
    ],
)
async def test_broken_multipart_is_a_400(http: httpx.AsyncClient, content_type: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\xfe\r\n--b--\r\n'
    response = await http.post(TRANSCRIPTIONS, content=body, headers={"content-type": content_type})

    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


async def test_unknown_field_is_ignored(http: httpx.AsyncClient) -> None:
    unknown = {"x_internal[0][a": "1", "x_more": ["1", "2"], "x_sub[a]": "1", "x_sub": "1"}
    response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "whisper-1", **unknown})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("content", "code"), [(b"This is text.", "invalid_audio"), (silent_wav(0.05), "audio_too_short")]
)
async def test_what_is_no_audio_is_a_400_about_the_file(http: httpx.AsyncClient, content: bytes, code: str) -> None:
    response = await http.post(TRANSCRIPTIONS, files={"file": ("a.wav", content)}, data={"model": "whisper-1"})

    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "file", code)


async def test_unknown_model_is_a_404_that_lists_the_known(
    http: httpx.AsyncClient, transcriber: FakeTranscriber
) -> None:
    response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "whisper-9"})

    assert response.status_code == 404
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "model_not_found")
    assert "acme/large" in error["message"]
    assert not transcriber.calls


@pytest.mark.parametrize(
    ("path", "language", "param"), [(TRANSCRIPTIONS, "de", "language"), (TRANSLATIONS, "", "model")]
)
async def test_what_a_model_cannot_do_is_refused_with_one_that_can(
    http: httpx.AsyncClient, transcriber: FakeTranscriber, path: str, language: str, param: str
) -> None:
    response = await http.post(path, files=FILES, data={"model": "tiny.en", "language": language})

    assert response.status_code == 400
    error = error_of(response)
    assert (error["param"], error["code"]) == (param, "unsupported_language")
    assert "acme/large can" in error["message"]
    assert not transcriber.calls


FAILURES: list[tuple[errors.RayscribeError, int, tuple[str, str | None, str], dict[str, str]]] = [
    (errors.InvalidAudio("x"), 400, ("invalid_request_error", "file", "invalid_audio"), {}),
    (errors.AudioTooShort("x"), 400, ("invalid_request_error", "file", "audio_too_short"), {}),
    (errors.AudioTooLong("x"), 413, ("invalid_request_error", "file", "audio_too_large"), {}),
    (errors.UnsupportedLanguage("x"), 400, ("invalid_request_error", "language", "unsupported_language"), {}),
    (errors.Overloaded("x", retry_after_s=2.1), 503, ("server_error", None, "overloaded"), {"retry-after": "3"}),
    (errors.Overloaded("x", retry_after_s=9e9), 503, ("server_error", None, "overloaded"), {"retry-after": "60"}),
    (errors.ModelNotReady("x"), 503, ("server_error", "model", "model_not_ready"), {"retry-after": "1"}),
    (errors.OutOfMemory("x"), 503, ("server_error", "model", "out_of_memory"), {"retry-after": "1"}),
    (errors.ModelLoadFailed("x"), 500, ("server_error", "model", "model_load_failed"), {"x-should-retry": "false"}),
    (
        errors.InsufficientMemory("x"),
        500,
        ("server_error", "model", "insufficient_memory"),
        {"x-should-retry": "false"},
    ),
    (errors.RecognizerUnavailable("x"), 503, ("server_error", None, "recognizer_unavailable"), {"retry-after": "1"}),
    (errors.ConfigError("x"), 500, ("server_error", None, "internal_error"), {}),
]


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(("failure", "status", "shown", "headers"), FAILURES, ids=lambda value: type(value).__name__)
async def test_failure_before_the_first_word_is_an_http_error(
    failure: errors.RayscribeError,
    status: int,
    shown: tuple[str, str | None, str],
    headers: dict[str, str],
    stream: str,
) -> None:
    async with client_of(_failing(failure)) as http:
        response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "tiny.en", "stream": stream})

    assert response.status_code == status
    error = error_of(response)
    assert (error["type"], error["param"], error["code"]) == shown
    assert headers.items() <= dict(response.headers).items()


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_surprise_is_a_500_that_tells_and_logs_no_secret(caplog: pytest.LogCaptureFixture, stream: str) -> None:
    logging.getLogger("serve_app").propagate = True  # another test may have configured the logs
    async with client_of(_failing(RuntimeError("the secret word of speech.wav"))) as http:
        response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "tiny.en", "stream": stream})

    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "secret" not in response.text + caplog.text
    assert "RuntimeError" in caplog.text


async def test_who_asks_for_detection_by_name_is_told_how(http: httpx.AsyncClient) -> None:
    response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "whisper-1", "language": "auto"})

    assert "'auto' is no language" in error_of(response)["message"]
    assert "leave it out to have it detected" in error_of(response)["message"]


async def test_unknown_path_and_method_use_the_envelope(http: httpx.AsyncClient) -> None:
    missing, wrong = await http.get("/v2"), await http.get(TRANSCRIPTIONS)

    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")
    assert "/openapi.json" in error_of(missing)["message"]
    assert "base URL of OpenAI's SDKs ends in /v1" in error_of(missing)["message"]
    assert "Allow" in error_of(wrong)["message"]
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2:3", True), ("a b", False), ("x" * 200, False), ("é", False)])
async def test_sane_request_id_is_kept(http: httpx.AsyncClient, given: str, kept: bool) -> None:
    response = await http.get("/health", headers={"x-request-id": given.encode()})

    assert (response.headers["x-request-id"] == given) is kept
    assert response.headers["x-request-id"]


async def test_accept_header_never_gives_406(http: httpx.AsyncClient) -> None:
    response = await http.post(
        TRANSCRIPTIONS,
        files=FILES,
        data={"model": "whisper-1", "response_format": "srt"},
        headers={"accept": "application/json"},
    )

    assert response.status_code == 200


async def test_crowd_is_refused_with_a_time_to_come_back(services: Services) -> None:
    full = Settings(models=SETTINGS.models, limits=LimitSettings(max_requests=1))
    refused: list[httpx.Response] = []

    async def meanwhile(_: int) -> None:
        refused.append(await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "tiny.en"}))

    transcriber = FakeTranscriber([" One."], before_chunk=meanwhile)
    async with client_of(dataclasses.replace(services, settings=full, transcriber=transcriber)) as http:
        served = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "tiny.en"})

    assert served.status_code == 200
    assert [response.status_code for response in refused] == [503, 503]
    assert [error_of(response)["code"] for response in refused] == ["overloaded"] * 2
    assert [int(response.headers["retry-after"]) for response in refused] == [1, 2]


def _failing(failure: Exception) -> Services:
    async def fail(_: int) -> None:
        raise failure

    return Services(SETTINGS, FakeTranscriber(before_chunk=fail), InMemoryMediaStore())
