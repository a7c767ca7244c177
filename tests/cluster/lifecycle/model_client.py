"""A client of `/model`, and what else the lifecycle shows of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse

from tests.cluster.running import KEY, Service, poll
from tests.recordings import DATA

RECORDING = DATA / "LJ001-0001.wav"
MODEL = "tiny.en"
LONGEST_S = 120


class ModelClient:
    def __init__(self, service: Service) -> None:
        self._http = httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=LONGEST_S, trust_env=False
        )

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def status(self, model_id: str = MODEL) -> dict[str, Any]:
        """Of one model."""
        return next(model for model in self.all_status()["models"] if model["model"] == model_id)

    def all_status(self) -> dict[str, Any]:
        """As soon as there is a Coordinator to tell it: 503 is what a busy machine may answer meanwhile."""

        def look() -> httpx.Response | None:
            answer = self._http.get("/model/status")
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer.raise_for_status()

        return dict(poll(look, deadline_s=LONGEST_S).json())

    def state(self, model_id: str = MODEL) -> str:
        return str(self.status(model_id)["state"])

    def load(self, model_id: str = MODEL, **wish: Any) -> httpx.Response:
        return self._http.post("/model/load", json={"model": model_id, **wish}).raise_for_status()

    def unload(self, model_id: str = MODEL, **wish: Any) -> httpx.Response:
        return self._http.post("/model/unload", json={"model": model_id, **wish}).raise_for_status()

    def transcribe(self, model_id: str = MODEL, recording: Path = RECORDING) -> httpx.Response:
        return self._http.post(
            "/v1/audio/transcriptions",
            files={"file": (recording.name, recording.read_bytes())},
            data={"model": model_id, "temperature": "0.0"},
        )

    def text(self, model_id: str = MODEL) -> str:
        return str(self.transcribe(model_id).raise_for_status().json()["text"])

    def becomes(self, state: str, model_id: str = MODEL) -> None:
        poll(lambda: True if self.state(model_id) == state else None, deadline_s=LONGEST_S)

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        with connect_sse(self._http, "GET", "/model/events") as source:
            yield (json.loads(event.data) for event in source.iter_sse() if event.data)
