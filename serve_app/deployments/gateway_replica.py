"""The Gateway that Serve runs: HTTP in, calls to the other deployments out."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from serve_app.deployments.cluster import Readiness
from serve_app.deployments.gateways import Gateways
from serve_app.deployments.handles import (
    HandleJobs,
    HandleTranscriber,
)
from serve_app.deployments.hang_ups import HangUps
from serve_app.deployments.logs import configure_logging
from serve_app.deployments.model_handles import HandleModels
from serve_app.deployments.total_handle import HandleTotals
from serve_app.settings import (
    Settings,
    check_listen,
    is_local_only,
    with_user_config,
)
from serve_app.settings.memory import give_back_freed_memory
from serve_app.telemetry.courier import Courier
from serve_app.telemetry.tally import Tally


@serve.ingress()
class GatewayReplica:
    """HTTP: everything in `serve_app.api`, and nothing else."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, pipeline: DeploymentHandle[Any], coordinator: DeploymentHandle[Any]
    ) -> None:
        from serve_app.api.application import Services, create_app
        from serve_app.api.auth import KeyRing
        from serve_app.media.remote import open_fetcher
        from serve_app.media.store import open_media_store, open_request_store

        self._settings = settings
        give_back_freed_memory()
        configure_logging(settings)
        api_keys = KeyRing(settings.auth)
        has_keys = bool(api_keys())
        check_listen(settings, has_keys=has_keys)  # plain `serve run` comes past no other check
        context, tally, totals = serve.get_replica_context(), Tally(), HandleTotals(coordinator)
        self._courier = Courier(context.replica_id.unique_id, tally, totals.grow)
        self._courier.start()
        jobs = HandleJobs(coordinator)
        self._app = create_app(
            Services(
                settings=settings,
                transcriber=HandleTranscriber(pipeline),
                api_keys=api_keys,
                local_only=is_local_only(settings, has_keys=has_keys),
                media_store=open_request_store(settings),
                jobs=jobs,
                models=HandleModels(coordinator),
                job_media=open_media_store(settings),
                fetcher=open_fetcher(settings),
                ready=Readiness(context.app_name),
                tally=tally,
                total_keeper=totals,
                in_progress_elsewhere=Gateways(context.app_name).in_progress if settings.gateway.replicas > 1 else None,
            )
        )

        self._app.add_middleware(HangUps)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        settings = with_user_config(self._settings, "Gateway", user_config)
        configure_logging(settings)
        limits = settings.limits
        self._app.state.limiter.resize(max_requests=limits.max_requests, max_per_key=limits.max_requests_per_key)
        self._app.state.rates.resize(per_minute=limits.requests_per_minute_per_key)

    def drain(self) -> int:
        """Refuse new requests; gives how many are still in progress."""
        self._app.state.limiter.drain()
        return self.in_progress()

    def in_progress(self) -> int:
        """How many requests are."""
        in_progress: int = self._app.state.limiter.in_progress
        return in_progress

    async def __del__(self) -> None:
        await self._courier.close()
