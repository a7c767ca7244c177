"""A Ray cluster on loopback whose nodes are started as KubeRay starts them in pods, and spoken to as its operator does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

import serve_app
from tests.cluster.running import free_port, poll
from tests.kuberay.manifests import Manifests

JFK = Path(serve_app.__file__).parent / "cli" / "jfk.flac"
RAY = str(Path(sys.executable).with_name("ray"))
START_S = 120
RUNNING_S = 180
OBJECT_STORE_BYTES = 100_000_000
TOKEN = "of-this-test-" + "x" * 27  # Ray wants it long


@dataclass
class Node:
    """One `ray start --block`, which is what runs in a pod."""

    process: subprocess.Popen[bytes]
    log: Path
    agent_port: int
    files: Path  # where its own are, seen from outside

    def terminate(self) -> None:
        """As the kubelet ends a pod."""
        self.process.send_signal(signal.SIGTERM)

    def die(self) -> None:
        """As a machine without power: nothing of it ends anything."""
        family = _family(self)
        for process in family:
            process.suspend()  # so that none sees another end
        for process in [*family, *_family(self)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(timeout=15)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class RayCluster:
    """
    Attributes:
        http_port: Where the head's proxy listens, and where the workers' do: all are on one machine.
        own_files: Whether each node sees a directory of its own in the place of `folder`, and none of another's.
    """

    folder: Path
    env: Mapping[str, str]
    gcs_port: int
    dashboard: str
    http_port: int
    worker_http_port: int
    own_files: bool = False
    nodes: list[Node] = field(default_factory=list)

    def start_head(self, *more: str) -> Node:
        head = self._start(
            "--head",
            f"--port={self.gcs_port}",
            "--num-cpus=0",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={httpx.URL(self.dashboard).port}",
            f"--ray-client-server-port={free_port()}",
            *more,
        )
        poll(lambda: self._dashboard_answers() or None, deadline_s=START_S)
        return head

    def start_worker(self, *, cpus: int, gpus: int = 0, resources: Mapping[str, float] | None = None) -> Node:
        return self._start(
            f"--address=127.0.0.1:{self.gcs_port}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--resources={json.dumps(resources or {})}",
        )

    def _start(self, *arguments: str) -> Node:
        agent_port = free_port()
        files = self.folder / f"node{agent_port}"
        log = files.with_suffix(".log")
        command = [
            *(_with_own_files(files) if self.own_files else ()),
            RAY,
            "start",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--dashboard-agent-listen-port={agent_port}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            *arguments,
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=dict(self.env), stdout=output, stderr=subprocess.STDOUT, cwd=self.folder
            )
        node = Node(process, log, agent_port, files)
        self.nodes.append(node)
        poll(lambda: _agent_answers(node), deadline_s=START_S)
        return node

    def deploy(self, config: Mapping[str, Any]) -> None:
        """The call with which KubeRay hands over `serveConfigV2`; it, too, calls again when nobody answers."""
        poll(lambda: self._takes(config) or None, deadline_s=START_S, every_s=2)

    def _takes(self, config: Mapping[str, Any]) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.ask("PUT", "/api/serve/applications/", json=config).is_success
        return False

    def application(self) -> dict[str, Any]:
        """The state of the one application, as KubeRay reads it."""
        (found,) = self.ask("GET", "/api/serve/applications/").json()["applications"].values()
        return dict(found)

    def wait_until_running(self) -> None:
        poll(lambda: _is_running(self.application()), deadline_s=RUNNING_S, every_s=0.5)

    def running(self, what: str) -> dict[str, set[str]]:
        """Deployment → `replica_id` or `node_id` of its running replicas."""
        return {
            name: {replica[what] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}
            for name, deployment in self.application()["deployments"].items()
        }

    def user_configs(self) -> dict[str, Any]:
        """Deployment → what it may be told while it runs."""
        return {
            name: deployment["deployment_config"].get("user_config")
            for name, deployment in self.application()["deployments"].items()
        }

    def alive(self) -> list[dict[str, Any]]:
        """The nodes that Ray knows, with what they have."""
        nodes = self.ask("GET", "/api/v0/nodes", params={"detail": "1"}).json()["data"]["result"]["result"]
        return [node for node in nodes if node["state"] == "ALIVE"]

    def _dashboard_answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.ask("GET", "/api/version").is_success
        return False

    def ask(self, method: str, path: str, *, token: str = TOKEN, **request: Any) -> httpx.Response:
        """
        Raises:
            httpx.HTTPStatusError: Ray refuses; the log has its answer.
        """
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.dashboard}{path}"
        return httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **request).raise_for_status()

    def close(self) -> None:
        family = [*_of_folder(self.folder), *(child for node in self.nodes for child in _family(node))]
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=15)
        for node in self.nodes:
            node.process.wait(timeout=15)


def _with_own_files(files: Path) -> tuple[str, ...]:
    """To be put before a command: what it and its children see in the place of the folder it starts in is `files`."""
    files.mkdir()
    script = 'mount --bind "$0" . && cd "$PWD" && TMPDIR=$PWD exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, str(files))


def _family(node: Node) -> list[psutil.Process]:
    """Of one that has ended nothing is left, and its pid may be another's by now."""
    with contextlib.suppress(psutil.Error):
        if not node.alive:
            return []
        process = psutil.Process(node.process.pid)
        return [process, *process.children(recursive=True)]
    return []


def _of_folder(folder: Path) -> list[psutil.Process]:
    """Nodes that the autoscaler has started, too, whoever their parent is by now."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]


def _agent_answers(node: Node) -> bool | None:
    assert node.alive, node.log.read_text(errors="replace")[-4000:]
    with contextlib.suppress(httpx.HTTPError):
        url = f"http://127.0.0.1:{node.agent_port}/api/local_raylet_healthz"
        return httpx.get(url, trust_env=False).status_code == httpx.codes.OK or None
    return None


def _is_running(application: Mapping[str, Any]) -> bool | None:
    assert application["status"] != "DEPLOY_FAILED", application["message"]
    return application["status"] == "RUNNING" or None


@contextlib.contextmanager
def ray_cluster(*, own_files: bool = False, **env: str) -> Iterator[RayCluster]:
    """Without a node; what is started in it goes with it."""
    # Not in pytest's folder: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rk", ignore_cleanup_errors=True) as folder:
        worker_http_port = free_port()
        variables = {
            **os.environ,
            "HOME": folder,  # Ray leaves files there
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",  # as KubeRay sets it for `authOptions`
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.api.edge:proxy_middlewares",
            # All nodes are one machine here, and their proxies would share a port.
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(worker_http_port),
            **env,
        }
        cluster = RayCluster(
            Path(folder),
            variables,
            free_port(),
            f"http://127.0.0.1:{free_port()}",
            free_port(),
            worker_http_port,
            own_files,
        )
        try:
            yield cluster
        finally:
            cluster.close()


def config_on_this_machine(manifests: Manifests, cluster: RayCluster, **args: Any) -> dict[str, Any]:
    """The overlay's own Serve config, but for addresses, folders, and what is in `args`."""
    config = manifests.serve
    config["http_options"] |= {"host": "127.0.0.1", "port": cluster.http_port}
    config["applications"][0]["args"] |= {"data_dir": str(cluster.folder / "data"), **args}
    return config


def transcribe(cluster: RayCluster, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{cluster.worker_http_port}/v1/audio/transcriptions",
        files={"file": ("jfk.flac", JFK.read_bytes())},
        data={"model": "whisper-1"},
        headers=headers,
        timeout=120,
        trust_env=False,
    )
