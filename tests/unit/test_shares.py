"""Chunks of jobs leave room for those of requests."""

from __future__ import annotations

import pytest

from serve_app.settings import load_settings
from serve_app.settings.shares import chunks_of_a_recognizer, chunks_of_jobs


@pytest.mark.parametrize("pipelines", [1, 2, 6])
@pytest.mark.parametrize("recognizers", [1, 4])
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_jobs_of_all_pipelines_leave_room_in_the_only_recogniser_that_is_up(
    pipelines: int, recognizers: int, batch: int
) -> None:
    settings = load_settings(
        {
            "pipeline": {"max_replicas": pipelines},
            "recognizer": {"max_replicas": recognizers, "max_batch_size": batch, "batches_at_once": 1},
        },
        env={},
    )

    assert chunks_of_a_recognizer(settings) - pipelines * chunks_of_jobs(settings) >= 2 * batch
    assert chunks_of_jobs(settings) >= 2 * batch
    assert pipelines * chunks_of_jobs(settings) >= 2 * batch * recognizers - pipelines


def test_one_pipeline_keeps_all_recognisers_busy() -> None:
    settings = load_settings({"recognizer": {"max_replicas": 3, "max_batch_size": 8, "batches_at_once": 2}}, env={})

    assert chunks_of_jobs(settings) == 3 * 8 * 3
