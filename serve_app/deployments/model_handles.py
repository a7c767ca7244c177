"""Serve handles that look like the Protocols of the model lifecycle."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from ray.serve.handle import DeploymentHandle

from serve_app.deployments.calls import DIED, PerModel, answer, ask_coordinator, slice_of
from serve_app.errors import CoordinatorUnavailable, RecognizerUnavailable
from serve_app.lifecycle.overview import Wish
from serve_app.lifecycle.protocols import Holder
from serve_app.models.protocols import ModelReporter, Models
from serve_app.models.types import ClusterModels, ModelEvent, ModelOverview, ReplicaReport, UnloadOrder


class HandleHolder(Holder):
    """The Recognizer deployment, from the Coordinator."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._hold = PerModel(handle, "hold")

    async def hold(self, model_id: str, for_s: float, wish: Wish) -> None:
        try:
            await answer(self._hold.remote(model_id, model_id, for_s, wish))
        except DIED:
            raise RecognizerUnavailable("The process that held the model died.") from None


class HandleModels(Models):
    """The Coordinator deployment, from a Gateway or a Pipeline; as `HandleJobs`."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._events = handle.options(stream=True).model_events

    async def status(self) -> ClusterModels:
        return cast(ClusterModels, await self._call("model_status"))

    async def overview(self, model_id: str) -> ModelOverview:
        return cast(ModelOverview, await self._call("model_overview", model_id))

    async def load(self, model_id: str, *, ttl_s: float | None = None) -> ModelOverview:
        return cast(ModelOverview, await self._call("load_model", model_id, ttl_s))

    async def want(self, model_id: str) -> ModelOverview:
        return cast(ModelOverview, await self._call("want_model", model_id))

    async def expect(self, model_id: str) -> ModelOverview:
        return cast(ModelOverview, await self._call("expect_model", model_id))

    async def unload(self, model_id: str, *, force: bool = False) -> ModelOverview:
        return cast(ModelOverview, await self._call("unload_model", model_id, force))

    async def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        async with contextlib.aclosing(slice_of(self._events.remote(after_seq))) as events:
            async for event in events:
                yield event

    async def _call(self, verb: str, *arguments: Any) -> Any:
        return await ask_coordinator(self._handle, verb, *arguments)


class HandleReporter(ModelReporter):
    """
    The Coordinator deployment, from a Recognizer.

    By gRPC, because a replica waits at the end of each of Ray's own calls, with its whole event loop, until the caller has
    the answer: one Recognizer whose process stands still would keep the Coordinator from everybody.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle.options(_by_reference=False)

    async def report(self, report: ReplicaReport) -> None:
        await self._call("report_models", report)

    async def orders(self, replica_id: str, *, after: int | None) -> Sequence[UnloadOrder]:
        return cast(Sequence[UnloadOrder], await self._call("model_orders", replica_id, after))

    async def _call(self, verb: str, *arguments: Any) -> Any:
        try:
            return await answer(getattr(self._handle, verb).remote(*arguments))
        except DIED:
            raise CoordinatorUnavailable("The process that keeps the states of models is away.") from None
