"""Serve handles that look like the Protocols behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.calls import (
    AGAIN_S,
    DIED,
    PerModel,
    answer,
    ask_coordinator,
    ours,
    slice_of,
    until_answered,
)
from serve_app.errors import LeaseLost, RecognizerLeaving, RecognizerUnavailable, StoreUnavailable
from serve_app.jobs.job import (
    Claim,
    Delivery,
    Event,
    JobDetails,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    Owner,
    QueueStats,
    Step,
    Submitted,
)
from serve_app.jobs.protocols import AttemptRecorder, JobRunner, Jobs
from serve_app.telemetry.context import job_id
from serve_app.transcript.protocols import MediaReference, Recognizer, Transcriber
from serve_app.transcript.types import (
    ChunkRequest,
    ChunkTranscribed,
    RecognizedChunk,
    TranscriptEvent,
    TranscriptionOptions,
)

logger = logging.getLogger(__name__)


class HandleRecognizer(Recognizer):
    """
    The Recognizer deployment, from a Pipeline: a chunk whose replica died or failed is sent again, which Serve never does.

    Args:
        retries: So often at most, because it may be the chunk that kills them.
        patience_s: How long a replica is waited for that takes it.
    """

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        *,
        retries: int,
        patience_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._recognize = PerModel(handle, "recognize")
        self._retries = retries
        self._patience_s = patience_s
        self._sleep = sleep

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        failures, waited_s = 0, 0.0
        while True:
            try:
                return await self._once(request)
            except RecognizerLeaving:  # which has begun nothing
                if waited_s >= self._patience_s:
                    raise
                waited_s += AGAIN_S
                await self._sleep(AGAIN_S)
            except (RecognizerUnavailable, *DIED):
                failures += 1
                if failures > self._retries:
                    raise _failed(failures) from None
                # What ended one replica may be about to end the next: the tries must not be over before it has passed.
                await self._sleep(AGAIN_S * 2 ** (failures - 1))

    async def _once(self, request: ChunkRequest) -> RecognizedChunk:
        logger.debug("asks for chunk %d", request.index)
        recognized: RecognizedChunk = await answer(self._recognize.remote(request.options.model_id, request, job_id()))
        return recognized


def _failed(times: int) -> RecognizerUnavailable:
    return RecognizerUnavailable(
        f"the recogniser died or its GPU failed {times} times while it worked on this audio; try again",
        retry_after_s=10,
    )


class HandleTranscriber(Transcriber):
    """The Pipeline deployment, from a Gateway."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._run = handle.options(stream=True).run

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        events: Any = self._run.remote(media, options, known)  # a DeploymentResponseGenerator, without types
        try:
            async for event in events:
                yield event
        except RayTaskError as error:
            raise ours(error) from None
        except DIED:
            raise RecognizerUnavailable("the process that read this audio died; try again", retry_after_s=10) from None
        finally:
            events.cancel()  # nothing else stops the other side when this one stops listening; harmless at the end


class HandleRunner(JobRunner):
    """The Pipeline deployment, from the Coordinator."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._run_job = handle.run_job

    async def run(self, claim: Claim) -> None:
        try:
            await answer(self._run_job.remote(claim))
        except DIED:
            raise RecognizerUnavailable("The process that worked on this audio died.") from None


class HandleRecorder(AttemptRecorder):
    """
    The Coordinator deployment, from a Pipeline.

    While it is away a step is sent again and again, until the lease has expired for sure. A step that was recorded before the
    answer got lost changes nothing.
    """

    def __init__(self, handle: DeploymentHandle[Any], *, lease_s: float) -> None:
        self._handle = handle
        self._lease_s = lease_s

    async def record(self, lease: Lease, *steps: Step) -> None:
        await self._call("record", lease, *steps)

    async def extend(self, lease: Lease) -> None:
        await self._call("extend", lease)

    async def _call(self, verb: str, lease: Lease, *more: Any) -> None:
        try:
            async with asyncio.timeout(self._lease_s):
                ask = getattr(self._handle, verb).remote
                await until_answered(lambda: ask(lease, *more), also=(StoreUnavailable,))
        except TimeoutError:
            raise LeaseLost(f"The Coordinator is away for longer than the lease of job {lease.job_id}.") from None


class HandleJobs(Jobs):
    """The Coordinator deployment, from a Gateway: when it dies, calls wait for the next one."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._events = handle.options(stream=True).events

    async def submit(self, new: NewJob) -> Submitted:
        submitted: Submitted = await self._call("submit", new)
        # Ids are made by whoever submits: a job with this one is this one, also when the first answer got lost.
        return replace(submitted, created=submitted.created or submitted.job.job_id == new.job_id)

    async def was_submitted(self, key: str, owner: str) -> bool:
        return cast(bool, await self._call("was_submitted", key, owner))

    async def get(self, job_id: str, owner: Owner) -> JobDetails:
        return cast(JobDetails, await self._call("get", job_id, owner))

    async def page(self, query: JobQuery, owner: Owner) -> JobPage:
        return cast(JobPage, await self._call("page", query, owner))

    async def cancel(self, job_id: str, owner: Owner) -> JobDetails:
        return cast(JobDetails, await self._call("cancel", job_id, owner))

    async def purge(self, job_id: str, owner: Owner) -> None:
        await self._call("purge", job_id, owner)

    async def events(self, job_id: str, owner: Owner, *, after_seq: int) -> AsyncGenerator[Event, None]:
        async with contextlib.aclosing(slice_of(self._events.remote(job_id, owner, after_seq))) as events:
            async for group in events:
                for event in group:
                    yield event

    async def deliveries(self, job_id: str, owner: Owner) -> Sequence[Delivery]:
        return cast(Sequence[Delivery], await self._call("deliveries", job_id, owner))

    async def resend(self, job_id: str, delivery_id: str, owner: Owner) -> Delivery:
        return cast(Delivery, await self._call("resend", job_id, delivery_id, owner))

    async def stats(self) -> QueueStats:
        return cast(QueueStats, await self._call("stats"))

    async def _call(self, verb: str, *arguments: Any) -> Any:
        return await ask_coordinator(self._handle, verb, *arguments)
