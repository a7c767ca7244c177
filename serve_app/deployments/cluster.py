"""What a replica knows of the cluster that it is part of."""

from __future__ import annotations

import asyncio

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatus


def cluster_name() -> str:
    """The same for all that this cluster ever runs, also after its head was replaced, and another one for every other cluster."""
    return str(ray.get_runtime_context().get_session_name())


async def is_running(application: str) -> bool:
    """Whether all deployments are up, which is also when KubeRay gives a new cluster the traffic."""
    try:
        applications = (await asyncio.to_thread(serve.status)).applications
    except RayError:  # the controller is away
        return False
    return application in applications and applications[application].status is ApplicationStatus.RUNNING
