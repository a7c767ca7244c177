"""What the scenarios ask of a service, and see of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import RECORDING, ModelClient
from tests.cluster.running import poll

A, B, C = MODELS = ("tiny.en", "tiny.b", "tiny.c")
UNLOAD_AFTER_S = 3
NEVER = -1
AT_WORK_S = 60
JOB_S = 240


@dataclass(frozen=True)
class FirstLook:
    health: str
    status: dict[str, Any]


class LifecycleClient(ModelClient):
    def health_if_known(self) -> str | None:
        """The state of the default model, which is A; None while the Coordinator takes longer to tell than /health waits."""
        state: str | None = self._http.get("/health").raise_for_status().json()["model_state"]
        return state

    def health_becomes(self, state: str) -> None:
        poll(lambda: True if self.health_if_known() == state else None, deadline_s=AT_WORK_S, every_s=0.05)

    def post_job(self, model_id: str, recording: Path = RECORDING) -> httpx.Response:
        return self._http.post(
            "/jobs", files={"audio": (recording.name, recording.read_bytes())}, data={"model": model_id}
        )

    def is_loaded(self, *model_ids: str, ttl_s: float = NEVER) -> None:
        """Load models and wait for them."""
        for model_id in model_ids:
            self.load(model_id, ttl_s=ttl_s)
        for model_id in model_ids:
            self.becomes("ready", model_id)

    def is_used(self, model_id: str = A) -> None:
        """Wait until a chunk is at work."""
        poll(lambda: self.status(model_id)["in_flight"] or None, deadline_s=AT_WORK_S, every_s=0.05)

    @contextmanager
    def news(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Events from now on."""
        with self.events() as events:
            for _ in MODELS:
                next(events)
            yield events

    def copies(self) -> dict[str, list[str]]:
        """Models in memory, by replica."""
        found: dict[str, list[str]] = {}
        for model in self.all_status()["models"]:
            for its in model["replicas"]:
                if its["state"] not in ("unloaded", "failed"):
                    found.setdefault(its["replica"], []).append(model["model"])
        return found


def up_to(state: str, model_id: str, events: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """All events up to the first in which a replica tells this state of a model."""
    seen = []
    for event in events:
        seen.append(event)
        if event["replica"] and (event["model"], event["state"]) == (model_id, state):
            return seen
    raise AssertionError(f"the stream ended after {seen}")


def changes(events: list[dict[str, Any]], model_id: str) -> list[tuple[str, str]]:
    """States of a model with their reasons; what is told of the model as a whole and by its replica is given once."""
    return [told for told, _ in groupby((its["state"], its["reason"]) for its in events if its["model"] == model_id)]


def begun(jobs: JobClient, job_id: str) -> dict[str, Any]:
    """The job with its first segments."""

    def look() -> dict[str, Any] | None:
        job = jobs.get(job_id)
        return job if job["segments"] else None

    return poll(look, deadline_s=AT_WORK_S, every_s=0.05)


def done(jobs: JobClient, job_id: str) -> dict[str, Any]:
    job = jobs.ended(job_id, deadline_s=JOB_S)
    assert job["status"] == "done", job["error"]
    return job
