"""The shape of each object, as strictly as an API server can be asked to look."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.kuberay.closed_schema import violations
from tests.kuberay.manifests import Manifests, Object

CRDS = Path(__file__).resolve().parents[1] / "crds"
KUBERNETES = "1.32"
OURS = ("RayService", "PodMonitor", "PrometheusRule")


@functools.cache
def schema_of(kind: str) -> dict[str, Any]:
    if kind == "RayService":
        schema: dict[str, Any] = json.loads(gzip.decompress((CRDS / "rayservice.json.gz").read_bytes()))
    else:
        schema = yaml.safe_load((CRDS / f"{kind.lower()}.yaml").read_text())
    return schema


def custom_objects_are_what_their_schema_allows(m: Manifests) -> Iterator[str]:
    for kind in OURS:
        for found in m.of(kind):
            for violation in violations(found, schema_of(kind)):
                yield f"{kind} {found['metadata']['name']}: {violation}"


def own_objects_are_what_kubernetes_knows(m: Manifests) -> Iterator[str]:
    for found in m.objects:
        if found["kind"] not in OURS:
            yield from _core(found, f"{found['kind']} {found['metadata']['name']}")


def pod_templates_are_what_kubernetes_knows(m: Manifests) -> Iterator[str]:
    """The CRD lets through what only a pod's own schema refuses."""
    for pods in m.pods():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pods.spec}
        yield from _core(pod, f"pods of {pods.where}")


def _core(found: Object, what: str) -> Iterator[str]:
    try:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{what}: {'.'.join(map(str, error.path))}: {error.message}"


RULES = (
    custom_objects_are_what_their_schema_allows,
    own_objects_are_what_kubernetes_knows,
    pod_templates_are_what_kubernetes_knows,
)
