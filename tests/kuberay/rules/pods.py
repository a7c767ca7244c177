"""How pods run: as whom, with what they may write, for how long they may end."""

from __future__ import annotations

from collections.abc import Iterator

from tests.kuberay.manifests import Manifests, Object, quantity

TO_STDERR = "RAY_LOG_TO_STDERR"
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
SCRATCH = ("/tmp", "/home/ray")


def namespace_enforces_what_pods_keep_to(m: Manifests) -> Iterator[str]:
    labels = m.one("Namespace")["metadata"].get("labels", {})
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace must enforce Pod Security `restricted`"


def pods_are_restricted(m: Manifests) -> Iterator[str]:
    """Pod Security Standards, profile `restricted`; as a user whom the image knows."""
    for pods in m.pods():
        security = pods.spec.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
        for name, value in wanted.items():
            if security.get(name) != value:
                yield f"pods of {pods.where}: securityContext.{name} must be {value}"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"pods of {pods.where}: seccompProfile must be RuntimeDefault"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pods.spec.get(name):
                yield f"pods of {pods.where}: {name} is not allowed"
        for container in pods.containers:
            yield from _restricted(container, f"pods of {pods.where}")
    if options := m.cluster.get("autoscalerOptions"):
        yield from _restricted(options, "the autoscaler")


def _restricted(container: Object, what: str) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{what}: allowPrivilegeEscalation must be false"
    if security.get("capabilities", {}).get("drop") != ["ALL"] or security["capabilities"].get("add"):
        yield f"{what}: all capabilities must be dropped"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{what}: the root file system must be read-only"


def scratch_can_be_written(m: Manifests) -> Iterator[str]:
    """Ray writes to /tmp and to the home directory, and the root file system is read-only."""
    for pods in m.pods():
        for path in SCRATCH:
            mount = pods.mount_of(path)
            if mount is None or mount.get("readOnly"):
                yield f"pods of {pods.where}: {path} cannot be written"


def tokens_of_the_api_server_are_given_to_the_autoscaler_only(m: Manifests) -> Iterator[str]:
    for pods in m.pods():
        wanted = pods.where == "headgroup" and bool(m.cluster.get("enableInTreeAutoscaling"))
        if pods.spec.get("automountServiceAccountToken") is not wanted:
            yield f"pods of {pods.where}: automountServiceAccountToken must be {str(wanted).lower()}"


def memory_is_what_ray_believes(m: Manifests) -> Iterator[str]:
    """Ray reads the limit; a smaller request has the node run out of memory before Ray knows of it."""
    for pods in m.pods():
        for container in pods.containers:
            resources = container.get("resources", {})
            request, limit = (quantity(resources.get(part, {}).get("memory", 0)) for part in ("requests", "limits"))
            if request == 0 or request != limit:
                yield f"pods of {pods.where}: memory must be requested as it is limited"


def what_is_in_progress_may_end(m: Manifests) -> Iterator[str]:
    longest = 0.0
    for group in m.groups:
        pods = m.pods_of(group)
        drain_s = float(_environment(pods.spec["containers"][0]).get(DRAIN, 30))
        longest = max(longest, drain_s)
        if pods.spec.get("terminationGracePeriodSeconds", 30) <= drain_s:
            yield f"pods of {pods.where}: terminationGracePeriodSeconds must be more than {DRAIN} ({drain_s:g})"
    if m.spec.get("rayClusterDeletionDelaySeconds", 60) < longest:
        yield f"rayClusterDeletionDelaySeconds must be at least {longest:g}, which pods take to drain"


def what_is_logged_leaves_the_pod(m: Manifests) -> Iterator[str]:
    """Where Ray logs into files, collectors and `kubectl logs` see nothing of replicas."""
    for pods in m.pods():
        if not pods.where.startswith("Job") and _environment(pods.spec["containers"][0]).get(TO_STDERR) != "1":
            yield f"pods of {pods.where}: {TO_STDERR} must be 1"
    if m.args.get("log_format") != "json" or m.serve.get("logging_config", {}).get("encoding") != "JSON":
        yield "log_format must be json, and logging_config.encoding JSON"


def _environment(container: Object) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", ())}


RULES = (
    namespace_enforces_what_pods_keep_to,
    pods_are_restricted,
    scratch_can_be_written,
    tokens_of_the_api_server_are_given_to_the_autoscaler_only,
    memory_is_what_ray_believes,
    what_is_in_progress_may_end,
    what_is_logged_leaves_the_pod,
)
