"""
The Ray classes: thin shells around the plain parts, and the handles by which they reach one another.

No logic lives here. A deployment makes its parts from the settings in its constructor, and a `Handle…` makes a Serve handle
look like the Protocol behind it: it cancels what its caller cancels (Serve does not), translates Ray's errors into ours at
the border, and sends a chunk again when the replica that had it died.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from serve_app import telemetry
from serve_app.api.application import Services, create_app
from serve_app.api.auth import KeyRing
from serve_app.engine.recognizer import BatchingRecognizer, EngineOptions
from serve_app.errors import RayscribeError, RecognizerUnavailable
from serve_app.media.store import DirectoryMediaStore
from serve_app.pipeline.decode import DecoderPool
from serve_app.pipeline.run import Pipeline
from serve_app.settings import Settings
from serve_app.transcript.protocols import MediaReference, Recognizer, Transcriber
from serve_app.transcript.types import ChunkRequest, RecognizedChunk, TranscriptEvent, TranscriptionOptions

DIED = (RayActorError, WorkerCrashedError, DeploymentUnavailableError)


class RecognizerReplica:
    """Chunks in, recognised chunks out; the only deployment that holds models."""

    async def __init__(self, settings: Settings) -> None:
        telemetry.configure_logging(settings.log_level)
        self._recognizer = BatchingRecognizer(settings.models, _engine_options(settings))
        # Serve stays DEPLOYING until this returns, so nothing is sent to a service that has not loaded its models.
        await self._recognizer.preload(settings.preload)

    async def recognize(self, request: ChunkRequest) -> RecognizedChunk:
        return await self._recognizer.recognize(request)


class PipelineReplica:
    """One transcription a call: media in, a stream of events out."""

    async def __init__(self, settings: Settings, recognizer: DeploymentHandle[Any]) -> None:
        telemetry.configure_logging(settings.log_level)
        pipeline = settings.pipeline
        self._decoders = DecoderPool(size=pipeline.decoders, max_audio_s=settings.limits.max_audio_s)
        self._pipeline = Pipeline(
            HandleRecognizer(recognizer, retries=pipeline.chunk_retries),
            self._decoders,
            chunks_in_flight=pipeline.chunks_in_flight,
        )

    async def run(self, media: MediaReference, options: TranscriptionOptions) -> AsyncGenerator[TranscriptEvent, None]:
        async with contextlib.aclosing(self._pipeline.run(media, options)) as events:
            async for event in events:
                yield event

    async def __del__(self) -> None:
        await self._decoders.close()


@serve.ingress()
class GatewayReplica:
    """HTTP: everything in `serve_app.api`, and nothing else."""

    def __init__(self, settings: Settings, pipeline: DeploymentHandle[Any]) -> None:
        telemetry.configure_logging(settings.log_level)
        self._services = Services(
            settings=settings,
            transcriber=HandleTranscriber(pipeline),
            api_keys=KeyRing(settings.auth),
            media_store=DirectoryMediaStore(Path(settings.data_dir) / "uploads"),
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self._services)


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

    async def run(self, media: MediaReference, options: TranscriptionOptions) -> AsyncGenerator[TranscriptEvent, None]:
        events = self._run.remote(media, options)
        try:
            async for event in events:
                yield event
        except RayTaskError as error:
            raise _ours(error) from None
        except DIED:
            raise RecognizerUnavailable("the process that read this audio died; try again", retry_after_s=10) from None
        finally:
            events.cancel()  # nothing else stops the other side when this one stops listening; harmless at the end


def _engine_options(settings: Settings) -> EngineOptions:
    recognizer = settings.recognizer
    return EngineOptions(
        models_dir=Path(settings.data_dir) / "models",
        offline=settings.offline,
        device=recognizer.device,
        compute_type=recognizer.compute_type,
        threads=recognizer.threads,
        max_batch_size=recognizer.max_batch_size,
        batch_wait_ms=recognizer.batch_wait_ms,
    )


def _ours(error: RayTaskError) -> Exception:
    """What was raised on the other side: ours as it was, a foreign one as Ray shows it."""
    return error.cause if isinstance(error.cause, RayscribeError) else error
