"""One attempt at a job: from its audio to recorded steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from serve_app.jobs.gathering import gathered
from serve_app.jobs.job import Claim, Lease, MediaFetched, RemoteMedia
from serve_app.jobs.protocols import AttemptRecorder, JobRunner, Sleep, UrlFetcher
from serve_app.transcript.protocols import StoredMedia, Transcriber
from serve_app.transcript.types import ChunkTranscribed, TranscriptEvent

MOST_STEPS = 16  # recorded by one call
LINGER_S = 0.05  # chunks that were recognised together come within milliseconds, and so does the end after the last


class AttemptRunner(JobRunner):
    """
    Transcribes, and records the steps, those together that come together: each call and each transaction costs as much as
    recognising a second of speech.

    An attempt that can no longer record stalls a few chunks later, and does not run to its end for nobody.

    Args:
        heartbeat_s: How often the lease is extended; well below its length.
        linger_s: How long a step waits for others that may come with it.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        recorder: AttemptRecorder,
        fetcher: UrlFetcher,
        *,
        heartbeat_s: float,
        linger_s: float = LINGER_S,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._transcriber = transcriber
        self._recorder = recorder
        self._fetcher = fetcher
        self._heartbeat_s = heartbeat_s
        self._linger_s = linger_s
        self._sleep = sleep

    async def run(self, claim: Claim) -> None:
        """Work on an attempt to its end; raises as `JobRunner.run`."""
        # Before any work: of audio that takes this process along, the store must know that it was begun with.
        await self._recorder.extend(claim.lease)
        work = asyncio.create_task(self._work(claim))
        heartbeat = asyncio.create_task(self._keep_extending(claim.lease))
        try:
            await asyncio.wait((work, heartbeat), return_when=asyncio.FIRST_COMPLETED)
            # The last step ends the lease, so the heartbeat may lose it just then: what the work says comes first.
            await (work if work.done() else heartbeat)
        finally:
            work.cancel()
            heartbeat.cancel()
            await asyncio.gather(work, heartbeat, return_exceptions=True)

    async def _keep_extending(self, lease: Lease) -> None:
        while True:
            await self._sleep(self._heartbeat_s)
            await self._recorder.extend(lease)

    async def _work(self, claim: Claim) -> None:
        media = await self._stored(claim)
        async with aclosing(self._transcriber.run(media, claim.options, claim.known)) as events:
            await self._record(claim, events)

    async def _stored(self, claim: Claim) -> StoredMedia:
        """Where the audio lies; what is remote is fetched, once for all attempts."""
        if not isinstance(claim.source, RemoteMedia):
            return claim.source
        media, size_bytes = await self._fetcher.fetch(claim.source.url)
        await self._recorder.record(claim.lease, MediaFetched(media, size_bytes))
        return media

    async def _record(self, claim: Claim, events: AsyncGenerator[TranscriptEvent, None]) -> None:
        known = {(chunk.channel, chunk.index) for chunk in claim.known}
        async with aclosing(gathered(events, most=MOST_STEPS, linger_s=self._linger_s)) as groups:
            async for group in groups:
                if new := [step for step in group if not _is_known(step, known)]:
                    await self._recorder.record(claim.lease, *new)


def _is_known(step: TranscriptEvent, known: Collection[tuple[int, int]]) -> bool:
    return isinstance(step, ChunkTranscribed) and (step.channel, step.index) in known
