"""What a replica knows of the cluster that it is part of."""

from __future__ import annotations

import asyncio
import contextvars

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus


def cluster_name() -> str:
    """The same for all that this cluster ever runs, also after its head was replaced, and another one for every other cluster."""
    return str(ray.get_runtime_context().get_session_name())


class Readiness:
    """
    Whether every deployment has been up once; a model that is unloaded later does not take it back.

    So KubeRay, too, judges whether a new cluster gets the traffic.

    Raises:
        RayError, RayServeException: By the call: the controller is away. One that does not answer is asked once, by all who wait.
    """

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._latched = False
        self._asking: asyncio.Task[bool] | None = None

    async def __call__(self) -> bool:
        if not self._latched:
            if self._asking is None or self._asking.done():
                question = asyncio.to_thread(self._is_running)
                self._asking = asyncio.create_task(question, context=contextvars.Context())
            self._latched = await asyncio.shield(self._asking)
        return self._latched

    def _is_running(self) -> bool:
        # The status comes from the controller: to ask the recogniser itself would wake it, or keep it awake.
        application = serve.status().applications.get(self._app_name)
        return application is not None and application.status is ApplicationStatus.RUNNING
