"""What becomes of loaded models when the process that has them dies, or the one that keeps them loaded."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.running import Service, poll
from tests.cluster.scenarios.lifecycle_client import NEVER, A, B, LifecycleClient

BACK_S = 120

pytestmark = pytest.mark.slow


def kill(service: Service, deployment: str) -> None:
    """One of its replicas."""
    os.kill(service.pids(deployment)[0], signal.SIGKILL)


def test_pinned_models_of_a_killed_replica_come_back_and_stay_pinned(
    rejecting: Service, models: LifecycleClient
) -> None:
    models.is_loaded(A, B)
    before = models.copies()

    kill(rejecting, "Recognizer")

    def back() -> dict[str, list[str]] | None:
        ready = [models.state(model) in ("ready", "busy") for model in (A, B)]
        now = models.copies()
        return now if all(ready) and not before.keys() <= now.keys() else None

    after = poll(back, deadline_s=BACK_S)

    assert sorted(model for replica in after.values() for model in replica) == [B, A]
    assert models.status(A)["pinned"]
    assert models.status(B)["pinned"]


def test_new_coordinator_knows_each_model_and_keeps_those_that_were_pinned(
    rejecting: Service, models: LifecycleClient
) -> None:
    models.is_loaded(A, B)
    models.unload(B)
    models.becomes("unloaded", B)
    [old] = rejecting.pids("Coordinator")

    kill(rejecting, "Coordinator")
    poll(lambda: True if rejecting.pids("Coordinator") not in ([], [old]) else None, deadline_s=BACK_S)
    poll(lambda: models.status(A)["replicas"] or None, deadline_s=BACK_S)
    poll(lambda: models.status(A)["pinned"] or None, deadline_s=BACK_S)

    assert models.state(A) in ("ready", "busy")
    assert models.state(B) == "unloaded"
    assert not models.status(B)["pinned"]
    models.unload(A)
    models.becomes("unloaded", A)
    assert models.load(A, ttl_s=NEVER).json()["state"] in ("loading", "ready")
