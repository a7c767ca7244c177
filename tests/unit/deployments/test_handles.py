"""What a Pipeline does when a replica of the Recognizer is lost."""

from __future__ import annotations

import pytest
from ray.exceptions import RayActorError

from serve_app.deployments.handles import HandleRecognizer
from serve_app.errors import RecognizerUnavailable
from serve_app.testing import recognized
from serve_app.transcript.types import ChunkRequest, DecodingOptions, RecognizedChunk

OPTIONS = DecodingOptions("tiny.en")
CHUNK = ChunkRequest(b"", OPTIONS)  # type: ignore[arg-type]
ANSWER = recognized("Hello.", 1.0, OPTIONS)


class FailingHandle:
    """A handle of Serve's whose first calls end with these errors."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    def options(self, **_: str) -> FailingHandle:
        return self

    async def remote(self, *_: object) -> RecognizedChunk:
        if self._errors:
            raise self._errors.pop(0)
        return ANSWER


class Pauses:
    def __init__(self) -> None:
        self.taken_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken_s.append(seconds)


async def test_chunk_is_sent_again_after_pauses_that_grow() -> None:
    pauses, handle = Pauses(), FailingHandle(RayActorError(), RecognizerUnavailable("its GPU failed"), RayActorError())
    recognizer = HandleRecognizer(handle, retries=3, patience_s=0, sleep=pauses)  # type: ignore[arg-type]

    assert await recognizer.recognize(CHUNK) == ANSWER
    assert pauses.taken_s == [0.5, 1.0, 2.0]


async def test_chunk_that_failed_too_often_waits_no_more() -> None:
    pauses, handle = Pauses(), FailingHandle(RayActorError(), RayActorError())
    recognizer = HandleRecognizer(handle, retries=1, patience_s=0, sleep=pauses)  # type: ignore[arg-type]

    with pytest.raises(RecognizerUnavailable, match="2 times"):
        await recognizer.recognize(CHUNK)

    assert pauses.taken_s == [0.5]
