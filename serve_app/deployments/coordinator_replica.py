"""The Coordinator that Serve runs: knows the jobs, the models and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.cluster import Readiness, cluster_name
from serve_app.deployments.handles import HandleRunner
from serve_app.deployments.logs import configure_logging
from serve_app.deployments.model_handles import HandleHolder
from serve_app.jobs.job import (
    Announcement,
    Delivery,
    Event,
    JobDetails,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    News,
    Owner,
    QueueStats,
    Step,
    Submitted,
    WaitingFor,
)
from serve_app.models.types import SERVING, ClusterModels, ModelEvent, ModelOverview, ReplicaReport, UnloadOrder
from serve_app.settings import Settings, read_database_url, read_webhook_secret, with_user_config
from serve_app.settings.niceness import give_way_as_a_whole
from serve_app.telemetry.tally import Counts, Tally
from serve_app.telemetry.totals import Growth, Totals


class CoordinatorReplica:
    """
    The owner of the jobs, and who knows the models of all replicas.

    There is one, but while Serve replaces it there may be two, and while a cluster is replaced, one in each: for jobs they elect
    one that leads, and of models the newer one of a cluster knows within seconds what replicas tell.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, pipeline: DeploymentHandle[Any], recognizer: DeploymentHandle[Any]
    ) -> None:
        from serve_app.jobs.clock import SteadyClock
        from serve_app.jobs.coordinator import Coordinator, Parts
        from serve_app.jobs.sql import open_store
        from serve_app.lifecycle.milestones import Milestones
        from serve_app.lifecycle.pin_file import PinFile
        from serve_app.lifecycle.registry import ModelRegistry
        from serve_app.media.addresses import AddressRules
        from serve_app.media.outbound import outbound_client
        from serve_app.media.store import open_media_store, open_request_store
        from serve_app.models.catalogue import Catalogue

        self._settings = settings
        give_way_as_a_whole()
        configure_logging(settings)
        clock, tally = SteadyClock(), Tally()
        self._totals = Totals(tally)
        pin_file = PinFile(Path(settings.data_dir) / "pins.json")
        self._registry = ModelRegistry(
            Catalogue(settings), HandleHolder(recognizer), settings.lifecycle, clock, pin_file=pin_file
        )
        self._milestones = Milestones(self._registry, clock)
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        self._watching = asyncio.create_task(self._registry.run(), context=contextvars.Context())
        database_url, app_name = read_database_url(settings.jobs), serve.get_replica_context().app_name
        location = database_url or Path(settings.data_dir) / "jobs.sqlite3"
        self._coordinator = Coordinator(
            Parts(
                open_store=lambda: open_store(location, clock),
                media=open_media_store(settings),
                request_media=open_request_store(settings),
                runner=HandleRunner(pipeline),
                settings=settings.jobs,
                webhooks=settings.webhooks,
                webhook_secret=read_webhook_secret(settings.webhooks),
                client=outbound_client(AddressRules(settings.outbound.allow)),
                clock=clock,
                waiting_for=self._waiting_for,
                announcements=self._announcements,
                tally=tally,
                # SQLite's file is one cluster's, and whoever starts on it has nobody to wait for.
                cluster=cluster_name() if database_url else "",
                is_ready=Readiness(app_name),
            )
        )
        self._coordinator.start()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        settings = with_user_config(self._settings, "Coordinator", user_config)
        configure_logging(settings)
        self._registry.change_rules(settings.lifecycle)

    async def submit(self, new: NewJob) -> Submitted:
        return await self._coordinator.jobs.submit(new)

    async def was_submitted(self, key: str, owner: str) -> bool:
        return await self._coordinator.jobs.was_submitted(key, owner)

    async def get(self, job_id: str, owner: Owner) -> JobDetails:
        return await self._coordinator.jobs.get(job_id, owner)

    async def page(self, query: JobQuery, owner: Owner) -> JobPage:
        return await self._coordinator.jobs.page(query, owner)

    async def cancel(self, job_id: str, owner: Owner) -> JobDetails:
        return await self._coordinator.jobs.cancel(job_id, owner)

    async def purge(self, job_id: str, owner: Owner) -> None:
        await self._coordinator.jobs.purge(job_id, owner)

    async def events(self, job_id: str, owner: Owner, after_seq: int) -> AsyncGenerator[Sequence[Event], None]:
        groups = self._coordinator.jobs.event_groups(job_id, owner, after_seq=after_seq)
        async with contextlib.aclosing(groups):
            async for group in groups:  # an item of a stream costs about the same whatever it holds
                yield group

    async def deliveries(self, job_id: str, owner: Owner) -> Sequence[Delivery]:
        return await self._coordinator.jobs.deliveries(job_id, owner)

    async def resend(self, job_id: str, delivery_id: str, owner: Owner) -> Delivery:
        return await self._coordinator.jobs.resend(job_id, delivery_id, owner)

    async def stats(self) -> QueueStats:
        return await self._coordinator.jobs.stats()

    async def record(self, lease: Lease, *steps: Step) -> None:
        await self._coordinator.jobs.record(lease, *steps)

    async def extend(self, lease: Lease) -> None:
        await self._coordinator.jobs.extend(lease)

    async def model_status(self) -> ClusterModels:
        return await self._registry.status()

    async def model_overview(self, model_id: str) -> ModelOverview:
        return await self._registry.overview(model_id)

    async def load_model(self, model_id: str, ttl_s: float | None) -> ModelOverview:
        return await self._registry.load(model_id, ttl_s=ttl_s)

    async def want_model(self, model_id: str) -> ModelOverview:
        return await self._registry.want(model_id)

    async def expect_model(self, model_id: str) -> ModelOverview:
        return await self._registry.expect(model_id)

    async def unload_model(self, model_id: str, force: bool) -> ModelOverview:
        return await self._registry.unload(model_id, force=force)

    async def model_events(self, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        async with contextlib.aclosing(self._registry.events(after_seq=after_seq)) as events:
            async for event in events:
                yield event

    async def report_models(self, report: ReplicaReport) -> None:
        await self._registry.report(report)

    async def model_orders(self, replica_id: str, after: int | None) -> Sequence[UnloadOrder]:
        return await self._registry.orders(replica_id, after=after)

    async def grow(self, growth: Growth) -> None:
        await self._totals.grow(growth)

    async def totals(self) -> Counts:
        return await self._totals.totals()

    async def leave(self) -> None:
        """Give no more jobs to runners, and let go of them: the cluster ends."""
        await self._coordinator.close(for_good=True)

    async def _announcements(self) -> AsyncGenerator[Announcement, None]:
        async with contextlib.aclosing(self._milestones.follow()) as events:
            async for event in events:
                news = News.MODEL_READY if event.state in SERVING else News.MODEL_UNLOADED
                yield Announcement(news, event.model_id, event.state, event.reason, event.at)

    def _waiting_for(self, model_id: str) -> WaitingFor | None:
        lack = self._registry.lacks(model_id)
        return WaitingFor(lack) if lack else None

    def check_health(self) -> None:
        self._coordinator.check()
        if self._watching.done():
            self._watching.result()

    async def __del__(self) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._coordinator.close()
