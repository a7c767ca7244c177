"""What KubeRay's operator refuses, or what makes it do something else than is meant; no schema says it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import ray

from tests.kuberay.manifests import Manifests

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 47
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
REDIS_VARIABLES = {"REDIS_PASSWORD", "RAY_REDIS_ADDRESS"}


def name_leaves_room_for_what_kuberay_appends(m: Manifests) -> Iterator[str]:
    name = m.service["metadata"]["name"]
    if len(name) > LONGEST_NAME or not DNS_1035.fullmatch(name):
        yield f"{name} must be a DNS label of at most {LONGEST_NAME} characters"


def upgrade_strategy_is_known(m: Manifests) -> Iterator[str]:
    strategy = m.spec.get("upgradeStrategy", {})
    kind = strategy.get("type", "NewCluster")
    if kind not in UPGRADES:
        yield f"upgradeStrategy.type {kind} is none of {', '.join(UPGRADES)}"
    if kind == "NewClusterWithIncrementalUpgrade":
        options = strategy.get("clusterUpgradeOptions", {})
        if not m.cluster.get("enableInTreeAutoscaling"):
            yield "an incremental upgrade needs enableInTreeAutoscaling"
        if options.get("stepSizePercent", 0) > options.get("maxSurgePercent", 100):
            yield "stepSizePercent is more than maxSurgePercent"


def head_offers_what_the_operator_looks_for(m: Manifests) -> Iterator[str]:
    head = m.cluster["headGroupSpec"]
    if head.get("headService", {}).get("metadata", {}).get("name"):
        yield "headService must not have a name under a RayService"
    ports = {port["name"]: port["containerPort"] for port in head["template"]["spec"]["containers"][0].get("ports", ())}
    if ports.get("serve") != m.serve["http_options"]["port"]:
        yield "the head must have a port named serve, and it must be http_options.port"


def fault_tolerance_is_configured_in_one_place(m: Manifests) -> Iterator[str]:
    options = m.cluster.get("gcsFaultToleranceOptions")
    if options is None:
        return
    if "externalStorageNamespace" in options:
        yield "externalStorageNamespace would have an old and a new cluster share what the head remembers"
    variables = {
        variable["name"] for pods in m.pods() for container in pods.containers for variable in container.get("env", ())
    }
    if twice := variables & REDIS_VARIABLES:
        yield f"{', '.join(sorted(twice))} must not be set beside gcsFaultToleranceOptions"
    if "redis-password" in m.cluster["headGroupSpec"]["rayStartParams"]:
        yield "redis-password must not be set beside gcsFaultToleranceOptions"


def rays_own_ports_ask_for_a_token(m: Manifests) -> Iterator[str]:
    options = m.cluster.get("authOptions", {})
    if options.get("mode") != "token":
        yield "authOptions.mode must be token: whoever reaches Ray's ports could run code"
    if options.get("enableK8sTokenAuth"):
        yield "enableK8sTokenAuth is refused for a RayService"


def groups_are_told_apart_and_bounded(m: Manifests) -> Iterator[str]:
    names = [group["groupName"] for group in m.groups]
    if len(set(names)) != len(names):
        yield f"two groups have one name: {', '.join(names)}"
    for group in m.groups:
        least, now, most = group.get("minReplicas", 0), group.get("replicas", 0), group.get("maxReplicas")
        if most is None or not least <= now <= most:
            yield f"group {group['groupName']}: minReplicas <= replicas <= maxReplicas must hold ({least}, {now}, {most})"


def ray_is_of_one_version(m: Manifests) -> Iterator[str]:
    if m.cluster["rayVersion"] != ray.__version__:
        yield f"rayVersion {m.cluster['rayVersion']} is not {ray.__version__}, which the image has"


def probes_are_kuberays_own(m: Manifests) -> Iterator[str]:
    """One that is set replaces both checks of KubeRay's: of the node, and of Serve's proxy."""
    for pods in m.pods():
        for container in pods.containers:
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                if probe in container:
                    yield f"pods of {pods.where} set a {probe}, which replaces KubeRay's"


RULES = (
    name_leaves_room_for_what_kuberay_appends,
    upgrade_strategy_is_known,
    head_offers_what_the_operator_looks_for,
    fault_tolerance_is_configured_in_one_place,
    rays_own_ports_ask_for_a_token,
    groups_are_told_apart_and_bounded,
    ray_is_of_one_version,
    probes_are_kuberays_own,
)
