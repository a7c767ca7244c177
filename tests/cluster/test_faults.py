"""What happens when processes die and clients go away."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.cluster.recordings import long_recording as made
from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.suspended import suspended
from tests.cluster.test_transcription import JFK, MODEL

UNSAMPLED = {"temperature": "[0.0]"}  # a text that is sampled differs from one time to the next


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, since these tests kill its processes."""
    with running(config_file(tmp_path_factory.mktemp("fragile"))) as started:
        yield started


@pytest.fixture(scope="module")
def client(fragile: Service) -> Iterator[OpenAI]:
    with fragile.client(timeout=240) as client:
        yield client


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So long that a fault falls into the middle of it."""
    return made(tmp_path_factory.mktemp("long") / "long.wav", repeats=8)


def test_request_survives_the_death_of_its_recognizer(fragile: Service, client: OpenAI, long_recording: Path) -> None:
    request = {"file": long_recording, "model": MODEL, "extra_body": UNSAMPLED}
    undisturbed = client.audio.transcriptions.create(**request).text
    pieces: list[str] = []

    for event in client.audio.transcriptions.create(**request, stream=True):
        if event.type == "transcript.text.delta":
            pieces.append(event.delta)
            if len(pieces) == 1:
                for pid in fragile.pids("Recognizer"):
                    os.kill(pid, signal.SIGKILL)

    assert "".join(pieces) == undisturbed


@pytest.mark.slow
def test_death_of_a_pipeline_is_a_clean_503_or_goes_unnoticed(fragile: Service, long_recording: Path) -> None:
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(_post(fragile, long_recording)))
    with suspended(fragile.pids("Recognizer")):  # or a fast machine has ended it before it is seen
        asking.start()
        poll(lambda: _in_progress(fragile), deadline_s=60)
        for pid in fragile.pids("Pipeline"):
            os.kill(pid, signal.SIGKILL)
    asking.join(timeout=240)

    assert statuses[0] in {200, 503}
    assert poll(lambda: True if _post(fragile, JFK) == 200 else None, deadline_s=60, every_s=1)


@pytest.mark.slow
def test_client_that_goes_away_frees_the_service(fragile: Service, client: OpenAI, long_recording: Path) -> None:
    stream = client.audio.transcriptions.create(file=long_recording, model=MODEL, stream=True)
    next(iter(stream))

    stream.close()

    poll(lambda: True if _in_progress(fragile) is None else None, deadline_s=60)


def _post(service: Service, recording: Path) -> int:
    with recording.open("rb") as file:
        return httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            files={"file": file},
            data={"model": MODEL},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=240,
        ).status_code


def _in_progress(service: Service) -> bool | None:
    return True if httpx.get(f"{service.url}/health", timeout=30).json()["queue_depth"] > 0 else None
