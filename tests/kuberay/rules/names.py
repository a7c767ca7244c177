"""Names that point at something: images, namespaces, Secrets, volumes, labels, ports."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.kuberay.manifests import KUBERAY, ROOT, Manifests, Object, Pods

CLUSTER_WIDE = {"Namespace"}
SECRET_NAME = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|DATABASE_URL")


def images_are_pinned_to_this_version(m: Manifests) -> Iterator[str]:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for pods in m.pods():
        for container in pods.containers:
            if not re.search(rf":{re.escape(version)}(-[\w.-]+)?$", container["image"]):
                yield f"pods of {pods.where}: {container['image']} is not pinned to {version}"


def everything_is_in_one_namespace(m: Manifests) -> Iterator[str]:
    (namespace,) = m.names("Namespace")
    for found in m.objects:
        where = found["metadata"].get("namespace")
        if found["kind"] not in CLUSTER_WIDE and where != namespace:
            yield f"{found['kind']} {found['metadata']['name']} is in namespace {where}, not in {namespace}"


def prerequisites() -> dict[str, set[str]]:
    """The Secrets that kuberay/README.md has the operator make, and their keys."""
    readme = (KUBERAY / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"create secret generic ([\w-]+)([^\n]*)", readme)
    return {name: set(re.findall(r"--from-literal=([\w-]+)=", rest)) for name, rest in commands}


def names_point_at_something(m: Manifests) -> Iterator[str]:
    there = {kind: m.names(kind) for kind in ("PersistentVolumeClaim", "ConfigMap", "ServiceAccount")}
    secrets = prerequisites()
    for kind, name, key in _references(m):
        if kind != "Secret":
            if name not in there[kind]:
                yield f"there is no {kind} {name}"
        elif name not in secrets:
            yield f"kuberay/README.md makes no Secret {name}"
        elif key and key not in secrets[name]:
            yield f"kuberay/README.md makes no key {key} in the Secret {name}"


def _references(m: Manifests) -> Iterator[tuple[str, str, str | None]]:
    for pods in m.pods():
        if account := pods.spec.get("serviceAccountName"):
            yield "ServiceAccount", account, None
        for volume in pods.spec.get("volumes", ()):
            yield from _of_volume(volume)
        for container in pods.containers:
            yield from _of_container(container)
    yield from _of_values([m.cluster.get("gcsFaultToleranceOptions", {}).get("redisPassword", {})])


def _of_volume(volume: Object) -> Iterator[tuple[str, str, str | None]]:
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"], None
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"], None


def _of_container(container: Object) -> Iterator[tuple[str, str, str | None]]:
    for source in container.get("envFrom", ()):
        yield "Secret", source["secretRef"]["name"], None
    yield from _of_values(container.get("env", ()))


def _of_values(values: Any) -> Iterator[tuple[str, str, str | None]]:
    for value in values:
        if reference := value.get("valueFrom", {}).get("secretKeyRef"):
            yield "Secret", reference["name"], reference["key"]


def secrets_come_from_secrets(m: Manifests) -> Iterator[str]:
    for pods in m.pods():
        for container in pods.containers:
            for variable in container.get("env", ()):
                if SECRET_NAME.search(variable["name"]) and "value" in variable:
                    yield f"pods of {pods.where}: {variable['name']} is written out"
    password = m.cluster.get("gcsFaultToleranceOptions", {}).get("redisPassword", {})
    if "value" in password:
        yield "redisPassword is written out"


def secrets_reach_only_who_needs_them(m: Manifests) -> Iterator[str]:
    """The hub's token the Job, all others the CPU pods, and none a GPU pod."""
    for pods in m.pods():
        for name in _secrets_of(pods):
            needed_by = "Job rayscribe-prefetch" if name == "rayscribe-hub" else "cpu"
            if pods.where != needed_by:
                yield f"pods of {pods.where} need no Secret {name}"


def _secrets_of(pods: Pods) -> Iterator[str]:
    for volume in pods.spec.get("volumes", ()):
        yield from (name for kind, name, _ in _of_volume(volume) if kind == "Secret")
    for container in pods.containers:
        yield from (name for kind, name, _ in _of_container(container) if kind == "Secret")


def selectors_match_pods(m: Manifests) -> Iterator[str]:
    """Against the labels that pods really have: KubeRay gives them fewer than it gives its clusters."""
    for found, selector in _selectors(m):
        if not any(_matches(selector, pods) for pods in m.pods()) and not _is_optional(selector):
            yield f"{found['kind']} {found['metadata']['name']} selects no pod by {selector}"


def _selectors(m: Manifests) -> Iterator[tuple[Object, Mapping[str, str]]]:
    for found in [*m.of("PodDisruptionBudget"), *m.of("PodMonitor")]:
        yield found, found["spec"]["selector"]["matchLabels"]
    for policy in m.of("NetworkPolicy"):
        yield policy, policy["spec"]["podSelector"]["matchLabels"]
        for rule in [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]:
            for peer in [*rule.get("from", ()), *rule.get("to", ())]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield policy, peer["podSelector"]["matchLabels"]


def _is_optional(selector: Mapping[str, str]) -> bool:
    """Not each overlay that has the policies has the Job."""
    return selector.get("app.kubernetes.io/component") == "prefetch"


def _matches(selector: Mapping[str, str], pods: Pods) -> bool:
    return selector.items() <= pods.labels.items()


def monitors_name_ports_that_pods_have(m: Manifests) -> Iterator[str]:
    for monitor in m.of("PodMonitor"):
        for pods in m.pods():
            if _matches(monitor["spec"]["selector"]["matchLabels"], pods):
                ports = {port["name"] for port in pods.spec["containers"][0].get("ports", ())}
                for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                    if endpoint["port"] not in ports:
                        yield f"PodMonitor {monitor['metadata']['name']}: pods of {pods.where} have no port {endpoint['port']}"


def ingress_leads_to_what_kuberay_makes(m: Manifests) -> Iterator[str]:
    name, port = f"{m.service['metadata']['name']}-serve-svc", m.serve["http_options"]["port"]
    for ingress in m.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if service != {"name": name, "port": {"number": port}}:
                    yield f"Ingress {ingress['metadata']['name']} must lead to {name}:{port}"


RULES = (
    images_are_pinned_to_this_version,
    everything_is_in_one_namespace,
    names_point_at_something,
    secrets_come_from_secrets,
    secrets_reach_only_who_needs_them,
    selectors_match_pods,
    monitors_name_ports_that_pods_have,
    ingress_leads_to_what_kuberay_makes,
)
