"""The other replicas of the Gateway, from one of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.calls import DIED
from serve_app.errors import Unavailable

GATEWAY = "Gateway"
ANSWER_S = 2.0


class Gateways:
    """All replicas of the deployment, the one that asks included."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name

    @cached_property
    def _handle(self) -> DeploymentHandle[Any]:
        return serve.get_deployment_handle(GATEWAY, self._app_name, _check_exists=False)

    async def in_progress(self) -> int:
        """
        Requests in progress in all of them together.

        Raises:
            Unavailable: Not all of them answer.
        """
        try:
            return sum(await self._handle.broadcast("in_progress").results_async(timeout_s=ANSWER_S))
        except (TimeoutError, RayError, *DIED) as error:
            raise Unavailable(f"Not all Gateways answer: {type(error).__name__}.") from error
