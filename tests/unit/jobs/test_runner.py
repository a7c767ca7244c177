from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve_app.errors import InvalidAudio, LeaseLost, MediaUnavailable
from serve_app.jobs.job import Lease, MediaFetched, RemoteMedia, Step
from serve_app.jobs.runner import AttemptRunner
from serve_app.testing import SENTENCES, FakeTranscriber, silent_wav
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed, TranscriptionFinished
from tests.unit.jobs.examples import claim

WAV = silent_wav(30)


class Recorder:
    """Writes down what it is told, until the lease is lost."""

    def __init__(self, *, steps: int = 100, beats: int = 100) -> None:
        self.steps: list[Step] = []
        self.calls = self.beats = 0
        self._most_steps = steps
        self._most_beats = beats

    async def record(self, lease: Lease, *steps: Step) -> None:
        if len(self.steps) == self._most_steps:
            raise LeaseLost(lease.job_id)
        self.steps += steps
        self.calls += 1

    async def extend(self, lease: Lease) -> None:
        if self.beats == self._most_beats:
            raise LeaseLost(lease.job_id)
        self.beats += 1


class Fetcher:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.urls: list[str] = []

    def check(self, url: str) -> None:
        pass

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        self.urls.append(url)
        if self._error:
            raise self._error
        return StoredMedia("fetched"), len(WAV)


async def never(_: float) -> None:
    await asyncio.Event().wait()


async def forever(_: int) -> None:
    await asyncio.Event().wait()


async def hastily(_: float) -> None:
    await asyncio.sleep(0)


def transcriber(before_chunk: Callable[[int], Awaitable[None]] = hastily) -> FakeTranscriber:
    return FakeTranscriber(before_chunk=before_chunk, read=lambda _: WAV)


def runner(
    transcriber: FakeTranscriber,
    recorder: Recorder,
    fetcher: Fetcher | None = None,
    sleep: Callable[[float], Awaitable[None]] = never,
    *,
    linger_s: float = 0,
) -> AttemptRunner:
    return AttemptRunner(transcriber, recorder, fetcher or Fetcher(), heartbeat_s=10, linger_s=linger_s, sleep=sleep)


def kinds(steps: list[Step]) -> list[type]:
    return [type(step) for step in steps]


async def test_every_step_is_recorded_in_order() -> None:
    recorder = Recorder()

    await runner(transcriber(), recorder).run(claim())

    assert kinds(recorder.steps) == [*[ChunkTranscribed] * len(SENTENCES), TranscriptionFinished]


async def test_steps_that_come_together_are_recorded_together() -> None:
    recorder = Recorder()

    await runner(transcriber(), recorder, linger_s=60).run(claim())

    assert recorder.calls == 1
    assert len(recorder.steps) == len(SENTENCES) + 1


async def test_known_chunks_are_neither_recognised_nor_recorded_again() -> None:
    recorder, asked = Recorder(), list[int]()

    async def note(index: int) -> None:
        asked.append(index)

    await runner(transcriber(), before := Recorder()).run(claim())
    known = [step for step in before.steps[:2] if isinstance(step, ChunkTranscribed)]
    await runner(transcriber(note), recorder).run(claim(*known))

    assert asked[0] == 2
    assert recorder.steps == before.steps[2:]


async def test_remote_audio_is_fetched_and_recorded_before_anything_else() -> None:
    recorder, fetcher = Recorder(), Fetcher()

    await runner(transcriber(), recorder, fetcher).run(claim(source=RemoteMedia("https://example.org/a.wav")))

    assert fetcher.urls == ["https://example.org/a.wav"]
    assert recorder.steps[0] == MediaFetched(StoredMedia("fetched"), len(WAV))
    assert kinds(recorder.steps)[1:] == [*[ChunkTranscribed] * len(SENTENCES), TranscriptionFinished]


async def test_error_of_the_fetch_is_raised_as_it_is() -> None:
    fetcher = Fetcher(MediaUnavailable("The server is away."))

    with pytest.raises(MediaUnavailable):
        await runner(transcriber(), Recorder(), fetcher).run(claim(source=RemoteMedia("https://example.org/a.wav")))


async def test_error_of_the_transcription_is_raised_as_it_is() -> None:
    broken = FakeTranscriber(read=lambda _: b"no audio")

    with pytest.raises(InvalidAudio):
        await runner(broken, Recorder()).run(claim())


async def test_lost_lease_stops_the_transcription() -> None:
    async def stay_after_the_first(index: int) -> None:
        await (forever(index) if index else hastily(index))

    recorder, work = Recorder(steps=0), transcriber(stay_after_the_first)

    with pytest.raises(LeaseLost):
        await runner(work, recorder).run(claim())

    assert work.cancelled == 1


async def test_heartbeat_that_loses_the_lease_stops_the_transcription() -> None:
    recorder, work = Recorder(beats=2), transcriber(forever)

    with pytest.raises(LeaseLost):
        await runner(work, recorder, sleep=hastily).run(claim())

    assert recorder.beats == 2
    assert work.cancelled == 1


async def test_nothing_is_done_before_the_store_knows_that_somebody_began() -> None:
    fetcher, recorder = Fetcher(), Recorder(beats=0)

    with pytest.raises(LeaseLost):
        await runner(transcriber(), recorder, fetcher).run(claim(source=RemoteMedia("https://example.org/a.wav")))

    assert (fetcher.urls, recorder.steps) == ([], [])


async def test_lease_is_extended_while_remote_audio_is_fetched() -> None:
    recorder, beaten = Recorder(), asyncio.Event()

    class Slow(Fetcher):
        async def fetch(self, url: str) -> tuple[StoredMedia, int]:
            await beaten.wait()
            return await super().fetch(url)

    async def one_beat(_: float) -> None:
        if recorder.beats:
            beaten.set()
            await asyncio.Event().wait()

    await runner(transcriber(), recorder, Slow(), one_beat).run(claim(source=RemoteMedia("https://example.org/a.wav")))

    assert recorder.beats == 1


async def test_cancelling_the_call_cancels_the_transcription() -> None:
    began = asyncio.Event()

    async def begin_and_stay(_: int) -> None:
        began.set()
        await forever(_)

    work = transcriber(begin_and_stay)
    running = asyncio.create_task(runner(work, Recorder()).run(claim()))
    await began.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert work.cancelled == 1
