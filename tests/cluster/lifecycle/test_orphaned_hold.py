"""A pin whose keeper died keeps no replica awake."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.lifecycle.conftest import goes_to_zero
from tests.cluster.lifecycle.model_client import ModelClient
from tests.cluster.running import Service

NEVER = -1


@pytest.mark.slow
@pytest.mark.usefixtures("at_zero")
def test_replica_that_only_a_dead_coordinator_held_goes_to_zero(lazy_service: Service, models: ModelClient) -> None:
    models.load(ttl_s=NEVER)
    models.becomes("ready")
    [pid] = lazy_service.pids("Coordinator")

    os.kill(pid, signal.SIGKILL)

    goes_to_zero(lazy_service)
    models.becomes("unloaded")
    assert not models.status()["pinned"]
