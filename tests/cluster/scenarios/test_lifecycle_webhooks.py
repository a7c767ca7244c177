"""`model_ready` and `model_unloaded`, to whoever ever gave a `webhook_url`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import RECORDING
from tests.cluster.running import poll
from tests.cluster.scenarios.lifecycle_client import AT_WORK_S, A, B, LifecycleClient, done
from tests.cluster.webhook_receiver import Receiver, receiving


@pytest.fixture
def listener(models: LifecycleClient, jobs: JobClient) -> Iterator[Receiver]:
    """Gave its address with a job of another model, which has ended."""
    with receiving() as receiver:
        models.is_loaded(B)
        done(jobs, jobs.submit(RECORDING, model=B, webhook_url=receiver.url))
        yield receiver


def test_load_is_told_to_who_once_gave_an_address(models: LifecycleClient, listener: Receiver) -> None:
    models.is_loaded(A)

    assert poll(lambda: listener.told(A) or None, deadline_s=AT_WORK_S) == ["model_ready"]


def test_unload_is_told_to_who_once_gave_an_address(models: LifecycleClient, listener: Receiver) -> None:
    models.is_loaded(A)
    poll(lambda: listener.told(A) or None, deadline_s=AT_WORK_S)
    models.unload(A)

    poll(lambda: "model_unloaded" in listener.told(A) or None, deadline_s=AT_WORK_S)

    assert listener.told(A) == ["model_ready", "model_unloaded"]
