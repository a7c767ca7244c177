"""The service on Ray nodes that share no directory: jobs in PostgreSQL, their audio in S3, one kind of replica on each node."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from serve_app.settings import TINY_EN
from tests.cluster.job_client import JobClient
from tests.cluster.running import KEY
from tests.kuberay.manifests import manifests_of
from tests.kuberay.ray_cluster import Node, RayCluster, config_on_this_machine, ray_cluster
from tests.postgres import running_postgres
from tests.s3 import BUCKET, client_of, running_s3

STORE = f"s3://{BUCKET}/rayscribe"
FRONT, BACK, GPU = "front", "back", "gpu"
OFFERS: Mapping[str, Mapping[str, Any]] = {
    FRONT: {"cpus": 1, "resources": {FRONT: 1}},
    BACK: {"cpus": 1, "resources": {BACK: 1}},
    GPU: {"cpus": 2, "gpus": 1},
}
PATIENCE_S = 90  # of clients: a node is missed, another joins, and its replicas start


def why_not() -> str | None:
    """Why nodes cannot have files of their own on this machine; None if they can."""
    with_mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return None if with_mounts.returncode == 0 else "mount namespaces need root"


@dataclass
class Nodes:
    """
    A head without replicas, the Gateway's node, that of Pipeline and Coordinator, and the Recognizer's.

    Attributes:
        of: The living node of each kind.
        s3: A client of the bucket.
    """

    cluster: RayCluster
    s3: Any
    of: dict[str, Node] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.cluster.http_port}"

    def join(self, *kinds: str) -> None:
        """New nodes, without any files."""
        for kind in kinds:
            self.of[kind] = self.cluster.start_worker(**OFFERS[kind])

    def files(self, kind: str) -> Path:
        """What that node keeps in its `data_dir`."""
        return self.of[kind].files / "data"

    def jobs(self) -> JobClient:
        return JobClient(self.url, patience_s=PATIENCE_S)

    def http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def audio(self) -> list[str]:
        """What lies in the bucket."""
        return [listed["Key"] for listed in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


@contextmanager
def running_nodes(keys: Path) -> Iterator[Nodes | None]:
    """
    Of the overlay `gpu-ha`, with as few replicas as there can be; None where no PostgreSQL is.

    Args:
        keys: A file to be written, which all nodes see, as pods see a Secret.
    """
    keys.write_text(KEY)
    with running_postgres() as postgres, running_s3() as variables:
        if postgres is None:
            yield None
            return
        s3 = client_of(variables)
        s3.create_bucket(Bucket=BUCKET)
        variables = {"RAYSCRIBE_DATABASE_URL": postgres.url, **variables}
        with ray_cluster(own_files=True, **variables) as cluster:
            nodes = Nodes(cluster, s3)
            cluster.start_head()
            nodes.join(*OFFERS)
            cluster.deploy(_config(cluster, keys))
            cluster.wait_until_running()
            yield nodes
        s3.close()


def _config(cluster: RayCluster, keys: Path) -> dict[str, Any]:
    manifests = manifests_of("gpu-ha")
    recognizer = {"device": "cpu", "max_replicas": 1, "max_batch_size": 1}  # chunk by chunk, so that there is a middle
    config = config_on_this_machine(
        manifests,
        cluster,
        auth={"api_key_file": str(keys)},
        models={"large-v3": TINY_EN.model_dump(mode="json")},
        media={"store": STORE},
        jobs={"max_running": 1, "kept_for_interactive": 0},  # so that some are queued when a node dies
        gateway={"replicas": 1},
        pipeline={"min_replicas": 1, "max_replicas": 1, "decoders": 1},
        recognizer=manifests.args["recognizer"] | recognizer,
        placement={"gateway": {FRONT: 0.01}, "pipeline": {BACK: 0.01}, "coordinator": {BACK: 0.01}},
        outbound={"allow": ["127.0.0.0/8"]},
    )
    return config | {"proxy_location": "HeadOnly"}  # on one machine those of the workers would share a port
