"""One service for the whole folder; tests that harm it start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.cluster.running import Service, config_file, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(config_file(tmp_path_factory.mktemp("service"))) as started:
        yield started


@pytest.fixture(scope="package")
def client(service: Service) -> Iterator[OpenAI]:
    with service.client() as client:
        yield client
