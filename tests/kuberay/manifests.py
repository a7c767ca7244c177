"""What an overlay renders to, and views of it that the rules ask for."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serve_app.app import build_app

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "kuberay"
OVERLAYS = sorted(path.name for path in (KUBERAY / "overlays").iterdir())
KUBECTL = str(Path(sys.executable).with_name("kubectl"))

Object = dict[str, Any]


def render(folder: Path) -> str:
    """As `kubectl kustomize` prints it."""
    return subprocess.run([KUBECTL, "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout


@functools.cache
def rendered(overlay: str) -> str:
    return render(KUBERAY / "overlays" / overlay)


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML libraries take the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := {name for name in names if names.count(name) > 1}:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(map(str, twice))} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load_all(text: str) -> list[Object]:
    return [document for document in yaml.load_all(text, StrictLoader) if document]


@dataclass(frozen=True)
class Pods:
    """A template of pods, with what KubeRay adds to them."""

    where: str
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def claims(self) -> dict[str, str]:
        """Volume → claim."""
        volumes = self.spec.get("volumes", ())
        return {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}

    def mount_of(self, path: str) -> Object | None:
        """The mount of the first container that a path lies in: the deepest one."""
        mounts = self.spec["containers"][0].get("volumeMounts", ())
        above = [m for m in mounts if Path(path).is_relative_to(m["mountPath"])]
        return max(above, key=lambda mount: len(mount["mountPath"]), default=None)

    def limit(self, resource: str) -> float:
        limits = self.spec["containers"][0].get("resources", {}).get("limits", {})
        return quantity(limits.get(resource, 0))


class Manifests:
    """The objects of one overlay."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects
        self.service = self.one("RayService")
        self.spec: Object = self.service["spec"]
        self.cluster: Object = self.spec["rayClusterConfig"]
        self.groups: list[Object] = self.cluster["workerGroupSpecs"]

    def of(self, kind: str) -> list[Object]:
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind: str) -> Object:
        (found,) = self.of(kind)
        return found

    def names(self, kind: str) -> set[str]:
        return {o["metadata"]["name"] for o in self.of(kind)}

    def group(self, name: str) -> Object | None:
        return next((g for g in self.groups if g["groupName"] == name), None)

    @property
    def serve(self) -> Object:
        """The Serve config."""
        config: Object = yaml.load(self.spec["serveConfigV2"], StrictLoader)
        return config

    @property
    def args(self) -> Object:
        args: Object = self.serve["applications"][0]["args"]
        return args

    def pods(self) -> Iterator[Pods]:
        """All that will run."""
        yield self._ray_pods(self.cluster["headGroupSpec"]["template"], "head", "headgroup")
        for group in self.groups:
            yield self.pods_of(group)
        for job in self.of("Job"):
            template = job["spec"]["template"]
            yield Pods(f"Job {job['metadata']['name']}", template["metadata"].get("labels", {}), template["spec"])

    def pods_of(self, group: Object) -> Pods:
        return self._ray_pods(group["template"], "worker", group["groupName"])

    def _ray_pods(self, template: Object, node_type: str, group: str) -> Pods:
        labels = {
            **template.get("metadata", {}).get("labels", {}),
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/created-by": "kuberay-operator",
            "ray.io/is-ray-node": "yes",
            "ray.io/node-type": node_type,
            "ray.io/group": group,
        }
        return Pods(group, labels, template["spec"])


@functools.cache
def manifests_of(overlay: str) -> Manifests:
    return Manifests(load_all(rendered(overlay)))


def deployments(args: Mapping[str, Any]) -> dict[str, Any]:
    """Serve's own view of each deployment that the settings give, by name."""
    gateway = build_app(args)._bound_deployment
    _, pipeline, coordinator = gateway.init_args
    recognizer = pipeline._bound_deployment.init_args[1]
    bound = (gateway, *(app._bound_deployment for app in (pipeline, coordinator, recognizer)))
    return {deployment.name: deployment for deployment in bound}


def quantity(value: str | float) -> float:
    """Kubernetes' `500m`, `8Gi`, `2` as a number."""
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}
    text = str(value)
    for unit, factor in units.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)
