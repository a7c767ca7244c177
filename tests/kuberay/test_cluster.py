"""The rendered Serve config on real Ray nodes, handed over and asked about as KubeRay does it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.settings import TINY_EN
from tests.cluster.running import poll
from tests.kuberay.manifests import Manifests, manifests_of
from tests.kuberay.ray_cluster import Node, RayCluster, config_on_this_machine, ray_cluster, transcribe
from tests.kuberay.rules.room import offers

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

# As KubeRay writes it into worker pods of a RayService; the ports are 52365 and 8000 there.
PROBE = (
    "wget --tries 1 -T 2 -q -O- http://localhost:{agent}/api/local_raylet_healthz | grep success"
    " && wget --tries 1 -T 2 -q -O- http://localhost:{proxy}/-/healthz | grep success"
)


def start_group(cluster: RayCluster, manifests: Manifests, name: str) -> Any:
    """A node with what a pod of that group offers."""
    group = manifests.group(name)
    assert group
    found = offers(manifests, group)
    return cluster.start_worker(cpus=int(found.pop("CPU")), gpus=int(found.pop("GPU", 0)), resources=found)


def is_ready(cluster: RayCluster, node: Any) -> bool:
    command = PROBE.format(agent=node.agent_port, proxy=cluster.worker_http_port)
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False).returncode == 0


def has_logged(node: Node, request_id: str) -> bool:
    """Whether an object about a request is on the pod's standard error, among the lines of Ray."""
    lines = node.log.read_text(errors="replace").splitlines()
    return any(line.startswith("{") and f'"request_id": "{request_id}"' in line for line in lines)


def test_worker_is_ready_with_a_replica_and_not_before_nor_while_it_drains() -> None:
    manifests = manifests_of("cpu-dev")
    with ray_cluster(RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="120", RAY_LOG_TO_STDERR="1") as cluster:
        cluster.start_head()
        worker = start_group(cluster, manifests, "cpu")
        without_replica = is_ready(cluster, worker)
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            cluster.ask("GET", "/api/serve/applications/", token="of somebody else")
        config = config_on_this_machine(manifests, cluster)
        cluster.deploy(config)
        cluster.wait_until_running()
        poll(lambda: is_ready(cluster, worker) or None, deadline_s=30)
        answer = transcribe(cluster)
        poll(lambda: has_logged(worker, answer.headers["x-request-id"]) or None, deadline_s=30)
        replicas = cluster.running("replica_id")
        live = {name: {"log_level": "WARNING"} for name in replicas}
        config["applications"][0]["deployments"] = [{"name": n, "user_config": told} for n, told in live.items()]
        cluster.deploy(config)
        poll(lambda: True if cluster.user_configs() == live else None, deadline_s=30)
        cluster.wait_until_running()
        replicas_later = cluster.running("replica_id")
        worker.terminate()
        poll(lambda: None if is_ready(cluster, worker) else True, deadline_s=60)
        alive_while_draining = worker.alive

    assert not without_replica
    assert replicas_later == replicas, "a user_config must restart no replica"
    assert answer.status_code == 200
    assert "ask not what your country" in answer.json()["text"]
    assert alive_while_draining


def test_gpu_overlay_runs_with_its_recognizer_alone_on_the_gpu_node(tmp_path: Path) -> None:
    manifests = manifests_of("gpu")
    keys = tmp_path / "api-keys"
    keys.write_text("a-key-of-this-test\n")
    recognizer = {**manifests.args["recognizer"], "device": "cpu"}
    with ray_cluster() as cluster:
        cluster.start_head()
        start_group(cluster, manifests, "cpu")
        start_group(cluster, manifests, "gpu")
        cluster.deploy(
            config_on_this_machine(
                manifests,
                cluster,
                recognizer=recognizer,
                models={"large-v3": TINY_EN.model_dump(mode="json")},
                auth={"api_key_file": str(keys)},
            )
        )
        cluster.wait_until_running()
        places = cluster.running("node_id")
        stranger = transcribe(cluster)
        answer = transcribe(cluster, {"Authorization": "Bearer a-key-of-this-test"})

    assert places["Gateway"] == places["Pipeline"] == places["Coordinator"]
    assert len(places["Recognizer"]) == 1
    assert places["Recognizer"].isdisjoint(places["Gateway"])
    assert stranger.status_code == 401
    assert "ask not what your country" in answer.json()["text"]
