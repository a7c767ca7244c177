"""The overlay's groups as fake nodes of Ray's own autoscaler: GPU nodes come for the Recognizer alone, and go."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from serve_app.settings import TINY_EN
from tests.cluster.running import poll
from tests.kuberay.manifests import Manifests, manifests_of
from tests.kuberay.ray_cluster import RayCluster, config_on_this_machine, ray_cluster, transcribe
from tests.kuberay.rules.room import offers

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]

HEAD_ID = "f" * 51 + "00000"  # which Ray's provider of fake nodes expects
IDLE_S = 5
SCALES_S = 180

# Means nothing for fake nodes, and must be there.
LOOKED_UP = (
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "initialization_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
)

# Ray's class for this, `ray.cluster_utils.AutoscalingCluster`, runs `ray stop --force`, which ends every Ray of the machine.
FAKE = {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # nodes take loopback for their address
}


def autoscaler_config(manifests: Manifests, gcs_port: int) -> dict[str, Any]:
    """What KubeRay makes of a RayCluster, for Ray's provider of fake nodes."""
    head = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    return {
        "cluster_name": "fake",
        "max_workers": sum(group["maxReplicas"] for group in manifests.groups),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": {
            # By its class: the type of that name wants a file that Ray's wheel lacks.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
            "gcs_address": f"127.0.0.1:{gcs_port}",
        },
        **dict.fromkeys(LOOKED_UP, ()),
        "head_node_type": "ray.head.default",
        "available_node_types": head | {group["groupName"]: _node_type(manifests, group) for group in manifests.groups},
    }


def _node_type(manifests: Manifests, group: Mapping[str, Any]) -> dict[str, Any]:
    resources = {name: math.ceil(amount) for name, amount in offers(manifests, dict(group)).items()}
    return {
        "resources": {**resources, "object_store_memory": 100_000_000},
        "node_config": {},
        "min_workers": group["minReplicas"],
        "max_workers": group["maxReplicas"],
    }


def gpu_nodes(cluster: RayCluster) -> set[str]:
    """Those alive now; whatever runs on them must be the Recognizer."""
    found = {node["node_id"] for node in cluster.alive() if node["resources_total"].get("GPU")}
    for name, nodes in cluster.running("node_id").items():
        assert name == "Recognizer" or nodes.isdisjoint(found), f"a {name} is on a GPU node"
    return found


def has_cpu_node(cluster: RayCluster) -> bool:
    return any("cpu_node" in node["resources_total"] for node in cluster.alive())


def test_gpu_node_comes_for_work_and_goes_without() -> None:
    manifests = manifests_of("gpu")
    settings = {
        "recognizer": {**manifests.args["recognizer"], "device": "cpu"},
        "models": {"large-v3": TINY_EN.model_dump(mode="json")},
        "auth": {"mode": "none"},
        "lifecycle": {**manifests.args["lifecycle"], "unload_after_s": 2, "zero_after_s": 6},
    }
    with ray_cluster(**FAKE) as cluster:
        config = cluster.folder / "autoscaler.json"
        config.write_text(json.dumps(autoscaler_config(manifests, cluster.gcs_port)))
        cluster.start_head(f"--autoscaling-config={config}")
        poll(lambda: has_cpu_node(cluster) or None, deadline_s=SCALES_S)
        before = {node["node_id"] for node in cluster.alive() if node["resources_total"].get("GPU")}
        cluster.deploy(config_on_this_machine(manifests, cluster, **settings))
        cluster.wait_until_running()
        to_be_ready = len(gpu_nodes(cluster))
        poll(lambda: None if gpu_nodes(cluster) else True, deadline_s=SCALES_S, every_s=1)
        answer = transcribe(cluster)
        with_work = len(gpu_nodes(cluster))
        poll(lambda: None if gpu_nodes(cluster) else True, deadline_s=SCALES_S, every_s=1)

    assert before == set()
    assert (to_be_ready, with_work) == (1, 1)
    assert "ask not what your country" in answer.json()["text"]
