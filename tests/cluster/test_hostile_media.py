"""Every hostile file, over HTTP, against one service that must survive them all."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cluster.running import KEY, Service
from tests.recordings import DATA, SHARED_AUDIO

FILES = sorted(
    p
    for folder in (DATA / "hostile", SHARED_AUDIO / "hostile")
    for p in folder.glob("*")
    if p.is_file() and p.suffix != ".py"
)
LONG = 600  # seconds that the service may take for the longest of them


@pytest.mark.slow
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_hostile_file_is_answered_and_harms_nothing(service: Service, path: Path) -> None:
    before = {name: service.pids(name) for name in ("Gateway", "Pipeline", "Recognizer")}

    with path.open("rb") as file:
        answer = httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            files={"file": (path.name, file)},
            data={"model": "whisper-1"},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=LONG,
        )

    assert answer.status_code in {200, 400, 413}, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert {name: service.pids(name) for name in before} == before


def test_playlist_is_refused_without_opening_what_it_names(service: Service) -> None:
    playlist = b"ffconcat version 1.0\nfile /etc/passwd\n"

    answer = httpx.post(
        f"{service.url}/v1/audio/transcriptions",
        files={"file": ("speech.wav", playlist)},
        data={"model": "whisper-1"},
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_audio"
