"""The main path on a real cluster, through the official SDK."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from jiwer import wer
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from whisper_normalizer.english import EnglishTextNormalizer

from tests.cluster.running import KEY, Service
from tests.recordings import DATA

JFK = DATA / "jfk.flac"
JFK_TEXT = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
)
MODEL = "whisper-1"

normalise = EnglishTextNormalizer()


def test_recording_becomes_its_text(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=JFK, model=MODEL)

    assert wer(normalise(JFK_TEXT), normalise(answer.text)) == 0


def test_deltas_join_to_the_text_of_the_done_event(client: OpenAI) -> None:
    events = list(client.audio.transcriptions.create(file=JFK, model=MODEL, stream=True))

    assert [e.type for e in events].count("transcript.text.done") == 1
    assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == events[-1].text


def test_words_lie_inside_the_audio_in_order(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=JFK, model=MODEL, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )

    times = [t for w in answer.words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= answer.duration
    assert answer.segments


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_text_formats_come_as_text(client: OpenAI, response_format: Any) -> None:
    answer = client.audio.transcriptions.create(file=JFK, model=MODEL, response_format=response_format)

    assert "ask not" in str(answer)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translation_by_an_english_only_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.audio.translations.create(file=JFK, model=MODEL)

    assert refused.value.code == "unsupported_language"


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.audio.transcriptions.create(file=JFK, model="no-such-model")


def test_request_without_the_key_is_refused(service: Service) -> None:
    answer = httpx.get(f"{service.url}/v1/models", timeout=30)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is of threads only there")
def test_who_takes_requests_goes_before_who_works_on_them(service: Service) -> None:
    def niceness(deployment: str) -> int:
        """Of the thread that goes first."""
        pid, *_ = service.pids(deployment)
        found = []
        for thread in psutil.Process(pid).threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                found.append(os.getpriority(os.PRIO_PROCESS, thread.id))
        return min(found)

    (behind,) = {niceness(deployment) for deployment in ("Pipeline", "Recognizer", "Coordinator")}
    assert niceness("Gateway") < behind


def test_each_answer_carries_one_request_id(service: Service) -> None:
    answer = httpx.get(f"{service.url}/health", timeout=30)

    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize(
    "header",
    [
        {"x-request-timeout-seconds": "0.001"},
        {"X_Request_Timeout_Seconds": "0.001"},
        {"serve_multiplexed_model_id": "x"},
    ],
    ids=str,
)
def test_client_cannot_steer_serve_by_a_header(service: Service, header: dict[str, str]) -> None:
    answer = httpx.post(
        f"{service.url}/v1/audio/transcriptions",
        files={"file": JFK.read_bytes()},
        data={"model": MODEL},
        headers={"Authorization": f"Bearer {KEY}", **header},
        timeout=60,
    )

    assert answer.status_code == 200


async def test_mixed_requests_at_once_get_the_answers_they_get_alone(service: Service) -> None:
    kinds = _kinds()
    async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        alone = [await _ask(client, *kind) for kind in kinds]
        together = await asyncio.gather(*(_ask(client, *kinds[n % len(kinds)]) for n in range(32)))

    assert together == [alone[n % len(kinds)] for n in range(32)]


def _kinds() -> list[tuple[Path, dict[str, Any]]]:
    recordings = [JFK, *sorted(DATA.glob("LJ*.wav"))]
    options: list[dict[str, Any]] = [
        {},
        {"response_format": "srt"},
        {"prompt": "A speech."},
        {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
    ]
    return [(recordings[n % len(recordings)], options[n // len(recordings)]) for n in range(16)]


async def _ask(client: AsyncOpenAI, recording: Path, options: dict[str, Any]) -> Any:
    unsampled = {"temperature": "[0.0]"}
    answer = await client.audio.transcriptions.create(file=recording, model=MODEL, extra_body=unsampled, **options)
    return answer if isinstance(answer, str) else answer.model_dump()
