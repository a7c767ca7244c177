"""Whether what Serve places finds a place, and only where it should."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from serve_app.settings import load_settings
from tests.kuberay.manifests import Manifests, Object, deployments

GPU = "nvidia.com/gpu"
Amounts = Mapping[str, float]


def offers(m: Manifests, group: Object) -> dict[str, float]:
    """What one pod of a group tells Ray that it has, as KubeRay derives it."""
    pods, start = m.pods_of(group), group.get("rayStartParams", {})
    found = {
        "CPU": float(start["num-cpus"]) if "num-cpus" in start else float(math.ceil(pods.limit("cpu"))),
        "GPU": float(start["num-gpus"]) if "num-gpus" in start else pods.limit(GPU),
        **{name: float(amount) for name, amount in group.get("resources", {}).items()},
    }
    return {name: amount for name, amount in found.items() if amount}


def takes(deployment: Any) -> dict[str, float]:
    """What one replica reserves."""
    options = deployment.ray_actor_options
    found = {
        "CPU": options.get("num_cpus", 1),
        "GPU": options.get("num_gpus") or 0,
        **(options.get("resources") or {}),
    }
    return {name: float(amount) for name, amount in found.items() if amount}


def fits(taken: Amounts, offered: Amounts) -> bool:
    return all(offered.get(name, 0) >= amount for name, amount in taken.items())


def each_replica_fits_a_pod(m: Manifests) -> Iterator[str]:
    for name, deployment in deployments(m.args).items():
        if not any(fits(takes(deployment), offers(m, group)) for group in m.groups):
            yield f"no group's pod has room for a {name}, which takes {takes(deployment)}"


def only_the_recognizer_fits_a_gpu_pod(m: Manifests) -> Iterator[str]:
    """Any other replica there would keep a GPU node for ever."""
    for group in m.groups:
        offered = offers(m, group)
        if "GPU" in offered:
            for name, deployment in deployments(m.args).items():
                if name != "Recognizer" and fits(takes(deployment), offered):
                    yield f"a {name} could be placed on group {group['groupName']}: give it `placement`"
    if m.cluster["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        yield "the head must have num-cpus 0, or replicas are placed beside it"


def groups_have_room_for_all_replicas_and_their_successors(m: Manifests) -> Iterator[str]:
    for group in m.groups:
        wanted: dict[str, float] = {}
        for deployment in deployments(m.args).values():
            if fits(takes(deployment), offers(m, group)):
                for name, amount in takes(deployment).items():
                    wanted[name] = wanted.get(name, 0) + amount * _most(deployment)
        for name, amount in wanted.items():
            there = offers(m, group)[name] * group["maxReplicas"]
            if amount > there:
                yield f"group {group['groupName']} has {there:g} {name} at most, and its replicas may take {amount:g}"


def _most(deployment: Any) -> int:
    """Replicas under load, and those that start while old ones run."""
    config = deployment._deployment_config
    scaling = config.autoscaling_config
    replicas = scaling.max_replicas if scaling else config.num_replicas
    return int(replicas + math.ceil(replicas * config.max_surge_percent / 100))


def gpu_nodes_can_go(m: Manifests) -> Iterator[str]:
    settings = load_settings(m.args, {})
    for group in m.groups:
        if "GPU" in offers(m, group):
            yield from _can_go(m, group)
            if settings.recognizer.min_replicas or math.isinf(settings.lifecycle.zeroes_after_s):
                yield "recognizer.min_replicas must be 0, and lifecycle.zero_after_s not -1"


def _can_go(m: Manifests, group: Object) -> Iterator[str]:
    name, pods = group["groupName"], m.pods_of(group)
    if group["minReplicas"] or group["replicas"]:
        yield f"group {name} must start with no pod and keep none"
    if not m.cluster.get("enableInTreeAutoscaling") or m.cluster["autoscalerOptions"].get("version") != "v2":
        yield f"group {name} needs the autoscaler, version v2"
    if "idleTimeoutSeconds" not in group:
        yield f"group {name} must have idleTimeoutSeconds"
    if not pods.spec.get("nodeSelector") or GPU not in {t.get("key") for t in pods.spec.get("tolerations", ())}:
        yield f"group {name} must ask for GPU nodes and tolerate their taint"
    for budget in m.of("PodDisruptionBudget"):
        if budget["spec"]["selector"]["matchLabels"].items() <= pods.labels.items():
            yield f"PodDisruptionBudget {budget['metadata']['name']} keeps pods of {name} from going"


def several_pods_share_what_they_must(m: Manifests) -> Iterator[str]:
    """Two processes on two nodes must not write one SQLite file, nor look for each other's files on disks of their own."""
    group = m.group("cpu")
    assert group
    alone = group["maxReplicas"] == 1 and m.spec["upgradeStrategy"]["type"] == "None"
    if alone:
        return
    variables = {variable["name"] for variable in group["template"]["spec"]["containers"][0].get("env", ())}
    if "RAYSCRIBE_DATABASE_URL" not in variables:
        yield "several CPU pods, or two clusters, need PostgreSQL"
    settings = load_settings(m.args, {})
    if not settings.media.store.startswith("s3://"):
        yield "several CPU pods, or two clusters, need media.store in S3"
    claim = m.pods_of(group).claims.get((m.pods_of(group).mount_of(settings.data_dir) or {}).get("name", ""))
    modes = [c["spec"]["accessModes"] for c in m.of("PersistentVolumeClaim") if c["metadata"]["name"] == claim]
    if modes != [["ReadWriteMany"]]:
        yield f"several CPU pods, or two clusters, need a ReadWriteMany volume at {settings.data_dir}"


RULES = (
    each_replica_fits_a_pod,
    only_the_recognizer_fits_a_gpu_pod,
    groups_have_room_for_all_replicas_and_their_successors,
    gpu_nodes_can_go,
    several_pods_share_what_they_must,
)
