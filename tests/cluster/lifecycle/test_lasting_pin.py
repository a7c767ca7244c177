"""A pin whose keeper died."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.lifecycle.model_client import ModelClient
from tests.cluster.running import Service, poll

NEVER = -1


@pytest.mark.slow
@pytest.mark.usefixtures("at_zero")
def test_pin_outlives_the_coordinator_that_gave_it(lazy_service: Service, models: ModelClient) -> None:
    models.load(ttl_s=NEVER)
    models.becomes("ready")
    [pid] = lazy_service.pids("Coordinator")

    os.kill(pid, signal.SIGKILL)
    poll(lambda: True if lazy_service.pids("Coordinator") not in ([], [pid]) else None, deadline_s=60)

    poll(lambda: True if models.status()["pinned"] else None, deadline_s=60)
    models.becomes("ready")
    models.unload()
    models.becomes("unloaded")
