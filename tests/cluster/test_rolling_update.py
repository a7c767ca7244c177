"""Another config for a service under load, handed over as KubeRay does it: all replicas are replaced, and no accepted work is lost."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.clients import Ledger, all_at_work
from tests.cluster.job_client import ENDED, JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import poll
from tests.kuberay.manifests import manifests_of
from tests.kuberay.ray_cluster import RayCluster, config_on_this_machine, ray_cluster
from tests.recordings import DATA

CLIENTS = 12
UPDATED_S = 120
AWAY_S = 60.0  # longest that a client of jobs is refused

Replicas = Mapping[str, set[str]]  # by deployment


@pytest.mark.slow
def test_config_that_replaces_every_replica_under_load_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    recording = long_recording(tmp_path / "long.wav", repeats=10)
    with ray_cluster() as cluster:
        cluster.start_head("--num-cpus=4")
        config = config_on_this_machine(manifests_of("cpu-dev"), cluster)
        cluster.deploy(config)
        cluster.wait_until_running()
        url = f"http://127.0.0.1:{cluster.http_port}"
        with JobClient(url, patience_s=AWAY_S) as jobs, JobClient(url) as reader, ThreadPoolExecutor(2) as threads:
            job_id = jobs.submit(recording)
            followed = threads.submit(lambda: list(reader.follow(job_id)))
            with _crowd(threads, url) as crowd:
                poll(lambda: jobs.get(job_id)["segments"] or None, deadline_s=UPDATED_S)
                _replace_all(cluster, config)
            ledger, events = crowd.result(), followed.result()
            ended = {job["id"]: job for job in jobs.listed()}

    assert ledger.broken == []
    assert {ended[i]["status"] for i, was_cancelled in ledger.jobs.items() if not was_cancelled} == {"done"}
    assert {job["status"] for job in ended.values()} <= {"done", "cancelled"}
    assert ended[job_id]["status"] == "done"
    assert ended[job_id]["attempts"] > 1, "it ended before its Coordinator was replaced"
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert [event["type"] for event in events if event["type"] in ENDED] == ["done"]


@contextlib.contextmanager
def _crowd(threads: ThreadPoolExecutor, url: str) -> Iterator[Future[Ledger]]:
    """Clients that do all that clients do, as long as the block runs; an answer they must not get is in their ledger."""
    over = threading.Event()

    async def work() -> Ledger:
        recordings = sorted(DATA.glob("LJ*.wav"))
        return await all_at_work(url, CLIENTS, recordings, seed=1, going=lambda: not over.is_set())

    try:
        yield threads.submit(lambda: asyncio.run(work()))
    finally:
        over.set()


def _replace_all(cluster: RayCluster, config: dict[str, Any]) -> None:
    """Have another setting come in, and wait until no replica of before serves any more."""
    before = cluster.running("replica_id")
    config["applications"][0]["args"]["limits"] = {"max_requests": 63}
    cluster.deploy(config)
    poll(lambda: _are_others(cluster.running("replica_id"), before) or None, deadline_s=UPDATED_S)


def _are_others(now: Replicas, before: Replicas) -> bool:
    """Whether each deployment runs, and with no replica of before; while a config comes in, Serve lists none."""
    return all(now.get(name) and now[name].isdisjoint(old) for name, old in before.items())
