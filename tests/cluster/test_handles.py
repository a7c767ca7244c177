"""Which calls are made again; no cluster is started."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from serve_app.deployments.calls import AGAIN_S
from serve_app.deployments.handles import HandleRecognizer
from serve_app.errors import ModelLoadFailed, RecognizerLeaving, RecognizerUnavailable
from serve_app.testing import recognized
from serve_app.transcript.types import ChunkRequest, DecodingOptions

CHUNK = ChunkRequest(b"", DecodingOptions("tiny.en"))  # type: ignore[arg-type]
ANSWER = recognized("Hello.", 1.0, CHUNK.options)
DIED = ActorDiedError()
FAULT = RecognizerUnavailable("The GPU failed while it worked on this audio.")
LEAVING = RecognizerLeaving("This process is to be replaced.")


class Response:
    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None: ...


class Replicas:
    """In place of Serve's handle: answers what comes next."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = deque(outcomes)
        self.slept: list[float] = []

    def options(self, **_: Any) -> Replicas:
        return self

    def remote(self, *_: Any) -> Response:
        return Response(self.outcomes.popleft())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def recognize(self, *, retries: int = 2, patience_s: float = 10.0) -> Any:
        handle: Any = self
        recognizer = HandleRecognizer(handle, retries=retries, patience_s=patience_s, sleep=self.sleep)
        return await recognizer.recognize(CHUNK)


@pytest.mark.parametrize("failure", [DIED, FAULT])
async def test_chunk_whose_replica_died_or_whose_gpu_failed_is_sent_again(failure: Exception) -> None:
    assert await Replicas(failure, failure, ANSWER).recognize() == ANSWER


@pytest.mark.parametrize("failure", [DIED, FAULT])
async def test_chunk_that_kills_each_replica_is_given_up(failure: Exception) -> None:
    replicas = Replicas(failure, failure, failure, ANSWER)

    with pytest.raises(RecognizerUnavailable, match="3 times"):
        await replicas.recognize()
    assert list(replicas.outcomes) == [ANSWER]


async def test_replicas_that_take_nothing_are_waited_for_and_do_not_count_as_tries() -> None:
    replicas = Replicas(FAULT, LEAVING, LEAVING, LEAVING, LEAVING, ANSWER)

    assert await replicas.recognize(retries=1) == ANSWER
    assert replicas.slept == [AGAIN_S] * (1 + 4)  # after the fault, and for each that takes nothing


async def test_wait_for_a_replica_that_takes_a_chunk_ends() -> None:
    with pytest.raises(RecognizerLeaving):
        await Replicas(*[LEAVING] * 4).recognize(patience_s=3 * AGAIN_S)


async def test_chunk_that_cannot_be_recognised_is_not_sent_again() -> None:
    replicas = Replicas(ModelLoadFailed("damaged"), ANSWER)

    with pytest.raises(ModelLoadFailed):
        await replicas.recognize()
    assert list(replicas.outcomes) == [ANSWER]
