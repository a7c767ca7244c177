"""A local Ray with the application on it: start, wait, drain, stop."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, LoggingConfig, TracingConfig

from serve_app.app import COORDINATOR_CPUS, bound
from serve_app.cli.config_file import ConfigFile
from serve_app.cli.worker_logs import print_as_json
from serve_app.deployments.calls import COORDINATOR
from serve_app.errors import ConfigError, RayscribeError
from serve_app.settings import Settings, export, load_settings

# What all of Ray's processes get; the image has the same for `ray start`.
PROCESSES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # More arenas keep what few threads have freed: 100 MB after a long file.
    "MALLOC_ARENA_MAX": "1",
    # Huge pages are asked for and given back faster, so that settings/memory.py can give back more of them.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts, so that memory is asked of the GPU that is used
    # Sound of up to 16 s goes within the call: by way of Ray's object store, as from 100 KB on, each hop takes 1 ms and 4 ms of
    # processor time more. What is larger goes faster by the store.
    "RAY_max_direct_call_object_size": str(512 * 1024),
    "RAY_worker_niceness": "0",  # Ray's default of 15 starves the service on a machine that does other work
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.api.edge:proxy_middlewares",
}
POLL_S = 0.25
LEAVE_S = 10.0  # at most, with the drain less than the time that whoever kills gives
LAST_BYTES_S = 1.0  # the proxy may still be sending what the Gateway has handed to it
FAILED = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)

# An error of ours inside the traceback that Serve keeps as a deployment's message.
_OUR_ERROR = re.compile(r"^(?:ray\.exceptions\.RayTaskError\([^)]*\): )?serve_app\.errors\.\w+: (.+)$", re.MULTILINE)


class DeployFailed(RayscribeError):
    """The application did not come up."""


def check_port(host: str, port: int) -> None:
    """
    Refuse a port that is taken; Serve would only log it.

    Raises:
        ConfigError: Nothing can listen there; says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with PORT=…"
            ) from error


def start_ray() -> None:
    """
    Start a Ray of our own.

    Raises:
        DeployFailed: It did not come up.
    """
    try:
        ray.init(
            address="local",
            namespace="serve",
            include_dashboard=False,
            configure_logging=True,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:  # Ray has no narrower one for what it gave too little time
        raise DeployFailed(
            f"Ray did not start: {error} It takes longer on a busy machine: try again."
            " If it fails again, session_latest/logs in Ray's folder (/tmp/ray, or below RAY_TMPDIR) says more"
        ) from error


@contextlib.contextmanager
def local_ray(config: ConfigFile) -> Iterator[None]:
    """
    A Ray of our own, for as long as the block runs.

    Raises:
        DeployFailed: As `start_ray`.
    """
    limits = config.settings.limits
    export(
        PROCESSES
        | {
            # The proxy reads its limit from the environment, because Serve gives it no settings.
            "RAYSCRIBE_LIMITS__MAX_UPLOAD_BYTES": str(limits.max_upload_bytes),
            "RAYSCRIBE_LIMITS__MAX_UPLOADS_BYTES": str(limits.max_uploads_bytes),
        }
    )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray._private.services.start_api_server = _start_no_dashboard
    start_ray()
    if config.settings.log_format == "json":
        print_as_json()
    try:
        yield
    finally:
        # Not `serve.shutdown()`: what was in progress has been drained, and Ray ends its processes in a fraction of the time.
        ray.shutdown()


def _start_no_dashboard(*_: object, **__: object) -> tuple[None, None]:
    """
    For what Ray calls with `include_dashboard=False`, too: a process for usage statistics.

    With these off it still asks the metadata servers of three clouds where it is, and there is no setting against that.
    """
    return None, None


def deploy(config: ConfigFile) -> DeploymentHandle[Any]:
    """Hand the application to Serve and return the Gateway's handle without waiting for it to run."""
    check_room(config.settings, ray.cluster_resources())
    try:
        logging_config = LoggingConfig(**{"encoding": config.settings.log_format.upper(), **config.logging_config})
        tracing_config = TracingConfig(**config.tracing_config) if config.tracing_config else None
        http_options = HTTPOptions(**config.http_options)
        location = ProxyLocation(config.proxy_location)
        target = serve.RunTarget(
            target=bound(load_settings(config.args), config.user_configs),
            name=config.name,
            route_prefix=config.route_prefix,
            logging_config=logging_config,
        )
    except ValueError as error:
        raise ConfigError(f"Serve refuses the config: {' '.join(str(error).split())}") from error
    serve.start(
        proxy_location=location,
        http_options=http_options,
        logging_config=logging_config,
        tracing_config=tracing_config,
    )
    return serve.run_many([target], wait_for_applications_running=False)[0]


def check_room(settings: Settings, resources: Mapping[str, float]) -> None:
    """
    Refuse what Ray could never place; Serve would wait for it without end.

    Raises:
        ConfigError: The deployments reserve more than there is.
    """
    replicas = max(settings.recognizer.min_replicas, int(bool(settings.preload)))
    cpus = (
        COORDINATOR_CPUS
        + settings.gateway.replicas * settings.gateway.num_cpus
        + settings.pipeline.min_replicas * settings.pipeline.num_cpus
        + replicas * settings.recognizer.num_cpus
    )
    gpus = replicas * settings.recognizer.num_gpus
    for what, needed in (("CPU", cpus), ("GPU", gpus)):
        there = resources.get(what, 0.0)
        if needed > there:
            raise ConfigError(
                f"the deployments reserve {needed:g} {what} (num_{what.lower()}s of each replica), and Ray sees {there:g} here"
            )


def wait_until_running(name: str, say: Callable[[str], None], stop: threading.Event) -> None:
    """
    Wait for the application, or for `stop`, telling `say` how far it is.

    Raises:
        DeployFailed: It will not come up; the message is the cause.
    """
    while not stop.wait(POLL_S):
        application = serve.status().applications[name]
        if application.status == ApplicationStatus.RUNNING:
            return
        messages = [application.message, *(d.message for d in application.deployments.values())]
        cause = _our_cause(messages)
        if cause is not None or application.status in FAILED:
            raise DeployFailed(cause or _last_line(messages))
        waiting = [n for n, d in application.deployments.items() if d.status != "HEALTHY"]
        say(f"starting {', '.join(waiting) or 'the application'}")


def drain(gateway: DeploymentHandle[Any], *, timeout_s: float) -> None:
    """Refuse new requests and wait until those in progress have ended, for at most `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    # Without a replica that answers there is nothing to wait for.
    with contextlib.suppress(RayError, DeploymentUnavailableError, TimeoutError):
        while (left_s := deadline - time.monotonic()) > 0:
            if sum(gateway.broadcast("drain").results(timeout_s=left_s)) == 0:
                time.sleep(LAST_BYTES_S)
                return
            time.sleep(POLL_S)


def leave(name: str) -> None:
    """Have the Coordinator let go of the jobs, so that the next service on the same PostgreSQL need not wait for this one."""
    with contextlib.suppress(RayError, DeploymentUnavailableError, TimeoutError):
        serve.get_deployment_handle(COORDINATOR, name).leave.remote().result(timeout_s=LEAVE_S)


def _our_cause(messages: list[str]) -> str | None:
    """What one of our own errors says; such an error will not go away by itself, so there is no use in waiting."""
    found = [match for message in messages for match in _OUR_ERROR.findall(message)]
    return found[-1] if found else None


def _last_line(messages: list[str]) -> str:
    lines = [line for message in messages for line in message.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "Serve gave no reason"
