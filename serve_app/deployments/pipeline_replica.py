"""The Pipeline that Serve runs: media in, events or recorded steps out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.calls import coordinator_of
from serve_app.deployments.handles import HandleRecognizer, HandleRecorder
from serve_app.deployments.logs import configure_logging
from serve_app.deployments.model_handles import HandleModels
from serve_app.deployments.total_handle import HandleTotals
from serve_app.jobs.job import Claim
from serve_app.settings import Settings, with_user_config
from serve_app.settings.memory import give_back_freed_memory
from serve_app.settings.niceness import give_way_as_a_whole
from serve_app.settings.shares import chunks_of_jobs
from serve_app.telemetry.context import working_on
from serve_app.telemetry.courier import Courier
from serve_app.telemetry.tally import Tally
from serve_app.transcript.protocols import MediaReference
from serve_app.transcript.types import ChunkTranscribed, TranscriptEvent, TranscriptionOptions


class PipelineReplica:
    """One transcription a call: media in, a stream of events out, or an attempt at a job recorded."""

    async def __init__(self, settings: Settings, recognizer: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        from serve_app.jobs.runner import AttemptRunner
        from serve_app.lifecycle.patience import PatientRecognizer
        from serve_app.media.remote import open_fetcher
        from serve_app.pipeline.background import BackgroundRecognizer
        from serve_app.pipeline.decode import DecoderPool
        from serve_app.pipeline.measured import MeasuredTranscriber
        from serve_app.pipeline.run import Pipeline

        self._settings = settings
        give_way_as_a_whole()
        give_back_freed_memory()
        configure_logging(settings)
        pipeline = settings.pipeline
        self._decoders = DecoderPool(size=pipeline.decoders, max_audio_s=settings.limits.max_audio_s)
        context, tally = serve.get_replica_context(), Tally()
        coordinator = coordinator_of(context.app_name)
        self._courier = Courier(context.replica_id.unique_id, tally, HandleTotals(coordinator).grow)
        self._courier.start()
        recognizers = PatientRecognizer(
            HandleRecognizer(
                recognizer, retries=pipeline.chunk_retries, patience_s=settings.lifecycle.cold_start_wait_s
            ),
            HandleModels(coordinator),
            wait_s=settings.lifecycle.cold_start_wait_s,
        )
        at_once = chunks_of_jobs(settings)
        for_requests = Pipeline(recognizers, self._decoders, chunks_in_flight=pipeline.chunks_in_flight)
        self._pipeline = MeasuredTranscriber(for_requests, tally, "request")
        for_jobs = Pipeline(
            BackgroundRecognizer(recognizers, at_once=at_once),
            self._decoders,
            chunks_in_flight=pipeline.chunks_in_flight,
            together=at_once,
        )
        lease_s = settings.jobs.lease_s
        recorder = HandleRecorder(coordinator, lease_s=lease_s)
        self._runner = AttemptRunner(
            MeasuredTranscriber(for_jobs, tally, "job"), recorder, open_fetcher(settings), heartbeat_s=lease_s / 3
        )

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        configure_logging(with_user_config(self._settings, "Pipeline", user_config))

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        async with contextlib.aclosing(self._pipeline.run(media, options, known)) as events:
            async for event in events:
                yield event

    async def run_job(self, claim: Claim) -> None:
        with working_on(job_id=claim.lease.job_id):
            await self._runner.run(claim)

    async def __del__(self) -> None:
        await self._decoders.close()
        await self._courier.close()
