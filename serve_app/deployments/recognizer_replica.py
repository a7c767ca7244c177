"""The Recognizer that Serve runs: chunks in, recognised chunks out."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from typing import Any

from ray import serve

from serve_app.deployments.advertising import advertise
from serve_app.deployments.calls import coordinator_of
from serve_app.deployments.logs import configure_logging
from serve_app.deployments.model_handles import HandleModels, HandleReporter
from serve_app.deployments.total_handle import HandleTotals
from serve_app.errors import ModelNotReady
from serve_app.lifecycle.overview import Wish
from serve_app.settings import Settings, with_user_config
from serve_app.settings.memory import give_back_freed_memory
from serve_app.settings.niceness import give_way_as_a_whole
from serve_app.telemetry.context import working_on
from serve_app.telemetry.courier import Courier
from serve_app.telemetry.tally import Tally
from serve_app.transcript.types import ChunkRequest, RecognizedChunk


class RecognizerReplica:
    """Chunks in, recognised chunks out; the only deployment that holds models."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        from serve_app.engine.recognizer import BatchingRecognizer
        from serve_app.lifecycle.link import Holds, ReplicaLink, load_what_others_use

        self._settings = settings
        give_way_as_a_whole()
        give_back_freed_memory()
        configure_logging(settings)
        context = serve.get_replica_context()
        replica_id, tally = context.replica_id.unique_id, Tally()
        self._recognizer = BatchingRecognizer.from_settings(settings, replica_id=replica_id, tally=tally)
        self._holds = Holds(self._recognizer.models)
        coordinator = coordinator_of(context.app_name)
        self._courier = Courier(replica_id, tally, HandleTotals(coordinator).grow)
        self._courier.start()
        self._link = ReplicaLink(replica_id, self._recognizer.models, HandleReporter(coordinator), advertise)
        self._link.start()
        # Serve stays DEPLOYING until this returns, so nothing is sent to a service that has not loaded its models.
        with contextlib.suppress(ModelNotReady):  # somebody unloaded one meanwhile
            await self._recognizer.preload(settings.preload)
        self._joining = asyncio.create_task(
            load_what_others_use(HandleModels(coordinator), self._recognizer.models), context=contextvars.Context()
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        settings = with_user_config(self._settings, "Recognizer", user_config)
        configure_logging(settings)
        self._recognizer.models.change_rules(settings.lifecycle)

    async def recognize(self, request: ChunkRequest, job_id: str = "") -> RecognizedChunk:
        with working_on(job_id=job_id):
            return await self._recognizer.recognize(request)

    async def hold(self, model_id: str, for_s: float, wish: Wish) -> None:
        await self._holds.hold(model_id, for_s, wish)

    def check_health(self) -> None:
        self._recognizer.check_health()

    async def __del__(self) -> None:
        self._joining.cancel()
        await self._link.close()
        await self._recognizer.close()
        await self._courier.close()
