"""One service that goes to zero within seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.lifecycle.model_client import LONGEST_S, ModelClient
from tests.cluster.running import Service, config_file, poll, running

UNLOAD_AFTER_S = 3
ZERO_AFTER_S = 8


@pytest.fixture(scope="package")
def lazy_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    config = config_file(
        tmp_path_factory.mktemp("lazy"),
        preload=[],
        recognizer={"min_replicas": 0},
        lifecycle={"unload_after_s": UNLOAD_AFTER_S, "zero_after_s": ZERO_AFTER_S},
        jobs={"wait_poll_s": 1},
    )
    with running(config) as started:
        yield started


@pytest.fixture(scope="package")
def models(lazy_service: Service) -> Iterator[ModelClient]:
    with ModelClient(lazy_service) as client:
        yield client


@pytest.fixture
def at_zero(lazy_service: Service, models: ModelClient) -> None:
    """No recogniser is there."""
    models.unload()
    goes_to_zero(lazy_service)


def goes_to_zero(service: Service) -> None:
    poll(lambda: None if service.pids("Recognizer") else True, deadline_s=LONGEST_S)
