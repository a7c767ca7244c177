"""
The Ray classes: thin shells around the plain parts, and the handles by which they reach one another.

No logic lives here. A deployment makes its parts from the settings in its constructor, and a `Handle…` makes a Serve handle
look like the Protocol behind it: it cancels what its caller cancels (Serve does not), translates Ray's errors into ours at
the border, and sends a chunk again when the replica that had it died.

The parts are imported where they are made, so that each process loads its own part's libraries and no other's: a Gateway
without CTranslate2 starts sooner and is smaller.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, cast

from ray import serve
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from ray.serve.schema import ApplicationStatus
from starlette.types import ASGIApp

from serve_app import telemetry
from serve_app.errors import RayscribeError, RecognizerUnavailable
from serve_app.settings import Settings, check_listen
from serve_app.transcript.protocols import MediaReference, Recognizer, Transcriber
from serve_app.transcript.types import (
    ChunkRequest,
    ChunkTranscribed,
    RecognizedChunk,
    TranscriptEvent,
    TranscriptionOptions,
)

DIED = (RayActorError, WorkerCrashedError, DeploymentUnavailableError)


class RecognizerReplica:
    """Chunks in, recognised chunks out; the only deployment that holds models."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Serve awaits it
        from serve_app.engine.recognizer import BatchingRecognizer

        telemetry.configure_logging(settings.log_level)
        self._recognizer = BatchingRecognizer.from_settings(settings)
        # Serve stays DEPLOYING until this returns, so nothing is sent to a service that has not loaded its models.
        await self._recognizer.preload(settings.preload)

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        return await self._recognizer.recognize(request)


class PipelineReplica:
    """One transcription a call: media in, a stream of events out."""

    async def __init__(self, settings: Settings, recognizer: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        from serve_app.pipeline.decode import DecoderPool
        from serve_app.pipeline.run import Pipeline

        telemetry.configure_logging(settings.log_level)
        pipeline = settings.pipeline
        self._decoders = DecoderPool(size=pipeline.decoders, max_audio_s=settings.limits.max_audio_s)
        self._pipeline = Pipeline(
            HandleRecognizer(recognizer, retries=pipeline.chunk_retries),
            self._decoders,
            chunks_in_flight=pipeline.chunks_in_flight,
        )

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        async with contextlib.aclosing(self._pipeline.run(media, options, known)) as events:
            async for event in events:
                yield event

    async def __del__(self) -> None:
        await self._decoders.close()


@serve.ingress()
class GatewayReplica:
    """HTTP: everything in `serve_app.api`, and nothing else."""

    def __init__(self, settings: Settings, pipeline: DeploymentHandle[Any]) -> None:
        from serve_app.api.application import Services, create_app
        from serve_app.api.auth import KeyRing
        from serve_app.media.store import DirectoryMediaStore

        telemetry.configure_logging(settings.log_level)
        api_keys = KeyRing(settings.auth)
        check_listen(settings, has_keys=bool(api_keys()))  # plain `serve run` comes past no other check
        self._app = create_app(
            Services(
                settings=settings,
                transcriber=HandleTranscriber(pipeline),
                api_keys=api_keys,
                media_store=DirectoryMediaStore(Path(settings.data_dir) / "uploads"),
                ready=Readiness(serve.get_replica_context().app_name),
            )
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app

    def drain(self) -> int:
        """Refuse new requests; gives how many are still in progress."""
        self._app.state.limiter.drain()
        in_progress: int = self._app.state.limiter.in_progress
        return in_progress


class Readiness:
    """Whether every deployment has been up once; a model that is unloaded later does not take it back."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._latched = False

    async def __call__(self) -> bool:
        if not self._latched:
            self._latched = await asyncio.to_thread(self._is_running)
        return self._latched

    def _is_running(self) -> bool:
        # The status comes from the controller: to ask the recogniser itself would wake it, or keep it awake.
        return serve.status().applications[self._app_name].status == ApplicationStatus.RUNNING


class HandleRecognizer(Recognizer):
    """The Recognizer deployment, from a Pipeline."""

    def __init__(self, handle: DeploymentHandle[Any], *, retries: int) -> None:
        self._recognize = handle.recognize
        self._retries = retries

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        for _ in range(self._retries + 1):
            with contextlib.suppress(*DIED):  # Serve never repeats a call that a replica had accepted
                return await self._once(request)
        raise RecognizerUnavailable(
            f"the recogniser died {self._retries + 1} times while it worked on this audio; try again", retry_after_s=10
        )

    async def _once(self, request: ChunkRequest) -> RecognizedChunk:
        response = self._recognize.remote(request)
        try:
            recognized: RecognizedChunk = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except RayTaskError as error:
            raise _ours(error) from None
        return recognized


class HandleTranscriber(Transcriber):
    """The Pipeline deployment, from a Gateway."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._run = handle.options(stream=True).run

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        events = cast(DeploymentResponseGenerator[Any], self._run.remote(media, options, known))
        try:
            async for event in events:
                yield event
        except RayTaskError as error:
            raise _ours(error) from None
        except DIED:
            raise RecognizerUnavailable("the process that read this audio died; try again", retry_after_s=10) from None
        finally:
            events.cancel()  # nothing else stops the other side when this one stops listening; harmless at the end


def _ours(error: RayTaskError) -> Exception:
    """What was raised on the other side: ours as it was, a foreign one as Ray shows it."""
    return error.cause if isinstance(error.cause, RayscribeError) else error
