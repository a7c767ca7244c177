"""How events of a transcription go from a Pipeline to a Gateway; no cluster is started."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

from serve_app.deployments.handles import HandleTranscriber
from serve_app.deployments.replicas import PipelineReplica
from serve_app.testing import FakeTranscriber, silent_wav
from serve_app.transcript.protocols import InlineMedia
from serve_app.transcript.types import (
    ChunkTranscribed,
    DecodingOptions,
    TranscriptEvent,
    TranscriptionFinished,
    TranscriptionOptions,
)

MEDIA = InlineMedia(silent_wav(10.0))
OPTIONS = TranscriptionOptions(DecodingOptions("tiny.en"))


class Stream:
    """In place of Serve's response: what the replica yields."""

    def __init__(self, items: AsyncGenerator[Any, None]) -> None:
        self._items = items
        self.is_cancelled = False

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        return self._items

    def cancel(self) -> None:
        self.is_cancelled = True


def from_replica() -> AsyncGenerator[Sequence[TranscriptEvent], None]:
    replica: Any = SimpleNamespace(_pipeline=FakeTranscriber())
    return PipelineReplica.run(replica, MEDIA, OPTIONS)


async def test_the_end_of_a_transcription_comes_with_its_last_chunk() -> None:
    groups = [[type(event) for event in group] async for group in from_replica()]

    assert groups[-1][-2:] == [ChunkTranscribed, TranscriptionFinished]


async def test_events_come_one_by_one_and_in_order_to_whoever_listens() -> None:
    stream = Stream(from_replica())
    handle: Any = SimpleNamespace(options=lambda **_: SimpleNamespace(run=SimpleNamespace(remote=lambda *_: stream)))

    heard = [event async for event in HandleTranscriber(handle).run(MEDIA, OPTIONS)]

    assert heard == [event async for event in FakeTranscriber().run(MEDIA, OPTIONS)]
    assert stream.is_cancelled
