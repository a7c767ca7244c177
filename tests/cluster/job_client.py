"""A client of `/jobs` that does what the documentation tells clients to do: ask again, under the same idempotency key."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse

from tests.cluster.running import KEY, Service, poll

UNSAMPLED = {"temperature": "[0.0]"}  # a text that is sampled differs from one time to the next
ENDED = frozenset({"done", "failed", "cancelled"})
LONGEST_S = 240
READS_S = 60.0  # how long a question is repeated, which a busy machine may answer 503


class JobClient:
    """
    Args:
        patience_s: How long it asks again when there is no answer, or a 5xx; for what it only reads, a minute at least.
    """

    def __init__(self, url: str, *, patience_s: float = 0.0) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False)
        self._patience_s = patience_s

    @classmethod
    def of(cls, service: Service) -> JobClient:
        return cls(service.url)

    def __enter__(self) -> JobClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, recording: Path, **fields: str) -> str:
        return self._submit(files={"audio": (recording.name, recording.read_bytes())}, data=UNSAMPLED | fields)

    def submit_url(self, url: str, **fields: str) -> str:
        return self._submit(data={"url": url} | UNSAMPLED | fields)

    def get(self, job_id: str) -> dict[str, Any]:
        return dict(self._ask("GET", f"/jobs/{job_id}").json())

    def ids(self) -> list[str]:
        """Of all jobs, newest first."""
        return [job["id"] for job in self.listed()]

    def listed(self) -> Iterator[dict[str, Any]]:
        """All jobs, newest first."""
        cursor: str | None = None
        while True:
            query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
            page = self._ask("GET", "/jobs", params=query).json()
            yield from page["data"]
            if (cursor := page["next_cursor"]) is None:
                return

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self._ask("DELETE", f"/jobs/{job_id}").json())

    def deliveries(self, job_id: str) -> list[dict[str, Any]]:
        return list(self._ask("GET", f"/jobs/{job_id}/deliveries").json()["data"])

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """What the events say, each with its `seq`."""
        with connect_sse(self._http, "GET", f"/jobs/{job_id}/stream", timeout=LONGEST_S) as events:
            for event in events.iter_sse():
                if event.data:  # this library also gives blocks that only set the time to reconnect
                    yield json.loads(event.data) | {"seq": int(event.id)}

    def ended(self, job_id: str, *, deadline_s: float = LONGEST_S) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.get(job_id)
            return job if job["status"] in ENDED else None

        return poll(look, deadline_s=deadline_s, every_s=0.5)

    def _submit(self, **body: Any) -> str:
        answer = self._ask("POST", "/jobs", headers={"Idempotency-Key": uuid.uuid4().hex}, **body)
        return str(answer.json()["job_id"])

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        deadline = time.monotonic() + (max(self._patience_s, READS_S) if method == "GET" else self._patience_s)
        while True:
            answer = self._once(method, path, **more)
            if answer is not None and not answer.is_server_error:
                assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
                return answer
            assert time.monotonic() < deadline, f"{method} {path}: {answer.text[:300] if answer else 'no answer'}"
            time.sleep(0.5)

    def _once(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            return self._http.request(method, path, **more)
        except httpx.TransportError:
            return None
