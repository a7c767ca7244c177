"""Counts what comes of transcriptions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Literal

from serve_app.errors import MediaError
from serve_app.telemetry.metrics import AUDIO_SECONDS, MEDIA_FAILURES, REAL_TIME_FACTOR, TRANSCRIPTIONS
from serve_app.telemetry.tally import Tally
from serve_app.transcript.protocols import MediaReference, Transcriber
from serve_app.transcript.types import ChunkTranscribed, TranscriptEvent, TranscriptionOptions


class MeasuredTranscriber(Transcriber):
    """
    A `Transcriber` around another.

    Args:
        kind: What transcribes: requests, or attempts at jobs.
        now: A clock in seconds.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        tally: Tally,
        kind: Literal["request", "job"],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transcriber = transcriber
        self._tally = tally
        self._kind = kind
        self._now = now

    async def run(
        self, media: MediaReference, options: TranscriptionOptions, known: Sequence[ChunkTranscribed] = ()
    ) -> AsyncGenerator[TranscriptEvent, None]:
        its = _Measurement(self._tally, self._kind, self._now, known)
        with its.counted():
            async with aclosing(self._transcriber.run(media, options, known)) as events:
                async for event in events:
                    its.see(event)
                    yield event


class _Measurement:
    """Of one transcription; what an earlier attempt heard was counted then."""

    def __init__(self, tally: Tally, kind: str, now: Callable[[], float], known: Sequence[ChunkTranscribed]) -> None:
        self._tally = tally
        self._kind = kind
        self._now = now
        self._began_s = now()
        self._is_whole = not known
        self._heard_s = max((chunk.end for chunk in known), default=0.0)
        self._outcome = "cancelled"

    def see(self, event: TranscriptEvent) -> None:
        if isinstance(event, ChunkTranscribed):
            self._hear(event.end)
            return
        self._hear(event.duration_s)
        self._outcome = "done"
        if self._is_whole and event.duration_s > 0:
            factor = (self._now() - self._began_s) / event.duration_s
            self._tally.observe(REAL_TIME_FACTOR, factor, self._kind)

    @contextmanager
    def counted(self) -> Iterator[None]:
        try:
            yield
        except MediaError as error:
            self._tally.count(MEDIA_FAILURES, self._kind, error.code)
            self._outcome = "failed"
            raise
        except Exception:
            self._outcome = "failed"
            raise
        finally:
            self._tally.count(TRANSCRIPTIONS, self._kind, self._outcome)

    def _hear(self, until_s: float) -> None:
        self._tally.count(AUDIO_SECONDS, self._kind, by=max(0.0, until_s - self._heard_s))
        self._heard_s = max(self._heard_s, until_s)
