"""A Serve handle that looks like where the counts of all processes come together."""

from __future__ import annotations

from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from serve_app.deployments.calls import DIED, answer
from serve_app.errors import CoordinatorUnavailable
from serve_app.telemetry.tally import Counts
from serve_app.telemetry.totals import Growth, TotalKeeper


class HandleTotals(TotalKeeper):
    """The Coordinator deployment, from any other; waits for no Coordinator that is away."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def grow(self, growth: Growth) -> None:
        await self._call("grow", growth)

    async def totals(self) -> Counts:
        return cast(Counts, await self._call("totals"))

    async def _call(self, verb: str, *arguments: Any) -> Any:
        try:
            return await answer(getattr(self._handle, verb).remote(*arguments))
        except DIED:
            raise CoordinatorUnavailable("The process that adds up the counts is away.") from None
